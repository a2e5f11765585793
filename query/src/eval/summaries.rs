//! Summaries among the samples of a series: where downsampling left one of a window, and no samples.
//!
//! Owns how they are put among the samples, each by a sample that stands in for it, which lookback holds for them, and
//! which windows of which length are asked for. What functions compute of them is [`condensed`](super::condensed)'s and,
//! where a function needs samples, nobody's: it sees the stand-ins.

use std::fmt;

use model::sample::stale_marker;
use model::{Samples, Summary};

use super::calendar::Moment;
use super::grid::{Grid, Shift};
use crate::ast::{Call, Span};
use crate::functions::FunctionId;

/// Where windows do not divide what is asked for, so many of them are to cover it at least.
const PARTS_MIN: i64 = 64;

const NOWHERE: Span = Span { start: 0, end: 0 };

/// The summaries of one series.
#[derive(Debug, Default)]
pub(crate) struct Summaries {
    list: Vec<Summary>,
    /// Where the stand-in of each is among the floats.
    places: Vec<usize>,
}

/// A series without summaries.
pub(crate) static NONE: Summaries = Summaries { list: Vec::new(), places: Vec::new() };

impl Summaries {
    /// What a source is to replace.
    pub(crate) fn list_mut(&mut self) -> &mut Vec<Summary> {
        &mut self.list
    }

    /// All of them, ascending in time.
    #[inline]
    pub(crate) fn list(&self) -> &[Summary] {
        &self.list
    }

    /// The places of their stand-ins among the floats.
    #[inline]
    pub(crate) fn places(&self) -> &[usize] {
        &self.places
    }

    /// Memory of them, and of their stand-ins.
    pub(crate) fn bytes(&self) -> usize {
        self.list.len() * (size_of::<Summary>() + size_of::<usize>() + size_of::<(i64, f64)>())
    }

    /// Length of the longest window, 0 without any.
    pub(crate) fn window_ms_max(&self) -> i64 {
        self.list.iter().map(|summary| summary.window_ms).max().unwrap_or(0)
    }

    /// Puts the latest value of each among `samples`, which have no stale markers.
    pub(crate) fn stand_in(&mut self, samples: &mut Samples) {
        self.places.clear();
        if self.list.is_empty() {
            return;
        }
        insert(samples, self.list.iter().map(|summary| (summary.last_ms, summary.last)));
        let mut at = 0;
        self.places.extend(self.list.iter().map(|summary| {
            at += samples.timestamps_ms[at..].partition_point(|&time_ms| time_ms < summary.last_ms);
            at
        }));
    }

    /// Puts the latest value of each among `samples`, and a stale marker at the end of the windows that tell of one.
    pub(crate) fn stand_in_with_ends(&self, samples: &mut Samples) {
        let points = self.list.iter().flat_map(|summary| {
            let end = summary.ended.then(|| (summary.end_ms(), stale_marker()));
            [Some((summary.last_ms, summary.last)), end].into_iter().flatten()
        });
        insert(samples, points);
    }

    /// Puts the earliest and the latest value of each among `samples`.
    pub(crate) fn outline(&self, samples: &mut Samples) {
        let points = self.list.iter().flat_map(|summary| {
            let first = (summary.first_ms < summary.last_ms).then_some((summary.first_ms, summary.first));
            [first, Some((summary.last_ms, summary.last))].into_iter().flatten()
        });
        insert(samples, points);
    }

    /// What is to be told of them; nothing without any.
    pub(crate) fn extent(&self) -> Option<Extent> {
        let first = self.list.first()?;
        let start = Extent { window_ms: (first.window_ms, first.window_ms), end_ms: first.end_ms() };
        Some(self.list.iter().fold(start, |extent, next| {
            extent.join(Extent { window_ms: (next.window_ms, next.window_ms), end_ms: next.end_ms() })
        }))
    }
}

/// Puts `points`, which ascend in time, among the floats of `samples`. Where there is a sample already, it stays.
fn insert(samples: &mut Samples, points: impl Iterator<Item = (i64, f64)>) {
    let mut points = points.peekable();
    if points.peek().is_none() {
        return;
    }
    let has_starts = !samples.starts_ms.is_empty();
    let times_ms = std::mem::take(&mut samples.timestamps_ms);
    let values = std::mem::take(&mut samples.values);
    let starts_ms = std::mem::take(&mut samples.starts_ms);
    let mut push = |time_ms, value, start_ms| {
        samples.timestamps_ms.push(time_ms);
        samples.values.push(value);
        if has_starts {
            samples.starts_ms.push(start_ms);
        }
    };
    for (at, (&time_ms, &value)) in times_ms.iter().zip(&values).enumerate() {
        while let Some((time_ms, value)) = points.next_if(|&(point_ms, _)| point_ms < time_ms) {
            push(time_ms, value, 0);
        }
        points.next_if(|&(point_ms, _)| point_ms == time_ms);
        push(time_ms, value, starts_ms.get(at).copied().unwrap_or(0));
    }
    points.for_each(|(time_ms, value)| push(time_ms, value, 0));
}

