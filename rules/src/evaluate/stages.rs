//! Which rules of a group read what rules before them make: only before those what was made must be written.

use std::collections::BTreeSet;

use query::ast::{Expr, ExprKind};

use crate::file::{Kind, Rule};

/// What a rule reads.
enum Reads {
    Metrics(BTreeSet<String>),
    /// It selects without the name of a metric, or by a template.
    Anything,
}

/// For each rule whether what those before it made must be written before it is evaluated.
pub(super) fn stages(rules: &[Rule]) -> Vec<bool> {
    let mut waiting: BTreeSet<&str> = BTreeSet::new();
    let mut reads_before = Vec::with_capacity(rules.len());
    for rule in rules {
        let reads = match reads(rule) {
            Reads::Anything => !waiting.is_empty(),
            Reads::Metrics(names) => names.iter().any(|name| waiting.contains(name.as_str())),
        };
        if reads {
            waiting.clear();
        }
        reads_before.push(reads);
        match rule.kind {
            Kind::Recording => drop(waiting.insert(&rule.name)),
            Kind::Alerting(_) => waiting.extend(["ALERTS", "ALERTS_FOR_STATE"]),
        }
    }
    reads_before
}

fn reads(rule: &Rule) -> Reads {
    let texts = rule.alerting().map(|alerting| alerting.annotations.values().chain(rule.labels.values()));
    if texts.into_iter().flatten().any(|text| text.contains("{{") && text.contains("query")) {
        return Reads::Anything;
    }
    let mut names = BTreeSet::new();
    if rule.queries.iter().all(|query| selected(&query.expr, &mut names)) {
        Reads::Metrics(names)
    } else {
        Reads::Anything
    }
}

/// Adds the metrics that `expr` selects; false where it selects without a name.
fn selected(expr: &Expr, names: &mut BTreeSet<String>) -> bool {
    let mut add = |name: Option<&str>| name.map(|name| names.insert(name.to_owned())).is_some();
    match &expr.kind {
        ExprKind::Number(_) | ExprKind::String(_) => true,
        ExprKind::Selector(selector) => add(selector.metric_name()),
        ExprKind::Range(range) => add(range.selector.metric_name()),
        ExprKind::Unary(_, inner) | ExprKind::Paren(inner) => selected(inner, names),
        ExprKind::Subquery(subquery) => selected(&subquery.expr, names),
        ExprKind::Binary(binary) => selected(&binary.left, names) && selected(&binary.right, names),
        ExprKind::Aggregate(aggregate) => {
            aggregate.param.iter().all(|param| selected(param, names)) && selected(&aggregate.expr, names)
        }
        // It selects info metrics by itself.
        ExprKind::Call(call) if call.function.name == "info" => false,
        ExprKind::Call(call) => call.args.iter().all(|arg| selected(arg, names)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_wait_for_what_they_read() {
        let text = r#"
groups:
- name: g
  rules:
  - {record: a, expr: up}
  - {record: b, expr: sum(up)}
  - {record: c, expr: 'rate(a[5m:1m])'}
  - {record: d, expr: 'c + b'}
  - {alert: E, expr: 'up == 0'}
  - {alert: F, expr: 'ALERTS{alertname="E"}'}
  - {alert: G, expr: 'up > 1', annotations: {a: '{{ query "up" }}'}}
  - {record: h, expr: 'up > 1'}
  - {record: i, expr: 'sum({job="a"})'}
  - {record: j, expr: 'vector(1)'}
"#;
        let file = crate::file::read("r.yml", text).expect("a rule file");
        let reads = stages(&file.groups[0].rules);
        let names: Vec<&str> = file.groups[0]
            .rules
            .iter()
            .zip(reads)
            .filter_map(|(rule, reads)| reads.then_some(rule.name.as_str()))
            .collect();
        assert_eq!(names, ["c", "d", "F", "G", "i"]);
    }
}
