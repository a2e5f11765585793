//! The columns of the list: what each shows, by what it sorts, how wide it is, and which give way on narrow screens.

use std::cmp::Ordering;

use super::data::{Number, Process};

/// A column of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Column {
    Name,
    Instance,
    Version,
    Number(Number),
    /// The last minutes of a number.
    Line(Number),
}

/// How a column is laid out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) column: Column,
    pub(super) title: &'static str,
    pub(super) width: usize,
    /// Columns of low importance are left out first; 0 stays.
    rank: u8,
}

const fn place(column: Column, title: &'static str, width: usize, rank: u8) -> Place {
    Place { column, title, width, rank }
}

/// All columns in their order.
const PLACES: [Place; 15] = [
    place(Column::Name, "NAME", 10, 0),
    place(Column::Instance, "INSTANCE", 10, 6),
    place(Column::Version, "VERSION", 10, 10),
    place(Column::Number(Number::Goroutines), "GOROUT", 6, 0),
    place(Column::Line(Number::Goroutines), "TREND", 6, 7),
    place(Column::Number(Number::HeapLive), "HEAP", 8, 1),
    place(Column::Number(Number::HeapLimit), "LIMIT", 8, 12),
    place(Column::Line(Number::HeapLive), "TREND", 6, 11),
    place(Column::Number(Number::GcCpu), "GC%", 5, 4),
    place(Column::Number(Number::Allocated), "ALLOC/S", 8, 5),
    place(Column::Number(Number::Latency), "SCHED99", 7, 8),
    place(Column::Number(Number::Cpu), "CPU%", 5, 2),
    place(Column::Number(Number::Resident), "RSS", 8, 3),
    place(Column::Number(Number::Threads), "THR", 4, 9),
    place(Column::Number(Number::Leak), "LEAK", 5, 3),
];
/// Columns of this rank and above are shown where names have room.
const RANK_LOW: u8 = 9;
/// How much more room that is.
const NAMES_MORE: usize = 16;
/// Most columns that names get of what is left.
const NAME_MAX: usize = 28;

/// The columns that `width` has room for, one space between two; what is left goes to names.
pub(super) fn fitting(width: usize) -> Vec<Place> {
    let mut kept: Vec<Place> = PLACES.to_vec();
    let needed = |kept: &[Place]| kept.iter().map(|place| place.width + 1).sum::<usize>().saturating_sub(1);
    while let Some(least) = kept.iter().map(|place| place.rank).max().filter(|rank| *rank > 0) {
        // Names in full are worth more than what is of low importance.
        let names = if least >= RANK_LOW { NAMES_MORE } else { 0 };
        if needed(&kept) + names <= width {
            break;
        }
        kept.retain(|place| place.rank < least);
    }
    let mut left = width.saturating_sub(needed(&kept));
    for place in &mut kept {
        if matches!(place.column, Column::Name | Column::Instance | Column::Version) {
            let more = left.min(NAME_MAX - place.width) / 2;
            place.width += more;
            left -= more;
        }
    }
    // On very narrow screens the name gives way.
    let over = needed(&kept).saturating_sub(width);
    if let Some(name) = kept.first_mut() {
        name.width = name.width.saturating_sub(over).max(1);
    }
    kept
}

/// The columns that the list can be sorted by, in their order.
pub(super) fn sortable() -> impl DoubleEndedIterator<Item = Column> {
    PLACES.iter().map(|place| place.column).filter(|column| !matches!(column, Column::Line(_)))
}

impl Column {
    /// Whether the largest come first when the list is sorted by it.
    pub(super) fn is_number(self) -> bool {
        matches!(self, Self::Number(_) | Self::Line(_))
    }

    /// The order of two processes by this column, the first the smaller; those without a value are the smallest.
    pub(super) fn compare(self, a: &Process, b: &Process) -> Ordering {
        match self {
            Self::Name => a.key.job.cmp(&b.key.job),
            Self::Instance => by_slot(&a.key.instance).cmp(&by_slot(&b.key.instance)),
            Self::Version => a.version.cmp(&b.version),
            Self::Number(which) | Self::Line(which) => {
                let value = |process: &Process| process.number(which).unwrap_or(f64::NEG_INFINITY);
                value(a).total_cmp(&value(b))
            }
        }
    }
}

/// The order of instances: host, then the number of the slot, so that 2 comes before 10.
pub(super) fn by_slot(instance: &str) -> (&str, Option<u64>, &str) {
    match instance.rsplit_once('/') {
        Some((host, slot)) => (host, slot.parse().ok(), slot),
        None => (instance, None, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_fit_any_width() {
        for width in 1..200 {
            let kept = fitting(width);
            let needed = kept.iter().map(|place| place.width + 1).sum::<usize>() - 1;
            assert!(needed <= width.max(9), "{needed} in {width}");
            assert!(kept.iter().any(|place| place.column == Column::Number(Number::Goroutines)), "{width}");
        }
        assert_eq!(fitting(160).len(), PLACES.len());
        assert_eq!(fitting(20).len(), 2);
        assert!(fitting(80).iter().any(|place| place.column == Column::Number(Number::Leak)));
    }

    #[test]
    fn processes_without_a_value_come_last() {
        let mut a = Process::default();
        let b = Process::default();
        a.set(Number::Cpu, 0.0);
        a.set(Number::Cpu, f64::NAN);
        let column = Column::Number(Number::Cpu);
        assert_eq!(column.compare(&a, &b), Ordering::Greater);
        assert_eq!(Column::Name.compare(&a, &b), Ordering::Equal);
        assert!(sortable().all(|column| !matches!(column, Column::Line(_))));
    }
}
