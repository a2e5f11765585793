//! The collector that reads every Go process in its memory: numbers of the runtime at each round, goroutines and profiles at
//! intervals of their own, which grow with what they cost. A process that cannot be read is told as such and leaves
//! the others alone.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::time::{ClockId, clock_gettime};

use super::binary::GoBinary;
use super::counters::Counters;
use super::executable::{Executable, Executables, NoExecutable};
use super::image::Image;
use super::memory::{Allowance, Fault, Reader};
use super::names::{Code, Names};
use super::part::Part;
use super::process_memory::ProcessMemory;
use super::profile::{NoProfile, Profile, ProfileKind};
use super::series::{self, SiteTables};
use super::sites::{self, Known};
use super::snapshot::Snapshot;
use super::ticks::TickRate;
use super::time_histogram::Bounds;
use super::walk::{Walk, WalkLimits};
use crate::budget::{self, CpuMeter};
use crate::collect::{CollectError, Collector};
use crate::config::{Config, GoMemoryConfig};
use crate::go::census::{Census, Way};
use crate::go::identity::Life;
use crate::go::ways::{self, ProcessKey, Reason, Ways};
use crate::go::{GoProcess, SharedProcesses};
use crate::readings::Readings;
use crate::stale;
use crate::stats::Stats;

/// The last census of each process.
pub type SharedCensuses = Arc<Mutex<HashMap<Life, Arc<Census>>>>;
/// Ticks a second of this host's processors, once they are known.
pub type SharedTicks = Arc<Mutex<TickRate>>;

/// What reading the numbers of one process may cost. Most of it is for threads, of which there may be thousands.
const RUNTIME_COST: Allowance = Allowance { bytes: 32 << 20, time: Duration::from_millis(250) };
/// What walking over its goroutines may cost: a page for each of 100,000, and their list.
const WALK_COST: Allowance = Allowance { bytes: 512 << 20, time: Duration::from_secs(1) };
/// What looking at stacks may cost.
const STACKS_COST: Allowance = Allowance { bytes: 4 << 20, time: Duration::from_millis(100) };
/// What reading one of its profiles may cost.
const PROFILE_COST: Allowance = Allowance { bytes: 64 << 20, time: Duration::from_millis(500) };
/// Time of a round after which only numbers are read; goroutines and profiles of the processes left wait for the next.
const ROUND_MAX: Duration = Duration::from_secs(1);
/// Fewest goroutines that are looked at however dear that is.
const GOROUTINES_MIN: u64 = 1000;
/// Rounds for which it holds that a part is read, and the shortest time.
const CLAIM_ROUNDS: u64 = 3;
const CLAIM_MS_MIN: u64 = 30_000;
/// Tries to read the heap's sums while the program moves them.
const HEAP_TRIES: u32 = 4;

/// Reads Go processes in their memory.
#[derive(Debug)]
pub struct Outside {
    config: GoMemoryConfig,
    processes: SharedProcesses,
    ways: Ways,
    censuses: SharedCensuses,
    executables: Executables,
    stats: Arc<Stats>,
    ticks: SharedTicks,
    states: HashMap<Life, State>,
    /// The first process of the last round for whose goroutines or profiles there was no time.
    put_off: Option<Life>,
    /// When the host started, in seconds since the Unix epoch.
    boot_seconds: Option<u64>,
    no_right_told: bool,
    at_once: bool,
    /// Whether goroutines and profiles are left to another.
    numbers_alone: bool,
}

/// What is kept of a process between rounds.
#[derive(Debug)]
struct State {
    /// What its series are called by, `job` and `instance`.
    called: (String, String),
    /// Start of code, and the bias that goes with it; checked against the release in memory.
    placed: Option<(u64, u64)>,
    /// When it was last read, in milliseconds since the Unix epoch.
    read_ms: Option<i64>,
    runtime: Part,
    goroutines: Part,
    profiles: Part,
    goroutines_max: u64,
    /// The newest goroutine's id at the last walk.
    newest_id: Option<u64>,
    /// What a second of its profiles of waiting is.
    ticks_per_second: Option<f64>,
    tables: SiteTables,
    /// Names of the numbers that were given, as they were listed and as they are told.
    names: (Vec<&'static str>, ways::Names),
    /// Why parts are not read, as far as it was logged.
    logged: HashMap<ways::Part, Reason>,
}

impl State {
    fn new(config: &GoMemoryConfig) -> Self {
        Self {
            called: Default::default(),
            placed: None,
            read_ms: None,
            runtime: Part::default(),
            goroutines: Part::default(),
            profiles: Part::default(),
            goroutines_max: config.goroutines_max,
            newest_id: None,
            ticks_per_second: None,
            tables: SiteTables::new(config.sites_max),
            names: Default::default(),
            logged: HashMap::new(),
        }
    }

