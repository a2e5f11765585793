package main

// A row is one figure of the table: a field of a type, or, without paths, the size of the type.
type row struct {
	name string
	typ  string
	// Where releases call the field different names, each of them.
	paths []string
	// Whether there are releases without it.
	optional bool
	// Whether its width differs between releases; the table then gives 0.
	varies bool
}

func size(name, typ string) row { return row{name: name, typ: typ} }

func field(name, typ string, paths ...string) row { return row{name: name, typ: typ, paths: paths} }

func maybe(name, typ string, paths ...string) row {
	return row{name: name, typ: typ, paths: paths, optional: true}
}

func wide(r row) row {
	r.varies = true
	return r
}

const (
	sched     = "runtime.schedt"
	histogram = "runtime.timeHistogram"
	mstats    = "runtime.mstats"
	heapStats = "runtime.heapStatsDelta"
	pacer     = "runtime.gcControllerState"
	work      = "runtime.workType"
	limiter   = "runtime.gcCPULimiterState"
	mheap     = "runtime.mheap"
	thread    = "runtime.m"
	processor = "runtime.p"
	goroutine = "runtime.g"
	bucket    = "runtime.bucket"
	memCycle  = "runtime.memRecordCycle"
	block     = "runtime.blockRecord"
	module    = "runtime.moduledata"
	ticks     = "var runtime.ticks"
)

