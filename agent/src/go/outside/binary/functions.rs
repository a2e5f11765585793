#![warn(clippy::indexing_slicing)]
//! The table of functions that every Go executable carries, stripped or not: from an address to a name and a line.
//!
//! The form is that of Go 1.18 and later (`cmd/link/internal/ld/pcln.go`, `runtime/symtab.go`): a header with offsets; a
//! sorted list of function starts, each with the offset of a record; in the record, offsets of the name and of tables
//! that map addresses to lines, files and stack depths, coded as differences. Nothing of it is held but a few pages of
//! the file. Code that was inlined belongs to the function that it was inlined into.

use std::sync::Arc;

use parking_lot::Mutex;

use super::pages::Pages;
use crate::go::census::SourceLine;
use crate::go::elf::Elf;

/// First word of the table since Go 1.20.
const MAGIC_1_20: u32 = 0xffff_fff1;
/// First word of the table in Go 1.18 and 1.19.
const MAGIC_1_18: u32 = 0xffff_fff0;
/// Length of the header: 8 bytes and 8 words.
const HEADER_BYTES: u64 = 72;
/// Most functions that a table is believed to have.
const FUNCTIONS_MAX: u64 = 1 << 23;
/// Longest name and longest path; what is longer is cut.
const TEXT_BYTES_MAX: usize = 2048;
/// Most steps through a table of differences; the longest functions have some hundred thousand.
const STEPS_MAX: usize = 1 << 20;
/// Most steps in a row that lead to no further address; the linker writes none.
const STANDING_MAX: u32 = 64;
/// Steps that are taken between two [renewals](FunctionTable::renew): some tenths of a second.
const STEPS_ALLOWED: u32 = 16 << 20;
/// Pages kept of each executable: 64 KiB.
const PAGES: usize = 16;
/// The runtime's functions lie together; behind the last one, this many others are looked at.
const BEHIND_RUNTIME: u64 = 4096;
/// Most functions that are looked at for their names.
const NAMED_MAX: u64 = 1 << 18;
/// Most functions that are found under one name: one, and wrappers of it.
const NAMESAKES_MAX: usize = 4;

/// Offsets in the record of a function.
mod record {
    pub(super) const NAME: u64 = 4;
    pub(super) const STACK_DEPTHS: u64 = 16;
    pub(super) const FILES: u64 = 20;
    pub(super) const LINES: u64 = 24;
    pub(super) const UNIT: u64 = 32;
    /// What kind of function it is: behind the line where it begins, which records have since Go 1.20.
    pub(super) const KIND: u64 = 40;
    pub(super) const KIND_1_18: u64 = 36;
}

/// The kind of function that the compiler makes for `go f(x)` before Go 1.22, which named them (`abi.FuncIDWrapper`). Later
/// releases number kinds otherwise, and no closure has this one there.
const KIND_WRAPPER: u8 = 21;

/// A function of the executable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// Its full name, such as `net/http.(*Server).Serve`.
    pub name: Arc<str>,
    /// Address of its first instruction, as linked.
    pub entry: u64,
}

/// A function and the line of an address in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// The function.
    pub function: Function,
    /// The line of the code at the address; code that was inlined there has its own function's line.
    pub line: Option<SourceLine>,
}

/// Header of the table: where its parts lie, from its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// Smallest step between instructions.
    quantum: u64,
    /// Where a record has the kind of its function.
    kind: u64,
    functions: u64,
    /// Address of the first function; 0 where it is not told.
    pub(super) text: u64,
    pub(super) names: u64,
    units: u64,
    files: u64,
    differences: u64,
    records: u64,
}

impl Header {
    /// Reads the header of a table that may be `bytes` long; nothing when it is none.
    pub(super) fn parse(head: &[u8], bytes: u64) -> Option<Self> {
        let magic = u32::from_le_bytes(head.first_chunk().copied()?);
        let &[0, 0, quantum @ (1 | 2 | 4), 8] = head.get(4..8)? else { return None };
        if magic != MAGIC_1_20 && magic != MAGIC_1_18 {
            return None;
        }
        let word = |number: usize| {
            let word = head.get(8 + number * 8..)?.first_chunk().copied()?;
            Some(u64::from_le_bytes(word))
        };
        let header = Self {
            quantum: quantum.into(),
            kind: if magic == MAGIC_1_18 { record::KIND_1_18 } else { record::KIND },
            functions: word(0)?,
            text: word(2)?,
            names: word(3)?,
            units: word(4)?,
            files: word(5)?,
            differences: word(6)?,
            records: word(7)?,
        };
        let parts = [HEADER_BYTES, header.names, header.units, header.files, header.differences, header.records, bytes];
        let fits = header.records.checked_add(header.functions.checked_mul(8)?)? <= bytes;
        let sane = header.functions > 0 && header.functions <= FUNCTIONS_MAX;
        (parts.is_sorted() && fits && sane).then_some(header)
    }
}

