//! Queries over what was downsampled: equal to those over the samples where windows begin and end where summaries do,
//! and within the stated bounds elsewhere.

use model::sample::stale_marker;
use model::{Labels, SampleValue, SeriesSource};
use query::{Answer, CancelToken, QueryOptions, QueryTime, Value};
use storage::memory::MemoryStore;

use crate::downsampled::Downsampled;
use crate::watched::ask;

const MINUTE_MS: i64 = 60_000;
const END_MS: i64 = 240 * MINUTE_MS;

/// Counters `c_total` and gauges `g` of whole numbers, samples every 15 s more or less, with resets, gaps, series that
/// begin and end, and stale markers.
fn store(seed: u64) -> MemoryStore {
    let mut random = fastrand::Rng::with_seed(seed);
    let store = MemoryStore::new();
    for i in 0..4 {
        for name in ["c_total", "g"] {
            let labels = [("__name__", name), ("i", &i.to_string())];
            let mut samples = Vec::new();
            let mut time_ms = if i == 1 { 100 * MINUTE_MS } else { random.i64(1..20_000) };
            let end_ms = if i == 2 { 150 * MINUTE_MS } else { END_MS };
            let mut value = f64::from(random.i32(0..50));
            while time_ms <= end_ms {
                samples.push((time_ms, value));
                let step = f64::from(random.i32(0..10));
                value = match (name, random.u8(0..60)) {
                    ("g", _) => f64::from(random.i32(-9..9)),
                    (_, 0) => step,
                    (_, 1..10) => value,
                    _ => value + step,
                };
                let gap = random.u8(0..80) == 0;
                if gap && random.bool() {
                    samples.push((time_ms + random.i64(1..MINUTE_MS), stale_marker()));
                }
                time_ms += if gap { random.i64(MINUTE_MS..12 * MINUTE_MS) } else { 15_000 };
                // Some lie on the borders of windows.
                if random.u8(0..20) == 0 {
                    time_ms += (MINUTE_MS - time_ms % MINUTE_MS) % MINUTE_MS;
                }
            }
            store.insert(&Labels::from_pairs(labels).expect("valid labels"), &samples);
        }
    }
    store
}

fn answer(source: &dyn SeriesSource, query: &str, time: QueryTime) -> Answer {
    let options = QueryOptions { threads_max: 1, ..QueryOptions::default() };
    ask(source, query, time, &options, &CancelToken::new()).unwrap_or_else(|error| panic!("{query}: {error}"))
}

/// Every value of an answer: which series, when, what.
fn points(source: &dyn SeriesSource, query: &str, time: QueryTime) -> Vec<(String, i64, f64)> {
    match answer(source, query, time).value {
        Value::Matrix(series) => {
            let of = |one: query::Series| {
                let labels = one.labels.to_string();
                one.samples.iter().map(|sample| (labels.clone(), sample.timestamp.0, sample.value)).collect::<Vec<_>>()
            };
            series.into_iter().flat_map(of).collect()
        }
        Value::Vector(elements) => elements
            .into_iter()
            .map(|one| match one.value {
                SampleValue::Float(value) => (one.labels.to_string(), one.timestamp_ms, value),
                SampleValue::Histogram(_) => panic!("{query}: no histograms here"),
            })
            .collect(),
        other => panic!("{query}: {other:?}"),
    }
}

#[track_caller]
fn assert_same(found: &[(String, i64, f64)], want: &[(String, i64, f64)], scale: f64, what: &str) {
    let places = |points: &[(String, i64, f64)]| -> Vec<(String, i64)> {
        points.iter().map(|(labels, at_ms, _)| (labels.clone(), *at_ms)).collect()
    };
    assert_eq!(places(found), places(want), "{what}");
    for ((labels, at_ms, found), (_, _, want)) in found.iter().zip(want) {
        let near = (found - want * scale).abs() <= 1e-12 * want.abs().max(1.0);
        let same = found.is_nan() && want.is_nan() || found.to_bits() == want.to_bits();
        assert!(near || same, "{what}: {found} is not {want} times {scale}, {labels} at {at_ms}");
    }
}

