#![warn(clippy::indexing_slicing)]
//! Profiles that a program keeps of itself: for each stack what was allocated or waited for, read from the runtime's lists of
//! buckets. The stacks are kept as addresses, so that a file of them can be written; names come when they are asked for.
//!
//! Buckets are only ever added, in front, and what one is about never changes (`runtime/mprof.go`).

use std::collections::{BTreeMap, HashSet};

use super::binary::{BucketLayout, Field, Variable};
use super::image::Image;
use super::memory::{Fault, Reader};
use super::names::Names;
use super::snapshot::field;
use crate::collect::float;
use crate::go::sites::{allocation_site, contention_site};
use crate::go::ways::{Part, Reason};

/// Most stacks of a profile that are read; more are told as cut.
pub const STACKS_MAX: usize = 20_000;
/// Deepest stack that the runtime keeps.
const DEPTH_MAX: u64 = 1024;
/// Frames that are read together with the head of a bucket.
const DEPTH_LIKELY: u64 = 24;

/// Which profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProfileKind {
    /// Memory allocated and in use.
    Heap,
    /// Waiting caused by holding mutexes.
    Mutex,
    /// Blocking.
    Block,
}

impl ProfileKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Heap, Self::Mutex, Self::Block];

    /// The part of a process that it is.
    pub const fn part(self) -> Part {
        match self {
            Self::Heap => Part::HeapProfile,
            Self::Mutex => Part::MutexProfile,
            Self::Block => Part::BlockProfile,
        }
    }

    const fn list(self) -> Variable {
        match self {
            Self::Heap => Variable::Mbuckets,
            Self::Mutex => Variable::Xbuckets,
            Self::Block => Variable::Bbuckets,
        }
    }

    const fn rate(self) -> Variable {
        match self {
            Self::Heap => Variable::MemProfileRate,
            Self::Mutex => Variable::MutexProfileRate,
            Self::Block => Variable::BlockProfileRate,
        }
    }

    /// What a bucket says it is of.
    const fn typ(self) -> u64 {
        match self {
            Self::Heap => 1,
            Self::Block => 2,
            Self::Mutex => 3,
        }
    }
}

/// What one stack did.
#[derive(Debug, Clone, Copy, PartialEq)]
#[expect(missing_docs, reason = "the variants say what their numbers are of")]
pub enum Amount {
    /// Sampled allocations and frees of objects of one size, not scaled up.
    Heap { object_bytes: u64, allocs: u64, frees: u64, alloc_bytes: u64, free_bytes: u64 },
    /// How often and how long something waited, in ticks, already scaled up by the runtime.
    Wait { count: f64, ticks: i64 },
}

/// One stack of a profile.
#[derive(Debug, Clone, PartialEq)]
pub struct ProfileStack {
    /// Return addresses as linked, innermost first.
    pub pcs: Vec<u64>,
    /// What it did.
    pub amount: Amount,
}

/// A profile as it is in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    /// Which one.
    pub kind: ProfileKind,
    /// Of a heap profile: mean bytes between two samples.
    pub rate: u64,
    /// Its stacks, newest first.
    pub stacks: Vec<ProfileStack>,
    /// Whether there are more stacks than were read.
    pub cut: bool,
}

/// Why there is no profile: the process could not be read, or the part cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoProfile {
    /// Reading failed.
    Fault(Fault),
    /// The program does not keep it, or it cannot be found.
    Reason(Reason),
}

impl From<Fault> for NoProfile {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl Profile {
    /// Reads the profile `kind` of `image`.
    ///
    /// # Errors
    ///
    /// See [`NoProfile`].
    pub fn read(kind: ProfileKind, image: &Image<'_>, reader: &mut Reader<'_>) -> Result<Self, NoProfile> {
        let profile = Self::read_as(kind, image, reader, false)?;
        let is_nothing = |stack: &ProfileStack| matches!(stack.amount, Amount::Heap { allocs: 0, .. });
        if kind == ProfileKind::Heap && profile.stacks.iter().all(is_nothing) {
            // Nothing is published before the second collection; the runtime then tells what is not, too.
            return Self::read_as(kind, image, reader, true);
        }
        Ok(profile)
    }

