package metrickit

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestHandler(t *testing.T) {
	r := NewRegistry()
	mux := http.NewServeMux()
	mux.HandleFunc("/ok/", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") })
	mux.HandleFunc("/quiet", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/teapot", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusEarlyHints)
		w.WriteHeader(http.StatusTeapot)
	})
	mux.HandleFunc("/panic", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	mux.HandleFunc("/file", func(w http.ResponseWriter, r *http.Request) {
		io.Copy(w, strings.NewReader("from a reader"))
	})
	server := httptest.NewServer(HandlerWith(HandlerOptions{Registry: r}, mux))
	defer server.Close()
	for _, c := range []struct{ method, path string }{
		{"GET", "/ok/1"}, {"GET", "/ok/2"}, {"POST", "/ok/3"}, {"BREW", "/ok/4"}, {"GET", "/quiet"},
		{"GET", "/teapot"}, {"POST", "/panic"}, {"GET", "/nowhere"}, {"GET", "/elsewhere"}, {"GET", "/file"},
	} {
		request, _ := http.NewRequest(c.method, server.URL+c.path, nil)
		if response, err := http.DefaultClient.Do(request); err == nil {
			response.Body.Close()
		} else if c.path != "/panic" {
			t.Error(err)
		}
	}
	server.Close()
	found := collected(t, families(r)...)
	for labels, want := range map[string]float64{
		`{method="GET",route="/ok/",status="2xx"}`:    2,
		`{method="POST",route="/ok/",status="2xx"}`:   1,
		`{method="other",route="/ok/",status="2xx"}`:  1,
		`{method="GET",route="/quiet",status="2xx"}`:  1,
		`{method="GET",route="/teapot",status="4xx"}`: 1,
		`{method="POST",route="/panic",status="5xx"}`: 1,
		`{method="GET",route="none",status="4xx"}`:    2,
		`{method="GET",route="/file",status="2xx"}`:   1,
	} {
		if got := found["http_requests_total"+labels].Value; got != want {
			t.Errorf("%s is %v, want %v", labels, got, want)
		}
		h := found["http_request_duration_seconds"+labels].Histogram
		if h == nil || float64(h.Count) != want || h.Sum <= 0 || h.Sum > 60 {
			t.Errorf("durations of %s are %+v", labels, h)
		}
	}
	if len(found) != 2*8+1 || found["http_requests_in_flight{}"].Value != 0 {
		t.Errorf("got %v", found)
	}
}

func TestRoutesAreBounded(t *testing.T) {
	r := NewRegistry()
	routes := 0
	handler := HandlerWith(HandlerOptions{Registry: r, Route: func(*http.Request) string {
		routes++
		return fmt.Sprint("/given/", routes)
	}}, http.NotFoundHandler())
	for n := 0; n < routesMax+50; n++ {
		handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/b", nil))
	}
	found := collected(t, families(r)...)
	if got := found[`http_requests_total{method="GET",route="other",status="4xx"}`].Value; got != 50 {
		t.Errorf("%v of other routes", got)
	}
	if found[`http_requests_total{method="GET",route="/given/200",status="4xx"}`].Value != 1 || len(found) != 2*(routesMax+1)+1 {
		t.Errorf("%d series", len(found))
	}
	// The method of a pattern is no part of the route.
	measured := handler.(*measuredHandler)
	request := httptest.NewRequest("GET", "/x", nil)
	if setPattern(request, "GET example.com/x/{id}") {
		if got := measured.routeOf(request); got != "example.com/x/{id}" {
			t.Error(got)
		}
	}
}

func TestTheWriterCanDoWhatItCould(t *testing.T) {
	type flushHijack interface {
		http.Flusher
		http.Hijacker
	}
	options := HandlerOptions{Registry: NewRegistry()}
	server := httptest.NewServer(HandlerWith(options, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, ok := w.(flushHijack); !ok {
			t.Errorf("%T neither flushes nor hijacks", w)
		}
		if _, ok := w.(io.ReaderFrom); !ok {
			t.Errorf("%T does not read from", w)
		}
		controller := http.NewResponseController(w)
		switch r.URL.Path {
		case "/flush":
			w.(http.Flusher).Flush()
			if err := controller.Flush(); err != nil {
				t.Error(err)
			}
		case "/hijack":
			connection, buffer, err := controller.Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			fmt.Fprint(buffer, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
			buffer.Flush()
			connection.Close()
		}
	})))
	for _, path := range []string{"/flush", "/hijack"} {
		connection, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(connection, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path)
		if _, err := bufio.NewReader(connection).ReadString('\n'); err != nil {
			t.Error(path, err)
		}
		connection.Close()
	}
	server.Close()
	var found map[string]float64
	eventually(t, "both are counted", func() bool {
		found = map[string]float64{}
		for key, one := range collected(t, families(options.Registry)...) {
			found[key] = one.Value
		}
		return found[`http_requests_total{method="GET",route="none",status="2xx"}`] == 1 &&
			found[`http_requests_total{method="GET",route="none",status="1xx"}`] == 1
	})
	if _, timed := found[`http_request_duration_seconds{method="GET",route="none",status="1xx"}`]; timed {
		t.Error("a hijacked connection was timed")
	}
	// A plain writer does not seem to do more than it can.
	plain := (&recorder{ResponseWriter: struct{ http.ResponseWriter }{httptest.NewRecorder()}}).wrap()
	if _, ok := plain.(http.Flusher); ok {
		t.Error("it flushes")
	}
	if _, ok := plain.(http.Hijacker); ok {
		t.Error("it hijacks")
	}
	flushing := (&recorder{ResponseWriter: httptest.NewRecorder()}).wrap()
	if _, ok := flushing.(http.Hijacker); ok {
		t.Error("it hijacks")
	}
	flushing.(http.Flusher).Flush()
	// One that streams is told that its client left.
	gone := (&recorder{ResponseWriter: goneWriter{httptest.NewRecorder()}}).wrap()
	if err := http.NewResponseController(gone).Flush(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v", err)
	}
	if written, err := io.WriteString(flushing, "text"); written != 4 || err != nil {
		t.Errorf("%d bytes, %v", written, err)
	}
}

