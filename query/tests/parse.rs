//! What parses, to which tree, and what does not, with which words.

use query::parse;

/// Checks that `query` parses, and that its canonical spelling is `want` and stays so.
#[track_caller]
fn check(query: &str, want: &str) {
    let printed = match parse(query) {
        Ok(expr) => expr.to_string(),
        Err(error) => panic!("{query}: {error}"),
    };
    assert_eq!(printed, want, "for {query}");
    assert_eq!(parse(&printed).expect("canonical spelling").to_string(), want, "for {query}");
}

/// Checks that `query` is refused with `want`.
#[track_caller]
fn refuse(query: &str, want: &str) {
    match parse(query) {
        Ok(expr) => panic!("{query} parses as {expr}"),
        Err(error) => assert_eq!(error.to_string(), want, "for {query}"),
    }
}

/// Checks that `query` is refused, whatever the words.
#[track_caller]
fn refuse_any(query: &str) {
    if let Ok(expr) = parse(query) {
        panic!("{query} parses as {expr}");
    }
}

#[test]
fn numbers_and_durations() {
    for (query, want) in [
        ("1", "1"), (".5", "0.5"), ("5.", "5"), ("1e3", "1000"), ("1E-3", "0.001"), ("0x1F", "31"), ("017", "15"),
        ("08", "8"), ("Inf", "Inf"), ("iNF", "Inf"), ("-inf", "-Inf"), ("+Inf", "Inf"), ("NAN", "NaN"),
        ("1_000", "1000"), ("0x_ff", "255"), ("- - 1", "1"), ("-1", "-1"), ("-0", "-0"), ("1e300", "1e300"),
        ("1e-7", "1e-7"), ("5m", "5m"), ("1h30m", "1h30m"), ("90s", "1m30s"), ("-5m", "-5m"), ("5m * 2", "5m * 2"),
        ("1y", "1y"), ("1w2d", "9d"), ("100ms", "100ms"), ("0s", "0s"),
    ] {
        check(query, want);
    }
    refuse("1.5h", "1:1: parse error: bad number or duration syntax: \"1.5h\" (write 1h30m)");
    refuse("x[30m1h]", "1:3: parse error: bad number or duration syntax: \"30m1h\" (write 1h30m)");
    refuse("1m1m", "1:1: parse error: bad number or duration syntax: \"1m1m\" (write 2m)");
    refuse("300y", "1:1: parse error: duration out of range: \"300y\" is longer than 292 years");
    refuse("1e999", "1:1: parse error: number out of range: \"1e999\"");
    for query in ["1_", "1__0", "1_.5", "1e_3", "0x", "0x1.8", "5mm", "1..2", "99999999999999999999s", "2x"] {
        refuse_any(query);
    }
}

#[test]
fn lexical_rules() {
    check("sum # comment\n(\tx\r\n)", "sum(x)");
    check("x{a=\"#no comment\"} # one", "x{a=\"#no comment\"}");
    check("SUM BY (A) (x)", "sum by (A) (x)");
}
