package metrickit

import (
	"net/http"
	"testing"
	"time"
)

func TestTheQueueDropsTheOldest(t *testing.T) {
	q := newQueue(100)
	for n := 1; n <= 5; n++ {
		q.put(parcel{body: make([]byte, 30), samples: n})
	}
	if got := q.state(); got.parcels != 3 || got.bytes != 90 || got.dropped != 1+2 || got.samples != 3+4+5 {
		t.Errorf("got %+v", got)
	}
	first, _ := q.take()
	if first.samples != 3 {
		t.Errorf("the oldest is %d", first.samples)
	}
	q.putBack(first)
	if again, _ := q.take(); again.samples != 3 {
		t.Errorf("what was put back is not the first: %d", again.samples)
	}
	q.put(parcel{body: make([]byte, 40), samples: 6})
	q.putBack(first)
	if got := q.state(); got.parcels != 3 || got.dropped != 3+3 {
		t.Errorf("what has no room any more is dropped: %+v", got)
	}
	q.put(parcel{body: make([]byte, 101), samples: 1})
	if got := q.state(); got.parcels != 0 || got.bytes != 0 {
		t.Errorf("what never fits empties it: %+v", got)
	}
}

func TestBackoff(t *testing.T) {
	b := backoff{min: backoffMin, max: backoffMax}
	for n := 0; n < 100; n++ {
		most := backoffMax
		if n < 6 {
			most = backoffMin << n
		}
		if got := b.next(0); got < most/2 || got > most {
			t.Errorf("pause %d is %v", n, got)
		}
	}
	if got := b.next(time.Minute); got != time.Minute {
		t.Errorf("asked for a minute, got %v", got)
	}
	if got := b.next(time.Hour); got != retryAfterMax {
		t.Errorf("asked for an hour, got %v", got)
	}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"": 0, "5": 5 * time.Second, "-1": 0, "x": 0, "99999999999999": 0,
		"Fri, 02 Jan 2026 03:05:05 GMT": time.Minute, "Fri, 02 Jan 2026 03:00:00 GMT": 0,
	} {
		if got := retryAfter(http.Header{"Retry-After": {text}}, now); got != want {
			t.Errorf("%q is %v", text, got)
		}
	}
}
