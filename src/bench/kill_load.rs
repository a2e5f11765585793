//! What `kill -9` under load costs a server: samples that it acknowledged and no longer has.
//!
//! Every request holds one sample of each series of one cluster at one time, so that counting samples by cluster and
//! time afterwards tells for each acknowledged request how much of it is there.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde::Serialize;
use serde_json::Value as Json;

use super::fleet::{Body, Fleet, SERIES_PER_CLUSTER, cluster, metric_names};
use super::ingest::{BUSY_PAUSE, BUSY_TRIES_MAX, INTERVAL_MS, Outcome, post, write_client};
use super::subject::Subject;
use crate::client::Client;
use crate::when::api_seconds;

/// Windows of counting: shorter than the time between two samples, and not ending at one, so that it does not matter
/// whether a server counts a sample at exactly the end of a window.
const WINDOW: &str = "10s";
/// From a sample to the end of its window.
const WINDOW_END_AFTER_MS: i64 = 2_000;
/// Most points of a series that servers give in one answer, and some to spare.
const POINTS_MAX: i64 = 10_000;
/// Pause between looks at how much was written.
const LOOK: Duration = Duration::from_millis(5);

/// What was acknowledged, and what of it is gone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(super) struct Loss {
    pub(super) acknowledged: u64,
    pub(super) lost: u64,
}

/// A request of the load, by what makes it known again.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Request {
    time_ms: i64,
    cluster: String,
}

/// The acknowledged requests, with their samples.
#[derive(Debug, Default)]
pub(super) struct Ledger(HashMap<Request, u64>);

/// When a server under load is killed: once so many samples are acknowledged, at the latest after so long.
#[derive(Debug, Clone, Copy)]
pub(super) struct When {
    pub(super) samples: Option<u64>,
    pub(super) time: Duration,
    /// Samples a second that the server takes, about, so that there is enough to write.
    pub(super) rate: f64,
}

/// Writes rounds from `first_ms` on over `connections`, ends the server at once, and returns what was acknowledged.
pub(super) fn write_and_kill(
    subject: &mut Subject,
    fleet: &mut Fleet,
    first_ms: i64,
    connections: usize,
    when: When,
) -> anyhow::Result<Ledger> {
    let rounds = rounds_wanted(when, fleet.len());
    let mut lanes: Vec<Vec<(Request, Body)>> = (0..connections).map(|_| Vec::new()).collect();
    for time_ms in (0..rounds).map(|round| first_ms + round * INTERVAL_MS) {
        for (at, body) in fleet.round(time_ms, SERIES_PER_CLUSTER).into_iter().enumerate() {
            let request = Request { time_ms, cluster: cluster(at * SERIES_PER_CLUSTER) };
            lanes[at % connections].push((request, body));
        }
    }
    let url = format!("{}/api/v1/write", subject.client.url());
    let taken = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let (url, taken) = (&url, &taken);
        let workers: Vec<_> = lanes.into_iter().map(|lane| scope.spawn(move || write_lane(url, lane, taken))).collect();
        let until = Instant::now() + when.time;
        while Instant::now() < until && when.samples.is_none_or(|samples| taken.load(Ordering::Relaxed) < samples) {
            std::thread::sleep(LOOK);
        }
        subject.kill()?;
        let mut ledger = Ledger::default();
        for worker in workers {
            ledger.0.extend(worker.join().map_err(|_| anyhow::anyhow!("a sending thread panicked"))??.0);
        }
        Ok(ledger)
    })
}

/// Twice what is written until then.
#[expect(clippy::cast_possible_truncation, reason = "a number of rounds, bounded")]
fn rounds_wanted(when: When, series: usize) -> i64 {
    let samples = 2.0 * when.samples.map_or(when.rate * when.time.as_secs_f64(), |samples| samples as f64);
    ((samples / series.max(1) as f64).ceil() as i64).clamp(4, POINTS_MAX)
}

/// Writes until the connection dies.
fn write_lane(url: &str, lane: Vec<(Request, Body)>, taken: &AtomicU64) -> anyhow::Result<Ledger> {
    let http = write_client();
    let mut ledger = Ledger::default();
    for (request, body) in lane {
        for tries in 0.. {
            match post(&http, url, &body.bytes) {
                Ok(Outcome::Taken) => {
                    taken.fetch_add(body.samples as u64, Ordering::Relaxed);
                    ledger.0.insert(request, body.samples as u64);
                    break;
                }
                Ok(Outcome::Busy) => {
                    ensure!(tries < BUSY_TRIES_MAX, "{url} has had too much under way for too long");
                    std::thread::sleep(BUSY_PAUSE);
                }
                Ok(Outcome::Refused(reason)) => bail!("a request was refused under load: {reason}"),
                // Killed.
                Err(_) => return Ok(ledger),
            }
        }
    }
    Ok(ledger)
}

