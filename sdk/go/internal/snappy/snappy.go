// Package snappy compresses into the Snappy block format, which remote write
// asks for. It only writes: a sender never has to read.
//
// The format (github.com/google/snappy, format_description.txt) is the length
// of the plain bytes as a varint, then elements: literal bytes, or copies of
// bytes that came up to 65,535 earlier.
package snappy

import "encoding/binary"

const (
	// blockBytes is how much is looked at at a time, so that every distance
	// within a block fits 16 bits.
	blockBytes = 1 << 16
	tableBits  = 13
	// matchMin is the shortest match that is looked for.
	matchMin = 4
	// skipBits says how fast steps grow over bytes that do not compress: by
	// one for every 2^skipBits misses.
	skipBits = 5
)

const (
	tagLiteral = 0x00
	tagCopy1   = 0x01
	tagCopy2   = 0x02
)

// Encoder compresses. Its zero value is ready; it keeps 16 KiB of working
// memory from one call to the next and is not for concurrent use.
type Encoder struct {
	// Where each hash of four bytes was seen last in the block.
	table [1 << tableBits]uint16
}

// Append appends src, compressed, to dst. Of src at most 4 GiB can be told.
func (e *Encoder) Append(dst, src []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(src)))
	for len(src) > 0 {
		block := src[:min(len(src), blockBytes)]
		src = src[len(block):]
		dst = e.appendBlock(dst, block)
	}
	return dst
}

func (e *Encoder) appendBlock(dst, src []byte) []byte {
	clear(e.table[:])
	// An empty entry stands for position 0. That is harmless, as every
	// candidate is compared before it is believed.
	literal, at, misses := 0, 1, 1<<skipBits
	for at+matchMin <= len(src) {
		word := binary.LittleEndian.Uint32(src[at:])
		slot := &e.table[hash(word)]
		candidate := int(*slot)
		*slot = uint16(at)
		if candidate >= at || binary.LittleEndian.Uint32(src[candidate:]) != word {
			at += misses >> skipBits
			misses++
			continue
		}
		length := matchMin
		for at+length < len(src) && src[at+length] == src[candidate+length] {
			length++
		}
		dst = appendLiteral(dst, src[literal:at])
		dst = appendCopy(dst, at-candidate, length)
		at += length
		literal, misses = at, 1<<skipBits
		// The end of a match is a likely beginning of the next.
		if before := at - 1; before+matchMin <= len(src) {
			e.table[hash(binary.LittleEndian.Uint32(src[before:]))] = uint16(before)
		}
	}
	return appendLiteral(dst, src[literal:])
}

func hash(word uint32) uint32 {
	return word * 0x9E3779B1 >> (32 - tableBits)
}

// appendLiteral writes bytes as they are; a block has at most 65,536 of them.
func appendLiteral(dst, bytes []byte) []byte {
	if len(bytes) == 0 {
		return dst
	}
	switch n := len(bytes) - 1; {
	case n < 60:
		dst = append(dst, byte(n)<<2|tagLiteral)
	case n < 1<<8:
		dst = append(dst, 60<<2|tagLiteral, byte(n))
	default:
		dst = append(dst, 61<<2|tagLiteral, byte(n), byte(n>>8))
	}
	return append(dst, bytes...)
}

// appendCopy writes that length bytes are those offset earlier.
func appendCopy(dst []byte, offset, length int) []byte {
	// What is left behind a full copy must not fall below matchMin, the
	// shortest that the short form can tell.
	for length > 64 {
		step := 64
		if length < 64+matchMin {
			step = 60
		}
		dst = append(dst, byte(step-1)<<2|tagCopy2, byte(offset), byte(offset>>8))
		length -= step
	}
	if length <= 11 && offset < 1<<11 {
		return append(dst, byte(offset>>8)<<5|byte(length-matchMin)<<2|tagCopy1, byte(offset))
	}
	return append(dst, byte(length-1)<<2|tagCopy2, byte(offset), byte(offset>>8))
}
