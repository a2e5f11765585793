package metrickit

import (
	"sync/atomic"

	"github.com/metrickit/metrickit/sdk/go/internal/remotewrite"
)

// own is what the client counts of itself.
type own struct {
	series    atomic.Uint64
	rounds    atomic.Uint64
	collectNs atomic.Uint64
	panics    atomic.Uint64
}

// selfSource writes metrickit_sdk_*.
type selfSource struct{ client *Client }

func (s selfSource) write(b *batch) {
	c := s.client
	start := processStartMs()
	counter := func(name, help string, value float64) {
		b.metric("metrickit_sdk_"+name, help, remotewrite.Counter)
		b.value(nil, value, start)
	}
	gauge := func(name, help string, value float64) {
		b.metric("metrickit_sdk_"+name, help, remotewrite.Gauge)
		b.value(nil, value, 0)
	}
	b.metric("metrickit_sdk_info", "The client in the program; always 1.", remotewrite.Info)
	b.value([]label{{"version", Version}}, 1, 0)
	state := c.queue.state()
	gauge("queue_bytes", "Bytes that wait to be sent.", float64(state.bytes))
	gauge("queue_requests", "Requests that wait to be sent.", float64(state.parcels))
	gauge("series", "Series of the round before.", float64(c.own.series.Load()))
	counter("rounds_total", "Rounds of readings.", float64(c.own.rounds.Load()))
	counter("collect_seconds_total", "Time spent taking readings.", float64(c.own.collectNs.Load())/1e9)
	counter("panics_total", "Functions of the program that panicked when they were read.", float64(c.own.panics.Load()))
	counter("sent_bytes_total", "Compressed bytes that receivers answered.", float64(c.sender.bytes.Load()))

	b.metric("metrickit_sdk_requests_total", "Requests by what became of them.", remotewrite.Counter)
	for outcome := range c.sender.requests {
		b.value([]label{{"outcome", outcomeNames[outcome]}}, float64(c.sender.requests[outcome].Load()), start)
	}
	b.metric("metrickit_sdk_samples_total", "Samples by what became of them; those that waited too long were dropped.", remotewrite.Counter)
	b.value([]label{{"outcome", "dropped"}}, float64(state.dropped), start)
	b.value([]label{{"outcome", outcomeNames[rejected]}}, float64(c.sender.samples[rejected].Load()), start)
	b.value([]label{{"outcome", outcomeNames[sent]}}, float64(c.sender.samples[sent].Load()), start)
	s.refusals(b, start)
}

// refusals tells which metrics reached their limit of series.
func (s selfSource) refusals(b *batch, start int64) {
	b.metric("metrickit_sdk_series_refused_total", "Calls that asked for a series beyond the limit of its metric.", remotewrite.Counter)
	for _, one := range s.client.settings.Registry.all() {
		if bounded, ok := one.(interface{ refusals() uint64 }); ok && bounded.refusals() > 0 {
			b.value([]label{{"metric", one.describe().name}}, float64(bounded.refusals()), start)
		}
	}
}
