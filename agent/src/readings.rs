//! What one round of collecting yields: samples with labels, and what is known of their metrics.
//!
//! Every collector and every scrape writes into [`Readings`]. Labels of the target (`job`, `instance`) are added here;
//! labels of the whole agent (environment, static ones) are added when a round is encoded, in `send::encode`.

use std::collections::BTreeMap;

use model::{LabelLimits, LabelsBuilder, LabelsRef, METRIC_NAME, MetricKind, MetricMetadata, Sample, WriteBatch};

/// A metric that the agent itself defines.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// The name, with its unit last.
    pub name: &'static str,
    /// Counter, gauge, info.
    pub kind: MetricKind,
    /// One sentence for people.
    pub help: &'static str,
}

impl Metric {
    /// A metric that goes up and down.
    pub const fn gauge(name: &'static str, help: &'static str) -> Self {
        Self { name, kind: MetricKind::Gauge, help }
    }

    /// A metric that only grows.
    pub const fn counter(name: &'static str, help: &'static str) -> Self {
        Self { name, kind: MetricKind::Counter, help }
    }
}

/// Most metrics whose metadata one round keeps.
pub const METADATA_MAX: usize = 20_000;

/// Samples of one round. All have the round's timestamp unless a scraped page gave its own.
#[derive(Debug, Default)]
pub struct Readings {
    batch: WriteBatch,
    builder: LabelsBuilder,
    target: Vec<(String, String)>,
    timestamp_ms: i64,
    metadata: BTreeMap<String, MetricMetadata>,
    limits: LabelLimits,
    refused: u64,
}

impl Readings {
    /// Readings of a round at `timestamp_ms`.
    pub fn new(timestamp_ms: i64) -> Self {
        Self { timestamp_ms, ..Self::default() }
    }

    /// The round's timestamp, in milliseconds since the Unix epoch.
    pub fn timestamp_ms(&self) -> i64 {
        self.timestamp_ms
    }

    /// Sets the labels that every following sample gets, such as `job` and `instance`.
    pub fn set_target<'a>(&mut self, labels: impl IntoIterator<Item = (&'a str, &'a str)>) {
        self.target.clear();
        self.target.extend(labels.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    /// Adds a sample of `metric`. Where `labels` names a label of the target, `labels` wins.
    pub fn push(&mut self, metric: &Metric, labels: &[(&str, &str)], value: f64) {
        self.describe(metric.name, || MetricMetadata {
            kind: metric.kind,
            unit: String::new(),
            help: metric.help.to_owned(),
        });
        self.push_named(metric.name, labels, value);
    }

    /// Adds a sample of the metric called `name`; as [`push`](Self::push) otherwise.
    pub fn push_named(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.builder.clear();
        self.builder.push(METRIC_NAME, name);
        for (label, text) in labels {
            self.builder.push(label, text);
        }
        for (label, text) in &self.target {
            if !labels.iter().any(|(own, _)| own == label) {
                self.builder.push(label, text);
            }
        }
        match self.builder.pack(&self.limits) {
            Ok(packed) => {
                self.batch.push_series(packed);
                self.batch.push_sample(self.timestamp_ms, value);
            }
            Err(_) => self.refused += 1,
        }
    }

    /// Adds a scraped sample whose labels `scraped` holds. A scraped label that the target sets too is kept as
    /// `exported_NAME`, as Prometheus does. `scraped` is left empty.
    pub fn push_scraped(&mut self, scraped: &mut LabelsBuilder, value: f64, timestamp_ms: Option<i64>) {
        for (name, text) in &self.target {
            if let Some(own) = scraped.get(name) {
                let own = own.to_owned();
                scraped.remove(name);
                let mut exported = format!("exported_{name}");
                while scraped.get(&exported).is_some() {
                    exported.insert_str(0, "exported_");
                }
                scraped.push(&exported, &own);
            }
            scraped.push(name, text);
        }
        match scraped.pack(&self.limits) {
            Ok(packed) => {
                self.batch.push_series(packed);
                self.batch.push_sample(timestamp_ms.unwrap_or(self.timestamp_ms), value);
            }
            Err(_) => self.refused += 1,
        }
    }

    /// Adds a sample of a series whose labels are complete.
    pub fn push_series(&mut self, labels: LabelsRef<'_>, value: f64) {
        self.batch.push_series(labels);
        self.batch.push_sample(self.timestamp_ms, value);
    }

    /// Notes what is known of the metric called `name`, unless something is known already.
    pub fn describe(&mut self, name: &str, metadata: impl FnOnce() -> MetricMetadata) {
        if !self.metadata.contains_key(name) && self.metadata.len() < METADATA_MAX {
            self.metadata.insert(name.to_owned(), metadata());
        }
    }

    /// Adds everything of `other`.
    pub fn append(&mut self, other: &Self) {
        for (labels, samples) in other.iter() {
            self.batch.push_series(labels);
            for sample in samples {
                self.batch.push_sample(sample.timestamp.0, sample.value);
            }
        }
        for (name, metadata) in &other.metadata {
            self.describe(name, || metadata.clone());
        }
        self.refused += other.refused;
    }

    /// The series with their samples, in the order they came.
    pub fn iter(&self) -> impl Iterator<Item = (LabelsRef<'_>, &[Sample])> + '_ {
        self.batch.iter().filter_map(|(series, samples)| Some((series.labels()?, samples)))
    }

    /// How many series there are.
    pub fn len(&self) -> usize {
        self.batch.series_len()
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.batch.series_len() == 0
    }

    /// Metadata by metric name.
    pub fn metadata(&self) -> &BTreeMap<String, MetricMetadata> {
        &self.metadata
    }

    /// Samples left out because their labels passed a limit or were malformed.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// The value of the first series that `text` shows, such as `up{job="a"}`; for tests and `--once`.
    pub fn value_of(&self, text: &str) -> Option<f64> {
        self.iter().find(|(labels, _)| labels.to_string() == text).and_then(|(_, samples)| Some(samples.last()?.value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn target_labels_are_added_and_give_way_to_own_ones() {
        let mut readings = Readings::new(5);
        readings.set_target([("job", "node"), ("instance", "h")]);
        let metric = Metric::gauge("m", "Help.");
        readings.push(&metric, &[("cpu", "0")], 1.0);
        readings.push(&metric, &[("job", "own")], 2.0);
        assert_eq!(readings.value_of(r#"m{cpu="0", instance="h", job="node"}"#), Some(1.0));
        assert_eq!(readings.value_of(r#"m{instance="h", job="own"}"#), Some(2.0));
        assert_eq!(readings.metadata().len(), 1);
    }

    #[test]
    fn scraped_labels_that_clash_are_exported() {
        let mut readings = Readings::new(5);
        readings.set_target([("job", "t")]);
        let mut builder = LabelsBuilder::new();
        builder.push(METRIC_NAME, "m");
        builder.push("job", "own");
        builder.push("exported_job", "older");
        readings.push_scraped(&mut builder, 1.0, Some(7));
        let (labels, samples) = readings.iter().next().expect("one series");
        assert_eq!(labels.to_string(), r#"m{exported_exported_job="own", exported_job="older", job="t"}"#);
        assert_eq!(samples[0].timestamp.0, 7);
    }

    #[test]
    fn a_label_that_is_too_long_loses_its_sample_alone() {
        let mut readings = Readings::new(5);
        readings.push_named("m", &[("a", &"x".repeat(5000))], 1.0);
        readings.push_named("m", &[("a", "x")], 1.0);
        assert_eq!((readings.len(), readings.refused()), (1, 1));
    }
}
