//! The exposition formats: tables of lines, and properties over printed, mutated and random pages.

use model::exposition::parse::{LINE_BYTES_MAX, LINE_LABELS_MAX};
use model::exposition::{Entry, Family, FamilySample, LineExemplar, TextFormat, TextParser, write_families};
use model::{Labels, LabelsBuilder, MetricKind, MetricMetadata};
use proptest::prelude::*;

use TextFormat::{OpenMetrics, Prometheus};

/// Every entry of `text` in one line of words, errors as they print.
fn read(text: &str, format: TextFormat) -> Vec<String> {
    let mut parser = TextParser::new(text, format);
    let mut entries = Vec::new();
    while let Some(entry) = parser.next_entry() {
        entries.push(match entry {
            Err(error) => error.to_string(),
            Ok(Entry::Help { metric, help }) => format!("help {metric} {help:?}"),
            Ok(Entry::Type { metric, kind }) => format!("type {metric} {kind}"),
            Ok(Entry::Unit { metric, unit }) => format!("unit {metric} {unit}"),
            Ok(Entry::Sample { labels, value, timestamp_ms }) => {
                let time = timestamp_ms.map_or(String::new(), |ms| format!(" @{ms}"));
                format!("{} {value}{time}", labels.build().expect("names are unique"))
            }
        });
    }
    entries
}

#[track_caller]
fn check_in(format: TextFormat, text: &str, want: &[&str]) {
    assert_eq!(read(text, format), want, "{format:?} {text:?}");
}

#[track_caller]
fn check(text: &str, want: &str) {
    check_in(Prometheus, text, &[want]);
    check_in(OpenMetrics, text, &[want]);
}

