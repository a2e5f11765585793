//! What numbers count, as far as names tell: Prometheus's conventions put the unit at the end of a metric's name.
//!
//! Results of functions have no name, so their unit comes from the query: `rate(x_bytes_total[5m])` is bytes a second.

use query::ast::{AggregateOp, Binary, BinaryOp, Call, Expr, ExprKind, ValueType};

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Base {
    /// Anything.
    #[default]
    Count,
    Bytes,
    Seconds,
}

/// A base, maybe per second. Seconds per second are a share and shown plain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Unit {
    pub(crate) base: Base,
    pub(crate) per_second: bool,
}

/// Anything; shown without unit.
pub(crate) const PLAIN: Unit = Unit { base: Base::Count, per_second: false };
/// Bytes.
pub(crate) const BYTES: Unit = Unit { base: Base::Bytes, per_second: false };
/// Seconds.
pub(crate) const SECONDS: Unit = Unit { base: Base::Seconds, per_second: false };

impl Unit {
    /// The unit that a metric's name tells.
    pub(crate) fn of_metric(name: &str) -> Self {
        let stem = name.strip_suffix("_total").or(name.strip_suffix("_sum")).unwrap_or(name);
        // Gauges named so hold Unix times, which are no durations.
        let is_instant = stem == name && (name.ends_with("_time_seconds") || name.ends_with("_timestamp_seconds"));
        match () {
            () if stem.ends_with("_bytes") => BYTES,
            () if stem.ends_with("_seconds") && !is_instant => SECONDS,
            () => PLAIN,
        }
    }

    /// The unit of a query's result; plain where it cannot be told.
    pub(crate) fn of_query(query: &str) -> Self {
        query::parse(query).map_or(PLAIN, |expr| of(&expr))
    }
}

fn of(expr: &Expr) -> Unit {
    match &expr.kind {
        ExprKind::Number(_) | ExprKind::String(_) => PLAIN,
        ExprKind::Selector(selector) => selector.metric_name().map_or(PLAIN, Unit::of_metric),
        ExprKind::Range(range) => range.selector.metric_name().map_or(PLAIN, Unit::of_metric),
        ExprKind::Subquery(subquery) => of(&subquery.expr),
        ExprKind::Unary(_, inner) | ExprKind::Paren(inner) => of(inner),
        ExprKind::Binary(binary) => of_binary(binary),
        ExprKind::Call(call) => of_call(call),
        ExprKind::Aggregate(aggregate) => match aggregate.op {
            AggregateOp::Count | AggregateOp::Group | AggregateOp::CountValues | AggregateOp::Stdvar => PLAIN,
            _ => of(&aggregate.expr),
        },
    }
}

fn of_binary(binary: &Binary) -> Unit {
    let (left, right) = (of(&binary.left), of(&binary.right));
    let is_number = |expr: &Expr| query::value_type(expr) == ValueType::Scalar;
    match binary.op {
        // Scaled by a number, it counts something else.
        _ if binary.op == BinaryOp::Divide && is_number(&binary.right) => PLAIN,
        BinaryOp::Divide if left.base == right.base => {
            Unit { base: Base::Count, per_second: left.per_second && !right.per_second }
        }
        // Sum by count: a mean.
        BinaryOp::Divide if right.base == Base::Count && left.per_second == right.per_second => {
            Unit { per_second: false, ..left }
        }
        op if op.is_comparison() && binary.returns_bool => PLAIN,
        op if op.is_comparison() || op.is_set() || matches!(op, BinaryOp::Add | BinaryOp::Subtract) => {
            if is_number(&binary.left) { right } else { left }
        }
        _ => PLAIN,
    }
}

