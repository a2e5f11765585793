// Package remotewrite writes messages of Prometheus remote write 2.0
// (io.prometheus.write.v2.Request): what a request holds, as protobuf bytes.
//
// All texts of a request are in one table of symbols, which labels and help
// refer to by position. Compression and sending are left to the callers.
package remotewrite

// ContentType says of a body that it is a Request of version 2.0.
const ContentType = "application/x-protobuf;proto=io.prometheus.write.v2.Request"

// Version is what the header X-Prometheus-Remote-Write-Version tells.
const Version = "2.0.0"

// Kind is what a metric is, with the numbers of the wire.
type Kind int32

// The kinds of metrics that are sent.
const (
	Unknown   Kind = 0
	Counter   Kind = 1
	Gauge     Kind = 2
	Histogram Kind = 3
	Info      Kind = 6
)

// Metadata is what is known of a metric. Help is a symbol; 0 for none.
type Metadata struct {
	Kind Kind
	Help uint32
}

// Sample is a float at a time. Times are milliseconds since the Unix epoch.
// StartMs is when the counter began, 0 for unknown or none.
type Sample struct {
	Value       float64
	TimestampMs int64
	StartMs     int64
}

// Request collects series. Its zero value is an empty request; Reset empties
// it again and keeps its memory.
type Request struct {
	numbers map[string]uint32
	symbols []string
	// symbolBytes is how long the symbols are.
	symbolBytes int
	series      []byte
	count       int
	// Messages under construction: one series, and one part of it.
	outer, inner []byte
}

// Reset empties the request.
func (r *Request) Reset() {
	clear(r.numbers)
	r.symbols = r.symbols[:0]
	r.series = r.series[:0]
	r.symbolBytes, r.count = 0, 0
}

// Len is the number of series.
func (r *Request) Len() int { return r.count }

// Bytes is how long the message is, to some bytes a symbol.
func (r *Request) Bytes() int { return r.symbolBytes + len(r.series) }

// Symbol returns the number of a text, which it enters where it is new. The
// empty text has number 0.
func (r *Request) Symbol(text string) uint32 {
	if text == "" {
		return 0
	}
	number, found := r.numbers[text]
	if !found {
		if r.numbers == nil {
			r.numbers = make(map[string]uint32)
		}
		r.symbols = append(r.symbols, text)
		// Number 0 is the empty text, which is not in the list.
		number = uint32(len(r.symbols))
		r.numbers[text] = number
		r.symbolBytes += len(text)
	}
	return number
}

// AddSample adds a series with one sample. The labels are symbols, names and
// values by turns, sorted by name.
func (r *Request) AddSample(labels []uint32, metadata Metadata, sample Sample) {
	r.begin(labels)
	inner := appendDouble(r.inner[:0], 1, sample.Value)
	inner = appendVarint(inner, 2, uint64(sample.TimestampMs))
	r.inner = appendVarint(inner, 3, uint64(sample.StartMs))
	r.outer = appendBytes(r.outer, 2, r.inner)
	r.end(metadata)
}

// AddHistogram adds a series with one native histogram. For labels see
// AddSample.
func (r *Request) AddHistogram(labels []uint32, metadata Metadata, histogram *NativeHistogram) {
	r.begin(labels)
	r.inner = histogram.append(r.inner[:0])
	r.outer = appendBytes(r.outer, 3, r.inner)
	r.end(metadata)
}

func (r *Request) begin(labels []uint32) {
	inner := r.inner[:0]
	for _, symbol := range labels {
		inner = appendUvarint(inner, uint64(symbol))
	}
	r.inner = inner
	r.outer = appendBytes(r.outer[:0], 1, inner)
}

func (r *Request) end(metadata Metadata) {
	inner := appendVarint(r.inner[:0], 1, uint64(metadata.Kind))
	r.inner = appendVarint(inner, 3, uint64(metadata.Help))
	if len(r.inner) > 0 {
		r.outer = appendBytes(r.outer, 5, r.inner)
	}
	r.series = appendBytes(r.series, 5, r.outer)
	r.count++
}

// Append appends the whole message to dst.
func (r *Request) Append(dst []byte) []byte {
	dst = appendText(dst, 4, "")
	for _, text := range r.symbols {
		dst = appendText(dst, 4, text)
	}
	return append(dst, r.series...)
}