/// What is the same over whole windows, with `R` for the range.
const EXACT: [&str; 24] = [
    "count_over_time(c_total[R])",
    "sum_over_time(g[R])",
    "avg_over_time(g[R])",
    "min_over_time(g[R])",
    "max_over_time(g[R])",
    "first_over_time(g[R])",
    "last_over_time(g[R])",
    "present_over_time(g[R])",
    "absent_over_time(g{i=\"1\"}[R])",
    "ts_of_first_over_time(g[R])",
    "ts_of_last_over_time(g[R])",
    "changes(c_total[R])",
    "resets(c_total[R])",
    "delta(g[R])",
    "increase(c_total[R])",
    "rate(c_total[R] offset 10m)",
    "increase_pure(c_total[R])",
    "rate_pure(c_total[R])",
    "increase(c_total[R] anchored)",
    "changes(g[R] anchored)",
    "rate(c_total[R] smoothed)",
    "sum by (i) (increase(c_total[R])) / count(g)",
    "max_over_time(rate(c_total[R])[30m:5m])",
    "rate(c_total[R] @ 7200)",
];

const INSTANT: [&str; 6] = [
    "{__name__=~\".+\"}",
    "g offset 5m",
    "timestamp(g)",
    "avg_over_time(g[1h:5m])",
    "g smoothed",
    "count(c_total) + on () group_left () sum(g @ 9000)",
];

#[test]
fn whole_windows_are_those_of_the_samples() {
    for seed in 0..2 {
        let store = store(seed);
        for (windows_ms, border_minutes) in [
            (&[MINUTE_MS][..], 240),
            (&[5 * MINUTE_MS], 120),
            (&[MINUTE_MS, 5 * MINUTE_MS], 120),
            (&[5 * MINUTE_MS], 5),
        ] {
            let source = Downsampled::new(&store, border_minutes * MINUTE_MS, windows_ms);
            for (range, step) in [(5, 5), (15, 10), (10, 30)] {
                let grid = QueryTime::Range { start_ms: 0, end_ms: END_MS, step_ms: step * MINUTE_MS };
                let end = QueryTime::Instant { time_ms: 200 * MINUTE_MS };
                let exact = EXACT.iter().map(|query| query.replace('R', &format!("{range}m")));
                for query in exact.chain(INSTANT.map(str::to_owned)) {
                    for time in [grid, end].into_iter().take(if range == 15 { 2 } else { 1 }) {
                        let what = format!("seed {seed}, {query} at {time:?}, {windows_ms:?} to {border_minutes}");
                        assert_same(&points(&source, &query, time), &points(&store, &query, time), 1.0, &what);
                    }
                }
            }
        }
    }
}

/// Series every 15 to 90 s of which every third sample or so is NaN, infinite, a stale marker, a reset, or behind a gap,
/// longer than lookback at times.
fn strange_store(random: &mut fastrand::Rng) -> MemoryStore {
    let store = MemoryStore::new();
    for name in ["c_total", "g"] {
        let (mut samples, mut value) = (Vec::new(), 0.0);
        let mut time_ms = random.i64(1..30 * MINUTE_MS);
        let oddness = random.u8(6..60);
        while time_ms <= END_MS {
            let step = f64::from(random.u8(0..5));
            value = if name == "g" || random.u8(0..oddness) == 0 { step - 1.0 } else { value + step };
            let shown = match random.u8(0..oddness) {
                0 | 1 => f64::NAN,
                2 | 3 => stale_marker(),
                4 => [f64::INFINITY, f64::NEG_INFINITY][random.usize(0..2)],
                _ => value,
            };
            samples.push((time_ms, shown));
            time_ms += match random.u8(0..oddness) {
                0 => random.i64(MINUTE_MS..25 * MINUTE_MS),
                1 => MINUTE_MS - time_ms % MINUTE_MS,
                _ => random.i64(1..6) * 15_000,
            };
        }
        store.insert(&Labels::from_pairs([("__name__", name), ("i", "1")]).expect("valid labels"), &samples);
    }
    store
}

