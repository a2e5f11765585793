package metrickit

// memstats are the series that the Prometheus client library named after the
// fields of runtime.MemStats, as sums of runtime/metrics: reading MemStats
// itself would stop the world.
var memstats = []struct {
	name, help string
	terms      []string
}{
	{"alloc_bytes", "Bytes of heap objects, reachable and not yet swept.", []string{heapObjects}},
	{"alloc_bytes_total", "Bytes allocated for heap objects.", []string{"/gc/heap/allocs:bytes"}},
	{"sys_bytes", "Bytes obtained from the system.", []string{"/memory/classes/total:bytes"}},
	{"mallocs_total", "Heap objects allocated.", []string{"/gc/heap/allocs:objects", "/gc/heap/tiny/allocs:objects"}},
	{"frees_total", "Heap objects freed.", []string{"/gc/heap/frees:objects", "/gc/heap/tiny/allocs:objects"}},
	{"heap_alloc_bytes", "Bytes of heap objects, reachable and not yet swept.", []string{heapObjects}},
	{"heap_sys_bytes", "Bytes of heap obtained from the system.", []string{heapObjects, heapUnused, heapReleased, heapFree}},
	{"heap_idle_bytes", "Bytes in unused spans.", []string{heapReleased, heapFree}},
	{"heap_inuse_bytes", "Bytes in used spans.", []string{heapObjects, heapUnused}},
	{"heap_released_bytes", "Bytes given back to the system.", []string{heapReleased}},
	{"heap_objects", "Heap objects.", []string{"/gc/heap/objects:objects"}},
	{"stack_inuse_bytes", "Bytes in stack spans.", []string{heapStacks}},
	{"stack_sys_bytes", "Bytes of stack obtained from the system.", []string{heapStacks, "/memory/classes/os-stacks:bytes"}},
	{"mspan_inuse_bytes", "Bytes of used mspan structures.", []string{mspanInuse}},
	{"mspan_sys_bytes", "Bytes obtained for mspan structures.", []string{mspanInuse, "/memory/classes/metadata/mspan/free:bytes"}},
	{"mcache_inuse_bytes", "Bytes of used mcache structures.", []string{mcacheInuse}},
	{"mcache_sys_bytes", "Bytes obtained for mcache structures.", []string{mcacheInuse, "/memory/classes/metadata/mcache/free:bytes"}},
	{"buck_hash_sys_bytes", "Bytes of profiling tables.", []string{"/memory/classes/profiling/buckets:bytes"}},
	{"gc_sys_bytes", "Bytes of garbage-collection metadata.", []string{"/memory/classes/metadata/other:bytes"}},
	{"other_sys_bytes", "Bytes of other runtime structures.", []string{"/memory/classes/other:bytes"}},
	{"next_gc_bytes", "Heap size at which the next collection ends.", []string{"/gc/heap/goal:bytes"}},
}

const (
	heapObjects  = "/memory/classes/heap/objects:bytes"
	heapUnused   = "/memory/classes/heap/unused:bytes"
	heapReleased = "/memory/classes/heap/released:bytes"
	heapFree     = "/memory/classes/heap/free:bytes"
	heapStacks   = "/memory/classes/heap/stacks:bytes"
	mspanInuse   = "/memory/classes/metadata/mspan/inuse:bytes"
	mcacheInuse  = "/memory/classes/metadata/mcache/inuse:bytes"
)
