//! A store that keeps everything in ordered maps: obviously right, never fast.
//!
//! The model that the engine is tested against, and a source for tests of other rooms. Nothing survives it.

use std::collections::{BTreeMap, BTreeSet};

use model::sink::REJECTIONS_TOLD_MAX;
use model::{
    Appended, Exemplar, FullSample, Labels, Matcher, MetricMetadata, ReadCost, Rejection, SampleSink, SampleValue,
    Samples, SeriesSet, SeriesSource, SinkError, SourceError, TimeRange, WriteBatch,
};
use parking_lot::RwLock;

use crate::codec::full::canonical;

/// Series, samples and metadata in memory.
#[derive(Debug, Default)]
pub struct MemoryStore {
    kept: RwLock<Kept>,
}

/// The name other rooms know the store by when they only read from it.
pub type MemorySource = MemoryStore;

#[derive(Debug, Default)]
struct Kept {
    series: BTreeMap<Labels, Column>,
    exemplars: BTreeMap<Labels, Vec<Exemplar>>,
    metadata: BTreeMap<String, MetricMetadata>,
}

/// The samples of one series by time, each with its start.
type Column = BTreeMap<i64, (i64, SampleValue)>;

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds samples of one series; the same timestamp again replaces the value.
    pub fn insert(&self, labels: &Labels, samples: &[(i64, f64)]) {
        if !samples.is_empty() {
            let plain = samples.iter().map(|&(timestamp_ms, value)| (timestamp_ms, (0, SampleValue::Float(value))));
            self.kept.write().series.entry(labels.clone()).or_default().extend(plain);
        }
    }

    /// Adds samples of any kind of one series; the same timestamp again replaces the value. Histograms that break the
    /// structure are left out.
    pub fn insert_full(&self, labels: &Labels, samples: &[FullSample]) {
        let canonical = samples.iter().filter_map(|sample| canonical(sample).ok());
        let mut samples = canonical.map(|of| (of.timestamp_ms, (of.start_ms, of.value))).peekable();
        if samples.peek().is_some() {
            self.kept.write().series.entry(labels.clone()).or_default().extend(samples);
        }
    }

    /// How many series there are.
    pub fn series_len(&self) -> usize {
        self.kept.read().series.len()
    }

    /// Calls `visit` for each series that fulfils `matchers` and has a sample in `range`, in order of labels.
    fn each(&self, matchers: &[Matcher], range: TimeRange, mut visit: impl FnMut(&Labels, &Column) -> bool) {
        for (labels, samples) in &self.kept.read().series {
            let chosen =
                fulfils(labels, matchers) && !range.is_empty() && samples.range(bounds(range)).next().is_some();
            if chosen && !visit(labels, samples) {
                return;
            }
        }
    }
}

impl Kept {
    fn add(
        &mut self,
        labels: Labels,
        samples: impl Iterator<Item = (i64, (i64, SampleValue))>,
        appended: &mut Appended,
    ) {
        let mut samples = samples.peekable();
        if samples.peek().is_none() {
            return;
        }
        let into = self.series.entry(labels).or_insert_with(|| {
            appended.series_created += 1;
            BTreeMap::new()
        });
        for (timestamp_ms, sample) in samples {
            into.insert(timestamp_ms, sample);
            appended.samples_accepted += 1;
        }
    }
}

/// Whether `labels` fulfil all `matchers`; an absent label has the empty value.
fn fulfils(labels: &Labels, matchers: &[Matcher]) -> bool {
    matchers.iter().all(|matcher| matcher.matches(labels.get(matcher.name()).unwrap_or("")))
}

fn bounds(range: TimeRange) -> std::ops::RangeInclusive<i64> {
    range.start.0..=range.end.0
}

impl SampleSink for MemoryStore {
    fn append(&self, batch: &WriteBatch) -> Result<Appended, SinkError> {
        // Nobody has a number from here: it knows no cursor.
        let labels = batch.iter().map(|(series, _)| series.labels()).collect::<Option<Vec<_>>>();
        let labels = labels.ok_or(SinkError::SeriesRemoved)?;
        let kept = &mut *self.kept.write();
        let mut appended = Appended::default();
        for (at, &labels) in labels.iter().enumerate() {
            let samples = batch.samples(at);
            let plain = samples.iter().map(|sample| (sample.timestamp.0, (0, SampleValue::Float(sample.value))));
            kept.add(labels.to_owned(), plain, &mut appended);
        }
        // What is more than a float counts more than the floats of the same batch.
        for (at, &labels) in labels.iter().enumerate() {
            let (taken, broken): (Vec<_>, Vec<_>) = batch
                .full_samples(at)
                .iter()
                .map(|sample| canonical(sample).map_err(|error| (sample.timestamp_ms, error)))
                .partition(Result::is_ok);
            let full = taken.into_iter().flatten().map(|sample| (sample.timestamp_ms, (sample.start_ms, sample.value)));
            kept.add(labels.to_owned(), full, &mut appended);
            for (timestamp_ms, error) in broken.into_iter().filter_map(Result::err) {
                appended.samples_rejected += 1;
                appended.histograms_rejected += 1;
                if appended.rejections.len() < REJECTIONS_TOLD_MAX {
                    let (series, detail) = (labels.to_string(), error.to_string());
                    appended.rejections.push(Rejection::Histogram { series, timestamp_ms, detail });
                }
            }
        }
        for (at, &labels) in labels.iter().enumerate() {
            let labels = labels.to_owned();
            if !kept.series.contains_key(&labels) {
                appended.exemplars_rejected += batch.exemplars(at).len() as u64;
                continue;
            }
            let of_series = kept.exemplars.entry(labels).or_default();
            for exemplar in batch.exemplars(at) {
                let latest_ms = of_series.last().map_or(i64::MIN, |latest: &Exemplar| latest.timestamp_ms);
                // One that was told already is no loss.
                if of_series.contains(exemplar) {
                    continue;
                }
                if exemplar.timestamp_ms >= latest_ms {
                    of_series.push(exemplar.clone());
                } else {
                    appended.exemplars_rejected += 1;
                }
            }
        }
        for (metric, metadata) in batch.metadata() {
            kept.metadata.insert(metric.clone(), metadata.clone());
        }
        Ok(appended)
    }
}

