//! What one process is and does, of two readings a little apart: the shape of `metrickit go inspect --json`.
//!
//! What is not known is `null`. Names say units; `change` and rates are of the time between the readings.

use agent::go::buildinfo::BuildInfo;
use agent::go::census::{Census, SiteCount};
use agent::go::local::Seen;
use agent::go::signals::{Limits, quantiles_between};
use agent::go::ways::{Part, Reason, Told};
use serde::Serialize;

/// Limits above this are none: Go says so with the largest integer.
const NO_LIMIT_BYTES: f64 = 4_611_686_018_427_387_904.0;
/// What `GOGC` is where it is off, as in Go.
pub(super) const GOGC_OFF: f64 = -1.0;
/// Largest `GOGC` that is one.
const GOGC_MAX: f64 = 4_294_967_296.0;

/// Everything that is told of a process.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Facts {
    pub(super) time_ms: i64,
    /// Between the two readings.
    pub(super) seconds: f64,
    pub(super) process: Process,
    pub(super) build: Build,
    pub(super) goroutines: Goroutines,
    pub(super) gc: Gc,
    pub(super) memory: Memory,
    pub(super) scheduler: Scheduler,
    pub(super) group: Group,
    /// Live heap by the function that allocated it, largest first.
    pub(super) heap_sites: Vec<HeapSite>,
    pub(super) parts: Vec<PartRead>,
    pub(super) warnings: Vec<String>,
}

/// What the system knows of it.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Process {
    pub(super) pid: i32,
    pub(super) name: String,
    pub(super) instance: String,
    pub(super) user: String,
    pub(super) age_seconds: Option<f64>,
    pub(super) cpu_cores: Option<f64>,
    pub(super) cpu_seconds: Option<f64>,
    pub(super) resident_bytes: Option<f64>,
    pub(super) threads: Option<f64>,
    pub(super) open_files: Option<f64>,
    pub(super) open_files_max: Option<f64>,
}

/// What its executable says.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Build {
    pub(super) go_version: String,
    pub(super) path: String,
    pub(super) module: String,
    pub(super) version: String,
    pub(super) revision: String,
    pub(super) modified: bool,
    /// As the toolchain wrote them, `vcs.…` among them.
    pub(super) settings: Vec<(String, String)>,
}

#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Goroutines {
    pub(super) total: Option<f64>,
    pub(super) running: Option<f64>,
    pub(super) runnable: Option<f64>,
    pub(super) waiting: Option<f64>,
    pub(super) not_in_go: Option<f64>,
    pub(super) created_per_second: Option<f64>,
    /// Those looked at, fewer than there are where they are very many; counts by site are scaled up then.
    pub(super) looked_at: Option<u64>,
    /// How many sites there are, of which `sites` has the largest.
    pub(super) sites_total: usize,
    pub(super) sites: Vec<Site>,
    /// Those that the runtime found leaked.
    pub(super) leaked: u64,
    /// Those blocked for an hour or longer, where ages are known.
    pub(super) blocked_an_hour: u64,
}

/// Goroutines started with one function that wait for the same.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Site {
    #[serde(rename = "site")]
    pub(super) function: String,
    pub(super) created_by: String,
    pub(super) wait: String,
    pub(super) count: u64,
    pub(super) change: Option<i64>,
    pub(super) oldest_seconds: Option<f64>,
    pub(super) blocked_an_hour: u64,
    pub(super) leaked: u64,
    /// Of the `go` statement.
    pub(super) file: String,
    pub(super) line: u32,
    pub(super) blocked_in: String,
    pub(super) blocked_file: String,
    pub(super) blocked_line: u32,
}

#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Gc {
    pub(super) cycles: Option<f64>,
    pub(super) cycles_forced: Option<f64>,
    /// Between the readings.
    pub(super) cycles_now: Option<f64>,
    /// Since the program began.
    pub(super) cycles_per_minute: Option<f64>,
    pub(super) last_seconds_ago: Option<f64>,
    /// Of the last 256 at most.
    pub(super) pause_median_seconds: Option<f64>,
    pub(super) pause_max_seconds: Option<f64>,
    /// Of the processor time there was, between the readings; unknown where no collection ended.
    pub(super) cpu_ratio_now: Option<f64>,
    pub(super) cpu_ratio: Option<f64>,
    /// Without what idle processors did, since the program began.
    pub(super) cpu_compulsory_ratio: Option<f64>,
    /// The last of so many cycles at which collection was held at half of the processors.
    pub(super) limiter_cycles_ago: Option<f64>,
    /// -1: off.
    pub(super) gogc_percent: Option<f64>,
}

