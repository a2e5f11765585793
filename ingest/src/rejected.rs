//! What of a request was not taken while the rest was: counts by reason, and the first reasons in words.

use model::{Appended, Rejection, SeriesLimit};

/// Most reasons that are told one by one.
pub const REASONS_TOLD_MAX: usize = 10;
/// Longest reason told, in characters.
const REASON_CHARS_MAX: usize = 512;

/// Why something was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(usize)]
pub enum Reason {
    /// A line of text was not understood.
    BadLine,
    /// A label name was empty or occurred twice.
    BadLabels,
    /// A limit on labels was passed.
    LabelLimit,
    /// A series had no metric name.
    NoMetricName,
    /// What was said of a metric had no name or was too long.
    BadMetadata,
    /// A native histogram that is none.
    Histogram,
    /// An exemplar without a time, with too many characters of labels, or beyond the limit; one that storage did not
    /// keep.
    Exemplar,
    /// Retention would drop it at once.
    TooOld,
    /// Further ahead of the server's clock than allowed.
    TooFarAhead,
    /// A new series where the server may have no more.
    SeriesLimit,
    /// A new series where its metric may have no more.
    MetricSeriesLimit,
    /// A new series where its agent may have no more.
    AgentSeriesLimit,
    /// Storage told no reason for it.
    Untold,
}

impl Reason {
    /// Every reason, in the order of their numbers.
    pub const ALL: [Self; 13] = [
        Self::BadLine,
        Self::BadLabels,
        Self::LabelLimit,
        Self::NoMetricName,
        Self::BadMetadata,
        Self::Histogram,
        Self::Exemplar,
        Self::TooOld,
        Self::TooFarAhead,
        Self::SeriesLimit,
        Self::MetricSeriesLimit,
        Self::AgentSeriesLimit,
        Self::Untold,
    ];

    /// The reason as a label value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadLine => "bad_line",
            Self::BadLabels => "bad_labels",
            Self::LabelLimit => "label_limit",
            Self::NoMetricName => "no_metric_name",
            Self::BadMetadata => "bad_metadata",
            Self::Histogram => "histogram",
            Self::Exemplar => "exemplar",
            Self::TooOld => "too_old",
            Self::TooFarAhead => "too_far_ahead",
            Self::SeriesLimit => "series_limit",
            Self::MetricSeriesLimit => "metric_series_limit",
            Self::AgentSeriesLimit => "agent_series_limit",
            Self::Untold => "untold",
        }
    }

    /// The reason for which `limit` refuses.
    fn of_limit(limit: SeriesLimit) -> Self {
        match limit {
            SeriesLimit::Server => Self::SeriesLimit,
            SeriesLimit::Metric => Self::MetricSeriesLimit,
            SeriesLimit::Agent => Self::AgentSeriesLimit,
        }
    }

    /// Whether senders are told of it with an error status. Exemplars are an extra that senders add to samples
    /// which were taken; an error would have them count those samples as lost.
    pub fn is_told(self) -> bool {
        self != Self::Exemplar
    }
}

/// What was not taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rejected {
    counts: [u64; Reason::ALL.len()],
    reasons: Vec<String>,
}

impl Rejected {
    /// Forgets everything.
    pub fn clear(&mut self) {
        self.counts = Default::default();
        self.reasons.clear();
    }

    /// Counts `count` for `reason`, told as `message` if it is among the first.
    pub fn add(&mut self, reason: Reason, count: u64, message: impl FnOnce() -> String) {
        self.counts[reason as usize] += count;
        if reason.is_told() && self.reasons.len() < REASONS_TOLD_MAX {
            let mut message = message();
            if let Some((end, _)) = message.char_indices().nth(REASON_CHARS_MAX) {
                message.truncate(end);
                message.push('…');
            }
            self.reasons.push(message);
        }
    }

