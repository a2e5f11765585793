//! Summaries against the samples they stand for, and their way through a block.

use std::cmp::Ordering::Equal;
use std::sync::Arc;

use model::summary::window_end_ms;
use model::{Histogram, HistogramSample, Samples, Summary, TimeRange};
use proptest::prelude::*;
use storage::block::{BlockReader, BlockWriter, ColumnCache, verify};
use storage::codec::Effort;
use storage::files::RealFiles;
use storage::summary::{join, one_by_one, reconcile, regroup, settle_beside, summarise};

const STALE: u64 = model::sample::STALE_NAN_BITS;

/// Counters with resets, gauges, constant series, strange numbers; some markers, some gaps.
fn any_series(times: std::ops::Range<i64>) -> impl Strategy<Value = Samples> {
    let step = prop_oneof![8 => 1i64..40, 1 => 200i64..5000];
    let value = (any::<u64>(), 0u8..40);
    (times, 0u8..4, prop::collection::vec((step, value), 0..200)).prop_map(|(start_ms, kind, rows)| {
        let mut samples = Samples::default();
        let (mut at_ms, mut counter) = (start_ms, 0.0);
        for (step, (bits, small)) in rows {
            at_ms += step;
            counter = if small == 0 { 0.0 } else { counter + f64::from(small % 7) };
            let value = match (kind, small) {
                (_, 39) => f64::from_bits(STALE),
                (0, _) => counter,
                (1, _) => f64::from(small) - 20.0,
                (2, _) => 5.0,
                _ if small < 4 => f64::from_bits(bits),
                _ => f64::from(small) / 8.0,
            };
            samples.push(at_ms, value);
        }
        samples
    })
}

/// What the functions of the query language say of some samples, the plain way.
fn plainly(window_ms: i64, of: &[(i64, f64)], ended: bool) -> Summary {
    let values = || of.iter().map(|(_, value)| *value);
    let pairs = || of.windows(2).map(|pair| (pair[0].1, pair[1].1));
    let (first, last) = (of[0], of[of.len() - 1]);
    Summary {
        window_ms,
        count: of.len() as u64,
        first_ms: first.0,
        last_ms: last.0,
        first: first.1,
        last: last.1,
        min: values().fold(f64::NAN, f64::min),
        max: values().fold(f64::NAN, f64::max),
        sum: values().sum(),
        before_resets: pairs().filter(|(before, value)| value < before).map(|(before, _)| before).sum(),
        resets: pairs().filter(|(before, value)| value < before).count() as u64,
        changes: pairs().filter(|(a, b)| a.partial_cmp(b) != Some(Equal) && !(a.is_nan() && b.is_nan())).count() as u64,
        ended,
    }
}

fn by_window(samples: &Samples, window_ms: i64) -> Vec<Summary> {
    let mut all: Vec<Summary> = Vec::new();
    let mut of: Vec<(i64, f64)> = Vec::new();
    let rows: Vec<(i64, f64)> = samples.timestamps_ms.iter().copied().zip(samples.values.iter().copied()).collect();
    for part in rows.chunk_by(|a, b| window_end_ms(a.0, window_ms) == window_end_ms(b.0, window_ms)) {
        of.clear();
        of.extend(part.iter().filter(|(_, value)| value.to_bits() != STALE));
        if let Some(&(last_ms, _)) = of.last() {
            all.push(plainly(window_ms, &of, part.iter().any(|(at_ms, _)| *at_ms > last_ms)));
        }
    }
    all
}

/// Equal but for rounding where numbers are not whole; counts and extremes to the bit.
#[track_caller]
fn assert_same(got: &[Summary], want: &[Summary]) {
    assert_eq!(got.len(), want.len(), "{got:#?} {want:#?}");
    for (got, want) in got.iter().zip(want) {
        let exact = |of: &Summary| {
            let bits = [of.first, of.last].map(f64::to_bits);
            let extremes = [of.min, of.max].map(|value| if value.is_nan() { None } else { Some(value) });
            (of.window_ms, of.count, of.first_ms, of.last_ms, bits, extremes, of.resets, of.changes, of.ended)
        };
        assert_eq!(exact(got), exact(want));
        let small = [got.min, got.max].iter().all(|value| value.abs() < 1e9);
        // Each addition rounds by a part in 2^53 of what it adds up to, at most all of the largest.
        let largest = got.min.abs().max(got.max.abs()).max(1.0);
        let samples = f64::from(u32::try_from(got.count).expect("few samples"));
        let close =
            |a: f64, b: f64| !small || (a - b).abs() < 1e-15 * largest * samples * samples || a.is_nan() && b.is_nan();
        assert!(close(got.sum, want.sum) && close(got.before_resets, want.before_resets), "{got:?} {want:?}");
    }
}