    fn end(&mut self, out: &mut Readings) {
        for part in [&mut self.runtime, &mut self.goroutines, &mut self.profiles] {
            part.end(out);
        }
    }
}

impl Outside {
    /// Reads the processes of the last scan in `processes`, and tells `ways` what it can.
    pub fn new(config: GoMemoryConfig, processes: SharedProcesses, ways: Ways) -> Self {
        Self {
            config,
            processes,
            ways,
            censuses: SharedCensuses::default(),
            executables: Executables::default(),
            stats: Arc::default(),
            ticks: Arc::new(Mutex::new(TickRate::new())),
            states: HashMap::new(),
            put_off: None,
            // Read once: the kernel computes it anew each time and may differ by a second, starts must not move.
            boot_seconds: procfs::boot_time_secs().ok(),
            no_right_told: false,
            at_once: false,
            numbers_alone: false,
        }
    }

    /// The same, which reads every part at each round whatever that costs: for a person who waits for the answer.
    #[must_use]
    pub fn at_once(mut self) -> Self {
        self.at_once = true;
        self
    }

    /// The same, which puts its censuses into `censuses`.
    #[must_use]
    pub fn keeping(self, censuses: SharedCensuses) -> Self {
        Self { censuses, ..self }
    }

    /// The same, which reads the numbers of the runtime alone and says nothing of what it cannot read.
    #[must_use]
    pub fn numbers_alone(self) -> Self {
        Self { numbers_alone: true, ..self }
    }

    /// The last census of each process, for those who judge them.
    pub fn censuses(&self) -> SharedCensuses {
        Arc::clone(&self.censuses)
    }

    /// The same, which tells `ticks` what it learns of the host's, for those who read profiles of waiting too.
    #[must_use]
    pub fn teaching(mut self, ticks: SharedTicks) -> Self {
        self.ticks = ticks;
        self
    }

    /// The same, which does as `stats` say that the budget allows, and counts there what it uses.
    #[must_use]
    pub fn within(mut self, stats: Arc<Stats>) -> Self {
        self.stats = stats;
        self
    }

    /// Ends the series of processes that are gone, or called otherwise than before.
    fn forget(&mut self, processes: &[GoProcess], out: &mut Readings) {
        let alive: HashMap<&Life, &GoProcess> = processes.iter().map(|process| (&process.life, process)).collect();
        self.censuses.lock().retain(|life, _| alive.contains_key(life));
        self.states.retain(|life, state| {
            let alive = alive.get(life);
            let named = |process: &&GoProcess| (&process.job, &process.instance) == (&state.called.0, &state.called.1);
            if !alive.is_some_and(named) {
                state.end(out);
            }
            alive.is_some()
        });
    }

    /// When the process started, in milliseconds since the Unix epoch; 0 when that is not known.
    fn start_ms(&self, process: &GoProcess) -> i64 {
        let Some(boot_seconds) = self.boot_seconds else { return 0 };
        let ticks_per_second = procfs::ticks_per_second().max(1);
        let since_boot_ms = process.life.start_ticks.saturating_mul(1000) / ticks_per_second;
        i64::try_from(boot_seconds.saturating_mul(1000).saturating_add(since_boot_ms)).unwrap_or(0)
    }