/// How long a sample counts as the newest: a time for all, and for those that stand in for a summary as long as its
/// window, if that is longer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lookback<'a> {
    pub(crate) ms: i64,
    pub(crate) summaries: &'a Summaries,
}

impl Lookback<'_> {
    /// Whether the sample of `sample_ms` counts at `time_ms`, which is no earlier.
    #[inline]
    pub(crate) fn reaches(self, sample_ms: i64, time_ms: i64) -> bool {
        sample_ms > time_ms.saturating_sub(self.ms)
            || (!self.summaries.list.is_empty() && self.reaches_as_summary(sample_ms, time_ms))
    }

    fn reaches_as_summary(self, sample_ms: i64, time_ms: i64) -> bool {
        let list = &self.summaries.list;
        let found = list.binary_search_by_key(&sample_ms, |summary| summary.last_ms);
        found.is_ok_and(|at| sample_ms > time_ms.saturating_sub(list[at].window_ms))
    }
}

/// The longest windows that serve windows of `range_ms` at the times of `grid`: up to the common measure of range, step
/// and start, which cuts none if it is one of those there are, or a sixty-fourth of the range or the step.
pub(crate) fn range_window_ms(range_ms: i64, grid: Grid, shift: Shift) -> i64 {
    let step_ms = if grid.len > 1 && shift.at_ms.is_none() { grid.step_ms } else { range_ms };
    let even = common_measure(common_measure(range_ms, step_ms), shift.apply(grid.start_ms));
    even.max(range_ms.min(step_ms) / PARTS_MIN).max(1)
}

/// The longest windows that serve the newest values at the times of `grid`; the shortest there are for a single time.
pub(crate) fn instant_window_ms(grid: Grid, shift: Shift) -> i64 {
    if grid.len > 1 && shift.at_ms.is_none() { range_window_ms(grid.step_ms, grid, shift) } else { 1 }
}

/// The greatest number that divides both.
fn common_measure(a: i64, b: i64) -> i64 {
    let (mut a, mut b) = (a, b);
    while b != 0 {
        (a, b) = (b, a.wrapping_rem(b));
    }
    a.saturating_abs()
}

/// What a reader of series takes of summaries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Takes {
    /// The parts of a summary.
    pub(crate) columns: &'static str,
    /// Who needs samples, and is told that there are none.
    pub(crate) needs_samples: Option<&'static str>,
    /// The expression that is told of.
    pub(crate) span: Span,
}

impl Takes {
    /// An instant selector takes the latest values.
    pub(crate) const LAST: Self = Self { columns: "last", needs_samples: None, span: NOWHERE };

    /// `smoothed` selectors go from the earliest to the latest value.
    pub(crate) const OUTLINE: Self = Self { columns: "first, last", needs_samples: Some("smoothed"), span: NOWHERE };

    /// A range vector as the result of a query.
    pub(crate) const RAW: Self = Self { columns: "last", needs_samples: Some("a range vector"), span: NOWHERE };

    /// The same for the expression at `span`.
    pub(crate) fn at(self, span: Span) -> Self {
        Self { span, ..self }
    }

    /// Of a function of a range vector.
    pub(crate) fn of(call: &Call) -> Self {
        use FunctionId as F;
        let columns = match call.function.id {
            F::CountOverTime | F::PresentOverTime | F::AbsentOverTime => "count",
            F::SumOverTime => "sum",
            F::AvgOverTime => "sum, count",
            F::MinOverTime => "min",
            F::MaxOverTime => "max",
            F::FirstOverTime | F::TsOfFirstOverTime => "first",
            F::LastOverTime | F::TsOfLastOverTime => "last",
            F::Rate | F::Increase | F::RatePure | F::IncreasePure => "increase",
            F::Delta => "first, last",
            F::Changes => "changes",
            F::Resets => "resets",
            _ => return Self { needs_samples: Some(call.function.name), ..Self::LAST },
        };
        Self { columns, ..Self::LAST }
    }
}

/// Which summaries were met: of which lengths, and until when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    /// Lengths of the shortest and the longest window.
    pub(crate) window_ms: (i64, i64),
    /// The end of the latest window.
    pub(crate) end_ms: i64,
}

impl Extent {
    /// Other summaries too.
    pub(crate) fn join(self, other: Self) -> Self {
        let window_ms = (self.window_ms.0.min(other.window_ms.0), self.window_ms.1.max(other.window_ms.1));
        Self { window_ms, end_ms: self.end_ms.max(other.end_ms) }
    }
}

