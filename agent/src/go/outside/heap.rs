#![warn(clippy::indexing_slicing)]
//! What the heap holds and has held, and the size at which the next collection ends: the sums that the runtime makes when it
//! is asked (`heapStatsAggregate` and `sysStatsAggregate` of `runtime/metrics.go`, `heapGoalInternal` of `mgcpacer.go`), made
//! of copies of its variables.

use super::binary::{Field, GcControllerLayout, HeapStatsLayout, MemstatsLayout};

/// Bytes of an object of each size class; the first stands for objects too large for any (`internal/runtime/gc`).
const SIZE_CLASSES: [u64; 68] = [
    0, 8, 16, 24, 32, 48, 64, 80, 96, 112, 128, 144, 160, 176, 192, 208, 224, 240, 256, 288, 320, 352, 384, 416, 448,
    480, 512, 576, 640, 704, 768, 896, 1024, 1152, 1280, 1408, 1536, 1792, 2048, 2304, 2688, 3072, 3200, 3456, 4096,
    4864, 5376, 6144, 6528, 6784, 6912, 8192, 9472, 9728, 10240, 10880, 12288, 13568, 14336, 16384, 18432, 19072,
    20480, 21760, 24576, 27264, 28672, 32768,
];

/// What the heap holds and has held, in bytes and objects.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "named as the runtime's fields, which the runtime's source describes")]
pub struct Heap {
    pub committed: u64,
    pub released: u64,
    pub in_heap: u64,
    pub in_stacks: u64,
    pub in_work_bufs: u64,
    pub in_ptr_scalar_bits: u64,
    pub tiny_allocs: u64,
    pub allocated_bytes: u64,
    pub freed_bytes: u64,
    pub allocs: u64,
    pub frees: u64,
    /// Allocations by size class, the smallest first, those of larger objects last.
    pub allocs_by_size: Vec<u64>,
    /// Frees likewise.
    pub frees_by_size: Vec<u64>,
}

impl Heap {
    /// The sums in `memstats`; nothing when it has another form. The runtime keeps three parts, into one of which it writes,
    /// and moves between them now and then: what is read in such a moment counts twice, which [`agrees`](Self::agrees)
    /// tells.
    pub fn of(memstats: &[u8], layout: &MemstatsLayout, heap_layout: &HeapStatsLayout) -> Option<Self> {
        let all = layout.heap_stats.of(memstats)?;
        let part_bytes = usize::try_from(heap_layout.size).ok().filter(|bytes| *bytes > 0)?;
        let mut heap = Self { allocs_by_size: vec![0; SIZE_CLASSES.len()], ..Self::default() };
        heap.frees_by_size.clone_from(&heap.allocs_by_size);
        let mut parts = 0;
        for part in all.chunks_exact(part_bytes).take(3) {
            heap.add(part, heap_layout)?;
            parts += 1;
        }
        let sums = |counts: &[u64]| {
            let bytes = counts
                .iter()
                .zip(SIZE_CLASSES)
                .fold(0u64, |sum, (count, size)| sum.wrapping_add(count.wrapping_mul(size)));
            (bytes, counts.iter().fold(0u64, |sum, count| sum.wrapping_add(*count)))
        };
        let ((alloc_bytes, allocs), (free_bytes, frees)) = (sums(&heap.allocs_by_size), sums(&heap.frees_by_size));
        heap.allocated_bytes = heap.allocated_bytes.wrapping_add(alloc_bytes);
        heap.freed_bytes = heap.freed_bytes.wrapping_add(free_bytes);
        (heap.allocs, heap.frees) = (allocs, frees);
        // Large objects were counted in the place of size class 0 and are told last.
        heap.allocs_by_size.rotate_left(1);
        heap.frees_by_size.rotate_left(1);
        (parts == 3).then_some(heap)
    }

    /// Adds one of the three parts. Parts may be below zero, only their sum means something.
    fn add(&mut self, part: &[u8], layout: &HeapStatsLayout) -> Option<()> {
        for (sum, field) in [
            (&mut self.committed, Some(layout.committed)),
            (&mut self.released, Some(layout.released)),
            (&mut self.in_heap, Some(layout.in_heap)),
            (&mut self.in_stacks, Some(layout.in_stacks)),
            (&mut self.in_work_bufs, Some(layout.in_work_bufs)),
            (&mut self.in_ptr_scalar_bits, layout.in_ptr_scalar_bits),
            (&mut self.tiny_allocs, Some(layout.tiny_alloc_count)),
            (&mut self.allocated_bytes, Some(layout.large_alloc)),
            (&mut self.freed_bytes, Some(layout.large_free)),
        ] {
            if let Some(field) = field {
                *sum = sum.wrapping_add(field.unsigned(part)?);
            }
        }
        add_classes(&mut self.allocs_by_size, part, layout.small_alloc_count, layout.large_alloc_count)?;
        add_classes(&mut self.frees_by_size, part, layout.small_free_count, layout.large_free_count)
    }

