//! Binary operators with native histograms: what two operands of any kind make, and the loop over a column with them.
//!
//! A combination without meaning yields nothing and tells an annotation. Columns without histograms do not come here.

use std::sync::Arc;

use model::{Histogram, SampleValue};

use super::super::column::{Column, is_present};
use super::super::error::Result;
use super::super::evaluator::Evaluator;
use super::super::notes::{HistogramOperation, Note};
use super::super::window::HISTOGRAM_UNITS;
use super::{Operation, Place, Yields};
use crate::ast::{BinaryOp, Span};
use crate::native::{self, Joined, Keep};

/// What the column's values are combined with.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Partner<'a> {
    /// One number a step.
    Scalars(&'a [f64]),
    /// One value a step, or none.
    Column(&'a Column),
}

impl Partner<'_> {
    fn at(self, step: usize) -> Option<SampleValue> {
        match self {
            Self::Scalars(values) => values.get(step).copied().map(SampleValue::Float),
            Self::Column(column) => column.point(step),
        }
    }
}

/// The result of two operands, if there is one, and what is to be told of it.
type Combined = (Option<SampleValue>, Vec<Note<'static>>);

impl Evaluator<'_> {
    /// Replaces each value of a column by what the operation makes of it and its partner; nothing where one of them is
    /// absent.
    pub(crate) fn histograms_with(
        &self,
        operation: Operation,
        place: Place,
        column: &mut Column,
        partner: Partner<'_>,
        span: Span,
    ) -> Result<()> {
        for step in 0..column.len() {
            let (Some(own), Some(other)) = (column.point(step), partner.at(step)) else {
                column.set(step, None);
                continue;
            };
            let (left, right) = if place == Place::Left { (&own, &other) } else { (&other, &own) };
            if matches!((left, right), (SampleValue::Histogram(_), _) | (_, SampleValue::Histogram(_))) {
                self.guard.spend(HISTOGRAM_UNITS)?;
            }
            let (value, notes) = combine(operation, left, right);
            for note in notes {
                self.notes.add(note, span);
            }
            let keeps_right = operation.yields == Yields::Filtered && place == Place::RightKept;
            let kept = if keeps_right { value.map(|_| own) } else { value };
            column.set(step, kept);
        }
        Ok(())
    }
}

/// What an operation makes of two operands; a filter keeps the left one.
pub(crate) fn combine(operation: Operation, left: &SampleValue, right: &SampleValue) -> Combined {
    use SampleValue::{Float, Histogram};
    let result = match (left, right) {
        (Float(left), Float(right)) if operation.yields != Yields::Trimmed => {
            let value = operation.of_floats(*left, *right);
            return (is_present(value).then_some(Float(value)), Vec::new());
        }
        (Float(factor), Histogram(histogram)) if operation.op == BinaryOp::Multiply => {
            Some(native::multiply(histogram, *factor))
        }
        (Histogram(histogram), Float(by)) => with_float(operation.op, histogram, *by),
        (Histogram(left), Histogram(right)) => match operation.op {
            BinaryOp::Add => {
                return joined(operation.op, native::add(left, right), HistogramOperation::Addition);
            }
            BinaryOp::Subtract => {
                return joined(operation.op, native::subtract(left, right), HistogramOperation::Subtraction);
            }
            BinaryOp::Equal | BinaryOp::NotEqual => {
                let holds = native::equals(left, right) == (operation.op == BinaryOp::Equal);
                let value = match operation.yields {
                    Yields::Bool => Some(Float(f64::from(u8::from(holds)))),
                    _ => holds.then(|| Histogram(left.clone())),
                };
                return (value, Vec::new());
            }
            _ => None,
        },
        _ => None,
    };
    match result {
        Some(histogram) => (Some(Histogram(Arc::new(histogram))), Vec::new()),
        None => (None, vec![Note::IncompatibleTypes(kind_of(left), operation.op.as_str(), kind_of(right))]),
    }
}

fn with_float(op: BinaryOp, histogram: &Histogram, by: f64) -> Option<Histogram> {
    match op {
        BinaryOp::Multiply => Some(native::multiply(histogram, by)),
        BinaryOp::Divide => Some(native::divide(histogram, by)),
        BinaryOp::TrimUpper => Some(native::trim(histogram, Keep::Below, by)),
        BinaryOp::TrimLower => Some(native::trim(histogram, Keep::Above, by)),
        _ => None,
    }
}

fn joined(
    op: BinaryOp,
    result: std::result::Result<Joined, native::MixedKinds>,
    doing: HistogramOperation,
) -> Combined {
    match result {
        Ok(joined) => {
            let conflict = joined.hints_conflict.then_some(Note::ResetCollision(doing));
            let reconciled = joined.bounds_reconciled.then_some(Note::BoundsReconciled(doing));
            let value = SampleValue::Histogram(Arc::new(joined.histogram));
            (Some(value), conflict.into_iter().chain(reconciled).collect())
        }
        Err(native::MixedKinds) => (None, vec![Note::IncompatibleBuckets(op.as_str())]),
    }
}

fn kind_of(value: &SampleValue) -> &'static str {
    match value {
        SampleValue::Float(_) => "float",
        SampleValue::Histogram(_) => "histogram",
    }
}
