//! `increase_pure` over windows side by side adds up to `increase_pure` over all of them, to the last digit.

use model::{Labels, SampleValue};
use query::{CancelToken, QueryOptions, QueryTime, Request, Value, evaluate};
use storage::memory::MemoryStore;

const MINUTE_MS: i64 = 60_000;

/// The value of the only element at a time, 0 if there is none.
fn value(store: &MemoryStore, query: &str, time_ms: i64) -> f64 {
    let (options, cancel, time) = (QueryOptions::default(), CancelToken::new(), QueryTime::Instant { time_ms });
    let request = Request {
        query,
        time,
        options: &options,
        lookback_ms: None,
        timeout_ms: None,
        cancel: &cancel,
        explain: false,
    };
    match evaluate(store, &request).unwrap_or_else(|error| panic!("{query}: {error}")).value {
        Value::Vector(found) => found.first().map_or(0.0, |element| match element.value {
            SampleValue::Float(value) => value,
            SampleValue::Histogram(_) => panic!("a histogram of floats"),
        }),
        other => panic!("{other:?}"),
    }
}

#[test]
#[expect(clippy::float_cmp, reason = "exact by design")]
fn windows_side_by_side_add_up() {
    for seed in 0..20 {
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut time_ms, mut count, mut counted, mut samples) = (0, 0u32, 0u32, Vec::new());
        while time_ms < 60 * MINUTE_MS {
            let more = random.u32(0..1000);
            // It begins anew now and then.
            if random.u8(0..10) == 0 && more < count {
                count = 0;
            }
            count += more;
            counted += if samples.is_empty() { 0 } else { more };
            samples.push((time_ms, f64::from(count)));
            time_ms += random.i64(1..4 * MINUTE_MS);
        }
        let store = MemoryStore::new();
        store.insert(&Labels::from_pairs([("__name__", "c_total")]).expect("valid labels"), &samples);
        let whole = value(&store, "increase_pure(c_total[61m])", 60 * MINUTE_MS);
        assert_eq!(whole, f64::from(counted), "seed {seed}");
        for minutes in [1, 3, 7, 20] {
            let query = format!("increase_pure(c_total[{minutes}m])");
            let ends = (0..).map(|at| (60 - at * minutes) * MINUTE_MS).take_while(|&end| end > -20 * MINUTE_MS);
            let sum: f64 = ends.map(|end_ms| value(&store, &query, end_ms)).sum();
            assert_eq!(sum, whole, "{minutes} minutes, seed {seed}");
        }
    }
}
