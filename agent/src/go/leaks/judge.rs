//! The ladders of all processes. Whoever takes a census tells it here; the verdicts are told by [`Leaks`](super::Leaks).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;

use super::baseline::Baseline;
use super::ladder::{Ladder, Verdict, Vitals};
use super::load::Loads;
use super::options::LeakOptions;
use crate::go::census::{Census, Way};
use crate::go::identity::Life;
use crate::go::profile::poll::CensusSink;
use crate::go::{BuildInfo, GoProcess};

/// Shared by those who take censuses and the collector that tells the verdicts.
pub type SharedLeaks = Arc<Mutex<Judge>>;

/// Most revisions whose baselines are remembered; the oldest goes first.
const REVISIONS_MAX: usize = 64;

/// What takes each census to `judge`.
pub fn census_sink(judge: &SharedLeaks) -> CensusSink {
    let judge = Arc::clone(judge);
    Box::new(move |process, census| judge.lock().observe(process, census, None))
}

/// The ladders of all processes.
#[derive(Debug, Default)]
pub struct Judge {
    options: LeakOptions,
    boot_ms: i64,
    loads: Loads,
    ladders: HashMap<Life, Judged>,
    baselines: BTreeMap<String, (u64, Baseline)>,
    revisions: u64,
    is_off: bool,
}

#[derive(Debug)]
struct Judged {
    ladder: Ladder,
    way: Way,
}

impl Judge {
    /// Judges by `options`.
    pub fn new(options: LeakOptions) -> Self {
        let boot_seconds = procfs::boot_time_secs().unwrap_or(0);
        Self { options, boot_ms: i64::try_from(boot_seconds).unwrap_or(0).saturating_mul(1000), ..Self::default() }
    }

    /// The same, which takes `loads` for how much processes had to do.
    #[must_use]
    pub fn counting(self, loads: Loads) -> Self {
        Self { loads, ..self }
    }

    /// When the process began, in milliseconds since the Unix epoch.
    fn began_ms(&self, life: &Life) -> i64 {
        let ms = u128::from(life.start_ticks) * 1000 / u128::from(procfs::ticks_per_second().max(1));
        self.boot_ms.saturating_add(i64::try_from(ms).unwrap_or(i64::MAX))
    }

    /// What it judges by.
    pub fn options(&self) -> &LeakOptions {
        &self.options
    }

    /// From now on judges by `options`, or takes nothing in where there are none. What was seen stays as long as it judges; windows must be of
    /// the same length.
    pub fn judge_by(&mut self, options: Option<LeakOptions>) {
        self.is_off = options.is_none();
        self.loads.follow(!self.is_off);
        match options {
            Some(options) => self.options = options,
            None => self.ladders.clear(),
        }
    }

    /// Takes in a census of `process`, which created so many goroutines since it began, where that is counted. When it is taken in another
    /// way than the one before, its ladder begins anew, as ways name sites differently.
    pub fn observe(&mut self, process: &GoProcess, census: &Census, created: Option<u64>) {
        if self.is_off {
            return;
        }
        let load = self.loads.of(&process.job, &process.instance);
        let vitals = Vitals { began_ms: self.began_ms(&process.life), created, load };
        if !self.ladders.contains_key(&process.life) {
            self.ladders.insert(process.life.clone(), Judged { ladder: Ladder::default(), way: census.way });
        }
        let Some(judged) = self.ladders.get_mut(&process.life) else { return };
        let mut of_this_life = Baseline::default();
        let baseline = match revision(&process.build) {
            Some(revision) => {
                self.revisions += 1;
                if !self.baselines.contains_key(&revision) && self.baselines.len() >= REVISIONS_MAX {
                    let oldest = self.baselines.iter().min_by_key(|(_, (used, _))| *used).map(|(name, _)| name.clone());
                    if let Some(oldest) = oldest {
                        self.baselines.remove(&oldest);
                    }
                }
                let (used, baseline) = self.baselines.entry(revision).or_default();
                *used = self.revisions;
                baseline
            }
            None => &mut of_this_life,
        };
        if judged.way != census.way {
            *judged = Judged { ladder: Ladder::default(), way: census.way };
        }
        judged.ladder.observe(census, &vitals, baseline, &self.options);
    }

    /// What is to be said of the process `life`, and how it was read; nothing when no census of it was seen.
    pub fn verdict(&self, life: &Life) -> Option<(Verdict, Way)> {
        let judged = self.ladders.get(life)?;
        Some((judged.ladder.verdict(&self.options), judged.way))
    }