#[test]
fn samples_of_both_formats() {
    check("up 1", "up 1");
    check(" \tup \t 1 \t", "up 1");
    check("up 1\r\n", "up 1");
    check("a:b_c9{} 2", "a:b_c9 2");
    check("a{b=\"c\"} 2", "a{b=\"c\"} 2");
    check("a { b = \"c\" , d=\"e\" , } 2", "a{b=\"c\", d=\"e\"} 2");
    check("a{z=\"1\",b=\"2\"} 2", "a{b=\"2\", z=\"1\"} 2");
    check("a{b=\"\"} 2", "a 2");
    check(r#"a{b="x\\y\"z\nw\q"} 2"#, r#"a{b="x\\y\"z\nw\\q"} 2"#);
    check("a{b=\"é, } #=\"} 2", "a{b=\"é, } #=\"} 2");
    check("{\"my.metric\", a=\"b\"} 1", "{\"my.metric\", a=\"b\"} 1");
    check("{\"my.metric\"} 1", "{\"my.metric\"} 1");
    check("{\"plain\"} 1", "plain 1");
    check("a{\"b.c\"=\"d\", \"e\\\"\"=\"f\"} 1", "a{\"b.c\"=\"d\", \"e\\\"\"=\"f\"} 1");
    check("{__name__=\"a\"} 1", "a 1");
}

#[test]
fn values() {
    for (text, want) in [
        ("1", "1"),
        ("+1", "1"),
        ("-1.5", "-1.5"),
        ("1.", "1"),
        (".5", "0.5"),
        ("1e3", "1000"),
        ("1E-3", "0.001"),
        ("+Inf", "inf"),
        ("Inf", "inf"),
        ("-Inf", "-inf"),
        ("NaN", "NaN"),
        ("nan", "NaN"),
    ] {
        check(&format!("a {text}"), &format!("a {want}"));
    }
    for text in ["0x10", "1_0", "one", "1e", "--1", "1,5", "\u{661}"] {
        let found = format!("{text:?}");
        check(&format!("a {text}"), &format!("line 1, column 3: expected a number, found {found}"));
    }
    check("a 1.7976931348623157e308", &format!("a {}", f64::MAX));
    check("a 1e999", "line 1, column 3: expected a value a 64-bit float can hold, found \"1e999\"");
}

#[test]
fn times_and_exemplars() {
    check_in(Prometheus, "a 1 1520879607789\na 1 -5\na 1 0", &["a 1 @1520879607789", "a 1 @-5", "a 1 @0"]);
    check_in(Prometheus, "a 1 1.5", &["line 1, column 5: expected a timestamp in whole milliseconds, found \"1.5\""]);
    check_in(
        Prometheus,
        "a 1 9223372036854775808",
        &["line 1, column 5: expected a timestamp in whole milliseconds, found \"9223372036854775808\""],
    );
    check_in(Prometheus, "a 1 2 3", &["line 1, column 7: expected the end of the line, found \"3\""]);
    check_in(
        Prometheus,
        "a 1 # {x=\"y\"} 1",
        &["line 1, column 5: expected a timestamp in whole milliseconds, found \"# {x=\\\"y\\\"} 1\""],
    );
    check_in(OpenMetrics, "a 1 1520879607.789\na 1 -1", &["a 1 @1520879607789", "a 1 @-1000"]);
    check_in(OpenMetrics, "a 1 NaN", &["line 1, column 5: expected a timestamp in seconds, found \"NaN\""]);
    check_in(
        OpenMetrics,
        "a_bucket{le=\"1\"} 1 # {trace=\"x\"} 0.5 1.5\na_total 1 2 # {} 1\n",
        &["a_bucket{le=\"1\"} 1", "a_total 1 @2000"],
    );
    check_in(OpenMetrics, "a 1 # x", &["line 1, column 7: expected { and the labels of an exemplar, found \"x\""]);
}

#[test]
fn lines_about_metrics() {
    check("# HELP a Some \\\\ text\\nmore", "help a \"Some \\\\ text\\nmore\"");
    check("#HELP a x", "help a \"x\"");
    check("# HELP a", "help a \"\"");
    check("# HELP \"my.metric\" x", "help my.metric \"x\"");
    check("#\tTYPE  a  counter ", "type a counter");
    check("# TYPE a untyped", "type a unknown");
    check("# TYPE a stateset", "type a stateset");
    check_in(Prometheus, "# HELP a \\\"x\\\"", &["help a \"\\\\\\\"x\\\\\\\"\""]);
    check_in(OpenMetrics, "# HELP a \\\"x\\\"", &["help a \"\\\"x\\\"\""]);
    check_in(OpenMetrics, "# UNIT a_seconds seconds", &["unit a_seconds seconds"]);
    check_in(Prometheus, "# UNIT a_seconds seconds\n# a comment\n#\n\n  \n#EOF", &[]);
    check_in(OpenMetrics, "# a comment\n#\n\n", &[]);
    check("# TYPE a b", "line 1, column 10: expected a metric type such as counter or gauge, found \"b\"");
    check("# TYPE a", "line 1, column 9: expected a metric type such as counter or gauge, found the end of the line");
    check("# TYPE a gauge x", "line 1, column 16: expected the end of the line, found \"x\"");
    check("# HELP 9 x", "line 1, column 8: expected a metric name, found \"9 x\"");
    check("# TYPE a-b gauge", "line 1, column 8: expected a metric name, found \"a-b gauge\"");
}

#[test]
fn bad_lines_are_told_with_their_place() {
    check("9a 1", "line 1, column 1: expected a metric name, found \"9a 1\"");
    check("{} 1", "line 1, column 1: expected a metric name, found \"{} 1\"");
    check("{a=\"b\"} 1", "line 1, column 1: expected a metric name, found \"{a=\\\"b\\\"} 1\"");
    check("{\"\"} 1", "line 1, column 2: expected a label name or }, found \"\\\"\\\"} 1\"");
    check("a", "line 1, column 2: expected a blank or { after the metric name, found the end of the line");
    check("a-1", "line 1, column 2: expected a blank or { after the metric name, found \"-1\"");
    check("a ", "line 1, column 3: expected a number, found the end of the line");
    check("a{b=\"c\"", "line 1, column 8: expected , or } after the label, found the end of the line");
    check("a{b=\"c} 1", "line 1, column 10: expected a closing quote, found the end of the line");
    check("a{b=\"c\\", "line 1, column 8: expected a closing quote, found the end of the line");
    check("a{b=c} 1", "line 1, column 5: expected a label value in double quotes, found \"c} 1\"");
    check("a{b} 1", "line 1, column 4: expected = after the label name, found \"} 1\"");
    check("a{1=\"b\"} 1", "line 1, column 3: expected a label name or }, found \"1=\\\"b\\\"} 1\"");
    check("a{,} 1", "line 1, column 3: expected a label name or }, found \",} 1\"");
    check("a{b:c=\"d\"} 1", "line 1, column 4: expected = after the label name, found \":c=\\\"d\\\"} 1\"");
    check("a{b=\"1\",b=\"2\"} 1", "line 1, column 9: label name \"b\" occurs twice");
    check("a{b=\"\",b=\"\"} 1", "line 1, column 8: label name \"b\" occurs twice");
    check("a{\"b\"} 1", "line 1, column 3: label name \"__name__\" occurs twice");
    check("a{__name__=\"b\"} 1", "line 1, column 3: label name \"__name__\" occurs twice");
    check_in(Prometheus, "a 1\nb x\n\nc 3", &["a 1", "line 2, column 3: expected a number, found \"x\"", "c 3"]);
}

#[test]
fn open_metrics_ends_with_its_mark() {
    let mut parser = TextParser::new("a 1\n", OpenMetrics);
    while parser.next_entry().is_some() {}
    assert!(!parser.saw_eof());
    let mut parser = TextParser::new("a 1\n# EOF\n\n", OpenMetrics);
    while let Some(entry) = parser.next_entry() {
        entry.expect("well formed");
    }
    assert!(parser.saw_eof());
    let want = ["a 1", "line 3, column 1: text after # EOF, which ends the page"];
    check_in(OpenMetrics, "a 1\n# EOF\nb 2\nc 3", &want);
    check_in(OpenMetrics, "a 1\n# EOF\n# EOF\n", &want);
    check_in(Prometheus, "a 1\n# EOF\nb 2", &["a 1", "b 2"]);
}

#[test]
fn limits_are_exact() {
    let line = |bytes: usize| format!("a{{b=\"{}\"}} 1", "x".repeat(bytes - 9));
    assert_eq!(line(20).len(), 20);
    check(&line(LINE_BYTES_MAX), &line(LINE_BYTES_MAX));
    let too_long =
        format!("line 1, column 1: the line has {} bytes, the limit is {LINE_BYTES_MAX}", LINE_BYTES_MAX + 1);
    check(&line(LINE_BYTES_MAX + 1), &too_long);

    let line = |labels: usize| {
        let labels: Vec<_> = (0..labels).map(|at| format!("b{at:03}=\"x\"")).collect();
        format!("a{{{}}} 1", labels.join(", "))
    };
    check(&line(LINE_LABELS_MAX), &line(LINE_LABELS_MAX));
    let error = read(&line(LINE_LABELS_MAX + 1), Prometheus);
    assert!(error[0].ends_with("more than 128 labels on one line"), "{error:?}");
}

/// What both formats keep of `families`, with samples of any name under the family before them.
fn read_families(text: &str, format: TextFormat) -> Vec<Family> {
    let mut parser = TextParser::new(text, format);
    let mut families: Vec<Family> = Vec::new();
    let mut help_before_type = String::new();
    while let Some(entry) = parser.next_entry() {
        match entry.expect("printed pages are well formed") {
            Entry::Help { help, .. } => help_before_type = help.into_owned(),
            Entry::Type { metric, kind } => {
                let help = std::mem::take(&mut help_before_type);
                families.push(Family::new(metric, kind, &help));
            }
            Entry::Unit { unit, .. } => unit.clone_into(&mut families.last_mut().expect("a type").metadata.unit),
            Entry::Sample { labels, value, timestamp_ms } => {
                let labels = labels.build().expect("names are unique");
                families.last_mut().expect("a type").samples.push(FamilySample { labels, value, timestamp_ms });
            }
        }
    }
    families
}

fn any_name() -> impl Strategy<Value = String> {
    prop_oneof![4 => "[a-zA-Z_:][a-zA-Z0-9_:]{0,12}", 1 => "[\\PC\n\"\\\\]{1,12}"]
}

fn any_sample() -> impl Strategy<Value = FamilySample> {
    let label_name = prop_oneof!["[a-zA-Z_][a-zA-Z0-9_]{0,8}", "[\\PC\n\"\\\\]{1,8}"];
    let labels = prop::collection::btree_map(label_name, "[\\PC\n\r\"\\\\]{1,12}", 0..5);
    let value = prop_oneof![any::<f64>(), any::<u64>().prop_map(f64::from_bits), (-50i32..50).prop_map(f64::from)];
    (any_name(), labels, value, any::<Option<i64>>()).prop_map(|(name, mut labels, value, timestamp_ms)| {
        labels.insert("__name__".into(), name);
        FamilySample { labels: Labels::from_pairs(labels).expect("map keys are unique"), value, timestamp_ms }
    })
}

fn any_family(kinds: &'static [MetricKind]) -> impl Strategy<Value = Family> {
    let metadata = (prop::sample::select(kinds), "([\\PC&&[^ ]][\\PC\n\"\\\\]{0,20})?");
    (any_name(), metadata, prop::collection::vec(any_sample(), 0..4)).prop_map(|(name, (kind, help), samples)| Family {
        name,
        metadata: MetricMetadata { kind, unit: String::new(), help },
        samples,
    })
}

/// Kinds whose families keep name and kind in both formats.
const PLAIN_KINDS: &[MetricKind] =
    &[MetricKind::Gauge, MetricKind::Histogram, MetricKind::Summary, MetricKind::Unknown];

proptest! {
    #[test]
    fn printed_families_read_back(
        families in prop::collection::vec(any_family(PLAIN_KINDS), 0..4),
        format in prop::sample::select(&[Prometheus, OpenMetrics][..]),
    ) {
        let mut text = String::new();
        write_families(&families, format, &mut text);
        prop_assert_eq!(read_families(&text, format), families, "{}", text);
    }

    #[test]
    fn kinds_with_suffixes_and_units_read_back_in_open_metrics(
        start in "[a-z]{1,8}",
        unit in prop::sample::select(&["", "seconds", "bytes"][..]),
        kind in prop::sample::select(&MetricKind::ALL[..]),
        sample in any_sample(),
    ) {
        let family = if unit.is_empty() { start } else { format!("{start}_{unit}") };
        let suffix = match kind {
            MetricKind::Counter => "_total",
            MetricKind::Info => "_info",
            _ => "",
        };
        let metadata = MetricMetadata { kind, unit: unit.to_owned(), help: String::new() };
        let printed = Family { name: format!("{family}{suffix}"), metadata, samples: vec![sample] };
        let mut text = String::new();
        write_families(std::slice::from_ref(&printed), OpenMetrics, &mut text);
        prop_assert_eq!(read_families(&text, OpenMetrics), vec![Family { name: family, ..printed }], "{}", text);
    }

    #[test]
    fn random_text_never_panics(text in "[\\PC\n\r\t]{0,200}") {
        read(&text, Prometheus);
        read(&text, OpenMetrics);
    }

    /// Changed pages parse without a panic, tell no line twice, and lines that were not touched still read.
    #[test]
    fn mutated_pages_never_panic(
        families in prop::collection::vec(any_family(&MetricKind::ALL), 1..3),
        cuts in prop::collection::vec((any::<prop::sample::Index>(), "[{}\", =#\\\\\n\\PC]{0,3}"), 1..6),
        format in prop::sample::select(&[Prometheus, OpenMetrics][..]),
    ) {
        let mut text = String::new();
        write_families(&families, format, &mut text);
        let mut characters: Vec<char> = text.chars().collect();
        for (at, put) in cuts {
            let at = at.index(characters.len().max(1));
            characters.splice(at..characters.len().min(at + 1), put.chars());
        }
        let text: String = "good_before 1\n".chars().chain(characters).chain("\ngood_after 1\n".chars()).collect();
        let entries = read(&text, format);
        prop_assert_eq!(&entries[0], "good_before 1");
        prop_assert!(entries.len() <= text.lines().count());
        if format == Prometheus {
            prop_assert_eq!(entries.last().expect("not empty"), "good_after 1");
        }
    }
}

/// The exemplars of `text` behind their samples' values, errors as they print.
fn read_exemplars(text: &str) -> Vec<String> {
    let mut parser = TextParser::new(text, OpenMetrics);
    let mut of = LabelsBuilder::new();
    of.push("left", "over");
    let mut found = Vec::new();
    while let Some(entry) = parser.next_entry() {
        let Ok(Entry::Sample { value, .. }) = entry else { continue };
        let exemplar = match parser.exemplar(&mut of) {
            None => "none".to_owned(),
            Some(Err(error)) => error.to_string(),
            Some(Ok(LineExemplar { value, timestamp_ms })) => {
                format!("{} {value} {timestamp_ms:?}", of.build().expect("names are unique"))
            }
        };
        found.push(format!("{value}: {exemplar}"));
        assert!(parser.exemplar(&mut of).is_none(), "an exemplar is told once");
    }
    found
}

#[test]
fn exemplars_are_told_when_asked_for() {
    let check = |line: &str, want: &str| assert_eq!(read_exemplars(line), [want], "{line:?}");
    check("a 1", "1: none");
    check("a 1 # {trace_id=\"x y\"} 0.5 1.25", "1: {trace_id=\"x y\"} 0.5 Some(1250)");
    check("a{b=\"c\"} 1 2 # {} 0.5", "1: {} 0.5 None");
    check("a 1 # {b=\"#\\\"\",\"d e\"=\"f\"} +Inf", "1: {b=\"#\\\"\", \"d e\"=\"f\"} inf None");
    check("a 1 # {b=\"c\"}", "1: line 1, column 14: expected a number, found the end of the line");
    check("a 1 # {b=\"c\",b=\"d\"} 1", "1: line 1, column 14: label name \"b\" occurs twice");
    check(
        "a 1 # {\"name\"} 1",
        "1: line 1, column 7: expected labels without a metric name, found \"{\\\"name\\\"} 1\"",
    );
    check("a 1 # {} 1 2 3", "1: line 1, column 14: expected the end of the line, found \"3\"");
    let page = "a 1 # {x=\"1\"} 9\n# TYPE b gauge\nb 2\nb 3 # {x=\"2\"} 8\n";
    assert_eq!(read_exemplars(page), ["1: {x=\"1\"} 9 None", "2: none", "3: {x=\"2\"} 8 None"]);
}
