//! Which way of reading delivers what of a process now: one source a name and process.
//!
//! Every way of reading tells here what works for it, part by part and with the names it gives, and asks here before it
//! reads. What a better way gives now is left out of the worse ones, so that no series comes from two sources. A claim
//! holds for a time that the claimer states: a way that stops without a word gives its part free.
//!
//! How to use it, as one way among others:
//!
//! 1. Ask [`Ways::leads`] before reading a part: `false` means that a better way reads it now.
//! 2. Read, and tell the outcome: [`Ways::works`] with the names that were written and for how long that holds without
//!    being told again (three intervals), or [`Ways::cannot`] with the reason.
//! 3. What single names of a page are to be left out is in [`Ways::taken`].
//!
//! Which way reads each part is told by [`ReadingInfo`] alone, as `metrickit_go_reading_info`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;

use super::census::Way;
use super::identity::Life;
use super::process::SharedProcesses;
use crate::collect::{CollectError, Collector};
use crate::readings::{Metric, Readings};

const INFO: Metric = Metric::gauge(
    "metrickit_go_reading_info",
    "How each part of a Go process is read, and where it is not the reason; always 1.",
);

/// A part of what there is to know of a process, read as a whole in one way: value of label `part`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    /// Counters and histograms of the runtime, `go_*` without the parts below.
    Runtime,
    /// Goroutines by site.
    Goroutines,
    /// Heap in use and allocations by site.
    HeapProfile,
    /// Waiting for mutexes by site.
    MutexProfile,
    /// Blocking by site.
    BlockProfile,
}

impl Part {
    /// Every part.
    pub const ALL: [Self; 5] =
        [Self::Runtime, Self::Goroutines, Self::HeapProfile, Self::MutexProfile, Self::BlockProfile];

    /// The label's value.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Runtime => "runtime",
            Self::Goroutines => "goroutines",
            Self::HeapProfile => "heap_profile",
            Self::MutexProfile => "mutex_profile",
            Self::BlockProfile => "block_profile",
        }
    }
}

/// Why a part cannot be read in some way: value of label `reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// The agent has not the rights it takes.
    NoRight,
    /// The layout of this release of Go is not known.
    UnknownRelease,
    /// Where things lie in the executable could not be found.
    NoAddresses,
    /// What was read contradicts itself.
    Implausible,
    /// The program does not keep it, such as a profile whose rate is zero.
    NotKept,
    /// The agent is told not to.
    Off,
    /// It would cost too much.
    Budget,
}

impl Reason {
    /// The label's value.
    pub const fn text(self) -> &'static str {
        match self {
            Self::NoRight => "no_right",
            Self::UnknownRelease => "unknown_release",
            Self::NoAddresses => "no_addresses",
            Self::Implausible => "implausible",
            Self::NotKept => "not_kept",
            Self::Off => "off",
            Self::Budget => "budget",
        }
    }
}

/// The life of one process, without its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct ProcessKey {
    /// The process id.
    pub pid: i32,
    /// Start of the process in clock ticks since boot.
    pub start_ticks: u64,
}

impl From<&Life> for ProcessKey {
    fn from(life: &Life) -> Self {
        Self { pid: life.pid, start_ticks: life.start_ticks }
    }
}

/// Names of metrics. Cheap to clone: make them once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names(Arc<BTreeSet<Box<str>>>);

impl Names {
    /// Whether `name` is one of them.
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains(name)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<T: Into<Box<str>>> FromIterator<T> for Names {
    fn from_iter<I: IntoIterator<Item = T>>(names: I) -> Self {
        Self(Arc::new(names.into_iter().map(Into::into).collect()))
    }
}

/// Names that better ways give of one process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Taken(Vec<Names>);

impl Taken {
    /// Whether `name` is given by a better way.
    pub fn contains(&self, name: &str) -> bool {
        self.0.iter().any(|names| names.contains(name))
    }
}

/// What is known of a part now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// It is read in this way.
    Read(Way),
    /// It is not read; the reason is that of the best way which gave one.
    Not(Reason),
}

