package metrickit

import (
	"errors"
	"fmt"
	"slices"
	"sync"
)

// problemsMax bounds how many problems a registry remembers.
const problemsMax = 50

// Registry is a set of metrics that are collected together. Programs rarely
// need one: the functions of this package use [DefaultRegistry]. Tests do, to
// be independent of each other.
type Registry struct {
	mu sync.Mutex
	// In order of registration, which stays the same from round to round: the
	// server guesses each series from the order of the requests before.
	families []family
	byName   map[string]family
	problems []error
}

// family is a metric: all the series of one name.
type family interface {
	describe() *description
	write(b *batch)
}

// NewRegistry returns an empty registry.
func NewRegistry() *Registry {
	return &Registry{byName: make(map[string]family)}
}

var defaultRegistry = NewRegistry()

// DefaultRegistry returns the registry that the functions of this package
// register with, and that a client collects unless told otherwise.
func DefaultRegistry() *Registry { return defaultRegistry }

// Err tells what is wrong with the metrics that were defined: bad names, names
// taken twice, a wrong number of label values. A metric with such a problem
// works, but is not sent. A test of the program does well to look here; a
// client logs it.
func (r *Registry) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return errors.Join(r.problems...)
}

func (r *Registry) report(problem error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reportLocked(problem)
}

func (r *Registry) reportLocked(problem error) {
	if len(r.problems) < problemsMax {
		r.problems = append(r.problems, problem)
	}
}

// problemsFrom returns the problems from the given one on.
func (r *Registry) problemsFrom(first int) []error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.problems[min(first, len(r.problems)):])
}

// register adds a family and returns it, or the one of the same definition
// that is there already. One with a problem is not added, only returned.
func register[F family](r *Registry, added F) F {
	definition := added.describe()
	err := definition.check()
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.reportLocked(err)
		return added
	}
	if there, found := r.byName[definition.name]; found {
		if same, ok := there.(F); ok && there.describe().equal(definition) {
			return same
		}
		r.reportLocked(fmt.Errorf("metrickit: metric %s is defined twice, as %v and as %v", definition.name, there.describe(), definition))
		return added
	}
	for _, name := range definition.names() {
		if there, found := r.byName[name]; found {
			r.reportLocked(fmt.Errorf("metrickit: metric %s needs the name %s, which %v has", definition.name, name, there.describe()))
			return added
		}
	}
	for _, name := range definition.names() {
		r.byName[name] = added
	}
	r.families = append(r.families, added)
	return added
}

// has says whether a metric has series of that name.
func (r *Registry) has(name string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.byName[name] != nil
}

// all returns the families; the list only ever grows, so that it can be read
// without the lock.
func (r *Registry) all() []family {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.families[:len(r.families):len(r.families)]
}
