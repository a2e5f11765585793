#![warn(clippy::indexing_slicing)]
//! Where the table of functions lies in an executable, where its code begins, and the linker's record that points at
//! both: `runtime.firstmoduledata`, a `moduledata` of `runtime/symtab.go`.

use object::elf::SHT_RELA;

use super::functions::Header;
use super::layout::{Field, ModuleLayout};
use crate::go::elf::{Elf, Segment};

/// Names of the table's section; position-independent executables of older releases have the second.
const SECTIONS: [&[u8]; 2] = [b".gopclntab", b".data.rel.ro.gopclntab"];
/// The table begins at a multiple of this.
const TABLE_ALIGN: usize = 16;
/// Bytes of a header, and a word more.
const HEADER_BYTES: u64 = 80;
/// How much of an executable without the section is searched for the table.
const SEARCH_BYTES_MAX: u64 = 256 << 20;
/// How much of the writable data is searched for the record, and how much of the relocations.
const DATA_BYTES_MAX: u64 = 64 << 20;
/// Read at once.
const CHUNK_BYTES: u64 = 1 << 20;
/// Most places that look like the table, or the record, and are read to see.
const CANDIDATES_MAX: usize = 64;
/// Length of a relocation: ELF `Rela`.
const RELOCATION_BYTES: usize = 24;

/// The table of functions, found.
#[derive(Debug, Clone, Copy)]
pub(super) struct Table {
    /// In the file.
    pub(super) offset: u64,
    /// Most bytes it can have.
    pub(super) bytes: u64,
    pub(super) address: u64,
    pub(super) header: Header,
}

/// Finds the table by its section, else by the first bytes of its header.
pub(super) fn find_table(elf: &Elf) -> Option<Table> {
    let named = SECTIONS.iter().filter_map(|name| elf.section_called(name));
    let named = named.map(|section| (section.offset, section.bytes, section.address));
    if let Some(found) = named.clone().find_map(|(offset, bytes, address)| table_at(elf, offset, bytes, address)) {
        return Some(found);
    }
    // A linker that is not Go's merges the section into a larger one; and all sections can be stripped.
    let marks = |chunk: &[u8]| {
        let lines = chunk.chunks_exact(TABLE_ALIGN).enumerate();
        let marked = lines.filter(|(_, line)| matches!(line, [0xf0 | 0xf1, 0xff, 0xff, 0xff, 0, 0, 1 | 4, 8, ..]));
        marked.map(|(line, _)| line * TABLE_ALIGN).collect()
    };
    search(elf, |_| true, SEARCH_BYTES_MAX, marks, |place| table_at(elf, place.offset, place.bytes_left, place.address))
}

/// A place in a segment.
struct Found {
    /// In the file.
    offset: u64,
    address: u64,
    /// From here to where the segment ends.
    bytes_left: u64,
}

/// Looks through the first `bytes_max` bytes of the `wanted` segments for what `of` makes of a place that `marks` tells: of a chunk, how
/// far into it places lie.
fn search<T>(
    elf: &Elf,
    wanted: impl Fn(&Segment) -> bool,
    bytes_max: u64,
    marks: impl Fn(&[u8]) -> Vec<usize>,
    of: impl Fn(Found) -> Option<T>,
) -> Option<T> {
    let (mut left, mut candidates) = (bytes_max, 0);
    let mut found = None;
    for segment in elf.segments.iter().filter(|segment| wanted(segment)) {
        let bytes = segment.file_bytes.min(elf.file_bytes().saturating_sub(segment.offset)).min(left);
        left -= bytes;
        walk(elf, segment.offset, bytes, |at, chunk| {
            for mark in marks(chunk) {
                let within = at + mark as u64;
                found = of(Found {
                    offset: segment.offset.saturating_add(within),
                    address: segment.address.wrapping_add(within),
                    bytes_left: bytes.saturating_sub(within),
                });
                candidates += 1;
                if found.is_some() || candidates > CANDIDATES_MAX {
                    return false;
                }
            }
            true
        });
        if found.is_some() || candidates > CANDIDATES_MAX {
            break;
        }
    }
    found
}

fn table_at(elf: &Elf, offset: u64, bytes: u64, address: u64) -> Option<Table> {
    let bytes = bytes.min(elf.file_bytes().checked_sub(offset)?);
    let head = elf.read(offset, HEADER_BYTES).ok()??;
    Header::parse(&head, bytes).map(|header| Table { offset, bytes, address, header })
}

/// The record, found.
#[derive(Debug, Clone, Copy)]
pub(super) struct Module {
    pub(super) address: u64,
    /// Where Go's code begins.
    pub(super) text: u64,
}

/// Finds the record that points at `table`: in the data, or, where the loader fills the data in, in the relocations.
pub(super) fn find_module(elf: &Elf, table: &Table, layout: &ModuleLayout) -> Option<Module> {
    in_data(elf, table, layout).or_else(|| in_relocations(elf, table, layout))
}

fn in_data(elf: &Elf, table: &Table, layout: &ModuleLayout) -> Option<Module> {
    let names = table.address.checked_add(table.header.names)?;
    let marks = |chunk: &[u8]| {
        let words = chunk.as_chunks::<8>().0.iter().enumerate();
        words.filter(|(_, word)| u64::from_le_bytes(**word) == table.address).map(|(word, _)| word * 8).collect()
    };
    search(elf, |segment| segment.writable, DATA_BYTES_MAX, marks, |place| record_at(elf, place.address, names, layout))
}

fn record_at(elf: &Elf, address: u64, names: u64, layout: &ModuleLayout) -> Option<Module> {
    let record = elf.read_at(address, layout.text.end().into())?;
    let text = layout.text.unsigned(&record)?;
    let pointer = Field { bytes: 8, ..layout.names };
    (pointer.unsigned(&record)? == names).then_some(Module { address, text })
}

/// Relocations are sorted by place, so that those of the record's fields follow that of its first.
fn in_relocations(elf: &Elf, table: &Table, layout: &ModuleLayout) -> Option<Module> {
    let mut candidate = None;
    let mut found = None;
    for section in elf.sections.iter().filter(|section| section.kind == SHT_RELA) {
        walk(elf, section.offset, section.bytes.min(DATA_BYTES_MAX), |_, chunk| {
            for relocation in chunk.as_chunks::<RELOCATION_BYTES>().0 {
                let (&place, rest) = relocation.split_first_chunk().unwrap_or((&[0; 8], &[]));
                let place = u64::from_le_bytes(place);
                let target = u64::from_le_bytes(rest.last_chunk().copied().unwrap_or_default());
                if target == table.address {
                    candidate = Some(place);
                } else if let Some(address) = candidate
                    && place == address.wrapping_add(layout.text.at.into())
                {
                    found = Some(Module { address, text: target });
                    return false;
                }
            }
            true
        });
    }
    found
}

/// Hands over the `bytes` bytes at `offset`, chunk by chunk with the place of each, until told to stop. Chunks begin at
/// multiples of 24 and of 16.
fn walk(elf: &Elf, offset: u64, bytes: u64, mut visit: impl FnMut(u64, &[u8]) -> bool) {
    const CHUNK: u64 = CHUNK_BYTES / 48 * 48;
    let mut done = 0;
    while done < bytes {
        let Ok(chunk) = elf.read_up_to(offset.saturating_add(done), CHUNK.min(bytes - done)) else { return };
        if chunk.is_empty() || !visit(done, &chunk) {
            return;
        }
        done += chunk.len() as u64;
    }
}
