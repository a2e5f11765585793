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

/// Metadata by metric, and when it was sent: to a receiver of version 1.0 all at once, to one of 2.0 on the series of each
/// metric.
#[derive(Debug, Default)]
pub struct MetadataBook {
    metrics: BTreeMap<String, Known>,
    news: bool,
    sent_ms: Option<i64>,
}

#[derive(Debug)]
struct Known {
    metadata: MetricMetadata,
    /// When a receiver of 2.0 took it.
    told_ms: Option<i64>,
}

/// What series of histograms, summaries, counters and infos have behind the name of their metric.
const SUFFIXES: [&str; 7] = ["_bucket", "_count", "_sum", "_total", "_gcount", "_gsum", "_info"];

impl MetadataBook {
    /// Takes note of `metadata`; what is known already is kept.
    pub fn take<'m>(&mut self, metadata: impl IntoIterator<Item = (&'m String, &'m MetricMetadata)>) {
        for (name, known) in metadata {
            if self.metrics.len() < METRICS_MAX && !self.metrics.contains_key(name) {
                self.metrics.insert(name.clone(), Known { metadata: known.clone(), told_ms: None });
                self.news = true;
            }
        }
    }

    /// The metric that the series called `name` is of and what is known of it, if a receiver of 2.0 was not told within
    /// `interval_ms`.
    pub fn of_series(&self, name: &str, now_ms: i64, interval_ms: i64) -> Option<(&str, &MetricMetadata)> {
        let find = |name: &str| self.metrics.get_key_value(name);
        let family = || SUFFIXES.iter().find_map(|suffix| name.strip_suffix(suffix));
        let (metric, known) = find(name).or_else(|| find(family()?))?;
        let is_due = known.told_ms.is_none_or(|told_ms| now_ms.abs_diff(told_ms) >= interval_ms.unsigned_abs());
        is_due.then_some((metric, &known.metadata))
    }

    /// Takes note that a receiver of 2.0 took what is known of `metrics`.
    pub fn told(&mut self, metrics: &[String], now_ms: i64) {
        for metric in metrics {
            if let Some(known) = self.metrics.get_mut(metric) {
                known.told_ms = Some(now_ms);
            }
        }
    }

    /// Forgets what was told: the receiver is another one, or speaks another version.
    pub fn forget_told(&mut self) {
        self.sent_ms = None;
        self.metrics.values_mut().for_each(|known| known.told_ms = None);
    }

    /// The requests to send now: everything when `interval_ms` has passed, or a minute when there are new metrics.
    pub fn due(&mut self, now_ms: i64, interval_ms: i64) -> Vec<WriteRequest> {
        let waited_ms = self.sent_ms.map_or(i64::MAX, |sent_ms| now_ms.saturating_sub(sent_ms));
        let pause_ms = if self.news { NEWS_INTERVAL_MS.min(interval_ms) } else { interval_ms };
        if waited_ms < pause_ms { Vec::new() } else { self.everything(now_ms) }
    }

    /// The requests to send before the end: everything, if some of it never was sent.
    pub fn news(&mut self, now_ms: i64) -> Vec<WriteRequest> {
        if self.news { self.everything(now_ms) } else { Vec::new() }
    }

    fn everything(&mut self, now_ms: i64) -> Vec<WriteRequest> {
        if self.metrics.is_empty() {
            return Vec::new();
        }
        self.sent_ms = Some(now_ms);
        self.news = false;
        let metadata: Vec<Metadata> = self.metrics.iter().map(|(name, known)| wire(name, &known.metadata)).collect();
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
    fn told_with_series_when_due() {
        let mut book = MetadataBook::default();
        let known = |kind| MetricMetadata { kind, ..MetricMetadata::default() };
        book.take(&BTreeMap::from([
            ("h".to_owned(), known(model::MetricKind::Histogram)),
            ("n_total".to_owned(), known(model::MetricKind::Counter)),
            ("build".to_owned(), known(model::MetricKind::Info)),
        ]));
        for (series, want) in [
            ("h", Some("h")),
            ("h_bucket", Some("h")),
            ("h_count", Some("h")),
            ("n_total", Some("n_total")),
            ("build_info", Some("build")),
            ("other", None),
            ("x_bucket", None),
        ] {
            assert_eq!(book.of_series(series, 0, 1_000).map(|(metric, _)| metric), want, "{series}");
        }
        book.told(&["h".to_owned()], 10);
        assert!(book.of_series("h_sum", 1_009, 1_000).is_none());
        assert!(book.of_series("h_sum", 1_010, 1_000).is_some());
        assert!(book.of_series("n_total", 11, 1_000).is_some());
        book.forget_told();
        assert!(book.of_series("h", 11, 1_000).is_some());
    }

    #[test]
    fn sent_when_due() {
        let mut book = MetadataBook::default();
        assert!(book.due(0, 600_000).is_empty());
        let metrics = |names: std::ops::Range<usize>| -> BTreeMap<String, MetricMetadata> {
            names.map(|n| (format!("m{n}"), MetricMetadata::default())).collect()
        };
        book.take(&metrics(0..1500));
        let sizes: Vec<_> = book.due(0, 600_000).iter().map(|request| request.metadata.len()).collect();
        assert_eq!(sizes, [1000, 500]);
        assert!(book.due(599_999, 600_000).is_empty());
        book.take(&metrics(0..1501));
        assert_eq!(book.due(70_000, 600_000).len(), 2, "news after a minute");
        assert!(book.news(70_001).is_empty(), "all was sent");
        book.take(&metrics(0..1502));
        assert!(book.due(70_002, 600_000).is_empty());
        assert_eq!(book.news(70_000).len(), 2, "what is new goes out at the end");
        assert!(book.due(600_000, 600_000).is_empty());
        assert_eq!(book.due(670_000, 600_000).len(), 2);
    }
}