/// Whatever the samples are: increases, resets and all else over whole windows are theirs, and series end where they do.
#[test]
fn strange_samples_are_summarised_exactly() {
    for seed in 0..120 {
        let mut random = fastrand::Rng::with_seed(seed);
        let store = strange_store(&mut random);
        let border_ms = random.i64(0..5) * 60 * MINUTE_MS;
        let windows_ms =
            [&[MINUTE_MS][..], &[5 * MINUTE_MS], &[MINUTE_MS, 15 * MINUTE_MS], &[60 * MINUTE_MS]][random.usize(0..4)];
        let source = Downsampled::new(&store, border_ms, windows_ms);
        let longest = windows_ms[windows_ms.len() - 1] / MINUTE_MS;
        let (range, step) = (longest * random.i64(1..4), longest * random.i64(1..3));
        let grid = QueryTime::Range { start_ms: 0, end_ms: END_MS, step_ms: step * MINUTE_MS };
        let within_lookback: &[&str] = if longest <= 5 { &INSTANT } else { &[] };
        // What interpolates, or asks for samples at times between, knows what is said of them alone.
        let exact =
            EXACT.iter().filter(|query| longest <= 5 || !query.contains([':', '@', '/']) && !query.contains("offset"));
        for query in exact.chain(within_lookback) {
            let query = query.replace('R', &format!("{range}m"));
            let what = format!("seed {seed}, {query} by {step}m, {windows_ms:?} to {border_ms}");
            assert_same(&points(&source, &query, grid), &points(&store, &query, grid), 1.0, &what);
        }
    }
}

/// Samples every 15 s without gaps, the last one of each window five seconds before its end.
fn dense() -> MemoryStore {
    let store = MemoryStore::new();
    let mut random = fastrand::Rng::with_seed(7);
    for name in ["c_total", "g"] {
        let mut value = 0.0;
        let mut next = |at: i64| {
            let step = f64::from(random.u8(0..9));
            value = if name == "g" || random.u8(0..40) == 0 { step } else { value + step };
            (at * 15_000 + 10_000, value)
        };
        let samples: Vec<(i64, f64)> = (0..END_MS / 15_000).map(&mut next).collect();
        store.insert(&Labels::from_pairs([("__name__", name)]).expect("valid labels"), &samples);
    }
    store
}

#[test]
fn windows_that_cut_summaries_are_those_before() {
    let store = dense();
    let source = Downsampled::new(&store, END_MS, &[5 * MINUTE_MS]);
    let at = |time_ms| QueryTime::Instant { time_ms };
    // What interpolates does so between samples, not between windows.
    for query in EXACT.into_iter().filter(|query| !query.contains([':', '@', '/']) && !query.contains("smoothed")) {
        let query = query.replace('R', "15m").replace(" offset 10m", "");
        for past_ms in [1, 9_000, 150_000, 294_999] {
            let (whole, cut) = (at(200 * MINUTE_MS), at(200 * MINUTE_MS + past_ms));
            let mut found = points(&source, &query, cut);
            for point in &mut found {
                point.1 -= past_ms;
            }
            assert_same(&found, &points(&store, &query, whole), 1.0, &format!("{query} {past_ms} ms later"));
        }
    }
}

#[test]
fn lengths_that_windows_do_not_divide_are_taken_in_proportion() {
    let store = dense();
    let source = Downsampled::new(&store, END_MS, &[60 * MINUTE_MS]);
    let time = QueryTime::Instant { time_ms: 120 * MINUTE_MS };
    // A range of five minutes sees the window of an hour that it lies in.
    for (query, scale) in [
        ("rate(c_total[R])", 1.0),
        ("increase(c_total[R])", 1.0 / 12.0),
        ("increase_pure(c_total[R])", 1.0 / 12.0),
        ("increase(c_total[R] anchored)", 1.0 / 12.0),
        ("count_over_time(g[R])", 1.0 / 12.0),
        ("sum_over_time(g[R])", 1.0 / 12.0),
        ("changes(g[R])", 1.0 / 12.0),
        ("resets(c_total[R])", 1.0 / 12.0),
        ("delta(g[R])", 1.0 / 12.0),
        ("avg_over_time(g[R])", 1.0),
        ("max_over_time(g[R])", 1.0),
        ("first_over_time(g[R])", 1.0),
        ("last_over_time(g[R])", 1.0),
    ] {
        let (short, long) = (query.replace('R', "5m"), query.replace('R', "1h"));
        assert_same(&points(&source, &short, time), &points(&store, &long, time), scale, query);
    }
    // So there is a value at every step, as there was before downsampling.
    let grid = QueryTime::Range { start_ms: 65 * MINUTE_MS, end_ms: 235 * MINUTE_MS, step_ms: MINUTE_MS };
    for query in ["rate(c_total[2m])", "g", "rate(c_total)", "max_over_time(g[2m])"] {
        assert_eq!(points(&source, query, grid).len(), 171, "{query}");
    }
}

