//! A profile of a process that offers none: made from outside, of what its memory says, in the form that `go tool pprof` opens.
//!
//! Goroutines are counted by their whole stacks, as `/debug/pprof/goroutine` does it; heap, mutexes and blocking are the
//! lists that the runtime keeps of itself. Names and lines come from the executable's own table, so that the file needs
//! no executable beside it. Code that was inlined belongs to the function that it was inlined into. The stack of a goroutine that
//! runs meanwhile is only where it was started.
#![warn(clippy::indexing_slicing)]

use std::collections::HashMap;
use std::time::Duration;

use super::SharedTicks;
use super::binary::{GoBinary, Unreadable};
use super::image::Image;
use super::memory::{Allowance, Fault, Reader};
use super::names::{Code, Names, Remembered, is_system};
use super::process_memory::ProcessMemory;
use super::profile::{Amount, NoProfile, Profile, ProfileKind, ProfileStack, unsampled};
use super::stack;
use super::walk::{Kind, visit};
use super::{sites, ticks};
use crate::go::GoProcess;
use crate::go::profile::model::{self, Builder, LabelValue, Line, ValueType};
use crate::go::ways::Reason;

/// Most goroutines whose stacks are read; of more, evenly spread ones are, and counts scaled up.
pub const GOROUTINES_MAX: u64 = 20_000;
/// What reading the list of goroutines and their stacks may cost.
const GOROUTINES_COST: Allowance = Allowance { bytes: 512 << 20, time: Duration::from_secs(5) };
/// What reading a profile that the program keeps may cost.
const PROFILE_COST: Allowance = Allowance { bytes: 128 << 20, time: Duration::from_secs(2) };
/// Most bytes between two samples of a heap profile that are told.
const PERIOD_MAX: u64 = 1 << 50;
/// Addresses below this are none: the runtime puts a count in the place of the first frame of some stacks.
const FIRST_ADDRESS: u64 = 4096;

/// What can be captured from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// All goroutines by their stacks.
    Goroutines,
    /// A profile that the program keeps; of the heap, viewers first show what is in use.
    Kept(ProfileKind),
    /// The heap's, viewers showing what was allocated.
    Allocations,
}

/// Why there is no capture.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NoCapture {
    /// The process cannot be read, now.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// Its executable cannot be understood.
    #[error(transparent)]
    Executable(#[from] Unreadable),
    /// The program does not keep such a profile, or it cannot be found.
    #[error("the program keeps no such profile, as far as its memory tells ({})", .0.text())]
    NotThere(Reason),
}

/// Captures `wanted` of `process`, whose memory is read within bounds; `at_ms` is now, in milliseconds since the Unix epoch.
///
/// # Errors
///
/// See [`NoCapture`].
pub fn capture(
    process: &GoProcess,
    wanted: Wanted,
    host_ticks: &SharedTicks,
    at_ms: i64,
) -> Result<model::Profile, NoCapture> {
    let memory = ProcessMemory::open(&process.life)?;
    let binary = GoBinary::open(memory.open_executable()?, &process.build)?;
    let bias = memory.bias_of(&binary)?;
    let minor = binary.version().minor().unwrap_or(0);
    let image = Image { layout: binary.layout(), addresses: binary.addresses(), bias, minor };
    image.check_version(&mut Reader::new(&memory, PROFILE_COST), &process.build.go_version)?;
    let mut remembered = Remembered::default();
    let names = Names::new(binary.functions().map(|table| table as &dyn Code), &mut remembered);
    let (kinds, default_type) = values_of(wanted);
    let mut file = File { image: &image, names, builder: Builder::new(kinds), locations: HashMap::new() };
    match wanted {
        Wanted::Goroutines => file.goroutines(&mut Reader::new(&memory, GOROUTINES_COST))?,
        Wanted::Kept(kind) => file.kept(kind, host_ticks, &mut Reader::new(&memory, PROFILE_COST))?,
        Wanted::Allocations => file.kept(ProfileKind::Heap, host_ticks, &mut Reader::new(&memory, PROFILE_COST))?,
    }
    memory.check_life()?;
    let default_type = file.builder.text(default_type);
    let about = file.builder.about();
    about.default_type = default_type;
    about.time_ns = at_ms.saturating_mul(1_000_000);
    Ok(file.builder.finish())
}

