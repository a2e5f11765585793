package remotewrite

import (
	"encoding/binary"
	"math"
	"math/bits"
)

// Codings of protobuf fields (protobuf.dev, "Encoding").
const (
	wireVarint  = 0
	wireFixed64 = 1
	wireBytes   = 2
)

func appendUvarint(dst []byte, number uint64) []byte {
	return binary.AppendUvarint(dst, number)
}

func varintSize(number uint64) int {
	return (bits.Len64(number|1) + 6) / 7
}

// zigzag gives numbers near zero short varints, whatever their sign.
func zigzag(number int64) uint64 {
	return uint64(number)<<1 ^ uint64(number>>63)
}

func appendTag(dst []byte, field, coding uint32) []byte {
	return appendUvarint(dst, uint64(field<<3|coding))
}

// appendVarint leaves zero out, which is what an absent field means.
func appendVarint(dst []byte, field uint32, number uint64) []byte {
	if number == 0 {
		return dst
	}
	return appendUvarint(appendTag(dst, field, wireVarint), number)
}

// appendDouble leaves out positive zero alone: a negative one is kept.
func appendDouble(dst []byte, field uint32, number float64) []byte {
	if math.Float64bits(number) == 0 {
		return dst
	}
	return appendFixed64(appendTag(dst, field, wireFixed64), number)
}

func appendFixed64(dst []byte, number float64) []byte {
	return binary.LittleEndian.AppendUint64(dst, math.Float64bits(number))
}

func appendBytes(dst []byte, field uint32, bytes []byte) []byte {
	return append(appendUvarint(appendTag(dst, field, wireBytes), uint64(len(bytes))), bytes...)
}

func appendText(dst []byte, field uint32, text string) []byte {
	return append(appendUvarint(appendTag(dst, field, wireBytes), uint64(len(text))), text...)
}
