//! How the runtime's types are laid out in each release of Go.
//!
//! The figures are those of `layout_table`, which a program makes from the debug information of every release; here they
//! get names and types. A field that a release lacks is missing, and so is what would be read from it. Sizes and offsets are bytes.

use super::experiments::{self, Moved};
use super::layout_table::{COLUMNS, FIELDS, FIELDS_ARM64, NEWEST, WAIT_REASONS};
use super::{Arch, GoVersion};

/// A field of a type: where it lies and how wide it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// Offset from the start of the type.
    pub at: u32,
    /// Width; for an array that of the whole.
    pub bytes: u32,
}

impl Field {
    /// The offset behind it.
    pub const fn end(self) -> u32 {
        self.at.saturating_add(self.bytes)
    }

    /// Its bytes in `object`, a copy of the type from its start on; nothing when the copy ends before.
    pub fn of(self, object: &[u8]) -> Option<&[u8]> {
        object.get(self.at as usize..self.end() as usize)
    }

    /// Its value in `object` as an unsigned number or an address; nothing for a field wider than 8 bytes.
    pub fn unsigned(self, object: &[u8]) -> Option<u64> {
        let bytes = self.of(object).filter(|bytes| !bytes.is_empty() && bytes.len() <= 8)?;
        Some(bytes.iter().rev().fold(0, |value, byte| (value << 8) | u64::from(*byte)))
    }

    /// Its value in `object` as a signed number.
    pub fn signed(self, object: &[u8]) -> Option<i64> {
        let unused = 64 - self.bytes.checked_mul(8).filter(|bits| *bits <= 64)?;
        Some((self.unsigned(object)? << (unused % 64)).cast_signed() >> (unused % 64))
    }

    /// Its value in `object` as a float of 64 bits.
    pub fn float(self, object: &[u8]) -> Option<f64> {
        (self.bytes == 8).then(|| self.unsigned(object).map(f64::from_bits))?
    }
}

/// Where fields lie in the runtime's types, for one release and processor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// `schedt`, the scheduler.
    pub sched: SchedLayout,
    /// `timeHistogram`, durations.
    pub time_histogram: TimeHistogramLayout,
    /// `mstats`, memory statistics.
    pub memstats: MemstatsLayout,
    /// `heapStatsDelta`, of which `mstats` holds three.
    pub heap_stats: HeapStatsLayout,
    /// `gcControllerState`, the collector's pacer.
    pub gc_controller: GcControllerLayout,
    /// `workType`, the collector's work.
    pub work: WorkLayout,
    /// `gcCPULimiterState`.
    pub limiter: LimiterLayout,
    /// `mheap`, the heap.
    pub mheap: MheapLayout,
    /// `p`, a processor of the scheduler.
    pub p: PLayout,
    /// `g`, a goroutine.
    pub g: GLayout,
    /// `m`, a thread.
    pub m: MLayout,
    /// `bucket` and what follows it, a stack of a profile.
    pub bucket: BucketLayout,
    /// `moduledata`, what the linker tells the runtime.
    pub module: ModuleLayout,
    /// `ticks`, the clocks at the start.
    pub ticks: TicksLayout,
    /// What a waiting goroutine waits for, in the runtime's words, by its `waitreason`. The first is empty.
    pub wait_reasons: &'static [&'static str],
}

impl Layout {
    /// The layout of `version` on `arch`; nothing when the table does not have the minor release, or it has experiments that change the
    /// types in unknown ways. A patch that is newer than those of the table is taken to be like the last of them.
    pub fn of(version: GoVersion, arch: Arch) -> Option<Self> {
        let column = Column::of(version, arch)?;
        Self::read(column, WAIT_REASONS.get(column.index)?)
    }

    /// Whether `version` is a patch that the table was not made from, newer than those: its types are taken to be as before.
    pub fn is_assumed(version: GoVersion) -> bool {
        let known = version.minor().zip(version.patch());
        known.is_some_and(|(minor, patch)| NEWEST.iter().any(|(own, newest)| *own == minor && patch > *newest))
    }

