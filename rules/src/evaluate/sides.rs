//! The sides of a rule's comparisons, computed apart: what a value is compared with, and by how much it is off.

use std::collections::HashMap;

use model::{Labels, METRIC_NAME};
use query::VectorElement;
use query::ast::{BinaryOp, Expr, ExprKind, Matching};
use serde::Serialize;

use super::World;
use super::texts::number;
use crate::file::{Comparison, Joined};
use crate::template::{Style, format_float};

/// Most elements of a side among which that of an instance is looked for.
const ELEMENTS_MAX: usize = 10_000;

/// A comparison with its numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Compared {
    /// How it belongs to those before it.
    pub joined: Joined,
    /// What is compared.
    pub left: String,
    /// The operator.
    pub op: &'static str,
    /// With what.
    pub right: String,
    /// The number of the left side; `None`: it has none, or it cannot be told which.
    pub left_value: Option<String>,
    /// That of the right side.
    pub right_value: Option<String>,
    /// Whether it is so.
    pub holds: Option<bool>,
}

/// Computes sides, each once.
pub(super) struct Sides<'a> {
    world: &'a dyn World,
    at_ms: i64,
    known: HashMap<String, Vec<VectorElement>>,
}

impl<'a> Sides<'a> {
    pub(super) fn new(world: &'a dyn World, at_ms: i64) -> Self {
        Self { world, at_ms, known: HashMap::new() }
    }

    /// `comparison` for the series with labels `source`.
    pub(super) fn compared(&mut self, comparison: &Comparison, source: &Labels) -> Compared {
        let reach = comparison.reach.as_ref();
        let left = self.value(&comparison.left, source, reach);
        let right = self.value(&comparison.right, source, reach.or(comparison.matching.as_ref()));
        let told = |value: f64| format_float(value, Style::General, None);
        Compared {
            joined: comparison.joined,
            left: comparison.left.to_string(),
            op: comparison.op.as_str(),
            right: comparison.right.to_string(),
            left_value: left.map(told),
            right_value: right.map(told),
            holds: left.zip(right).map(|(left, right)| holds(comparison.op, left, right)),
        }
    }

    fn value(&mut self, expr: &Expr, source: &Labels, matching: Option<&Matching>) -> Option<f64> {
        if let ExprKind::Number(value) = &expr.kind {
            return Some(value.value);
        }
        let text = expr.to_string();
        if !self.known.contains_key(&text) {
            // The places in `expr` are those of the whole.
            let alone = query::parse(&text).ok();
            let elements = alone.and_then(|expr| self.world.vector(&text, &expr, self.at_ms).ok());
            self.known.insert(text.clone(), elements.unwrap_or_default());
        }
        of_source(self.known.get(&text)?, source, matching)
    }
}

/// The value of the element that belongs to `source`, if it can be told which.
fn of_source(elements: &[VectorElement], source: &Labels, matching: Option<&Matching>) -> Option<f64> {
    let counts = |name: &str| {
        let is_named = matching.is_some_and(|matching| matching.labels.iter().any(|label| label == name));
        name != METRIC_NAME && matching.is_none_or(|matching| matching.on == is_named)
    };
    let fits = |element: &&VectorElement| {
        let mut labels = element.labels.iter().filter(|(name, _)| counts(name));
        labels.all(|(name, value)| source.get(name).is_none_or(|known| known == value))
    };
    if let Some(same) = elements.iter().find(|element| element.labels == *source) {
        return Some(number(&same.value));
    }
    let mut fitting = elements.iter().take(ELEMENTS_MAX).filter(fits);
    let first = fitting.next()?;
    fitting.next().is_none().then(|| number(&first.value))
}

#[expect(clippy::float_cmp, reason = "PromQL compares so")]
fn holds(op: BinaryOp, left: f64, right: f64) -> bool {
    match op {
        BinaryOp::Equal => left == right,
        BinaryOp::NotEqual => left != right,
        BinaryOp::Less => left < right,
        BinaryOp::LessEqual => left <= right,
        BinaryOp::Greater => left > right,
        BinaryOp::GreaterEqual => left >= right,
        _ => false,
    }
}
