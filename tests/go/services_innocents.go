package main

import (
	"fmt"
	"io"
	"math"
	"math/rand"
	"net"
	"net/http"
	"runtime"
	"sync"
	"time"
)

func init() {
	// Many clients come within ten minutes, keep their connections without a request for an hour, and leave.
	programs["keep-alive-storm"] = func(w *world) step {
		address, held := listenHTTP(http.NotFoundHandler()), []net.Conn{}
		return func(now int) {
			for i := 0; now > 40 && now <= 60 && i < 15; i++ {
				held = append(held, ask(address))
			}
			for i := 0; now > 150 && i < 12 && len(held) > 0; i++ {
				held[0].Close()
				held = held[1:]
			}
		}
	}
	// Whenever all workers are busy for long their number is doubled, up to a bound.
	programs["pool-doubles"] = func(w *world) step {
		jobs, workers := startPool(8), 8
		return func(now int) {
			switch now {
			case 25, 50, 88, 140, 181:
				for i := 0; i < workers; i++ {
					go worker(jobs)
				}
				workers *= 2
			}
			for i := 0; i < 3*workers; i++ {
				jobs <- func() {}
			}
		}
	}
	// Every half hour all clients are cut off and come back.
	programs["reconnect-waves"] = func(w *world) step {
		address, held := startUpstream("hold"), []net.Conn{}
		return func(now int) {
			if now%60 == 0 {
				for _, connection := range held {
					connection.Close()
				}
				held = held[:0]
			}
			for i := w.some(150.0 / 20); i > 0 && len(held) < 150; i-- {
				connection, err := net.Dial("tcp", address)
				if err != nil {
					fail(err.Error())
				}
				held = append(held, connection)
				go converse(connection)
			}
		}
	}
	// Traffic of others is moved here, bit by bit.
	programs["load-in-stairs"] = func(w *world) step {
		return func(now int) {
			mean := 20 + 15*float64(now/25)
			for i := w.some(mean * (0.8 + 0.4*w.random.Float64())); i > 0; i-- {
				go request(w.in(1 + w.random.Intn(4)))
			}
		}
	}
	// Consumers are started while the queue is long and stopped when it is short.
	programs["consumers-follow-the-queue"] = func(w *world) step {
		jobs, consumers, queued := startPool(10), 10, 0.0
		return func(now int) {
			come := 60.0
			if now%160 > 60 && now%160 < 130 {
				come = 200
			}
			queued = math.Max(0, queued+come-8*float64(consumers))
			if now%5 == 0 && queued > 100 && consumers < 60 {
				for i := 0; i < 5; i++ {
					go worker(jobs)
				}
				consumers += 5
			}
			for i := 0; i < 8*consumers && float64(i) < come; i++ {
				jobs <- func() {}
			}
			if now%5 == 0 && queued == 0 && consumers > 10 {
				for i := 0; i < 5; i++ {
					jobs <- runtime.Goexit
				}
				consumers -= 5
			}
		}
	}
	// A client that visits others, and forgets them after some minutes.
	programs["crawler"] = func(w *world) step {
		address := startUpstream("http")
		return func(now int) {
			for i := w.some(2); i > 0; i-- {
				transport := &http.Transport{}
				client := &http.Client{Transport: transport}
				if response, err := client.Get("http://" + address + "/"); err == nil {
					_, _ = io.Copy(io.Discard, response.Body)
					response.Body.Close()
				}
				w.later(4+w.random.Intn(3), transport.CloseIdleConnections)
			}
		}
	}
	programs["proxy-with-more-to-do"] = func(w *world) step {
		transport := &http.Transport{MaxIdleConnsPerHost: 200}
		address, client := startUpstream("http"), &http.Client{Transport: transport}
		return func(now int) {
			for i := w.some(2 + 30*math.Min(1, float64(now)/200)); i > 0; i-- {
				go forward(client, "http://"+address+"/", w.in(1+w.random.Intn(2)))
			}
		}
	}
	// Streams over one connection, all begun anew after a start, which last for hours.
	programs["streams-begun-anew"] = func(w *world) step {
		return func(now int) {
			come := 0.3
			if now < 40 {
				come = 5
			}
			for i := w.some(come); i > 0; i-- {
				go subscription(w.in(100+w.random.Intn(800)), make(chan int))
			}
		}
	}
	programs["peers-restarted"] = func(w *world) step {
		return func(now int) {
			for peer := 0; peer < 30; peer++ {
				if (now+peer)%25 == 0 || now == 1 {
					go heartbeat(w.in(25 + w.random.Intn(5)))
				}
			}
		}
	}
	programs["day-and-night"] = func(w *world) step {
		return func(now int) {
			mean := 150 - 130*math.Cos(2*math.Pi*float64(now)/300)
			for i := w.some(mean * (0.9 + 0.2*w.random.Float64())); i > 0; i-- {
				go request(w.in(1 + w.random.Intn(6)))
			}
		}
	}
	// Users become more all the time; each has a goroutine that reads and one that writes and stays for ten minutes to half an hour.
	programs["users-become-more"] = func(w *world) step { return users(w, 240) }
	programs["runs-that-overlap"] = func(w *world) step {
		return func(now int) {
			if now%10 == 1 {
				for i := 0; i < 20; i++ {
					go request(w.in(25 + w.random.Intn(20)))
				}
			}
		}
	}
	// Each key has a goroutine while it is used; some keys are used a lot.
	programs["key-expires"] = func(w *world) step {
		used, zipf := map[uint64]int{}, rand.NewZipf(w.random, 1.3, 4, 400)
		ends := map[uint64]chan struct{}{}
		return func(now int) {
			for i := 0; i < 30; i++ {
				key := zipf.Uint64()
				if ends[key] == nil {
					ends[key] = make(chan struct{})
					go subscription(ends[key], make(chan int))
				}
				used[key] = now
			}
			for key, last := range used {
				if now-last > 30 {
					close(ends[key])
					delete(ends, key)
					delete(used, key)
				}
			}
		}
	}
	// What fails in half an hour's outage tries again, up to a quarter of an hour.
	programs["outage-with-retries"] = func(w *world) step {
		return func(now int) {
			for i := w.some(4); i > 0; i-- {
				tries := 1
				if now >= 80 && now < 140 {
					tries = 30
				}
				go retryUntil(w.in(tries))
			}
		}
	}
	// A new configuration starts new workers; the old ones finish what they have.
	programs["generations"] = func(w *world) step {
		return func(now int) {
			if now%40 == 1 {
				for i := 0; i < 40; i++ {
					go request(w.in(40 + w.random.Intn(60)))
				}
			}
		}
	}
	programs["debounced"] = func(w *world) step {
		return func(now int) {
			for i := 0; i < 200; i++ {
				time.AfterFunc(time.Hour, func() {})
			}
			for i := w.some(30 * w.random.Float64()); i > 0; i-- {
				go debounce(w.in(1 + w.random.Intn(5)))
			}
		}
	}
	// Slow calls, for which many wait.
	programs["flights"] = func(w *world) step {
		group := newFlights()
		ends := map[int]<-chan struct{}{}
		return func(now int) {
			for i := w.some(15); i > 0; i-- {
				key := w.random.Intn(6)
				if now%20 == 0 || ends[key] == nil {
					ends[key] = w.in(4 + w.random.Intn(12))
				}
				go group.do(key, ends[key])
			}
		}
	}
	// A client with a connection for each of its requests at the same time, which become more and then fewer.
	programs["connections-follow-load"] = func(w *world) step {
		transport := &http.Transport{MaxIdleConnsPerHost: 100}
		address, client := startUpstream("http"), &http.Client{Transport: transport}
		return func(now int) {
			parallel := int(2 + 50*math.Max(0, math.Sin(math.Pi*float64(now)/200)))
			w.load += float64(parallel)
			bodies := make([]io.ReadCloser, 0, parallel)
			for i := 0; i < parallel; i++ {
				if response, err := client.Get("http://" + address + "/"); err == nil {
					bodies = append(bodies, response.Body)
				}
			}
			for _, body := range bodies {
				_, _ = io.Copy(io.Discard, body)
				body.Close()
			}
			if now > 120 && now%10 == 0 {
				transport.CloseIdleConnections()
			}
		}
	}
	// Subscribers get everything and stay for twenty to forty minutes; they become more.
	programs["subscribers-become-more"] = func(w *world) step {
		hub := newHub()
		return func(now int) {
			for i := w.some(1 + 4*float64(now)/240); i > 0; i-- {
				w.later(40+w.random.Intn(40), hub.subscribe())
			}
			hub.publish(now)
		}
	}
	// Those who look at /debug/pprof and the like keep their connections for some minutes.
	programs["scrapers"] = func(w *world) step {
		address := listenHTTP(http.NotFoundHandler())
		for i := 0; i < 6; i++ {
			ask(address)
		}
		return func(now int) {
			for i := w.some(1.5); i > 0; i-- {
				connection := ask(address)
				w.later(2+w.random.Intn(10), func() { connection.Close() })
			}
		}
	}
	// At its end a service waits for its requests.
	programs["shuts-down-in-order"] = func(w *world) step {
		var group sync.WaitGroup
		return func(now int) {
			if now < 200 {
				group.Add(3)
				for i := 0; i < 3; i++ {
					go handle(&group, w.in(5+w.random.Intn(20)))
				}
			}
			if now == 200 {
				for i := 0; i < 10; i++ {
					go shutDown(&group)
				}
			}
		}
	}
}

