//! Queries looked at without running them: the syntax tree and the canonical spelling.

use serde_json::{Value, json};

use crate::support::{Server, block_on, escape};

/// The tree of a query.
#[track_caller]
fn tree(server: &Server, query: &str) -> Value {
    let answer = block_on(server.get(&format!("/api/v1/parse_query?query={}", escape(query))));
    assert_eq!(answer.status, 200, "{query}: {}", answer.body);
    answer.json()["data"].take()
}

fn name_matcher(name: &str) -> Value {
    json!({ "name": "__name__", "value": name, "type": "=" })
}

fn selector(name: &str) -> Value {
    json!({
        "type": "vectorSelector", "name": name, "offset": 0, "offsetExpr": null, "matchers": [name_matcher(name)],
        "timestamp": null, "startOrEnd": null, "anchored": false, "smoothed": false,
    })
}

#[test]
fn whole_trees() {
    let server = Server::new();
    let check = |query: &str, want: Value| assert_eq!(tree(&server, query), want, "for {query}");
    check("foo", selector("foo"));
    check("-1.5e3", json!({ "type": "numberLiteral", "val": "-1500" }));
    check("1e-9", json!({ "type": "numberLiteral", "val": "0.000000001" }));
    check("-Inf", json!({ "type": "numberLiteral", "val": "-Inf" }));
    check("\"a\\\"\"", json!({ "type": "stringLiteral", "val": "a\"" }));
    check(
        "-(foo)",
        json!({ "type": "unaryExpr", "op": "-", "expr": { "type": "parenExpr", "expr": selector("foo") } }),
    );
    check(
        "foo / on (job) group_left (a) bar",
        json!({
            "type": "binaryExpr", "op": "/", "bool": false, "lhs": selector("foo"), "rhs": selector("bar"),
            "matching": {
                "card": "many-to-one", "labels": ["job"], "on": true, "include": ["a"],
                "fillValues": { "lhs": null, "rhs": null },
            },
        }),
    );
    check(
        "topk by (job) (3, foo)",
        json!({
            "type": "aggregation", "op": "topk", "expr": selector("foo"), "grouping": ["job"], "without": false,
            "param": { "type": "numberLiteral", "val": "3" },
        }),
    );
    check(
        "round(foo)",
        json!({
            "type": "call", "args": [selector("foo")],
            "func": { "name": "round", "argTypes": ["vector", "scalar"], "variadic": 1, "returnType": "vector" },
        }),
    );
}

#[test]
fn parts_of_trees() {
    let server = Server::new();
    let check = |query: &str, pointer: &str, want: Value| {
        let tree = tree(&server, query);
        assert_eq!(tree.pointer(pointer), Some(&want), "{pointer} of {query}: {tree}");
    };
    check("foo{a!~\"x.*\",b!=\"\"}", "/matchers/0", json!({ "name": "a", "value": "x.*", "type": "!~" }));
    check("foo{a!~\"x.*\",b!=\"\"}", "/matchers/2", name_matcher("foo"));
    check("{\"a.b\",c=\"d\"}", "/name", json!(""));
    check("{\"a.b\",c=\"d\"}", "/matchers/0", name_matcher("a.b"));
    check("foo @ -1.5 offset -5m", "/timestamp", json!(-1_500));
    check("foo @ -1.5 offset -5m", "/offset", json!(-300_000));
    check("foo @ start()", "/startOrEnd", json!("start"));
    check("foo[5m] @ end()", "/startOrEnd", json!("end"));
    check("foo[5m]", "/type", json!("matrixSelector"));
    check("foo[1m30s]", "/range", json!(90_000));
    check("foo[5m] anchored", "/anchored", json!(true));
    check("foo smoothed", "/smoothed", json!(true));
    check("foo[5m:] offset 1d", "/step", json!(0));
    check("foo[5m:10]", "/step", json!(10_000));
    check("foo[5m:] offset 1d", "/offset", json!(86_400_000));
    check("foo[5m:]", "/expr", selector("foo"));
    check("time() + 1", "/matching", Value::Null);
    check("foo > bool 1", "/bool", json!(true));
    check("foo + bar", "/matching/card", json!("one-to-one"));
    check("foo unless bar", "/matching/card", json!("many-to-many"));
    check("foo + on () group_right () bar", "/matching/card", json!("one-to-many"));
    check("foo + fill (2) bar", "/matching/fillValues", json!({ "lhs": 2.0, "rhs": 2.0 }));
    check("foo + fill_left (NaN) bar", "/matching/fillValues", json!({ "lhs": "NaN", "rhs": null }));
    check("sum without (a) (foo)", "/without", json!(true));
    check("sum(foo)", "/grouping", json!([]));
    check("sum(foo)", "/param", Value::Null);
    check("time()", "/func", json!({ "name": "time", "argTypes": [], "variadic": 0, "returnType": "scalar" }));
    check("label_join(foo, \"a\", \"-\")", "/func/variadic", json!(-1));
    check("histogram_quantiles(foo, \"q\", 0.5)", "/func/variadic", json!(9));
    check("rate(foo[5m])", "/func/argTypes", json!(["matrix"]));
}

