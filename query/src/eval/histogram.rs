//! `histogram_quantile`, `histogram_quantiles` and `histogram_fraction` over classic and native histograms, mixed freely,
//! and the functions of native histograms alone.
//!
//! A native histogram is estimated as it comes, and only the result is held until it is known whether a classic one goes
//! by the same labels: neither counts then.

mod classic;

use std::collections::HashMap;

use model::labels::BUCKET_LABEL;
use model::{Histogram, Labels, LabelsBuilder, SampleValue};

use self::classic::Classic;
use super::column::{ABSENT, Column, Gathered, Head, Sink, is_present};
use super::error::{Result, execution};
use super::evaluator::{Evaluator, metric_name, string_literal, unparen};
use super::grid::Grid;
use super::guard::Held;
use super::math::nan_lowest;
use super::names::{KeyMaker, build};
use super::notes::Note;
use super::window::HISTOGRAM_UNITS;
use crate::ast::{Expr, Span};
use crate::functions::FunctionId;
use crate::native::{self, NanObservations};

/// What a native histogram is asked, for each result: the step, the histogram, the metric's name.
type Estimate<'e> = dyn Fn(usize, &Histogram, &str) -> f64 + 'e;

/// The results for a native histogram: one column for each estimate.
#[derive(Debug)]
struct Estimated {
    head: Head,
    columns: Vec<Column>,
}

/// The histograms of a vector.
#[derive(Debug)]
struct Histograms<'g> {
    classic: Vec<Classic>,
    native: Vec<Estimated>,
    _held: Held<'g>,
}

