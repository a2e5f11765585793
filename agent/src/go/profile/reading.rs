//! The profiles of one program, read again and again: what is due is asked for, and what was last told goes out at every
//! turn, so that series whose profile is costly and taken seldom do not fade out in between.

use std::sync::Arc;
use std::time::{Duration, Instant};

use model::{LabelsRef, METRIC_NAME};

use super::census::{add_leaks, frames_max, from_profile};
use super::decode::{Limits, decode};
use super::endpoint::Endpoint;
use super::model::Profile;
use super::pace::{Answer, LEAKS_PAUSE_MIN, Pace};
use super::request::{Form, Kind, Request};
use super::sources::Source;
use super::table::{Quantity, by_function};
use super::text;
use crate::collect::float;
use crate::go::GoProcess;
use crate::go::census::{Census, Site, Way};
use crate::go::sites::{self, SiteSeries};
use crate::go::ways::{Names, Part, ProcessKey, Reason, Told, Ways, write_info};
use crate::http::Client;
use crate::readings::{Metric, Readings};
use crate::scrape::expvar::write_memory;
use crate::stale::Tracker;
use crate::stop::StopFlag;

const GOROUTINES: Metric = Metric::gauge("go_goroutines", "Goroutines that exist.");
const SECONDS: Metric = Metric::gauge("metrickit_go_profile_seconds", "Time the last profile of the kind took.");
const AGE: Metric =
    Metric::gauge("metrickit_go_profile_age_seconds", "Time since the profile that the series are made of was taken.");
const INFO: Metric = Metric::gauge("metrickit_go_profiles_info", "Where a program offers its profiles; always 1.");

/// A profile that failed this many times in a row is not told any more.
const FAILURES_MAX: u32 = 3;
/// What a profile tells counts as told for so many of its pauses.
const PAUSES_VALID: u32 = 3;

/// What reading takes.
pub(super) struct Context<'a> {
    pub(super) client: &'a Client,
    pub(super) ways: &'a Ways,
    pub(super) stop: &'a StopFlag,
    pub(super) limits: Limits,
    pub(super) timeout: Duration,
    pub(super) interval: Duration,
    pub(super) leaks: bool,
    /// The factor on intervals that keeps the agent in its own budget.
    pub(super) stretch: u32,
    /// Takes each census of a process.
    pub(super) census: &'a mut dyn FnMut(&GoProcess, &Census),
}

/// One program's profiles.
#[derive(Debug)]
pub(super) struct Reading {
    source: Arc<Source>,
    process: Option<GoProcess>,
    due: Instant,
    parts: [PartReading; 4],
    leaks: Pace,
    /// The last profile of leaked goroutines.
    leaked: Option<Profile>,
    series: Series,
    tracker: Tracker,
}

/// One kind of profile.
#[derive(Debug)]
struct PartReading {
    kind: Kind,
    part: Part,
    pace: Pace,
    last: Option<Last>,
}

/// What was last told.
#[derive(Debug)]
struct Last {
    readings: Readings,
    at: Instant,
    took: Duration,
}

#[derive(Debug)]
struct Series {
    goroutines: SiteSeries<Site>,
    inuse: SiteSeries<String>,
    allocs: SiteSeries<String>,
    mutex: SiteSeries<String>,
    block: SiteSeries<String>,
}

/// A profile, in either form.
struct Parsed {
    profile: Profile,
    memory: serde_json::Map<String, serde_json::Value>,
}

impl Reading {
    /// The profiles of `source`, which are those of `process` where that is known, from `due` on.
    pub(super) fn new(
        source: Arc<Source>,
        process: Option<GoProcess>,
        due: Instant,
        interval: Duration,
        limits: sites::Limits,
    ) -> Self {
        let part = |kind, part| PartReading { kind, part, pace: Pace::new(interval), last: None };
        Self {
            source,
            process,
            due,
            parts: [
                part(Kind::Goroutine, Part::Goroutines),
                part(Kind::Heap, Part::HeapProfile),
                part(Kind::Mutex, Part::MutexProfile),
                part(Kind::Block, Part::BlockProfile),
            ],
            leaks: Pace::new(interval.max(LEAKS_PAUSE_MIN)),
            leaked: None,
            series: Series {
                goroutines: SiteSeries::goroutines(limits),
                inuse: SiteSeries::new(sites::HEAP_INUSE, limits),
                allocs: SiteSeries::new(sites::HEAP_ALLOCS, limits),
                mutex: SiteSeries::new(sites::MUTEX_WAIT, limits),
                block: SiteSeries::new(sites::BLOCK_WAIT, limits),
            },
            tracker: Tracker::new(),
        }
    }

    /// Whether it reads `source`, and not one that stood in its place before.
    pub(super) fn is_of(&self, source: &Arc<Source>) -> bool {
        Arc::ptr_eq(&self.source, source)
    }

