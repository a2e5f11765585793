//! The parser: query text to checked syntax tree.
//!
//! Owns the grammar, as nom parsers over the tokens of `lex`, and the limits on a query's size. Binary operators are
//! parsed by precedence climbing: chains are built in a loop, and every nesting counts against [`DEPTH_MAX`], so that
//! whoever walks a parsed tree may recurse. Types are the business of `check`, which has the last word here.

mod cursor;
mod duration;
mod matching;
mod postfix;
mod selector;

use std::borrow::Cow;

pub use cursor::DEPTH_MAX;
use cursor::{Cursor, Parsed, Tall, close, failure, is_reserved, label_list, number_word};

use crate::ast::{
    Aggregate, AggregateOp, Binary, BinaryOp, Call, Expr, ExprKind, Grouping, NumberLiteral, Span, UnaryOp,
};
use crate::check;
use crate::functions::{self, FUNCTIONS, Function};
use crate::lex::{Kind, Tokens, lex};
use crate::parse_error::{Fault, ParseError};

/// Longest query, in bytes.
pub const QUERY_BYTES_MAX: usize = 1 << 20;
/// Most regular expressions in a query; each may compile to [`model::re2::PROGRAM_BYTES_MAX`].
pub const REGEXES_MAX: usize = 256;

/// Parses and type-checks a query.
///
/// # Errors
///
/// When `query` is no valid PromQL, breaks a typing rule, or exceeds a limit on length or nesting.
pub fn parse(query: &str) -> Result<Expr, ParseError> {
    if query.len() > QUERY_BYTES_MAX {
        let span = Span { start: QUERY_BYTES_MAX, end: query.len() };
        return Err(Fault::new(span, format!("query is longer than {QUERY_BYTES_MAX} bytes")).locate(query));
    }
    let tokens = lex(query);
    let expr = count_regexes(&tokens).and_then(|()| whole(&tokens)).and_then(|expr| {
        check::check(&expr)?;
        Ok(expr)
    });
    expr.map_err(|fault| fault.locate(query))
}

fn count_regexes(tokens: &Tokens<'_>) -> Result<(), Fault> {
    let mut regexes = tokens.list.iter().filter(|token| matches!(token.kind, Kind::Symbol("=~" | "!~")));
    match regexes.nth(REGEXES_MAX) {
        Some(token) => Err(Fault::new(token.span, format!("query has more than {REGEXES_MAX} regular expressions"))),
        None => Ok(()),
    }
}

/// All tokens as one expression.
fn whole(tokens: &Tokens<'_>) -> Result<Expr, Fault> {
    let start = Cursor::new(tokens);
    if start.kind() == Kind::End {
        return Err(Fault::new(start.span(), "no expression found in input"));
    }
    match expression(start, 0) {
        Ok((rest, expr)) if rest.kind() == Kind::End => Ok(expr.node),
        Ok((rest, _)) => Err(rest.unexpected("", "")),
        Err(nom::Err::Error(fault) | nom::Err::Failure(fault)) => Err(fault),
        Err(nom::Err::Incomplete(_)) => Err(Fault::new(start.span(), "unexpected end of input")),
    }
}

/// How tightly `^` binds; signs bind to everything that binds as tightly.
const POWER: u8 = 6;

/// The binary operator here and how tightly it binds.
fn operator(cursor: Cursor<'_>) -> Option<(BinaryOp, u8)> {
    Some(match cursor.kind() {
        Kind::Symbol(symbol) => match symbol {
            "==" => (BinaryOp::Equal, 3),
            "!=" => (BinaryOp::NotEqual, 3),
            "<" => (BinaryOp::Less, 3),
            "<=" => (BinaryOp::LessEqual, 3),
            ">" => (BinaryOp::Greater, 3),
            ">=" => (BinaryOp::GreaterEqual, 3),
            "</" => (BinaryOp::TrimUpper, 3),
            ">/" => (BinaryOp::TrimLower, 3),
            "+" => (BinaryOp::Add, 4),
            "-" => (BinaryOp::Subtract, 4),
            "*" => (BinaryOp::Multiply, 5),
            "/" => (BinaryOp::Divide, 5),
            "%" => (BinaryOp::Modulo, 5),
            "^" => (BinaryOp::Power, POWER),
            _ => return None,
        },
        Kind::Word(word) => match word.to_ascii_lowercase().as_str() {
            "or" => (BinaryOp::Or, 1),
            "and" => (BinaryOp::And, 2),
            "unless" => (BinaryOp::Unless, 2),
            "atan2" => (BinaryOp::Atan2, 5),
            _ => return None,
        },
        _ => return None,
    })
}

