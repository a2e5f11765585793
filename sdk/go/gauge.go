package metrickit

import (
	"math"
	"sync/atomic"

	"github.com/metrickit/metrickit/sdk/go/internal/remotewrite"
)

// Gauge is one series that goes up and down. It is safe for concurrent use.
type Gauge struct {
	bits atomic.Uint64
}

// Set makes v the value.
func (g *Gauge) Set(v float64) { g.bits.Store(math.Float64bits(v)) }

// Add adds v, which may be below zero.
func (g *Gauge) Add(v float64) { addFloat(&g.bits, v) }

// Inc adds one.
func (g *Gauge) Inc() { g.Add(1) }

// Dec takes one away.
func (g *Gauge) Dec() { g.Add(-1) }

// Value is the value.
func (g *Gauge) Value() float64 { return math.Float64frombits(g.bits.Load()) }

// GaugeVec is a metric of gauges, one for each set of label values.
type GaugeVec struct{ *vec[Gauge] }

// NewGauge defines a gauge in [DefaultRegistry]; see [NewCounter].
func NewGauge(name, help string, labelNames ...string) *GaugeVec {
	return DefaultRegistry().NewGauge(name, help, labelNames...)
}

// NewGauge is the function of that name for this registry.
func (r *Registry) NewGauge(name, help string, labelNames ...string) *GaugeVec {
	d := newDescription(name, help, remotewrite.Gauge, labelNames)
	return register(r, &GaugeVec{newVec[Gauge](r, d, nil)})
}

// With returns the gauge with these label values; see [CounterVec.With].
func (v *GaugeVec) With(values ...string) *Gauge { return v.with(values) }

// Limit sets how many series the metric has at most, and returns the metric.
func (v *GaugeVec) Limit(series int) *GaugeVec {
	v.limit(series)
	return v
}

func (v *GaugeVec) write(b *batch) {
	b.metric(v.name, v.help, v.kind)
	for _, one := range v.series() {
		b.value(one.labels, one.metric.Value(), 0)
	}
}

// gaugeFunc is a gauge that is asked for its value.
type gaugeFunc struct {
	description
	read func() float64
}

// NewGaugeFunc defines a gauge in [DefaultRegistry] whose value read returns,
// once a round. It must be safe to call from another goroutine and should be
// quick: a round waits for it.
func NewGaugeFunc(name, help string, read func() float64) {
	DefaultRegistry().NewGaugeFunc(name, help, read)
}

// NewGaugeFunc is the function of that name for this registry.
func (r *Registry) NewGaugeFunc(name, help string, read func() float64) {
	d := newDescription(name, help, remotewrite.Gauge, nil)
	d.callback = true
	register(r, &gaugeFunc{description: d, read: read})
}

func (g *gaugeFunc) write(b *batch) {
	value := g.read()
	b.metric(g.name, g.help, g.kind)
	b.value(nil, value, 0)
}
