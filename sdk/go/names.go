package metrickit

import (
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/metrickit/metrickit/sdk/go/internal/remotewrite"
)

const (
	// labelNamesMax bounds the labels of one metric.
	labelNamesMax = 32
	// nameBytesMax bounds names of metrics and labels.
	nameBytesMax = 200
	// valueBytesMax bounds label values: servers take no more.
	valueBytesMax = 4096
	helpBytesMax  = 1024

	nameLabel = "__name__"
	leLabel   = "le"
)

// reservedLabels belong to the client, or to the wire.
var reservedLabels = []string{"job", "instance", nameLabel}

// reservedPrefix begins the names of the client's own metrics.
const reservedPrefix = "metrickit_"

// description is what a metric was defined as.
type description struct {
	name, help string
	kind       remotewrite.Kind
	labels     []string
	// sorted are the positions of labels in order of their names.
	sorted []int
	// buckets are the bounds of a histogram with fixed ones, else nil.
	buckets []float64
	// native is how a histogram without fixed buckets counts.
	native nativeOptions
	// callback says that values come from a function, which can't be shared.
	callback bool
}

// nativeOptions are those of HistogramOptions that a native histogram has.
type nativeOptions struct {
	schema, bucketsMax int
	zeroThreshold      float64
}

func newDescription(name, help string, kind remotewrite.Kind, labels []string) description {
	d := description{name: name, help: cutHelp(help), kind: kind, labels: slices.Clone(labels)}
	for at := range d.labels {
		d.sorted = append(d.sorted, at)
	}
	sort.Slice(d.sorted, func(a, b int) bool { return d.labels[d.sorted[a]] < d.labels[d.sorted[b]] })
	return d
}

func cutHelp(help string) string {
	if len(help) > helpBytesMax {
		help = help[:helpBytesMax]
	}
	return strings.ToValidUTF8(help, "")
}

func (d *description) describe() *description { return d }

func (d *description) String() string {
	kind := map[remotewrite.Kind]string{remotewrite.Counter: "counter", remotewrite.Gauge: "gauge", remotewrite.Histogram: "histogram"}[d.kind]
	text := fmt.Sprintf("%s %s{%s}", kind, d.name, strings.Join(d.labels, ","))
	switch {
	case d.buckets != nil:
		text += fmt.Sprintf(" with buckets %v", d.buckets)
	case d.native != nativeOptions{}:
		text += fmt.Sprintf(" with schema %d, %d buckets, zero to %v", d.native.schema, d.native.bucketsMax, d.native.zeroThreshold)
	}
	return text
}

func (d *description) equal(other *description) bool {
	return d.kind == other.kind && !d.callback && !other.callback &&
		slices.Equal(d.labels, other.labels) && slices.Equal(d.buckets, other.buckets) && d.native == other.native
}

// names are all that the metric's series have.
func (d *description) names() []string {
	if d.buckets == nil {
		return []string{d.name}
	}
	return []string{d.name, d.name + "_bucket", d.name + "_sum", d.name + "_count"}
}

// check tells what is wrong with the definition.
func (d *description) check() error {
	if err := checkMetricName(d.name); err != nil {
		return err
	}
	if err := checkOwner(d.name); err != nil {
		return err
	}
	if len(d.labels) > labelNamesMax {
		return fmt.Errorf("metrickit: metric %s has %d labels, the limit is %d", d.name, len(d.labels), labelNamesMax)
	}
	for at, label := range d.labels {
		if err := checkLabelName(label); err != nil {
			return fmt.Errorf("%w (metric %s)", err, d.name)
		}
		if slices.Contains(d.labels[:at], label) {
			return fmt.Errorf("metrickit: metric %s has the label %s twice", d.name, label)
		}
		if label == leLabel && d.kind == remotewrite.Histogram {
			return fmt.Errorf("metrickit: histogram %s can't have the label le, which names buckets", d.name)
		}
	}
	for at, bound := range d.buckets {
		if !(at == 0 || bound > d.buckets[at-1]) || bound != bound || bound-bound != 0 {
			return fmt.Errorf("metrickit: histogram %s: bounds of buckets must be finite and ascend, bound %d is %v", d.name, at, bound)
		}
	}
	return nil
}

// checkOwner tells whether a program may have a metric of that name.
func checkOwner(name string) error {
	if strings.HasPrefix(name, reservedPrefix) {
		return fmt.Errorf("metrickit: metric name %q: names that begin with %s are the client's own", name, reservedPrefix)
	}
	return nil
}

// checkMetricName tells why name is no metric name.
func checkMetricName(name string) error {
	return checkName("metric", name, true)
}

func checkLabelName(name string) error {
	if slices.Contains(reservedLabels, name) {
		return fmt.Errorf("metrickit: label name %q is taken: it tells which program this is; say what it is of, as in \"queue_%s\"", name, strings.Trim(name, "_"))
	}
	if strings.HasPrefix(name, "__") {
		return fmt.Errorf("metrickit: label name %q: names that begin with __ are reserved", name)
	}
	return checkName("label", name, false)
}

func checkName(what, name string, colons bool) error {
	if name == "" {
		return fmt.Errorf("metrickit: a %s name is empty", what)
	}
	if len(name) > nameBytesMax {
		return fmt.Errorf("metrickit: %s name %q... has %d bytes, the limit is %d", what, name[:40], len(name), nameBytesMax)
	}
	for at, c := range []byte(name) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || colons && c == ':'
		if !letter && (at == 0 || c < '0' || c > '9') {
			return fmt.Errorf("metrickit: %s name %q has %q at byte %d: letters, digits (not first) and _ are allowed", what, name, string(rune(c)), at)
		}
	}
	return nil
}
