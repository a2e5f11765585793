//! Aggregations that look at series side by side: `topk`, `bottomk`, `quantile`, `count_values`, `limitk`,
//! `limit_ratio`.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap};
use std::fmt;
use std::sync::Arc;

use model::{Labels, LabelsBuilder, SampleValue};

use super::aggregate::Groups;
use super::column::{ABSENT, Column, Head, Sink, is_present};
use super::error::{Result, execution};
use super::evaluator::{Evaluator, string_literal, unparen};
use super::grid::Grid;
use super::math::quantile;
use super::names::build;
use super::notes::Note;
use super::order::nan_last;
use super::xxh64::xxh64;
use crate::ast::{Aggregate, AggregateOp, Expr, Span};
use crate::native::Text;

/// A value in a ranking. The worst of a ranking is the greatest, so that a heap has it on top.
#[derive(Debug, Clone, Copy)]
struct Ranked {
    /// The value, negated when large is good.
    order: f64,
    series: usize,
}

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> Ordering {
        nan_last(self.order, other.order, |a, b| a.partial_cmp(&b).unwrap_or(Ordering::Equal))
            .then(self.series.cmp(&other.series))
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Ranked {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Ranked {}

impl Evaluator<'_> {
    /// `topk` and `bottomk`. Holds the best k of each group and step, not the input. Unlike others they tell of ignored
    /// histograms at the aggregation itself.
    pub(crate) fn best(
        &self,
        (aggregate, span): (&Aggregate, Span),
        k: &Expr,
        grid: Grid,
        sink: &mut Sink<'_>,
    ) -> Result<()> {
        let counts = self.counts(k, grid)?;
        let sign = if aggregate.op == AggregateOp::Topk { -1.0 } else { 1.0 };
        let mut heads: Vec<Head> = Vec::new();
        let mut groups = Groups::<Vec<BinaryHeap<Ranked>>>::new(&self.guard, aggregate)?;
        let mut grown = self.guard.hold(0)?;
        self.vector(&aggregate.expr, grid, &mut |head, column| {
            self.guard.spend(grid.len)?;
            if column.has_histograms() {
                // Where nothing is wanted nothing is ignored.
                column.retain(|step| counts[step] > 0);
                if !self.without_histograms(aggregate, span, column) {
                    return Ok(());
                }
            }
            let at = groups.find(&head, |held, label_bytes| {
                held.grow_series::<BinaryHeap<Ranked>>(grid.len, label_bytes)?;
                Ok(vec![BinaryHeap::new(); grid.len])
            })?;
            let series = heads.len();
            let mut added = 0;
            for (step, (heap, &value)) in groups.states[at].iter_mut().zip(column.slots()).enumerate() {
                if !is_present(value) {
                    continue;
                }
                let ranked = Ranked { order: value * sign, series };
                if heap.len() < counts[step] {
                    heap.push(ranked);
                    added += 1;
                } else if let Some(mut worst) = heap.peek_mut()
                    && ranked < *worst
                {
                    *worst = ranked;
                }
            }
            grown.grow(added * size_of::<Ranked>() + head.labels.packed().len())?;
            heads.push(head);
            Ok(())
        })?;
        let states = groups.states;
        let mut result = self.guard.hold(0)?;
        let mut columns: Vec<Option<Column>> = vec![None; heads.len()];
        let mut order = Vec::new();
        for heaps in states {
            for (step, heap) in heaps.into_iter().enumerate() {
                self.guard.spend(heap.len())?;
                for Ranked { order: value, series } in heap.into_sorted_vec() {
                    if columns[series].is_none() {
                        result.grow_series::<f64>(grid.len, 0)?;
                        order.push(series);
                    }
                    columns[series].get_or_insert_with(|| Column::absent(grid.len)).slots_mut()[step] = value * sign;
                }
            }
        }
        if grid.len > 1 {
            order.sort_unstable();
        }
        for series in order {
            if let Some(column) = &mut columns[series] {
                sink(heads[series].clone(), column)?;
            }
        }
        Ok(())
    }

    /// `quantile`: holds the columns of each group.
    pub(crate) fn quantile_of_groups(
        &self,
        aggregate: &Aggregate,
        q: &Expr,
        grid: Grid,
        sink: &mut Sink<'_>,
    ) -> Result<()> {
        let wanted = self.scalar(q, grid)?;
        self.note_quantiles(&wanted, q)?;
        let mut groups = Groups::<Vec<Column>>::new(&self.guard, aggregate)?;
        self.vector(&aggregate.expr, grid, &mut |head, column| {
            if column.has_histograms() && !self.without_histograms(aggregate, unparen(&aggregate.expr).span, column) {
                return Ok(());
            }
            let at = groups.find(&head, |_, _| Ok(Vec::new()))?;
            groups.held.grow_series::<f64>(grid.len, head.labels.packed().len())?;
            groups.states[at].push(std::mem::take(column));
            self.guard.spend(grid.len)
        })?;
        let Groups { heads, states, held: _held, .. } = groups;
        let mut values = Vec::new();
        let mut result = Column::default();
        for (head, columns) in heads.into_iter().zip(states) {
            result.reset(grid.len);
            for (step, slot) in result.slots_mut().iter_mut().enumerate() {
                values.clear();
                values.extend(columns.iter().filter_map(|column| column.get(step)));
                self.guard.spend(columns.len())?;
                if !values.is_empty() {
                    *slot = quantile(wanted[step], &mut values);
                }
            }
            if !result.is_empty() {
                sink(head, &mut result)?;
            }
        }
        Ok(())
    }

    /// `count_values`: a result for each different value of a group.
    pub(crate) fn count_values(
        &self,
        aggregate: &Aggregate,
        label: &Expr,
        grid: Grid,
        sink: &mut Sink<'_>,
    ) -> Result<()> {
        let label = string_literal(label)?;
        if label.is_empty() {
            return Err(execution(format!("invalid label name {label:?}")));
        }
        let is_dropped =
            aggregate.grouping.as_ref().is_some_and(|g| g.without && g.labels.iter().any(|name| name == label));
        let mut groups = Groups::<HashMap<Counted, usize>>::new(&self.guard, aggregate)?;
        let mut results: Vec<(Head, Vec<f64>)> = Vec::new();
        let mut index: HashMap<Labels, usize> = HashMap::new();
        let mut builder = LabelsBuilder::new();
        self.vector(&aggregate.expr, grid, &mut |head, column| {
            self.guard.spend(grid.len)?;
            let at = groups.find(&head, |_, _| Ok(HashMap::new()))?;
            let mut last: Option<(SampleValue, usize)> = None;
            for step in 0..grid.len {
                let Some(value) = column.point(step) else { continue };
                // Values mostly stay for a while.
                let known = last.take().filter(|(known, _)| is_same(known, &value)).map(|(_, result)| result);
                let result = if let Some(result) = known {
                    result
                } else {
                    let counted = Counted::new(&value);
                    if let Some(&result) = groups.states[at].get(&counted) {
                        result
                    } else {
                        self.guard.spend(VALUE_UNITS)?;
                        builder.clear();
                        builder.extend(groups.heads[at].labels.as_ref());
                        if !is_dropped {
                            builder.set(label, &counted.to_string());
                        }
                        let labels = build(&mut builder)?;
                        let result = *index.entry(labels.clone()).or_insert(results.len());
                        if result == results.len() {
                            groups.held.grow_series::<f64>(grid.len, labels.packed().len())?;
                            results.push((Head::new(labels), vec![0.0; grid.len]));
                        }
                        groups.held.grow(counted.bytes())?;
                        groups.states[at].insert(counted, result);
                        result
                    }
                };
                last = Some((value, result));
                results[result].0.drop_name |= head.drop_name;
                results[result].1[step] += 1.0;
            }
            Ok(())
        })?;
        for (head, mut counts) in results {
            counts.iter_mut().filter(|count| **count == 0.0).for_each(|count| *count = ABSENT);
            sink(head, &mut Column::from_values(counts))?;
        }
        Ok(())
    }

    /// `limitk`: the first k elements of each group, in the order of the input.
    pub(crate) fn limitk(&self, aggregate: &Aggregate, k: &Expr, grid: Grid, sink: &mut Sink<'_>) -> Result<()> {
        let counts = self.counts(k, grid)?;
        let mut groups = Groups::<Vec<usize>>::new(&self.guard, aggregate)?;
        self.vector(&aggregate.expr, grid, &mut |head, column| {
            self.guard.spend(grid.len)?;
            let at = groups.find(&head, |held, label_bytes| {
                held.grow_series::<usize>(grid.len, label_bytes)?;
                Ok(vec![0; grid.len])
            })?;
            let taken = &mut groups.states[at];
            column.retain(|step| {
                taken[step] += 1;
                taken[step] <= counts[step]
            });
            if column.is_empty() { Ok(()) } else { sink(head, column) }
        })
    }

    /// `limit_ratio`: the elements whose labels' hash lies in the first `ratio` of all hashes, or the last for a
    /// negative one.
    pub(crate) fn limit_ratio(
        &self,
        aggregate: &Aggregate,
        ratio: &Expr,
        grid: Grid,
        sink: &mut Sink<'_>,
    ) -> Result<()> {
        let mut ratios = self.scalar(ratio, grid)?;
        for value in &mut ratios {
            if value.is_nan() {
                return Err(execution("Ratio value is NaN"));
            }
            let capped = value.clamp(-1.0, 1.0);
            if value.abs() > 1.0 {
                self.notes.add(Note::InvalidRatio(*value, capped), unparen(ratio).span);
                *value = capped;
            }
        }
        self.vector(&aggregate.expr, grid, &mut |head, column| {
            self.guard.spend(grid.len)?;
            let place = place_of(&head.labels);
            column.retain(|step| match ratios[step] {
                ratio if ratio >= 0.0 => place < ratio,
                ratio => place >= 1.0 + ratio,
            });
            if column.is_empty() { Ok(()) } else { sink(head, column) }
        })
    }
}

/// What making up one label costs, in values touched.
const VALUE_UNITS: usize = 64;

/// A value that is counted.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Counted {
    /// By its bits; all NaNs are one.
    Float(u64),
    /// By its text.
    Histogram(String),
}

