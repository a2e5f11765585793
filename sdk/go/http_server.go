package metrickit

import (
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// routesMax bounds the routes that HandlerOptions.Route may name, and hosts
	// that a program may ask.
	routesMax = 200
	// httpSeriesMax bounds the series of each metric that has routes or hosts.
	httpSeriesMax = 2000
	// noRoute is the route of requests that matched no pattern, otherValue
	// stands for whatever would make too many label values.
	noRoute    = "none"
	otherValue = "other"
)

// methods are told as they are; all others are told as other.
var methods = map[string]string{
	http.MethodGet: http.MethodGet, http.MethodHead: http.MethodHead, http.MethodPost: http.MethodPost,
	http.MethodPut: http.MethodPut, http.MethodPatch: http.MethodPatch, http.MethodDelete: http.MethodDelete,
	http.MethodConnect: http.MethodConnect, http.MethodOptions: http.MethodOptions, http.MethodTrace: http.MethodTrace,
	// What net/http sends when a request says none.
	"": http.MethodGet,
}

func methodOf(method string) string {
	if known, ok := methods[method]; ok {
		return known
	}
	return otherValue
}

// statusClass is 2xx for 204, and so on.
func statusClass(status int) string {
	if status < 100 || status > 599 {
		return otherValue
	}
	return strconv.Itoa(status/100) + "xx"
}

// HandlerOptions say how a Handler measures. All fields may be left zero.
type HandlerOptions struct {
	// Route names the route of a request that was served, where the pattern of
	// a ServeMux does not: "" stands for none. Of what it returns 200
	// different texts are told, all others as other.
	Route func(*http.Request) string
	// Registry, else DefaultRegistry.
	Registry *Registry
}

// Handler measures what next serves:
//
//	http_requests_total{method, route, status}            counter
//	http_request_duration_seconds{method, route, status}  native histogram
//	http_requests_in_flight                               gauge
//
// The route is the pattern of the ServeMux that served the request, from Go
// 1.23 on wherever that is, before where next is the ServeMux itself. The status
// is its class, such as 5xx. The ResponseWriter flushes, hijacks and sends files
// as the one below it; what else that one can do, such as http.Pusher, is
// reached by its method Unwrap, as http.ResponseController does.
func Handler(next http.Handler) http.Handler {
	return HandlerWith(HandlerOptions{}, next)
}

// HandlerWith is Handler with options.
func HandlerWith(options HandlerOptions, next http.Handler) http.Handler {
	registry := options.Registry
	if registry == nil {
		registry = DefaultRegistry()
	}
	return &measuredHandler{
		next:     next,
		route:    options.Route,
		routes:   distinct{max: routesMax},
		requests: registry.NewCounter("http_requests_total", "HTTP requests served.", "method", "route", "status").Limit(httpSeriesMax),
		seconds:  registry.NewHistogram("http_request_duration_seconds", "Time to serve HTTP requests.", "method", "route", "status").Limit(httpSeriesMax),
		inFlight: registry.NewGauge("http_requests_in_flight", "HTTP requests being served.").With(),
	}
}

type measuredHandler struct {
	next     http.Handler
	route    func(*http.Request) string
	routes   distinct
	requests *CounterVec
	seconds  *HistogramVec
	inFlight *Gauge
}

func (h *measuredHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	h.inFlight.Inc()
	recorder := &recorder{ResponseWriter: w}
	finished := false
	defer func() {
		h.inFlight.Dec()
		status := recorder.status
		switch {
		case status == 0 && finished:
			status = http.StatusOK
		case status == 0:
			// It panicked before it said anything: the connection is cut.
			status = http.StatusInternalServerError
		}
		method, route, class := methodOf(r.Method), h.routeOf(r), statusClass(status)
		h.requests.With(method, route, class).Inc()
		if status != http.StatusSwitchingProtocols {
			// How long a hijacked connection stays open is another matter.
			h.seconds.With(method, route, class).ObserveSince(began)
		}
	}()
	h.next.ServeHTTP(recorder.wrap(), r)
	finished = true
}

// routeOf tells the route of a request that was served.
func (h *measuredHandler) routeOf(r *http.Request) string {
	route := patternOf(r)
	if mux, is := h.next.(*http.ServeMux); is && route == "" {
		_, route = mux.Handler(r)
	}
	if route != "" {
		// The method is a label of its own.
		if _, after, found := strings.Cut(route, " "); found {
			route = strings.TrimLeft(after, " \t")
		}
		return route
	}
	if h.route != nil {
		if route = h.route(r); route != "" {
			return h.routes.keep(route)
		}
	}
	return noRoute
}

// distinct lets so many different texts through.
type distinct struct {
	max  int
	mu   sync.RWMutex
	seen map[string]struct{}
}

// keep returns the text, or other once there are too many.
func (d *distinct) keep(text string) string {
	d.mu.RLock()
	_, known := d.seen[text]
	full := len(d.seen) >= d.max
	d.mu.RUnlock()
	if known {
		return text
	}
	if full || !fit([]string{text}) {
		return otherValue
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, known := d.seen[text]; !known && len(d.seen) >= d.max {
		return otherValue
	}
	if d.seen == nil {
		d.seen = make(map[string]struct{})
	}
	d.seen[strings.Clone(text)] = struct{}{}
	return text
}
