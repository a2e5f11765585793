//! Which processes push by themselves, what they call themselves, and which metrics they push: what they give is not read of
//! them by other ways as well, so that no series has two sources, and what is read besides goes under the same name.
//!
//! A process pushes for as long as its last push is no older than three of its own intervals, half a minute at least;
//! so does each of its metrics. When it stops, other ways take over by themselves.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::go::identity::Identity;
use crate::go::ways::{Names, ProcessKey};

/// Most processes that are remembered.
const PROCESSES_MAX: usize = 1_024;
/// Most metrics of one process that are remembered.
const NAMES_MAX: usize = 4_096;
/// Most bytes of the names of one process, and of all.
const NAMES_BYTES_MAX: usize = 256 << 10;
const ALL_NAMES_BYTES_MAX: usize = 4 << 20;
/// How often those that push no more are forgotten.
const SWEPT_EVERY: Duration = Duration::from_mins(1);
/// Longest `job` and `instance` together that a process is called by.
const IDENTITY_BYTES_MAX: usize = 1_024;
/// Shortest time for which a push counts.
const KEPT_MIN: Duration = Duration::from_secs(30);
/// Longest interval that is believed.
const INTERVAL_MAX: Duration = Duration::from_mins(10);
/// Intervals for which a push counts.
const INTERVALS_KEPT: u32 = 3;

/// The processes that push, shared by who receives and who reads. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct SdkProcesses(Arc<Mutex<Book>>);

#[derive(Debug, Default)]
struct Book {
    processes: HashMap<ProcessKey, Pushing>,
    swept: Option<Instant>,
}

impl Book {
    /// Forgets those that push no more: now and then, and when there is no room.
    fn sweep(&mut self, now: Instant) {
        let is_due = self.swept.is_none_or(|swept| now.saturating_duration_since(swept) >= SWEPT_EVERY);
        if is_due || self.processes.len() >= PROCESSES_MAX {
            self.processes.retain(|_, pushing| pushing.lives(now));
            self.swept = Some(now);
        }
    }
}

#[derive(Debug)]
struct Pushing {
    last: Instant,
    /// Time of the newest sample, in milliseconds since the Unix epoch.
    newest_ms: i64,
    interval: Duration,
    names: HashMap<Box<str>, Instant>,
    names_bytes: usize,
    /// The names of now; made anew when they change.
    told: Names,
    called: Option<Called>,
}

/// What a process calls itself.
#[derive(Debug)]
struct Called {
    identity: Identity,
    last: Instant,
    /// Whether it said that all of it ended.
    has_ended: bool,
}

/// What a push says of its process.
#[derive(Debug, Clone)]
pub struct Noted {
    /// Every metric that the process pushes.
    pub names: Names,
    /// For how long that holds without another push.
    pub kept: Duration,
}

impl Pushing {
    /// Takes note of `names`, as far as they have room in `bytes_max`; forgets those that are no longer pushed.
    fn note_names<'n>(&mut self, names: impl IntoIterator<Item = &'n str>, bytes_max: usize, now: Instant) {
        let mut changed = false;
        for name in names {
            if let Some(seen) = self.names.get_mut(name) {
                *seen = now;
            } else if self.names.len() < NAMES_MAX && self.names_bytes + name.len() <= bytes_max {
                self.names.insert(name.into(), now);
                self.names_bytes += name.len();
                changed = true;
            }
        }
        let (kept, before) = (self.kept(), self.names.len());
        self.names.retain(|_, seen| now.saturating_duration_since(*seen) <= kept);
        if changed || self.names.len() != before {
            self.told = self.names.keys().cloned().collect();
            self.names_bytes = self.names.keys().map(|name| name.len()).sum();
        }
    }

    fn kept(&self) -> Duration {
        (self.interval * INTERVALS_KEPT).max(KEPT_MIN)
    }

    fn lives(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.last) <= self.kept()
    }
}

