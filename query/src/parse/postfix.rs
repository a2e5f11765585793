//! What follows an expression: ranges, subqueries, `offset`, `@`, `anchored`, `smoothed`.

use nom::Parser;
use nom::branch::alt;

use super::cursor::{Cursor, Parsed, Tall, close, failure, keyword, signed_number};
use super::duration::{duration, duration_term};
use crate::ast::{AtModifier, Expr, ExprKind, Modifiers, RangeExtension, RangeSelector, Selector, Span, Subquery};
use crate::lex::Kind;
use crate::parse_error::Fault;

/// `expr` with everything that follows it here.
pub(super) fn postfix(mut cursor: Cursor<'_>, mut expr: Tall<Expr>) -> Parsed<'_, Tall<Expr>> {
    loop {
        (cursor, expr) = match cursor.kind() {
            Kind::Symbol("[") => brackets(cursor, expr)?,
            Kind::Symbol("@") => at(cursor, expr)?,
            Kind::Word(word) if word.eq_ignore_ascii_case("offset") => offset(cursor, expr)?,
            Kind::Word(word) if word.eq_ignore_ascii_case("anchored") => {
                extension(cursor, expr, "anchored", RangeExtension::Anchored)?
            }
            Kind::Word(word) if word.eq_ignore_ascii_case("smoothed") => {
                extension(cursor, expr, "smoothed", RangeExtension::Smoothed)?
            }
            _ => return Ok((cursor, expr)),
        };
    }
}

/// `[range]` or `[range:step]`.
fn brackets(cursor: Cursor<'_>, expr: Tall<Expr>) -> Parsed<'_, Tall<Expr>> {
    const CONTEXT: &str = "subquery or range selector";
    let opened = cursor.span();
    let (cursor, range) = duration(cursor.next())?;
    if !cursor.is_symbol(":") {
        let (cursor, closed) = close(cursor, opened, "]", CONTEXT, "\":\" or \"]\"")?;
        let span = Span { start: expr.node.span.start, end: closed.end };
        let selector = ranged(*expr.node, opened)?;
        let kind = ExprKind::Range(RangeSelector { selector, range });
        return Ok((cursor, Tall { node: Box::new(Expr { span, kind }), height: expr.height }));
    }
    let cursor = cursor.next();
    let (cursor, step) = if cursor.is_symbol("]") {
        (cursor, None)
    } else {
        let (cursor, step) = duration(cursor)?;
        (cursor, Some(step))
    };
    let (cursor, closed) = close(cursor, opened, "]", CONTEXT, "\"]\"")?;
    let span = Span { start: expr.node.span.start, end: closed.end };
    let subquery = Subquery { expr: *expr.node, range, step, modifiers: Modifiers::default() };
    let node = Expr { span, kind: ExprKind::Subquery(Box::new(subquery)) };
    Ok((cursor, Tall::above(expr.height, span, node)?))
}

/// The selector that a range at `brackets` applies to.
fn ranged(expr: Expr, brackets: Span) -> Result<Selector, nom::Err<Box<Fault>>> {
    let ExprKind::Selector(selector) = expr.kind else {
        let fault = Fault::new(expr.span, "ranges only allowed for vector selectors");
        return Err(nom::Err::Failure(Box::new(fault.with_hint("a subquery takes a colon, as in [5m:]"))));
    };
    if selector.modifiers.offset.is_some() {
        return Err(failure(brackets, "no offset modifiers allowed before range"));
    }
    if selector.modifiers.at.is_some() {
        return Err(failure(brackets, "no @ modifiers allowed before range"));
    }
    if selector.extension.is_some() {
        return Err(failure(brackets, "no anchored or smoothed modifiers allowed before range"));
    }
    Ok(selector)
}

/// The modifiers of what can have some; `name` is the modifier that stands at `span`.
fn modifiers_of<'e>(expr: &'e mut Expr, name: &str, span: Span) -> Result<&'e mut Modifiers, nom::Err<Box<Fault>>> {
    match &mut expr.kind {
        ExprKind::Selector(selector) => Ok(&mut selector.modifiers),
        ExprKind::Range(range) => Ok(&mut range.selector.modifiers),
        ExprKind::Subquery(subquery) => Ok(&mut subquery.modifiers),
        _ => {
            let message = format!(
                "{name} modifier must be preceded by an instant vector selector or range vector selector or a subquery"
            );
            let fault = Fault::new(span, message);
            Err(nom::Err::Failure(Box::new(
                fault.with_hint("put it behind the selector inside, or behind a subquery such as [5m:]"),
            )))
        }
    }
}

