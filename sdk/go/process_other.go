//go:build !linux

package metrickit

// systemStartMs is not known here.
func systemStartMs() (int64, bool) { return 0, false }

// readProcess reads nothing here.
func readProcess(into []processReading) []processReading { return into }
