package metrickit

import (
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
)

func TestCounters(t *testing.T) {
	r := NewRegistry()
	counters := r.NewCounter("c_total", "C.", "b", "a")
	one := counters.With("x", "y")
	one.Inc()
	one.AddUint(2)
	one.Add(0.5)
	one.Add(1 << 60)
	for _, bad := range []float64{-1, math.NaN(), math.Inf(1), math.Inf(-1)} {
		one.Add(bad)
	}
	if again := counters.With("x", "y"); again != one || one.Value() != 1<<60+3.5 {
		t.Errorf("got %v", one.Value())
	}
	counters.With("", "z").Inc()
	found := collected(t, families(r)...)
	if found[`c_total{a="y",b="x"}`].Value != 1<<60+3.5 || found[`c_total{a="z"}`].Value != 1 || len(found) != 2 {
		t.Errorf("got %+v", found)
	}
}

func TestGauges(t *testing.T) {
	r := NewRegistry()
	level := r.NewGauge("level", "").With()
	level.Set(5)
	level.Add(-7.5)
	level.Inc()
	level.Dec()
	r.NewGaugeFunc("asked", "", func() float64 { return 9 })
	r.Collect("pool", func(e *Emitter) {
		e.Gauge("open", "", 3, Label{"z", "1"}, Label{"a", "2"})
		e.Counter("waits_total", "", 4)
		e.Gauge("bad name", "", 1)
		e.Gauge("twice", "", 1, Label{"a", "1"}, Label{"a", "2"})
		e.Counter("waits_total", "", 5)
		e.Counter("waits_total", "", 6, Label{"of", ""})
		e.Gauge("level", "", 7)
		e.Gauge("metrickit_own", "", 8)
	})
	r.Collect("other pool", func(e *Emitter) { e.Gauge("open", "", 9, Label{"a", "2"}, Label{"z", "1"}) })
	found := collected(t, families(r)...)
	if refused := r.all()[2].(*collectFunc).refused; refused != 6 {
		t.Errorf("%d refused", refused)
	}
	for key, want := range map[string]float64{"level{}": -2.5, "asked{}": 9, `open{a="2",z="1"}`: 3, "waits_total{}": 4} {
		if found[key].Value != want {
			t.Errorf("%s is %+v", key, found[key])
		}
	}
	if err := r.Err(); len(found) != 4 || err == nil || !strings.Contains(err.Error(), `"bad name"`) {
		t.Errorf("%d series, %v", len(found), r.Err())
	}
}

// Many goroutines, with the contended paths taken for certain.
func TestConcurrentUpdates(t *testing.T) {
	const goroutines, each = 8, 2000
	r := NewRegistry()
	counters, gauges, histograms := r.NewCounter("c", "", "n"), r.NewGauge("g", ""), r.NewHistogram("h", "", "n")
	fixed := r.NewHistogramWith(HistogramOptions{Buckets: []float64{1, 2}}, "f", "")
	counters.With("0").split(0)
	held := histograms.With("0")
	held.first.mu.Lock()
	var all sync.WaitGroup
	for g := 0; g < goroutines; g++ {
		all.Add(1)
		go func(g int) {
			defer all.Done()
			for n := 0; n < each; n++ {
				name := fmt.Sprint(n % 40)
				counters.With(name).Inc()
				counters.With("0").Add(0.5)
				gauges.With().Add(1)
				histograms.With(name).Observe(float64(n + 1))
				fixed.With().Observe(float64(n % 4))
				if g == 0 && n%500 == 0 {
					r.all()[0].write(newBatch(nil, func([]byte, int) {}))
				}
			}
		}(g)
	}
	all.Wait()
	held.first.mu.Unlock()
	found := collected(t, families(r)...)
	if got := found[`c{n="0"}`].Value; got != goroutines*each/40+goroutines*each*0.5 {
		t.Errorf("the counter is %v", got)
	}
	if got := found["g{}"].Value; got != goroutines*each {
		t.Errorf("the gauge is %v", got)
	}
	total := uint64(0)
	for n := 0; n < 40; n++ {
		h := found[fmt.Sprintf(`h{n="%d"}`, n)].Histogram
		total += h.Count
		buckets := h.ZeroCount
		for _, count := range h.Positive {
			buckets += uint64(count)
		}
		if buckets != h.Count {
			t.Errorf("%d observations in buckets of %d", buckets, h.Count)
		}
	}
	if total != goroutines*each {
		t.Errorf("%d observations", total)
	}
	for le, want := range map[string]float64{"1": 0.5, "2": 0.75, "+Inf": 1} {
		if got := found[fmt.Sprintf(`f_bucket{le=%q}`, le)].Value; got != want*goroutines*each {
			t.Errorf("bucket %s is %v", le, got)
		}
	}
}