fn of_call(call: &Call) -> Unit {
    let vector = call.args.iter().find(|arg| !matches!(query::value_type(arg), ValueType::Scalar | ValueType::String));
    let Some(vector) = vector else { return PLAIN };
    let name = call.function.name;
    match name {
        "rate" | "irate" | "deriv" => Unit { per_second: true, ..of(vector) },
        "histogram_quantile" | "histogram_quantiles" | "histogram_avg" | "histogram_sum" | "histogram_stddev" => {
            observed(vector).unwrap_or(PLAIN)
        }
        "increase"
        | "delta"
        | "idelta"
        | "abs"
        | "ceil"
        | "floor"
        | "round"
        | "clamp"
        | "clamp_max"
        | "clamp_min"
        | "sort"
        | "sort_desc"
        | "sort_by_label"
        | "sort_by_label_desc"
        | "label_replace"
        | "label_join"
        | "info"
        | "predict_linear"
        | "double_exponential_smoothing"
        | "scalar"
        | "vector" => of(vector),
        "count_over_time" | "absent_over_time" | "present_over_time" | "stdvar_over_time" => PLAIN,
        _ if name.ends_with("_over_time") && !name.starts_with("ts_of_") => of(vector),
        _ => PLAIN,
    }
}

/// The unit of what the histograms inside `expr` observe: that of the first metric named in it.
fn observed(expr: &Expr) -> Option<Unit> {
    let named = |name: Option<&str>| name.map(|name| Unit::of_metric(name.strip_suffix("_bucket").unwrap_or(name)));
    match &expr.kind {
        ExprKind::Number(_) | ExprKind::String(_) => None,
        ExprKind::Selector(selector) => named(selector.metric_name()),
        ExprKind::Range(range) => named(range.selector.metric_name()),
        ExprKind::Subquery(subquery) => observed(&subquery.expr),
        ExprKind::Unary(_, inner) | ExprKind::Paren(inner) => observed(inner),
        ExprKind::Binary(binary) => observed(&binary.left).or_else(|| observed(&binary.right)),
        ExprKind::Call(call) => call.args.iter().find_map(observed),
        ExprKind::Aggregate(aggregate) => observed(&aggregate.expr),
    }
}

/// The unit of observations in a query's histograms.
pub(crate) fn of_observations(query: &str) -> Unit {
    query::parse(query).ok().and_then(|expr| observed(&expr)).unwrap_or(PLAIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(query: &str, base: Base, per_second: bool) {
        assert_eq!(Unit::of_query(query), Unit { base, per_second }, "for {query}");
    }

    #[test]
    fn names_tell_units() {
        for (name, want) in [
            ("go_memstats_alloc_bytes_total", BYTES),
            ("process_resident_memory_bytes", BYTES),
            ("http_request_duration_seconds", SECONDS),
            ("http_request_duration_seconds_sum", SECONDS),
            ("http_request_duration_seconds_count", PLAIN),
            ("node_disk_io_time_seconds_total", SECONDS),
            ("process_start_time_seconds", PLAIN),
            ("go_goroutines", PLAIN),
        ] {
            assert_eq!(Unit::of_metric(name), want, "{name}");
        }
    }

    #[test]
    fn queries_tell_units() {
        use Base::{Bytes, Count, Seconds};
        check("x_bytes", Bytes, false);
        check("sum by (a) (rate(x_bytes_total[5m]))", Bytes, true);
        check("rate(x_total[5m])", Count, true);
        check("rate(cpu_seconds_total[1m])", Seconds, true);
        check("increase(cpu_seconds_total[1m])", Seconds, false);
        check("count(x_bytes)", Count, false);
        check("max_over_time(x_bytes[1h:])", Bytes, false);
        check("count_over_time(x_bytes[1h])", Count, false);
        check("a_bytes / b_bytes", Count, false);
        check("a_bytes / 1024", Count, false);
        check("a_bytes - b_bytes > 10", Bytes, false);
        check("a_bytes > bool 10", Count, false);
        check("10 < a_bytes", Bytes, false);
        check("a_bytes * 8", Count, false);
        check("rate(a_seconds_sum[1m]) / rate(a_seconds_count[1m])", Seconds, false);
        check("x_seconds_sum / x_seconds_count", Seconds, false);
        check("histogram_quantile(0.9, sum by (le) (rate(x_seconds_bucket[5m])))", Seconds, false);
        check("histogram_quantile(0.9, x_bytes)", Bytes, false);
        check("sum(", Count, false);
        assert_eq!(of_observations("sum(rate(x_seconds[5m]))"), SECONDS);
    }
}