/// Over any windows, what is said of them lies between what may be said of the windows up to a summary longer.
#[test]
fn any_window_is_within_its_bounds() {
    let store = dense();
    let window_ms = 5 * MINUTE_MS;
    let mut random = fastrand::Rng::with_seed(3);
    let all = points(&store, "g", QueryTime::Range { start_ms: 10_000, end_ms: END_MS, step_ms: 15_000 });
    for round in 0..200 {
        let border_ms = if round % 3 == 0 { END_MS } else { 150 * MINUTE_MS };
        let source = Downsampled::new(&store, border_ms, &[5 * MINUTE_MS]);
        let (range_ms, end_ms) = (random.i64(30_000..60 * MINUTE_MS), random.i64(80 * MINUTE_MS..END_MS));
        let inside = |from_ms: i64, to_ms: i64| {
            let found = all.iter().filter(move |(_, at_ms, _)| *at_ms > from_ms && *at_ms <= to_ms);
            found.map(|(_, _, value)| *value).collect::<Vec<f64>>()
        };
        let wide = inside(end_ms - range_ms.max(window_ms) - window_ms, end_ms + window_ms);
        let (low, high) = (wide.iter().copied().fold(9.0, f64::min), wide.iter().copied().fold(0.0, f64::max));
        for name in ["avg", "min", "max", "first", "last"] {
            let query = format!("{name}_over_time(g[{range_ms}ms])");
            let found = points(&source, &query, QueryTime::Instant { time_ms: end_ms });
            assert_eq!(found.len(), 1, "{query} at {end_ms}");
            assert!((low..=high).contains(&found[0].2), "{query} at {end_ms}: {} of {low} to {high}", found[0].2);
        }
        let query = format!("count_over_time(g[{range_ms}ms])");
        let found = points(&source, &query, QueryTime::Instant { time_ms: end_ms })[0].2;
        let want = inside(end_ms - range_ms, end_ms).len();
        let want = f64::from(u32::try_from(want).expect("few"));
        // Steady samples: only how the ends fall between them matters.
        assert!((found - want).abs() <= 1.5, "{query} at {end_ms}: {found} is not {want}");
    }
}

#[test]
fn longer_windows_serve_longer_steps() {
    let store = store(1);
    let windows_ms = &[MINUTE_MS, 5 * MINUTE_MS, 60 * MINUTE_MS];
    let source = Downsampled::new(&store, 180 * MINUTE_MS, windows_ms);
    let range = |start, step| QueryTime::Range {
        start_ms: start * MINUTE_MS,
        end_ms: 180 * MINUTE_MS,
        step_ms: step * MINUTE_MS,
    };
    for (query, time, want_minutes) in [
        ("g", range(0, 60), 60),
        ("g", range(0, 5), 5),
        ("g", range(0, 7), 5),
        ("g", range(1, 7), 1),
        ("g", QueryTime::Instant { time_ms: 170 * MINUTE_MS }, 1),
        ("rate(g[1h])", range(0, 60), 60),
        ("rate(g[1h])", range(10, 60), 5),
        ("rate(g[1h])", range(0, 20), 5),
        ("rate(g[5m])", range(0, 60), 5),
        ("rate(g[1h])", QueryTime::Instant { time_ms: 180 * MINUTE_MS }, 60),
        ("rate(g[1h])", QueryTime::Instant { time_ms: 170 * MINUTE_MS }, 5),
    ] {
        let explain = answer(&source, query, time).explain.expect("asked for");
        let leaf = explain.children.first().unwrap_or(&explain);
        let found = leaf.downsampled.expect("summaries were read");
        assert_eq!(
            (found.window_ms_min, found.window_ms_max),
            (want_minutes * MINUTE_MS, want_minutes * MINUTE_MS),
            "{query} at {time:?}"
        );
    }
}

