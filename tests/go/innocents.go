package main

import (
	"math"
	"sync"
	"time"
)

func init() {
	programs["idle"] = func(w *world) step { return func(int) {} }
	programs["warming-pool"] = func(w *world) step {
		jobs := make(chan func())
		return func(now int) {
			if now <= 3*window {
				for i := 0; i < 8; i++ {
					go worker(jobs)
				}
			}
			for i := 0; i < 4*now && i < 200; i++ {
				jobs <- func() {}
			}
		}
	}
	programs["warming-pool-without-work"] = func(w *world) step {
		jobs := make(chan func())
		return func(now int) {
			if now <= 4*window {
				for i := 0; i < 5; i++ {
					go worker(jobs)
				}
			}
		}
	}
	programs["steady-fan-out"] = func(w *world) step {
		return func(now int) {
			for i := w.some(400); i > 0; i-- {
				go request(w.in(1 + w.random.Intn(3)))
			}
		}
	}
	programs["load-grows"] = func(w *world) step {
		return func(now int) {
			requests := w.some(30 + 150*math.Min(1, math.Max(0, float64(now-60)/120)))
			w.load += float64(requests)
			for i := 0; i < requests; i++ {
				go request(w.in(2))
			}
		}
	}
	programs["load-grows-uncounted"] = func(w *world) step {
		return func(now int) {
			mean := 30 + 150*math.Min(1, math.Max(0, float64(now-60)/120))
			for i := w.some(mean * (0.7 + 0.6*w.random.Float64())); i > 0; i-- {
				go request(w.in(1 + w.random.Intn(3)))
			}
		}
	}
	programs["pool-follows-load"] = func(w *world) step {
		stop := make(chan struct{})
		workers := 0
		return func(now int) {
			load := 60 - 40*math.Cos(float64(now)/40)
			w.load += 10 * load
			for ; workers < int(load); workers++ {
				go elastic(stop)
			}
			for ; workers > int(load); workers-- {
				stop <- struct{}{}
			}
		}
	}
	programs["cron-bursts"] = func(w *world) step {
		return func(now int) {
			if now%(15*minute) == 0 {
				for i := 0; i < 100; i++ {
					go request(w.in(2 + w.random.Intn(8)))
				}
			}
		}
	}
	programs["batches-of-twenty-minutes"] = func(w *world) step {
		return func(now int) {
			begin := now - now%(20*minute)
			go request(w.at(begin + 20*minute))
		}
	}
	programs["queue-fills-and-drains"] = func(w *world) step {
		queue := make(chan int)
		return func(now int) {
			come, gone := 10, 14
			if phase := now % (60 * minute); phase >= 20 && phase < 55 {
				come = 22
			}
			for i := 0; i < come; i++ {
				go produce(queue)
			}
			time.Sleep(time.Millisecond)
			for i := 0; i < gone; i++ {
				select {
				case <-queue:
				default:
				}
			}
		}
	}
	programs["daemons"] = func(w *world) step {
		for i := 0; i < 300; i++ {
			go park()
		}
		return func(int) {}
	}
	programs["daemons-in-the-beginning"] = func(w *world) step {
		return func(now int) {
			for i := 0; i < 20 && now <= 15; i++ {
				go waitReply(make(chan int))
			}
		}
	}
	programs["one-actor-a-key"] = func(w *world) step {
		actors := map[int]bool{}
		return func(now int) {
			for i := 0; i < 40; i++ {
				if key := w.random.Intn(200); !actors[key] {
					actors[key] = true
					go actor(make(chan int), make(chan int))
				}
			}
		}
	}
	programs["subscriptions-come-and-go"] = func(w *world) step {
		return func(now int) {
			for i := w.some(3); i > 0; i-- {
				go subscription(w.in(10+w.random.Intn(60)), make(chan int))
			}
		}
	}
	programs["lock-held-for-a-while"] = func(w *world) step {
		var lock sync.Mutex
		return func(now int) {
			if now%50 == 0 {
				lock.Lock()
			}
			go func() { lock.Lock(); lock.Unlock() }()
			if now > 50 && now%50 == 15 {
				lock.Unlock()
			}
		}
	}
}

//go:noinline
func elastic(stop <-chan struct{}) { <-stop }

//go:noinline
func actor(commands, events <-chan int) {
	for {
		select {
		case <-commands:
		case <-events:
		}
	}
}

//go:noinline
func subscription(end <-chan struct{}, events <-chan int) {
	select {
	case <-end:
	case <-events:
	}
}
