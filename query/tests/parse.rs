//! What parses, in its canonical spelling, and what does not.

use query::ast::{Expr, ExprKind, Span};
use query::parse;

/// Checks that every `query` parses, and that its canonical spelling is as stated and stays so.
#[track_caller]
fn check(cases: &[(&str, &str)]) {
    for (query, want) in cases {
        let printed = match parse(query) {
            Ok(expr) => expr.to_string(),
            Err(error) => panic!("{query}: {error}"),
        };
        assert_eq!(&printed, want, "for {query}");
        match parse(&printed) {
            Ok(again) => assert_eq!(&again.to_string(), want, "for {query}"),
            Err(error) => panic!("{query} is written {printed}: {error}"),
        }
    }
}

/// Checks that every query parses, and that its canonical spelling is itself.
#[track_caller]
fn keep(queries: &[&str]) {
    check(&queries.iter().map(|query| (*query, *query)).collect::<Vec<_>>());
}

/// Checks that every query is refused.
#[track_caller]
fn refuse(queries: &[&str]) {
    for query in queries {
        if let Ok(expr) = parse(query) {
            panic!("{query} parses as {expr}");
        }
    }
}

/// Checks that two queries are the same but for parentheses, which show how operators bind.
#[track_caller]
fn binds(cases: &[(&str, &str)]) {
    for (query, explicit) in cases {
        let bare = |query: &str| {
            let mut expr = parse(query).unwrap_or_else(|error| panic!("{query}: {error}"));
            forget_parens(&mut expr);
            expr
        };
        assert_eq!(bare(query), bare(explicit), "{query} against {explicit}");
    }
}

/// Drops spans and parentheses outside of durations.
fn forget_parens(expr: &mut Expr) {
    expr.span = Span::default();
    while let ExprKind::Paren(inner) = &mut expr.kind {
        expr.kind = std::mem::replace(&mut inner.kind, ExprKind::String(String::new()));
    }
    match &mut expr.kind {
        ExprKind::Unary(_, inner) => forget_parens(inner),
        ExprKind::Binary(binary) => {
            forget_parens(&mut binary.left);
            forget_parens(&mut binary.right);
        }
        ExprKind::Selector(selector) => {
            if let Some(offset) = &mut selector.modifiers.offset {
                offset.span = Span::default();
            }
        }
        _ => {}
    }
}

#[test]
fn numbers() {
    check(&[
        ("1", "1"),
        (".5", "0.5"),
        ("5.", "5"),
        ("1e3", "1000"),
        ("1E-3", "0.001"),
        ("0x1F", "31"),
        ("0x_ff", "255"),
        ("017", "15"),
        ("08", "8"),
        ("1_000", "1000"),
        ("Inf", "Inf"),
        ("iNF", "Inf"),
        ("-inf", "-Inf"),
        ("+Inf", "Inf"),
        ("NAN", "NaN"),
        ("-1", "-1"),
        ("- - 1", "1"),
        ("-0", "-0"),
        ("1e300", "1e300"),
        ("1e-7", "1e-7"),
        ("-(1)", "-(1)"),
    ]);
    refuse(&["1_", "1__0", "1_.5", "1._5", "1_e3", "1e_3", "0x", "0x1.8", "1..2", "2x", "1e999", "."]);
}

#[test]
fn durations() {
    check(&[
        ("5m", "5m"),
        ("1h30m", "1h30m"),
        ("90s", "1m30s"),
        ("-5m", "-5m"),
        ("5m * 2", "5m * 2"),
        ("1y", "1y"),
        ("1w2d", "9d"),
        ("100ms", "100ms"),
        ("0s", "0s"),
        ("x[300]", "x[300]"),
        ("x offset 0.5", "x offset 0.5"),
        ("x[1m500ms]", "x[1m500ms]"),
        ("x[292y]", "x[292y]"),
    ]);
    refuse(&["1.5h", "30m1h", "1m1m", "5mm", "300y", "99999999999999999999s", "9223372036854775807w", "x[293y]"]);
    refuse(&["x[1e30]", "x[NaN]", "x[Inf]", "x offset 1e30", "x[0.0001]", "5M"]);
}

