//! Thousands of series at once that nobody writes again but for some: they come into the catalog together, and go with their
//! samples when these are too old, a server or two later.

use std::collections::BTreeMap;

use crate::support::{Server, http, now_ms, series};
use crate::{RETENTION_MS, write};

/// Series of one burst, and how many of them are written again.
const SERIES: u64 = 4_400;
const BACK: u64 = 20;
/// How long their samples are kept.
const LIFE_MS: i64 = 40_000;

/// Bursts by the life that wrote them.
#[derive(Debug, Default)]
pub(super) struct Bursts(BTreeMap<u64, Burst>);

#[derive(Debug)]
struct Burst {
    ms: i64,
    acknowledged: bool,
}

impl Bursts {
    /// Writes the burst of a life, in a request that the server may be killed in.
    pub(super) fn write(&mut self, url: &str, life: u64) {
        let ms = now_ms() - RETENTION_MS + LIFE_MS;
        let status = write(&http(), url, requests_of(life, SERIES, ms));
        assert!(matches!(status, None | Some(204)), "the writer of what leaves memory got status {status:?}");
        self.0.insert(life, Burst { ms, acknowledged: status.is_some() });
    }

    /// Writes some series of the newest burst again, with the samples that they have.
    pub(super) fn write_again(&self, url: &str) {
        let Some((&life, burst_of)) = self.0.last_key_value().filter(|(_, of)| of.acknowledged) else { return };
        let status = write(&http(), url, requests_of(life, BACK, burst_of.ms));
        // It may be too old by now.
        assert!(matches!(status, None | Some(204 | 400)), "series that come back got status {status:?}");
    }

    /// Compares the numbers of series with what the server holds.
    pub(super) fn check(&mut self, server: &Server) {
        let before_ms = now_ms() - RETENTION_MS;
        let end_ms = before_ms + 2 * LIFE_MS;
        let query = "count by (life) (last_over_time(burst[3m]))";
        let result = server.query(query, &format!("{}.{:03}", end_ms / 1000, end_ms % 1000));
        let after_ms = now_ms() - RETENTION_MS;
        let mut found = BTreeMap::<u64, u64>::new();
        for one in result.as_array().expect("a vector") {
            let number = |text: Option<&str>| text.and_then(|text| text.parse().ok()).expect("a whole number");
            found.insert(number(one["metric"]["life"].as_str()), number(one["value"][1].as_str()));
        }
        for (life, Burst { ms, acknowledged }) in &self.0 {
            let count = found.remove(life).unwrap_or(0);
            let kept = count == SERIES && *ms >= before_ms;
            let none = count == 0 && (*ms <= after_ms || !acknowledged);
            assert!(kept || none, "{count} series of life {life}, {} ms before they expire", ms - after_ms);
        }
        assert!(found.is_empty(), "nobody wrote {found:?}");
        self.0.retain(|_, burst| burst.ms > after_ms);
    }
}

/// The first series of a burst, with one sample each.
fn requests_of(life: u64, count: u64, ms: i64) -> Vec<model::remote_write::TimeSeries> {
    let one = |at: u64| {
        let (at, life) = (at.to_string(), life.to_string());
        series(&[("__name__", "burst"), ("at", &at), ("life", &life)], &[(ms, 1.0)])
    };
    (0..count).map(one).collect()
}
