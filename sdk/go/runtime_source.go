package metrickit

import (
	"math"
	"runtime"
	"runtime/metrics"
	"strings"

	"github.com/metrickit/metrickit/sdk/go/internal/remotewrite"
)

// runtimeSource reads package runtime/metrics: whatever names this release of
// Go has. Reading all takes some 50 microseconds and stops nothing.
type runtimeSource struct {
	readings []runtimeReading
	// samples are read at once, in the order of readings.
	samples []metrics.Sample
	// values are those of numbers, by name, of the round.
	values map[string]float64
}

// runtimeReading is what becomes of one metric.
type runtimeReading struct {
	name, help string
	kind       remotewrite.Kind
	// nonzero leaves it out while it is zero.
	nonzero bool
	// sum is the metric that has the exact sum of a histogram.
	sum string
	// bounds of a histogram, as they are sent; made when it is first read.
	bounds []float64
}

// exactSums are histograms whose sum another metric counts.
var exactSums = map[string]string{
	"/gc/heap/allocs-by-size:bytes": "/gc/heap/allocs:bytes",
	"/gc/heap/frees-by-size:bytes":  "/gc/heap/frees:bytes",
}

func newRuntimeSource() *runtimeSource {
	s := &runtimeSource{values: make(map[string]float64)}
	for _, d := range metrics.All() {
		kind := remotewrite.Gauge
		switch {
		case d.Kind == metrics.KindFloat64Histogram:
			kind = remotewrite.Histogram
		case d.Kind != metrics.KindUint64 && d.Kind != metrics.KindFloat64:
			continue // a kind of a later release
		case d.Cumulative:
			kind = remotewrite.Counter
		}
		name := runtimeName(d)
		if checkMetricName(name) != nil {
			continue
		}
		s.samples = append(s.samples, metrics.Sample{Name: d.Name})
		s.readings = append(s.readings, runtimeReading{
			name: name, help: cutHelp(strings.Join(strings.Fields(d.Description), " ")), kind: kind,
			nonzero: strings.HasPrefix(d.Name, godebugPrefix), sum: exactSums[d.Name],
		})
	}
	return s
}

func (s *runtimeSource) write(b *batch) {
	metrics.Read(s.samples)
	for at := range s.samples {
		switch sample := &s.samples[at]; sample.Value.Kind() {
		case metrics.KindUint64:
			s.values[sample.Name] = float64(sample.Value.Uint64())
		case metrics.KindFloat64:
			s.values[sample.Name] = sample.Value.Float64()
		}
	}
	start := processStartMs()
	for at := range s.samples {
		reading, sample := &s.readings[at], &s.samples[at]
		if sample.Value.Kind() == metrics.KindFloat64Histogram {
			b.metric(reading.name, reading.help, reading.kind)
			reading.fill(&b.native, sample.Value.Float64Histogram(), s.values)
			b.histogram(nil, start)
			continue
		}
		value, found := s.values[sample.Name]
		if !found || reading.nonzero && value == 0 {
			continue
		}
		startMs := start
		if reading.kind != remotewrite.Counter {
			startMs = 0
		}
		b.metric(reading.name, reading.help, reading.kind)
		b.value(nil, value, startMs)
	}
	s.familiar(b, start)
}

// familiar writes what the Prometheus client library gives other names.
func (s *runtimeSource) familiar(b *batch, start int64) {
	b.metric("go_goroutines", "Goroutines that exist.", remotewrite.Gauge)
	b.value(nil, float64(runtime.NumGoroutine()), 0)
	threads, _ := runtime.ThreadCreateProfile(nil)
	b.metric("go_threads", "Threads of the operating system that were created.", remotewrite.Gauge)
	b.value(nil, float64(threads), 0)
	for _, m := range memstats {
		sum, complete := 0.0, true
		for _, term := range m.terms {
			value, found := s.values[term]
			sum, complete = sum+value, complete && found
		}
		if !complete {
			continue
		}
		kind, startMs := remotewrite.Gauge, int64(0)
		if strings.HasSuffix(m.name, "_total") {
			kind, startMs = remotewrite.Counter, start
		}
		b.metric("go_memstats_"+m.name, m.help, kind)
		b.value(nil, sum, startMs)
	}
}

// fill makes dst a histogram of the runtime with the bounds that the runtime
// has, none moved and none merged.
//
// Where no other metric has the sum it is estimated from the middles of the
// buckets; for times that is right to some percent, as no bucket is wider than
// a quarter of its value. The runtime's buckets hold their lower bound and not
// their upper, on the wire it is the other way round: a value that lies exactly
// on a bound is told in the bucket above it.
func (r *runtimeReading) fill(dst *remotewrite.NativeHistogram, src *metrics.Float64Histogram, values map[string]float64) {
	bounds := src.Buckets
	if len(bounds) != len(src.Counts)+1 {
		*dst = remotewrite.NativeHistogram{Schema: remotewrite.CustomSchema}
		return
	}
	if r.bounds == nil {
		r.bounds = customBounds(bounds)
	}
	var count uint64
	var sum float64
	for at, n := range src.Counts {
		if n == 0 {
			continue
		}
		count += n
		sum += float64(n) * middle(bounds[at], bounds[at+1])
	}
	if exact, found := values[r.sum]; found {
		sum = exact
	}
	dst.Count, dst.Sum = count, sum
	dst.Schema, dst.CustomBounds = remotewrite.CustomSchema, r.bounds
	dst.ZeroThreshold, dst.ZeroCount = 0, 0
	dst.Negative.Set(0, nil)
	dst.Positive.Set(0, src.Counts)
}

// customBounds are the upper bounds of the buckets between bounds, but for
// +Inf, which every list ends with unsaid. Where the last is finite, the
// bucket above it stays empty.
func customBounds(bounds []float64) []float64 {
	upper := append([]float64{}, bounds[1:]...)
	if last := len(upper) - 1; last >= 0 && math.IsInf(upper[last], 1) {
		upper = upper[:last]
	}
	return upper
}

// middle stands for the values of a bucket. One without an end is stood for by
// its other.
func middle(low, high float64) float64 {
	switch {
	case math.IsInf(low, -1):
		return high
	case math.IsInf(high, 1):
		return low
	default:
		return low + (high-low)/2
	}
}