/// The table of functions of one executable; all addresses as linked.
#[derive(Debug)]
pub struct FunctionTable {
    table: Mutex<Table>,
}

impl FunctionTable {
    /// The table at `offset` in the file of `elf`, at most `bytes` long, of functions that begin at address `text`.
    pub(super) fn new(elf: &Elf, offset: u64, bytes: u64, header: Header, text: u64) -> Self {
        let pages = Pages::new(elf.file(), offset, bytes, PAGES);
        Self { table: Mutex::new(Table { pages, header, text, steps_left: STEPS_ALLOWED }) }
    }

    /// Allows as many steps as at first. Whoever wrote the executable chose how many a line takes.
    pub fn renew(&self) {
        self.table.lock().steps_left = STEPS_ALLOWED;
    }

    /// Whether the steps allowed are used up: functions still have names, but no lines.
    pub fn is_spent(&self) -> bool {
        self.table.lock().steps_left == 0
    }

    /// The function that the instruction at `pc` belongs to.
    pub fn function(&self, pc: u64) -> Option<Function> {
        let mut table = self.table.lock();
        let place = table.find(pc)?;
        table.describe(place)
    }

    /// The function and line of the instruction at `pc`. For a return address give the one before it.
    pub fn position(&self, pc: u64) -> Option<Position> {
        let mut table = self.table.lock();
        let place = table.find(pc)?;
        let function = table.describe(place)?;
        let line = table.line(place, pc);
        Some(Position { function, line })
    }

    /// Whether the compiler made the function at `pc` to call another, and did not say so in its name.
    pub fn is_wrapper(&self, pc: u64) -> bool {
        let mut table = self.table.lock();
        let kind_at = table.find(pc).and_then(|place| place.record.checked_add(table.header.kind));
        let mut kind = [0];
        kind_at.and_then(|at| table.pages.fill(at, &mut kind)).is_some() && kind == [KIND_WRAPPER]
    }

    /// How far the stack pointer stands below its place at the function's entry, at the instruction at `pc`, in bytes.
    /// The return address lies there on amd64.
    pub fn frame_bytes(&self, pc: u64) -> Option<u64> {
        let mut table = self.table.lock();
        let place = table.find(pc)?;
        let depth = table.value(place, record::STACK_DEPTHS, pc)?;
        u64::try_from(depth).ok()
    }

    /// Start and end of the functions called as one of `names`, each with its place in `names`. There may be several of a
    /// name. Only the runtime's functions are found for certain, and those before them.
    pub(super) fn find_named(&self, names: &[&str]) -> Vec<(usize, u64, u64)> {
        self.table.lock().find_named(names)
    }
}

/// A function in the table.
#[derive(Debug, Clone, Copy)]
struct Place {
    entry: u64,
    /// Its record, from the start of the table.
    record: u64,
}

#[derive(Debug)]
struct Table {
    pages: Pages,
    header: Header,
    text: u64,
    /// Steps through tables of differences that are still allowed.
    steps_left: u32,
}

impl Table {
    /// Start and record of the function with this number.
    fn entry(&mut self, number: u64) -> Option<(u64, u64)> {
        let at = self.header.records.checked_add(number.checked_mul(8)?)?;
        let mut pair = [0; 8];
        self.pages.fill(at, &mut pair)?;
        let pair = u64::from_le_bytes(pair);
        Some((pair & u64::from(u32::MAX), pair >> 32))
    }

