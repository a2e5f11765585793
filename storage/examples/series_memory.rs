//! What a series costs in memory, part by part, in bytes as glibc's allocator hands them out.
//!
//! `cargo run --release -p storage --example series_memory -- 100000`
#![expect(clippy::print_stdout, reason = "printing is what it is for")]
#![expect(clippy::cast_precision_loss, reason = "of averages with one decimal")]

mod fleet;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use model::Labels;
use storage::head::Head;
use storage::ids::SeriesId;
use storage::index::{Postings, SeriesTable};
use storage::log::payload::SampleColumns;

use fleet::labels;

/// New series of one request.
const REQUEST_SERIES: usize = 5000;

/// Counts what is in use.
struct Counting;

static IN_USE_BYTES: AtomicUsize = AtomicUsize::new(0);

/// A header of 8 bytes, multiples of 16, 32 at least.
fn taken(bytes: usize) -> usize {
    (bytes + 8).next_multiple_of(16).max(32)
}

// SAFETY: every call is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        IN_USE_BYTES.fetch_add(taken(layout.size()), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        IN_USE_BYTES.fetch_sub(taken(layout.size()), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Runs `work` and prints how much memory it keeps.
fn part<T>(name: &str, series: u32, work: impl FnOnce() -> T) -> T {
    let before = IN_USE_BYTES.load(Ordering::Relaxed);
    let kept = work();
    let grown = IN_USE_BYTES.load(Ordering::Relaxed) - before;
    println!("{name:44} {:8.1} bytes a series", grown as f64 / f64::from(series));
    kept
}

fn main() {
    let series: u32 = std::env::args().nth(1).and_then(|count| count.parse().ok()).unwrap_or(100_000);
    let copies: usize = (0..series).map(|id| taken(labels(id).packed().len() + 16) + 16).sum();
    println!(
        "{:44} {:8.1} bytes a series",
        "(labels, if each were a text of its own)",
        copies as f64 / f64::from(series)
    );
    let _table = part("labels, and ids by labels", series, || {
        let table: SeriesTable = SeriesTable::default();
        for first in (0..series).step_by(REQUEST_SERIES) {
            let ids = first..series.min(first + u32::try_from(REQUEST_SERIES).expect("some"));
            let new: Vec<(SeriesId, Labels)> = ids.map(|id| (SeriesId(id), labels(id))).collect();
            table.insert_all(new.iter().map(|(id, labels)| (*id, labels)));
        }
        table
    });
    let _postings = part("postings", series, || {
        let mut postings = Postings::default();
        (0..series).for_each(|id| postings.insert(SeriesId(id), labels(id).as_ref()));
        postings
    });
    let head = Head::default();
    let mut done = 0;
    for samples in [1, 20, 120, 240] {
        part(&format!("head, from {done} to {samples} samples of a counter"), series, || {
            for at in done..samples {
                let mut columns = SampleColumns::default();
                for id in 0..series {
                    columns.push(SeriesId(id), i64::from(at) * 15_000, f64::from(at * (id % 50)));
                }
                head.apply(&columns);
            }
        });
        done = samples;
    }
    let ended = part("head, what a flush begins with", series, || {
        let ended = head.turn();
        let mut columns = SampleColumns::default();
        (0..series).for_each(|id| columns.push(SeriesId(id), i64::from(done) * 15_000, 1.0));
        head.apply(&columns);
        ended
    });
    let before = IN_USE_BYTES.load(Ordering::Relaxed);
    head.clear(ended);
    let freed = before - IN_USE_BYTES.load(Ordering::Relaxed);
    println!("{:44} {:8.1} bytes a series", "head, what it gives back", freed as f64 / f64::from(series));
}
