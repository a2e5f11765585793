//! The head: samples that are in the log and in no block yet.
//!
//! Pages of 256 series, each with its lock, so that a batch takes few locks and readers wait for at most one page.
//! The head has generations: a flush turns to a new one, writes the samples of the one before into blocks, and forgets
//! them when the blocks are registered. Series move over when they are next written, so turning costs nothing. What
//! one series holds is [`chunks`]'s; the order of writes is the caller's, who applies batches in the order of the log.

pub mod chunks;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};

use model::TimeRange;
use parking_lot::{Mutex, RwLock};
use roaring::RoaringBitmap;

use crate::ids::SeriesId;
use crate::index::table::{PAGE_SERIES, place};
use crate::log::payload::{FullRow, SampleColumns};
use chunks::Chunks;
pub use chunks::{HeadChunk, Layer};

/// Numbers the generations, from 0.
pub type Generation = u32;

/// Samples of all series that are in no block yet.
#[derive(Debug, Default)]
pub struct Head {
    pages: RwLock<Vec<Option<Arc<Page>>>>,
    generation: AtomicU32,
    bytes: AtomicI64,
    spans: Mutex<Spans>,
}

type Page = Mutex<Box<[SeriesHead; PAGE_SERIES]>>;

/// Where the newest sample of a series is.
#[derive(Debug)]
pub enum Newest {
    /// This is it: time and value.
    Sample(i64, f64),
    /// Among these layers, oldest first.
    Among(Vec<Layer>),
}

/// Where a chunk of a series lies in time, or one sample that is in none.
#[derive(Debug, Clone, Copy)]
pub struct Extent {
    /// Whose it is.
    pub series: SeriesId,
    /// From its first sample to its last.
    pub range: TimeRange,
    /// How many samples it has.
    pub samples: u64,
}

/// Earliest and latest sample of the two generations that can hold samples.
#[derive(Debug, Default)]
struct Spans {
    current: Option<TimeRange>,
    previous: Option<TimeRange>,
}

/// The samples of one series.
#[derive(Debug, Default)]
struct SeriesHead {
    /// The generation that `current` belongs to.
    generation: Generation,
    current: Chunks,
    /// Samples of an older generation, while they are being flushed.
    previous: Option<Box<Chunks>>,
}

impl SeriesHead {
    fn is_empty(&self) -> bool {
        self.current.is_empty() && self.previous.is_none()
    }

    /// What `generation`, the latest, holds; samples of the one before move aside.
    fn of(&mut self, generation: Generation) -> &mut Chunks {
        if self.generation != generation {
            if !self.current.is_empty() {
                debug_assert!(self.previous.is_none(), "a generation is flushed before the next begins");
                self.previous = Some(Box::new(std::mem::take(&mut self.current)));
            }
            self.generation = generation;
        }
        &mut self.current
    }

    /// The samples up to `generation`, or all, oldest layer first.
    fn layers(&self, generation: Generation) -> impl Iterator<Item = &Chunks> {
        let current = (self.generation <= generation && !self.current.is_empty()).then_some(&self.current);
        self.previous.as_deref().into_iter().chain(current)
    }
}

impl Head {
    /// Memory of a page, in bytes.
    pub(crate) const PAGE_BYTES: usize = size_of::<[SeriesHead; PAGE_SERIES]>();

    /// Adds floats in their order: of two samples with one series and timestamp the one that was added later counts.
    pub fn apply(&self, columns: &SampleColumns) {
        let generation = self.generation.load(Ordering::Acquire);
        let mut added_bytes = 0;
        let mut at = 0;
        while let Some(&first) = columns.ids.get(at) {
            let number = place(SeriesId(first)).0;
            let rest = columns.ids[at..].iter();
            let end = at + rest.take_while(|&&id| place(SeriesId(id)).0 == number).count();
            self.with_page(number, |page| {
                let samples = columns.timestamps_ms[at..end].iter().zip(&columns.values[at..end]);
                for (&id, (&timestamp_ms, &value)) in columns.ids[at..end].iter().zip(samples) {
                    let current = page[place(SeriesId(id)).1].of(generation);
                    added_bytes += current.push(timestamp_ms, value);
                }
            });
            at = end;
        }
        self.bytes.fetch_add(added_bytes, Ordering::AcqRel);
        let (min, max) = (columns.timestamps_ms.iter().min(), columns.timestamps_ms.iter().max());
        if let (Some(&min), Some(&max)) = (min, max) {
            self.widen(TimeRange::new(min, max));
        }
    }

    /// Adds samples that are more than a float in their order, as [`apply`](Self::apply) does.
    pub fn apply_full(&self, rows: &[FullRow]) {
        let generation = self.generation.load(Ordering::Acquire);
        for row in rows {
            let (number, slot) = place(row.id);
            let mut added_bytes = 0;
            self.with_page(number, |page| {
                added_bytes = page[slot].of(generation).push_full(row.timestamp_ms, row.bytes.clone());
            });
            self.bytes.fetch_add(added_bytes, Ordering::AcqRel);
            self.widen(TimeRange::new(row.timestamp_ms, row.timestamp_ms));
        }
    }

