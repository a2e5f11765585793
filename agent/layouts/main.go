// Command layouts makes layout_table.rs: where fields lie in the types of Go's runtime, release by release.
//
// It reads the debug information of executables, one for each release and processor, all made from the program in
// folder sample. A patch that differs from the one before it begins a column of its own; of such a patch the one before
// must be read, too. It refuses to write when wait reasons depend on the processor, or when a field that every release
// must have is not there.
package main

import (
	"cmp"
	"debug/buildinfo"
	"debug/dwarf"
	"debug/elf"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// A layout is what one executable tells: for each row of rows its offset and width, and the texts of wait reasons.
type layout struct {
	file    string
	minor   int
	patch   int
	version string
	arch    string
	fields  []place
	waits   []string
}

// A place is an offset and a width, in bytes. A field that is not there has offset -1.
type place struct{ at, bytes int64 }

var absent = place{at: -1}

func main() {
	log.SetFlags(0)
	output := flag.String("out", "", "the file to write")
	flag.Parse()
	if *output == "" || flag.NArg() == 0 {
		log.Fatal("usage: layouts -out FILE EXECUTABLE...")
	}
	var layouts []layout
	for _, file := range flag.Args() {
		read, err := readExecutable(file)
		if err != nil {
			log.Fatalf("%s: %v", file, err)
		}
		layouts = append(layouts, read)
	}
	releases, err := unite(layouts)
	if err != nil {
		log.Fatal(err)
	}
	if err := os.WriteFile(*output, render(releases, sources(layouts), newest(layouts)), 0o644); err != nil {
		log.Fatal(err)
	}
}

func readExecutable(file string) (layout, error) {
	info, err := buildinfo.ReadFile(file)
	if err != nil {
		return layout{}, err
	}
	read := layout{file: filepath.Base(file), version: info.GoVersion}
	parts := strings.Split(strings.TrimPrefix(info.GoVersion, "go1."), ".")
	if read.minor, err = strconv.Atoi(parts[0]); err != nil {
		return layout{}, fmt.Errorf("release %q", info.GoVersion)
	}
	if len(parts) > 1 {
		if read.patch, err = strconv.Atoi(parts[1]); err != nil {
			return layout{}, fmt.Errorf("release %q", info.GoVersion)
		}
	}
	for _, setting := range info.Settings {
		if setting.Key == "GOARCH" {
			read.arch = setting.Value
		}
	}
	executable, err := elf.Open(file)
	if err != nil {
		return layout{}, err
	}
	defer executable.Close()
	types, err := readTypes(executable)
	if err != nil {
		return layout{}, err
	}
	for _, row := range rows {
		read.fields = append(read.fields, types.find(row))
	}
	read.waits, err = waitReasons(executable)
	return read, err
}

// types are the struct types of the debug information, by name; those of variables as "var NAME".
type types map[string]dwarf.Type

func readTypes(executable *elf.File) (types, error) {
	data, err := executable.DWARF()
	if err != nil {
		return nil, err
	}
	wanted := map[string]bool{}
	for _, row := range rows {
		wanted[row.typ] = true
	}
	found := types{}
	reader := data.Reader()
	for {
		entry, err := reader.Next()
		if err != nil {
			return nil, err
		}
		if entry == nil {
			return found, nil
		}
		name, _ := entry.Val(dwarf.AttrName).(string)
		offset := entry.Offset
		switch entry.Tag {
		case dwarf.TagVariable:
			name = "var " + name
			if to, ok := entry.Val(dwarf.AttrType).(dwarf.Offset); ok {
				offset = to
			}
		case dwarf.TagStructType:
		case dwarf.TagCompileUnit:
			continue
		default:
			reader.SkipChildren()
			continue
		}
		if wanted[name] && found[name] == nil {
			if found[name], err = data.Type(offset); err != nil {
				return nil, err
			}
		}
		reader.SkipChildren()
	}
}

// find is the place of the first of the row's paths that there is.
func (t types) find(row row) place {
	typ, ok := t[row.typ]
	if !ok {
		return absent
	}
	if len(row.paths) == 0 {
		return place{bytes: typ.Size()}
	}
	for _, path := range row.paths {
		if at, ok := walk(typ, strings.Split(path, ".")); ok {
			return at
		}
	}
	return absent
}

func walk(typ dwarf.Type, path []string) (place, bool) {
	at := place{bytes: typ.Size()}
	for _, name := range path {
		for {
			named, ok := typ.(*dwarf.TypedefType)
			if !ok {
				break
			}
			typ = named.Type
		}
		structure, ok := typ.(*dwarf.StructType)
		if !ok {
			return absent, false
		}
		found := false
		for _, field := range structure.Field {
			// An embedded type is a field of its type's name, with its package or without.
			if field.Name == name || strings.HasSuffix(field.Name, "."+name) {
				at.at += field.ByteOffset
				at.bytes = field.Type.Size()
				typ, found = field.Type, true
				break
			}
		}
		if !found {
			return absent, false
		}
	}
	return at, true
}

// waitReasons reads the array runtime.waitReasonStrings.
func waitReasons(executable *elf.File) ([]string, error) {
	symbols, err := executable.Symbols()
	if err != nil {
		return nil, err
	}
	for _, symbol := range symbols {
		if symbol.Name != "runtime.waitReasonStrings" {
			continue
		}
		headers, err := readAt(executable, symbol.Value, symbol.Size)
		if err != nil {
			return nil, err
		}
		var texts []string
		for ; len(headers) >= 16; headers = headers[16:] {
			address, length := binary.LittleEndian.Uint64(headers), binary.LittleEndian.Uint64(headers[8:])
			text := []byte{}
			if length > 0 {
				if text, err = readAt(executable, address, length); err != nil {
					return nil, err
				}
			}
			texts = append(texts, string(text))
		}
		return texts, nil
	}
	return nil, errors.New("no runtime.waitReasonStrings")
}

func readAt(executable *elf.File, address, length uint64) ([]byte, error) {
	for _, program := range executable.Progs {
		if program.Type == elf.PT_LOAD && address >= program.Vaddr && address+length <= program.Vaddr+program.Filesz {
			bytes := make([]byte, length)
			_, err := program.ReadAt(bytes, int64(address-program.Vaddr))
			return bytes, err
		}
	}
	return nil, fmt.Errorf("address %#x is not in the file", address)
}

// A release is what all patches of a minor release from one on agree on, until the next.
type release struct {
	minor, patch int
	last         int                // the last patch that was read
	fields       map[string][]place // by processor
	waits        []string
}

// processors are those of the table, the first in full, of the others what differs.
var processors = []string{"amd64", "arm64"}

// unite makes releases of the executables, in order.
func unite(layouts []layout) ([]release, error) {
	var releases []release
	for _, patch := range patches(layouts) {
		one := release{minor: patch[0].minor, patch: patch[0].patch, last: patch[0].patch, fields: map[string][]place{}, waits: patch[0].waits}
		for _, read := range patch {
			if !slices.Equal(one.waits, read.waits) {
				return nil, fmt.Errorf("%s: wait reasons differ from those of another %s", read.file, read.version)
			}
			one.fields[read.arch] = read.fields
		}
		if n := len(releases); n > 0 && releases[n-1].minor == one.minor {
			before := &releases[n-1]
			if same := reflect.DeepEqual(before.fields, one.fields) && slices.Equal(before.waits, one.waits); same {
				before.last = one.patch
				continue
			}
			if before.last != one.patch-1 {
				return nil, fmt.Errorf("go1.%d.%d differs from patch %d: read those between, too", one.minor, one.patch, before.last)
			}
		}
		releases = append(releases, one)
	}
	for i, row := range rows {
		if err := row.check(i, releases); err != nil {
			return nil, err
		}
	}
	return releases, nil
}

// patches groups layouts by patch, in order.
func patches(layouts []layout) [][]layout {
	slices.SortStableFunc(layouts, func(a, b layout) int {
		return cmp.Or(cmp.Compare(a.minor, b.minor), cmp.Compare(a.patch, b.patch), cmp.Compare(a.arch, b.arch))
	})
	var groups [][]layout
	for i, read := range layouts {
		if i == 0 || layouts[i-1].minor != read.minor || layouts[i-1].patch != read.patch {
			groups = append(groups, nil)
		}
		last := len(groups) - 1
		groups[last] = append(groups[last], read)
	}
	return groups
}

// check tells whether the row at i is in all releases that must have it, equally wide in all.
func (r row) check(i int, releases []release) error {
	width := int64(0)
	for _, release := range releases {
		for _, processor := range processors {
			fields, ok := release.fields[processor]
			if !ok {
				return fmt.Errorf("no executable of Go 1.%d for %s", release.minor, processor)
			}
			if fields[i] == absent {
				if !r.optional {
					return fmt.Errorf("%s is not in Go 1.%d for %s", r.name, release.minor, processor)
				}
				continue
			}
			if len(r.paths) > 0 && !r.varies && width != 0 && width != fields[i].bytes {
				return fmt.Errorf("%s is %d bytes wide in Go 1.%d, %d before", r.name, fields[i].bytes, release.minor, width)
			}
			width = fields[i].bytes
		}
	}
	return nil
}

// newest gives the last patch that was read of each minor release, as pairs of both.
func newest(layouts []layout) []string {
	var pairs []string
	minor := -1
	for _, patch := range patches(layouts) {
		pair := fmt.Sprintf("(%d, %d)", patch[0].minor, patch[0].patch)
		if patch[0].minor == minor {
			pairs[len(pairs)-1] = pair
		} else {
			pairs = append(pairs, pair)
		}
		minor = patch[0].minor
	}
	return pairs
}

// sources lists the releases that were read, one line a minor release.
func sources(layouts []layout) []string {
	var lines []string
	minor := -1
	for _, patch := range patches(layouts) {
		if patch[0].minor == minor {
			lines[len(lines)-1] += ", " + patch[0].version
		} else {
			lines = append(lines, patch[0].version)
		}
		minor = patch[0].minor
	}
	return lines
}
