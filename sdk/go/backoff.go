package metrickit

import (
	"math/rand"
	"net/http"
	"strconv"
	"time"
)

const (
	backoffMin = 500 * time.Millisecond
	backoffMax = 30 * time.Second
	// retryAfterMax bounds what a receiver may ask for.
	retryAfterMax = 10 * time.Minute
)

// backoff tells how long to wait after failures in a row.
type backoff struct {
	min, max time.Duration
	failures int
}

// next is the pause after one more failure: it doubles each time, and half of
// it is left to chance so that programs that failed together come apart. A
// receiver that asks for a longer one gets it.
func (b *backoff) next(asked time.Duration) time.Duration {
	pause := b.max
	if b.failures < 30 {
		pause = min(b.min<<b.failures, b.max)
	}
	b.failures++
	pause = pause/2 + time.Duration(rand.Int63n(int64(pause/2)+1))
	return max(pause, min(asked, retryAfterMax))
}

// pauses are those of a new sender; tests shorten them.
var pauses = backoff{min: backoffMin, max: backoffMax}

func (b *backoff) reset() { b.failures = 0 }

// retryAfter reads the header of that name: seconds, or a date.
func retryAfter(header http.Header, now time.Time) time.Duration {
	text := header.Get("Retry-After")
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(at.Sub(now), 0)
	}
	return 0
}
