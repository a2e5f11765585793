#![warn(clippy::indexing_slicing)]
//! A walk over the goroutines of a running program: the runtime's list of all there ever were, a few words of each, counted
//! by where they were started and what they wait for. Nothing is named here; that is `sites`'.
//!
//! The runtime never frees a goroutine's structure, it keeps finished ones for others, so that every address in the list
//! stays good. The list itself moves when it grows: it is read anew when it did.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;

use super::binary::{Field, GLayout, Variable};
use super::image::Image;
use super::memory::{Fault, Reader};
use crate::go::census::States;

/// Most goroutines that are believed.
const LISTED_MAX: u64 = 1 << 28;
/// Most kinds that are told apart; a program has some hundreds.
const KINDS_MAX: usize = 4096;
/// Addresses of the list that are read at once.
const LIST_CHUNK: u64 = 8192;
/// Tries to read a list that moves.
const TRIES: u32 = 4;
/// Ids that are compared with each other.
const IDS_COMPARED: usize = 1024;
/// One in this many may be unreadable or contradict itself: those that were changing when they were read.
const STRANGE_PART: u64 = 50;

/// States of goroutines (`runtime2.go`); the bit of a scan is on top.
mod status {
    pub(super) const IDLE: u32 = 0;
    pub(super) const RUNNABLE: u32 = 1;
    pub(super) const RUNNING: u32 = 2;
    pub(super) const SYSCALL: u32 = 3;
    pub(super) const WAITING: u32 = 4;
    pub(super) const DEAD: u32 = 6;
    pub(super) const COPYSTACK: u32 = 8;
    pub(super) const PREEMPTED: u32 = 9;
    pub(super) const LEAKED: u32 = 10;
    pub(super) const DEAD_EXTRA: u32 = 11;
    pub(super) const SCAN: u32 = 0x1000;
}

/// What a goroutine does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Doing {
    /// Running Go code.
    Running,
    /// Ready to run.
    Runnable,
    /// In a system call or in C.
    Syscall,
    /// Stopped by the scheduler.
    Preempted,
    /// Waiting, for the reason of this number.
    Waiting(u8),
}

/// What goroutines that are counted together have in common; addresses of code as linked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Kind {
    /// The function they were started with.
    pub started: u64,
    /// Behind the `go` statement.
    pub created: u64,
    /// What they do.
    pub doing: Doing,
}

/// The goroutines of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count {
    /// How many.
    pub count: u64,
    /// Those of them that have an id beyond the one asked about. Each processor of the scheduler takes 16 ids at a time and gives them
    /// one by one: for every other one up to 15 that came since have a lower id and are not among these.
    pub newcomers: u64,
    /// Those of them that have waited for the time asked about.
    pub blocked_long: u64,
    /// Those the runtime found leaked.
    pub leaked: u64,
    /// Since when the one has waited that waits longest, in monotonic nanoseconds; 0 where none is known to.
    pub since_ns: u64,
    /// That one, or the first.
    pub example: u64,
}

/// What a walk found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Walk {
    /// Counts by kind, those of the runtime itself among them.
    pub kinds: HashMap<Kind, Count>,
    /// Goroutines beyond the kinds that are told apart.
    pub beyond: u64,
    /// By state.
    pub states: States,
    /// Goroutines that exist, of those that were looked at.
    pub alive: u64,
    /// The highest id.
    pub newest_id: u64,
    /// Entries of the list that were looked at, finished ones included.
    pub looked_at: u64,
    /// Entries of the list.
    pub listed: u64,
}

/// What is asked of a walk.
#[derive(Debug, Clone, Copy)]
pub struct WalkLimits {
    /// Most goroutines that are looked at; of more, evenly spread ones are.
    pub goroutines_max: u64,
    /// Those that wait since before this, in monotonic nanoseconds, are counted as blocked long.
    pub blocked_before_ns: u64,
    /// Those with a higher id are newcomers; see [`Count::newcomers`].
    pub known_id: u64,
}

impl Walk {
    /// Walks over the goroutines of `image`.
    ///
    /// # Errors
    ///
    /// When memory cannot be read or the list contradicts itself.
    pub fn take(image: &Image<'_>, reader: &mut Reader<'_>, limits: WalkLimits) -> Result<Self, Fault> {
        let mut walk = Self::default();
        let (looked_at, listed) = visit(image, reader, limits.goroutines_max, &mut |address, seen| {
            walk.count(seen, address, limits);
        })?;
        (walk.looked_at, walk.listed) = (looked_at, listed);
        Ok(walk)
    }

