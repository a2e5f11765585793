//! Whatever the text, parsing ends with a tree or an error: within a small stack, without a panic.

use proptest::prelude::*;
use query::{DEPTH_MAX, QUERY_BYTES_MAX, REGEXES_MAX, parse};

/// Parses, prints and drops `query` on the stack of a worker thread; answers the error, if any.
fn outcome(query: String) -> Result<(), String> {
    let work = move || match parse(&query) {
        Ok(expr) => {
            let printed = expr.to_string();
            let copy = expr.clone();
            assert_eq!(copy, expr);
            assert!(parse(&printed).is_ok(), "the canonical spelling parses");
            let _ = query::value_type(&expr);
            Ok(())
        }
        Err(error) => Err(error.to_string()),
    };
    let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(work).expect("a thread");
    thread.join().expect("no overflow, no panic")
}

/// Checks that `levels` of a construct are fine where few, and refused by depth where many.
#[track_caller]
fn check(build: impl Fn(usize) -> String) {
    let few = build(DEPTH_MAX / 4);
    assert_eq!(outcome(few.clone()), Ok(()), "{}…", &few[..few.len().min(50)]);
    for many in [DEPTH_MAX + 1, 10_000] {
        let error = outcome(build(many)).expect_err("too deep");
        let wanted = error.contains("nests more than") || error.contains("tokens");
        assert!(wanted, "{many} levels of {}: {error}", &build(3));
    }
}

#[test]
fn depth_is_bounded() {
    check(|n| format!("{}x{}", "(".repeat(n), ")".repeat(n)));
    check(|n| format!("{}x{}", "abs(".repeat(n), ")".repeat(n)));
    check(|n| format!("{}x{}", "sum(".repeat(n), ")".repeat(n)));
    check(|n| format!("{}x", "- ".repeat(n)));
    check(|n| format!("{}x", "+-".repeat(n)));
    check(|n| format!("1{}", "^1".repeat(n)));
    check(|n| format!("x{}", " ^ -x".repeat(n)));
    check(|n| format!("x{}", " or x".repeat(n)));
    check(|n| format!("x{}", " + x * x".repeat(n)));
    check(|n| format!("x[{}5m{}]", "(".repeat(n), ")".repeat(n)));
    check(|n| format!("x[{}step()]", "- ".repeat(n)));
    check(|n| format!("x[1m{}]", "+1m".repeat(n)));
    check(|n| format!("x[1{}]", "^1".repeat(n)));
    check(|n| format!("x[{}1{}]", "min_of(1,".repeat(n), ")".repeat(n)));
    check(|n| format!("x offset {}1m{}", "(".repeat(n), ")".repeat(n)));
    check(|n| format!("{}x{}", "rate(".repeat(n), "[5m:])".repeat(n)));
}

/// Nothing that opens without end overflows.
#[test]
fn bombs_are_refused() {
    for piece in
        ["(", "[", "{", "-", "+ -", "x[", "sum(", "x^", "x or ", "!", "\"", "'", "`", "x{a=", "by(", "x[(", "1[1:"]
    {
        let times = if ["(", "["].contains(&piece) { 200_000 } else { 10_000 };
        assert!(outcome(piece.repeat(times)).is_err(), "{piece}");
    }
    for piece in [")", "]", "}", ",", "@", "#", "offset", " x", ":", "\u{0}", "é"] {
        assert!(
            outcome(format!("x{}", piece.repeat(10_000))).is_err() || piece == "offset" || piece == ":" || piece == "#"
        );
    }
}

#[test]
fn the_deepest_queries_run_through() {
    let deepest = |build: &dyn Fn(usize) -> String| {
        let levels = (1..=DEPTH_MAX).rev().find(|&n| parse(&build(n)).is_ok()).expect("some depth is fine");
        assert!(levels >= DEPTH_MAX / 2 - 2, "only {levels} levels");
        assert_eq!(outcome(build(levels)), Ok(()));
    };
    deepest(&|n| format!("{}x{}", "(".repeat(n), ")".repeat(n)));
    deepest(&|n| format!("{}x{}", "rate(".repeat(n), "[5m:])".repeat(n)));
    deepest(&|n| format!("x{}", " or x".repeat(n)));
    deepest(&|n| format!("x{}", " ^ x".repeat(n)));
}

#[test]
fn sizes_are_bounded() {
    let long = format!("x{}", " ".repeat(QUERY_BYTES_MAX));
    let error = parse(&long).expect_err("too long");
    assert_eq!(error.message, format!("query is longer than {QUERY_BYTES_MAX} bytes"));
    assert_eq!(outcome(format!("x{{a=\"{}\"}}", "b".repeat(QUERY_BYTES_MAX - 10))), Ok(()));

    let regexes = |count: usize| format!("x{{{}}}", "a=~\"b\",".repeat(count));
    assert_eq!(outcome(regexes(REGEXES_MAX)), Ok(()));
    let error = parse(&regexes(REGEXES_MAX + 1)).expect_err("too many");
    assert_eq!(error.message, format!("query has more than {REGEXES_MAX} regular expressions"));

    let error = parse(&format!("x{{{}}}", "a=\"b\",".repeat(20_000))).expect_err("too many");
    assert_eq!(error.message, "query has more than 65536 tokens");
    assert_eq!(outcome(format!("label_join(x,\"a\",\",\"{})", ",\"b\"".repeat(10_000))), Ok(()));
}

/// Whatever parses has a canonical spelling that parses to it.
fn check_any(text: &str) {
    match parse(text) {
        Ok(expr) => {
            let printed = expr.to_string();
            let again = parse(&printed).unwrap_or_else(|error| panic!("{text} is written {printed}: {error}"));
            assert_eq!(again.to_string(), printed, "from {text}");
        }
        Err(error) => {
            assert!(error.span.start <= error.span.end, "{text}: {error:?}");
            assert!(error.line >= 1 && error.column >= 1 && !error.message.is_empty(), "{text}: {error:?}");
        }
    }
}

const WORDS: [&str; 84] = [
    "x",
    "up",
    "a:b",
    "1",
    "0",
    "2.5",
    "0x1f",
    "017",
    "5m",
    "1h30m",
    "inf",
    "NaN",
    "\"s\"",
    "'t'",
    "`u`",
    "\"\\n\"",
    "(",
    ")",
    "(",
    ")",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "+",
    "-",
    "*",
    "/",
    "%",
    "^",
    "==",
    "!=",
    "<",
    "<=",
    ">",
    ">=",
    "=~",
    "!~",
    "=",
    "@",
    "</",
    ">/",
    "and",
    "or",
    "unless",
    "atan2",
    "sum",
    "topk",
    "count_values",
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "fill",
    "fill_left",
    "fill_right",
    "bool",
    "offset",
    "anchored",
    "smoothed",
    "start",
    "end",
    "step",
    "range",
    "min_of",
    "max_of",
    "rate",
    "abs",
    "info",
    "label_join",
    "time",
    "scalar",
    "vector",
    "[5m]",
    "[5m:]",
    "{a=\"b\"}",
    "()",
    "# c\n",
    "on (a)",
    "offset 5m",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn any_text_ends_well(text in any::<String>()) {
        check_any(&text);
    }

    #[test]
    fn any_bytes_end_well(text in "[ -~\\n\\t]{0,60}") {
        check_any(&text);
    }

    #[test]
    fn any_tokens_end_well(words in proptest::collection::vec(prop::sample::select(&WORDS[..]), 0..16)) {
        check_any(&words.join(" "));
        check_any(&words.concat());
    }
}
