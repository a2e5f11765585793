//! Ranges that hold histograms: what range functions compute of them, and what is to be told where a range holds both
//! kinds of sample.
//!
//! Owns the rules about kinds; the arithmetic over histograms is `native`'s.

use std::sync::Arc;

use model::{Histogram, HistogramSample, ResetHint, SampleValue};

use super::column::Head;
use super::error::Result;
use super::evaluator::{Evaluator, metric_name};
use super::grid::seconds;
use super::marks::Marks;
use super::notes::{HistogramOperation, Note};
use super::rate::{RateKind, Sampled};
use super::window::{Frame, Window};
use crate::ast::{RangeExtension, Span};
use crate::native::{self, Finding, Findings, HistogramMean, HistogramSum, Joined, MixedKinds};

/// What making up an annotation costs, in values touched.
const NOTE_UNITS: usize = 64;

/// What the windows of a series met that the user should know of, beside [`Finding`]s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Remark {
    /// Both kinds of sample where only one can be.
    Mixed,
    /// Histograms beside the floats that count.
    Ignored,
    /// Counters that began anew and such that went on, summed.
    HintsConflict,
    /// Custom buckets summed within the bounds they share.
    BoundsReconciled,
}

/// What the windows of a series met. Told once a series, however many windows there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Met {
    findings: Findings,
    remarks: [bool; 4],
}

impl Met {
    /// Notes what arithmetic met.
    pub(crate) fn add(&mut self, findings: Findings) {
        findings.iter().for_each(|finding| self.findings.add(finding));
    }

    /// Notes start times that contradict each other.
    pub(crate) fn add_overlap(&mut self) {
        self.findings.add(Finding::StartsOverlap);
    }

    /// Notes that there are both kinds where only one can be.
    pub(crate) fn add_mix(&mut self) {
        self.remark(Remark::Mixed);
    }

    fn remark(&mut self, remark: Remark) {
        self.remarks[remark as usize] = true;
    }

    /// Whether a function that knows floats alone has something to work on.
    #[inline]
    pub(crate) fn has_floats(&mut self, window: &Window<'_>) -> bool {
        if window.floats() > 0 && !window.histograms().is_empty() {
            self.remark(Remark::Ignored);
        }
        window.floats() > 0
    }
}

/// The only kind of sample in a window.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind<'a> {
    /// Floats, which the window has.
    Floats,
    /// Histograms, at least one.
    Histograms(&'a [HistogramSample]),
}

/// The kind of the samples in a window; nothing if there are none, and nothing but a note if there are both.
pub(crate) fn kind<'a>(window: &Window<'a>, met: &mut Met) -> Option<Kind<'a>> {
    match (window.floats(), window.histograms()) {
        (0, []) => None,
        (_, []) => Some(Kind::Floats),
        (0, histograms) => Some(Kind::Histograms(histograms)),
        _ => {
            met.add_mix();
            None
        }
    }
}

impl Evaluator<'_> {
    /// Makes annotations of what the windows of a series met; `span` is that of the function's first argument.
    pub(crate) fn tell(&self, met: Met, head: &Head, span: Span) -> Result<()> {
        if met == Met::default() {
            return Ok(());
        }
        let metric = metric_name(head);
        let of_finding = |finding| match finding {
            Finding::NotCounter => Note::NotCounter(&metric),
            Finding::NotGauge => Note::NotGauge(&metric),
            Finding::MixedKinds => Note::MixedSchemas(&metric),
            Finding::StartsOverlap => Note::StartsOverlap(&metric),
            Finding::BoundsReconciledSubtracting => Note::BoundsReconciled(HistogramOperation::Subtraction),
            Finding::BoundsReconciledAdding => Note::BoundsReconciled(HistogramOperation::Addition),
        };
        let of_remark = |remark| match remark {
            Remark::Mixed => Note::MixedInRange(&metric),
            Remark::Ignored => Note::IgnoredInRange(&metric),
            Remark::HintsConflict => Note::ResetCollision(HistogramOperation::Aggregation),
            Remark::BoundsReconciled => Note::BoundsReconciled(HistogramOperation::Aggregation),
        };
        let remarks = [Remark::Mixed, Remark::Ignored, Remark::HintsConflict, Remark::BoundsReconciled];
        let remarks = remarks.into_iter().filter(|&remark| met.remarks[remark as usize]).map(of_remark);
        for note in met.findings.iter().map(of_finding).chain(remarks) {
            self.guard.spend(NOTE_UNITS)?;
            self.notes.add(note, span);
        }
        Ok(())
    }
}