#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Memory {
    pub(super) heap_live_bytes: Option<f64>,
    pub(super) heap_goal_bytes: Option<f64>,
    pub(super) heap_objects: Option<f64>,
    pub(super) alloc_bytes_per_second: Option<f64>,
    pub(super) allocs_per_second: Option<f64>,
    pub(super) stacks_bytes: Option<f64>,
    /// What the runtime has of the system and did not give back.
    pub(super) runtime_bytes: Option<f64>,
    /// GOMEMLIMIT; none where it is not set.
    pub(super) limit_bytes: Option<f64>,
    pub(super) limit_headroom_ratio: Option<f64>,
    /// Resident and not the runtime's.
    pub(super) outside_go_bytes: Option<f64>,
}

#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Scheduler {
    pub(super) gomaxprocs: Option<f64>,
    /// Time from ready to running, of so many observations, one in eight.
    pub(super) latency_p50_seconds: Option<f64>,
    pub(super) latency_p99_seconds: Option<f64>,
    pub(super) latency_observations: Option<f64>,
    pub(super) latency_p50_seconds_since_start: Option<f64>,
    pub(super) latency_p99_seconds_since_start: Option<f64>,
    /// How many goroutines wait for mutexes at a time.
    pub(super) mutex_waiters: Option<f64>,
}

/// The control group.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Group {
    pub(super) memory_max_bytes: Option<f64>,
    pub(super) cpu_quota: Option<f64>,
    /// Part of the periods between the readings in which the quota ran out.
    pub(super) throttled_ratio: Option<f64>,
}

#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct HeapSite {
    pub(super) site: String,
    pub(super) bytes: f64,
}

/// How a part was read, or why not.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PartRead {
    pub(super) part: &'static str,
    pub(super) way: &'static str,
    pub(super) reason: &'static str,
    /// The reason in words; empty where it was read.
    pub(super) meaning: &'static str,
}

/// What a process was at both readings.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pair<'a> {
    pub(super) first: &'a Seen,
    pub(super) last: &'a Seen,
    pub(super) first_limits: Limits,
    pub(super) last_limits: Limits,
}

