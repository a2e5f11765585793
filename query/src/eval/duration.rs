//! Durations that a query computes: `step() * 2`, `max_of(1m, range())`.

use super::error::{Result, execution};
use super::evaluator::Evaluator;
use super::grid::seconds;
use crate::ast::{BinaryOp, DurationExpr, DurationKind, UnaryOp};

/// Longest duration, in seconds: what fits nanoseconds in an i64, as in Prometheus.
const DURATION_SECONDS_MAX: f64 = 9_223_372_036.0;

impl Evaluator<'_> {
    /// The length of a range, in milliseconds; positive.
    pub(crate) fn range_ms(&self, expr: &DurationExpr) -> Result<i64> {
        self.positive_ms(expr)
    }

    /// The step of a subquery, in milliseconds; positive.
    pub(crate) fn subquery_step_ms(&self, expr: Option<&DurationExpr>) -> Result<i64> {
        expr.map_or(Ok(self.guard.options().subquery_step_ms.max(1)), |expr| self.positive_ms(expr))
    }

    /// An offset in milliseconds; any sign.
    pub(crate) fn offset_ms(&self, expr: &DurationExpr) -> Result<i64> {
        let value = self.duration_seconds(expr)?;
        if !value.is_finite() || value.abs() > DURATION_SECONDS_MAX {
            return Err(execution(format!("duration of {value} seconds is out of range")));
        }
        #[expect(clippy::cast_possible_truncation, reason = "within the bounds just checked")]
        let ms = (value * 1000.0).round() as i64;
        Ok(ms)
    }

    fn positive_ms(&self, expr: &DurationExpr) -> Result<i64> {
        match self.offset_ms(expr)? {
            ms if ms > 0 => Ok(ms),
            ms => Err(execution(format!("duration must be greater than 0, got {}s", seconds(ms)))),
        }
    }

    fn duration_seconds(&self, expr: &DurationExpr) -> Result<f64> {
        Ok(match &expr.kind {
            DurationKind::Literal(number) => number.value,
            DurationKind::Step if self.is_instant => 0.0,
            DurationKind::Step => seconds(self.query_grid.step_ms),
            DurationKind::Range => seconds(self.query_end_ms.saturating_sub(self.query_grid.start_ms)),
            DurationKind::Unary(UnaryOp::Plus, inner) | DurationKind::Paren(inner) => self.duration_seconds(inner)?,
            DurationKind::Unary(UnaryOp::Minus, inner) => -self.duration_seconds(inner)?,
            DurationKind::MinOf(left, right) => self.duration_seconds(left)?.min(self.duration_seconds(right)?),
            DurationKind::MaxOf(left, right) => self.duration_seconds(left)?.max(self.duration_seconds(right)?),
            DurationKind::Binary(op, left, right) => {
                let (left, right) = (self.duration_seconds(left)?, self.duration_seconds(right)?);
                match op {
                    BinaryOp::Add => left + right,
                    BinaryOp::Subtract => left - right,
                    BinaryOp::Multiply => left * right,
                    BinaryOp::Divide if right == 0.0 => return Err(execution("division by zero in a duration")),
                    BinaryOp::Divide => left / right,
                    BinaryOp::Modulo if right == 0.0 => return Err(execution("modulo by zero in a duration")),
                    BinaryOp::Modulo => left % right,
                    BinaryOp::Power => left.powf(right),
                    other => return Err(execution(format!("operator {} in a duration", other.as_str()))),
                }
            }
        })
    }
}
