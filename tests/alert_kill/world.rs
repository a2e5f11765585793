//! What the alerts are about: values that rise above their limits and fall again, written to the server as long as it takes them.
//!
//! A value goes on to its next phase when a sample of the one before was acknowledged. So an evaluation that sees one phase has seen that the one
//! before ended, or could have, and a moment of an evaluation belongs to one phase.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::scenario::{HOSTS, KINDS, Kind, LIMIT};
use crate::sink::{Sink, Told};
use crate::support::{REMOTE_WRITE_HEADERS, body, now_ms, request, series, try_post};

/// A time during which the condition of an alert was true.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Episode {
    /// The time of its first sample.
    pub(crate) rose_ms: i64,
    /// The time of the first sample after it.
    pub(crate) fell_ms: Option<i64>,
}

/// Where a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Low,
    High,
}

/// A value, and the alert about it.
#[derive(Debug)]
pub(crate) struct Subject {
    pub(crate) kind: Kind,
    host: &'static str,
    phase: Phase,
    /// Whether a sample of this phase was acknowledged, and a moment that it is to last until from then on.
    is_written: bool,
    until: Option<Instant>,
    pub(crate) episodes: Vec<Episode>,
    /// Whether it fires as those were told who were told since it rose last.
    heard: BTreeMap<String, bool>,
    /// The same of all.
    last_heard: BTreeMap<String, bool>,
}

impl Subject {
    /// As notifications are known by: `Plain a`.
    pub(crate) fn name(&self) -> String {
        format!("{} {}", self.kind.name, self.host)
    }

    fn has_heard(&self, fires: bool) -> bool {
        self.kind.paths.iter().all(|path| self.heard.get(*path) == Some(&fires))
    }

    fn hears(&mut self, told: &Told) {
        let Some(said) = told.alerts.get(&self.name()) else { return };
        self.last_heard.insert(told.path.clone(), said.fires);
        // Others are of an earlier time.
        if self.episodes.last().is_some_and(|last| said.starts_ms >= last.rose_ms) {
            self.heard.insert(told.path.clone(), said.fires);
        }
    }

    /// Goes to the other phase if it is time. At the end only what never rose still rises, as few kills leave little time to.
    fn go_on(&mut self, is_ending: bool, random: &mut fastrand::Rng) {
        let is_high = self.phase == Phase::High;
        let is_heard = !self.kind.patient || self.has_heard(is_high) || self.episodes.is_empty();
        let is_done = is_ending && !is_high && !self.episodes.is_empty();
        if !self.is_written || !is_heard || is_done {
            return;
        }
        // Times at which alerts become active are told in seconds: two of them are further apart.
        let pause_ms = if self.kind.patient { 0..2_500 } else { 1_100..4_000 };
        let pause = Duration::from_millis(random.u64(pause_ms));
        let until = *self.until.get_or_insert_with(|| Instant::now() + pause);
        if !is_ending && Instant::now() < until {
            return;
        }
        self.phase = if is_high { Phase::Low } else { Phase::High };
        (self.is_written, self.until) = (false, None);
    }

    /// Whether nothing more is to come of it.
    fn is_over(&self) -> bool {
        let is_known = self.last_heard.values().all(|fires| !fires);
        let is_told = !self.episodes.is_empty() && (!self.kind.patient || self.has_heard(false));
        self.phase == Phase::Low && self.is_written && is_known && is_told
    }

    fn value(&self, random: &mut fastrand::Rng) -> f64 {
        match self.phase {
            Phase::Low => LIMIT * random.f64(),
            Phase::High => LIMIT + 1.0 + random.f64(),
        }
    }

    /// Takes note that a sample of this phase is about to be written.
    fn writes(&mut self, at_ms: i64) {
        let last = self.episodes.last_mut();
        match self.phase {
            Phase::High if last.as_ref().is_none_or(|last| last.fell_ms.is_some()) => {
                self.heard.clear();
                self.episodes.push(Episode { rose_ms: at_ms, fell_ms: None });
            }
            Phase::Low => drop(last.map(|last| last.fell_ms.get_or_insert(at_ms))),
            Phase::High => {}
        }
    }
}

/// All of them.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) subjects: Vec<Subject>,
    random: fastrand::Rng,
    last_ms: i64,
    /// How many notifications were looked at.
    known: usize,
}

impl World {
    pub(crate) fn new(random: fastrand::Rng) -> Self {
        let of = |kind: &Kind| {
            let kind = *kind;
            HOSTS.map(|host| Subject {
                kind,
                host,
                phase: Phase::Low,
                is_written: false,
                until: None,
                episodes: Vec::new(),
                heard: BTreeMap::new(),
                last_heard: BTreeMap::new(),
            })
        };
        let subjects = KINDS.iter().flat_map(of).collect();
        Self { subjects, random, last_ms: 0, known: 0 }
    }

    /// Listens, goes on, and writes a sample of everything, if the server takes it. Whether all is over, where that is wanted.
    pub(crate) fn step(&mut self, http: &ureq::Agent, url: &str, sink: &Sink, is_ending: bool) -> bool {
        let told = sink.since(self.known);
        self.known += told.len();
        for subject in &mut self.subjects {
            for told in &told {
                subject.hears(told);
            }
            subject.go_on(is_ending, &mut self.random);
        }
        let at_ms = now_ms().max(self.last_ms + 1);
        self.last_ms = at_ms;
        let mut all = Vec::with_capacity(self.subjects.len());
        for subject in &mut self.subjects {
            subject.writes(at_ms);
            let value = subject.value(&mut self.random);
            all.push(series(&[("__name__", subject.kind.metric), ("host", subject.host)], &[(at_ms, value)]));
        }
        let answer = try_post(http, &format!("{url}/api/v1/write"), &REMOTE_WRITE_HEADERS, &body(&request(all)));
        if answer.is_ok_and(|answer| answer.status() == 204) {
            for subject in &mut self.subjects {
                subject.is_written = true;
            }
        }
        is_ending && self.subjects.iter().all(Subject::is_over)
    }

    /// What keeps it from being over.
    pub(crate) fn open(&self) -> Vec<String> {
        let open = self.subjects.iter().filter(|subject| !subject.is_over());
        open.map(|subject| {
            let Subject { phase, last_heard, .. } = subject;
            format!("{} is {phase:?}, whether it fires was told as {last_heard:?}", subject.name())
        })
        .collect()
    }
}