#[test]
fn strings() {
    check(&[
        (r#""a'b""#, r#""a'b""#),
        (r#"'a"b'"#, r#""a\"b""#),
        ("`a\\d\nb`", r#""a\\d\nb""#),
        (r#""\x41\101\u00e9\U0001F600\t""#, "\"AAé😀\t\""),
        ("`# none`", "\"# none\""),
    ]);
    refuse(&["\"a", "'a\nb'", "`a", r#""\d""#, r#""\'""#, r#""\xff""#, r#""\x4""#, r#""\ud800""#, "\"a\\"]);
}

#[test]
fn blanks_comments_and_case() {
    check(&[
        ("sum # comment\n(\tx\r\n)", "sum(x)"),
        ("# first\nx", "x"),
        ("SUM BY (A) (x)", "sum by (A) (x)"),
        ("x Offset 5m", "x offset 5m"),
        ("a AND b Or c UNLESS d", "a and b or c unless d"),
        ("a == BOOL On (x) Group_Left (y) b", "a == bool on (x) group_left (y) b"),
        ("x @ START()", "x @ start()"),
        ("1 ATAN2 2", "1 atan2 2"),
        ("a</b", "a </ b"),
        ("a>/b", "a >/ b"),
    ]);
    refuse(&["Rate(x[1m])", "", " ", "# only a comment", "a < /b", "x;", "x && y", "x\u{a0}", "é"]);
}

#[test]
fn keywords_are_names_too() {
    for name in [
        "and",
        "or",
        "unless",
        "sum",
        "avg",
        "count",
        "min",
        "max",
        "group",
        "stddev",
        "stdvar",
        "topk",
        "bottomk",
        "count_values",
        "quantile",
        "limitk",
        "limit_ratio",
        "offset",
        "smoothed",
        "anchored",
        "by",
        "without",
        "fill",
        "fill_left",
        "fill_right",
        "start",
        "end",
        "step",
        "range",
        "max_of",
        "min_of",
        "SUM",
        "a:b",
        ":a",
        "rate",
    ] {
        keep(&[
            name,
            &format!("{name}{{a=\"b\"}}"),
            &format!("{name} + {name}"),
            &format!("{name} offset 5m"),
            &format!("{name} and {name}"),
            &format!("rate({name}[5m])"),
            &format!("sum by (a) ({name})"),
        ]);
    }
    for keyword in
        ["bool", "on", "ignoring", "group_left", "group_right", "atan2", "by", "fill", "offset", "sum", "inf"]
    {
        keep(&[
            &format!("{{__name__=\"{keyword}\"}}"),
            &format!("x{{{keyword}=\"b\"}}"),
            &format!("sum by ({keyword}) (x)"),
            &format!("a * on ({keyword}, b) group_left ({keyword}2) c"),
        ]);
    }
    refuse(&["bool", "on", "ignoring", "group_left", "group_right", "atan2", "On{a=\"b\"}", "1 + bool", "fill(1)"]);
    refuse(&["inf{a=\"b\"}", "sum by (a:b) (x)", "x{a:b=\"c\"}", "by(x)", "offset(x)"]);
}

#[test]
fn precedence() {
    binds(&[
        ("a or b and c", "a or (b and c)"),
        ("a and b or c", "(a and b) or c"),
        ("a unless b and c", "(a unless b) and c"),
        ("a and b == c", "a and (b == c)"),
        ("a == b + c", "a == (b + c)"),
        ("a > b </ c", "(a > b) </ c"),
        ("a + b * c - d", "(a + (b * c)) - d"),
        ("a - b - c", "(a - b) - c"),
        ("a / b % c atan2 d", "((a / b) % c) atan2 d"),
        ("2 ^ 3 ^ 2", "2 ^ (3 ^ 2)"),
        ("a * b ^ c", "a * (b ^ c)"),
        ("-1 ^ 2", "-(1 ^ 2)"),
        ("-a * b", "(-a) * b"),
        ("-a ^ b", "-(a ^ b)"),
        ("2 ^ -1", "2 ^ (-1)"),
        ("2 ^ -a ^ b * c", "(2 ^ (-(a ^ b))) * c"),
        ("- - a", "-(-a)"),
        ("a - -b", "a - (-b)"),
        ("-x offset 5m", "-(x offset 5m)"),
        ("x offset 1m + 5", "(x offset 1m) + 5"),
        ("x offset -2 ^ 2", "(x offset -2) ^ 2"),
        ("a + on (l) b * on (m) c", "a + on (l) (b * on (m) c)"),
    ]);
}

#[test]
fn selectors() {
    check(&[
        ("x{}", "x"),
        ("x{a=\"1\",}", "x{a=\"1\"}"),
        ("{a='1', b!=\"2\", c=~`3`, d!~\"4\"}", "{a=\"1\",b!=\"2\",c=~\"3\",d!~\"4\"}"),
        ("{\"my.metric\", \"a.b\"=\"c\"}", "{\"my.metric\",\"a.b\"=\"c\"}"),
        ("{\"up\"}", "{__name__=\"up\"}"),
        ("{\"a\"=\"b\"}", "{a=\"b\"}"),
        ("x{\"é\"=\"ü\"}", "x{\"é\"=\"ü\"}"),
        ("{a=\"1\",\"up\"}", "{a=\"1\",__name__=\"up\"}"),
        ("{__name__=~\"a.*\", __name__!=\"ab\"}", "{__name__=~\"a.*\",__name__!=\"ab\"}"),
        ("{a=\"\", b=\"c\"}", "{a=\"\",b=\"c\"}"),
        ("x{a=~\"(?i)\\\\d+[a&&b]\"}", "x{a=~\"(?i)\\\\d+[a&&b]\"}"),
    ]);
    refuse(&["{}", "{a=\"\"}", "{a=~\".*\"}", "{a!=\"x\"}", "{a!~\".+\"}", "x{__name__=\"y\"}", "x{\"y\"}"]);
    refuse(&["{\"x\",\"y\"}", "{\"x\",__name__=~\"y\"}", "{__name__=\"x\",\"y\"}", "{\"\"}", "{\"\"=\"a\"}"]);
    refuse(&["x{a=\"1\",,}", "x{,}", "x{a}", "x{a=1}", "x{a==\"1\"}", "x{a=\"1\" b=\"2\"}", "x{a=~\"(\"}", "x{", "x}"]);
    refuse(&["x{a=~\"a)|(b\"}", "x{a=~\"\\\\C\"}", "x{{a=\"b\"}}", "\"x\"{a=\"b\"}", "x{a=\"b\"}{c=\"d\"}", "x y"]);
}

#[test]
fn modifiers() {
    check(&[
        ("x offset 5m @ 10", "x @ 10.000 offset 5m"),
        ("x @ 10 offset 5m", "x @ 10.000 offset 5m"),
        ("x[5m] @ -1.5", "x[5m] @ -1.500"),
        ("x @ 1m", "x @ 60.000"),
        ("x @ 0.0004", "x @ 0.000"),
        ("x @ start() offset -5m", "x @ start() offset -5m"),
        ("x[5m:] @ end()", "x[5m:] @ end()"),
        ("x[5m] smoothed offset 1m", "x[5m] smoothed offset 1m"),
        ("x[5m] offset 1m anchored", "x[5m] anchored offset 1m"),
        ("x smoothed", "x smoothed"),
        ("sum(x offset 5m)", "sum(x offset 5m)"),
        ("sum(x)[5m:] offset 5m", "sum(x)[5m:] offset 5m"),
        ("x offset 1m [5m:]", "x offset 1m[5m:]"),
    ]);
    refuse(&[
        "x offset 5m[1m]",
        "x @ 1 [1m]",
        "sum(x) offset 5m",
        "(x) offset 5m",
        "x offset",
        "x @",
        "x offset 1m offset 2m",
    ]);
    refuse(&[
        "x @ 1 @ 2",
        "x @ NaN",
        "x @ Inf",
        "x @ 1e300",
        "x @ y",
        "x @ start",
        "x @ start(",
        "x @ (1)",
        "1 @ 1",
        "1 offset 1m",
    ]);
    refuse(&[
        "x[5m:1m] anchored",
        "x[5m] anchored smoothed",
        "x smoothed smoothed",
        "sum(x) smoothed",
        "x smoothed[5m]",
    ]);
}

#[test]
fn ranges_and_subqueries() {
    keep(&["(x + y)[5m:1m]", "rate(x[1m])[5m:]", "vector(1)[5m:]", "x[5m:1m]", "x[5m]", "x[1h:1m] @ 1.000 offset 1m"]);
    keep(&["sum_over_time(rate(x[1m])[5m:1m])[10m:]", "(x)[5m:]"]);
    refuse(&[
        "x[0s]",
        "x[-1m]",
        "x[5m:0s]",
        "x[5m:-1m]",
        "x[5m][5m]",
        "(x+y)[5m]",
        "x[5m][5m:]",
        "time()[5m:]",
        "1[5m:]",
    ]);
    refuse(&[
        "x[5m",
        "x[",
        "x[]",
        "x[:]",
        "x[5m:1m:1m]",
        "x[5m[1m]]",
        "x]",
        "x[[5m]]",
        "x[5m)",
        "-x[5m]",
        "sum(x)[5m]",
    ]);
}

#[test]
fn duration_expressions() {
    keep(&[
        "x[5m + 1m]",
        "x[5m * 2 ^ 2 - 1]",
        "x[-(1m - 2m)]",
        "x[step() * 2]",
        "x[max_of(step(), 5s)]",
        "x[range():min_of(step(), 1m) / 2]",
        "x offset (1m + step())",
        "x offset -step()",
        "x offset -(5m)",
        "x offset max_of(1m, range())",
        "x offset -5m",
        "x[1h % 7m]",
    ]);
    check(&[("x[STEP()]", "x[step()]"), ("x[- - 5m]", "x[5m]"), ("x[+5m]", "x[5m]")]);
    refuse(&[
        "x[5m / 0]",
        "x[5m % 0]",
        "x[5m - 5m]",
        "x[1m - 2m]",
        "x[step]",
        "x[foo()]",
        "x[5m +]",
        "x[(5m]",
        "x[5m)]",
    ]);
    refuse(&[
        "x[min_of(1m)]",
        "x[max_of(1m, 2m, 3m)]",
        "x[y]",
        "x[step(1)]",
        "x[5m == 5m]",
        "x[5m / (1 - 1)]",
        "x offset",
    ]);
}

#[test]
fn aggregations() {
    check(&[
        ("sum(x) by (a, b,)", "sum by (a, b) (x)"),
        ("sum by () (x)", "sum by () (x)"),
        ("sum without (a) (x)", "sum without (a) (x)"),
        ("topk(3, x)", "topk(3, x)"),
        ("topk by (a) (scalar(k), x)", "topk by (a) (scalar(k), x)"),
        ("count_values(\"v\", x)", "count_values(\"v\", x)"),
        ("count_values((\"v\"), x)", "count_values((\"v\"), x)"),
        ("limit_ratio(-0.5, x)", "limit_ratio(-0.5, x)"),
        ("sum by (\"a.b\", 'c') (x)", "sum by (\"a.b\", c) (x)"),
    ]);
    refuse(&[
        "sum()",
        "sum(x, y)",
        "topk(x)",
        "topk(x, y)",
        "topk(1)",
        "topk(\"a\", x)",
        "count_values(x, y)",
        "sum(1)",
    ]);
    refuse(&[
        "sum(x[5m])",
        "sum by (a) (x) by (b)",
        "sum by a (x)",
        "sum by (a b) (x)",
        "sum by (,) (x)",
        "sum by (a)",
    ]);
    refuse(&[
        "sum(x,)",
        "sum (x",
        "sum x",
        "sum by (\"\") (x)",
        "quantile(x)",
        "limitk(\"1\", x)",
        "count_values(1, x)",
    ]);
}

#[test]
fn calls() {
    keep(&[
        "rate(x[5m])",
        "time()",
        "hour()",
        "round(x, 5)",
        "label_join(x, \"a\", \",\")",
        "label_join(x, \"a\", \",\", \"b\", \"c\", \"d\")",
        "label_replace(x, \"a\", \"$1\", \"b\", \"(.*)\")",
        "sort_by_label(x)",
        "sort_by_label(x, \"a\", \"b\")",
        "info(x)",
        "info(x, {a=\"\"})",
        "info(x, {__name__=~\".*_info\"})",
        "histogram_quantiles(x, \"q\", 0.5, 0.9)",
        "min_of(start(), end())",
        "step() + range()",
    ]);
    check(&[("MAX_OF(1, 2)", "max_of(1, 2)"), ("info(x, {})", "info(x, {})")]);
    check(&[
        ("rate(x)", "rate(x)"),
        ("quantile_over_time(0.5, (x offset 5m))", "quantile_over_time(0.5, (x offset 5m))"),
    ]);
    refuse(&[
        "rate(x + y)",
        "rate(x smoothed)",
        "rate()",
        "rate(x[5m], y)",
        "abs(1)",
        "abs(x[5m])",
        "time(1)",
        "vector(x)",
        "foo(x)",
        "rate(x[5m],)",
    ]);
    refuse(&[
        "label_join(x, \"a\")",
        "label_join(x, y, \",\")",
        "label_replace(x, \"a\", \"b\", \"c\")",
        "round(x, 1, 2)",
    ]);
    refuse(&[
        "info(x, y)",
        "info(x, y{a=\"b\"})",
        "info(x, {a=\"b\"} offset 5m)",
        "info(x, (y))",
        "info(1)",
        "info(x, {}, {})",
    ]);
    refuse(&[
        "histogram_quantiles(x, \"q\")",
        "histogram_quantiles(x, \"q\", 1,2,3,4,5,6,7,8,9,10,11)",
        "holt_winters(x[5m], 1, 1)",
    ]);
    refuse(&["rate(", "rate(x[5m]", "rate)", "()", "(x", "x)", "scalar(1)", "Time()"]);
}

#[test]
fn binary_operators() {
    keep(&[
        "a + on () b",
        "a + on (x) group_left () b",
        "a + ignoring (x, y) group_right (z) b",
        "a == bool on (x) b",
        "1 == bool 2",
        "a and on (x) b",
        "1 + ignoring () 2",
        "a + ignoring (x) group_left (x) b",
        "a + fill (0) b",
        "a + on (x) group_left (y) fill_left (1) b",
        "a + on (x) fill_left (-1) fill_right (2) b",
        "a + fill (NaN) b",
        "a + fill",
        "a + fill offset 5m",
        "a </ 5",
        "a >/ b",
        "a > 1",
        "1 < a",
    ]);
    check(&[
        ("a * on(x) group_left b", "a * on (x) group_left () b"),
        ("a + fill_right(2) fill_left(1) b", "a + fill_left (1) fill_right (2) b"),
        ("a + fill_right(1) b", "a + fill_right (1) b"),
    ]);
    refuse(&[
        "1 and 2",
        "a or 1",
        "1 unless a",
        "1 == 2",
        "1 + bool 2",
        "a + bool b",
        "a and bool b",
        "\"a\" + 1",
        "a + \"b\"",
    ]);
    refuse(&[
        "a + x[5m]",
        "x[5m] + a",
        "a + on (x) 1",
        "1 + ignoring (x) 2",
        "a + fill (1) 2",
        "a and fill (1) b",
        "a or on (x) fill (1) b",
    ]);
    refuse(&[
        "a and on (x) group_left () b",
        "a + on (x) group_left (x) b",
        "a + group_left (x) b",
        "a + group_left b",
        "a +",
        "+",
        "* a",
    ]);
    refuse(&[
        "a + on b",
        "a + on (x) on (y) b",
        "a + fill () b",
        "a + fill (x) b",
        "a + fill_left (1) fill_left (2) b",
        "a = b",
        "a =~ b",
    ]);
    refuse(&["1 </ 2", "-\"a\"", "-x[5m]", "a ! b", "a b", "a == == b", "a on (x) b", "a bool b", "a !~ \"b\""]);
}

#[test]
fn script_queries_keep_their_words() {
    assert_eq!(
        parse("count_values(\"a\\xc5z\", version)").expect_err("no label name").message,
        "invalid label name \"a\\xc5z\""
    );
}
