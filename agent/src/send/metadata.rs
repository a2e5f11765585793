//! What is known of the metrics that were collected, sent beside the samples now and then. Kept in memory: a receiver
//! that missed it gets it with the next sending.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::MetricMetadata;
use model::remote_write::{Metadata, WriteRequest, kind_number};
use parking_lot::Mutex;

/// Most metrics that are known.
const METRICS_MAX: usize = 50_000;
/// Most metrics in one request.
const METRICS_PER_REQUEST: usize = 1_000;
/// Least time between two sendings when new metrics appear.
const NEWS_INTERVAL_MS: i64 = 60_000;

/// Metadata that threads share.
pub type SharedMetadata = Arc<Mutex<MetadataBook>>;

/// Metadata by metric, and when it was sent.
#[derive(Debug, Default)]
pub struct MetadataBook {
    metrics: BTreeMap<String, MetricMetadata>,
    news: bool,
    sent_ms: Option<i64>,
}

impl MetadataBook {
    /// Takes note of `metadata`; what is known already is kept.
    pub fn take(&mut self, metadata: &BTreeMap<String, MetricMetadata>) {
        for (name, known) in metadata {
            if self.metrics.len() < METRICS_MAX && !self.metrics.contains_key(name) {
                self.metrics.insert(name.clone(), known.clone());
                self.news = true;
            }
        }
    }

    /// The requests to send now: everything when `interval_ms` has passed, or a minute when there are new metrics.
    pub fn due(&mut self, now_ms: i64, interval_ms: i64) -> Vec<WriteRequest> {
        let waited_ms = self.sent_ms.map_or(i64::MAX, |sent_ms| now_ms.saturating_sub(sent_ms));
        let pause_ms = if self.news { NEWS_INTERVAL_MS.min(interval_ms) } else { interval_ms };
        if waited_ms < pause_ms || self.metrics.is_empty() {
            return Vec::new();
        }
        self.sent_ms = Some(now_ms);
        self.news = false;
        let metadata: Vec<Metadata> = self.metrics.iter().map(|(name, known)| wire(name, known)).collect();
        let request = |metadata: &[Metadata]| WriteRequest { timeseries: Vec::new(), metadata: metadata.to_vec() };
        metadata.chunks(METRICS_PER_REQUEST).map(request).collect()
    }
}

fn wire(name: &str, known: &MetricMetadata) -> Metadata {
    Metadata {
        kind: kind_number(known.kind),
        metric_family_name: name.to_owned(),
        help: known.help.clone(),
        unit: known.unit.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sent_when_due() {
        let mut book = MetadataBook::default();
        assert!(book.due(0, 600_000).is_empty());
        let metrics =
            |names: std::ops::Range<usize>| names.map(|n| (format!("m{n}"), MetricMetadata::default())).collect();
        book.take(&metrics(0..1500));
        let sizes: Vec<_> = book.due(0, 600_000).iter().map(|request| request.metadata.len()).collect();
        assert_eq!(sizes, [1000, 500]);
        assert!(book.due(599_999, 600_000).is_empty());
        book.take(&metrics(0..1501));
        assert_eq!(book.due(70_000, 600_000).len(), 2, "news after a minute");
        assert!(book.due(600_000, 600_000).is_empty());
        assert_eq!(book.due(670_000, 600_000).len(), 2);
    }
}
