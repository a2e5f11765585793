#![warn(clippy::indexing_slicing)]
//! Which addresses a function's code touches: the operands relative to the program counter.
//!
//! Go's compiler reaches every package variable so. On amd64 that is one instruction with a displacement from the next
//! one. On arm64 a pair: `ADRP` makes the address of a page of 4 KiB, and an `ADD` or the load or store itself adds the
//! rest (Arm Architecture Reference Manual, C4.1 and C6.2).

use iced_x86::{Decoder, DecoderOptions, MemorySize, Mnemonic};

use super::Arch;

/// Most of a function's code that is looked at.
pub(super) const CODE_BYTES_MAX: u64 = 64 << 10;

/// Most addresses that are taken from a function.
const TOUCHES_MAX: usize = 4096;

/// An address that code touches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Touch {
    pub(super) address: u64,
    /// Bytes read or written; 0 when only the address is taken.
    pub(super) bytes: u8,
}

impl Touch {
    /// A pair of words is two touches, as it would be without instructions for pairs.
    fn halves(self) -> impl Iterator<Item = Self> {
        let first = if self.bytes > 8 { Self { bytes: 8, ..self } } else { self };
        let second = Self { address: self.address.wrapping_add(8), bytes: 8 };
        std::iter::once(first).chain((self.bytes > 8).then_some(second))
    }
}

/// What the code at `entry` touches, sorted, each once.
pub(super) fn touches(arch: Arch, code: &[u8], entry: u64) -> Vec<Touch> {
    let mut touches = match arch {
        Arch::Amd64 => amd64(code, entry),
        Arch::Arm64 => arm64(code, entry),
    };
    touches.truncate(TOUCHES_MAX);
    touches.sort_unstable();
    touches.dedup();
    touches
}

fn amd64(code: &[u8], entry: u64) -> Vec<Touch> {
    let mut touches = Vec::new();
    for instruction in &mut Decoder::with_ip(64, code, entry, DecoderOptions::NONE) {
        if instruction.is_ip_rel_memory_operand() {
            let bytes = match instruction.memory_size() {
                _ if instruction.mnemonic() == Mnemonic::Lea => 0,
                MemorySize::UInt8 | MemorySize::Int8 => 1,
                MemorySize::UInt16 | MemorySize::Int16 => 2,
                MemorySize::UInt32 | MemorySize::Int32 | MemorySize::Float32 => 4,
                MemorySize::UInt64 | MemorySize::Int64 | MemorySize::Float64 => 8,
                _ => 16,
            };
            touches.push(Touch { address: instruction.ip_rel_memory_address(), bytes });
        }
    }
    touches
}

/// Registers of arm64 that hold an address known from the code before.
type Known = [Option<u64>; 32];

fn arm64(code: &[u8], entry: u64) -> Vec<Touch> {
    let mut touches = Vec::new();
    let mut known: Known = [None; 32];
    let mut at = entry;
    for word in code.as_chunks::<4>().0 {
        if let Some(touch) = arm64_step(u32::from_le_bytes(*word), at, &mut known) {
            touches.extend(touch.halves());
        }
        at = at.wrapping_add(4);
    }
    touches
}

/// Follows one instruction at `at`: what becomes known, and what is touched.
fn arm64_step(word: u32, at: u64, known: &mut Known) -> Option<Touch> {
    let field = |low: u32, bits: u32| (word >> low) & ((1 << bits) - 1);
    let register = |low: u32| field(low, 5) as usize;
    let (target, base) = (register(0), register(5));
    let base_address = known.get(base).copied().flatten();
    let mut set = |register: usize, value: Option<u64>| {
        if let Some(place) = known.get_mut(register) {
            *place = value;
        }
    };
    if word & 0x9f00_0000 == 0x9000_0000 {
        // ADRP: 21 bits of pages, from the page of the instruction.
        let pages = i64::from(((field(5, 19) << 2 | field(29, 2)) << 11).cast_signed() >> 11);
        set(target, Some((at & !0xfff).wrapping_add_signed(pages << 12)));
        return None;
    }
    if word & 0xff80_0000 == 0x9100_0000 {
        // ADD of 12 bits, shifted by 12 or not.
        let address = base_address.map(|base| base.wrapping_add(u64::from(field(10, 12)) << (12 * field(22, 1))));
        set(target, address);
        return address.map(|address| Touch { address, bytes: 0 });
    }
    if word & 0x3b00_0000 == 0x3900_0000 {
        // Load or store, offset of 12 bits in units of the width.
        let vector = field(26, 1) == 1;
        let scale = if vector && field(23, 1) == 1 { 4 } else { field(30, 2) };
        if !vector && field(22, 2) != 0 {
            set(target, None);
        }
        let address = base_address?.wrapping_add(u64::from(field(10, 12)) << scale);
        return Some(Touch { address, bytes: 1 << scale });
    }
    if word & 0x3a00_0000 == 0x2800_0000 {
        // A pair; the offset of 7 bits is signed.
        let vector = field(26, 1) == 1;
        let scale = if vector { 2 + field(30, 2) } else { 2 + field(31, 1) };
        if !vector && field(22, 1) == 1 {
            set(target, None);
            set(register(10), None);
        }
        let offset = i64::from((field(15, 7) << 25).cast_signed() >> 25) << scale;
        let address = base_address?.wrapping_add_signed(offset);
        return Some(Touch { address, bytes: 1 << (scale + 1) });
    }
    if word & 0x3f00_0000 == 0x0800_0000 || word & 0x3b20_0c00 == 0x3820_0000 {
        // Exclusive and ordered loads and stores, and atomics: no offset, one width. What they load is no address.
        set(target, None);
        return base_address.map(|address| Touch { address, bytes: 1 << field(30, 2) });
    }
    let call = word & 0xfc00_0000 == 0x9400_0000 || word & 0xffff_fc1f == 0xd63f_0000;
    let data = word & 0x1c00_0000 == 0x1000_0000 || word & 0x0e00_0000 == 0x0a00_0000;
    if call {
        known.fill(None);
    } else if data || word & 0x3b00_0000 == 0x3800_0000 || word & 0x3b00_0000 == 0x1800_0000 {
        // Arithmetic, and other loads: whatever lands in the register is not known.
        set(target, None);
    }
    None
}
