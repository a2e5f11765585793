//! Which releases ran when: what `metrickit_go_process_info` says over the history, and which of them a word means.

use std::collections::{BTreeMap, BTreeSet};

use model::labels::Quoted;

use crate::client::answer::{LabelMap, Series};
use crate::client::{Client, Moment, Value};
use crate::render::text::{shortened, visible};
use crate::when::show_instant;

/// The series whose labels tell which release a process is.
const INFO: &str = "metrickit_go_process_info";
/// Steps that the history is looked at in.
const HISTORY_STEPS: i64 = 1000;
/// Shortest step, in milliseconds: less than agents report.
const STEP_MIN_MS: i64 = 15_000;
/// Most releases that an error lists.
const LISTED_MAX: usize = 20;
/// Characters of a revision that tell it apart.
const REVISION_CHARS: usize = 12;

/// Which processes are looked at.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Filter<'a> {
    pub(super) job: Option<&'a str>,
    pub(super) name: Option<&'a str>,
}

impl Filter<'_> {
    fn info(&self) -> String {
        let pairs = [("job", self.job), ("name", self.name)];
        let pairs = pairs.iter().filter_map(|(label, value)| Some(format!("{label}={}", Quoted((*value)?))));
        format!("{INFO}{{{}}}", pairs.collect::<Vec<_>>().join(", "))
    }
}

/// What tells releases apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct ReleaseKey {
    pub(super) version: String,
    pub(super) revision: String,
}

impl ReleaseKey {
    /// Of the labels of an info series.
    pub(super) fn of(labels: &LabelMap) -> Self {
        let label = |name: &str| labels.get(name).cloned().unwrap_or_default();
        Self { version: label("version"), revision: label("revision") }
    }

    /// Whether `word` means it: a version, with or without its `v`, or the beginning of a revision.
    fn is_meant(&self, word: &str) -> bool {
        let version =
            !self.version.is_empty() && (self.version == word || self.version.strip_prefix('v') == Some(word));
        version || (!word.is_empty() && self.revision.starts_with(word))
    }

    /// What people call it.
    pub(super) fn text(&self) -> String {
        let revision: String = self.revision.chars().take(REVISION_CHARS).collect();
        let made = self.version != "(devel)" && !self.version.is_empty();
        match (made, revision.is_empty()) {
            (true, true) => visible(&self.version),
            (true, false) => visible(&format!("{} ({revision})", self.version)),
            (false, false) => visible(&revision),
            (false, true) => "(no version)".to_owned(),
        }
    }

    /// The shortest of its names that says something.
    pub(super) fn short(&self) -> String {
        let named = self.version != "(devel)" && !self.version.is_empty();
        let text = if named { self.version.clone() } else { self.revision.chars().take(REVISION_CHARS).collect() };
        shortened(&visible(&text), 24)
    }
}

/// A release, as far as it was seen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Release {
    pub(super) key: ReleaseKey,
    pub(super) jobs: BTreeSet<String>,
    pub(super) go_versions: BTreeSet<String>,
    pub(super) first_ms: i64,
    pub(super) last_ms: i64,
}

/// The releases seen from `history_ms` before `now_ms` on, the newest last; and the step in which they were looked for.
pub(super) fn seen(
    client: &Client,
    filter: Filter<'_>,
    now_ms: i64,
    history_ms: i64,
) -> anyhow::Result<(Vec<Release>, i64)> {
    let step_ms = (history_ms / HISTORY_STEPS).max(STEP_MIN_MS) / 1000 * 1000;
    let query = format!(
        "count by (job, version, revision, go_version) (last_over_time({}[{}s]))",
        filter.info(),
        step_ms / 1000
    );
    let moment = Moment::Range { start_ms: now_ms - history_ms, end_ms: now_ms, step_ms };
    let series = match client.query(&query, moment)?.value {
        Value::Matrix(series) => series,
        _ => Vec::new(),
    };
    Ok((gathered(&series), step_ms))
}

fn gathered(series: &[Series]) -> Vec<Release> {
    let mut releases: BTreeMap<ReleaseKey, Release> = BTreeMap::new();
    for series in series {
        let (Some(first), Some(last)) = (series.points.first(), series.points.last()) else { continue };
        let key = ReleaseKey::of(&series.labels);
        let label = |name: &str| series.labels.get(name).cloned().unwrap_or_default();
        let release = releases.entry(key.clone()).or_insert_with(|| Release {
            key,
            first_ms: first.timestamp_ms,
            last_ms: last.timestamp_ms,
            ..Release::default()
        });
        release.first_ms = release.first_ms.min(first.timestamp_ms);
        release.last_ms = release.last_ms.max(last.timestamp_ms);
        release.jobs.insert(label("job"));
        release.go_versions.insert(label("go_version"));
    }
    let mut releases: Vec<Release> = releases.into_values().collect();
    releases.sort_by(|a, b| (a.first_ms, &a.key).cmp(&(b.first_ms, &b.key)));
    releases
}

/// The release that `word` means.
pub(super) fn meant<'r>(releases: &'r [Release], word: &str) -> anyhow::Result<&'r Release> {
    let fitting: Vec<&Release> = releases.iter().filter(|release| release.key.is_meant(word)).collect();
    match fitting.as_slice() {
        [one] => Ok(one),
        [] if releases.is_empty() => {
            Err(anyhow::anyhow!("no Go process is known there; start an agent where they run, or `metrickit up`"))
        }
        [] => Err(anyhow::anyhow!("no release is called {word:?}; seen were:\n{}", listed(releases.iter()))),
        several => Err(anyhow::anyhow!(
            "{word:?} means {} releases; write more of one's revision:\n{}",
            several.len(),
            listed(several.iter().copied())
        )),
    }
}

