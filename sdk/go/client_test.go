package metrickit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestStartSendsAtOnceAndCloseMarksTheEnd(t *testing.T) {
	server := newReceiver(t)
	options := quiet(server.URL)
	options.Token = "secret"
	options.Environment = "test"
	options.Labels = map[string]string{"team": "a"}
	hits := options.Registry.NewCounter("hits_total", "Hits.", "kind", "team")
	hits.With("b", "own").Inc()
	client := start(t, options)
	eventually(t, "the first round arrives", func() bool { return server.find("hits_total") != nil })
	hits.With("b", "own").Add(2.5)
	closeAll(t, client)
	closeAll(t, client)

	samples := server.find("hits_total")
	if len(samples) != 3 || samples[0].Value != 1 || samples[1].Value != 3.5 || !isStale(samples[2]) {
		t.Fatalf("got %+v", samples)
	}
	if key := samples[0].Key(); key != `hits_total{env="test",instance="i",job="j",kind="b",team="own"}` {
		t.Error(key)
	}
	first := samples[0]
	if first.Help != "Hits." || first.Kind != 1 || first.StartMs == 0 || first.StartMs > first.TimestampMs {
		t.Errorf("got %+v", first)
	}
	request := server.requests[0]
	for name, want := range map[string]string{
		"Authorization":                     "Bearer secret",
		"Content-Type":                      "application/x-protobuf;proto=io.prometheus.write.v2.Request",
		"Content-Encoding":                  "snappy",
		"X-Prometheus-Remote-Write-Version": "2.0.0",
	} {
		if got := request.Header.Get(name); got != want {
			t.Errorf("%s is %q", name, got)
		}
	}
	if request.URL.Path != "/api/v1/write" {
		t.Error(request.URL.Path)
	}
}

func TestANilClientDoesNothing(t *testing.T) {
	client, err := Start(Options{Disabled: true})
	if client != nil || err != nil {
		t.Fatal(client, err)
	}
	closeAll(t, client)
}

// A fault, and what becomes of a request that meets it once.
func TestFaults(t *testing.T) {
	status := func(code int, headers ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			for at := 0; at+1 < len(headers); at += 2 {
				w.Header().Set(headers[at], headers[at+1])
			}
			w.WriteHeader(code)
			fmt.Fprint(w, "no")
		}
	}
	hang := func(w http.ResponseWriter, r *http.Request) {
		// Half open: it took the request and never answers.
		select {
		case <-r.Context().Done():
		case <-time.After(patience):
		}
	}
	cut := func(w http.ResponseWriter, _ *http.Request) {
		connection, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			connection.Close()
		}
	}
	for _, fault := range []struct {
		name    string
		handler http.HandlerFunc
		want    outcome
	}{
		{"400", status(400), rejected},
		{"413", status(413), rejected},
		{"422", status(422), rejected},
		{"not 2.0", status(204), rejected},
		{"redirect", status(307, "Location", "/elsewhere"), retried},
		{"401", status(401), retried},
		{"404", status(404), retried},
		{"429", status(429, "Retry-After", "0"), retried},
		{"500", status(500), retried},
		{"503", status(503, "Retry-After", "0"), retried},
		{"half open", hang, retried},
		{"cut", cut, retried},
	} {
		t.Run(fault.name, func(t *testing.T) {
			server := newReceiver(t)
			options := quiet(server.URL)
			options.Timeout = 300 * time.Millisecond
			options.Registry.NewGauge("level", "").With().Set(4)
			server.fail(fault.handler)
			client := startFast(t, options)
			eventually(t, "the request is judged", func() bool { return client.sender.requests[fault.want].Load() > 0 })
			server.fail(nil)
			if fault.want == retried {
				eventually(t, "it arrives all the same", func() bool { return server.find("level") != nil })
				if client.sender.samples[rejected].Load() != 0 {
					t.Error("samples were lost")
				}
			} else if client.sender.samples[rejected].Load() == 0 {
				t.Error("lost samples were not counted")
			}
		})
	}
}

// startFast is start with short pauses.
func startFast(t *testing.T, options Options) *Client {
	t.Helper()
	before := pauses
	pauses = backoff{min: time.Millisecond, max: 20 * time.Millisecond}
	defer func() { pauses = before }()
	return start(t, options)
}

func TestPartlyRefusedRequestsAreCounted(t *testing.T) {
	header := http.Header{}
	header.Set(samplesWrittenHeader, "3")
	header.Set(histogramsWrittenHeader, "4")
	got := judge(&http.Response{StatusCode: 400, Header: header}, "why", 10)
	if got.outcome != rejected || got.written != 7 || !strings.Contains(got.err.Error(), "400 Bad Request: why") {
		t.Errorf("got %+v", got)
	}
}

func TestAwayThenBack(t *testing.T) {
	server := newReceiver(t)
	address := server.Listener.Addr().String()
	server.Server.Close()
	options := quiet("http://" + address)
	options.Interval = 100 * time.Millisecond
	level := options.Registry.NewGauge("level", "").With()
	level.Set(1)
	client := startFast(t, options)
	eventually(t, "rounds wait", func() bool { return client.queue.state().parcels >= 3 })
	level.Set(2)

	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Skip("the port was taken meanwhile")
	}
	back := &httptest.Server{Listener: listener, Config: &http.Server{Handler: server}}
	back.Start()
	defer back.Close()
	eventually(t, "what waited arrives", func() bool { return len(server.find("level")) > 3 })
	samples := server.find("level")
	for at := 1; at < len(samples); at++ {
		if samples[at].TimestampMs <= samples[at-1].TimestampMs {
			t.Errorf("out of order: %d then %d", samples[at-1].TimestampMs, samples[at].TimestampMs)
		}
	}
	if samples[0].Value != 1 || client.queue.state().dropped != 0 {
		t.Errorf("the first is %v, %d dropped", samples[0].Value, client.queue.state().dropped)
	}
}

