package metrickit

import (
	"net/http"
	"time"
)

// errorStatus is the status of requests that got no answer.
const errorStatus = "error"

// RoundTripperOptions say how a RoundTripper measures.
type RoundTripperOptions struct {
	// Registry, else DefaultRegistry.
	Registry *Registry
}

// RoundTripper measures the requests that go through next, nil standing for
// http.DefaultTransport:
//
//	http_client_requests_total{host, method, status}            counter
//	http_client_request_duration_seconds{host, method, status}  native histogram
//	http_client_requests_in_flight                              gauge
//
// Durations are until the header of the answer is there. The status is its
// class, or error where there was no answer. 200 hosts are told, all others as
// other.
func RoundTripper(next http.RoundTripper) http.RoundTripper {
	return RoundTripperWith(RoundTripperOptions{}, next)
}

// RoundTripperWith is RoundTripper with options.
func RoundTripperWith(options RoundTripperOptions, next http.RoundTripper) http.RoundTripper {
	registry := options.Registry
	if registry == nil {
		registry = DefaultRegistry()
	}
	if next == nil {
		next = http.DefaultTransport
	}
	return &measuredTransport{
		next:     next,
		hosts:    distinct{max: routesMax},
		requests: registry.NewCounter("http_client_requests_total", "HTTP requests sent.", "host", "method", "status").Limit(httpSeriesMax),
		seconds:  registry.NewHistogram("http_client_request_duration_seconds", "Time until the header of an answer.", "host", "method", "status").Limit(httpSeriesMax),
		inFlight: registry.NewGauge("http_client_requests_in_flight", "HTTP requests that wait for an answer.").With(),
	}
}

type measuredTransport struct {
	next     http.RoundTripper
	hosts    distinct
	requests *CounterVec
	seconds  *HistogramVec
	inFlight *Gauge
}

func (t *measuredTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	began := time.Now()
	// Read first: a transport may not keep the request as it is.
	host, method := otherValue, methodOf(r.Method)
	if r.URL != nil {
		host = t.hosts.keep(r.URL.Host)
	}
	status := errorStatus
	t.inFlight.Inc()
	defer func() {
		t.inFlight.Dec()
		t.requests.With(host, method, status).Inc()
		t.seconds.With(host, method, status).ObserveSince(began)
	}()
	response, err := t.next.RoundTrip(r)
	if err == nil && response != nil {
		status = statusClass(response.StatusCode)
	}
	return response, err
}

// CloseIdleConnections makes http.Client.CloseIdleConnections reach next.
func (t *measuredTransport) CloseIdleConnections() {
	if closer, ok := t.next.(interface{ CloseIdleConnections() }); ok {
		closer.CloseIdleConnections()
	}
}
