//! The signals of one process, from the numbers heard of it.

use std::collections::VecDeque;

use model::{FullSample, SampleValue};

use super::group::{Group, NO_LIMIT_BYTES};
use super::numbers::{Counter, Gauge, Number, Times};
use super::quantile::Counts;
use super::table::{
    ALLOCATION, BY_CODE, BY_QUOTA, CYCLES, FORCED, FRAGMENTATION, GC_ASSIST, GC_COMPULSORY, GC_CPU, GO_HEADROOM,
    GROUP_HEADROOM, LATENCY, LIMIT_SECONDS, LIMIT_UNFIT, LIMITER, LIVE_GROWTH, MUTEX, NOT_GO, OVER_QUOTA, PAUSE,
    RUNNABLE, SCAVENGE_ASSIST, STOPPING, THREADS, THROTTLED, TURNED_OVER,
};
use super::track::{Track, seconds};
use crate::go::leaks::trend;
use crate::readings::{Metric, Values};

/// Quantiles that are told, and the label of each.
const QUANTILES: [f64; 3] = [0.5, 0.99, 0.999];
const QUANTILE_LABELS: [&str; 3] = ["0.5", "0.99", "0.999"];
/// Part of a control group's limit above which GOMEMLIMIT does not keep the process below it.
const UNFIT_RATIO: f64 = 0.95;
/// Goroutines ready to run for each processor, above which processor time is short.
const STARVED_RATIO: f64 = 2.0;
/// Part of the periods that were throttled, above which the quota is why.
const THROTTLED_RATIO: f64 = 0.05;
/// How far back slopes look, and how far apart their points are, in milliseconds.
const TREND_MS: i64 = 1_800_000;
const TREND_STEP_MS: i64 = 60_000;
/// Fewest points that a slope is told of.
const TREND_POINTS_MIN: usize = 6;

/// Where a signal goes: which, the label `quantile` or the empty text, and the value.
pub(super) type Sink<'s> = dyn FnMut(&Metric, &str, f64) + 's;

/// What was heard of a process.
#[derive(Debug, Default)]
pub(super) struct Process {
    counters: [Track<f64>; Counter::COUNT],
    gauges: [Track<f64>; Gauge::COUNT],
    times: [Distribution; Times::COUNT],
    live: Trend,
    threads: Trend,
    heard_ms: i64,
}

/// The last readings of a histogram, and the bounds they share.
#[derive(Debug, Default)]
struct Distribution {
    bounds: Vec<f64>,
    counts: Track<Counts>,
}

/// Points of a slow change, at most one a minute.
#[derive(Debug, Default)]
struct Trend {
    points: VecDeque<(i64, f64)>,
}

impl Process {
    /// When something was last heard, in milliseconds since the Unix epoch.
    pub(super) fn heard_ms(&self) -> i64 {
        self.heard_ms
    }

    /// Takes the last of `values`; stale markers say nothing.
    pub(super) fn take(&mut self, number: Number, values: Values<'_>) {
        match number {
            Number::Histogram(which) => {
                let Some(FullSample { timestamp_ms, value: SampleValue::Histogram(histogram), .. }) =
                    values.full.last()
                else {
                    return;
                };
                let Some(counts) = Counts::of(histogram) else { return };
                let of = &mut self.times[which as usize];
                if of.bounds != histogram.custom_bounds {
                    *of = Distribution { bounds: histogram.custom_bounds.clone(), counts: Track::default() };
                }
                of.counts.push(*timestamp_ms, counts, Counts::may_precede);
                self.heard_ms = *timestamp_ms;
            }
            Number::Counter(which) => {
                let Some((at_ms, value)) = last_float(values) else { return };
                if self.counters[which as usize].push_counter(at_ms, value) {
                    // Another process has the place: what the one before did slowly is no trend of this one.
                    (self.live, self.threads) = (Trend::default(), Trend::default());
                }
                self.heard_ms = at_ms;
            }
            Number::Gauge(which) => {
                let Some((at_ms, value)) = last_float(values) else { return };
                self.gauges[which as usize].push_gauge(at_ms, value);
                match which {
                    Gauge::HeapLive => self.live.push(at_ms, value),
                    Gauge::ThreadsOfHost => self.threads.push(at_ms, value),
                    _ => {}
                }
                self.heard_ms = at_ms;
            }
        }
    }

