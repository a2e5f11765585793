package main

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

func init() {
	// Everything is started by one helper, and few of what it starts never end.
	programs["one-of-many-behind-a-helper"] = func(w *world) step {
		return func(now int) {
			for i := w.some(100); i > 0; i-- {
				end := w.in(1 + w.random.Intn(3))
				safely(func() { <-end })
			}
			if now%2 == 0 {
				safely(func() { <-make(chan int) })
			}
		}
	}
	programs["jobs-never-closed"] = func(w *world) step {
		return func(now int) {
			for i := w.some(0.5); i > 0; i-- {
				jobs := make(chan int)
				for worker := 0; worker < 3; worker++ {
					go consume(jobs)
				}
				for job := 0; job < 10; job++ {
					jobs <- job
				}
			}
		}
	}
	// Each failed upload keeps a place; when none is left everybody waits.
	programs["semaphore-never-released"] = func(w *world) step {
		places := make(chan struct{}, 16)
		return func(now int) {
			for i := w.some(2); i > 0; i-- {
				go upload(places, w.in(1), w.random.Intn(6) == 0)
			}
		}
	}
	// Clients leave and their subscriptions stay, and get every message.
	programs["subscribers-never-leave"] = func(w *world) step {
		hub := newHub()
		return func(now int) {
			for i := w.some(1.5); i > 0; i-- {
				hub.subscribe()
			}
			hub.publish(now)
		}
	}
	programs["database-opened-by-each-job"] = func(w *world) step {
		return func(now int) {
			if now%4 == 0 {
				db := sql.OpenDB(connector{})
				db.SetConnMaxLifetime(time.Hour)
				_ = db.Ping()
			}
		}
	}
	programs["rows-never-closed"] = func(w *world) step {
		db := sql.OpenDB(connector{})
		ctx, cancel := context.WithCancel(context.Background())
		forgotten = append(forgotten, cancel)
		return func(now int) {
			for i := 0; i < 10; i++ {
				rows, err := db.QueryContext(ctx, "what is new")
				if err != nil {
					fail(err.Error())
				}
				if i > 0 || now%2 == 0 {
					rows.Close()
				}
			}
		}
	}
	programs["pipe-reader-gone"] = func(w *world) step {
		return func(now int) {
			read, write := io.Pipe()
			go feed(write)
			_, _ = io.ReadFull(read, make([]byte, 1)) // it is broken, and nobody reads on
		}
	}
	programs["deadline-of-a-day"] = func(w *world) step {
		return func(now int) {
			for i := w.some(3 - 2*float64(now)/240); i > 0; i-- {
				ctx, cancel := context.WithTimeout(context.Background(), 24*time.Hour)
				forgotten = append(forgotten, cancel)
				go expire(ctx)
			}
		}
	}
	programs["leaks-by-day-and-night"] = func(w *world) step {
		return func(now int) {
			requests := w.some(100 - 60*math.Cos(2*math.Pi*float64(now)/300))
			w.load += float64(requests)
			for i := 0; i < requests; i++ {
				go request(w.in(1 + w.random.Intn(3)))
			}
			if now%3 == 0 {
				go watch(context.Background(), make(chan int))
			}
		}
	}
	programs["signals-for-each-job"] = func(w *world) step {
		return func(now int) {
			_, stop := signal.NotifyContext(context.Background(), syscall.SIGUSR1)
			forgotten = append(forgotten, stop)
		}
	}
	// A pipe in the file system that nobody writes to holds whoever opens it, and a thread.
	programs["pipes-that-nobody-writes"] = func(w *world) step {
		folder, err := os.MkdirTemp("", "corpus")
		if err != nil {
			fail(err.Error())
		}
		path := filepath.Join(folder, "pipe")
		if err := syscall.Mkfifo(path, 0o600); err != nil {
			fail(err.Error())
		}
		// Held open it stays, with nothing left behind by whatever ends this program.
		held, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_NONBLOCK, 0)
		if err != nil {
			fail(err.Error())
		}
		os.RemoveAll(folder)
		path = fmt.Sprintf("/proc/self/fd/%d", held)
		return func(now int) {
			if now%3 == 0 {
				go readOrders(path)
			}
		}
	}
	// What reads ends with the connection, what writes does not.
	programs["writers-of-gone-clients"] = func(w *world) step {
		address := startUpstream("hold")
		return func(now int) {
			for i := w.some(1.5); i > 0; i-- {
				connection, err := net.Dial("tcp", address)
				if err != nil {
					fail(err.Error())
				}
				go readUpdates(connection)
				go writeUpdates(connection, make(chan []byte))
				w.later(5+w.random.Intn(20), func() { connection.Close() })
			}
		}
	}
	// What hands out permissions is gone one day.
	programs["limiter-that-died"] = func(w *world) step {
		tokens := make(chan struct{})
		return func(now int) {
			waiting := w.some(5)
			for i := 0; i < waiting; i++ {
				go limited(tokens)
			}
			for i := 0; i < waiting && now < 90; i++ {
				tokens <- struct{}{}
			}
		}
	}
	// While connections become as many more it may be theirs.
	programs["leaks-and-users-become-more"] = func(w *world) step {
		come := users(w, 120)
		return func(now int) {
			come(now)
			if now%2 == 0 {
				go waitReply(make(chan int))
			}
		}
	}
	programs["slow-and-irregular"] = func(w *world) step {
		return func(now int) {
			for i := w.some(1.0 / 6); i > 0; i-- {
				go waitReply(make(chan int))
			}
			for i := w.some(20); i > 0; i-- {
				go request(w.in(1 + w.random.Intn(4)))
			}
		}
	}
	// One direction of a third of the connections is never closed.
	programs["half-closed-connections"] = func(w *world) step {
		address := startUpstream("hold")
		return func(now int) {
			for i := w.some(2); i > 0; i-- {
				connection, err := net.Dial("tcp", address)
				if err != nil {
					fail(err.Error())
				}
				go pipe(connection)
				if w.random.Intn(3) > 0 {
					w.later(10+w.random.Intn(10), func() { connection.Close() })
				}
			}
		}
	}
	programs["leaks-while-load-falls"] = func(w *world) step {
		return func(now int) {
			requests := w.some(200 - 160*math.Min(1, float64(now)/200))
			w.load += float64(requests)
			for i := 0; i < requests; i++ {
				go request(w.in(2))
				if w.random.Intn(60) == 0 {
					go audit(make(chan int))
				}
			}
		}
	}
	// The timer fires after the answer was taken, and nobody hears of it.
	programs["timers-that-nobody-hears"] = func(w *world) step {
		return func(now int) {
			giveUpLater(make(chan error))
		}
	}
	// A parent of a type of one's own costs a goroutine for each child that is not cancelled.
	programs["children-of-own-context"] = func(w *world) step {
		parent := tracing{context.Background(), make(chan struct{})}
		return func(now int) {
			_, cancel := context.WithCancel(parent)
			if w.random.Intn(3) > 0 {
				forgotten = append(forgotten, cancel)
			} else {
				cancel()
			}
		}
	}
	// Of all who wait for a batch one is woken.
	programs["signal-for-one-of-many"] = func(w *world) step {
		cond := sync.NewCond(new(sync.Mutex))
		return func(now int) {
			for i := w.some(1.5); i > 0; i-- {
				go await(cond)
			}
			if now%4 == 3 {
				cond.Signal()
			}
		}
	}
	// A call without deadline hangs, and all who want the same wait for it. Others come and go.
	programs["flight-that-hangs"] = func(w *world) step {
		group := newFlights()
		return func(now int) {
			for i := w.some(12); i > 0; i-- {
				key := w.random.Intn(20)
				end := w.in(1 + w.random.Intn(4))
				if key == 7 && now > 60 {
					end = nil
				}
				go group.do(key, end)
			}
		}
	}
	programs["bursts-among-many"] = func(w *world) step {
		return func(now int) {
			for i := w.some(30 + 20*w.random.Float64()); i > 0; i-- {
				go call(w.in(1 + w.random.Intn(2)))
			}
			if now%60 == 20 {
				for i := 0; i < 30; i++ {
					go call(make(chan struct{}))
				}
			}
		}
	}
	programs["transport-for-each-request"] = func(w *world) step {
		address := startUpstream("http")
		return func(now int) {
			if now%2 == 0 {
				client := &http.Client{Transport: &http.Transport{}}
				if response, err := client.Get("http://" + address + "/"); err == nil {
					_, _ = io.Copy(io.Discard, response.Body)
					response.Body.Close()
				}
			}
		}
	}
}

