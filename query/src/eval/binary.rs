//! Binary operators: their meaning on two numbers, on scalars, and on a vector with a scalar.
//!
//! Owns the loops over floats, one compiled for each operator. What operators do with histograms is [`native`]'s,
//! which elements of two vectors meet `matching`'s.

mod native;

use super::column::{ABSENT, Column, Sink, is_present};
use super::error::{Result, execution};
use super::evaluator::Evaluator;
use super::grid::Grid;
use super::notes::Note;
use crate::ast::{Binary, BinaryOp, Span};

pub(crate) use native::Partner;

/// An operator other than the set operators, and what it yields.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Operation {
    pub(crate) op: BinaryOp,
    pub(crate) yields: Yields,
}

/// What becomes of two operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Yields {
    /// A new value.
    Computed,
    /// 1 or 0.
    Bool,
    /// One of the operands, or nothing.
    Filtered,
    /// The left operand, cut; floats have no such operator.
    Trimmed,
}

/// Which operand the slots are that the results are written to. A filter keeps the left operand, or what the place
/// says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Left,
    Right,
    /// The right one, and a filter keeps it: the vector beside a scalar.
    RightKept,
}

impl Operation {
    pub(crate) fn of(op: BinaryOp, returns_bool: bool) -> Self {
        use BinaryOp as Op;
        let yields = match op {
            Op::Equal | Op::NotEqual | Op::Less | Op::LessEqual | Op::Greater | Op::GreaterEqual if returns_bool => {
                Yields::Bool
            }
            Op::Equal | Op::NotEqual | Op::Less | Op::LessEqual | Op::Greater | Op::GreaterEqual => Yields::Filtered,
            Op::TrimUpper | Op::TrimLower => Yields::Trimmed,
            _ => Yields::Computed,
        };
        Self { op, yields }
    }

    /// Whether the result is still what the metric's name says.
    pub(crate) fn keeps_name(self) -> bool {
        matches!(self.yields, Yields::Filtered | Yields::Trimmed)
    }

    /// Puts in each slot what the operation makes of it and the other operand at its step; nothing where one of them is
    /// absent, where a filter does not hold, and of operators that floats do not have.
    #[expect(clippy::float_cmp, reason = "the language's == is exact")]
    pub(crate) fn apply(self, place: Place, slots: &mut [f64], others: &[f64]) {
        match self.op {
            BinaryOp::Add => arithmetic(place, slots, others, |a, b| a + b),
            BinaryOp::Subtract => arithmetic(place, slots, others, |a, b| a - b),
            BinaryOp::Multiply => arithmetic(place, slots, others, |a, b| a * b),
            BinaryOp::Divide => arithmetic(place, slots, others, |a, b| a / b),
            BinaryOp::Modulo => arithmetic(place, slots, others, |a, b| a % b),
            BinaryOp::Power => arithmetic(place, slots, others, f64::powf),
            BinaryOp::Atan2 => arithmetic(place, slots, others, f64::atan2),
            BinaryOp::Equal => self.comparison(place, slots, others, |a, b| a == b),
            BinaryOp::NotEqual => self.comparison(place, slots, others, |a, b| a != b),
            BinaryOp::Less => self.comparison(place, slots, others, |a, b| a < b),
            BinaryOp::LessEqual => self.comparison(place, slots, others, |a, b| a <= b),
            BinaryOp::Greater => self.comparison(place, slots, others, |a, b| a > b),
            BinaryOp::GreaterEqual => self.comparison(place, slots, others, |a, b| a >= b),
            BinaryOp::TrimUpper | BinaryOp::TrimLower | BinaryOp::And | BinaryOp::Or | BinaryOp::Unless => {
                slots.fill(ABSENT);
            }
        }
    }

    #[inline]
    fn comparison(self, place: Place, slots: &mut [f64], others: &[f64], holds: impl Fn(f64, f64) -> bool) {
        if self.yields == Yields::Bool {
            return arithmetic(place, slots, others, |a, b| f64::from(u8::from(holds(a, b))));
        }
        match place {
            Place::Left => each(slots, others, |slot, other| if holds(slot, other) { slot } else { ABSENT }),
            Place::Right => each(slots, others, |slot, other| if holds(other, slot) { other } else { ABSENT }),
            Place::RightKept => each(slots, others, |slot, other| if holds(other, slot) { slot } else { ABSENT }),
        }
    }

    /// The result of two floats; [`ABSENT`] for none.
    pub(crate) fn of_floats(self, left: f64, right: f64) -> f64 {
        let mut slot = [left];
        self.apply(Place::Left, &mut slot, &[right]);
        slot[0]
    }
}

#[inline]
fn arithmetic(place: Place, slots: &mut [f64], others: &[f64], compute: impl Fn(f64, f64) -> f64) {
    if place == Place::Left {
        each(slots, others, compute);
    } else {
        each(slots, others, |slot, other| compute(other, slot));
    }
}

