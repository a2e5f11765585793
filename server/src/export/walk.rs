//! Going through the store for an export: metric by metric, series by series, window by window.
//!
//! What is held at a time is the label sets of one metric and the samples of one window. A metric is read as it is when
//! its turn comes; of each metric the export is a snapshot.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::json_lines::Counts;
use model::{Labels, METRIC_NAME, Matcher, MetricMetadata, Samples, SeriesSet, SeriesSource, SourceError, TimeRange};
use query::QueryError;

use crate::app::App;
use crate::query_api::query_error;
use crate::reply::ApiError;
use crate::running::Watched;

/// Samples that are read at a time, about.
const WINDOW_SAMPLES: u64 = 8_192;
/// The longest window of summaries.
const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// Most series that are selected together; those of larger metrics are selected one by one, so that what is in memory
/// of them and not in blocks yet, some hundred bytes a series, is not copied at once.
const SERIES_AT_ONCE: usize = 10_000;

/// See the module.
#[derive(Debug)]
pub(super) struct Walk {
    app: Arc<App>,
    query: Arc<Watched>,
    selectors: Vec<Vec<Matcher>>,
    range: TimeRange,
    /// The range and the days around it, where there are summaries: at which of its instants a window is told that lies in
    /// the range in part may depend on samples outside, and the next export, which begins where this one ends, must not
    /// tell it again.
    selected: TimeRange,
    series_at_once: usize,
    counts: Counts,
}

/// A series that is to be exported.
#[derive(Debug, Clone)]
pub(super) enum Found {
    /// Selected with others.
    Selected(Arc<dyn SeriesSet>, usize),
    /// To be selected when its turn comes.
    Alone(Labels),
}

impl Found {
    pub(super) fn labels(&self) -> &Labels {
        match self {
            Self::Selected(set, at) => set.labels(*at),
            Self::Alone(labels) => labels,
        }
    }
}

/// A series that can be read.
#[derive(Debug)]
pub(super) struct Opened {
    set: Arc<dyn SeriesSet>,
    at: usize,
}

impl Opened {
    pub(super) fn labels(&self) -> &Labels {
        self.set.labels(self.at)
    }
}

impl Walk {
    pub(super) fn new(app: Arc<App>, query: Arc<Watched>, selectors: Vec<Vec<Matcher>>, range: TimeRange) -> Self {
        let around = TimeRange::new(range.start.0.saturating_sub(DAY_MS), range.end.0.saturating_add(DAY_MS));
        let selected = if app.source.summary_window_ms(around) > 0 { around } else { range };
        Self { app, query, selectors, range, selected, series_at_once: SERIES_AT_ONCE, counts: Counts::default() }
    }

    /// What was handed out so far.
    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    /// Counts a series of which something was written.
    pub(super) fn count_series(&mut self) {
        self.counts.series += 1;
    }

    /// Counts samples that were written.
    pub(super) fn count_samples(&mut self, samples: usize, histograms: usize) {
        self.counts.samples += samples as u64;
        self.counts.histograms += histograms as u64;
    }

    fn source(&self) -> &dyn SeriesSource {
        &*self.app.source
    }

    /// The metrics that have selected series.
    pub(super) fn names(&self) -> Result<BTreeSet<String>, ApiError> {
        let mut names = BTreeSet::new();
        for matchers in &self.selectors {
            self.look()?;
            names.extend(self.source().label_values(METRIC_NAME, matchers, self.range)?);
        }
        Ok(names)
    }

    /// What is known of all metrics.
    pub(super) fn metadata(&self) -> Result<BTreeMap<String, MetricMetadata>, ApiError> {
        Ok(self.source().metadata(None)?.into_iter().collect())
    }