/// The kinds of values, and the one that viewers show first.
fn values_of(wanted: Wanted) -> (Vec<ValueType>, &'static str) {
    let kinds = |all: &[(&str, &str)]| all.iter().map(|(kind, unit)| ValueType::new(kind, unit)).collect();
    let heap =
        [("alloc_objects", "count"), ("alloc_space", "bytes"), ("inuse_objects", "count"), ("inuse_space", "bytes")];
    match wanted {
        Wanted::Goroutines => (kinds(&[("goroutine", "count")]), "goroutine"),
        Wanted::Kept(ProfileKind::Heap) => (kinds(&heap), "inuse_space"),
        Wanted::Allocations => (kinds(&heap), "alloc_space"),
        Wanted::Kept(ProfileKind::Mutex | ProfileKind::Block) => {
            (kinds(&[("contentions", "count"), ("delay", "nanoseconds")]), "delay")
        }
    }
}

/// The profile that is made.
struct File<'a> {
    image: &'a Image<'a>,
    names: Names<'a>,
    builder: Builder,
    /// Numbers of the locations at addresses as linked.
    locations: HashMap<u64, u32>,
}

impl File<'_> {
    fn goroutines(&mut self, reader: &mut Reader<'_>) -> Result<(), NoCapture> {
        let mut all: Vec<(u64, Kind)> = Vec::new();
        let (looked_at, listed) = visit(self.image, reader, GOROUTINES_MAX, &mut |address, seen| {
            all.push((address, seen.kind));
        })?;
        let mut counted: HashMap<Vec<u64>, u64> = HashMap::new();
        for (address, kind) in all {
            let started = self.names.function_or_address(kind.started);
            if is_system(&started, sites::wait_text(self.image, kind.doing)) {
                continue;
            }
            let frames = match stack::frames(self.image, reader, address) {
                // What is left is told without stacks rather than not at all.
                Err(Fault::Budget) => Vec::new(),
                frames => frames?,
            };
            *counted.entry(self.instructions(&frames, kind)).or_default() += 1;
        }
        let mut counted: Vec<(Vec<u64>, u64)> = counted.into_iter().collect();
        counted.sort_unstable_by(|a, b| (b.1, &a.0).cmp(&(a.1, &b.0)));
        for (stack, count) in counted {
            let scaled = u128::from(count) * u128::from(listed.max(1)) / u128::from(looked_at.max(1));
            let stack = stack.into_iter().map(|pc| self.location(pc)).collect();
            self.builder.sample(stack, vec![i64::try_from(scaled).unwrap_or(i64::MAX)], Vec::new());
        }
        let about = self.builder.about();
        (about.period_type, about.period) = (Some(ValueType::new("goroutine", "count")), 1);
        if looked_at < listed {
            let remark = format!("{looked_at} of {listed} goroutines were looked at; counts are scaled up");
            let remark = self.builder.text(&remark);
            self.builder.about().comments.push(remark);
        }
        Ok(())
    }

    /// The instructions of a stack of return addresses, innermost first and as linked; where there is no stack, the start of the
    /// goroutine's function.
    fn instructions(&mut self, frames: &[u64], kind: Kind) -> Vec<u64> {
        let linked = frames.iter().filter_map(|pc| self.image.linked(*pc).checked_sub(1));
        let mut stack: Vec<u64> = linked.collect();
        let ends = |names: &mut Names<'_>, pc: u64| names.function(pc).is_none_or(|name| &*name == "runtime.goexit");
        while stack.last().is_some_and(|pc| ends(&mut self.names, *pc)) {
            stack.pop();
        }
        if stack.is_empty() { vec![kind.started] } else { stack }
    }

    fn kept(&mut self, kind: ProfileKind, host: &SharedTicks, reader: &mut Reader<'_>) -> Result<(), NoCapture> {
        let profile = Profile::read(kind, self.image, reader).map_err(|error| match error {
            NoProfile::Fault(fault) => NoCapture::Fault(fault),
            NoProfile::Reason(reason) => NoCapture::NotThere(reason),
        })?;
        let ticks_per_second = match kind {
            ProfileKind::Heap => None,
            ProfileKind::Mutex | ProfileKind::Block => {
                // Without it ticks could not be told as time.
                let learned = learn(host, self.image, reader)?;
                Some(learned.ok_or(NoCapture::NotThere(Reason::NoAddresses))?)
            }
        };
        for stack in &profile.stacks {
            self.kept_stack(&profile, stack, ticks_per_second);
        }
        let about = self.builder.about();
        (about.period_type, about.period) = match kind {
            ProfileKind::Heap => (Some(ValueType::new("space", "bytes")), profile.rate.min(PERIOD_MAX).cast_signed()),
            ProfileKind::Mutex | ProfileKind::Block => (Some(ValueType::new("contentions", "count")), 1),
        };
        if profile.cut {
            let remark = self.builder.text("there are more stacks than were read");
            self.builder.about().comments.push(remark);
        }
        Ok(())
    }

    fn kept_stack(&mut self, profile: &Profile, of: &ProfileStack, ticks_per_second: Option<f64>) {
        let mut stack: Vec<u64> = of.pcs.iter().filter_map(|pc| pc.checked_sub(1)).collect();
        let raw = |pc: u64| pc.wrapping_add(self.image.bias).wrapping_add(1);
        if stack.first().is_some_and(|pc| raw(*pc) < FIRST_ADDRESS || raw(*pc) == u64::MAX) {
            stack.remove(0);
        }
        let (values, labels) = match of.amount {
            Amount::Heap { object_bytes, allocs, frees, alloc_bytes, free_bytes } => {
                // What of the runtime is innermost allocated for others, unless there are no others.
                let own =
                    |names: &mut Names<'_>, pc: u64| names.function(pc).is_some_and(|n| !n.starts_with("runtime."));
                let first = stack.iter().position(|pc| own(&mut self.names, *pc)).unwrap_or(0);
                stack.drain(..first);
                let scaled = |amount: u64| whole(unsampled(amount, object_bytes, profile.rate));
                let (objects, bytes) = (allocs.saturating_sub(frees), alloc_bytes.saturating_sub(free_bytes));
                let size = i64::try_from(object_bytes).unwrap_or(i64::MAX);
                let label = (self.builder.text("bytes"), LabelValue::Number(size, self.builder.text("bytes")));
                (vec![scaled(allocs), scaled(alloc_bytes), scaled(objects), scaled(bytes)], vec![label])
            }
            Amount::Wait { count, ticks } => {
                let ns = ticks_per_second.map_or(0.0, |rate| crate::collect::float(ticks.unsigned_abs()) / rate * 1e9);
                (vec![whole(count), whole(ns)], Vec::new())
            }
        };
        if values.iter().any(|value| *value != 0) {
            let stack = stack.into_iter().map(|pc| self.location(pc)).collect();
            self.builder.sample(stack, values, labels);
        }
    }

    /// Number of the location of the instruction at `pc`, as linked.
    fn location(&mut self, pc: u64) -> u32 {
        if let Some(known) = self.locations.get(&pc) {
            return *known;
        }
        let lines = match self.names.place(pc) {
            Some((name, line)) => {
                let (file, line) = line.map_or_else(Default::default, |line| (line.file, line.line));
                vec![Line { function: self.builder.function(&name, &file, 0), line: i64::from(line) }]
            }
            None => Vec::new(),
        };
        let number = self.builder.location(pc, lines);
        self.locations.insert(pc, number);
        number
    }
}

/// Ticks a second: what the program says of it, or what is known of the host.
fn learn(host: &SharedTicks, image: &Image<'_>, reader: &mut Reader<'_>) -> Result<Option<f64>, Fault> {
    let mut rate: ticks::TickRate = *host.lock();
    rate.learn(image, reader)
}

#[expect(clippy::cast_possible_truncation, reason = "amounts; a float to an integer saturates")]
fn whole(amount: f64) -> i64 {
    amount.round() as i64
}