    /// Tells `sink` every signal that can be made at `now_ms`.
    pub(super) fn derive(&mut self, now_ms: i64, group: Option<&Group>, sink: &mut Sink<'_>) {
        self.collection(now_ms, sink);
        self.memory(now_ms, group, sink);
        self.scheduling(now_ms, group, sink);
        for (which, metric) in [(Times::Pauses, PAUSE), (Times::Stopping, STOPPING), (Times::Latencies, LATENCY)] {
            let of = &self.times[which as usize];
            let Some((first, last, _)) = of.counts.span(now_ms) else { continue };
            let Some(found) = first.quantiles_gained(last, &of.bounds, QUANTILES) else { continue };
            // A quantile of fewer observations than it divides is one of them, and says less than its name.
            let gained = first.gained_by(last);
            for ((value, label), quantile) in found.into_iter().zip(QUANTILE_LABELS).zip(QUANTILES) {
                if gained * (1.0 - quantile) >= 1.0 || quantile <= 0.5 {
                    sink(&metric, label, value);
                }
            }
        }
    }

    fn collection(&self, now_ms: i64, sink: &mut Sink<'_>) {
        let change = |which: Counter| self.counters[which as usize].change(now_ms).map(|(change, _)| change);
        let ratio = |part: Option<f64>, whole: Option<f64>| Some(part? / whole.filter(|whole| *whole > 0.0)?);
        // Where the runtime's total is not known: what its processors had.
        let available = change(Counter::AllCpu).or_else(|| {
            let (_, seconds) = self.counters[Counter::GcCpu as usize].change(now_ms)?;
            Some(self.gauge(Gauge::Processors, now_ms)? * seconds)
        });
        let collected = change(Counter::GcCpu);
        let compulsory = collected.zip(change(Counter::GcIdleCpu)).map(|(all, idle)| (all - idle).max(0.0));
        let cycles = self.counters[Counter::Cycles as usize].change(now_ms);
        let cycles_done = cycles.map(|(done, _)| done);
        let told = [
            (GC_CPU, ratio(collected, available)),
            (GC_COMPULSORY, ratio(compulsory, available)),
            (GC_ASSIST, ratio(change(Counter::GcAssistCpu), change(Counter::UserCpu))),
            (SCAVENGE_ASSIST, ratio(change(Counter::ScavengeAssistCpu), change(Counter::UserCpu))),
            (CYCLES, cycles.map(|(done, seconds)| done * 60.0 / seconds)),
            (FORCED, ratio(change(Counter::ForcedCycles), cycles_done)),
            (TURNED_OVER, ratio(change(Counter::Allocated), cycles_done)),
            (ALLOCATION, self.counters[Counter::Allocated as usize].per_second(now_ms)),
        ];
        tell(&told, sink);
    }

