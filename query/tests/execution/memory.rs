//! Memory of queries: what is accounted for, and what a query, or all together, may hold.

use std::sync::Arc;

use model::{Labels, SeriesSource};
use query::{Answer, CancelToken, QueryError, QueryOptions, QueryTime, Resources};
use storage::memory::MemoryStore;

use crate::watched::{Watched, ask};

/// 100 series of 600 samples.
fn store() -> MemoryStore {
    let store = MemoryStore::new();
    for at in 0..100 {
        let labels = Labels::from_pairs([("__name__", "m"), ("i", &at.to_string())]).expect("valid labels");
        let samples: Vec<(i64, f64)> = (0..600).map(|n| (n * 10_000, 1.0)).collect();
        store.insert(&labels, &samples);
    }
    store
}

const RANGE: QueryTime = QueryTime::Range { start_ms: 0, end_ms: 5_990_000, step_ms: 10_000 };
const END: QueryTime = QueryTime::Instant { time_ms: 5_990_000 };

fn peak(query: &str, time: QueryTime) -> u64 {
    let answer = ask(&store(), query, time, &QueryOptions::default(), &CancelToken::new());
    answer.expect(query).cost.bytes_peak
}

#[test]
fn what_is_held_is_accounted_for() {
    // 600 steps of 8 bytes; samples of 16.
    let (column, samples) = (600 * 8, 600 * 16);
    let least = |query, time, bytes: u64| {
        let peak = peak(query, time);
        // Beside it each series costs up to 500 bytes: its selection, its labels, its place in the answer.
        assert!((bytes..2 * bytes + 100 * 500).contains(&peak), "{query}: {peak} bytes, {bytes} at least");
    };
    // The result with its times, and the samples of one series.
    least("m", RANGE, 100 * samples);
    least("m{i=\"1\"}", RANGE, samples + column);
    least("sum(m)", RANGE, samples + 600 * 16);
    // Nothing but one series at a time and a number of each.
    least("sum_over_time(m[100m])", END, samples);
    least("m[100m]", END, 100 * samples);
    least("m + m", RANGE, 2 * 100 * column);
    least("m or m * 2", RANGE, 100 * samples);
    least("quantile(0.5, m)", RANGE, 100 * column);
    // The sums, the column they become, and the samples made of it.
    least("max_over_time(sum(m)[100m:10s])", END, 600 * 24 + column + samples);
}

#[test]
fn the_limit_of_a_query_is_named() {
    for (query, time) in [("m", RANGE), ("m + m", RANGE), ("m[100m]", END), ("sum_over_time(m[100m])", END)] {
        for threads in [1, 8] {
            let bytes_max = usize::try_from(peak(query, time)).expect("a small number") / 4;
            let resources = Arc::new(Resources::new(1 << 30, 7));
            let options = QueryOptions { bytes_max, threads_max: threads, resources, ..QueryOptions::default() };
            let token = CancelToken::new();
            let error = ask(&store(), query, time, &options, &token).expect_err(query);
            assert_eq!(
                error.to_string(),
                format!(
                    "query needs more than {bytes_max} bytes of memory, which is the limit; narrow the selection or \
                     shorten the range"
                )
            );
            assert_eq!(options.resources.bytes(), 0, "all memory is given back");
            assert!(token.cost().bytes_peak <= bytes_max as u64, "never more than the limit");
        }
    }
}

#[test]
fn queries_together_keep_to_the_limit_of_all() {
    // Two of them do not fit; the second is asked while the first holds nearly all it needs.
    let needed = peak("m", RANGE);
    let bytes_max = usize::try_from(needed * 5 / 4).expect("a small number");
    let resources = Arc::new(Resources::new(bytes_max, 0));
    let options = QueryOptions { resources: resources.clone(), ..QueryOptions::default() };
    let ask_for = |source: &dyn SeriesSource, query: &str| -> Result<Answer, QueryError> {
        ask(source, query, RANGE, &options, &CancelToken::new())
    };
    let (second, third) = (std::sync::OnceLock::new(), std::sync::OnceLock::new());
    let inner = options.clone();
    let results = Arc::new((second, third));
    let found = results.clone();
    let first = Watched::new(store(), 1, move |at| {
        if at == 95 {
            let ask = |query| ask(&store(), query, RANGE, &inner, &CancelToken::new()).map(drop);
            found.0.set(ask("m").expect_err("too much together").to_string()).expect("once");
            found.1.set(ask("sum(m)")).expect("once");
        }
        Ok(())
    });
    ask_for(&first, "m").expect("the first goes on");
    let told =
        format!("query needs more than {bytes_max} bytes of memory for all queries together, which is the limit");
    let (second, third) = &*results;
    assert!(second.get().expect("it was asked").starts_with(&told), "{second:?}");
    assert!(matches!(third.get(), Some(Ok(()))), "what fits beside it is answered: {third:?}");
    assert_eq!(resources.bytes(), 0, "all memory is given back");
    ask_for(&store(), "m").expect("alone it fits");
}

#[test]
fn an_answer_is_accounted_for_until_it_is_dropped() {
    let resources = Arc::new(Resources::new(1 << 20, 0));
    let options = QueryOptions { resources: resources.clone(), ..QueryOptions::default() };
    let ask = |query, time| ask(&store(), query, time, &options, &CancelToken::new());
    let answer = ask("m", RANGE).expect("it fits");
    let memory = answer.memory.expect("it needs some");
    assert_eq!((memory.bytes(), true), (resources.bytes(), memory.bytes() >= 100 * 600 * 16));
    drop(answer.value);
    assert!(ask("m", RANGE).expect_err("two do not").to_string().contains("for all queries together"));
    drop(memory);
    drop(ask("m", RANGE).expect("it fits again"));
    for query in ["m[10m]", "m", "1", "\"text\""] {
        drop(ask(query, END).expect(query));
        assert_eq!(resources.bytes(), 0, "{query}");
    }
    drop(ask("1 + time()", RANGE).expect("numbers"));
    assert_eq!(resources.bytes(), 0);
}