func TestLimits(t *testing.T) {
	r := NewRegistry()
	counters := r.NewCounter("c", "", "n").Limit(100)
	for n := 0; n < 250; n++ {
		counters.With(fmt.Sprint(n)).Inc()
	}
	counters.With("7").Inc()
	if got := len(collected(t, families(r)...)); got != 100 {
		t.Errorf("%d series", got)
	}
	if got := counters.refusals(); got != 150 {
		t.Errorf("%d were refused", got)
	}
	counters.Limit(200).With("more").Inc()
	counters.With(strings.Repeat("x", valueBytesMax+1)).Inc()
	counters.With("\xff").Inc()
	found := collected(t, families(r)...)
	if len(found) != 101 || found[`c{n="more"}`].Value != 1 || found[`c{n="7"}`].Value != 2 || counters.refusals() != 152 {
		t.Errorf("%d series, %d refused", len(found), counters.refusals())
	}
}

func TestDefinitions(t *testing.T) {
	for _, c := range []struct {
		define func(r *Registry)
		want   string
	}{
		{func(r *Registry) { r.NewCounter("", "") }, "a metric name is empty"},
		{func(r *Registry) { r.NewCounter("9a", "") }, `has "9" at byte 0`},
		{func(r *Registry) { r.NewCounter("a-b", "") }, `has "-" at byte 1`},
		{func(r *Registry) { r.NewCounter(strings.Repeat("a", 201), "") }, "the limit is 200"},
		{func(r *Registry) { r.NewCounter("metrickit_x", "") }, "the client's own"},
		{func(r *Registry) { r.NewCounter("a", "", "b", "b") }, "label b twice"},
		{func(r *Registry) { r.NewCounter("a", "", "b:c") }, `label name "b:c"`},
		{func(r *Registry) { r.NewCounter("a", "", "job") }, `"queue_job"`},
		{func(r *Registry) { r.NewCounter("a", "", "__x") }, "reserved"},
		{func(r *Registry) { r.NewCounter("a", "", make([]string, 33)...) }, "the limit is 32"},
		{func(r *Registry) { r.NewHistogram("a", "", "le") }, "names buckets"},
		{func(r *Registry) { r.NewHistogramWith(HistogramOptions{Buckets: []float64{1, 1}}, "a", "") }, "bound 1 is 1"},
		{func(r *Registry) { r.NewHistogramWith(HistogramOptions{Buckets: []float64{math.Inf(1)}}, "a", "") }, "finite"},
		{func(r *Registry) { r.NewCounter("a", "", "b"); r.NewGauge("a", "", "b") }, "defined twice, as counter a{b} and as gauge a{b}"},
		{func(r *Registry) { r.NewCounter("a", "", "b"); r.NewCounter("a", "", "c") }, "defined twice"},
		{func(r *Registry) {
			r.NewHistogram("a", "")
			r.NewHistogramWith(HistogramOptions{Schema: 5}, "a", "")
		}, "as histogram a{} with schema 3, 320 buckets, zero to 2.938735877055719e-39 and as histogram a{} with schema 5"},
		{func(r *Registry) {
			r.NewHistogram("a", "").With().Observe(1)
			r.NewHistogramWith(HistogramOptions{Schema: 3}, "a", "")
		}, "<nil>"},
		{func(r *Registry) {
			r.NewCounter("a_sum", "")
			r.NewHistogramWith(HistogramOptions{Buckets: []float64{1}}, "a", "")
		}, "needs the name a_sum"},
		{func(r *Registry) { r.NewGaugeFunc("a", "", nil); r.NewGaugeFunc("a", "", nil) }, "defined twice"},
		{func(r *Registry) { r.NewCounter("a", "", "b").With("1", "2").Inc() }, "counter a{b} has 1 labels, With was given 2 values"},
		{func(r *Registry) { r.Collect("a", nil); r.Collect("a", nil) }, `twice for "a"`},
		{func(r *Registry) { r.NewCounter("a", "", "b").With("1").Inc(); r.NewCounter("a", "", "b") }, "<nil>"},
		{func(r *Registry) { r.NewCounter("a", ""); r.NewCounter("a:b", "", "_", "A", "z9") }, "<nil>"},
	} {
		r := NewRegistry()
		c.define(r)
		if got := fmt.Sprint(r.Err()); !strings.Contains(got, c.want) {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
	// What is wrong works all the same, but is not sent.
	r := NewRegistry()
	for n := 0; n < 2*problemsMax; n++ {
		r.NewCounter("a b", "").With().Inc()
	}
	if len(r.all()) != 0 || len(r.problems) != problemsMax {
		t.Errorf("%d families, %d problems", len(r.all()), len(r.problems))
	}
}

func TestUpdatesDoNotAllocate(t *testing.T) {
	r := NewRegistry()
	counters, histograms := r.NewCounter("c", "", "a", "b"), r.NewHistogram("h", "")
	gauge, histogram := r.NewGauge("g", "").With(), histograms.With()
	histogram.Observe(1)
	a, b := fmt.Sprint("a", 1), fmt.Sprint("b", 2)
	counters.With(a, b).Inc()
	if got := testing.AllocsPerRun(100, func() {
		counters.With(a, b).Inc()
		counters.With(a, b).Add(0.25)
		gauge.Set(1)
		gauge.Add(1)
		histogram.Observe(1)
	}); got != 0 {
		t.Errorf("%v allocations", got)
	}
}

func BenchmarkCounterInc(b *testing.B) {
	counter := NewRegistry().NewCounter("c", "").With()
	b.ReportAllocs()
	for n := 0; n < b.N; n++ {
		counter.Inc()
	}
}

func BenchmarkCounterIncParallel(b *testing.B) {
	counter := NewRegistry().NewCounter("c", "").With()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			counter.Inc()
		}
	})
}