impl SdkProcesses {
    /// Takes note of a push of the process `pid` that started at `start_ticks`: the names of its metrics, and the time of
    /// its newest sample, which tells its interval. Nothing when there is no room to remember it.
    pub fn note<'n>(
        &self,
        pid: i32,
        start_ticks: u64,
        newest_ms: i64,
        names: impl IntoIterator<Item = &'n str>,
        now: Instant,
    ) -> Option<Noted> {
        let key = ProcessKey { pid, start_ticks };
        let mut book = self.0.lock();
        book.sweep(now);
        let all = &mut book.processes;
        if all.len() >= PROCESSES_MAX && !all.contains_key(&key) {
            return None;
        }
        let of_others: usize = all.iter().filter(|(of, _)| **of != key).map(|(_, other)| other.names_bytes).sum();
        let pushing = all.entry(key).or_insert_with(|| Pushing {
            last: now,
            newest_ms,
            interval: Duration::ZERO,
            names: HashMap::new(),
            names_bytes: 0,
            told: Names::default(),
            called: None,
        });
        pushing.last = now;
        // One round may come in several requests, and a mark of the end a millisecond behind the last round.
        let passed = Duration::from_millis(newest_ms.saturating_sub(pushing.newest_ms).max(0).unsigned_abs());
        if passed > Duration::from_millis(1) {
            pushing.interval = passed.min(INTERVAL_MAX);
            pushing.newest_ms = newest_ms;
        }
        pushing.note_names(names, NAMES_BYTES_MAX.min(ALL_NAMES_BYTES_MAX.saturating_sub(of_others)), now);
        Some(Noted { names: pushing.told.clone(), kept: pushing.kept() })
    }

    /// Takes note that a push of the process that was [noted](Self::note) is `job` and `instance` throughout, and whether it says nothing
    /// but that series ended. Another name counts when the one before ended or is pushed no more, so that a program with two clients has one.
    pub fn call(&self, pid: i32, start_ticks: u64, (job, instance): (&str, &str), has_ended: bool, now: Instant) {
        let all = &mut self.0.lock().processes;
        let Some(pushing) = all.get_mut(&ProcessKey { pid, start_ticks }) else { return };
        let kept = pushing.kept();
        if let Some(called) = &mut pushing.called {
            let passed = now.saturating_duration_since(called.last);
            if called.identity.job == job && called.identity.instance == instance {
                (called.last, called.has_ended) = (now, has_ended);
                return;
            }
            if has_ended || (!called.has_ended && passed <= kept) {
                return;
            }
        }
        if job.len() + instance.len() <= IDENTITY_BYTES_MAX {
            let identity = Identity { job: job.to_owned(), instance: instance.to_owned() };
            pushing.called = Some(Called { identity, last: now, has_ended });
        }
    }

    /// What the processes that push call themselves.
    pub fn identities(&self) -> Vec<(ProcessKey, Identity)> {
        self.identities_at(Instant::now())
    }

    fn identities_at(&self, now: Instant) -> Vec<(ProcessKey, Identity)> {
        let book = self.0.lock();
        let living = book.processes.iter().filter(|(_, pushing)| pushing.lives(now));
        living.filter_map(|(key, pushing)| Some((*key, pushing.called.as_ref()?.identity.clone()))).collect()
    }

    /// Forgets all processes but those that `is_alive` says live.
    pub fn keep(&self, is_alive: impl Fn(ProcessKey) -> bool) {
        let keys: Vec<ProcessKey> = self.0.lock().processes.keys().copied().collect();
        // Asked without the lock: it may take a look at each process.
        let ended: Vec<ProcessKey> = keys.into_iter().filter(|key| !is_alive(*key)).collect();
        let all = &mut self.0.lock().processes;
        for key in ended {
            all.remove(&key);
        }
    }

    /// Whether the process pushes.
    pub fn pushes(&self, pid: i32, start_ticks: u64) -> bool {
        self.pushes_at(pid, start_ticks, Instant::now())
    }

    /// Whether the process pushes the metric called `name`: other ways of reading leave it out.
    pub fn gives(&self, pid: i32, start_ticks: u64, name: &str) -> bool {
        self.gives_at(pid, start_ticks, name, Instant::now())
    }

    /// How many processes push.
    pub fn len(&self) -> usize {
        let now = Instant::now();
        self.0.lock().processes.values().filter(|pushing| pushing.lives(now)).count()
    }

    /// Whether none pushes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn pushes_at(&self, pid: i32, start_ticks: u64, now: Instant) -> bool {
        self.0.lock().processes.get(&ProcessKey { pid, start_ticks }).is_some_and(|pushing| pushing.lives(now))
    }

    fn gives_at(&self, pid: i32, start_ticks: u64, name: &str, now: Instant) -> bool {
        self.0.lock().processes.get(&ProcessKey { pid, start_ticks }).is_some_and(|pushing| {
            let seen = pushing.names.get(name);
            pushing.lives(now) && seen.is_some_and(|seen| now.saturating_duration_since(*seen) <= pushing.kept())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_process_pushes_for_three_of_its_intervals() {
        let (all, began) = (SdkProcesses::default(), Instant::now());
        for round in 0..3u32 {
            let (newest_ms, now) = (i64::from(round) * 20_000, began + round * 20 * SECOND);
            all.note(7, 70, newest_ms, ["go_goroutines", "a"], now);
            all.note(7, 70, newest_ms, ["b"], now + SECOND);
        }
        let last = began + 41 * SECOND;
        for (name, after_s, want) in
            [("a", 0, true), ("b", 60, true), ("a", 61, false), ("c", 0, false), ("go_goroutines", 59, true)]
        {
            assert_eq!(all.gives_at(7, 70, name, last + after_s * SECOND), want, "{name} after {after_s} s");
        }
        assert!(all.pushes_at(7, 70, last + 60 * SECOND) && !all.pushes_at(7, 70, last + 61 * SECOND));
        assert!(!all.pushes_at(7, 71, last), "another life of the same id");
    }

    #[test]
    fn a_metric_that_is_no_longer_pushed_is_free_again() {
        let (all, began) = (SdkProcesses::default(), Instant::now());
        all.note(7, 70, 0, ["a", "b"], began);
        let noted = all.note(7, 70, 10_000, ["a"], began + 40 * SECOND).expect("room");
        assert!(noted.names.contains("a") && !noted.names.contains("b") && noted.kept == KEPT_MIN);
        assert!(all.gives_at(7, 70, "a", began + 40 * SECOND));
        assert!(!all.gives_at(7, 70, "b", began + 40 * SECOND));
    }

    #[test]
    fn a_process_has_one_name_at_a_time() {
        let (all, began) = (SdkProcesses::default(), Instant::now());
        let push = |after_s: u32, identity: &str, has_ended: bool| {
            let now = began + after_s * SECOND;
            all.note(7, 70, i64::from(after_s) * 1_000, ["a"], now);
            all.call(7, 70, identity.split_once(' ').expect("two"), has_ended, now);
            let mut told = all.identities_at(now);
            let (key, Identity { job, instance }) = told.pop().expect("a name");
            assert!(told.is_empty() && key == ProcessKey { pid: 7, start_ticks: 70 });
            format!("{job} {instance}")
        };
        for (after_s, identity, has_ended, want) in [
            (0, "shop h/0", false, "shop h/0"),
            (1, "other h/0", false, "shop h/0"),
            (10, "shop h/0", false, "shop h/0"),
            (20, "shop h/0", true, "shop h/0"),
            (21, "gone h/0", true, "shop h/0"),
            (22, "other h/0", false, "other h/0"),
            (60, "third h/1", false, "third h/1"),
        ] {
            assert_eq!(push(after_s, identity, has_ended), want, "{identity} after {after_s} s");
        }
        assert!(all.identities_at(began + 180 * SECOND).is_empty(), "it pushes no more");
        let long = "x".repeat(IDENTITY_BYTES_MAX);
        all.note(8, 80, 0, ["a"], began);
        all.call(8, 80, (long.as_str(), "h/0"), false, began);
        assert!(!all.identities_at(began).iter().any(|(key, _)| key.pid == 8), "too long to go by");
        all.keep(|key| key.pid == 7);
        assert_eq!(all.0.lock().processes.len(), 1);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (all, now) = (SdkProcesses::default(), Instant::now());
        for pid in 0..i32::try_from(PROCESSES_MAX).expect("small") + 5 {
            all.note(pid, 1, 0, ["a"], now);
        }
        assert_eq!(all.0.lock().processes.len(), PROCESSES_MAX);
        all.note(-1, 1, 0, ["a"], now + 31 * SECOND);
        assert_eq!(all.0.lock().processes.len(), 1, "those that pushed long ago make room");
        // Not only when there is no room.
        all.note(-2, 1, 0, ["a"], now + 31 * SECOND);
        all.note(-1, 1, 0, ["a"], now + 100 * SECOND);
        assert_eq!(all.0.lock().processes.len(), 1, "once a minute");
        let long: Vec<String> = (0..2_000).map(|at| format!("{at:0512}")).collect();
        for pid in 100..120 {
            all.note(pid, 1, 0, long.iter().map(String::as_str), now + 100 * SECOND);
        }
        let bytes: Vec<usize> =
            (100..120).map(|pid| all.0.lock().processes[&ProcessKey { pid, start_ticks: 1 }].names_bytes).collect();
        assert_eq!((bytes[0], bytes[19]), (NAMES_BYTES_MAX, 0));
        assert!(bytes.iter().sum::<usize>() < ALL_NAMES_BYTES_MAX);
        all.keep(|key| key.pid == -1);
        let now = now + 69 * SECOND;
        let many: Vec<String> = (0..NAMES_MAX + 5).map(|at| at.to_string()).collect();
        all.note(-1, 1, 0, many.iter().map(String::as_str), now + 31 * SECOND);
        assert_eq!(all.0.lock().processes[&ProcessKey { pid: -1, start_ticks: 1 }].names.len(), NAMES_MAX);
    }
}
