// Package wiretest reads what the SDK sends. Only tests import it: it is
// written for clarity and to complain, with an eye on nothing else.
package wiretest

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Unsnap decompresses one Snappy block and refuses everything that the format
// does not allow.
func Unsnap(src []byte) ([]byte, error) {
	length, n := binary.Uvarint(src)
	if n <= 0 || length > 1<<32-1 {
		return nil, errors.New("snappy: bad length")
	}
	src = src[n:]
	var out []byte
	for len(src) > 0 {
		tag := src[0]
		src = src[1:]
		// Bytes of the element behind its tag, by the tag's kind.
		extra := map[byte]int{0: 0, 1: 1, 2: 2, 3: 4}[tag&3]
		if tag&3 == 0 && tag>>2 >= 60 {
			extra = int(tag>>2) - 59
		}
		if len(src) < extra {
			return nil, errors.New("snappy: cut in an element")
		}
		number := 0
		for at := extra - 1; at >= 0; at-- {
			number = number<<8 | int(src[at])
		}
		src = src[extra:]
		if tag&3 == 0 {
			count := int(tag>>2) + 1
			if extra > 0 {
				count = number + 1
			}
			if len(src) < count {
				return nil, errors.New("snappy: cut in a literal")
			}
			out, src = append(out, src[:count]...), src[count:]
			continue
		}
		offset, count := number, int(tag>>2)+1
		if tag&3 == 1 {
			offset, count = number|int(tag>>5)<<8, int(tag>>2&7)+4
		}
		if offset == 0 || offset > len(out) {
			return nil, fmt.Errorf("snappy: copy from %d before %d", offset, len(out))
		}
		for ; count > 0; count-- {
			out = append(out, out[len(out)-offset])
		}
	}
	if uint64(len(out)) != length {
		return nil, fmt.Errorf("snappy: %d bytes, %d were told", len(out), length)
	}
	return out, nil
}
