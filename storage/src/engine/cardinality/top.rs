//! The largest of many, in memory for these alone.

use std::cmp::Reverse;

/// The rows with the largest numbers, and of equal ones those that come first.
#[derive(Debug)]
pub(super) struct Top<T> {
    keep: usize,
    rows: Vec<(u64, T)>,
    /// What a row needs more than to be among the largest, once there are enough.
    floor: u64,
}

impl<T: Ord> Top<T> {
    pub(super) fn new(keep: usize) -> Self {
        Self { keep, rows: Vec::new(), floor: 0 }
    }

    /// Adds a row, which is made only if it may be among the largest. What has the number 0 is left out.
    pub(super) fn push(&mut self, number: u64, row: impl FnOnce() -> T) {
        if number == 0 || number < self.floor {
            return;
        }
        self.rows.push((number, row()));
        if self.rows.len() >= self.keep.saturating_mul(2).max(64) {
            self.cut();
        }
    }

    fn cut(&mut self) {
        self.rows.sort_unstable_by(|a, b| (Reverse(a.0), &a.1).cmp(&(Reverse(b.0), &b.1)));
        self.rows.truncate(self.keep);
        self.floor = self.rows.last().filter(|_| self.rows.len() == self.keep).map_or(0, |(number, _)| *number);
    }

    /// The largest, largest first.
    pub(super) fn into_rows(mut self) -> Vec<(u64, T)> {
        self.cut();
        self.rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_largest_are_those_of_a_sorted_list(
            rows in prop::collection::vec((0u64..50, 0u32..1000), 0..400),
            keep in 0usize..100,
        ) {
            let mut top = Top::new(keep);
            for (number, row) in &rows {
                top.push(*number, || *row);
            }
            let mut want: Vec<(u64, u32)> = rows.into_iter().filter(|(number, _)| *number > 0).collect();
            want.sort_by_key(|(number, row)| (Reverse(*number), *row));
            want.truncate(keep);
            prop_assert_eq!(top.into_rows(), want);
        }
    }
}