/// How good a way is; the better one is read. A page asks nothing more of the program than it offers anyway, so that it
/// goes before a profile.
const fn rank(way: Way) -> u8 {
    match way {
        Way::Sdk => 3,
        Way::Memory => 2,
        Way::Page => 1,
        Way::Pprof => 0,
    }
}

#[derive(Debug)]
enum Claim {
    /// Names are given, `is_whole` when they are the part and not just some of its names.
    Works {
        at_ms: i64,
        valid_ms: u64,
        names: Names,
        is_whole: bool,
    },
    Cannot(Reason),
}

impl Claim {
    /// The names that are given now.
    fn names(&self, now_ms: i64) -> Option<&Names> {
        match self {
            // A difference, so that a clock set back keeps no claim for long.
            Self::Works { at_ms, valid_ms, names, .. } if now_ms.abs_diff(*at_ms) <= *valid_ms => Some(names),
            _ => None,
        }
    }

    /// Whether the part is given as a whole now.
    fn holds(&self, now_ms: i64) -> bool {
        matches!(self, Self::Works { is_whole: true, .. }) && self.names(now_ms).is_some()
    }
}

/// What one process's ways claim, a few entries.
type Claims = BTreeMap<(Part, u8), (Way, Claim)>;

/// The registry. Clones share it; calls take a short lock.
#[derive(Debug, Clone, Default)]
pub struct Ways(Arc<Mutex<HashMap<ProcessKey, Claims>>>);

impl Ways {
    /// An empty registry.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes note that `way` gave `part` of `process` at `now_ms`, under `names`, and will again within `valid_ms`.
    pub fn works(&self, process: ProcessKey, part: Part, way: Way, names: &Names, now_ms: i64, valid_ms: u64) {
        let claim = Claim::Works { at_ms: now_ms, valid_ms, names: names.clone(), is_whole: true };
        self.0.lock().entry(process).or_default().insert((part, rank(way)), (way, claim));
    }

    /// Takes note that `way` gave `names` of `process`, which are [taken](Self::taken) for `valid_ms`, though no part is read by that.
    pub fn gives(&self, process: ProcessKey, way: Way, names: &Names, now_ms: i64, valid_ms: u64) {
        let claim = Claim::Works { at_ms: now_ms, valid_ms, names: names.clone(), is_whole: false };
        self.0.lock().entry(process).or_default().insert((Part::Runtime, rank(way)), (way, claim));
    }

    /// Takes note that `way` does not give `part` of `process`, and why. What it claimed before ends at once.
    pub fn cannot(&self, process: ProcessKey, part: Part, way: Way, reason: Reason) {
        self.0.lock().entry(process).or_default().insert((part, rank(way)), (way, Claim::Cannot(reason)));
    }

    /// Whether `way` is to read `part` of `process`: no better way does now.
    pub fn leads(&self, process: ProcessKey, part: Part, way: Way, now_ms: i64) -> bool {
        let all = self.0.lock();
        let Some(claims) = all.get(&process) else { return true };
        let mut better = claims.range((part, rank(way) + 1)..=(part, u8::MAX));
        !better.any(|(_, (_, claim))| claim.holds(now_ms))
    }

    /// The names that ways better than `way` give of `process` now, whatever the part.
    pub fn taken(&self, process: ProcessKey, way: Way, now_ms: i64) -> Taken {
        let all = self.0.lock();
        let claims = all.get(&process).into_iter().flatten();
        let better = claims.filter(|((_, rank_of), _)| *rank_of > rank(way));
        Taken(better.filter_map(|(_, (_, claim))| claim.names(now_ms).cloned()).collect())
    }

