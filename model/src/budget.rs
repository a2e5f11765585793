//! How the memory of one server is shared out among its parts.
//!
//! Owns the parts, their weights and the arithmetic. Where the total comes from and which settings a share becomes is the
//! program's; keeping to a share is each part's own, by the limits it has anyway.

use std::fmt;

/// A part of a server that takes memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// Labels, index and the fixed part of each series. Bounded by the limits on series, not by its share.
    Series,
    /// Samples that are in no block yet.
    Head,
    /// Write requests under way.
    Ingest,
    /// Queries under way.
    Queries,
    /// What flushing and merging work in.
    Maintenance,
    /// Decoded timestamps of blocks, and labels of series that nobody writes any more.
    Caches,
    /// Exemplars.
    Exemplars,
    /// The program itself: catalog, connections, stacks, and what the allocator cannot give back.
    Rest,
}

/// A part's place in the budget.
struct Row {
    part: Part,
    name: &'static str,
    /// Its part of a hundred.
    weight: u64,
    /// With less it cannot do its work.
    least_bytes: u64,
}

const MIB: u64 = 1 << 20;

/// The weights are those at which 100,000 series at one sample every 10 seconds fit a container of 128 MiB.
const ROWS: [Row; 8] = [
    Row { part: Part::Series, name: "series", weight: 37, least_bytes: 8 * MIB },
    Row { part: Part::Head, name: "head", weight: 21, least_bytes: 8 * MIB },
    Row { part: Part::Ingest, name: "ingest", weight: 10, least_bytes: 8 * MIB },
    Row { part: Part::Queries, name: "queries", weight: 13, least_bytes: 6 * MIB },
    Row { part: Part::Maintenance, name: "maintenance", weight: 6, least_bytes: 6 * MIB },
    Row { part: Part::Caches, name: "caches", weight: 3, least_bytes: MIB },
    Row { part: Part::Exemplars, name: "exemplars", weight: 1, least_bytes: 0 },
    Row { part: Part::Rest, name: "rest", weight: 9, least_bytes: 11 * MIB },
];

/// The least that a server is given.
pub const BUDGET_BYTES_MIN: u64 = {
    let (mut at, mut sum) = (0, 0);
    while at < ROWS.len() {
        sum += ROWS[at].least_bytes;
        at += 1;
    }
    sum
};

impl Part {
    /// All of them, in the order in which they are told.
    pub const ALL: [Self; ROWS.len()] = {
        let mut all = [Self::Rest; ROWS.len()];
        let mut at = 0;
        while at < ROWS.len() {
            all[at] = ROWS[at].part;
            at += 1;
        }
        all
    };

    /// One lower-case word.
    pub const fn name(self) -> &'static str {
        self.row().name
    }

    /// With less it cannot do its work.
    pub const fn least_bytes(self) -> u64 {
        self.row().least_bytes
    }

    const fn row(self) -> &'static Row {
        &ROWS[self as usize]
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a total cannot be shared out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages name every field")]
pub enum BudgetError {
    /// Less than any server needs.
    #[error("{total_bytes} bytes are too few for a server, {least_bytes} are the least")]
    TooSmall { total_bytes: u64, least_bytes: u64 },
    /// What was given to some parts leaves too little to the others.
    #[error(
        "of {total_bytes} bytes in all other settings take {fixed_bytes}, and what they leave is less than the {least_bytes} that the rest needs"
    )]
    Taken { total_bytes: u64, fixed_bytes: u64, least_bytes: u64 },
}

/// What each part may take. The shares add up to the total.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    bytes: [u64; ROWS.len()],
}

impl Budget {
    /// Shares out `total_bytes`. Parts in `fixed` have what is said there; what is left after them is shared by the others
    /// in proportion to their weights, none below its least.
    ///
    /// # Errors
    ///
    /// When that is not enough.
    pub fn share_out(total_bytes: u64, fixed: &[(Part, u64)]) -> Result<Self, BudgetError> {
        if total_bytes < BUDGET_BYTES_MIN {
            return Err(BudgetError::TooSmall { total_bytes, least_bytes: BUDGET_BYTES_MIN });
        }
        let of_fixed = |part: Part| fixed.iter().find(|(of, _)| *of == part).map(|(_, bytes)| *bytes);
        let fixed_bytes = Part::ALL.iter().filter_map(|&part| of_fixed(part)).fold(0, u64::saturating_add);
        let mut open: Vec<&Row> = ROWS.iter().filter(|row| of_fixed(row.part).is_none()).collect();
        let least_bytes: u64 = open.iter().map(|row| row.least_bytes).sum();
        let Some(mut left_bytes) = total_bytes.checked_sub(fixed_bytes).filter(|&left| left >= least_bytes) else {
            return Err(BudgetError::Taken { total_bytes, fixed_bytes, least_bytes });
        };
        let mut bytes = Part::ALL.map(|part| of_fixed(part).unwrap_or(0));
        // Whoever would get less than its least is given that first, which makes the others' shares smaller, so again.
        loop {
            let weights: u64 = open.iter().map(|row| row.weight).sum();
            let share = |row: &Row| scaled(left_bytes, row.weight, weights);
            let Some(at) = open.iter().position(|row| share(row) < row.least_bytes) else {
                for row in &open {
                    bytes[row.part as usize] = share(row);
                }
                break;
            };
            let row = open.swap_remove(at);
            bytes[row.part as usize] = row.least_bytes;
            left_bytes -= row.least_bytes;
        }
        // What rounding left.
        let last = open.first().map_or(Part::Rest, |row| row.part);
        let shared = bytes.iter().fold(0, |sum: u64, of| sum.saturating_add(*of));
        bytes[last as usize] += total_bytes.saturating_sub(shared);
        Ok(Self { bytes })
    }

