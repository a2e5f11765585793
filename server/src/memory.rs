//! The memory of the process against its budget: looked at twice a second, told on `/metrics` and `/api/v1/status/memory`.
//!
//! Each part keeps to its own share. What they cannot see is the process as a whole: what the allocator holds, and the
//! series, which no share bounds. When the process comes near its total the engine is asked to give back what it can; above
//! the total writes and queries are refused until it is below again, since the kernel would end the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use model::exposition::Family;
use model::{Budget, MetricKind, Part};
use serde_json::json;
use storage::EngineStats;

use crate::app::App;
use crate::metrics_page::{gauge, one_gauge, whole};
use crate::process::anonymous_bytes;
use crate::reply::{ApiError, ErrorKind, success_json};

/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Looks after relief during which none is asked for again, as a flush takes its time; and while writes are refused.
const LOOKS_AFTER_RELIEF: [u32; 2] = [20, 3];
/// Looks that may fail until what was seen last says nothing any more.
const LOOKS_FAILED_MAX: u32 = 20;
/// Hundredths of the total from which on relief is asked for.
const RELIEF_PERCENT: u64 = 90;
/// Hundredths of the total below which nothing is refused any more.
const CALM_PERCENT: u64 = 95;

/// How the process stands to its budget.
#[derive(Debug)]
pub(crate) struct MemoryWatch {
    budget: Budget,
    anonymous_bytes: AtomicU64,
    refusing: AtomicBool,
    reliefs: AtomicU64,
    refused: AtomicU64,
}

/// What a look found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Strain {
    /// Enough is free.
    Calm,
    /// Less than a tenth is free.
    Near,
    /// More is taken than there is.
    Over,
}

impl MemoryWatch {
    pub(crate) fn new(budget: Budget) -> Self {
        let [anonymous_bytes, reliefs, refused] = [const { AtomicU64::new(0) }; 3];
        Self { budget, anonymous_bytes, refusing: AtomicBool::new(false), reliefs, refused }
    }

    /// Takes note of `bytes` that the process holds, and says what that means.
    fn see(&self, bytes: u64) -> Strain {
        self.anonymous_bytes.store(bytes, Ordering::Relaxed);
        let total = self.budget.total_bytes();
        let above = |percent: u64| bytes / 100 > total / 100 * percent / 100;
        let over = bytes > total || (self.refusing.load(Ordering::Relaxed) && above(CALM_PERCENT));
        self.refusing.store(over, Ordering::Relaxed);
        match (over, above(RELIEF_PERCENT)) {
            (true, _) => Strain::Over,
            (false, true) => Strain::Near,
            (false, false) => Strain::Calm,
        }
    }

    /// Why nothing more is begun, in a sentence.
    fn reason(&self) -> String {
        let bytes = self.anonymous_bytes.load(Ordering::Relaxed);
        format!("the server holds {bytes} bytes of memory, memory_max is {}", self.budget.total_bytes())
    }

    /// Whether another query may begin, or a capture come in.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] while the process holds more than its budget.
    pub(crate) fn check(&self) -> Result<(), ApiError> {
        if self.refusing.load(Ordering::Relaxed) {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return Err(ApiError::new(ErrorKind::Unavailable, self.reason()));
        }
        Ok(())
    }

    /// What `part` holds now, as far as it is known.
    fn used(&self, part: Part, app: &App, stats: &EngineStats) -> u64 {
        match part {
            Part::Series => stats.series_bytes,
            Part::Head => stats.head_bytes,
            Part::Ingest => app.ingest.bytes_in_flight() as u64,
            Part::Queries => app.options.query.resources.all_bytes() as u64,
            Part::Maintenance => stats.maintenance_bytes,
            Part::Caches => stats.column_cache_bytes + stats.index.cache_bytes,
            Part::Exemplars => stats.exemplar_bytes,
            Part::Rest => {
                let others = Part::ALL.into_iter().filter(|part| *part != Part::Rest);
                let others: u64 = others.map(|part| self.used(part, app, stats)).sum();
                self.anonymous_bytes.load(Ordering::Relaxed).saturating_sub(others)
            }
        }
    }

    /// What `/metrics` tells.
    pub(crate) fn families(&self, app: &App, stats: &EngineStats) -> Vec<Family> {
        let mut shares = gauge("metrickit_memory_share_bytes", "Memory that each part may take.");
        let mut used = gauge("metrickit_memory_used_bytes", "Memory that each part takes; partly estimates.");
        for part in Part::ALL {
            shares = shares.with(&[("part", part.name())], whole(self.budget.of(part)));
            used = used.with(&[("part", part.name())], whole(self.used(part, app, stats)));
        }
        let counter = |name: &str, help: &str, value: &AtomicU64| {
            Family::new(name, MetricKind::Counter, help).with(&[], whole(value.load(Ordering::Relaxed)))
        };
        vec![
            one_gauge("metrickit_memory_max_bytes", "The memory budget.", whole(self.budget.total_bytes())),
            one_gauge(
                "metrickit_memory_anonymous_bytes",
                "Memory of the process that no file backs, which the budget is of.",
                whole(self.anonymous_bytes.load(Ordering::Relaxed)),
            ),
            one_gauge(
                "metrickit_memory_short",
                "Whether writes and queries are refused because the process holds more than its budget.",
                whole(u64::from(self.refusing.load(Ordering::Relaxed))),
            ),
            counter("metrickit_memory_reliefs_total", "Times the engine was asked to give memory back.", &self.reliefs),
            counter(
                "metrickit_memory_refused_queries_total",
                "Queries and captures refused for lack of memory.",
                &self.refused,
            ),
            shares,
            used,
        ]
    }
}

