//! Binary operators: their meaning on two numbers, on scalars, and on a vector with a scalar.

use super::column::{ABSENT, Sink};
use super::error::{Result, execution};
use super::evaluator::Evaluator;
use super::grid::Grid;
use super::notes::Note;
use crate::ast::{Binary, BinaryOp, Span};

/// What an operator does with two numbers.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Operation {
    /// Yields a number.
    Arithmetic(fn(f64, f64) -> f64),
    /// Yields 1 or 0.
    Test(fn(f64, f64) -> bool),
    /// Keeps the left number or drops it.
    Filter(fn(f64, f64) -> bool),
}

impl Operation {
    /// Of an operator other than the set operators; nothing for those that floats do not have.
    pub(crate) fn of(op: BinaryOp, returns_bool: bool) -> Option<Self> {
        if let Some(holds) = comparison(op) {
            return Some(if returns_bool { Self::Test(holds) } else { Self::Filter(holds) });
        }
        arithmetic(op).map(Self::Arithmetic)
    }

    /// The result; [`ABSENT`] for what a filter drops.
    #[inline]
    pub(crate) fn apply(self, left: f64, right: f64) -> f64 {
        match self {
            Self::Arithmetic(compute) => compute(left, right),
            Self::Test(holds) => f64::from(u8::from(holds(left, right))),
            Self::Filter(holds) if holds(left, right) => left,
            Self::Filter(_) => ABSENT,
        }
    }

    /// Whether the result is the left number itself.
    pub(crate) fn is_filter(self) -> bool {
        matches!(self, Self::Filter(_))
    }
}

fn arithmetic(op: BinaryOp) -> Option<fn(f64, f64) -> f64> {
    Some(match op {
        BinaryOp::Add => |a, b| a + b,
        BinaryOp::Subtract => |a, b| a - b,
        BinaryOp::Multiply => |a, b| a * b,
        BinaryOp::Divide => |a, b| a / b,
        BinaryOp::Modulo => |a, b| a % b,
        BinaryOp::Power => f64::powf,
        BinaryOp::Atan2 => f64::atan2,
        _ => return None,
    })
}

#[expect(clippy::float_cmp, reason = "the language's == is exact")]
fn comparison(op: BinaryOp) -> Option<fn(f64, f64) -> bool> {
    Some(match op {
        BinaryOp::Equal => |a, b| a == b,
        BinaryOp::NotEqual => |a, b| a != b,
        BinaryOp::Less => |a, b| a < b,
        BinaryOp::LessEqual => |a, b| a <= b,
        BinaryOp::Greater => |a, b| a > b,
        BinaryOp::GreaterEqual => |a, b| a >= b,
        _ => return None,
    })
}

impl Evaluator<'_> {
    /// Evaluates a binary operation that yields a vector.
    pub(crate) fn binary(&self, binary: &Binary, span: Span, grid: Grid, sink: &mut Sink<'_>) -> Result<()> {
        if binary.op.is_set() {
            return self.set_operation(binary, grid, sink);
        }
        let Some(operation) = Operation::of(binary.op, binary.returns_bool) else {
            // Nothing comes of floats here, but what is wrong with the operands is still told.
            let mut any = false;
            for side in [&binary.left, &binary.right] {
                if Self::is_scalar(side) {
                    self.scalar(side, grid)?;
                } else {
                    self.vector(side, grid, &mut |_, _| {
                        any = true;
                        Ok(())
                    })?;
                }
            }
            if any {
                self.notes.add(Note::IncompatibleTypes("float", binary.op.as_str(), "float"), span);
            }
            return Ok(());
        };
        match (Self::is_scalar(&binary.left), Self::is_scalar(&binary.right)) {
            (false, false) => self.matched(binary, operation, grid, sink),
            (false, true) => {
                let right = self.scalar(&binary.right, grid)?;
                self.vector(&binary.left, grid, &mut |head, column| {
                    self.guard.spend(grid.len)?;
                    column.map_steps(|at, value| operation.apply(value, right[at]));
                    let head = if operation.is_filter() { head } else { head.dropped() };
                    if column.is_empty() { Ok(()) } else { sink(head, column) }
                })
            }
            (true, false) => {
                let left = self.scalar(&binary.left, grid)?;
                self.vector(&binary.right, grid, &mut |head, column| {
                    self.guard.spend(grid.len)?;
                    // A filter keeps the vector's value, on whichever side it stands.
                    column.map_steps(|at, value| match operation {
                        Operation::Filter(holds) if holds(left[at], value) => value,
                        Operation::Filter(_) => ABSENT,
                        other => other.apply(left[at], value),
                    });
                    let head = if operation.is_filter() { head } else { head.dropped() };
                    if column.is_empty() { Ok(()) } else { sink(head, column) }
                })
            }
            (true, true) => Err(execution("expected an instant vector")),
        }
    }

    /// An operation on two scalars; a comparison yields 1 or 0.
    pub(crate) fn scalar_binary(&self, binary: &Binary, grid: Grid) -> Result<Vec<f64>> {
        let Some(operation) = Operation::of(binary.op, true) else {
            return Err(execution(format!("operator {} is not defined for scalars", binary.op.as_str())));
        };
        let mut values = self.scalar(&binary.left, grid)?;
        for (value, right) in values.iter_mut().zip(self.scalar(&binary.right, grid)?) {
            *value = operation.apply(*value, right);
        }
        Ok(values)
    }
}
