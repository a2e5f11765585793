package wiretest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"sort"
	"strings"
)

// Series is one series of a request, with the one sample that it has.
type Series struct {
	// Labels without the name.
	Labels map[string]string
	Name   string
	Kind   uint64
	Help   string

	TimestampMs int64
	StartMs     int64
	Value       float64
	// Histogram is nil for floats.
	Histogram *Histogram
}

// Histogram is a native histogram with absolute counts by index.
type Histogram struct {
	Count, ZeroCount   uint64
	Sum, ZeroThreshold float64
	Schema             int64
	Positive, Negative map[int64]int64
	CustomBounds       []float64
}

// Key is the series as Prometheus writes it, labels in order.
func (s *Series) Key() string {
	var pairs []string
	for name, value := range s.Labels {
		pairs = append(pairs, fmt.Sprintf("%s=%q", name, value))
	}
	sort.Strings(pairs)
	return s.Name + "{" + strings.Join(pairs, ",") + "}"
}

// field is one field of a message: a number, or bytes.
type field struct {
	number uint64
	coding uint64
	value  uint64
	bytes  []byte
}

func fields(message []byte) ([]field, error) {
	var found []field
	for len(message) > 0 {
		tag, n := binary.Uvarint(message)
		if n <= 0 {
			return nil, errors.New("protobuf: bad tag")
		}
		message = message[n:]
		f := field{number: tag >> 3, coding: tag & 7}
		switch f.coding {
		case 0, 2:
			number, n := binary.Uvarint(message)
			if n <= 0 {
				return nil, errors.New("protobuf: bad varint")
			}
			message, f.value = message[n:], number
			if f.coding == 2 {
				if number > uint64(len(message)) {
					return nil, errors.New("protobuf: cut")
				}
				f.bytes, message = message[:number], message[number:]
			}
		case 1:
			if len(message) < 8 {
				return nil, errors.New("protobuf: cut")
			}
			f.value, message = binary.LittleEndian.Uint64(message), message[8:]
		default:
			return nil, fmt.Errorf("protobuf: coding %d", f.coding)
		}
		found = append(found, f)
	}
	return found, nil
}

func varints(bytes []byte) ([]uint64, error) {
	var found []uint64
	for len(bytes) > 0 {
		number, n := binary.Uvarint(bytes)
		if n <= 0 {
			return nil, errors.New("protobuf: bad varint in a list")
		}
		found, bytes = append(found, number), bytes[n:]
	}
	return found, nil
}

func unzigzag(number uint64) int64 {
	return int64(number>>1) ^ -int64(number&1)
}

// Body reads a compressed request.
func Body(body []byte) ([]Series, error) {
	message, err := Unsnap(body)
	if err != nil {
		return nil, err
	}
	return Request(message)
}

// Request reads a request, and refuses what the specification of remote write
// 2.0 does: unsorted labels, references beyond the symbols, and the like.
func Request(message []byte) ([]Series, error) {
	parts, err := fields(message)
	if err != nil {
		return nil, err
	}
	var symbols []string
	for _, part := range parts {
		if part.number == 4 {
			symbols = append(symbols, string(part.bytes))
		}
	}
	if len(symbols) == 0 || symbols[0] != "" {
		return nil, errors.New("the first symbol is not empty")
	}
	var all []Series
	for _, part := range parts {
		if part.number != 5 {
			continue
		}
		one, err := series(part.bytes, symbols)
		if err != nil {
			return nil, fmt.Errorf("series %d: %w", len(all), err)
		}
		all = append(all, one)
	}
	return all, nil
}

func series(message []byte, symbols []string) (Series, error) {
	one := Series{Labels: map[string]string{}}
	parts, err := fields(message)
	if err != nil {
		return one, err
	}
	samples := 0
	for _, part := range parts {
		switch part.number {
		case 1:
			err = one.labels(part.bytes, symbols)
		case 2:
			samples++
			err = one.sample(part.bytes)
		case 3:
			samples++
			err = one.histogram(part.bytes)
		case 5:
			err = one.metadata(part.bytes, symbols)
		default:
			err = fmt.Errorf("field %d of a series", part.number)
		}
		if err != nil {
			return one, err
		}
	}
	if samples != 1 || one.Name == "" || one.TimestampMs == 0 {
		return one, fmt.Errorf("%d samples, name %q, time %d", samples, one.Name, one.TimestampMs)
	}
	return one, nil
}