    fn widen(&self, range: TimeRange) {
        let mut spans = self.spans.lock();
        spans.current = Some(union(spans.current, range));
    }

    /// Begins a new generation and returns the one that ended. The generation before that has been [cleared](Self::clear).
    /// No sample is being applied meanwhile.
    pub fn turn(&self) -> Generation {
        let mut spans = self.spans.lock();
        let current = spans.current.take();
        spans.previous = current.map(|span| union(spans.previous, span)).or(spans.previous);
        self.generation.fetch_add(1, Ordering::AcqRel)
    }

    /// Forgets the samples up to `generation`, which are in blocks by now.
    pub fn clear(&self, generation: Generation) {
        for number in 0..self.pages() {
            let Some(page) = self.page(number) else { continue };
            let mut page = page.lock();
            let mut freed_bytes = 0;
            for series in page.iter_mut() {
                if let Some(chunks) = series.previous.take() {
                    freed_bytes += chunks.heap_bytes();
                }
                if series.generation <= generation && !series.current.is_empty() {
                    freed_bytes += std::mem::take(&mut series.current).heap_bytes();
                }
            }
            drop(page);
            self.bytes.fetch_sub(freed_bytes, Ordering::AcqRel);
        }
        self.spans.lock().previous = None;
        // A page is looked up and locked under the read lock, so an empty one is in nobody's hands here.
        for page in self.pages.write().iter_mut() {
            if page.as_ref().is_some_and(|page| page.lock().iter().all(SeriesHead::is_empty)) {
                *page = None;
            }
        }
    }

    /// Those of `ids` that have samples in `range`, each with a copy of them, oldest layer first.
    pub fn snapshots(&self, ids: &RoaringBitmap, range: TimeRange) -> Vec<(SeriesId, Vec<Layer>)> {
        let mut found = Vec::new();
        self.each(ids, |id, series| {
            let layers: Vec<Layer> =
                series.layers(Generation::MAX).filter_map(|chunks| chunks.snapshot(range)).collect();
            if !layers.is_empty() {
                found.push((id, layers));
            }
        });
        found
    }

    /// What is known of the newest samples in `range` of those of `ids` that have some: the sample of a series if it can
    /// be told without decoding, else a copy of them all.
    pub fn newest(&self, ids: &RoaringBitmap, range: TimeRange) -> Vec<(SeriesId, Newest)> {
        let mut found = Vec::new();
        self.each(ids, |id, series| {
            let overlapping = || series.layers(Generation::MAX).filter(|chunks| chunks.overlaps(range));
            // Of two for one timestamp that of the later layer counts.
            let newest = overlapping().try_fold(None, |best: Option<(i64, f64)>, chunks| {
                let found = chunks.newest(range)?;
                Some(best.filter(|best| best.0 > found.0).or(Some(found)))
            });
            match newest {
                Some(None) => {}
                Some(Some((at_ms, value))) => found.push((id, Newest::Sample(at_ms, value))),
                None => {
                    let layers = overlapping().filter_map(|chunks| chunks.snapshot(range)).collect();
                    found.push((id, Newest::Among(layers)));
                }
            }
        });
        found
    }

    /// Those of `ids` that may have samples in `range`.
    pub fn overlapping(&self, ids: &RoaringBitmap, range: TimeRange) -> RoaringBitmap {
        let mut found = RoaringBitmap::new();
        self.each(ids, |id, series| {
            if series.layers(Generation::MAX).any(|chunks| chunks.overlaps(range)) {
                found.insert(id.0);
            }
        });
        found
    }

    /// Calls `visit` for those of `ids` whose page exists; a page is locked once for all of its series.
    fn each(&self, ids: &RoaringBitmap, mut visit: impl FnMut(SeriesId, &SeriesHead)) {
        let mut ids = ids.iter().peekable();
        while let Some(&first) = ids.peek() {
            let number = place(SeriesId(first)).0;
            let page = self.page(number);
            let page = page.as_ref().map(|page| page.lock());
            while let Some(id) = ids.next_if(|&id| place(SeriesId(id)).0 == number) {
                if let Some(page) = &page {
                    visit(SeriesId(id), &page[place(SeriesId(id)).1]);
                }
            }
        }
    }

    /// Number of pages, for [`page_layers`](Self::page_layers).
    pub fn pages(&self) -> usize {
        self.pages.read().len()
    }