    /// Reads what is due of `processes`, or ends all series where that is not wanted.
    fn read_all(&mut self, processes: &[GoProcess], out: &mut Readings) {
        if !self.config.on {
            for (_, mut state) in self.states.drain() {
                state.end(out);
            }
            self.censuses.lock().clear();
            for process in processes {
                for part in ways::Part::ALL {
                    self.ways.cannot((&process.life).into(), part, Way::Memory, Reason::Off);
                }
            }
            return;
        }
        let started = Instant::now();
        // Those that the last round had no time for come first, or a round that is always too short would never reach them.
        let put_off = self.put_off.take();
        let first = processes.iter().position(|process| Some(&process.life) == put_off.as_ref()).unwrap_or(0);
        let (later, sooner) = processes.split_at(first);
        for process in sooner.iter().chain(later) {
            self.read(process, started, out);
        }
    }

    /// Reads what is due of `process` and adds it to `out`.
    fn read(&mut self, process: &GoProcess, started: Instant, out: &mut Readings) {
        let config = self.config;
        let mut state = self.states.remove(&process.life).unwrap_or_else(|| State::new(&config));
        if (&process.job, &process.instance) != (&state.called.0, &state.called.1) {
            state.called = (process.job.clone(), process.instance.clone());
        }
        if self.at_once {
            state.goroutines.hurry();
            state.profiles.hurry();
        }
        let mut own = Readings::new(out.timestamp_ms());
        own.set_target([("job", process.job.as_str()), ("instance", process.instance.as_str())]);
        own.set_start(self.start_ms(process));
        if let Err(stop) = self.read_parts(process, &mut state, started, &mut own) {
            state.end(&mut own);
            state.placed = None;
            if let Some(reason) = stop.filter(|_| !self.numbers_alone) {
                for part in ways::Part::ALL {
                    self.cannot(process, &mut state, part, reason);
                }
            }
            self.censuses.lock().remove(&process.life);
        }
        state.read_ms = Some(out.timestamp_ms());
        out.append(&own);
        self.states.insert(process.life.clone(), state);
    }

    /// Reads what is due. An error ends the reading of all parts, with the reason that is told where there is one.
    fn read_parts(
        &mut self,
        process: &GoProcess,
        state: &mut State,
        started: Instant,
        out: &mut Readings,
    ) -> Result<(), Option<Reason>> {
        let stop = |fault: Fault| {
            tracing::debug!(pid = process.life.pid, name = process.life.name, %fault, "memory not read");
            reason(fault)
        };
        let memory = ProcessMemory::open(&process.life).map_err(stop)?;
        let mut executables = std::mem::take(&mut self.executables);
        let result = match executables.of(&memory, &process.build) {
            Ok(executable) => self.read_with(process, state, &memory, executable, started, out).map_err(stop),
            Err(NoExecutable::Fault(fault)) => Err(stop(fault)),
            Err(NoExecutable::Reason(reason)) => Err(Some(reason)),
            Err(NoExecutable::Later) => Ok(()),
        };
        self.executables = executables;
        result
    }

    fn read_with(
        &mut self,
        process: &GoProcess,
        state: &mut State,
        memory: &ProcessMemory,
        executable: &mut Executable,
        started: Instant,
        out: &mut Readings,
    ) -> Result<(), Fault> {
        let Executable { binary, bounds, remembered } = executable;
        let image = place(process, state, memory, binary)?;
        let names = Names::new(binary.functions().map(|table| table as &dyn Code), remembered);
        let now_ms = out.timestamp_ms();
        let mut turn = Turn { process, memory, image: &image, names, total: None };
        turn.total = self.runtime(&turn, state, bounds.as_ref(), out)?;
        let in_time = !self.numbers_alone && started.elapsed() < ROUND_MAX;
        let waits = state.goroutines.is_due(now_ms) || state.profiles.is_due(now_ms);
        if waits && !in_time && !self.numbers_alone && self.put_off.is_none() {
            self.put_off = Some(process.life.clone());
        }
        if self.stats.is_shed(budget::Part::Goroutines).is_some() {
            state.goroutines.end(out);
            self.censuses.lock().remove(&process.life);
            self.cannot(process, state, ways::Part::Goroutines, Reason::Budget);
        } else if in_time && state.goroutines.is_due(now_ms) {
            let meter = CpuMeter::start();
            let read = self.goroutines(&mut turn, state, out);
            self.stats.part(budget::Part::Goroutines).cpu_us.add(meter.elapsed_us());
            read?;
        }
        if self.stats.is_shed(budget::Part::Profiles).is_some() {
            state.profiles.end(out);
            for kind in ProfileKind::ALL {
                self.cannot(process, state, kind.part(), Reason::Budget);
            }
        } else if in_time && state.profiles.is_due(now_ms) {
            let meter = CpuMeter::start();
            let read = self.profiles(&mut turn, state, out);
            self.stats.part(budget::Part::Profiles).cpu_us.add(meter.elapsed_us());
            read?;
        }
        Ok(())
    }

