//! The parser: query text to checked syntax tree.
//!
//! Owns the grammar, as nom parsers over the tokens of `lex`, and the limits on a query's size. Binary operators are
//! parsed by precedence climbing: chains are built in a loop, and every nesting counts against [`DEPTH_MAX`], so that
//! whoever walks a parsed tree may recurse. Types are the business of `check`, which has the last word here.

mod cursor;
mod duration;
mod matching;
mod postfix;
mod resets;
mod selector;

use std::borrow::Cow;

pub use cursor::DEPTH_MAX;
use cursor::{Cursor, Parsed, Tall, close, failure, is_reserved, label_list, number_word};

use crate::ast::{
    Aggregate, AggregateOp, Binary, BinaryOp, Call, Expr, ExprKind, Grouping, Matching, NumberLiteral, Span, UnaryOp,
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
    let expr = count_regexes(&tokens).and_then(|()| whole(&tokens)).and_then(|mut expr| {
        check::check(&expr).map_err(|fault| *fault)?;
        resets::mark(&mut expr);
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
        Ok((rest, expr)) if rest.kind() == Kind::End => Ok(*expr.node),
        Ok((rest, _)) => Err(*rest.unexpected("", "")),
        Err(nom::Err::Error(fault) | nom::Err::Failure(fault)) => Err(*fault),
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

// The functions from here to `arguments` call each other in a circle. What they need only on the way back is done by
// functions outside of the circle, so that a level takes little of the stack.

/// Operators that bind at least as tightly as `lowest`, by precedence climbing.
fn expression(outer: Cursor<'_>, lowest: u8) -> Parsed<'_, Tall<Expr>> {
    let (mut cursor, mut left) = operand(outer.deeper()?)?;
    while let Some((op, precedence)) = operator(cursor).filter(|(_, precedence)| *precedence >= lowest) {
        let (after, modifiers) = matching::modifiers(cursor.next())?;
        let (after, right) = expression(after, if op == BinaryOp::Power { POWER } else { precedence + 1 })?;
        left = binary(op, modifiers, left, right)?;
        cursor = after;
    }
    Ok((cursor.back_to(outer), left))
}

fn binary(
    op: BinaryOp,
    (returns_bool, matching): (bool, Option<Matching>),
    left: Tall<Expr>,
    right: Tall<Expr>,
) -> Result<Tall<Expr>, nom::Err<Box<Fault>>> {
    let span = Span { start: left.node.span.start, end: right.node.span.end };
    let height = left.height.max(right.height);
    let binary = Binary { op, returns_bool, matching, left: *left.node, right: *right.node };
    Tall::above(height, span, Expr { span, kind: ExprKind::Binary(Box::new(binary)) })
}

/// An expression without binary operators, unless a sign stands before powers: `-1^2` is `-(1^2)`.
fn operand(cursor: Cursor<'_>) -> Parsed<'_, Tall<Expr>> {
    match cursor.kind() {
        Kind::Symbol("+") => signed(cursor, UnaryOp::Plus),
        Kind::Symbol("-") => signed(cursor, UnaryOp::Minus),
        _ => {
            let (cursor, expr) = primary(cursor)?;
            postfix::postfix(cursor, expr)
        }
    }
}

fn signed(cursor: Cursor<'_>, op: UnaryOp) -> Parsed<'_, Tall<Expr>> {
    let (after, operand) = expression(cursor.next(), POWER)?;
    Ok((after, behind_sign(op, cursor.span(), operand)?))
}

/// `operand` behind the sign at `at`; a literal takes the sign in.
fn behind_sign(op: UnaryOp, at: Span, operand: Tall<Expr>) -> Result<Tall<Expr>, nom::Err<Box<Fault>>> {
    let span = Span { start: at.start, end: operand.node.span.end };
    if let ExprKind::Number(literal) = operand.node.kind {
        return Ok(Tall::leaf(Expr { span, kind: ExprKind::Number(literal.signed(op)) }));
    }
    Tall::above(operand.height, span, Expr { span, kind: ExprKind::Unary(op, operand.node) })
}

/// A literal, a selector, a call, an aggregation, or an expression in parentheses.
fn primary(cursor: Cursor<'_>) -> Parsed<'_, Tall<Expr>> {
    match cursor.kind() {
        Kind::Symbol("(") => parenthesised(cursor),
        Kind::Word(word) if number_word(word).is_none() => named(cursor, word),
        _ => leaf(cursor),
    }
}

/// A literal, or a selector of braces alone.
fn leaf(cursor: Cursor<'_>) -> Parsed<'_, Tall<Expr>> {
    let number = |value, is_duration| (cursor.next(), ExprKind::Number(NumberLiteral { value, is_duration }));
    let (after, kind) = match cursor.kind() {
        Kind::Number(value) => number(value, false),
        Kind::Duration(value) => number(value, true),
        Kind::Word(word) => number(number_word(word).unwrap_or(f64::NAN), false),
        Kind::Quoted(_) => {
            let (after, text) = cursor::string(cursor)?;
            (after, ExprKind::String(text))
        }
        Kind::Symbol("{") => {
            let (after, selector) = selector::unnamed(cursor)?;
            return Ok((after, Tall::leaf(selector)));
        }
        _ => return cursor.refuse("", ""),
    };
    Ok((after, Tall::leaf(Expr { span: cursor.span(), kind })))
}

fn parenthesised(cursor: Cursor<'_>) -> Parsed<'_, Tall<Expr>> {
    let (after, inner) = expression(cursor.next(), 0)?;
    close_parenthesis(after, cursor.span(), inner)
}

fn close_parenthesis(cursor: Cursor<'_>, opened: Span, inner: Tall<Expr>) -> Parsed<'_, Tall<Expr>> {
    let (after, closed) = close(cursor, opened, ")", "", "")?;
    let span = Span { start: opened.start, end: closed.end };
    Ok((after, Tall::above(inner.height, span, Expr { span, kind: ExprKind::Paren(inner.node) })?))
}

/// What starts with a word that is no number: an aggregation, a call, a selector.
fn named<'a>(cursor: Cursor<'a>, word: &'a str) -> Parsed<'a, Tall<Expr>> {
    let after = cursor.next();
    let is_call = after.is_symbol("(");
    let aggregation = AggregateOp::NAMES.iter().find(|(name, _)| word.eq_ignore_ascii_case(name));
    match aggregation {
        Some((_, op)) if is_call || after.is_keyword("by") || after.is_keyword("without") => aggregate(cursor, *op),
        _ if is_reserved(word) => cursor.refuse("", ""),
        _ if is_call => call(cursor, word),
        _ => selector::named(cursor, word).map(|(after, expr)| (after, Tall::leaf(expr))),
    }
}

/// `name(args)`.
fn call<'a>(cursor: Cursor<'a>, name: &'a str) -> Parsed<'a, Tall<Expr>> {
    let function = function_named(cursor, name)?;
    let (after, args) = arguments(cursor.next())?;
    let span = Span { start: cursor.span().start, end: after.end_of_previous() };
    Ok((after, call_of(function, args, span)?))
}

fn call_of(function: &'static Function, args: Vec<Tall<Expr>>, span: Span) -> Result<Tall<Expr>, nom::Err<Box<Fault>>> {
    let height = height_of(&args);
    let args = args.into_iter().map(|arg| *arg.node).collect();
    Tall::above(height, span, Expr { span, kind: ExprKind::Call(Call { function, args }) })
}

fn height_of(args: &[Tall<Expr>]) -> usize {
    args.iter().map(|arg| arg.height).max().unwrap_or(0)
}

/// The function named `name`, which stands here. Those that are keywords too are found in any case.
fn function_named(cursor: Cursor<'_>, name: &str) -> Result<&'static Function, nom::Err<Box<Fault>>> {
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
        nom::Err::Failure(Box::new(match similar_function(&shown) {
            Some(similar) => fault.with_hint(format!("did you mean {similar}?")),
            None => fault,
        }))
    })
}

/// The function or aggregation whose name differs from `name` the least, if that is little. Of several, one that
/// begins with `name`: most often its end was not typed.
fn similar_function(name: &str) -> Option<&'static str> {
    let lower = name.to_ascii_lowercase();
    if lower == "holt_winters" {
        return Some("double_exponential_smoothing");
    }
    let names = FUNCTIONS.iter().map(|function| function.name).chain(AggregateOp::NAMES.map(|(name, _)| name));
    let nearest = names.map(|known| (strsim::levenshtein(&lower, known), !known.starts_with(&lower), known)).min()?;
    (nearest.0 <= 1 + name.len() / 6).then_some(nearest.2)
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
    let (opening, before) = grouping(cursor.next())?;
    if !opening.is_symbol("(") {
        return opening.refuse("aggregation", "\"(\"");
    }
    match arguments(opening) {
        Ok((after, args)) => aggregate_of(after, op, before, args, cursor.span()),
        Err(error) if op == AggregateOp::CountValues => Err(as_label_name(error, opening.next())),
        Err(error) => Err(error),
    }
}

fn aggregate_of(
    cursor: Cursor<'_>,
    op: AggregateOp,
    before: Option<Grouping>,
    args: Vec<Tall<Expr>>,
    start: Span,
) -> Parsed<'_, Tall<Expr>> {
    let (after, grouping) = if before.is_some() { (cursor, before) } else { grouping(cursor)? };
    let span = Span { start: start.start, end: after.end_of_previous() };
    let (height, found) = (height_of(&args), args.len());
    let wanted = if op.takes_parameter() { 2 } else { 1 };
    let mut args = args.into_iter().map(|arg| *arg.node);
    let (param, expr) = match (args.next(), args.next()) {
        (None, _) => return Err(failure(span, "no arguments for aggregate expression provided")),
        (Some(expr), None) if wanted == 1 => (None, expr),
        (param, Some(expr)) if wanted == 2 && found == 2 => (param, expr),
        _ => {
            let message =
                format!("wrong number of arguments for aggregate expression provided, expected {wanted}, got {found}");
            return Err(failure(span, message));
        }
    };
    let aggregate = Aggregate { op, grouping, param, expr };
    Ok((after, Tall::above(height, span, Expr { span, kind: ExprKind::Aggregate(Box::new(aggregate)) })?))
}

/// `count_values` takes the name of a label; a string that is no text is none.
fn as_label_name(error: nom::Err<Box<Fault>>, first: Cursor<'_>) -> nom::Err<Box<Fault>> {
    match error {
        nom::Err::Failure(fault) if fault.span == first.span() && matches!(first.kind(), Kind::Quoted(_)) => {
            let message = fault.message.replacen("string ", "invalid label name ", 1);
            let message = message.strip_suffix(" is not valid UTF-8").unwrap_or(&fault.message).to_owned();
            nom::Err::Failure(Box::new(Fault { message, ..*fault }))
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
