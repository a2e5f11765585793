//! Samples that become older than the retention while the loop runs, and whole series with them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::{Server, http, now_ms, series};
use crate::{RETENTION_MS, samples, write};

/// How long the samples live that expire in the course of the loop.
pub(super) const LIFE_MS: i64 = 4_000;
/// Series in each request of those.
const EXPIRING_SERIES: usize = 5;

/// Requests whose samples expire soon after they were written, by their time: whether they were acknowledged. Each life
/// of the server has series of its own, which go with their samples.
#[derive(Debug, Default)]
pub(super) struct Expiring(pub(super) BTreeMap<i64, (u64, bool)>);

impl Expiring {
    /// Writes until `stop` or a failure, in the life `life`.
    pub(super) fn write_until_killed(url: &str, life: u64, stop: &AtomicBool) -> Self {
        let http = http();
        let mut written = Self::default();
        while !stop.load(Ordering::Relaxed) && written.write(&http, url, life).is_some() {
            // One value a time.
            std::thread::sleep(Duration::from_millis(2));
        }
        written
    }

    /// Writes one request in the life `life`; nothing when the server is gone.
    fn write(&mut self, http: &ureq::Agent, url: &str, life: u64) -> Option<u16> {
        let time_ms = now_ms() - RETENTION_MS + LIFE_MS;
        let labels =
            |at: usize| [("__name__", "expiring".to_owned()), ("at", at.to_string()), ("life", life.to_string())];
        let one = |at| {
            let labels = labels(at);
            let labels: Vec<(&str, &str)> = labels.iter().map(|(name, value)| (*name, value.as_str())).collect();
            series(&labels, &[(time_ms, life as f64)])
        };
        let status = write(http, url, (0..EXPIRING_SERIES).map(one).collect());
        match status {
            // On a busy machine it may have expired on its way.
            Some(204 | 400) | None => self.0.insert(time_ms, (life, status == Some(204))),
            Some(status) => panic!("the writer of what expires got status {status}"),
        };
        status
    }

    /// Writes until a request of the life `life` is acknowledged.
    pub(super) fn write_once(&mut self, url: &str, life: u64) {
        let http = http();
        while self.write(&http, url, life).expect("the server answers") != 204 {}
    }

    /// Compares with what the server holds: everything acknowledged that is young enough, nothing that is too old.
    pub(super) fn check(&mut self, server: &Server) {
        let before_ms = now_ms() - RETENTION_MS;
        let end_ms = before_ms + 2 * LIFE_MS;
        let result = server.query("expiring[1m]", &format!("{}.{:03}", end_ms / 1000, end_ms % 1000));
        let after_ms = now_ms() - RETENTION_MS;
        let mut found = BTreeMap::<i64, usize>::new();
        for one in result.as_array().expect("a matrix") {
            for (ms, shown) in samples(one) {
                let known = self.0.get(&ms).map(|(life, _)| life.to_string());
                assert_eq!(known.as_deref(), Some(shown.as_str()), "a sample nobody wrote, of {}", one["metric"]);
                assert_eq!(one["metric"]["life"].as_str(), known.as_deref());
                assert!(ms >= before_ms, "a sample is read {} ms after it expired", before_ms - ms);
                *found.entry(ms).or_default() += 1;
            }
        }
        for (ms, (_, acknowledged)) in self.0.range(after_ms + 1..) {
            let count = found.get(ms).copied().unwrap_or(0);
            assert!(
                count == EXPIRING_SERIES || (!acknowledged && count == 0),
                "{count} samples of a request at {ms} ms"
            );
        }
        self.0 = self.0.split_off(&before_ms);
    }
}
