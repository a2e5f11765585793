//! Expressions back to text: one canonical spelling that parses to the same tree.
//!
//! Owns spelling only. Parentheses are nodes of the tree, so nothing here has to know precedence.

use std::fmt::{self, Display, Formatter, Write};

use model::labels::{Quoted, is_label_name, is_metric_name};
use model::time::ShowDuration;
use model::{METRIC_NAME, MatchOp, Matcher};

use crate::ast::{
    Aggregate, AtModifier, Binary, Call, Cardinality, DurationExpr, DurationKind, Expr, ExprKind, Matching, Modifiers,
    NumberLiteral, RangeExtension, RangeSelector, Selector, Subquery, UnaryOp, ValueType,
};

impl Display for ValueType {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scalar => "scalar",
            Self::InstantVector => "instant vector",
            Self::RangeVector => "range vector",
            Self::String => "string",
        })
    }
}

impl Display for UnaryOp {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plus => "+",
            Self::Minus => "-",
        })
    }
}

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ExprKind::Number(literal) => literal.fmt(f),
            ExprKind::String(text) => Quoted(text).fmt(f),
            ExprKind::Selector(selector) => selector.fmt(f),
            ExprKind::Range(range) => range.fmt(f),
            ExprKind::Subquery(subquery) => subquery.fmt(f),
            ExprKind::Unary(op, inner) => write!(f, "{op}{inner}"),
            ExprKind::Binary(binary) => binary.fmt(f),
            ExprKind::Call(call) => call.fmt(f),
            ExprKind::Aggregate(aggregate) => aggregate.fmt(f),
            ExprKind::Paren(inner) => write!(f, "({inner})"),
        }
    }
}

impl Display for NumberLiteral {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let value = self.value;
        if self.is_duration {
            if value.is_sign_negative() {
                f.write_char('-')?;
            }
            // A duration has whole milliseconds by its grammar.
            #[expect(clippy::cast_possible_truncation, reason = "a duration literal is shorter than 2^53 ms")]
            let whole_ms = (value.abs() * 1e3).round() as i64;
            return ShowDuration(whole_ms).fmt(f);
        }
        match value.abs() {
            magnitude if magnitude.is_infinite() => write!(f, "{}Inf", if value > 0.0 { "" } else { "-" }),
            magnitude if magnitude != 0.0 && !(1e-6..1e21).contains(&magnitude) => write!(f, "{value:e}"),
            _ => write!(f, "{value}"),
        }
    }
}

/// `name{…}` without modifiers.
fn write_matchers(f: &mut Formatter<'_>, selector: &Selector) -> fmt::Result {
    let mut matchers = selector.matchers.as_slice();
    if selector.bare_name
        && let [name, others @ ..] = matchers
    {
        f.write_str(name.value())?;
        matchers = others;
        if matchers.is_empty() {
            return Ok(());
        }
    }
    let on_name = matchers.iter().filter(|matcher| matcher.name() == METRIC_NAME).count();
    let is_quoted_name = |matcher: &Matcher| {
        on_name == 1
            && matcher.name() == METRIC_NAME
            && matcher.op() == MatchOp::Equal
            && !is_metric_name(matcher.value())
    };
    f.write_char('{')?;
    for (index, matcher) in matchers.iter().enumerate() {
        if index > 0 {
            f.write_char(',')?;
        }
        if is_quoted_name(matcher) { Quoted(matcher.value()).fmt(f)? } else { matcher.fmt(f)? }
    }
    f.write_char('}')
}

/// `anchored`, `@ t` and `offset d`, each behind a space.
fn write_modifiers(f: &mut Formatter<'_>, modifiers: &Modifiers, extension: Option<RangeExtension>) -> fmt::Result {
    match extension {
        None => {}
        Some(RangeExtension::Anchored) => f.write_str(" anchored")?,
        Some(RangeExtension::Smoothed) => f.write_str(" smoothed")?,
    }
    match modifiers.at {
        None => {}
        Some(AtModifier::Start) => f.write_str(" @ start()")?,
        Some(AtModifier::End) => f.write_str(" @ end()")?,
        Some(AtModifier::TimestampMs(ms)) => {
            let (sign, magnitude) = (if ms < 0 { "-" } else { "" }, ms.unsigned_abs());
            write!(f, " @ {sign}{}.{:03}", magnitude / 1000, magnitude % 1000)?;
        }
    }
    match &modifiers.offset {
        None => Ok(()),
        Some(offset) => write!(f, " offset {offset}"),
    }
}

