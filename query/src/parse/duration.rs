//! Duration expressions: what stands in `[…]` and after `offset`.
//!
//! Owns their grammar and the literal zero divisor. Whether a constant makes a legal range is `check`'s business.

use nom::Parser;
use nom::combinator::cut;

use super::cursor::{Cursor, Parsed, Tall, close, failure, symbol};
use crate::ast::{BinaryOp, DurationExpr, DurationKind, NumberLiteral, Span, UnaryOp};
use crate::lex::Kind;
use crate::parse_error::Fault;

const EXPECTED: &str = "number, duration, step(), range(), min_of() or max_of()";
const PRODUCT: u8 = 2;
const POWER: u8 = 3;

type TallDuration = Tall<DurationExpr>;

/// A whole duration expression.
pub(super) fn duration(cursor: Cursor<'_>) -> Parsed<'_, DurationExpr> {
    let (cursor, tall) = expression(cursor, 0)?;
    Ok((cursor, *tall.node))
}

/// The first term of a duration expression: with its sign, without any operator. Stands after `offset`.
pub(super) fn duration_term(cursor: Cursor<'_>) -> Parsed<'_, DurationExpr> {
    let (cursor, tall) = match sign(cursor) {
        Some(op) => {
            let (after, operand) = atom(cursor.next())?;
            (after, signed(op, cursor.span(), operand)?)
        }
        None => atom(cursor)?,
    };
    Ok((cursor, *tall.node))
}

/// The operator here and how tightly it binds.
fn operator(cursor: Cursor<'_>) -> Option<(BinaryOp, u8)> {
    match cursor.kind() {
        Kind::Symbol("+") => Some((BinaryOp::Add, 1)),
        Kind::Symbol("-") => Some((BinaryOp::Subtract, 1)),
        Kind::Symbol("*") => Some((BinaryOp::Multiply, PRODUCT)),
        Kind::Symbol("/") => Some((BinaryOp::Divide, PRODUCT)),
        Kind::Symbol("%") => Some((BinaryOp::Modulo, PRODUCT)),
        Kind::Symbol("^") => Some((BinaryOp::Power, POWER)),
        _ => None,
    }
}

fn sign(cursor: Cursor<'_>) -> Option<UnaryOp> {
    match cursor.kind() {
        Kind::Symbol("+") => Some(UnaryOp::Plus),
        Kind::Symbol("-") => Some(UnaryOp::Minus),
        _ => None,
    }
}

/// Operators that bind at least as tightly as `lowest`, by precedence climbing.
fn expression(outer: Cursor<'_>, lowest: u8) -> Parsed<'_, TallDuration> {
    let cursor = outer.deeper()?;
    let (mut cursor, mut left) = match sign(cursor) {
        Some(op) => {
            let (after, operand) = expression(cursor.next(), POWER)?;
            (after, signed(op, cursor.span(), operand)?)
        }
        None => atom(cursor)?,
    };
    while let Some((op, precedence)) = operator(cursor).filter(|(_, precedence)| *precedence >= lowest) {
        let (after, right) = expression(cursor.next(), if op == BinaryOp::Power { POWER } else { precedence + 1 })?;
        refuse_zero_divisor(op, &right.node)?;
        let span = Span { start: left.node.span.start, end: right.node.span.end };
        let height = left.height.max(right.height);
        let kind = DurationKind::Binary(op, left.node, right.node);
        left = Tall::above(height, span, DurationExpr { span, kind })?;
        cursor = after;
    }
    Ok((cursor.back_to(outer), left))
}

fn refuse_zero_divisor(op: BinaryOp, right: &DurationExpr) -> Result<(), nom::Err<Box<Fault>>> {
    let is_zero = matches!(&right.kind, DurationKind::Literal(literal) if literal.value == 0.0);
    match op {
        BinaryOp::Divide if is_zero => Err(failure(right.span, "division by zero")),
        BinaryOp::Modulo if is_zero => Err(failure(right.span, "modulo by zero")),
        _ => Ok(()),
    }
}

/// `operand` behind the sign at `at`; a literal takes the sign in.
fn signed(op: UnaryOp, at: Span, operand: TallDuration) -> Result<TallDuration, nom::Err<Box<Fault>>> {
    let span = Span { start: at.start, end: operand.node.span.end };
    if let DurationKind::Literal(literal) = operand.node.kind {
        let kind = DurationKind::Literal(literal.signed(op));
        return Ok(Tall { node: Box::new(DurationExpr { span, kind }), ..operand });
    }
    let kind = DurationKind::Unary(op, operand.node);
    Tall::above(operand.height, span, DurationExpr { span, kind })
}

/// A literal, a call, or an expression in parentheses.
fn atom(cursor: Cursor<'_>) -> Parsed<'_, TallDuration> {
    let start = cursor.span();
    let literal = |value, is_duration| {
        let kind = DurationKind::Literal(NumberLiteral { value, is_duration });
        Ok((cursor.next(), Tall::leaf(DurationExpr { span: start, kind })))
    };
    match cursor.kind() {
        Kind::Number(value) => literal(value, false),
        Kind::Duration(value) => literal(value, true),
        Kind::Symbol("(") => {
            let (after, inner) = expression(cursor.next(), 0)?;
            let (after, closed) = close(after, start, ")", "duration expression", "\")\"")?;
            let span = Span { start: start.start, end: closed.end };
            let kind = DurationKind::Paren(inner.node);
            Ok((after, Tall::above(inner.height, span, DurationExpr { span, kind })?))
        }
        Kind::Word(word) => call(cursor, &word.to_ascii_lowercase()),
        _ => cursor.refuse("duration expression", EXPECTED),
    }
}

/// `step()`, `range()`, `min_of(a, b)` or `max_of(a, b)`.
fn call<'a>(cursor: Cursor<'a>, name: &str) -> Parsed<'a, TallDuration> {
    const CONTEXT: &str = "duration expression";
    let start = cursor.span();
    if !matches!(name, "step" | "range" | "min_of" | "max_of") {
        return cursor.refuse(CONTEXT, EXPECTED);
    }
    let (after, opened) = cut(symbol("(", CONTEXT)).parse(cursor.next())?;
    if matches!(name, "step" | "range") {
        let (after, closed) = close(after, opened, ")", CONTEXT, "\")\"")?;
        let kind = if name == "step" { DurationKind::Step } else { DurationKind::Range };
        let span = Span { start: start.start, end: closed.end };
        return Ok((after, Tall::leaf(DurationExpr { span, kind })));
    }
    let (after, a) = expression(after, 0)?;
    let (after, _) = cut(symbol(",", CONTEXT)).parse(after)?;
    let (after, b) = expression(after, 0)?;
    let (after, closed) = close(after, opened, ")", CONTEXT, "\")\"")?;
    let span = Span { start: start.start, end: closed.end };
    let height = a.height.max(b.height);
    let kind = if name == "min_of" { DurationKind::MinOf(a.node, b.node) } else { DurationKind::MaxOf(a.node, b.node) };
    Ok((after, Tall::above(height, span, DurationExpr { span, kind })?))
}
