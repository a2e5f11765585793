// A program whose stalls are measured: a ticker of one millisecond beside
// goroutines that wait and a heap that is collected all the time. For each
// line with a number of milliseconds on standard input it says, as one JSON
// object, what the gaps between ticks were meanwhile.
package main

import (
	"bufio"
	"encoding/json"
	"os"
	"runtime"
	"strconv"
	"time"
)

type block struct {
	next *block
	rest [1016]byte
}

func main() {
	goroutines, heapMiB, churnMiB := argument(1), argument(2), argument(3)
	never := make(chan int)
	for i := 0; i < goroutines; i++ {
		go wait(never, 8)
	}
	live := make([]*block, heapMiB<<10)
	for i := range live {
		live[i] = &block{}
	}
	go churn(live, churnMiB)
	windows := make(chan time.Duration)
	answers := make(chan map[string]any)
	go tick(windows, answers)
	in := bufio.NewScanner(os.Stdin)
	out := json.NewEncoder(os.Stdout)
	for in.Scan() {
		ms, err := strconv.Atoi(in.Text())
		if err != nil {
			panic(err)
		}
		windows <- time.Duration(ms) * time.Millisecond
		answer := <-answers
		answer["goroutines"] = runtime.NumGoroutine()
		answer["go"] = runtime.Version()
		if err := out.Encode(answer); err != nil {
			panic(err)
		}
	}
}

func argument(at int) int {
	n, err := strconv.Atoi(os.Args[at])
	if err != nil {
		panic(err)
	}
	return n
}

//go:noinline
func wait(never chan int, deep int) int {
	if deep > 0 {
		return wait(never, deep-1) + 1
	}
	return <-never
}

// churn replaces blocks, so many MiB a second.
func churn(live []*block, mib int) {
	at := 0
	for range time.Tick(10 * time.Millisecond) {
		for i := 0; i < mib<<10/100; i++ {
			live[at] = &block{next: live[(at+1)%len(live)].next}
			at = (at + 7919) % len(live)
		}
	}
}

// tick measures the gaps between ticks for as long as it is told to.
func tick(windows chan time.Duration, answers chan map[string]any) {
	ticker := time.NewTicker(time.Millisecond)
	gaps := make([]int64, 0, 1<<20)
	for window := range windows {
		gaps = gaps[:0]
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		<-ticker.C
		begun := time.Now()
		for last := begun; last.Sub(begun) < window; {
			<-ticker.C
			now := time.Now()
			if len(gaps) < cap(gaps) {
				gaps = append(gaps, now.Sub(last).Microseconds())
			}
			last = now
		}
		runtime.ReadMemStats(&after)
		answers <- map[string]any{"gaps_us": gaps, "collections": after.NumGC - before.NumGC}
	}
}
