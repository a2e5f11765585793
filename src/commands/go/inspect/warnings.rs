//! What of the numbers of a process deserves a sentence: thresholds as in `docs/agent.md`, and what to do. Pure.

use super::facts::{Facts, GOGC_OFF};
use crate::render::number::{count, short};
use crate::render::unit::{BYTES, PLAIN, SECONDS};

/// Part of a limit that, left free, is little.
const HEADROOM_MIN: f64 = 0.1;
/// Part of the control group's limit above which GOMEMLIMIT does not keep the process below it.
const FIT_MAX: f64 = 0.95;
/// Part of the quota's periods in which it may run out.
const THROTTLED_MAX: f64 = 0.05;
/// Part of the processor time that collection may take, and that is much.
const GC_CPU_MAX: f64 = 0.1;
const GC_CPU_MUCH: f64 = 0.25;
/// Collections a minute that a small heap should not need, and what is small.
const CYCLES_MAX: f64 = 60.0;
const SMALL_HEAP_BYTES: f64 = 16.0 * 1024.0 * 1024.0;
/// Cycles since the limiter acted that count as now.
const LIMITER_CYCLES: f64 = 10.0;
/// Goroutines ready to run for each processor.
const RUNNABLE_MAX: f64 = 2.0;
/// Latency of the scheduler and pause that requests notice.
const LATENCY_MAX_SECONDS: f64 = 0.01;
const PAUSE_MAX_SECONDS: f64 = 0.05;
/// Fewest observations that a 99th percentile is believed of.
const OBSERVATIONS_MIN: f64 = 100.0;
/// Goroutines blocked for an hour at one site that are worth a look, and the part of the site they are.
const BLOCKED_MIN: u64 = 100;
/// Part of the open files that may be open.
const FILES_MAX: f64 = 0.9;
/// Part of the collections that the program may ask for.
const FORCED_MAX: f64 = 0.5;
/// Fewest collections that a part of them is told of.
const CYCLES_MIN: f64 = 10.0;

/// The sentences, the gravest first.
pub(super) fn warnings(facts: &Facts) -> Vec<String> {
    let mut told = Vec::new();
    memory(facts, &mut told);
    processors(facts, &mut told);
    goroutines(facts, &mut told);
    collection(facts, &mut told);
    told
}

fn memory(facts: &Facts, told: &mut Vec<String>) {
    let (memory, gc) = (&facts.memory, &facts.gc);
    if gc.limiter_cycles_ago.is_some_and(|cycles| cycles <= LIMITER_CYCLES) {
        told.push(
            "The runtime holds collection at half of the processors: memory will pass GOMEMLIMIT. Raise the limit or keep less alive.".to_owned(),
        );
    }
    if let (Some(limit), Some(free)) =
        (memory.limit_bytes, memory.limit_headroom_ratio.filter(|free| *free < HEADROOM_MIN))
    {
        told.push(format!(
            "The runtime's memory takes {} of GOMEMLIMIT ({}): the collector runs ever more often.",
            percent(1.0 - free),
            short(limit, BYTES)
        ));
    }
    if let (Some(most), Some(resident)) = (facts.group.memory_max_bytes, facts.process.resident_bytes) {
        if resident > most * (1.0 - HEADROOM_MIN) {
            told.push(format!(
                "Resident memory takes {} of the control group's limit ({}): beyond it the kernel kills the process.",
                percent(resident / most),
                short(most, BYTES)
            ));
        }
        if memory.heap_live_bytes.is_some() && memory.limit_bytes.is_none_or(|limit| limit > most * FIT_MAX) {
            let set = memory
                .limit_bytes
                .map_or("GOMEMLIMIT is not set".to_owned(), |limit| format!("GOMEMLIMIT is {}", short(limit, BYTES)));
            told.push(format!(
                "The control group limits memory to {}, and {set}: the collector does not know of the limit. Set it to 90 % of it.",
                short(most, BYTES)
            ));
        }
    }
    let files = facts.process.open_files.zip(facts.process.open_files_max);
    if let Some((open, most)) = files.filter(|(open, most)| *open > most * FILES_MAX) {
        told.push(format!("{} of {} files are open.", short(open, PLAIN), short(most, PLAIN)));
    }
}

