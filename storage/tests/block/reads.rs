//! What was written is read, whole and in part; what was merged has the newest values.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{Samples, TimeRange};
use proptest::prelude::*;
use storage::block::{BlockError, BlockWriter, DAY_MS, MergePlan, day_of, merge, overlay, verify};
use storage::codec::{CHUNK_SAMPLES_MAX, Effort};
use storage::files::RealFiles;

use crate::common::{Model, bits, check_reads, open, samples_of, write_block};

/// A few scrapes of many series, some late, some with gaps, some with timestamps of their own.
fn blocks() -> impl Strategy<Value = Model> {
    let series = (0usize..4, 0i64..40, 0i64..60, any::<u64>(), 1i64..5).prop_map(|(kind, from, count, seed, step)| {
        let mut random = fastrand::Rng::with_seed(seed);
        let timestamp = |at: i64| match kind {
            0 | 1 => (from + at) * 15_000,
            2 => (from + at) * step * 1000,
            _ => at * 20_000 + seed.cast_signed().rem_euclid(19_000),
        };
        (0..count)
            .filter(|at| kind != 1 || at % 7 != 3)
            .map(|at| (timestamp(at), if seed % 3 == 0 { 1f64.to_bits() } else { f64::from(random.u8(..)).to_bits() }))
            .collect::<BTreeMap<i64, u64>>()
    });
    prop::collection::btree_map(prop_oneof![4 => 0u64..400, 1 => any::<u64>()], series, 0..90)
        .prop_map(|model| model.into_iter().filter(|(_, series)| !series.is_empty()).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn series_come_back(model in blocks(), start in 0i64..900_000, width in -1i64..900_000, fast in any::<bool>()) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("block");
        let effort = if fast { Effort::Fast } else { Effort::Small };
        let summary = write_block(Arc::new(RealFiles), &path, &model, effort);
        let reader = open(&path).unwrap();
        prop_assert_eq!(reader.summary(), summary);
        prop_assert_eq!(summary.samples, model.values().map(|series| series.len() as u64).sum::<u64>());
        prop_assert_eq!(summary.bytes, std::fs::metadata(&path).unwrap().len());
        check_reads(&reader, &model, TimeRange::new(start, start + width));
        let report = verify(&RealFiles, &path).unwrap();
        prop_assert!(report.is_sound(), "{:?}", report.damage);
        prop_assert_eq!(report.samples_readable, summary.samples);
    }

    #[test]
    fn the_newest_value_wins_a_merge(models in prop::collection::vec(blocks(), 1..4), from in 0i64..500_000) {
        struct Plan(i64);
        impl MergePlan for Plan {
            fn keep(&mut self, series_id: u64) -> Option<TimeRange> {
                (!series_id.is_multiple_of(5)).then(|| TimeRange::new(self.0, i64::MAX))
            }
            fn edit(&mut self, series_id: u64, samples: &mut Samples) {
                if series_id % 5 == 1 {
                    samples.clear();
                }
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let mut want = Model::new();
        let mut readers = Vec::new();
        for (at, model) in models.iter().enumerate() {
            let path = folder.path().join(at.to_string());
            write_block(Arc::new(RealFiles), &path, model, Effort::Fast);
            readers.push(open(&path).unwrap());
            for (&id, series) in model.iter().filter(|(id, _)| !matches!(*id % 5, 0 | 1)) {
                want.entry(id).or_default().extend(series.iter().filter(|(ts, _)| **ts >= from).map(|(k, v)| (*k, *v)));
            }
        }
        want.retain(|_, series| !series.is_empty());
        let path = folder.path().join("merged");
        let writer = BlockWriter::create(Arc::new(RealFiles), &path, 0, Effort::Small).unwrap();
        let merged = merge(&readers.iter().collect::<Vec<_>>(), &mut Plan(from), writer).unwrap();
        prop_assert_eq!(merged.is_none(), want.is_empty());
        prop_assert_eq!(path.exists(), !want.is_empty());
        if merged.is_some() {
            check_reads(&open(&path).unwrap(), &want, TimeRange::new(from, from + 100_000));
        }
    }

    #[test]
    fn overlay_keeps_order_and_the_newer(older in prop::collection::btree_map(0i64..40, any::<u64>(), 0..30), newer in prop::collection::btree_map(0i64..80, any::<u64>(), 0..30)) {
        let (mut samples, mut spare) = (samples_of(&older), Samples::default());
        overlay(&mut samples, &samples_of(&newer), &mut spare);
        let mut want = older;
        want.extend(newer);
        prop_assert_eq!(bits(&samples), want);
    }
}

#[test]
fn long_series_share_their_columns_over_many_chunks() {
    let count = i64::try_from(CHUNK_SAMPLES_MAX).unwrap() * 3 + 100;
    let whole = |from: i64| (from..count).map(|at| (at * 2000, at.cast_unsigned() % 7)).collect::<BTreeMap<_, _>>();
    let model = Model::from([(1, whole(0)), (2, whole(0)), (3, whole(500)), (9, whole(count - 3))]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("block");
    let summary = write_block(Arc::new(RealFiles), &path, &model, Effort::Small);
    assert_eq!((summary.columns, summary.chunks), (4, 13));
    let reader = open(&path).unwrap();
    check_reads(&reader, &model, TimeRange::new(9_000_000, 9_100_000));
    let mut got = Samples::default();
    let cost = reader.read(2, TimeRange::new(9_000_000, 9_000_000), &mut got).unwrap();
    assert_eq!((got.len(), cost.chunks, cost.samples), (1, 1, CHUNK_SAMPLES_MAX as u64));
}

#[test]
fn extreme_days_hold_extreme_timestamps() {
    let folder = tempfile::tempdir().unwrap();
    for timestamp_ms in [i64::MIN, -1, 0, DAY_MS, i64::MAX] {
        let path = folder.path().join("block");
        let day = day_of(timestamp_ms);
        let mut writer = BlockWriter::create(Arc::new(RealFiles), &path, day, Effort::Small).unwrap();
        let samples = samples_of(&BTreeMap::from([(timestamp_ms, 3)]));
        writer.add_series(0, &samples).unwrap();
        writer.add_series(u64::MAX, &samples).unwrap();
        writer.finish().unwrap();
        let reader = open(&path).unwrap();
        assert_eq!(reader.summary().partition_day, day);
        let mut got = Samples::default();
        reader.read(u64::MAX, TimeRange::new(timestamp_ms, timestamp_ms), &mut got).unwrap();
        assert_eq!(got.timestamps_ms, [timestamp_ms]);
    }
}

#[test]
fn a_partition_may_span_days() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("block");
    let mut writer = BlockWriter::create_spanning(Arc::new(RealFiles), &path, -3, 9, Effort::Small).unwrap();
    let series = BTreeMap::from([(-3 * DAY_MS, 1), (0, 2), (10 * DAY_MS - 1, 3)]);
    writer.add_series(1, &samples_of(&series)).unwrap();
    for outside in [-3 * DAY_MS - 1, 10 * DAY_MS] {
        assert!(writer.add_series(2, &samples_of(&BTreeMap::from([(outside, 1)]))).is_err());
    }
    let summary = writer.finish().unwrap();
    assert_eq!((summary.partition_day, summary.last_day), (-3, 9));
    let reader = open(&path).unwrap();
    assert_eq!(reader.summary(), summary);
    check_reads(&reader, &Model::from([(1, series)]), TimeRange::new(0, DAY_MS));
}

#[test]
fn the_writer_refuses_what_it_could_not_give_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("block");
    let mut writer = BlockWriter::create(Arc::new(RealFiles), &path, 0, Effort::Small).unwrap();
    let samples = |times: &[i64]| Samples::from_floats(times.to_vec(), vec![1.0; times.len()]);
    writer.add_series(5, &samples(&[1, 2])).unwrap();
    for (id, samples) in [
        (5, samples(&[1])),
        (4, samples(&[1])),
        (6, samples(&[2, 1])),
        (6, samples(&[1, 1])),
        (6, samples(&[-1, 1])),
        (6, samples(&[1, DAY_MS])),
        (6, Samples::from_floats(vec![1], vec![])),
    ] {
        let refused = writer.add_series(id, &samples);
        assert!(matches!(refused, Err(BlockError::Unordered { series_id, .. }) if series_id == id), "{samples:?}");
    }
    writer.add_series(6, &samples(&[7])).unwrap();
    writer.add_series(7, &samples(&[])).unwrap();
    assert_eq!(writer.finish().unwrap().samples, 3);
    assert!(verify(&RealFiles, &path).unwrap().is_sound());
}
