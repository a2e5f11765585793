//! The numbers of a process that signals are made of, by the names that every way of reading gives them.

/// A series that signals need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Number {
    /// A counter.
    Counter(Counter),
    /// A gauge.
    Gauge(Gauge),
    /// A histogram.
    Histogram(Times),
}

macro_rules! names {
    ($(#[$doc:meta])* $kind:ident { $($variant:ident = $name:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum $kind { $($variant,)* }

        impl $kind {
            /// How many there are.
            pub(super) const COUNT: usize = [$($name,)*].len();

            fn named(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }
    };
}

names! {
    /// What only grows.
    Counter {
        GcCpu = "go_cpu_classes_gc_total_cpu_seconds_total",
        GcIdleCpu = "go_cpu_classes_gc_mark_idle_cpu_seconds_total",
        GcAssistCpu = "go_cpu_classes_gc_mark_assist_cpu_seconds_total",
        UserCpu = "go_cpu_classes_user_cpu_seconds_total",
        AllCpu = "go_cpu_classes_total_cpu_seconds_total",
        ScavengeAssistCpu = "go_cpu_classes_scavenge_assist_cpu_seconds_total",
        Cycles = "go_gc_cycles_total_gc_cycles_total",
        ForcedCycles = "go_gc_cycles_forced_gc_cycles_total",
        Allocated = "go_gc_heap_allocs_bytes_total",
        MutexWait = "go_sync_mutex_wait_total_seconds_total",
        // The runtime calls it a gauge, but a process counts its cycles up: what falls is of another process.
        LimiterCycle = "go_gc_limiter_last_enabled_gc_cycle",
    }
}

names! {
    /// What goes up and down.
    Gauge {
        HeapLive = "go_gc_heap_live_bytes",
        MemoryLimit = "go_gc_gomemlimit_bytes",
        MemoryTotal = "go_memory_classes_total_bytes",
        MemoryReleased = "go_memory_classes_heap_released_bytes",
        HeapObjects = "go_memory_classes_heap_objects_bytes",
        HeapUnused = "go_memory_classes_heap_unused_bytes",
        Processors = "go_sched_gomaxprocs_threads",
        Runnable = "go_sched_goroutines_runnable_goroutines",
        Threads = "go_sched_threads_total_threads",
        ThreadsOfHost = "process_threads",
        Resident = "process_resident_memory_bytes",
    }
}

names! {
    /// Distributions of times.
    Times {
        Pauses = "go_sched_pauses_total_gc_seconds",
        Stopping = "go_sched_pauses_stopping_gc_seconds",
        Latencies = "go_sched_latencies_seconds",
    }
}

impl Number {
    /// What the series called `name` is to signals.
    pub(super) fn named(name: &str) -> Option<Self> {
        // Most series of a host are neither.
        if !name.starts_with("go_") && !name.starts_with("process_") {
            return None;
        }
        let counter = Counter::named(name).map(Self::Counter);
        counter.or_else(|| Gauge::named(name).map(Self::Gauge)).or_else(|| Times::named(name).map(Self::Histogram))
    }
}
