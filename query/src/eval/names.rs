//! Label sets made of label sets: keys of groups and matches, names removed, labels of `absent`.

use std::fmt;

use model::labels::METRIC_NAME;
use model::{LabelError, Labels, LabelsBuilder, MatchOp};

use super::error::{QueryError, Result, execution};
use crate::ast::{Grouping, Matching, Selector};

/// The labels that say what a metric is. A function that changes the values makes them untrue.
const METRIC_LABELS: [&str; 3] = [METRIC_NAME, "__type__", "__unit__"];

/// Which labels make up a key.
#[derive(Debug)]
enum KeyRule {
    /// These, sorted.
    Only(Vec<String>),
    /// All but these, sorted.
    Except(Vec<String>),
}

/// Makes keys of label sets.
#[derive(Debug)]
pub(crate) struct KeyMaker {
    rule: KeyRule,
    builder: LabelsBuilder,
}

impl KeyMaker {
    fn new(only: bool, mut labels: Vec<String>) -> Self {
        labels.sort_unstable();
        labels.dedup();
        let rule = if only { KeyRule::Only(labels) } else { KeyRule::Except(labels) };
        Self { rule, builder: LabelsBuilder::new() }
    }

    /// The groups of an aggregation: `by` keeps the labels, `without` keeps the others but the metric name; with
    /// neither there is one group.
    pub(crate) fn of_grouping(grouping: Option<&Grouping>) -> Self {
        match grouping {
            None => Self::new(true, Vec::new()),
            Some(grouping) if grouping.without => Self::except_name_and(&grouping.labels),
            Some(grouping) => Self::new(true, grouping.labels.clone()),
        }
    }

    /// The keys of vector matching: `on` keeps the labels, `ignoring` (the default) the others but the metric name.
    pub(crate) fn of_matching(matching: Option<&Matching>) -> Self {
        match matching {
            Some(matching) if matching.on => Self::new(true, matching.labels.clone()),
            Some(matching) => Self::except_name_and(&matching.labels),
            None => Self::except_name_and(&[]),
        }
    }

    /// All labels but `label`.
    pub(crate) fn except(label: &str) -> Self {
        Self::new(false, vec![label.to_owned()])
    }

    fn except_name_and(labels: &[String]) -> Self {
        Self::new(false, labels.iter().cloned().chain([METRIC_NAME.to_owned()]).collect())
    }

    /// The key of a label set.
    pub(crate) fn key(&mut self, labels: &Labels) -> Labels {
        let is_listed = |list: &[String], name: &str| list.binary_search_by(|item| item.as_str().cmp(name)).is_ok();
        match &self.rule {
            KeyRule::Only(list) if list.is_empty() => return Labels::empty(),
            KeyRule::Only(list) => {
                labels.iter().filter(|(name, _)| is_listed(list, name)).for_each(|(n, v)| self.builder.push(n, v));
            }
            KeyRule::Except(list) => {
                if !labels.iter().any(|(name, _)| is_listed(list, name)) {
                    return labels.clone();
                }
                labels.iter().filter(|(name, _)| !is_listed(list, name)).for_each(|(n, v)| self.builder.push(n, v));
            }
        }
        self.builder.build().expect("a part of a label set is one")
    }
}

/// Labels as errors show them: the metric name is one of them.
#[derive(Debug)]
pub(crate) struct ShowLabels<'a>(pub(crate) &'a Labels);

impl fmt::Display for ShowLabels<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "{";
        for (name, value) in self.0 {
            write!(f, "{separator}{name}={value:?}")?;
            separator = ", ";
        }
        f.write_str(if self.0.is_empty() { "{}" } else { "}" })
    }
}

/// Builds a label set whose texts the query made up.
pub(crate) fn build(builder: &mut LabelsBuilder) -> Result<Labels> {
    builder.build().map_err(|error: LabelError| -> QueryError { execution(error.to_string()) })
}

/// Removes what says which metric it was.
pub(crate) fn remove_names(builder: &mut LabelsBuilder) {
    for name in METRIC_LABELS {
        builder.remove(name);
    }
}

/// The labels without what says which metric it was.
pub(crate) fn without_names(labels: &Labels) -> Labels {
    if METRIC_LABELS.iter().all(|name| labels.get(name).is_none()) {
        return labels.clone();
    }
    let mut builder = LabelsBuilder::from_labels(labels.as_ref());
    remove_names(&mut builder);
    builder.build().expect("a part of a label set is one")
}

/// What is known of the labels of a series that a selector does not find: its `=` matchers, except on the name and on
/// labels that more than one matcher speaks of.
pub(crate) fn absent_labels(selector: &Selector) -> Labels {
    let mut builder = LabelsBuilder::new();
    for matcher in selector.label_matchers() {
        let mentions = selector.matchers.iter().filter(|other| other.name() == matcher.name()).count();
        if matcher.op() == MatchOp::Equal && mentions == 1 {
            builder.push(matcher.name(), matcher.value());
        }
    }
    builder.build().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        Labels::from_pairs(pairs.iter().copied()).expect("valid labels")
    }

    #[test]
    fn keys() {
        let set = labels(&[("__name__", "m"), ("a", "1"), ("b", "2")]);
        let by = |list: &[&str], without| {
            let labels = list.iter().map(|&name| name.to_owned()).collect();
            KeyMaker::of_grouping(Some(&Grouping { without, labels })).key(&set)
        };
        assert_eq!(by(&["b", "x"], false), labels(&[("b", "2")]));
        assert_eq!(by(&["__name__"], false), labels(&[("__name__", "m")]));
        assert_eq!(by(&["b"], true), labels(&[("a", "1")]));
        assert_eq!(by(&[], true), labels(&[("a", "1"), ("b", "2")]));
        assert_eq!(KeyMaker::of_grouping(None).key(&set), Labels::empty());
        assert_eq!(KeyMaker::of_matching(None).key(&set), labels(&[("a", "1"), ("b", "2")]));
        assert_eq!(KeyMaker::except("a").key(&set), labels(&[("__name__", "m"), ("b", "2")]));
    }

    #[test]
    fn names_go_with_type_and_unit() {
        let set = labels(&[("__name__", "m"), ("__type__", "counter"), ("__unit__", "s"), ("a", "1")]);
        assert_eq!(without_names(&set), labels(&[("a", "1")]));
    }
}
