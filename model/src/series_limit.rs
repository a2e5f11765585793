//! Limits on how many series there may be, and how a full one is told.
//!
//! Whoever keeps samples counts and refuses; here is what the limits are called, and the words of a refusal.

use std::fmt;

/// What a limit on series is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(usize)]
pub enum SeriesLimit {
    /// All series of the server.
    Server,
    /// Those of one metric name.
    Metric,
    /// Those of one agent: of all series whose label `instance` names the same host.
    Agent,
}

impl SeriesLimit {
    /// Every limit, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Server, Self::Metric, Self::Agent];

    /// The setting that says how many there may be.
    pub fn setting(self) -> &'static str {
        match self {
            Self::Server => "series_max",
            Self::Metric => "series_per_metric_max",
            Self::Agent => "series_per_agent_max",
        }
    }
}

/// A limit that has no room for another series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FullLimit {
    /// Which limit.
    pub limit: SeriesLimit,
    /// The metric or the agent; empty for the server.
    pub of: String,
    /// How many series it has.
    pub series: u64,
    /// How many it may have.
    pub max: u64,
    /// What makes them so many, as far as it is known.
    pub cause: LimitCause,
}

/// What makes the series of a full limit so many.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LimitCause {
    /// The metric with the most of the series, and how many; none where the limit is about one metric.
    pub metric: Option<(String, u64)>,
    /// The label with the most values among the series, and how many these are.
    pub label: Option<(String, u64)>,
}

impl fmt::Display for FullLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { limit, of, series, max, cause } = self;
        match limit {
            SeriesLimit::Server => write!(f, "the server")?,
            SeriesLimit::Metric => write!(f, "metric {of:?}")?,
            SeriesLimit::Agent => write!(f, "agent {of:?}")?,
        }
        write!(f, " has {series} series ({} = {max})", limit.setting())?;
        match (&cause.metric, &cause.label) {
            (None, None) => Ok(()),
            (Some((metric, series)), None) => write!(f, "; metric {metric:?} has {series} of them"),
            (None, Some((label, values))) => write!(f, "; label {label:?} has {values} values"),
            (Some((metric, series)), Some((label, values))) => {
                write!(f, "; metric {metric:?} has {series} of them, label {label:?} has {values} values")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(limit: SeriesLimit, of: &str, metric: Option<&str>, label: Option<&str>, want: &str) {
        let cause = LimitCause {
            metric: metric.map(|name| (name.to_owned(), 7)),
            label: label.map(|name| (name.to_owned(), 5)),
        };
        let full = FullLimit { limit, of: of.to_owned(), series: 9, max: 8, cause };
        assert_eq!(full.to_string(), want);
    }

    #[test]
    fn a_full_limit_names_the_setting_and_the_cause() {
        let label = Some("path");
        check(SeriesLimit::Server, "", None, None, "the server has 9 series (series_max = 8)");
        check(
            SeriesLimit::Metric,
            "http_requests_total",
            None,
            label,
            r#"metric "http_requests_total" has 9 series (series_per_metric_max = 8); label "path" has 5 values"#,
        );
        check(
            SeriesLimit::Agent,
            "web1",
            Some("m"),
            label,
            r#"agent "web1" has 9 series (series_per_agent_max = 8); metric "m" has 7 of them, label "path" has 5 values"#,
        );
    }

    #[test]
    fn limits_are_numbered_in_order() {
        assert!(SeriesLimit::ALL.into_iter().enumerate().all(|(at, limit)| limit as usize == at));
    }
}