    /// Reads the numbers of the runtime; returns the count of goroutines.
    fn runtime(
        &mut self,
        turn: &Turn<'_>,
        state: &mut State,
        bounds: Option<&Bounds>,
        out: &mut Readings,
    ) -> Result<Option<u64>, Fault> {
        let (image, now_ms) = (turn.image, out.timestamp_ms());
        let mut snapshot = Snapshot::default();
        for _ in 0..HEAP_TRIES {
            snapshot = Snapshot::read(image, &mut Reader::new(turn.memory, RUNTIME_COST))?;
            if Counters::new(image.layout, &snapshot, image.minor).heap_agrees() {
                break;
            }
        }
        turn.memory.check_life()?;
        let counters = Counters::new(image.layout, &snapshot, image.minor).without_cgo(turn.process.build.without_cgo);
        let leads = self.ways.leads(turn.key(), ways::Part::Runtime, Way::Memory, now_ms);
        let taken = self.ways.taken(turn.key(), Way::Memory, now_ms);
        let mut names = Vec::new();
        state.runtime.read(out, 0, |out| {
            if leads {
                names = series::runtime(&counters, bounds, &turn.process.build.go_version, &taken, out);
            }
        });
        if state.names.0 != names {
            state.names.1 = names.iter().copied().collect();
            state.names.0 = names;
        }
        let round_ms = state.read_ms.map_or(0, |read_ms| now_ms.abs_diff(read_ms));
        let valid_ms = round_ms.saturating_mul(CLAIM_ROUNDS).max(CLAIM_MS_MIN);
        self.works(turn, state, ways::Part::Runtime, now_ms, valid_ms);
        Ok(counters.goroutines())
    }

    /// Walks over the goroutines, and keeps the census.
    fn goroutines(&mut self, turn: &mut Turn<'_>, state: &mut State, out: &mut Readings) -> Result<(), Fault> {
        let (config, now_ms, limit) = (self.config, out.timestamp_ms(), state.goroutines_max);
        let key = turn.key();
        let leads = |part| self.ways.leads(key, part, Way::Memory, now_ms);
        let (leads_sites, leads_states) = (leads(ways::Part::Goroutines), leads(ways::Part::Runtime));
        let mut outcome = None;
        let (tables, newest_id) = (&mut state.tables, &mut state.newest_id);
        let (stretch, _) = self.stats.level(budget::Part::Goroutines);
        let interval_ms = config.goroutines_interval_ms.saturating_mul(stretch.into());
        state.goroutines.read(out, interval_ms, |out| {
            if !leads_sites {
                return;
            }
            outcome = Some(turn.census(config.leak_blocked_ms, limit, *newest_id, now_ms).map(|(walk, census)| {
                *newest_id = Some(walk.newest_id);
                if leads_states {
                    series::states(sites::states(&walk), out);
                }
                tables.write_census(&census, out);
                census
            }));
        });
        let shrink = if matches!(outcome, Some(Err(Fault::Budget))) { 4 } else { state.goroutines.shrink() };
        state.goroutines_max = if shrink > 1 {
            (limit / shrink).max(GOROUTINES_MIN)
        } else {
            // Back to what is allowed, step by step, once it costs less.
            (limit + limit / 2).min(config.goroutines_max)
        };
        let life = &turn.process.life;
        if !matches!(outcome, Some(Ok(_))) {
            self.censuses.lock().remove(life);
        }
        match outcome {
            Some(Ok(census)) => {
                self.censuses.lock().insert(life.clone(), Arc::new(census));
                let valid_ms = state.goroutines.pause_ms().saturating_mul(CLAIM_ROUNDS);
                self.works(turn, state, ways::Part::Goroutines, now_ms, valid_ms);
            }
            Some(Err(fault @ (Fault::Gone | Fault::NoRight))) => return Err(fault),
            Some(Err(fault)) => {
                let reason = reason(fault).unwrap_or(Reason::Implausible);
                self.cannot(turn.process, state, ways::Part::Goroutines, reason);
            }
            None => {}
        }
        Ok(())
    }