/// Operators that bind at least as tightly as `lowest`, by precedence climbing.
fn expression(outer: Cursor<'_>, lowest: u8) -> Parsed<'_, Tall<Expr>> {
    let (mut cursor, mut left) = operand(outer.deeper()?)?;
    while let Some((op, precedence)) = operator(cursor).filter(|(_, precedence)| *precedence >= lowest) {
        let (after, (returns_bool, matching)) = matching::modifiers(cursor.next())?;
        let (after, right) = expression(after, if op == BinaryOp::Power { POWER } else { precedence + 1 })?;
        let span = Span { start: left.node.span.start, end: right.node.span.end };
        let height = left.height.max(right.height);
        let binary = Binary { op, returns_bool, matching, left: left.node, right: right.node };
        left = Tall::above(height, span, Expr { span, kind: ExprKind::Binary(Box::new(binary)) })?;
        cursor = after;
    }
    Ok((cursor.back_to(outer), left))
}

/// An expression without binary operators, unless a sign stands before powers: `-1^2` is `-(1^2)`.
fn operand(cursor: Cursor<'_>) -> Parsed<'_, Tall<Expr>> {
    let op = match cursor.kind() {
        Kind::Symbol("+") => UnaryOp::Plus,
        Kind::Symbol("-") => UnaryOp::Minus,
        _ => {
            let (cursor, expr) = primary(cursor)?;
            return postfix::postfix(cursor, expr);
        }
    };
    let (after, operand) = expression(cursor.next(), POWER)?;
    let span = Span { start: cursor.span().start, end: operand.node.span.end };
    let height = operand.height;
    let tall = match operand.node.kind {
        ExprKind::Number(literal) => Tall { node: Expr { span, kind: ExprKind::Number(literal.signed(op)) }, height },
        _ => Tall::above(height, span, Expr { span, kind: ExprKind::Unary(op, Box::new(operand.node)) })?,
    };
    Ok((after, tall))
}

/// A literal, a selector, a call, an aggregation, or an expression in parentheses.
fn primary(cursor: Cursor<'_>) -> Parsed<'_, Tall<Expr>> {
    let span = cursor.span();
    let number = |value, is_duration| {
        let kind = ExprKind::Number(NumberLiteral { value, is_duration });
        Ok((cursor.next(), Tall::leaf(Expr { span, kind })))
    };
    match cursor.kind() {
        Kind::Number(value) => number(value, false),
        Kind::Duration(value) => number(value, true),
        Kind::Quoted(_) => {
            let (after, text) = cursor::string(cursor)?;
            Ok((after, Tall::leaf(Expr { span, kind: ExprKind::String(text) })))
        }
        Kind::Symbol("(") => parenthesised(cursor),
        Kind::Symbol("{") => selector::unnamed(cursor).map(|(after, expr)| (after, Tall::leaf(expr))),
        Kind::Word(word) => match number_word(word) {
            Some(value) => number(value, false),
            None => named(cursor, word),
        },
        _ => cursor.refuse("", ""),
    }
}

fn parenthesised(cursor: Cursor<'_>) -> Parsed<'_, Tall<Expr>> {
    let opened = cursor.span();
    let (after, inner) = expression(cursor.next(), 0)?;
    let (after, closed) = close(after, opened, ")", "", "")?;
    let span = Span { start: opened.start, end: closed.end };
    Ok((after, Tall::above(inner.height, span, Expr { span, kind: ExprKind::Paren(Box::new(inner.node)) })?))
}

/// What starts with a word that is no number: an aggregation, a call, a selector.
fn named<'a>(cursor: Cursor<'a>, word: &str) -> Parsed<'a, Tall<Expr>> {
    let after = cursor.next();
    let is_call = after.is_symbol("(");
    let aggregation = AggregateOp::NAMES.into_iter().find(|(name, _)| word.eq_ignore_ascii_case(name));
    match aggregation {
        Some((_, op)) if is_call || after.is_keyword("by") || after.is_keyword("without") => aggregate(cursor, op),
        _ if is_reserved(word) => cursor.refuse("", ""),
        _ if is_call => call(cursor, word),
        _ => selector::named(cursor, word).map(|(after, expr)| (after, Tall::leaf(expr))),
    }
}

/// `name(args)`.
fn call<'a>(cursor: Cursor<'a>, name: &str) -> Parsed<'a, Tall<Expr>> {
    let start = cursor.span();
    let function = function_named(cursor, name)?;
    let (after, args) = arguments(cursor.next())?;
    let span = Span { start: start.start, end: after.end_of_previous() };
    let height = args.iter().map(|arg| arg.height).max().unwrap_or(0);
    let args = args.into_iter().map(|arg| arg.node).collect();
    let node = Expr { span, kind: ExprKind::Call(Call { function, args }) };
    Ok((after, Tall::above(height, span, node)?))
}

