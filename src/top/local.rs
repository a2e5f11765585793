//! The Go processes of this host, read by the agent's library: no server and no agent are needed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use agent::go::census::Census;
use agent::go::local::{Local, Pace, Seen};
use agent::go::ways::{Part, Told};
use anyhow::Context;

use super::data::{Detail, Key, Number, Past, Process, Site, Snapshot, Source};
use super::view::seconds;

/// Least time between two looks at the goroutines of a process.
const LOOK_MIN: Duration = Duration::from_secs(1);
/// Limits above this are none: Go says so with the largest integer.
pub(super) const NO_LIMIT_BYTES: f64 = 4_611_686_018_427_387_904.0;
/// What the names of signals begin with.
pub(super) const SIGNAL: &str = "go_signal_";

/// Reads this host.
#[derive(Debug)]
pub(super) struct LocalSource {
    local: Local,
    last: HashMap<Key, Seen>,
    /// The first census of each process, by its id and start: growth is told against it.
    first: HashMap<(i32, u64), Arc<Census>>,
}

impl LocalSource {
    /// Looks at goroutines not more often than each `interval`.
    pub(super) fn new(interval: Duration) -> anyhow::Result<Self> {
        // A little less, as rounds jitter.
        let local = Local::new(Pace::Every(interval.max(LOOK_MIN) * 9 / 10))?;
        Ok(Self { local, last: HashMap::new(), first: HashMap::new() })
    }
}

fn key_of(seen: &Seen) -> Key {
    Key { job: seen.process.life.name.clone(), instance: seen.process.instance.clone() }
}

fn life_of(seen: &Seen) -> (i32, u64) {
    (seen.process.life.pid, seen.process.life.start_ticks)
}

impl Source for LocalSource {
    fn name(&self) -> String {
        "this host".to_owned()
    }

    fn past(&mut self, _: i64) -> Vec<Past> {
        Vec::new()
    }

    fn snapshot(&mut self, now_ms: i64) -> anyhow::Result<Snapshot> {
        let scan = self.local.scan().context("/proc cannot be listed")?;
        let all = self.local.read(now_ms);
        let mut snapshot = Snapshot { at_ms: now_ms, processes: Vec::new(), hidden: scan.hidden };
        let mut first = std::mem::take(&mut self.first);
        for seen in &all {
            let before = self.last.get(&key_of(seen)).filter(|before| life_of(before) == life_of(seen));
            snapshot.processes.push(process(seen, before));
            let life = life_of(seen);
            if let Some(census) = first.remove(&life).or_else(|| seen.census.clone()) {
                self.first.insert(life, census);
            }
        }
        self.last = all.into_iter().map(|seen| (key_of(&seen), seen)).collect();
        Ok(snapshot)
    }

    fn detail(&mut self, key: &Key, _: i64) -> anyhow::Result<Detail> {
        let Some(seen) = self.last.get(key) else { return Ok(Detail { key: key.clone(), ..Detail::default() }) };
        Ok(detail(key, seen, self.first.get(&life_of(seen)).map(AsRef::as_ref)))
    }
}

fn process(seen: &Seen, before: Option<&Seen>) -> Process {
    let build = &seen.process.build;
    let mut process = Process::new(key_of(seen));
    process.pid = seen.process.life.pid.to_string();
    process.version = version(&build.version, &build.revision);
    process.go_version.clone_from(&build.go_version);
    let quantile = |name: &str| seen.labelled(name, "quantile", "0.99");
    let limit = seen.number("go_gc_gomemlimit_bytes").filter(|limit| *limit < NO_LIMIT_BYTES);
    let told = [
        (Number::Goroutines, seen.number("go_goroutines").or_else(|| seen.number("go_sched_goroutines_goroutines"))),
        (Number::HeapLive, seen.number("go_gc_heap_live_bytes")),
        (Number::HeapLimit, limit),
        (Number::GcCpu, seen.number("go_signal_gc_cpu_ratio")),
        (Number::Allocated, seen.number("go_signal_alloc_bytes_per_second")),
        (Number::Latency, quantile("go_signal_sched_latency_seconds")),
        (Number::Cpu, before.and_then(|before| cpu(before, seen))),
        (Number::Resident, seen.number("process_resident_memory_bytes")),
        (Number::Threads, seen.number("process_threads")),
        // That there is no leak takes longer to see than a screen is open.
        (Number::Leak, seen.number("go_leak_grade").filter(|grade| *grade >= 0.0)),
    ];
    for (which, value) in told {
        if let Some(value) = value {
            process.set(which, value);
        }
    }
    process
}

