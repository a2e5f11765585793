//! Verdicts as metrics: one grade a process that was judged, and for the sites of grade 2 and above, a few of them, the evidence.

use std::collections::HashMap;
use std::sync::Arc;

use model::METRIC_NAME;

use super::judge::SharedLeaks;
use super::ladder::{SiteVerdict, Verdict};
use crate::collect::{CollectError, Collector, float};
use crate::go::GoProcess;
use crate::go::census::{SourceLine, Way};
use crate::go::outside::SharedCensuses;
use crate::go::process::SharedProcesses;
use crate::readings::{Metric, Readings};

const GRADE: Metric = Metric::gauge(
    "go_leak_grade",
    "Highest grade of evidence that goroutines leak: -1 none, 0 hint, 1 suspect, 2 probable, 3 strong, 4 proved.",
);
const SITE_GRADE: Metric = Metric::gauge("go_leak_site_grade", "Grade of evidence at a site, 2 to 4.");
const GOROUTINES: Metric = Metric::gauge("go_leak_site_goroutines", "Goroutines of a site that leaks.");
const FLOOR: Metric =
    Metric::gauge("go_leak_site_floor", "Fewest goroutines of a site that leaks, in its last window.");
const GROWTH: Metric =
    Metric::gauge("go_leak_site_growth_per_hour", "Growth of the floor of a site that leaks, in goroutines by hour.");
const SINCE: Metric =
    Metric::gauge("go_leak_site_since_seconds", "When a site began to leak, in seconds since the Unix epoch.");
const LONGEST: Metric = Metric::gauge(
    "go_leak_site_longest_blocked_seconds",
    "For how long the goroutine of the site that has waited longest has been blocked.",
);
const LEAKED: Metric =
    Metric::gauge("go_leak_site_leaked_goroutines", "Goroutines of a site that the runtime found unreachable.");
const INFO: Metric = Metric::gauge(
    "go_leak_info",
    "Where a leak is and what program it is in; the value is its grade. Join with the others on job, instance, site, created_by, wait.",
);

/// What the runtime counts from Go 1.26 on, written by whoever read the census.
const CREATED: &str = "go_sched_goroutines_created_goroutines_total";

/// The collector of verdicts.
pub struct Leaks {
    processes: SharedProcesses,
    judge: SharedLeaks,
    censuses: SharedCensuses,
    sink: VerdictSink,
}

/// Takes each verdict, with its time in milliseconds since the Unix epoch.
pub type VerdictSink = Box<dyn FnMut(&GoProcess, &Verdict, i64) + Send>;

impl std::fmt::Debug for Leaks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Leaks").finish_non_exhaustive()
    }
}

impl Leaks {
    /// Tells what `judge` says of `processes`, and makes it forget those that ended.
    pub fn new(processes: SharedProcesses, judge: SharedLeaks) -> Self {
        Self { processes, judge, censuses: SharedCensuses::default(), sink: Box::new(|_, _, _| ()) }
    }

    /// The same, which tells the judge of `censuses` that are taken of memory in the same rounds.
    #[must_use]
    pub fn beside(mut self, censuses: SharedCensuses) -> Self {
        self.censuses = censuses;
        self
    }

    /// The same, which hands each verdict to `sink`.
    #[must_use]
    pub fn telling(mut self, sink: VerdictSink) -> Self {
        self.sink = sink;
        self
    }
}

impl Collector for Leaks {
    fn name(&self) -> &'static str {
        "go_leaks"
    }

    fn collect(&mut self, out: &mut Readings) -> Result<(), CollectError> {
        let scan = Arc::clone(&self.processes.lock());
        let mut judge = self.judge.lock();
        judge.keep(|life| scan.processes.iter().any(|process| process.life == *life));
        judge.forget_loads(|job, instance| {
            scan.processes.iter().any(|process| process.job == job && process.instance == instance)
        });
        let created = created(out);
        for process in &scan.processes {
            let census = self.censuses.lock().get(&process.life).map(Arc::clone);
            if let Some(census) = census {
                let key = (process.job.clone(), process.instance.clone());
                judge.observe(process, &census, created.get(&key).copied());
            }
            let Some((verdict, way)) = judge.verdict(&process.life) else { continue };
            let target = [("job", process.job.as_str()), ("instance", process.instance.as_str())];
            out.push(&GRADE, &target, f64::from(verdict.grade.number()));
            (self.sink)(process, &verdict, out.timestamp_ms());
            for site in &verdict.sites {
                write_site(process, way, site, out);
            }
        }
        Ok(())
    }
}

/// Goroutines that each process, by `job` and `instance`, created, as far as this round has read that.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a counter; a float to an integer saturates"
)]
fn created(out: &Readings) -> HashMap<(String, String), u64> {
    let of_created = out.iter().filter(|(labels, _)| labels.get(METRIC_NAME) == Some(CREATED));
    let label = |text: Option<&str>| text.unwrap_or_default().to_owned();
    of_created
        .filter_map(|(labels, samples)| {
            Some(((label(labels.get("job")), label(labels.get("instance"))), samples.value()? as u64))
        })
        .collect()
}