/// Looks that failed, as when no file descriptor is free: the next may succeed, and the one before does not say how it is now.
#[derive(Debug, Default)]
struct Blind {
    failed: u32,
}

impl Blind {
    /// What was seen; once nothing was seen for so long that it says nothing, nothing is held, so that a server
    /// which cannot look does not refuse for ever.
    fn seen(&mut self, bytes: Option<u64>) -> Option<u64> {
        if bytes.is_some() {
            self.failed = 0;
            return bytes;
        }
        self.failed = self.failed.saturating_add(1);
        if self.failed == LOOKS_FAILED_MAX {
            tracing::warn!(
                "how much memory the process holds cannot be read; nothing is refused for lack of it meanwhile"
            );
        }
        (self.failed >= LOOKS_FAILED_MAX).then_some(0)
    }
}

/// Looks at the memory of the process until it is dropped. `release` has the allocator give back what is free; it may block.
pub async fn watch_memory(app: Arc<App>, release: fn()) {
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut resting = 0;
    let mut blind = Blind::default();
    loop {
        looks.tick().await;
        let Some(bytes) = blind.seen(anonymous_bytes()) else { continue };
        let was_refusing = app.memory.refusing.load(Ordering::Relaxed);
        let strain = app.memory.see(bytes);
        let refusing = strain == Strain::Over;
        if refusing != was_refusing {
            app.engine.refuse_appends(refusing.then(|| app.memory.reason()));
            let total_bytes = app.memory.budget.total_bytes();
            if refusing {
                tracing::warn!(bytes, total_bytes, "more memory than memory_max: writes and queries are refused");
            } else {
                tracing::info!(bytes, total_bytes, "memory is within memory_max again");
            }
        }
        resting = u32::saturating_sub(resting, 1);
        if refusing {
            resting = resting.min(LOOKS_AFTER_RELIEF[1]);
        }
        if strain != Strain::Calm && resting == 0 {
            resting = LOOKS_AFTER_RELIEF[usize::from(refusing)];
            app.memory.reliefs.fetch_add(1, Ordering::Relaxed);
            app.engine.relieve_memory();
            drop(tokio::task::spawn_blocking(release));
        }
    }
}

/// `/api/v1/status/memory`: the budget, and what is taken of it.
pub(crate) async fn status(State(app): State<Arc<App>>) -> Response {
    let stats = app.engine.stats();
    let parts = Part::ALL.into_iter().map(|part| {
        json!({
            "part": part.name(),
            "shareBytes": app.memory.budget.of(part),
            "usedBytes": app.memory.used(part, &app, &stats),
        })
    });
    success_json(&json!({
        "maxBytes": app.memory.budget.total_bytes(),
        "anonymousBytes": app.memory.anonymous_bytes.load(Ordering::Relaxed),
        "refusing": app.memory.refusing.load(Ordering::Relaxed),
        "reliefs": app.memory.reliefs.load(Ordering::Relaxed),
        "parts": parts.collect::<Vec<_>>(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// A look that fails changes nothing, and many do not keep a server refusing.
    #[test]
    fn who_cannot_look_goes_on_and_refuses_nothing_for_ever() {
        let mut blind = Blind::default();
        assert_eq!(blind.seen(Some(7)), Some(7));
        for _ in 0..2 {
            assert!((1..LOOKS_FAILED_MAX).all(|_| blind.seen(None).is_none()), "the last look counts");
            assert_eq!((blind.seen(None), blind.seen(None)), (Some(0), Some(0)));
            assert_eq!(blind.seen(Some(9)), Some(9), "it can be read again");
        }
    }

    #[test]
    fn refusing_begins_above_the_total_and_ends_well_below() {
        let watch = MemoryWatch::new(Budget::share_out(100 * MIB, &[]).unwrap());
        for (mib, want) in [
            (50, Strain::Calm),
            (92, Strain::Near),
            (100, Strain::Near),
            (101, Strain::Over),
            (98, Strain::Over),
            (94, Strain::Near),
            (98, Strain::Near),
            (89, Strain::Calm),
        ] {
            assert_eq!(watch.see(mib * MIB), want, "{mib} MiB");
            assert_eq!(watch.check().is_err(), want == Strain::Over, "{mib} MiB");
        }
        watch.see(200 * MIB);
        let error = watch.check().unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unavailable);
        assert!(error.message.contains("holds 209715200 bytes of memory, memory_max is 104857600"), "{error:?}");
        assert_eq!(watch.refused.load(Ordering::Relaxed), 3);
    }
}
