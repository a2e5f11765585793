//! The contract for reading: what the query language asks of an engine.
//!
//! `storage` implements it, `query` reads through it, and neither knows the other.

use std::collections::BTreeSet;
use std::fmt;

use crate::exemplar::Exemplar;
use crate::labels::Labels;
use crate::matcher::Matcher;
use crate::metadata::MetricMetadata;
use crate::sample::Samples;
use crate::summary::Summary;
use crate::time::TimeRange;

/// How many floats a native histogram counts for where reads are cut into parts of a bounded size, if no more is known of it.
pub const HISTOGRAM_WEIGHT: u64 = 16;

/// Why a read failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages name every field")]
pub enum SourceError {
    /// The matchers select more than the caller allowed; narrow them or raise the limit.
    #[error("selector matches more than {limit} series")]
    TooManySeries { limit: usize },
    /// Stored bytes are damaged; the rest of the data stays readable.
    #[error("stored data is damaged: {detail}")]
    Damaged { detail: String },
    /// The engine cannot read now; try again later or repair it.
    #[error("storage cannot be read: {detail}")]
    Unavailable { detail: String },
}

/// Something that holds series. Reads see every write that was acknowledged before they began.
pub trait SeriesSource: fmt::Debug + Send + Sync {
    /// The series that fulfil all `matchers` and may have samples inside `range`, ordered by labels.
    /// Their samples are decoded only when read.
    ///
    /// # Errors
    ///
    /// When more than `series_max` series match, or storage fails.
    fn select(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        series_max: usize,
    ) -> Result<Box<dyn SeriesSet>, SourceError>;

    /// As [`select`](Self::select) for who wants nothing of a series but its newest sample inside `range`, stale
    /// markers included: reading a series yields that one, and may yield earlier ones.
    ///
    /// # Errors
    ///
    /// As [`select`](Self::select).
    fn select_newest(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        series_max: usize,
    ) -> Result<Box<dyn SeriesSet>, SourceError> {
        self.select(matchers, range, series_max)
    }

    /// Length of the longest window whose summary may be met inside `range`, in milliseconds; 0 where all samples are
    /// kept one by one. The newest summary before an instant may be as old as that, so whoever looks for it selects
    /// from that much earlier on.
    fn summary_window_ms(&self, range: TimeRange) -> i64 {
        let _ = range;
        0
    }

    /// The label sets that fulfil all `matchers` and may have samples inside `range`, ordered by labels,
    /// at most `limit`. May be coarser in time than [`select`](Self::select), which answers unless a source knows better.
    ///
    /// # Errors
    ///
    /// When storage fails.
    fn series(&self, matchers: &[Matcher], range: TimeRange, limit: usize) -> Result<Vec<Labels>, SourceError> {
        let set = self.select(matchers, range, usize::MAX)?;
        Ok((0..set.len().min(limit)).map(|at| set.labels(at).clone()).collect())
    }

    /// The label names of the series that fulfil all `matchers` and may have samples inside `range`; sorted, unique.
    ///
    /// # Errors
    ///
    /// When storage fails.
    fn label_names(&self, matchers: &[Matcher], range: TimeRange) -> Result<Vec<String>, SourceError> {
        let series = self.series(matchers, range, usize::MAX)?;
        let names: BTreeSet<&str> = series.iter().flat_map(|labels| labels.iter()).map(|(name, _)| name).collect();
        Ok(names.into_iter().map(str::to_owned).collect())
    }

    /// The values of label `name` among the series that fulfil all `matchers` and may have samples inside `range`;
    /// sorted, unique.
    ///
    /// # Errors
    ///
    /// When storage fails.
    fn label_values(&self, name: &str, matchers: &[Matcher], range: TimeRange) -> Result<Vec<String>, SourceError> {
        let series = self.series(matchers, range, usize::MAX)?;
        let values: BTreeSet<&str> = series.iter().filter_map(|labels| labels.get(name)).collect();
        Ok(values.into_iter().map(str::to_owned).collect())
    }

