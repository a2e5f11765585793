package metrickit

import (
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"
)

// SeriesMax is how many series a metric has at most, unless its Limit says
// otherwise.
const SeriesMax = 1000

// tableSlotsMin is the size of the first table. Sizes are powers of two.
const tableSlotsMin = 8

// vec finds the series of a metric by the values of its labels. Looking up
// takes no lock and allocates nothing; series are never removed.
type vec[T any] struct {
	description
	registry *Registry
	seed     maphash.Seed
	table    atomic.Pointer[table[T]]
	// full says that no series will come any more, so that a miss is final.
	full    atomic.Bool
	refused atomic.Uint64
	misused atomic.Bool
	prepare func(*T)
	// spare takes what series that are refused are told.
	spare T

	mu sync.Mutex
	// entries are the series in order of their making, which stays the same
	// from round to round.
	entries []*entry[T]
	max     int
}

// entry is one series.
type entry[T any] struct {
	hash   uint64
	values []string
	// labels are sorted by name.
	labels    []label
	createdMs int64
	metric    T
}

// table is a hash table with open addressing that readers probe while a writer
// adds. It is at most half full, so that every probe ends.
type table[T any] struct {
	slots []atomic.Pointer[entry[T]]
}

func newVec[T any](r *Registry, d description, prepare func(*T)) *vec[T] {
	v := &vec[T]{description: d, registry: r, seed: maphash.MakeSeed(), prepare: prepare, max: SeriesMax}
	v.table.Store(&table[T]{slots: make([]atomic.Pointer[entry[T]], tableSlotsMin)})
	if prepare != nil {
		prepare(&v.spare)
	}
	return v
}

// with returns the series with these values. Where there can't be one it
// returns a series that is not sent.
func (v *vec[T]) with(values []string) *T {
	if len(values) != len(v.labels) {
		return v.misuse(len(values))
	}
	hash := v.hash(values)
	full := v.full.Load()
	if found := v.table.Load().find(hash, values); found != nil {
		return &found.metric
	}
	if full {
		v.refused.Add(1)
		return &v.spare
	}
	return v.add(hash, values)
}

func (v *vec[T]) hash(values []string) uint64 {
	var hash uint64
	for _, value := range values {
		hash = hash*0x9E3779B97F4A7C15 + maphash.String(v.seed, value)
	}
	return hash
}

func (t *table[T]) find(hash uint64, values []string) *entry[T] {
	mask := uint64(len(t.slots) - 1)
	for at := hash & mask; ; at = (at + 1) & mask {
		found := t.slots[at].Load()
		if found == nil || found.hash == hash && slices.Equal(found.values, values) {
			return found
		}
	}
}

func (t *table[T]) insert(added *entry[T]) {
	mask := uint64(len(t.slots) - 1)
	at := added.hash & mask
	for t.slots[at].Load() != nil {
		at = (at + 1) & mask
	}
	t.slots[at].Store(added)
}

// add makes a series, unless somebody else just did.
func (v *vec[T]) add(hash uint64, values []string) *T {
	v.mu.Lock()
	defer v.mu.Unlock()
	current := v.table.Load()
	if found := current.find(hash, values); found != nil {
		return &found.metric
	}
	if len(v.entries) >= v.max || !fit(values) {
		v.full.Store(len(v.entries) >= v.max)
		v.refused.Add(1)
		return &v.spare
	}
	added := &entry[T]{hash: hash, createdMs: time.Now().UnixMilli()}
	for _, value := range values {
		// A copy: the value may be a part of something large.
		added.values = append(added.values, strings.Clone(value))
	}
	for _, at := range v.sorted {
		added.labels = append(added.labels, label{v.labels[at], added.values[at]})
	}
	if v.prepare != nil {
		v.prepare(&added.metric)
	}
	v.entries = append(v.entries, added)
	if 2*len(v.entries) > len(current.slots) {
		grown := &table[T]{slots: make([]atomic.Pointer[entry[T]], 2*len(current.slots))}
		for _, one := range v.entries {
			grown.insert(one)
		}
		v.table.Store(grown)
	} else {
		current.insert(added)
	}
	return &added.metric
}

// fit says whether servers take these label values.
func fit(values []string) bool {
	for _, value := range values {
		if len(value) > valueBytesMax || !utf8.ValidString(value) {
			return false
		}
	}
	return true
}

// misuse notes, once, that the number of values is wrong.
func (v *vec[T]) misuse(found int) *T {
	if v.misused.CompareAndSwap(false, true) {
		v.registry.report(fmt.Errorf("metrickit: %v has %d labels, With was given %d values", &v.description, len(v.labels), found))
	}
	return &v.spare
}

func (v *vec[T]) limit(series int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.max = max(series, 0)
	v.full.Store(false)
}

func (v *vec[T]) refusals() uint64 { return v.refused.Load() }

// series are all there are, the oldest first.
func (v *vec[T]) series() []*entry[T] {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.entries[:len(v.entries):len(v.entries)]
}
