//! A store in memory for samples of every kind: obviously right, never fast.

use std::collections::BTreeMap;
use std::sync::Mutex;

use model::{
    Appended, Exemplar, FullSample, Labels, Matcher, MetricMetadata, ReadCost, SampleSink, SampleValue, Samples,
    SeriesSet, SeriesSource, SinkError, SourceError, TimeRange, WriteBatch,
};

/// Series and samples; the same timestamp again replaces the sample.
#[derive(Debug, Default)]
pub(crate) struct Whole {
    series: Mutex<BTreeMap<Labels, BTreeMap<i64, FullSample>>>,
}

impl Whole {
    fn each(&self, matchers: &[Matcher], range: TimeRange) -> Vec<(Labels, Samples)> {
        let series = self.series.lock().expect("no test panics with the lock");
        let fulfils =
            |labels: &Labels| matchers.iter().all(|matcher| matcher.matches(labels.get(matcher.name()).unwrap_or("")));
        let mut found = Vec::new();
        for (labels, kept) in series.iter().filter(|(labels, _)| fulfils(labels)) {
            let mut samples = Samples::default();
            if !range.is_empty() {
                kept.range(range.start.0..=range.end.0).for_each(|(_, sample)| samples.push_full(sample.clone()));
            }
            if !samples.is_empty() {
                found.push((labels.clone(), samples));
            }
        }
        found
    }
}

impl SampleSink for Whole {
    fn append(&self, batch: &WriteBatch) -> Result<Appended, SinkError> {
        let mut series = self.series.lock().expect("no test panics with the lock");
        for (at, (labels, samples)) in batch.iter().enumerate() {
            let plain = samples.iter().map(|sample| FullSample {
                timestamp_ms: sample.timestamp.0,
                start_ms: 0,
                value: SampleValue::Float(sample.value),
            });
            let full = batch.full_samples(at).iter().cloned();
            series.entry(labels.to_owned()).or_default().extend(plain.chain(full).map(|one| (one.timestamp_ms, one)));
        }
        Ok(Appended::default())
    }
}

impl SeriesSource for Whole {
    fn select(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        series_max: usize,
    ) -> Result<Box<dyn SeriesSet>, SourceError> {
        let found = self.each(matchers, range);
        if found.len() > series_max {
            return Err(SourceError::TooManySeries { limit: series_max });
        }
        Ok(Box::new(Selected(found)))
    }

    fn series(&self, matchers: &[Matcher], range: TimeRange, limit: usize) -> Result<Vec<Labels>, SourceError> {
        Ok(self.each(matchers, range).into_iter().map(|(labels, _)| labels).take(limit).collect())
    }

    fn label_names(&self, _: &[Matcher], _: TimeRange) -> Result<Vec<String>, SourceError> {
        Ok(Vec::new())
    }

    fn label_values(&self, _: &str, _: &[Matcher], _: TimeRange) -> Result<Vec<String>, SourceError> {
        Ok(Vec::new())
    }

    fn exemplars(&self, _: &[Matcher], _: TimeRange) -> Result<Vec<(Labels, Vec<Exemplar>)>, SourceError> {
        Ok(Vec::new())
    }

    fn metadata(&self, _: Option<&str>) -> Result<Vec<(String, MetricMetadata)>, SourceError> {
        Ok(Vec::new())
    }
}

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
        let samples = into.len() as u64;
        Ok(ReadCost { chunks: 1, bytes: samples * 16, samples })
    }
}
