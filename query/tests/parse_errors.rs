//! How refusals read: place, message, hint.

use query::parse;

#[track_caller]
fn check(query: &str, want: &str) {
    match parse(query) {
        Ok(expr) => panic!("{query} parses as {expr}"),
        Err(error) => assert_eq!(error.to_string(), want, "for {query}"),
    }
}

#[test]
fn lexical() {
    check("1.5h", "1:1: parse error: bad number or duration syntax: \"1.5h\" (write 1h30m)");
    check("x[30m1h]", "1:3: parse error: bad number or duration syntax: \"30m1h\" (write 1h30m)");
    check("x + 300y", "1:5: parse error: duration out of range: \"300y\" is longer than 292 years");
    check("1e999", "1:1: parse error: number out of range: \"1e999\"");
    check("x{a=\"b}", "1:5: parse error: unterminated quoted string");
    check("x{a=`b}", "1:5: parse error: unterminated raw string");
    check(
        "x{a=~\"\\d\"}",
        "1:7: parse error: unknown escape sequence \"\\d\" (write \\\\d for a backslash before d, or use `...`, where \
         nothing is escaped)",
    );
    check("a && b", "1:3: parse error: unexpected character: '&' (write and)");
    check("a + é", "1:5: parse error: unexpected character: 'é'");
    check("\"\\xff\"", "1:1: parse error: string \"\\xff\" is not valid UTF-8");
}

#[test]
fn grammar() {
    check("", "1:1: parse error: no expression found in input");
    check("# x", "1:4: parse error: no expression found in input");
    check("a +\n  * b", "2:3: parse error: unexpected \"*\"");
    check("a + ", "1:5: parse error: unexpected end of input");
    check("a b", "1:3: parse error: unexpected identifier \"b\"");
    check("a = b", "1:3: parse error: unexpected \"=\" (write == to compare)");
    check("sum(rate(x[5m])", "1:4: parse error: unclosed left parenthesis");
    check("x[5m", "1:2: parse error: unclosed left bracket");
    check("x{a=\"b\"", "1:2: parse error: unclosed left brace");
    check("x{a=\"b\",", "1:2: parse error: unclosed left brace");
    check("x)", "1:2: parse error: unexpected right parenthesis ')'");
    check("x]", "1:2: parse error: unexpected right bracket ']'");
    check("x}", "1:2: parse error: unexpected right brace '}'");
    check("x{a}", "1:4: parse error: unexpected right brace '}' in label matching, expected =, !=, =~ or !~");
    check("x{a=1}", "1:5: parse error: unexpected number \"1\" in label matching, expected string");
    check(
        "x{a==\"1\"}",
        "1:4: parse error: unexpected \"==\" in label matching, expected =, !=, =~ or !~ (a label is compared with one =)",
    );
    check("x{a=~\"(\"}", "1:6: parse error: error parsing regexp: missing closing ): `(`");
    check("x{a=~\"a)|(b\"}", "1:6: parse error: error parsing regexp: unexpected ): `a)|(b`");
    check("x{__name__=\"y\"}", "1:3: parse error: metric name must not be set twice: \"x\" or \"y\"");
    check("sum by a (x)", "1:8: parse error: unexpected identifier \"a\" in grouping, expected \"(\"");
    check("sum by (1) (x)", "1:9: parse error: unexpected number \"1\" in grouping, expected label");
    check("f(x)", "1:1: parse error: unknown function with name \"f\"");
    check("rat(x[1m])", "1:1: parse error: unknown function with name \"rat\" (did you mean rate?)");
    check("Rate(x[1m])", "1:1: parse error: unknown function with name \"Rate\" (did you mean rate?)");
    check(
        "1 + avg_overtime(x[1m])",
        "1:5: parse error: unknown function with name \"avg_overtime\" (did you mean avg_over_time?)",
    );
    check(
        "holt_winters(x[1m], 1, 1)",
        "1:1: parse error: unknown function with name \"holt_winters\" (did you mean double_exponential_smoothing?)",
    );
    check("rate(x[5m],)", "1:11: parse error: trailing commas not allowed in function call args");
    check("sum()", "1:1: parse error: no arguments for aggregate expression provided");
    check(
        "topk(x)",
        "1:1: parse error: wrong number of arguments for aggregate expression provided, expected 2, got 1",
    );
    check(
        "a * group_left b",
        "1:5: parse error: unexpected keyword \"group_left\" (on(...) or ignoring(...) comes before it)",
    );
    check("bool", "1:1: parse error: unexpected keyword \"bool\"");
}