    /// What `part` may take.
    pub fn of(&self, part: Part) -> u64 {
        self.bytes[part as usize]
    }

    /// All shares together.
    pub fn total_bytes(&self) -> u64 {
        self.bytes.iter().fold(0, |sum, bytes| sum.saturating_add(*bytes))
    }
}

/// What a program has that says nothing of memory.
const BUDGET_BYTES_DEFAULT: u64 = 16 << 30;

impl Default for Budget {
    /// Room for the defaults of every part: 16 GiB.
    fn default() -> Self {
        Self { bytes: Part::ALL.map(|part| BUDGET_BYTES_DEFAULT / 100 * part.row().weight) }
    }
}

impl fmt::Display for Budget {
    /// `head 27 MiB, ingest 12 MiB, …`, rounded down.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, part) in Part::ALL.into_iter().enumerate() {
            let separator = if at == 0 { "" } else { ", " };
            write!(f, "{separator}{part} {} MiB", self.of(part) / MIB)?;
        }
        Ok(())
    }
}

/// `of * weight / weights` without overflow.
fn scaled(of: u64, weight: u64, weights: u64) -> u64 {
    let scaled = u128::from(of) * u128::from(weight) / u128::from(weights.max(1));
    u64::try_from(scaled).unwrap_or(of)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rows_are_in_the_order_of_their_parts_and_make_a_hundred() {
        for (at, part) in Part::ALL.into_iter().enumerate() {
            assert_eq!((part as usize, part.row().part), (at, part));
        }
        assert_eq!(ROWS.iter().map(|row| row.weight).sum::<u64>(), 100);
    }

    #[test]
    fn a_total_without_settings_is_shared_by_weight() {
        let budget = Budget::share_out(1000 * MIB, &[]).expect("enough");
        assert_eq!((budget.of(Part::Head), budget.of(Part::Queries)), (210 * MIB, 130 * MIB));
        assert_eq!(budget.total_bytes(), 1000 * MIB);
        assert!(budget.to_string().starts_with("series 370 MiB, head 210 MiB, ingest 100 MiB"), "{budget}");
    }

    #[test]
    fn what_is_fixed_wins_and_the_others_share_what_is_left() {
        let budget = Budget::share_out(1000 * MIB, &[(Part::Head, 605 * MIB)]).expect("enough");
        assert_eq!((budget.of(Part::Head), budget.of(Part::Ingest)), (605 * MIB, 50 * MIB));
        let none = Budget::share_out(1000 * MIB, &[(Part::Exemplars, 0)]).expect("enough");
        assert_eq!(none.of(Part::Exemplars), 0);
    }

    #[test]
    fn too_little_is_refused_with_the_least() {
        let least = Budget::share_out(BUDGET_BYTES_MIN, &[]).expect("just enough");
        assert!(Part::ALL.iter().all(|part| least.of(*part) == part.least_bytes()));
        let error = Budget::share_out(BUDGET_BYTES_MIN - 1, &[]).expect_err("too little");
        assert!(error.to_string().contains(&format!("{BUDGET_BYTES_MIN} are the least")), "{error}");
        let taken = Budget::share_out(100 * MIB, &[(Part::Queries, 90 * MIB)]).expect_err("too little is left");
        assert!(matches!(taken, BudgetError::Taken { fixed_bytes, .. } if fixed_bytes == 90 * MIB), "{taken}");
        assert!(Budget::share_out(100 * MIB, &[(Part::Queries, u64::MAX), (Part::Head, 1)]).is_err());
    }

    proptest! {
        #[test]
        fn shares_add_up_and_none_is_below_its_least(
            total in BUDGET_BYTES_MIN..u64::MAX / 2,
            fixed in prop::collection::btree_map(0usize..ROWS.len(), 0u64..200 * MIB, 0..4),
        ) {
            let fixed: Vec<(Part, u64)> = fixed.into_iter().map(|(at, bytes)| (Part::ALL[at], bytes)).collect();
            let Ok(budget) = Budget::share_out(total, &fixed) else {
                return Ok(());
            };
            prop_assert_eq!(budget.total_bytes(), total);
            for part in Part::ALL {
                match fixed.iter().find(|(of, _)| *of == part) {
                    Some((_, bytes)) => prop_assert_eq!(budget.of(part), *bytes),
                    None => prop_assert!(budget.of(part) >= part.least_bytes(), "{part} of {total}"),
                }
            }
        }
    }
}