    /// The samples up to `generation` of the series in page `number`, by id, each with its layers, oldest first.
    pub fn page_layers(&self, number: usize, generation: Generation) -> Vec<(SeriesId, Vec<Layer>)> {
        let Some(page) = self.page(number) else { return Vec::new() };
        let page = page.lock();
        let mut found = Vec::new();
        for (slot, series) in page.iter().enumerate() {
            let layers: Vec<Layer> =
                series.layers(generation).filter_map(|chunks| chunks.snapshot(TimeRange::ALL)).collect();
            if let (false, Ok(id)) = (layers.is_empty(), u32::try_from(number * PAGE_SERIES + slot)) {
                found.push((SeriesId(id), layers));
            }
        }
        found
    }

    /// Puts into `extents`, whatever was in it, where the samples up to `generation` of page `number` lie, by series.
    pub fn page_extents(&self, number: usize, generation: Generation, extents: &mut Vec<Extent>) {
        extents.clear();
        let Some(page) = self.page(number) else { return };
        let page = page.lock();
        for (slot, of) in page.iter().enumerate() {
            let Ok(id) = u32::try_from(number * PAGE_SERIES + slot) else { return };
            let found = of.layers(generation).flat_map(Chunks::extents);
            extents.extend(found.map(|(range, samples)| Extent { series: SeriesId(id), range, samples }));
        }
    }

    /// Memory of the samples, without the fixed part of each series.
    pub fn bytes(&self) -> u64 {
        u64::try_from(self.bytes.load(Ordering::Acquire)).unwrap_or(0)
    }

    /// Earliest and latest sample, if there is any.
    pub fn span(&self) -> Option<TimeRange> {
        let spans = self.spans.lock();
        spans.current.map(|span| union(spans.previous, span)).or(spans.previous)
    }

    /// Number of pages that hold memory, of [`PAGE_BYTES`](Self::PAGE_BYTES) each.
    pub(crate) fn pages_made(&self) -> usize {
        self.pages.read().iter().flatten().count()
    }

    fn page(&self, number: usize) -> Option<Arc<Page>> {
        self.pages.read().get(number)?.clone()
    }

    /// Runs `work` on a page, which is made if it is missing.
    fn with_page(&self, number: usize, work: impl FnOnce(&mut [SeriesHead; PAGE_SERIES])) {
        let pages = self.pages.read();
        if let Some(Some(page)) = pages.get(number) {
            return work(&mut page.lock());
        }
        drop(pages);
        let mut pages = self.pages.write();
        if pages.len() <= number {
            pages.resize(number + 1, None);
        }
        let page = pages[number].get_or_insert_with(|| Arc::new(Mutex::new(new_page())));
        work(&mut page.lock());
    }
}

fn new_page() -> Box<[SeriesHead; PAGE_SERIES]> {
    let series: Vec<SeriesHead> = (0..PAGE_SERIES).map(|_| SeriesHead::default()).collect();
    series.try_into().unwrap_or_else(|_| unreachable!("as many as were made"))
}

fn union(known: Option<TimeRange>, more: TimeRange) -> TimeRange {
    let known = known.unwrap_or(more);
    TimeRange { start: known.start.min(more.start), end: known.end.max(more.end) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Samples;

    fn columns(rows: &[(u32, i64, f64)]) -> SampleColumns {
        let mut columns = SampleColumns::default();
        for &(id, timestamp_ms, value) in rows {
            columns.push(SeriesId(id), timestamp_ms, value);
        }
        columns
    }

    #[track_caller]
    fn check(head: &Head, id: u32, want: &[(i64, f64)]) {
        let found = head.snapshots(&RoaringBitmap::from([id]), TimeRange::ALL);
        assert_eq!(found.is_empty(), head.overlapping(&RoaringBitmap::from([id]), TimeRange::ALL).is_empty());
        let mut samples = Samples::default();
        for layer in found.iter().flat_map(|(_, layers)| layers) {
            layer.read(TimeRange::ALL, &mut samples).expect("the head is not damaged");
        }
        let got: Vec<(i64, f64)> = samples.iter().map(|sample| (sample.timestamp.0, sample.value)).collect();
        assert_eq!(got, want);
    }

    #[test]
    fn both_generations_are_read_until_the_older_is_cleared() {
        let head = Head::default();
        head.apply(&columns(&[(1, 10, 1.0), (1, 20, 2.0), (300, 5, 3.0)]));
        let ended = head.turn();
        head.apply(&columns(&[(1, 20, 7.0), (1, 15, 8.0)]));
        check(&head, 1, &[(10, 1.0), (15, 8.0), (20, 7.0)]);
        check(&head, 300, &[(5, 3.0)]);
        assert_eq!(head.page_layers(0, ended).len(), 1);
        assert_eq!(head.span(), Some(TimeRange::new(5, 20)));
        head.clear(ended);
        check(&head, 1, &[(15, 8.0), (20, 7.0)]);
        check(&head, 300, &[]);
        assert_eq!(head.span(), Some(TimeRange::new(15, 20)));
        head.clear(head.turn());
        assert_eq!((head.bytes(), head.span()), (0, None));
        assert!(head.pages.read().iter().all(Option::is_none), "empty pages are freed");
    }
}
