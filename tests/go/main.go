// Command corpus is a set of small programs, some that leak goroutines and some that only look like it. Time is virtual:
// a program makes one step when it is told to, a step stands for half a minute, and tells its goroutines after each. What
// is to be said of each program is in expected.tsv. Functions that goroutines are started with are not inlined, as those
// of real programs are too long for that.
//
//	corpus NAME      then a line on standard input for each step, "step", or "look" for a step whose answer on standard
//	                 output is "LOAD BYTES\n", the requests served so far and the length of a goroutine profile, and that
//	                 profile
//	corpus -list     the names
package main

import (
	"bufio"
	"bytes"
	"fmt"
	"math/rand"
	"os"
	"os/signal"
	"runtime"
	"runtime/pprof"
	"sort"
	"syscall"
	"time"
)

const (
	minute = 2          // steps
	window = 5 * minute // the ladder's shortest window
	settle = 2 * time.Millisecond
)

// world is what a program knows of virtual time.
type world struct {
	now    int
	load   float64
	random *rand.Rand
	waits  map[int]chan struct{}
	todo   map[int][]func()
}

// step is what a program does each half minute.
type step func(now int)

var programs = map[string]func(w *world) step{}

// at is closed at a step to come.
func (w *world) at(when int) <-chan struct{} {
	if when <= w.now {
		when = w.now + 1
	}
	if w.waits[when] == nil {
		w.waits[when] = make(chan struct{})
	}
	return w.waits[when]
}

// in is closed after some steps.
func (w *world) in(steps int) <-chan struct{} { return w.at(w.now + steps) }

// later calls do after some steps.
func (w *world) later(steps int, do func()) { w.todo[w.now+steps] = append(w.todo[w.now+steps], do) }

// some is a whole number with the given mean: its fraction is the chance of one more.
func (w *world) some(mean float64) int {
	n := int(mean)
	if w.random.Float64() < mean-float64(n) {
		n++
	}
	return n
}

func main() {
	if len(os.Args) != 2 {
		fail("one argument: the name of a program")
	}
	switch name := os.Args[1]; name {
	case "-list":
		for _, name := range names() {
			fmt.Println(name)
		}
	case "-upstream":
		upstream()
	default:
		make := programs[name]
		if make == nil {
			fail("no program " + name)
		}
		furniture()
		w := &world{random: rand.New(rand.NewSource(1)), waits: map[int]chan struct{}{}, todo: map[int][]func(){}}
		serve(w, make(w))
	}
}

func serve(w *world, do step) {
	in, out := bufio.NewScanner(os.Stdin), bufio.NewWriter(os.Stdout)
	profile := pprof.Lookup("goroutine")
	for in.Scan() {
		w.now++
		if wait := w.waits[w.now]; wait != nil {
			close(wait)
			delete(w.waits, w.now)
		}
		for _, do := range w.todo[w.now] {
			do()
		}
		delete(w.todo, w.now)
		do(w.now)
		time.Sleep(settle)
		// The runtime collects every two minutes at least.
		if w.now%(2*minute) == 0 && !gcOff {
			runtime.GC()
		}
		if in.Text() != "look" {
			continue
		}
		var page bytes.Buffer
		if err := profile.WriteTo(&page, 0); err != nil {
			fail(err.Error())
		}
		fmt.Fprintf(out, "%g %d\n", w.load, page.Len())
		out.Write(page.Bytes())
		out.Flush()
	}
}

// furniture is what stands about in every program.
func furniture() {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP)
	go daemon(signals)
	for i := 0; i < 4; i++ {
		go janitor(time.NewTicker(time.Second))
	}
	go func() { select {} }()
}

func daemon(signals <-chan os.Signal) {
	for range signals {
	}
}

func janitor(ticker *time.Ticker) {
	for range ticker.C {
	}
}

func names() []string {
	var all []string
	for name := range programs {
		all = append(all, name)
	}
	sort.Strings(all)
	return all
}

func fail(message string) {
	fmt.Fprintln(os.Stderr, "corpus:", message)
	os.Exit(2)
}
