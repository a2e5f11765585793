//! The static types of expressions and the rules between them.
//!
//! Owns what makes a well-formed tree a meaningful one, before anything is evaluated. Recurses as deep as the tree,
//! which the parser bounds.

use model::matcher::is_selective;

use crate::ast::{
    Aggregate, AggregateOp, Binary, BinaryOp, Call, Cardinality, DurationExpr, DurationKind, Expr, ExprKind, Matching,
    Modifiers, Selector, Subquery, UnaryOp, ValueType,
};
use crate::functions::FunctionId;
use crate::parse_error::Fault;

/// The static type of `expr`, taking for granted that it is well-typed.
pub fn value_type(expr: &Expr) -> ValueType {
    match &expr.kind {
        ExprKind::Number(_) => ValueType::Scalar,
        ExprKind::String(_) => ValueType::String,
        ExprKind::Selector(_) | ExprKind::Aggregate(_) => ValueType::InstantVector,
        ExprKind::Range(_) | ExprKind::Subquery(_) => ValueType::RangeVector,
        ExprKind::Call(call) => call.function.returns,
        ExprKind::Unary(_, inner) | ExprKind::Paren(inner) => value_type(inner),
        ExprKind::Binary(binary) => match binary.op {
            BinaryOp::And | BinaryOp::Or | BinaryOp::Unless => ValueType::InstantVector,
            _ if value_type(&binary.left) == ValueType::Scalar => value_type(&binary.right),
            _ => ValueType::InstantVector,
        },
    }
}

/// Faults are boxed so that the many frames of a deep tree stay small.
type Checked<T> = Result<T, Box<Fault>>;

fn refuse<T>(fault: Fault) -> Checked<T> {
    Err(Box::new(fault))
}

/// Checks every rule in `expr`.
pub(crate) fn check(expr: &Expr) -> Checked<()> {
    type_of(expr).map(drop)
}

/// The type of `expr`, after checking it and everything in it.
fn type_of(expr: &Expr) -> Checked<ValueType> {
    match &expr.kind {
        ExprKind::Number(_) => Ok(ValueType::Scalar),
        ExprKind::String(_) => Ok(ValueType::String),
        ExprKind::Selector(selector) => {
            check_selector(expr, selector)?;
            Ok(ValueType::InstantVector)
        }
        ExprKind::Range(range) => {
            check_selector(expr, &range.selector)?;
            check_length(&range.range)?;
            Ok(ValueType::RangeVector)
        }
        ExprKind::Subquery(subquery) => check_subquery(subquery),
        ExprKind::Unary(_, inner) => match type_of(inner)? {
            found @ (ValueType::Scalar | ValueType::InstantVector) => Ok(found),
            found => refuse(Fault::new(
                expr.span,
                format!("unary expression only allowed on expressions of type scalar or instant vector, got {found}"),
            )),
        },
        ExprKind::Paren(inner) => type_of(inner),
        ExprKind::Binary(binary) => check_binary(expr, binary),
        ExprKind::Call(call) => check_call(expr, call),
        ExprKind::Aggregate(aggregate) => check_aggregate(aggregate),
    }
}

/// Refuses `expr` unless it is of type `wanted`; `place` says where it stands.
fn expect(expr: &Expr, wanted: ValueType, place: &str) -> Checked<()> {
    let found = type_of(expr)?;
    if found == wanted {
        return Ok(());
    }
    let fault = Fault::new(expr.span, format!("expected type {wanted} in {place}, got {found}"));
    refuse(match (wanted, found) {
        (ValueType::RangeVector, ValueType::InstantVector) => {
            fault.with_hint("a range is written behind a selector, as in [5m], or behind an expression, as in [5m:]")
        }
        (ValueType::InstantVector, ValueType::RangeVector) => {
            fault.with_hint("a function such as rate or avg_over_time turns a range into one value")
        }
        (ValueType::InstantVector, ValueType::Scalar) => fault.with_hint("vector(...) makes a vector of a number"),
        (ValueType::Scalar, ValueType::InstantVector) => fault.with_hint("scalar(...) makes a number of a vector"),
        _ => fault,
    })
}