    fn memory(&self, now_ms: i64, group: Option<&Group>, sink: &mut Sink<'_>) {
        let gauge = |which| self.gauge(which, now_ms);
        let go_limit = gauge(Gauge::MemoryLimit);
        let set_limit = go_limit.filter(|limit| *limit < NO_LIMIT_BYTES && *limit > 0.0);
        let group_limit = group.and_then(|group| group.memory_max_bytes);
        let used =
            gauge(Gauge::MemoryTotal).zip(gauge(Gauge::MemoryReleased)).map(|(total, released)| total - released);
        let resident = gauge(Gauge::Resident);
        let free = |used: Option<f64>, limit: Option<f64>| Some((limit? - used?) / limit?);
        let growth = self.live.slope_per_hour(now_ms);
        let lowest = set_limit.into_iter().chain(group_limit).reduce(f64::min);
        let left = lowest.zip(used.or(resident)).map(|(limit, used)| (limit - used).max(0.0));
        let until = growth.filter(|slope| *slope > 0.0).zip(left).map(|(slope, left)| left / slope * 3600.0);
        let unfit = go_limit.zip(group_limit).map(|(_, most)| set_limit.is_none_or(|limit| limit > most * UNFIT_RATIO));
        let fragmented = gauge(Gauge::HeapUnused).zip(gauge(Gauge::HeapObjects));
        let told = [
            (LIVE_GROWTH, growth),
            (LIMIT_SECONDS, until),
            (GO_HEADROOM, free(used, set_limit)),
            (GROUP_HEADROOM, free(resident, group_limit)),
            (LIMIT_UNFIT, unfit.map(truth)),
            (NOT_GO, resident.zip(used).map(|(resident, used)| (resident - used).max(0.0))),
            (LIMITER, self.limiter_acted(now_ms).map(truth)),
            (
                FRAGMENTATION,
                fragmented
                    .filter(|(unused, objects)| unused + objects > 0.0)
                    .map(|(unused, objects)| unused / (unused + objects)),
            ),
        ];
        tell(&told, sink);
    }

    fn scheduling(&self, now_ms: i64, group: Option<&Group>, sink: &mut Sink<'_>) {
        let processors = self.gauge(Gauge::Processors, now_ms).filter(|processors| *processors > 0.0);
        let runnable =
            self.gauge(Gauge::Runnable, now_ms).zip(processors).map(|(ready, processors)| ready / processors);
        let throttled = group.and_then(|group| group.throttled_ratio(now_ms));
        let starved = runnable.map(|ratio| ratio > STARVED_RATIO);
        let by_quota = throttled.is_some_and(|ratio| ratio > THROTTLED_RATIO);
        let granted = group.and_then(|group| group.quota_processors);
        let told = [
            (RUNNABLE, runnable),
            (THROTTLED, throttled),
            (BY_QUOTA, starved.map(|starved| truth(starved && by_quota))),
            (BY_CODE, starved.map(|starved| truth(starved && !by_quota))),
            (OVER_QUOTA, processors.zip(granted).map(|(processors, granted)| processors / granted)),
            (MUTEX, self.counters[Counter::MutexWait as usize].per_second(now_ms)),
            (THREADS, self.threads.slope_per_hour(now_ms)),
        ];
        tell(&told, sink);
    }

    fn gauge(&self, which: Gauge, now_ms: i64) -> Option<f64> {
        self.gauges[which as usize].last(now_ms).copied()
    }

    /// Whether the number of the cycle at which the limiter last acted has grown.
    fn limiter_acted(&self, now_ms: i64) -> Option<bool> {
        self.counters[Counter::LimiterCycle as usize].change(now_ms).map(|(change, _)| change > 0.0)
    }
}

impl Trend {
    fn push(&mut self, at_ms: i64, value: f64) {
        if self.points.back().is_some_and(|(last_ms, _)| at_ms < *last_ms) {
            self.points.clear();
        }
        if self.points.back().is_some_and(|(last_ms, _)| at_ms - last_ms < TREND_STEP_MS) {
            return;
        }
        self.points.push_back((at_ms, value));
        while self.points.front().is_some_and(|(first_ms, _)| at_ms - first_ms > TREND_MS) {
            self.points.pop_front();
        }
    }

    /// The slope, 0 where it may well be that; none with too few points, or when the last is old.
    fn slope_per_hour(&self, now_ms: i64) -> Option<f64> {
        let (first_ms, _) = self.points.front()?;
        let (last_ms, _) = self.points.back()?;
        if self.points.len() < TREND_POINTS_MIN || now_ms.saturating_sub(*last_ms) > 2 * TREND_STEP_MS {
            return None;
        }
        let points: Vec<(f64, f64)> =
            self.points.iter().map(|(at_ms, value)| (seconds(at_ms - first_ms) / 3600.0, *value)).collect();
        let slope = trend::slope(&points)?;
        let is_sure = slope.low > 0.0 || slope.high < 0.0;
        Some(if is_sure { slope.median } else { 0.0 })
    }
}