fn summaries_of(samples: &Samples, window_ms: i64) -> Vec<Summary> {
    let mut found = Vec::new();
    summarise(&samples.timestamps_ms, &samples.values, window_ms, &mut found);
    found
}

fn bits(all: &[Summary]) -> Vec<String> {
    let numbers = |of: &Summary| [of.first, of.last, of.min, of.max, of.sum, of.before_resets].map(f64::to_bits);
    all.iter()
        .map(|of| {
            format!(
                "{:?} {:?}",
                numbers(of),
                (of.window_ms, of.first_ms, of.last_ms, of.count, of.resets, of.changes, of.ended)
            )
        })
        .collect()
}

/// Where the samples of a window are gone, late ones before and behind them are joined to its summary, each once; of one between
/// them nobody knows whether it is in it.
#[test]
fn what_lies_around_a_summary_is_joined_to_it() {
    let at = |times: &[i32]| {
        Samples::from_floats(
            times.iter().copied().map(i64::from).collect(),
            times.iter().copied().map(f64::from).collect(),
        )
    };
    let of = |times: &[i32]| summaries_of(&at(times), 300);
    let mut told = of(&[100, 200, 250]);
    for (late, want) in [
        (&[260][..], &[100, 200, 250, 260][..]),
        (&[260, 270], &[100, 200, 250, 260, 270]),
        (&[50, 260, 270, 280], &[50, 100, 200, 250, 260, 270, 280]),
        (&[50, 150, 260, 280], &[50, 100, 200, 250, 260, 270, 280]),
        (&[1, 2, 300], &[1, 2, 50, 100, 200, 250, 260, 270, 280, 300]),
        (&[301], &[1, 2, 50, 100, 200, 250, 260, 270, 280, 300, 301]),
    ] {
        let mut both = Vec::new();
        reconcile(&told, &of(late), &at(late), &mut both);
        assert_same(&both, &of(want));
        told = both;
    }
}

