//! Samples laid over each other, cut, and put one behind the other, floats and histograms alike.

use std::ops::Range;

use model::{HistogramSample, Samples, TimeRange};

/// Puts `newer` over `samples`; both are ascending and unique in time, and where both have a timestamp the newer value
/// counts, whatever its kind. `spare` is memory to work in.
pub fn overlay(samples: &mut Samples, newer: &Samples, spare: &mut Samples) {
    let Some(first_ms) = first_ms(newer) else { return };
    if last_ms(samples).is_none_or(|last_ms| first_ms > last_ms) {
        append(samples, newer, 0..newer.timestamps_ms.len(), 0..newer.histograms.len());
        return;
    }
    spare.clear();
    if is_plain(samples) && is_plain(newer) {
        overlay_plain(samples, newer, spare);
    } else {
        overlay_full(samples, newer, spare);
    }
    std::mem::swap(samples, spare);
}

/// How many floats and histograms there were before more were appended.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Mark {
    floats: usize,
    histograms: usize,
}

impl Mark {
    /// As many as there are now.
    pub(crate) fn of(samples: &Samples) -> Self {
        Self { floats: samples.timestamps_ms.len(), histograms: samples.histograms.len() }
    }

    /// Cuts back to as many, as after a failure half-way.
    pub(crate) fn restore(self, samples: &mut Samples) {
        samples.timestamps_ms.truncate(self.floats);
        samples.values.truncate(self.floats);
        samples.starts_ms.truncate(self.floats);
        samples.histograms.truncate(self.histograms);
    }

    /// Takes away those of what was appended since that lie inside `range`. Appended are samples of one block, which
    /// are ascending.
    pub(crate) fn remove(self, samples: &mut Samples, range: TimeRange) {
        let floats = inside(&samples.timestamps_ms, self.floats, |&at_ms| at_ms, range);
        if !samples.starts_ms.is_empty() {
            samples.starts_ms.drain(floats.clone());
        }
        samples.timestamps_ms.drain(floats.clone());
        samples.values.drain(floats);
        let histograms = inside(&samples.histograms, self.histograms, |sample| sample.timestamp_ms, range);
        samples.histograms.drain(histograms);
    }

    /// Lays what was appended since over what was there before. Mostly it is later, and stays where it is.
    pub(crate) fn settle(self, samples: &mut Samples, scratch: &mut Scratch) {
        let (floats, histograms) = (samples.timestamps_ms.len(), samples.histograms.len());
        let time = |at: Option<&i64>, histogram: Option<&HistogramSample>| {
            (at.copied(), histogram.map(|sample| sample.timestamp_ms))
        };
        let before = |end: usize| end.checked_sub(1);
        let last = time(
            before(self.floats).and_then(|at| samples.timestamps_ms.get(at)),
            before(self.histograms).and_then(|at| samples.histograms.get(at)),
        );
        let first = time(samples.timestamps_ms.get(self.floats), samples.histograms.get(self.histograms));
        let first_ms = first.0.into_iter().chain(first.1).min();
        let last_ms = last.0.max(last.1);
        if first_ms.is_none() || last_ms.is_none() || first_ms > last_ms {
            return;
        }
        scratch.newer.clear();
        append(&mut scratch.newer, samples, self.floats..floats, self.histograms..histograms);
        self.restore(samples);
        overlay(samples, &scratch.newer, &mut scratch.spare);
    }
}

/// Memory for [`Mark::settle`] to work in.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    newer: Samples,
    spare: Samples,
}

fn overlay_plain(samples: &Samples, newer: &Samples, into: &mut Samples) {
    let mut older = samples.iter().peekable();
    for sample in newer.iter() {
        while let Some(before) = older.next_if(|older| older.timestamp < sample.timestamp) {
            into.push(before.timestamp.0, before.value);
        }
        older.next_if(|older| older.timestamp == sample.timestamp);
        into.push(sample.timestamp.0, sample.value);
    }
    older.for_each(|rest| into.push(rest.timestamp.0, rest.value));
}

fn overlay_full(samples: &Samples, newer: &Samples, into: &mut Samples) {
    let mut older = samples.iter_full().peekable();
    for sample in newer.iter_full() {
        while let Some(before) = older.next_if(|older| older.timestamp_ms < sample.timestamp_ms) {
            into.push_full(before);
        }
        older.next_if(|older| older.timestamp_ms == sample.timestamp_ms);
        into.push_full(sample);
    }
    older.for_each(|rest| into.push_full(rest));
}

/// Whether there are only floats whose starts are not known.
pub(crate) fn is_plain(samples: &Samples) -> bool {
    samples.histograms.is_empty() && samples.starts_ms.is_empty()
}

/// The time of the first sample of any kind.
pub(crate) fn first_ms(samples: &Samples) -> Option<i64> {
    let histogram = samples.histograms.first().map(|sample| sample.timestamp_ms);
    samples.timestamps_ms.first().copied().into_iter().chain(histogram).min()
}

/// The time of the last sample of any kind.
pub(crate) fn last_ms(samples: &Samples) -> Option<i64> {
    let histogram = samples.histograms.last().map(|sample| sample.timestamp_ms);
    samples.timestamps_ms.last().copied().max(histogram)
}

/// The times of all samples, those of floats and histograms in one order.
pub(crate) fn times(samples: &Samples) -> impl Iterator<Item = i64> + '_ {
    let mut floats = samples.timestamps_ms.iter().copied().peekable();
    let mut histograms = samples.histograms.iter().map(|sample| sample.timestamp_ms).peekable();
    std::iter::from_fn(move || match (floats.peek(), histograms.peek()) {
        (Some(float_ms), Some(histogram_ms)) if histogram_ms < float_ms => histograms.next(),
        (Some(_), _) => floats.next(),
        (None, _) => histograms.next(),
    })
}

