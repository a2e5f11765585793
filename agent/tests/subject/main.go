// A program that is read from outside by tests, and says of itself what they
// should find: one JSON object for each command on standard input.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"runtime/pprof"
	"strings"
	"sync"
	"syscall"
	"time"
)

var kept [][]byte

func main() {
	in := bufio.NewScanner(os.Stdin)
	out := json.NewEncoder(os.Stdout)
	for in.Scan() {
		var command string
		var n int
		fmt.Sscan(in.Text(), &command, &n)
		answer := map[string]any{}
		switch command {
		case "metrics":
			answer = all()
		case "memstats":
			answer["memstats"] = stats()
		case "goroutines":
			answer["sites"] = sites()
			answer["count"] = runtime.NumGoroutine()
		case "park":
			park(n)
		case "hold":
			hold(n)
		case "gc":
			runtime.GC()
		case "churn":
			churn(n)
		case "keep":
			keep(n)
		case "limit":
			debug.SetMemoryLimit(int64(n))
		case "contend":
			contend(n)
		case "heap":
			answer = heap()
		case "waits":
			answer = waits()
		case "exec":
			out.Encode(answer)
			panic(syscall.Exec("/proc/self/exe", os.Args, os.Environ()))
		}
		out.Encode(answer)
	}
}

// all are the scalar metrics, and of histograms the counts.
func all() map[string]any {
	var samples []metrics.Sample
	for _, d := range metrics.All() {
		if !strings.HasPrefix(d.Name, "/godebug/") {
			samples = append(samples, metrics.Sample{Name: d.Name})
		}
	}
	metrics.Read(samples)
	values := map[string]any{}
	for _, s := range samples {
		switch s.Value.Kind() {
		case metrics.KindUint64:
			values[s.Name] = float64(s.Value.Uint64())
		case metrics.KindFloat64:
			values[s.Name] = s.Value.Float64()
		case metrics.KindFloat64Histogram:
			h := s.Value.Float64Histogram()
			var bounds []float64
			for _, b := range h.Buckets[1:] {
				if !math.IsInf(b, 1) {
					bounds = append(bounds, b)
				}
			}
			values[s.Name] = map[string]any{"counts": h.Counts, "bounds": bounds}
		}
	}
	values["go_goroutines"] = runtime.NumGoroutine()
	threads, _ := runtime.ThreadCreateProfile(nil)
	values["go_threads"] = threads
	return values
}

func stats() map[string]any {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	var s debug.GCStats
	s.PauseQuantiles = make([]time.Duration, 5)
	debug.ReadGCStats(&s)
	quantiles := []float64{}
	for _, q := range s.PauseQuantiles {
		quantiles = append(quantiles, q.Seconds())
	}
	return map[string]any{
		"LastGC": float64(m.LastGC) / 1e9, "PauseTotal": float64(m.PauseTotalNs) / 1e9, "NumGC": m.NumGC,
		"GCCPUFraction": m.GCCPUFraction, "NextGC": m.NextGC, "quantiles": quantiles,
		"Alloc": m.Alloc, "TotalAlloc": m.TotalAlloc, "Sys": m.Sys, "Mallocs": m.Mallocs, "Frees": m.Frees,
		"HeapSys": m.HeapSys, "HeapIdle": m.HeapIdle, "HeapInuse": m.HeapInuse, "HeapReleased": m.HeapReleased,
		"HeapObjects": m.HeapObjects, "StackInuse": m.StackInuse, "StackSys": m.StackSys,
		"MSpanInuse": m.MSpanInuse, "MSpanSys": m.MSpanSys, "MCacheInuse": m.MCacheInuse,
		"MCacheSys": m.MCacheSys, "BuckHashSys": m.BuckHashSys, "GCSys": m.GCSys, "OtherSys": m.OtherSys,
	}
}

// sites counts goroutines by what they run, what started them and what they wait for, as their dump tells.
func sites() map[string]int {
	dump := make([]byte, 1<<16)
	for {
		n := runtime.Stack(dump, true)
		if n < len(dump) {
			dump = dump[:n]
			break
		}
		dump = make([]byte, 2*len(dump))
	}
	counts := map[string]int{}
	for _, one := range strings.Split(strings.TrimSpace(string(dump)), "\n\n") {
		lines := strings.Split(one, "\n")
		_, wait, _ := strings.Cut(lines[0], "[")
		wait, _, _ = strings.Cut(strings.TrimSuffix(wait, "]:"), ",")
		function, created := "", ""
		for _, line := range lines[1:] {
			if strings.HasPrefix(line, "created by ") {
				created, _, _ = strings.Cut(strings.TrimPrefix(line, "created by "), " in goroutine ")
			} else if !strings.HasPrefix(line, "\t") {
				function = line[:strings.LastIndexByte(line, '(')]
			}
		}
		counts[function+"|"+created+"|"+wait]++
	}
	return counts
}

