package metrickit

import (
	"fmt"
	"sort"

	"github.com/metrickit/metrickit/sdk/go/internal/remotewrite"
)

// Label is a name and a value.
type Label struct{ Name, Value string }

// Emitter takes the readings of a function given to [Registry.Collect]. It is
// valid during that call alone.
type Emitter struct {
	batch    *batch
	registry *Registry
	owner    *collectFunc
	left     int
	labels   []label
}

// collectFunc is a function that brings its own readings.
type collectFunc struct {
	description
	registry *Registry
	collect  func(*Emitter)
	// complained says that a bad reading was reported.
	complained bool
	refused    uint64
}

// Collect makes a client call f once a round to take readings that something
// else keeps, such as the statistics of a connection pool:
//
//	metrickit.DefaultRegistry().Collect("database", func(e *metrickit.Emitter) {
//		e.Gauge("db_open_connections", "Open connections.", float64(db.Stats().OpenConnections))
//	})
//
// The name tells it from others in messages; a second function of the same
// name is left out. At most SeriesMax readings a round are taken. F must be
// safe to call from another goroutine and should be quick. A series that was
// given in this round already, names of metrics of the registry, and names that
// begin with metrickit_ are refused.
func (r *Registry) Collect(name string, f func(*Emitter)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := "collect " + name
	if r.byName[key] != nil {
		r.reportLocked(fmt.Errorf("metrickit: Collect is called twice for %q", name))
		return
	}
	added := &collectFunc{description: description{name: name}, registry: r, collect: f}
	r.byName[key] = added
	r.families = append(r.families, added)
}

func (c *collectFunc) refusals() uint64 { return c.refused }

func (c *collectFunc) write(b *batch) {
	e := &b.emitter
	e.batch, e.registry, e.owner, e.left = b, c.registry, c, SeriesMax
	defer func() { e.owner = nil }()
	c.collect(e)
}

// Gauge takes a value that goes up and down.
func (e *Emitter) Gauge(name, help string, value float64, labels ...Label) {
	e.emit(remotewrite.Gauge, name, help, value, labels)
}

// Counter takes a value that only goes up.
func (e *Emitter) Counter(name, help string, value float64, labels ...Label) {
	e.emit(remotewrite.Counter, name, help, value, labels)
}

// Untyped takes a value of which nothing is known.
func (e *Emitter) Untyped(name, help string, value float64, labels ...Label) {
	e.emit(remotewrite.Unknown, name, help, value, labels)
}

func (e *Emitter) emit(kind remotewrite.Kind, name, help string, value float64, labels []Label) {
	if e.owner == nil {
		return
	}
	if e.left == 0 {
		e.owner.refused++
		return
	}
	e.labels = e.labels[:0]
	for _, l := range labels {
		e.labels = append(e.labels, label{l.Name, cleanValue(l.Value)})
	}
	err := e.check(name)
	if err == nil {
		err = e.batch.claim(name, e.labels)
	}
	if err != nil {
		e.owner.refused++
		if !e.owner.complained {
			e.owner.complained = true
			e.registry.report(fmt.Errorf("%w (collected by %q)", err, e.owner.name))
		}
		return
	}
	e.left--
	e.batch.metric(name, cutHelp(help), kind)
	e.batch.value(e.labels, value, 0)
}

// check checks the name and e.labels, which it sorts.
func (e *Emitter) check(name string) error {
	if err := checkMetricName(name); err != nil {
		return err
	}
	if err := checkOwner(name); err != nil {
		return err
	}
	if e.registry.has(name) {
		return fmt.Errorf("metrickit: metric %s is one of the registry's: a function can't give it too", name)
	}
	if len(e.labels) > labelNamesMax {
		return fmt.Errorf("metrickit: metric %s has %d labels, the limit is %d", name, len(e.labels), labelNamesMax)
	}
	sort.Slice(e.labels, func(a, b int) bool { return e.labels[a].name < e.labels[b].name })
	for at, l := range e.labels {
		if err := checkLabelName(l.name); err != nil {
			return err
		}
		if at > 0 && e.labels[at-1].name == l.name {
			return fmt.Errorf("metrickit: metric %s has the label %s twice", name, l.name)
		}
	}
	return nil
}
