package snappy_test

import (
	"bytes"
	"fmt"
	"math/rand"
	"strings"
	"testing"

	"github.com/metrickit/metrickit/sdk/go/internal/snappy"
	"github.com/metrickit/metrickit/sdk/go/internal/wiretest"
)

// check compresses, decompresses and compares; it returns the compressed size.
func check(t *testing.T, encoder *snappy.Encoder, plain []byte) int {
	t.Helper()
	prefix := []byte("kept")
	packed := encoder.Append(prefix, plain)
	if !bytes.HasPrefix(packed, prefix) {
		t.Fatalf("what was in the buffer is gone")
	}
	packed = packed[len(prefix):]
	got, err := wiretest.Unsnap(packed)
	if err != nil {
		t.Fatalf("%d bytes: %v", len(plain), err)
	}
	if !bytes.Equal(got, plain) {
		t.Fatalf("%d bytes came back as other %d", len(plain), len(got))
	}
	return len(packed)
}

func TestRoundTrip(t *testing.T) {
	random := rand.New(rand.NewSource(7))
	noise := make([]byte, 200_000)
	random.Read(noise)
	var encoder snappy.Encoder
	for name, plain := range map[string][]byte{
		"nothing":       nil,
		"one byte":      []byte("a"),
		"three bytes":   []byte("abc"),
		"no match":      []byte("abcdefgh"),
		"run":           bytes.Repeat([]byte("a"), 70_000),
		"runs of 1..99": runs(99),
		"far":           append(append(append([]byte{}, noise[:100]...), noise[1000:60_000]...), noise[:100]...),
		"noise":         noise,
		"block":         noise[:1<<16],
		"block and one": noise[:1<<16+1],
		"text":          []byte(strings.Repeat("go_sched_latencies_seconds instance job ", 3000)),
	} {
		t.Run(name, func(t *testing.T) { check(t, &encoder, plain) })
	}
}

// runs has matches of every length up to n at varied distances.
func runs(n int) []byte {
	var out []byte
	for length := 1; length <= n; length++ {
		out = append(out, bytes.Repeat([]byte{byte(length)}, length)...)
		out = append(out, out[:length]...)
	}
	return out
}

func TestBounds(t *testing.T) {
	var encoder snappy.Encoder
	text := []byte(strings.Repeat("go_memory_classes_heap_objects_bytes", 1000))
	if packed := check(t, &encoder, text); packed > len(text)/15 {
		t.Errorf("repeated text of %d bytes became %d", len(text), packed)
	}
	noise := make([]byte, 1<<16)
	rand.New(rand.NewSource(1)).Read(noise)
	if packed := check(t, &encoder, noise); packed > len(noise)+len(noise)/100 {
		t.Errorf("noise of %d bytes became %d", len(noise), packed)
	}
}

func FuzzSnappyRoundTrip(f *testing.F) {
	f.Add([]byte("abababababababab"), uint16(3))
	f.Add([]byte{0, 0, 0, 0, 1}, uint16(40_000))
	var encoder snappy.Encoder
	f.Fuzz(func(t *testing.T, seed []byte, times uint16) {
		check(t, &encoder, seed)
		if repeated := int(times) * len(seed); repeated < 1<<18 {
			check(t, &encoder, bytes.Repeat(seed, int(times)))
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	var text []byte
	for n := 0; n < 1000; n++ {
		text = fmt.Appendf(text, "go_series_%d\x0a\x10job\x05%08x", n, n*2654435761)
	}
	var encoder snappy.Encoder
	var packed []byte
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for i := 0; i < b.N; i++ {
		packed = encoder.Append(packed[:0], text)
	}
	b.ReportMetric(float64(len(packed))/float64(len(text)), "ratio")
}