    fn count(&mut self, seen: &Seen, address: u64, limits: WalkLimits) {
        self.alive += 1;
        self.newest_id = self.newest_id.max(seen.id);
        match seen.kind.doing {
            Doing::Running => self.states.running += 1,
            Doing::Runnable => self.states.runnable += 1,
            Doing::Syscall => self.states.not_in_go += 1,
            Doing::Preempted | Doing::Waiting(_) => self.states.waiting += 1,
        }
        let full = self.kinds.len() >= KINDS_MAX;
        let count = match self.kinds.entry(seen.kind) {
            Slot::Occupied(known) => known.into_mut(),
            Slot::Vacant(_) if full => {
                self.beyond += 1;
                return;
            }
            Slot::Vacant(new) => new.insert(Count::default()),
        };
        count.count += 1;
        count.newcomers += u64::from(seen.id > limits.known_id);
        count.leaked += u64::from(seen.leaked);
        if seen.since_ns > 0 {
            count.blocked_long += u64::from(seen.since_ns <= limits.blocked_before_ns);
            if count.since_ns == 0 || seen.since_ns < count.since_ns {
                (count.since_ns, count.example) = (seen.since_ns, address);
            }
        }
        if count.example == 0 {
            count.example = address;
        }
    }
}

/// Calls `each` with the address of every goroutine that is alive and what is read of it; of more than `most`, evenly spread
/// ones. Returns how many entries of the list were looked at, and how many it has.
///
/// # Errors
///
/// When memory cannot be read or the list contradicts itself.
pub(super) fn visit(
    image: &Image<'_>,
    reader: &mut Reader<'_>,
    most: u64,
    each: &mut dyn FnMut(u64, &Seen),
) -> Result<(u64, u64), Fault> {
    let (mut addresses, listed) = list(image, reader, most)?;
    let looked_at = addresses.len() as u64;
    let layout = &image.layout.g;
    let fields = [layout.atomicstatus, layout.goid, layout.waitsince, layout.waitreason, layout.gopc, layout.startpc];
    let from = fields.iter().map(|field| field.at).min().unwrap_or(0);
    let to = fields.iter().map(|field| field.end()).max().unwrap_or(0);
    let width = usize::try_from(to.saturating_sub(from).min(G_BYTES_MAX)).unwrap_or(0);
    for address in &mut addresses {
        *address = address.wrapping_add(u64::from(from));
    }
    let view = View::new(layout, from);
    let (mut strange, mut ids) = (0, Vec::new());
    let unreadable =
        reader.scattered(&mut addresses, width, &mut |address, bytes| match view.read(bytes, image.bias) {
            Some(Entry::Alive(seen)) => {
                if ids.len() < IDS_COMPARED {
                    ids.push(seen.id);
                }
                each(address.wrapping_sub(u64::from(from)), &seen);
            }
            Some(Entry::Finished) => {}
            None => strange += 1,
        })?;
    let compared = ids.len();
    ids.sort_unstable();
    ids.dedup();
    strange += (compared - ids.len()) as u64;
    if (unreadable + strange).saturating_mul(STRANGE_PART) > looked_at + STRANGE_PART {
        return Err(Fault::Implausible("goroutines that are none"));
    }
    Ok((looked_at, listed))
}

/// Longest part of a goroutine's structure that is read.
const G_BYTES_MAX: u32 = 1024;