impl Counted {
    fn new(value: &SampleValue) -> Self {
        match value {
            SampleValue::Float(value) if value.is_nan() => Self::Float(f64::NAN.to_bits()),
            SampleValue::Float(value) => Self::Float(value.to_bits()),
            SampleValue::Histogram(histogram) => Self::Histogram(Text(histogram).to_string()),
        }
    }

    fn bytes(&self) -> usize {
        size_of::<(Self, usize)>() + if let Self::Histogram(text) = self { text.len() } else { 0 }
    }
}

/// The value as a label: of a float the shortest decimal without exponent.
impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Float(bits) => match f64::from_bits(*bits) {
                f64::INFINITY => f.write_str("+Inf"),
                f64::NEG_INFINITY => f.write_str("-Inf"),
                value => write!(f, "{value}"),
            },
            Self::Histogram(text) => f.write_str(text),
        }
    }
}

/// Whether two values surely count as one.
fn is_same(a: &SampleValue, b: &SampleValue) -> bool {
    match (a, b) {
        (SampleValue::Float(a), SampleValue::Float(b)) => a.to_bits() == b.to_bits(),
        (SampleValue::Histogram(a), SampleValue::Histogram(b)) => Arc::ptr_eq(a, b),
        _ => false,
    }
}

/// Where labels lie between 0 and 1 by their hash, which is Prometheus's: XXH64 over each name and value behind its
/// length, which takes one byte, or from 255 on four, of which the first is 255.
fn place_of(labels: &Labels) -> f64 {
    let mut bytes = Vec::with_capacity(labels.packed().len() + 8);
    for text in labels.iter().flat_map(|(name, value)| [name, value]) {
        match u8::try_from(text.len()) {
            Ok(len) if len < u8::MAX => bytes.push(len),
            _ => {
                bytes.push(u8::MAX);
                bytes.extend(text.len().to_le_bytes().iter().take(3));
            }
        }
        bytes.extend_from_slice(text.as_bytes());
    }
    #[expect(clippy::cast_precision_loss, reason = "a share needs no more")]
    let place = xxh64(&bytes) as f64 / u64::MAX as f64;
    place
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_as_labels() {
        for (value, want) in
            [(1.0, "1"), (0.1, "0.1"), (1e20, "100000000000000000000"), (f64::INFINITY, "+Inf"), (f64::NAN, "NaN")]
        {
            assert_eq!(Counted::new(&SampleValue::Float(value)).to_string(), want);
        }
    }

    #[test]
    fn places_are_spread() {
        let place =
            |at: usize| place_of(&Labels::from_pairs([("__name__", "m"), ("i", &at.to_string())]).expect("valid"));
        let below = |limit: f64| (0..1000).filter(|&at| place(at) < limit).count();
        assert!((430..570).contains(&below(0.5)), "{}", below(0.5));
        assert!((60..140).contains(&below(0.1)), "{}", below(0.1));
    }

    #[test]
    fn places_are_those_of_prometheus() {
        let place = |pairs: &[(&str, &str)]| place_of(&Labels::from_pairs(pairs.iter().copied()).expect("valid"));
        let some = [("__name__", "http_requests"), ("group", "production"), ("instance", "0"), ("job", "api-server")];
        for (pairs, want) in [
            (&some[..], 0.094_560_385_823_618_23),
            (&[], 0.934_674_931_531_705_9),
            (&[("a", "x".repeat(254).as_str())], 0.834_316_553_579_954_3),
            (&[("a", "x".repeat(255).as_str())], 0.425_217_009_539_431_7),
            (&[("a", "x".repeat(300).as_str())], 0.450_019_039_050_974_8),
        ] {
            assert!((place(pairs) - want).abs() < 1e-15, "{pairs:?}");
        }
    }
}
