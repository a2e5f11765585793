#![warn(clippy::indexing_slicing)]
//! Where the runtime's variables lie in an executable stripped of its symbols: told by the code that uses them.
//!
//! Names and places of functions survive stripping. For each variable there is a list of functions that touch it in
//! every release, found by looking at what the functions of unstripped executables touch. Two ways of concluding:
//!
//! - a variable of a struct type, whose fields lie at known offsets: every address that a function touches votes for the
//!   places from which the fields known to be touched there would lie at it; the place with most votes has the
//!   struct, if no other comes near;
//! - a word: what all of its functions touch, but for what is already known, if that is one address.
//!
//! Where witnesses disagree or there are too few, the variable is missing. A program in which the linker dropped a
//! function, or the compiler merged one into another, loses witnesses and rarely a variable.

use std::collections::BTreeMap;
use std::ops::Range;

use super::addresses::{Addresses, Variable};
use super::functions::FunctionTable;
use super::layout::Layout;
use super::operands::{CODE_BYTES_MAX, Touch, touches};
use super::{Arch, GoVersion};
use crate::go::elf::Elf;

/// A variable of a struct type.
struct Structure {
    variable: Variable,
    /// Prefix of its fields' rows in the table of layouts.
    rows: &'static str,
    /// Functions, and the fields that each touches in every release that has both.
    witnesses: &'static [(&'static str, &'static str)],
}

/// Fewest votes that a struct needs: fields of functions.
const VOTES_MIN: usize = 3;
/// Fewest functions that vote for it.
const FUNCTIONS_MIN: usize = 2;

