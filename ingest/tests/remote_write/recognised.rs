//! Whatever a cursor knows and guesses, a request says the same as without one.

use ingest::{IngestLimits, Version};
use model::remote_write::v2;
use model::{KnownSeries, LabelLimits, Labels, LabelsRef, SeriesCursor};
use proptest::prelude::*;
use prost::Message;

use crate::properties::{any_request, any_request_v2};
use crate::walk::{any_damage, damaged, request, series, walk_knowing, walk_within};

/// Guesses some of what it knows, in turn.
#[derive(Debug)]
struct Guessing<'k> {
    known: &'k [Labels],
    /// How many of its series it guesses, from the next one on.
    guesses: usize,
    /// How many it guesses at most without being asked again.
    runs: usize,
    next: usize,
    /// How often it was right.
    recognised: usize,
    found: usize,
}

impl<'k> Guessing<'k> {
    fn new(known: &'k [Labels], guesses: usize) -> Self {
        Self { known, guesses, runs: 0, next: 0, recognised: 0, found: 0 }
    }

    fn came(&mut self, at: usize) -> KnownSeries {
        self.next = at + 1;
        KnownSeries { number: u32::try_from(at).expect("few"), as_of: 0 }
    }
}

impl SeriesCursor for Guessing<'_> {
    fn guess(&mut self, is_next: &mut dyn FnMut(LabelsRef<'_>) -> bool) -> Option<KnownSeries> {
        let (known, from) = (self.known, self.next);
        let mut guesses = (0..known.len()).map(|at| (from + at) % known.len()).take(self.guesses);
        let at = guesses.find(|&at| is_next(known[at].as_ref()))?;
        self.recognised += 1;
        Some(self.came(at))
    }

    fn guess_run(&mut self, take: &mut dyn FnMut(KnownSeries, LabelsRef<'_>) -> bool) {
        let known = self.known;
        // Sometimes it has enough of it.
        for _ in 0..self.runs {
            let Some(labels) = known.get(self.next).filter(|_| self.guesses > 0) else { return };
            let series = KnownSeries { number: u32::try_from(self.next).expect("few"), as_of: 0 };
            if !take(series, labels.as_ref()) {
                return;
            }
            self.recognised += 1;
            self.next += 1;
        }
    }

    fn find(&mut self, labels: LabelsRef<'_>) -> Option<KnownSeries> {
        let at = self.known.iter().position(|known| known.as_ref() == labels)?;
        self.found += 1;
        Some(self.came(at))
    }
}

/// The series that a body has.
fn series_of(version: Version, body: &[u8]) -> Vec<Labels> {
    let said = walk_within(version, body, &IngestLimits::default()).map(|(said, _)| said).unwrap_or_default();
    let mut known: Vec<Labels> = said.series.into_iter().map(|series| series.labels).collect();
    known.sort();
    known.dedup();
    known
}

/// Compares what `body` says with and without the knowledge of `known`; how many series were recognised and found.
fn check(
    version: Version,
    body: &[u8],
    limits: &IngestLimits,
    known: &[Labels],
    guesses: usize,
) -> Result<(usize, usize), TestCaseError> {
    let without = format!("{:?}", walk_within(version, body, limits));
    let counts = [0, 3, usize::MAX].map(|runs| {
        let mut cursor = Guessing { runs, ..Guessing::new(known, guesses) };
        let with = walk_knowing(version, body, limits, &mut cursor, known);
        (format!("{with:?}"), cursor.recognised, cursor.found)
    });
    for (with, recognised, found) in &counts {
        prop_assert_eq!(with, &without);
        prop_assert_eq!(
            (*recognised, *found),
            (counts[0].1, counts[0].2),
            "series in a row are recognised as single ones are"
        );
    }
    Ok((counts[0].1, counts[0].2))
}

/// Limits that some of the series break.
fn tight() -> IngestLimits {
    let labels = LabelLimits { labels_max: 3, name_bytes_max: 10, value_bytes_max: 40, set_bytes_max: 80 };
    IngestLimits { labels, ..IngestLimits::default() }
}

/// Limits that some requests break.
fn small() -> IngestLimits {
    let (series_per_request_max, samples_per_request_max) = (9, 12);
    IngestLimits {
        series_per_request_max,
        samples_per_request_max,
        label_bytes_per_request_max: 700,
        ..IngestLimits::default()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// The knowledge is of another state of the sender: some series are new, others gone.
    #[test]
    fn a_request_says_the_same(before in any_request(), now in any_request(), guesses in 0usize..9, damage in any_damage()) {
        let now = [before.encode_to_vec(), now.encode_to_vec()].concat();
        let known = series_of(Version::V1, &before.encode_to_vec());
        for body in [damaged(now.clone(), &damage), now] {
            check(Version::V1, &body, &IngestLimits::default(), &known, guesses)?;
            check(Version::V1, &body, &tight(), &known, guesses)?;
            check(Version::V1, &body, &small(), &known, guesses)?;
        }
    }

    #[test]
    fn a_request_of_version_2_says_the_same(now in any_request_v2(), guesses in 0usize..9, damage in any_damage()) {
        let body = now.encode_to_vec();
        let mut known = series_of(Version::V2, &body);
        known.truncate(3);
        for body in [damaged(body.clone(), &damage), body] {
            check(Version::V2, &body, &IngestLimits::default(), &known, guesses)?;
            check(Version::V2, &body, &tight(), &known, guesses)?;
        }
    }
}

/// Series of targets: each has most labels of the one before, with other values, one label more or one less.
fn any_targets() -> impl Strategy<Value = Vec<Labels>> {
    // Texts of the lengths where forms change; no two names and no two values are equal.
    let text =
        |at: usize| format!("{at}{}", "x".repeat([0, 1, 2, 3, 6, 14, 15, 16, 30, 31, 61, 62, 63, 120, 130][at % 15]));
    let change = (0usize..12, prop::option::weighted(0.8, 0usize..15), prop::bool::weighted(0.1));
    prop::collection::vec(prop::collection::vec(change, 1..3), 1..30).prop_map(move |series| {
        let (mut pairs, mut sets) = (std::collections::BTreeMap::new(), Vec::new());
        (3..9).for_each(|at| drop(pairs.insert(text(at), text(at + 1))));
        for changes in series {
            for (name, value, is_other) in changes {
                if is_other {
                    pairs.clear();
                }
                match value {
                    Some(value) => pairs.insert(text(name), text(value)),
                    None => pairs.remove(&text(name)),
                };
            }
            pairs.insert("__name__".to_owned(), format!("m{}", sets.len() % 4));
            sets.push(Labels::from_pairs(&pairs).expect("valid"));
        }
        sets
    })
}

/// A request with one sample of each of the series.
fn samples_of(sets: &[Labels]) -> Vec<u8> {
    let of = |set: &Labels| series(&set.iter().collect::<Vec<_>>(), &[(1_700_000_000_000, 1.5)]);
    request(sets.iter().map(of).collect()).encode_to_vec()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    /// Whatever labels neighbours have in common, every series is recognised, and none that is not there.
    #[test]
    fn neighbours_hide_no_difference(sets in any_targets(), others in any_targets(), damage in any_damage()) {
        let limits = IngestLimits::default();
        let mut known = sets.clone();
        known.sort();
        known.dedup();
        let body = samples_of(&sets);
        let (recognised, _) = check(Version::V1, &body, &limits, &known, known.len())?;
        prop_assert_eq!(recognised, sets.len());
        // Guesses that are wrong by little.
        let body = samples_of(&others);
        let (recognised, _) = check(Version::V1, &body, &limits, &known, known.len())?;
        prop_assert_eq!(recognised, others.iter().filter(|set| known.contains(set)).count());
        for body in [damaged(body, &damage), damaged(samples_of(&sets), &damage)] {
            check(Version::V1, &body, &limits, &known, known.len())?;
            check(Version::V1, &body, &tight(), &known, known.len())?;
            check(Version::V1, &body, &small(), &known, known.len())?;
        }
    }
}

/// The body of a request of one series with the given labels and one sample.
fn one(labels: &[(&str, &str)]) -> Vec<u8> {
    request(vec![series(labels, &[(1_700_000_000_000, 1.5)])]).encode_to_vec()
}

#[track_caller]
fn check_one(name: &str, body: &[u8], known: &Labels, is_recognised: bool) {
    let limits = IngestLimits::default();
    let counts = check(Version::V1, body, &limits, std::slice::from_ref(known), 1).expect(name);
    assert_eq!(counts.0 == 1, is_recognised, "{name}");
}

#[test]
fn what_encoders_write_is_recognised_and_nothing_else() {
    for length in [1, 3, 4, 7, 8, 16, 17, 32, 33, 63, 64, 119, 120, 127, 128, 129, 300, 4096] {
        let (text, other) = ("x".repeat(length), format!("{}y", "x".repeat(length - 1)));
        let name = &text[..length.min(500)];
        let pairs = [("__name__", "m"), ("a", text.as_str()), (name, "v")];
        let known = Labels::from_pairs(pairs).expect("valid");
        check_one("the same", &one(&pairs), &known, true);
        check_one("another value", &one(&[("__name__", "m"), ("a", &other), (name, "v")]), &known, false);
        check_one("one label less", &one(&pairs[..2]), &known, false);
        check_one("one label more", &one(&[pairs[0], pairs[1], pairs[2], ("y", "y")]), &known, false);
        check_one("another order", &one(&[pairs[1], pairs[0], pairs[2]]), &known, false);
        check_one("an empty label", &one(&[pairs[0], pairs[1], ("b", ""), pairs[2]]), &known, false);
        check_one("a label twice", &one(&[pairs[0], pairs[1], pairs[1], pairs[2]]), &known, false);
    }
    // No labels are no series, known or not.
    check_one("no labels", &one(&[]), &Labels::empty(), false);
    let nameless = Labels::from_pairs([("a", "b")]).expect("valid");
    check_one("no metric name", &one(&[("a", "b")]), &nameless, false);
}

/// A series as its fields, each with its key.
fn fields(fields: &[&[u8]]) -> Vec<u8> {
    let series = fields.concat();
    [&[0x0a, u8::try_from(series.len()).expect("short")], series.as_slice()].concat()
}

#[test]
fn unusual_bytes_say_the_same() {
    let known = Labels::from_pairs([("__name__", "m"), ("a", "b")]).expect("valid");
    let metric = b"\x0a\x0d\x0a\x08__name__\x12\x01m".as_slice();
    let a = b"\x0a\x06\x0a\x01a\x12\x01b".as_slice();
    let sample = b"\x12\x04\x10\x80\x80\x01".as_slice();
    for (name, body, is_recognised) in [
        ("usual", fields(&[metric, a, sample]), true),
        ("two samples", fields(&[metric, a, sample, sample]), true),
        ("no sample", fields(&[metric, a]), true),
        ("an empty sample", fields(&[metric, a, b"\x12\x00"]), true),
        ("an unknown field", fields(&[metric, a, sample, b"\x78\x01"]), true),
        ("time before value", fields(&[metric, a, b"\x12\x0b\x10\x01\x09\x00\x00\x00\x00\x00\x00\xf0\x3f"]), true),
        ("a time of ten bytes", fields(&[metric, a, b"\x12\x0b\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"]), true),
        ("a time of idle bytes", fields(&[metric, a, b"\x12\x04\x10\x81\x80\x00"]), true),
        ("a time twice", fields(&[metric, a, b"\x12\x04\x10\x01\x10\x02"]), true),
        ("a start", fields(&[metric, a, b"\x12\x04\x10\x05\x18\x02"]), true),
        ("a sample of the wrong coding", fields(&[metric, a, b"\x10\x05"]), true),
        ("a label behind the sample", fields(&[metric, a, sample, b"\x0a\x06\x0a\x01c\x12\x01d"]), true),
        ("the same label behind the sample", fields(&[metric, a, sample, a]), true),
        ("a damaged end", fields(&[metric, a, sample, b"\x12\x04\x10"]), true),
        ("a sample before the labels", fields(&[sample, metric, a]), false),
        ("a length of idle bytes", fields(&[metric, b"\x0a\x86\x00\x0a\x01a\x12\x01b", sample]), false),
        ("value before name", fields(&[metric, b"\x0a\x06\x12\x01b\x0a\x01a", sample]), false),
        ("a longer label", fields(&[metric, b"\x0a\x08\x0a\x01a\x12\x01b\x18\x00", sample]), false),
        ("no text", fields(&[metric, b"\x0a\x06\x0a\x01a\x12\x01\xff", sample]), false),
    ] {
        check_one(name, &body, &known, is_recognised);
    }
}

#[test]
fn references_are_recognised_in_order_alone() {
    let known = Labels::from_pairs([("__name__", "m"), ("a", "b")]).expect("valid");
    let symbols: Vec<String> = ["", "__name__", "m", "a", "b", "c"].map(str::to_owned).to_vec();
    for (labels_refs, is_recognised) in [
        (vec![1, 2, 3, 4], true),
        (vec![3, 4, 1, 2], false),
        (vec![1, 2, 3, 5], false),
        (vec![1, 2, 3], false),
        (vec![1, 2, 3, 4, 5], false),
        (vec![1, 2, 3, 9], false),
        (vec![1, 2], false),
    ] {
        let samples = vec![model::remote_write::WireSample { value: 1.0, timestamp: 5, start_timestamp: 0 }];
        let metadata = Some(v2::Metadata { kind: 1, help_ref: 5, unit_ref: 0 });
        let series = v2::TimeSeries { labels_refs: labels_refs.clone(), samples, metadata, ..Default::default() };
        let body = v2::Request { symbols: symbols.clone(), timeseries: vec![series] }.encode_to_vec();
        let limits = IngestLimits::default();
        let counts = check(Version::V2, &body, &limits, std::slice::from_ref(&known), 1).expect("the same");
        assert_eq!(counts.0 == 1, is_recognised, "{labels_refs:?}");
    }
}