// safely is what many programs have in place of a go statement.
//
//go:noinline
func safely(do func()) {
	go func() {
		defer func() { _ = recover() }()
		do()
	}()
}

//go:noinline
func consume(jobs <-chan int) {
	for range jobs {
	}
}

//go:noinline
func upload(places chan struct{}, end <-chan struct{}, broken bool) error {
	places <- struct{}{}
	<-end
	if broken {
		return errors.New("too long")
	}
	<-places
	return nil
}

// hub tells everything to everybody.
type hub struct {
	lock sync.Mutex
	next int
	all  map[int]chan int
}

func newHub() *hub { return &hub{all: map[int]chan int{}} }

// subscribe starts a goroutine that gets all messages; what it gives ends it.
func (h *hub) subscribe() (unsubscribe func()) {
	h.lock.Lock()
	defer h.lock.Unlock()
	h.next++
	number, messages := h.next, make(chan int, 4)
	h.all[number] = messages
	go h.pump(messages)
	return func() {
		h.lock.Lock()
		defer h.lock.Unlock()
		delete(h.all, number)
		close(messages)
	}
}

func (h *hub) publish(message int) {
	h.lock.Lock()
	defer h.lock.Unlock()
	for _, messages := range h.all {
		messages <- message
	}
}

//go:noinline
func (h *hub) pump(messages <-chan int) {
	for range messages {
	}
}

