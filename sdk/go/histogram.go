package metrickit

import (
	"math"
	"sort"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/metrickit/metrickit/sdk/go/internal/remotewrite"
)

// Bounds and defaults of HistogramOptions.
const (
	DefaultBucketsMax    = 320
	DefaultZeroThreshold = 0x1p-128

	bucketsMaxLeast = 160
	bucketsMaxMost  = 2048
	boundsMax       = 500
)

// HistogramOptions say how a histogram counts. Zero fields are the defaults.
type HistogramOptions struct {
	// Schema is the resolution to begin with, -4 to 8: buckets grow by the
	// factor 2^(2^-Schema). Zero stands for 3, which is 9 %; for schema 0,
	// which is a factor of two, say SchemaZero.
	Schema int
	// BucketsMax bounds the buckets of each sign, from the lowest populated to
	// the highest; when it is reached the resolution is halved. At 320 and
	// schema 3 there is room for twelve powers of ten.
	BucketsMax int
	// ZeroThreshold: values no farther from zero are counted as zero.
	ZeroThreshold float64
	// Buckets are upper bounds, ascending and finite. With them the histogram
	// is sent as a classic one: NAME_bucket, NAME_sum and NAME_count.
	Buckets []float64
}

// SchemaZero is the HistogramOptions.Schema with buckets that grow by two.
const SchemaZero = 1 << 8

// Histogram is one distribution of observations. It is safe for concurrent
// use.
//
// An observation takes some 25 nanoseconds, under a lock that nobody else holds
// as a rule. Where goroutines are seen to meet at it, the histogram is split
// into parts that are added up when it is read.
type Histogram struct {
	settings *HistogramOptions
	first    histogramPart
	more     atomic.Pointer[[]histogramPart]
}

// histogramPart has a share of the observations.
type histogramPart struct {
	mu sync.Mutex
	distribution
	// fixed are the counts of fixed buckets.
	fixed []uint64
	_     [cacheLineBytes]byte
}

func (p *histogramPart) prepare(s *HistogramOptions) {
	p.schema = s.Schema
	if s.Buckets != nil {
		p.fixed = make([]uint64, len(s.Buckets)+1)
	}
}

// Observe counts v. What is no number is left out.
func (h *Histogram) Observe(v float64) {
	if v != v {
		return
	}
	part := &h.first
	if h.more.Load() != nil || !part.mu.TryLock() {
		part = h.lockOther()
	}
	if s := h.settings; s.Buckets != nil {
		part.count++
		part.sum += v
		part.fixed[sort.SearchFloat64s(s.Buckets, v)]++
	} else {
		part.observe(v, s.ZeroThreshold, s.BucketsMax)
	}
	part.mu.Unlock()
}

// ObserveSince counts the seconds since start.
func (h *Histogram) ObserveSince(start time.Time) {
	h.Observe(time.Since(start).Seconds())
}

// lockOther returns a part that it locked, one that nobody holds if possible.
func (h *Histogram) lockOther() *histogramPart {
	parts := h.more.Load()
	if parts == nil {
		made := make([]histogramPart, stripeCount())
		for at := range made {
			made[at].prepare(h.settings)
		}
		h.more.CompareAndSwap(nil, &made)
		parts = h.more.Load()
	}
	chosen := stripe()
	mask := uint(len(*parts) - 1)
	for at := chosen; at <= chosen+mask; at++ {
		if part := &(*parts)[at&mask]; part.mu.TryLock() {
			return part
		}
	}
	part := &(*parts)[chosen&mask]
	part.mu.Lock()
	return part
}

// read adds up all parts into sum, and counts of fixed buckets into fixed.
func (h *Histogram) read(sum *distribution, fixed []uint64) {
	sum.reset(h.settings.Schema)
	clear(fixed)
	add := func(part *histogramPart) {
		part.mu.Lock()
		defer part.mu.Unlock()
		sum.merge(&part.distribution, h.settings.BucketsMax)
		for at, n := range part.fixed {
			fixed[at] += n
		}
	}
	add(&h.first)
	if parts := h.more.Load(); parts != nil {
		for at := range *parts {
			add(&(*parts)[at])
		}
	}
}

// HistogramVec is a metric of histograms, one for each set of label values.
type HistogramVec struct {
	*vec[Histogram]
	settings HistogramOptions
	// bounds are the values of the label le.
	bounds []string
}

// NewHistogram defines a histogram in [DefaultRegistry]; see [NewCounter]. It
// is sent as one native histogram, not as a series for each bucket.
func NewHistogram(name, help string, labelNames ...string) *HistogramVec {
	return DefaultRegistry().NewHistogram(name, help, labelNames...)
}

