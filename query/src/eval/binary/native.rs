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

#[cfg(test)]
mod tests {
    use model::histogram::{Bucket, CUSTOM_SCHEMA, ResetHint};

    use super::*;

    /// `count` observations in one bucket that ends at 1.
    fn exponential(count: f64) -> SampleValue {
        let positive = vec![Bucket { index: 0, count }];
        SampleValue::Histogram(Arc::new(Histogram { count, sum: count, positive, ..Histogram::default() }))
    }

    fn custom(count: f64) -> SampleValue {
        let positive = vec![Bucket { index: 0, count }];
        let (schema, custom_bounds) = (CUSTOM_SCHEMA, vec![1.0]);
        SampleValue::Histogram(Arc::new(Histogram { schema, count, positive, custom_bounds, ..Histogram::default() }))
    }

    fn hinted(value: SampleValue, reset_hint: ResetHint) -> SampleValue {
        let SampleValue::Histogram(histogram) = value else { return value };
        SampleValue::Histogram(Arc::new(Histogram { reset_hint, ..(*histogram).clone() }))
    }

    /// The count of a histogram, or the float; the note's text if there is none.
    fn show(op: BinaryOp, returns_bool: bool, left: &SampleValue, right: &SampleValue) -> String {
        let (value, notes) = combine(Operation::of(op, returns_bool), left, right);
        let value = match value {
            Some(SampleValue::Float(value)) => format!("float {value}"),
            Some(SampleValue::Histogram(histogram)) => format!("histogram {}", histogram.count),
            None => "nothing".to_owned(),
        };
        notes.iter().fold(value, |text, note| format!("{text}, {note:?}"))
    }

    #[test]
    fn what_operands_of_each_kind_make() {
        use BinaryOp as Op;
        let (h, other, float) = (exponential(4.0), exponential(2.0), SampleValue::Float(2.0));
        for (op, returns_bool, left, right, want) in [
            (Op::Multiply, false, &h, &float, "histogram 8"),
            (Op::Multiply, false, &float, &h, "histogram 8"),
            (Op::Divide, false, &h, &float, "histogram 2"),
            (Op::Add, false, &h, &other, "histogram 6"),
            (Op::Subtract, false, &h, &other, "histogram 2"),
            (Op::Equal, false, &h, &h, "histogram 4"),
            (Op::Equal, false, &h, &other, "nothing"),
            (Op::NotEqual, false, &h, &other, "histogram 4"),
            (Op::Equal, true, &h, &other, "float 0"),
            (Op::NotEqual, true, &h, &other, "float 1"),
            (Op::TrimUpper, false, &h, &float, "histogram 4"),
            (Op::TrimLower, false, &h, &float, "histogram 0"),
            (Op::Divide, false, &float, &h, "nothing, IncompatibleTypes(\"float\", \"/\", \"histogram\")"),
            (Op::Add, false, &h, &float, "nothing, IncompatibleTypes(\"histogram\", \"+\", \"float\")"),
            (Op::Equal, true, &h, &float, "nothing, IncompatibleTypes(\"histogram\", \"==\", \"float\")"),
            (Op::Less, true, &h, &other, "nothing, IncompatibleTypes(\"histogram\", \"<\", \"histogram\")"),
            (Op::Multiply, false, &h, &other, "nothing, IncompatibleTypes(\"histogram\", \"*\", \"histogram\")"),
            (Op::TrimUpper, false, &float, &float, "nothing, IncompatibleTypes(\"float\", \"</\", \"float\")"),
            (Op::TrimLower, false, &h, &other, "nothing, IncompatibleTypes(\"histogram\", \">/\", \"histogram\")"),
            (Op::Add, false, &h, &custom(1.0), "nothing, IncompatibleBuckets(\"+\")"),
            (Op::Add, false, &float, &float, "float 4"),
            (Op::Less, false, &float, &float, "nothing"),
        ] {
            assert_eq!(show(op, returns_bool, left, right), want, "{op:?}");
        }
    }

    #[test]
    fn contradicting_hints_are_told_of() {
        let (a, b) = (hinted(exponential(1.0), ResetHint::Reset), hinted(exponential(2.0), ResetHint::NotReset));
        assert_eq!(show(BinaryOp::Add, false, &a, &b), "histogram 3, ResetCollision(Addition)");
        assert_eq!(show(BinaryOp::Subtract, false, &a, &b), "histogram -1, ResetCollision(Subtraction)");
    }
}