    /// Forgets all processes but those that `alive` says live.
    pub fn keep(&mut self, alive: impl Fn(&Life) -> bool) {
        self.ladders.retain(|life, _| alive(life));
    }

    /// Forgets how much was to do in all processes but those that `alive` says live, by `job` and `instance`.
    pub fn forget_loads(&self, alive: impl Fn(&str, &str) -> bool) {
        self.loads.keep(alive);
    }

    /// How many processes are judged.
    pub fn len(&self) -> usize {
        self.ladders.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.ladders.is_empty()
    }
}

/// What tells apart programs that park other goroutines for good; nothing where the executable does not say.
fn revision(build: &BuildInfo) -> Option<String> {
    let told = if build.revision.is_empty() { &build.version } else { &build.revision };
    let known = !build.modified && !told.is_empty() && told != "(devel)";
    known.then(|| format!("{} {told} {}", build.path, build.go_version))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::go::census::{Site, SiteCount};
    use crate::go::leaks::Grade;

    fn process(pid: i32, revision: &str) -> GoProcess {
        GoProcess {
            life: Life { start_ticks: 1, pid, name: "api".to_owned() },
            job: "api".to_owned(),
            instance: "web1/0".to_owned(),
            build: Arc::new(BuildInfo { revision: revision.to_owned(), ..BuildInfo::default() }),
            same_network: true,
        }
    }

    fn parked(at_ms: i64, leaked: u64) -> Census {
        let site = Site { function: "main.park".to_owned(), ..Site::default() };
        let count = SiteCount { count: leaked, leaked, ..SiteCount::default() };
        Census { way: Way::Pprof, at_ms, total: leaked, states: None, sites: [(site, count)].into(), looked_at: leaked }
    }

    #[test]
    fn a_revision_has_one_baseline_and_no_revision_none() {
        for (revision, want) in [("8c5f", Grade::Proved), ("", Grade::Nothing)] {
            let mut judge = Judge::new(LeakOptions::default());
            judge.observe(&process(1, revision), &parked(1_000, 3), None);
            judge.observe(&process(2, revision), &parked(1_000, 40), None);
            let (verdict, way) = judge.verdict(&process(2, "").life).expect("judged");
            assert_eq!((verdict.grade, way), (want, Way::Pprof), "{revision:?}");
            assert_eq!(judge.verdict(&process(1, "").life).map(|(verdict, _)| verdict.grade), Some(Grade::Nothing));
            judge.keep(|life| life.pid == 1);
            assert!(judge.len() == 1 && judge.verdict(&process(2, "").life).is_none());
        }
    }

    #[test]
    fn another_way_begins_anew() {
        let mut judge = Judge::new(LeakOptions::default());
        for (minute, way) in [(0, Way::Pprof), (1, Way::Memory), (2, Way::Memory)] {
            let census = Census { way, ..parked(minute * 60_000, 4 + 20 * minute.unsigned_abs()) };
            judge.observe(&process(1, ""), &census, None);
            let told = judge.verdict(&process(1, "").life).map(|(verdict, way)| (verdict.grade, way));
            let grade = if minute == 2 { Grade::Proved } else { Grade::Nothing };
            assert_eq!(told, Some((grade, way)), "minute {minute}");
        }
    }

    #[test]
    fn nothing_is_kept_where_nobody_judges() {
        let loads = Loads::default();
        let mut judge = Judge::default().counting(loads.clone());
        let mut out = crate::readings::Readings::new(0);
        out.set_target([("job", "api"), ("instance", "web1/0")]);
        out.push_named("http_requests_total", &[], 7.0);
        for (options, want) in [(Some(LeakOptions::default()), 1), (None, 0), (Some(LeakOptions::default()), 1)] {
            judge.judge_by(options);
            loads.observe(out.iter());
            judge.observe(&process(1, ""), &parked(1_000, 3), None);
            assert_eq!((judge.len(), usize::from(loads.of("api", "web1/0").is_some())), (want, want));
        }
        judge.judge_by(None);
        assert_eq!((judge.len(), loads.of("api", "web1/0")), (0, None), "what was there is given up");
    }

    #[test]
    fn revisions_are_bounded() {
        let mut judge = Judge::default();
        for number in 0..200 {
            judge.observe(&process(1, &format!("r{number}")), &parked(number, 3), None);
        }
        assert_eq!(judge.baselines.len(), REVISIONS_MAX);
    }
}
