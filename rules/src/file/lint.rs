//! What is allowed in rules and seldom meant: looked for on request, never a fault.

use std::collections::BTreeMap;

use query::ast::{DurationKind, Expr, ExprKind, Selector, ValueType};

use super::{Group, Rule, RuleFile};

/// A window should hold so many evaluations, so that a lost sample or two leave enough to see a rate by.
const WINDOW_INTERVALS_MIN: f64 = 4.0;
/// Functions that need several samples in their window.
const RATES: [&str; 8] = ["rate", "irate", "increase", "delta", "idelta", "deriv", "resets", "changes"];

/// Something to think about.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {rule}: {message}")]
pub struct Hint {
    /// The file.
    pub file: String,
    /// The line of the rule.
    pub line: u64,
    /// The rule.
    pub rule: String,
    /// What about it.
    pub message: String,
}

/// What is worth a thought about the rules of `file`, where groups that do not say are evaluated every `interval_ms`.
pub fn hints(file: &RuleFile, interval_ms: i64) -> Vec<Hint> {
    let mut hints = Vec::new();
    for group in &file.groups {
        for rule in &group.rules {
            let hint = |message| Hint { file: file.name.clone(), line: rule.line, rule: rule.name.clone(), message };
            hints.extend(messages(group, rule, interval_ms).into_iter().map(hint));
        }
    }
    hints
}

fn messages(group: &Group, rule: &Rule, interval_ms: i64) -> Vec<String> {
    let mut messages = Vec::new();
    if rule.alerting().is_some() && rule.cases.iter().all(|case| case.waits.hold_ms == 0) {
        messages.push("it has no `for`: a single sample makes it fire".to_owned());
    }
    for query in &rule.queries {
        match query::value_type(&query.expr) {
            ValueType::InstantVector | ValueType::Scalar => {}
            other => messages.push(format!("its expression is a {other}, of which nothing can be made")),
        }
        #[expect(clippy::cast_precision_loss, reason = "intervals are far below 2^53 ms")]
        let interval_seconds = group.interval_ms.unwrap_or(interval_ms) as f64 / 1000.0;
        short_windows(&query.expr, interval_seconds, &mut messages);
    }
    messages.dedup();
    messages
}

fn short_windows(expr: &Expr, interval_seconds: f64, messages: &mut Vec<String>) {
    if let ExprKind::Call(call) = &expr.kind
        && RATES.contains(&call.function.name)
    {
        for arg in &call.args {
            if let ExprKind::Range(range) = &arg.without_parens().kind
                && let DurationKind::Literal(window) = &range.range.kind
                && window.value < WINDOW_INTERVALS_MIN * interval_seconds
            {
                messages.push(format!(
                    "{}[{}s] is over fewer than {WINDOW_INTERVALS_MIN} intervals of {interval_seconds}s",
                    call.function.name, window.value
                ));
            }
        }
    }
    for child in children(expr) {
        short_windows(child, interval_seconds, messages);
    }
}

/// The selectors of a rule, by their text.
pub fn selectors(rule: &Rule) -> BTreeMap<String, Selector> {
    fn walk(expr: &Expr, found: &mut BTreeMap<String, Selector>) {
        let selector = match &expr.kind {
            ExprKind::Selector(selector) => Some(selector),
            ExprKind::Range(range) => Some(&range.selector),
            _ => None,
        };
        if let Some(selector) = selector {
            // When it looks is not asked.
            let plain = Selector { modifiers: query::ast::Modifiers::default(), extension: None, ..selector.clone() };
            let text = Expr { span: expr.span, kind: ExprKind::Selector(plain.clone()) }.to_string();
            found.insert(text, plain);
        }
        for child in children(expr) {
            walk(child, found);
        }
    }
    let mut found = BTreeMap::new();
    for query in &rule.queries {
        walk(&query.expr, &mut found);
    }
    found
}

fn children(expr: &Expr) -> Vec<&Expr> {
    match &expr.kind {
        ExprKind::Number(_) | ExprKind::String(_) | ExprKind::Selector(_) | ExprKind::Range(_) => Vec::new(),
        ExprKind::Unary(_, inner) | ExprKind::Paren(inner) => vec![inner],
        ExprKind::Subquery(subquery) => vec![&subquery.expr],
        ExprKind::Binary(binary) => vec![&binary.left, &binary.right],
        ExprKind::Aggregate(aggregate) => aggregate.param.iter().chain([&aggregate.expr]).collect(),
        ExprKind::Call(call) => call.args.iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_seldom_meant_is_told() {
        let text = "
groups:
- name: g
  interval: 30s
  rules:
  - {alert: Now, expr: up == 0}
  - {alert: Fine, expr: 'rate(a[2m]) > 1', for: 1m}
  - {record: short, expr: 'sum(increase(a[1m])) / rate(b[5m])'}
  - {record: range, expr: 'a[5m]'}
";
        let file = super::super::read("r.yml", text).expect("a rule file");
        let told: Vec<String> = hints(&file, 60_000).iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "r.yml:6: Now: it has no `for`: a single sample makes it fire",
                "r.yml:8: short: increase[60s] is over fewer than 4 intervals of 30s",
                "r.yml:9: range: its expression is a range vector, of which nothing can be made",
            ]
        );
        let names: Vec<String> = selectors(&file.groups[0].rules[2]).into_keys().collect();
        assert_eq!(names, ["a", "b"]);
    }
}