#[test]
fn ranges_and_modifiers() {
    check(
        "sum(x) offset 5m",
        "1:8: parse error: offset modifier must be preceded by an instant vector selector or range vector selector or a \
         subquery (put it behind the selector inside, or behind a subquery such as [5m:])",
    );
    check("x offset 5m[1m]", "1:12: parse error: no offset modifiers allowed before range");
    check("x @ 1 [1m]", "1:7: parse error: no @ modifiers allowed before range");
    check("x offset 1m offset 2m", "1:13: parse error: offset may not be set multiple times");
    check("x @ 1 @ 2", "1:7: parse error: @ <timestamp> may not be set multiple times");
    check("x @ NaN", "1:5: parse error: timestamp out of bounds for @ modifier: NaN");
    check("x @ y", "1:5: parse error: unexpected identifier \"y\" in @ modifier, expected timestamp, start() or end()");
    check(
        "sum(x)[5m]",
        "1:1: parse error: ranges only allowed for vector selectors (a subquery takes a colon, as in [5m:])",
    );
    check("x[0s]", "1:3: parse error: duration must be greater than 0");
    check("x[5m / 0]", "1:8: parse error: division by zero");
    check("x[1e30]", "1:3: parse error: duration out of range (the longest is 292 years)");
    check(
        "x[y]",
        "1:3: parse error: unexpected identifier \"y\" in duration expression, expected number, duration, step(), range(), \
         min_of() or max_of()",
    );
    check("x[5m:] smoothed", "1:8: parse error: smoothed modifier is not supported for subqueries");
}

#[test]
fn types() {
    check(
        "abs(1)",
        "1:5: parse error: expected type instant vector in call to function \"abs\", got scalar (vector(...) makes a vector \
         of a number)",
    );
    check(
        "rate(-x)",
        "1:6: parse error: expected type range vector in call to function \"rate\", got instant vector (a range is written \
         behind a selector, as in [5m], or behind an expression, as in [5m:])",
    );
    check("rate()", "1:1: parse error: expected 1 argument(s) in call to \"rate\", got 0");
    check("clamp(x)", "1:1: parse error: expected 3 argument(s) in call to \"clamp\", got 1");
    check("round(x, 1, 2)", "1:1: parse error: expected at most 2 argument(s) in call to \"round\", got 3");
    check("label_join(x)", "1:1: parse error: expected at least 3 argument(s) in call to \"label_join\", got 1");
    check("sum(\"a\")", "1:5: parse error: expected type instant vector in aggregation expression, got string");
    check(
        "topk(x, y)",
        "1:6: parse error: expected type scalar in aggregation parameter, got instant vector (scalar(...) makes a number of \
         a vector)",
    );
    check("1 == 2", "1:1: parse error: comparisons between scalars must use BOOL modifier (write == bool)");
    check("1 + bool 2", "1:1: parse error: bool modifier can only be used on comparison operators");
    check("1 and 2", "1:1: parse error: set operator \"and\" not allowed in binary scalar expression");
    check(
        "x + y[5m]",
        "1:5: parse error: binary expression must contain only scalar and instant vector types, got range vector",
    );
    check("x + on (a) 1", "1:1: parse error: vector matching only allowed between instant vectors");
    check("x and on (a) group_left () y", "1:1: parse error: no grouping allowed for \"and\" operation");
    check("x + on (a) group_left (a) y", "1:1: parse error: label \"a\" must not occur in ON and GROUP clause at once");
    check(
        "-x[5m]",
        "1:1: parse error: unary expression only allowed on expressions of type scalar or instant vector, got range vector",
    );
    check("1[5m:]", "1:1: parse error: subquery is only allowed on instant vector, got scalar instead");
    check(
        "sum({a=~\".*\"})",
        "1:5: parse error: vector selector must contain at least one non-empty matcher (name the metric, or add a matcher \
         that an absent label does not fulfil)",
    );
    check(
        "info(x, y)",
        "1:9: parse error: expected label selectors only in call to function \"info\" (write braces without a name before \
         them, as in {k8s_cluster=\"a\"})",
    );
}

#[test]
fn spans_cover_what_they_name() {
    let query = "sum by (a) (rate( x{a=\"b\"} [5m] offset 1m)) / -y";
    let expr = parse(query).expect("valid");
    let mut seen = Vec::new();
    spans(&expr, &mut |span| seen.push(&query[span.start..span.end]));
    let range = "x{a=\"b\"} [5m] offset 1m";
    assert_eq!(
        seen,
        [query, "sum by (a) (rate( x{a=\"b\"} [5m] offset 1m))", "rate( x{a=\"b\"} [5m] offset 1m)", range, "-y", "y",]
    );
}

fn spans(expr: &query::ast::Expr, visit: &mut impl FnMut(query::ast::Span)) {
    use query::ast::ExprKind;
    visit(expr.span);
    match &expr.kind {
        ExprKind::Binary(binary) => {
            spans(&binary.left, visit);
            spans(&binary.right, visit);
        }
        ExprKind::Unary(_, inner) | ExprKind::Paren(inner) => spans(inner, visit),
        ExprKind::Aggregate(aggregate) => spans(&aggregate.expr, visit),
        ExprKind::Call(call) => call.args.iter().for_each(|arg| spans(arg, visit)),
        _ => {}
    }
}
