//! A syntax tree as JSON, in the shape that Prometheus's `parse_query` gives and its tree view reads.
//!
//! Every node has a `type`; durations are milliseconds. A duration that has to be computed counts as 0 there and
//! stands as a tree in `rangeExpr`, `offsetExpr` or `stepExpr`. Recurses as deep as the tree, which the parser bounds.

use model::Matcher;
use query::ast::{
    Aggregate, AtModifier, Binary, BinaryOp, Call, Cardinality, DurationExpr, DurationKind, Expr, ExprKind, Matching,
    Modifiers, NumberLiteral, RangeExtension, Selector, Subquery, UnaryOp, ValueType,
};
use query::value_type;
use serde_json::{Map, Value, json};

use crate::json::write_number;

/// The tree of `expr`.
pub(crate) fn syntax_tree(expr: &Expr) -> Value {
    match &expr.kind {
        ExprKind::Number(literal) => json!({ "type": "numberLiteral", "val": plain(literal.value) }),
        ExprKind::String(text) => json!({ "type": "stringLiteral", "val": text }),
        ExprKind::Selector(selector) => Value::Object(selector_node("vectorSelector", selector)),
        ExprKind::Range(range) => {
            let mut node = selector_node("matrixSelector", &range.selector);
            put_duration(&mut node, "range", "rangeExpr", Some(&range.range));
            Value::Object(node)
        }
        ExprKind::Subquery(subquery) => subquery_node(subquery),
        ExprKind::Unary(op, inner) => json!({ "type": "unaryExpr", "op": op.to_string(), "expr": syntax_tree(inner) }),
        ExprKind::Binary(binary) => binary_node(binary),
        ExprKind::Call(call) => call_node(call),
        ExprKind::Aggregate(aggregate) => aggregate_node(aggregate),
        ExprKind::Paren(inner) => json!({ "type": "parenExpr", "expr": syntax_tree(inner) }),
    }
}

/// What vector and matrix selectors share.
fn selector_node(node_type: &str, selector: &Selector) -> Map<String, Value> {
    let mut node = Map::new();
    node.insert("type".to_owned(), json!(node_type));
    let (name, others) = match selector.matchers.as_slice() {
        [name, others @ ..] if selector.bare_name => (Some(name), others),
        all => (None, all),
    };
    node.insert("name".to_owned(), json!(name.map_or("", Matcher::value)));
    // Prometheus adds the matcher of a bare name after those in the braces.
    let matchers: Vec<Value> = others.iter().chain(name).map(matcher_node).collect();
    node.insert("matchers".to_owned(), json!(matchers));
    node.insert("anchored".to_owned(), json!(selector.extension == Some(RangeExtension::Anchored)));
    node.insert("smoothed".to_owned(), json!(selector.extension == Some(RangeExtension::Smoothed)));
    put_modifiers(&mut node, &selector.modifiers);
    node
}

fn matcher_node(matcher: &Matcher) -> Value {
    json!({ "name": matcher.name(), "value": matcher.value(), "type": matcher.op().to_string() })
}

fn put_modifiers(node: &mut Map<String, Value>, modifiers: &Modifiers) {
    put_duration(node, "offset", "offsetExpr", modifiers.offset.as_ref());
    let (timestamp, start_or_end) = match modifiers.at {
        None => (Value::Null, Value::Null),
        Some(AtModifier::TimestampMs(ms)) => (json!(ms), Value::Null),
        Some(AtModifier::Start) => (Value::Null, json!("start")),
        Some(AtModifier::End) => (Value::Null, json!("end")),
    };
    node.insert("timestamp".to_owned(), timestamp);
    node.insert("startOrEnd".to_owned(), start_or_end);
}

/// Puts a duration as milliseconds where it is a literal, and as a tree where it has to be computed.
fn put_duration(node: &mut Map<String, Value>, name: &str, tree_name: &str, duration: Option<&DurationExpr>) {
    let (ms, tree) = match duration {
        None => (0, Value::Null),
        Some(duration) => match literal(duration) {
            Some(literal) => (whole_ms(literal.value), Value::Null),
            None => (0, duration_node(duration, false)),
        },
    };
    node.insert(name.to_owned(), json!(ms));
    node.insert(tree_name.to_owned(), tree);
}

/// The literal that a duration is, signs and parentheses around it included.
fn literal(duration: &DurationExpr) -> Option<NumberLiteral> {
    match &duration.kind {
        DurationKind::Literal(literal) => Some(literal.clone()),
        DurationKind::Paren(inner) | DurationKind::Unary(UnaryOp::Plus, inner) => literal(inner),
        DurationKind::Unary(UnaryOp::Minus, inner) => {
            literal(inner).map(|literal| NumberLiteral { value: -literal.value, ..literal })
        }
        _ => None,
    }
}

