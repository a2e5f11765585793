#![warn(clippy::indexing_slicing)]
//! Reading the memory of a process in bounds: a source of bytes, and a reader that counts what a reading costs.
//!
//! What is read is the program's to forge: pointers may lead anywhere, lists may be circles. The [`Reader`] gives every
//! reading an amount of bytes and a time; whoever follows a pointer can at worst use these up. Where the bytes come from is
//! `process_memory`'s, or a test's.

use std::time::{Duration, Instant};

/// Why memory was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The process ended or became another program; nothing that was read of it counts.
    #[error("the process ended or became another program")]
    Gone,
    /// The agent may not read this process.
    #[error("no right to read the memory of the process")]
    NoRight,
    /// There is no memory at the address; what led there is wrong or has changed meanwhile.
    #[error("there is no memory where the runtime's structures should be")]
    Unmapped,
    /// The reading has used up what it was given.
    #[error("reading would cost more than allowed")]
    Budget,
    /// What was read contradicts itself.
    #[error("what was read cannot be true: {0}")]
    Implausible(&'static str),
}

/// Memory of a process, or what a test puts in its place.
pub trait Memory {
    /// Fills `into` with the bytes from `address` on.
    ///
    /// # Errors
    ///
    /// When not all of them could be read.
    fn read(&self, address: u64, into: &mut [u8]) -> Result<(), Fault>;
}

/// What one reading may cost.
#[derive(Debug, Clone, Copy)]
pub struct Allowance {
    /// Most bytes read, those between structures that are read at once included.
    pub bytes: u64,
    /// Most time.
    pub time: Duration,
}

/// Bytes that every read costs beside its own: a system call.
const READ_COST_BYTES: u64 = 512;
/// Structures this near to each other are read at once: a page costs less than another call.
const GAP_BYTES_MAX: u64 = 4096;
/// Longest read of structures that lie near to each other.
const CHUNK_BYTES_MAX: usize = 128 << 10;

/// Reads memory within an [`Allowance`].
pub struct Reader<'a> {
    memory: &'a dyn Memory,
    bytes_left: u64,
    deadline: Instant,
    chunk: Vec<u8>,
}

impl std::fmt::Debug for Reader<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("bytes_left", &self.bytes_left).finish_non_exhaustive()
    }
}

impl<'a> Reader<'a> {
    /// A reader of `memory` that may cost `allowance`, from now on.
    pub fn new(memory: &'a dyn Memory, allowance: Allowance) -> Self {
        Self { memory, bytes_left: allowance.bytes, deadline: Instant::now() + allowance.time, chunk: Vec::new() }
    }

    /// Fills `into` with the bytes from `address` on.
    ///
    /// # Errors
    ///
    /// When they cannot be read or the allowance is used up.
    pub fn fill(&mut self, address: u64, into: &mut [u8]) -> Result<(), Fault> {
        self.pay(into.len())?;
        self.memory.read(address, into)
    }

    /// The `length` bytes from `address` on, which a caller has bounded.
    ///
    /// # Errors
    ///
    /// As [`fill`](Self::fill); nothing is allocated when they are more than allowed.
    pub fn bytes(&mut self, address: u64, length: usize) -> Result<Vec<u8>, Fault> {
        self.pay(length)?;
        let mut bytes = vec![0; length];
        self.memory.read(address, &mut bytes)?;
        Ok(bytes)
    }