    /// Offset of the row called `rows` and `field`, those included that are not read and have no name here.
    pub(super) fn offset(version: GoVersion, arch: Arch, rows: &str, field: &str) -> Option<u32> {
        Column::of(version, arch)?.row(&format!("{rows}{field}"))?.1
    }

    fn read(column: Column, wait_reasons: &'static [&'static str]) -> Option<Self> {
        let time_histogram = TimeHistogramLayout::read(column)?;
        let heap_stats = HeapStatsLayout::read(column)?;
        let mut layout = Self {
            sched: SchedLayout::read(column)?,
            memstats: MemstatsLayout::read(column)?,
            gc_controller: GcControllerLayout::read(column)?,
            work: WorkLayout::read(column)?,
            limiter: LimiterLayout::read(column)?,
            mheap: MheapLayout::read(column)?,
            p: PLayout::read(column)?,
            g: GLayout::read(column)?,
            m: MLayout::read(column)?,
            bucket: BucketLayout::read(column)?,
            module: ModuleLayout::read(column)?,
            ticks: TicksLayout::read(column)?,
            time_histogram,
            heap_stats,
            wait_reasons,
        };
        // Widths that differ between releases follow from sizes.
        layout.time_histogram.counts.bytes = time_histogram.underflow.at.checked_sub(time_histogram.counts.at)?;
        layout.memstats.heap_stats.bytes = heap_stats.size.checked_mul(3)?;
        let sched = &mut layout.sched;
        sched.time_to_run.bytes = time_histogram.size;
        let pauses = [
            &mut sched.stw_stopping_time_gc,
            &mut sched.stw_stopping_time_other,
            &mut sched.stw_total_time_gc,
            &mut sched.stw_total_time_other,
        ];
        for pauses in pauses.into_iter().flatten() {
            pauses.bytes = time_histogram.size;
        }
        Some(layout)
    }
}