// Names on the left are those of layout.rs.
var rows = []row{
	size("sched.size", sched),
	field("sched.lastpoll", sched, "lastpoll"),
	field("sched.lock", sched, "lock"),
	field("sched.nmidle", sched, "nmidle"),
	field("sched.mnext", sched, "mnext"),
	field("sched.nmsys", sched, "nmsys"),
	field("sched.nmfreed", sched, "nmfreed"),
	field("sched.ngsys", sched, "ngsys"),
	maybe("sched.n_gsyscall_no_p", sched, "nGsyscallNoP"),
	field("sched.npidle", sched, "npidle"),
	field("sched.nmspinning", sched, "nmspinning"),
	field("sched.runqsize", sched, "runqsize", "runq.size"),
	field("sched.g_free", sched, "gFree.n", "gFree.stack.size"),
	maybe("sched.g_free_no_stack", sched, "gFree.noStack.size"),
	field("sched.procresizetime", sched, "procresizetime"),
	field("sched.totaltime", sched, "totaltime"),
	wide(field("sched.time_to_run", sched, "timeToRun")),
	maybe("sched.idle_time", sched, "idleTime"),
	maybe("sched.total_mutex_wait_time", sched, "totalMutexWaitTime"),
	maybe("sched.total_runtime_lock_wait_time", sched, "totalRuntimeLockWaitTime"),
	wide(maybe("sched.stw_stopping_time_gc", sched, "stwStoppingTimeGC")),
	wide(maybe("sched.stw_stopping_time_other", sched, "stwStoppingTimeOther")),
	wide(maybe("sched.stw_total_time_gc", sched, "stwTotalTimeGC")),
	wide(maybe("sched.stw_total_time_other", sched, "stwTotalTimeOther")),
	maybe("sched.goroutines_created", sched, "goroutinesCreated"),

	size("time_histogram.size", histogram),
	wide(field("time_histogram.counts", histogram, "counts")),
	field("time_histogram.underflow", histogram, "underflow"),
	maybe("time_histogram.overflow", histogram, "overflow"),

	size("memstats.size", mstats),
	wide(field("memstats.heap_stats", mstats, "heapStats.stats")),
	field("memstats.stacks_sys", mstats, "stacks_sys"),
	field("memstats.mspan_sys", mstats, "mspan_sys"),
	field("memstats.mcache_sys", mstats, "mcache_sys"),
	field("memstats.buckhash_sys", mstats, "buckhash_sys"),
	field("memstats.gc_misc_sys", mstats, "gcMiscSys"),
	field("memstats.other_sys", mstats, "other_sys"),
	field("memstats.last_gc_unix", mstats, "last_gc_unix"),
	field("memstats.pause_total_ns", mstats, "pause_total_ns"),
	field("memstats.pause_ns", mstats, "pause_ns"),
	field("memstats.pause_end", mstats, "pause_end"),
	field("memstats.numgc", mstats, "numgc"),
	field("memstats.numforcedgc", mstats, "numforcedgc"),
	field("memstats.gc_cpu_fraction", mstats, "gc_cpu_fraction"),
	field("memstats.last_gc_nanotime", mstats, "last_gc_nanotime"),
	field("memstats.enablegc", mstats, "enablegc"),

	size("heap_stats.size", heapStats),
	field("heap_stats.committed", heapStats, "committed"),
	field("heap_stats.released", heapStats, "released"),
	field("heap_stats.in_heap", heapStats, "inHeap"),
	field("heap_stats.in_stacks", heapStats, "inStacks"),
	field("heap_stats.in_work_bufs", heapStats, "inWorkBufs"),
	maybe("heap_stats.in_ptr_scalar_bits", heapStats, "inPtrScalarBits"),
	field("heap_stats.tiny_alloc_count", heapStats, "tinyAllocCount"),
	field("heap_stats.large_alloc", heapStats, "largeAlloc"),
	field("heap_stats.large_alloc_count", heapStats, "largeAllocCount"),
	field("heap_stats.small_alloc_count", heapStats, "smallAllocCount"),
	field("heap_stats.large_free", heapStats, "largeFree"),
	field("heap_stats.large_free_count", heapStats, "largeFreeCount"),
	field("heap_stats.small_free_count", heapStats, "smallFreeCount"),

	size("gc_controller.size", pacer),
	field("gc_controller.gc_percent", pacer, "gcPercent"),
	field("gc_controller.memory_limit", pacer, "memoryLimit"),
	field("gc_controller.gc_percent_heap_goal", pacer, "gcPercentHeapGoal"),
	field("gc_controller.sweep_dist_min_trigger", pacer, "sweepDistMinTrigger"),
	field("gc_controller.triggered", pacer, "triggered"),
	field("gc_controller.last_heap_goal", pacer, "lastHeapGoal"),
	field("gc_controller.heap_live", pacer, "heapLive"),
	field("gc_controller.heap_scan", pacer, "heapScan"),
	field("gc_controller.last_stack_scan", pacer, "lastStackScan"),
	field("gc_controller.max_stack_scan", pacer, "maxStackScan"),
	field("gc_controller.globals_scan", pacer, "globalsScan"),
	field("gc_controller.heap_marked", pacer, "heapMarked"),
	field("gc_controller.heap_in_use", pacer, "heapInUse"),
	field("gc_controller.heap_released", pacer, "heapReleased"),
	field("gc_controller.heap_free", pacer, "heapFree"),
	field("gc_controller.total_alloc", pacer, "totalAlloc"),
	field("gc_controller.total_free", pacer, "totalFree"),
	field("gc_controller.mapped_ready", pacer, "mappedReady"),

	size("work.size", work),
	field("work.cycles", work, "cycles"),
	field("work.maxprocs", work, "maxprocs"),
	field("work.t_end", work, "tEnd"),
	maybe("work.goroutine_leak_count", work, "goroutineLeak.count"),
	maybe("work.gc_assist_time", work, "cpuStats.GCAssistTime", "cpuStats.gcAssistTime"),
	maybe("work.gc_dedicated_time", work, "cpuStats.GCDedicatedTime", "cpuStats.gcDedicatedTime"),
	maybe("work.gc_idle_time", work, "cpuStats.GCIdleTime", "cpuStats.gcIdleTime"),
	maybe("work.gc_pause_time", work, "cpuStats.GCPauseTime", "cpuStats.gcPauseTime"),
	maybe("work.gc_total_time", work, "cpuStats.GCTotalTime", "cpuStats.gcTotalTime"),
	maybe("work.scavenge_assist_time", work, "cpuStats.ScavengeAssistTime", "cpuStats.scavengeAssistTime"),
	maybe("work.scavenge_bg_time", work, "cpuStats.ScavengeBgTime", "cpuStats.scavengeBgTime"),
	maybe("work.scavenge_total_time", work, "cpuStats.ScavengeTotalTime", "cpuStats.scavengeTotalTime"),
	maybe("work.idle_time", work, "cpuStats.IdleTime", "cpuStats.idleTime"),
	maybe("work.user_time", work, "cpuStats.UserTime", "cpuStats.userTime"),
	maybe("work.total_time", work, "cpuStats.TotalTime", "cpuStats.totalTime"),

	size("limiter.size", limiter),
	field("limiter.last_enabled_cycle", limiter, "lastEnabledCycle"),

	size("mheap.size", mheap),
	field("mheap.span_alloc_in_use", mheap, "spanalloc.inuse"),
	field("mheap.cache_alloc_in_use", mheap, "cachealloc.inuse"),

	size("p.size", processor),
	field("p.id", processor, "id"),
	field("p.status", processor, "status"),
	field("p.schedtick", processor, "schedtick"),
	field("p.syscalltick", processor, "syscalltick"),
	field("p.m", processor, "m"),
	field("p.runqhead", processor, "runqhead"),
	field("p.runqtail", processor, "runqtail"),
	field("p.runnext", processor, "runnext"),
	field("p.g_free", processor, "gFree.n", "gFree.size"),
	maybe("p.goroutines_created", processor, "goroutinesCreated"),
	maybe("p.cleanups_queued", processor, "cleanupsQueued"),

	size("g.size", goroutine),
	field("g.stack_lo", goroutine, "stack.lo"),
	field("g.stack_hi", goroutine, "stack.hi"),
	field("g.m", goroutine, "m"),
	field("g.sched_sp", goroutine, "sched.sp"),
	field("g.sched_pc", goroutine, "sched.pc"),
	field("g.sched_bp", goroutine, "sched.bp"),
	field("g.syscallsp", goroutine, "syscallsp"),
	field("g.syscallpc", goroutine, "syscallpc"),
	maybe("g.syscallbp", goroutine, "syscallbp"),
	field("g.atomicstatus", goroutine, "atomicstatus"),
	field("g.goid", goroutine, "goid"),
	field("g.waitsince", goroutine, "waitsince"),
	field("g.waitreason", goroutine, "waitreason"),
	maybe("g.parent_goid", goroutine, "parentGoid"),
	field("g.gopc", goroutine, "gopc"),
	field("g.startpc", goroutine, "startpc"),
	field("g.labels", goroutine, "labels"),

	size("m.size", thread),
	field("m.g0", thread, "g0"),
	field("m.procid", thread, "procid"),
	field("m.curg", thread, "curg"),
	field("m.p", thread, "p"),
	field("m.id", thread, "id"),
	field("m.ncgocall", thread, "ncgocall"),
	field("m.alllink", thread, "alllink"),
	maybe("m.lock_wait_time", thread, "mLockProfile.waitTime"),

	size("bucket.size", bucket),
	field("bucket.next", bucket, "next"),
	field("bucket.allnext", bucket, "allnext"),
	field("bucket.typ", bucket, "typ"),
	field("bucket.hash", bucket, "hash"),
	field("bucket.object_bytes", bucket, "size"),
	field("bucket.nstk", bucket, "nstk"),
	size("bucket.mem_record_size", "runtime.memRecord"),
	size("bucket.mem_cycle_size", memCycle),
	field("bucket.allocs", memCycle, "allocs"),
	field("bucket.frees", memCycle, "frees"),
	maybe("bucket.alloc_bytes", memCycle, "alloc_bytes"),
	maybe("bucket.free_bytes", memCycle, "free_bytes"),
	size("bucket.block_record_size", block),
	field("bucket.count", block, "count"),
	field("bucket.cycles", block, "cycles"),

	field("module.header", module, "pcHeader"),
	field("module.names", module, "funcnametab"),
	field("module.text", module, "text"),
	field("module.etext", module, "etext"),

	maybe("ticks.start_ticks", ticks, "startTicks"),
	maybe("ticks.start_time", ticks, "startTime"),
	field("ticks.ticks_per_second", ticks, "val"),

	// Not read by the agent, but touched by code that tells where the variables lie: see witnesses.rs.
	wide(field("sched.gcwaiting", sched, "gcwaiting")),
	maybe("sched.goidgen", sched, "goidgen"),
	maybe("sched.nmidlelocked", sched, "nmidlelocked"),
	maybe("sched.needspinning", sched, "needspinning"),
	maybe("sched.stopwait", sched, "stopwait"),
	maybe("sched.stopnote", sched, "stopnote"),
	wide(maybe("sched.sysmonwait", sched, "sysmonwait")),
	maybe("sched.sysmonnote", sched, "sysmonnote"),
	maybe("sched.safepointfn", sched, "safePointFn"),
	maybe("sched.safepointwait", sched, "safePointWait"),
	maybe("sched.freem", sched, "freem"),
	maybe("work.bytes_marked", work, "bytesMarked"),
	maybe("work.nproc", work, "nproc"),
	maybe("work.nwait", work, "nwait"),
	maybe("work.tstart", work, "tstart"),
	maybe("work.mode", work, "mode"),
	maybe("work.user_forced", work, "userForced"),
	maybe("work.start_sema", work, "startSema"),
	maybe("work.mark_done_sema", work, "markDoneSema"),
	maybe("work.stwprocs", work, "stwprocs"),
	maybe("work.t_sweep_term", work, "tSweepTerm"),
	maybe("work.t_mark", work, "tMark"),
	maybe("work.t_mark_term", work, "tMarkTerm"),
	maybe("work.pause_ns", work, "pauseNS"),
	maybe("work.heap0", work, "heap0"),
	maybe("work.heap1", work, "heap1"),
	maybe("work.heap2", work, "heap2"),
	maybe("limiter.enabled", limiter, "enabled"),
	maybe("limiter.assist_time_pool", limiter, "assistTimePool"),
	maybe("limiter.idle_mark_time_pool", limiter, "idleMarkTimePool"),
	maybe("limiter.idle_time_pool", limiter, "idleTimePool"),
	maybe("limiter.lock", limiter, "lock"),
	wide(maybe("limiter.last_update", limiter, "lastUpdate")),
	maybe("mheap.lock", mheap, "lock"),
	maybe("mheap.sweepgen", mheap, "sweepgen"),
	maybe("mheap.pages_in_use", mheap, "pagesInUse"),
	maybe("mheap.pages_swept", mheap, "pagesSwept"),
	maybe("mheap.pages_swept_basis", mheap, "pagesSweptBasis"),
	maybe("mheap.sweep_heap_live_basis", mheap, "sweepHeapLiveBasis"),
	maybe("mheap.sweep_pages_per_byte", mheap, "sweepPagesPerByte"),
	maybe("mheap.reclaim_index", mheap, "reclaimIndex"),
	maybe("mheap.reclaim_credit", mheap, "reclaimCredit"),
	wide(maybe("mheap.spanalloc", mheap, "spanalloc")),
	wide(maybe("mheap.cachealloc", mheap, "cachealloc")),
	wide(maybe("mheap.specialfinalizeralloc", mheap, "specialfinalizeralloc")),
	wide(maybe("mheap.speciallock", mheap, "speciallock")),
	maybe("ticks.lock", ticks, "lock"),
}
