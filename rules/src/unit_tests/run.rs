//! Runs tests: at each moment the samples up to it are there, all groups are evaluated in order, and cases of that moment are looked at.
//!
//! Expressions are evaluated at the end, over the samples up to the last evaluation.

use std::collections::BTreeMap;

use model::{Labels, MemorySeries, SampleValue};
use query::QueryOptions;

use super::{
    AlertCase, AlertText, ExprCase, Failure, Reason, SeriesWorld, Subject, Test, TestFile, TestReport, compare,
};
use crate::alert::State;
use crate::evaluate::kept::Kept;
use crate::evaluate::{GroupState, Settings, World as _};
use crate::file::{Group, RuleFile};

/// Runs one test of `file` over `rules`, which are those of its rule files.
pub fn run(file: &TestFile, test: &Test, rules: &[RuleFile]) -> TestReport {
    let mut stage = Stage::new(file, test, rules);
    let mut report = TestReport { name: test.name.clone(), line: test.line, ..TestReport::default() };
    let times = test.alerts.iter().map(|case| case.at_ms).chain(test.exprs.iter().map(|case| case.at_ms));
    let last_ms = times.max().unwrap_or(0);
    let mut at_ms = 0;
    while at_ms <= last_ms {
        let until_ms = at_ms.saturating_add(file.evaluation_interval_ms);
        stage.evaluate(at_ms, &mut report);
        if report.failures.iter().any(Failure::is_of_rule) {
            // What comes later rests on what could not be evaluated.
            return report;
        }
        for case in test.alerts.iter().filter(|case| (at_ms..until_ms).contains(&case.at_ms)) {
            report.take(stage.alerts(case));
        }
        at_ms = until_ms;
    }
    for case in &test.exprs {
        report.take(stage.expr(case, file.is_fuzzy));
    }
    report
}

impl Failure {
    fn is_of_rule(&self) -> bool {
        matches!(self.subject, Subject::Rule { .. })
    }
}

impl TestReport {
    fn take(&mut self, result: Result<(), Failure>) {
        match result {
            Ok(()) => self.passed += 1,
            Err(failure) => self.failures.push(failure),
        }
    }
}

/// Rules and what they see.
struct Stage<'a> {
    test: &'a Test,
    settings: Settings,
    groups: Vec<(&'a Group, GroupState)>,
    world: SeriesWorld,
    /// How many samples of each series are there already.
    given: Vec<usize>,
}

impl<'a> Stage<'a> {
    fn new(file: &TestFile, test: &'a Test, rules: &'a [RuleFile]) -> Self {
        let (states, _) = Kept::default().into_groups(rules, 0);
        let groups = rules.iter().flat_map(|rules| &rules.groups);
        let mut groups: Vec<(&Group, GroupState)> = groups.zip(states).collect();
        // As for promtool, groups that are not named go with the first.
        groups.sort_by_key(|(group, _)| file.group_order.iter().position(|name| *name == group.name).unwrap_or(0));
        let settings = Settings {
            external_labels: test.external_labels.clone(),
            external_url: test.external_url.clone(),
            interval_ms: test.interval_ms,
            query_offset_ms: 0,
            settling_until_ms: i64::MIN,
        };
        let options = QueryOptions {
            subquery_step_ms: file.evaluation_interval_ms,
            // Data are small, and there are many evaluations.
            threads_max: 1,
            ..QueryOptions::default()
        };
        let world = SeriesWorld { series: MemorySeries::new(), options };
        Self { test, settings, groups, world, given: vec![0; test.series.len()] }
    }

    /// Lets samples up to `at_ms` after the start be seen, and evaluates all groups.
    fn evaluate(&mut self, at_ms: i64, report: &mut TestReport) {
        let now_ms = self.test.start_ms.saturating_add(at_ms);
        for ((labels, samples), given) in self.test.series.iter().zip(&mut self.given) {
            let due = samples.get(*given..).unwrap_or_default();
            let due = due.get(..due.partition_point(|sample| sample.timestamp_ms <= now_ms)).unwrap_or_default();
            if !due.is_empty() {
                self.world.series.put(labels, due.iter().cloned());
                *given += due.len();
            }
        }
        for (group, state) in &mut self.groups {
            state.evaluate(group, &self.world, &self.settings, now_ms);
            for (rule, state) in group.rules.iter().zip(state.rules()) {
                if let Some(error) = &state.report().error {
                    report.failures.push(Failure {
                        line: self.test.line,
                        subject: Subject::Rule { name: rule.name.clone(), at_ms },
                        reason: Reason::Fault(error.clone()),
                    });
                }
            }
        }
    }

    /// Whether the alerts of a name that fire now are those of `case`.
    fn alerts(&self, case: &AlertCase) -> Result<(), Failure> {
        let rules = self.groups.iter().flat_map(|(group, state)| group.rules.iter().zip(state.rules()));
        let of_name = rules.filter(|(rule, _)| rule.alerting().is_some() && rule.name == case.alertname);
        let firing =
            of_name.flat_map(|(_, state)| state.alerts()).filter(|(_, alert)| alert.times.state == State::Firing);
        let found: Vec<AlertText> = firing
            .map(|(labels, alert)| AlertText { labels: texts(labels), annotations: alert.annotations.clone() })
            .collect();
        let (same, pairs) = compare::alerts(&case.expected, &found);
        if pairs.is_empty() {
            return Ok(());
        }
        let subject = Subject::Alert { name: case.alertname.clone(), at_ms: case.at_ms };
        Err(Failure { line: case.line, subject, reason: Reason::Differs { same, pairs } })
    }

    /// Whether an expression yields what `case` expects.
    fn expr(&self, case: &ExprCase, is_fuzzy: bool) -> Result<(), Failure> {
        let fails = |reason| Failure {
            line: case.line,
            subject: Subject::Expr { text: case.expr.clone(), at_ms: case.at_ms },
            reason,
        };
        let now_ms = self.test.start_ms.saturating_add(case.at_ms);
        let answer = query::parse(&case.expr)
            .map_err(|error| error.to_string())
            .and_then(|expr| self.world.vector(&case.expr, &expr, now_ms));
        let found = answer.map_err(|error| fails(Reason::Fault(error)))?;
        let found: Vec<(Labels, SampleValue)> =
            found.into_iter().map(|element| (element.labels, element.value)).collect();
        let (same, pairs) = compare::samples(&case.expected, &found, is_fuzzy);
        if pairs.is_empty() { Ok(()) } else { Err(fails(Reason::Differs { same, pairs })) }
    }
}

fn texts(labels: &Labels) -> BTreeMap<String, String> {
    labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}
