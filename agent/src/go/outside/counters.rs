//! Numbers of the runtime as series: each composed of the runtime's variables exactly as package `runtime/metrics` or
//! `runtime.ReadMemStats` composes it, under the name that the client in Go programs gives it. What a release does not
//! have, or what was not found in memory, is left out.

use model::histogram::{Bucket, CUSTOM_SCHEMA, Histogram};

use super::binary::{Field, Layout};
use super::heap::{self, Heap};
use super::snapshot::Snapshot;
use super::time_histogram::Bounds;
use crate::collect::float;
use crate::readings::Metric;

/// A copy of the runtime's variables, with the sums that many numbers are made of.
#[derive(Debug)]
pub struct Counters<'a> {
    layout: &'a Layout,
    snapshot: &'a Snapshot,
    minor: u16,
    without_cgo: bool,
    heap: Option<Heap>,
    goal: Option<u64>,
}

/// A number and how it is composed; nothing where a part of it is missing.
struct Row {
    metric: Metric,
    value: fn(&Counters<'_>) -> Option<f64>,
}

const fn gauge(name: &'static str, help: &'static str, value: fn(&Counters<'_>) -> Option<f64>) -> Row {
    Row { metric: Metric::gauge(name, help), value }
}

const fn counter(name: &'static str, help: &'static str, value: fn(&Counters<'_>) -> Option<f64>) -> Row {
    Row { metric: Metric::counter(name, help), value }
}

impl<'a> Counters<'a> {
    /// The numbers of `snapshot`, of a runtime of Go 1.`minor`.
    pub fn new(layout: &'a Layout, snapshot: &'a Snapshot, minor: u16) -> Self {
        let heap = snapshot.memstats.as_ref().and_then(|bytes| Heap::of(bytes, &layout.memstats, &layout.heap_stats));
        let mut counters = Self { layout, snapshot, minor, without_cgo: false, heap: None, goal: None };
        let paced = counters.gc(layout.gc_controller.total_alloc).zip(counters.gc(layout.gc_controller.total_free));
        counters.heap = heap.filter(|heap| paced.is_some_and(|(alloc, free)| heap.agrees(alloc, free)));
        counters.goal = snapshot.gc_controller.as_ref().and_then(|gc| heap::goal(gc, &layout.gc_controller));
        counters
    }

    /// The same, of a program that cannot call C: all of its threads are Go's own.
    #[must_use]
    pub fn without_cgo(mut self, without_cgo: bool) -> Self {
        self.without_cgo = without_cgo;
        self
    }

    /// Whether the sums of the heap are true; where they are not, another reading may have them.
    pub fn heap_agrees(&self) -> bool {
        self.heap.is_some() || self.snapshot.memstats.is_none() || self.snapshot.gc_controller.is_none()
    }

    /// Every number there is.
    pub fn numbers(&self) -> impl Iterator<Item = (&'static Metric, f64)> + '_ {
        ROWS.iter().chain(HEAP_ROWS).filter_map(|row| Some((&row.metric, (row.value)(self)?)))
    }

    /// Every histogram there is: those of times, then those of sizes.
    pub fn histograms(&self, bounds: Option<&Bounds>) -> Vec<(&'static Metric, Histogram)> {
        let layout = &self.layout.sched;
        let fields = [
            Some(layout.time_to_run),
            layout.stw_stopping_time_gc,
            layout.stw_stopping_time_other,
            layout.stw_total_time_gc,
            layout.stw_total_time_other,
        ];
        let mut all = Vec::new();
        if let (Some(bounds), Some(sched)) = (bounds, &self.snapshot.sched) {
            for (metric, field) in TIMES.iter().zip(fields) {
                let read = |field| bounds.read(self.layout.time_histogram, field, sched);
                all.extend(field.and_then(read).map(|histogram| (metric, histogram)));
            }
        }
        if let Some(heap) = &self.heap {
            let sized = [(&heap.allocs_by_size, heap.allocated_bytes), (&heap.frees_by_size, heap.freed_bytes)];
            for (metric, (counts, bytes)) in SIZES.iter().zip(sized) {
                all.push((metric, by_size(counts, bytes)));
            }
        }
        all
    }

    /// The quantiles 0, 0.25, 0.5, 0.75 and 1 of the last 256 pauses at most, in seconds, the sum of all and their number: as
    /// `debug.ReadGCStats` has them.
    pub fn pauses(&self) -> Option<([f64; 5], f64, f64)> {
        let layout = &self.layout.memstats;
        let count = self.memstats(layout.numgc)?;
        let ring = layout.pause_ns.of(self.snapshot.memstats.as_ref()?)?.as_chunks::<8>().0;
        let kept = ring.len().min(usize::try_from(count).unwrap_or(usize::MAX));
        // Until the ring is full its first places are the used ones; from then on all are.
        let mut pauses: Vec<u64> = ring.iter().take(kept).map(|ns| u64::from_le_bytes(*ns)).collect();
        pauses.sort_unstable();
        let at = |quarter: usize| pauses.get((kept * quarter / 4).min(kept.saturating_sub(1))).copied().unwrap_or(0);
        let quantiles = [0, 1, 2, 3, 4].map(|quarter| seconds(at(quarter)));
        Some((quantiles, seconds(self.memstats(layout.pause_total_ns)?), float(count)))
    }

    /// Goroutines but those of the runtime, as `runtime.NumGoroutine` counts them.
    pub fn goroutines(&self) -> Option<u64> {
        Some(self.goroutines_with_system()?.saturating_sub(self.sched(self.layout.sched.ngsys)?).max(1))
    }

    fn goroutines_with_system(&self) -> Option<u64> {
        let sched = &self.layout.sched;
        let mut free = self.sched(sched.g_free)?.saturating_add(self.snapshot.processors?.goroutines_free);
        if let Some(field) = sched.g_free_no_stack {
            free = free.saturating_add(self.sched(field)?);
        }
        Some(self.snapshot.goroutines_ever?.saturating_sub(free).max(1))
    }

    fn threads(&self) -> Option<u64> {
        let counted = || {
            let (made, freed) = (self.sched(self.layout.sched.mnext)?, self.sched(self.layout.sched.nmfreed)?);
            made.checked_sub(freed)
        };
        self.snapshot.threads.map(|threads| threads.count).or_else(counted)
    }

    fn mutex_wait_ns(&self) -> Option<u64> {
        let sched = &self.layout.sched;
        let waited = self.sched(sched.total_mutex_wait_time?)?;
        let Some(ended) = sched.total_runtime_lock_wait_time else { return Some(waited) };
        Some(waited.wrapping_add(self.sched(ended)?).wrapping_add(self.snapshot.threads?.lock_wait_ns?))
    }

    /// Numbers that `runtime/metrics` has since Go 1.`minor`.
    fn since(&self, minor: u16) -> Option<()> {
        (self.minor >= minor).then_some(())
    }

    fn sched(&self, field: Field) -> Option<u64> {
        field.unsigned(self.snapshot.sched.as_ref()?)
    }

    fn memstats(&self, field: Field) -> Option<u64> {
        field.unsigned(self.snapshot.memstats.as_ref()?)
    }

    fn gc(&self, field: Field) -> Option<u64> {
        field.unsigned(self.snapshot.gc_controller.as_ref()?)
    }

    /// Seconds of processor time that `work` counts, as of the end of the last collection.
    fn cpu(&self, field: Option<Field>) -> Option<f64> {
        field?.unsigned(self.snapshot.work.as_ref()?).map(seconds)
    }

    fn heap(&self, value: fn(&Heap) -> u64) -> Option<f64> {
        self.heap.as_ref().map(value).map(float)
    }

    /// Memory obtained for the runtime itself.
    fn runtime_bytes(&self) -> Option<u64> {
        let layout = &self.layout.memstats;
        [
            layout.stacks_sys,
            layout.mspan_sys,
            layout.mcache_sys,
            layout.buckhash_sys,
            layout.gc_misc_sys,
            layout.other_sys,
        ]
        .into_iter()
        .try_fold(0u64, |sum, field| Some(sum.saturating_add(self.memstats(field)?)))
    }

    fn in_use(&self) -> Option<(u64, u64)> {
        self.snapshot.heap_in_use
    }
}

fn seconds(ns: u64) -> f64 {
    float(ns) / 1e9
}

/// Objects counted by size, as a native histogram.
fn by_size(counts: &[u64], bytes: u64) -> Histogram {
    let buckets = (0i32..).zip(counts).filter(|(_, count)| **count > 0);
    Histogram {
        schema: CUSTOM_SCHEMA,
        count: counts.iter().map(|count| float(*count)).sum(),
        sum: float(bytes),
        positive: buckets.map(|(index, count)| Bucket { index, count: float(*count) }).collect(),
        custom_bounds: heap::size_bounds(),
        ..Histogram::default()
    }
}

/// Histograms of times, in the order in which they are read.
static TIMES: [Metric; 5] = [
    histogram("go_sched_latencies_seconds", "Time goroutines waited to run, of one in eight."),
    histogram("go_sched_pauses_stopping_gc_seconds", "Time it took to stop the world for the collector."),
    histogram("go_sched_pauses_stopping_other_seconds", "Time it took to stop the world for other causes."),
    histogram("go_sched_pauses_total_gc_seconds", "Time the world was stopped for the collector."),
    histogram("go_sched_pauses_total_other_seconds", "Time the world was stopped for other causes."),
];

static SIZES: [Metric; 2] = [
    histogram("go_gc_heap_allocs_by_size_bytes", "Heap objects allocated, by size."),
    histogram("go_gc_heap_frees_by_size_bytes", "Heap objects freed, by size."),
];

const fn histogram(name: &'static str, help: &'static str) -> Metric {
    Metric { name, kind: model::MetricKind::Histogram, help }
}

static ROWS: &[Row] = &[
    gauge("go_goroutines", "Goroutines that exist.", |c| c.goroutines().map(float)),
    gauge("go_sched_goroutines_goroutines", "Goroutines that exist.", |c| {
        // The count includes the runtime's own since the release that counts by state.
        if c.layout.sched.goroutines_created.is_some() { c.goroutines_with_system() } else { c.goroutines() }.map(float)
    }),
    counter("go_sched_goroutines_created_goroutines_total", "Goroutines created.", |c| {
        let created = c.sched(c.layout.sched.goroutines_created?)?;
        Some(float(created.wrapping_add(c.snapshot.processors?.goroutines_created?)))
    }),
    gauge("go_threads", "Threads of the operating system that were created.", |c| c.threads().map(float)),
    gauge("go_sched_threads_total_threads", "Threads of the Go runtime.", |c| {
        // With cgo some are kept for threads that come from C, which takes more to tell.
        c.since(26).filter(|()| c.without_cgo)?;
        c.threads().map(float)
    }),
    gauge("go_sched_gomaxprocs_threads", "Threads that may run Go code at once.", |c| c.snapshot.gomaxprocs.map(float)),
    counter("go_sync_mutex_wait_total_seconds_total", "Time goroutines were blocked on mutexes.", |c| {
        c.mutex_wait_ns().map(seconds)
    }),
    counter("go_cgo_go_to_c_calls_calls_total", "Calls from Go into C.", |c| {
        Some(float(c.snapshot.cgo_calls_ended?.wrapping_add(c.snapshot.threads?.cgo_calls)))
    }),
    counter("go_gc_cycles_total_gc_cycles_total", "Completed collections.", |c| {
        c.memstats(c.layout.memstats.numgc).map(float)
    }),
    counter("go_gc_cycles_forced_gc_cycles_total", "Collections the application asked for.", |c| {
        c.memstats(c.layout.memstats.numforcedgc).map(float)
    }),
    counter("go_gc_cycles_automatic_gc_cycles_total", "Collections the runtime began.", |c| {
        let layout = &c.layout.memstats;
        Some(float(c.memstats(layout.numgc)?.saturating_sub(c.memstats(layout.numforcedgc)?)))
    }),
    gauge("go_gc_gogc_percent", "GOGC; off is the largest number.", |c| {
        let percent = c.layout.gc_controller.gc_percent.signed(c.snapshot.gc_controller.as_ref()?)?;
        Some(float(percent.cast_unsigned()))
    }),
    gauge("go_gc_gomemlimit_bytes", "Memory limit; none is the largest signed number.", |c| {
        c.gc(c.layout.gc_controller.memory_limit).map(float)
    }),
    gauge("go_gc_heap_goal_bytes", "Heap size at which the next collection ends.", |c| c.goal.map(float)),
    gauge("go_gc_heap_live_bytes", "Heap that the last collection found in use.", |c| {
        c.gc(c.layout.gc_controller.heap_marked).map(float)
    }),
    gauge("go_gc_scan_heap_bytes", "Heap that a collection has to scan.", |c| {
        c.since(21)?;
        c.gc(c.layout.gc_controller.heap_scan).map(float)
    }),
    gauge("go_gc_scan_stack_bytes", "Stack that the last collection scanned.", |c| {
        c.since(21)?;
        c.gc(c.layout.gc_controller.last_stack_scan).map(float)
    }),
    gauge("go_gc_scan_globals_bytes", "Global variables that a collection has to scan.", |c| {
        c.since(21)?;
        c.gc(c.layout.gc_controller.globals_scan).map(float)
    }),
    gauge("go_gc_scan_total_bytes", "All that a collection has to scan.", |c| {
        c.since(21)?;
        let layout = &c.layout.gc_controller;
        let parts = [layout.heap_scan, layout.last_stack_scan, layout.globals_scan];
        parts.into_iter().try_fold(0u64, |sum, field| Some(sum.wrapping_add(c.gc(field)?))).map(float)
    }),
    gauge("go_gc_stack_starting_size_bytes", "Stack that a goroutine begins with.", |c| {
        c.snapshot.starting_stack_bytes.map(float)
    }),
    gauge(
        "go_gc_limiter_last_enabled_gc_cycle",
        "Collection that last hit its limit of processor time; 0 for none.",
        |c| c.layout.limiter.last_enabled_cycle.unsigned(c.snapshot.limiter.as_ref()?).map(float),
    ),
    counter("go_gc_finalizers_queued_finalizers_total", "Finalizers queued.", |c| {
        c.snapshot.finalizers.map(|(queued, _)| float(queued))
    }),
    counter("go_gc_finalizers_executed_finalizers_total", "Finalizers run.", |c| {
        c.snapshot.finalizers.map(|(_, executed)| float(executed))
    }),
    counter(
        "go_cpu_classes_gc_mark_assist_cpu_seconds_total",
        "Processor time goroutines helped the collector.",
        |c| c.cpu(c.layout.work.gc_assist_time),
    ),
    counter("go_cpu_classes_gc_mark_dedicated_cpu_seconds_total", "Processor time of dedicated marking.", |c| {
        c.cpu(c.layout.work.gc_dedicated_time)
    }),
    counter("go_cpu_classes_gc_mark_idle_cpu_seconds_total", "Processor time of marking on idle processors.", |c| {
        c.cpu(c.layout.work.gc_idle_time)
    }),
    counter("go_cpu_classes_gc_pause_cpu_seconds_total", "Processor time the collector stopped the world.", |c| {
        c.cpu(c.layout.work.gc_pause_time)
    }),
    counter("go_cpu_classes_gc_total_cpu_seconds_total", "Processor time of the collector.", |c| {
        c.cpu(c.layout.work.gc_total_time)
    }),
    counter("go_cpu_classes_scavenge_assist_cpu_seconds_total", "Processor time of returning memory at once.", |c| {
        c.cpu(c.layout.work.scavenge_assist_time)
    }),
    counter("go_cpu_classes_scavenge_background_cpu_seconds_total", "Processor time of returning memory.", |c| {
        c.cpu(c.layout.work.scavenge_bg_time)
    }),
    counter("go_cpu_classes_scavenge_total_cpu_seconds_total", "Processor time of returning memory, in all.", |c| {
        c.cpu(c.layout.work.scavenge_total_time)
    }),
    counter("go_cpu_classes_idle_cpu_seconds_total", "Processor time that was not used.", |c| {
        c.cpu(c.layout.work.idle_time)
    }),
    counter("go_cpu_classes_user_cpu_seconds_total", "Processor time of the program's own code.", |c| {
        c.cpu(c.layout.work.user_time)
    }),
    counter("go_cpu_classes_total_cpu_seconds_total", "Processor time there was.", |c| c.cpu(c.layout.work.total_time)),
    gauge("go_memstats_last_gc_time_seconds", "When the last collection ended, in seconds since the epoch.", |c| {
        c.memstats(c.layout.memstats.last_gc_unix).map(seconds)
    }),
    gauge("go_memstats_gc_cpu_fraction", "Share of processor time spent collecting.", |c| {
        c.layout.memstats.gc_cpu_fraction.float(c.snapshot.memstats.as_ref()?).filter(|part| part.is_finite())
    }),
    gauge("go_memstats_next_gc_bytes", "Heap size at which the next collection ends.", |c| c.goal.map(float)),
];

static HEAP_ROWS: &[Row] = &[
    counter("go_gc_heap_allocs_bytes_total", "Bytes allocated for heap objects.", |c| c.heap(|h| h.allocated_bytes)),
    counter("go_gc_heap_allocs_objects_total", "Heap objects allocated.", |c| c.heap(|h| h.allocs)),
    counter("go_gc_heap_frees_bytes_total", "Bytes of heap objects freed.", |c| c.heap(|h| h.freed_bytes)),
    counter("go_gc_heap_frees_objects_total", "Heap objects freed.", |c| c.heap(|h| h.frees)),
    gauge("go_gc_heap_objects_objects", "Heap objects.", |c| c.heap(|h| h.allocs.saturating_sub(h.frees))),
    counter("go_gc_heap_tiny_allocs_objects_total", "Small objects packed into others.", |c| c.heap(|h| h.tiny_allocs)),
    gauge("go_memory_classes_heap_free_bytes", "Heap memory that is free and not given back.", |c| {
        c.heap(Heap::free_bytes)
    }),
    gauge("go_memory_classes_heap_objects_bytes", "Memory of heap objects.", |c| c.heap(Heap::in_objects)),
    gauge("go_memory_classes_heap_released_bytes", "Heap memory given back to the system.", |c| c.heap(|h| h.released)),
    gauge("go_memory_classes_heap_stacks_bytes", "Heap memory of stacks.", |c| c.heap(|h| h.in_stacks)),
    gauge("go_memory_classes_heap_unused_bytes", "Heap memory reserved for objects that are not there.", |c| {
        c.heap(|h| h.in_heap.saturating_sub(h.in_objects()))
    }),
    gauge("go_memory_classes_metadata_mcache_free_bytes", "Unused mcache structures.", |c| {
        Some(float(c.memstats(c.layout.memstats.mcache_sys)?.saturating_sub(c.in_use()?.1)))
    }),
    gauge("go_memory_classes_metadata_mcache_inuse_bytes", "Used mcache structures.", |c| Some(float(c.in_use()?.1))),
    gauge("go_memory_classes_metadata_mspan_free_bytes", "Unused mspan structures.", |c| {
        Some(float(c.memstats(c.layout.memstats.mspan_sys)?.saturating_sub(c.in_use()?.0)))
    }),
    gauge("go_memory_classes_metadata_mspan_inuse_bytes", "Used mspan structures.", |c| Some(float(c.in_use()?.0))),
    gauge("go_memory_classes_metadata_other_bytes", "Other structures of the collector.", gc_metadata_bytes),
    gauge("go_memory_classes_os_stacks_bytes", "Stacks of threads.", |c| {
        c.memstats(c.layout.memstats.stacks_sys).map(float)
    }),
    gauge("go_memory_classes_other_bytes", "Other structures of the runtime.", |c| {
        c.memstats(c.layout.memstats.other_sys).map(float)
    }),
    gauge("go_memory_classes_profiling_buckets_bytes", "Tables of profiles.", |c| {
        c.memstats(c.layout.memstats.buckhash_sys).map(float)
    }),
    gauge("go_memory_classes_total_bytes", "Memory mapped by the runtime.", total_bytes),
    gauge("go_memstats_alloc_bytes", "Bytes of heap objects, reachable and not yet swept.", |c| {
        c.heap(Heap::in_objects)
    }),
    counter("go_memstats_alloc_bytes_total", "Bytes allocated for heap objects.", |c| c.heap(|h| h.allocated_bytes)),
    gauge("go_memstats_sys_bytes", "Bytes obtained from the system.", total_bytes),
    counter("go_memstats_mallocs_total", "Heap objects allocated.", |c| {
        c.heap(|h| h.allocs.wrapping_add(h.tiny_allocs))
    }),
    counter("go_memstats_frees_total", "Heap objects freed.", |c| c.heap(|h| h.frees.wrapping_add(h.tiny_allocs))),
    gauge("go_memstats_heap_alloc_bytes", "Bytes of heap objects, reachable and not yet swept.", |c| {
        c.heap(Heap::in_objects)
    }),
    gauge("go_memstats_heap_sys_bytes", "Bytes of heap obtained from the system.", |c| {
        c.heap(|h| h.in_heap.saturating_add(h.released).saturating_add(h.free_bytes()))
    }),
    gauge("go_memstats_heap_idle_bytes", "Bytes in unused spans.", |c| {
        c.heap(|h| h.released.saturating_add(h.free_bytes()))
    }),
    gauge("go_memstats_heap_inuse_bytes", "Bytes in used spans.", |c| c.heap(|h| h.in_heap)),
    gauge("go_memstats_heap_released_bytes", "Bytes given back to the system.", |c| c.heap(|h| h.released)),
    gauge("go_memstats_heap_objects", "Heap objects.", |c| c.heap(|h| h.allocs.saturating_sub(h.frees))),
    gauge("go_memstats_stack_inuse_bytes", "Bytes in stack spans.", |c| c.heap(|h| h.in_stacks)),
    gauge("go_memstats_stack_sys_bytes", "Bytes of stack obtained from the system.", |c| {
        Some(c.heap(|h| h.in_stacks)? + float(c.memstats(c.layout.memstats.stacks_sys)?))
    }),
    gauge("go_memstats_mspan_inuse_bytes", "Bytes of used mspan structures.", |c| Some(float(c.in_use()?.0))),
    gauge("go_memstats_mspan_sys_bytes", "Bytes obtained for mspan structures.", |c| {
        c.memstats(c.layout.memstats.mspan_sys).map(float)
    }),
    gauge("go_memstats_mcache_inuse_bytes", "Bytes of used mcache structures.", |c| Some(float(c.in_use()?.1))),
    gauge("go_memstats_mcache_sys_bytes", "Bytes obtained for mcache structures.", |c| {
        c.memstats(c.layout.memstats.mcache_sys).map(float)
    }),
    gauge("go_memstats_buck_hash_sys_bytes", "Bytes of profiling tables.", |c| {
        c.memstats(c.layout.memstats.buckhash_sys).map(float)
    }),
    gauge("go_memstats_gc_sys_bytes", "Bytes of garbage-collection metadata.", gc_metadata_bytes),
    gauge("go_memstats_other_sys_bytes", "Bytes of other runtime structures.", |c| {
        c.memstats(c.layout.memstats.other_sys).map(float)
    }),
];

fn gc_metadata_bytes(c: &Counters<'_>) -> Option<f64> {
    let heap = c.heap.as_ref()?;
    let bytes = heap.in_work_bufs.saturating_add(heap.in_ptr_scalar_bits);
    Some(float(bytes.saturating_add(c.memstats(c.layout.memstats.gc_misc_sys)?)))
}

fn total_bytes(c: &Counters<'_>) -> Option<f64> {
    let heap = c.heap.as_ref()?;
    Some(float(heap.committed.saturating_add(heap.released).saturating_add(c.runtime_bytes()?)))
}