    /// Whether every profile that was asked for failed, again and again.
    pub(super) fn is_lost(&self) -> bool {
        let asked: Vec<u32> = self.parts.iter().map(|part| part.pace.failures()).filter(|count| *count > 0).collect();
        !asked.is_empty()
            && asked.iter().all(|count| *count >= FAILURES_MAX)
            && self.parts.iter().all(|part| part.last.is_none())
    }

    /// Marks every series stale.
    pub(super) fn end(&mut self, out: &mut Readings) {
        self.tracker.end(out);
    }

    /// Reads what is due, when it is time for that; returns what there is to tell.
    pub(super) fn round(&mut self, context: &mut Context<'_>, now: Instant, now_ms: i64) -> Option<Readings> {
        if now < self.due {
            return None;
        }
        self.due = now.checked_add(context.interval)?;
        self.ask_leaks(context, now);
        for at in 0..self.parts.len() {
            if context.stop.is_stopped() {
                return None;
            }
            self.ask_part(at, context, now, now_ms);
        }
        Some(self.told(context, now, now_ms))
    }

    fn key(&self) -> Option<ProcessKey> {
        self.process.as_ref().map(|process| (&process.life).into())
    }

    fn leads(&self, part: Part, context: &Context<'_>, now_ms: i64) -> bool {
        self.key().is_none_or(|key| context.ways.leads(key, part, Way::Pprof, now_ms))
    }

    /// Asks for one profile. Nothing when another request is under way; that is no failure.
    fn ask(&self, request: Request, context: &Context<'_>) -> Option<(Option<Parsed>, Answer, Duration)> {
        let _turn = self.source.turn(Duration::ZERO)?;
        let started = Instant::now();
        let page = self.source.endpoint.get(
            context.client,
            &request.path(),
            context.timeout,
            context.limits.inflated_bytes_max,
        );
        let took = started.elapsed();
        let failed = |reason: &dyn std::fmt::Display| {
            tracing::debug!(at = self.source.endpoint.shown(), path = request.path(), %reason, "profile not read");
        };
        let page = match page {
            Ok(page) if page.status == 200 => page,
            Ok(page) => {
                failed(&page.status);
                // A program without this kind is not asked as often as one that is too busy.
                let answer = if page.status == 404 { Answer::Empty } else { Answer::Failed };
                return Some((None, answer, took));
            }
            Err(error) => {
                failed(&error);
                return Some((None, Answer::Failed, took));
            }
        };
        let told = match request.form {
            Form::Protobuf => {
                decode(&page.body, &context.limits).map(|profile| Parsed { profile, memory: serde_json::Map::new() })
            }
            Form::Text | Form::Stacks => text::parse(&page.body, &context.limits)
                .map(|told| Parsed { profile: told.profile, memory: told.memory }),
        };
        match told {
            Ok(told) => {
                let answer = if told.profile.samples.is_empty() { Answer::Empty } else { Answer::Full };
                Some((Some(told), answer, took))
            }
            Err(error) => {
                failed(&error);
                Some((None, Answer::Failed, took))
            }
        }
    }

    fn ask_leaks(&mut self, context: &Context<'_>, now: Instant) {
        if !context.leaks || !self.leaks.is_due(now) {
            return;
        }
        let Some((told, answer, took)) = self.ask(Request::now(Kind::GoroutineLeak), context) else { return };
        // Nothing leaked is the answer hoped for, and no reason to ask less.
        let answer = if told.is_some() { Answer::Full } else { answer };
        self.leaks.answered(answer, took, now, context.stretch);
        self.leaked = told.map(|told| told.profile);
    }

