//! Series in memory: a source and a sink without disk and limits, for what is tried out or tested (unit tests of rules, tests of readers).
//!
//! It answers as an engine does: the newest value of an instant counts, a selection is a snapshot.

use std::collections::{BTreeMap, HashMap};
use std::sync::{PoisonError, RwLock};

use crate::labels::Labels;
use crate::matcher::{Matcher, metric_name_of};
use crate::sample::{FullSample, SampleValue, Samples};
use crate::sink::{Appended, BatchSeries, SampleSink, SinkError, WriteBatch};
use crate::source::{ReadCost, SeriesSet, SeriesSource, SourceError};
use crate::time::TimeRange;

/// Samples of a series: start and value by time.
type Points = BTreeMap<i64, (i64, SampleValue)>;

/// Series that last as long as this value.
#[derive(Debug, Default)]
pub struct MemorySeries(RwLock<HashMap<String, BTreeMap<Labels, Points>>>);

impl MemorySeries {
    /// Without any series.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds samples to the series with `labels`; one at the time of another replaces it. Returns whether the series is new.
    pub fn put(&self, labels: &Labels, samples: impl IntoIterator<Item = FullSample>) -> bool {
        let mut metrics = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let series = match metrics.get_mut(labels.metric_name()) {
            Some(series) => series,
            None => metrics.entry(labels.metric_name().to_owned()).or_default(),
        };
        let is_new = !series.contains_key(labels);
        let points = series.entry(labels.clone()).or_default();
        for sample in samples {
            points.insert(sample.timestamp_ms, (sample.start_ms, sample.value));
        }
        is_new
    }
}

impl SampleSink for MemorySeries {
    fn append(&self, batch: &WriteBatch) -> Result<Appended, SinkError> {
        let mut appended = Appended::default();
        for (at, (series, samples)) in batch.iter().enumerate() {
            // Without a cursor nothing is known by number.
            let BatchSeries::Labels(labels) = series else { continue };
            let plain = samples.iter().map(|sample| FullSample {
                timestamp_ms: sample.timestamp.0,
                start_ms: 0,
                value: SampleValue::Float(sample.value),
            });
            let full = batch.full_samples(at);
            appended.series_created += u64::from(self.put(&labels.to_owned(), plain.chain(full.iter().cloned())));
            appended.samples_accepted += (samples.len() + full.len()) as u64;
        }
        Ok(appended)
    }
}

impl SeriesSource for MemorySeries {
    fn select(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        series_max: usize,
    ) -> Result<Box<dyn SeriesSet>, SourceError> {
        let metrics = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let fits = |labels: &Labels| {
            matchers.iter().all(|matcher| matcher.matches(labels.get(matcher.name()).unwrap_or_default()))
        };
        let mut selected = Vec::new();
        let mut take = |series: &BTreeMap<Labels, Points>| {
            for (labels, points) in series.iter().filter(|(labels, _)| fits(labels)) {
                if range.is_empty() {
                    continue;
                }
                let mut samples = Samples::default();
                for (&timestamp_ms, (start_ms, value)) in points.range(range.start.0..=range.end.0) {
                    samples.push_full(FullSample { timestamp_ms, start_ms: *start_ms, value: value.clone() });
                }
                if !samples.is_empty() {
                    selected.push((labels.clone(), samples));
                }
            }
        };
        match metric_name_of(matchers) {
            Some(name) => metrics.get(name).into_iter().for_each(&mut take),
            None => metrics.values().for_each(&mut take),
        }
        if selected.len() > series_max {
            return Err(SourceError::TooManySeries { limit: series_max });
        }
        selected.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(Box::new(Selected(selected)))
    }
}

/// Series with what of them is in the selected range.
#[derive(Debug)]
struct Selected(Vec<(Labels, Samples)>);

impl SeriesSet for Selected {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn labels(&self, at: usize) -> &Labels {
        &self.0[at].0
    }

    fn read(&self, at: usize, into: &mut Samples) -> Result<ReadCost, SourceError> {
        into.clone_from(&self.0[at].1);
        Ok(ReadCost { samples: into.len() as u64, ..ReadCost::default() })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::histogram::Histogram;
    use crate::labels::METRIC_NAME;
    use crate::matcher::MatchOp;

    fn labels(name: &str, job: &str) -> Labels {
        Labels::from_pairs([(METRIC_NAME, name), ("job", job)]).expect("valid")
    }

    fn float(timestamp_ms: i64, value: f64) -> FullSample {
        FullSample { timestamp_ms, start_ms: 0, value: SampleValue::Float(value) }
    }

    fn read(source: &MemorySeries, matchers: &[Matcher], range: TimeRange) -> Vec<String> {
        let set = source.select(matchers, range, 10).expect("few series");
        let mut samples = Samples::default();
        let mut told = Vec::new();
        for at in 0..set.len() {
            set.read(at, &mut samples).expect("in memory");
            let points: Vec<String> = samples
                .iter_full()
                .map(|one| match one.value {
                    SampleValue::Float(value) => format!("{value}@{}", one.timestamp_ms),
                    SampleValue::Histogram(histogram) => format!("h{}@{}", histogram.count, one.timestamp_ms),
                })
                .collect();
            told.push(format!("{} {}", set.labels(at), points.join(" ")));
        }
        told
    }

    #[test]
    fn the_newest_value_of_an_instant_counts_whatever_the_order() {
        let source = MemorySeries::new();
        assert!(source.put(&labels("up", "a"), [float(30, 3.0), float(10, 1.0), float(10, 2.0)]));
        let histogram = SampleValue::Histogram(Arc::new(Histogram { count: 7.0, ..Histogram::default() }));
        assert!(!source.put(&labels("up", "a"), [FullSample { timestamp_ms: 30, start_ms: 0, value: histogram }]));
        let up = [Matcher::equal(METRIC_NAME, "up")];
        assert_eq!(read(&source, &up, TimeRange::new(0, 100)), ["up{job=\"a\"} 2@10 h7@30"]);
        assert_eq!(read(&source, &up, TimeRange::new(11, 30)), ["up{job=\"a\"} h7@30"]);
        assert_eq!(read(&source, &up, TimeRange::new(11, 29)), Vec::<String>::new());
        assert_eq!(read(&source, &up, TimeRange::new(30, 10)), Vec::<String>::new());
    }

    #[test]
    fn batches_are_found_by_matchers_in_the_order_of_labels() {
        let source = MemorySeries::new();
        let mut batch = WriteBatch::new();
        for (name, job) in [("up", "b"), ("up", "a"), ("down", "c")] {
            batch.push_series(labels(name, job).as_ref());
            batch.push_sample(1, 1.0);
        }
        let appended = source.append(&batch).expect("taken");
        assert_eq!((appended.samples_accepted, appended.series_created), (3, 3));
        let job = |op, value| [Matcher::new("job", op, value).expect("valid")];
        let all = TimeRange::new(0, 1);
        assert_eq!(
            read(&source, &job(MatchOp::NotEqual, ""), all),
            ["down{job=\"c\"} 1@1", "up{job=\"a\"} 1@1", "up{job=\"b\"} 1@1"]
        );
        assert_eq!(read(&source, &job(MatchOp::Regex, "a|b"), all), ["up{job=\"a\"} 1@1", "up{job=\"b\"} 1@1"]);
        assert_eq!(
            source.select(&job(MatchOp::NotEqual, ""), all, 2).map(drop),
            Err(SourceError::TooManySeries { limit: 2 })
        );
    }
}
