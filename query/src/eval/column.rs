//! The values of one series over the grid, and series on their way through a query.
//!
//! Owns the representation of "no value at this step": the stale marker, which is never a value here and which no
//! arithmetic yields. Histograms lie beside the floats: where a step has a histogram its float is absent, so what knows
//! floats alone passes histograms over, and a series without histograms pays nothing for them.

use std::collections::HashMap;
use std::sync::Arc;

use model::sample::STALE_NAN_BITS;
use model::{Histogram, Labels, SampleValue};

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
#[derive(Debug, Default)]
pub(crate) struct Column {
    floats: Vec<f64>,
    /// Empty when no step has a histogram, else one slot a step.
    histograms: Vec<Option<Arc<Histogram>>>,
}

impl Clone for Column {
    fn clone(&self) -> Self {
        Self { floats: self.floats.clone(), histograms: self.histograms.clone() }
    }

    /// Keeps the memory.
    fn clone_from(&mut self, other: &Self) {
        self.floats.clone_from(&other.floats);
        self.histograms.clone_from(&other.histograms);
    }
}

impl Column {
    /// A column of `len` steps without values.
    pub(crate) fn absent(len: usize) -> Self {
        Self::from_values(vec![ABSENT; len])
    }

    /// A column of these floats; [`ABSENT`] where there is none.
    pub(crate) fn from_values(floats: Vec<f64>) -> Self {
        Self { floats, histograms: Vec::new() }
    }

    /// Makes it `len` steps without values, keeping its memory.
    pub(crate) fn reset(&mut self, len: usize) {
        self.fill(len, ABSENT);
    }

    /// Makes it `len` times `value`.
    pub(crate) fn fill(&mut self, len: usize, value: f64) {
        self.histograms.clear();
        self.floats.clear();
        self.floats.resize(len, value);
    }

    /// Makes it `len` times `value` of either kind.
    pub(crate) fn fill_point(&mut self, len: usize, value: &SampleValue) {
        match value {
            SampleValue::Float(value) => self.fill(len, *value),
            SampleValue::Histogram(histogram) => {
                self.reset(len);
                self.histograms.resize(len, Some(histogram.clone()));
            }
        }
    }

    /// How many steps there are.
    pub(crate) fn len(&self) -> usize {
        self.floats.len()
    }

    /// The floats: one slot a step.
    pub(crate) fn slots(&self) -> &[f64] {
        &self.floats
    }

    /// The floats, to write. A step that has a histogram stays without float.
    pub(crate) fn slots_mut(&mut self) -> &mut [f64] {
        &mut self.floats
    }

    /// The float at step `at`.
    pub(crate) fn get(&self, at: usize) -> Option<f64> {
        self.floats.get(at).copied().filter(|&value| is_present(value))
    }

    /// The histogram at step `at`.
    pub(crate) fn histogram(&self, at: usize) -> Option<&Arc<Histogram>> {
        self.histograms.get(at)?.as_ref()
    }

    /// The value of either kind at step `at`.
    pub(crate) fn point(&self, at: usize) -> Option<SampleValue> {
        match self.get(at) {
            Some(value) => Some(SampleValue::Float(value)),
            None => self.histogram(at).map(|histogram| SampleValue::Histogram(histogram.clone())),
        }
    }

    /// Puts a value of either kind, or none, at step `at`.
    pub(crate) fn set(&mut self, at: usize, value: Option<SampleValue>) {
        let (float, histogram) = match value {
            None => (ABSENT, None),
            Some(SampleValue::Float(value)) => (value, None),
            Some(SampleValue::Histogram(histogram)) => (ABSENT, Some(histogram)),
        };
        self.floats[at] = float;
        if histogram.is_some() && self.histograms.is_empty() {
            self.histograms.resize(self.floats.len(), None);
        }
        if let Some(slot) = self.histograms.get_mut(at) {
            *slot = histogram;
        }
    }

    /// Whether step `at` has a value of either kind.
    #[inline]
    pub(crate) fn has(&self, at: usize) -> bool {
        is_present(self.floats[at]) || self.histogram(at).is_some()
    }

    /// Whether any step may have a histogram.
    #[inline]
    pub(crate) fn has_histograms(&self) -> bool {
        !self.histograms.is_empty()
    }