fn check_selector(expr: &Expr, selector: &Selector) -> Checked<()> {
    if !is_selective(&selector.matchers) {
        let fault = Fault::new(expr.span, "vector selector must contain at least one non-empty matcher");
        return refuse(fault.with_hint("name the metric, or add a matcher that an absent label does not fulfil"));
    }
    check_modifiers(&selector.modifiers)
}

fn check_modifiers(modifiers: &Modifiers) -> Checked<()> {
    match &modifiers.offset {
        Some(offset) => constant_ms(offset).map(drop),
        None => Ok(()),
    }
}

fn check_subquery(subquery: &Subquery) -> Checked<ValueType> {
    let inner = type_of(&subquery.expr)?;
    if inner != ValueType::InstantVector {
        let message = format!("subquery is only allowed on instant vector, got {inner} instead");
        return refuse(Fault::new(subquery.expr.span, message));
    }
    check_length(&subquery.range)?;
    if let Some(step) = &subquery.step {
        check_length(step)?;
    }
    check_modifiers(&subquery.modifiers)?;
    Ok(ValueType::RangeVector)
}

/// Refuses a constant that is no length: not positive, or not finite.
fn check_length(duration: &DurationExpr) -> Checked<()> {
    match constant_ms(duration)? {
        Some(length_ms) if length_ms < 1.0 => refuse(Fault::new(duration.span, "duration must be greater than 0")),
        _ => Ok(()),
    }
}

/// The whole milliseconds of a duration that depends on nothing.
#[expect(clippy::cast_precision_loss, reason = "a bound below 2^53")]
fn constant_ms(duration: &DurationExpr) -> Checked<Option<f64>> {
    const BOUND_MS: f64 = model::time::DURATION_MS_MAX as f64;
    match constant(duration).map(|seconds| (seconds * 1e3).round()) {
        Some(ms) if !(-BOUND_MS..=BOUND_MS).contains(&ms) => {
            refuse(Fault::new(duration.span, "duration out of range").with_hint("the longest is 292 years"))
        }
        constant => Ok(constant),
    }
}

/// The seconds of a duration without `step()` and `range()`.
fn constant(duration: &DurationExpr) -> Option<f64> {
    Some(match &duration.kind {
        DurationKind::Literal(literal) => literal.value,
        DurationKind::Step | DurationKind::Range => return None,
        DurationKind::Unary(UnaryOp::Plus, inner) | DurationKind::Paren(inner) => constant(inner)?,
        DurationKind::Unary(UnaryOp::Minus, inner) => -constant(inner)?,
        DurationKind::MinOf(a, b) => constant(a)?.min(constant(b)?),
        DurationKind::MaxOf(a, b) => constant(a)?.max(constant(b)?),
        DurationKind::Binary(op, left, right) => {
            let (left, right) = (constant(left)?, constant(right)?);
            match op {
                BinaryOp::Add => left + right,
                BinaryOp::Subtract => left - right,
                BinaryOp::Multiply => left * right,
                BinaryOp::Divide => left / right,
                BinaryOp::Modulo => left % right,
                BinaryOp::Power => left.powf(right),
                _ => return None,
            }
        }
    })
}

fn check_binary(expr: &Expr, binary: &Binary) -> Checked<ValueType> {
    let (op, name) = (binary.op, binary.op.as_str());
    let left = type_of(&binary.left)?;
    let right = type_of(&binary.right)?;
    for (side, found) in [(&binary.left, left), (&binary.right, right)] {
        if !matches!(found, ValueType::Scalar | ValueType::InstantVector) {
            let message = format!("binary expression must contain only scalar and instant vector types, got {found}");
            return refuse(Fault::new(side.span, message));
        }
    }
    if binary.returns_bool && !op.is_comparison() {
        return refuse(Fault::new(expr.span, "bool modifier can only be used on comparison operators"));
    }
    let vectors = [left, right].into_iter().filter(|&found| found == ValueType::InstantVector).count();
    if vectors < 2 && op.is_set() {
        return refuse(Fault::new(expr.span, format!("set operator {name:?} not allowed in binary scalar expression")));
    }
    if vectors == 0 && op.is_comparison() && !binary.returns_bool {
        let fault = Fault::new(expr.span, "comparisons between scalars must use BOOL modifier");
        return refuse(fault.with_hint(format!("write {name} bool")));
    }
    if vectors == 0 && matches!(op, BinaryOp::TrimLower | BinaryOp::TrimUpper) {
        return refuse(Fault::new(expr.span, format!("operator {name:?} not allowed in binary scalar expression")));
    }
    if let Some(matching) = &binary.matching {
        check_matching(expr, op, matching, vectors == 2)?;
    }
    Ok(if vectors == 0 { ValueType::Scalar } else { ValueType::InstantVector })
}