#[test]
fn what_was_read_is_explained() {
    let store = dense();
    let source = Downsampled::new(&store, 120 * MINUTE_MS, &[5 * MINUTE_MS]);
    let grid = QueryTime::Range { start_ms: 60 * MINUTE_MS, end_ms: 180 * MINUTE_MS, step_ms: 5 * MINUTE_MS };
    for (query, columns) in [
        ("rate(c_total[10m])", "increase"),
        ("avg_over_time(g[10m])", "sum, count"),
        ("max_over_time(g[10m])", "max"),
        ("abs(g)", "last"),
        ("deriv(g[10m])", "last"),
    ] {
        let answer = answer(&source, query, grid);
        let leaf = &answer.explain.as_ref().expect("asked for").children[0];
        let found = leaf.downsampled.expect("summaries were read");
        // One or two before the first step within range or lookback, and one as far back as a summary may be.
        assert!((14..=15).contains(&found.summaries), "{query}: {found:?}");
        assert_eq!((found.columns, found.samples_from_ms), (columns, 120 * MINUTE_MS), "{query}");
        assert_eq!(leaf.samples, found.summaries + 260, "summaries count as samples: {query}");
    }
    let late = QueryTime::Instant { time_ms: 180 * MINUTE_MS };
    let explain = answer(&source, "abs(g)", late).explain.expect("asked for");
    assert_eq!(explain.children[0].downsampled, None, "samples are kept here");
}

#[test]
fn who_needs_samples_is_told() {
    let store = dense();
    let source = Downsampled::new(&store, 120 * MINUTE_MS, &[5 * MINUTE_MS]);
    let grid = QueryTime::Range { start_ms: 60 * MINUTE_MS, end_ms: 180 * MINUTE_MS, step_ms: 5 * MINUTE_MS };
    for (query, who, place) in [
        ("quantile_over_time(0.5, g[10m])", "quantile_over_time", "1:25"),
        ("1 + stddev_over_time(g[10m])", "stddev_over_time", "1:22"),
        ("irate(c_total[15m])", "irate", "1:7"),
        ("g smoothed", "smoothed", "1:1"),
    ] {
        let told = format!(
            "PromQL info: {who} sees the last samples alone of downsampled windows of 5m, all samples are kept from \
             1970-01-01T02:00:00Z on ({place})"
        );
        assert_eq!(answer(&source, query, grid).infos, [told], "{query}");
    }
    for query in ["rate(c_total[10m])", "changes(g[10m])", "g", "resets(g[10m])"] {
        assert_eq!(answer(&source, query, grid).infos, Vec::<String>::new(), "{query}");
    }
    // Over summaries alone such a function is that of their last samples.
    let time = QueryTime::Instant { time_ms: 120 * MINUTE_MS };
    let of_last = points(&store, "stddev_over_time(g[1h:5m])", time);
    assert_same(&points(&source, "stddev_over_time(g[1h])", time), &of_last, 1.0, "of the last samples");
}

#[test]
fn summaries_count_against_the_limits() {
    let store = dense();
    let source = Downsampled::new(&store, END_MS, &[MINUTE_MS]);
    let time = QueryTime::Instant { time_ms: END_MS };
    let with = |samples_max, bytes_max| {
        let options = QueryOptions { samples_max, bytes_max, ..QueryOptions::default() };
        ask(&source, "sum(rate(c_total[4h]))", time, &options, &CancelToken::new()).map(|answer| answer.cost)
    };
    let cost = with(1000, 1 << 20).expect("within the limits");
    assert_eq!(cost.read.samples, 240);
    assert!(cost.bytes_peak > 240 * 100, "{cost:?}");
    assert!(with(239, 1 << 20).is_err());
    assert!(with(1000, 240 * 100).is_err());
}