impl SeriesSource for MemoryStore {
    fn select(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        series_max: usize,
    ) -> Result<Box<dyn SeriesSet>, SourceError> {
        let mut set = MemorySet { series: Vec::new() };
        self.each(matchers, range, |labels, samples| {
            let mut columns = Samples::default();
            for (&timestamp_ms, (start_ms, value)) in samples.range(bounds(range)) {
                columns.push_full(FullSample { timestamp_ms, start_ms: *start_ms, value: value.clone() });
            }
            set.series.push((labels.clone(), columns));
            set.series.len() <= series_max
        });
        if set.series.len() > series_max {
            Err(SourceError::TooManySeries { limit: series_max })
        } else {
            Ok(Box::new(set))
        }
    }

    fn series(&self, matchers: &[Matcher], range: TimeRange, limit: usize) -> Result<Vec<Labels>, SourceError> {
        let mut found = Vec::new();
        if limit > 0 {
            self.each(matchers, range, |labels, _| {
                found.push(labels.clone());
                found.len() < limit
            });
        }
        Ok(found)
    }

    fn label_names(&self, matchers: &[Matcher], range: TimeRange) -> Result<Vec<String>, SourceError> {
        let mut names = BTreeSet::new();
        self.each(matchers, range, |labels, _| {
            names.extend(labels.iter().map(|(name, _)| name.to_owned()));
            true
        });
        Ok(names.into_iter().collect())
    }

    fn label_values(&self, name: &str, matchers: &[Matcher], range: TimeRange) -> Result<Vec<String>, SourceError> {
        let mut values = BTreeSet::new();
        self.each(matchers, range, |labels, _| {
            values.extend(labels.get(name).map(str::to_owned));
            true
        });
        Ok(values.into_iter().collect())
    }

    fn exemplars(&self, matchers: &[Matcher], range: TimeRange) -> Result<Vec<(Labels, Vec<Exemplar>)>, SourceError> {
        let kept = self.kept.read();
        let mut found = Vec::new();
        for (labels, exemplars) in kept.exemplars.iter().filter(|(labels, _)| fulfils(labels, matchers)) {
            let inside: Vec<Exemplar> =
                exemplars.iter().filter(|exemplar| range.contains(exemplar.timestamp_ms)).cloned().collect();
            if !inside.is_empty() {
                found.push((labels.clone(), inside));
            }
        }
        Ok(found)
    }

    fn metadata(&self, metric: Option<&str>) -> Result<Vec<(String, MetricMetadata)>, SourceError> {
        let kept = self.kept.read();
        let wanted = |name: &str| metric.is_none_or(|metric| metric == name);
        Ok(kept.metadata.iter().filter(|(name, _)| wanted(name)).map(|(n, m)| (n.clone(), m.clone())).collect())
    }
}

/// A copy of what was selected.
#[derive(Debug)]
struct MemorySet {
    series: Vec<(Labels, Samples)>,
}

impl SeriesSet for MemorySet {
    fn len(&self) -> usize {
        self.series.len()
    }

    fn labels(&self, at: usize) -> &Labels {
        &self.series[at].0
    }

    fn read(&self, at: usize, into: &mut Samples) -> Result<ReadCost, SourceError> {
        let samples = &self.series[at].1;
        into.clear();
        into.timestamps_ms.extend_from_slice(&samples.timestamps_ms);
        into.values.extend_from_slice(&samples.values);
        into.starts_ms.extend_from_slice(&samples.starts_ms);
        into.histograms.extend_from_slice(&samples.histograms);
        let count = samples.len() as u64;
        Ok(ReadCost { chunks: 1, bytes: count * 16, samples: count, ..ReadCost::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_last_value_and_orders_by_labels() {
        let store = MemoryStore::new();
        let of = |name: &str| Labels::from_pairs([("__name__", name)]).expect("valid labels");
        store.insert(&of("b"), &[(5, 1.0), (3, 2.0)]);
        store.insert(&of("a"), &[(9, 1.0)]);
        store.insert(&of("b"), &[(3, 7.0)]);
        let set = store.select(&[], TimeRange::new(0, 9), 2).expect("two series");
        assert_eq!((set.labels(0), set.labels(1)), (&of("a"), &of("b")));
        let mut samples = Samples::default();
        set.read(1, &mut samples).expect("in memory");
        assert_eq!((samples.timestamps_ms, samples.values), (vec![3, 5], vec![7.0, 1.0]));
        assert!(matches!(store.select(&[], TimeRange::ALL, 1), Err(SourceError::TooManySeries { limit: 1 })));
        assert_eq!(store.series(&[], TimeRange::new(6, 8), 9), Ok(vec![]));
        assert_eq!(store.label_values("__name__", &[], TimeRange::ALL), Ok(vec!["a".to_owned(), "b".to_owned()]));
    }
}
