//! What the engine does about memory: flushing by bytes, refusing, giving back, merging within bounds.

use std::sync::Arc;
use std::time::{Duration, Instant};

use model::{Labels, SampleSink, SinkError, SystemClock, TimeRange, WriteBatch};
use storage::{Engine, EngineOptions};

use crate::support::{NOW_MS, append, content, open, options};

/// How long the background may take.
const PATIENCE: Duration = Duration::from_mins(1);

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < until, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn in_background(folder: &std::path::Path, options: EngineOptions) -> Arc<Engine> {
    let options = EngineOptions { background: true, ..options };
    Engine::open(folder, options, Arc::new(SystemClock)).expect("the folder opens")
}

/// Values that take their eight bytes each, of one series.
fn rows(series: u32, count: i64) -> Vec<(u32, i64, f64)> {
    let mut random = fastrand::Rng::with_seed(u64::from(series));
    (0..count).map(|at| (series, NOW_MS + at * 1000, random.f64())).collect()
}

#[test]
fn a_head_above_its_bytes_is_flushed_and_one_far_above_refuses() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let engine = in_background(folder.path(), EngineOptions { head_bytes_max: 20_000, ..options() });
    append(&*engine, &rows(1, 3000)).expect("taken");
    wait_for("the head is flushed", || engine.stats().flushes > 0 && engine.stats().head_bytes == 0);
    drop(engine);

    let folder = tempfile::tempdir().expect("a temporary folder");
    let engine = open(folder.path(), EngineOptions { head_bytes_max: 5_000, ..options() });
    append(&*engine, &rows(1, 3000)).expect("taken");
    let refused = append(&*engine, &rows(2, 1)).expect_err("nobody flushes");
    assert!(matches!(refused, SinkError::Busy { .. }), "{refused}");
    engine.flush().expect("flushed");
    append(&*engine, &rows(2, 1)).expect("taken again");
}

#[test]
fn who_is_short_of_memory_refuses_with_the_reason_until_told_otherwise() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let engine = open(folder.path(), options());
    append(&*engine, &rows(1, 5)).expect("taken");
    engine.refuse_appends(Some("9 bytes of 8".to_owned()));
    match append(&*engine, &rows(1, 6)).expect_err("refused") {
        SinkError::Busy { detail, retry_after_ms } => {
            assert_eq!(detail, "9 bytes of 8");
            assert!(retry_after_ms > 0);
        }
        other => panic!("{other}"),
    }
    assert_eq!(content(&*engine, &[], TimeRange::ALL)[0].1.len(), 5, "reads go on");
    engine.flush().expect("flushing goes on");
    engine.refuse_appends(None);
    append(&*engine, &rows(1, 6)).expect("taken again");
}

#[test]
fn relief_flushes_a_head_that_is_worth_a_block_and_drops_what_is_cached() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let engine = in_background(folder.path(), EngineOptions { head_bytes_max: 40_000, ..options() });
    append(&*engine, &rows(1, 10)).expect("taken");
    engine.relieve_memory();
    append(&*engine, &rows(1, 2000)).expect("taken");
    assert_eq!(engine.stats().flushes, 0, "ten samples are not worth a block");
    engine.relieve_memory();
    wait_for("the head is flushed", || engine.stats().flushes == 1);
    assert_eq!(content(&*engine, &[], TimeRange::ALL)[0].1.len(), 2000);
    assert!(engine.stats().column_cache_bytes > 0, "reading has decoded timestamps");
    engine.relieve_memory();
    assert_eq!(engine.stats().column_cache_bytes, 0);
}

/// With hardly any memory to work in blocks are merged by twos, and nothing is lost.
#[test]
fn merges_take_fewer_blocks_where_memory_is_small() {
    for (maintenance_bytes_max, merges) in [(256 << 20, 1), (1, 3)] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let engine = open(folder.path(), EngineOptions { maintenance_bytes_max, ..options() });
        for block in 0..4 {
            let rows: Vec<_> = (0..20).map(|series| (series, NOW_MS + block, 0.5)).collect();
            append(&*engine, &rows).expect("taken");
            engine.flush().expect("flushed");
        }
        engine.merge_to_end().expect("merged");
        let stats = engine.stats();
        assert_eq!((stats.merges, stats.blocks), (merges, 1), "with {maintenance_bytes_max} bytes");
        assert_eq!(stats.maintenance_bytes, 0, "nothing is worked on any more");
        let kept = content(&*engine, &[], TimeRange::ALL);
        assert!(kept.len() == 20 && kept.iter().all(|(_, samples)| samples.len() == 4));
    }
}

#[test]
fn series_are_told_with_their_text() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let engine = open(folder.path(), options());
    assert_eq!(engine.stats().series_bytes, 0);
    let mut batch = WriteBatch::new();
    for at in 0..3000 {
        let long = format!("{at:0400}");
        let labels = Labels::from_pairs([("__name__", "m"), ("long", long.as_str())]).expect("valid labels");
        batch.push_series(labels.as_ref());
        batch.push_sample(NOW_MS, 1.0);
    }
    engine.append(&batch).expect("taken");
    let bytes = engine.stats().series_bytes;
    assert!((3000 * 500..3000 * 900).contains(&bytes), "{bytes} bytes");
}