    /// Whether the sums can be true, given what the collector's pacer has counted of allocated and freed bytes, which it
    /// counts at the same times.
    pub fn agrees(&self, paced_alloc: u64, paced_free: u64) -> bool {
        let near = |sum: u64, paced: u64| sum.abs_diff(paced) <= paced / 64 + AGREE_BYTES;
        near(self.allocated_bytes, paced_alloc)
            && near(self.freed_bytes, paced_free)
            && self.freed_bytes <= self.allocated_bytes
            && self.allocated_bytes - self.freed_bytes <= self.in_heap
            && [self.committed, self.released, self.in_heap, self.in_stacks].iter().all(|bytes| *bytes < 1 << 50)
    }

    /// Bytes of objects, reachable and not yet swept.
    pub fn in_objects(&self) -> u64 {
        self.allocated_bytes.saturating_sub(self.freed_bytes)
    }

    /// Memory obtained for the heap and not in use.
    pub fn free_bytes(&self) -> u64 {
        let used = self
            .in_heap
            .saturating_add(self.in_stacks)
            .saturating_add(self.in_work_bufs)
            .saturating_add(self.in_ptr_scalar_bits);
        self.committed.saturating_sub(used)
    }
}

/// What may lie between two counts of the same bytes: allocated and told in two steps.
const AGREE_BYTES: u64 = 1 << 20;

/// Adds the counts of size classes; `large` has the place of class 0.
fn add_classes(sums: &mut [u64], part: &[u8], small: Field, large: Field) -> Option<()> {
    let counts = small.of(part)?.as_chunks::<8>().0;
    if counts.len() != SIZE_CLASSES.len() {
        return None;
    }
    for (at, (sum, count)) in sums.iter_mut().zip(counts).enumerate() {
        let count = if at == 0 { large.unsigned(part)? } else { u64::from_le_bytes(*count) };
        *sum = sum.wrapping_add(count);
    }
    Some(())
}

/// Upper bounds, as a native histogram has them, of the buckets that objects are counted in by size.
pub fn size_bounds() -> Vec<f64> {
    SIZE_CLASSES.iter().skip(1).map(|bytes| crate::collect::float(bytes + 1)).collect()
}

/// The smallest distance between where a collection was triggered and its goal.
const RUNWAY_BYTES_MIN: u64 = 64 << 10;
/// Part of the goal, in percent, that is left free when memory is limited, and the least.
const HEADROOM_PERCENT: u64 = 3;
const HEADROOM_BYTES_MIN: u64 = 1 << 20;

/// The heap size at which the next collection should end.
pub fn goal(gc: &[u8], layout: &GcControllerLayout) -> Option<u64> {
    let read = |field: Field| field.unsigned(gc);
    let goal = read(layout.gc_percent_heap_goal)?;
    let limited = limited_goal(gc, layout)?;
    if limited < goal {
        return Some(limited);
    }
    let goal = goal.max(read(layout.sweep_dist_min_trigger)?);
    match read(layout.triggered)? {
        u64::MAX => Some(goal),
        triggered => Some(goal.max(triggered.saturating_add(RUNWAY_BYTES_MIN))),
    }
}

/// The goal that the memory limit sets.
fn limited_goal(gc: &[u8], layout: &GcControllerLayout) -> Option<u64> {
    let read = |field: Field| field.unsigned(gc);
    let (limit, marked) = (read(layout.memory_limit)?, read(layout.heap_marked)?);
    let in_use = read(layout.total_alloc)?.wrapping_sub(read(layout.total_free)?);
    let (free, ready) = (read(layout.heap_free)?, read(layout.mapped_ready)?);
    let beside_heap = ready.saturating_sub(free).saturating_sub(in_use);
    let over = ready.saturating_sub(limit);
    let Some(goal) = limit.checked_sub(beside_heap.saturating_add(over)).filter(|goal| *goal > 0) else {
        return Some(marked);
    };
    let headroom = (goal / 100 * HEADROOM_PERCENT).max(HEADROOM_BYTES_MIN);
    let goal = if goal < headroom || goal - headroom < headroom { headroom } else { goal - headroom };
    Some(goal.max(marked))
}
