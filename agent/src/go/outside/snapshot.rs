#![warn(clippy::indexing_slicing)]
//! The runtime's variables of one moment: copied, checked against themselves, and not yet understood.
//!
//! The program runs while it is read. Every number is one aligned word and as such true; that numbers belong together is
//! made sure by reading again when a collection ended in between, some times: a program that collects all the time is read
//! all the same, and its numbers are of moments a collection or some apart. What cannot be true is told as such.

use super::binary::{Field, Variable};
use super::image::Image;
use super::memory::{Fault, Reader};

/// Largest type that is read whole.
const TYPE_BYTES_MAX: u32 = 64 << 10;
/// Most processors of the scheduler, as in the runtime before 1.10; no machine has more.
const PROCESSORS_MAX: u64 = 4096;
/// By how many threads the list may differ from their number, or by a tenth: they start and end meanwhile.
const THREADS_APART: u64 = 8;
/// Most threads that are followed; the runtime's own limit is 10,000 unless a program raises it.
const THREADS_MAX: u64 = 20_000;
/// Most goroutines that are believed.
const GOROUTINES_MAX: u64 = 1 << 28;
/// Tries to read everything within one cycle of the collector.
const TRIES: u32 = 5;
/// Most collections that can end while everything is read once.
const CYCLES_MAX: u32 = 10_000;

/// Copies of the runtime's variables. What the executable did not tell the address of is missing.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// `sched`.
    pub sched: Option<Vec<u8>>,
    /// `memstats`.
    pub memstats: Option<Vec<u8>>,
    /// `gcController`.
    pub gc_controller: Option<Vec<u8>>,
    /// `work`.
    pub work: Option<Vec<u8>>,
    /// `gcCPULimiter`.
    pub limiter: Option<Vec<u8>>,
    /// Bytes of the `mspan`s and `mcache`s in use.
    pub heap_in_use: Option<(u64, u64)>,
    /// `gomaxprocs`.
    pub gomaxprocs: Option<u64>,
    /// `allglen`.
    pub goroutines_ever: Option<u64>,
    /// What the processors of the scheduler hold.
    pub processors: Option<Processors>,
    /// What the threads hold.
    pub threads: Option<Threads>,
    /// `startingStackSize`.
    pub starting_stack_bytes: Option<u64>,
    /// `ncgocall`.
    pub cgo_calls_ended: Option<u64>,
    /// Finalizers queued and run.
    pub finalizers: Option<(u64, u64)>,
}

/// Sums over all processors of the scheduler.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Processors {
    /// How many there are.
    pub count: u64,
    /// Finished goroutines kept for another use.
    pub goroutines_free: u64,
    /// Goroutines created, where the release counts them.
    pub goroutines_created: Option<u64>,
}

/// Sums over all threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Threads {
    /// How many there are.
    pub count: u64,
    /// Nanoseconds waited for locks of the runtime, where the release counts them.
    pub lock_wait_ns: Option<u64>,
    /// Calls into C.
    pub cgo_calls: u64,
}

impl Snapshot {
    /// Reads the variables of `image`.
    ///
    /// # Errors
    ///
    /// When memory cannot be read, or what it says cannot be true.
    pub fn read(image: &Image<'_>, reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let mut before = cycles(image, reader)?;
        for tries_left in (0..TRIES).rev() {
            let snapshot = Self::read_once(image, reader)?;
            let after = cycles(image, reader)?;
            let went_on = || before.iter().zip(after).all(|(before, after)| follows(*before, after));
            if after == before || (tries_left == 0 && went_on()) {
                snapshot.check()?;
                return Ok(snapshot);
            }
            before = after;
        }
        Err(Fault::Implausible("collections are not counted up"))
    }