proptest! {
    #[test]
    fn summaries_say_what_the_samples_say(samples in any_series(-2000..2000)) {
        for window_ms in [1, 60, 300, 7200] {
            assert_same(&summaries_of(&samples, window_ms), &by_window(&samples, window_ms));
        }
    }

    /// Windows of finer windows, and a window cut in two anywhere, are those of the samples; but for markers of windows
    /// without samples.
    #[test]
    fn parts_join_to_the_whole(samples in any_series(0..500), cut in 0usize..200) {
        let mut samples = samples;
        let rows: Vec<(i64, f64)> =
            samples.timestamps_ms.drain(..).zip(samples.values.drain(..)).filter(|(_, value)| value.to_bits() != STALE).collect();
        for &(at_ms, value) in &rows {
            samples.push(at_ms, value);
        }
        let whole = summaries_of(&samples, 600);
        let mut regrouped = Vec::new();
        regroup(&summaries_of(&samples, 60), 600, &mut regrouped);
        assert_same(&regrouped, &whole);
        let cut = cut.min(rows.len());
        let part = |rows: &[(i64, f64)]| {
            summaries_of(&Samples::from_floats(rows.iter().map(|row| row.0).collect(), rows.iter().map(|row| row.1).collect()), 600)
        };
        let (mut first, second) = (part(&rows[..cut]), part(&rows[cut..]));
        for later in second {
            match first.last_mut() {
                Some(last) if last.end_ms() == later.end_ms() => *last = join(last, &later),
                _ => first.push(later),
            }
        }
        assert_same(&first, &whole);
    }

    /// Made again of all samples, summaries are the new ones; made of none, the old ones.
    #[test]
    fn what_is_made_again_counts(older in any_series(0..300), late in any_series(0..300)) {
        let mut all: std::collections::BTreeMap<i64, f64> =
            older.timestamps_ms.iter().copied().zip(older.values.iter().copied()).filter(|(_, value)| value.to_bits() != STALE).collect();
        let old = summaries_of(&Samples::from_floats(all.keys().copied().collect(), all.values().copied().collect()), 300);
        all.extend(late.timestamps_ms.iter().copied().zip(late.values.iter().copied()).filter(|(_, value)| value.to_bits() != STALE));
        let all = Samples::from_floats(all.keys().copied().collect(), all.values().copied().collect());
        let new = summaries_of(&all, 300);
        let mut both = Vec::new();
        reconcile(&old, &new, &all, &mut both);
        prop_assert_eq!(bits(&both), bits(&new));
        both.clear();
        reconcile(&old, &[], &Samples::default(), &mut both);
        prop_assert_eq!(bits(&both), bits(&old));
    }

    /// Through a block and back, to the bit, for any range; readers of samples find the latest values, and the block is sound.
    #[test]
    fn blocks_keep_summaries(
        all in prop::collection::vec((any_series(0..900), any_series(0..900)), 1..5),
        histograms in prop::collection::btree_set(0i64..9000, 0..20),
        range in (0i64..9000, 0i64..9000),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("block");
        let mut writer = BlockWriter::create(Arc::new(RealFiles), &path, 0, Effort::Small).unwrap();
        let sample = |&timestamp_ms: &i64| HistogramSample { timestamp_ms, start_ms: 0, histogram: Histogram::default().into() };
        let histograms: Vec<HistogramSample> = histograms.iter().map(sample).collect();
        let mut want = Vec::new();
        for (id, (one, other)) in (0u64..).zip(&all) {
            // Series of one scrape share times; every other one goes its own way.
            let times = if id % 2 == 0 { &all[0].0 } else { one };
            let count = times.timestamps_ms.len().min(other.values.len());
            let samples = Samples::from_floats(times.timestamps_ms[..count].to_vec(), other.values[..count].to_vec());
            let mut found = summaries_of(&samples, 300);
            let mut beside = one_by_one(samples);
            if id == 1 {
                let free = |at: &&HistogramSample| beside.timestamps_ms.iter().all(|at_ms| *at_ms != at.timestamp_ms);
                let free: Vec<HistogramSample> = histograms.iter().filter(free).cloned().collect();
                beside.histograms = free;
            }
            settle_beside(&mut found, &mut beside, 300);
            writer.add_summaries(id, &found, &beside).unwrap();
            want.push((found, beside));
        }
        let empty = want.iter().all(|(found, beside): &(Vec<Summary>, Samples)| found.is_empty() && beside.is_empty());
        writer.finish().unwrap();
        prop_assert!(verify(&RealFiles, &path).unwrap().is_sound());
        let reader = BlockReader::open(&RealFiles, &path, Arc::new(ColumnCache::new(1 << 20))).unwrap();
        prop_assert_eq!(reader.summary().samples == 0, empty);
        let (mut summaries, mut samples) = (Vec::new(), Samples::default());
        for (id, (found, beside)) in (0u64..).zip(&want) {
            for range in [TimeRange::ALL, TimeRange::new(range.0, range.1)] {
                summaries.clear();
                samples.clear();
                reader.read_summaries(id, range, &mut summaries, &mut samples, &mut |damage| panic!("{damage}")).unwrap();
                let inside: Vec<Summary> = found.iter().filter(|of| range.contains(of.last_ms)).copied().collect();
                prop_assert_eq!(bits(&summaries), bits(&inside));
                let mut beside = beside.clone();
                beside.clip(range);
                prop_assert!(samples.iter_full().eq(beside.iter_full()));
                samples.clear();
                reader.read(id, range, &mut samples).unwrap();
                let latest = inside.iter().map(|of| (of.last_ms, of.last.to_bits()));
                let mut shown: Vec<(i64, u64)> = latest.chain(beside.iter().map(|of| (of.timestamp.0, STALE))).collect();
                shown.sort_unstable();
                prop_assert!(samples.iter().map(|of| (of.timestamp.0, of.value.to_bits())).eq(shown));
            }
        }
    }

    /// Any bytes are refused or decoded, never more.
    #[test]
    fn chunks_of_any_bytes_are_taken(mut bytes in prop::collection::vec(any::<u8>(), 0..200), at in 0usize..200, count in 0usize..40) {
        let times: Vec<i64> = (0..40).collect();
        let samples = Samples::from_floats(times.clone(), vec![1.5; 40]);
        let whole = summaries_of(&samples, 2);
        let mut encoded = Vec::new();
        let first_times = storage::summary::column::FirstTimes { column: 1, index: 0 };
        storage::summary::column::encode(&mut storage::codec::values::ValueEncoder::new(), &whole, 0, first_times, Effort::Fast, &mut encoded);
        for changed in [&mut bytes, &mut encoded] {
            if let Some(byte) = changed.get_mut(at) {
                *byte ^= 1 << (at % 8);
            }
            let mut into = Vec::new();
            let decoded = storage::summary::column::decode(changed, &times[..count], &times[..count], 0..count, &mut into);
            prop_assert!(into.len() <= count && (decoded.is_ok() || into.is_empty()));
            drop(storage::summary::column::decode_last(changed, count, &mut Vec::new()));
        }
    }
}
