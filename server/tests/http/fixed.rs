//! A source of series that a test lists: with histograms and exemplars, whatever the engine does with them.

use std::sync::Arc;

use model::{
    Exemplar, Histogram, HistogramSample, Labels, Matcher, ReadCost, Samples, SeriesSet, SeriesSource, SourceError,
    TimeRange,
};

/// See the module.
#[derive(Debug, Default, Clone)]
pub(crate) struct Fixed {
    /// Series in order of labels.
    series: Vec<(Labels, Samples)>,
    exemplars: Vec<(Labels, Vec<Exemplar>)>,
    /// Whether reading the second series of a selection fails.
    breaks: bool,
}

impl Fixed {
    /// Adds a series of floats and histograms.
    pub(crate) fn with(
        mut self,
        labels: &[(&str, &str)],
        floats: &[(i64, f64)],
        histograms: &[(i64, Histogram)],
    ) -> Self {
        let mut samples = Samples::default();
        for &(timestamp_ms, value) in floats {
            samples.push(timestamp_ms, value);
        }
        for (timestamp_ms, histogram) in histograms {
            let histogram = Arc::new(histogram.clone());
            samples.histograms.push(HistogramSample { timestamp_ms: *timestamp_ms, start_ms: 0, histogram });
        }
        self.series.push((Labels::from_pairs(labels.iter().copied()).unwrap(), samples));
        self.series.sort_by(|one, other| one.0.cmp(&other.0));
        self
    }

    /// Adds an exemplar of a series.
    pub(crate) fn with_exemplar(mut self, series: &[(&str, &str)], trace: &str, value: f64, timestamp_ms: i64) -> Self {
        let labels = Labels::from_pairs([("trace_id", trace)]).unwrap();
        let exemplar = Exemplar { labels, value, timestamp_ms };
        let series = Labels::from_pairs(series.iter().copied()).unwrap();
        match self.exemplars.iter_mut().find(|(known, _)| *known == series) {
            Some((_, exemplars)) => exemplars.push(exemplar),
            None => self.exemplars.push((series, vec![exemplar])),
        }
        self
    }

    /// Makes reading the second series of a selection fail.
    pub(crate) fn breaking(self) -> Self {
        Self { breaks: true, ..self }
    }

    pub(crate) fn source(self) -> Arc<dyn SeriesSource> {
        Arc::new(self)
    }
}

fn matches(labels: &Labels, matchers: &[Matcher]) -> bool {
    matchers.iter().all(|matcher| matcher.matches(labels.get(matcher.name()).unwrap_or_default()))
}

impl SeriesSource for Fixed {
    fn select(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        series_max: usize,
    ) -> Result<Box<dyn SeriesSet>, SourceError> {
        let mut chosen = Self { breaks: self.breaks, ..Self::default() };
        for (labels, samples) in self.series.iter().filter(|(labels, _)| matches(labels, matchers)) {
            let mut inside = Samples::default();
            samples.iter_full().filter(|one| range.contains(one.timestamp_ms)).for_each(|one| inside.push_full(one));
            chosen.series.push((labels.clone(), inside));
        }
        if chosen.series.len() > series_max {
            return Err(SourceError::TooManySeries { limit: series_max });
        }
        Ok(Box::new(chosen))
    }

    fn exemplars(&self, matchers: &[Matcher], range: TimeRange) -> Result<Vec<(Labels, Vec<Exemplar>)>, SourceError> {
        let mut found = Vec::new();
        for (labels, exemplars) in self.exemplars.iter().filter(|(labels, _)| matches(labels, matchers)) {
            let inside: Vec<Exemplar> =
                exemplars.iter().filter(|one| range.contains(one.timestamp_ms)).cloned().collect();
            if !inside.is_empty() {
                found.push((labels.clone(), inside));
            }
        }
        Ok(found)
    }
}

impl SeriesSet for Fixed {
    fn len(&self) -> usize {
        self.series.len()
    }

    fn labels(&self, at: usize) -> &Labels {
        &self.series[at].0
    }

    fn read(&self, at: usize, into: &mut Samples) -> Result<ReadCost, SourceError> {
        if self.breaks && at == 1 {
            return Err(SourceError::Damaged { detail: "a test's damage".into() });
        }
        *into = self.series[at].1.clone();
        Ok(ReadCost { chunks: 1, bytes: 1, samples: into.len() as u64, ..ReadCost::default() })
    }
}
