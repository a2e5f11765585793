//! The comparison: every metric and every site of two releases, what is beyond noise, and one sentence. The shape of `--json`. Pure.

use serde::Serialize;

use super::compare::{Change, Side};
use super::fetch::{Life, METRICS, Metric, SITE_METRICS, site_keys};
use super::releases::{Release, ReleaseKey};

/// What the agent calls sites that have no series of their own.
const OTHER: &str = "other";
/// Most sites told of each kind.
const SITES_MAX: usize = 20;
/// Most things said of B in the sentence.
const SAID_MAX: usize = 5;
/// Least growth of a site that is told, of what A had.
const GROWTH_MIN: f64 = 0.1;

/// Everything that is told.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    pub(super) job: String,
    pub(super) range_seconds: f64,
    pub(super) a: Named,
    pub(super) b: Named,
    pub(super) sentence: String,
    pub(super) metrics: Vec<Compared>,
    /// Sites that only B has, and those that grew beyond noise.
    pub(super) sites: Vec<ComparedSite>,
    pub(super) notes: Vec<String>,
}

/// A release, and what of it was compared.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Named {
    pub(super) version: String,
    pub(super) revision: String,
    pub(super) go_versions: Vec<String>,
    /// Lives of processes that were compared.
    pub(super) processes: usize,
    /// End of the range compared, in milliseconds since the Unix epoch.
    pub(super) until_ms: i64,
    #[serde(skip)]
    pub(super) key: ReleaseKey,
}

impl Named {
    pub(super) fn of(release: &Release, lives: &[Life], until_ms: i64) -> Self {
        Self {
            version: release.key.version.clone(),
            revision: release.key.revision.clone(),
            go_versions: release.go_versions.iter().cloned().collect(),
            processes: lives.len(),
            until_ms,
            key: release.key.clone(),
        }
    }
}

/// A metric of both.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Compared {
    pub(super) name: &'static str,
    pub(super) a: Option<Side>,
    pub(super) b: Option<Side>,
    /// Nothing where one of them did not tell.
    pub(super) change: Option<Change>,
}

/// A site of both.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ComparedSite {
    /// Of what: goroutines, heap in use, allocated/s.
    pub(super) of: &'static str,
    pub(super) site: String,
    pub(super) created_by: String,
    /// Medians by process; nothing where A has no series of its own for it.
    pub(super) a: Option<f64>,
    pub(super) b: f64,
    pub(super) change: Option<Change>,
    /// A may have had it among what it has no series for.
    pub(super) may_be_old: bool,
}

/// Compares the lives of A with those of B.
pub(super) fn compare(
    job: String,
    range_seconds: f64,
    (a, a_lives): (Named, &[Life]),
    (b, b_lives): (Named, &[Life]),
) -> Report {
    let metrics: Vec<Compared> =
        METRICS.iter().enumerate().map(|(at, metric)| compared(metric, at, a_lives, b_lives)).collect();
    let sites = sites(a_lives, b_lives);
    let mut notes = Vec::new();
    if a.processes == 1 && b.processes == 1 {
        notes.push("one process of each release: how much processes of one release differ is not known, only how much each varies over time".to_owned());
    }
    if a.until_ms != b.until_ms {
        notes.push("the releases ran at different times: load may differ too".to_owned());
    }
    let sentence = sentence(&a, &b, &metrics, &sites);
    Report { job, range_seconds, a, b, sentence, metrics, sites, notes }
}

fn compared(metric: &Metric, at: usize, a_lives: &[Life], b_lives: &[Life]) -> Compared {
    let side = |lives: &[Life]| {
        let values = lives.iter().map(|life| {
            let worst = || life.values[at].iter().copied().reduce(f64::max).into_iter().collect();
            if metric.is_worst { worst() } else { life.values[at].clone() }
        });
        Side::of(&values.collect::<Vec<_>>())
    };
    let (a, b) = (side(a_lives), side(b_lives));
    let change = a.zip(b).map(|(a, b)| {
        let change = Change::between(a, b, metric.least);
        // Grades are no amounts.
        if metric.is_worst { Change { ratio: None, ..change } } else { change }
    });
    Compared { name: metric.name, a, b, change }
}

/// The sites that are only in B or grew, by kind, the largest growth first.
fn sites(a_lives: &[Life], b_lives: &[Life]) -> Vec<ComparedSite> {
    let mut all = Vec::new();
    for (at, metric) in SITE_METRICS.iter().enumerate() {
        let side = |lives: &[Life], key: &(String, String)| {
            let values: Vec<Vec<f64>> = lives.iter().filter_map(|life| life.sites[at].get(key).cloned()).collect();
            Side::of(&values)
        };
        let rest = side(a_lives, &(OTHER.to_owned(), String::new())).map_or(0.0, |side| side.median);
        let a_tells = a_lives.iter().any(|life| !life.sites[at].is_empty());
        let mut of_kind: Vec<(f64, ComparedSite)> = Vec::new();
        for key in site_keys(b_lives, at).into_iter().filter(|(site, _)| site != OTHER && a_tells) {
            let (a, Some(b)) = (side(a_lives, &key), side(b_lives, &key)) else { continue };
            let change = a.map(|a| Change::between(a, b, metric.least));
            let grew = match (a, change) {
                (Some(a), Some(change)) => change.beyond_noise && b.median > a.median * (1.0 + GROWTH_MIN),
                _ => b.median >= metric.least,
            };
            if grew {
                let growth = b.median - a.map_or(0.0, |a| a.median);
                let (function, created_by) = key;
                let may_be_old = a.is_none() && rest >= b.median;
                let told = ComparedSite {
                    of: metric.name,
                    site: function,
                    created_by,
                    a: a.map(|a| a.median),
                    b: b.median,
                    change,
                    may_be_old,
                };
                of_kind.push((growth, told));
            }
        }
        of_kind.sort_by(|(a, a_site), (b, b_site)| b.total_cmp(a).then_with(|| a_site.site.cmp(&b_site.site)));
        all.extend(of_kind.into_iter().take(SITES_MAX).map(|(_, site)| site));
    }
    all
}