/// As it stands behind the text of an annotation.
impl fmt::Display for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (shortest, longest) = (Length(self.window_ms.0), Length(self.window_ms.1));
        write!(f, " of {shortest}")?;
        if self.window_ms.0 < self.window_ms.1 {
            write!(f, " to {longest}")?;
        }
        write!(f, ", all samples are kept from {} on", Moment(self.end_ms.div_euclid(1000)))
    }
}

/// A length of time as queries write it.
struct Length(i64);

impl fmt::Display for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s")];
        let (unit_ms, unit) = units.into_iter().find(|(unit_ms, _)| self.0 % unit_ms == 0).unwrap_or((1, "ms"));
        write!(f, "{}{unit}", self.0 / unit_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(last_ms: i64, last: f64, ended: bool) -> Summary {
        Summary {
            window_ms: 100,
            count: 2,
            first_ms: last_ms - 10,
            last_ms,
            first: last - 1.0,
            last,
            min: last - 1.0,
            max: last,
            sum: 2.0 * last - 1.0,
            before_resets: 0.0,
            resets: 0,
            changes: 1,
            ended,
        }
    }

    #[test]
    fn summaries_stand_among_samples() {
        let list = vec![summary(90, 1.0, true), summary(200, 2.0, false), summary(450, 3.0, false)];
        let mut summaries = Summaries { list, places: Vec::new() };
        let kept = || {
            let mut samples = Samples::from_floats(vec![210, 250, 500], vec![10.0, 11.0, 12.0]);
            samples.starts_ms = vec![5, 6, 7];
            samples
        };
        let mut samples = kept();
        summaries.stand_in(&mut samples);
        assert_eq!(samples.timestamps_ms, [90, 200, 210, 250, 450, 500]);
        assert_eq!(samples.values, [1.0, 2.0, 10.0, 11.0, 3.0, 12.0]);
        assert_eq!(samples.starts_ms, [0, 0, 5, 6, 0, 7]);
        assert_eq!(summaries.places(), [0, 1, 4]);
        let mut samples = kept();
        summaries.stand_in_with_ends(&mut samples);
        assert_eq!(samples.timestamps_ms, [90, 100, 200, 210, 250, 450, 500]);
        let mut samples = Samples::from_floats(vec![100], vec![10.0]);
        summaries.stand_in_with_ends(&mut samples);
        assert_eq!((&samples.timestamps_ms[..2], samples.values[1]), (&[90, 100][..], 10.0), "samples come first");
        let mut samples = kept();
        summaries.outline(&mut samples);
        assert_eq!(samples.timestamps_ms, [80, 90, 190, 200, 210, 250, 440, 450, 500]);

        let lookback = Lookback { ms: 50, summaries: &summaries };
        let reach = [(90, 139), (90, 189), (90, 190), (250, 299), (250, 300)];
        assert_eq!(reach.map(|(sample, time)| lookback.reaches(sample, time)), [true, true, false, true, false]);
    }

    #[test]
    fn windows_that_fit() {
        let grid = |start_ms, step_ms, len| Grid { start_ms, step_ms, len };
        let range = |range_ms, grid| range_window_ms(range_ms, grid, Shift::default());
        assert_eq!(range(3600, grid(7200, 600, 5)), 600, "divides all");
        assert_eq!(range(3600, grid(7200, 600, 1)), 3600, "the step of a single time does not matter");
        assert_eq!(range(86_400, grid(82_800, 86_400, 9)), 3600, "days that begin at another hour");
        assert_eq!(range(3600, grid(7201, 600, 5)), 9, "nothing divides a start beside the grid");
        assert_eq!(range(3600, grid(-7200, 600, 5)), 600);
        let instant = |grid| instant_window_ms(grid, Shift::default());
        assert_eq!((instant(grid(7200, 600, 5)), instant(grid(7200, 600, 1))), (600, 1));
        let fixed = Shift { at_ms: Some(7), offset_ms: 0 };
        assert_eq!(instant_window_ms(grid(7200, 600, 5), fixed), 1, "all steps look at one time");
    }

    #[test]
    fn extents_are_told() {
        let extent = Extent { window_ms: (300_000, 300_000), end_ms: 1_703_462_400_000 };
        assert_eq!(extent.to_string(), " of 5m, all samples are kept from 2023-12-25T00:00:00Z on");
        let both = extent.join(Extent { window_ms: (5_400_000, 5_400_000), end_ms: 0 });
        assert_eq!(both.to_string(), " of 5m to 90m, all samples are kept from 2023-12-25T00:00:00Z on");
    }
}