// NewHistogramWith is NewHistogram with other buckets.
func NewHistogramWith(options HistogramOptions, name, help string, labelNames ...string) *HistogramVec {
	return DefaultRegistry().NewHistogramWith(options, name, help, labelNames...)
}

// NewHistogram is the function of that name for this registry.
func (r *Registry) NewHistogram(name, help string, labelNames ...string) *HistogramVec {
	return r.NewHistogramWith(HistogramOptions{}, name, help, labelNames...)
}

// NewHistogramWith is the function of that name for this registry.
func (r *Registry) NewHistogramWith(options HistogramOptions, name, help string, labelNames ...string) *HistogramVec {
	d := newDescription(name, help, remotewrite.Histogram, labelNames)
	made := &HistogramVec{settings: options.bounded()}
	if made.settings.Buckets != nil {
		d.buckets = made.settings.Buckets
		for _, bound := range d.buckets {
			made.bounds = append(made.bounds, strconv.FormatFloat(bound, 'g', -1, 64))
		}
		made.bounds = append(made.bounds, "+Inf")
	} else {
		s := made.settings
		d.native = nativeOptions{schema: s.Schema, bucketsMax: s.BucketsMax, zeroThreshold: s.ZeroThreshold}
	}
	made.vec = newVec(r, d, func(h *Histogram) {
		h.settings = &made.settings
		h.first.prepare(h.settings)
	})
	return register(r, made)
}

// bounded fills in defaults and keeps numbers within their bounds.
func (o HistogramOptions) bounded() HistogramOptions {
	switch o.Schema {
	case 0:
		o.Schema = schemaDefault
	case SchemaZero:
		o.Schema = 0
	}
	o.Schema = min(max(o.Schema, schemaMin), schemaMax)
	if o.BucketsMax == 0 {
		o.BucketsMax = DefaultBucketsMax
	}
	o.BucketsMax = min(max(o.BucketsMax, bucketsMaxLeast), bucketsMaxMost)
	if !(o.ZeroThreshold > 0 && o.ZeroThreshold <= math.MaxFloat64) {
		o.ZeroThreshold = DefaultZeroThreshold
	}
	if len(o.Buckets) == 0 {
		o.Buckets = nil
	} else {
		o.Buckets = append([]float64{}, o.Buckets[:min(len(o.Buckets), boundsMax)]...)
	}
	return o
}

// With returns the histogram with these label values; see [CounterVec.With].
func (v *HistogramVec) With(values ...string) *Histogram { return v.with(values) }

// Limit sets how many series the metric has at most, and returns the metric.
// With fixed buckets each of them is as many on the server.
func (v *HistogramVec) Limit(series int) *HistogramVec {
	v.limit(series)
	return v
}

func (v *HistogramVec) write(b *batch) {
	b.metric(v.name, v.help, v.kind)
	var fixed []uint64
	if v.bounds != nil {
		fixed = make([]uint64, len(v.bounds))
	}
	for _, one := range v.series() {
		read := &b.scratch
		one.metric.read(read, fixed)
		if v.bounds != nil {
			v.writeClassic(b, one, fixed, read.sum)
			continue
		}
		b.native = remotewrite.NativeHistogram{
			Count: read.count, Sum: read.sum, Schema: int32(read.schema),
			ZeroThreshold: v.settings.ZeroThreshold, ZeroCount: read.zero,
			Positive: b.native.Positive, Negative: b.native.Negative,
		}
		b.native.Positive.Set(read.positive.first, read.positive.counts)
		b.native.Negative.Set(read.negative.first, read.negative.counts)
		b.histogram(one.labels, one.createdMs)
	}
}

// writeClassic writes the series of a histogram with fixed buckets.
func (v *HistogramVec) writeClassic(b *batch, one *entry[Histogram], counts []uint64, sum float64) {
	at := sort.Search(len(one.labels), func(at int) bool { return one.labels[at].name > leLabel })
	labels := make([]label, 0, len(one.labels)+1)
	labels = append(append(append(labels, one.labels[:at]...), label{name: leLabel}), one.labels[at:]...)
	var below uint64
	for bucket, count := range counts {
		below += count
		labels[at].value = v.bounds[bucket]
		b.suffixed("_bucket", labels, float64(below), one.createdMs)
	}
	b.suffixed("_sum", one.labels, sum, one.createdMs)
	b.suffixed("_count", one.labels, float64(below), one.createdMs)
}