fn processors(facts: &Facts, told: &mut Vec<String>) {
    let (scheduler, group) = (&facts.scheduler, &facts.group);
    if let Some(part) = group.throttled_ratio.filter(|part| *part > THROTTLED_MAX) {
        told.push(format!(
            "Throttled by its quota in {} of the periods: raise the quota of {} processors, or do less at once.",
            percent(part),
            group.cpu_quota.map_or("…".to_owned(), |quota| short(quota, PLAIN))
        ));
    }
    let over = scheduler.gomaxprocs.zip(group.cpu_quota).filter(|(procs, quota)| *procs > quota.ceil());
    if let Some((procs, quota)) = over {
        told.push(format!(
            "GOMAXPROCS is {}, the quota {} processors: when all run, all are throttled. Set GOMAXPROCS, or build with Go 1.25, which looks itself.",
            short(procs, PLAIN),
            short(quota, PLAIN)
        ));
    }
    let ready =
        facts.goroutines.runnable.zip(scheduler.gomaxprocs).filter(|(ready, procs)| *ready > RUNNABLE_MAX * procs);
    if let Some((ready, procs)) = ready {
        told.push(format!(
            "{} goroutines are ready to run on {} processors.",
            short(ready, PLAIN),
            short(procs, PLAIN)
        ));
    }
    let slow = scheduler.latency_p99_seconds.filter(|p99| *p99 > LATENCY_MAX_SECONDS);
    if let Some(p99) = slow.filter(|_| scheduler.latency_observations >= Some(OBSERVATIONS_MIN)) {
        told.push(format!("One goroutine in a hundred waits {} for a processor.", short(p99, SECONDS)));
    }
}

fn goroutines(facts: &Facts, told: &mut Vec<String>) {
    let all = &facts.goroutines;
    if all.leaked > 0 {
        told.push(format!(
            "The runtime found {} goroutines leaked: nothing can wake them any more.",
            short(count(all.leaked), PLAIN)
        ));
    }
    for site in &all.sites {
        if site.blocked_an_hour >= BLOCKED_MIN && site.leaked == 0 {
            told.push(format!(
                "{} goroutines of {} have been blocked in {:?} for an hour or more: they leak unless they wait on purpose. `metrickit go leaks` tells whether they become more.",
                short(count(site.blocked_an_hour), PLAIN),
                site.function,
                site.wait,
            ));
        }
    }
}

fn collection(facts: &Facts, told: &mut Vec<String>) {
    let (gc, memory) = (&facts.gc, &facts.memory);
    if let Some(part) = gc.cpu_compulsory_ratio.filter(|part| *part > GC_CPU_MAX) {
        let how = if part > GC_CPU_MUCH { "suffers from" } else { "pays for" };
        told.push(format!(
            "Collection took {} of the processor time since the start: the program {how} its garbage. Allocate less, or raise GOGC.",
            percent(part)
        ));
    }
    let often = gc.cycles_now.filter(|cycles| facts.seconds > 0.0 && cycles * 60.0 / facts.seconds > CYCLES_MAX);
    if let (Some(cycles), Some(live)) = (often, memory.heap_live_bytes.filter(|live| *live < SMALL_HEAP_BYTES)) {
        told.push(format!(
            "{} collections a minute of a live heap of {}: GOGC is too low for so small a heap.",
            short(cycles * 60.0 / facts.seconds, PLAIN),
            short(live, BYTES)
        ));
    }
    if gc.gogc_percent == Some(GOGC_OFF) && memory.limit_bytes.is_none() {
        told.push("GOGC is off and GOMEMLIMIT is not set: memory is never collected.".to_owned());
    }
    if let Some(pause) = gc.pause_max_seconds.filter(|pause| *pause > PAUSE_MAX_SECONDS) {
        told.push(format!("One of the last pauses for collection took {}.", short(pause, SECONDS)));
    }
    let forced = gc.cycles_forced.zip(gc.cycles.filter(|cycles| *cycles >= CYCLES_MIN));
    if let Some((forced, cycles)) = forced.filter(|(forced, cycles)| *forced > cycles * FORCED_MAX) {
        told.push(format!(
            "{} of {} collections were asked for by the program: runtime.GC, debug.FreeOSMemory or a profile.",
            short(forced, PLAIN),
            short(cycles, PLAIN)
        ));
    }
}

/// `95 %`.
pub(super) fn percent(part: f64) -> String {
    format!("{} %", short((part * 1000.0).round() / 10.0, PLAIN))
}

#[cfg(test)]
mod tests {
    use super::super::facts::{Gc, Goroutines, Group, Memory, Process, Scheduler, Site};
    use super::*;