/// Appends some floats and histograms of `from`, which are later than those in `into`.
pub(crate) fn append(into: &mut Samples, from: &Samples, floats: Range<usize>, histograms: Range<usize>) {
    if !into.starts_ms.is_empty() || !from.starts_ms.is_empty() {
        into.starts_ms.resize(into.timestamps_ms.len(), 0);
        into.starts_ms.extend(floats.clone().map(|at| from.start_ms(at)));
    }
    into.timestamps_ms.extend_from_slice(from.timestamps_ms.get(floats.clone()).unwrap_or_default());
    into.values.extend_from_slice(from.values.get(floats).unwrap_or_default());
    into.histograms.extend_from_slice(from.histograms.get(histograms).unwrap_or_default());
}

/// The floats and histograms inside `range`.
pub(crate) fn within(samples: &Samples, range: TimeRange) -> (Range<usize>, Range<usize>) {
    let (start_ms, end_ms) = (range.start.0, range.end.0);
    let start = samples.timestamps_ms.partition_point(|&at_ms| at_ms < start_ms);
    let end = samples.timestamps_ms.partition_point(|&at_ms| at_ms <= end_ms);
    let first = samples.histograms.partition_point(|sample| sample.timestamp_ms < start_ms);
    let last = samples.histograms.partition_point(|sample| sample.timestamp_ms <= end_ms);
    (start..end.max(start), first..last.max(first))
}

/// The place of those from number `from` on, which are ascending, that lie inside `range`.
fn inside<T>(column: &[T], from: usize, time_ms: impl Fn(&T) -> i64, range: TimeRange) -> Range<usize> {
    let tail = column.get(from..).unwrap_or_default();
    let start = tail.partition_point(|one| time_ms(one) < range.start.0);
    let end = tail.partition_point(|one| time_ms(one) <= range.end.0);
    from + start..from + end.max(start)
}

/// Cuts away what lies outside `range`.
pub(crate) fn clip(samples: &mut Samples, range: TimeRange) {
    let (floats, histograms) = within(samples, range);
    keep_floats(samples, 0, &floats);
    keep(&mut samples.histograms, 0, &histograms);
}

/// Cuts away those of the floats from number `from` on that lie outside `range`.
pub(crate) fn clip_floats(samples: &mut Samples, from: usize, range: TimeRange) {
    let tail = samples.timestamps_ms.get(from..).unwrap_or_default();
    let start = from + tail.partition_point(|&at_ms| at_ms < range.start.0);
    let end = from + tail.partition_point(|&at_ms| at_ms <= range.end.0);
    keep_floats(samples, from, &(start..end.max(start)));
}

fn keep_floats(samples: &mut Samples, from: usize, range: &Range<usize>) {
    keep(&mut samples.timestamps_ms, from, range);
    keep(&mut samples.values, from, range);
    if !samples.starts_ms.is_empty() {
        keep(&mut samples.starts_ms, from, range);
    }
}

/// Of all from number `from` on keeps those in `range`.
fn keep<T>(column: &mut Vec<T>, from: usize, range: &Range<usize>) {
    column.truncate(range.end);
    column.drain(from.min(column.len())..range.start.min(column.len()));
}

/// Forgets starts of which none is known.
pub(crate) fn forget_unknown_starts(samples: &mut Samples) {
    if samples.starts_ms.iter().all(|&start_ms| start_ms == 0) {
        samples.starts_ms.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use model::{FullSample, Histogram, SampleValue};
    use proptest::prelude::*;

    type Model = BTreeMap<i64, FullSample>;

    fn any_part(times: Range<i64>) -> impl Strategy<Value = Model> {
        prop::collection::btree_map(times, (0u32..5, 0i64..3), 0..20).prop_map(|part| {
            let full = |(timestamp_ms, (kind, start_ms))| {
                let histogram = || Histogram { count: f64::from(kind), ..Histogram::default() };
                let value = if kind < 3 {
                    SampleValue::Float(f64::from(kind))
                } else {
                    SampleValue::Histogram(histogram().into())
                };
                (timestamp_ms, FullSample { timestamp_ms, start_ms, value })
            };
            part.into_iter().map(full).collect()
        })
    }

    proptest! {
        /// Part after part, apart or not: the later one counts, and what lies outside a range is cut away.
        #[test]
        fn parts_are_laid_over_each_other(
            parts in prop::collection::vec(prop_oneof![any_part(0..30), any_part(20..60), any_part(50..90)], 1..6),
            range in (0i64..90, 0i64..90),
        ) {
            let (mut samples, mut scratch, mut want) = (Samples::default(), Scratch::default(), Model::new());
            for part in parts {
                let before = Mark::of(&samples);
                for sample in part.values() {
                    samples.push_full(sample.clone());
                }
                before.settle(&mut samples, &mut scratch);
                want.extend(part);
                prop_assert!(times(&samples).eq(want.keys().copied()));
                prop_assert_eq!((first_ms(&samples), last_ms(&samples)),
                    (want.keys().next().copied(), want.keys().next_back().copied()));
            }
            prop_assert_eq!(samples.iter_full().collect::<Vec<_>>(), want.values().cloned().collect::<Vec<_>>());
            let range = TimeRange::new(range.0, range.1);
            let (floats, histograms) = within(&samples, range);
            let mut inside = Samples::default();
            append(&mut inside, &samples, floats, histograms);
            clip(&mut samples, range);
            want.retain(|at_ms, _| range.contains(*at_ms));
            for of in [samples, inside] {
                prop_assert_eq!(of.iter_full().collect::<Vec<_>>(), want.values().cloned().collect::<Vec<_>>());
            }
        }
    }
}
