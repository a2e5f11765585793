//! The values of one series over the grid, and series on their way through a query.
//!
//! Owns the representation of "no value at this step": the stale marker, which is never a value here and which no
//! arithmetic yields. A second sample type later becomes a second kind of column behind this type.

use std::collections::HashMap;

use model::Labels;
use model::sample::STALE_NAN_BITS;

use super::error::{Result, execution};
use super::guard::{Guard, Held};

/// Stands for "no value".
pub(crate) const ABSENT: f64 = f64::from_bits(STALE_NAN_BITS);

/// Whether `value` is a value and not the mark of its absence.
#[inline]
pub(crate) fn is_present(value: f64) -> bool {
    value.to_bits() != STALE_NAN_BITS
}

/// One value, or none, for each step.
#[derive(Debug, Clone, Default)]
pub(crate) struct Column(Vec<f64>);

impl Column {
    /// A column of `len` steps without values.
    pub(crate) fn absent(len: usize) -> Self {
        Self(vec![ABSENT; len])
    }

    /// A column of these values; [`ABSENT`] where there is none.
    pub(crate) fn from_values(values: Vec<f64>) -> Self {
        Self(values)
    }

    /// Makes it `len` steps without values, keeping its memory.
    pub(crate) fn reset(&mut self, len: usize) {
        self.0.clear();
        self.0.resize(len, ABSENT);
    }

    /// Makes it `len` times `value`.
    pub(crate) fn fill(&mut self, len: usize, value: f64) {
        self.0.clear();
        self.0.resize(len, value);
    }

    /// One slot a step.
    pub(crate) fn slots(&self) -> &[f64] {
        &self.0
    }

    /// One slot a step, to write.
    pub(crate) fn slots_mut(&mut self) -> &mut [f64] {
        &mut self.0
    }

    /// The slots themselves.
    pub(crate) fn into_slots(self) -> Vec<f64> {
        self.0
    }

    /// The value at step `at`.
    pub(crate) fn get(&self, at: usize) -> Option<f64> {
        self.0.get(at).copied().filter(|&value| is_present(value))
    }

    /// Whether no step has a value.
    pub(crate) fn is_empty(&self) -> bool {
        !self.0.iter().any(|&value| is_present(value))
    }

    /// Replaces every value by `change` of it.
    pub(crate) fn map(&mut self, change: impl Fn(f64) -> f64) {
        for slot in &mut self.0 {
            if is_present(*slot) {
                *slot = change(*slot);
            }
        }
    }

    /// Replaces every value by `change` of its step and it; [`ABSENT`] removes it.
    pub(crate) fn map_steps(&mut self, mut change: impl FnMut(usize, f64) -> f64) {
        for (at, slot) in self.0.iter_mut().enumerate() {
            if is_present(*slot) {
                *slot = change(at, *slot);
            }
        }
    }

    /// Takes over the values of `other` where this has none; the first step where both have one, if any.
    pub(crate) fn merge(&mut self, other: &Self) -> Option<usize> {
        for (at, (slot, &value)) in self.0.iter_mut().zip(&other.0).enumerate() {
            if is_present(value) {
                if is_present(*slot) {
                    return Some(at);
                }
                *slot = value;
            }
        }
        None
    }
}

/// What identifies a series on its way: labels, and whether the metric name is to be dropped in the end.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Head {
    pub(crate) labels: Labels,
    pub(crate) drop_name: bool,
}

impl Head {
    /// A series that keeps its name.
    pub(crate) fn new(labels: Labels) -> Self {
        Self { labels, drop_name: false }
    }

    /// The same with the name marked for removal.
    pub(crate) fn dropped(mut self) -> Self {
        self.drop_name = true;
        self
    }
}

/// A series with its values.
#[derive(Debug, Clone)]
pub(crate) struct Series {
    pub(crate) head: Head,
    pub(crate) column: Column,
}

/// Takes series as they come. It may take the column's memory; the caller resets the column before using it again.
pub(crate) type Sink<'s> = dyn FnMut(Head, &mut Column) -> Result<()> + 's;

/// Series gathered by what identifies them; equal ones become one.
#[derive(Debug)]
pub(crate) struct Gathered<'g> {
    pub(crate) series: Vec<Series>,
    index: HashMap<Head, usize>,
    held: Held<'g>,
}

impl<'g> Gathered<'g> {
    /// Nothing gathered yet; memory counts against `guard`.
    pub(crate) fn new(guard: &'g Guard<'_>) -> Result<Self> {
        Ok(Self { series: Vec::new(), index: HashMap::new(), held: guard.hold(0)? })
    }

    /// Adds a series, merging it into an equal one; two values at one step are an error.
    pub(crate) fn add(&mut self, head: Head, column: &mut Column) -> Result<()> {
        if let Some(&at) = self.index.get(&head) {
            return match self.series[at].column.merge(column) {
                Some(_) => Err(same_labels()),
                None => Ok(()),
            };
        }
        self.held.grow_series::<f64>(column.slots().len(), head.labels.packed().len())?;
        self.index.insert(head.clone(), self.series.len());
        self.series.push(Series { head, column: std::mem::take(column) });
        Ok(())
    }

    /// Hands every series on in the order gathered.
    pub(crate) fn emit(self, sink: &mut Sink<'_>) -> Result<()> {
        for mut series in self.series {
            if !series.column.is_empty() {
                sink(series.head, &mut series.column)?;
            }
        }
        Ok(())
    }
}

/// Two series of a result are the same.
pub(crate) fn same_labels() -> super::QueryError {
    execution("vector cannot contain metrics with the same labelset")
}
