// Command sample links every part of the runtime that the agent reads, so that its debug information describes them.
package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"runtime/pprof"
)

func main() {
	runtime.SetBlockProfileRate(1)
	runtime.SetMutexProfileFraction(1)
	runtime.GOMAXPROCS(runtime.NumCPU())
	debug.SetGCPercent(100)
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	samples := []metrics.Sample{{Name: "/sched/latencies:seconds"}}
	metrics.Read(samples)
	for _, profile := range pprof.Profiles() {
		_ = profile.WriteTo(os.Stdout, 1)
	}
}
