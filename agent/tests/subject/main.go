// A program that is read from outside by tests, and says of itself what they
// should find: one JSON object for each command on standard input.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
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
			answer["inuse"] = heap()
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
	values["goroutines"] = runtime.NumGoroutine()
	threads, _ := runtime.ThreadCreateProfile(nil)
	values["threads"] = threads
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
		"GCCPUFraction": m.GCCPUFraction, "Sys": m.Sys, "TotalAlloc": m.TotalAlloc, "NextGC": m.NextGC,
		"quantiles": quantiles,
	}
}

// sites counts goroutines by the function they were started with.
func sites() map[string]int {
	records := make([]runtime.StackRecord, runtime.NumGoroutine()+100)
	n, _ := runtime.GoroutineProfile(records)
	counts := map[string]int{}
	for _, r := range records[:n] {
		stack := r.Stack()
		last := ""
		frames := runtime.CallersFrames(stack)
		for {
			frame, more := frames.Next()
			if frame.Function != "runtime.goexit" {
				last = frame.Function
			}
			if !more {
				break
			}
		}
		counts[last]++
	}
	return counts
}

//go:noinline
func park(n int) {
	var begun sync.WaitGroup
	for range n {
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
	for range n {
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
	for range n {
		sink = make([]byte, 1<<12)
	}
}

//go:noinline
func keep(n int) {
	for range n {
		kept = append(kept, make([]byte, 1<<16))
	}
}

// contend makes n waits of some milliseconds for a mutex.
func contend(n int) {
	runtime.SetMutexProfileFraction(1)
	runtime.SetBlockProfileRate(1)
	var mutex sync.Mutex
	for range n {
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

// heap is what the heap profile says is in use in keep, unsampled.
func heap() float64 {
	records := make([]runtime.MemProfileRecord, 10000)
	n, _ := runtime.MemProfile(records, true)
	total := 0.0
	for _, r := range records[:n] {
		frames := runtime.CallersFrames(r.Stack())
		for {
			frame, more := frames.Next()
			if frame.Function == "main.keep" && r.AllocObjects > 0 {
				size := float64(r.AllocBytes) / float64(r.AllocObjects)
				total += float64(r.InUseBytes()) / (1 - math.Exp(-size/float64(runtime.MemProfileRate)))
				break
			}
			if !more {
				break
			}
		}
	}
	return total
}
