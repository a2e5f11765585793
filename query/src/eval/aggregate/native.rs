//! Histograms in `sum` and `avg`.
//!
//! A group folds its floats as ever and, from its first histogram on, holds one state a step for the histograms.

use std::sync::Arc;

use model::{Histogram, SampleValue};

use super::super::column::{Column, Head, Sink, is_present};
use super::super::error::Result;
use super::super::evaluator::{Evaluator, metric_name, unparen};
use super::super::grid::Grid;
use super::super::guard::Held;
use super::super::notes::{HistogramOperation, Note};
use super::super::window::HISTOGRAM_UNITS;
use super::{Fold, Groups};
use crate::ast::Aggregate;
use crate::native::{HistogramMean, HistogramSum, Joined, MixedKinds};

/// What many histograms become one by.
pub(super) trait Join: Sized {
    fn starting_at(first: &Histogram) -> Self;
    fn add(&mut self, next: &Histogram) -> std::result::Result<(), MixedKinds>;
    fn finish(self) -> Joined;
}

impl Join for HistogramSum {
    fn starting_at(first: &Histogram) -> Self {
        Self::starting_at(first)
    }

    fn add(&mut self, next: &Histogram) -> std::result::Result<(), MixedKinds> {
        self.add(next)
    }

    fn finish(self) -> Joined {
        self.finish()
    }
}

impl Join for HistogramMean {
    fn starting_at(first: &Histogram) -> Self {
        Self::starting_at(first)
    }

    fn add(&mut self, next: &Histogram) -> std::result::Result<(), MixedKinds> {
        self.add(next)
    }

    fn finish(self) -> Joined {
        self.finish()
    }
}

/// What came of the histograms of a group at one step.
#[derive(Debug)]
enum Histograms<J> {
    None,
    /// All so far; how many bytes the largest of them has.
    Joined(Box<J>, usize),
    /// A float came, too: there is no result.
    BesideFloats,
    /// They do not combine: there is no result.
    Refused,
}

/// One group: its floats, and its histograms unless it has none.
#[derive(Debug)]
struct State<F, J> {
    floats: Vec<F>,
    histograms: Vec<Histograms<J>>,
}

/// What a histogram in the making takes, relative to one that is stored: a compensation beside each count.
const JOINED_SIZE: usize = 2;

impl<J: Join> Histograms<J> {
    fn add(&mut self, histogram: &Histogram, held: &mut Held<'_>) -> Result<std::result::Result<(), MixedKinds>> {
        let bytes = histogram.memory_bytes();
        match self {
            Self::None => {
                held.grow(size_of::<J>() + JOINED_SIZE * bytes)?;
                *self = Self::Joined(Box::new(J::starting_at(histogram)), bytes);
            }
            Self::Joined(joined, largest) => {
                if let Err(mixed) = joined.add(histogram) {
                    *self = Self::Refused;
                    return Ok(Err(mixed));
                }
                if bytes > *largest {
                    held.grow(JOINED_SIZE * (bytes - *largest))?;
                    *largest = bytes;
                }
            }
            Self::BesideFloats | Self::Refused => {}
        }
        Ok(Ok(()))
    }
}

impl Evaluator<'_> {
    /// `sum` and `avg`: floats folded by `F`, histograms joined by `J`. A mix of both has no result.
    pub(super) fn joined<F: Fold, J: Join>(
        &self,
        aggregate: &Aggregate,
        grid: Grid,
        sink: &mut Sink<'_>,
    ) -> Result<()> {
        let span = unparen(&aggregate.expr).span;
        let mut groups = Groups::<State<F, J>>::new(&self.guard, aggregate)?;
        self.vector(&aggregate.expr, grid, &mut |head, column| {
            self.guard.spend(grid.len)?;
            let at = groups.find(&head, |held, label_bytes| {
                held.grow_series::<F>(grid.len, label_bytes)?;
                Ok(State { floats: vec![F::default(); grid.len], histograms: Vec::new() })
            })?;
            let State { floats, histograms } = &mut groups.states[at];
            F::add_all(floats, column.slots());
            if !column.has_histograms() {
                return Ok(());
            }
            if histograms.is_empty() {
                groups.held.grow_series::<Histograms<J>>(grid.len, 0)?;
                histograms.resize_with(grid.len, || Histograms::None);
            }
            for (step, histogram) in column.histograms() {
                self.guard.spend(HISTOGRAM_UNITS)?;
                if is_present(floats[step].value()) {
                    histograms[step] = Histograms::BesideFloats;
                } else if histograms[step].add(histogram, &mut groups.held)?.is_err() {
                    self.notes.add(Note::MixedSchemas(&metric_name(&head)), span);
                }
            }
            Ok(())
        })?;
        let Groups { heads, states, held: _held, .. } = groups;
        let mut column = Column::default();
        for (head, state) in heads.into_iter().zip(states) {
            column.reset(grid.len);
            super::results_of(&state.floats, &mut column);
            for (step, histograms) in state.histograms.into_iter().enumerate() {
                self.guard.spend(1)?;
                let value = self.result_beside(column.get(step), histograms, aggregate);
                column.set(step, value);
            }
            emit(head, &mut column, sink)?;
        }
        Ok(())
    }

    /// The result of a group at a step with the result of its floats and what came of its histograms.
    fn result_beside<J: Join>(
        &self,
        float: Option<f64>,
        histograms: Histograms<J>,
        aggregate: &Aggregate,
    ) -> Option<SampleValue> {
        let span = unparen(&aggregate.expr).span;
        match (float, histograms) {
            (float, Histograms::None) => float.map(SampleValue::Float),
            (None, Histograms::Joined(joined, _)) => {
                let Joined { histogram, hints_conflict, bounds_reconciled } = joined.finish();
                if hints_conflict {
                    self.notes.add(Note::ResetCollision(HistogramOperation::Aggregation), span);
                }
                if bounds_reconciled {
                    self.notes.add(Note::BoundsReconciled(HistogramOperation::Aggregation), span);
                }
                Some(SampleValue::Histogram(Arc::new(histogram)))
            }
            (None, Histograms::Refused) => None,
            (Some(_), _) | (None, Histograms::BesideFloats) => {
                self.notes.add(Note::MixedInAggregation, span);
                None
            }
        }
    }
}

fn emit(head: Head, column: &mut Column, sink: &mut Sink<'_>) -> Result<()> {
    if column.is_empty() { Ok(()) } else { sink(head, column) }
}
