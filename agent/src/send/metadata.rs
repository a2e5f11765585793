//! What is known of the metrics that were collected, sent beside the samples now and then. Kept in memory: a receiver
//! that missed it gets it with the next sending.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::MetricMetadata;
use model::remote_write::{Metadata, WriteRequest, kind_number};
use parking_lot::Mutex;

/// Most metrics that are known.
const METRICS_MAX: usize = 50_000;
/// Most bytes of names and texts that are known.
const BYTES_MAX: usize = 4 << 20;
/// Longest help and longest unit; what is longer is cut, as in the client of programs.
const TEXT_BYTES_MAX: usize = 1024;
/// A metric that nobody described for so long is forgotten.
const FORGOTTEN_AFTER_MS: i64 = 3_600_000;
/// Least time between two looks at who described nothing; 4 MiB of texts are looked at.
const SWEEP_INTERVAL_MS: i64 = 60_000;
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
    bytes: usize,
    swept_ms: Option<i64>,
    news: bool,
    sent_ms: Option<i64>,
}

#[derive(Debug)]
struct Known {
    metadata: MetricMetadata,
    /// When it was described last.
    heard_ms: i64,
    /// When a receiver of 2.0 took it.
    told_ms: Option<i64>,
}

/// What a metric takes beside its texts.
const KNOWN_BYTES: usize = size_of::<(String, Known)>();

/// `text`, or as much of it as is kept.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_BYTES_MAX)]
}

/// What series of histograms, summaries, counters and infos have behind the name of their metric.
const SUFFIXES: [&str; 7] = ["_bucket", "_count", "_sum", "_total", "_gcount", "_gsum", "_info"];

impl MetadataBook {
    /// Takes note of `metadata`, told at `now_ms`; what is known already is kept, what is beyond the limits left out.
    pub fn take<'m>(&mut self, metadata: impl IntoIterator<Item = (&'m String, &'m MetricMetadata)>, now_ms: i64) {
        self.sweep(now_ms);
        for (name, told) in metadata {
            if let Some(known) = self.metrics.get_mut(name) {
                known.heard_ms = now_ms;
                continue;
            }
            let (help, unit) = (cut(&told.help), cut(&told.unit));
            let bytes = KNOWN_BYTES + name.len() + help.len() + unit.len();
            if self.metrics.len() < METRICS_MAX && self.bytes + bytes <= BYTES_MAX {
                let metadata = MetricMetadata { kind: told.kind, help: help.to_owned(), unit: unit.to_owned() };
                self.metrics.insert(name.clone(), Known { metadata, heard_ms: now_ms, told_ms: None });
                self.bytes += bytes;
                self.news = true;
            }
        }
    }

    /// Forgets what nobody described for long.
    fn sweep(&mut self, now_ms: i64) {
        if self.swept_ms.is_some_and(|swept_ms| now_ms.abs_diff(swept_ms) < SWEEP_INTERVAL_MS.unsigned_abs()) {
            return;
        }
        self.swept_ms = Some(now_ms);
        let bytes = &mut self.bytes;
        self.metrics.retain(|name, known| {
            let stays = now_ms.abs_diff(known.heard_ms) <= FORGOTTEN_AFTER_MS.unsigned_abs();
            if !stays {
                *bytes -= KNOWN_BYTES + name.len() + known.metadata.help.len() + known.metadata.unit.len();
            }
            stays
        });
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
        book.take(
            &BTreeMap::from([
                ("h".to_owned(), known(model::MetricKind::Histogram)),
                ("n_total".to_owned(), known(model::MetricKind::Counter)),
                ("build".to_owned(), known(model::MetricKind::Info)),
            ]),
            0,
        );
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
        book.take(&metrics(0..1500), 0);
        let sizes: Vec<_> = book.due(0, 600_000).iter().map(|request| request.metadata.len()).collect();
        assert_eq!(sizes, [1000, 500]);
        assert!(book.due(599_999, 600_000).is_empty());
        book.take(&metrics(0..1501), 70_000);
        assert_eq!(book.due(70_000, 600_000).len(), 2, "news after a minute");
        assert!(book.news(70_001).is_empty(), "all was sent");
        book.take(&metrics(0..1502), 70_002);
        assert!(book.due(70_002, 600_000).is_empty());
        assert_eq!(book.news(70_000).len(), 2, "what is new goes out at the end");
        assert!(book.due(600_000, 600_000).is_empty());
        assert_eq!(book.due(670_000, 600_000).len(), 2);
    }

    #[test]
    fn texts_are_bounded_and_forgotten() {
        let mut book = MetadataBook::default();
        let long =
            MetricMetadata { help: "\u{e4}".repeat(2_000), unit: "u".repeat(1_025), ..MetricMetadata::default() };
        let all: BTreeMap<String, MetricMetadata> = (0..10_000).map(|n| (format!("m{n}"), long.clone())).collect();
        book.take(&all, 0);
        let texts: usize = book
            .metrics
            .iter()
            .map(|(name, known)| name.len() + known.metadata.help.len() + known.metadata.unit.len())
            .sum();
        assert!(texts <= BYTES_MAX && texts > BYTES_MAX / 2, "{texts}");
        let (_, first) = book.metrics.first_key_value().expect("some");
        assert_eq!((first.metadata.help.len(), first.metadata.unit.len()), (1024, 1024));
        let other = BTreeMap::from([("other".to_owned(), MetricMetadata::default())]);
        let is_known = |book: &MetadataBook, name: &str| book.of_series(name, 0, 0).is_some();
        let stays: BTreeMap<String, MetricMetadata> = all.into_iter().take(1).collect();
        let first = stays.keys().next().expect("one").clone();
        book.take(&stays, FORGOTTEN_AFTER_MS / 2);
        book.take(&other, FORGOTTEN_AFTER_MS + 1);
        assert_eq!((book.metrics.len(), is_known(&book, "other"), is_known(&book, &first)), (2, true, true));
        book.take(&BTreeMap::new(), 3 * FORGOTTEN_AFTER_MS);
        assert_eq!((book.metrics.len(), book.bytes), (0, 0));
    }
}