#[rustfmt::skip]
const STRUCTURES: [Structure; 9] = [
    Structure { variable: Variable::Sched, rows: "sched.", witnesses: &[
        ("runtime.schedtrace", "gcwaiting lock mnext needspinning nmfreed nmidle nmidlelocked nmspinning npidle runqsize stopwait sysmonwait"),
        ("runtime.handoffp", "gcwaiting lastpoll lock needspinning nmspinning npidle safepointfn safepointwait stopnote stopwait"),
        ("runtime.findRunnable", "gcwaiting lastpoll lock needspinning nmspinning npidle runqsize"),
        ("runtime.sysmon", "gcwaiting lastpoll lock nmsys npidle sysmonnote sysmonwait"),
        ("runtime.checkdead", "lock mnext nmfreed nmidle nmidlelocked nmspinning nmsys"),
        ("runtime.gcstopm", "gcwaiting lock nmspinning stopnote stopwait"),
        ("runtime.startTheWorldWithSema", "gcwaiting lock sysmonnote sysmonwait"),
        ("runtime.stopTheWorldWithSema", "gcwaiting lock stopnote stopwait"),
        ("runtime.mexit", "freem lock nmfreed"),
        ("runtime.runSafePointFn", "lock safepointfn safepointwait"),
        ("runtime.schedEnableUser", "lock npidle runqsize"),
        ("runtime.(*cpuStats).accumulate", "idle_time procresizetime totaltime"),
    ] },
    Structure { variable: Variable::Memstats, rows: "memstats.", witnesses: &[
        ("runtime.readmemstats_m", "buckhash_sys gc_cpu_fraction gc_misc_sys heap_stats last_gc_unix mcache_sys mspan_sys numforcedgc numgc other_sys pause_end pause_ns pause_total_ns stacks_sys"),
        ("runtime.gcMarkTermination", "gc_cpu_fraction last_gc_nanotime last_gc_unix numforcedgc numgc pause_end pause_ns pause_total_ns"),
        ("runtime.(*sysStatsAggregate).compute", "buckhash_sys gc_misc_sys numforcedgc numgc other_sys stacks_sys"),
        ("runtime.(*mheap).init", "gc_misc_sys mcache_sys mspan_sys other_sys"),
        ("runtime.gcTrigger.test", "enablegc last_gc_nanotime"),
        ("runtime.(*sysStatsAggregate).compute.func1", "mcache_sys mspan_sys"),
        ("runtime.gcenable", "enablegc"),
        ("runtime.stkbucket", "buckhash_sys"),
        ("runtime.persistentalloc1", "other_sys"),
    ] },
    Structure { variable: Variable::GcController, rows: "gc_controller.", witnesses: &[
        ("runtime.readmemstats_m", "gc_percent heap_free heap_in_use heap_released mapped_ready total_alloc total_free"),
        ("runtime.gcMarkTermination", "gc_percent globals_scan heap_in_use heap_live last_heap_goal last_stack_scan"),
        ("runtime.(*mheap).allocSpan", "heap_free heap_in_use heap_released mapped_ready memory_limit"),
        ("runtime.gcControllerCommit", "gc_percent last_heap_goal memory_limit"),
        ("runtime.printScavTrace", "heap_free heap_in_use heap_released"),
        ("runtime.(*mspan).setUserArenaChunkToFault", "gc_percent heap_in_use total_free"),
        ("runtime.(*statAggregate).ensure", "globals_scan heap_scan last_stack_scan"),
        ("runtime.(*pageAlloc).scavengeOne", "heap_free heap_released mapped_ready"),
        ("runtime.(*scavengerState).init.func3", "heap_free heap_in_use mapped_ready"),
        ("runtime.gcPaceScavenger", "heap_free heap_in_use mapped_ready"),
        ("runtime.(*mheap).grow", "heap_free heap_in_use heap_released"),
        ("runtime.gcTrigger.test", "gc_percent heap_live"),
        ("runtime.(*mcache).releaseAll", "gc_percent total_alloc"),
        ("runtime.(*mcache).allocLarge", "gc_percent total_alloc"),
        ("runtime.(*mheap).freeSpanLocked", "heap_free heap_in_use"),
        ("runtime.(*mcache).refill", "gc_percent total_alloc"),
        ("runtime.(*gcControllerState).update", "heap_live heap_scan"),
    ] },
    Structure { variable: Variable::Work, rows: "work.", witnesses: &[
        ("runtime.gcMarkTermination", "gc_assist_time gc_idle_time gc_pause_time gc_total_time heap0 heap1 heap2 maxprocs pause_ns stwprocs t_end t_mark t_mark_term t_sweep_term total_time user_forced"),
        ("runtime.gcStart", "cycles heap0 maxprocs mode nproc nwait pause_ns start_sema stwprocs t_sweep_term user_forced"),
        ("runtime.gcMarkDone", "mark_done_sema nproc nwait t_mark_term"),
        ("runtime.gcMarkTermination.func2", "bytes_marked heap2 mode"),
        ("runtime.gcMark", "bytes_marked tstart"),
        ("runtime.(*gcWork).dispose", "bytes_marked"),
        ("runtime.markroot", "tstart"),
        ("runtime.gcResetMarkState", "bytes_marked"),
        ("runtime.gcinit", "start_sema"),
        ("runtime.gcWaitOnMark", "cycles"),
        ("runtime.(*statAggregate).ensure", "gc_assist_time"),
        ("runtime.gcTrigger.test", "cycles"),
    ] },
    Structure { variable: Variable::GcCpuLimiter, rows: "limiter.", witnesses: &[
        ("runtime.(*limiterEvent).stop", "assist_time_pool idle_time_pool"),
        ("runtime.(*gcControllerState).findRunnableGCWorker", "last_update lock"),
        ("runtime.gcAssistAlloc1", "lock"),
        ("runtime.gcStart", "lock"),
        ("runtime.(*mheap).allocSpan", "enabled"),
        ("runtime.gcMarkTermination", "lock"),
        ("runtime.(*mheap).allocSpan.func1", "enabled"),
        ("runtime.procresize", "lock"),
        ("runtime.gcDrainN", "enabled"),
        ("runtime.gcAssistAlloc", "enabled"),
        ("runtime.gcMarkDone", "lock"),
    ] },
    Structure { variable: Variable::Mheap, rows: "mheap.", witnesses: &[
        ("runtime.gcSweep", "lock pages_swept reclaim_credit reclaim_index sweep_pages_per_byte sweepgen"),
        ("runtime.gcPaceSweeper", "pages_in_use pages_swept pages_swept_basis sweep_heap_live_basis sweep_pages_per_byte"),
        ("runtime.(*activeSweep).end", "pages_swept sweep_heap_live_basis sweep_pages_per_byte sweepgen"),
        ("runtime.deductSweepCredit", "pages_swept pages_swept_basis sweep_heap_live_basis sweep_pages_per_byte"),
        ("runtime.(*sweepLocked).sweep", "lock pages_in_use pages_swept sweepgen"),
        ("runtime.allocmcache.func1", "cachealloc lock sweepgen"),
        ("runtime.sweepone", "lock reclaim_credit sweepgen"),
        ("runtime.(*p).destroy.func1", "lock span_alloc_in_use spanalloc"),
        ("runtime.(*sysStatsAggregate).compute.func1", "cache_alloc_in_use lock span_alloc_in_use"),
        ("runtime.readmemstats_m", "cache_alloc_in_use span_alloc_in_use"),
        ("runtime.(*mcache).allocLarge", "lock sweepgen"),
        ("runtime.removefinalizer", "specialfinalizeralloc speciallock"),
        ("runtime.addfinalizer", "specialfinalizeralloc speciallock"),
    ] },
    Structure { variable: Variable::Ticks, rows: "ticks.", witnesses: &[
        ("runtime.ticksPerSecond", "lock start_ticks start_time ticks_per_second"),
        ("runtime.(*ticksType).init", "lock"),
        ("runtime.schedinit", "lock"),
    ] },
    Structure { variable: Variable::Allgs, rows: "slice.", witnesses: &[
        ("runtime.allgadd", "start length capacity"),
        ("runtime.forEachG", "start length"),
        ("runtime.gcMarkRootPrepare", "start length"),
        ("runtime.gcPrepareMarkRoots", "start length"),
    ] },
    Structure { variable: Variable::Allp, rows: "slice.", witnesses: &[
        ("runtime.flushmcache", "start length"),
        ("runtime.preemptall", "start length"),
        ("runtime.timeSleepUntil", "start length"),
        ("runtime.gcMarkTinyAllocs", "start length"),
        ("runtime.checkdead", "start length"),
        ("runtime.retake", "start length"),
        ("runtime.stealWork", "start length"),
        ("runtime.gcComputeStartingStackSize", "start length"),
        ("runtime.schedtrace", "start length"),
    ] },
];

