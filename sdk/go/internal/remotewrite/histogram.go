package remotewrite

// CustomSchema is the schema of histograms whose bucket bounds are listed.
const CustomSchema = -53

// gapMax is how many empty buckets are told as such rather than by a new span.
const gapMax = 2

// NativeHistogram is a whole distribution at one time.
type NativeHistogram struct {
	Count uint64
	Sum   float64
	// Schema is the resolution, -4 to 8, or CustomSchema.
	Schema        int32
	ZeroThreshold float64
	ZeroCount     uint64
	Positive      Buckets
	Negative      Buckets
	// CustomBounds are the upper bounds of custom buckets but the last, whose
	// bound is +Inf; ascending and finite.
	CustomBounds []float64
	TimestampMs  int64
	// StartMs is when the counting began, 0 for unknown.
	StartMs int64
}

// Buckets are the populated buckets of one sign.
type Buckets struct {
	spans  []span
	deltas []int64
}

// span is a run of buckets that are told.
type span struct {
	// offset is the number of buckets between the run before and this one; of
	// the first run its first index.
	offset int32
	length uint32
}

// Set makes b the buckets with these counts, the first of which has the given
// index. Empty ones are left out.
func (b *Buckets) Set(first int32, counts []uint64) {
	b.spans, b.deltas = b.spans[:0], b.deltas[:0]
	var last int64
	// end is one past the last index that is told.
	var end int32
	for at, count := range counts {
		if count == 0 {
			continue
		}
		index := first + int32(at)
		gap := index - end
		if len(b.spans) == 0 || gap > gapMax {
			b.spans = append(b.spans, span{offset: gap})
		} else {
			for ; gap > 0; gap-- {
				b.deltas = append(b.deltas, -last)
				last = 0
				b.spans[len(b.spans)-1].length++
			}
		}
		b.deltas = append(b.deltas, int64(count)-last)
		last = int64(count)
		b.spans[len(b.spans)-1].length++
		end = index + 1
	}
}

func (h *NativeHistogram) append(dst []byte) []byte {
	// The count says that all counts are whole numbers: it is never left out.
	dst = appendUvarint(appendTag(dst, 1, wireVarint), h.Count)
	dst = appendDouble(dst, 3, h.Sum)
	dst = appendVarint(dst, 4, zigzag(int64(h.Schema)))
	dst = appendDouble(dst, 5, h.ZeroThreshold)
	dst = appendVarint(dst, 6, h.ZeroCount)
	dst = h.Negative.append(dst, 8, 9)
	dst = h.Positive.append(dst, 11, 12)
	dst = appendVarint(dst, 15, uint64(h.TimestampMs))
	if len(h.CustomBounds) > 0 {
		dst = appendUvarint(appendTag(dst, 16, wireBytes), uint64(8*len(h.CustomBounds)))
		for _, bound := range h.CustomBounds {
			dst = appendFixed64(dst, bound)
		}
	}
	return appendVarint(dst, 17, uint64(h.StartMs))
}

func (b *Buckets) append(dst []byte, spansField, deltasField uint32) []byte {
	for _, span := range b.spans {
		offset, length := zigzag(int64(span.offset)), uint64(span.length)
		size := 0
		if offset != 0 {
			size += 1 + varintSize(offset)
		}
		if length != 0 {
			size += 1 + varintSize(length)
		}
		dst = appendUvarint(appendTag(dst, spansField, wireBytes), uint64(size))
		dst = appendVarint(dst, 1, offset)
		dst = appendVarint(dst, 2, length)
	}
	if len(b.deltas) == 0 {
		return dst
	}
	size := 0
	for _, delta := range b.deltas {
		size += varintSize(zigzag(delta))
	}
	dst = appendUvarint(appendTag(dst, deltasField, wireBytes), uint64(size))
	for _, delta := range b.deltas {
		dst = appendUvarint(dst, zigzag(delta))
	}
	return dst
}