    /// Adds what storage did not keep.
    pub fn add_appended(&mut self, appended: &Appended) {
        let mut untold = appended.samples_rejected;
        let mut over_limit = appended.samples_over_limit;
        for rejection in &appended.rejections {
            let reason = match rejection {
                Rejection::TooOld { .. } | Rejection::Summarised { .. } => Reason::TooOld,
                Rejection::TooFarAhead { .. } => Reason::TooFarAhead,
                Rejection::SeriesLimit { full, .. } => {
                    let left = &mut over_limit[full.limit as usize];
                    *left = left.saturating_sub(1);
                    Reason::of_limit(full.limit)
                }
                Rejection::Histogram { .. } => Reason::Histogram,
                _ => Reason::Untold,
            };
            let count = untold.min(1);
            untold -= count;
            self.add(reason, count, || rejection.to_string());
        }
        // A limit refuses many samples for one reason, of which the first were told.
        for (limit, left) in SeriesLimit::ALL.into_iter().zip(over_limit) {
            let count = untold.min(left);
            untold -= count;
            self.counts[Reason::of_limit(limit) as usize] += count;
        }
        self.counts[Reason::Untold as usize] += untold;
        self.counts[Reason::Exemplar as usize] += appended.exemplars_rejected;
    }

    /// How much was not taken for `reason`.
    pub fn count(&self, reason: Reason) -> u64 {
        self.counts[reason as usize]
    }

    /// How much was not taken that senders are told of.
    pub fn told_count(&self) -> u64 {
        Reason::ALL.into_iter().filter(|reason| reason.is_told()).map(|reason| self.count(reason)).sum()
    }

    /// The first reasons in words.
    pub fn reasons(&self) -> &[String] {
        &self.reasons
    }

    /// Whether senders have nothing to be told of.
    pub fn is_empty(&self) -> bool {
        self.reasons.is_empty() && self.told_count() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{FullLimit, LimitCause};

    #[test]
    fn reasons_are_numbered_in_order() {
        for (at, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, at);
        }
    }

    #[test]
    fn the_first_reasons_are_told_and_all_are_counted() {
        let mut rejected = Rejected::default();
        for at in 0..20 {
            rejected.add(Reason::BadLine, 2, || format!("line {at}"));
        }
        assert_eq!((rejected.count(Reason::BadLine), rejected.reasons().len()), (40, REASONS_TOLD_MAX));
        rejected.clear();
        assert!(rejected.is_empty());
        rejected.add(Reason::BadLine, 1, || "é".repeat(REASON_CHARS_MAX + 1));
        assert_eq!(rejected.reasons()[0].chars().count(), REASON_CHARS_MAX + 1);
    }

    #[test]
    fn exemplars_are_counted_in_silence() {
        let mut rejected = Rejected::default();
        rejected.add(Reason::Exemplar, 3, || "never".into());
        assert!(rejected.is_empty());
        assert_eq!((rejected.count(Reason::Exemplar), rejected.told_count()), (3, 0));
    }

    #[test]
    fn what_storage_rejects_is_counted_once() {
        let too_old = Rejection::TooOld { series: "a".into(), timestamp_ms: 1, oldest_ms: 2 };
        let full =
            FullLimit { limit: SeriesLimit::Metric, of: "b".into(), series: 1, max: 1, cause: LimitCause::default() };
        let limit = Rejection::SeriesLimit { series: "b".into(), full: Box::new(full) };
        let appended = Appended {
            samples_rejected: 10,
            samples_over_limit: [0, 3, 1],
            rejections: vec![too_old.clone(), too_old.clone(), limit.clone()],
            ..Appended::default()
        };
        let mut rejected = Rejected::default();
        rejected.add_appended(&appended);
        let count = |reason| rejected.count(reason);
        assert_eq!((count(Reason::TooOld), count(Reason::SeriesLimit), count(Reason::Untold)), (2, 0, 4));
        assert_eq!((count(Reason::MetricSeriesLimit), count(Reason::AgentSeriesLimit)), (3, 1));
        assert_eq!(rejected.told_count(), 10);
        assert_eq!(rejected.reasons(), [too_old.to_string(), too_old.to_string(), limit.to_string()]);
    }
}
