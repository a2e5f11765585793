//! Calls of functions over range vectors.
//!
//! Owns which computation a call is and how it goes over the windows of each series: looking at every sample of each, or
//! with state that moves along where windows overlap much. The computations are those of the neighbours.

use model::{Labels, SampleValue, Samples};

use super::column::{Column, Head, Sink};
use super::condensed;
use super::error::{Result, execution};
use super::evaluator::{Evaluator, unparen};
use super::extended::{ANCHORED, SMOOTHED};
use super::grid::{Grid, seconds};
use super::marks::{Marks, Resets, is_change};
use super::math::count;
use super::names::absent_labels;
use super::native_range::{self, Kind, Met, kind};
use super::notes::Note;
use super::ordered::Ordered;
use super::over_time::{Best, Line, check_factor, of_window, regression, smoothing};
use super::sliding::{Products, Sliding, Squares, Values};
use super::summaries::Takes;
use super::window::{Frame, Window};
use crate::ast::{Call, Expr, ExprKind, RangeExtension};
use crate::functions::FunctionId;
use crate::native;

/// What making up an annotation costs, in values touched.
const NOTE_UNITS: usize = 64;

/// Takes the samples of a series as they are.
type RawSink<'s> = dyn FnMut(Head, Samples) -> Result<()> + 's;

/// Computes the column of a series.
type OfSeries<'s> = dyn FnMut(&Frame<'_>, &Samples, &mut Column, &mut Met) -> Result<()> + 's;

