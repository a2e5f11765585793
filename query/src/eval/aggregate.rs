//! Aggregations that fold series into groups as they come: a group holds one small state a step, whatever the number
//! of its series.
//!
//! Also the dispatch of all aggregations and the index of groups. Those that need more than a fold are `rank`'s, what
//! becomes of histograms in `sum` and `avg` is [`native`]'s.

mod native;

use std::collections::HashMap;

use model::Labels;

use super::column::{ABSENT, Column, Head, Sink, is_present};
use super::error::{Result, execution};
use super::evaluator::{Evaluator, unparen};
use super::grid::Grid;
use super::guard::{Guard, Held};
use super::math::Mean;
use super::names::KeyMaker;
use super::notes::{Note, Number};
use crate::ast::{Aggregate, AggregateOp, Expr, Span};
use crate::compensated::CompensatedSum;
use crate::native::{HistogramMean, HistogramSum};

impl Evaluator<'_> {
    /// Evaluates an aggregation.
    pub(crate) fn aggregate(&self, aggregate: &Aggregate, span: Span, grid: Grid, sink: &mut Sink<'_>) -> Result<()> {
        use AggregateOp as Op;
        match (aggregate.op, &aggregate.param) {
            (Op::Sum, _) => self.joined::<Sum, HistogramSum>(aggregate, grid, sink),
            (Op::Avg, _) => self.joined::<Mean, HistogramMean>(aggregate, grid, sink),
            (Op::Count, _) => self.folded::<Count>(aggregate, grid, sink),
            (Op::Min, _) => self.folded::<Smallest>(aggregate, grid, sink),
            (Op::Max, _) => self.folded::<Largest>(aggregate, grid, sink),
            (Op::Group, _) => self.folded::<Any>(aggregate, grid, sink),
            (Op::Stdvar, _) => self.folded::<Variance>(aggregate, grid, sink),
            (Op::Stddev, _) => self.folded::<Variance>(aggregate, grid, &mut |head, column| {
                column.map(f64::sqrt);
                sink(head, column)
            }),
            (Op::Topk | Op::Bottomk, Some(k)) => self.best((aggregate, span), k, grid, sink),
            (Op::Quantile, Some(q)) => self.quantile_of_groups(aggregate, q, grid, sink),
            (Op::CountValues, Some(label)) => self.count_values(aggregate, label, grid, sink),
            (Op::Limitk, Some(k)) => self.limitk(aggregate, k, grid, sink),
            (Op::LimitRatio, Some(ratio)) => self.limit_ratio(aggregate, ratio, grid, sink),
            _ => Err(execution(format!("{} takes a parameter", aggregate.op.as_str()))),
        }
    }

    /// Aggregations that fold floats and, of histograms, see at most that there is one.
    fn folded<F: Fold>(&self, aggregate: &Aggregate, grid: Grid, sink: &mut Sink<'_>) -> Result<()> {
        let counts_histograms = matches!(aggregate.op, AggregateOp::Count | AggregateOp::Group);
        let span = unparen(&aggregate.expr).span;
        let mut groups = Groups::<Vec<F>>::new(&self.guard, aggregate)?;
        self.vector(&aggregate.expr, grid, &mut |head, column| {
            self.guard.spend(grid.len)?;
            if column.has_histograms() && !counts_histograms && !self.without_histograms(aggregate, span, column) {
                return Ok(());
            }
            let at = groups.find(&head, |held, label_bytes| {
                held.grow_series::<F>(grid.len, label_bytes)?;
                Ok(vec![F::default(); grid.len])
            })?;
            let states = &mut groups.states[at];
            F::add_all(states, column.slots());
            for (step, _) in column.histograms() {
                states[step].add(1.0);
            }
            Ok(())
        })?;
        let Groups { heads, states, held: _held, .. } = groups;
        let mut column = Column::default();
        for (head, states) in heads.into_iter().zip(states) {
            column.reset(grid.len);
            results_of(&states, &mut column);
            if !column.is_empty() {
                sink(head, &mut column)?;
            }
        }
        Ok(())
    }

    /// Removes the histograms of a series for an aggregation that knows floats alone, and tells of it at `span`; whether
    /// any float is left.
    pub(crate) fn without_histograms(&self, aggregate: &Aggregate, span: Span, column: &mut Column) -> bool {
        if column.drop_histograms() {
            self.notes.add(Note::IgnoredInAggregation(aggregate.op.as_str()), span);
        }
        !column.is_empty()
    }

    /// The values of a parameter that is a count: whole numbers a step, below 1 for none.
    pub(crate) fn counts(&self, param: &Expr, grid: Grid) -> Result<Vec<usize>> {
        const LIMIT: f64 = 9_223_372_036_854_775_807.0;
        let values = self.scalar(param, grid)?;
        values
            .into_iter()
            .map(|value| match value {
                value if value.is_nan() => Err(execution("Parameter value is NaN")),
                value if value >= LIMIT => Err(execution(format!("Scalar value {} overflows int64", Number(value)))),
                value if value <= -LIMIT => Err(execution(format!("Scalar value {} underflows int64", Number(value)))),
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "negative ones become 0")]
                value => Ok(value as usize),
            })
            .collect()
    }
}