    fn ask_part(&mut self, at: usize, context: &mut Context<'_>, now: Instant, now_ms: i64) {
        let Some(part) = self.parts.get(at) else { return };
        let (kind, of) = (part.kind, part.part);
        if !self.leads(of, context, now_ms) {
            self.parts[at].last = None;
            return;
        }
        if !part.pace.is_due(now) {
            return;
        }
        // The text form of heaps tells of memory as a whole too, where nobody else does.
        let whole = kind == Kind::Heap && self.leads(Part::Runtime, context, now_ms);
        let form = if whole { Form::Text } else { Form::Protobuf };
        let Some((told, answer, took)) = self.ask(Request { form, ..Request::now(kind) }, context) else { return };
        let pace = &mut self.parts[at].pace;
        pace.answered(answer, took, now, context.stretch);
        let valid = pace.pause().saturating_mul(PAUSES_VALID).saturating_add(context.interval);
        let valid_ms = u64::try_from(valid.as_millis()).unwrap_or(u64::MAX);
        let failures = pace.failures();
        let Some(told) = told else {
            if failures >= FAILURES_MAX || answer == Answer::Empty {
                self.parts[at].last = None;
            }
            return;
        };
        let mut out = Readings::new(now_ms);
        out.set_target(self.source.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let runtime_names = self.write(kind, &told, context, &mut out);
        if let Some(key) = self.key() {
            if answer == Answer::Empty {
                context.ways.cannot(key, of, Way::Pprof, Reason::NotKept);
            } else {
                context.ways.works(key, of, Way::Pprof, &Names::default(), now_ms, valid_ms);
            }
            if !runtime_names.is_empty() {
                context.ways.works(key, Part::Runtime, Way::Pprof, &runtime_names, now_ms, valid_ms);
            }
        }
        self.parts[at].last = Some(Last { readings: out, at: now, took }).filter(|last| !last.readings.is_empty());
    }

    /// Writes what a profile tells; returns the names of the runtime's part.
    fn write(&mut self, kind: Kind, told: &Parsed, context: &mut Context<'_>, out: &mut Readings) -> Names {
        let taken = self.key().map(|key| context.ways.taken(key, Way::Pprof, out.timestamp_ms())).unwrap_or_default();
        let profile = &told.profile;
        let write_seconds = |series: &mut SiteSeries<String>, quantity, out: &mut Readings| {
            let mut values = by_function(profile, quantity).unwrap_or_default();
            for value in values.values_mut() {
                *value /= 1e9;
            }
            series.write_functions(&values, out);
        };
        match kind {
            Kind::Goroutine => {
                let frames_max = frames_max(self.process.as_ref().map_or("", |process| &process.build.go_version));
                let mut census = from_profile(profile, out.timestamp_ms(), frames_max);
                self.source.saw_goroutines(census.total);
                if let Some(leaked) = &self.leaked {
                    add_leaks(&mut census, leaked, frames_max);
                }
                if !taken.contains(GOROUTINES.name) {
                    out.push(&GOROUTINES, &[], float(census.total));
                }
                self.series.goroutines.write_census(&census, out);
                if let Some(process) = &self.process {
                    (context.census)(process, &census);
                }
            }
            _ if profile.samples.is_empty() => {}
            Kind::Mutex => write_seconds(&mut self.series.mutex, Quantity::MutexWaitNs, out),
            Kind::Block => write_seconds(&mut self.series.block, Quantity::BlockWaitNs, out),
            _ => {
                let bytes = |quantity| by_function(profile, quantity).unwrap_or_default();
                self.series.inuse.write_functions(&bytes(Quantity::HeapInuseBytes), out);
                self.series.allocs.write_functions(&bytes(Quantity::HeapAllocsBytes), out);
            }
        }
        let from = out.len();
        if !told.memory.is_empty() {
            write_memory(&told.memory, &|name| !taken.contains(name), out);
        }
        out.iter().skip(from).filter_map(|(labels, _)| labels.get(METRIC_NAME)).collect()
    }

    /// Everything that was last told, and how old it is.
    fn told(&mut self, context: &Context<'_>, now: Instant, now_ms: i64) -> Readings {
        let mut out = Readings::new(now_ms);
        let labels = self.source.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let target: Vec<(&str, &str)> = labels.collect();
        out.set_target(target.iter().copied());
        // A better way may have begun since to give some of it.
        let taken = self.key().map(|key| context.ways.taken(key, Way::Pprof, now_ms)).unwrap_or_default();
        let is_taken = |labels: LabelsRef<'_>| labels.get(METRIC_NAME).is_some_and(|name| taken.contains(name));
        for part in &self.parts {
            let Some(last) = &part.last else { continue };
            if last.readings.timestamp_ms() == now_ms {
                out.append(&last.readings);
            } else {
                for (labels, values) in last.readings.iter().filter(|(labels, _)| !is_taken(*labels)) {
                    out.push_series(labels, values.value().unwrap_or(f64::NAN));
                }
            }
            let profile = [("profile", part.kind.path())];
            out.push(&SECONDS, &profile, last.took.as_secs_f64());
            out.push(&AGE, &profile, now.saturating_duration_since(last.at).as_secs_f64());
            if self.process.is_none() {
                write_info(&mut out, &target, part.part, Told::Read(Way::Pprof));
            }
        }
        if !out.is_empty() {
            let at = match &self.source.endpoint {
                Endpoint::Url(_) => self.source.endpoint.shown(),
                // Its name has the process id in it, which would make a series of every restart.
                Endpoint::Socket { .. } => "socket".to_owned(),
            };
            out.push(&INFO, &[("url", &at)], 1.0);
        }
        tracing::trace!(
            at = self.source.endpoint.shown(),
            samples = out.len(),
            stretch = context.stretch,
            "profiles told"
        );
        self.tracker.observe(&mut out, 0);
        out
    }
}
