package metrickit

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/metrickit/metrickit/sdk/go/internal/wiretest"
)

// patience is how long a test waits for what must happen.
const patience = 30 * time.Second

// receiver is a server that takes remote write, unless a fault is set.
type receiver struct {
	*httptest.Server
	t *testing.T

	mu       sync.Mutex
	fault    http.HandlerFunc
	bodies   int
	requests []*http.Request
	series   map[string][]wiretest.Series
}

func newReceiver(t *testing.T) *receiver {
	r := &receiver{t: t, series: map[string][]wiretest.Series{}}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Server.Close)
	return r
}

// fail makes h answer from now on; nil ends it.
func (r *receiver) fail(h http.HandlerFunc) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fault = h
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	if request.Method != http.MethodPost {
		// An agent on this host looks what a program of Go has to offer.
		http.NotFound(w, request)
		return
	}
	body, _ := io.ReadAll(request.Body)
	r.mu.Lock()
	r.requests = append(r.requests, request)
	fault := r.fault
	r.mu.Unlock()
	if fault != nil {
		fault(w, request)
		return
	}
	series, err := wiretest.Body(body)
	if err != nil {
		r.t.Errorf("a bad body: %v", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bodies++
	for _, one := range series {
		r.series[one.Key()] = append(r.series[one.Key()], one)
	}
	w.Header().Set(samplesWrittenHeader, strconv.Itoa(len(series)))
	w.WriteHeader(http.StatusNoContent)
}

// find returns the samples of the one series whose key begins so, without job
// and instance.
func (r *receiver) find(prefix string) []wiretest.Series {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, samples := range r.series {
		if strings.HasPrefix(strings.NewReplacer(`instance="i",`, "", `,job="j"`, "", `instance="i"`, "", `job="j",`, "", `job="j"`, "").Replace(key), prefix) {
			return samples
		}
	}
	return nil
}

func (r *receiver) last(prefix string) wiretest.Series {
	r.t.Helper()
	samples := r.find(prefix)
	if len(samples) == 0 {
		r.t.Fatalf("no sample of %s arrived", prefix)
	}
	return samples[len(samples)-1]
}

// live is the last sample that is no mark of the series' end.
func (r *receiver) live(prefix string) wiretest.Series {
	r.t.Helper()
	samples := r.find(prefix)
	for at := len(samples) - 1; at >= 0; at-- {
		if !isStale(samples[at]) {
			return samples[at]
		}
	}
	r.t.Fatalf("no sample of %s arrived", prefix)
	return wiretest.Series{}
}

func isStale(s wiretest.Series) bool {
	value := s.Value
	if s.Histogram != nil {
		value = s.Histogram.Sum
	}
	return math.Float64bits(value) == staleBits
}

func (r *receiver) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.requests)
}

// eventually waits until what holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for until := time.Now().Add(patience); !holds(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("not in %v: %s", patience, what)
		}
	}
}

// quiet are options for tests: one registry each, no socket, no profiles.
func quiet(url string) Options {
	return Options{
		URL: url, Socket: Off, Profiles: Off, Job: "j", Instance: "i", Interval: time.Hour,
		Registry: NewRegistry(), WithoutRuntime: true, WithoutProcess: true,
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
}

func start(t *testing.T, options Options) *Client {
	t.Helper()
	client, err := Start(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		client.Close(ctx)
	})
	return client
}

func closeAll(t *testing.T, client *Client) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := client.Close(ctx); err != nil {
		t.Error(err)
	}
}

// lockedBuffer is a log that another goroutine writes to.
type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lockedBuffer) Write(text []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(text)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// collected is what one round over the registry gives, by key.
func collected(t *testing.T, parts ...source) map[string]wiretest.Series {
	t.Helper()
	found := map[string]wiretest.Series{}
	b := newBatch(nil, func(body []byte, samples int) {
		series, err := wiretest.Body(body)
		if err != nil || len(series) != samples {
			t.Errorf("%d series of %d: %v", len(series), samples, err)
		}
		for _, one := range series {
			if _, twice := found[one.Key()]; twice {
				t.Errorf("%s is there twice", one.Key())
			}
			found[one.Key()] = one
		}
	})
	b.begin(time.Now(), false)
	for _, part := range parts {
		part.write(b)
	}
	b.end()
	return found
}

func families(r *Registry) []source {
	var parts []source
	for _, one := range r.all() {
		parts = append(parts, one)
	}
	return parts
}

// TestMain fails when goroutines of the client are left.
func TestMain(m *testing.M) {
	code := m.Run()
	if code == 0 {
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
		for until := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			stacks := make([]byte, 1<<20)
			stacks = stacks[:runtime.Stack(stacks, true)]
			left := strings.Count(string(stacks), "sdk/go.(*")
			if left == 0 {
				break
			}
			if time.Now().After(until) {
				os.Stderr.Write(stacks)
				code = 1
				break
			}
		}
	}
	os.Exit(code)
}
