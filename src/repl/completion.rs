//! Completion with what the server has: metrics, labels, values, functions with their help.
//!
//! `context` says what is being typed; the names come from a [`Names`] and are kept for a while.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use query::ast::AggregateOp;
use query::functions::FUNCTIONS;
use reedline::{Completer, CompletionResult, Span, Suggestion};

use super::commands::COMMANDS;
use super::context::{Context, context};
use crate::client::Client;
use crate::client::answer::LabelMap;

/// How long fetched names are used.
const FRESH_FOR: Duration = Duration::from_secs(15);
/// Most names fetched at a time.
const FETCHED_MAX: usize = 20_000;
/// Most suggestions shown.
const SHOWN_MAX: usize = 200;
/// Most lists of names kept; all are dropped when there are more.
const LISTS_MAX: usize = 64;
/// Words between expressions.
const KEYWORDS: [&str; 11] =
    ["by", "without", "on", "ignoring", "group_left", "group_right", "and", "or", "unless", "bool", "offset"];
/// Ranges people ask for.
const DURATIONS: [&str; 8] = ["1m", "5m", "10m", "15m", "30m", "1h", "6h", "1d"];

/// A list of names to fetch.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum List {
    /// Metric names with their help.
    Metrics,
    /// Label names, of one metric if given.
    Labels(Option<String>),
    /// Values of a label, of one metric if given.
    Values(Option<String>, String),
}

/// Names and a description each.
pub(crate) type Named = Vec<(String, Option<String>)>;

/// Where names come from.
pub(crate) trait Names: Send {
    /// The names of `list`; empty if they cannot be had now.
    fn fetch(&mut self, list: &List) -> Named;
}

impl Names for Client {
    fn fetch(&mut self, list: &List) -> Named {
        let selector = |metric: &Option<String>| metric.as_ref().map(|metric| format!("{{__name__=\"{metric}\"}}"));
        let names = match list {
            List::Metrics => {
                let help = self.get("/api/v1/metadata", &[]).unwrap_or_default();
                let names = self.label_values("__name__", None, FETCHED_MAX).unwrap_or_default();
                let help_of = |name: &str| help[name][0]["help"].as_str().map(str::to_owned);
                return names.into_iter().map(|name| (name.clone(), help_of(&name))).collect();
            }
            List::Labels(metric) => self.label_names(selector(metric).as_deref(), FETCHED_MAX),
            List::Values(metric, label) => self.label_values(label, selector(metric).as_deref(), FETCHED_MAX),
        };
        names.unwrap_or_default().into_iter().map(|name| (name, None)).collect()
    }
}

/// Completes queries and commands.
pub(crate) struct QueryCompleter<N> {
    names: N,
    kept: HashMap<List, (Instant, Named)>,
}

impl<N: Names> QueryCompleter<N> {
    /// A completer that asks `names`.
    pub(crate) fn new(names: N) -> Self {
        Self { names, kept: HashMap::new() }
    }

    fn list(&mut self, list: List) -> Named {
        if let Some((at, names)) = self.kept.get(&list)
            && at.elapsed() < FRESH_FOR
        {
            return names.clone();
        }
        let names = self.names.fetch(&list);
        if self.kept.len() >= LISTS_MAX {
            self.kept.clear();
        }
        self.kept.insert(list, (Instant::now(), names.clone()));
        names
    }

    /// What may stand at byte `at` of `line`: where it starts, text and description, best first.
    fn offers(&mut self, line: &str, at: usize) -> (usize, Named) {
        let (start, mut names) = match context(line, at) {
            Context::Nothing => return (at, Vec::new()),
            Context::Command { start } => (
                start,
                COMMANDS.iter().map(|command| (command.name.to_owned(), Some(command.help.to_owned()))).collect(),
            ),
            Context::Duration { start } => (start, DURATIONS.map(|text| (text.to_owned(), None)).to_vec()),
            Context::LabelName { metric, start } => {
                let names = self.list(List::Labels(metric));
                (start, names.into_iter().filter(|(name, _)| name != "__name__").collect())
            }
            Context::LabelValue { metric, label, start } => {
                let names = self.list(List::Values(metric, label));
                (start, names.into_iter().map(|(name, help)| (escaped(&name), help)).collect())
            }
            Context::Expression { start } => {
                let mut names = self.list(List::Metrics);
                names.extend(language());
                (start, names)
            }
        };
        let typed = line[start.min(at)..at].to_lowercase();
        let rank = |name: &str| match name.to_lowercase() {
            lower if lower.starts_with(&typed) => Some(0),
            // One letter inside a name is in most names.
            lower if typed.len() > 1 && lower.contains(&typed) => Some(1),
            _ => None,
        };
        names.retain(|(name, _)| rank(name).is_some());
        names.sort_by_key(|(name, _)| rank(name));
        names.truncate(SHOWN_MAX);
        (start, names)
    }
}