// users become more until a step.
func users(w *world, until int) step {
	address := startUpstream("hold")
	return func(now int) {
		for i := w.some(0.5 + 5*math.Min(float64(now), float64(until))/240); i > 0; i-- {
			connection, err := net.Dial("tcp", address)
			if err != nil {
				fail(err.Error())
			}
			go converse(connection)
			w.later(20+w.random.Intn(40), func() { connection.Close() })
		}
	}
}

// ask makes a request and keeps the connection.
func ask(address string) net.Conn {
	connection, err := net.Dial("tcp", address)
	if err != nil {
		fail(err.Error())
	}
	fmt.Fprintf(connection, "GET / HTTP/1.1\r\nHost: here\r\n\r\n")
	_, _ = connection.Read(make([]byte, 1<<12))
	return connection
}

//go:noinline
func retryUntil(end <-chan struct{}) {
	for {
		select {
		case <-end:
			return
		default:
			time.Sleep(5 * time.Millisecond)
		}
	}
}

//go:noinline
func forward(client *http.Client, url string, end <-chan struct{}) {
	if response, err := client.Get(url); err == nil {
		<-end
		_, _ = io.Copy(io.Discard, response.Body)
		response.Body.Close()
	}
}

//go:noinline
func heartbeat(end <-chan struct{}) {
	for {
		select {
		case <-end:
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
}

//go:noinline
func debounce(quiet <-chan struct{}) { <-quiet }

//go:noinline
func handle(group *sync.WaitGroup, end <-chan struct{}) {
	defer group.Done()
	<-end
}

//go:noinline
func shutDown(group *sync.WaitGroup) {
	group.Wait()
}