/// Cores that were used between two looks.
fn cpu(before: &Seen, seen: &Seen) -> Option<f64> {
    let used = |seen: &Seen| seen.number("process_cpu_seconds_total");
    let passed = seconds(seen.at_ms - before.at_ms);
    (passed > 0.0).then_some((used(seen)? - used(before)?).max(0.0) / passed)
}

/// A version that says something, else the beginning of the revision.
pub(super) fn version(version: &str, revision: &str) -> String {
    let says_nothing = version.is_empty() || version == "(devel)";
    if says_nothing && !revision.is_empty() { revision.chars().take(10).collect() } else { version.to_owned() }
}

fn detail(key: &Key, seen: &Seen, first: Option<&Census>) -> Detail {
    let census = seen.census.as_deref();
    let before = first.filter(|first| census.is_some_and(|last| last.at_ms > first.at_ms));
    let growth_ms = census.zip(before).map(|(last, first)| last.at_ms - first.at_ms);
    let sites = census.map(|census| sites(seen, census, before)).unwrap_or_default();
    let signal = |name: &str| name.strip_prefix(SIGNAL).map(str::to_owned);
    let plain = seen.numbers.iter().filter_map(|(name, value)| Some((signal(name)?, *value)));
    let quantiles = seen
        .labelled
        .iter()
        .filter_map(|one| Some((format!("{} p{}", signal(&one.name)?, percentile(one.label("quantile"))), one.value)));
    let mut signals: Vec<(String, f64)> = plain.chain(quantiles).collect();
    signals.sort_by(|a, b| a.0.cmp(&b.0));
    let parts = Part::ALL.into_iter().filter_map(|part| {
        let how = match seen.part(part)? {
            Told::Read(way) => way.text().to_owned(),
            Told::Not(reason) => format!("not read, {}", reason.text()),
        };
        Some((part.text().to_owned(), how))
    });
    Detail { key: key.clone(), sites, growth_seconds: growth_ms.map(seconds), signals, parts: parts.collect() }
}

/// `99.9` of the quantile `0.999`.
pub(super) fn percentile(quantile: &str) -> String {
    quantile
        .parse::<f64>()
        .map_or_else(|_| quantile.to_owned(), |quantile| format!("{}", (quantile * 1000.0).round() / 10.0))
}

fn sites(seen: &Seen, census: &Census, before: Option<&Census>) -> Vec<Site> {
    let count = crate::render::number::count;
    let site = |(site, told): (&agent::go::census::Site, &agent::go::census::SiteCount)| {
        let earlier = before.map(|before| before.sites.get(site).map_or(0.0, |told| count(told.count)));
        let line = told.blocked_at.as_ref().map(|(_, line)| line).or(told.line.as_ref());
        let grade = seen.all_labelled("go_leak_site_grade").find(|one| {
            one.label("site") == site.function
                && one.label("created_by") == site.created_by
                && one.label("wait") == site.wait
        });
        Site {
            function: site.function.clone(),
            created_by: site.created_by.clone(),
            wait: site.wait.clone(),
            count: count(told.count),
            growth: earlier.map(|earlier| count(told.count) - earlier),
            oldest_seconds: told.longest_blocked_ms.map(|ms| seconds(ms.cast_signed())),
            place: line.map_or(String::new(), |line| format!("{}:{}", line.file, line.line)),
            grade: grade.map(|one| one.value),
        }
    };
    census.sites.iter().filter(|(_, told)| told.count > 0).map(site).collect()
}
