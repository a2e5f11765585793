//! The head: samples that are in the log and in no block yet.
//!
//! Pages of 256 series, each with its lock, so that a batch takes few locks and readers wait for at most one page.
//! The head has generations: a flush turns to a new one, writes the samples of the one before into blocks, and forgets
//! them when the blocks are registered. Pages move over when they are next written, so turning costs nothing. What a page
//! holds is `page`'s; the order of writes is the caller's, who applies batches in the order of the log.

mod arena;
mod aside;
mod layer;
mod page;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};

use model::TimeRange;
use parking_lot::{Mutex, RwLock};
use roaring::RoaringBitmap;

use crate::ids::SeriesId;
use crate::index::table::{PAGE_SERIES, place};
use crate::log::payload::{FullRow, SampleColumns};
pub use layer::{Layer, LayerCost};
use page::{Chunks, Page};

/// Numbers the generations, from 0.
pub type Generation = u32;

/// Samples of all series that are in no block yet.
#[derive(Debug, Default)]
pub struct Head {
    pages: RwLock<Vec<Option<Arc<Mutex<Page>>>>>,
    generation: AtomicU32,
    bytes: AtomicI64,
    spans: Mutex<Spans>,
}

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

impl Head {
    /// Memory of a page without samples.
    pub(crate) const PAGE_BYTES: usize = Page::FIXED_BYTES;

    /// Adds floats in their order: of two samples with one series and timestamp the one that was added later counts.
    pub fn apply(&self, columns: &SampleColumns) {
        let mut at = 0;
        while let Some(&first) = columns.ids.get(at) {
            let number = place(SeriesId(first)).0;
            let rest = columns.ids[at..].iter();
            let end = at + rest.take_while(|&&id| place(SeriesId(id)).0 == number).count();
            self.change_page(number, |page| {
                let samples = columns.timestamps_ms[at..end].iter().zip(&columns.values[at..end]);
                for (&id, (&timestamp_ms, &value)) in columns.ids[at..end].iter().zip(samples) {
                    page.push(place(SeriesId(id)).1, timestamp_ms, value);
                }
            });
            at = end;
        }
        let (min, max) = (columns.timestamps_ms.iter().min(), columns.timestamps_ms.iter().max());
        if let (Some(&min), Some(&max)) = (min, max) {
            self.widen(TimeRange::new(min, max));
        }
    }

    /// Adds samples that are more than a float in their order, as [`apply`](Self::apply) does.
    pub fn apply_full(&self, rows: &[FullRow]) {
        for row in rows {
            let (number, slot) = place(row.id);
            self.change_page(number, |page| page.push_full(slot, row.timestamp_ms, row.bytes.clone()));
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
            let before = page.bytes();
            page.clear(generation);
            self.count(before, page.bytes());
        }
        self.spans.lock().previous = None;
        // A page is looked up and locked under the read lock, so an empty one is in nobody's hands here.
        for page in self.pages.write().iter_mut() {
            if page.as_ref().is_some_and(|page| page.lock().is_empty()) {
                *page = None;
            }
        }
    }

