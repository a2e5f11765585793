//! The signals: name, unit and meaning of each. `docs/agent.md` says what to do about them.

use crate::readings::Metric;

pub(super) const GC_CPU: Metric = Metric::gauge(
    "go_signal_gc_cpu_ratio",
    "Part of the processor time available to the program that garbage collection took, idle processors' part included.",
);
pub(super) const GC_COMPULSORY: Metric = Metric::gauge(
    "go_signal_gc_cpu_compulsory_ratio",
    "Part of the processor time available to the program that garbage collection took from it: without what idle processors did.",
);
pub(super) const GC_ASSIST: Metric = Metric::gauge(
    "go_signal_gc_assist_ratio",
    "Processor time that goroutines had to help the collector, by that of the program's own code: a tax on latency.",
);
pub(super) const SCAVENGE_ASSIST: Metric = Metric::gauge(
    "go_signal_scavenge_assist_ratio",
    "Processor time that goroutines had to give memory back to the system, by that of the program's own code: the memory limit is near.",
);
pub(super) const CYCLES: Metric =
    Metric::gauge("go_signal_gc_cycles_per_minute", "Garbage collections completed in a minute.");
pub(super) const FORCED: Metric =
    Metric::gauge("go_signal_gc_forced_ratio", "Part of the garbage collections that the program asked for.");
pub(super) const TURNED_OVER: Metric =
    Metric::gauge("go_signal_gc_turned_over_bytes", "Mean bytes allocated between two garbage collections.");
pub(super) const ALLOCATION: Metric =
    Metric::gauge("go_signal_alloc_bytes_per_second", "Bytes that the program allocates in a second.");
pub(super) const LIVE_GROWTH: Metric = Metric::gauge(
    "go_signal_heap_live_growth_bytes_per_hour",
    "Slope of the heap that collections leave alive, over the last half hour (median of slopes between pairs, by Theil and Sen); 0 where it is not surely other than that.",
);
pub(super) const LIMIT_SECONDS: Metric = Metric::gauge(
    "go_signal_memory_limit_seconds",
    "Time until the live heap reaches the lowest limit on memory at its present growth.",
);
pub(super) const GO_HEADROOM: Metric =
    Metric::gauge("go_signal_memory_limit_headroom_ratio", "Part of GOMEMLIMIT that the runtime's memory leaves free.");
pub(super) const GROUP_HEADROOM: Metric = Metric::gauge(
    "go_signal_cgroup_memory_headroom_ratio",
    "Part of the control group's memory limit that the process leaves free.",
);
pub(super) const LIMIT_UNFIT: Metric = Metric::gauge(
    "go_signal_memory_limit_unfit",
    "1 where the control group limits memory and GOMEMLIMIT is unset or above 95 % of that.",
);
pub(super) const NOT_GO: Metric = Metric::gauge(
    "go_signal_memory_outside_go_bytes",
    "Resident memory that is not the Go runtime's: C and mapped files.",
);
pub(super) const LIMITER: Metric = Metric::gauge(
    "go_signal_gc_limiter_active",
    "1 where the runtime held collection at half of the processors in the last minute: memory will pass its limit.",
);
pub(super) const PAUSE: Metric =
    Metric::gauge("go_signal_gc_pause_seconds", "Quantiles of the last minute's whole pauses for garbage collection.");
pub(super) const STOPPING: Metric = Metric::gauge(
    "go_signal_gc_stopping_seconds",
    "Quantiles of the time it took in the last minute until all goroutines stood still for a pause: long where loops or C do not let go.",
);
pub(super) const LATENCY: Metric = Metric::gauge(
    "go_signal_sched_latency_seconds",
    "Quantiles of the time that goroutines were ready before they ran, of the last minute.",
);
pub(super) const RUNNABLE: Metric =
    Metric::gauge("go_signal_runnable_ratio", "Goroutines ready to run by processors that Go uses.");
pub(super) const THROTTLED: Metric = Metric::gauge(
    "go_signal_cpu_throttled_ratio",
    "Part of the periods of the last minute in which the control group had used up its processor quota.",
);
pub(super) const BY_QUOTA: Metric = Metric::gauge(
    "go_signal_cpu_starved_by_quota",
    "1 where more than two goroutines a processor are ready to run, and the control group's quota is why.",
);
pub(super) const BY_CODE: Metric = Metric::gauge(
    "go_signal_cpu_starved_by_code",
    "1 where more than two goroutines a processor are ready to run, and no quota is why: there is more to do than processors.",
);
pub(super) const OVER_QUOTA: Metric = Metric::gauge(
    "go_signal_gomaxprocs_over_quota_ratio",
    "Processors that Go uses by processors that the control group grants; above 1 it is throttled when all run.",
);
pub(super) const MUTEX: Metric = Metric::gauge(
    "go_signal_mutex_wait_ratio",
    "Seconds that goroutines waited for mutexes in a second of the clock: how many wait at a time, on the mean.",
);
pub(super) const THREADS: Metric = Metric::gauge(
    "go_signal_threads_growth_per_hour",
    "Slope of the number of threads over the last half hour, as of the live heap: system calls or C that block.",
);
pub(super) const FRAGMENTATION: Metric =
    Metric::gauge("go_signal_heap_fragmentation_ratio", "Part of the heap in use by spans that no object takes.");