fn check_matching(expr: &Expr, op: BinaryOp, matching: &Matching, between_vectors: bool) -> Checked<()> {
    let fault = |message: String| refuse(Fault::new(expr.span, message));
    let fills = matching.fill_left.is_some() || matching.fill_right.is_some();
    let include = match &matching.cardinality {
        Cardinality::OneToOne => None,
        Cardinality::ManyToOne { include } | Cardinality::OneToMany { include } => Some(include),
    };
    if !between_vectors && (!matching.labels.is_empty() || include.is_some()) {
        return fault("vector matching only allowed between instant vectors".to_owned());
    }
    if !between_vectors && fills {
        return fault("filling in missing series only allowed between instant vectors".to_owned());
    }
    if op.is_set() && include.is_some() {
        return fault(format!("no grouping allowed for {:?} operation", op.as_str()));
    }
    if op.is_set() && fills {
        return fault("filling in missing series not allowed for set operators".to_owned());
    }
    let twice =
        include.filter(|_| matching.on).and_then(|include| include.iter().find(|l| matching.labels.contains(l)));
    match twice {
        Some(label) => fault(format!("label {label:?} must not occur in ON and GROUP clause at once")),
        None => Ok(()),
    }
}

fn check_call(expr: &Expr, call: &Call) -> Checked<ValueType> {
    let function = call.function;
    let (name, found) = (function.name, call.args.len());
    let (min, max) = (function.args_min(), function.args_max());
    let wrong = |bound: &str, wanted: usize| {
        let message = format!("expected {bound}{wanted} argument(s) in call to {name:?}, got {found}");
        refuse(Fault::new(expr.span, message))
    };
    if min == max && found != min {
        return wrong("", min);
    }
    if found < min {
        return wrong("at least ", min);
    }
    if found > max {
        return wrong("at most ", max);
    }
    let place = format!("call to function {name:?}");
    for (index, arg) in call.args.iter().enumerate() {
        if function.id == FunctionId::Info && index == 1 {
            check_info_selector(arg)?;
        } else if let Some(wanted) = function.arg_type(index)
            && !(wanted == ValueType::RangeVector && is_plain_selector(arg))
        {
            expect(arg, wanted, &place)?;
        } else {
            type_of(arg)?;
        }
    }
    Ok(function.returns)
}

/// Whether `arg` is a selector that stands for itself with a range that is chosen for it, as in `rate(x)`.
fn is_plain_selector(arg: &Expr) -> bool {
    matches!(&arg.without_parens().kind, ExprKind::Selector(selector) if selector.extension.is_none())
}

/// The second argument of `info` is a set of conditions, not a vector: it may be empty and has no name before it.
fn check_info_selector(arg: &Expr) -> Checked<()> {
    match &arg.kind {
        ExprKind::Selector(selector) if !selector.bare_name => {
            if selector.modifiers != Modifiers::default() || selector.extension.is_some() {
                return refuse(Fault::new(arg.span, "no modifiers allowed on the label selectors of \"info\""));
            }
            Ok(())
        }
        _ => {
            let fault = Fault::new(arg.span, "expected label selectors only in call to function \"info\"");
            refuse(fault.with_hint("write braces without a name before them, as in {k8s_cluster=\"a\"}"))
        }
    }
}

fn check_aggregate(aggregate: &Aggregate) -> Checked<ValueType> {
    if let Some(param) = &aggregate.param {
        let wanted = match aggregate.op {
            AggregateOp::CountValues => ValueType::String,
            _ => ValueType::Scalar,
        };
        expect(param, wanted, "aggregation parameter")?;
    }
    expect(&aggregate.expr, ValueType::InstantVector, "aggregation expression")?;
    Ok(ValueType::InstantVector)
}
