#![warn(clippy::indexing_slicing)]
//! The table of symbols, read once from front to back without holding it: where the runtime's variables and its code lie.
//!
//! Executables that are not stripped have it. Form: ELF `.symtab`, 24 bytes an entry.

use super::addresses::{Addresses, Variable};
use super::pages::Pages;
use crate::go::elf::Elf;

use object::elf::SHT_SYMTAB;

/// Length of an entry.
const ENTRY_BYTES: usize = 24;
/// Most entries that are looked at: some hundred thousand in the largest executables.
const ENTRIES_MAX: u64 = 2 << 20;
/// Entries read at once.
const CHUNK_BYTES: u64 = ENTRY_BYTES as u64 * 8192;
/// Pages of names that are kept.
const PAGES: usize = 8;
/// No name that is wanted is longer.
const NAME_BYTES_MAX: usize = 40;

const TYPE_MASK: u8 = 0xf;
const TYPE_OBJECT: u8 = 1;
const TYPE_FUNCTION: u8 = 2;

/// What symbols tell.
#[derive(Debug, Default)]
pub(super) struct Symbols {
    pub(super) addresses: Addresses,
    /// Where Go's code begins: `runtime.text`.
    pub(super) text: Option<u64>,
}

/// Reads the symbols of `elf`; nothing when it was stripped of them.
pub(super) fn read(elf: &Elf) -> Option<Symbols> {
    let table = elf.sections.iter().find(|section| section.kind == SHT_SYMTAB)?;
    let names = elf.sections.get(table.link as usize)?;
    let mut names = Pages::new(elf.file(), names.offset, names.bytes, PAGES);
    let mut symbols = Symbols::default();
    let mut done = 0;
    let bytes = table.bytes.min(ENTRIES_MAX * ENTRY_BYTES as u64);
    while done < bytes {
        let chunk = elf.read_up_to(table.offset.checked_add(done)?, CHUNK_BYTES.min(bytes - done)).ok()?;
        if chunk.is_empty() {
            break;
        }
        for entry in chunk.as_chunks::<ENTRY_BYTES>().0 {
            symbols.look(entry, &mut names);
        }
        done += chunk.len() as u64;
    }
    (symbols.addresses != Addresses::default()).then_some(symbols)
}

impl Symbols {
    fn look(&mut self, entry: &[u8; ENTRY_BYTES], names: &mut Pages) {
        let [a, b, c, d, info, _, section_low, section_high, address @ .., _, _, _, _, _, _, _, _] = entry;
        let kind = info & TYPE_MASK;
        let defined = (*section_low, *section_high) != (0, 0);
        if !defined || (kind != TYPE_OBJECT && kind != TYPE_FUNCTION) {
            return;
        }
        let name_at = u64::from(u32::from_le_bytes([*a, *b, *c, *d]));
        let mut prefix = [0; 8];
        if names.fill(name_at, &mut prefix).is_none() || &prefix != b"runtime." {
            return;
        }
        let Some(name) = names.text(name_at, NAME_BYTES_MAX) else { return };
        let address = u64::from_le_bytes(*address);
        if kind == TYPE_FUNCTION {
            if name == b"runtime.text" {
                self.text = Some(address);
            }
        } else if let Some(variable) = Variable::ALL.into_iter().find(|own| own.symbol().as_bytes() == name) {
            self.addresses.set(variable, address);
        }
    }
}