    /// How `part` of `process` is read now; nothing where no way has said anything that holds.
    pub fn told(&self, process: ProcessKey, part: Part, now_ms: i64) -> Option<Told> {
        let all = self.0.lock();
        let claims = all.get(&process)?;
        let best_first = || claims.range((part, 0)..=(part, u8::MAX)).rev().map(|(_, told)| told);
        if let Some((way, _)) = best_first().find(|(_, claim)| claim.holds(now_ms)) {
            return Some(Told::Read(*way));
        }
        best_first().find_map(|(_, claim)| match claim {
            Claim::Cannot(reason) => Some(Told::Not(*reason)),
            Claim::Works { .. } => None,
        })
    }

    /// Forgets all processes but those that `alive` says live.
    pub fn keep(&self, alive: impl Fn(ProcessKey) -> bool) {
        self.0.lock().retain(|process, _| alive(*process));
    }
}

/// Tells how each part of each discovered process is read.
#[derive(Debug)]
pub struct ReadingInfo {
    processes: SharedProcesses,
    ways: Ways,
}

impl ReadingInfo {
    /// Tells of `processes` what is in `ways`, and forgets there those that ended.
    pub fn new(processes: SharedProcesses, ways: Ways) -> Self {
        Self { processes, ways }
    }
}

impl Collector for ReadingInfo {
    fn name(&self) -> &'static str {
        "go_reading"
    }

    fn collect(&mut self, out: &mut Readings) -> Result<(), CollectError> {
        let scan = Arc::clone(&self.processes.lock());
        let alive: BTreeSet<ProcessKey> = scan.processes.iter().map(|process| (&process.life).into()).collect();
        self.ways.keep(|process| alive.contains(&process));
        for process in &scan.processes {
            let target = [("job", process.job.as_str()), ("instance", process.instance.as_str())];
            for part in Part::ALL {
                let told = self.ways.told((&process.life).into(), part, out.timestamp_ms());
                if let Some(told) = told {
                    write_info(out, &target, part, told);
                }
            }
        }
        Ok(())
    }
}

