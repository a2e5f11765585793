//! Counts of what the write routes did, and their print as families of metrics.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use model::MetricKind;
use model::exposition::Family;

use crate::rejected::{Reason, Rejected};
use crate::reply::Written;

/// A write route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Route {
    /// `POST /api/v1/write`.
    RemoteWrite,
    /// `POST /api/v1/import/prometheus`.
    TextImport,
    /// `POST /api/v1/import`.
    LinesImport,
}

impl Route {
    /// Every route, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::RemoteWrite, Self::TextImport, Self::LinesImport];

    /// The path.
    pub fn path(self) -> &'static str {
        match self {
            Self::RemoteWrite => "/api/v1/write",
            Self::TextImport => "/api/v1/import/prometheus",
            Self::LinesImport => "/api/v1/import",
        }
    }
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Outcome {
    /// All of it was taken.
    Taken,
    /// Some or all of its samples were rejected, one by one.
    Partial,
    /// The sender has to change it: a 4xx.
    Refused,
    /// The sender is asked to send it again later.
    Busy,
    /// The server failed.
    Failed,
    /// The sender went away before the answer.
    Abandoned,
}

impl Outcome {
    /// Every outcome, in the order of their numbers.
    pub const ALL: [Self; 6] = [Self::Taken, Self::Partial, Self::Refused, Self::Busy, Self::Failed, Self::Abandoned];

    /// The outcome as a label value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::Partial => "partial",
            Self::Refused => "refused",
            Self::Busy => "busy",
            Self::Failed => "failed",
            Self::Abandoned => "abandoned",
        }
    }
}

/// Counts of one route.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RouteSnapshot {
    /// Requests by outcome, in the order of [`Outcome::ALL`].
    pub requests: [u64; Outcome::ALL.len()],
    /// Samples kept, histograms included.
    pub samples: u64,
    /// Histograms kept.
    pub histograms: u64,
    /// Exemplars kept.
    pub exemplars: u64,
    /// Bytes of bodies as sent.
    pub body_bytes: u64,
    /// Bytes of bodies decompressed.
    pub decompressed_bytes: u64,
}

/// Counts at one time. Each is exact; together they may be a request apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct IngestSnapshot {
    /// By route, in the order of [`Route::ALL`].
    pub routes: [RouteSnapshot; Route::ALL.len()],
    /// What was not taken, by reason, in the order of [`Reason::ALL`].
    pub rejected: [u64; Reason::ALL.len()],
    /// Series seen for the first time.
    pub series_created: u64,
    /// Requests under way now.
    pub requests_in_flight: i64,
}

#[derive(Debug, Default)]
struct RouteCounters {
    requests: [AtomicU64; Outcome::ALL.len()],
    samples: AtomicU64,
    histograms: AtomicU64,
    exemplars: AtomicU64,
    body_bytes: AtomicU64,
    decompressed_bytes: AtomicU64,
}

/// The counters.
#[derive(Debug, Default)]
pub struct IngestMetrics {
    routes: [RouteCounters; Route::ALL.len()],
    rejected: [AtomicU64; Reason::ALL.len()],
    series_created: AtomicU64,
    requests_in_flight: AtomicI64,
}