fn value(histogram: Histogram) -> SampleValue {
    SampleValue::Histogram(Arc::new(histogram))
}

/// The sum of histograms.
pub(crate) fn sum(histograms: &[HistogramSample], met: &mut Met) -> Option<SampleValue> {
    let (first, rest) = histograms.split_first()?;
    let mut sum = HistogramSum::starting_at(&first.histogram);
    let added: std::result::Result<(), _> = rest.iter().try_for_each(|next| sum.add(&next.histogram));
    joined(added.map(|()| sum.finish()), met)
}

/// The mean of histograms.
pub(crate) fn mean(histograms: &[HistogramSample], met: &mut Met) -> Option<SampleValue> {
    let (first, rest) = histograms.split_first()?;
    let mut mean = HistogramMean::starting_at(&first.histogram);
    let added: std::result::Result<(), _> = rest.iter().try_for_each(|next| mean.add(&next.histogram));
    joined(added.map(|()| mean.finish()), met)
}

fn joined(result: std::result::Result<Joined, MixedKinds>, met: &mut Met) -> Option<SampleValue> {
    let Ok(joined) = result else {
        met.findings.add(Finding::MixedKinds);
        return None;
    };
    if joined.hints_conflict {
        met.remark(Remark::HintsConflict);
    }
    if joined.bounds_reconciled {
        met.remark(Remark::BoundsReconciled);
    }
    Some(value(joined.histogram))
}

/// The change of histograms over the window, extrapolated to its ends. `resets` are the places among the histograms of the
/// series where a counter began anew.
pub(crate) fn extrapolated(
    window: &Window<'_>,
    histograms: &[HistogramSample],
    kind: RateKind,
    resets: &mut Marks,
    met: &mut Met,
) -> Option<SampleValue> {
    let (first, last) = (histograms.first()?, histograms.last()?);
    let start_ms = if kind.is_counter { first.start_ms } else { 0 };
    let sampled = Sampled::new(window, first.timestamp_ms, last.timestamp_ms, histograms.len(), start_ms);
    let mut findings = Findings::default();
    let resets = resets.between(window.first_histogram, window.after_histogram).iter();
    let resets = resets.map(|&at| at - window.first_histogram);
    let change = native::change_over(histograms, resets, kind.is_counter, &mut findings);
    let change = with_first(change, histograms, sampled.began_ms.is_some(), &mut findings);
    met.add(findings);
    let change = change?;
    let factor = sampled.factor(window, kind, first.histogram.count, change.count)?;
    Some(value(native::multiply(&change, factor)))
}

/// The change of histograms, and all of the first one if its counter `began` where the change does.
fn with_first(
    change: Option<Histogram>,
    histograms: &[HistogramSample],
    began: bool,
    findings: &mut Findings,
) -> Option<Histogram> {
    let first = histograms.first()?;
    if !began {
        return change;
    }
    if histograms.len() < 2 {
        return Some(Histogram { reset_hint: ResetHint::Gauge, ..(*first.histogram).clone() });
    }
    let Ok(joined) = native::add(&change?, &first.histogram) else {
        findings.add(Finding::MixedKinds);
        return None;
    };
    if joined.bounds_reconciled {
        findings.add(Finding::BoundsReconciledAdding);
    }
    Some(Histogram { reset_hint: ResetHint::Gauge, ..joined.histogram })
}

/// `irate` (of counters) and `idelta` where the window holds histograms: of the last two samples, if they are of a kind.
pub(crate) fn last_change(window: &Window<'_>, is_counter: bool, met: &mut Met) -> Option<SampleValue> {
    let floats = window.times_ms();
    let last_float_ms = floats.last().copied();
    let histograms = window.histograms();
    let last_two_are_floats = match (floats, histograms) {
        ([.., before_ms, _], [.., last]) => *before_ms > last.timestamp_ms,
        _ => false,
    };
    if last_two_are_floats || histograms.is_empty() {
        let change = if is_counter { super::rate::irate(window) } else { super::rate::idelta(window) };
        return change.map(SampleValue::Float);
    }
    let [.., before, last] = histograms else {
        // One histogram: with a float it makes a pair that cannot be.
        if last_float_ms.is_some() {
            met.add_mix();
        }
        return None;
    };
    if last_float_ms.is_some_and(|time_ms| time_ms > before.timestamp_ms) {
        met.add_mix();
        return None;
    }
    let mut findings = Findings::default();
    let change = native::last_change(before, last, is_counter, &mut findings);
    met.add(findings);
    let change = change?;
    let distance = seconds(last.timestamp_ms - before.timestamp_ms);
    Some(value(if is_counter { native::divide(&change, distance) } else { change }))
}