func TestCloseTellsWhatIsLost(t *testing.T) {
	options := quiet("http://127.0.0.1:1")
	options.Registry.NewGauge("level", "").With().Set(1)
	client := start(t, options)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := client.Close(ctx); err == nil || !strings.Contains(err.Error(), "samples were not sent") {
		t.Errorf("got %v", err)
	}
}

func TestNoContextIsNone(t *testing.T) {
	client := start(t, quiet(newReceiver(t).URL))
	//lint:ignore SA1012 what programs do all the same
	if err := client.Close(nil); err != nil {
		t.Error(err)
	}
}

func TestWhatAReceiverLeavesOutIsSaid(t *testing.T) {
	server := newReceiver(t)
	server.fail(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set(samplesWrittenHeader, "1")
		w.WriteHeader(http.StatusNoContent)
	})
	options := quiet(server.URL)
	var said lockedBuffer
	options.Logger = slog.New(slog.NewTextHandler(&said, nil))
	options.Registry.NewGauge("level", "").With().Set(1)
	closeAll(t, start(t, options))
	if !strings.Contains(said.String(), "did not take all readings; those are lost\" taken=1 of=") {
		t.Errorf("got %q", said.String())
	}
}

func TestTheSocketIsPreferred(t *testing.T) {
	server, agent := newReceiver(t), newReceiver(t)
	path := filepath.Join(t.TempDir(), "agent.sock")
	options := quiet(server.URL)
	options.Socket = "unix:" + path
	options.Interval = 100 * time.Millisecond
	options.Token = "secret"
	client := startFast(t, options)
	eventually(t, "without a socket the server has it", func() bool { return server.count() > 0 })

	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	listener.(*net.UnixListener).SetUnlinkOnClose(false)
	local := &httptest.Server{Listener: listener, Config: &http.Server{Handler: agent}}
	local.Start()
	eventually(t, "the agent has it", func() bool { return agent.count() > 2 })
	if header := agent.requests[0].Header.Get("Authorization"); header != "" {
		t.Error("the server's token was sent to the socket")
	}
	local.Close()
	if _, err := os.Stat(path); err != nil {
		t.Fatal("the socket file is to be left behind", err)
	}
	before := server.count()
	eventually(t, "a dead socket is passed over", func() bool { return server.count() > before+2 })
	if client.queue.state().dropped != 0 {
		t.Error("samples were dropped")
	}
}

func TestAPanicInTheProgramsFunctions(t *testing.T) {
	server := newReceiver(t)
	options := quiet(server.URL)
	options.Registry.NewGaugeFunc("bad", "", func() float64 { panic("oh") })
	options.Registry.Collect("worse", func(e *Emitter) {
		e.Gauge("before", "", 1)
		panic(errors.New("no"))
	})
	options.Registry.NewGaugeFunc("good", "", func() float64 { return 7 })
	client := start(t, options)
	eventually(t, "the others arrive", func() bool { return server.find("good") != nil && server.find("before") != nil })
	closeAll(t, client)
	if got := client.own.panics.Load(); got != 6 {
		t.Errorf("%d panics, two functions in three rounds", got)
	}
}

func TestAFunctionThatNeverReturns(t *testing.T) {
	options := quiet("http://127.0.0.1:1")
	options.Instance = ""
	options.Job = fmt.Sprint("never returns ", os.Getpid()) // slots are the whole host's
	release := make(chan struct{})
	options.Registry.NewGaugeFunc("stuck", "", func() float64 { <-release; return 1 })
	client := start(t, options)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if err := client.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if held, taken := holdSlot(options.Job, 0); held == nil && taken {
		t.Error("the slot of a client that is closed is held")
	} else if held != nil {
		held.Close()
	}
	close(release)
	<-client.collected
}

func TestLargeRoundsAreSplit(t *testing.T) {
	server := newReceiver(t)
	options := quiet(server.URL)
	many := options.Registry.NewGauge("many", "", "n").Limit(20_000)
	for n := 0; n < 20_000; n++ {
		many.With(fmt.Sprint("number ", n)).Set(float64(n))
	}
	client := start(t, options)
	eventually(t, "all arrive", func() bool {
		server.mu.Lock()
		defer server.mu.Unlock()
		return len(server.series) > 20_000
	})
	closeAll(t, client)
	if server.count() < 3*3 {
		t.Errorf("%d requests", server.count())
	}
	if last := server.live(`many{n="number 19999"`); last.Value != 19_999 {
		t.Errorf("got %+v", last)
	}
}

func TestSlots(t *testing.T) {
	if _, held := holdSlot("", -1); held {
		t.Skip("no slots on this system")
	}
	first, one := instance("slots of a test")
	second, two := instance("slots of a test")
	if !strings.HasSuffix(first, "/0") || !strings.HasSuffix(second, "/1") {
		t.Skipf("no abstract sockets here: %s, %s", first, second)
	}
	one.Close()
	again, three := instance("slots of a test")
	if again != first {
		t.Errorf("the slot that became free is not taken: %s", again)
	}
	two.Close()
	three.Close()
}