/// Puts `compute` of each slot and the other one in the slot where both have a value, and the mark of absence
/// elsewhere. Computed first and chosen then, which needs no branch.
#[inline]
fn each(slots: &mut [f64], others: &[f64], compute: impl Fn(f64, f64) -> f64) {
    for (slot, &other) in slots.iter_mut().zip(others) {
        let value = compute(*slot, other);
        *slot = if is_present(*slot) & is_present(other) { value } else { ABSENT };
    }
}

impl Evaluator<'_> {
    /// Evaluates a binary operation that yields a vector.
    pub(crate) fn binary(&self, binary: &Binary, span: Span, grid: Grid, sink: &mut Sink<'_>) -> Result<()> {
        if binary.op.is_set() {
            return self.set_operation(binary, grid, sink);
        }
        let operation = Operation::of(binary.op, binary.returns_bool);
        match (Self::is_scalar(&binary.left), Self::is_scalar(&binary.right)) {
            (false, false) => self.matched(binary, span, operation, grid, sink),
            (false, true) => {
                let right = self.scalar(&binary.right, grid)?;
                self.vector(&binary.left, grid, &mut |head, column| {
                    self.with_scalar(operation, Place::Left, column, &right, span)?;
                    let head = if operation.keeps_name() { head } else { head.dropped() };
                    if column.is_empty() { Ok(()) } else { sink(head, column) }
                })
            }
            (true, false) => {
                let left = self.scalar(&binary.left, grid)?;
                self.vector(&binary.right, grid, &mut |head, column| {
                    self.with_scalar(operation, Place::RightKept, column, &left, span)?;
                    let head = if operation.keeps_name() { head } else { head.dropped() };
                    if column.is_empty() { Ok(()) } else { sink(head, column) }
                })
            }
            (true, true) => Err(execution("expected an instant vector")),
        }
    }

    /// One series of a vector with a scalar. A filter keeps the vector's value, on whichever side it stands.
    fn with_scalar(
        &self,
        operation: Operation,
        place: Place,
        column: &mut Column,
        scalars: &[f64],
        span: Span,
    ) -> Result<()> {
        self.guard.spend(column.len())?;
        if operation.yields == Yields::Trimmed && column.slots().iter().any(|&value| is_present(value)) {
            self.notes.add(Note::IncompatibleTypes("float", operation.op.as_str(), "float"), span);
        }
        if !column.has_histograms() {
            operation.apply(place, column.slots_mut(), scalars);
            return Ok(());
        }
        self.histograms_with(operation, place, column, Partner::Scalars(scalars), span)
    }

    /// An operation on two scalars; a comparison yields 1 or 0.
    pub(crate) fn scalar_binary(&self, binary: &Binary, grid: Grid) -> Result<Vec<f64>> {
        let operation = Operation::of(binary.op, true);
        if operation.yields == Yields::Trimmed {
            return Err(execution(format!("operator {} is not defined for scalars", binary.op.as_str())));
        }
        let mut values = self.scalar(&binary.left, grid)?;
        operation.apply(Place::Left, &mut values, &self.scalar(&binary.right, grid)?);
        Ok(values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAN: f64 = f64::NAN;

    #[track_caller]
    fn check(op: BinaryOp, returns_bool: bool, place: Place, want: [Option<f64>; 5]) {
        let (mut slots, others) = ([1.0, 5.0, ABSENT, 2.0, NAN], [2.0, 2.0, 2.0, ABSENT, 2.0]);
        Operation::of(op, returns_bool).apply(place, &mut slots, &others);
        let got = slots.map(|value| is_present(value).then_some(value));
        assert!(format!("{got:?}") == format!("{want:?}"), "{op:?} {place:?}: {got:?}");
    }

    #[test]
    fn each_slot_with_the_other_operand() {
        use BinaryOp as Op;
        let some = |a, b| [Some(a), Some(b), None, None, Some(NAN)];
        check(Op::Subtract, false, Place::Left, some(-1.0, 3.0));
        check(Op::Subtract, false, Place::Right, some(1.0, -3.0));
        check(Op::Divide, false, Place::Left, some(0.5, 2.5));
        check(Op::Modulo, false, Place::Right, some(0.0, 2.0));
        check(Op::Greater, true, Place::Left, [Some(0.0), Some(1.0), None, None, Some(0.0)]);
        check(Op::NotEqual, true, Place::Right, [Some(1.0), Some(1.0), None, None, Some(1.0)]);
        check(Op::Greater, false, Place::Left, [None, Some(5.0), None, None, None]);
        check(Op::Greater, false, Place::Right, [Some(2.0), None, None, None, None]);
        check(Op::Greater, false, Place::RightKept, [Some(1.0), None, None, None, None]);
        check(Op::TrimUpper, false, Place::Left, [None; 5]);
    }
}
