//! Selectors: `name{matchers}`.

use model::{METRIC_NAME, MatchOp, Matcher};
use nom::Parser;
use nom::combinator::cut;

use super::cursor::{Cursor, Parsed, close, failure, string};
use crate::ast::{Expr, ExprKind, Modifiers, Selector, Span};
use crate::lex::Kind;

/// A selector that starts with the metric name `name`, which stands here.
pub(super) fn named<'a>(cursor: Cursor<'a>, name: &str) -> Parsed<'a, Expr> {
    let start = cursor.span().start;
    let matchers = vec![Matcher::equal(METRIC_NAME, name)];
    let (cursor, matchers) =
        if cursor.next().is_symbol("{") { braces(cursor.next(), matchers, true)? } else { (cursor.next(), matchers) };
    Ok((cursor, selector(cursor, start, matchers, true)))
}

/// A selector of braces alone, which open here.
pub(super) fn unnamed(cursor: Cursor<'_>) -> Parsed<'_, Expr> {
    let start = cursor.span().start;
    let (cursor, matchers) = braces(cursor, Vec::new(), false)?;
    Ok((cursor, selector(cursor, start, matchers, false)))
}

fn selector(after: Cursor<'_>, start: usize, matchers: Vec<Matcher>, bare_name: bool) -> Expr {
    let span = Span { start, end: after.end_of_previous() };
    let (modifiers, extension, tells_resets) = (Modifiers::default(), None, false);
    let kind = ExprKind::Selector(Selector { matchers, bare_name, modifiers, extension, tells_resets });
    Expr { span, kind }
}

/// The matchers in braces, behind those in `matchers`. `is_named` tells that the metric name is known already.
fn braces(cursor: Cursor<'_>, mut matchers: Vec<Matcher>, mut is_named: bool) -> Parsed<'_, Vec<Matcher>> {
    let opened = cursor.span();
    let mut cursor = cursor.next();
    let mut last_name_span = None;
    while !cursor.is_symbol("}") {
        let span = cursor.span();
        let (after, (matcher, is_quoted_name)) = if matches!(cursor.kind(), Kind::End) {
            return Err(failure(opened, "unclosed left brace"));
        } else {
            matcher(cursor)?
        };
        if matcher.name() == METRIC_NAME {
            // A name before the braces or alone in quotes is the only condition on the name.
            if is_named || (is_quoted_name && last_name_span.is_some()) {
                let first = matchers.iter().find(|matcher| matcher.name() == METRIC_NAME).map_or("", Matcher::value);
                let message = format!("metric name must not be set twice: {first:?} or {:?}", matcher.value());
                return Err(failure(span, message));
            }
            is_named = is_quoted_name;
            last_name_span = Some(span);
        }
        matchers.push(matcher);
        cursor = after;
        if !cursor.is_symbol(",") {
            break;
        }
        cursor = cursor.next();
    }
    let (cursor, _) = close(cursor, opened, "}", "label matching", "\",\" or \"}\"")?;
    Ok((cursor, matchers))
}

/// `label op "value"`, or a metric name alone in quotes, and whether it was the latter.
fn matcher(cursor: Cursor<'_>) -> Parsed<'_, (Matcher, bool)> {
    let (after, name) = match cursor.kind() {
        Kind::Word(word) if !word.contains(':') => (cursor.next(), word.to_owned()),
        Kind::Quoted(_) => string(cursor)?,
        _ => return cursor.refuse("label matching", "label name, quoted metric name or \"}\""),
    };
    let op = match after.kind() {
        Kind::Symbol("=") => MatchOp::Equal,
        Kind::Symbol("!=") => MatchOp::NotEqual,
        Kind::Symbol("=~") => MatchOp::Regex,
        Kind::Symbol("!~") => MatchOp::NotRegex,
        Kind::Symbol("," | "}") if matches!(cursor.kind(), Kind::Quoted(_)) => {
            return Ok((after, (Matcher::equal(METRIC_NAME, name), true)));
        }
        Kind::Symbol("==") => {
            let fault =
                after.unexpected("label matching", "=, !=, =~ or !~").with_hint("a label is compared with one =");
            return Err(nom::Err::Failure(Box::new(fault)));
        }
        _ => return after.refuse("label matching", "=, !=, =~ or !~"),
    };
    if name.is_empty() {
        return Err(failure(cursor.span(), "invalid label name \"\""));
    }
    let value_at = after.next();
    if !matches!(value_at.kind(), Kind::Quoted(_)) {
        return value_at.refuse("label matching", "string");
    }
    let (after, value) = cut(string).parse(value_at)?;
    match Matcher::new(name, op, value) {
        Ok(matcher) => Ok((after, (matcher, false))),
        Err(error) => Err(failure(value_at.span(), error.to_string())),
    }
}
