//! Every tree that the parser can build is written so that it parses to the same tree.

use model::{METRIC_NAME, MatchOp, Matcher};
use proptest::prelude::*;
use query::ast::{
    Aggregate, AggregateOp, AtModifier, Binary, BinaryOp, Call, Cardinality, DurationExpr, DurationKind, Expr,
    ExprKind, Grouping, Matching, Modifiers, NumberLiteral, RangeExtension, RangeSelector, Selector, Span, Subquery,
    UnaryOp,
};
use query::{functions, parse};

fn expr(kind: ExprKind) -> Expr {
    Expr { span: Span::default(), kind }
}

fn duration(kind: DurationKind) -> DurationExpr {
    DurationExpr { span: Span::default(), kind }
}

/// The tree as text, without places and signs of NaN, which are not part of its meaning.
fn tree(expr: &Expr) -> String {
    let text = format!("{expr:?}");
    let mut parts = text.split("Span { start: ");
    let mut bare = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        bare.push_str(part.split_once('}').map_or(part, |(_, after)| after));
    }
    bare
}

/// Puts what is not a single term into parentheses.
fn term(inner: Expr) -> Expr {
    match inner.kind {
        ExprKind::Binary(_) | ExprKind::Unary(..) | ExprKind::Number(_) => expr(ExprKind::Paren(Box::new(inner))),
        _ => inner,
    }
}

fn duration_term(inner: DurationExpr) -> DurationExpr {
    match inner.kind {
        DurationKind::Binary(..) | DurationKind::Unary(..) | DurationKind::Literal(_) => {
            duration(DurationKind::Paren(Box::new(inner)))
        }
        _ => inner,
    }
}

fn number() -> impl Strategy<Value = NumberLiteral> {
    prop_oneof![
        any::<f64>().prop_map(|value| NumberLiteral { value, is_duration: false }),
        (0..1000u32).prop_map(|value| NumberLiteral { value: f64::from(value), is_duration: false }),
        // Seconds as the parser gets them from whole milliseconds.
        any::<u32>().prop_map(|ms| NumberLiteral { value: f64::from(ms) / 1e3, is_duration: true }),
    ]
}

fn durations() -> impl Strategy<Value = DurationExpr> {
    let leaf = prop_oneof![
        (1..10_000u32).prop_map(|s| DurationKind::Literal(NumberLiteral { value: f64::from(s), is_duration: true })),
        (1..100u32).prop_map(|s| DurationKind::Literal(NumberLiteral { value: f64::from(s), is_duration: false })),
        Just(DurationKind::Step),
        Just(DurationKind::Range),
    ]
    .prop_map(duration);
    leaf.prop_recursive(3, 8, 2, |inner| {
        let boxed = || inner.clone().prop_map(Box::new);
        let op = prop::sample::select(vec![
            BinaryOp::Add,
            BinaryOp::Subtract,
            BinaryOp::Multiply,
            BinaryOp::Divide,
            BinaryOp::Modulo,
            BinaryOp::Power,
        ]);
        // An unknown summand keeps constants from being refused for their value.
        let sum = |kind| {
            let unknown = Box::new(duration(DurationKind::Step));
            DurationKind::Binary(BinaryOp::Add, unknown, Box::new(duration_term(duration(kind))))
        };
        prop_oneof![
            (boxed(), boxed()).prop_map(|(a, b)| DurationKind::MinOf(a, b)),
            (boxed(), boxed()).prop_map(|(a, b)| DurationKind::MaxOf(a, b)),
            (op, inner.clone(), inner.clone()).prop_map(move |(op, a, b)| {
                sum(DurationKind::Binary(op, Box::new(duration_term(a)), Box::new(duration_term(b))))
            }),
            inner.clone().prop_map(move |a| sum(DurationKind::Unary(UnaryOp::Minus, Box::new(duration_term(a))))),
        ]
        .prop_map(duration)
    })
}

fn modifiers() -> impl Strategy<Value = Modifiers> {
    let at = prop_oneof![
        Just(AtModifier::Start),
        Just(AtModifier::End),
        (-4_000_000_000_000i64..4_000_000_000_000).prop_map(AtModifier::TimestampMs),
    ];
    // After `offset` stands a single term.
    let offset = durations().prop_map(|inner| match inner.kind {
        DurationKind::Binary(..) | DurationKind::Unary(..) => duration(DurationKind::Paren(Box::new(inner))),
        _ => inner,
    });
    (prop::option::of(offset), prop::option::of(at)).prop_map(|(offset, at)| Modifiers { offset, at })
}

fn extension() -> impl Strategy<Value = Option<RangeExtension>> {
    prop_oneof![Just(None), Just(Some(RangeExtension::Anchored)), Just(Some(RangeExtension::Smoothed))]
}

fn label() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z_][a-z0-9_]{0,4}",
        Just("by".to_owned()),
        Just("inf".to_owned()),
        "\\PC{1,4}",
        Just("a\n\"\\".to_owned())
    ]
}

