//! Whole queries over small data: never a panic, never beyond the limits, and the same answer however it is asked for.
//!
//! A range query is the instant queries of its steps, a query is its canonical spelling, and the number of threads
//! changes nothing.

use std::collections::BTreeMap;

use model::{SampleValue, SeriesSource};
use query::{Answer, CancelToken, QueryError, QueryOptions, QueryTime, Request, Value, evaluate, parse};

use crate::input::Input;
use crate::query_data::store;
use crate::query_text::Writer;

/// Most steps of the range query.
const STEPS_MAX: u16 = 6;
/// Bytes that the data is made of.
const DATA_BYTES: usize = 4096;
/// Longest evaluation; a debug build on a busy machine is far below.
const TIMEOUT_MS: u64 = 20_000;

/// Bytes choose the limits, the query, its times, and the data.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let of_the_query = input.byte() % 8 == 7;
    let options = options(&mut input);
    let text = Writer::new(&mut input, of_the_query).query();
    let tree = parse(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let printed = tree.to_string();
    let again = parse(&printed).unwrap_or_else(|error| panic!("{text} is written {printed}: {error}"));
    assert_eq!(again.to_string(), printed, "the canonical spelling of {text}");

    let start_ms = i64::from(input.below(40)) * 10_000 - 60_000;
    let step_ms = i64::from(input.below(8)) * 5_000 + 1_000;
    let end_ms = start_ms + step_ms * i64::from(input.below(STEPS_MAX));
    let bytes = lengthened(&mut input);
    let store = store(&mut Input::new(&bytes));
    let range = QueryTime::Range { start_ms, end_ms, step_ms };

    let Some(whole) = ask(&store, &text, range, &options) else { return };
    let wide = QueryOptions { threads_max: 1, ..QueryOptions::default() };
    let Some(rewritten) = ask(&store, &printed, range, &wide) else {
        panic!("{text} is written {printed}, which fails")
    };
    assert_eq!(points(&whole), points(&rewritten), "{text} is written {printed}");
    if of_the_query {
        return;
    }
    let mut single = Points::new();
    for time_ms in (start_ms..=end_ms).step_by(usize::try_from(step_ms).expect("a positive step")) {
        let time = QueryTime::Instant { time_ms };
        match ask(&store, &text, time, &wide) {
            Some(answer) => single.extend(points(&answer)),
            None => panic!("{text} at {time_ms} fails, though it does not in a range query"),
        }
    }
    assert_eq!(points(&whole), single, "{text} from {start_ms} to {end_ms} in steps of {step_ms}");
}

/// What is left of the bytes, and after it as many as the data may need, by chance that hangs on the bytes (splitmix64,
/// Steele et al. 2014): a short input has full data, too.
fn lengthened(input: &mut Input<'_>) -> Vec<u8> {
    let mut state = input.bits();
    let mut bytes = input.rest().to_vec();
    while bytes.len() < DATA_BYTES {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytes.extend((mixed ^ (mixed >> 31)).to_le_bytes());
    }
    bytes
}

/// Limits: mostly wide, at times so tight that many queries meet them.
fn options(input: &mut Input<'_>) -> QueryOptions {
    let (samples_max, series_max, bytes_max) = match input.byte() % 8 {
        0 => (100, 500, 1 << 20),
        1 => (100_000, 6, 1 << 20),
        2 => (100_000, 500, 4_000),
        _ => (1_000_000, 500, 1 << 26),
    };
    let threads_max = usize::from(input.byte() % 3) + 1;
    QueryOptions { samples_max, series_max, bytes_max, threads_max, timeout_ms: TIMEOUT_MS, ..QueryOptions::default() }
}

/// Evaluates, and checks what was used against the limits. `None` for a refusal.
fn ask(source: &dyn SeriesSource, query: &str, time: QueryTime, options: &QueryOptions) -> Option<Answer> {
    let cancel = CancelToken::new();
    let request =
        Request { query, time, options, lookback_ms: None, timeout_ms: None, cancel: &cancel, explain: false };
    match evaluate(source, &request) {
        Ok(answer) => {
            let cost = answer.cost;
            assert!(cost.read.samples <= options.samples_max, "{query}: {cost:?} of {options:?}");
            assert!(cost.bytes_peak <= options.bytes_max as u64, "{query}: {cost:?} of {options:?}");
            Some(answer)
        }
        Err(error @ QueryError::Timeout { .. }) => panic!("{query}: {error}"),
        Err(error) => {
            assert!(!error.to_string().is_empty(), "an error says something");
            None
        }
    }
}

/// Values by time and labels, as text that tells every bit but those of NaN.
type Points = BTreeMap<(i64, String), String>;

fn points(answer: &Answer) -> Points {
    let mut points = Points::new();
    let mut put = |time_ms: i64, labels: String, value: &SampleValue| {
        let before = points.insert((time_ms, labels), format!("{value:?}"));
        assert!(before.is_none(), "a series twice in {answer:?}");
    };
    match &answer.value {
        Value::Scalar { timestamp_ms, value } => put(*timestamp_ms, "{}".to_owned(), &SampleValue::Float(*value)),
        Value::String { .. } => {}
        Value::Vector(vector) => {
            for one in vector {
                put(one.timestamp_ms, one.labels.to_string(), &one.value);
            }
        }
        Value::Matrix(matrix) => {
            for one in matrix {
                let labels = one.labels.to_string();
                for sample in one.samples.iter_full() {
                    put(sample.timestamp_ms, labels.clone(), &sample.value);
                }
            }
        }
    }
    points
}