    #[track_caller]
    fn check(facts: &Facts, wanted: &[&str]) {
        let told = warnings(facts);
        assert_eq!(told.len(), wanted.len(), "{told:#?}");
        for (told, wanted) in told.iter().zip(wanted) {
            assert!(told.contains(wanted), "{wanted} in {told}");
        }
    }

    #[test]
    fn a_process_that_is_well_is_not_warned_of() {
        check(&Facts::default(), &[]);
        let memory = Memory {
            limit_bytes: Some(1e9),
            limit_headroom_ratio: Some(0.5),
            heap_live_bytes: Some(1e8),
            ..Memory::default()
        };
        let group = Group { memory_max_bytes: Some(1.2e9), cpu_quota: Some(1.5), throttled_ratio: Some(0.01) };
        let scheduler = Scheduler {
            gomaxprocs: Some(2.0),
            latency_p99_seconds: Some(1.0),
            latency_observations: Some(5.0),
            ..Scheduler::default()
        };
        let gc = Gc {
            gogc_percent: Some(GOGC_OFF),
            limiter_cycles_ago: Some(11.0),
            cycles: Some(5.0),
            cycles_forced: Some(5.0),
            ..Gc::default()
        };
        check(&Facts { gc, memory, scheduler, group, ..Facts::default() }, &[]);
    }

    #[test]
    fn limits_on_memory() {
        let memory = Memory {
            limit_bytes: Some(1e9),
            limit_headroom_ratio: Some(0.05),
            heap_live_bytes: Some(1e8),
            ..Memory::default()
        };
        let gc = Gc { limiter_cycles_ago: Some(0.0), ..Gc::default() };
        let group = Group { memory_max_bytes: Some(1e9), ..Group::default() };
        let process = Process {
            resident_bytes: Some(0.95e9),
            open_files: Some(95.0),
            open_files_max: Some(100.0),
            ..Process::default()
        };
        let wanted = [
            "half of the processors",
            "takes 95 % of GOMEMLIMIT",
            "95 % of the control group's",
            "GOMEMLIMIT is 953.7MiB",
            "95 of 100 files",
        ];
        check(&Facts { process, gc, memory, group, ..Facts::default() }, &wanted);
        let memory = Memory { heap_live_bytes: Some(1.0), ..Memory::default() };
        let process = Process { resident_bytes: Some(1.0), ..Process::default() };
        check(
            &Facts {
                memory,
                process,
                group: Group { memory_max_bytes: Some(1e9), ..Group::default() },
                ..Facts::default()
            },
            &["GOMEMLIMIT is not set"],
        );
        check(
            &Facts { gc: Gc { gogc_percent: Some(GOGC_OFF), ..Gc::default() }, ..Facts::default() },
            &["GOGC is off"],
        );
    }

    #[test]
    fn processors_goroutines_and_collection() {
        let scheduler = Scheduler {
            gomaxprocs: Some(4.0),
            latency_p99_seconds: Some(0.02),
            latency_observations: Some(500.0),
            ..Scheduler::default()
        };
        let group = Group { cpu_quota: Some(1.5), throttled_ratio: Some(0.25), ..Group::default() };
        let site =
            Site { function: "main.work".into(), wait: "chan send".into(), blocked_an_hour: 200, ..Site::default() };
        let goroutines = Goroutines { runnable: Some(9.0), leaked: 3, sites: vec![site], ..Goroutines::default() };
        let gc = Gc {
            cpu_compulsory_ratio: Some(0.3),
            cycles_now: Some(4.0),
            pause_max_seconds: Some(0.1),
            cycles: Some(20.0),
            cycles_forced: Some(15.0),
            ..Gc::default()
        };
        let memory = Memory { heap_live_bytes: Some(1e6), ..Memory::default() };
        let wanted = [
            "Throttled by its quota in 25 % of the periods: raise the quota of 1.5",
            "GOMAXPROCS is 4, the quota 1.5",
            "9 goroutines are ready",
            "waits 20ms for a processor",
            "found 3 goroutines leaked",
            "200 goroutines of main.work have been blocked in \"chan send\"",
            "Collection took 30 %",
            "120 collections a minute of a live heap of 976.6KiB",
            "took 100ms",
            "15 of 20 collections",
        ];
        check(&Facts { seconds: 2.0, scheduler, group, goroutines, gc, memory, ..Facts::default() }, &wanted);
    }
}
