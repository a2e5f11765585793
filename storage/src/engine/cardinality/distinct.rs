//! How many different hashes there are, in some 20 KiB whatever their number: exact as long as they are few.
//!
//! Many are counted by `HyperLogLog` (Flajolet, Fusy, Gandouet, Meunier 2007) with the estimator that Ertl gives in "New cardinality estimation
//! algorithms for `HyperLogLog` sketches" (2017): it needs no tables of corrections. The standard
//! error is 0.8 %.

use hashbrown::HashSet;

/// Most hashes that are kept as they are.
const FEW_MAX: usize = 1 << 11;
/// Bits of a hash that choose a register.
const PLACE_BITS: u32 = 14;
const REGISTERS: usize = 1 << PLACE_BITS;
/// Bits of a hash beyond these, whose leading zeros are counted.
const RANK_BITS: usize = 64 - PLACE_BITS as usize;

/// A set of 64-bit hashes, of which only their number is asked.
#[derive(Debug)]
pub(super) enum Distinct {
    /// All of them.
    Few(HashSet<u64, ahash::RandomState>),
    /// The longest run of zeros that was seen, by register.
    Many(Box<[u8]>),
}

impl Default for Distinct {
    fn default() -> Self {
        Self::Few(HashSet::default())
    }
}

impl Distinct {
    pub(super) fn add(&mut self, hash: u64) {
        match self {
            Self::Few(hashes) if hashes.len() < FEW_MAX || hashes.contains(&hash) => drop(hashes.insert(hash)),
            Self::Few(hashes) => {
                let mut registers: Box<[u8]> = vec![0; REGISTERS].into();
                for known in hashes.drain().chain([hash]) {
                    register(&mut registers, known);
                }
                *self = Self::Many(registers);
            }
            Self::Many(registers) => register(registers, hash),
        }
    }

    /// How many there are; of more than [`FEW_MAX`], about.
    pub(super) fn count(&self) -> u64 {
        match self {
            Self::Few(hashes) => hashes.len() as u64,
            Self::Many(registers) => estimate(registers),
        }
    }
}

fn register(registers: &mut [u8], hash: u64) {
    let place = usize::try_from(hash >> (64 - PLACE_BITS)).unwrap_or(0);
    // The bit behind the last ends the run of zeros of a hash that has nothing but.
    let rest = (hash << PLACE_BITS) | (1 << (PLACE_BITS - 1));
    let rank = u8::try_from(rest.leading_zeros() + 1).unwrap_or(u8::MAX);
    registers[place] = registers[place].max(rank);
}

#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an estimate")]
fn estimate(registers: &[u8]) -> u64 {
    let mut counts = [0_u32; RANK_BITS + 2];
    for rank in registers {
        counts[usize::from(*rank).min(RANK_BITS + 1)] += 1;
    }
    let all = REGISTERS as f64;
    let mut sum = all * tau(1.0 - f64::from(counts[RANK_BITS + 1]) / all);
    for count in counts[1..=RANK_BITS].iter().rev() {
        sum = 0.5 * (sum + f64::from(*count));
    }
    sum += all * sigma(f64::from(counts[0]) / all);
    (all * all / (2.0 * std::f64::consts::LN_2 * sum)).round() as u64
}

/// The part of the registers that no hash has reached, of all.
fn sigma(part: f64) -> f64 {
    if part >= 1.0 {
        return f64::INFINITY;
    }
    let (mut power, mut factor, mut sum) = (part, 1.0, part);
    loop {
        power *= power;
        let before = sum;
        sum += power * factor;
        factor += factor;
        if sum <= before {
            return sum;
        }
    }
}

/// The part of the registers that are not full, of all.
fn tau(part: f64) -> f64 {
    if part <= 0.0 || part >= 1.0 {
        return 0.0;
    }
    let (mut root, mut factor, mut sum) = (part, 1.0, 1.0 - part);
    loop {
        root = root.sqrt();
        let before = sum;
        factor *= 0.5;
        sum -= (1.0 - root) * (1.0 - root) * factor;
        if sum >= before {
            return sum / 3.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_and_many_are_counted() {
        let hasher = ahash::RandomState::with_seeds(1, 2, 3, 4);
        let mut distinct = Distinct::default();
        assert_eq!(distinct.count(), 0);
        let mut added = 0;
        for (count, error) in
            [(1, 0), (100, 0), (2_048, 0), (2_049, 60), (30_000, 900), (100_000, 3000), (1_000_000, 30_000)]
        {
            for number in added..count {
                // Saying it again changes nothing.
                distinct.add(hasher.hash_one(number));
                distinct.add(hasher.hash_one(number / 2));
            }
            added = count;
            assert!(distinct.count().abs_diff(count) <= error, "{} for {count}", distinct.count());
        }
        distinct.add(0);
        distinct.add(u64::MAX);
    }
}
