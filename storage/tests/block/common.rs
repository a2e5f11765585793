//! What the block tests share: a model of a block, and ways between it and files.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use model::{Samples, TimeRange};
use roaring::RoaringBitmap;
use storage::block::{BlockError, BlockReader, BlockSummary, BlockWriter, ColumnCache};
use storage::codec::Effort;
use storage::files::{Files, RealFiles};

/// Series by id, each timestamp with the bits of its value.
pub(crate) type Model = BTreeMap<u64, BTreeMap<i64, u64>>;

pub(crate) fn samples_of(series: &BTreeMap<i64, u64>) -> Samples {
    let values = series.values().map(|&bits| f64::from_bits(bits)).collect();
    Samples::from_floats(series.keys().copied().collect(), values)
}

pub(crate) fn bits(samples: &Samples) -> BTreeMap<i64, u64> {
    assert!(samples.timestamps_ms.is_sorted_by(|a, b| a < b));
    samples.iter().map(|sample| (sample.timestamp.0, sample.value.to_bits())).collect()
}

/// Writes `model` as a block of day 0.
pub(crate) fn write_block(files: Arc<dyn Files>, path: &Path, model: &Model, effort: Effort) -> BlockSummary {
    let mut writer = BlockWriter::create(files, path, 0, effort).unwrap();
    for (&id, series) in model {
        writer.add_series(id, &samples_of(series)).unwrap();
    }
    writer.finish().unwrap()
}

pub(crate) fn open(path: &Path) -> Result<BlockReader, BlockError> {
    BlockReader::open(&RealFiles, path, Arc::new(ColumnCache::new(1 << 16)))
}

/// Reads every series whole and inside `range`, and compares with the model.
pub(crate) fn check_reads(reader: &BlockReader, model: &Model, range: TimeRange) {
    let ids: Vec<u64> = reader.series().map(|info| info.unwrap().id).collect();
    assert!(ids.iter().eq(model.keys()), "{ids:?}");
    if let Some(&middle) = model.keys().nth(model.len() / 2) {
        for from in [middle, middle.saturating_add(1)] {
            let ids = reader.series_from(from).map(|info| info.unwrap().id);
            assert!(ids.eq(model.range(from..).map(|(&id, _)| id)), "from {from}");
        }
    }
    for (&id, series) in model {
        let mut got = Samples::default();
        reader.read(id, TimeRange::ALL, &mut got).unwrap();
        assert_eq!(bits(&got), *series, "series {id}");
        let info = reader.series_info(id).unwrap().unwrap();
        let bounds = TimeRange::new(*series.keys().next().unwrap(), *series.keys().last().unwrap());
        assert_eq!((info.bounds, info.samples), (bounds, series.len() as u64));
        // Appends behind what is there.
        reader.read(id, range, &mut got).unwrap();
        let want: Vec<i64> = series.keys().copied().filter(|&timestamp_ms| range.contains(timestamp_ms)).collect();
        assert_eq!(got.timestamps_ms[series.len()..], want);
        assert_eq!(got.values.len(), got.timestamps_ms.len());
    }
    check_reaching(reader, model, range);
    let mut got = Samples::default();
    reader.read(u64::MAX - 1, TimeRange::ALL, &mut got).unwrap();
    assert!(got.is_empty());
}

/// Whatever is asked for, the walk over the directories finds what a look at each series does.
fn check_reaching(reader: &BlockReader, model: &Model, range: TimeRange) {
    let known = model.keys().filter_map(|&id| u32::try_from(id).ok());
    let around: RoaringBitmap = known.flat_map(|id| id.saturating_sub(1)..=id.saturating_add(1)).collect();
    let few = around.iter().filter(|id| id % 23 == 4).collect();
    for ids in [&around, &few] {
        let reaches = |id: &u32| {
            let info = reader.series_info(u64::from(*id)).unwrap();
            info.is_some_and(|info| info.bounds.overlaps(range))
        };
        let want: RoaringBitmap = ids.iter().filter(reaches).collect();
        assert_eq!(reader.reaching_into(ids, range).unwrap(), want);
    }
}

/// A small block of day 0 with every coding in it: two scrapes, a late series, one with timestamps of its own, and
/// values of every kind.
pub(crate) fn day_block() -> Model {
    let mut random = fastrand::Rng::with_seed(7);
    let mut series = |from: i64, to: i64, jitter_ms: i64, value: &dyn Fn(i64, u32) -> f64| {
        (from..to)
            .map(|at| {
                let timestamp_ms = at * 15_000 + if jitter_ms > 0 { random.i64(0..jitter_ms) } else { 0 };
                (timestamp_ms, value(at, random.u32(0..200)).to_bits())
            })
            .collect::<BTreeMap<i64, u64>>()
    };
    let stale = model::sample::stale_marker();
    let mut model = Model::from([
        (3, series(0, 120, 0, &|_, _| 2.5)),
        (4, series(0, 120, 0, &|at, _| (at * 3) as f64)),
        (5, series(0, 120, 0, &|_, noise| f64::from(noise))),
        (6, series(0, 120, 0, &|_, noise| f64::from(noise) / 100.0)),
        (7, series(0, 120, 0, &|_, noise| f64::from(noise).sqrt())),
        (8, series(40, 120, 0, &|at, noise| if at % 30 == 0 { stale } else { f64::from(noise) })),
        (1000, series(0, 30, 900, &|at, _| (at % 3) as f64)),
        (u64::MAX, series(0, 3, 0, &|at, _| if at == 1 { -0.0 } else { f64::NAN })),
    ]);
    // Enough for a second group of the directory.
    model.extend((2000..2040).map(|id| (id, BTreeMap::from([(15_000, id), (30_000, 0)]))));
    model
}
