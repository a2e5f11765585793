package metrickit

import (
	"runtime"
	"unsafe"
)

// stripesMax bounds how many parts a contended metric is split into.
const stripesMax = 32

// cacheLineBytes keeps stripes apart.
const cacheLineBytes = 64

// stripeCount is into how many parts a metric is split that several
// processors are seen to update at once: a power of two.
func stripeCount() int {
	count := 2
	for count < min(runtime.NumCPU(), stripesMax) {
		count *= 2
	}
	return count
}

// stripe is a number that differs between goroutines that run at the same
// time, more often than not: it is made of where their stacks are. Nothing
// depends on it but speed.
func stripe() uint {
	var here byte
	address := uint64(uintptr(unsafe.Pointer(&here)))
	return uint(((address >> 10) * 0x9E3779B97F4A7C15) >> 40)
}