/// The addresses of the goroutines, at most `most` of them evenly spread over the list, and how many the list has.
fn list(image: &Image<'_>, reader: &mut Reader<'_>, most: u64) -> Result<(Vec<u64>, u64), Fault> {
    for _ in 0..TRIES {
        let (at, length) = head(image, reader)?;
        if length == 0 || length > LISTED_MAX {
            return Err(Fault::Implausible("number of goroutines"));
        }
        let step = length.div_ceil(most.max(1)).max(1);
        let mut addresses = Vec::with_capacity(usize::try_from(length / step).unwrap_or(0).min(1 << 20));
        let mut done = 0;
        while done < length {
            let count = (length - done).min(LIST_CHUNK);
            let bytes = reader.bytes(at.wrapping_add(done * 8), usize::try_from(count * 8).unwrap_or(0))?;
            let first = usize::try_from((step - done % step) % step).unwrap_or(usize::MAX);
            let chosen =
                bytes.as_chunks::<8>().0.iter().skip(first).step_by(usize::try_from(step).unwrap_or(usize::MAX));
            addresses.extend(chosen.map(|bytes| u64::from_le_bytes(*bytes)).filter(|address| *address != 0));
            done += count;
        }
        // A list that moved may have been freed and used for something else while it was read.
        if head(image, reader)?.0 == at {
            return Ok((addresses, length));
        }
    }
    Err(Fault::Implausible("the list of goroutines moves each time that it is read"))
}

/// Where the list is and how long: as the runtime itself reads it without a lock where the variables for that are known, and as
/// both of its forms say where both are.
fn head(image: &Image<'_>, reader: &mut Reader<'_>) -> Result<(u64, u64), Fault> {
    let plain = image.address(Variable::Allglen).zip(image.address(Variable::Allgptr));
    let slice = image.address(Variable::Allgs);
    let mut differ = 0;
    loop {
        // First the length, then the place: the list only grows, and what is at an old place is long enough.
        let plain = match plain {
            Some((length, place)) => {
                let length = reader.word(length)?;
                Some((reader.word(place)?, length))
            }
            None => None,
        };
        let slice = match slice {
            Some(at) => Some((reader.word(at)?, reader.word(at.wrapping_add(8))?)),
            None => None,
        };
        match (plain, slice) {
            (Some(plain), Some(slice)) if plain != slice => differ += 1,
            (Some(head), _) | (None, Some(head)) => return Ok(head),
            (None, None) => return Err(Fault::Implausible("no list of goroutines")),
        }
        if differ >= TRIES {
            return Err(Fault::Implausible("two lists of goroutines"));
        }
    }
}

/// What an entry of the list is at this time.
enum Entry {
    Alive(Seen),
    /// Kept for another goroutine.
    Finished,
}

/// What is read of a goroutine.
pub(super) struct Seen {
    id: u64,
    pub(super) kind: Kind,
    since_ns: u64,
    leaked: bool,
}

/// The fields of a goroutine in a copy that begins at one of them.
struct View {
    status: Field,
    goid: Field,
    since: Field,
    reason: Field,
    created: Field,
    started: Field,
}

impl View {
    fn new(layout: &GLayout, from: u32) -> Self {
        let shifted = |field: Field| Field { at: field.at.saturating_sub(from), ..field };
        Self {
            status: shifted(layout.atomicstatus),
            goid: shifted(layout.goid),
            since: shifted(layout.waitsince),
            reason: shifted(layout.waitreason),
            created: shifted(layout.gopc),
            started: shifted(layout.startpc),
        }
    }

    /// Reads a goroutine; nothing when it is none.
    fn read(&self, bytes: &[u8], bias: u64) -> Option<Entry> {
        let status = u32::try_from(self.status.unsigned(bytes)?).ok()?;
        let doing = match status & !status::SCAN {
            status::IDLE | status::DEAD | status::DEAD_EXTRA => return Some(Entry::Finished),
            status::RUNNABLE => Doing::Runnable,
            status::RUNNING | status::COPYSTACK => Doing::Running,
            status::SYSCALL => Doing::Syscall,
            status::WAITING | status::LEAKED => Doing::Waiting(u8::try_from(self.reason.unsigned(bytes)?).ok()?),
            status::PREEMPTED => Doing::Preempted,
            _ => return None,
        };
        // Ids are given in blocks, in order: far beyond any count of goroutines it is none.
        let id = self.goid.unsigned(bytes).filter(|id| (1..1 << 60).contains(id))?;
        let waits = matches!(doing, Doing::Waiting(_) | Doing::Syscall);
        Some(Entry::Alive(Seen {
            id,
            kind: Kind {
                started: self.started.unsigned(bytes)?.wrapping_sub(bias),
                created: self.created.unsigned(bytes)?.wrapping_sub(bias),
                doing,
            },
            since_ns: if waits { self.since.unsigned(bytes)? } else { 0 },
            leaked: status & !status::SCAN == status::LEAKED,
        }))
    }
}