impl Pair<'_> {
    fn seconds(&self) -> f64 {
        seconds_of(self.last.at_ms.saturating_sub(self.first.at_ms))
    }

    fn now(&self, name: &str) -> Option<f64> {
        self.last.number(name)
    }

    /// By how much a counter grew.
    fn change(&self, name: &str) -> Option<f64> {
        let change = self.last.number(name)? - self.first.number(name)?;
        (self.seconds() > 0.0 && change >= 0.0).then_some(change)
    }

    fn per_second(&self, name: &str) -> Option<f64> {
        self.change(name).map(|change| change / self.seconds())
    }

    /// Everything but the warnings; at most `sites_max` sites.
    pub(super) fn facts(&self, user: String, settings: Vec<(String, String)>, sites_max: usize) -> Facts {
        Facts {
            time_ms: self.last.at_ms,
            seconds: self.seconds(),
            process: self.process(user),
            build: build(&self.last.process.build, settings),
            goroutines: self.goroutines(sites_max),
            gc: self.gc(),
            memory: self.memory(),
            scheduler: self.scheduler(),
            group: self.group(),
            heap_sites: self.heap_sites(),
            parts: Part::ALL.into_iter().map(|part| part_read(part, self.last.part(part))).collect(),
            warnings: Vec::new(),
        }
    }

    fn process(&self, user: String) -> Process {
        let process = &self.last.process;
        let start = self.now("process_start_time_seconds");
        Process {
            pid: process.life.pid,
            name: process.life.name.clone(),
            instance: process.instance.clone(),
            user,
            age_seconds: start.map(|start| (seconds_of(self.last.at_ms) - start).max(0.0)),
            cpu_cores: self.per_second("process_cpu_seconds_total"),
            cpu_seconds: self.now("process_cpu_seconds_total"),
            resident_bytes: self.now("process_resident_memory_bytes"),
            threads: self.now("process_threads"),
            open_files: self.now("process_open_fds"),
            open_files_max: self.now("process_max_fds"),
        }
    }

    fn goroutines(&self, sites_max: usize) -> Goroutines {
        let state = |name: &str| self.now(&format!("go_sched_goroutines_{name}_goroutines"));
        let census = self.last.census.as_deref();
        // One that could not be taken again serves both readings.
        let before = self.first.census.as_deref().filter(|first| census.is_some_and(|last| last.at_ms > first.at_ms));
        let mut sites: Vec<Site> = census.map(|census| sites(census, before)).unwrap_or_default();
        sites.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| (&a.function, &a.wait).cmp(&(&b.function, &b.wait))));
        let sites_total = sites.len();
        let (leaked, long) =
            sites.iter().fold((0, 0), |(leaked, long), site| (leaked + site.leaked, long + site.blocked_an_hour));
        sites.truncate(sites_max);
        Goroutines {
            total: self.now("go_goroutines").or_else(|| self.now("go_sched_goroutines_goroutines")),
            running: state("running"),
            runnable: state("runnable"),
            waiting: state("waiting"),
            not_in_go: state("not_in_go"),
            created_per_second: self.per_second("go_sched_goroutines_created_goroutines_total"),
            looked_at: census.map(|census| census.looked_at),
            sites_total,
            sites,
            leaked,
            blocked_an_hour: long,
        }
    }

    fn gc(&self) -> Gc {
        let cpu = |class: &str| format!("go_cpu_classes_{class}_cpu_seconds_total");
        let ratio = |part: Option<f64>, whole: Option<f64>| Some(part? / whole.filter(|whole| *whole > 0.0)?);
        let (all, idle, total) = (cpu("gc_total"), cpu("gc_mark_idle"), cpu("total"));
        let compulsory = self.now(&all).zip(self.now(&idle)).map(|(all, idle)| (all - idle).max(0.0));
        let cycles = self.now("go_gc_cycles_total_gc_cycles_total");
        let pause = |quantile: &str| self.last.labelled("go_gc_duration_seconds", "quantile", quantile);
        let age = self.process(String::new()).age_seconds.filter(|age| *age > 0.0);
        let limiter = self.now("go_gc_limiter_last_enabled_gc_cycle").filter(|cycle| *cycle > 0.0);
        let ended = self.now("go_memstats_last_gc_time_seconds").filter(|ended| *ended > 0.0);
        Gc {
            cycles,
            cycles_forced: self.now("go_gc_cycles_forced_gc_cycles_total"),
            cycles_now: self.change("go_gc_cycles_total_gc_cycles_total"),
            cycles_per_minute: cycles.zip(age).map(|(cycles, age)| cycles * 60.0 / age),
            last_seconds_ago: ended.map(|ended| (seconds_of(self.last.at_ms) - ended).max(0.0)),
            pause_median_seconds: pause("0.5").filter(|_| cycles > Some(0.0)),
            pause_max_seconds: pause("1").filter(|_| cycles > Some(0.0)),
            cpu_ratio_now: ratio(self.change(&all), self.change(&total)),
            cpu_ratio: ratio(self.now(&all), self.now(&total)),
            cpu_compulsory_ratio: ratio(compulsory, self.now(&total)),
            limiter_cycles_ago: limiter.zip(cycles).map(|(cycle, cycles)| (cycles - cycle).max(0.0)),
            gogc_percent: self.now("go_gc_gogc_percent").map(|gogc| if gogc > GOGC_MAX { GOGC_OFF } else { gogc }),
        }
    }

    fn memory(&self) -> Memory {
        let total = self.now("go_memory_classes_total_bytes");
        let released = self.now("go_memory_classes_heap_released_bytes");
        let runtime = total.zip(released).map(|(total, released)| total - released);
        let limit = self.now("go_gc_gomemlimit_bytes").filter(|limit| *limit > 0.0 && *limit < NO_LIMIT_BYTES);
        let resident = self.now("process_resident_memory_bytes");
        Memory {
            heap_live_bytes: self.now("go_gc_heap_live_bytes"),
            heap_goal_bytes: self.now("go_gc_heap_goal_bytes"),
            heap_objects: self.now("go_gc_heap_objects_objects"),
            alloc_bytes_per_second: self.per_second("go_gc_heap_allocs_bytes_total"),
            allocs_per_second: self.per_second("go_memstats_mallocs_total"),
            stacks_bytes: self.now("go_memstats_stack_inuse_bytes"),
            runtime_bytes: runtime,
            limit_bytes: limit,
            limit_headroom_ratio: limit.zip(runtime).map(|(limit, used)| (limit - used) / limit),
            outside_go_bytes: resident.zip(runtime).map(|(resident, used)| (resident - used).max(0.0)),
        }
    }

    fn scheduler(&self) -> Scheduler {
        const LATENCIES: &str = "go_sched_latencies_seconds";
        let (first, last) = (self.first.histograms.get(LATENCIES), self.last.histograms.get(LATENCIES));
        let now = first.zip(last).and_then(|(first, last)| quantiles_between(Some(first), last, [0.5, 0.99]));
        let ever = last.and_then(|last| quantiles_between(None, last, [0.5, 0.99]));
        Scheduler {
            gomaxprocs: self.now("go_sched_gomaxprocs_threads"),
            latency_p50_seconds: now.map(|([p50, _], _)| p50),
            latency_p99_seconds: now.map(|([_, p99], _)| p99),
            latency_observations: now.map(|(_, count)| count),
            latency_p50_seconds_since_start: ever.map(|([p50, _], _)| p50),
            latency_p99_seconds_since_start: ever.map(|([_, p99], _)| p99),
            mutex_waiters: self.per_second("go_sync_mutex_wait_total_seconds_total"),
        }
    }

    fn group(&self) -> Group {
        let throttled = self.first_limits.periods.zip(self.last_limits.periods).and_then(|(first, last)| {
            let (periods, throttled) = (last.0 - first.0, last.1 - first.1);
            (periods > 0.0).then(|| (throttled / periods).clamp(0.0, 1.0))
        });
        Group {
            memory_max_bytes: self.last_limits.memory_max_bytes,
            cpu_quota: self.last_limits.quota_processors,
            throttled_ratio: throttled,
        }
    }

    fn heap_sites(&self) -> Vec<HeapSite> {
        let all = self.last.all_labelled("go_heap_inuse_bytes_by_site").filter(|one| one.value > 0.0);
        let mut all: Vec<HeapSite> =
            all.map(|one| HeapSite { site: one.label("site").to_owned(), bytes: one.value }).collect();
        all.sort_by(|a, b| b.bytes.total_cmp(&a.bytes).then_with(|| a.site.cmp(&b.site)));
        all
    }
}

