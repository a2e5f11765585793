//! A source that keeps samples up to an age and summaries of what is older, made straight from their definition.

use std::cmp::Ordering::Equal;

use model::sample::is_stale_marker;
use model::summary::window_end_ms;
use model::{Labels, Matcher, ReadCost, Samples, SeriesSet, SeriesSource, SourceError, Summary, TimeRange};
use storage::memory::MemoryStore;

/// What is to be read of `store` once everything up to `border_ms` was downsampled.
#[derive(Debug)]
pub(crate) struct Downsampled {
    border_ms: i64,
    windows_ms: &'static [i64],
    series: Vec<One>,
}

/// What is kept of a series: samples, and summaries by length, with the stale markers beside them.
#[derive(Debug, Clone)]
struct One {
    labels: Labels,
    samples: Samples,
    summaries: Vec<(Vec<Summary>, Samples)>,
}

impl Downsampled {
    /// With windows of these lengths, ascending, whose multiple the border is.
    pub(crate) fn new(store: &MemoryStore, border_ms: i64, windows_ms: &'static [i64]) -> Self {
        let all = store.select(&[], TimeRange::ALL, usize::MAX).expect("in memory");
        let of = |at: usize| {
            let (mut samples, mut old, mut kept) = (Samples::default(), Samples::default(), Samples::default());
            all.read(at, &mut samples).expect("in memory");
            for sample in samples.iter() {
                let into = if sample.timestamp.0 <= border_ms { &mut old } else { &mut kept };
                into.push(sample.timestamp.0, sample.value);
            }
            let summaries = windows_ms.iter().map(|&window_ms| summaries(&old, window_ms)).collect();
            One { labels: all.labels(at).clone(), samples: kept, summaries }
        };
        Self { border_ms, windows_ms, series: (0..all.len()).map(of).collect() }
    }
}

/// The summary of each window of a series that has samples, and the stale markers before all samples of their window.
fn summaries(samples: &Samples, window_ms: i64) -> (Vec<Summary>, Samples) {
    let (mut found, mut lone): (Vec<Summary>, _) = (Vec::new(), Samples::default());
    for sample in samples.iter() {
        let (at_ms, value) = (sample.timestamp.0, sample.value);
        let end_ms = window_end_ms(at_ms, window_ms);
        let known = found.last_mut().filter(|last| last.end_ms() == end_ms);
        match (known, is_stale_marker(value)) {
            (Some(window), true) => window.ended = true,
            (Some(window), false) => {
                let fell = value < window.last;
                window.before_resets += if fell { window.last } else { 0.0 };
                window.resets += u64::from(fell);
                let differs = value.partial_cmp(&window.last) != Some(Equal);
                window.changes += u64::from(differs && !(value.is_nan() && window.last.is_nan()));
                window.count += 1;
                window.sum += value;
                (window.min, window.max) = (window.min.min(value), window.max.max(value));
                (window.last_ms, window.last, window.ended) = (at_ms, value, false);
            }
            (None, true) => lone.push(at_ms, value),
            (None, false) => found.push(Summary {
                window_ms,
                count: 1,
                first_ms: at_ms,
                last_ms: at_ms,
                first: value,
                last: value,
                min: value,
                max: value,
                sum: value,
                before_resets: 0.0,
                resets: 0,
                changes: 0,
                ended: false,
            }),
        }
    }
    (found, lone)
}

impl SeriesSource for Downsampled {
    fn select(&self, matchers: &[Matcher], range: TimeRange, _: usize) -> Result<Box<dyn SeriesSet>, SourceError> {
        let mut set = Selected { series: Vec::new(), windows_ms: self.windows_ms };
        let fulfils = |labels: &Labels| {
            matchers.iter().all(|matcher| matcher.matches(labels.get(matcher.name()).unwrap_or_default()))
        };
        for one in self.series.iter().filter(|one| fulfils(&one.labels)) {
            let clipped = |samples: &Samples| {
                let mut samples = samples.clone();
                samples.clip(range);
                samples
            };
            let samples = clipped(&one.samples);
            let within = |(summaries, lone): &(Vec<Summary>, Samples)| {
                (summaries.iter().filter(|of| range.contains(of.last_ms)).copied().collect(), clipped(lone))
            };
            let summaries: Vec<(Vec<Summary>, Samples)> = one.summaries.iter().map(within).collect();
            if !samples.is_empty() || summaries.iter().any(|(of, lone)| !of.is_empty() || !lone.is_empty()) {
                set.series.push(One { labels: one.labels.clone(), samples, summaries });
            }
        }
        Ok(Box::new(set))
    }

    fn summary_window_ms(&self, range: TimeRange) -> i64 {
        self.windows_ms.last().copied().filter(|_| range.start.0 <= self.border_ms).unwrap_or(0)
    }
}

#[derive(Debug)]
struct Selected {
    series: Vec<One>,
    windows_ms: &'static [i64],
}

impl SeriesSet for Selected {
    fn len(&self) -> usize {
        self.series.len()
    }

    fn labels(&self, at: usize) -> &Labels {
        &self.series[at].labels
    }

    fn read(&self, _: usize, _: &mut Samples) -> Result<ReadCost, SourceError> {
        Err(SourceError::Unavailable { detail: "the evaluator knows summaries".to_owned() })
    }

    fn read_with_summaries(
        &self,
        at: usize,
        window_ms_max: i64,
        into: &mut Samples,
        summaries: &mut Vec<Summary>,
    ) -> Result<ReadCost, SourceError> {
        let length = self.windows_ms.iter().rposition(|&window_ms| window_ms <= window_ms_max).unwrap_or(0);
        let (told, lone) = &self.series[at].summaries[length];
        summaries.clone_from(told);
        into.clone_from(lone);
        self.series[at].samples.iter().for_each(|sample| into.push(sample.timestamp.0, sample.value));
        let samples = (into.len() + summaries.len()) as u64;
        Ok(ReadCost { chunks: 1, bytes: samples * 16, samples, ..ReadCost::default() })
    }
}