/// A variable of one word.
struct Word {
    variable: Variable,
    /// Bytes that functions of the first group read or write there, 0 where they take its address; anything when missing.
    bytes: Option<u8>,
    /// Of each group, a function touches it, if the program has one of the group; which one depends on the release.
    groups: &'static [&'static [&'static str]],
    /// How many groups must have a function.
    groups_min: usize,
}

const fn word(
    variable: Variable,
    bytes: Option<u8>,
    groups_min: usize,
    groups: &'static [&'static [&'static str]],
) -> Word {
    Word { variable, bytes, groups, groups_min }
}

/// In the order in which one excludes another.
#[rustfmt::skip]
const WORDS: [Word; 16] = [
    word(Variable::Allglen, None, 3, &[&["runtime.allgadd"], &["runtime.forEachGRace"], &[
        "runtime.goroutineProfileWithLabelsConcurrent", "runtime.(*schedStatsAggregate).compute", "runtime.NumGoroutine",
    ]]),
    // On amd64 the compiler compares the pointer in place, but exchanges the length through a register.
    word(Variable::Allgptr, Some(8), 2, &[&["runtime.allgadd"], &["runtime.forEachGRace"]]),
    word(Variable::Allglen, None, 2, &[&["runtime.allgadd"], &["runtime.forEachGRace"]]),
    word(Variable::Allm, None, 3, &[&["runtime.mcommoninit"], &["runtime.mexit"], &["runtime.schedtrace"]]),
    word(Variable::Gomaxprocs, Some(4), 3, &[
        &["runtime.schedtrace"], &["runtime.handoffp"], &["runtime.procresize"], &["runtime.stopTheWorldWithSema"],
        &["runtime.sysmon"], &["runtime.startTheWorldWithSema"], &["runtime.findRunnable", "runtime.findrunnable"],
    ]),
    word(Variable::Mbuckets, None, 2, &[&["runtime.stkbucket"], &["runtime.mProf_FlushLocked"]]),
    word(Variable::Bbuckets, Some(8), 2, &[&["runtime.blockProfileInternal", "runtime.BlockProfile"], &["runtime.stkbucket"]]),
    word(Variable::Xbuckets, Some(8), 2, &[&["runtime.mutexProfileInternal", "runtime.MutexProfile"], &["runtime.stkbucket"]]),
    word(Variable::MemProfileRate, Some(8), 2, &[&["runtime.allocmcache"], &["runtime.profilealloc"]]),
    word(Variable::BlockProfileRate, Some(8), 3, &[
        &["runtime.semacquire1"], &["runtime.blockevent"], &["runtime.chanrecv"], &["runtime.chansend"],
    ]),
    word(Variable::MutexProfileRate, Some(8), 1, &[&["runtime.semacquire1"], &["runtime.mutexevent"]]),
    word(Variable::RuntimeInitTime, Some(8), 3, &[
        &["runtime.doInit1", "runtime.doInit"], &["runtime.gcMarkTermination"], &["runtime.main"],
    ]),
    word(Variable::StartingStackSize, Some(4), 3, &[
        &["runtime.gfput"], &["runtime.gfget"], &["runtime.gcComputeStartingStackSize"],
    ]),
    word(Variable::Ncgocall, None, 2, &[&["runtime.mexit"], &["runtime.initMetrics.func1", "runtime.NumCgoCall"]]),
    word(Variable::FinalizersQueued, Some(8), 2, &[&["runtime.queuefinalizer"], &["runtime.finReadQueueStats"]]),
    word(Variable::FinalizersExecuted, Some(8), 2, &[&["runtime.runFinalizers"], &["runtime.finReadQueueStats"]]),
];

/// What each function touches that the program has.
type Touched = BTreeMap<&'static str, Vec<Touch>>;

/// Finds what can be found and is not in `addresses` yet.
pub(super) fn find(
    elf: &Elf,
    (version, arch): (GoVersion, Arch),
    layout: &Layout,
    functions: &FunctionTable,
    addresses: &mut Addresses,
) {
    let touched = look(elf, arch, functions);
    let mut taken = Vec::new();
    for structure in &STRUCTURES {
        let offset = |field: &str| match (structure.rows, field) {
            ("slice.", "start") => Some(0),
            ("slice.", "length") => Some(8),
            ("slice.", "capacity") => Some(16),
            (rows, field) => Layout::offset(version, arch, rows, field),
        };
        if let Some(address) = vote(elf, structure, offset, &touched, &taken) {
            addresses.set(structure.variable, address);
            taken.push(address..address.saturating_add(size(layout, structure.variable)));
        }
    }
    for word in &WORDS {
        if addresses.of(word.variable).is_none()
            && let Some(address) = common(elf, word, &touched, &taken)
        {
            addresses.set(word.variable, address);
            taken.push(address..address.saturating_add(1));
        }
    }
}

/// Size of the type of a variable of a struct type.
fn size(layout: &Layout, variable: Variable) -> u64 {
    u64::from(match variable {
        Variable::Sched => layout.sched.size,
        Variable::Memstats => layout.memstats.size,
        Variable::GcController => layout.gc_controller.size,
        Variable::Work => layout.work.size,
        Variable::GcCpuLimiter => layout.limiter.size,
        Variable::Mheap => layout.mheap.size,
        // A slice; the clocks are no larger.
        _ => 24,
    })
}

fn look(elf: &Elf, arch: Arch, functions: &FunctionTable) -> Touched {
    let mut names: Vec<&'static str> =
        STRUCTURES.iter().flat_map(|structure| structure.witnesses).map(|(function, _)| *function).collect();
    names.extend(WORDS.iter().flat_map(|word| word.groups).copied().flatten());
    names.sort_unstable();
    names.dedup();
    let mut touched = Touched::new();
    for (name, start, end) in functions.find_named(&names) {
        let length = end.saturating_sub(start).min(CODE_BYTES_MAX);
        let (Some(name), Some(code)) = (names.get(name), elf.read_at(start, length)) else { continue };
        touched.entry(name).or_default().extend(touches(arch, &code, start));
    }
    touched
}

/// Whether a variable can lie at `address`: in data, not code nor constants, and not where another lies.
fn free(elf: &Elf, address: u64, taken: &[Range<u64>]) -> bool {
    let writable = elf
        .segments
        .iter()
        .filter(|segment| segment.writable)
        .any(|segment| address.checked_sub(segment.address).is_some_and(|within| within < segment.memory_bytes));
    writable && !taken.iter().any(|range| range.contains(&address))
}

/// The place with most votes, if it has enough, of several functions, and no other comes near. Addresses in `taken` do
/// not vote.
fn vote(
    elf: &Elf,
    structure: &Structure,
    offset: impl Fn(&str) -> Option<u32>,
    touched: &Touched,
    taken: &[Range<u64>],
) -> Option<u64> {
    // For each place: votes, and functions that voted.
    let mut votes: BTreeMap<u64, (usize, usize)> = BTreeMap::new();
    for (function, fields) in structure.witnesses {
        let mut addresses: Vec<u64> = touched.get(function).into_iter().flatten().map(|touch| touch.address).collect();
        addresses.sort_unstable();
        addresses.dedup();
        addresses.retain(|address| free(elf, *address, taken));
        let mut own: BTreeMap<u64, usize> = BTreeMap::new();
        for offset in fields.split(' ').filter_map(&offset) {
            for base in addresses.iter().filter_map(|address| address.checked_sub(offset.into())) {
                *own.entry(base).or_default() += 1;
            }
        }
        for (base, count) in own {
            let (all, functions) = votes.entry(base).or_default();
            *all += count;
            *functions += 1;
        }
    }
    let (best, (most, functions)) = votes.iter().max_by_key(|(_, (votes, _))| *votes)?;
    let next = votes.iter().filter(|(base, _)| *base != best).map(|(_, (votes, _))| *votes).max().unwrap_or(0);
    // Half as many again as any other.
    let clear = *most >= VOTES_MIN && *functions >= FUNCTIONS_MIN && 3 * next <= 2 * most;
    (clear && free(elf, *best, taken)).then_some(*best)
}

/// The one address that each group touches, if enough groups have a function, and that is not `taken`.
fn common(elf: &Elf, word: &Word, touched: &Touched, taken: &[Range<u64>]) -> Option<u64> {
    let mut left: Option<Vec<u64>> = None;
    let mut groups = 0;
    for (place, group) in word.groups.iter().enumerate() {
        let present: Vec<_> = group.iter().filter_map(|function| touched.get(function)).flatten().collect();
        if present.is_empty() {
            continue;
        }
        groups += 1;
        let fits = |touch: &&&Touch| place > 0 || word.bytes.is_none_or(|bytes| touch.bytes == bytes);
        let mine: Vec<u64> = present.iter().filter(fits).map(|touch| touch.address).collect();
        left = Some(match left {
            Some(left) => left.into_iter().filter(|address| mine.contains(address)).collect(),
            None => mine,
        });
    }
    let mut left = left?;
    left.retain(|address| free(elf, *address, taken));
    left.sort_unstable();
    left.dedup();
    match *left {
        [address] if groups >= word.groups_min => Some(address),
        _ => None,
    }
}