    /// Reads it; of the heap what is published, or all.
    fn read_as(kind: ProfileKind, image: &Image<'_>, reader: &mut Reader<'_>, whole: bool) -> Result<Self, NoProfile> {
        let list = image.address(kind.list()).ok_or(NoProfile::Reason(Reason::NoAddresses))?;
        let mut at = reader.word(list)?;
        let rate = match image.address(kind.rate()) {
            Some(address) => Some(reader.word(address)?),
            None => None,
        };
        let off = match image.address(Variable::DisableMemoryProfiling).filter(|_| kind == ProfileKind::Heap) {
            Some(address) => field(reader, address, Field { at: 0, bytes: 1 })? != 0,
            None => false,
        };
        if off || at == 0 || rate == Some(0) {
            return Err(NoProfile::Reason(Reason::NotKept));
        }
        let Some(rate) = rate.or((kind != ProfileKind::Heap).then_some(1)) else {
            return Err(NoProfile::Reason(Reason::NoAddresses));
        };
        let mut profile = Self { kind, rate, stacks: Vec::new(), cut: false };
        let mut seen = HashSet::new();
        while at != 0 {
            if profile.stacks.len() >= STACKS_MAX {
                profile.cut = true;
                break;
            }
            if !seen.insert(at) {
                return Err(Fault::Implausible("a list of stacks that is a circle").into());
            }
            let (next, stack) = bucket(kind, image, reader, at, whole)?;
            profile.stacks.push(stack);
            at = next;
        }
        Ok(profile)
    }

    /// Sums of `value` by site, as `go::sites` has it.
    pub fn by_site(&self, names: &mut Names<'_>, value: impl Fn(&ProfileStack) -> f64) -> BTreeMap<String, f64> {
        let mut sums = BTreeMap::new();
        for stack in &self.stacks {
            let amount = value(stack);
            if amount != 0.0 {
                *sums.entry(self.site(stack, names)).or_default() += amount;
            }
        }
        sums
    }

    fn site(&self, stack: &ProfileStack, names: &mut Names<'_>) -> String {
        let frames: Vec<_> = stack.pcs.iter().filter_map(|pc| names.function(pc.checked_sub(1)?)).collect();
        let functions = frames.iter().map(AsRef::as_ref);
        let site = match self.kind {
            ProfileKind::Heap => allocation_site(functions),
            ProfileKind::Mutex | ProfileKind::Block => contention_site(functions),
        };
        site.map_or_else(
            || stack.pcs.first().map_or_else(|| "unknown".to_owned(), |pc| format!("{pc:#x}")),
            str::to_owned,
        )
    }

    /// Bytes in use that `stack` stands for; see [`unsampled`].
    pub fn in_use_bytes(&self, stack: &ProfileStack) -> f64 {
        match stack.amount {
            Amount::Heap { object_bytes, alloc_bytes, free_bytes, .. } => {
                unsampled(alloc_bytes.saturating_sub(free_bytes), object_bytes, self.rate)
            }
            Amount::Wait { .. } => 0.0,
        }
    }

