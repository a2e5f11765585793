//go:build !linux

package metrickit

import "io"

// holdSlot knows no way to number processes here.
func holdSlot(string, int) (held io.Closer, taken bool) { return nil, false }
