package metrickit

import (
	"math"
	"sync/atomic"

	"github.com/metrickit/metrickit/sdk/go/internal/remotewrite"
)

// Counter is one series that only goes up. It is safe for concurrent use.
type Counter struct {
	// whole is the sum of what was added as whole numbers, until stripes are
	// made; then they have what comes.
	whole   atomic.Uint64
	stripes atomic.Pointer[[]counterStripe]
	// fraction is the sum of all else, as the bits of a float.
	fraction atomic.Uint64
}

type counterStripe struct {
	whole atomic.Uint64
	_     [cacheLineBytes - 8]byte
}

// wholeMax is the largest float up to which all whole numbers have one.
const wholeMax = 1 << 53

// contendedAfter is how many updates in a row must be in each other's way
// before a counter is split.
const contendedAfter = 3

// Inc adds one.
func (c *Counter) Inc() { c.AddUint(1) }

// AddUint adds n.
func (c *Counter) AddUint(n uint64) {
	if stripes := c.stripes.Load(); stripes != nil {
		(*stripes)[stripe()&uint(len(*stripes)-1)].whole.Add(n)
		return
	}
	for try := 0; try < contendedAfter; try++ {
		if old := c.whole.Load(); c.whole.CompareAndSwap(old, old+n) {
			return
		}
	}
	c.split(n)
}

// split makes the stripes, and adds n.
func (c *Counter) split(n uint64) {
	stripes := make([]counterStripe, stripeCount())
	c.stripes.CompareAndSwap(nil, &stripes)
	c.whole.Add(n)
}

// Add adds v. A counter does not go down: what is below zero, infinite or no
// number is left out.
func (c *Counter) Add(v float64) {
	if !(v >= 0 && v <= math.MaxFloat64) {
		return
	}
	if v <= wholeMax {
		if n := uint64(v); float64(n) == v {
			c.AddUint(n)
			return
		}
	}
	addFloat(&c.fraction, v)
}

// Value is the sum of all that was added.
func (c *Counter) Value() float64 {
	whole := c.whole.Load()
	if stripes := c.stripes.Load(); stripes != nil {
		for at := range *stripes {
			whole += (*stripes)[at].whole.Load()
		}
	}
	return float64(whole) + math.Float64frombits(c.fraction.Load())
}

// addFloat adds to a float that is kept as its bits.
func addFloat(bits *atomic.Uint64, v float64) {
	for {
		old := bits.Load()
		if bits.CompareAndSwap(old, math.Float64bits(math.Float64frombits(old)+v)) {
			return
		}
	}
}

// CounterVec is a metric of counters, one for each set of label values.
type CounterVec struct{ *vec[Counter] }

// NewCounter defines a counter in [DefaultRegistry]. Names of counters end in
// _total by custom. What is wrong with a definition, [Registry.Err] tells; one
// that is there already is returned again.
func NewCounter(name, help string, labelNames ...string) *CounterVec {
	return DefaultRegistry().NewCounter(name, help, labelNames...)
}

// NewCounter is the function of that name for this registry.
func (r *Registry) NewCounter(name, help string, labelNames ...string) *CounterVec {
	d := newDescription(name, help, remotewrite.Counter, labelNames)
	return register(r, &CounterVec{newVec[Counter](r, d, nil)})
}

// With returns the counter with these label values, in the order of the label
// names. Handles can be kept. It never returns nil: a series beyond the limit
// of the metric counts, but is not sent.
func (v *CounterVec) With(values ...string) *Counter { return v.with(values) }

// Limit sets how many series the metric has at most, and returns the metric.
func (v *CounterVec) Limit(series int) *CounterVec {
	v.limit(series)
	return v
}

func (v *CounterVec) write(b *batch) {
	b.metric(v.name, v.help, v.kind)
	for _, one := range v.series() {
		b.value(one.labels, one.metric.Value(), one.createdMs)
	}
}
