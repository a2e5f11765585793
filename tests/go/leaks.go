package main

import (
	"context"
	"errors"
	"runtime/debug"
	"sync"
	"time"
)

var gcOff bool

func init() {
	programs["send-without-receiver"] = func(w *world) step {
		return func(now int) {
			result := make(chan int)
			go sendResult(result)
			select {
			case <-result:
			default: // the caller has lost patience
			}
		}
	}
	programs["receive-that-nobody-serves"] = func(w *world) step {
		return func(now int) { go waitReply(make(chan int)) }
	}
	programs["context-never-cancelled"] = func(w *world) step {
		return func(now int) {
			ctx, cancel := context.WithCancel(context.Background())
			forgotten = append(forgotten, cancel)
			go watch(ctx, make(chan int))
		}
	}
	programs["ticker-never-stopped"] = func(w *world) step {
		return func(now int) { go pollEvery(time.NewTicker(15 * time.Millisecond)) }
	}
	programs["retry-for-ever"] = func(w *world) step {
		return func(now int) { go retry() }
	}
	programs["time-after-in-a-loop"] = func(w *world) step {
		return func(now int) { go waitOrGiveUp(make(chan int)) }
	}
	programs["mutex-never-unlocked"] = func(w *world) step {
		var lock sync.Mutex
		return func(now int) { go update(&lock) }
	}
	programs["rwmutex-writer-gone"] = func(w *world) step {
		var lock sync.RWMutex
		lock.Lock()
		return func(now int) { go lookUp(&lock) }
	}
	programs["wait-group-never-done"] = func(w *world) step {
		return func(now int) {
			var group sync.WaitGroup
			group.Add(2)
			go func() { defer group.Done() }()
			go gather(&group)
		}
	}
	programs["cond-never-signalled"] = func(w *world) step {
		cond := sync.NewCond(new(sync.Mutex))
		return func(now int) { go await(cond) }
	}
	programs["early-return-leaves-senders"] = func(w *world) step {
		return func(now int) { _ = firstError(3) }
	}
	programs["worker-gone-queue-full"] = func(w *world) step {
		queue := make(chan int, 50)
		return func(now int) { go produce(queue) }
	}
	programs["nil-channel"] = func(w *world) step {
		var never chan int
		return func(now int) {
			if now%minute == 0 {
				go listen(never)
			}
		}
	}
	programs["parked-for-ever"] = func(w *world) step {
		return func(now int) {
			if now%minute == 0 {
				go park()
			}
		}
	}
	programs["slow"] = func(w *world) step {
		return func(now int) {
			if now%minute == 0 {
				go waitReply(make(chan int))
			}
		}
	}
	programs["in-bursts"] = func(w *world) step {
		return func(now int) {
			if now%(12*minute) == 7 {
				for i := 0; i < 40; i++ {
					go sendResult(make(chan int))
				}
			}
		}
	}
	programs["hidden-in-a-pool"] = func(w *world) step {
		jobs := startPool(500)
		return func(now int) {
			for i := 0; i < 300; i++ {
				jobs <- func() {}
			}
			jobs <- func() { <-make(chan int) } // a job without end, behind which the pool starts another worker
			go worker(jobs)
		}
	}
	programs["many-sites"] = func(w *world) step {
		return func(now int) {
			if now%minute == 0 {
				go leakA()
				go leakB()
				go leakC()
				go leakD()
				go leakE()
			}
		}
	}
	programs["mended-by-release"] = func(w *world) step {
		reply := make(chan int)
		return func(now int) {
			if now < 160 {
				go waitReply(reply)
			} else if now == 160 {
				close(reply)
			}
		}
	}
	programs["stops-to-leak"] = func(w *world) step {
		return func(now int) {
			if now < 160 {
				go waitReply(make(chan int))
			}
		}
	}
	programs["collector-off"] = func(w *world) step {
		gcOff = true
		debug.SetGCPercent(-1)
		return func(now int) { go waitReply(make(chan int)) }
	}
	programs["with-each-tenth-request"] = func(w *world) step {
		return func(now int) {
			requests := w.some(40 + 20*float64(now)/300)
			w.load += float64(requests)
			for i := 0; i < requests; i++ {
				go request(w.in(1))
				if i%10 == 0 {
					go sendResult(make(chan int))
				}
			}
		}
	}
}

var forgotten []context.CancelFunc

//go:noinline
func sendResult(result chan<- int) { result <- 1 }

//go:noinline
func waitReply(reply <-chan int) { <-reply }

//go:noinline
func listen(events <-chan int) { <-events }

//go:noinline
func park() { select {} }

//go:noinline
func request(done <-chan struct{}) { <-done }

//go:noinline
func await(cond *sync.Cond) { cond.L.Lock(); cond.Wait(); cond.L.Unlock() }

//go:noinline
func gather(group *sync.WaitGroup) { group.Wait() }

//go:noinline
func update(lock *sync.Mutex) { lock.Lock() } // an error path forgets to unlock
//go:noinline
func lookUp(lock *sync.RWMutex) { lock.RLock(); lock.RUnlock() }

//go:noinline
func produce(queue chan<- int) { queue <- 1 }

//go:noinline
func watch(ctx context.Context, events <-chan int) {
	select {
	case <-ctx.Done():
	case <-events:
	}
}

//go:noinline
func pollEvery(ticker *time.Ticker) {
	for range ticker.C {
	}
}

//go:noinline
func retry() {
	for {
		time.Sleep(10 * time.Millisecond)
	}
}

//go:noinline
func waitOrGiveUp(done <-chan int) {
	for {
		select {
		case <-done:
			return
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func firstError(tasks int) error {
	failed := make(chan error)
	for i := 0; i < tasks; i++ {
		go task(failed)
	}
	return <-failed
}

//go:noinline
func task(failed chan<- error) { failed <- errors.New("broken") }

func startPool(size int) chan func() {
	jobs := make(chan func())
	for i := 0; i < size; i++ {
		go worker(jobs)
	}
	return jobs
}

//go:noinline
func worker(jobs <-chan func()) {
	for job := range jobs {
		job()
	}
}

//go:noinline
func leakA() { <-make(chan int) }

//go:noinline
func leakB() { make(chan int) <- 1 }

//go:noinline
func leakC() { select {} }

//go:noinline
func leakD() { var group sync.WaitGroup; group.Add(1); group.Wait() }

//go:noinline
func leakE() { var lock sync.Mutex; lock.Lock(); lock.Lock() }