impl Evaluator<'_> {
    /// Evaluates a function of a range vector.
    pub(crate) fn range_call(&self, call: &Call, grid: Grid, sink: &mut Sink<'_>) -> Result<()> {
        use FunctionId as F;
        let id = call.function.id;
        for arg in &call.args {
            check_extension(call, arg)?;
        }
        match (id, call.args.as_slice()) {
            (F::AbsentOverTime, [arg]) => self.absent_over_time(call, arg, grid, sink),
            (F::Rate | F::Increase | F::Delta, [arg]) => self.rate_call(call, arg, grid, sink),
            (F::RatePure | F::IncreasePure, [arg]) => self.pure_call(call, arg, grid, sink),
            (F::Changes | F::Resets, [arg]) => self.events_call(call, arg, grid, sink),
            (F::Irate | F::Idelta, [arg]) => {
                self.each_series(call, (arg, arg), grid, sink, &mut |frame, samples, column, met| {
                    frame.slide_full(&self.guard, samples, column, |window| {
                        native_range::last_change(window, id == F::Irate, met)
                    })
                })
            }
            (F::SumOverTime | F::AvgOverTime, [arg]) => self.sum_call(call, arg, grid, sink),
            (F::StddevOverTime | F::StdvarOverTime, [arg]) => self.deviation_call(call, arg, grid, sink),
            (F::QuantileOverTime, [q, arg]) => self.quantile_call(call, (q, arg), grid, sink),
            (F::PredictLinear, [arg, ahead]) => {
                let ahead = self.scalar(ahead, grid)?;
                self.line_call(call, arg, grid, sink, &|window| window.time_ms, &|window, line| {
                    line.slope * ahead[window.step] + line.intercept
                })
            }
            (F::Deriv, [arg]) => {
                self.line_call(call, arg, grid, sink, &|window| window.all_times_ms[window.first], &|_, line| {
                    line.slope
                })
            }
            (F::DoubleExponentialSmoothing, [arg, factor, trend]) => {
                let (factors, trends) = (self.scalar(factor, grid)?, self.scalar(trend, grid)?);
                for (&factor, &trend) in factors.iter().zip(&trends) {
                    check_factor("smoothing", "sf", factor)?;
                    check_factor("trend", "tf", trend)?;
                }
                self.of_floats(call, arg, grid, sink, &mut |window| {
                    smoothing(window.values(), factors[window.step], trends[window.step])
                })
            }
            (F::MinOverTime | F::MaxOverTime, [arg]) => {
                let Some(mut best) = Best::of(id) else { return Err(unknown(call)) };
                self.each_series(call, (arg, arg), grid, sink, &mut |frame, samples, column, met| {
                    best.restart();
                    frame.slide(&self.guard, samples, column, |window| {
                        met.has_floats(window).then(|| best.value(window))
                    })
                })
            }
            (F::LastOverTime | F::FirstOverTime, [arg]) => self.picked(call, arg, grid, sink),
            (_, [arg]) => match (of_both_kinds(id), of_window(id)) {
                (Some(compute), _) => {
                    self.each_series(call, (arg, arg), grid, sink, &mut |frame, samples, column, _| {
                        frame.slide(&self.guard, samples, column, compute)
                    })
                }
                (_, Some(mut compute)) => self.of_floats(call, arg, grid, sink, &mut compute),
                _ => Err(unknown(call)),
            },
            _ => Err(unknown(call)),
        }
    }

    /// Computes the column of each series of `arg` and hands it on without name. What was met is told of `noted`, the
    /// function's first argument.
    fn each_series(
        &self,
        call: &Call,
        (arg, noted): (&Expr, &Expr),
        grid: Grid,
        sink: &mut Sink<'_>,
        compute: &mut OfSeries<'_>,
    ) -> Result<()> {
        let mut column = Column::default();
        self.ranges(arg, Takes::of(call), grid, &mut |head, samples, frame| {
            let mut met = Met::default();
            compute(frame, samples, &mut column, &mut met)?;
            self.tell(met, &head, unparen(noted).span)?;
            push(head.dropped(), &mut column, sink)
        })
    }

    /// A function of the floats of each window, which has some.
    fn of_floats(
        &self,
        call: &Call,
        arg: &Expr,
        grid: Grid,
        sink: &mut Sink<'_>,
        of_window: &mut dyn FnMut(&Window<'_>) -> Option<f64>,
    ) -> Result<()> {
        self.each_series(call, (arg, arg), grid, sink, &mut |frame, samples, column, met| {
            frame.slide(
                &self.guard,
                samples,
                column,
                |window| {
                    if met.has_floats(window) { of_window(window) } else { None }
                },
            )
        })
    }

    /// A function of the floats of each window: by `moving`, which keeps state from window to window, where that is worth
    /// it and it yields something, else by `looking` at every sample.
    fn slide_floats(
        &self,
        (frame, samples, column, met): (&Frame<'_>, &Samples, &mut Column, &mut Met),
        mut moving: impl FnMut(&Window<'_>) -> Option<f64>,
        looking: impl Fn(&Window<'_>) -> Option<f64>,
    ) -> Result<()> {
        if !samples.histograms.is_empty() || !frame.revisits(samples) {
            return frame.slide(&self.guard, samples, column, |window| {
                if met.has_floats(window) { looking(window) } else { None }
            });
        }
        frame.slide_steadily(&self.guard, samples, column, |window| {
            if let Some(value) = moving(window) {
                return Ok(Some(value));
            }
            self.guard.spend(window.floats())?;
            Ok(looking(window))
        })
    }

    /// `changes` and `resets`: how many of the places where something happened lie in a window.
    fn events_call(&self, call: &Call, arg: &Expr, grid: Grid, sink: &mut Sink<'_>) -> Result<()> {
        let is_of_resets = call.function.id == FunctionId::Resets;
        let (mut marks, mut resets) = (Marks::default(), Resets::default());
        self.each_series(call, (arg, arg), grid, sink, &mut |frame, samples, column, _| {
            let found = match (is_of_resets, samples.histograms.is_empty()) {
                (true, true) => {
                    resets.find(&samples.timestamps_ms, &samples.values, &samples.starts_ms);
                    &mut resets.marks
                }
                (true, false) => {
                    marks.find_full(samples, native::is_reset_between);
                    &mut marks
                }
                (false, true) => {
                    marks.find(&samples.values, is_change);
                    &mut marks
                }
                (false, false) => {
                    marks.find_full(samples, |before, sample| native::is_change(&before.value, &sample.value));
                    &mut marks
                }
            };
            frame.slide_steadily(&self.guard, samples, column, |window| {
                if window.is_empty() {
                    return Ok(None);
                }
                // Places among the samples of both kinds in order.
                let first = window.first + window.first_histogram;
                let from = if frame.extension.is_some() && window.has_anchor(frame) { first - 1 } else { first };
                if window.has_summaries() && samples.histograms.is_empty() {
                    self.guard.spend(window.floats())?;
                    let before = (from < first).then(|| samples.values[from]);
                    let events = if is_of_resets { condensed::resets } else { condensed::changes };
                    return Ok(Some(events(window, before)));
                }
                Ok(Some(count(found.between(from, window.after + window.after_histogram).len())))
            })
        })
    }

    /// `sum_over_time` and `avg_over_time`.
    fn sum_call(&self, call: &Call, arg: &Expr, grid: Grid, sink: &mut Sink<'_>) -> Result<()> {
        let id = call.function.id;
        let is_mean = id == FunctionId::AvgOverTime;
        let Some(looking) = of_window(id) else { return Err(execution("expected a sum")) };
        let mut sums = Sliding::<Values, 1>::new();
        self.each_series(call, (arg, arg), grid, sink, &mut |frame, samples, column, met| {
            sums.restart();
            if samples.histograms.is_empty() {
                let moving = |window: &Window<'_>| match window.has_summaries() {
                    true => None,
                    false if is_mean => sums.mean(window),
                    false => sums.sum(window),
                };
                return self.slide_floats((frame, samples, column, met), moving, looking);
            }
            frame.slide_full(&self.guard, samples, column, |window| match kind(window, met)? {
                Kind::Floats => looking(window).map(SampleValue::Float),
                Kind::Histograms(of) if is_mean => native_range::mean(of, met),
                Kind::Histograms(of) => native_range::sum(of, met),
            })
        })
    }

    /// `stddev_over_time` and `stdvar_over_time`.
    fn deviation_call(&self, call: &Call, arg: &Expr, grid: Grid, sink: &mut Sink<'_>) -> Result<()> {
        let id = call.function.id;
        let is_root = id == FunctionId::StddevOverTime;
        let Some(looking) = of_window(id) else { return Err(execution("expected a deviation")) };
        let mut sums = Sliding::<Squares, 2>::new();
        self.each_series(call, (arg, arg), grid, sink, &mut |frame, samples, column, met| {
            sums.restart();
            let moving = |window: &Window<'_>| {
                let variance = sums.variance(window)?;
                Some(if is_root { variance.sqrt() } else { variance })
            };
            self.slide_floats((frame, samples, column, met), moving, looking)
        })
    }

    /// Functions of the least-squares line of each window, which starts at `origin_ms`.
    fn line_call(
        &self,
        call: &Call,
        arg: &Expr,
        grid: Grid,
        sink: &mut Sink<'_>,
        origin_ms: &dyn Fn(&Window<'_>) -> i64,
        finish: &dyn Fn(&Window<'_>, Line) -> f64,
    ) -> Result<()> {
        let mut sums = Sliding::<Products, 4>::new();
        self.each_series(call, (arg, arg), grid, sink, &mut |frame, samples, column, met| {
            sums.restart();
            let moving = |window: &Window<'_>| {
                // Keeps up even where there is no line.
                let line = sums.line(window, origin_ms(window))?;
                (window.floats() > 1).then(|| finish(window, line))
            };
            let looking = |window: &Window<'_>| regression(window, origin_ms(window)).map(|line| finish(window, line));
            self.slide_floats((frame, samples, column, met), moving, looking)
        })
    }

    /// `quantile_over_time`.
    fn quantile_call(&self, call: &Call, (q, arg): (&Expr, &Expr), grid: Grid, sink: &mut Sink<'_>) -> Result<()> {
        let wanted = self.scalar(q, grid)?;
        self.note_quantiles(&wanted, q)?;
        let mut ordered = Ordered::default();
        self.each_series(call, (arg, q), grid, sink, &mut |frame, samples, column, met| {
            ordered.restart();
            frame.slide_steadily(&self.guard, samples, column, |window| {
                if !met.has_floats(window) {
                    return Ok(None);
                }
                let (value, work) = ordered.quantile(wanted[window.step], window);
                self.guard.spend(work)?;
                Ok(Some(value))
            })
        })
    }

    /// `last_over_time` and `first_over_time`, which keep the name.
    fn picked(&self, call: &Call, arg: &Expr, grid: Grid, sink: &mut Sink<'_>) -> Result<()> {
        let pick = if call.function.id == FunctionId::LastOverTime { native_range::last } else { native_range::first };
        let mut column = Column::default();
        self.ranges(arg, Takes::of(call), grid, &mut |head, samples, frame| {
            frame.slide_full(&self.guard, samples, &mut column, pick)?;
            push(head, &mut column, sink)
        })
    }

    /// 1 at the steps where no series has a sample in its window.
    fn absent_over_time(&self, call: &Call, arg: &Expr, grid: Grid, sink: &mut Sink<'_>) -> Result<()> {
        let mut result = Column::default();
        result.fill(grid.len, 1.0);
        let mut present = Column::default();
        self.ranges(arg, Takes::of(call), grid, &mut |_, samples, frame| {
            frame.slide(&self.guard, samples, &mut present, |_| Some(1.0))?;
            result.retain(|step| !present.has(step));
            Ok(())
        })?;
        let labels = match &unparen(arg).kind {
            ExprKind::Range(range) => absent_labels(&range.selector),
            ExprKind::Selector(selector) => absent_labels(selector),
            _ => Labels::empty(),
        };
        push(Head::new(labels), &mut result, sink)
    }

    /// Warns of quantiles outside 0 to 1.
    pub(crate) fn note_quantiles(&self, wanted: &[f64], expr: &Expr) -> Result<()> {
        let mut told = None;
        for &q in wanted {
            if !(0.0..=1.0).contains(&q) && told != Some(q.to_bits()) {
                told = Some(q.to_bits());
                self.guard.spend(NOTE_UNITS)?;
                self.notes.add(Note::InvalidQuantile(q), unparen(expr).span);
            }
        }
        Ok(())
    }

    /// The samples of a range vector at a single time, as an instant query for a range vector shows them.
    pub(crate) fn raw_ranges(&self, expr: &Expr, time_ms: i64, visit: &mut RawSink<'_>) -> Result<()> {
        let mut column = Column::default();
        self.ranges(expr, Takes::RAW, Grid::instant(time_ms), &mut |head, samples, frame| {
            let mut found = Samples::default();
            frame.slide(&self.guard, samples, &mut column, |window| {
                found = window.to_samples();
                None
            })?;
            visit(head, found)
        })
    }
}

/// The functions that count samples of both kinds alike.
fn of_both_kinds(id: FunctionId) -> Option<fn(&Window<'_>) -> Option<f64>> {
    Some(match id {
        FunctionId::CountOverTime => |window| {
            let floats = if window.has_summaries() { condensed::samples(window) } else { count(window.floats()) };
            Some(floats + count(window.histograms().len()))
        },
        FunctionId::PresentOverTime => |_| Some(1.0),
        FunctionId::TsOfFirstOverTime => |window| native_range::first_ms(window).map(seconds),
        FunctionId::TsOfLastOverTime => |window| native_range::last_ms(window).map(seconds),
        _ => return None,
    })
}

/// Hands a series on unless it has no value.
pub(super) fn push(head: Head, column: &mut Column, sink: &mut Sink<'_>) -> Result<()> {
    if column.is_empty() { Ok(()) } else { sink(head, column) }
}

fn extension_of(arg: &Expr) -> Option<RangeExtension> {
    match &unparen(arg).kind {
        ExprKind::Range(range) => range.selector.extension,
        _ => None,
    }
}

/// Refuses `anchored` and `smoothed` where they mean nothing.
fn check_extension(call: &Call, arg: &Expr) -> Result<()> {
    let (modifier, allowed) = match extension_of(arg) {
        None => return Ok(()),
        Some(RangeExtension::Anchored) => ("anchored", ANCHORED.as_slice()),
        Some(RangeExtension::Smoothed) => ("smoothed", SMOOTHED.as_slice()),
    };
    if allowed.contains(&call.function.id) {
        return Ok(());
    }
    let names: Vec<&str> = crate::functions::FUNCTIONS
        .iter()
        .filter(|function| allowed.contains(&function.id))
        .map(|function| function.name)
        .collect();
    Err(execution(format!(
        "{modifier} modifier can only be used with: {} - not with {}",
        names.join(", "),
        call.function.name
    )))
}

fn unknown(call: &Call) -> super::QueryError {
    execution(format!("function {:?} does not take these arguments", call.function.name))
}