    /// Reads the profiles that the program keeps.
    fn profiles(&mut self, turn: &mut Turn<'_>, state: &mut State, out: &mut Readings) -> Result<(), Fault> {
        let now_ms = out.timestamp_ms();
        let mut outcomes = Vec::new();
        // Asked of every process: those that keep no profile tell others how long a tick is. Of one process it never changes:
        // better known, seconds counted so far would become fewer.
        let learnt = self.ticks.lock().learn(turn.image, &mut Reader::new(turn.memory, PROFILE_COST))?;
        state.ticks_per_second = state.ticks_per_second.or(learnt);
        let ticks_per_second = state.ticks_per_second;
        let (tables, ways) = (&mut state.tables, &self.ways);
        let (stretch, _) = self.stats.level(budget::Part::Profiles);
        let interval_ms = self.config.profiles_interval_ms.saturating_mul(stretch.into());
        state.profiles.read(out, interval_ms, |out| {
            for kind in ProfileKind::ALL {
                if ways.leads(turn.key(), kind.part(), Way::Memory, now_ms) {
                    outcomes.push((kind.part(), turn.profile(kind, ticks_per_second, tables, out)));
                }
            }
        });
        let valid_ms = state.profiles.pause_ms().saturating_mul(CLAIM_ROUNDS);
        for (part, outcome) in outcomes {
            match outcome {
                Ok(()) => self.works(turn, state, part, now_ms, valid_ms),
                Err(NoProfile::Reason(reason)) => self.cannot(turn.process, state, part, reason),
                Err(NoProfile::Fault(fault @ (Fault::Gone | Fault::NoRight))) => return Err(fault),
                Err(NoProfile::Fault(fault)) => {
                    self.cannot(turn.process, state, part, reason(fault).unwrap_or(Reason::Implausible));
                }
            }
        }
        Ok(())
    }

    /// Tells that `part` of the process is read, and will be again within `valid_ms`.
    fn works(&self, turn: &Turn<'_>, state: &mut State, part: ways::Part, now_ms: i64, valid_ms: u64) {
        state.logged.remove(&part);
        let names = if part == ways::Part::Runtime { &state.names.1 } else { series::part_names(part) };
        self.ways.works(turn.key(), part, Way::Memory, names, now_ms, valid_ms);
    }

    /// Tells why `part` of the process is not read, and logs what is new.
    fn cannot(&mut self, process: &GoProcess, state: &mut State, part: ways::Part, reason: Reason) {
        self.ways.cannot((&process.life).into(), part, Way::Memory, reason);
        if state.logged.insert(part, reason) == Some(reason) {
            return;
        }
        let (pid, name, part) = (process.life.pid, process.life.name.as_str(), part.text());
        match reason {
            Reason::Implausible => {
                tracing::warn!(pid, name, part, "what its memory says cannot be true; it is not reported");
            }
            Reason::NoRight if !self.no_right_told => {
                self.no_right_told = true;
                tracing::info!(
                    pid,
                    name,
                    "no right to read the memory of this process, and perhaps of others: run as their user or with CAP_SYS_PTRACE"
                );
            }
            _ => tracing::debug!(pid, name, part, reason = reason.text(), "not read in memory"),
        }
    }
}

/// Where the runtime is in the memory of `process`; worked out and checked again when the program was started anew.
fn place<'a>(
    process: &GoProcess,
    state: &mut State,
    memory: &ProcessMemory,
    binary: &'a GoBinary,
) -> Result<Image<'a>, Fault> {
    let minor = binary.version().minor().unwrap_or(0);
    let image = |bias| Image { layout: binary.layout(), addresses: binary.addresses(), bias, minor };
    if let Some((_, bias)) = state.placed.filter(|(code_start, _)| *code_start == memory.code_start()) {
        return Ok(image(bias));
    }
    let bias = memory.bias_of(binary)?;
    image(bias).check_version(&mut Reader::new(memory, RUNTIME_COST), &process.build.go_version)?;
    state.placed = Some((memory.code_start(), bias));
    Ok(image(bias))
}