    fn read_once(image: &Image<'_>, reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let layout = image.layout;
        let mut copy = |variable, size| whole(image, reader, variable, size);
        let mut snapshot = Self {
            sched: copy(Variable::Sched, layout.sched.size)?,
            memstats: copy(Variable::Memstats, layout.memstats.size)?,
            gc_controller: copy(Variable::GcController, layout.gc_controller.size)?,
            work: copy(Variable::Work, layout.work.size)?,
            limiter: copy(Variable::GcCpuLimiter, layout.limiter.size)?,
            ..Self::default()
        };
        let mut plain = |variable, bytes| number(image, reader, variable, Field { at: 0, bytes });
        snapshot.gomaxprocs = plain(Variable::Gomaxprocs, 4)?;
        snapshot.goroutines_ever = plain(Variable::Allglen, 8)?;
        snapshot.starting_stack_bytes = plain(Variable::StartingStackSize, 4)?;
        snapshot.cgo_calls_ended = plain(Variable::Ncgocall, 8)?;
        snapshot.finalizers = plain(Variable::FinalizersQueued, 8)?.zip(plain(Variable::FinalizersExecuted, 8)?);
        let spans = number(image, reader, Variable::Mheap, layout.mheap.span_alloc_in_use)?;
        let caches = number(image, reader, Variable::Mheap, layout.mheap.cache_alloc_in_use)?;
        snapshot.heap_in_use = spans.zip(caches);
        snapshot.processors = processors(image, reader)?;
        snapshot.threads = snapshot.read_threads(image, reader)?;
        Ok(snapshot)
    }

    /// Follows the list of threads. It changes while it is followed: one that leads astray counts as not there, as long as
    /// memory can be read.
    fn read_threads(&self, image: &Image<'_>, reader: &mut Reader<'_>) -> Result<Option<Threads>, Fault> {
        let (Some(first), Some(sched)) = (image.address(Variable::Allm), &self.sched) else { return Ok(None) };
        let (layout, sched_layout) = (&image.layout.m, &image.layout.sched);
        let counted = sched_layout.mnext.unsigned(sched).zip(sched_layout.nmfreed.unsigned(sched));
        let Some(count) = counted.and_then(|(made, freed)| made.checked_sub(freed)) else { return Ok(None) };
        if count == 0 || count > THREADS_MAX {
            return Err(Fault::Implausible("number of threads"));
        }
        let ends = [Some(layout.alllink), Some(layout.ncgocall), layout.lock_wait_time];
        let (from, to) = range(ends.into_iter().flatten());
        let mut bytes = vec![0; usize::try_from(to.saturating_sub(from).min(TYPE_BYTES_MAX)).unwrap_or(0)];
        let mut threads = Threads { lock_wait_ns: layout.lock_wait_time.map(|_| 0), ..Threads::default() };
        let mut at = reader.word(first)?;
        // A few more than counted: threads start while they are counted.
        while at != 0 && threads.count < count.saturating_add(64) {
            match reader.fill(at.wrapping_add(u64::from(from)), &mut bytes) {
                Ok(()) => {}
                Err(Fault::Unmapped) => return Ok(None),
                Err(fault) => return Err(fault),
            }
            let read = |field: Field| Field { at: field.at.saturating_sub(from), ..field }.unsigned(&bytes);
            let (Some(next), Some(cgo_calls)) = (read(layout.alllink), read(layout.ncgocall)) else { return Ok(None) };
            threads.count += 1;
            threads.cgo_calls = threads.cgo_calls.wrapping_add(cgo_calls);
            if let (Some(sum), Some(field)) = (threads.lock_wait_ns, layout.lock_wait_time) {
                threads.lock_wait_ns = read(field).map(|ns| sum.wrapping_add(ns));
            }
            at = next;
        }
        // Another list than that of threads ends early, or late: a release whose types are not what they are taken to be.
        let is_that_list = at == 0 && threads.count.abs_diff(count) <= (count / 10).max(THREADS_APART);
        Ok(is_that_list.then_some(threads))
    }

