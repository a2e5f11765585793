//! What the head holds of 256 series: the generation that is written, and the one before while it is being flushed.
//!
//! Samples that come in order go into a Gorilla chunk under construction, which is sealed when it is long enough; what does
//! not fit lies [aside](super::aside). Of a series' chunk 48 bytes lie in the page, its bits in the page's arena. When a
//! generation ends its open chunks are sealed and all it has is moved aside as a whole, so that holding two of them takes
//! little more than their samples, and forgetting one frees a few large pieces.

use std::sync::Arc;

use model::TimeRange;

use super::Generation;
use super::arena::{Arena, End};
use super::aside::Aside;
use super::layer::Layer;
use crate::codec::gorilla::GorillaTail;
use crate::index::table::PAGE_SERIES;

/// Samples of a sealed chunk: an hour at one every 15 seconds.
const CHUNK_SAMPLES: u32 = 240;
/// The place of no sealed chunk.
const NONE: u32 = u32::MAX;

/// The samples of the series of one page.
#[derive(Debug)]
pub(super) struct Page {
    /// The generation of `open` and `current`.
    generation: Generation,
    open: Box<[Open; PAGE_SERIES]>,
    current: Kept,
    /// Samples of an older generation, while they are being flushed.
    previous: Option<Box<Previous>>,
}

/// The chunk under construction of one series.
#[derive(Debug, Clone, Copy)]
struct Open {
    tail: GorillaTail,
    /// Where its bytes are.
    end: End,
    /// The chunk sealed last, by its place in [`Kept::sealed`].
    sealed: u32,
}

/// A generation that is written no more.
#[derive(Debug)]
struct Previous {
    kept: Kept,
    /// The chunk sealed last of each series.
    sealed: [u32; PAGE_SERIES],
}

/// Samples of all series of a page in one generation.
#[derive(Debug, Default)]
struct Kept {
    arena: Arena,
    sealed: Vec<Sealed>,
    aside: Option<Box<[Option<Box<Aside>>; PAGE_SERIES]>>,
    aside_bytes: usize,
}

/// A chunk that changes no more.
#[derive(Debug, Clone, Copy)]
struct Sealed {
    last_ms: i64,
    end: End,
    /// The place of the one before of the same series.
    before: u32,
    count: u32,
}

/// The samples of one series in one generation, to be read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chunks<'a> {
    kept: &'a Kept,
    aside: Option<&'a Aside>,
    open: Option<&'a Open>,
    sealed: u32,
}

impl Open {
    const EMPTY: Self = Self { tail: GorillaTail::EMPTY, end: End::EMPTY, sealed: NONE };
}

impl Page {
    /// Memory of a page without samples.
    pub(super) const FIXED_BYTES: usize = size_of::<[Open; PAGE_SERIES]>() + size_of::<Self>();

    pub(super) fn new() -> Self {
        let open = Box::new([Open::EMPTY; PAGE_SERIES]);
        Self { generation: 0, open, current: Kept::default(), previous: None }
    }

    /// Memory of the samples.
    pub(super) fn bytes(&self) -> usize {
        self.current.bytes() + self.previous.as_ref().map_or(0, |previous| previous.kept.bytes())
    }

    /// Whether there are no samples.
    pub(super) fn is_empty(&self) -> bool {
        self.previous.is_none() && self.current.is_empty()
    }

    /// What is pushed from now on is of `generation`, the latest; samples of the one before move aside.
    pub(super) fn turn_to(&mut self, generation: Generation) {
        if self.generation == generation {
            return;
        }
        self.generation = generation;
        if self.current.is_empty() {
            return;
        }
        debug_assert!(self.previous.is_none(), "a generation is flushed before the next begins");
        self.current.sealed.reserve_exact(self.open.iter().filter(|open| !open.tail.is_empty()).count());
        let mut kept = std::mem::take(&mut self.current);
        let mut sealed = [NONE; PAGE_SERIES];
        for (sealed, open) in sealed.iter_mut().zip(self.open.iter_mut()) {
            kept.seal(open);
            *sealed = std::mem::replace(open, Open::EMPTY).sealed;
        }
        self.previous = Some(Box::new(Previous { kept, sealed }));
    }

