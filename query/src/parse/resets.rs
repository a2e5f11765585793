//! Which selectors must tell resets: `histogram_count(sum(h))` warns if one of the summed counters began anew where
//! another went on, though the samples themselves may say neither.
//!
//! So does Prometheus, which reads only counts and sums there and looks for resets as it reads. Where histograms are
//! asked for more than count, sum or average, below an operator or in a subquery, it does not. Nor does this: only
//! selectors below a sum or an average are marked, where what they tell is listened to.

use crate::ast::{AggregateOp, Expr, ExprKind};
use crate::functions::FunctionId;

/// What stands around an expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Around {
    /// Nothing that matters.
    Nothing,
    /// Only count, sum or average of the histograms are asked for.
    Counted,
    /// And they are summed or averaged before.
    Summed,
    /// A subquery.
    Subquery,
}

/// Marks the selectors in a checked expression. It is as deep as the parser lets it be.
pub(super) fn mark(expr: &mut Expr) {
    walk(expr, Around::Nothing);
}

fn walk(expr: &mut Expr, around: Around) {
    match &mut expr.kind {
        ExprKind::Number(_) | ExprKind::String(_) => {}
        ExprKind::Selector(selector) => selector.tells_resets = around == Around::Summed,
        ExprKind::Range(range) => range.selector.tells_resets = around == Around::Summed,
        ExprKind::Subquery(subquery) => walk(&mut subquery.expr, Around::Subquery),
        ExprKind::Unary(_, inner) | ExprKind::Paren(inner) => walk(inner, around),
        ExprKind::Binary(binary) => {
            let around = around.or_nothing();
            walk(&mut binary.left, around);
            walk(&mut binary.right, around);
        }
        ExprKind::Call(call) => {
            let around = around.in_call(call.function.id);
            call.args.iter_mut().for_each(|arg| walk(arg, around));
        }
        ExprKind::Aggregate(aggregate) => {
            if let Some(param) = &mut aggregate.param {
                walk(param, around.or_nothing());
            }
            let is_sum = matches!(aggregate.op, AggregateOp::Sum | AggregateOp::Avg);
            walk(&mut aggregate.expr, if is_sum { around.summed() } else { around });
        }
    }
}

impl Around {
    /// What is forgotten below an operator; a subquery is not.
    fn or_nothing(self) -> Self {
        if self == Self::Subquery { self } else { Self::Nothing }
    }

    fn summed(self) -> Self {
        if self == Self::Counted { Self::Summed } else { self }
    }

    fn in_call(self, id: FunctionId) -> Self {
        match id {
            _ if self == Self::Subquery => self,
            FunctionId::HistogramCount | FunctionId::HistogramSum | FunctionId::HistogramAvg => Self::Counted,
            FunctionId::SumOverTime | FunctionId::AvgOverTime => self.summed(),
            FunctionId::FirstOverTime
            | FunctionId::LastOverTime
            | FunctionId::LabelReplace
            | FunctionId::LabelJoin
            | FunctionId::SortByLabel
            | FunctionId::SortByLabelDesc
            | FunctionId::Info => self,
            _ => Self::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse;

    #[track_caller]
    fn check(query: &str, want: bool) {
        let shown = format!("{:?}", parse(query).expect("a valid query"));
        assert_eq!(shown.contains("tells_resets: true"), want, "{query}");
    }

    #[test]
    fn selectors_below_sums_of_which_counts_are_asked() {
        for query in [
            "histogram_count(sum(h))",
            "histogram_sum(avg by (x) (((+h))))",
            "histogram_avg(max(sum(topk(2, h))))",
            "histogram_count(sum_over_time(h[5m]))",
            "histogram_count(sum(last_over_time(h[5m])))",
            "sum(histogram_count(avg_over_time(h[5m] offset 1m))) > 2",
            "histogram_quantile(1, h) or histogram_count(sum(h))",
        ] {
            check(query, true);
        }
        for query in [
            "sum(h)",
            "histogram_count(h)",
            "sum(histogram_count(h))",
            "histogram_count(sum(rate(h[5m])))",
            "histogram_count(sum(h * 2))",
            "histogram_count(sum(h unless g))",
            "histogram_quantile(0.5, sum(h))",
            "histogram_count(sum_over_time(h[5m:1m]))",
            "sum_over_time(histogram_count(sum(h))[5m:1m])",
            "histogram_stddev(sum(h))",
        ] {
            check(query, false);
        }
    }
}
