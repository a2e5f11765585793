package main

import (
	"bytes"
	"fmt"
	"strings"
)

// render writes the table as Rust.
func render(releases []release, sources, newest []string) []byte {
	var out bytes.Buffer
	line := func(format string, values ...any) { fmt.Fprintf(&out, format+"\n", values...) }
	line("#![expect(clippy::unreadable_literal, reason = \"a table that a program writes\")]")
	line("//! Where fields lie in the types of Go's runtime, release by release. Made by `make go-layouts` from the debug")
	line("//! information of executables; not to be changed by hand.")
	line("//!")
	line("//! Read from executables for amd64 and arm64 of:")
	for _, source := range sources {
		line("//! - %s", source)
	}
	line("")
	columns := make([]string, len(releases))
	for i, release := range releases {
		columns[i] = fmt.Sprintf("(%d, %d)", release.minor, release.patch)
	}
	line("/// The columns, in order: Go 1.N from this patch on, until the next column.")
	line("#[rustfmt::skip]")
	line("pub(super) const COLUMNS: [(u16, u16); %d] = [%s];", len(releases), strings.Join(columns, ", "))
	line("")
	line("/// The newest patch of each Go 1.N that was read.")
	line("#[rustfmt::skip]")
	line("pub(super) const NEWEST: [(u16, u16); %d] = [%s];", len(newest), strings.Join(newest, ", "))
	line("")
	line("/// Name of a field, its width in bytes and its offset in each column, -1 where the release lacks it. For the size")
	line("/// of a type, the size instead of an offset. Width 0 is one that follows from a size. For amd64.")
	table(line, "FIELDS", releases, func(int) bool { return true }, processors[0])
	for _, processor := range processors[1:] {
		line("")
		line("/// The rows that differ on %s.", processor)
		table(line, "FIELDS_"+strings.ToUpper(processor), releases, func(i int) bool {
			return cells(releases, i, processor) != cells(releases, i, processors[0])
		}, processor)
	}
	line("")
	line("/// What a goroutine waits for, by its `waitreason`, in each column.")
	line("#[rustfmt::skip]")
	line("pub(super) const WAIT_REASONS: [&[&str]; %d] = [", len(releases))
	for _, release := range releases {
		line("    // Go 1.%d.%d", release.minor, release.patch)
		line("    &[")
		for _, text := range wrap(release.waits) {
			line("       %s", text)
		}
		line("    ],")
	}
	line("];")
	return out.Bytes()
}

// table writes those of the rows that are wanted, as they are on one processor.
func table(line func(string, ...any), name string, releases []release, wanted func(int) bool, processor string) {
	var lines []string
	for i, row := range rows {
		if wanted(i) {
			lines = append(lines, fmt.Sprintf("    (%q, %d, [%s]),", row.name, width(releases, i, processor), cells(releases, i, processor)))
		}
	}
	line("#[rustfmt::skip]")
	line("pub(super) const %s: [(&str, u32, [i32; %d]); %d] = [", name, len(releases), len(lines))
	for _, text := range lines {
		line("%s", text)
	}
	line("];")
}

// width is that of the row at i, 0 for a size and where it varies.
func width(releases []release, i int, processor string) int64 {
	if len(rows[i].paths) == 0 || rows[i].varies {
		return 0
	}
	for _, release := range releases {
		if field := release.fields[processor][i]; field != absent {
			return field.bytes
		}
	}
	return 0
}

func cells(releases []release, i int, processor string) string {
	var cells []string
	for _, release := range releases {
		field := release.fields[processor][i]
		if len(rows[i].paths) == 0 {
			field.at = field.bytes
		}
		cells = append(cells, fmt.Sprint(field.at))
	}
	return strings.Join(cells, ", ")
}

// wrap quotes texts and puts as many as fit on a line.
func wrap(texts []string) []string {
	lines := []string{""}
	for _, text := range texts {
		text = fmt.Sprintf(" %q,", text)
		if last := len(lines) - 1; len(lines[last])+len(text) <= 110 {
			lines[last] += text
		} else {
			lines = append(lines, text)
		}
	}
	return lines
}
