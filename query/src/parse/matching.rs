//! What may stand between a binary operator and its right operand: `bool`, `on`, `group_left`, `fill`.

use nom::Parser;
use nom::branch::alt;
use nom::combinator::{cut, opt};

use super::cursor::{Cursor, Parsed, close, keyword, keyword_before_parenthesis, label_list, signed_number, symbol};
use crate::ast::{Cardinality, Matching};

/// `bool` and how elements of two vectors find each other.
pub(super) fn modifiers(cursor: Cursor<'_>) -> Parsed<'_, (bool, Option<Matching>)> {
    let (cursor, returns_bool) = opt(keyword("bool")).parse(cursor)?;
    let (cursor, matching) = opt(matching).parse(cursor)?;
    let (cursor, filled) = opt(fill).parse(cursor)?;
    let matching = match filled {
        None => matching,
        Some((fill_left, fill_right)) => Some(Matching { fill_left, fill_right, ..matching.unwrap_or_default() }),
    };
    Ok((cursor, (returns_bool.is_some(), matching)))
}

/// `on (…)` or `ignoring (…)`, then perhaps `group_left (…)` or `group_right (…)`.
fn matching(cursor: Cursor<'_>) -> Parsed<'_, Matching> {
    let (cursor, on) = alt((keyword("on").map(|_| true), keyword("ignoring").map(|_| false))).parse(cursor)?;
    let (cursor, labels) = cut(|cursor| label_list(cursor, "vector matching")).parse(cursor)?;
    let (cursor, cardinality) = opt(group).parse(cursor)?;
    let cardinality = cardinality.unwrap_or_default();
    Ok((cursor, Matching { on, labels, cardinality, fill_left: None, fill_right: None }))
}

fn group(cursor: Cursor<'_>) -> Parsed<'_, Cardinality> {
    let (cursor, left) =
        alt((keyword("group_left").map(|_| true), keyword("group_right").map(|_| false))).parse(cursor)?;
    let (cursor, include) = if cursor.is_symbol("(") { label_list(cursor, "grouping")? } else { (cursor, Vec::new()) };
    let cardinality = if left { Cardinality::ManyToOne { include } } else { Cardinality::OneToMany { include } };
    Ok((cursor, cardinality))
}

/// `fill (n)`, or `fill_left (n)` and `fill_right (n)` in either order: what to fill in left and right.
fn fill(cursor: Cursor<'_>) -> Parsed<'_, (Option<f64>, Option<f64>)> {
    let one = |name| (keyword_before_parenthesis(name), cut(fill_value)).map(|(_, value)| value);
    let both = one("fill").map(|value| (Some(value), Some(value)));
    let from_left = (one("fill_left"), opt(one("fill_right"))).map(|(left, right)| (Some(left), right));
    let from_right = (one("fill_right"), opt(one("fill_left"))).map(|(right, left)| (left, Some(right)));
    alt((both, from_left, from_right)).parse(cursor)
}

fn fill_value(cursor: Cursor<'_>) -> Parsed<'_, f64> {
    let (cursor, opened) = symbol("(", "fill").parse(cursor)?;
    let (cursor, value) = signed_number(cursor, "fill")?;
    let (cursor, _) = close(cursor, opened, ")", "fill", "\")\"")?;
    Ok((cursor, value))
}