    /// Bytes allocated that `stack` stands for.
    pub fn allocated_bytes(&self, stack: &ProfileStack) -> f64 {
        match stack.amount {
            Amount::Heap { object_bytes, alloc_bytes, .. } => unsampled(alloc_bytes, object_bytes, self.rate),
            Amount::Wait { .. } => 0.0,
        }
    }
}

/// What `bytes` of samples of objects of `object_bytes` each stand for, when one was taken each `rate` bytes on average: an
/// object is sampled with probability 1 − e^(−size/rate) (`cmd/pprof` and `runtime/pprof` scale alike).
pub fn unsampled(bytes: u64, object_bytes: u64, rate: u64) -> f64 {
    if bytes == 0 || object_bytes == 0 || rate <= 1 {
        return float(bytes);
    }
    float(bytes) / -(-float(object_bytes) / float(rate)).exp_m1()
}

/// Reads the bucket at `at`: where the next one is, and its stack.
fn bucket(
    kind: ProfileKind,
    image: &Image<'_>,
    reader: &mut Reader<'_>,
    at: u64,
    unpublished: bool,
) -> Result<(u64, ProfileStack), Fault> {
    let layout = &image.layout.bucket;
    let head_bytes = u64::from(layout.size.min(256));
    let record_bytes =
        u64::from(if kind == ProfileKind::Heap { layout.mem_record_size } else { layout.block_record_size }.min(256));
    let whole = |depth: u64| usize::try_from(head_bytes + depth * 8 + record_bytes).unwrap_or(0);
    // Most stacks are short; near the end of memory what is read with the head may not be there.
    let mut bytes = match reader.bytes(at, whole(DEPTH_LIKELY)) {
        Err(Fault::Unmapped) => reader.bytes(at, usize::try_from(head_bytes).unwrap_or(0))?,
        read => read?,
    };
    let wrong = Fault::Implausible("a stack of a profile");
    let depth = layout.nstk.unsigned(&bytes).filter(|depth| *depth <= DEPTH_MAX).ok_or(wrong)?;
    if layout.typ.unsigned(&bytes) != Some(kind.typ()) {
        return Err(wrong);
    }
    if bytes.len() < whole(depth) {
        bytes = reader.bytes(at, whole(depth))?;
    }
    let (head, rest) = bytes.split_at_checked(usize::try_from(head_bytes).unwrap_or(0)).ok_or(wrong)?;
    let (stack, rest) = rest.split_at_checked(usize::try_from(depth * 8).unwrap_or(0)).ok_or(wrong)?;
    // Behind it lies what was read in case the stack were longer.
    let record = rest.get(..usize::try_from(record_bytes).unwrap_or(0)).ok_or(wrong)?;
    let pcs = stack.as_chunks::<8>().0.iter().map(|pc| image.linked(u64::from_le_bytes(*pc))).collect();
    let amount = amount(kind, layout, head, record, unpublished).ok_or(wrong)?;
    Ok((layout.allnext.unsigned(head).ok_or(wrong)?, ProfileStack { pcs, amount }))
}

/// Parts of a record of the heap: what is published, and three that are not yet.
const RECORD_PARTS: usize = 4;

fn amount(kind: ProfileKind, layout: &BucketLayout, head: &[u8], record: &[u8], unpublished: bool) -> Option<Amount> {
    Some(match kind {
        // The first of the four parts of a record is what is published: as of the end of a collection.
        ProfileKind::Heap => {
            let object_bytes = layout.object_bytes.unsigned(head)?;
            let parts = if unpublished { RECORD_PARTS } else { 1 };
            let sum = |field: Field| {
                let of_all = record.chunks_exact((record.len() / RECORD_PARTS).max(1)).take(parts);
                of_all.map(|part| field.unsigned(part)).try_fold(0u64, |sum, own| Some(sum.saturating_add(own?)))
            };
            let (allocs, frees) = (sum(layout.allocs)?, sum(layout.frees)?);
            // Since Go 1.27 bytes are not counted: all objects of a stack are equally large.
            let bytes = |field: Option<Field>, objects: u64| match field {
                Some(field) => sum(field),
                None => Some(objects.saturating_mul(object_bytes)),
            };
            let (alloc_bytes, free_bytes) = (bytes(layout.alloc_bytes, allocs)?, bytes(layout.free_bytes, frees)?);
            Amount::Heap { object_bytes, allocs, frees, alloc_bytes, free_bytes }
        }
        ProfileKind::Mutex | ProfileKind::Block => Amount::Wait {
            count: layout.count.float(record).filter(|count| count.is_finite())?,
            ticks: layout.cycles.signed(record)?,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_scaled_up() {
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-6 * b.max(1.0), "{a} {b}");
        close(unsampled(1000, 1000, 1), 1000.0);
        close(unsampled(0, 1000, 512 << 10), 0.0);
        close(unsampled(1 << 30, 1 << 30, 512 << 10), 1_073_741_824.0);
        // An object of the mean distance is seen with probability 1 - 1/e.
        close(unsampled(524_288, 524_288, 524_288), 524_288.0 / (1.0 - (-1.0f64).exp()));
    }
}
