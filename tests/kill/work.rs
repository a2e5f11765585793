//! What happened in a run, besides samples being taken: counted by name, so that a run can tell that nothing was left out.

use std::collections::BTreeMap;
use std::fmt;

/// What a run of some length must have seen. An import is rarely still at work when a start begins, so that killed ones are
/// only counted.
const ALL: [&str; 16] = [
    "backups checked",
    "backups killed",
    "backups whole",
    "blocks dropped",
    "blocks rewritten",
    "cleanings asked for",
    "deletes",
    "flushes",
    "imports whole",
    "merges",
    "partitions summarised",
    "restores killed",
    "series removed",
    "starts killed",
    "undos",
    "undos too late",
];
/// What servers count themselves.
const METRICS: [(&str, &str); 6] = [
    ("flushes", "metrickit_flushes_total"),
    ("merges", "metrickit_merges_total"),
    ("blocks dropped", "metrickit_blocks_dropped_total"),
    ("blocks rewritten", "metrickit_blocks_rewritten_total"),
    ("partitions summarised", "metrickit_partitions_summarised_total"),
    ("series removed", "metrickit_series_removed_total"),
];

/// Counts by name, as far as they were seen before a server was killed.
#[derive(Debug, Default, Clone)]
pub(super) struct Seen(BTreeMap<&'static str, u64>);

impl Seen {
    pub(super) fn add(&mut self, what: &'static str, count: u64) {
        debug_assert!(ALL.contains(&what), "{what} is asked for at the end");
        *self.0.entry(what).or_default() += count;
    }

    pub(super) fn add_all(&mut self, other: Self) {
        for (what, count) in other.0 {
            self.add(what, count);
        }
    }

    pub(super) fn of(&self, what: &str) -> u64 {
        self.0.get(what).copied().unwrap_or(0)
    }

    /// What never happened.
    pub(super) fn missing(&self) -> Vec<&'static str> {
        ALL.into_iter().filter(|what| self.of(what) == 0).collect()
    }

    /// Adds what the server at `url` has done since it started; one that does not answer adds nothing.
    pub(super) fn note(&mut self, http: &ureq::Agent, url: &str) {
        let Ok(mut answer) = http.get(format!("{url}/metrics")).call() else { return };
        let Ok(text) = answer.body_mut().read_to_string() else { return };
        for (what, metric) in METRICS {
            let line = text.lines().find_map(|line| line.strip_prefix(metric)?.strip_prefix(' '));
            let count = line.and_then(|value| value.trim().parse::<f64>().ok());
            self.add(what, count.map_or(0, |count| count as u64));
        }
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts: Vec<String> = self.0.iter().map(|(what, count)| format!("{count} {what}")).collect();
        f.write_str(&counts.join(", "))
    }
}