// connector is of a database that takes everything and answers nothing.
type connector struct{}

func (connector) Connect(context.Context) (driver.Conn, error) { return connector{}, nil }
func (connector) Driver() driver.Driver                        { return nil }
func (connector) Prepare(string) (driver.Stmt, error)          { return nil, driver.ErrSkip }
func (connector) Close() error                                 { return nil }
func (connector) Begin() (driver.Tx, error)                    { return nil, driver.ErrSkip }

func (connector) QueryContext(context.Context, string, []driver.NamedValue) (driver.Rows, error) {
	return connector{}, nil
}
func (connector) Columns() []string         { return []string{"news"} }
func (connector) Next([]driver.Value) error { return io.EOF }

//go:noinline
func feed(write *io.PipeWriter) { _, _ = write.Write(make([]byte, 100)) }

//go:noinline
func expire(ctx context.Context) { <-ctx.Done() }

//go:noinline
func readOrders(path string) {
	if file, err := os.Open(path); err == nil {
		file.Close()
	}
}

//go:noinline
func writeUpdates(connection net.Conn, updates <-chan []byte) {
	for update := range updates {
		_, _ = connection.Write(update)
	}
}

//go:noinline
func limited(tokens <-chan struct{}) { <-tokens }

//go:noinline
func pipe(connection net.Conn) {
	_, _ = io.Copy(io.Discard, connection)
}

//go:noinline
func audit(entries chan<- int) { entries <- 1 }

//go:noinline
func giveUpLater(result chan<- error) {
	time.AfterFunc(100*time.Microsecond, func() { result <- context.DeadlineExceeded })
}

// tracing is a context that the standard library cannot look into.
type tracing struct {
	context.Context
	done chan struct{}
}

func (t tracing) Done() <-chan struct{} { return t.done }

// flights has all who want the same wait for the first.
type flights struct {
	lock sync.Mutex
	now  map[int]*sync.WaitGroup
}

func newFlights() *flights { return &flights{now: map[int]*sync.WaitGroup{}} }

//go:noinline
func (f *flights) do(key int, end <-chan struct{}) {
	f.lock.Lock()
	if first := f.now[key]; first != nil {
		f.lock.Unlock()
		first.Wait()
		return
	}
	group := new(sync.WaitGroup)
	group.Add(1)
	f.now[key] = group
	f.lock.Unlock()
	<-end
	f.lock.Lock()
	delete(f.now, key)
	f.lock.Unlock()
	group.Done()
}

//go:noinline
func call(answer <-chan struct{}) { <-answer }