impl<N: Names> Completer for QueryCompleter<N> {
    fn complete(&mut self, line: &str, pos: usize) -> CompletionResult {
        let (start, names) = self.offers(line, pos);
        let suggestion = |(value, description): (String, Option<String>)| Suggestion {
            value,
            description,
            span: Span::new(start, pos),
            ..Suggestion::default()
        };
        CompletionResult::fresh(names.into_iter().map(suggestion).collect::<Vec<_>>())
    }
}

/// Functions, aggregations and keywords.
fn language() -> impl Iterator<Item = (String, Option<String>)> {
    let functions = FUNCTIONS.iter().map(|function| (format!("{}(", function.name), Some(function.help.to_owned())));
    let aggregations = AggregateOp::NAMES.iter().map(|(name, _)| (format!("{name}("), Some("aggregation".to_owned())));
    functions.chain(aggregations).chain(KEYWORDS.iter().map(|word| ((*word).to_owned(), None)))
}

/// A label value as it stands inside quotes.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// The label names of `series` with how many values each has and the first few, for `.labels`.
pub(crate) fn label_summary(series: &[LabelMap]) -> Vec<Vec<String>> {
    const EXAMPLES: usize = 3;
    let mut values: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (name, value) in series.iter().flatten() {
        values.entry(name).or_default().insert(value);
    }
    let row = |(name, values): (&str, BTreeSet<&str>)| {
        let mut examples: Vec<&str> = values.iter().copied().take(EXAMPLES).collect();
        if values.len() > EXAMPLES {
            examples.push("…");
        }
        vec![name.to_owned(), examples.join(", "), values.len().to_string()]
    };
    values.into_iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(usize);

    impl Names for Fixed {
        fn fetch(&mut self, list: &List) -> Named {
            self.0 += 1;
            let names: &[&str] = match list {
                List::Metrics => &["go_goroutines", "process_rate", "up"],
                List::Labels(_) => &["__name__", "instance", "job"],
                List::Values(..) => &["a\"b", "api"],
            };
            names.iter().map(|name| ((*name).to_owned(), None)).collect()
        }
    }

    #[track_caller]
    fn check(line: &str, want: &[&str]) {
        let mut completer = QueryCompleter::new(Fixed(0));
        let result = completer.complete(line, line.len());
        let got: Vec<&str> = result.suggestions().iter().map(|suggestion| suggestion.value.as_str()).collect();
        assert_eq!(got.get(..want.len()), Some(want), "for {line:?}: {got:?}");
    }

    #[test]
    fn offers_what_fits() {
        check("go_", &["go_goroutines"]);
        check("up{", &["instance", "job"]);
        check("up{j", &["job"]);
        check("up{job=\"", &["a\\\"b", "api"]);
        check("sum(rat", &["rate(", "process_rate"]);
        check("x[1", &["1m", "10m", "15m", "1h", "1d"]);
        check(".ti", &[".time", ".timing"]);
        check("12", &[]);
    }

    #[test]
    fn suggestions_replace_what_was_typed() {
        let mut completer = QueryCompleter::new(Fixed(0));
        let result = completer.complete("sum(go_g", 8);
        assert_eq!(result.suggestions()[0].span, Span::new(4, 8));
    }

    #[test]
    fn names_are_fetched_once_in_a_while() {
        let mut completer = QueryCompleter::new(Fixed(0));
        for _ in 0..3 {
            completer.complete("go_", 3);
        }
        assert_eq!(completer.names.0, 1);
    }

    #[test]
    fn labels_are_summed_up() {
        let of = |pairs: &[(&str, &str)]| -> LabelMap {
            pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
        };
        let rows = label_summary(&[of(&[("a", "1"), ("b", "x")]), of(&[("a", "2")]), of(&[("a", "1")])]);
        assert_eq!(rows, [["a", "1, 2", "2"], ["b", "x", "1"]]);
    }
}