impl IngestMetrics {
    /// Counts a request that came in.
    pub(crate) fn came_in(&self) {
        self.requests_in_flight.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts what became of a request that came in.
    pub(crate) fn went_out(&self, route: Route, outcome: Outcome) {
        self.requests_in_flight.fetch_sub(1, Ordering::Relaxed);
        self.routes[route as usize].requests[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts the bytes of a body.
    pub(crate) fn add_bytes(&self, route: Route, body_bytes: usize, decompressed_bytes: usize) {
        let counters = &self.routes[route as usize];
        counters.body_bytes.fetch_add(body_bytes as u64, Ordering::Relaxed);
        counters.decompressed_bytes.fetch_add(decompressed_bytes as u64, Ordering::Relaxed);
    }

    /// Counts what a request brought.
    pub(crate) fn add_taken(&self, route: Route, written: Written, series_created: u64, rejected: &Rejected) {
        let counters = &self.routes[route as usize];
        counters.samples.fetch_add(written.samples(), Ordering::Relaxed);
        counters.histograms.fetch_add(written.histograms, Ordering::Relaxed);
        counters.exemplars.fetch_add(written.exemplars, Ordering::Relaxed);
        self.series_created.fetch_add(series_created, Ordering::Relaxed);
        for (counter, reason) in self.rejected.iter().zip(Reason::ALL) {
            counter.fetch_add(rejected.count(reason), Ordering::Relaxed);
        }
    }

    /// The counts now.
    pub fn snapshot(&self) -> IngestSnapshot {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        IngestSnapshot {
            routes: self.routes.each_ref().map(|route| RouteSnapshot {
                requests: route.requests.each_ref().map(load),
                samples: load(&route.samples),
                histograms: load(&route.histograms),
                exemplars: load(&route.exemplars),
                body_bytes: load(&route.body_bytes),
                decompressed_bytes: load(&route.decompressed_bytes),
            }),
            rejected: self.rejected.each_ref().map(load),
            series_created: load(&self.series_created),
            requests_in_flight: self.requests_in_flight.load(Ordering::Relaxed),
        }
    }

    /// The counts now, as families for the server's `/metrics`.
    pub fn families(&self) -> Vec<Family> {
        self.snapshot().families()
    }
}

impl IngestSnapshot {
    /// The counts as families of metrics.
    #[expect(clippy::cast_precision_loss, reason = "metrics are floats")]
    pub fn families(&self) -> Vec<Family> {
        let counter = |name, help| Family::new(name, MetricKind::Counter, help);
        let mut requests = counter("metrickit_ingest_requests_total", "Write requests by what became of them.");
        let mut samples = counter("metrickit_ingest_samples_total", "Samples kept, histograms included.");
        let mut histograms = counter("metrickit_ingest_histograms_total", "Native histograms kept.");
        let mut exemplars = counter("metrickit_ingest_exemplars_total", "Exemplars kept.");
        let mut body = counter("metrickit_ingest_body_bytes_total", "Bytes of bodies as sent.");
        let mut decompressed =
            counter("metrickit_ingest_decompressed_bytes_total", "Bytes of bodies after decompression.");
        for (route, counts) in Route::ALL.into_iter().zip(&self.routes) {
            let route = ("route", route.path());
            for (outcome, count) in Outcome::ALL.into_iter().zip(counts.requests) {
                requests = requests.with(&[route, ("outcome", outcome.as_str())], count as f64);
            }
            samples = samples.with(&[route], counts.samples as f64);
            histograms = histograms.with(&[route], counts.histograms as f64);
            exemplars = exemplars.with(&[route], counts.exemplars as f64);
            body = body.with(&[route], counts.body_bytes as f64);
            decompressed = decompressed.with(&[route], counts.decompressed_bytes as f64);
        }
        let mut rejected = counter(
            "metrickit_ingest_rejected_total",
            "Samples, exemplars, lines and metadata that were not taken, by reason.",
        );
        for (reason, count) in Reason::ALL.into_iter().zip(self.rejected) {
            rejected = rejected.with(&[("reason", reason.as_str())], count as f64);
        }
        let created = counter("metrickit_ingest_series_created_total", "Series seen for the first time.")
            .with(&[], self.series_created as f64);
        let in_flight = Family::new(
            "metrickit_ingest_requests_in_flight",
            MetricKind::Gauge,
            "Write requests that are received, wait or are worked on.",
        )
        .with(&[], self.requests_in_flight as f64);
        vec![requests, samples, histograms, exemplars, body, decompressed, rejected, created, in_flight]
    }
}

#[cfg(test)]
mod tests {
    use model::exposition::TextFormat;

    use super::*;

    #[test]
    fn counts_show_as_families() {
        let metrics = IngestMetrics::default();
        metrics.came_in();
        metrics.came_in();
        metrics.went_out(Route::TextImport, Outcome::Partial);
        metrics.add_bytes(Route::TextImport, 10, 20);
        let mut rejected = Rejected::default();
        rejected.add(Reason::TooOld, 3, String::new);
        rejected.add(Reason::Histogram, 1, String::new);
        let written = Written { floats: 5, histograms: 2, exemplars: 4 };
        metrics.add_taken(Route::TextImport, written, 2, &rejected);
        let mut page = String::new();
        model::exposition::write_families(&metrics.families(), TextFormat::default(), &mut page);
        let route = "route=\"/api/v1/import/prometheus\"";
        for want in [
            format!("metrickit_ingest_requests_total{{outcome=\"partial\",{route}}} 1\n"),
            format!("metrickit_ingest_requests_total{{outcome=\"taken\",{route}}} 0\n"),
            format!("metrickit_ingest_samples_total{{{route}}} 7\n"),
            format!("metrickit_ingest_histograms_total{{{route}}} 2\n"),
            format!("metrickit_ingest_exemplars_total{{{route}}} 4\n"),
            "metrickit_ingest_rejected_total{reason=\"histogram\"} 1\n".to_owned(),
            format!("metrickit_ingest_body_bytes_total{{{route}}} 10\n"),
            format!("metrickit_ingest_decompressed_bytes_total{{{route}}} 20\n"),
            "metrickit_ingest_rejected_total{reason=\"too_old\"} 3\n".to_owned(),
            "metrickit_ingest_series_created_total 2\n".to_owned(),
            "metrickit_ingest_requests_in_flight 1\n".to_owned(),
        ] {
            assert!(page.contains(&want), "{want:?} is missing in\n{page}");
        }
    }

    #[test]
    fn numbers_are_in_order() {
        for (at, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, at);
        }
        for (at, route) in Route::ALL.into_iter().enumerate() {
            assert_eq!(route as usize, at);
        }
    }
}