/// Counts what the server has of `ledger`.
pub(super) fn count(client: &Client, ledger: &Ledger) -> anyhow::Result<Loss> {
    let mut there: HashMap<Request, u64> = HashMap::new();
    let times = ledger.0.keys().map(|request| request.time_ms);
    if let (Some(first_ms), Some(last_ms)) = (times.clone().min(), times.max()) {
        for name in metric_names() {
            for (request, samples) in counted(client, name, first_ms, last_ms)? {
                *there.entry(request).or_default() += samples;
            }
        }
    }
    Ok(ledger.compare(&there))
}

impl Ledger {
    fn compare(&self, there: &HashMap<Request, u64>) -> Loss {
        let mut loss = Loss::default();
        for (request, &samples) in &self.0 {
            loss.acknowledged += samples;
            loss.lost += samples.saturating_sub(there.get(request).copied().unwrap_or(0));
        }
        loss
    }
}

/// The samples of metric `name` by request, as the server counts them.
fn counted(client: &Client, name: &str, first_ms: i64, last_ms: i64) -> anyhow::Result<Vec<(Request, u64)>> {
    let query = format!("sum by (cluster) (count_over_time({name}[{WINDOW}]))");
    let pairs = [
        ("query", query),
        ("start", api_seconds(first_ms + WINDOW_END_AFTER_MS)),
        ("end", api_seconds(last_ms + WINDOW_END_AFTER_MS)),
        ("step", api_seconds(INTERVAL_MS)),
        ("nocache", "1".to_owned()),
    ];
    let pairs: Vec<(&str, &str)> = pairs.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let data = client.get("/api/v1/query_range", &pairs).with_context(|| format!("counting {name}"))?;
    Ok(read_counts(&data))
}

fn read_counts(data: &Json) -> Vec<(Request, u64)> {
    let mut counts = BTreeMap::new();
    for series in data["result"].as_array().into_iter().flatten() {
        let cluster = series["metric"]["cluster"].as_str().unwrap_or_default();
        for pair in series["values"].as_array().into_iter().flatten() {
            let (Some(seconds), Some(count)) = (pair[0].as_f64(), pair[1].as_str()) else { continue };
            #[expect(clippy::cast_possible_truncation, reason = "milliseconds of a time")]
            let time_ms = (seconds * 1000.0).round() as i64 - WINDOW_END_AFTER_MS;
            counts.insert((time_ms, cluster.to_owned()), count.parse().unwrap_or(0));
        }
    }
    counts.into_iter().map(|((time_ms, cluster), count)| (Request { time_ms, cluster }, count)).collect()
}

/// Whether the server answers `selector` with `value` at `time_ms`.
pub(super) fn has_value(client: &Client, selector: &str, value: f64, time_ms: i64) -> bool {
    let time = api_seconds(time_ms + WINDOW_END_AFTER_MS);
    let pairs = [("query", selector), ("time", time.as_str()), ("nocache", "1")];
    let Ok(data) = client.get("/api/v1/query", &pairs) else { return false };
    let got = data["result"][0]["value"][1].as_str().and_then(|text| text.parse::<f64>().ok());
    got.is_some_and(|got| (got - value).abs() <= value.abs() * 1e-12)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn request(time_ms: i64, cluster: &str) -> Request {
        Request { time_ms, cluster: cluster.to_owned() }
    }

    #[test]
    fn what_is_acknowledged_and_not_there_is_lost() {
        let ledger = Ledger([(request(15_000, "a"), 10), (request(30_000, "a"), 10), (request(15_000, "b"), 4)].into());
        // One whole, one in part, one gone; what was never acknowledged does not count.
        let there = [(request(15_000, "a"), 10), (request(30_000, "a"), 7), (request(45_000, "b"), 4)].into();
        assert_eq!(ledger.compare(&there), Loss { acknowledged: 24, lost: 3 + 4 });
        assert_eq!(ledger.compare(&HashMap::new()), Loss { acknowledged: 24, lost: 24 });
    }

    #[test]
    fn counts_are_read_by_cluster_and_time() {
        let data = json!({"result": [
            {"metric": {"cluster": "a"}, "values": [[17, "125"], [32, "3"]]},
            {"metric": {"cluster": "b"}, "values": [[17, "1"]]},
        ]});
        let want = [(request(15_000, "a"), 125), (request(15_000, "b"), 1), (request(30_000, "a"), 3)];
        assert_eq!(read_counts(&data), want);
        assert!(read_counts(&json!({})).is_empty());
    }

    #[test]
    fn enough_is_made_to_write() {
        let rounds = |samples, rate, seconds, series| {
            rounds_wanted(When { samples, time: Duration::from_secs(seconds), rate }, series)
        };
        assert_eq!(rounds(None, 1_000_000.0, 2, 10_000), 400);
        assert_eq!(rounds(Some(1_000_000), 1.0, 2, 10_000), 200);
        assert_eq!(rounds(None, 1_000.0, 1, 100_000), 4);
        assert_eq!(rounds(None, 1e12, 1, 1), 10_000);
    }
}
