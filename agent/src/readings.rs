//! What one round of collecting yields: samples with labels, and what is known of their metrics.
//!
//! Every collector and every scrape writes into [`Readings`]. Labels of the target (`job`, `instance`) are added here;
//! labels of the whole agent (environment, static ones) are added when a round is encoded, in `send::encode`. Floats are
//! nearly everything; native histograms, and counters whose start is known, lie beside them as full samples.

use std::collections::BTreeMap;

use model::{
    Exemplar, FullSample, Histogram, LabelLimits, LabelsBuilder, LabelsRef, METRIC_NAME, MetricKind, MetricMetadata,
    Sample, SampleValue, WriteBatch, sample,
};

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

    /// A metric whose samples are distributions that only grow.
    pub const fn histogram(name: &'static str, help: &'static str) -> Self {
        Self { name, kind: MetricKind::Histogram, help }
    }
}

/// The samples of one series of a round.
#[derive(Debug, Clone, Copy, Default)]
pub struct Values<'r> {
    /// Floats whose start is not known.
    pub floats: &'r [Sample],
    /// Native histograms, and floats whose start is known.
    pub full: &'r [FullSample],
    /// Single observations, as examples.
    pub exemplars: &'r [Exemplar],
}

impl<'r> Values<'r> {
    /// How many samples there are, of both kinds.
    pub fn len(self) -> usize {
        self.floats.len() + self.full.len()
    }

    /// Whether there is no sample.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// When the first sample was taken, in milliseconds since the Unix epoch.
    pub fn timestamp_ms(self) -> Option<i64> {
        let float = self.floats.first().map(|sample| sample.timestamp.0);
        float.into_iter().chain(self.full.first().map(|sample| sample.timestamp_ms)).min()
    }

    /// The last float.
    pub fn value(self) -> Option<f64> {
        let started = |sample: &FullSample| match sample.value {
            SampleValue::Float(value) => Some((sample.timestamp_ms, value)),
            SampleValue::Histogram(_) => None,
        };
        let plain = self.floats.iter().map(|sample| (sample.timestamp.0, sample.value));
        plain.chain(self.full.iter().filter_map(started)).max_by_key(|(at_ms, _)| *at_ms).map(|(_, value)| value)
    }

    /// The last histogram.
    pub fn histogram(self) -> Option<&'r Histogram> {
        self.full.iter().rev().find_map(|sample| match &sample.value {
            SampleValue::Histogram(histogram) => Some(&**histogram),
            SampleValue::Float(_) => None,
        })
    }

    /// Whether the last sample says that the series ended.
    pub fn is_stale_marker(self) -> bool {
        match self.histogram() {
            Some(histogram) => histogram.is_stale_marker(),
            None => self.value().is_some_and(sample::is_stale_marker),
        }
    }
}

/// The series of `batch` that have labels, with their samples, in the order they came.
pub fn rows(batch: &WriteBatch) -> impl Iterator<Item = (LabelsRef<'_>, Values<'_>)> + '_ {
    (0..batch.series_len()).filter_map(|at| {
        let values = Values { floats: batch.samples(at), full: batch.full_samples(at), exemplars: batch.exemplars(at) };
        Some((batch.series(at).labels()?, values))
    })
}

/// Most metrics whose metadata one round keeps.
pub const METADATA_MAX: usize = 20_000;

/// Samples of one round. All have the round's timestamp unless a scraped page gave its own.
#[derive(Debug, Default)]
pub struct Readings {
    batch: WriteBatch,
    builder: LabelsBuilder,
    target: Vec<(String, String)>,
    /// When the counters of the target began; 0 when that is not known.
    start_ms: i64,
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