/// Writes the info series of one part of the process with the labels `target`.
pub fn write_info(out: &mut Readings, target: &[(&str, &str)], part: Part, told: Told) {
    let (way, reason) = match told {
        Told::Read(way) => (way.text(), ""),
        Told::Not(reason) => ("none", reason.text()),
    };
    let mut labels = target.to_vec();
    labels.extend([("part", part.text()), ("way", way), ("reason", reason)]);
    out.push(&INFO, &labels, 1.0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::go::GoProcess;
    use crate::go::discover::Scan;

    const PROCESS: ProcessKey = ProcessKey { pid: 7, start_ticks: 1 };
    const PART: Part = Part::Runtime;

    fn names(all: &[&str]) -> Names {
        all.iter().copied().collect()
    }

    #[test]
    fn the_best_way_that_works_leads() {
        let ways = Ways::new();
        let leads = |way| ways.leads(PROCESS, PART, way, 1_000);
        assert!([Way::Sdk, Way::Memory, Way::Page, Way::Pprof].into_iter().all(leads), "nobody has claimed it");
        assert_eq!(ways.told(PROCESS, PART, 1_000), None);

        ways.works(PROCESS, PART, Way::Page, &names(&["go_goroutines"]), 1_000, 30_000);
        assert_eq!(
            [leads(Way::Sdk), leads(Way::Memory), leads(Way::Page), leads(Way::Pprof)],
            [true, true, true, false]
        );
        ways.works(PROCESS, PART, Way::Memory, &names(&["go_goroutines", "go_threads"]), 1_000, 30_000);
        assert_eq!(ways.told(PROCESS, PART, 1_000), Some(Told::Read(Way::Memory)));
        assert!(!leads(Way::Page));
        assert!(ways.leads(PROCESS, Part::Goroutines, Way::Pprof, 1_000), "parts are apart");
        assert!(ways.leads(ProcessKey { start_ticks: 2, ..PROCESS }, PART, Way::Pprof, 1_000), "and lives");

        ways.cannot(PROCESS, PART, Way::Memory, Reason::Implausible);
        assert_eq!(ways.told(PROCESS, PART, 1_000), Some(Told::Read(Way::Page)), "a way that fails gives it back");
        assert!(leads(Way::Page));
        assert_eq!(ways.told(PROCESS, PART, 31_001), Some(Told::Not(Reason::Implausible)), "claims end");
        ways.cannot(PROCESS, PART, Way::Page, Reason::Off);
        assert_eq!(ways.told(PROCESS, PART, 1_000), Some(Told::Not(Reason::Implausible)), "the best way's reason");
        ways.keep(|_| false);
        assert_eq!(ways.told(PROCESS, PART, 1_000), None);
    }

    #[test]
    fn names_are_taken_from_worse_ways_alone() {
        let ways = Ways::new();
        ways.works(PROCESS, PART, Way::Memory, &names(&["go_threads"]), 0, 10);
        ways.works(PROCESS, Part::Goroutines, Way::Memory, &names(&["go_goroutines_by_site"]), 0, 10);
        let taken = |way, now_ms, name| ways.taken(PROCESS, way, now_ms).contains(name);
        assert!(taken(Way::Page, 5, "go_threads") && taken(Way::Page, 5, "go_goroutines_by_site"));
        assert!(!taken(Way::Page, 5, "go_info"));
        assert!(!taken(Way::Memory, 5, "go_threads") && !taken(Way::Sdk, 5, "go_threads"));
        assert!(!taken(Way::Page, 11, "go_threads"), "nobody gives it any more");
        ways.gives(PROCESS, Way::Sdk, &names(&["go_jobs_total"]), 0, 10);
        assert!(taken(Way::Memory, 5, "go_jobs_total") && taken(Way::Page, 5, "go_threads"));
        assert!(ways.leads(PROCESS, PART, Way::Memory, 5), "a name is not the whole");
        assert_eq!(ways.told(PROCESS, PART, 5), Some(Told::Read(Way::Memory)));
        assert!(!taken(Way::Memory, 11, "go_jobs_total"));
    }

    #[test]
    fn one_info_series_a_part() {
        let (processes, ways) = (SharedProcesses::default(), Ways::new());
        let process = GoProcess {
            life: Life { start_ticks: 1, pid: 7, name: "api".to_owned() },
            job: "api".to_owned(),
            instance: "web1/0".to_owned(),
            build: Arc::default(),
            same_network: true,
        };
        *processes.lock() = Arc::new(Scan { processes: vec![process], ..Scan::default() });
        ways.works(PROCESS, Part::Runtime, Way::Page, &Names::default(), 0, 10);
        ways.cannot(PROCESS, Part::Runtime, Way::Memory, Reason::NoRight);
        ways.cannot(PROCESS, Part::HeapProfile, Way::Memory, Reason::NoRight);
        ways.cannot(ProcessKey { pid: 8, start_ticks: 1 }, Part::Runtime, Way::Memory, Reason::NoRight);
        let mut out = Readings::new(5);
        let mut info = ReadingInfo::new(processes, ways.clone());
        info.collect(&mut out).expect("no source to fail");
        let series = |part, way, reason: &str| {
            let reason = if reason.is_empty() { String::new() } else { format!(r#", reason="{reason}""#) };
            let labels = format!(r#"instance="web1/0", job="api", part="{part}"{reason}, way="{way}""#);
            out.value_of(&format!("metrickit_go_reading_info{{{labels}}}"))
        };
        assert_eq!(series("runtime", "page", ""), Some(1.0), "no reason where it is read");
        assert_eq!(series("heap_profile", "none", "no_right"), Some(1.0));
        assert_eq!(out.len(), 2);
        assert_eq!(ways.told(ProcessKey { pid: 8, start_ticks: 1 }, Part::Runtime, 5), None, "ended");
    }
}