impl Evaluator<'_> {
    /// The functions of native histograms that need nothing else. Floats have no result.
    pub(crate) fn of_native(&self, id: FunctionId, vector: &Expr, grid: Grid, sink: &mut Sink<'_>) -> Result<()> {
        let compute: fn(&Histogram) -> f64 = match id {
            FunctionId::HistogramCount => |histogram| histogram.count,
            FunctionId::HistogramSum => |histogram| histogram.sum,
            FunctionId::HistogramAvg => native::average,
            FunctionId::HistogramStddev => native::standard_deviation,
            FunctionId::HistogramStdvar => native::variance,
            _ => return Err(execution("not a function of histograms")),
        };
        self.vector(vector, grid, &mut |head, column| {
            self.guard.spend(grid.len)?;
            column.slots_mut().fill(ABSENT);
            column.map_histograms(|_, histogram| Some(SampleValue::Float(compute(histogram))));
            if column.is_empty() { Ok(()) } else { sink(head.dropped(), column) }
        })
    }

    pub(crate) fn histogram_quantile(&self, q: &Expr, vector: &Expr, grid: Grid, sink: &mut Sink<'_>) -> Result<()> {
        let wanted = self.scalar(q, grid)?;
        self.note_quantiles(&wanted, q)?;
        let span = unparen(q).span;
        let estimate = |step: usize, histogram: &Histogram, metric: &str| {
            self.native_quantile(wanted[step], histogram, metric, span)
        };
        let histograms = self.histograms(vector, grid, &[&estimate])?;
        for Estimated { head, columns } in histograms.native {
            for mut column in columns {
                sink(head.clone().dropped(), &mut column)?;
            }
        }
        for classic in &histograms.classic {
            let mut column = self.classic_quantiles(classic, &wanted, vector, grid)?;
            if !column.is_empty() {
                sink(classic.head.clone().dropped(), &mut column)?;
            }
        }
        Ok(())
    }

    /// One result for each quantile, told apart by a label.
    pub(crate) fn histogram_quantiles(
        &self,
        vector: &Expr,
        label: &Expr,
        quantiles: &[Expr],
        grid: Grid,
        sink: &mut Sink<'_>,
    ) -> Result<()> {
        let label = string_literal(label)?;
        if label.is_empty() {
            return Err(execution(format!("invalid label name {label:?} in histogram_quantiles()")));
        }
        let wanted: Vec<Vec<f64>> = quantiles.iter().map(|q| self.scalar(q, grid)).collect::<Result<_>>()?;
        for (wanted, expr) in wanted.iter().zip(quantiles) {
            self.note_quantiles(wanted, expr)?;
        }
        let span = unparen(vector).span;
        let estimate_of = |wanted| {
            let wanted: &[f64] = wanted;
            move |step: usize, histogram: &Histogram, metric: &str| {
                self.native_quantile(wanted[step], histogram, metric, span)
            }
        };
        let estimates: Vec<_> = wanted.iter().map(|wanted| estimate_of(wanted)).collect();
        let estimates: Vec<&Estimate<'_>> = estimates.iter().map(|estimate| estimate as _).collect();
        let histograms = self.histograms(vector, grid, &estimates)?;
        let mut builder = LabelsBuilder::new();
        let mut result = Gathered::new(&self.guard)?;
        for Estimated { head, columns } in &histograms.native {
            for (wanted, column) in wanted.iter().zip(columns) {
                add_labelled(&mut result, &mut builder, &head.labels, label, wanted, column)?;
            }
        }
        for classic in &histograms.classic {
            for wanted in &wanted {
                let column = self.classic_quantiles(classic, wanted, vector, grid)?;
                add_labelled(&mut result, &mut builder, &classic.head.labels, label, wanted, &column)?;
            }
        }
        result.emit(sink)
    }

    pub(crate) fn histogram_fraction(
        &self,
        lower: &Expr,
        upper: &Expr,
        vector: &Expr,
        grid: Grid,
        sink: &mut Sink<'_>,
    ) -> Result<()> {
        let span = unparen(lower).span;
        let (lower, upper) = (self.scalar(lower, grid)?, self.scalar(upper, grid)?);
        let estimate = |step: usize, histogram: &Histogram, metric: &str| {
            let found = native::fraction(lower[step], upper[step], histogram);
            if found.nan_observations {
                self.notes.add(Note::NanFraction(metric), span);
            }
            found.value
        };
        let histograms = self.histograms(vector, grid, &[&estimate])?;
        for Estimated { head, columns } in histograms.native {
            for mut column in columns {
                sink(head.clone().dropped(), &mut column)?;
            }
        }
        let mut buckets = Vec::new();
        let mut column = Column::default();
        for histogram in &histograms.classic {
            column.reset(grid.len);
            for (step, slot) in column.slots_mut().iter_mut().enumerate() {
                histogram.at(step, &mut buckets);
                self.guard.spend(buckets.len())?;
                if !buckets.is_empty() {
                    *slot = classic::fraction(lower[step], upper[step], &buckets);
                }
            }
            if !column.is_empty() {
                sink(histogram.head.clone().dropped(), &mut column)?;
            }
        }
        Ok(())
    }

    /// The series of a vector as histograms: those with `le` that differ in nothing else are one classic histogram,
    /// native ones are estimated.
    fn histograms(&self, vector: &Expr, grid: Grid, estimates: &[&Estimate<'_>]) -> Result<Histograms<'_>> {
        let mut keys = KeyMaker::except(BUCKET_LABEL);
        let mut index: HashMap<Labels, usize> = HashMap::new();
        let mut classic: Vec<Classic> = Vec::new();
        let mut native: Vec<Estimated> = Vec::new();
        let mut held = self.guard.hold(0)?;
        self.vector(vector, grid, &mut |head, column| {
            self.guard.spend(grid.len)?;
            if column.has_histograms() {
                held.grow_series::<f64>(grid.len.saturating_mul(estimates.len()), head.labels.packed().len())?;
                let columns =
                    estimates.iter().map(|estimate| self.estimated(&head, column, estimate)).collect::<Result<_>>()?;
                native.push(Estimated { head: head.clone(), columns });
                column.drop_histograms();
                if column.is_empty() {
                    return Ok(());
                }
            }
            let text = head.labels.get(BUCKET_LABEL).unwrap_or("");
            let Ok(bound) = text.parse::<f64>() else {
                self.notes.add(Note::BadBucketLabel(&metric_name(&head), text), unparen(vector).span);
                return Ok(());
            };
            held.grow_series::<f64>(grid.len, head.labels.packed().len())?;
            let key = keys.key(&head.labels);
            let at = *index.entry(key.clone()).or_insert(classic.len());
            if at == classic.len() {
                classic.push(Classic { head: Head { labels: key, drop_name: head.drop_name }, buckets: Vec::new() });
            }
            classic[at].buckets.push((bound, std::mem::take(column)));
            Ok(())
        })?;
        for histogram in &mut classic {
            histogram.buckets.sort_by(|(a, _), (b, _)| nan_lowest(*a, *b));
        }
        for native in &mut native {
            if let Some(&at) = index.get(&native.head.labels) {
                self.drop_both(native, &mut classic[at], unparen(vector).span)?;
            }
        }
        native.retain(|native| native.columns.iter().any(|column| !column.is_empty()));
        Ok(Histograms { classic, native, _held: held })
    }

    /// What an estimate says of the histograms of one series.
    fn estimated(&self, head: &Head, column: &Column, estimate: &Estimate<'_>) -> Result<Column> {
        let metric = metric_name(head);
        let mut result = Column::absent(column.len());
        for (step, histogram) in column.histograms() {
            self.guard.spend(HISTOGRAM_UNITS)?;
            result.slots_mut()[step] = estimate(step, histogram, &metric);
        }
        Ok(result)
    }

    /// Drops what a native and a classic histogram of the same labels both have, and tells of it.
    fn drop_both(&self, native: &mut Estimated, classic: &mut Classic, span: Span) -> Result<()> {
        let Some(len) = native.columns.first().map(Column::len) else { return Ok(()) };
        for step in 0..len {
            self.guard.spend(classic.buckets.len())?;
            if native.columns.iter().any(|column| column.has(step)) && classic.is_there(step) {
                self.notes.add(Note::MixedClassicNative(&metric_name(&native.head)), span);
                native.columns.iter_mut().for_each(|column| column.set(step, None));
                classic.buckets.iter_mut().for_each(|(_, column)| column.set(step, None));
            }
        }
        Ok(())
    }

    /// The quantile of a native histogram. NaN observations are told of.
    fn native_quantile(&self, q: f64, histogram: &Histogram, metric: &str, span: Span) -> f64 {
        let found = native::quantile(q, histogram);
        match found.nan_observations {
            NanObservations::None => {}
            NanObservations::Skewed => self.notes.add(Note::NanSkewedQuantile(metric), span),
            NanObservations::Result => self.notes.add(Note::NanQuantile(metric), span),
        }
        found.value
    }

    fn classic_quantiles(&self, histogram: &Classic, wanted: &[f64], vector: &Expr, grid: Grid) -> Result<Column> {
        let mut buckets = Vec::new();
        let mut column = Column::absent(wanted.len());
        for (step, slot) in column.slots_mut().iter_mut().enumerate() {
            histogram.at(step, &mut buckets);
            self.guard.spend(buckets.len())?;
            if buckets.is_empty() {
                continue;
            }
            let (value, forced) = classic::quantile(wanted[step], &mut buckets);
            *slot = value;
            if let Some(forced) = forced {
                let note = Note::ForcedMonotonicity(&metric_name(&histogram.head), forced.at(grid, step));
                self.notes.add(note, unparen(vector).span);
            }
        }
        Ok(column)
    }
}

/// Adds the values of one quantile under the label that says which it is. Its text changes where the quantile does.
fn add_labelled(
    result: &mut Gathered<'_>,
    builder: &mut LabelsBuilder,
    labels: &Labels,
    label: &str,
    wanted: &[f64],
    values: &Column,
) -> Result<()> {
    let mut step = 0;
    while step < wanted.len() {
        let same = wanted[step..].iter().take_while(|q| q.to_bits() == wanted[step].to_bits()).count();
        let run = &values.slots()[step..step + same];
        if run.iter().any(|&value| is_present(value)) {
            let mut column = Column::absent(wanted.len());
            column.slots_mut()[step..step + same].copy_from_slice(run);
            builder.clear();
            builder.extend(labels.as_ref());
            builder.set(label, &show_quantile(wanted[step]));
            result.add(Head { labels: build(builder)?, drop_name: true }, &mut column)?;
        }
        step += same;
    }
    Ok(())
}

/// A quantile as a label, as OpenMetrics writes floats: `0.9`, `1.0`, `NaN`.
fn show_quantile(q: f64) -> String {
    match q {
        f64::INFINITY => "+Inf".to_owned(),
        f64::NEG_INFINITY => "-Inf".to_owned(),
        q if q.is_nan() => "NaN".to_owned(),
        q => format!("{q:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantile_labels() {
        assert_eq!(
            ["0.9", "1.0", "0.0", "NaN"],
            [0.9, 1.0, 0.0, f64::NAN].map(show_quantile).map(|s| s.leak() as &str)
        );
    }
}