impl Display for Selector {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write_matchers(f, self)?;
        write_modifiers(f, &self.modifiers, self.extension)
    }
}

impl Display for RangeSelector {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write_matchers(f, &self.selector)?;
        write!(f, "[{}]", self.range)?;
        write_modifiers(f, &self.selector.modifiers, self.selector.extension)
    }
}

impl Display for Subquery {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}:", self.expr, self.range)?;
        if let Some(step) = &self.step {
            step.fmt(f)?;
        }
        f.write_char(']')?;
        write_modifiers(f, &self.modifiers, None)
    }
}

impl Display for DurationExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.kind {
            DurationKind::Literal(literal) => literal.fmt(f),
            DurationKind::Step => f.write_str("step()"),
            DurationKind::Range => f.write_str("range()"),
            DurationKind::Unary(op, inner) => write!(f, "{op}{inner}"),
            DurationKind::Binary(op, left, right) => write!(f, "{left} {} {right}", op.as_str()),
            DurationKind::MinOf(a, b) => write!(f, "min_of({a}, {b})"),
            DurationKind::MaxOf(a, b) => write!(f, "max_of({a}, {b})"),
            DurationKind::Paren(inner) => write!(f, "({inner})"),
        }
    }
}

impl Display for Binary {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.left, self.op.as_str())?;
        if self.returns_bool {
            f.write_str(" bool")?;
        }
        if let Some(matching) = &self.matching {
            write_matching(f, matching)?;
        }
        write!(f, " {}", self.right)
    }
}

/// `on (…) group_left (…) fill (…)`, each behind a space.
fn write_matching(f: &mut Formatter<'_>, matching: &Matching) -> fmt::Result {
    let fills = matching.fill_left.is_some() || matching.fill_right.is_some();
    let is_default = !matching.on && matching.labels.is_empty() && matching.cardinality == Cardinality::OneToOne;
    // Without a fill the tree still tells an empty `ignoring ()` from nothing.
    if !(is_default && fills) {
        write_labels(f, if matching.on { " on " } else { " ignoring " }, &matching.labels)?;
    }
    match &matching.cardinality {
        Cardinality::OneToOne => {}
        Cardinality::ManyToOne { include } => write_labels(f, " group_left ", include)?,
        Cardinality::OneToMany { include } => write_labels(f, " group_right ", include)?,
    }
    let number = |value| NumberLiteral { value, is_duration: false };
    match (matching.fill_left, matching.fill_right) {
        (None, None) => Ok(()),
        (Some(left), Some(right)) if left.to_bits() == right.to_bits() => write!(f, " fill ({})", number(left)),
        (left, right) => {
            if let Some(value) = left {
                write!(f, " fill_left ({})", number(value))?;
            }
            if let Some(value) = right {
                write!(f, " fill_right ({})", number(value))?;
            }
            Ok(())
        }
    }
}

fn write_labels(f: &mut Formatter<'_>, keyword: &str, labels: &[String]) -> fmt::Result {
    write!(f, "{keyword}(")?;
    for (index, label) in labels.iter().enumerate() {
        if index > 0 {
            f.write_str(", ")?;
        }
        if is_label_name(label) { f.write_str(label)? } else { Quoted(label).fmt(f)? }
    }
    f.write_char(')')
}

impl Display for Call {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}(", self.function.name)?;
        for (index, arg) in self.args.iter().enumerate() {
            let separator = if index > 0 { ", " } else { "" };
            write!(f, "{separator}{arg}")?;
        }
        f.write_char(')')
    }
}

impl Display for Aggregate {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.op.as_str())?;
        if let Some(grouping) = &self.grouping {
            write_labels(f, if grouping.without { " without " } else { " by " }, &grouping.labels)?;
            f.write_char(' ')?;
        }
        f.write_char('(')?;
        if let Some(param) = &self.param {
            write!(f, "{param}, ")?;
        }
        write!(f, "{})", self.expr)
    }
}