fn write_site(process: &GoProcess, way: Way, of: &SiteVerdict, out: &mut Readings) {
    let grade = f64::from(of.grade.number());
    let mut labels = vec![
        ("job", process.job.as_str()),
        ("instance", process.instance.as_str()),
        ("site", of.site.function.as_str()),
        ("created_by", of.site.created_by.as_str()),
        ("wait", of.site.wait.as_str()),
    ];
    out.push(&SITE_GRADE, &labels, grade);
    out.push(&GOROUTINES, &labels, float(of.count));
    if let Some(floor) = of.floors.last() {
        out.push(&FLOOR, &labels, f64::from(*floor));
    }
    out.push(&GROWTH, &labels, of.growth_per_hour);
    out.push(&SINCE, &labels, float(of.since_ms.max(0).unsigned_abs()) / 1000.0);
    if let Some(longest_ms) = of.longest_blocked_ms {
        out.push(&LONGEST, &labels, float(longest_ms) / 1000.0);
    }
    if of.leaked > 0 {
        out.push(&LEAKED, &labels, float(of.leaked));
    }
    let line = |of: &SourceLine| if of.line == 0 { String::new() } else { of.line.to_string() };
    let (file, number) = of.line.as_ref().map_or_else(Default::default, |of| (of.file.clone(), line(of)));
    let (function, place) = of.blocked_at.as_ref().map_or_else(Default::default, |(function, at)| {
        (function.clone(), if at.file.is_empty() { String::new() } else { format!("{}:{}", at.file, line(at)) })
    });
    let build = &process.build;
    labels.extend([
        ("file", file.as_str()),
        ("line", number.as_str()),
        ("blocked_in", function.as_str()),
        ("blocked_at", place.as_str()),
        ("way", way.text()),
        ("go_version", build.go_version.as_str()),
        ("version", build.version.as_str()),
        ("revision", build.revision.as_str()),
    ]);
    out.push(&INFO, &labels, grade);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::go::BuildInfo;
    use crate::go::census::{Census, Site, SiteCount};
    use crate::go::discover::Scan;
    use crate::go::identity::Life;
    use crate::go::leaks::{Judge, LeakOptions};

    fn process() -> GoProcess {
        let build =
            BuildInfo { go_version: "go1.26.1".to_owned(), revision: "8c5f".to_owned(), ..BuildInfo::default() };
        GoProcess {
            life: Life { start_ticks: 1, pid: 7, name: "api".to_owned() },
            job: "api".to_owned(),
            instance: "web1/0".to_owned(),
            build: Arc::new(build),
            same_network: true,
        }
    }

    fn census(at_ms: i64, count: u64) -> Census {
        let site =
            Site { function: "main.leak".to_owned(), created_by: "main.main".to_owned(), wait: "chan send".to_owned() };
        let line = Some(SourceLine { file: "/src/main.go".to_owned(), line: 41 });
        let counted = SiteCount { count, longest_blocked_ms: Some(at_ms.unsigned_abs()), line, ..SiteCount::default() };
        Census {
            way: Way::Memory,
            at_ms,
            total: count,
            states: None,
            sites: [(site, counted)].into(),
            looked_at: count,
        }
    }

    /// A process whose goroutines are counted once a minute, from `CREATED` in the same round.
    #[test]
    fn a_leak_becomes_series_and_a_process_that_ended_is_forgotten() {
        let processes = SharedProcesses::default();
        *processes.lock() = Arc::new(Scan { processes: vec![process()], ..Scan::default() });
        let (judge, censuses) = (SharedLeaks::default(), SharedCensuses::default());
        *judge.lock() = Judge::new(LeakOptions::default());
        let mut leaks = Leaks::new(Arc::clone(&processes), Arc::clone(&judge)).beside(Arc::clone(&censuses));
        // Later than any machine's start.
        let began_ms = 4_000_000_000_000;
        let mut round = |minute: i64| {
            let mut out = Readings::new(began_ms + minute * 60_000);
            let count = 10 + 3 * minute.unsigned_abs();
            let labels = [("job", "api"), ("instance", "web1/0")];
            out.push_named(CREATED, &labels, float(1_000 + 50 * minute.unsigned_abs()));
            censuses.lock().insert(process().life, Arc::new(census(out.timestamp_ms(), count)));
            leaks.collect(&mut out).expect("no source to fail");
            out
        };
        let first = round(0);
        let process = r#"instance="web1/0", job="api""#;
        assert_eq!(first.value_of(&format!("go_leak_grade{{{process}}}")), Some(-1.0));
        assert_eq!(first.len(), 2);
        let last = (1..60).map(&mut round).last().expect("some rounds");
        assert_eq!(last.value_of(&format!("go_leak_grade{{{process}}}")), Some(2.0));
        let site = format!(r#"created_by="main.main", {process}, site="main.leak", wait="chan send""#);
        for (name, want) in [("grade", 2.0), ("goroutines", 187.0), ("growth_per_hour", 180.0)] {
            assert_eq!(last.value_of(&format!("go_leak_site_{name}{{{site}}}")), Some(want), "{name}");
        }
        let info = last.iter().find(|(labels, _)| labels.get(METRIC_NAME) == Some("go_leak_info"));
        let info =
            info.map(|(labels, _)| ["file", "line", "way", "go_version", "revision"].map(|name| labels.get(name)));
        assert_eq!(info, Some(["/src/main.go", "41", "memory", "go1.26.1", "8c5f"].map(Some)));
        *processes.lock() = Arc::default();
        assert_eq!(round(60).len(), 1, "nothing but what was there before");
        assert!(judge.lock().is_empty());
    }
}