fn last_float(values: Values<'_>) -> Option<(i64, f64)> {
    let value = values.value().filter(|value| value.is_finite())?;
    let plain = values.floats.last().map(|sample| sample.timestamp.0);
    let at_ms = plain.into_iter().chain(values.full.last().map(|sample| sample.timestamp_ms)).max()?;
    Some((at_ms, value))
}

fn truth(is: bool) -> f64 {
    if is { 1.0 } else { 0.0 }
}

fn tell(told: &[(Metric, Option<f64>)], sink: &mut Sink<'_>) {
    for (metric, value) in told {
        if let Some(value) = value {
            sink(metric, "", *value);
        }
    }
}

#[cfg(test)]
mod tests {
    use model::histogram::{Bucket, CUSTOM_SCHEMA};
    use model::{Histogram, sample};

    use super::*;
    use crate::go::signals::track::WINDOW_MS;
    use crate::readings::Readings;

    /// Two minutes of a process, a round every 10 s: each of `numbers` starts at its first value and changes by its second in a round.
    fn told(numbers: &[(&'static str, f64, f64)], group: Option<&Group>) -> Vec<(String, f64)> {
        let mut process = Process::default();
        for round in 0..13_i32 {
            for (name, start, step) in numbers {
                take(&mut process, name, i64::from(round) * 10_000, start + step * f64::from(round));
            }
        }
        derived(&mut process, 120_000, group)
    }

    fn take(process: &mut Process, name: &str, at_ms: i64, value: f64) {
        let mut readings = Readings::new(at_ms);
        readings.push_named(name, &[], value);
        let number = Number::named(name).unwrap_or_else(|| panic!("{name} is no number of signals"));
        for (_, values) in readings.iter() {
            process.take(number, values);
        }
    }

    fn derived(process: &mut Process, now_ms: i64, group: Option<&Group>) -> Vec<(String, f64)> {
        let mut all = Vec::new();
        process.derive(now_ms, group, &mut |metric, quantile, value| {
            let name = metric.name.strip_prefix("go_signal_").expect("the prefix");
            all.push((format!("{name}{quantile}"), (value * 1e6).round() / 1e6));
        });
        all
    }

    fn of(all: &[(String, f64)], name: &str) -> Option<f64> {
        all.iter().find(|(own, _)| own == name).map(|(_, value)| *value)
    }

    #[test]
    fn trends_do_not_span_a_restart() {
        let mut process = Process::default();
        let mut minutes = |minutes: std::ops::Range<i32>, first_bytes: f64| {
            for minute in minutes.clone() {
                let (at_ms, done) = (i64::from(minute) * 60_000, f64::from(minute - minutes.start));
                take(&mut process, "go_gc_cycles_total_gc_cycles_total", at_ms, done);
                take(&mut process, "go_gc_heap_live_bytes", at_ms, first_bytes);
            }
            of(&derived(&mut process, i64::from(minutes.end - 1) * 60_000, None), "heap_live_growth_bytes_per_hour")
        };
        assert_eq!(minutes(0..10, 1e6), Some(0.0));
        assert_eq!(minutes(10..13, 9e6), None, "too little is known of the new process");
        assert_eq!(minutes(13..17, 5e6), None, "it too was begun anew");
        assert_eq!(minutes(17..30, 9e6), Some(0.0));
    }

    #[test]
    fn processor_time_of_collection() {
        let all = told(
            &[
                ("go_cpu_classes_gc_total_cpu_seconds_total", 100.0, 4.0),
                ("go_cpu_classes_gc_mark_idle_cpu_seconds_total", 1.0, 1.0),
                ("go_cpu_classes_gc_mark_assist_cpu_seconds_total", 0.0, 0.5),
                ("go_cpu_classes_user_cpu_seconds_total", 7.0, 10.0),
                ("go_cpu_classes_total_cpu_seconds_total", 500.0, 20.0),
                ("go_gc_cycles_total_gc_cycles_total", 3.0, 2.0),
                ("go_gc_heap_allocs_bytes_total", 0.0, 1e6),
                ("go_gc_limiter_last_enabled_gc_cycle", 0.0, 0.0),
            ],
            None,
        );
        for (name, want) in [
            ("gc_cpu_ratio", 0.2),
            ("gc_cpu_compulsory_ratio", 0.15),
            ("gc_assist_ratio", 0.05),
            ("gc_cycles_per_minute", 12.0),
            ("gc_turned_over_bytes", 5e5),
            ("alloc_bytes_per_second", 1e5),
            ("gc_limiter_active", 0.0),
        ] {
            assert_eq!(of(&all, name), Some(want), "{name}: {all:?}");
        }
        assert_eq!(of(&all, "gc_forced_ratio"), None, "nothing is told of what nothing tells");
    }

    #[test]
    fn a_restart_is_no_deed_of_the_limiter() {
        let limiter = |cycles: &[f64]| {
            let mut process = Process::default();
            let rounds = (0_i64..).step_by(10_000).zip(cycles);
            let now_ms = rounds.map(|(at_ms, cycle)| {
                take(&mut process, "go_gc_limiter_last_enabled_gc_cycle", at_ms, *cycle);
                at_ms
            });
            let now_ms = now_ms.last().expect("rounds");
            of(&derived(&mut process, now_ms, None), "gc_limiter_active")
        };
        assert_eq!(limiter(&[812.0, 812.0, 0.0, 0.0]), Some(0.0), "another process");
        assert_eq!(limiter(&[812.0, 812.0, 0.0, 0.0, 3.0]), Some(1.0), "which has a limiter too");
        assert_eq!(limiter(&[812.0, 813.0]), Some(1.0));
    }

    #[test]
    fn without_a_total_processors_stand_for_it() {
        let all = told(
            &[("go_cpu_classes_gc_total_cpu_seconds_total", 0.0, 2.0), ("go_sched_gomaxprocs_threads", 4.0, 0.0)],
            None,
        );
        assert_eq!(of(&all, "gc_cpu_ratio"), Some(0.05));
    }

    #[test]
    fn memory_against_its_limits() {
        let numbers = [
            ("go_memory_classes_total_bytes", 900.0, 0.0),
            ("go_memory_classes_heap_released_bytes", 100.0, 0.0),
            ("go_gc_gomemlimit_bytes", 1000.0, 0.0),
            ("process_resident_memory_bytes", 850.0, 0.0),
            ("go_memory_classes_heap_unused_bytes", 25.0, 0.0),
            ("go_memory_classes_heap_objects_bytes", 75.0, 0.0),
        ];
        let group = Group::with_memory(1000.0);
        let all = told(&numbers, Some(&group));
        for (name, want) in [
            ("memory_limit_headroom_ratio", 0.2),
            ("cgroup_memory_headroom_ratio", 0.15),
            ("memory_limit_unfit", 1.0),
            ("memory_outside_go_bytes", 50.0),
            ("heap_fragmentation_ratio", 0.25),
        ] {
            assert_eq!(of(&all, name), Some(want), "{name}: {all:?}");
        }
        let mut unset = numbers;
        unset[2].1 = 9_223_372_036_854_775_807.0;
        let all = told(&unset, Some(&group));
        assert_eq!(of(&all, "memory_limit_headroom_ratio"), None);
        assert_eq!(of(&all, "memory_limit_unfit"), Some(1.0));
        assert_eq!(of(&told(&unset, None), "memory_limit_unfit"), None, "no group, no judgement");
        unset[2].1 = 900.0;
        assert_eq!(of(&told(&unset, Some(&group)), "memory_limit_unfit"), Some(0.0));
    }

    #[test]
    fn a_growing_heap_tells_when_it_meets_its_limit() {
        let mut process = Process::default();
        for minute in 0..30_i32 {
            let at_ms = i64::from(minute) * 60_000;
            take(&mut process, "go_gc_heap_live_bytes", at_ms, 1e6 + 1e4 * f64::from(minute));
            take(&mut process, "go_gc_gomemlimit_bytes", at_ms, 2e6);
            take(&mut process, "go_memory_classes_total_bytes", at_ms, 1.4e6);
            take(&mut process, "go_memory_classes_heap_released_bytes", at_ms, 0.0);
        }
        let all = derived(&mut process, 29 * 60_000, None);
        assert_eq!(of(&all, "heap_live_growth_bytes_per_hour"), Some(6e5));
        assert_eq!(of(&all, "memory_limit_seconds"), Some(3600.0));
        let mut random = fastrand::Rng::with_seed(5);
        let mut noisy = Process::default();
        for minute in 0..30_i32 {
            take(&mut noisy, "go_gc_heap_live_bytes", i64::from(minute) * 60_000, f64::from(random.u32(900..1100)));
        }
        assert_eq!(of(&derived(&mut noisy, 29 * 60_000, None), "heap_live_growth_bytes_per_hour"), Some(0.0));
    }

    #[test]
    fn short_of_processors_by_quota_or_by_code() {
        let numbers =
            [("go_sched_goroutines_runnable_goroutines", 9.0, 0.0), ("go_sched_gomaxprocs_threads", 4.0, 0.0)];
        let all = told(&numbers, None);
        assert_eq!((of(&all, "cpu_starved_by_quota"), of(&all, "cpu_starved_by_code")), (Some(0.0), Some(1.0)));
        let group = Group::with_quota(2.0, &[(0, 0.0, 0.0), (120_000, 1200.0, 600.0)]);
        let all = told(&numbers, Some(&group));
        assert_eq!((of(&all, "cpu_starved_by_quota"), of(&all, "cpu_starved_by_code")), (Some(1.0), Some(0.0)));
        assert_eq!((of(&all, "cpu_throttled_ratio"), of(&all, "gomaxprocs_over_quota_ratio")), (Some(0.5), Some(2.0)));
    }

    #[test]
    fn quantiles_are_of_the_last_window_and_of_enough() {
        let mut process = Process::default();
        let mut at = |at_ms: i64, counts: [f64; 2]| {
            let positive = vec![Bucket { index: 1, count: counts[0] }, Bucket { index: 2, count: counts[1] }];
            let histogram = Histogram {
                schema: CUSTOM_SCHEMA,
                count: counts.iter().sum(),
                positive,
                custom_bounds: vec![0.0, 0.001, 0.002],
                ..Histogram::default()
            };
            let sample =
                FullSample { timestamp_ms: at_ms, value: SampleValue::Histogram(histogram.into()), start_ms: 0 };
            let number = Number::named("go_sched_latencies_seconds").expect("known");
            process.take(number, Values { full: &[sample], ..Values::default() });
            derived(&mut process, at_ms, None)
        };
        assert_eq!(at(0, [1000.0, 0.0]), []);
        let all = at(30_000, [1100.0, 100.0]);
        assert_eq!(of(&all, "sched_latency_seconds0.5"), Some(0.001));
        assert_eq!(of(&all, "sched_latency_seconds0.99"), Some(0.00198));
        assert_eq!(of(&all, "sched_latency_seconds0.999"), None, "200 have no thousandth");
        assert_eq!(at(40_000, [5.0, 0.0]), [], "the program began anew");
    }

    #[test]
    fn what_is_old_or_ended_is_not_told() {
        let mut process = Process::default();
        for at_ms in [0, 10_000] {
            take(&mut process, "go_gc_cycles_total_gc_cycles_total", at_ms, 5.0);
        }
        take(&mut process, "go_gc_cycles_total_gc_cycles_total", 20_000, sample::stale_marker());
        assert_eq!(process.heard_ms(), 10_000);
        assert_eq!(derived(&mut process, 20_000, None).len(), 1);
        assert_eq!(derived(&mut process, 10_001 + WINDOW_MS, None), []);
    }
}