    /// The histograms in order, each with its step.
    pub(crate) fn histograms(&self) -> impl Iterator<Item = (usize, &Arc<Histogram>)> + '_ {
        self.histograms.iter().enumerate().filter_map(|(at, slot)| Some((at, slot.as_ref()?)))
    }

    /// Removes every histogram; whether there was one.
    pub(crate) fn drop_histograms(&mut self) -> bool {
        let had = self.histograms.iter().any(Option::is_some);
        self.histograms.clear();
        had
    }

    /// Whether no step has a value.
    pub(crate) fn is_empty(&self) -> bool {
        !self.floats.iter().any(|&value| is_present(value)) && !self.histograms.iter().any(Option::is_some)
    }

    /// Replaces every float by `change` of it.
    pub(crate) fn map(&mut self, change: impl Fn(f64) -> f64) {
        for slot in &mut self.floats {
            if is_present(*slot) {
                *slot = change(*slot);
            }
        }
    }

    /// Replaces every float by `change` of its step and it; [`ABSENT`] removes it.
    pub(crate) fn map_steps(&mut self, mut change: impl FnMut(usize, f64) -> f64) {
        for (at, slot) in self.floats.iter_mut().enumerate() {
            if is_present(*slot) {
                *slot = change(at, *slot);
            }
        }
    }

    /// Replaces every histogram by `change` of its step and it; nothing removes it.
    pub(crate) fn map_histograms(&mut self, mut change: impl FnMut(usize, &Histogram) -> Option<SampleValue>) {
        for at in 0..self.histograms.len() {
            if let Some(histogram) = self.histograms[at].take() {
                self.set(at, change(at, &histogram));
            }
        }
    }

    /// Keeps the values, of either kind, of the steps that `keep` holds for. It is asked where there is a value.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(usize) -> bool) {
        if self.histograms.is_empty() {
            return self.map_steps(|at, value| if keep(at) { value } else { ABSENT });
        }
        for at in 0..self.floats.len() {
            if self.has(at) && !keep(at) {
                self.set(at, None);
            }
        }
    }

    /// Takes over the values of `other` where this has none; the first step where both have one, if any.
    pub(crate) fn merge(&mut self, other: &Self) -> Option<usize> {
        if !self.has_histograms() && !other.has_histograms() {
            for (at, (slot, &value)) in self.floats.iter_mut().zip(&other.floats).enumerate() {
                if is_present(value) {
                    if is_present(*slot) {
                        return Some(at);
                    }
                    *slot = value;
                }
            }
            return None;
        }
        for at in 0..self.floats.len().min(other.floats.len()) {
            if let Some(value) = other.point(at) {
                if self.has(at) {
                    return Some(at);
                }
                self.set(at, Some(value));
            }
        }
        None
    }

    /// Memory of the histograms, each counted for every step that shows it.
    pub(crate) fn histogram_bytes(&self) -> usize {
        let shown: usize = self.histograms().map(|(_, histogram)| histogram.memory_bytes()).sum();
        shown + self.histograms.len() * size_of::<Option<Arc<Histogram>>>()
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
            self.held.grow(column.histogram_bytes())?;
            return match self.series[at].column.merge(column) {
                Some(_) => Err(same_labels()),
                None => Ok(()),
            };
        }
        self.held.grow_series::<f64>(column.len(), head.labels.packed().len() + column.histogram_bytes())?;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(count: f64) -> SampleValue {
        SampleValue::Histogram(Arc::new(Histogram { count, ..Histogram::default() }))
    }

    #[test]
    fn a_step_has_one_value_of_either_kind() {
        let mut column = Column::absent(3);
        assert!(column.is_empty());
        column.set(0, Some(SampleValue::Float(1.0)));
        assert!(!column.has_histograms(), "floats alone need no room for histograms");
        column.set(1, Some(histogram(2.0)));
        assert_eq!((column.get(0), column.get(1)), (Some(1.0), None));
        assert_eq!([0, 1, 2].map(|at| column.has(at)), [true, true, false]);
        column.set(1, Some(SampleValue::Float(3.0)));
        assert_eq!(column.point(1), Some(SampleValue::Float(3.0)));
        column.set(0, Some(histogram(4.0)));
        column.retain(|at| at == 0);
        assert_eq!([0, 1, 2].map(|at| column.point(at)), [Some(histogram(4.0)), None, None]);
        let mut other = Column::absent(3);
        other.set(2, Some(SampleValue::Float(5.0)));
        assert_eq!(column.merge(&other), None);
        assert_eq!(column.point(2), Some(SampleValue::Float(5.0)));
        assert_eq!(other.merge(&column), Some(2));
        column.fill_point(2, &histogram(6.0));
        assert_eq!((column.len(), column.histograms().count(), column.drop_histograms()), (2, 2, true));
        assert!(column.is_empty());
    }
}
