//! The bytes of a page's chunks: units of 32 bytes, each of which knows the one before it.
//!
//! A buffer of its own for each series would take what the allocator adds, what it has grown ahead, and a length and a capacity;
//! and what a flush frees would lie in pieces between what stays. Here a series takes half a unit more than its bytes on
//! average, knows the end of its run by four bytes, and a flush frees whole parts of some kilobytes.

use crate::index::table::PAGE_SERIES;

/// Half words of bits in a unit.
const UNIT_HALVES: usize = 7;
/// Bytes of a half word.
const HALF_BYTES: usize = 4;
/// Units that are allocated together: 2 KiB.
const PART_UNITS: usize = 64;
/// Bits of an [`End`] that tell how full the last unit is.
const FILL_BITS: u32 = 3;
/// The number of no unit.
const NONE: u32 = u32::MAX >> FILL_BITS;
/// Units that stay free for what a sample takes at most, which fills three words, and for the rest of each series' last word.
const SPARE_UNITS: usize = 2 + PAGE_SERIES;

/// Runs of bytes.
#[derive(Debug)]
pub(super) struct Arena {
    #[expect(clippy::vec_box, reason = "parts are not moved when there are more")]
    parts: Vec<Box<[Unit; PART_UNITS]>>,
    used: u32,
    /// Most units: what an [`End`] can tell, save in tests.
    units_max: u32,
}

#[derive(Debug, Clone, Copy)]
struct Unit {
    /// The number of the unit before.
    before: u32,
    halves: [u32; UNIT_HALVES],
}

/// Where a run ends: the number of its last unit, and how many half words are in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct End(u32);

impl End {
    /// Of a run without bytes.
    pub(super) const EMPTY: Self = Self::new(NONE, UNIT_HALVES);

    #[expect(clippy::cast_possible_truncation, reason = "a unit has a few half words")]
    const fn new(number: u32, halves: usize) -> Self {
        Self(number << FILL_BITS | halves as u32)
    }

    fn unit(self) -> u32 {
        self.0 >> FILL_BITS
    }

    fn halves(self) -> usize {
        (self.0 & ((1 << FILL_BITS) - 1)) as usize
    }
}

impl Default for Arena {
    fn default() -> Self {
        Self { parts: Vec::new(), used: 0, units_max: NONE }
    }
}

impl Arena {
    /// With room for so many units at most.
    #[cfg(test)]
    pub(super) fn bounded(units_max: u32) -> Self {
        Self { units_max, ..Self::default() }
    }

    /// Whether there may be no room for a sample.
    pub(super) fn is_full(&self) -> bool {
        (self.units_max.saturating_sub(self.used) as usize) < SPARE_UNITS
    }

    /// Bytes of the units in use.
    pub(super) fn bytes(&self) -> usize {
        self.used as usize * size_of::<Unit>()
    }

    /// Appends a word to the run that ends at `end`. There is room, as [`is_full`](Self::is_full) tells.
    #[inline]
    pub(super) fn push_word(&mut self, end: &mut End, word: u64) {
        let [high, low] = halves(word);
        self.push_half(end, high);
        self.push_half(end, low);
    }

    /// Appends the first `bytes` of a word, and zeros up to the next half.
    pub(super) fn push_rest(&mut self, end: &mut End, word: u64, bytes: usize) {
        for half in halves(word).into_iter().take(bytes.div_ceil(HALF_BYTES)) {
            self.push_half(end, half);
        }
    }

    #[inline]
    fn push_half(&mut self, end: &mut End, half: u32) {
        if end.halves() == UNIT_HALVES {
            *end = End::new(self.take_unit(end.unit()), 0);
        }
        let (number, at) = (end.unit() as usize, end.halves());
        self.parts[number / PART_UNITS][number % PART_UNITS].halves[at] = half;
        *end = End::new(end.unit(), at + 1);
    }