    /// The exemplars kept of the series that fulfil all `matchers` and lie inside `range`: series ordered by labels,
    /// each with at least one, in order of time. Sources that keep none answer with an empty list.
    ///
    /// # Errors
    ///
    /// When storage fails.
    fn exemplars(&self, matchers: &[Matcher], range: TimeRange) -> Result<Vec<(Labels, Vec<Exemplar>)>, SourceError> {
        let _ = (matchers, range);
        Ok(Vec::new())
    }

    /// Metadata by metric name, ordered by name; of one metric if `metric` is given. Sources that keep none answer with an
    /// empty list.
    ///
    /// # Errors
    ///
    /// When storage fails.
    fn metadata(&self, metric: Option<&str>) -> Result<Vec<(String, MetricMetadata)>, SourceError> {
        let _ = metric;
        Ok(Vec::new())
    }
}

/// Selected series, ordered by labels. A snapshot: later writes, merges and drops do not change it.
pub trait SeriesSet: fmt::Debug + Send + Sync {
    /// How many series there are.
    fn len(&self) -> usize;

    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The labels of series `at`, which is below [`len`](Self::len).
    fn labels(&self, at: usize) -> &Labels;

    /// Replaces `into` with the samples of series `at` inside the selected range, ascending and unique in time,
    /// stale markers included. An empty result is possible.
    ///
    /// # Errors
    ///
    /// When storage fails.
    fn read(&self, at: usize, into: &mut Samples) -> Result<ReadCost, SourceError>;

    /// As [`read`](Self::read), but only what lies inside `range` too: who goes through a long series holds a part of it.
    ///
    /// # Errors
    ///
    /// When storage fails.
    fn read_within(&self, at: usize, range: TimeRange, into: &mut Samples) -> Result<ReadCost, SourceError> {
        let cost = self.read(at, into)?;
        into.clip(range);
        Ok(cost)
    }

    /// Where the samples of series `at` lie, so that they can be read in parts: ranges of time, in any order, each with
    /// about how many it holds; native histograms, which take more memory, count for several each
    /// ([`HISTOGRAM_WEIGHT`]). They may overlap, and lie outside of the selected range. Nothing if that is not known.
    ///
    /// # Errors
    ///
    /// When storage fails.
    fn extents(&self, at: usize) -> Result<Option<Vec<(TimeRange, u64)>>, SourceError> {
        let _ = at;
        Ok(None)
    }

    /// As [`read`](Self::read), with summaries where samples are kept no more. Replaces both: `summaries` with those
    /// whose latest samples lie inside the selected range, ascending in time, and `into` with what is kept one by one,
    /// stale markers that no summary tells of included. Of any instant at most one of both tells. Where there are summaries of several lengths, those of the longest up to
    /// `window_ms_max` are chosen, or of the shortest if all are longer.
    ///
    /// [`read`](Self::read) stands the latest value of each summary in for its samples, at its time.
    ///
    /// # Errors
    ///
    /// When storage fails.
    fn read_with_summaries(
        &self,
        at: usize,
        window_ms_max: i64,
        into: &mut Samples,
        summaries: &mut Vec<Summary>,
    ) -> Result<ReadCost, SourceError> {
        let _ = window_ms_max;
        summaries.clear();
        self.read(at, into)
    }
}

/// What reading one series took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReadCost {
    /// Chunks decoded.
    pub chunks: u64,
    /// Encoded bytes decoded.
    pub bytes: u64,
    /// Samples decoded, also those outside the range; a summary counts as one.
    pub samples: u64,
    /// Chunks that may have had samples in the range and were left out because they are damaged.
    pub chunks_lost: u64,
}

impl std::ops::AddAssign for ReadCost {
    fn add_assign(&mut self, other: Self) {
        self.chunks += other.chunks;
        self.bytes += other.bytes;
        self.samples += other.samples;
        self.chunks_lost += other.chunks_lost;
    }
}
