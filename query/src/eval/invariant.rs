//! Which expressions have the same value at every step, so that one step is enough.

use super::evaluator::unparen;
use crate::ast::{Call, Expr, ExprKind, Modifiers, RangeExtension};
use crate::functions::FunctionId;

/// Whether `expr` has the same value at every step of a grid.
pub(crate) fn is_invariant(expr: &Expr) -> bool {
    match &expr.kind {
        ExprKind::Number(_) | ExprKind::String(_) => true,
        ExprKind::Selector(selector) => is_fixed(&selector.modifiers),
        ExprKind::Range(range) => is_fixed(&range.selector.modifiers),
        // What is inside is evaluated at the subquery's own steps, which `@` fixes.
        ExprKind::Subquery(subquery) => is_fixed(&subquery.modifiers),
        ExprKind::Unary(_, inner) | ExprKind::Paren(inner) => is_invariant(inner),
        ExprKind::Binary(binary) => is_invariant(&binary.left) && is_invariant(&binary.right),
        ExprKind::Aggregate(aggregate) => {
            is_invariant(&aggregate.expr) && aggregate.param.as_ref().is_none_or(is_invariant)
        }
        ExprKind::Call(call) => is_invariant_call(call),
    }
}

fn is_fixed(modifiers: &Modifiers) -> bool {
    modifiers.at.is_some()
}

fn is_invariant_call(call: &Call) -> bool {
    use FunctionId as F;
    let args_invariant = call.args.iter().all(is_invariant);
    match call.function.id {
        // These look at the evaluation time.
        F::Time | F::PredictLinear => false,
        F::Minute | F::Hour | F::DayOfWeek | F::DayOfMonth | F::DayOfYear | F::DaysInMonth | F::Month | F::Year => {
            !call.args.is_empty() && args_invariant
        }
        // Of a plain selector the sample's time, else the evaluation time.
        F::Timestamp => {
            let is_plain = |arg: &Expr| match &unparen(arg).kind {
                ExprKind::Selector(selector) => selector.extension != Some(RangeExtension::Smoothed),
                _ => false,
            };
            args_invariant && call.args.first().is_some_and(is_plain)
        }
        // The second argument is matchers, looked up where the first one looks.
        F::Info => call.args.first().is_some_and(is_invariant),
        _ => args_invariant,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(query: &str, want: bool) {
        assert_eq!(is_invariant(&crate::parse(query).expect("valid query")), want, "{query}");
    }

    #[test]
    fn table() {
        check("1 + 2", true);
        check("x", false);
        check("x @ 10", true);
        check("rate(x[5m] @ 10)", true);
        check("rate(x[5m] @ start()) * 2", true);
        check("x @ 10 + x", false);
        check("time()", false);
        check("hour()", false);
        check("hour(x @ 10)", true);
        check("timestamp(x @ 10)", true);
        check("timestamp((x @ 10))", true);
        check("timestamp(x @ 10 + 0)", false);
        check("timestamp(x smoothed @ 10)", false);
        check("predict_linear(x[5m] @ 10, 60)", false);
        check("sum_over_time((x @ 10)[5m:1m])", false);
        check("sum_over_time(x[5m:1m] @ 10)", true);
        check("topk(2, x @ 10)", true);
        check("topk(scalar(x), x @ 10)", false);
        check("start() + step()", true);
    }
}
