//! Printed and damaged requests of both versions say the same to our walk and to prost.

use ingest::{IngestError, Version, WireProblem};
use model::remote_write::{Label, Metadata, TimeSeries, WireExemplar, WriteRequest, v2};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use prost::Message;

use crate::walk::{
    Said, SaidSeries, any_damage, any_histogram, any_sample, damaged, expected, expected_v2, label, walk,
};

fn any_label() -> impl Strategy<Value = Label> {
    let name = prop_oneof![3 => "[a-d_]{1,3}", 3 => Just("__name__".to_owned()), 1 => "\\PC{0,20}"];
    (name, "\\PC{0,70}").prop_map(|(name, value)| Label { name, value })
}

fn any_exemplar() -> impl Strategy<Value = WireExemplar> {
    let labels = prop::collection::vec(any_label(), 0..3);
    (labels, any::<f64>(), prop_oneof![4 => any::<i64>(), 1 => Just(0)])
        .prop_map(|(labels, value, timestamp)| WireExemplar { labels, value, timestamp })
}

fn any_series() -> impl Strategy<Value = TimeSeries> {
    let named = prop::option::weighted(0.8, Just(label("__name__", "m")));
    let labels = (named, prop::collection::vec(any_label(), 0..6), any::<bool>());
    let exemplars = prop::collection::vec(any_exemplar(), 0..3);
    let histograms = prop::collection::vec(any_histogram(), 0..3);
    (labels, prop::collection::vec(any_sample(), 0..4), exemplars, histograms).prop_map(
        |((named, labels, sorted), samples, exemplars, histograms)| {
            let mut labels: Vec<_> = named.into_iter().chain(labels).collect();
            if sorted {
                labels.sort_by(|a, b| a.name.cmp(&b.name));
            }
            TimeSeries { labels, samples, exemplars, histograms }
        },
    )
}

pub(crate) fn any_request() -> impl Strategy<Value = WriteRequest> {
    let metadata = (any::<i32>(), "\\PC{0,9}", "\\PC{0,30}", "[a-z]{0,5}")
        .prop_map(|(kind, metric_family_name, help, unit)| Metadata { kind: kind % 9, metric_family_name, help, unit });
    (prop::collection::vec(any_series(), 0..5), prop::collection::vec(metadata, 0..3))
        .prop_map(|(timeseries, metadata)| WriteRequest { timeseries, metadata })
}

/// Symbols that every request of version 2.0 has, after the empty one; others follow.
const SYMBOLS: [&str; 8] = ["__name__", "m", "m_sum", "m_bucket", "job", "x", "trace_id", "help"];

/// References as pairs: a name, mostly `__name__` with a metric, mostly sorted.
fn any_refs() -> impl Strategy<Value = Vec<u32>> {
    let pair = prop_oneof![3 => Just([5, 6]), 2 => Just([7, 6]), 1 => [0..14u32, 0..14u32]];
    let named = prop::option::weighted(0.8, (2..5u32).prop_map(|metric| [1, metric]));
    let odd = prop::option::weighted(0.05, 0..14u32);
    (named, prop::collection::vec(pair, 0..3), odd).prop_map(|(named, pairs, odd)| {
        let mut refs: Vec<_> = named.into_iter().chain(pairs).flatten().collect();
        refs.extend(odd);
        refs
    })
}

fn any_series_v2() -> impl Strategy<Value = v2::TimeSeries> {
    let exemplar = (any_refs(), any::<f64>(), prop_oneof![4 => any::<i64>(), 1 => Just(0)])
        .prop_map(|(labels_refs, value, timestamp)| v2::Exemplar { labels_refs, value, timestamp });
    let metadata =
        (-1..9i32, 0..14u32, 0..14u32).prop_map(|(kind, help_ref, unit_ref)| v2::Metadata { kind, help_ref, unit_ref });
    let created = prop_oneof![4 => Just(0i64), 1 => any::<i64>(), 1 => -9..9i64];
    let exemplars = prop::collection::vec(exemplar, 0..3);
    let histograms = prop::collection::vec(any_histogram(), 0..3);
    let samples = prop::collection::vec(any_sample(), 0..4);
    (any_refs(), samples, histograms, exemplars, prop::option::of(metadata), created).prop_map(
        |(labels_refs, samples, histograms, exemplars, metadata, created_timestamp)| v2::TimeSeries {
            labels_refs,
            samples,
            histograms,
            exemplars,
            metadata,
            created_timestamp,
        },
    )
}