/// The oldest sample of either kind in a window.
pub(crate) fn first(window: &Window<'_>) -> Option<SampleValue> {
    let float = first_float(window);
    match window.histograms().first() {
        Some(first) if float.is_none_or(|(time_ms, _)| first.timestamp_ms < time_ms) => {
            Some(SampleValue::Histogram(first.histogram.clone()))
        }
        _ => float.map(|(_, value)| SampleValue::Float(value)),
    }
}

/// The newest sample of either kind in a window.
pub(crate) fn last(window: &Window<'_>) -> Option<SampleValue> {
    let float = window.times_ms().last().copied();
    match window.histograms().last() {
        Some(last) if float.is_none_or(|time_ms| last.timestamp_ms > time_ms) => {
            Some(SampleValue::Histogram(last.histogram.clone()))
        }
        _ => window.values().last().copied().map(SampleValue::Float),
    }
}

/// When the oldest sample of either kind was taken.
pub(crate) fn first_ms(window: &Window<'_>) -> Option<i64> {
    let histogram = window.histograms().first().map(|sample| sample.timestamp_ms);
    first_float(window).map(|(time_ms, _)| time_ms).into_iter().chain(histogram).min()
}

/// The oldest float, summed up or not.
fn first_float(window: &Window<'_>) -> Option<(i64, f64)> {
    (window.floats() > 0).then(|| window.earliest_of(window.first))
}

/// When the newest sample of either kind was taken.
pub(crate) fn last_ms(window: &Window<'_>) -> Option<i64> {
    let histogram = window.histograms().last().map(|sample| sample.timestamp_ms);
    window.times_ms().last().copied().into_iter().chain(histogram).max()
}

/// The histograms of an extended window: those inside, the one before, and for smoothed ends the one after, the latter
/// no farther than lookback.
pub(crate) fn extended_histograms<'a>(frame: &Frame<'_>, window: &Window<'a>) -> &'a [HistogramSample] {
    let all = window.all_histograms;
    let oldest_ms = window.start_ms.saturating_sub(frame.lookback_ms);
    let before = window.first_histogram.checked_sub(1).filter(|&at| all[at].timestamp_ms > oldest_ms);
    let newest_ms = window.end_ms.saturating_add(frame.lookback_ms);
    let reaches_on = frame.extension == Some(RangeExtension::Smoothed);
    let has_next = all.get(window.after_histogram).is_some_and(|next| next.timestamp_ms <= newest_ms);
    let after = window.after_histogram + usize::from(reaches_on && has_next);
    &all[before.unwrap_or(window.first_histogram)..after]
}

/// `rate`, `increase` and `delta` of histograms over an extended window.
pub(crate) fn extended(frame: &Frame<'_>, window: &Window<'_>, kind: RateKind, met: &mut Met) -> Option<SampleValue> {
    let histograms = extended_histograms(frame, window);
    let is_smoothed = frame.extension == Some(RangeExtension::Smoothed);
    let mut findings = Findings::default();
    let ends = (window.start_ms, window.end_ms);
    let change = native::extended_change(histograms, ends, is_smoothed, kind.is_counter, &mut findings);
    met.add(findings);
    let change = change?;
    Some(value(if kind.is_rate { native::divide(&change, seconds(window.end_ms - window.start_ms)) } else { change }))
}

/// The exact change of a histogram counter over these samples, all of the first included if it `began` with them.
pub(crate) fn pure_change(histograms: &[HistogramSample], began: bool, met: &mut Met) -> Option<Histogram> {
    let mut findings = Findings::default();
    let change = match histograms {
        [lone] if !began => native::subtract(&lone.histogram, &lone.histogram).ok().map(|joined| joined.histogram),
        _ => {
            let change = native::change(histograms, true, &mut findings);
            with_first(change, histograms, began, &mut findings)
        }
    };
    met.add(findings);
    change
}
