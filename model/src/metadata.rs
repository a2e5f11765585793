//! What is known of a metric beside its samples: kind, unit, help.

use std::fmt;

/// The kind of a metric, as exposition formats and remote write name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum MetricKind {
    /// Only grows, save for resets.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts observations in buckets.
    Histogram,
    /// Buckets that may shrink.
    GaugeHistogram,
    /// Quantiles computed at the source.
    Summary,
    /// Constant 1 whose labels carry the information.
    Info,
    /// One series a state, 0 or 1.
    StateSet,
    /// Nothing was said.
    #[default]
    Unknown,
}

impl MetricKind {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::Counter,
        Self::Gauge,
        Self::Histogram,
        Self::GaugeHistogram,
        Self::Summary,
        Self::Info,
        Self::StateSet,
        Self::Unknown,
    ];

    /// The kind's name in `# TYPE` lines of OpenMetrics and in the HTTP API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::GaugeHistogram => "gaugehistogram",
            Self::Summary => "summary",
            Self::Info => "info",
            Self::StateSet => "stateset",
            Self::Unknown => "unknown",
        }
    }

    /// The kind named `text`; `untyped` of the older text format is unknown.
    pub fn parse(text: &str) -> Option<Self> {
        if text == "untyped" {
            return Some(Self::Unknown);
        }
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

impl fmt::Display for MetricKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Kind, unit and help of one metric.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct MetricMetadata {
    /// The kind.
    pub kind: MetricKind,
    /// The unit, such as `seconds`; empty when not said.
    pub unit: String,
    /// One sentence for people; empty when not said.
    pub help: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_read_back() {
        for kind in MetricKind::ALL {
            assert_eq!(MetricKind::parse(kind.as_str()), Some(kind));
        }
        assert_eq!(MetricKind::parse("untyped"), Some(MetricKind::Unknown));
        assert_eq!(MetricKind::parse("Counter"), None);
    }
}
