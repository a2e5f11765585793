//! Calls of `rate` and its like.
//!
//! Owns how they go over the windows of each series, and what is told of a metric that seems to be no counter. What they
//! compute of a window is `rate`'s, `extended`'s, `pure`'s and, for histograms, `native_range`'s.

use model::SampleValue;

use super::column::{Column, Head, Sink, is_present};
use super::condensed;
use super::error::{Result, execution};
use super::evaluator::{Evaluator, metric_name, unparen};
use super::extended::extended;
use super::grid::Grid;
use super::marks::{Marks, Resets};
use super::native_range::{self, Kind, Met, kind};
use super::notes::Note;
use super::pure::Pure;
use super::range_call::push;
use super::rate::{RateKind, Steady, extrapolated};
use super::summaries::Takes;
use super::window::{RangeSink, Window};
use crate::ast::{Call, Expr, Span};
use crate::functions::FunctionId;

/// The name endings that say "counter".
const COUNTER_SUFFIXES: [&str; 4] = ["_total", "_sum", "_count", "_bucket"];
/// The label that says what kind of metric it is, where types are labels.
const TYPE_LABEL: &str = "__type__";
/// The types that say "counter".
const COUNTER_TYPES: [&str; 2] = ["counter", "histogram"];

impl Evaluator<'_> {
    /// `rate`, `increase` and `delta`.
    pub(super) fn rate_call(&self, call: &Call, arg: &Expr, grid: Grid, sink: &mut Sink<'_>) -> Result<()> {
        let Some(rate) = RateKind::of(call.function.id) else { return Err(execution("expected a rate")) };
        let mut column = Column::default();
        let mut resets = Resets::default();
        let mut steady = Steady::default();
        let mut histogram_resets = Marks::default();
        let visit: &mut RangeSink<'_> = &mut |head, samples, frame| {
            let mut met = Met::default();
            if frame.extension.is_some() {
                frame
                    .slide_full(&self.guard, samples, &mut column, |window| extended(rate, frame, window, &mut met))?;
            } else {
                if rate.is_counter {
                    resets.find(&samples.timestamps_ms, &samples.values, &samples.starts_ms);
                    histogram_resets.find_histograms(&samples.histograms);
                }
                let mut of_floats = |window: &Window<'_>, met: &mut Met| {
                    if rate.is_counter && resets.has_overlap(window.first, window.after) {
                        met.add_overlap();
                    }
                    if window.has_summaries() {
                        return condensed::extrapolated(window, rate);
                    }
                    extrapolated(window, rate, &mut resets, &mut steady)
                };
                if samples.histograms.is_empty() {
                    frame
                        .slide_steadily(&self.guard, samples, &mut column, |window| Ok(of_floats(window, &mut met)))?;
                } else {
                    frame.slide_full(&self.guard, samples, &mut column, |window| match kind(window, &mut met)? {
                        Kind::Floats => of_floats(window, &mut met).map(SampleValue::Float),
                        Kind::Histograms(of) => {
                            native_range::extrapolated(window, of, rate, &mut histogram_resets, &mut met)
                        }
                    })?;
                }
            }
            let span = unparen(arg).span;
            self.tell(met, &head, span)?;
            if rate.is_counter {
                self.note_non_counter(&head, &column, span);
            }
            push(head.dropped(), &mut column, sink)
        };
        self.ranges(arg, Takes::of(call), grid, visit)
    }

    /// Tells of a float result that is called a counter and seems to be none.
    fn note_non_counter(&self, head: &Head, column: &Column, span: Span) {
        let name = metric_name(head);
        let has_floats = || column.slots().iter().any(|&value| is_present(value));
        match head.labels.get(TYPE_LABEL) {
            _ if name.is_empty() => {}
            Some(found) => {
                if !COUNTER_TYPES.contains(&found) && has_floats() {
                    self.notes.add(Note::PossibleNonCounterType(found, &name), span);
                }
            }
            None => {
                if !COUNTER_SUFFIXES.iter().any(|suffix| name.ends_with(suffix)) && has_floats() {
                    self.notes.add(Note::PossibleNonCounter(&name), span);
                }
            }
        }
    }

    /// `rate_pure` and `increase_pure`.
    pub(super) fn pure_call(&self, call: &Call, arg: &Expr, grid: Grid, sink: &mut Sink<'_>) -> Result<()> {
        let mut column = Column::default();
        let mut pure = Pure::new(call.function.id == FunctionId::RatePure);
        self.anchored_ranges(arg, Takes::of(call), grid, &mut |head, samples, frame| {
            let mut met = Met::default();
            pure.restart(samples);
            frame.slide_full(&self.guard, samples, &mut column, |window| pure.change(frame, window, &mut met))?;
            let span = unparen(arg).span;
            self.tell(met, &head, span)?;
            self.note_non_counter(&head, &column, span);
            push(head.dropped(), &mut column, sink)
        })
    }
}