    fn take_unit(&mut self, before: u32) -> u32 {
        let number = self.used;
        if number as usize == self.parts.len() * PART_UNITS {
            self.parts.push(Box::new([Unit { before: NONE, halves: [0; UNIT_HALVES] }; PART_UNITS]));
        }
        self.parts[number as usize / PART_UNITS][number as usize % PART_UNITS].before = before;
        self.used += 1;
        number
    }

    /// The units of a run, last first.
    fn units(&self, end: End) -> impl Iterator<Item = &Unit> {
        let unit = |number: u32| {
            let at = number as usize;
            (number != NONE).then(|| &self.parts[at / PART_UNITS][at % PART_UNITS])
        };
        std::iter::successors(unit(end.unit()), move |of| unit(of.before))
    }

    /// The first word of a run, which has one.
    pub(super) fn first_word(&self, end: End) -> u64 {
        let halves = self.units(end).last().map_or([0; UNIT_HALVES], |unit| unit.halves);
        u64::from(halves[0]) << 32 | u64::from(halves[1])
    }

    /// Appends the bytes of a run to `out`.
    pub(super) fn copy_into(&self, end: End, out: &mut Vec<u8>) {
        let units = self.units(end).count();
        let halves = (units * UNIT_HALVES).saturating_sub(UNIT_HALVES - end.halves());
        let start = out.len();
        out.resize(start + halves * HALF_BYTES, 0);
        let mut rest = &mut out[start..];
        let mut filled = end.halves();
        for unit in self.units(end) {
            let (front, back) = rest.split_at_mut(rest.len() - filled * HALF_BYTES);
            for (to, half) in back.chunks_exact_mut(HALF_BYTES).zip(unit.halves) {
                to.copy_from_slice(&half.to_be_bytes());
            }
            (rest, filled) = (front, UNIT_HALVES);
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "each is half of the word")]
fn halves(word: u64) -> [u32; 2] {
    [(word >> 32) as u32, word as u32]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_unit_is_half_a_cache_line() {
        assert_eq!(size_of::<Unit>(), 32);
    }

    proptest! {
        /// Runs that grow in any order hold what was appended to each.
        #[test]
        fn runs_do_not_touch_each_other(words in prop::collection::vec((0usize..5, any::<u64>()), 0..400), rest in 0usize..8) {
            let mut arena = Arena::default();
            let mut ends = [End::EMPTY; 5];
            let mut want: [Vec<u8>; 5] = Default::default();
            for &(run, word) in &words {
                arena.push_word(&mut ends[run], word);
                want[run].extend(word.to_be_bytes());
                prop_assert_eq!(&arena.first_word(ends[run]).to_be_bytes()[..], &want[run][..8]);
            }
            for (end, want) in ends.iter_mut().zip(&mut want) {
                let word = if rest == 0 { 0 } else { u64::MAX << (64 - 8 * rest) };
                arena.push_rest(end, word, rest);
                want.resize(want.len() + rest, 0xff);
                want.resize(want.len().next_multiple_of(HALF_BYTES), 0);
                let mut got = vec![7];
                arena.copy_into(*end, &mut got);
                prop_assert_eq!(&got[1..], &want[..]);
            }
            let most: usize = want.iter().map(|run| run.len().div_ceil(UNIT_HALVES * HALF_BYTES)).sum();
            prop_assert_eq!(arena.bytes(), most * size_of::<Unit>());
        }
    }

    #[test]
    fn it_is_full_before_a_sample_has_no_room() {
        let units_max = u32::try_from(SPARE_UNITS).expect("some") + 10;
        let (mut arena, mut end) = (Arena::bounded(units_max), End::EMPTY);
        while !arena.is_full() {
            (0..3).for_each(|_| arena.push_word(&mut end, 1));
        }
        // Each series may end in a word that is not full.
        let mut ends = [End::EMPTY; PAGE_SERIES];
        for end in &mut ends {
            arena.push_rest(end, u64::MAX, 8);
        }
        assert!(arena.used <= units_max, "{} units", arena.used);
    }
}