    /// Sets the labels that every following sample gets, such as `job` and `instance`. When the target began is then not
    /// known.
    pub fn set_target<'a>(&mut self, labels: impl IntoIterator<Item = (&'a str, &'a str)>) {
        self.target.clear();
        self.target.extend(labels.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())));
        self.start_ms = 0;
    }

    /// Says when the target began, in milliseconds since the Unix epoch: the counters and histograms that follow began
    /// at zero then, so that their first value counts. 0: that is not known.
    pub fn set_start(&mut self, start_ms: i64) {
        self.start_ms = start_ms;
    }

    /// Adds a sample of `metric`. Where `labels` names a label of the target, `labels` wins.
    pub fn push(&mut self, metric: &Metric, labels: &[(&str, &str)], value: f64) {
        self.describe_own(metric);
        let start_ms = if metric.kind == MetricKind::Counter { self.believed_start_ms() } else { 0 };
        if self.begin_series(metric.name, labels) {
            self.push_value(value, start_ms);
        }
    }

    /// Adds a sample of the metric called `name`, of which nothing more is known; as [`push`](Self::push) otherwise.
    pub fn push_named(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        if self.begin_series(name, labels) {
            self.push_value(value, 0);
        }
    }

    /// Adds a native histogram of `metric`, with exponential or custom buckets; labels as in [`push`](Self::push). Buckets
    /// need not be in canonical form. One that is no histogram is refused and counted.
    pub fn push_histogram(&mut self, metric: &Metric, labels: &[(&str, &str)], mut histogram: Histogram) {
        self.describe_own(metric);
        histogram.compact();
        if histogram.check().is_err() {
            self.refused += 1;
            return;
        }
        let start_ms = self.believed_start_ms();
        if self.begin_series(metric.name, labels) {
            let value = SampleValue::Histogram(histogram.into());
            self.batch.push_full_sample(FullSample { timestamp_ms: self.timestamp_ms, start_ms, value });
        }
    }

    fn describe_own(&mut self, metric: &Metric) {
        self.describe(metric.name, || MetricMetadata {
            kind: metric.kind,
            unit: String::new(),
            help: metric.help.to_owned(),
        });
    }

    /// The target's start, unless it lies in the future: a clock was set back.
    fn believed_start_ms(&self) -> i64 {
        if self.start_ms <= self.timestamp_ms { self.start_ms } else { 0 }
    }

    /// Begins the series `name` with `labels` and those of the target; says whether it was taken.
    fn begin_series(&mut self, name: &str, labels: &[(&str, &str)]) -> bool {
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
        let packed = self.builder.pack(&self.limits);
        match &packed {
            Ok(packed) => self.batch.push_series(*packed),
            Err(_) => self.refused += 1,
        }
        packed.is_ok()
    }

    fn push_value(&mut self, value: f64, start_ms: i64) {
        if start_ms == 0 {
            self.batch.push_sample(self.timestamp_ms, value);
        } else {
            let value = SampleValue::Float(value);
            self.batch.push_full_sample(FullSample { timestamp_ms: self.timestamp_ms, start_ms, value });
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

    /// Says that the series with exactly these labels ended; `of_histograms` when its samples were histograms.
    pub fn push_stale(&mut self, labels: LabelsRef<'_>, of_histograms: bool) {
        if !of_histograms {
            return self.push_series(labels, sample::stale_marker());
        }
        self.batch.push_series(labels);
        let value = SampleValue::Histogram(Histogram::stale_marker().into());
        self.batch.push_full_sample(FullSample { timestamp_ms: self.timestamp_ms, start_ms: 0, value });
    }

    /// Notes what is known of the metric called `name`, unless something is known already.
    pub fn describe(&mut self, name: &str, metadata: impl FnOnce() -> MetricMetadata) {
        if !self.metadata.contains_key(name) && self.metadata.len() < METADATA_MAX {
            self.metadata.insert(name.to_owned(), metadata());
        }
    }

    /// Adds everything of `other`.
    pub fn append(&mut self, other: &Self) {
        for (labels, values) in other.iter() {
            self.batch.push_series(labels);
            values.floats.iter().for_each(|sample| self.batch.push_sample(sample.timestamp.0, sample.value));
            values.full.iter().for_each(|sample| self.batch.push_full_sample(sample.clone()));
            values.exemplars.iter().for_each(|exemplar| self.batch.push_exemplar(exemplar.clone()));
        }
        for (name, metadata) in &other.metadata {
            self.describe(name, || metadata.clone());
        }
        self.refused += other.refused;
    }

    /// The series with their samples of both kinds, in the order they came.
    pub fn iter(&self) -> impl Iterator<Item = (LabelsRef<'_>, Values<'_>)> + '_ {
        rows(&self.batch)
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
        self.values_of(text)?.value()
    }

    /// The histogram of the first series that `text` shows; as [`value_of`](Self::value_of).
    pub fn histogram_of(&self, text: &str) -> Option<&Histogram> {
        self.values_of(text)?.histogram()
    }

    fn values_of(&self, text: &str) -> Option<Values<'_>> {
        self.iter().find(|(labels, _)| labels.to_string() == text).map(|(_, values)| values)
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
        let (labels, values) = readings.iter().next().expect("one series");
        assert_eq!(labels.to_string(), r#"m{exported_exported_job="own", exported_job="older", job="t"}"#);
        assert_eq!(values.timestamp_ms(), Some(7));
    }

    #[test]
    fn histograms_and_started_counters_lie_beside_floats() {
        const WAITS: Metric = Metric::histogram("waits_seconds", "Waits.");
        let bucket = |index, count| model::Bucket { index, count };
        let histogram = Histogram {
            schema: model::histogram::CUSTOM_SCHEMA,
            count: 3.0,
            sum: 0.5,
            positive: vec![bucket(0, 1.0), bucket(1, 0.0), bucket(2, 2.0)],
            custom_bounds: vec![0.1, 0.2],
            ..Histogram::default()
        };
        let mut readings = Readings::new(1_000);
        readings.set_target([("job", "api")]);
        readings.set_start(400);
        readings.push(&Metric::counter("n_total", "N."), &[], 5.0);
        readings.push(&Metric::gauge("g", "G."), &[], 6.0);
        readings.push_histogram(&WAITS, &[("kind", "x")], histogram.clone());
        readings.set_start(1_001);
        readings.push_histogram(&WAITS, &[], histogram.clone());
        readings.push_histogram(&WAITS, &[], Histogram { count: 1.0, ..histogram });
        let told: Vec<_> = readings
            .iter()
            .map(|(labels, values)| (labels.to_string(), values.floats.len(), values.full.first().map(|f| f.start_ms)))
            .collect();
        let want = [
            (r#"n_total{job="api"}"#, 0, Some(400)),
            (r#"g{job="api"}"#, 1, None),
            (r#"waits_seconds{job="api", kind="x"}"#, 0, Some(400)),
            (r#"waits_seconds{job="api"}"#, 0, Some(0)),
        ];
        assert_eq!(told, want.map(|(text, floats, start_ms)| (text.to_owned(), floats, start_ms)));
        assert_eq!(readings.refused(), 1, "a histogram that holds more than it counts");
        assert_eq!(readings.value_of(r#"n_total{job="api"}"#), Some(5.0));
        let kept = readings.histogram_of(r#"waits_seconds{job="api"}"#).expect("a histogram");
        assert_eq!(kept.positive, [bucket(0, 1.0), bucket(2, 2.0)], "no empty buckets");
        assert_eq!(readings.metadata()["waits_seconds"].kind, MetricKind::Histogram);
        let mut all = Readings::new(2_000);
        all.append(&readings);
        assert!(all.iter().map(|(_, values)| values.full).eq(readings.iter().map(|(_, values)| values.full)));
    }

    #[test]
    fn a_label_that_is_too_long_loses_its_sample_alone() {
        let mut readings = Readings::new(5);
        readings.push_named("m", &[("a", &"x".repeat(5000))], 1.0);
        readings.push_named("m", &[("a", "x")], 1.0);
        assert_eq!((readings.len(), readings.refused()), (1, 1));
    }
}
