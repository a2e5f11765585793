package metrickit

import (
	"math"
	"math/rand"
	"testing"
)

// indexByLogarithm is the definition, but for rounding at bounds.
func indexByLogarithm(v float64, schema int) int32 {
	return int32(math.Ceil(math.Log2(v) * math.Exp2(float64(schema))))
}

// bound is the upper bound of a bucket.
func bound(index int32, schema int) float64 {
	return math.Exp2(float64(index) * math.Exp2(-float64(schema)))
}

func TestBucketIndexes(t *testing.T) {
	random := rand.New(rand.NewSource(3))
	for schema := schemaMin; schema <= schemaMax; schema++ {
		s := scaleOf(schema)
		for n := 0; n < 20_000; n++ {
			v := math.Exp2(random.Float64()*2000 - 1000)
			got := s.index(v)
			low, high := bound(got-1, schema), bound(got, schema)
			if want := indexByLogarithm(v, schema); got != want && math.Abs(v-low)/v > 1e-9 && math.Abs(v-high)/v > 1e-9 {
				t.Fatalf("schema %d: %v is in bucket %d, (%v, %v], not %d", schema, v, got, low, high, want)
			}
		}
		// Powers of two are bounds and belong below.
		for power := -1074; power <= 1023; power++ {
			v := math.Ldexp(1, power)
			want := int32(math.Ceil(float64(power) * math.Exp2(float64(schema))))
			if got := s.index(v); got != want {
				t.Fatalf("schema %d: 2^%d is in bucket %d, not %d", schema, power, got, want)
			}
			if above := math.Nextafter(v, math.Inf(1)); power > -1022 && s.index(above) != s.index(v*1.0001) {
				t.Fatalf("schema %d: just above 2^%d is in bucket %d", schema, power, s.index(above))
			}
		}
		if got := s.index(math.Inf(1)); got != s.index(math.MaxFloat64)+1 {
			t.Errorf("schema %d: infinity is in bucket %d", schema, got)
		}
	}
}

// A fine histogram that is made coarser equals one that was coarse at once.
func FuzzDistribution(f *testing.F) {
	f.Add(int64(1), 300, 2.0, 160)
	f.Add(int64(2), 2000, 900.0, 160)
	f.Add(int64(3), 500, 40.0, 320)
	f.Fuzz(func(t *testing.T, seed int64, count int, spread float64, bucketsMax int) {
		if count < 0 || count > 5000 || !(spread > 0 && spread < 1000) || bucketsMax < bucketsMaxLeast || bucketsMax > bucketsMaxMost {
			return
		}
		random := rand.New(rand.NewSource(seed))
		settings := HistogramOptions{Schema: random.Intn(schemaMax-schemaMin+1) + schemaMin, BucketsMax: bucketsMax, ZeroThreshold: DefaultZeroThreshold}
		var one, left, right distribution
		one.reset(settings.Schema)
		left.reset(settings.Schema)
		right.reset(settings.Schema)
		var values []float64
		for n := 0; n < count; n++ {
			v := math.Exp2((random.Float64()*2 - 1) * spread)
			switch random.Intn(20) {
			case 0:
				v = -v
			case 1:
				v = 0
			case 2:
				v = math.Inf(1)
			}
			values = append(values, v)
			one.observe(v, settings.ZeroThreshold, bucketsMax)
			part := &left
			if random.Intn(2) == 0 {
				part = &right
			}
			part.observe(v, settings.ZeroThreshold, bucketsMax)
		}
		var merged distribution
		merged.reset(settings.Schema)
		merged.merge(&left, bucketsMax)
		merged.merge(&right, bucketsMax)
		for name, d := range map[string]*distribution{"one": &one, "merged": &merged} {
			checkDistribution(t, name, d, values, bucketsMax)
		}
		if one.schema != merged.schema {
			t.Errorf("schema %d in one, %d merged", one.schema, merged.schema)
		}
	})
}

func checkDistribution(t *testing.T, name string, d *distribution, values []float64, bucketsMax int) {
	t.Helper()
	positive, negative, zero := map[int32]uint64{}, map[int32]uint64{}, uint64(0)
	for _, v := range values {
		switch {
		case math.Abs(v) <= DefaultZeroThreshold:
			zero++
		case v < 0:
			negative[scaleOf(d.schema).index(-v)]++
		default:
			positive[scaleOf(d.schema).index(v)]++
		}
	}
	if d.zero != zero || d.count != uint64(len(values)) {
		t.Errorf("%s: %d of zero, %d in all", name, d.zero, d.count)
	}
	for _, side := range []struct {
		got  *window
		want map[int32]uint64
	}{{&d.positive, positive}, {&d.negative, negative}} {
		if len(side.got.counts) > bucketsMax {
			t.Errorf("%s: %d buckets", name, len(side.got.counts))
		}
		populated := 0
		for at, count := range side.got.counts {
			if count > 0 {
				populated++
			}
			if index := side.got.first + int32(at); count != side.want[index] {
				t.Errorf("%s: bucket %d has %d, want %d", name, index, count, side.want[index])
			}
		}
		if populated != len(side.want) {
			t.Errorf("%s: %d buckets, want %d", name, populated, len(side.want))
		}
	}
}

func TestHistogramOnTheWire(t *testing.T) {
	r := NewRegistry()
	native := r.NewHistogramWith(HistogramOptions{Schema: SchemaZero, ZeroThreshold: 0.01}, "n", "N.", "a")
	for _, v := range []float64{1, 1.5, 2, 3, -4, 0.001, 1000, math.NaN()} {
		native.With("x").Observe(v)
	}
	got := collected(t, families(r)...)[`n{a="x"}`]
	h := got.Histogram
	if h.Count != 7 || h.Schema != 0 || h.ZeroCount != 1 || h.ZeroThreshold != 0.01 || h.Sum != 1+1.5+2+3-4+0.001+1000 {
		t.Errorf("got %+v", h)
	}
	for index, want := range map[int64]int64{0: 1, 1: 2, 2: 1, 10: 1} {
		if h.Positive[index] != want {
			t.Errorf("bucket %d has %d", index, h.Positive[index])
		}
	}
	if len(h.Positive) != 4 || len(h.Negative) != 1 || h.Negative[2] != 1 || got.StartMs == 0 || got.Kind != 3 {
		t.Errorf("got %+v %+v", got, h)
	}

	r = NewRegistry()
	classic := r.NewHistogramWith(HistogramOptions{Buckets: []float64{0.5, 2}}, "c", "", "z", "a")
	for _, v := range []float64{0.5, 0.6, 2, 7} {
		classic.With("1", "2").Observe(v)
	}
	found := collected(t, families(r)...)
	for key, want := range map[string]float64{
		`c_bucket{a="2",le="0.5",z="1"}`: 1, `c_bucket{a="2",le="2",z="1"}`: 3, `c_bucket{a="2",le="+Inf",z="1"}`: 4,
		`c_sum{a="2",z="1"}`: 10.1, `c_count{a="2",z="1"}`: 4,
	} {
		if one, there := found[key]; !there || one.Value != want || one.Kind != 3 {
			t.Errorf("%s is %+v", key, one)
		}
	}
	if len(found) != 5 {
		t.Errorf("got %v", found)
	}
}