/// The function named `name`, which stands here. Those that are keywords too are found in any case.
fn function_named(cursor: Cursor<'_>, name: &str) -> Result<&'static Function, nom::Err<Fault>> {
    let lower = name.to_ascii_lowercase();
    let name = match lower.as_str() {
        "start" | "end" | "step" | "range" | "min_of" | "max_of" => Cow::Owned(lower),
        "by" | "without" | "offset" | "and" | "or" | "unless" | "fill" | "fill_left" | "fill_right" => {
            return Err(nom::Err::Failure(cursor.unexpected("", "")));
        }
        _ => Cow::Borrowed(name),
    };
    functions::find(&name).ok_or_else(|| {
        let shown: String = name.chars().take(60).collect();
        let fault = Fault::new(cursor.span(), format!("unknown function with name {shown:?}"));
        nom::Err::Failure(match similar_function(&shown) {
            Some(similar) => fault.with_hint(format!("did you mean {similar}?")),
            None => fault,
        })
    })
}

/// The function or aggregation whose name differs from `name` the least, if that is little.
fn similar_function(name: &str) -> Option<&'static str> {
    let lower = name.to_ascii_lowercase();
    if lower == "holt_winters" {
        return Some("double_exponential_smoothing");
    }
    let names = FUNCTIONS.iter().map(|function| function.name).chain(AggregateOp::NAMES.map(|(name, _)| name));
    let nearest = names.map(|known| (distance(&lower, known), known)).min()?;
    (nearest.0 <= 1 + name.len() / 6).then_some(nearest.1)
}

/// How many bytes have to be inserted, removed or replaced to turn `a` into `b` (Levenshtein's distance).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.bytes().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, right) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(left != right);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// `(a, b, c)`.
fn arguments(cursor: Cursor<'_>) -> Parsed<'_, Vec<Tall<Expr>>> {
    let opened = cursor.span();
    let mut cursor = cursor.next();
    let mut args = Vec::new();
    if !cursor.is_symbol(")") {
        loop {
            let (after, arg) = expression(cursor, 0)?;
            args.push(arg);
            cursor = after;
            if !cursor.is_symbol(",") {
                break;
            }
            if cursor.next().is_symbol(")") {
                return Err(failure(cursor.span(), "trailing commas not allowed in function call args"));
            }
            cursor = cursor.next();
        }
    }
    let (cursor, _) = close(cursor, opened, ")", "function call args", "\",\" or \")\"")?;
    Ok((cursor, args))
}

/// `sum by (a) (args)` or `sum(args) by (a)`.
fn aggregate(cursor: Cursor<'_>, op: AggregateOp) -> Parsed<'_, Tall<Expr>> {
    let start = cursor.span();
    let (cursor, before) = grouping(cursor.next())?;
    if !cursor.is_symbol("(") {
        return cursor.refuse("aggregation", "\"(\"");
    }
    let (after, args) = arguments(cursor)
        .map_err(|error| if op == AggregateOp::CountValues { as_label_name(error, cursor.next()) } else { error })?;
    let (after, grouping) = if before.is_some() { (after, before) } else { grouping(after)? };
    let span = Span { start: start.start, end: after.end_of_previous() };
    let wanted = if op.takes_parameter() { 2 } else { 1 };
    if args.is_empty() {
        return Err(failure(span, "no arguments for aggregate expression provided"));
    }
    if args.len() != wanted {
        let found = args.len();
        let message =
            format!("wrong number of arguments for aggregate expression provided, expected {wanted}, got {found}");
        return Err(failure(span, message));
    }
    let height = args.iter().map(|arg| arg.height).max().unwrap_or(0);
    let mut args = args.into_iter().map(|arg| arg.node);
    let param = if wanted == 2 { args.next() } else { None };
    let Some(expr) = args.next() else { return cursor.refuse("aggregation", "") };
    let aggregate = Aggregate { op, grouping, param, expr };
    Ok((after, Tall::above(height, span, Expr { span, kind: ExprKind::Aggregate(Box::new(aggregate)) })?))
}

/// `count_values` takes the name of a label; a string that is no text is none.
fn as_label_name(error: nom::Err<Fault>, first: Cursor<'_>) -> nom::Err<Fault> {
    match error {
        nom::Err::Failure(fault) if fault.span == first.span() && matches!(first.kind(), Kind::Quoted(_)) => {
            let message = fault.message.replacen("string ", "invalid label name ", 1);
            let message = message.strip_suffix(" is not valid UTF-8").unwrap_or(&fault.message).to_owned();
            nom::Err::Failure(Fault { message, ..fault })
        }
        other => other,
    }
}

/// `by (a)` or `without (a)`, if that stands here.
fn grouping(cursor: Cursor<'_>) -> Parsed<'_, Option<Grouping>> {
    let without = cursor.is_keyword("without");
    if !without && !cursor.is_keyword("by") {
        return Ok((cursor, None));
    }
    let (cursor, labels) = label_list(cursor.next(), "grouping")?;
    Ok((cursor, Some(Grouping { without, labels })))
}
