//! One evaluation of a recording rule.

use std::collections::HashSet;

use model::{Labels, LabelsBuilder, METRIC_NAME};
use query::VectorElement;

use super::{Pass, RuleSample, RuleState, World};
use crate::file::Rule;

/// What a rule's expression is at a moment: elements, each with the number of the case that judges it.
pub(super) fn ask(rule: &Rule, world: &dyn World, at_ms: i64) -> Result<Vec<(usize, VectorElement)>, String> {
    let mut found = Vec::new();
    for (number, query) in rule.queries.iter().enumerate() {
        let elements = world.vector(&query.text, &query.expr, at_ms)?;
        found.reserve(elements.len());
        for element in elements {
            let case = rule.case_of(element.labels.as_ref());
            if rule.cases.get(case).is_some_and(|case| case.query == number) {
                found.push((case, element));
            }
        }
    }
    Ok(found)
}

impl RuleState {
    pub(super) fn record(&mut self, rule: &Rule, pass: &mut Pass<'_>) -> Result<(), String> {
        let found = ask(rule, pass.world, pass.query_ms)?;
        let mut builder = LabelsBuilder::new();
        let mut samples = Vec::with_capacity(found.len());
        for (_, element) in found {
            let labels = labelled(&mut builder, rule, &element.labels)?;
            samples.push(RuleSample { labels, timestamp_ms: pass.query_ms, value: element.value });
        }
        if has_twins(samples.iter().map(|sample| &sample.labels)) {
            return Err("vector contains metrics with the same labelset after applying rule labels".to_owned());
        }
        if pass.limit > 0 && samples.len() > pass.limit {
            return Err(format!("exceeded limit of {} with {} series", pass.limit, samples.len()));
        }
        pass.put(&mut self.series, samples);
        Ok(())
    }
}

/// The labels of what the rule records of `labels`.
pub(super) fn labelled(builder: &mut LabelsBuilder, rule: &Rule, labels: &Labels) -> Result<Labels, String> {
    builder.clear();
    builder.push(METRIC_NAME, &rule.name);
    for (name, value) in labels.iter().filter(|(name, _)| *name != METRIC_NAME && !rule.labels.contains_key(*name)) {
        builder.push(name, value);
    }
    for (name, value) in &rule.labels {
        builder.push(name, value);
    }
    builder.build().map_err(|error| error.to_string())
}

fn has_twins<'a>(labels: impl ExactSizeIterator<Item = &'a Labels>) -> bool {
    if labels.len() < 2 {
        return false;
    }
    let mut known = HashSet::with_capacity(labels.len());
    !labels.into_iter().all(|labels| known.insert(labels))
}