func BenchmarkCounterAddFloat(b *testing.B) {
	counter := NewRegistry().NewCounter("c", "").With()
	b.ReportAllocs()
	for n := 0; n < b.N; n++ {
		counter.Add(0.5)
	}
}

func BenchmarkCounterWith(b *testing.B) {
	counters := NewRegistry().NewCounter("c", "", "method", "route")
	for n := 0; n < 500; n++ {
		counters.With("GET", fmt.Sprint("/route/", n)).Inc()
	}
	b.ReportAllocs()
	b.ResetTimer()
	for n := 0; n < b.N; n++ {
		counters.With("GET", "/route/77").Inc()
	}
}

func BenchmarkGaugeSet(b *testing.B) {
	gauge := NewRegistry().NewGauge("g", "").With()
	b.ReportAllocs()
	for n := 0; n < b.N; n++ {
		gauge.Set(float64(n))
	}
}

func benchmarkHistogram(b *testing.B, options HistogramOptions, parallel bool) {
	histogram := NewRegistry().NewHistogramWith(options, "h", "").With()
	b.ReportAllocs()
	if parallel {
		b.RunParallel(func(pb *testing.PB) {
			for n := 1; pb.Next(); n++ {
				histogram.Observe(float64(n&1023) * 0.001)
			}
		})
		return
	}
	for n := 0; n < b.N; n++ {
		histogram.Observe(float64(n&1023) * 0.001)
	}
}

func BenchmarkHistogramObserve(b *testing.B) { benchmarkHistogram(b, HistogramOptions{}, false) }

func BenchmarkHistogramObserveParallel(b *testing.B) { benchmarkHistogram(b, HistogramOptions{}, true) }

func BenchmarkHistogramObserveFixed(b *testing.B) {
	bounds := []float64{0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10}
	benchmarkHistogram(b, HistogramOptions{Buckets: bounds}, false)
}

// A round over what a large service has: 1,000 counters, 200 histograms.
func BenchmarkCollectApplication(b *testing.B) {
	r := NewRegistry()
	counters, histograms := r.NewCounter("c_total", "C.", "route"), r.NewHistogram("h_seconds", "H.", "route")
	for n := 0; n < 1000; n++ {
		counters.With(fmt.Sprint("/route/", n)).AddUint(uint64(n))
		for m := 0; m < 50; m++ {
			histograms.With(fmt.Sprint("/route/", n%200)).Observe(math.Exp2(float64(m)/8 - 10))
		}
	}
	bytes := 0
	batch := newBatch([]label{{"instance", "host/0"}, {"job", "web"}}, func(body []byte, _ int) { bytes += len(body) })
	b.ReportAllocs()
	b.ResetTimer()
	for n := 0; n < b.N; n++ {
		batch.begin(loadedAt, false)
		for _, part := range r.all() {
			part.write(batch)
		}
		batch.end()
	}
	b.ReportMetric(float64(bytes)/float64(b.N), "bytes")
}
