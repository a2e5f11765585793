package metrickit

import (
	"math"
	"sync"
)

const (
	schemaMin     = -4
	schemaMax     = 8
	schemaDefault = 3
	// Of a double the lowest 52 bits are its mantissa.
	mantissaBits    = 52
	mantissaMask    = 1<<mantissaBits - 1
	exponentBias    = 1023
	exponentAllOnes = 0x7ff
)

// scale finds the exponential bucket of a value at one schema: bucket i holds
// what lies in (base^(i-1), base^i], base being 2^(2^-schema) (Prometheus,
// "Native Histograms").
type scale struct {
	schema int
	// bounds are the mantissas of the bounds of one power of two, ascending.
	bounds []uint64
	// guess is, by the first bits of a mantissa, how many bounds lie below the
	// smallest mantissa that begins so. At most one more lies within.
	guess []uint16
	// shift leaves those first bits of a mantissa.
	shift uint
}

// scales are made when they are first used.
var scales [schemaMax - schemaMin + 1]struct {
	once  sync.Once
	scale scale
}

func scaleOf(schema int) *scale {
	slot := &scales[schema-schemaMin]
	slot.once.Do(func() { slot.scale = makeScale(schema) })
	return &slot.scale
}

func makeScale(schema int) scale {
	s := scale{schema: schema}
	if schema <= 0 {
		return s
	}
	count := 1 << schema
	for at := 0; at < count; at++ {
		bound := math.Exp2(float64(at) / float64(count))
		s.bounds = append(s.bounds, math.Float64bits(bound)&mantissaMask)
	}
	// Cells half as wide as the narrowest bucket.
	s.shift = mantissaBits - uint(schema) - 1
	below := 0
	for cell := 0; cell < 2*count; cell++ {
		for below < count && s.bounds[below] < uint64(cell)<<s.shift {
			below++
		}
		s.guess = append(s.guess, uint16(below))
	}
	return s
}

// index is the bucket of v, which is above zero and may be infinite. Infinity
// has the bucket above that of the largest number.
func (s *scale) index(v float64) int32 {
	bits := math.Float64bits(v)
	exponent, mantissa := int(bits>>mantissaBits)&exponentAllOnes, bits&mantissaMask
	switch exponent {
	case exponentAllOnes:
		return s.index(math.MaxFloat64) + 1
	case 0:
		// Below the smallest normal number: bring it up there.
		bits = math.Float64bits(v * (1 << mantissaBits))
		exponent, mantissa = int(bits>>mantissaBits)-mantissaBits, bits&mantissaMask
	}
	exponent -= exponentBias
	if s.schema <= 0 {
		if mantissa > 0 {
			exponent++
		}
		// Rounds up: shifts round down.
		return int32(-(-exponent >> -s.schema))
	}
	below := int(s.guess[mantissa>>s.shift])
	for below < len(s.bounds) && s.bounds[below] < mantissa {
		below++
	}
	return int32(exponent<<s.schema + below)
}

// window holds the counts of exponential buckets from the lowest populated to
// the highest.
type window struct {
	// first is the index of counts[0].
	first  int32
	counts []uint64
}

// add counts n in a bucket, unless the window would grow beyond sizeMax.
func (w *window) add(index int32, n uint64, sizeMax int) bool {
	if at := int(index) - int(w.first); at >= 0 && at < len(w.counts) {
		w.counts[at] += n
		return true
	}
	if len(w.counts) == 0 {
		w.first, w.counts = index, append(w.counts, n)
		return true
	}
	low, high := min(index, w.first), max(index, w.first+int32(len(w.counts))-1)
	if int(high)-int(low)+1 > sizeMax {
		return false
	}
	w.stretch(low, int(high-low)+1)
	w.counts[index-w.first] += n
	return true
}

// stretch makes the window begin at low and have size buckets.
func (w *window) stretch(low int32, size int) {
	shift, have := int(w.first-low), len(w.counts)
	if cap(w.counts) < size {
		grown := make([]uint64, size, size+size/2)
		copy(grown[shift:], w.counts)
		w.first, w.counts = low, grown
		return
	}
	w.counts = w.counts[:size]
	copy(w.counts[shift:], w.counts[:have])
	clear(w.counts[:shift])
	clear(w.counts[shift+have:])
	w.first = low
}

// halve merges buckets by twos, as the next coarser schema has them.
func (w *window) halve() {
	if len(w.counts) == 0 {
		return
	}
	first := (w.first + 1) >> 1
	last := (w.first + int32(len(w.counts))) >> 1
	for at, n := range w.counts {
		to := int((w.first+int32(at)+1)>>1 - first)
		// It never runs ahead of what it reads.
		if w.counts[at] = 0; n > 0 {
			w.counts[to] += n
		}
	}
	w.first, w.counts = first, w.counts[:last-first+1]
}

func (w *window) reset() { w.counts = w.counts[:0] }

// distribution is an exponential histogram with a bounded number of buckets.
// It begins at the schema that was chosen; when the bound is reached, the
// resolution is halved.
type distribution struct {
	schema             int
	zero, count        uint64
	sum                float64
	positive, negative window
}

// observe counts v, which is a number.
func (d *distribution) observe(v float64, zeroThreshold float64, bucketsMax int) {
	d.count++
	d.sum += v
	side := &d.positive
	if v < 0 {
		side, v = &d.negative, -v
	}
	if v <= zeroThreshold {
		d.zero++
		return
	}
	for !side.add(scaleOf(d.schema).index(v), 1, bucketsMax) {
		d.halve()
	}
}

func (d *distribution) halve() {
	d.schema--
	d.positive.halve()
	d.negative.halve()
}

func (d *distribution) reset(schema int) {
	d.schema, d.zero, d.count, d.sum = schema, 0, 0, 0
	d.positive.reset()
	d.negative.reset()
}

// merge adds what other holds.
func (d *distribution) merge(other *distribution, bucketsMax int) {
	d.count += other.count
	d.sum += other.sum
	d.zero += other.zero
	for d.schema > other.schema {
		d.halve()
	}
	d.mergeSide(&d.positive, &other.positive, other.schema, bucketsMax)
	d.mergeSide(&d.negative, &other.negative, other.schema, bucketsMax)
}

func (d *distribution) mergeSide(into, from *window, schema, bucketsMax int) {
	for at, n := range from.counts {
		if n == 0 {
			continue
		}
		index := from.first + int32(at)
		for !into.add(coarser(index, schema-d.schema), n, bucketsMax) {
			d.halve()
		}
	}
}

// coarser is the bucket that bucket index is in when the resolution is halved
// as often as told.
func coarser(index int32, halvings int) int32 {
	return -(-index >> halvings)
}