    /// The word at `address`.
    ///
    /// # Errors
    ///
    /// As [`fill`](Self::fill).
    pub fn word(&mut self, address: u64) -> Result<u64, Fault> {
        let mut bytes = [0; 8];
        self.fill(address, &mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// The half word at `address`.
    ///
    /// # Errors
    ///
    /// As [`fill`](Self::fill).
    pub fn half(&mut self, address: u64) -> Result<u32, Fault> {
        let mut bytes = [0; 4];
        self.fill(address, &mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    /// Reads a structure of `width` bytes at each of `addresses`, which are put in order, and calls `each` with its address
    /// and bytes. Structures that lie near to each other are read at once; those that cannot be read are left out and
    /// counted in the answer.
    ///
    /// # Errors
    ///
    /// When the process is gone, may not be read, or the allowance is used up; what `each` was called with stands.
    pub fn scattered(
        &mut self,
        addresses: &mut [u64],
        width: usize,
        each: &mut dyn FnMut(u64, &[u8]),
    ) -> Result<u64, Fault> {
        addresses.sort_unstable();
        let mut unreadable = 0;
        let mut chunk = std::mem::take(&mut self.chunk);
        let mut rest: &[u64] = addresses;
        while let Some(&first) = rest.first() {
            let near = near(rest, width);
            let (group, after) = rest.split_at(near);
            rest = after;
            let length = group.last().map_or(width, |last| span_bytes(first, *last, width));
            chunk.resize(length, 0);
            match self.fill(first, &mut chunk) {
                Ok(()) => {
                    for address in group {
                        let at = usize::try_from(address - first).unwrap_or(usize::MAX);
                        if let Some(bytes) = at.checked_add(width).and_then(|end| chunk.get(at..end)) {
                            each(*address, bytes);
                        }
                    }
                }
                Err(Fault::Unmapped) if group.len() > 1 => {
                    unreadable += self.one_by_one(group, width, &mut chunk, each)?;
                }
                Err(Fault::Unmapped) => unreadable += 1,
                Err(fault) => return Err(fault),
            }
        }
        self.chunk = chunk;
        Ok(unreadable)
    }

    /// As [`scattered`](Self::scattered), for structures between which memory ends.
    fn one_by_one(
        &mut self,
        group: &[u64],
        width: usize,
        chunk: &mut Vec<u8>,
        each: &mut dyn FnMut(u64, &[u8]),
    ) -> Result<u64, Fault> {
        let mut unreadable = 0;
        chunk.resize(width, 0);
        for address in group {
            match self.fill(*address, chunk) {
                Ok(()) => each(*address, chunk),
                Err(Fault::Unmapped) => unreadable += 1,
                Err(fault) => return Err(fault),
            }
        }
        Ok(unreadable)
    }

    fn pay(&mut self, length: usize) -> Result<(), Fault> {
        let cost = (length as u64).saturating_add(READ_COST_BYTES);
        self.bytes_left = self.bytes_left.checked_sub(cost).ok_or(Fault::Budget)?;
        if Instant::now() > self.deadline { Err(Fault::Budget) } else { Ok(()) }
    }
}

/// Bytes from the structure at `first` to the end of the one at `last`.
fn span_bytes(first: u64, last: u64, width: usize) -> usize {
    usize::try_from(last - first).unwrap_or(usize::MAX).saturating_add(width)
}

/// How many of the first of `addresses`, which ascend, are read at once; at least one.
fn near(addresses: &[u64], width: usize) -> usize {
    let Some(&first) = addresses.first() else { return 0 };
    let mut before = first;
    let mut count = 0;
    for &address in addresses {
        let gap = (address - before).saturating_sub(width as u64);
        if count > 0 && (gap > GAP_BYTES_MAX || span_bytes(first, address, width) > CHUNK_BYTES_MAX) {
            break;
        }
        before = address;
        count += 1;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Memory from `start` on, with a record of the reads.
    struct Block {
        start: u64,
        bytes: Vec<u8>,
        reads: std::cell::RefCell<Vec<(u64, usize)>>,
    }

    impl Memory for Block {
        fn read(&self, address: u64, into: &mut [u8]) -> Result<(), Fault> {
            self.reads.borrow_mut().push((address, into.len()));
            let at = address.checked_sub(self.start).and_then(|at| usize::try_from(at).ok()).ok_or(Fault::Unmapped)?;
            let bytes = at.checked_add(into.len()).and_then(|end| self.bytes.get(at..end)).ok_or(Fault::Unmapped)?;
            into.copy_from_slice(bytes);
            Ok(())
        }
    }

    fn block(length: usize) -> Block {
        let bytes = (0..length).map(|at| u8::try_from(at % 251).expect("small")).collect();
        Block { start: 0x1000, bytes, reads: std::cell::RefCell::default() }
    }

    const ENOUGH: Allowance = Allowance { bytes: 1 << 30, time: Duration::from_mins(1) };

    /// Reads 8 bytes at each address; returns what came, how many could not be read, and the reads it took.
    fn scattered(block: &Block, addresses: &[u64]) -> (Vec<u64>, u64, usize) {
        let mut addresses = addresses.to_vec();
        let mut came = Vec::new();
        let unreadable = Reader::new(block, ENOUGH)
            .scattered(&mut addresses, 8, &mut |address, bytes| {
                assert_eq!(bytes.first().copied().map(u64::from), Some((address - 0x1000) % 251));
                assert_eq!(bytes.len(), 8);
                came.push(address);
            })
            .expect("allowed");
        let reads = block.reads.take().len();
        (came, unreadable, reads)
    }

    #[test]
    fn near_structures_are_read_at_once_and_far_ones_apart() {
        let block = block(1 << 20);
        assert_eq!(scattered(&block, &[0x1010, 0x1000, 0x1008]), (vec![0x1000, 0x1008, 0x1010], 0, 1));
        assert_eq!(scattered(&block, &[0x1000, 0x1000]), (vec![0x1000, 0x1000], 0, 1), "twice the same");
        assert_eq!(scattered(&block, &[0x1000, 0x1000 + 8 + 4096]).2, 1, "a gap of a page");
        assert_eq!(scattered(&block, &[0x1000, 0x1000 + 8 + 4097]).2, 2, "a larger gap");
        let many: Vec<u64> = (0..40_000).map(|at| 0x1000 + at * 16).collect();
        let (came, _, reads) = scattered(&block, &many);
        assert_eq!((came.len(), reads), (40_000, 5), "chunk by chunk");
        assert_eq!(scattered(&block, &[]), (vec![], 0, 0));
    }

    #[test]
    fn what_cannot_be_read_is_left_out_and_counted() {
        let block = block(64);
        let (came, unreadable, _) = scattered(&block, &[0, 0x1000, 0x1038, 0x1039, 0x1100, u64::MAX, u64::MAX - 8]);
        assert_eq!((came, unreadable), (vec![0x1000, 0x1038], 5));
    }

    #[test]
    fn an_allowance_ends() {
        let block = block(1 << 20);
        let mut reader = Reader::new(&block, Allowance { bytes: 10_000, time: Duration::from_mins(1) });
        assert_eq!(reader.bytes(0x1000, 1 << 40), Err(Fault::Budget), "before anything is allocated");
        let mut reader = Reader::new(&block, Allowance { bytes: 10_000, time: Duration::from_mins(1) });
        let words = (0..100).map(|_| reader.word(0x1000)).take_while(Result::is_ok).count();
        assert_eq!(words, 10_000 / 520, "small reads cost too");
        let mut reader = Reader::new(&block, Allowance { bytes: 10_000, time: Duration::ZERO });
        std::thread::sleep(Duration::from_millis(1));
        assert_eq!(reader.word(0x1000), Err(Fault::Budget));
    }
}