/// A row of the table: name, width, offset in each column.
type Row = (&'static str, u32, [i32; COLUMNS.len()]);

/// A column of the table: a release, from one patch on. Rows of `own` go before those of all processors; experiments have `moved` some.
#[derive(Debug, Clone, Copy)]
struct Column {
    own: &'static [Row],
    index: usize,
    moved: &'static [Moved],
}

impl Column {
    fn of(version: GoVersion, arch: Arch) -> Option<Self> {
        // Types change until a release is out; seldom after.
        let (minor, patch) = (version.minor()?, version.patch()?);
        let index = COLUMNS.iter().rposition(|(own, first)| *own == minor && *first <= patch)?;
        let own = match arch {
            Arch::Amd64 => &[][..],
            Arch::Arm64 => &FIELDS_ARM64,
        };
        Some(Self { own, index, moved: experiments::moved(minor, arch, version.experiments)? })
    }

    /// Width and offset of the row called `name`; the offset is missing where the release lacks the field.
    fn row(self, name: &str) -> Option<(u32, Option<u32>)> {
        let (_, bytes, offsets) = self.own.iter().chain(&FIELDS).find(|(own, ..)| *own == name)?;
        let at = u32::try_from(*offsets.get(self.index)?).ok();
        let by = |at: u32| {
            let mut moved = self.moved.iter().filter(|(rows, from, _)| name.starts_with(rows) && at >= *from);
            moved.next().map_or(0, |(_, _, by)| *by)
        };
        Some((*bytes, at.and_then(|at| at.checked_add_signed(by(at)))))
    }
}

/// What a row of the table can become. Nothing when the table does not have it.
trait Cell: Sized {
    fn read(column: Column, name: &str) -> Option<Self>;
}

impl Cell for Option<Field> {
    fn read(column: Column, name: &str) -> Option<Self> {
        let (bytes, at) = column.row(name)?;
        Some(at.map(|at| Field { at, bytes }))
    }
}

impl Cell for Field {
    fn read(column: Column, name: &str) -> Option<Self> {
        Option::<Self>::read(column, name)?
    }
}

impl Cell for u32 {
    fn read(column: Column, name: &str) -> Option<Self> {
        column.row(name)?.1
    }
}

/// Types whose fields are rows of the table, called as the type and the field.
macro_rules! layouts {
    ($($(#[$about:meta])* $layout:ident $name:literal { $($(#[$doc:meta])* $field:ident: $cell:ty,)* })*) => {$(
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct $layout {
            $(
                #[doc = concat!("Row `", $name, ".", stringify!($field), "` of the table; called as the runtime's own field.")]
                ///
                $(#[$doc])*
                pub $field: $cell,
            )*
        }

        impl $layout {
            fn read(column: Column) -> Option<Self> {
                Some(Self { $($field: <$cell>::read(column, concat!($name, ".", stringify!($field)))?,)* })
            }
        }
    )*};
}

layouts! {
    /// `schedt` of `runtime2.go`.
    SchedLayout "sched" {
        /// Size of the type.
        size: u32,
        lastpoll: Field,
        lock: Field,
        nmidle: Field,
        mnext: Field,
        nmsys: Field,
        nmfreed: Field,
        /// Goroutines of the runtime's own.
        ngsys: Field,
        n_gsyscall_no_p: Option<Field>,
        npidle: Field,
        nmspinning: Field,
        runqsize: Field,
        /// Finished goroutines kept for another use; with `g_free_no_stack`, where there is one, all of them.
        g_free: Field,
        g_free_no_stack: Option<Field>,
        procresizetime: Field,
        totaltime: Field,
        /// A `timeHistogram`, as all of these.
        time_to_run: Field,
        idle_time: Option<Field>,
        total_mutex_wait_time: Option<Field>,
        total_runtime_lock_wait_time: Option<Field>,
        stw_stopping_time_gc: Option<Field>,
        stw_stopping_time_other: Option<Field>,
        stw_total_time_gc: Option<Field>,
        stw_total_time_other: Option<Field>,
        /// Those counted here and not at a `p`.
        goroutines_created: Option<Field>,
    }

    /// `timeHistogram` of `histogram.go`: `counts`, then one count each below and above them.
    TimeHistogramLayout "time_histogram" {
        /// Size of the type.
        size: u32,
        /// 8 bytes a bucket.
        counts: Field,
        underflow: Field,
        /// Missing where the last bucket takes what is above.
        overflow: Option<Field>,
    }

    /// `mstats` of `mstats.go`.
    MemstatsLayout "memstats" {
        /// Size of the type.
        size: u32,
        /// Three `heapStatsDelta`, one behind the other; what has happened is their sum.
        heap_stats: Field,
        stacks_sys: Field,
        mspan_sys: Field,
        mcache_sys: Field,
        buckhash_sys: Field,
        gc_misc_sys: Field,
        other_sys: Field,
        last_gc_unix: Field,
        pause_total_ns: Field,
        /// A ring of 256, the newest at `(numgc + 255) % 256`.
        pause_ns: Field,
        pause_end: Field,
        numgc: Field,
        numforcedgc: Field,
        /// A float.
        gc_cpu_fraction: Field,
        last_gc_nanotime: Field,
        enablegc: Field,
    }

    /// `heapStatsDelta` of `mstats.go`.
    HeapStatsLayout "heap_stats" {
        /// Size of the type.
        size: u32,
        committed: Field,
        released: Field,
        in_heap: Field,
        in_stacks: Field,
        in_work_bufs: Field,
        /// Left the type with Go 1.25.
        in_ptr_scalar_bits: Option<Field>,
        tiny_alloc_count: Field,
        large_alloc: Field,
        large_alloc_count: Field,
        /// 8 bytes a size class, the first unused.
        small_alloc_count: Field,
        large_free: Field,
        large_free_count: Field,
        small_free_count: Field,
    }

    /// `gcControllerState` of `mgcpacer.go`.
    GcControllerLayout "gc_controller" {
        /// Size of the type.
        size: u32,
        /// Signed; -1 is off.
        gc_percent: Field,
        memory_limit: Field,
        gc_percent_heap_goal: Field,
        sweep_dist_min_trigger: Field,
        triggered: Field,
        last_heap_goal: Field,
        heap_live: Field,
        heap_scan: Field,
        last_stack_scan: Field,
        max_stack_scan: Field,
        globals_scan: Field,
        heap_marked: Field,
        heap_in_use: Field,
        heap_released: Field,
        heap_free: Field,
        total_alloc: Field,
        total_free: Field,
        mapped_ready: Field,
    }

    /// `workType` of `mgc.go`, with the `cpuStats` inside it. All times are nanoseconds.
    WorkLayout "work" {
        /// Size of the type.
        size: u32,
        /// Cycles begun.
        cycles: Field,
        maxprocs: Field,
        t_end: Field,
        /// Goroutines that the last run of leak detection found.
        goroutine_leak_count: Option<Field>,
        gc_assist_time: Option<Field>,
        gc_dedicated_time: Option<Field>,
        gc_idle_time: Option<Field>,
        gc_pause_time: Option<Field>,
        gc_total_time: Option<Field>,
        scavenge_assist_time: Option<Field>,
        scavenge_bg_time: Option<Field>,
        scavenge_total_time: Option<Field>,
        idle_time: Option<Field>,
        user_time: Option<Field>,
        total_time: Option<Field>,
    }

    /// `gcCPULimiterState` of `mgclimit.go`.
    LimiterLayout "limiter" {
        /// Size of the type.
        size: u32,
        /// The cycle in which it last held the collector back.
        last_enabled_cycle: Field,
    }

    /// `mheap` of `mheap.go`; what lies behind its arenas is far from its start.
    MheapLayout "mheap" {
        /// Size of the type.
        size: u32,
        /// `spanalloc.inuse`.
        span_alloc_in_use: Field,
        /// `cachealloc.inuse`.
        cache_alloc_in_use: Field,
    }

    /// `p` of `runtime2.go`.
    PLayout "p" {
        /// Size of the type.
        size: u32,
        id: Field,
        status: Field,
        schedtick: Field,
        syscalltick: Field,
        m: Field,
        runqhead: Field,
        runqtail: Field,
        runnext: Field,
        /// How many finished goroutines it keeps.
        g_free: Field,
        goroutines_created: Option<Field>,
        cleanups_queued: Option<Field>,
    }

    /// `g` of `runtime2.go`.
    GLayout "g" {
        /// Size of the type.
        size: u32,
        stack_lo: Field,
        stack_hi: Field,
        m: Field,
        sched_sp: Field,
        sched_pc: Field,
        sched_bp: Field,
        /// Not 0 while in a system call; then stack and place are these, not those of `sched`.
        syscallsp: Field,
        syscallpc: Field,
        syscallbp: Option<Field>,
        atomicstatus: Field,
        goid: Field,
        /// Monotonic nanoseconds, 0 until a collection has seen it wait.
        waitsince: Field,
        /// Index of `Layout::wait_reasons`.
        waitreason: Field,
        /// Who created it; known since Go 1.21.
        parent_goid: Option<Field>,
        gopc: Field,
        startpc: Field,
        labels: Field,
    }

    /// `m` of `runtime2.go`.
    MLayout "m" {
        /// Size of the type.
        size: u32,
        g0: Field,
        /// The thread's id for the kernel.
        procid: Field,
        curg: Field,
        p: Field,
        id: Field,
        ncgocall: Field,
        alllink: Field,
        /// Nanoseconds waited for the runtime's own locks.
        lock_wait_time: Option<Field>,
    }

    /// `bucket` of `mprof.go`: the header, `nstk` addresses of 8 bytes, then a `memRecord` or a `blockRecord`.
    BucketLayout "bucket" {
        /// Size of the header.
        size: u32,
        next: Field,
        /// The bucket made before this one.
        allnext: Field,
        /// 1 heap, 2 block, 3 mutex.
        typ: Field,
        hash: Field,
        /// Bytes of each object of a heap bucket.
        object_bytes: Field,
        nstk: Field,
        /// Size of `memRecord`: `active` and three `future`, each a `memRecordCycle`.
        mem_record_size: u32,
        /// Size of `memRecordCycle`.
        mem_cycle_size: u32,
        /// Of a `memRecordCycle`.
        allocs: Field,
        frees: Field,
        /// Left the type with Go 1.27: all objects of a bucket are `object_bytes` large.
        alloc_bytes: Option<Field>,
        free_bytes: Option<Field>,
        /// Size of `blockRecord`.
        block_record_size: u32,
        /// Of a `blockRecord`; a float.
        count: Field,
        cycles: Field,
    }

    /// `moduledata` of `symtab.go`: what the linker tells the runtime.
    ModuleLayout "module" {
        /// Address of the table of functions.
        header: Field,
        /// Slice of its names.
        names: Field,
        /// Where Go's code begins, and ends.
        text: Field,
        etext: Field,
    }

    /// `ticksType` of `runtime.go`: what turns ticks of block and mutex profiles into seconds.
    TicksLayout "ticks" {
        start_ticks: Option<Field>,
        start_time: Option<Field>,
        /// Ticks a second, 0 until the program has asked for it.
        ticks_per_second: Field,
    }
}

impl TimeHistogramLayout {
    /// How many buckets `counts` has.
    pub const fn buckets(self) -> u32 {
        self.counts.bytes / 8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(release: &str, arch: Arch) -> Option<Layout> {
        Layout::of(GoVersion::parse(release).expect("a version"), arch)
    }

    #[test]
    fn every_release_of_the_table_has_a_layout() {
        let follows = |a: &(u16, u16), b: &(u16, u16)| (a.0 + 1 == b.0 && b.1 == 0) || (a.0 == b.0 && a.1 < b.1);
        assert!(COLUMNS.is_sorted_by(follows), "no release is left out");
        for (minor, patch) in COLUMNS {
            for arch in [Arch::Amd64, Arch::Arm64] {
                let layout = of(&format!("go1.{minor}.{patch}"), arch).unwrap_or_else(|| panic!("go1.{minor}"));
                assert!(matches!(layout.time_histogram.buckets(), 160 | 720), "go1.{minor}");
                assert_eq!(layout.wait_reasons.first(), Some(&""));
                for text in ["chan receive", "select", "sync.Mutex.Lock", "IO wait", "sleep"] {
                    let known = layout.wait_reasons.contains(&text);
                    assert!(known || (minor == 19 && text.starts_with("sync")), "go1.{minor}: {text}");
                }
            }
        }
        let after = COLUMNS.last().map_or(0, |(minor, _)| minor + 1);
        for release in ["go1.18.10".to_owned(), format!("go1.{after}"), "go1.26rc1".to_owned(), "go2.26.1".to_owned()] {
            assert_eq!(of(&release, Arch::Amd64), None, "{release}");
        }
    }

    #[test]
    fn fields_lie_in_their_types() {
        for (index, (minor, patch)) in COLUMNS.iter().enumerate() {
            for own in [&[][..], &FIELDS_ARM64] {
                let column = Column { own, index, moved: &[] };
                for (name, ..) in FIELDS {
                    let (bytes, Some(at)) = column.row(name).expect("a row") else { continue };
                    let (rows, _) = name.split_once('.').expect("a type and a field");
                    if let Some((_, Some(size))) = column.row(&format!("{rows}.size")).filter(|_| rows != "bucket") {
                        assert!(
                            at + bytes <= size,
                            "go1.{minor}.{patch}: {name} ends at {}, its type at {size}",
                            at + bytes
                        );
                    }
                }
            }
        }
        for (name, bytes, _) in FIELDS_ARM64 {
            assert!(FIELDS.iter().any(|(own, width, _)| *own == name && *width == bytes), "{name}");
        }
    }

    #[test]
    fn fields_come_and_go() {
        let (old, new) = (of("go1.25.1", Arch::Amd64).expect("known"), of("go1.26.1", Arch::Amd64).expect("known"));
        assert!(old.sched.goroutines_created.is_none() && new.sched.goroutines_created.is_some());
        assert_eq!(new.work.goroutine_leak_count.map(|field| field.at), Some(456));
        assert_eq!((new.g.goid.at, new.g.waitreason.at, new.g.waitreason.bytes), (152, 176, 1));
        assert_eq!(new.memstats.heap_stats.bytes, 3 * new.heap_stats.size);
        let newest = of("go1.27.1", Arch::Amd64).expect("known");
        assert!(new.bucket.alloc_bytes.is_some() && newest.bucket.alloc_bytes.is_none());
        // Work is spread over lines of the cache, which are longer on arm64.
        let arm = of("go1.26.1", Arch::Arm64).expect("known");
        assert!(arm.work.cycles.at > new.work.cycles.at);
        assert_eq!(arm.g, new.g);
    }

    #[test]
    fn experiments_move_fields_or_hide_them() {
        let amd64 = |release: &str| of(release, Arch::Amd64);
        let plain = amd64("go1.26.8").expect("known");
        assert_eq!(amd64("go1.26.8-X:arenas,noswissmap"), Some(plain.clone()));
        let without = amd64("go1.26.8-X:nogreenteagc").expect("known");
        assert_eq!(without.p.goroutines_created.map(|field| field.at), Some(9_536));
        assert_eq!((without.p.size, without.p.g_free, without.memstats.size), (11_664, plain.p.g_free, 8_264));
        assert_eq!((without.work, without.sched), (plain.work, plain.sched));
        let green = amd64("go1.25.5 X:greenteagc").expect("known");
        assert_eq!((green.work.cycles.at, green.work.total_time.map(|field| field.at)), (608, Some(768)));
        assert_eq!((green.work.size, green.p.size, green.memstats.size), (776, 13_744, 10_440));
        let arm = of("go1.26.8-X:nogreenteagc", Arch::Arm64).expect("known");
        assert_eq!(arm.p.size, of("go1.26.8", Arch::Arm64).expect("known").p.size - 4_256);
        let arm = of("go1.25.5 X:greenteagc", Arch::Arm64).expect("known");
        assert_eq!((arm.work.cycles.at, arm.work.size), (864, 1_032));
        for release in
            ["go1.26.8-X:staticlockranking", "go1.24.11 X:greenteagc", "go1.25.5 X:nogreenteagc", "go1.22.1 X:unheard"]
        {
            assert_eq!(amd64(release), None, "{release}");
        }
    }

    #[test]
    fn patches_that_nobody_looked_at_are_assumed() {
        for (release, want) in [
            ("go1.26.8", false),
            ("go1.26.9", true),
            ("go1.24.7", false),
            ("go1.24.12", true),
            ("go1.27", false),
            ("go1.28.1", false),
        ] {
            assert_eq!(Layout::is_assumed(GoVersion::parse(release).expect("a version")), want, "{release}");
        }
        let minors = |table: &[(u16, u16)]| table.iter().map(|(minor, _)| *minor).collect::<Vec<_>>();
        let mut columns = minors(&COLUMNS);
        columns.dedup();
        assert_eq!(minors(&NEWEST), columns);
    }

    #[test]
    fn patches_differ_where_the_runtime_was_changed() {
        let cycles =
            |release: &str| of(release, Arch::Amd64).map(|layout| (layout.work.cycles.at, layout.m.alllink.at));
        assert_eq!(cycles("go1.23"), Some((392, 328)));
        assert_eq!(cycles("go1.23.3"), cycles("go1.23.0"));
        assert_eq!(cycles("go1.23.4"), Some((424, 328)));
        assert_eq!(cycles("go1.23.12"), Some((424, 352)));
        assert_eq!(cycles("go1.24.5"), cycles("go1.23.11"));
        assert_eq!(cycles("go1.24.6"), cycles("go1.24.99"), "newer than the table");
    }

    #[test]
    fn values_of_fields() {
        let object = [0xfe, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0x40];
        let field = |at, bytes| Field { at, bytes };
        assert_eq!(field(0, 4).unsigned(&object), Some(0xffff_fffe));
        assert_eq!(field(0, 4).signed(&object), Some(-2));
        assert_eq!(field(0, 1).signed(&object), Some(-2));
        assert_eq!(field(0, 8).signed(&object), Some(0xffff_fffe));
        assert_eq!(field(4, 8).float(&object), Some(2.0));
        assert_eq!(field(4, 4).float(&object), None);
        for outside in [field(5, 8), field(u32::MAX, 8), field(0, 9), field(0, 0)] {
            assert_eq!((outside.unsigned(&object), outside.signed(&object)), (None, None), "{outside:?}");
        }
    }
}