fn duration_node(duration: &DurationExpr, wrapped: bool) -> Value {
    let node = |op: String, left: Value, right: Value| json!({ "type": "durationExpr", "op": op, "lhs": left, "rhs": right, "wrapped": wrapped });
    let pair = |op: &str, left: &DurationExpr, right: &DurationExpr| {
        node(op.to_owned(), duration_node(left, false), duration_node(right, false))
    };
    match &duration.kind {
        DurationKind::Literal(NumberLiteral { value, is_duration }) => {
            json!({ "type": "numberLiteral", "val": plain(*value), "duration": is_duration })
        }
        DurationKind::Step => node("step".to_owned(), Value::Null, Value::Null),
        DurationKind::Range => node("range".to_owned(), Value::Null, Value::Null),
        DurationKind::Unary(op, inner) => node(op.to_string(), Value::Null, duration_node(inner, false)),
        DurationKind::Binary(op, left, right) => pair(op.as_str(), left, right),
        DurationKind::MinOf(left, right) => pair("min_of", left, right),
        DurationKind::MaxOf(left, right) => pair("max_of", left, right),
        DurationKind::Paren(inner) => duration_node(inner, true),
    }
}

fn subquery_node(subquery: &Subquery) -> Value {
    let mut node = Map::new();
    node.insert("type".to_owned(), json!("subquery"));
    node.insert("expr".to_owned(), syntax_tree(&subquery.expr));
    put_duration(&mut node, "range", "rangeExpr", Some(&subquery.range));
    put_duration(&mut node, "step", "stepExpr", subquery.step.as_ref());
    put_modifiers(&mut node, &subquery.modifiers);
    Value::Object(node)
}

fn binary_node(binary: &Binary) -> Value {
    let between_vectors =
        [&binary.left, &binary.right].into_iter().all(|side| value_type(side) == ValueType::InstantVector);
    let matching = if between_vectors {
        matching_node(binary.op, &binary.matching.clone().unwrap_or_default())
    } else {
        Value::Null
    };
    json!({
        "type": "binaryExpr",
        "op": binary.op.as_str(),
        "lhs": syntax_tree(&binary.left),
        "rhs": syntax_tree(&binary.right),
        "matching": matching,
        "bool": binary.returns_bool,
    })
}

fn matching_node(op: BinaryOp, matching: &Matching) -> Value {
    let (cardinality, include): (&str, &[String]) = match &matching.cardinality {
        Cardinality::OneToOne if op.is_set() => ("many-to-many", &[]),
        Cardinality::OneToOne => ("one-to-one", &[]),
        Cardinality::ManyToOne { include } => ("many-to-one", include),
        Cardinality::OneToMany { include } => ("one-to-many", include),
    };
    json!({
        "card": cardinality,
        "labels": matching.labels,
        "on": matching.on,
        "include": include,
        "fillValues": { "lhs": fill(matching.fill_left), "rhs": fill(matching.fill_right) },
    })
}

/// A fill value; JSON has no numbers that are not finite, so these are texts.
fn fill(value: Option<f64>) -> Value {
    match value {
        None => Value::Null,
        Some(value) if value.is_finite() => json!(value),
        Some(value) => json!(plain(value)),
    }
}

fn call_node(call: &Call) -> Value {
    let function = call.function;
    let arg_types: Vec<&str> = function.args.iter().map(|&found| type_name(found)).collect();
    // 0: exactly these; -1: the last one any number of times; else so many more or fewer than these.
    let variadic = match function.variadic {
        usize::MAX => -1,
        0 => i64::try_from(function.optional).unwrap_or(i64::MAX),
        more => i64::try_from(more).unwrap_or(i64::MAX),
    };
    json!({
        "type": "call",
        "func": {
            "name": function.name,
            "argTypes": arg_types,
            "variadic": variadic,
            "returnType": type_name(function.returns),
        },
        "args": call.args.iter().map(syntax_tree).collect::<Vec<Value>>(),
    })
}

fn aggregate_node(aggregate: &Aggregate) -> Value {
    let grouping = aggregate.grouping.as_ref();
    json!({
        "type": "aggregation",
        "op": aggregate.op.as_str(),
        "expr": syntax_tree(&aggregate.expr),
        "param": aggregate.param.as_ref().map(syntax_tree),
        "grouping": grouping.map_or(&[][..], |grouping| &grouping.labels),
        "without": grouping.is_some_and(|grouping| grouping.without),
    })
}

/// The name of a type in Prometheus's API.
fn type_name(value_type: ValueType) -> &'static str {
    match value_type {
        ValueType::Scalar => "scalar",
        ValueType::InstantVector => "vector",
        ValueType::RangeVector => "matrix",
        ValueType::String => "string",
    }
}

/// A number without an exponent, however long it gets.
fn plain(value: f64) -> String {
    if value.is_finite() {
        return value.to_string();
    }
    let mut out = Vec::new();
    write_number(&mut out, value);
    String::from_utf8(out).unwrap_or_default()
}

/// Seconds in whole milliseconds; the parser keeps durations within 292 years.
#[expect(clippy::cast_possible_truncation, reason = "a cast of a float stops at the ends of an i64")]
fn whole_ms(seconds: f64) -> i64 {
    (seconds * 1e3).round() as i64
}
