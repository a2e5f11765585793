package metrickit

import (
	"sync"
	"time"

	"github.com/metrickit/metrickit/sdk/go/internal/remotewrite"
)

// loadedAt is when this package was initialised: the nearest that is known of
// the start of the process where the system does not tell.
var loadedAt = time.Now()

// processStartMs is when the process started. Its counters began then.
var processStartMs = sync.OnceValue(func() int64 {
	if startMs, ok := systemStartMs(); ok && startMs <= loadedAt.UnixMilli() {
		return startMs
	}
	return loadedAt.UnixMilli()
})

// processSource writes process_*, as far as the system tells cheaply.
type processSource struct {
	readings []processReading
}

// processReading is one number of the process.
type processReading struct {
	name, help string
	kind       remotewrite.Kind
	value      float64
}

func newProcessSource() *processSource { return &processSource{} }

func (s *processSource) write(b *batch) {
	s.readings = readProcess(s.readings[:0])
	for _, r := range s.readings {
		startMs := int64(0)
		if r.kind == remotewrite.Counter {
			startMs = processStartMs()
		}
		b.metric("process_"+r.name, r.help, r.kind)
		b.value(nil, r.value, startMs)
	}
	b.metric("process_start_time_seconds", "When the process started, in seconds since the Unix epoch.", remotewrite.Gauge)
	b.value(nil, float64(processStartMs())/1e3, 0)
}
