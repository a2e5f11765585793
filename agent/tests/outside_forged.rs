//! Memory that lies: pointers to anywhere, lists that are circles, absurd lengths. Reading ends within its allowance,
//! without a panic, and what contradicts itself is told as such.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::Duration;

use agent::go::outside::binary::{Addresses, Arch, Field, GoVersion, Layout, Variable};
use agent::go::outside::counters::Counters;
use agent::go::outside::image::Image;
use agent::go::outside::memory::{Allowance, Fault, Memory, Reader};
use agent::go::outside::names::{Names, Remembered};
use agent::go::outside::profile::{Amount, NoProfile, Profile, ProfileKind};
use agent::go::outside::sites::{self, Known};
use agent::go::outside::snapshot::Snapshot;
use agent::go::outside::time_histogram::Bounds;
use agent::go::outside::walk::{Walk, WalkLimits};
use proptest::prelude::*;

const START: u64 = 0x1000_0000;
const END: u64 = START + (32 << 20);
const ALLOWANCE: Allowance = Allowance { bytes: 512 << 10, time: Duration::from_secs(20) };
const LIMITS: WalkLimits = WalkLimits { goroutines_max: 2_000, blocked_before_ns: 1 << 40, known_id: 1 << 10 };

/// Memory whose words follow from a seed unless they are set.
struct Forged {
    seed: u64,
    words: BTreeMap<u64, u64>,
    /// A word that is another at each read, and by how much.
    moving: Option<(u64, u64)>,
    reads: Cell<u64>,
}

impl Forged {
    fn new(seed: u64) -> Self {
        Self { seed, words: BTreeMap::new(), moving: None, reads: Cell::new(0) }
    }