fn selector() -> impl Strategy<Value = Selector> {
    let name = prop_oneof![
        "[a-z_:][a-z0-9_:]{0,6}",
        prop::sample::select(vec!["sum", "offset", "and", "fill", "start", "by"]).prop_map(str::to_owned),
    ]
    .prop_filter("a name", |name| !["inf", "nan", "on", "bool"].contains(&name.as_str()));
    let op = prop::sample::select(vec![MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex]);
    let matcher = (label(), op, "[a-z.*|é\"]{0,5}").prop_filter_map("a matcher", |(name, op, value)| {
        if name == METRIC_NAME { None } else { Matcher::new(name, op, value).ok() }
    });
    let matchers = proptest::collection::vec(matcher, 0..3);
    (any::<bool>(), name, "\\PC{1,5}", matchers).prop_map(|(bare_name, name, any_name, mut matchers)| {
        let name = if bare_name { name } else { any_name };
        let at = if bare_name { 0 } else { matchers.len() };
        matchers.insert(at, Matcher::equal(METRIC_NAME, name));
        Selector { matchers, bare_name, modifiers: Modifiers::default(), extension: None, tells_resets: false }
    })
}

fn labels() -> impl Strategy<Value = Vec<String>> {
    proptest::collection::vec(label(), 0..3)
}

fn matching() -> impl Strategy<Value = Option<Matching>> {
    let fill = || prop::option::of(-5i8..5).prop_map(|value| value.map(f64::from));
    let some = (any::<bool>(), labels(), 0..3u8, labels(), fill(), fill()).prop_map(
        |(on, labels, group, include, fill_left, fill_right)| {
            let include = include.into_iter().filter(|label| !labels.contains(label)).collect();
            let cardinality = match group {
                0 => Cardinality::OneToOne,
                1 => Cardinality::ManyToOne { include },
                _ => Cardinality::OneToMany { include },
            };
            Matching { on, labels, cardinality, fill_left, fill_right }
        },
    );
    prop::option::of(some)
}

/// Instant vectors of every construct.
fn vectors() -> impl Strategy<Value = Expr> {
    let leaf = (selector(), modifiers(), extension()).prop_map(|(selector, modifiers, extension)| {
        expr(ExprKind::Selector(Selector { modifiers, extension, ..selector }))
    });
    leaf.prop_recursive(4, 24, 3, |inner| {
        let number = || number().prop_map(|literal| expr(ExprKind::Number(literal)));
        let range = prop_oneof![
            (selector(), durations(), modifiers(), extension()).prop_map(|(selector, range, modifiers, extension)| {
                let selector = Selector { modifiers, extension, ..selector };
                expr(ExprKind::Range(RangeSelector { selector, range }))
            }),
            (inner.clone(), durations(), prop::option::of(durations()), modifiers()).prop_map(
                |(inner, range, step, modifiers)| {
                    let subquery = Subquery { expr: term(inner), range, step, modifiers };
                    expr(ExprKind::Subquery(Box::new(subquery)))
                }
            ),
        ];
        let call = |name: &'static str, args| {
            expr(ExprKind::Call(Call { function: functions::find(name).expect("known"), args }))
        };
        let text = "\\PC{0,5}".prop_map(|text| expr(ExprKind::String(text)));
        let grouping =
            || prop::option::of((any::<bool>(), labels()).prop_map(|(without, labels)| Grouping { without, labels }));
        let arithmetic = prop::sample::select(vec![
            BinaryOp::Add,
            BinaryOp::Power,
            BinaryOp::Atan2,
            BinaryOp::TrimUpper,
            BinaryOp::TrimLower,
            BinaryOp::Less,
            BinaryOp::Equal,
            BinaryOp::GreaterEqual,
        ]);
        let set = prop::sample::select(vec![BinaryOp::And, BinaryOp::Or, BinaryOp::Unless]);
        prop_oneof![
            (arithmetic, any::<bool>(), matching(), inner.clone(), inner.clone()).prop_map(
                |(op, returns_bool, matching, left, right)| {
                    let returns_bool = returns_bool && op.is_comparison();
                    expr(ExprKind::Binary(Box::new(Binary {
                        op,
                        returns_bool,
                        matching,
                        left: term(left),
                        right: term(right),
                    })))
                }
            ),
            (set, inner.clone(), inner.clone()).prop_map(|(op, left, right)| {
                let (left, right) = (term(left), term(right));
                expr(ExprKind::Binary(Box::new(Binary { op, returns_bool: false, matching: None, left, right })))
            }),
            (number(), inner.clone()).prop_map(|(left, right)| {
                let (left, right) = (term(left), term(right));
                let op = BinaryOp::Multiply;
                expr(ExprKind::Binary(Box::new(Binary { op, returns_bool: false, matching: None, left, right })))
            }),
            (any::<bool>(), inner.clone()).prop_map(|(plus, inner)| {
                expr(ExprKind::Unary(if plus { UnaryOp::Plus } else { UnaryOp::Minus }, Box::new(term(inner))))
            }),
            range.prop_map(move |range| call("rate", vec![range])),
            (inner.clone(), text, number())
                .prop_map(move |(vector, text, number)| { call("histogram_quantiles", vec![vector, text, number]) }),
            (grouping(), inner.clone()).prop_map(|(grouping, inner)| {
                let aggregate = Aggregate { op: AggregateOp::Sum, grouping, param: None, expr: inner };
                expr(ExprKind::Aggregate(Box::new(aggregate)))
            }),
            (grouping(), number(), inner).prop_map(|(grouping, param, inner)| {
                let aggregate = Aggregate { op: AggregateOp::Topk, grouping, param: Some(param), expr: inner };
                expr(ExprKind::Aggregate(Box::new(aggregate)))
            }),
        ]
    })
}

proptest! {
    #[test]
    fn trees_survive_their_spelling(expr in vectors()) {
        let printed = expr.to_string();
        match parse(&printed) {
            Ok(again) => prop_assert_eq!(tree(&again), tree(&expr), "written {}", printed),
            Err(error) => prop_assert!(false, "{} is refused: {}", printed, error),
        }
    }
}