    /// Those of `ids` that have samples in `range`, each with a copy of them, oldest layer first.
    pub fn snapshots(&self, ids: &RoaringBitmap, range: TimeRange) -> Vec<(SeriesId, Vec<Layer>)> {
        let mut found = Vec::new();
        self.each(ids, |id, page, slot| {
            let layers = page.layers(slot, Generation::MAX);
            let layers: Vec<Layer> = layers.filter_map(|chunks| chunks.snapshot(range)).collect();
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
        self.each(ids, |id, page, slot| {
            let mut layers = page.layers(slot, Generation::MAX).filter(|chunks| chunks.overlaps(range));
            let (older, latest) = match (layers.next(), layers.next()) {
                (None, _) => return,
                (Some(only), None) => (None, only),
                (older, Some(latest)) => (older, latest),
            };
            // Of two for one timestamp that of the later layer counts.
            let newest = latest.newest(range).filter(|&(at_ms, _)| older.is_none_or(|older| older.end_ms() <= at_ms));
            let all = || older.into_iter().chain([latest]).filter_map(|chunks| chunks.snapshot(range)).collect();
            found.push((id, newest.map_or_else(|| Newest::Among(all()), |(at_ms, of)| Newest::Sample(at_ms, of))));
        });
        found
    }

    /// Those of `ids` that may have samples in `range`.
    pub fn overlapping(&self, ids: &RoaringBitmap, range: TimeRange) -> RoaringBitmap {
        let mut found = RoaringBitmap::new();
        self.each(ids, |id, page, slot| {
            if page.layers(slot, Generation::MAX).any(|chunks| chunks.overlaps(range)) {
                found.insert(id.0);
            }
        });
        found
    }

    /// Calls `visit` for those of `ids` whose page exists, with the page and their place there; a page is locked once for all of
    /// its series.
    fn each(&self, ids: &RoaringBitmap, mut visit: impl FnMut(SeriesId, &Page, usize)) {
        let mut ids = ids.iter().peekable();
        while let Some(&first) = ids.peek() {
            let number = place(SeriesId(first)).0;
            let page = self.page(number);
            let page = page.as_ref().map(|page| page.lock());
            while let Some(id) = ids.next_if(|&id| place(SeriesId(id)).0 == number) {
                if let Some(page) = &page {
                    visit(SeriesId(id), page, place(SeriesId(id)).1);
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
        for slot in 0..PAGE_SERIES {
            let layers = page.layers(slot, generation);
            let layers: Vec<Layer> = layers.filter_map(|chunks| chunks.snapshot(TimeRange::ALL)).collect();
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
        for slot in 0..PAGE_SERIES {
            let Ok(id) = u32::try_from(number * PAGE_SERIES + slot) else { return };
            let found = page.layers(slot, generation).flat_map(Chunks::extents);
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

    fn page(&self, number: usize) -> Option<Arc<Mutex<Page>>> {
        self.pages.read().get(number)?.clone()
    }

    /// Has `change` add samples to a page, which is made if it is missing.
    fn change_page(&self, number: usize, change: impl FnOnce(&mut Page)) {
        let counted = |page: &mut Page| {
            let before = page.bytes();
            page.turn_to(self.generation.load(Ordering::Acquire));
            change(page);
            self.count(before, page.bytes());
        };
        let pages = self.pages.read();
        if let Some(Some(page)) = pages.get(number) {
            return counted(&mut page.lock());
        }
        drop(pages);
        let mut pages = self.pages.write();
        if pages.len() <= number {
            pages.resize(number + 1, None);
        }
        let page = pages[number].get_or_insert_with(|| Arc::new(Mutex::new(Page::new())));
        counted(&mut page.lock());
    }

    /// A page that held `before` bytes of samples holds `now`.
    fn count(&self, before: usize, now: usize) {
        let signed = |bytes| i64::try_from(bytes).unwrap_or(i64::MAX);
        self.bytes.fetch_add(signed(now) - signed(before), Ordering::AcqRel);
    }
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
        let bytes: usize = head.pages.read().iter().flatten().map(|page| page.lock().bytes()).sum();
        assert_eq!(head.bytes(), bytes as u64);
        assert_eq!(head.span(), Some(TimeRange::new(5, 20)));
        head.clear(ended);
        check(&head, 1, &[(15, 8.0), (20, 7.0)]);
        check(&head, 300, &[]);
        assert_eq!(head.span(), Some(TimeRange::new(15, 20)));
        head.clear(head.turn());
        assert_eq!((head.bytes(), head.span()), (0, None));
        assert!(head.pages.read().iter().all(Option::is_none), "empty pages are freed");
    }

    #[test]
    fn the_newest_of_two_generations_is_known_unless_the_older_has_a_later_one() {
        let newest = |rows: &[(u32, i64, f64)]| {
            let head = Head::default();
            head.apply(&columns(&[(1, 10, 1.0), (1, 20, 2.0)]));
            head.turn();
            head.apply(&columns(rows));
            match &head.newest(&RoaringBitmap::from([1]), TimeRange::new(0, 100))[..] {
                [(SeriesId(1), Newest::Sample(at_ms, value))] => Ok((*at_ms, *value)),
                [(SeriesId(1), Newest::Among(layers))] => Err(layers.len()),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(newest(&[(1, 30, 3.0)]), Ok((30, 3.0)));
        assert_eq!(newest(&[(1, 20, 3.0)]), Ok((20, 3.0)));
        assert_eq!(newest(&[(1, 15, 3.0)]), Err(2));
        assert_eq!(newest(&[(300, 15, 3.0)]), Ok((20, 2.0)), "the page did not turn yet");
        assert_eq!(newest(&[(2, 15, 3.0)]), Err(1), "it did");
    }
}