// goneWriter answers a client that left.
type goneWriter struct{ *httptest.ResponseRecorder }

func (goneWriter) FlushError() error { return net.ErrClosed }

type failing struct{}

func (failing) RoundTrip(*http.Request) (*http.Response, error) { return nil, errors.New("no") }

func TestRoundTripper(t *testing.T) {
	r := NewRegistry()
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	client := http.Client{Transport: RoundTripperWith(RoundTripperOptions{Registry: r}, nil)}
	response, err := client.Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	client.CloseIdleConnections()
	broken := http.Client{Transport: RoundTripperWith(RoundTripperOptions{Registry: r}, failing{})}
	if _, err := broken.Post("http://broken.example", "", nil); err == nil {
		t.Error("no error came through")
	}
	found := collected(t, families(r)...)
	host := server.Listener.Addr().String()
	for labels, want := range map[string]uint64{
		fmt.Sprintf(`{host=%q,method="GET",status="4xx"}`, host): 1,
		`{host="broken.example",method="POST",status="error"}`:   1,
	} {
		if got := found["http_client_requests_total"+labels].Value; got != float64(want) {
			t.Errorf("%s is %v", labels, got)
		}
		if h := found["http_client_request_duration_seconds"+labels].Histogram; h == nil || h.Count != want {
			t.Errorf("durations of %s are %+v", labels, h)
		}
	}
	if found["http_client_requests_in_flight{}"].Value != 0 {
		t.Error("requests are in flight")
	}
}

func BenchmarkHandler(b *testing.B) {
	options := HandlerOptions{Registry: NewRegistry(), Route: func(*http.Request) string { return "/x" }}
	handler := HandlerWith(options, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	writer, request := httptest.NewRecorder(), httptest.NewRequest("GET", "/x", nil)
	b.ReportAllocs()
	for n := 0; n < b.N; n++ {
		handler.ServeHTTP(writer, request)
	}
}