    /// Whether the numbers can be true together.
    fn check(&self) -> Result<(), Fault> {
        if let Some(gomaxprocs) = self.gomaxprocs {
            if !(1..=PROCESSORS_MAX).contains(&gomaxprocs) {
                return Err(Fault::Implausible("GOMAXPROCS"));
            }
            if self.processors.is_some_and(|processors| processors.count != gomaxprocs) {
                return Err(Fault::Implausible("GOMAXPROCS and number of processors"));
            }
        }
        if self.goroutines_ever.is_some_and(|count| !(1..=GOROUTINES_MAX).contains(&count)) {
            return Err(Fault::Implausible("number of goroutines"));
        }
        Ok(())
    }
}

/// What tells whether a collection began or ended: counts of 32 bits.
fn cycles(image: &Image<'_>, reader: &mut Reader<'_>) -> Result<[Option<u64>; 2], Fault> {
    Ok([
        number(image, reader, Variable::Memstats, image.layout.memstats.numgc)?,
        number(image, reader, Variable::Work, image.layout.work.cycles)?,
    ])
}

/// Whether a count of collections may have become `after` while everything was read.
fn follows(before: Option<u64>, after: Option<u64>) -> bool {
    let low = |count: u64| u32::try_from(count & u64::from(u32::MAX)).unwrap_or(0);
    let ended = before.zip(after).map_or(0, |(before, after)| low(after).wrapping_sub(low(before)));
    ended <= CYCLES_MAX
}

/// The sums over the processors of the scheduler; nothing while the list of them is being changed.
fn processors(image: &Image<'_>, reader: &mut Reader<'_>) -> Result<Option<Processors>, Fault> {
    let Some(allp) = image.address(Variable::Allp) else { return Ok(None) };
    let (list, count) = (reader.word(allp)?, reader.word(allp.wrapping_add(8))?);
    if count == 0 || count > PROCESSORS_MAX {
        return Err(Fault::Implausible("number of processors"));
    }
    let list = reader.bytes(list, usize::try_from(count * 8).unwrap_or(0))?;
    let layout = &image.layout.p;
    let mut sums = Processors { count, goroutines_free: 0, goroutines_created: layout.goroutines_created.map(|_| 0) };
    for address in list.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes)) {
        if address == 0 {
            continue;
        }
        sums.goroutines_free = sums.goroutines_free.saturating_add(field(reader, address, layout.g_free)?);
        if let (Some(sum), Some(place)) = (sums.goroutines_created, layout.goroutines_created) {
            sums.goroutines_created = Some(sum.wrapping_add(field(reader, address, place)?));
        }
    }
    Ok(Some(sums))
}

/// The whole of `variable`, which has `size` bytes.
fn whole(image: &Image<'_>, reader: &mut Reader<'_>, variable: Variable, size: u32) -> Result<Option<Vec<u8>>, Fault> {
    let Some(address) = image.address(variable).filter(|_| size <= TYPE_BYTES_MAX) else { return Ok(None) };
    reader.bytes(address, usize::try_from(size).unwrap_or(0)).map(Some)
}

/// The number at `place` of `variable`.
fn number(image: &Image<'_>, reader: &mut Reader<'_>, variable: Variable, place: Field) -> Result<Option<u64>, Fault> {
    image.address(variable).map(|address| field(reader, address, place)).transpose()
}

/// The number at `place` of the object at `address`.
pub(super) fn field(reader: &mut Reader<'_>, address: u64, place: Field) -> Result<u64, Fault> {
    let mut bytes = [0; 8];
    let width = usize::try_from(place.bytes).unwrap_or(usize::MAX);
    let Some(into) = bytes.get_mut(..width) else { return Err(Fault::Implausible("a number wider than a word")) };
    reader.fill(address.wrapping_add(u64::from(place.at)), into)?;
    Ok(u64::from_le_bytes(bytes))
}

/// From the first to behind the last byte of `fields`.
fn range(fields: impl Iterator<Item = Field> + Clone) -> (u32, u32) {
    (fields.clone().map(|field| field.at).min().unwrap_or(0), fields.map(Field::end).max().unwrap_or(0))
}
