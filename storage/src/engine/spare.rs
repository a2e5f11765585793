//! Memory of appends that is kept from one to the next: columns of samples, and their sections of a record.
//!
//! A request of usual size takes some hundred kilobytes of it for a moment. The allocator would give that back to the
//! system each time and ask for it again.

use parking_lot::Mutex;

use crate::log::payload::SampleColumns;

/// How many of each are kept: as many appends are mostly under way at once.
const KEPT_MAX: usize = 4;
/// Columns with room for more samples are not kept.
const KEPT_SAMPLES_MAX: usize = 20_000;
/// Sections with room for more bytes are not kept.
const KEPT_SECTION_BYTES_MAX: usize = KEPT_SAMPLES_MAX * 10;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Spare {
    columns: Mutex<Vec<SampleColumns>>,
    sections: Mutex<Vec<Vec<u8>>>,
}

impl Spare {
    /// Empty columns.
    pub(super) fn columns(&self) -> SampleColumns {
        self.columns.lock().pop().unwrap_or_default()
    }

    /// An empty section.
    pub(super) fn section(&self) -> Vec<u8> {
        self.sections.lock().pop().unwrap_or_default()
    }

    /// Takes columns that are needed no more.
    pub(super) fn give_columns(&self, mut columns: SampleColumns) {
        if (1..=KEPT_SAMPLES_MAX).contains(&columns.capacity()) {
            columns.clear();
            give(&self.columns, columns);
        }
    }

    /// Takes sections that are needed no more.
    pub(super) fn give_sections(&self, sections: Vec<Vec<u8>>) {
        for mut section in sections {
            if (1..=KEPT_SECTION_BYTES_MAX).contains(&section.capacity()) {
                section.clear();
                give(&self.sections, section);
            }
        }
    }
}

fn give<T>(kept: &Mutex<Vec<T>>, spare: T) {
    let mut kept = kept.lock();
    if kept.len() < KEPT_MAX {
        kept.push(spare);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::SeriesId;

    #[test]
    fn what_is_given_comes_back_empty_and_so_much_of_it() {
        let spare = Spare::default();
        let columns = |samples: usize| {
            let mut columns = SampleColumns::default();
            columns.reserve(samples);
            columns.push(SeriesId(1), 2, 3.0);
            columns
        };
        spare.give_columns(columns(100));
        spare.give_columns(columns(KEPT_SAMPLES_MAX + 1));
        spare.give_columns(SampleColumns::default());
        let again = spare.columns();
        assert!(again.is_empty() && again.capacity() >= 100);
        assert_eq!(spare.columns().capacity(), 0, "others are not kept");
        spare.give_sections(vec![vec![7; 10], Vec::with_capacity(KEPT_SECTION_BYTES_MAX + 1), Vec::new()]);
        spare.give_sections(vec![vec![7; 20]; 2 * KEPT_MAX]);
        let again: Vec<usize> = (0..=KEPT_MAX).map(|_| spare.section().capacity()).collect();
        assert!(again[..KEPT_MAX].iter().all(|&bytes| bytes >= 10) && again[KEPT_MAX] == 0, "{again:?}");
    }
}
