//! Whether the series that a rule is about have data, whatever their values.
//!
//! An alert without a sample is over when its condition is false, and is not known when there is nothing to compare. What tells them apart
//! is the expression with its comparisons made true: `a > b` becomes `(a == b) or (a != b)`, which holds of all values, NaN among them, through
//! `and`, `or` and `unless`, so that labels come out as those of the alert do.

use query::ast::{Binary, BinaryOp, Expr, ExprKind, Matching};

/// Most comparisons of comparisons that are followed, because each doubles the expression.
const CHAIN_MAX: usize = 4;

/// The expression that has a sample for each series with data, as text too, which its places are in; `None` where `expr` compares
/// nothing at its top.
pub(super) fn data_query(expr: &Expr) -> Option<(String, Expr)> {
    let text = data_of(expr, CHAIN_MAX)?.to_string();
    let expr = query::parse(&text).ok()?;
    Some((text, expr))
}

fn data_of(expr: &Expr, chain: usize) -> Option<Expr> {
    match &expr.kind {
        ExprKind::Paren(inner) => data_of(inner, chain),
        ExprKind::Binary(binary) if is_filter(binary) => {
            // What the first comparison of `a > 1 <= 2` leaves out has data all the same.
            let left = chain.checked_sub(1).and_then(|chain| data_of(&binary.left, chain)).map(in_parens);
            let left = left.unwrap_or_else(|| binary.left.clone());
            let compared = |op| {
                let binary = Binary { op, left: left.clone(), ..(**binary).clone() };
                Expr { span: expr.span, kind: ExprKind::Binary(Box::new(binary)) }
            };
            Some(joined(BinaryOp::Or, None, compared(BinaryOp::Equal), compared(BinaryOp::NotEqual)))
        }
        ExprKind::Binary(binary) => {
            let (left, right) = (data_of(&binary.left, chain), data_of(&binary.right, chain));
            match binary.op {
                // What is left out by either side's comparison has data all the same.
                BinaryOp::And if left.is_some() || right.is_some() => {
                    let left = left.unwrap_or_else(|| binary.left.clone());
                    let right = right.unwrap_or_else(|| binary.right.clone());
                    Some(joined(BinaryOp::And, binary.matching.clone(), left, right))
                }
                BinaryOp::Or if left.is_some() || right.is_some() => {
                    let left = left.unwrap_or_else(|| binary.left.clone());
                    let right = right.unwrap_or_else(|| binary.right.clone());
                    Some(joined(BinaryOp::Or, binary.matching.clone(), left, right))
                }
                BinaryOp::Unless => Some(left.unwrap_or_else(|| binary.left.clone())),
                _ => None,
            }
        }
        _ => None,
    }
}

fn joined(op: BinaryOp, matching: Option<Matching>, left: Expr, right: Expr) -> Expr {
    let span = left.span;
    let binary = Binary { op, returns_bool: false, matching, left: in_parens(left), right: in_parens(right) };
    Expr { span, kind: ExprKind::Binary(Box::new(binary)) }
}

fn in_parens(expr: Expr) -> Expr {
    Expr { span: expr.span, kind: ExprKind::Paren(Box::new(expr)) }
}

/// Whether it leaves out what is not so.
pub(super) fn is_filter(binary: &Binary) -> bool {
    binary.op.is_comparison() && !binary.returns_bool
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comparisons_are_made_true() {
        for (expr, want) in [
            ("a > 1", Some("(a == 1) or (a != 1)")),
            ("(a == 1)", Some("(a == 1) or (a != 1)")),
            ("a >= 2 and on (job) b < 3", Some("((a == 2) or (a != 2)) and on (job) ((b == 3) or (b != 3))")),
            ("a and b > 1", Some("(a) and ((b == 1) or (b != 1))")),
            ("a unless b > 1", Some("a")),
            ("a > 1 unless b", Some("(a == 1) or (a != 1)")),
            ("absent(a) or a == 0", Some("(absent(a)) or ((a == 0) or (a != 0))")),
            ("a > 1 <= 2", Some("(((a == 1) or (a != 1)) == 2) or (((a == 1) or (a != 1)) != 2)")),
            ("a > bool 1", None),
            ("absent(a)", None),
            ("a", None),
            ("sum(a > 1)", None),
            ("a + b", None),
        ] {
            let data = data_query(&query::parse(expr).expect("an expression"));
            assert_eq!(data.as_ref().map(|(text, _)| text.as_str()), want, "{expr}");
        }
    }
}
