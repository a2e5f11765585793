package metrickit

import "sync"

// parcel is a compressed request that waits to be sent.
type parcel struct {
	body    []byte
	samples int
}

// queue holds parcels while the receiver is away, oldest first, bounded by
// their bytes. What does not fit is made room for by dropping the oldest.
type queue struct {
	bytesMax int
	// ready has a token when something was put in.
	ready chan struct{}

	mu      sync.Mutex
	parcels []parcel
	bytes   int
	// dropped samples, since the start.
	dropped uint64
}

func newQueue(bytesMax int) *queue {
	return &queue{bytesMax: bytesMax, ready: make(chan struct{}, 1)}
}

// put adds a parcel at the end.
func (q *queue) put(p parcel) {
	q.mu.Lock()
	q.parcels = append(q.parcels, p)
	q.bytes += len(p.body)
	for q.bytes > q.bytesMax {
		q.dropped += uint64(q.popLocked().samples)
	}
	q.mu.Unlock()
	q.wake()
}

// take removes the oldest parcel.
func (q *queue) take() (parcel, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.parcels) == 0 {
		return parcel{}, false
	}
	return q.popLocked(), true
}

// putBack returns a parcel that was taken to the front, if there is room left.
func (q *queue) putBack(p parcel) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.bytes+len(p.body) > q.bytesMax {
		q.dropped += uint64(p.samples)
		return
	}
	q.parcels = append(q.parcels, parcel{})
	copy(q.parcels[1:], q.parcels)
	q.parcels[0] = p
	q.bytes += len(p.body)
}

func (q *queue) popLocked() parcel {
	first := q.parcels[0]
	kept := copy(q.parcels, q.parcels[1:])
	q.parcels[kept] = parcel{}
	q.parcels = q.parcels[:kept]
	q.bytes -= len(first.body)
	return first
}

// wake makes a receive from ready succeed.
func (q *queue) wake() {
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

// state is what the queue holds and has dropped.
type queueState struct {
	parcels, bytes, samples int
	dropped                 uint64
}

func (q *queue) state() queueState {
	q.mu.Lock()
	defer q.mu.Unlock()
	state := queueState{parcels: len(q.parcels), bytes: q.bytes, dropped: q.dropped}
	for _, p := range q.parcels {
		state.samples += p.samples
	}
	return state
}