    /// Forgets the samples up to `generation`.
    pub(super) fn clear(&mut self, generation: Generation) {
        self.previous = None;
        if self.generation <= generation && !self.current.is_empty() {
            self.current = Kept::default();
            self.open.fill(Open::EMPTY);
        }
    }

    /// Adds a float.
    #[inline]
    pub(super) fn push(&mut self, slot: usize, timestamp_ms: i64, value: f64) {
        let (open, kept) = (&mut self.open[slot], &mut self.current);
        kept.forget_full(slot, timestamp_ms);
        let newest = match open.tail.last() {
            Some((newest_ms, newest)) => Some((newest_ms, Some(newest))),
            None => kept.sealed.get(open.sealed as usize).map(|chunk| (chunk.last_ms, None)),
        };
        if let Some((newest_ms, newest)) = newest
            && timestamp_ms <= newest_ms
        {
            let again = timestamp_ms == newest_ms && newest.map(f64::to_bits) == Some(value.to_bits());
            // Sent twice, and nothing else was said in between.
            if !again || kept.aside(slot).is_some_and(Aside::has_late) {
                kept.change_aside(slot, |aside| aside.push_late(timestamp_ms, value));
            }
            return;
        }
        if kept.arena.is_full() {
            kept.change_aside(slot, |aside| aside.push_late(timestamp_ms, value));
            return;
        }
        let Open { tail, end, .. } = &mut *open;
        tail.push(timestamp_ms, value, |word| kept.arena.push_word(end, word));
        if tail.count() >= CHUNK_SAMPLES {
            kept.seal(open);
        }
    }

    /// Adds a coded sample that is more than a float.
    pub(super) fn push_full(&mut self, slot: usize, timestamp_ms: i64, bytes: Arc<[u8]>) {
        self.current.change_aside(slot, |aside| aside.push_full(timestamp_ms, bytes));
    }

    /// What there is of one series up to `generation`, oldest first.
    pub(super) fn layers(&self, slot: usize, generation: Generation) -> impl DoubleEndedIterator<Item = Chunks<'_>> {
        let previous = self.previous.as_deref().map(|of| of.kept.chunks(slot, None, of.sealed[slot]));
        let open = &self.open[slot];
        let current = (self.generation <= generation).then(|| self.current.chunks(slot, Some(open), open.sealed));
        previous.into_iter().chain(current).filter(|chunks| !chunks.is_empty())
    }
}

impl Kept {
    fn bytes(&self) -> usize {
        self.arena.bytes() + self.sealed.len() * size_of::<Sealed>() + self.aside_bytes
    }

    fn is_empty(&self) -> bool {
        self.arena.bytes() == 0 && self.aside.iter().flat_map(|all| all.iter()).flatten().all(|aside| aside.is_empty())
    }

    /// Ends the chunk under construction, if there is one.
    fn seal(&mut self, open: &mut Open) {
        let Some((last_ms, _)) = open.tail.last() else { return };
        let (word, bytes) = open.tail.rest();
        let mut end = open.end;
        self.arena.push_rest(&mut end, word, bytes);
        // Each has a unit of the arena at least, which has fewer than that.
        let place = u32::try_from(self.sealed.len()).unwrap_or(NONE);
        self.sealed.push(Sealed { last_ms, end, before: open.sealed, count: open.tail.count() });
        *open = Open { sealed: place, ..Open::EMPTY };
    }

    fn aside(&self, slot: usize) -> Option<&Aside> {
        self.aside.as_ref()?[slot].as_deref()
    }