fn build(info: &BuildInfo, settings: Vec<(String, String)>) -> Build {
    Build {
        go_version: info.go_version.clone(),
        path: info.path.clone(),
        module: info.module.clone(),
        version: info.version.clone(),
        revision: info.revision.clone(),
        modified: info.modified,
        settings,
    }
}

/// The sites of `census`, with their change since `before`.
fn sites(census: &Census, before: Option<&Census>) -> Vec<Site> {
    let site = |(site, told): (&agent::go::census::Site, &SiteCount)| {
        let earlier = before.map(|before| before.sites.get(site).map_or(0, |told| told.count));
        let place = told.blocked_at.clone();
        let (blocked_in, at) = place.map(|(function, line)| (function, Some(line))).unwrap_or_default();
        let at = at.unwrap_or_default();
        let line = told.line.clone().unwrap_or_default();
        Site {
            function: site.function.clone(),
            created_by: site.created_by.clone(),
            wait: site.wait.clone(),
            count: told.count,
            change: earlier.map(|earlier| told.count.cast_signed().saturating_sub(earlier.cast_signed())),
            oldest_seconds: told.longest_blocked_ms.map(|ms| seconds_of(ms.cast_signed())),
            // The census counts those of an hour or more, as the agent's defaults have it.
            blocked_an_hour: told.blocked_long,
            leaked: told.leaked,
            file: line.file,
            line: line.line,
            blocked_in,
            blocked_file: at.file,
            blocked_line: at.line,
        }
    };
    census.sites.iter().map(site).collect()
}

fn part_read(part: Part, told: Option<Told>) -> PartRead {
    let (way, reason, meaning) = match told {
        Some(Told::Read(way)) => (way.text(), "", ""),
        Some(Told::Not(reason)) => ("none", reason.text(), meaning(part, reason)),
        None => ("none", "", "it was not tried"),
    };
    PartRead { part: part.text(), way, reason, meaning }
}

fn meaning(part: Part, reason: Reason) -> &'static str {
    match (reason, part) {
        (Reason::NoRight, _) => "no right to read its memory",
        (Reason::UnknownRelease, _) => "no layout of this release of Go is known",
        (Reason::NoAddresses, Part::MutexProfile | Part::BlockProfile) => "how long a tick is, is not known yet",
        (Reason::NoAddresses, _) => "its executable does not tell where the runtime's variables are",
        (Reason::Implausible, _) => "what was read contradicts itself",
        (Reason::NotKept, Part::HeapProfile) => "the program keeps none: nothing in it uses runtime.MemProfile",
        (Reason::NotKept, Part::MutexProfile) => "the program keeps none: no runtime.SetMutexProfileFraction",
        (Reason::NotKept, Part::BlockProfile) => "the program keeps none: no runtime.SetBlockProfileRate",
        (Reason::NotKept, _) => "the program keeps none",
        (Reason::Off, _) => "it is switched off",
        (Reason::Budget, _) => "it would take too long",
    }
}

#[expect(clippy::cast_precision_loss, reason = "times are far below 2^53 milliseconds")]
fn seconds_of(ms: i64) -> f64 {
    ms as f64 / 1000.0
}