//go:noinline
func park(n int) {
	var begun sync.WaitGroup
	for i := 0; i < n; i++ {
		begun.Add(1)
		go parked(&begun, make(chan int))
	}
	begun.Wait()
	time.Sleep(10 * time.Millisecond)
}

//go:noinline
func parked(begun *sync.WaitGroup, c chan int) {
	begun.Done()
	deeper(c, 3)
}

//go:noinline
func deeper(c chan int, depth int) int {
	if depth > 0 {
		return deeper(c, depth-1) + 1
	}
	return receive(c)
}

//go:noinline
func receive(c chan int) int {
	return <-c
}

// hold parks n goroutines on a mutex.
func hold(n int) {
	var mutex sync.Mutex
	mutex.Lock()
	for i := 0; i < n; i++ {
		go locked(&mutex)
	}
	time.Sleep(10 * time.Millisecond)
}

//go:noinline
func locked(mutex *sync.Mutex) {
	mutex.Lock()
}

var sink []byte

//go:noinline
func churn(n int) {
	for i := 0; i < n; i++ {
		sink = make([]byte, 1<<12)
	}
}

//go:noinline
func keep(n int) {
	for i := 0; i < n; i++ {
		kept = append(kept, make([]byte, 1<<16))
	}
}

// contend makes n waits of some milliseconds for a mutex.
func contend(n int) {
	runtime.SetMutexProfileFraction(1)
	runtime.SetBlockProfileRate(1)
	var mutex sync.Mutex
	for i := 0; i < n; i++ {
		var done sync.WaitGroup
		mutex.Lock()
		done.Add(1)
		go func() {
			waiter(&mutex)
			done.Done()
		}()
		time.Sleep(20 * time.Millisecond)
		release(&mutex)
		done.Wait()
	}
}

//go:noinline
func waiter(mutex *sync.Mutex) {
	mutex.Lock()
	mutex.Unlock()
}

//go:noinline
func release(mutex *sync.Mutex) {
	mutex.Unlock()
}

// heap is what the heap profile says is in use and was allocated in keep, estimated from its samples.
func heap() map[string]any {
	records := make([]runtime.MemProfileRecord, 10000)
	n, _ := runtime.MemProfile(records, true)
	inUse, allocated := 0.0, 0.0
	for _, r := range records[:n] {
		if r.AllocObjects > 0 && passes(r.Stack(), "main.keep") {
			size := float64(r.AllocBytes) / float64(r.AllocObjects)
			scale := 1 / (1 - math.Exp(-size/float64(runtime.MemProfileRate)))
			inUse += float64(r.InUseBytes()) * scale
			allocated += float64(r.AllocBytes) * scale
		}
	}
	return map[string]any{"inuse": inUse, "allocated": allocated}
}

// waits is for how many seconds the mutex and the block profile say that goroutines waited, at one site each.
func waits() map[string]any {
	records := make([]runtime.BlockProfileRecord, 10000)
	held, _ := runtime.MutexProfile(records)
	mutex := ticksAt(records[:held], "main.release")
	blocked, _ := runtime.BlockProfile(records)
	block := ticksAt(records[:blocked], "main.waiter")
	// How many ticks make a second is told in the profile's text only.
	var text bytes.Buffer
	pprof.Lookup("mutex").WriteTo(&text, 1)
	var perSecond float64
	_, after, _ := strings.Cut(text.String(), "cycles/second=")
	fmt.Sscan(after, &perSecond)
	return map[string]any{"mutex": mutex / perSecond, "block": block / perSecond}
}

func ticksAt(records []runtime.BlockProfileRecord, function string) float64 {
	ticks := 0.0
	for _, r := range records {
		if passes(r.Stack(), function) {
			ticks += float64(r.Cycles)
		}
	}
	return ticks
}

func passes(stack []uintptr, function string) bool {
	frames := runtime.CallersFrames(stack)
	for {
		frame, more := frames.Next()
		if frame.Function == function {
			return true
		}
		if !more {
			return false
		}
	}
}