/// Durations that have to be computed count as 0 and stand beside it as trees.
#[test]
fn computed_durations() {
    let server = Server::new();
    let seconds =
        |value: &str, is_duration: bool| json!({ "type": "numberLiteral", "val": value, "duration": is_duration });
    let node = |op: &str, left: Value, right: Value, wrapped: bool| json!({ "type": "durationExpr", "op": op, "lhs": left, "rhs": right, "wrapped": wrapped });
    let range = tree(&server, "foo[5m+1m] offset (10m/2)");
    assert_eq!((&range["range"], &range["offset"]), (&json!(0), &json!(0)));
    assert_eq!(range["rangeExpr"], node("+", seconds("300", true), seconds("60", true), false));
    assert_eq!(range["offsetExpr"], node("/", seconds("600", true), seconds("2", false), true));
    let nested = tree(&server, "foo[max_of(step(), range())]");
    let nothing = || Value::Null;
    let want =
        node("max_of", node("step", nothing(), nothing(), false), node("range", nothing(), nothing(), false), false);
    assert_eq!(nested["rangeExpr"], want);
    let stepped = tree(&server, "foo[8s:1s*2]");
    assert_eq!(stepped["stepExpr"], node("*", seconds("1", true), seconds("2", false), false));
    let negative = tree(&server, "foo offset -min_of(5s, 8)");
    let inner = node("min_of", seconds("5", true), seconds("8", false), false);
    assert_eq!(negative["offsetExpr"], node("-", nothing(), inner, false));
}

#[test]
fn both_methods_and_errors() {
    let server = Server::new();
    for call in ["parse_query", "format_query"] {
        let path = format!("/api/v1/{call}");
        server.check_error(&path, 400, "bad_data", r#"invalid parameter "query": it is missing"#);
        for body in ["query=sum(", "query=1+%2B+%22a%22"] {
            let answer = block_on(server.post(&path, body));
            assert_eq!((answer.status, &answer.json()["errorType"]), (400, &"bad_data".into()), "{}", answer.body);
            assert!(answer.body.contains(r#"invalid parameter \"query\": 1:"#), "{}", answer.body);
        }
    }
    let answer = block_on(server.post("/api/v1/parse_query", "query=foo"));
    assert_eq!(answer.json()["data"], selector("foo"));
    let answer = block_on(server.get("/api/v1/format_query?query=sum+(foo)by(a)"));
    assert_eq!(answer.body, r#"{"status":"success","data":"sum by (a) (foo)"}"#);
}

/// A tree as deep as the parser allows is told without overflowing anything.
#[test]
fn the_deepest_tree() {
    let deep = format!("{}foo{}", "(".repeat(query::DEPTH_MAX - 2), ")".repeat(query::DEPTH_MAX - 2));
    let answer = block_on(Server::new().get(&format!("/api/v1/parse_query?query={}", escape(&deep))));
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.body.matches("parenExpr").count(), query::DEPTH_MAX - 2);
    let deeper = block_on(Server::new().get(&format!("/api/v1/parse_query?query={}", escape(&format!("(({deep}))")))));
    assert_eq!(deeper.status, 400);
}
