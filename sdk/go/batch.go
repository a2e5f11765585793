package metrickit

import (
	"fmt"
	"math"
	"sort"
	"time"

	"github.com/metrickit/metrickit/sdk/go/internal/remotewrite"
	"github.com/metrickit/metrickit/sdk/go/internal/snappy"
)

// requestBytes is how long a request may grow, uncompressed, before the next
// one begins. It is also what is lost when the full queue drops one.
const requestBytes = 256 << 10

// emittedMax bounds what is kept of earlier rounds to tell series apart that
// come twice: twice as many as one function may give.
const emittedMax = 2 * SeriesMax

// label is a checked pair.
type label struct{ name, value string }

// batch writes one round of samples into requests. All samples of a round have
// one time, so that the server can store it once for all.
type batch struct {
	// fixed are the labels of every series, sorted, with a place for the name.
	fixed  []label
	nameAt int
	nowMs  int64
	// stale makes every sample a mark that its series ended.
	stale bool
	// full takes a compressed request.
	full func(body []byte, samples int)

	family   string
	help     string
	metadata remotewrite.Metadata

	request remotewrite.Request
	snappy  snappy.Encoder
	plain   []byte
	packed  []byte
	refs    []uint32
	native  remotewrite.NativeHistogram
	zero    remotewrite.NativeHistogram
	scratch distribution
	emitter Emitter
	// emitted has the round in which functions gave each of their series last.
	emitted map[string]*uint64
	round   uint64
	key     []byte
	// series were written in this round.
	series int
}

func newBatch(fixed []label, full func(body []byte, samples int)) *batch {
	all := append([]label{{name: nameLabel}}, fixed...)
	sort.Slice(all, func(a, b int) bool { return all[a].name < all[b].name })
	b := &batch{fixed: all, full: full}
	b.nameAt = sort.Search(len(all), func(at int) bool { return all[at].name >= nameLabel })
	return b
}

// begin starts a round.
func (b *batch) begin(now time.Time, stale bool) {
	b.request.Reset()
	b.nowMs, b.stale, b.series = now.UnixMilli(), stale, 0
	b.round++
	if len(b.emitted) > emittedMax {
		clear(b.emitted)
	}
	if stale {
		// Behind the last samples, which it must not replace.
		b.nowMs++
	}
}

// end finishes the round.
func (b *batch) end() {
	if b.request.Len() == 0 {
		return
	}
	b.plain = b.request.Append(b.plain[:0])
	b.packed = b.snappy.Append(b.packed[:0], b.plain)
	b.full(append(make([]byte, 0, len(b.packed)), b.packed...), b.request.Len())
	b.request.Reset()
	b.metadata.Help = b.request.Symbol(b.help)
}

// claim notes that a function gives this series, and refuses one that was
// given in this round: two samples of a series can't have one time. The labels
// are sorted.
func (b *batch) claim(name string, own []label) error {
	key := append(b.key[:0], name...)
	for _, l := range own {
		if l.value != "" {
			key = append(append(key, 0xff), l.name...)
			key = append(append(key, 0xff), l.value...)
		}
	}
	b.key = key
	last := b.emitted[string(key)]
	if last == nil {
		if b.emitted == nil {
			b.emitted = make(map[string]*uint64)
		}
		last = new(uint64)
		b.emitted[string(key)] = last
	}
	if *last == b.round {
		return fmt.Errorf("metrickit: metric %s has a series twice, %v", name, own)
	}
	*last = b.round
	return nil
}

// metric says of what the samples that follow are.
func (b *batch) metric(name, help string, kind remotewrite.Kind) {
	b.family, b.help = name, help
	b.fixed[b.nameAt].value = name
	b.metadata = remotewrite.Metadata{Kind: kind, Help: b.request.Symbol(help)}
}

// value writes a float. Own labels are sorted; one that a fixed label has the
// name of replaces it. StartMs is when a counter began, else 0.
func (b *batch) value(own []label, value float64, startMs int64) {
	if b.stale {
		value, startMs = math.Float64frombits(staleBits), 0
	}
	sample := remotewrite.Sample{Value: value, TimestampMs: b.nowMs, StartMs: startMs}
	b.request.AddSample(b.labels(own), b.metadata, sample)
	b.added()
}

// suffixed is value for a series of the metric that has a longer name.
func (b *batch) suffixed(suffix string, own []label, value float64, startMs int64) {
	b.fixed[b.nameAt].value = b.family + suffix
	b.value(own, value, startMs)
	b.fixed[b.nameAt].value = b.family
}

// histogram writes b.native; its times are set here.
func (b *batch) histogram(own []label, startMs int64) {
	histogram := &b.native
	histogram.TimestampMs, histogram.StartMs = b.nowMs, startMs
	if b.stale {
		histogram = &b.zero
		histogram.Sum, histogram.TimestampMs = math.Float64frombits(staleBits), b.nowMs
	}
	b.request.AddHistogram(b.labels(own), b.metadata, histogram)
	b.added()
}

// staleBits is the NaN that says that a series ended.
const staleBits = 0x7ff0000000000002

func (b *batch) added() {
	b.series++
	if b.request.Bytes() >= requestBytes {
		b.end()
	}
}

// labels merges the fixed labels and a series' own into symbols.
func (b *batch) labels(own []label) []uint32 {
	refs := b.refs[:0]
	fixed := b.fixed
	for len(fixed) > 0 || len(own) > 0 {
		var next label
		switch {
		case len(own) == 0 || len(fixed) > 0 && fixed[0].name < own[0].name:
			next, fixed = fixed[0], fixed[1:]
		default:
			if len(fixed) > 0 && fixed[0].name == own[0].name {
				fixed = fixed[1:]
			}
			next, own = own[0], own[1:]
		}
		// A label with an empty value is none.
		if next.value != "" {
			refs = append(refs, b.request.Symbol(next.name), b.request.Symbol(next.value))
		}
	}
	b.refs = refs
	return refs
}