pub(crate) fn any_request_v2() -> impl Strategy<Value = v2::Request> {
    let others = prop::collection::vec("\\PC{0,70}", 0..5);
    (others, prop::collection::vec(any_series_v2(), 0..5)).prop_map(|(others, timeseries)| {
        let symbols = std::iter::once("").chain(SYMBOLS).map(str::to_owned).chain(others).collect();
        v2::Request { symbols, timeseries }
    })
}

/// Bytes are refused by both, or by neither, and then say the same; but the walk refuses labels that are not UTF-8
/// with their series alone.
fn check_both(version: Version, body: &[u8], decoded: Result<Said, prost::DecodeError>) -> Result<(), TestCaseError> {
    match (walk(version, body), decoded) {
        (Ok(said), Ok(expected)) => prop_assert_eq!(said, expected),
        (Err(IngestError::Wire(error)), decoded) => {
            prop_assert!(error.at_byte <= body.len(), "{error}");
            prop_assert!(decoded.is_err() || error.problem == WireProblem::Group, "only the walk: {error}");
        }
        (Ok(_), Err(error)) => prop_assert!(error.to_string().contains("UTF-8"), "only prost: {error}"),
        (walked, decoded) => prop_assert!(false, "{walked:?} but {decoded:?}"),
    }
    Ok(())
}

fn check_both_v1(body: &[u8]) -> Result<(), TestCaseError> {
    check_both(Version::V1, body, WriteRequest::decode(body).map(|request| expected(&request)))
}

fn check_both_v2(body: &[u8]) -> Result<(), TestCaseError> {
    check_both(Version::V2, body, v2::Request::decode(body).map(|request| expected_v2(&request)))
}

proptest! {
    #[test]
    fn a_request_says_the_same_to_both(request in any_request()) {
        let body = request.encode_to_vec();
        prop_assert!(walk(Version::V1, &body).is_ok());
        check_both_v1(&body)?;
    }

    #[test]
    fn a_request_of_version_2_says_the_same_to_both(request in any_request_v2()) {
        let body = request.encode_to_vec();
        prop_assert!(walk(Version::V2, &body).is_ok());
        check_both_v2(&body)?;
    }

    #[test]
    fn damage_is_seen_by_both(request in any_request(), damage in any_damage()) {
        check_both_v1(&damaged(request.encode_to_vec(), &damage))?;
    }

    #[test]
    fn damage_in_version_2_is_seen_by_both(request in any_request_v2(), damage in any_damage()) {
        check_both_v2(&damaged(request.encode_to_vec(), &damage))?;
    }

    #[test]
    fn random_bytes_never_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
        drop((walk(Version::V1, &body), walk(Version::V2, &body)));
    }
}

/// The shortest body of some requests that have everything in them.
fn rich<S: Strategy<Value: Message>>(any: S, is_rich: impl Fn(&S::Value) -> bool) -> Vec<u8> {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let requests = (0..500).map(|_| any.new_tree(&mut runner).expect("a strategy gives values").current());
    let bodies = requests.filter(is_rich).map(|request| request.encode_to_vec());
    bodies.min_by_key(Vec::len).expect("one of many is rich")
}

#[test]
fn every_end_and_every_flipped_bit_is_seen_by_both() {
    let is_rich = |said: &Said| {
        let has = |found: fn(&SaidSeries) -> bool| said.series.iter().any(found);
        has(|series| !series.plain.is_empty())
            && has(|series| !series.started.is_empty())
            && has(|series| !series.histograms.is_empty())
            && has(|series| !series.exemplars.is_empty())
            && !said.metadata.is_empty()
            && said.samples_rejected > 0
    };
    let v1 = rich(any_request(), |request| is_rich(&expected(request)));
    let v2 = rich(any_request_v2(), |request| is_rich(&expected_v2(request)));
    for (body, check) in [(v1, check_both_v1 as fn(&[u8]) -> _), (v2, check_both_v2)] {
        for end in 0..=body.len() {
            check(&body[..end]).unwrap_or_else(|error| panic!("cut at {end}: {error}"));
        }
        for bit in 0..body.len() * 8 {
            let mut body = body.clone();
            body[bit / 8] ^= 1 << (bit % 8);
            check(&body).unwrap_or_else(|error| panic!("bit {bit} flipped: {error}"));
        }
    }
}
