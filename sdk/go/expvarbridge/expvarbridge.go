// Package expvarbridge sends the numbers that a program publishes with package
// expvar.
//
// It is a package of its own because importing expvar offers /debug/vars on
// http.DefaultServeMux, which a program that does not use it should be spared.
package expvarbridge

import (
	"bytes"
	"encoding/json"
	"expvar"
	"math"
	"slices"
	"strings"

	metrickit "github.com/metrickit/metrickit/sdk/go"
)

// Bounds, the same as those of the agent that reads /debug/vars.
const (
	// NumbersMax is how many numbers are sent.
	NumbersMax = 500
	// DepthMax is how deep in objects they are looked for.
	DepthMax = 4

	nameBytesMax = 200
	// valueBytesMax bounds the text of one variable.
	valueBytesMax = 1 << 20
)

// skipped variables are expvar's own: reading memstats would stop the world,
// and what it tells is sent already.
var skipped = []string{"cmdline", "memstats"}

// Register makes the registry send each published number as expvar_PATH, with
// everything in the path that is no letter or digit as _. It covers what is
// published later, too. A nil registry stands for the default one.
func Register(registry *metrickit.Registry) {
	if registry == nil {
		registry = metrickit.DefaultRegistry()
	}
	registry.Collect("expvar", collect)
}

func collect(e *metrickit.Emitter) {
	w := walk{names: make(map[string]bool), emitter: e}
	expvar.Do(func(variable expvar.KeyValue) {
		if !slices.Contains(skipped, variable.Key) {
			w.variable(variable)
		}
	})
}

// walk sends the numbers of one round.
type walk struct {
	names   map[string]bool
	emitter *metrickit.Emitter
}

func (w *walk) variable(variable expvar.KeyValue) {
	switch value := variable.Value.(type) {
	case nil, *expvar.String:
	case *expvar.Int:
		w.number("expvar", variable.Key, float64(value.Value()))
	case *expvar.Float:
		w.number("expvar", variable.Key, value.Value())
	default:
		text := value.String()
		if len(text) > valueBytesMax {
			return
		}
		decoder := json.NewDecoder(bytes.NewBufferString(text))
		decoder.UseNumber()
		var decoded any
		if decoder.Decode(&decoded) == nil {
			w.value("expvar", variable.Key, decoded, 1)
		}
	}
}

// value ends at DepthMax.
func (w *walk) value(parent, key string, value any, depth int) {
	switch value := value.(type) {
	case json.Number:
		if number, err := value.Float64(); err == nil {
			w.number(parent, key, number)
		}
	case map[string]any:
		if depth >= DepthMax || len(parent)+len(key) >= nameBytesMax {
			return
		}
		keys := make([]string, 0, len(value))
		for inner := range value {
			keys = append(keys, inner)
		}
		// In the same order every round, so that the same ones are sent.
		slices.Sort(keys)
		for _, inner := range keys {
			w.value(name(parent, key), inner, value[inner], depth+1)
		}
	}
}

func (w *walk) number(parent, key string, number float64) {
	if len(w.names) >= NumbersMax || len(parent)+len(key) >= nameBytesMax || math.IsNaN(number) {
		return
	}
	// Two paths can give one name; the first keeps it.
	if name := name(parent, key); !w.names[name] {
		w.names[name] = true
		w.emitter.Untyped(name, "", number)
	}
}

func name(parent, key string) string {
	return parent + "_" + strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' {
			return c
		}
		return '_'
	}, key)
}