    fn word(&self, at: u64) -> u64 {
        if let Some((_, step)) = self.moving.filter(|(place, _)| *place == at) {
            return self.reads.get().wrapping_mul(step);
        }
        if let Some(word) = self.words.get(&at) {
            return *word;
        }
        if self.seed == 0 {
            return 0;
        }
        let mixed = (at ^ self.seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mixed = mixed ^ (mixed >> 29);
        match mixed % 8 {
            0 | 1 => 0,
            2 => mixed >> 58,
            3..=5 => START + (((mixed >> 16) % (END - START - 4096)) & !7),
            6 => u64::MAX - (mixed >> 60),
            _ => mixed,
        }
    }

    fn set(&mut self, at: u64, word: u64) {
        assert_eq!(at % 8, 0, "aligned");
        self.words.insert(at, word);
    }

    /// Sets the field of the object at `at`.
    fn put(&mut self, at: u64, field: Field, value: u64) {
        for byte in 0..u64::from(field.bytes.min(8)) {
            let place = at + u64::from(field.at) + byte;
            let (word, shift) = (place & !7, (place & 7) * 8);
            let old = self.word(word) & !(0xff << shift);
            self.words.insert(word, old | ((value >> (byte * 8) & 0xff) << shift));
        }
    }
}

impl Memory for Forged {
    fn read(&self, address: u64, into: &mut [u8]) -> Result<(), Fault> {
        self.reads.set(self.reads.get() + 1);
        let end = address.checked_add(into.len() as u64).ok_or(Fault::Unmapped)?;
        if address < START || end > END {
            return Err(Fault::Unmapped);
        }
        let (mut at, mut rest) = (address, into);
        while !rest.is_empty() {
            let word = self.word(at & !7).to_le_bytes();
            let bytes = &word[usize::try_from(at & 7).expect("small")..];
            let length = bytes.len().min(rest.len());
            rest[..length].copy_from_slice(&bytes[..length]);
            (at, rest) = (at + length as u64, &mut rest[length..]);
        }
        Ok(())
    }
}

/// The layout of a release, or of the one that is always known.
fn layout(version: &str) -> Layout {
    let of = |version| Layout::of(GoVersion::parse(version).expect("a version"), Arch::Amd64);
    of(version).or_else(|| of("go1.26.8")).expect("a layout")
}

/// Variables one behind the other, far enough apart.
fn addresses() -> Addresses {
    (START..).step_by(64 << 10).zip(Variable::ALL).map(|(at, variable)| (variable, at)).collect()
}

fn image<'a>(layout: &'a Layout, addresses: &'a Addresses) -> Image<'a> {
    Image { layout, addresses, bias: 0, minor: 26 }
}

/// Reads everything there is to read.
fn read_all(memory: &Forged, image: &Image<'_>) {
    let reader = || Reader::new(memory, ALLOWANCE);
    let _ = image.check_version(&mut reader(), "go1.26.8");
    if let Ok(snapshot) = Snapshot::read(image, &mut reader()) {
        let counters = Counters::new(image.layout, &snapshot, image.minor);
        let _ = (counters.numbers().count(), counters.pauses(), counters.goroutines());
        for (_, histogram) in counters.histograms(Bounds::of(image.layout.time_histogram).as_ref()) {
            histogram.check().expect("a histogram whatever it is made of");
        }
    }
    if let Ok(walk) = Walk::take(image, &mut reader(), LIMITS) {
        let (mut remembered, known) =
            (Remembered::default(), Known { at_ms: 1, now_ns: 1 << 41, total: Some(10), newcomers: true });
        let mut names = Names::new(None, &mut remembered);
        let _ = sites::census(&walk, known, image, &mut reader(), &mut names);
    }
    for kind in ProfileKind::ALL {
        let _ = Profile::read(kind, image, &mut reader());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_memory_is_read_in_bounds(seed in 1u64.., old in any::<bool>()) {
        let (layout, addresses) = (layout(if old { "go1.21.13" } else { "go1.26.8" }), addresses());
        let memory = Forged::new(seed);
        read_all(&memory, &image(&layout, &addresses));
        // Each reading has an allowance of 512 KiB, of which a read costs at least 512 bytes.
        prop_assert!(memory.reads.get() < 8 * 1024);
    }

    #[test]
    fn a_sound_runtime_with_wrong_words(at in prop::collection::vec((any::<prop::sample::Index>(), any::<u64>()), 1..12)) {
        let (layout, addresses) = (layout("go1.26.8"), addresses());
        let mut memory = sound(&layout, 40);
        let places: Vec<u64> = memory.words.keys().copied().collect();
        for (index, word) in at {
            let wrong = match word % 4 {
                0 => 0,
                1 => word >> 50,
                2 => places[index.index(places.len())],
                _ => word,
            };
            memory.set(*index.get(&places), wrong);
        }
        read_all(&memory, &image(&layout, &addresses));
    }
}

/// A runtime that holds together, with `goroutines` that wait.
fn sound(layout: &Layout, goroutines: u64) -> Forged {
    let all = addresses();
    let at = |variable| all.of(variable).expect("every variable");
    let mut memory = Forged::new(0);
    let (list, first) = (START + (8 << 20), START + (9 << 20));
    for place in [at(Variable::Allgs), at(Variable::Allgptr)] {
        memory.set(place, list);
    }
    for place in [at(Variable::Allgs) + 8, at(Variable::Allglen)] {
        memory.set(place, goroutines);
    }
    for number in 0..goroutines {
        let g = first + number * 512;
        memory.set(list + number * 8, g);
        for (field, value) in [
            (layout.g.atomicstatus, if number % 10 == 9 { 6 } else { 4 }),
            (layout.g.goid, number + 1),
            (layout.g.waitsince, 1 << 39),
            (layout.g.waitreason, 14),
            (layout.g.startpc, 0x40_1000),
            (layout.g.gopc, 0x40_2000),
            (layout.g.stack_lo, START + (20 << 20)),
            (layout.g.stack_hi, START + (20 << 20) + 8192),
            (layout.g.sched_bp, START + (20 << 20) + 4096),
        ] {
            memory.put(g, field, value);
        }
    }
    let processors = START + (10 << 20);
    memory.set(at(Variable::Gomaxprocs), 2);
    memory.set(at(Variable::Allp), processors);
    memory.set(at(Variable::Allp) + 8, 2);
    for number in 0..2 {
        memory.set(processors + number * 8, START + (11 << 20) + number * (32 << 10));
    }
    memory.put(at(Variable::Sched), layout.sched.mnext, 1);
    memory.set(at(Variable::Allm), START + (12 << 20));
    memory
}

#[test]
fn what_lies_behind_a_stack_of_the_heap_is_not_of_it() {
    let (layout, addresses) = (layout("go1.26.8"), addresses());
    let mut memory = sound(&layout, 1);
    let all = &layout.bucket;
    memory.set(addresses.of(Variable::MemProfileRate).expect("an address"), 1);
    for depth in [1_u64, 5, 24, 40] {
        let bucket = START + (16 << 20) + depth * 4096;
        memory.set(addresses.of(Variable::Mbuckets).expect("an address"), bucket);
        for (field, value) in [(all.typ, 1), (all.nstk, depth), (all.object_bytes, 48)] {
            memory.put(bucket, field, value);
        }
        let record = bucket + u64::from(all.size) + depth * 8;
        let part_bytes = u64::from(all.mem_record_size) / 4;
        // Nothing is published; the parts behind that are of the collections to come.
        for (part, allocs) in [(1, 2), (2, 0), (3, 5)] {
            memory.put(record + part * part_bytes, all.allocs, allocs);
            memory.put(record + part * part_bytes, all.alloc_bytes.expect("before Go 1.27"), allocs * 48);
        }
        let behind = record + u64::from(all.mem_record_size);
        (behind..behind + 512).step_by(8).for_each(|at| memory.set(at, u64::MAX >> 20));
        let profile =
            Profile::read(ProfileKind::Heap, &image(&layout, &addresses), &mut Reader::new(&memory, ALLOWANCE));
        let profile = profile.expect("a profile");
        let [stack] = profile.stacks.as_slice() else { panic!("one stack") };
        let want = Amount::Heap { object_bytes: 48, allocs: 7, frees: 0, alloc_bytes: 336, free_bytes: 0 };
        assert_eq!((stack.pcs.len() as u64, stack.amount), (depth, want));
    }
}

#[test]
fn a_sound_runtime_is_believed() {
    let (layout, addresses) = (layout("go1.26.8"), addresses());
    let memory = sound(&layout, 40);
    let image = image(&layout, &addresses);
    let snapshot = Snapshot::read(&image, &mut Reader::new(&memory, ALLOWANCE)).expect("sound");
    assert_eq!(Counters::new(&layout, &snapshot, 26).goroutines(), Some(40));
    let walk = Walk::take(&image, &mut Reader::new(&memory, ALLOWANCE), LIMITS).expect("sound");
    assert_eq!((walk.alive, walk.listed, walk.states.waiting), (36, 40, 36));
    let count = walk.kinds.values().next().expect("one kind");
    assert_eq!((count.count, count.blocked_long, count.since_ns), (36, 36, 1 << 39));
}

#[test]
fn a_list_that_is_not_of_threads_is_not_believed() {
    let (layout, addresses) = (layout("go1.26.8"), addresses());
    let counted = |made: u64| {
        let mut memory = sound(&layout, 40);
        memory.put(addresses.of(Variable::Sched).expect("there"), layout.sched.mnext, made);
        let image = image(&layout, &addresses);
        let snapshot = Snapshot::read(&image, &mut Reader::new(&memory, ALLOWANCE)).expect("sound");
        snapshot.threads.map(|threads| threads.count)
    };
    assert_eq!(counted(1), Some(1));
    assert_eq!(counted(9), Some(1), "threads end while they are counted");
    assert_eq!(counted(40), None, "a link that is read where none is");
}

#[test]
fn one_that_collects_all_the_time_is_read() {
    let (layout, addresses) = (layout("go1.26.8"), addresses());
    let read = |step: u64| {
        let mut memory = sound(&layout, 40);
        let numgc = addresses.of(Variable::Memstats).expect("there") + u64::from(layout.memstats.numgc.at);
        memory.moving = Some((numgc, step));
        let snapshot = Snapshot::read(&image(&layout, &addresses), &mut Reader::new(&memory, ALLOWANCE))?;
        Ok(Counters::new(&layout, &snapshot, 26).goroutines())
    };
    assert_eq!(read(1), Ok(Some(40)));
    assert_eq!(read(3), Ok(Some(40)));
    for step in [u64::MAX, 1 << 20] {
        let fault: Fault = read(step).expect_err("no count of collections");
        assert!(matches!(fault, Fault::Implausible(_)), "{fault:?}");
    }
}

/// What a change to a sound runtime makes of it.
#[track_caller]
fn contradicts(change: impl FnOnce(&mut Forged, &Layout, &Addresses)) -> Fault {
    let (layout, addresses) = (layout("go1.26.8"), addresses());
    let mut memory = sound(&layout, 40);
    change(&mut memory, &layout, &addresses);
    let image = image(&layout, &addresses);
    let snapshot = Snapshot::read(&image, &mut Reader::new(&memory, ALLOWANCE)).map(drop);
    let walk = Walk::take(&image, &mut Reader::new(&memory, ALLOWANCE), LIMITS).map(drop);
    snapshot.and(walk).expect_err("it contradicts itself")
}

#[test]
fn contradictions_are_found() {
    let implausible = |fault| assert!(matches!(fault, Fault::Implausible(_)), "{fault:?}");
    let at = |addresses: &Addresses, variable| addresses.of(variable).expect("every variable");
    implausible(contradicts(|memory, _, all| memory.set(at(all, Variable::Gomaxprocs), 3)));
    implausible(contradicts(|memory, _, all| memory.set(at(all, Variable::Gomaxprocs), 0)));
    implausible(contradicts(|memory, _, all| memory.set(at(all, Variable::Allp) + 8, 1 << 40)));
    implausible(contradicts(|memory, _, all| memory.set(at(all, Variable::Allgs) + 8, 41)));
    implausible(contradicts(|memory, _, all| memory.set(at(all, Variable::Allgptr), START)));
    implausible(contradicts(|memory, layout, all| memory.put(at(all, Variable::Sched), layout.sched.mnext, 1 << 40)));
    implausible(contradicts(|memory, _, all| {
        memory.set(at(all, Variable::Allgs) + 8, 1 << 60);
        memory.set(at(all, Variable::Allglen), 1 << 60);
    }));
    implausible(contradicts(|memory, layout, _| {
        for number in 0..40 {
            memory.put(START + (9 << 20) + number * 512, layout.g.goid, 7);
        }
    }));
    implausible(contradicts(|memory, _, _| {
        for number in 0..40 {
            memory.set(START + (8 << 20) + number * 8, 0xdead_0000 + number * 64);
        }
    }));
}

#[test]
fn a_list_of_stacks_that_is_a_circle() {
    let (layout, addresses) = (layout("go1.26.8"), addresses());
    let mut memory = Forged::new(0);
    let bucket = START + (8 << 20);
    memory.set(addresses.of(Variable::Mbuckets).expect("there"), bucket);
    memory.set(addresses.of(Variable::MemProfileRate).expect("there"), 1);
    for number in 0..3 {
        let at = bucket + number * 1024;
        memory.put(at, layout.bucket.typ, 1);
        memory.put(at, layout.bucket.nstk, 2);
        memory.put(at, layout.bucket.allnext, bucket + (number + 1) % 3 * 1024);
    }
    let read = |memory: &Forged| {
        Profile::read(ProfileKind::Heap, &image(&layout, &addresses), &mut Reader::new(memory, ALLOWANCE))
    };
    assert!(matches!(read(&memory), Err(NoProfile::Fault(Fault::Implausible(_)))));
    memory.put(bucket + 2 * 1024, layout.bucket.allnext, 0);
    assert_eq!(read(&memory).expect("a list that ends").stacks.len(), 3);
    memory.put(bucket, layout.bucket.nstk, 1 << 40);
    assert!(matches!(read(&memory), Err(NoProfile::Fault(Fault::Implausible(_)))), "an absurd depth");
}
