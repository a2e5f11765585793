package metrickit

import (
	"runtime/metrics"
	"strings"
)

// godebugPrefix begins the names of metrics that count uses of old behaviour
// that GODEBUG settings brought back. There are dozens, nearly all zero.
const godebugPrefix = "/godebug/"

// runtimeName is the name under which a metric of package runtime/metrics is
// sent, after the rule of the Prometheus client library, so that dashboards
// and rules made for it work: go, the path, the unit, and total for counters.
func runtimeName(d metrics.Description) string {
	path, unit, _ := strings.Cut(d.Name, ":")
	name := "go" + strings.NewReplacer("/", "_", "-", "_").Replace(path)
	if unit != "" {
		name += "_" + strings.NewReplacer("-", "_", "*", "_", "/", "_per_").Replace(unit)
	}
	if d.Cumulative && d.Kind != metrics.KindFloat64Histogram {
		name += "_total"
	}
	return name
}
