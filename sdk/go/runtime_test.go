package metrickit

import (
	"math"
	"reflect"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"testing"

	"github.com/metrickit/metrickit/sdk/go/internal/remotewrite"
)

// The names of Go 1.26, as the Prometheus client library has them.
var runtimeNames = map[string]string{
	"/cgo/go-to-c-calls:calls":                     "go_cgo_go_to_c_calls_calls_total",
	"/cpu/classes/gc/mark/assist:cpu-seconds":      "go_cpu_classes_gc_mark_assist_cpu_seconds_total",
	"/cpu/classes/gc/mark/dedicated:cpu-seconds":   "go_cpu_classes_gc_mark_dedicated_cpu_seconds_total",
	"/cpu/classes/gc/mark/idle:cpu-seconds":        "go_cpu_classes_gc_mark_idle_cpu_seconds_total",
	"/cpu/classes/gc/pause:cpu-seconds":            "go_cpu_classes_gc_pause_cpu_seconds_total",
	"/cpu/classes/gc/total:cpu-seconds":            "go_cpu_classes_gc_total_cpu_seconds_total",
	"/cpu/classes/idle:cpu-seconds":                "go_cpu_classes_idle_cpu_seconds_total",
	"/cpu/classes/scavenge/assist:cpu-seconds":     "go_cpu_classes_scavenge_assist_cpu_seconds_total",
	"/cpu/classes/scavenge/background:cpu-seconds": "go_cpu_classes_scavenge_background_cpu_seconds_total",
	"/cpu/classes/scavenge/total:cpu-seconds":      "go_cpu_classes_scavenge_total_cpu_seconds_total",
	"/cpu/classes/total:cpu-seconds":               "go_cpu_classes_total_cpu_seconds_total",
	"/cpu/classes/user:cpu-seconds":                "go_cpu_classes_user_cpu_seconds_total",
	"/gc/cleanups/executed:cleanups":               "go_gc_cleanups_executed_cleanups_total",
	"/gc/cleanups/queued:cleanups":                 "go_gc_cleanups_queued_cleanups_total",
	"/gc/cycles/automatic:gc-cycles":               "go_gc_cycles_automatic_gc_cycles_total",
	"/gc/cycles/forced:gc-cycles":                  "go_gc_cycles_forced_gc_cycles_total",
	"/gc/cycles/total:gc-cycles":                   "go_gc_cycles_total_gc_cycles_total",
	"/gc/finalizers/executed:finalizers":           "go_gc_finalizers_executed_finalizers_total",
	"/gc/finalizers/queued:finalizers":             "go_gc_finalizers_queued_finalizers_total",
	"/gc/gogc:percent":                             "go_gc_gogc_percent",
	"/gc/gomemlimit:bytes":                         "go_gc_gomemlimit_bytes",
	"/gc/heap/allocs-by-size:bytes":                "go_gc_heap_allocs_by_size_bytes",
	"/gc/heap/allocs:bytes":                        "go_gc_heap_allocs_bytes_total",
	"/gc/heap/allocs:objects":                      "go_gc_heap_allocs_objects_total",
	"/gc/heap/frees-by-size:bytes":                 "go_gc_heap_frees_by_size_bytes",
	"/gc/heap/frees:bytes":                         "go_gc_heap_frees_bytes_total",
	"/gc/heap/frees:objects":                       "go_gc_heap_frees_objects_total",
	"/gc/heap/goal:bytes":                          "go_gc_heap_goal_bytes",
	"/gc/heap/live:bytes":                          "go_gc_heap_live_bytes",
	"/gc/heap/objects:objects":                     "go_gc_heap_objects_objects",
	"/gc/heap/tiny/allocs:objects":                 "go_gc_heap_tiny_allocs_objects_total",
	"/gc/limiter/last-enabled:gc-cycle":            "go_gc_limiter_last_enabled_gc_cycle",
	"/gc/pauses:seconds":                           "go_gc_pauses_seconds",
	"/gc/scan/globals:bytes":                       "go_gc_scan_globals_bytes",
	"/gc/scan/heap:bytes":                          "go_gc_scan_heap_bytes",
	"/gc/scan/stack:bytes":                         "go_gc_scan_stack_bytes",
	"/gc/scan/total:bytes":                         "go_gc_scan_total_bytes",
	"/gc/stack/starting-size:bytes":                "go_gc_stack_starting_size_bytes",
	"/memory/classes/heap/free:bytes":              "go_memory_classes_heap_free_bytes",
	"/memory/classes/heap/objects:bytes":           "go_memory_classes_heap_objects_bytes",
	"/memory/classes/heap/released:bytes":          "go_memory_classes_heap_released_bytes",
	"/memory/classes/heap/stacks:bytes":            "go_memory_classes_heap_stacks_bytes",
	"/memory/classes/heap/unused:bytes":            "go_memory_classes_heap_unused_bytes",
	"/memory/classes/metadata/mcache/free:bytes":   "go_memory_classes_metadata_mcache_free_bytes",
	"/memory/classes/metadata/mcache/inuse:bytes":  "go_memory_classes_metadata_mcache_inuse_bytes",
	"/memory/classes/metadata/mspan/free:bytes":    "go_memory_classes_metadata_mspan_free_bytes",
	"/memory/classes/metadata/mspan/inuse:bytes":   "go_memory_classes_metadata_mspan_inuse_bytes",
	"/memory/classes/metadata/other:bytes":         "go_memory_classes_metadata_other_bytes",
	"/memory/classes/os-stacks:bytes":              "go_memory_classes_os_stacks_bytes",
	"/memory/classes/other:bytes":                  "go_memory_classes_other_bytes",
	"/memory/classes/profiling/buckets:bytes":      "go_memory_classes_profiling_buckets_bytes",
	"/memory/classes/total:bytes":                  "go_memory_classes_total_bytes",
	"/sched/gomaxprocs:threads":                    "go_sched_gomaxprocs_threads",
	"/sched/goroutines-created:goroutines":         "go_sched_goroutines_created_goroutines_total",
	"/sched/goroutines/not-in-go:goroutines":       "go_sched_goroutines_not_in_go_goroutines",
	"/sched/goroutines/runnable:goroutines":        "go_sched_goroutines_runnable_goroutines",
	"/sched/goroutines/running:goroutines":         "go_sched_goroutines_running_goroutines",
	"/sched/goroutines/waiting:goroutines":         "go_sched_goroutines_waiting_goroutines",
	"/sched/goroutines:goroutines":                 "go_sched_goroutines_goroutines",
	"/sched/latencies:seconds":                     "go_sched_latencies_seconds",
	"/sched/pauses/stopping/gc:seconds":            "go_sched_pauses_stopping_gc_seconds",
	"/sched/pauses/stopping/other:seconds":         "go_sched_pauses_stopping_other_seconds",
	"/sched/pauses/total/gc:seconds":               "go_sched_pauses_total_gc_seconds",
	"/sched/pauses/total/other:seconds":            "go_sched_pauses_total_other_seconds",
	"/sched/threads/total:threads":                 "go_sched_threads_total_threads",
	"/sync/mutex/wait/total:seconds":               "go_sync_mutex_wait_total_seconds_total",
}

