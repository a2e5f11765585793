//! The shipped rules: whole, told in words, with runbooks, over series that exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use query::ast::{Expr, ExprKind};
use rules::file::{Kind, Rule};
use rules::shipped::{FILES, files, runbook, runbooks};

fn project(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn all_rules() -> Vec<Rule> {
    files().into_iter().flat_map(|file| file.groups).flat_map(|group| group.rules).collect()
}

#[test]
fn every_rule_says_what_is_wrong_and_what_to_do() {
    let rules = all_rules();
    let names: BTreeSet<&str> = rules.iter().map(|rule| rule.name.as_str()).collect();
    assert_eq!(names.len(), rules.len(), "a name twice");
    for rule in &rules {
        let name = &rule.name;
        let Kind::Alerting(alerting) = &rule.kind else { panic!("{name} is no alert") };
        let text = |annotation: &str| alerting.annotations.get(annotation).map(String::as_str).unwrap_or_default();
        assert!(!text("summary").is_empty() && text("description").ends_with('.'), "{name} has no sentence");
        assert_eq!(text("runbook_url"), format!("{{{{ $externalURL }}}}/runbooks/{name}"));
        let severity = rule.labels.get("severity").map(String::as_str).unwrap_or_default();
        let known = ["critical", "warning", "info"];
        assert!(known.contains(&severity), "{name} has severity {severity:?}");
        // What wakes somebody does not do so for a program under development, nor for one that is tried.
        for (env, want) in [("dev", "info"), ("staging", "warning"), ("prod", "critical")] {
            let labels = model::Labels::from_pairs([("env", env)]).expect("labels");
            let other = rule.cases[rule.case_of(labels.as_ref())].labels.get("severity").map(String::as_str);
            let want = if severity == "critical" || env == "dev" { want } else { severity };
            assert_eq!(other.unwrap_or(severity), want, "{name} in {env}");
        }
        let book = runbook(name).unwrap_or_else(|| panic!("docs/runbooks.md has nothing about {name}"));
        assert!(book.starts_with(&format!("## {name}\n")) && book.lines().count() > 2, "{book}");
    }
    let sections = runbooks().lines().filter_map(|line| line.strip_prefix("## "));
    assert!(sections.clone().count() >= rules.len());
    for section in sections {
        assert!(names.contains(section), "docs/runbooks.md tells of {section}, which is no rule");
    }
    assert_eq!(runbook("NoSuchRule"), None);
}

#[test]
fn links_between_runbooks_lead_somewhere() {
    for link in runbooks().split("](#").skip(1).filter_map(|rest| rest.split(')').next()) {
        let found =
            runbooks().lines().any(|line| line.strip_prefix("## ").is_some_and(|name| name.to_lowercase() == link));
        assert!(found, "#{link}");
    }
}

/// The metrics that an expression selects.
fn metrics(expr: &Expr, found: &mut BTreeSet<String>) {
    match &expr.kind {
        ExprKind::Number(_) | ExprKind::String(_) => {}
        ExprKind::Selector(selector) => drop(found.insert(selector.metric_name().expect("a name").to_owned())),
        ExprKind::Range(range) => drop(found.insert(range.selector.metric_name().expect("a name").to_owned())),
        ExprKind::Unary(_, inner) | ExprKind::Paren(inner) => metrics(inner, found),
        ExprKind::Subquery(subquery) => metrics(&subquery.expr, found),
        ExprKind::Binary(binary) => {
            metrics(&binary.left, found);
            metrics(&binary.right, found);
        }
        ExprKind::Aggregate(aggregate) => {
            aggregate.param.iter().for_each(|param| metrics(param, found));
            metrics(&aggregate.expr, found);
        }
        ExprKind::Call(call) => call.args.iter().for_each(|arg| metrics(arg, found)),
    }
}

/// The names that a documented text such as `node_{receive,transmit}_errs_total{device}` stands for; braces at its end are labels.
fn expanded(text: &str) -> Vec<String> {
    let text = match text.rfind('{') {
        Some(at) if text.ends_with('}') => &text[..at],
        _ => text,
    };
    match text.split_once('{') {
        None => vec![text.to_owned()],
        Some((before, rest)) => {
            let (choices, after) = rest.split_once('}').unwrap_or((rest, ""));
            choices.split(',').flat_map(|choice| expanded(&format!("{before}{choice}{after}"))).collect()
        }
    }
}

/// Every text in backticks of the documentation of the series, expanded.
fn documented() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for page in ["docs/agent.md", "docs/operations.md"] {
        let mut is_signals = false;
        for line in project(page).lines() {
            if line.starts_with('#') {
                is_signals = line == "## Signals";
            }
            for text in line.split('`').skip(1).step_by(2) {
                let prefix = if is_signals { "go_signal_" } else { "" };
                names.extend(expanded(text).into_iter().map(|name| format!("{prefix}{name}")));
            }
        }
    }
    // The documentation says `metrickit_agent_*` of these.
    let own = project("agent/src/stats.rs");
    names.extend(own.split('"').filter(|text| text.starts_with("metrickit_agent_")).map(str::to_owned));
    names.remove("metrickit_agent_*");
    names
}

#[test]
fn rules_are_about_series_that_are_documented() {
    let documented = documented();
    let is_known = |metric: &str| {
        documented.contains(metric)
            || documented.iter().filter_map(|name| name.split_once('*')).any(|(before, after)| {
                before.contains('_')
                    && metric.starts_with(before)
                    && metric.ends_with(after)
                    && metric.len() > before.len() + after.len()
            })
    };
    assert!(is_known("node_network_transmit_errs_total") && is_known("go_signal_gc_cpu_ratio"));
    assert!(!is_known("node_network_transmit_fifo_total") && !is_known("metrickit_agent_nothing"));
    for rule in all_rules() {
        let mut found = BTreeSet::new();
        rule.queries.iter().for_each(|query| metrics(&query.expr, &mut found));
        assert!(!found.is_empty(), "{} is about nothing", rule.name);
        for metric in found {
            assert!(is_known(&metric), "{}: nobody documents {metric}", rule.name);
        }
    }
}

#[test]
fn files_can_be_read_and_have_one_name_each() {
    let names: BTreeSet<&str> = FILES.iter().map(|(name, _)| *name).collect();
    assert_eq!(names.len(), FILES.len());
    for (name, text) in FILES {
        if let Err(faults) = rules::file::read(name, text) {
            panic!("{faults:?}");
        }
    }
    assert_eq!(files().len(), FILES.len());
}