/// What B does otherwise than A, the largest change first.
fn sentence(a: &Named, b: &Named, metrics: &[Compared], sites: &[ComparedSite]) -> String {
    let mut said: Vec<(f64, String)> = Vec::new();
    for (metric, compared) in METRICS.iter().zip(metrics) {
        let (Some(change), Some(b), Some(a)) = (compared.change, compared.b, compared.a) else { continue };
        if change.beyond_noise {
            let words = metric.words(a.median, b.median);
            let by = change.ratio.map_or("much".to_owned(), |ratio| percent(ratio.abs()));
            let weight = change.ratio.map_or(f64::INFINITY, |ratio| (1.0 + ratio).max(1e-9).ln().abs());
            said.push((weight, words.replace('%', &by)));
        }
    }
    // Changes that look alike stay in the order of the table.
    said.sort_by(|a, b| (b.0 * 100.0).round().total_cmp(&(a.0 * 100.0).round()));
    let more = said.len().saturating_sub(SAID_MAX);
    let mut parts: Vec<String> = said.into_iter().take(SAID_MAX).map(|(_, text)| text).collect();
    if more > 0 {
        parts.push(format!("differs in {more} more {}", if more == 1 { "number" } else { "numbers" }));
    }
    let new =
        sites.iter().filter(|site| site.of == SITE_METRICS[0].name && site.a.is_none() && !site.may_be_old).count();
    if new > 0 {
        parts.push(format!("has goroutines at {new} new {}", if new == 1 { "site" } else { "sites" }));
    }
    let (name, other) = (b.key.short(), a.key.short());
    let Some(last) = parts.pop() else {
        return format!("{name} differs from {other} in nothing that is beyond noise.");
    };
    let all = if parts.is_empty() { last } else { format!("{} and {last}", parts.join(", ")) };
    // New sites are the last, and no comparison by themselves.
    let than = if new > 0 { format!(", compared with {other}") } else { format!(" than {other}") };
    format!("{name} {all}{than}.")
}

/// `38 %`.
pub(super) fn percent(ratio: f64) -> String {
    let percent = ratio * 100.0;
    let decimals = usize::from(percent.abs() < 9.95 && percent != 0.0);
    format!("{percent:.decimals$} %")
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use super::*;

    pub(in super::super) fn life(revision: &str, values: &[(&str, f64)], sites: &[(&str, f64)]) -> Life {
        let mut life = Life {
            release: ReleaseKey { version: "v1".into(), revision: revision.into() },
            values: vec![Vec::new(); METRICS.len()],
            sites: vec![BTreeMap::new(); SITE_METRICS.len()],
        };
        for (name, value) in values {
            let at = METRICS.iter().position(|metric| metric.name == *name).expect("a metric");
            life.values[at] = vec![value * 0.99, *value, value * 1.01];
        }
        for (site, value) in sites {
            let created_by = if *site == OTHER { "" } else { "main.main" };
            life.sites[0].insert(((*site).to_owned(), created_by.to_owned()), vec![*value]);
        }
        life
    }

    pub(in super::super) fn named(version: &str, lives: &[Life]) -> Named {
        let key = ReleaseKey { version: version.into(), revision: "8c5f0123456789".into() };
        Named::of(&Release { key, ..Release::default() }, lives, 1_000)
    }

    #[test]
    fn what_changed_is_said() {
        let old = [life("a", &[("goroutines", 100.0), ("allocated/s", 1e6), ("threads", 10.0)], &[("main.f", 90.0)])];
        let new = [
            life(
                "b",
                &[("goroutines", 150.0), ("allocated/s", 1.38e6), ("threads", 10.0)],
                &[("main.f", 90.0), ("main.g", 50.0)],
            ),
            life("b", &[("goroutines", 151.0), ("allocated/s", 1.38e6)], &[("main.f", 91.0), ("main.g", 50.0)]),
        ];
        let report = compare("api".into(), 60.0, (named("v1.4.2", &old), &old), (named("v1.5.0", &new), &new));
        assert_eq!(
            report.sentence,
            "v1.5.0 has 50 % more goroutines, allocates 38 % more and has goroutines at 1 new site, compared with v1.4.2."
        );
        assert_eq!(report.sites.len(), 1, "{:?}", report.sites);
        assert_eq!((report.sites[0].site.as_str(), report.sites[0].a, report.sites[0].b), ("main.g", None, 50.0));
        assert!(report.notes.is_empty());
    }

    #[test]
    fn nothing_that_changed_is_said_too() {
        let old = [life("a", &[("goroutines", 100.0)], &[("other", 60.0), ("main.f", 1.0)])];
        let new = [life("b", &[("goroutines", 101.0), ("resident", 1e9)], &[("main.g", 50.0)])];
        let mut new_named = named("v1.5.0", &new);
        new_named.until_ms = 5;
        let report = compare("api".into(), 60.0, (named("v1.4.2", &old), &old), (new_named, &new));
        assert_eq!(report.sentence, "v1.5.0 differs from v1.4.2 in nothing that is beyond noise.");
        assert_eq!(report.notes.len(), 2);
        assert!(report.sites[0].may_be_old, "A has 60 at sites that are not told: {:?}", report.sites);
    }
}