    /// The selected series of a metric, each once.
    pub(super) fn series_of(&self, name: &str) -> Result<Vec<Found>, ApiError> {
        let mut found = Vec::new();
        for (at, matchers) in self.selectors.iter().enumerate() {
            self.look()?;
            let mut narrowed = matchers.clone();
            narrowed.push(Matcher::equal(METRIC_NAME, name));
            let before = self.selectors.get(..at).unwrap_or_default();
            let is_new = |labels: &Labels| !before.iter().any(|matchers| fulfils(labels, matchers));
            match self.source().select(&narrowed, self.selected, self.series_at_once) {
                Ok(set) => {
                    let set: Arc<dyn SeriesSet> = Arc::from(set);
                    let places = (0..set.len()).filter(|&at| is_new(set.labels(at)));
                    found.extend(places.map(|at| Found::Selected(Arc::clone(&set), at)));
                }
                Err(SourceError::TooManySeries { .. }) => {
                    let all = self.source().series(&narrowed, self.range, usize::MAX)?;
                    found.extend(all.into_iter().filter(is_new).map(Found::Alone));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(found)
    }

    /// Makes a series ready to be read. Nothing if it is not there any more.
    pub(super) fn open(&self, found: &Found) -> Result<Option<Opened>, ApiError> {
        self.look()?;
        match found {
            Found::Selected(set, at) => Ok(Some(Opened { set: Arc::clone(set), at: *at })),
            Found::Alone(labels) => {
                let matchers: Vec<_> = labels.iter().map(|(name, value)| Matcher::equal(name, value)).collect();
                // Series with more labels fulfil these too.
                let set: Arc<dyn SeriesSet> = Arc::from(self.source().select(&matchers, self.selected, usize::MAX)?);
                let place = (0..set.len()).find(|&at| set.labels(at) == labels);
                Ok(place.map(|at| Opened { set, at }))
            }
        }
    }

    /// Windows in order of time that hold all samples of `series` together, each about as many as are read at a time.
    pub(super) fn windows<'a>(&self, series: impl IntoIterator<Item = &'a Opened>) -> Result<Vec<TimeRange>, ApiError> {
        let mut all = Vec::new();
        for one in series {
            match one.set.extents(one.at)? {
                Some(extents) => all.extend(extents),
                None => return Ok(vec![self.range]),
            }
        }
        Ok(windows(self.range, all, WINDOW_SAMPLES))
    }

    /// Reads what lies inside `window` of a series into `samples`.
    pub(super) fn read(&mut self, series: &Opened, window: TimeRange, samples: &mut Samples) -> Result<(), ApiError> {
        self.look()?;
        let cost = series.set.read_within(series.at, window, samples)?;
        self.query.count_read(cost);
        self.counts.chunks_lost += cost.chunks_lost;
        Ok(())
    }

    /// Looks at whether anyone still wants the export.
    fn look(&self) -> Result<(), ApiError> {
        if self.query.cancel_token().is_canceled() {
            return Err(query_error(&QueryError::Canceled));
        }
        Ok(())
    }
}

fn fulfils(labels: &Labels, matchers: &[Matcher]) -> bool {
    matchers.iter().all(|matcher| matcher.matches(labels.get(matcher.name()).unwrap_or_default()))
}

/// Cuts `range` where extents begin, so that about `samples_max` samples lie in each part. Time without extents is left
/// out at both ends.
fn windows(range: TimeRange, mut extents: Vec<(TimeRange, u64)>, samples_max: u64) -> Vec<TimeRange> {
    extents.retain(|(extent, _)| extent.overlaps(range));
    extents.sort_unstable_by_key(|(extent, _)| extent.start);
    let mut windows = Vec::new();
    let Some((first, _)) = extents.first() else { return windows };
    let mut start_ms = first.start.max(range.start).0;
    let (mut end_ms, mut samples) = (start_ms, 0_u64);
    for (extent, count) in extents {
        if samples > 0 && samples.saturating_add(count) > samples_max && extent.start.0 > start_ms {
            windows.push(TimeRange::new(start_ms, extent.start.0 - 1));
            (start_ms, samples) = (extent.start.0, 0);
        }
        samples = samples.saturating_add(count);
        end_ms = end_ms.max(extent.end.0);
    }
    windows.push(TimeRange::new(start_ms, end_ms.min(range.end.0)));
    windows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(range: (i64, i64), extents: &[(i64, i64, u64)], want: &[(i64, i64)]) {
        let extents = extents.iter().map(|&(start, end, count)| (TimeRange::new(start, end), count)).collect();
        let got = windows(TimeRange::new(range.0, range.1), extents, 10);
        assert_eq!(got.iter().map(|of| (of.start.0, of.end.0)).collect::<Vec<_>>(), want);
    }

    #[test]
    fn windows_hold_so_many_samples() {
        let all = (i64::MIN, i64::MAX);
        check(all, &[], &[]);
        check(all, &[(5, 5, 1)], &[(5, 5)]);
        check(all, &[(20, 29, 6), (0, 9, 6), (10, 19, 4)], &[(0, 19), (20, 29)]);
        check(all, &[(0, 9, 60), (10, 19, 60)], &[(0, 9), (10, 19)]);
        check(
            all,
            &[(i64::MIN, i64::MIN, 10), (i64::MAX, i64::MAX, 1)],
            &[(i64::MIN, i64::MAX - 1), (i64::MAX, i64::MAX)],
        );
        check((3, 15), &[(-9, -1, 9), (0, 9, 6), (10, 19, 6), (20, 29, 6)], &[(3, 9), (10, 15)]);
        // What overlaps is cut where the later one begins, and never into nothing.
        check(all, &[(0, 100, 6), (50, 60, 6), (50, 70, 6)], &[(0, 49), (50, 100)]);
        check(all, &[(0, 9, 6), (0, 9, 6)], &[(0, 9)]);
    }
}
