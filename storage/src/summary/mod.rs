//! Summaries of samples: made of samples, of finer summaries, and of what is known of one window twice.
//!
//! Pure functions between columns; [`mod@column`] codes them for blocks. When they are made, and of what, is the engine's
//! business. Counts, extremes, first and last are those of the samples. Sums are compensated (Neumaier, 1974);
//! increases and sums are exact where values are whole numbers below 2^53.
#![warn(clippy::indexing_slicing)]

mod beside;
pub mod column;

use std::cmp::Ordering;
use std::ops::Range;

use model::sample::is_stale_marker;

use model::summary::window_end_ms;
use model::{Samples, Summary};

pub use beside::{one_by_one, settle_beside};

/// Appends the summaries of floats, ascending in time, by windows of `window_ms`. Of stale markers only that they end
/// a series is kept; those of windows without samples are [`settle_beside`]'s.
pub fn summarise(timestamps_ms: &[i64], values: &[f64], window_ms: i64, into: &mut Vec<Summary>) {
    let mut open: Option<Window> = None;
    for (&at_ms, &value) in timestamps_ms.iter().zip(values) {
        into.extend(open.take_if(|window| at_ms > window.end_ms).map(Window::close));
        match (&mut open, is_stale_marker(value)) {
            (Some(window), true) => window.summary.ended = true,
            (Some(window), false) => window.push(at_ms, value),
            (None, true) => {}
            (None, false) => open = Some(Window::new(window_ms, at_ms, value)),
        }
    }
    into.extend(open.map(Window::close));
}

/// Appends summaries by windows of `window_ms`, made of finer ones, ascending in time, whose windows divide these.
pub fn regroup(finer: &[Summary], window_ms: i64, into: &mut Vec<Summary>) {
    let mut open: Option<Summary> = None;
    for one in finer {
        let one = Summary { window_ms, ..*one };
        open = Some(match open {
            Some(before) if before.end_ms() == one.end_ms() => join(&before, &one),
            before => {
                into.extend(before);
                one
            }
        });
    }
    into.extend(open);
}

/// The summary of two parts of one window; `later` has the later samples.
pub fn join(earlier: &Summary, later: &Summary) -> Summary {
    let down = later.first < earlier.last;
    let resets = earlier.resets + u64::from(down) + later.resets;
    Summary {
        window_ms: later.window_ms,
        count: earlier.count + later.count,
        first_ms: earlier.first_ms,
        last_ms: later.last_ms,
        first: earlier.first,
        last: later.last,
        min: earlier.min.min(later.min),
        max: earlier.max.max(later.max),
        sum: earlier.sum + later.sum,
        before_resets: earlier.before_resets + if down { earlier.last } else { 0.0 } + later.before_resets,
        resets,
        changes: earlier.changes + u64::from(differs(earlier.last, later.first)) + later.changes,
        ended: later.ended,
    }
}

/// What is known of each window from two sources, both ascending in time: `older`, and `newer`, which was made later
/// and mostly of all samples, in which case it counts. Where it lacks samples of the older one, that one stays, for it holds what
/// is kept nowhere else, joined with what clearly is not in it: a newer one that lies apart, or else those of `samples`, which the newer
/// was made of, that lie before its first and behind its last. What lies in between may be in it already.
pub fn reconcile(older: &[Summary], newer: &[Summary], samples: &Samples, into: &mut Vec<Summary>) {
    let (mut olds, mut news) = (older.iter().peekable(), newer.iter().peekable());
    loop {
        let next = match (olds.peek(), news.peek()) {
            (Some(old), Some(new)) if old.end_ms() == new.end_ms() => {
                olds.next().zip(news.next()).map(|(old, new)| of_both(old, new, samples))
            }
            (Some(old), Some(new)) if old.end_ms() < new.end_ms() => olds.next().copied(),
            (Some(_), None) => olds.next().copied(),
            (_, _) => news.next().copied(),
        };
        let Some(next) = next else { return };
        into.push(next);
    }
}

fn of_both(old: &Summary, new: &Summary, samples: &Samples) -> Summary {
    let whole = new.count >= old.count && new.first_ms <= old.first_ms && new.last_ms >= old.last_ms;
    if whole {
        *new
    } else if new.last_ms < old.first_ms {
        join(new, old)
    } else if old.last_ms < new.first_ms {
        join(old, new)
    } else {
        let start_ms = old.end_ms().saturating_sub(old.window_ms).saturating_add(1);
        let before = one_of(samples, start_ms..old.first_ms, old.window_ms);
        let behind = one_of(samples, old.last_ms.saturating_add(1)..old.end_ms().saturating_add(1), old.window_ms);
        let old = before.map_or(*old, |before| join(&before, old));
        behind.map_or(old, |behind| join(&old, &behind))
    }
}

/// The summary of the samples at `times_ms`, which lie in one window.
fn one_of(samples: &Samples, times_ms: Range<i64>, window_ms: i64) -> Option<Summary> {
    let at = |time_ms: i64| samples.timestamps_ms.partition_point(|&at_ms| at_ms < time_ms);
    let inside = at(times_ms.start)..at(times_ms.end);
    let mut made = Vec::new();
    let (timestamps_ms, values) = (samples.timestamps_ms.get(inside.clone()), samples.values.get(inside));
    summarise(timestamps_ms.unwrap_or_default(), values.unwrap_or_default(), window_ms, &mut made);
    made.pop()
}

/// Whether a value is a change; of two NaNs none is.
fn differs(before: f64, value: f64) -> bool {
    before.partial_cmp(&value) != Some(Ordering::Equal) && !(before.is_nan() && value.is_nan())
}

/// A window that is being filled.
#[derive(Debug)]
struct Window {
    summary: Summary,
    end_ms: i64,
    /// What was lost of the sum to rounding.
    sum_rest: f64,
}

impl Window {
    fn new(window_ms: i64, at_ms: i64, value: f64) -> Self {
        let summary = Summary {
            window_ms,
            count: 1,
            first_ms: at_ms,
            last_ms: at_ms,
            first: value,
            last: value,
            min: value,
            max: value,
            sum: value,
            before_resets: 0.0,
            resets: 0,
            changes: 0,
            ended: false,
        };
        Self { summary, end_ms: window_end_ms(at_ms, window_ms), sum_rest: 0.0 }
    }

    fn push(&mut self, at_ms: i64, value: f64) {
        let Self { summary, sum_rest, .. } = self;
        if value < summary.last {
            summary.resets += 1;
            summary.before_resets += summary.last;
        }
        summary.changes += u64::from(differs(summary.last, value));
        summary.count += 1;
        summary.last_ms = at_ms;
        summary.last = value;
        summary.min = summary.min.min(value);
        summary.max = summary.max.max(value);
        summary.ended = false;
        let sum = summary.sum + value;
        let rest = if summary.sum.abs() >= value.abs() { summary.sum - sum + value } else { value - sum + summary.sum };
        // Of infinite sums the rest is no number.
        if rest.is_finite() {
            *sum_rest += rest;
        }
        summary.sum = sum;
    }

    fn close(self) -> Summary {
        let Self { mut summary, sum_rest, .. } = self;
        if summary.sum.is_finite() {
            summary.sum += sum_rest;
        }
        summary
    }
}