func (s *Series) labels(packed []byte, symbols []string) error {
	references, err := varints(packed)
	if err != nil || len(references)%2 != 0 {
		return fmt.Errorf("%d references: %w", len(references), err)
	}
	before := ""
	for at := 0; at < len(references); at += 2 {
		if max(references[at], references[at+1]) >= uint64(len(symbols)) {
			return fmt.Errorf("a reference beyond %d symbols", len(symbols))
		}
		name, value := symbols[references[at]], symbols[references[at+1]]
		if name <= before || value == "" {
			return fmt.Errorf("label %q=%q behind %q", name, value, before)
		}
		before = name
		if name == "__name__" {
			s.Name = value
		} else {
			s.Labels[name] = value
		}
	}
	return nil
}

func (s *Series) sample(message []byte) error {
	parts, err := fields(message)
	for _, part := range parts {
		switch part.number {
		case 1:
			s.Value = math.Float64frombits(part.value)
		case 2:
			s.TimestampMs = int64(part.value)
		case 3:
			s.StartMs = int64(part.value)
		}
	}
	return err
}

func (s *Series) metadata(message []byte, symbols []string) error {
	parts, err := fields(message)
	for _, part := range parts {
		switch part.number {
		case 1:
			s.Kind = part.value
		case 3:
			s.Help = symbols[part.value]
		}
	}
	return err
}

func (s *Series) histogram(message []byte) error {
	parts, err := fields(message)
	if err != nil {
		return err
	}
	h := &Histogram{}
	s.Histogram = h
	spans := map[uint64][][2]int64{}
	deltas := map[uint64][]uint64{}
	for _, part := range parts {
		switch part.number {
		case 1:
			h.Count = part.value
		case 3:
			h.Sum = math.Float64frombits(part.value)
		case 4:
			h.Schema = unzigzag(part.value)
		case 5:
			h.ZeroThreshold = math.Float64frombits(part.value)
		case 6:
			h.ZeroCount = part.value
		case 8, 11:
			inner, err := fields(part.bytes)
			if err != nil {
				return err
			}
			var span [2]int64
			for _, f := range inner {
				switch f.number {
				case 1:
					span[0] = unzigzag(f.value)
				case 2:
					span[1] = int64(f.value)
				}
			}
			spans[part.number] = append(spans[part.number], span)
		case 9, 12:
			if deltas[part.number-1], err = varints(part.bytes); err != nil {
				return err
			}
		case 15:
			s.TimestampMs = int64(part.value)
		case 16:
			for at := 0; at+8 <= len(part.bytes); at += 8 {
				bits := binary.LittleEndian.Uint64(part.bytes[at:])
				h.CustomBounds = append(h.CustomBounds, math.Float64frombits(bits))
			}
		case 17:
			s.StartMs = int64(part.value)
		default:
			return fmt.Errorf("field %d of a histogram", part.number)
		}
	}
	if h.Negative, err = buckets(spans[8], deltas[8]); err != nil {
		return err
	}
	h.Positive, err = buckets(spans[11], deltas[11])
	return err
}

func buckets(spans [][2]int64, deltas []uint64) (map[int64]int64, error) {
	counts := map[int64]int64{}
	var index, count int64
	for at, span := range spans {
		if at > 0 && span[0] < 0 {
			return nil, errors.New("a span that goes back")
		}
		index += span[0]
		for n := span[1]; n > 0; n-- {
			if len(deltas) == 0 {
				return nil, errors.New("fewer deltas than spans cover")
			}
			count += unzigzag(deltas[0])
			deltas = deltas[1:]
			if count < 0 {
				return nil, errors.New("a count below zero")
			}
			if count > 0 {
				counts[index] = count
			}
			index++
		}
	}
	if len(deltas) > 0 {
		return nil, errors.New("more deltas than spans cover")
	}
	return counts, nil
}
