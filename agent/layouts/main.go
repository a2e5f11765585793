// Command layouts makes layout_table.rs: where fields lie in the types of Go's runtime, release by release.
//
// It reads the debug information of executables, one for each release and processor, all made from the program in
// folder sample. It refuses to write when patches of one minor release differ, when wait reasons depend on the
// processor, or when a field that every release must have is not there.
package main

import (
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
	"sort"
	"strconv"
	"strings"
)

// A layout is what one executable tells: for each row of rows its offset and width, and the texts of wait reasons.
type layout struct {
	file    string
	minor   int
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
	if err := os.WriteFile(*output, render(releases, sources(layouts)), 0o644); err != nil {
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

// A release is what all executables of one minor release agree on.
type release struct {
	minor  int
	fields map[string][]place // by processor
	waits  []string
}

// processors are those of the table, the first in full, of the others what differs.
var processors = []string{"amd64", "arm64"}

// unite makes one release of the executables of each minor release, in order, and checks that they agree.
func unite(layouts []layout) ([]release, error) {
	byMinor := map[int]release{}
	for _, read := range layouts {
		known, ok := byMinor[read.minor]
		if !ok {
			known = release{minor: read.minor, fields: map[string][]place{}, waits: read.waits}
			byMinor[read.minor] = known
		}
		if strings.Join(known.waits, "|") != strings.Join(read.waits, "|") {
			return nil, fmt.Errorf("%s: wait reasons differ from those of another Go 1.%d", read.file, read.minor)
		}
		fields, ok := known.fields[read.arch]
		if !ok {
			known.fields[read.arch] = read.fields
			continue
		}
		for i, row := range rows {
			if fields[i] != read.fields[i] {
				return nil, fmt.Errorf("%s: %s is %v, %v in another Go 1.%d", read.file, row.name, read.fields[i], fields[i], read.minor)
			}
		}
	}
	var releases []release
	for _, one := range byMinor {
		releases = append(releases, one)
	}
	sort.Slice(releases, func(i, j int) bool { return releases[i].minor < releases[j].minor })
	for i, row := range rows {
		if err := row.check(i, releases); err != nil {
			return nil, err
		}
	}
	return releases, nil
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

// sources lists the releases that were read, one line a minor release.
func sources(layouts []layout) []string {
	var lines []string
	last := -1
	sort.SliceStable(layouts, func(i, j int) bool { return layouts[i].minor < layouts[j].minor })
	for _, read := range layouts {
		name := read.version + " " + read.arch
		if read.minor == last {
			lines[len(lines)-1] += ", " + name
		} else {
			lines = append(lines, name)
		}
		last = read.minor
	}
	return lines
}
