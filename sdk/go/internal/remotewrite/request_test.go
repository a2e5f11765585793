package remotewrite_test

import (
	"math"
	"reflect"
	"testing"

	"github.com/metrickit/metrickit/sdk/go/internal/remotewrite"
	"github.com/metrickit/metrickit/sdk/go/internal/wiretest"
)

func read(t *testing.T, request *remotewrite.Request) []wiretest.Series {
	t.Helper()
	series, err := wiretest.Request(request.Append(nil))
	if err != nil {
		t.Fatal(err)
	}
	return series
}

func labels(request *remotewrite.Request, texts ...string) []uint32 {
	var numbers []uint32
	for _, text := range texts {
		numbers = append(numbers, request.Symbol(text))
	}
	return numbers
}

// The bytes of the protocol, written down by hand.
func TestBytes(t *testing.T) {
	var request remotewrite.Request
	name := labels(&request, "__name__", "a")
	request.AddSample(name, remotewrite.Metadata{Kind: remotewrite.Gauge}, remotewrite.Sample{Value: 1, TimestampMs: 2})
	want := "\x22\x00\x22\x08__name__\x22\x01a" + // symbols
		"\x2a\x15" + "\x0a\x02\x01\x02" + // series, labels
		"\x12\x0b\x09\x00\x00\x00\x00\x00\x00\xf0\x3f\x10\x02" + // sample
		"\x2a\x02\x08\x02" // metadata
	if got := string(request.Append(nil)); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestSamples(t *testing.T) {
	var request remotewrite.Request
	for round := 0; round < 2; round++ {
		request.Reset()
		for _, value := range []float64{0, math.Copysign(0, -1), -1.5, math.Inf(1), math.NaN()} {
			metadata := remotewrite.Metadata{Kind: remotewrite.Counter, Help: request.Symbol("Help.")}
			sample := remotewrite.Sample{Value: value, TimestampMs: 1_700_000_000_123, StartMs: 1_600_000_000_000}
			request.AddSample(labels(&request, "__name__", "x_total", "a", "b"), metadata, sample)
			got := read(t, &request)[request.Len()-1]
			if math.Float64bits(got.Value) != math.Float64bits(value) {
				t.Errorf("%v came back as %v", value, got.Value)
			}
			if got.Key() != `x_total{a="b"}` || got.Help != "Help." || got.Kind != 1 {
				t.Errorf("got %+v", got)
			}
			if got.TimestampMs != sample.TimestampMs || got.StartMs != sample.StartMs {
				t.Errorf("got %+v", got)
			}
		}
	}
}

func TestHistogram(t *testing.T) {
	var request remotewrite.Request
	histogram := remotewrite.NativeHistogram{
		Count: 12, Sum: 3.5, Schema: remotewrite.CustomSchema,
		CustomBounds: []float64{-1, 0.5, math.MaxFloat64}, TimestampMs: 9, StartMs: 4,
	}
	histogram.Positive.Set(0, []uint64{0, 5, 0, 7})
	request.AddHistogram(labels(&request, "__name__", "h"), remotewrite.Metadata{}, &histogram)
	got := read(t, &request)[0]
	want := &wiretest.Histogram{
		Count: 12, Sum: 3.5, Schema: -53, CustomBounds: histogram.CustomBounds,
		Positive: map[int64]int64{1: 5, 3: 7}, Negative: map[int64]int64{},
	}
	if !reflect.DeepEqual(got.Histogram, want) || got.StartMs != 4 || got.TimestampMs != 9 {
		t.Errorf("got %+v %+v", got, got.Histogram)
	}
}

func FuzzBuckets(f *testing.F) {
	f.Add(int32(-5), []byte{1, 0, 0, 3, 0, 0, 0, 255})
	f.Add(int32(0), []byte{0, 0, 9})
	f.Fuzz(func(t *testing.T, first int32, bytes []byte) {
		if first > 1<<20 || first < -1<<20 || len(bytes) > 5000 {
			return
		}
		counts, want := make([]uint64, len(bytes)), map[int64]int64{}
		for at, b := range bytes {
			counts[at] = uint64(b) << (b % 40)
			if counts[at] > 0 {
				want[int64(first)+int64(at)] = int64(counts[at])
			}
		}
		histogram := remotewrite.NativeHistogram{Schema: 3, ZeroThreshold: 0.25, ZeroCount: 3, TimestampMs: 1}
		histogram.Positive.Set(first, counts)
		histogram.Negative.Set(first+1, counts)
		var request remotewrite.Request
		request.AddHistogram(labels(&request, "__name__", "h"), remotewrite.Metadata{}, &histogram)
		got := read(t, &request)[0].Histogram
		if !reflect.DeepEqual(got.Positive, want) || len(got.Negative) != len(want) {
			t.Errorf("got %v, want %v", got.Positive, want)
		}
	})
}