    fn change_aside(&mut self, slot: usize, change: impl FnOnce(&mut Aside)) {
        let all = self.aside.get_or_insert_with(|| Box::new([const { None }; PAGE_SERIES]));
        let aside = all[slot].get_or_insert_default();
        let before = aside.bytes();
        change(aside);
        self.aside_bytes = self.aside_bytes - before + aside.bytes();
    }

    /// Removes what is more than a float at `timestamp_ms`.
    #[inline]
    fn forget_full(&mut self, slot: usize, timestamp_ms: i64) {
        if self.aside(slot).is_some() {
            self.change_aside(slot, |aside| aside.forget_full(timestamp_ms));
        }
    }

    fn chunks<'a>(&'a self, slot: usize, open: Option<&'a Open>, sealed: u32) -> Chunks<'a> {
        let open = open.filter(|open| !open.tail.is_empty());
        Chunks { kept: self, aside: self.aside(slot), open, sealed }
    }
}

impl<'a> Chunks<'a> {
    fn is_empty(&self) -> bool {
        self.open.is_none() && self.sealed == NONE && self.aside.is_none_or(Aside::is_empty)
    }

    /// The chunks that do not end before `start_ms`, last first: where their bytes are, their count, and when they end.
    fn since(self, start_ms: i64) -> impl Iterator<Item = (End, u32, i64)> + use<'a> {
        let open = self.open.and_then(|open| Some((open.end, open.tail.count(), open.tail.last()?.0)));
        let at = move |place: u32| self.kept.sealed.get(place as usize);
        let sealed = std::iter::successors(at(self.sealed), move |chunk| at(chunk.before));
        let sealed = sealed.map(|chunk| (chunk.end, chunk.count, chunk.last_ms));
        open.into_iter().chain(sealed).take_while(move |&(.., last_ms)| last_ms >= start_ms)
    }

    /// The chunks that overlap `range`, last first: where their bytes are, their count, and their range.
    fn inside(self, range: TimeRange) -> impl Iterator<Item = (End, u32, TimeRange)> + use<'a> {
        let with_range = move |(end, count, last_ms)| (end, count, TimeRange::new(self.first_ms(end), last_ms));
        self.since(range.start.0).map(with_range).filter(move |(.., of)| of.overlaps(range))
    }

    /// Where a chunk begins in time: its first word is the first timestamp.
    fn first_ms(&self, end: End) -> i64 {
        self.kept.arena.first_word(end).cast_signed()
    }

    /// The time of the last sample.
    pub(super) fn end_ms(&self) -> i64 {
        let chunk = self.since(i64::MIN).next().map(|(.., last_ms)| last_ms);
        let aside = self.aside.into_iter().flat_map(Aside::times);
        chunk.into_iter().chain(aside).max().unwrap_or(i64::MIN)
    }

    /// Whether there may be samples in `range`.
    pub(super) fn overlaps(&self, range: TimeRange) -> bool {
        // Where a chunk begins is looked up only if where it ends does not tell.
        let ends_inside = self.since(range.start.0).next().is_some_and(|(.., last_ms)| range.contains(last_ms));
        ends_inside || self.inside(range).next().is_some() || self.aside.is_some_and(|aside| aside.overlaps(range))
    }

    /// Time ranges and sample counts of the chunks, those of all other samples one by one.
    pub(super) fn extents(self) -> impl Iterator<Item = (TimeRange, u64)> + use<'a> {
        let single = self.aside.into_iter().flat_map(Aside::times);
        let chunks = self.inside(TimeRange::ALL).map(|(_, count, range)| (range, u64::from(count)));
        chunks.chain(single.map(|at_ms| (TimeRange::new(at_ms, at_ms), 1)))
    }

    /// The newest sample, if it lies in `range` and can be told without decoding.
    pub(super) fn newest(&self, range: TimeRange) -> Option<(i64, f64)> {
        let (newest_ms, value) = self.open?.tail.last().filter(|&(newest_ms, _)| range.contains(newest_ms))?;
        let is_known = self.aside.is_none_or(|aside| aside.times().all(|at_ms| at_ms < newest_ms));
        is_known.then_some((newest_ms, value))
    }

    /// Copies what lies in `range`; chunks are copied whole. Nothing if there is nothing.
    pub(super) fn snapshot(self, range: TimeRange) -> Option<Layer> {
        let mut layer = Layer::default();
        let mut inside: Vec<_> = self.inside(range).collect();
        inside.reverse();
        for (end, count, of) in inside {
            let open = self.open.filter(|open| open.end == end);
            layer.push_chunk(count, of, |bytes| {
                self.kept.arena.copy_into(end, bytes);
                if let Some((word, rest_bytes)) = open.map(|open| open.tail.rest()) {
                    bytes.extend(word.to_be_bytes().iter().take(rest_bytes));
                }
            });
        }
        if let Some(aside) = self.aside {
            let full = aside.full_in(range).map(|(at_ms, bytes)| (at_ms, bytes.clone())).collect();
            layer.set_aside(aside.late_in(range), full);
        }
        (!layer.is_empty()).then_some(layer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::full;
    use model::{FullSample, SampleValue, Samples};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// The series that is looked at, and one beside it.
    const SLOT: usize = 7;
    const OTHER: usize = 8;

    #[test]
    fn a_series_takes_48_bytes_beside_its_samples() {
        assert_eq!(size_of::<Open>(), 48);
        assert_eq!(size_of::<Sealed>(), 24);
        const { assert!(Page::FIXED_BYTES <= (48 + 1) * PAGE_SERIES, "some bytes for the page itself") };
        assert!(size_of::<Previous>() <= (4 + 1) * PAGE_SERIES);
    }

    #[test]
    fn holding_two_generations_takes_little_more_than_their_samples() {
        let mut page = Page::new();
        let fill = |page: &mut Page, from_ms: i64| {
            for slot in 0..PAGE_SERIES {
                (0..20_u8).for_each(|at| page.push(slot, from_ms + i64::from(at) * 15_000, f64::from(at)));
            }
            page.bytes()
        };
        let one = fill(&mut page, 0);
        page.turn_to(1);
        let two = fill(&mut page, 1_000_000);
        // The last word of a chunk may take another unit.
        assert!(two <= 2 * one + (24 + 32) * PAGE_SERIES, "{one} {two}");
        page.clear(0);
        assert_eq!(page.bytes(), one);
        page.clear(1);
        assert!(page.is_empty() && page.bytes() == 0);
    }

    fn read(page: &Page, range: TimeRange) -> Samples {
        let mut got = Samples::default();
        for chunks in page.layers(SLOT, Generation::MAX) {
            if let Some(layer) = chunks.snapshot(range) {
                layer.read(range, &mut got).expect("not damaged");
            }
        }
        got
    }

    fn overlaps(page: &Page, range: TimeRange) -> bool {
        page.layers(SLOT, Generation::MAX).any(|chunks| chunks.overlaps(range))
    }

    fn check_extents(page: &Page, model: impl Iterator<Item = i64>) {
        let extents: Vec<_> = page.layers(SLOT, Generation::MAX).flat_map(Chunks::extents).collect();
        for at_ms in model {
            assert!(extents.iter().any(|(range, _)| range.contains(at_ms)), "{at_ms} in {extents:?}");
        }
    }

    proptest! {
        /// Any order, many repeated timestamps, a generation that ends anywhere: the last value of each is read back.
        #[test]
        fn the_last_value_of_each_timestamp_counts(
            samples in prop::collection::vec((-400i64..400, 0u32..4), 0..900),
            sorted in 0usize..900,
            turned in 0usize..1800,
            range in (-500i64..500, -500i64..500),
        ) {
            let mut samples = samples;
            let end = sorted.min(samples.len());
            samples[..end].sort_unstable();
            let (mut page, mut model) = (Page::new(), BTreeMap::new());
            for (at, &(at_ms, value)) in samples.iter().enumerate() {
                page.turn_to(u32::from(at >= turned));
                page.push(SLOT, at_ms, f64::from(value));
                page.push(OTHER, at_ms, 9.0);
                model.insert(at_ms, f64::from(value));
            }
            let range = TimeRange::new(range.0, range.1);
            let got: Vec<(i64, f64)> = read(&page, range).iter().map(|of| (of.timestamp.0, of.value)).collect();
            check_extents(&page, model.keys().copied());
            let want: Vec<(i64, f64)> = model.into_iter().filter(|(at_ms, _)| range.contains(*at_ms)).collect();
            prop_assert!(want.is_empty() || overlaps(&page, range));
            if turned >= samples.len() && let Some(newest) = page.layers(SLOT, 0).find_map(|of| of.newest(range)) {
                prop_assert_eq!(Some(&newest), want.last());
            }
            prop_assert_eq!(got, want);
            page.clear(0);
            prop_assert_eq!(page.is_empty(), turned >= samples.len());
            page.clear(1);
            prop_assert!(page.is_empty() && page.bytes() == 0);
        }

        /// Whatever the order and the kinds, the sample that came last for a timestamp is read back.
        #[test]
        fn the_last_kind_of_each_timestamp_counts(
            samples in prop::collection::vec((-30i64..30, 0u32..3, 0i64..3), 0..400),
            turned in 0usize..800,
            range in (-35i64..35, -35i64..35),
        ) {
            let (mut page, mut model) = (Page::new(), BTreeMap::new());
            for (at, &(timestamp_ms, value, start_ms)) in samples.iter().enumerate() {
                page.turn_to(u32::from(at >= turned));
                let sample = FullSample { timestamp_ms, start_ms, value: SampleValue::Float(f64::from(value)) };
                if start_ms == 0 {
                    page.push(SLOT, timestamp_ms, f64::from(value));
                } else {
                    let mut coded = Vec::new();
                    full::encode(&sample, &mut coded);
                    page.push_full(SLOT, timestamp_ms, coded.into());
                }
                model.insert(timestamp_ms, sample);
            }
            prop_assert_eq!(page.is_empty(), model.is_empty());
            let range = TimeRange::new(range.0, range.1);
            check_extents(&page, model.keys().copied());
            let want: Vec<FullSample> = model.into_values().filter(|of| range.contains(of.timestamp_ms)).collect();
            prop_assert!(want.is_empty() || overlaps(&page, range));
            if turned >= samples.len() && let Some((newest_ms, value)) = page.layers(SLOT, 0).find_map(|of| of.newest(range)) {
                let newest = FullSample { timestamp_ms: newest_ms, start_ms: 0, value: SampleValue::Float(value) };
                prop_assert_eq!(Some(&newest), want.last());
            }
            prop_assert_eq!(read(&page, range).iter_full().collect::<Vec<_>>(), want);
            page.clear(1);
            prop_assert!(page.is_empty() && page.bytes() == 0);
        }

        /// A page without room for more chunks keeps samples all the same.
        #[test]
        fn a_full_arena_loses_nothing(samples in prop::collection::vec((-400i64..400, any::<u32>()), 0..300)) {
            let mut page = Page::new();
            page.current.arena = Arena::bounded(266);
            let mut model = BTreeMap::new();
            for &(at_ms, value) in &samples {
                page.push(SLOT, at_ms, f64::from(value));
                model.insert(at_ms, f64::from(value));
            }
            let got: Vec<(i64, f64)> = read(&page, TimeRange::ALL).iter().map(|of| (of.timestamp.0, of.value)).collect();
            prop_assert_eq!(got, model.into_iter().collect::<Vec<_>>());
        }
    }
}