/// The newest releases, one a line.
fn listed<'r>(releases: impl DoubleEndedIterator<Item = &'r Release> + Clone) -> String {
    let line = |release: &Release| {
        let jobs = release.jobs.iter().map(|job| visible(job)).collect::<Vec<_>>().join(", ");
        let at = |ms| show_instant(ms, "%m-%d %H:%M");
        format!(
            "  {}  {}  {} to {} UTC",
            release.key.text(),
            shortened(&jobs, 40),
            at(release.first_ms),
            at(release.last_ms)
        )
    };
    // What says neither version nor revision cannot be named.
    let named = releases.filter(|release| !(release.key.version.is_empty() && release.key.revision.is_empty()));
    let mut lines: Vec<String> = named.clone().rev().take(LISTED_MAX).map(line).collect();
    let left = named.count().saturating_sub(LISTED_MAX);
    if left > 0 {
        lines.push(format!("  … and {left} older ones"));
    }
    lines.join("\n")
}

/// The job in which both are, where it is one alone.
pub(super) fn common_job(a: &Release, b: &Release) -> anyhow::Result<String> {
    let common: Vec<&String> = a.jobs.intersection(&b.jobs).collect();
    let names = |jobs: &BTreeSet<String>| jobs.iter().map(|job| visible(job)).collect::<Vec<_>>().join(", ");
    match common.as_slice() {
        [one] => Ok((*one).clone()),
        [] => Err(anyhow::anyhow!(
            "{} ran as {}, {} as {}: no program ran in both",
            a.key.text(),
            names(&a.jobs),
            b.key.text(),
            names(&b.jobs)
        )),
        several => {
            let all: BTreeSet<String> = several.iter().map(|job| (*job).clone()).collect();
            Err(anyhow::anyhow!("several programs ran in both releases: {}; choose with --job", names(&all)))
        }
    }
}

/// When the last sample of a release was that was seen at a step of `step_ms`, a minute or so off.
pub(super) fn ended_ms(client: &Client, job: &str, release: &Release, step_ms: i64) -> anyhow::Result<i64> {
    let key = &release.key;
    let query = format!(
        "count({INFO}{{job={}, version={}, revision={}}})",
        Quoted(job),
        Quoted(&key.version),
        Quoted(&key.revision)
    );
    let fine_ms = (step_ms / 120).max(STEP_MIN_MS);
    let moment = Moment::Range { start_ms: release.last_ms - step_ms, end_ms: release.last_ms, step_ms: fine_ms };
    let last = match client.query(&query, moment)?.value {
        Value::Matrix(series) => series.iter().filter_map(|series| series.points.last()).map(|p| p.timestamp_ms).max(),
        _ => None,
    };
    Ok(last.unwrap_or(release.last_ms))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::answer::series;

    fn releases() -> Vec<Release> {
        let info = |job: &str, version: &str, revision: &str, from: i64, to: i64| {
            let labels = [("job", job), ("version", version), ("revision", revision), ("go_version", "go1.26.1")];
            series(&labels, &[(from, "1"), (to, "2")])
        };
        gathered(&[
            info("api", "v1.5.0", "abd9", 2, 3),
            info("api", "v1.4.2", "abc1", 0, 1),
            info("worker", "v1.4.2", "abc1", 1, 2),
            info("tool", "(devel)", "ffff", 0, 1),
            series(&[("job", "x")], &[]),
        ])
    }

    #[test]
    fn releases_are_put_together_over_jobs() {
        let all = releases();
        let found: Vec<(String, i64, i64, usize)> =
            all.iter().map(|one| (one.key.text(), one.first_ms, one.last_ms, one.jobs.len())).collect();
        let want = [("ffff", 0, 1_000, 1), ("v1.4.2 (abc1)", 0, 2_000, 2), ("v1.5.0 (abd9)", 2_000, 3_000, 1)];
        assert_eq!(found, want.map(|(text, first, last, jobs)| (text.to_owned(), first, last, jobs)));
    }

    #[test]
    fn words_mean_versions_and_beginnings_of_revisions() {
        let all = releases();
        let meant = |word: &str| super::meant(&all, word).map(|one| one.key.short()).map_err(|error| error.to_string());
        for (word, want) in [("v1.4.2", "v1.4.2"), ("1.5.0", "v1.5.0"), ("abc", "v1.4.2"), ("ff", "ffff")] {
            assert_eq!(meant(word).as_deref(), Ok(want), "{word}");
        }
        assert!(meant("ab").is_err_and(|error| error.contains("\"ab\" means 2 releases")));
        let none = meant("v2").expect_err("never seen");
        assert!(none.contains("v1.5.0 (abd9)  api  01-01 00:00 to 01-01 00:00 UTC"), "{none}");
        assert!(meant("").is_err());
        assert!(super::meant(&[], "v1").is_err_and(|error| error.to_string().contains("metrickit up")));
    }

    #[test]
    fn one_program_is_compared() {
        let all = releases();
        let job = |a: usize, b: usize| common_job(&all[a], &all[b]).map_err(|error| error.to_string());
        assert_eq!(job(1, 2).as_deref(), Ok("api"));
        assert!(job(0, 2).is_err_and(|error| error.contains("no program ran in both")));
        assert!(job(1, 1).is_err_and(|error| error.contains("api, worker; choose with --job")));
    }
}