fn offset(cursor: Cursor<'_>, mut expr: Tall<Expr>) -> Parsed<'_, Tall<Expr>> {
    let modifiers = modifiers_of(&mut expr.node, "offset", cursor.span())?;
    if modifiers.offset.is_some() {
        return Err(failure(cursor.span(), "offset may not be set multiple times"));
    }
    let (cursor, by) = duration_term(cursor.next())?;
    modifiers.offset = Some(by);
    expr.node.span.end = cursor.end_of_previous();
    Ok((cursor, expr))
}

fn at(cursor: Cursor<'_>, mut expr: Tall<Expr>) -> Parsed<'_, Tall<Expr>> {
    let modifiers = modifiers_of(&mut expr.node, "@", cursor.span())?;
    if modifiers.at.is_some() {
        return Err(failure(cursor.span(), "@ <timestamp> may not be set multiple times"));
    }
    let (cursor, instant) = instant(cursor.next())?;
    modifiers.at = Some(instant);
    expr.node.span.end = cursor.end_of_previous();
    Ok((cursor, expr))
}

/// `start()`, `end()` or a number of seconds.
fn instant(cursor: Cursor<'_>) -> Parsed<'_, AtModifier> {
    let bound =
        alt((keyword("start").map(|_| AtModifier::Start), keyword("end").map(|_| AtModifier::End))).parse(cursor);
    if let Ok((after, bound)) = bound {
        if !after.is_symbol("(") {
            return after.refuse("@ modifier", "\"(\"");
        }
        let (after, _) = close(after.next(), after.span(), ")", "@ modifier", "\")\"")?;
        return Ok((after, bound));
    }
    let Ok((after, seconds)) = signed_number(cursor, "@ modifier") else {
        return cursor.refuse("@ modifier", "timestamp, start() or end()");
    };
    let span = Span { start: cursor.span().start, end: after.end_of_previous() };
    match timestamp_ms(seconds) {
        Some(timestamp_ms) => Ok((after, AtModifier::TimestampMs(timestamp_ms))),
        None => Err(failure(span, format!("timestamp out of bounds for @ modifier: {seconds}"))),
    }
}

/// Seconds in whole milliseconds, if there are so many.
#[expect(clippy::cast_possible_truncation, reason = "checked against the bounds of an i64")]
fn timestamp_ms(seconds: f64) -> Option<i64> {
    const BOUND: f64 = 9_223_372_036_854_775_808.0;
    let rounded = (seconds * 1e3).round();
    (rounded > -BOUND && rounded < BOUND).then_some(rounded as i64)
}

fn extension<'a>(
    cursor: Cursor<'a>,
    mut expr: Tall<Expr>,
    name: &str,
    wanted: RangeExtension,
) -> Parsed<'a, Tall<Expr>> {
    let found = match &mut expr.node.kind {
        ExprKind::Selector(selector) => &mut selector.extension,
        ExprKind::Range(range) => &mut range.selector.extension,
        ExprKind::Subquery(_) => {
            return Err(failure(cursor.span(), format!("{name} modifier is not supported for subqueries")));
        }
        _ => {
            let message =
                format!("{name} modifier must be preceded by an instant vector selector or range vector selector");
            return Err(failure(cursor.span(), message));
        }
    };
    if found.is_some() {
        return Err(failure(cursor.span(), "anchored and smoothed may be set only once, and not together"));
    }
    *found = Some(wanted);
    expr.node.span.end = cursor.span().end;
    Ok((cursor.next(), expr))
}