func TestRuntimeNames(t *testing.T) {
	known := 0
	for _, d := range metrics.All() {
		got, want := runtimeName(d), runtimeNames[d.Name]
		switch {
		case want != "":
			known++
			if got != want {
				t.Errorf("%s is %s, want %s", d.Name, got, want)
			}
		case strings.HasPrefix(d.Name, godebugPrefix):
			if !strings.HasPrefix(got, "go_godebug_non_default_behavior_") || !strings.HasSuffix(got, "_events_total") {
				t.Errorf("%s is %s", d.Name, got)
			}
		default:
			t.Logf("%s, which Go 1.26 does not have, is %s", d.Name, got)
		}
		if err := checkMetricName(got); err != nil {
			t.Error(err)
		}
	}
	// Go 1.21 has 52 of them.
	if known < 52 {
		t.Errorf("only %d names of the table are there", known)
	}
	for name, want := range map[string]string{"/a/b:c/d": "go_a_b_c_per_d", "/a:b*c": "go_a_b_c", "/a-b": "go_a_b"} {
		if got := runtimeName(metrics.Description{Name: name}); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
}

// Everything that the runtime tells is sent, as the kind that it is.
func TestRuntimeMetrics(t *testing.T) {
	runtime.GC()
	found := collected(t, newRuntimeSource())
	for _, d := range metrics.All() {
		if strings.HasPrefix(d.Name, godebugPrefix) {
			continue
		}
		one, there := found[runtimeName(d)+"{}"]
		if !there {
			t.Errorf("%s is not sent", d.Name)
			continue
		}
		wantKind := map[bool]remotewrite.Kind{true: remotewrite.Counter, false: remotewrite.Gauge}[d.Cumulative]
		if d.Kind == metrics.KindFloat64Histogram {
			wantKind = remotewrite.Histogram
		}
		if one.Kind != uint64(wantKind) || one.Help == "" || (one.Histogram != nil) != (d.Kind == metrics.KindFloat64Histogram) {
			t.Errorf("%s is sent as %+v", d.Name, one)
		}
		if d.Cumulative != (one.StartMs > 0) || one.StartMs > one.TimestampMs {
			t.Errorf("%s began at %d", d.Name, one.StartMs)
		}
	}
	for _, name := range []string{
		"go_goroutines", "go_threads", "go_memstats_heap_inuse_bytes", "go_memstats_mallocs_total", "go_memstats_sys_bytes",
	} {
		if found[name+"{}"].Value <= 0 {
			t.Errorf("%s is %+v", name, found[name+"{}"])
		}
	}
	if count := len(memstats); count != 21 {
		t.Errorf("%d names of memstats", count)
	}
	for _, m := range memstats {
		if _, there := found["go_memstats_"+m.name+"{}"]; !there {
			t.Errorf("go_memstats_%s is not sent", m.name)
		}
	}
	bySize := found["go_gc_heap_allocs_by_size_bytes{}"].Histogram
	if bySize.Sum != found["go_gc_heap_allocs_bytes_total{}"].Value || bySize.Sum == 0 {
		t.Errorf("the sum of sizes is %v", bySize.Sum)
	}
	latencies := found["go_sched_latencies_seconds{}"].Histogram
	if latencies.Count == 0 || latencies.Sum <= 0 {
		t.Errorf("got %+v", latencies)
	}
}

func TestRuntimeHistogramsAreExact(t *testing.T) {
	inf := math.Inf(1)
	for _, c := range []struct {
		name    string
		bounds  []float64
		counts  []uint64
		custom  []float64
		buckets map[int64]int64
		sum     float64
	}{
		{"times", []float64{-inf, 0, 1, 2, inf}, []uint64{1, 2, 0, 3}, []float64{0, 1, 2}, map[int64]int64{0: 1, 1: 2, 3: 3}, 0 + 2*0.5 + 3*2},
		{"sizes", []float64{1, 9, 17, inf}, []uint64{4, 0, 1}, []float64{9, 17}, map[int64]int64{0: 4, 2: 1}, 4*5 + 17},
		{"finite", []float64{1, 2, 4}, []uint64{0, 7}, []float64{2, 4}, map[int64]int64{1: 7}, 21},
		{"empty", []float64{-inf, inf}, []uint64{0}, nil, map[int64]int64{}, 0},
	} {
		var reading runtimeReading
		part := writer(func(b *batch) {
			reading.fill(&b.native, &metrics.Float64Histogram{Buckets: c.bounds, Counts: c.counts}, nil)
			b.metric("h", "", remotewrite.Histogram)
			b.histogram(nil, 1)
		})
		got := collected(t, part)["h{}"].Histogram
		if got.Schema != remotewrite.CustomSchema || !reflect.DeepEqual(got.CustomBounds, c.custom) ||
			!reflect.DeepEqual(got.Positive, c.buckets) || got.Sum != c.sum || got.ZeroThreshold != 0 {
			t.Errorf("%s: got %+v", c.name, got)
		}
	}
	// What the runtime really has, bucket by bucket.
	sample := []metrics.Sample{{Name: "/sched/latencies:seconds"}}
	metrics.Read(sample)
	read := sample[0].Value.Float64Histogram()
	var reading runtimeReading
	reading.fill(&newBatch(nil, nil).native, read, nil)
	if len(reading.bounds) != len(read.Counts)-1 || reading.bounds[0] != read.Buckets[1] {
		t.Errorf("%d bounds of %d buckets", len(reading.bounds), len(read.Counts))
	}
}

// writer is a source that is a function.
type writer func(b *batch)

func (w writer) write(b *batch) { w(b) }

func TestGodebugIsSentOnceItCounts(t *testing.T) {
	source := newRuntimeSource()
	for key, one := range collected(t, source) {
		if strings.HasPrefix(key, "go_godebug_") && one.Value == 0 {
			t.Errorf("%s is zero", key)
		}
	}
	for at, sample := range source.samples {
		if strings.HasPrefix(sample.Name, godebugPrefix) != source.readings[at].nonzero {
			t.Errorf("%s: nonzero is %v", sample.Name, source.readings[at].nonzero)
		}
	}
}

func TestInfo(t *testing.T) {
	found := collected(t, newInfoSource())
	if one := found[`go_info{version="`+runtime.Version()+`"}`]; one.Value != 1 {
		t.Errorf("got %v", found)
	}
	build, _ := debug.ReadBuildInfo()
	for key, one := range found {
		if one.Name == "metrickit_go_process_info" {
			if one.Labels["go_version"] != runtime.Version() || one.Labels["module"] != build.Main.Path || one.Labels["pid"] == "" {
				t.Errorf("got %s", key)
			}
			return
		}
	}
	t.Error("there is no info of the process")
}

func TestProcess(t *testing.T) {
	found := collected(t, newProcessSource())
	names := []string{"start_time_seconds"}
	if runtime.GOOS == "linux" {
		names = append(names, "cpu_seconds_total", "threads", "virtual_memory_bytes", "resident_memory_bytes", "open_fds")
	}
	for _, name := range names {
		if found["process_"+name+"{}"].Value <= 0 {
			t.Errorf("process_%s is %+v", name, found["process_"+name+"{}"])
		}
	}
	if began := processStartMs(); loadedAt.UnixMilli()-began > 600_000 || began > loadedAt.UnixMilli() {
		t.Errorf("the test began %d ms before it was loaded", loadedAt.UnixMilli()-began)
	}
	if resident := found["process_resident_memory_bytes{}"].Value; runtime.GOOS == "linux" && (resident < 1<<20 || resident > 1<<34) {
		t.Errorf("%v bytes resident", resident)
	}
}

func BenchmarkCollectRuntime(b *testing.B) {
	parts := []source{newRuntimeSource(), newInfoSource(), newProcessSource()}
	bytes := 0
	batch := newBatch([]label{{"instance", "host/0"}, {"job", "web"}}, func(body []byte, _ int) { bytes = len(body) })
	b.ReportAllocs()
	for n := 0; n < b.N; n++ {
		batch.begin(loadedAt, false)
		for _, part := range parts {
			part.write(batch)
		}
		batch.end()
	}
	b.ReportMetric(float64(bytes), "bytes")
	b.ReportMetric(float64(batch.series), "series")
}