    fn find(&mut self, pc: u64) -> Option<Place> {
        let wanted = pc.checked_sub(self.text)?;
        let (mut low, mut high) = (0, self.header.functions);
        if self.entry(0)?.0 > wanted || self.entry(high).is_none_or(|(end, _)| end <= wanted) {
            return None;
        }
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if self.entry(middle)?.0 <= wanted { low = middle } else { high = middle }
        }
        let (start, record) = self.entry(low)?;
        Some(Place { entry: self.text.checked_add(start)?, record: self.header.records.checked_add(record)? })
    }

    fn describe(&mut self, place: Place) -> Option<Function> {
        let name = self.pages.number(place.record.checked_add(record::NAME)?)?;
        let name = self.pages.text(self.header.names.checked_add(name.into())?, TEXT_BYTES_MAX)?;
        Some(Function { name: String::from_utf8_lossy(&name).into(), entry: place.entry })
    }

    fn line(&mut self, place: Place, pc: u64) -> Option<SourceLine> {
        let line = u32::try_from(self.value(place, record::LINES, pc)?).ok()?;
        let file = u64::try_from(self.value(place, record::FILES, pc)?).ok()?;
        let unit = u64::from(self.pages.number(place.record.checked_add(record::UNIT)?)?);
        let at = unit.checked_add(file)?.checked_mul(4)?.checked_add(self.header.units)?;
        let path = self.pages.number(at).filter(|path| *path != u32::MAX)?;
        let path = self.pages.text(self.header.files.checked_add(path.into())?, TEXT_BYTES_MAX)?;
        Some(SourceLine { file: String::from_utf8_lossy(&path).into_owned(), line })
    }

    /// The value at `pc` in the table of differences whose offset stands at `field` of the record: pairs of a difference
    /// of the value, signs folded in, and one of the address, both in base 128. Values begin at -1.
    fn value(&mut self, place: Place, field: u64, pc: u64) -> Option<i32> {
        let offset = self.pages.number(place.record.checked_add(field)?)?;
        // Offset 0 says that there is no such table.
        let mut at = self.header.differences.checked_add(u64::from(offset)).filter(|_| offset != 0)?;
        let (mut value, mut reached, mut standing) = (-1i32, place.entry, 0);
        for step in 0..STEPS_MAX {
            self.steps_left = self.steps_left.checked_sub(1)?;
            let folded = self.base128(&mut at)?;
            if folded == 0 && step > 0 {
                return None;
            }
            let difference = (folded >> 1).cast_signed() ^ -(folded & 1).cast_signed();
            value = value.wrapping_add(difference);
            let length = u64::from(self.base128(&mut at)?) * self.header.quantum;
            reached = reached.checked_add(length)?;
            standing = if length == 0 { standing + 1 } else { 0 };
            if standing > STANDING_MAX {
                return None;
            }
            if pc < reached {
                return Some(value);
            }
        }
        None
    }

    fn base128(&mut self, at: &mut u64) -> Option<u32> {
        let mut value = 0;
        for shift in [0, 7, 14, 21, 28] {
            let byte = *self.pages.rest(*at)?.first()?;
            *at += 1;
            value |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn find_named(&mut self, names: &[&str]) -> Vec<(usize, u64, u64)> {
        let mut found = Vec::new();
        let mut namesakes = vec![0; names.len()];
        let mut last_of_runtime = None;
        for number in 0..self.header.functions.min(NAMED_MAX) {
            if last_of_runtime.is_some_and(|last| number - last > BEHIND_RUNTIME) {
                break;
            }
            let (Some((start, record)), Some((end, _))) = (self.entry(number), self.entry(number + 1)) else { break };
            let name = self.header.records.checked_add(record + record::NAME);
            let name = name.and_then(|at| self.pages.number(at)).map(|name| self.header.names + u64::from(name));
            let Some(name) = name else { continue };
            let mut prefix = [0; 8];
            if self.pages.fill(name, &mut prefix).is_none() || &prefix != b"runtime." {
                continue;
            }
            last_of_runtime = Some(number);
            let Some(text) = self.pages.text(name, 128) else { continue };
            let wanted = names.iter().position(|name| name.as_bytes() == text);
            let Some(wanted) = wanted else { continue };
            if let Some(count) = namesakes.get_mut(wanted).filter(|count| **count < NAMESAKES_MAX) {
                *count += 1;
                let (Some(start), Some(end)) = (self.text.checked_add(start), self.text.checked_add(end)) else {
                    break;
                };
                found.push((wanted, start, end));
            }
        }
        found
    }
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "bounds are the test's own")]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// A table of one function, whose line is found by these differences, again and again for 16 KiB.
    fn forged(differences: [u8; 2]) -> FunctionTable {
        let header = Header {
            quantum: 1,
            kind: 40,
            functions: 1,
            text: 0,
            names: 0,
            units: 0,
            files: 0,
            differences: 64,
            records: 0,
        };
        let mut bytes = vec![0; 64];
        // The function begins at 0, its record too; it ends far behind what the differences reach.
        bytes[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
        bytes[24..28].copy_from_slice(&2_u32.to_le_bytes());
        bytes.extend(differences.repeat(8 << 10));
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(&bytes).expect("written");
        let pages = Pages::new(Arc::new(file), 0, bytes.len() as u64, PAGES);
        FunctionTable { table: Mutex::new(Table { pages, header, text: 0, steps_left: STEPS_ALLOWED }) }
    }

    fn steps(table: &FunctionTable) -> u32 {
        STEPS_ALLOWED - table.table.lock().steps_left
    }

    #[test]
    fn a_table_that_leads_nowhere_is_left() {
        let table = forged([2, 0]);
        assert_eq!(table.position(1 << 20).expect("a function").line, None);
        assert!(steps(&table) <= 2 * (STANDING_MAX + 1), "{}", steps(&table));
    }

    #[test]
    fn steps_are_bounded_over_all_lines() {
        let table = forged([2, 1]);
        assert_eq!(table.position(1 << 20).expect("a function").line, None);
        let once = steps(&table);
        assert!(once > 4 << 10, "{once}");
        table.table.lock().steps_left = 2 * once;
        for _ in 0..3 {
            assert!(table.position(1 << 20).is_some(), "names are found all the same");
        }
        assert!(table.is_spent());
        table.renew();
        assert!(!table.is_spent() && steps(&table) == 0);
    }
}