/// The groups of an aggregation in the order they appeared, each with a state.
#[derive(Debug)]
pub(crate) struct Groups<'g, T> {
    pub(crate) heads: Vec<Head>,
    pub(crate) states: Vec<T>,
    pub(crate) held: Held<'g>,
    keys: KeyMaker,
    index: HashMap<Labels, usize>,
}

impl<'g, T> Groups<'g, T> {
    pub(crate) fn new(guard: &'g Guard<'_>, aggregate: &Aggregate) -> Result<Self> {
        Ok(Self {
            heads: Vec::new(),
            states: Vec::new(),
            held: guard.hold(0)?,
            keys: KeyMaker::of_grouping(aggregate.grouping.as_ref()),
            index: HashMap::new(),
        })
    }

    /// The group of a series. `start` makes the state of a new one and accounts for it.
    pub(crate) fn find(&mut self, head: &Head, start: impl FnOnce(&mut Held<'g>, usize) -> Result<T>) -> Result<usize> {
        let key = self.keys.key(&head.labels);
        let at = if let Some(&at) = self.index.get(&key) {
            at
        } else {
            let at = self.heads.len();
            self.states.push(start(&mut self.held, key.packed().len())?);
            self.index.insert(key.clone(), at);
            self.heads.push(Head::new(key));
            at
        };
        // A group is to lose its name if any of its series is.
        self.heads[at].drop_name |= head.drop_name;
        Ok(at)
    }
}

/// Puts what became of the floats of a group in its column.
fn results_of<F: Fold>(states: &[F], column: &mut Column) {
    column.slots_mut().iter_mut().zip(states).for_each(|(slot, state)| *slot = state.value());
}

/// What becomes of the floats of a group at one step.
trait Fold: Copy + Default {
    /// Takes in one value.
    fn add(&mut self, value: f64);

    /// Takes in the values of a series, one a step.
    #[inline]
    fn add_all(states: &mut [Self], slots: &[f64]) {
        for (state, &value) in states.iter_mut().zip(slots) {
            if is_present(value) {
                state.add(value);
            }
        }
    }

    /// The result; [`ABSENT`] when no value came.
    fn value(&self) -> f64;
}

#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    sum: CompensatedSum,
    any: bool,
}

impl Fold for Sum {
    fn add(&mut self, value: f64) {
        if self.any {
            self.sum.add(value);
        } else {
            *self = Self { sum: CompensatedSum::starting_at(value), any: true };
        }
    }

    fn value(&self) -> f64 {
        if self.any { self.sum.total() } else { ABSENT }
    }
}

impl Fold for Mean {
    fn add(&mut self, value: f64) {
        Mean::add(self, value);
    }

    fn value(&self) -> f64 {
        self.mean().unwrap_or(ABSENT)
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Count(f64);

impl Fold for Count {
    fn add(&mut self, _: f64) {
        self.0 += 1.0;
    }

    fn value(&self) -> f64 {
        if self.0 > 0.0 { self.0 } else { ABSENT }
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Any(bool);

impl Fold for Any {
    fn add(&mut self, _: f64) {
        self.0 = true;
    }

    fn value(&self) -> f64 {
        if self.0 { 1.0 } else { ABSENT }
    }
}

/// The smallest value; NaN only if there is nothing else.
#[derive(Debug, Clone, Copy)]
struct Smallest(f64);

impl Default for Smallest {
    fn default() -> Self {
        Self(ABSENT)
    }
}

impl Fold for Smallest {
    fn add(&mut self, value: f64) {
        // The mark of absence is a NaN too.
        if value < self.0 || self.0.is_nan() {
            self.0 = value;
        }
    }

    fn value(&self) -> f64 {
        self.0
    }
}

/// The largest value; NaN only if there is nothing else.
#[derive(Debug, Clone, Copy)]
struct Largest(f64);

impl Default for Largest {
    fn default() -> Self {
        Self(ABSENT)
    }
}

impl Fold for Largest {
    fn add(&mut self, value: f64) {
        if value > self.0 || self.0.is_nan() {
            self.0 = value;
        }
    }

    fn value(&self) -> f64 {
        self.0
    }
}

/// The population variance (Welford's method); NaN with any infinity or NaN.
#[derive(Debug, Clone, Copy, Default)]
struct Variance {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Fold for Variance {
    fn add(&mut self, value: f64) {
        self.count += 1.0;
        let delta = value - self.mean;
        self.mean += delta / self.count;
        self.squares += if value.is_finite() { delta * (value - self.mean) } else { f64::NAN };
    }

    fn value(&self) -> f64 {
        if self.count > 0.0 { self.squares / self.count } else { ABSENT }
    }
}
