#![warn(clippy::indexing_slicing)]
//! The stack of a goroutine that waits: its frames, by the chain of frame pointers that Go keeps on amd64 and arm64.
//!
//! The goroutine may run on at any time; its stack then says nothing, or something else. It is looked at again behind the
//! reading, and what was read counts only when it still waits as before.

use super::binary::{Field, GLayout};
use super::image::Image;
use super::memory::{Fault, Reader};
use super::names::{Names, Place, is_own};

/// Most frames that are followed.
const FRAMES_MAX: usize = 256;
/// Bytes of the stack that are read at once.
const CHUNK_BYTES: u64 = 2048;
/// Most such reads for one stack.
const CHUNKS_MAX: u32 = 16;
/// The longest stack that the runtime allows on 64 bits.
const STACK_BYTES_MAX: u64 = 1 << 30;

/// Return addresses of the goroutine at `address`, innermost first, as they are in memory; none when it neither waits nor is in
/// a system call.
///
/// # Errors
///
/// When the process is gone or the allowance is used up. Memory that cannot be read ends the stack.
pub fn frames(image: &Image<'_>, reader: &mut Reader<'_>, address: u64) -> Result<Vec<u64>, Fault> {
    let layout = &image.layout.g;
    let bytes =
        compared(layout).iter().chain([&layout.atomicstatus]).map(|field| field.end()).max().unwrap_or(0).min(1024);
    let read_g = |reader: &mut Reader<'_>| reader.bytes(address, usize::try_from(bytes).unwrap_or(0));
    let Some(before) = readable(read_g(reader))? else { return Ok(Vec::new()) };
    let number = |field: Field| field.unsigned(&before).unwrap_or(0);
    let status = number(layout.atomicstatus) & 0xfff;
    let (low, high) = (number(layout.stack_lo), number(layout.stack_hi));
    // In a system call the place is kept as in a wait, whole since Go 1.23 kept the frame pointer too.
    let stands = matches!(status, WAITING | LEAKED) || (status == SYSCALL && image.minor >= 23);
    let sound = low < high && high - low <= STACK_BYTES_MAX && stands;
    if !sound {
        return Ok(Vec::new());
    }
    let mut frames = vec![number(layout.sched_pc)];
    follow(reader, (low, high), number(layout.sched_bp), &mut frames)?;
    let Some(after) = readable(read_g(reader))? else { return Ok(Vec::new()) };
    let same = compared(layout).iter().all(|field| field.of(&before) == field.of(&after));
    Ok(if same { frames } else { Vec::new() })
}

/// What stays as it is while a goroutine waits at one place.
fn compared(layout: &GLayout) -> [Field; 5] {
    [layout.goid, layout.sched_sp, layout.sched_pc, layout.sched_bp, layout.stack_hi]
}

const SYSCALL: u64 = 3;
const WAITING: u64 = 4;
const LEAKED: u64 = 10;

/// Follows the frame pointers from `frame` on. Each lies above the one before, so that the chain ends.
fn follow(
    reader: &mut Reader<'_>,
    (low, high): (u64, u64),
    mut frame: u64,
    frames: &mut Vec<u64>,
) -> Result<(), Fault> {
    let (mut chunk, mut chunk_at) = (Vec::new(), 0u64);
    let mut chunks = 0;
    while frames.len() < FRAMES_MAX && frame >= low && frame.checked_add(16).is_some_and(|end| end <= high) {
        let at = frame.checked_sub(chunk_at).and_then(|at| usize::try_from(at).ok());
        let pair = at.and_then(|at| chunk.get(at..at.checked_add(16)?));
        let Some(pair) = pair else {
            chunks += 1;
            if chunks > CHUNKS_MAX {
                break;
            }
            let length = usize::try_from((high - frame).min(CHUNK_BYTES)).unwrap_or(16);
            let Some(read) = readable(reader.bytes(frame, length))? else { break };
            (chunk, chunk_at) = (read, frame);
            continue;
        };
        let (next, back) = pair.split_at(8);
        let word = |bytes: &[u8]| bytes.try_into().map_or(0, u64::from_le_bytes);
        frames.push(word(back));
        let next = word(next);
        if next <= frame {
            break;
        }
        frame = next;
    }
    Ok(())
}

/// Nothing in place of memory that is not there.
fn readable(read: Result<Vec<u8>, Fault>) -> Result<Option<Vec<u8>>, Fault> {
    match read {
        Ok(bytes) => Ok(Some(bytes)),
        Err(Fault::Unmapped) => Ok(None),
        Err(fault) => Err(fault),
    }
}

/// The first function of the program itself in `frames`.
pub fn own_place(image: &Image<'_>, frames: &[u64], names: &mut Names<'_>) -> Option<Place> {
    frames.iter().find_map(|pc| names.caller(image.linked(*pc)).filter(|(name, _)| is_own(name)))
}