/// One process at its turn.
struct Turn<'a> {
    process: &'a GoProcess,
    memory: &'a ProcessMemory,
    image: &'a Image<'a>,
    names: Names<'a>,
    total: Option<u64>,
}

impl Turn<'_> {
    fn key(&self) -> ProcessKey {
        (&self.process.life).into()
    }

    fn census(
        &mut self,
        blocked_ms: u64,
        most: u64,
        known_id: Option<u64>,
        at_ms: i64,
    ) -> Result<(Walk, Census), Fault> {
        let now_ns = monotonic_ns();
        let blocked_before_ns = now_ns.saturating_sub(blocked_ms.saturating_mul(1_000_000));
        let limits = WalkLimits { goroutines_max: most, blocked_before_ns, known_id: known_id.unwrap_or(u64::MAX) };
        let walk = Walk::take(self.image, &mut Reader::new(self.memory, WALK_COST), limits)?;
        let known = Known { at_ms, now_ns, total: self.total, newcomers: known_id.is_some() };
        let mut reader = Reader::new(self.memory, STACKS_COST);
        let census = sites::census(&walk, known, self.image, &mut reader, &mut self.names)?;
        self.memory.check_life()?;
        Ok((walk, census))
    }

    fn profile(
        &mut self,
        kind: ProfileKind,
        ticks_per_second: Option<f64>,
        tables: &mut SiteTables,
        out: &mut Readings,
    ) -> Result<(), NoProfile> {
        let profile = Profile::read(kind, self.image, &mut Reader::new(self.memory, PROFILE_COST))?;
        self.memory.check_life()?;
        if kind != ProfileKind::Heap && ticks_per_second.is_none() {
            return Err(NoProfile::Reason(Reason::NoAddresses));
        }
        tables.write_profile(&profile, ticks_per_second, &mut self.names, out);
        Ok(())
    }
}

/// The reason that is told for a fault; none for a process that is gone.
fn reason(fault: Fault) -> Option<Reason> {
    match fault {
        Fault::Gone => None,
        Fault::NoRight => Some(Reason::NoRight),
        Fault::Budget => Some(Reason::Budget),
        Fault::Unmapped | Fault::Implausible(_) => Some(Reason::Implausible),
    }
}

/// The clock that the runtime's `nanotime` reads.
fn monotonic_ns() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    let (seconds, ns) = (u64::try_from(time.tv_sec).unwrap_or(0), u64::try_from(time.tv_nsec).unwrap_or(0));
    seconds.saturating_mul(1_000_000_000).saturating_add(ns)
}

impl Collector for Outside {
    fn name(&self) -> &'static str {
        "go_memory"
    }

    fn collect(&mut self, out: &mut Readings) -> Result<(), CollectError> {
        let scan = Arc::clone(&self.processes.lock());
        self.executables.begin_round(Instant::now());
        if self.stats.short_of_memory.get() > 0 {
            self.executables.forget_names();
        }
        let mut ended = Readings::new(out.timestamp_ms());
        self.forget(&scan.processes, &mut ended);
        let from = out.len();
        self.read_all(&scan.processes, out);
        stale::add_ended(out, from, &ended);
        Ok(())
    }

    fn configure(&mut self, config: &Config) {
        let config = config.go.memory;
        for state in self.states.values_mut() {
            state.goroutines_max = state.goroutines_max.min(config.goroutines_max);
            state.goroutines.hasten(config.goroutines_interval_ms);
            state.profiles.hasten(config.profiles_interval_ms);
        }
        // Tables of sites keep their size: which sites have series of their own must not change under those who look.
        self.config = GoMemoryConfig { sites_max: self.config.sites_max, ..config };
    }

    fn marks_stale(&self) -> bool {
        true
    }

    fn end(&mut self, out: &mut Readings) {
        for state in self.states.values_mut() {
            state.end(out);
        }
    }
}
