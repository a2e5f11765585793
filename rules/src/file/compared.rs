//! What an expression compares, told apart: each comparison that an alert stands or falls with, its sides as expressions of their own.

use query::ast::{Binary, BinaryOp, Expr, ExprKind, Matching};

use super::data::is_filter;

/// Most comparisons of an expression that are told apart.
const COMPARISONS_MAX: usize = 8;

/// How a comparison belongs to those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "they are PromQL's words")]
pub enum Joined {
    And,
    Or,
    Unless,
}

/// A comparison of an expression.
#[derive(Debug, Clone)]
pub struct Comparison {
    /// How it belongs to those before it.
    pub joined: Joined,
    /// What is compared, whatever its value.
    pub left: Expr,
    /// One of `== != < <= > >=`.
    pub op: BinaryOp,
    /// With what.
    pub right: Expr,
    /// How the sides find each other.
    pub matching: Option<Matching>,
    /// How it finds those before it: what the `and`, `or` or `unless` says that it stands behind.
    pub reach: Option<Matching>,
}

/// The comparisons at the top of `expr`, in their order; none where it compares nothing there.
pub fn comparisons(expr: &Expr) -> Vec<Comparison> {
    let mut found = Vec::new();
    add(expr, (Joined::And, None), &mut found);
    found
}

fn add(expr: &Expr, (joined, reach): (Joined, Option<&Matching>), found: &mut Vec<Comparison>) {
    match &expr.kind {
        ExprKind::Paren(inner) => add(inner, (joined, reach), found),
        ExprKind::Binary(binary) if is_filter(binary) => {
            let before = found.len();
            // `a > 1 <= 2` is two comparisons of `a`.
            if filter(&binary.left).is_some() {
                add(&binary.left, (joined, reach), found);
            }
            if found.len() < COMPARISONS_MAX {
                found.push(Comparison {
                    joined: if found.len() > before { Joined::And } else { joined },
                    left: measured(&binary.left).clone(),
                    op: binary.op,
                    right: bare(&binary.right).clone(),
                    matching: binary.matching.clone(),
                    reach: reach.cloned(),
                });
            }
        }
        ExprKind::Binary(binary) if binary.op.is_set() => {
            add(&binary.left, (joined, reach), found);
            let of_right = match binary.op {
                BinaryOp::Or => Joined::Or,
                BinaryOp::Unless => Joined::Unless,
                _ => Joined::And,
            };
            add(&binary.right, (of_right, binary.matching.as_ref()), found);
        }
        _ => {}
    }
}

fn bare(expr: &Expr) -> &Expr {
    match &expr.kind {
        ExprKind::Paren(inner) => bare(inner),
        _ => expr,
    }
}

fn filter(expr: &Expr) -> Option<&Binary> {
    match &bare(expr).kind {
        ExprKind::Binary(binary) if is_filter(binary) => Some(binary),
        _ => None,
    }
}

/// What a comparison is about, whose left side may be a comparison, too.
fn measured(expr: &Expr) -> &Expr {
    filter(expr).map_or_else(|| bare(expr), |binary| measured(&binary.left))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comparisons_are_told_apart() {
        for (expr, want) in [
            ("a > 1", "And a > 1"),
            ("((a)) == (b + 1)", "And a == b + 1"),
            ("a > 0.1 <= 0.25", "And a > 0.1, And a <= 0.25"),
            ("a >= 2 and on (job) b < 3", "And a >= 2, And b < 3"),
            ("a > 1 or b > 2 > 3", "And a > 1, Or b > 2, And b > 3"),
            ("a unless b > 1", "Unless b > 1"),
            ("a > bool 1", ""),
            ("sum(a > 1)", ""),
        ] {
            let told = comparisons(&query::parse(expr).expect("an expression"));
            let told: Vec<String> = told
                .iter()
                .map(|one| format!("{:?} {} {} {}", one.joined, one.left, one.op.as_str(), one.right))
                .collect();
            assert_eq!(told.join(", "), want, "{expr}");
        }
    }
}
