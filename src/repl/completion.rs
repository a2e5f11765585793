//! Completion with what the server has: metrics, labels, values; and with what the language has. One line of help each.
//!
//! `context` says what is being typed, `names` what the server has, `words` what the language has.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use reedline::{Completer, CompletionResult, CompletionStatus, Span, Suggestion};

use super::commands::COMMANDS;
use super::context::{Context, Quote, context};
use super::names::{Known, List, NameCache, Named, Names};
use super::words;
use crate::client::answer::LabelMap;
use crate::render::text::{shortened, visible, width};

/// Most suggestions shown.
const SHOWN_MAX: usize = 200;
/// Longer names push their help to the right.
const NAME_COLUMNS_MAX: usize = 48;
/// Ranges people ask for.
const DURATIONS: [(&str, &str); 8] = [
    ("1m", "a minute"),
    ("5m", "five minutes"),
    ("10m", "ten minutes"),
    ("15m", "a quarter of an hour"),
    ("30m", "half an hour"),
    ("1h", "an hour"),
    ("6h", "six hours"),
    ("1d", "a day"),
];

/// Completes queries and commands.
pub(crate) struct QueryCompleter {
    names: NameCache,
    /// Columns of the terminal, which people resize.
    columns: Arc<AtomicUsize>,
}

/// What fits: where it starts, and the candidates.
struct Offer {
    start: usize,
    names: Named,
    /// What was typed of it, if that is not simply the text since `start`.
    typed: Option<String>,
}

impl QueryCompleter {
    /// A completer that asks `names`, for a terminal as wide as `columns` says.
    pub(crate) fn new(names: impl Names + 'static, columns: Arc<AtomicUsize>) -> Self {
        Self { names: NameCache::new(names), columns }
    }

    /// The names of `list`; `None` while they are on their way.
    fn list(&mut self, list: &List) -> Option<Arc<Named>> {
        match self.names.get(list) {
            Known::Here(names) => Some(names),
            Known::Coming => None,
        }
    }

    /// What may stand at byte `at` of `line`; `None` while it is on its way.
    fn offer(&mut self, line: &str, at: usize) -> Option<Offer> {
        let here = |start, names| Some(Offer { start, names, typed: None });
        let described = |(name, help): (&str, &str)| (name.to_owned(), Some(help.to_owned()));
        match context(line, at) {
            Context::Nothing => here(at, Vec::new()),
            Context::Command { start } => {
                here(start, COMMANDS.iter().map(|command| described((command.name, command.help))).collect())
            }
            Context::Duration { start } => here(start, DURATIONS.map(described).to_vec()),
            Context::OneOf { words, start } => {
                here(start, words.iter().map(|word| ((*word).to_owned(), None)).collect())
            }
            Context::Word { start } => {
                let bare = |(name, help): (String, _)| (name.trim_end_matches('(').to_owned(), help);
                here(start, words::offered().map(bare).collect())
            }
            Context::QueryId { start } => here(start, self.list(&List::Queries)?.to_vec()),
            Context::Metric { start } => here(start, self.list(&List::Metrics)?.to_vec()),
            Context::LabelName { metric, start } => {
                let names = self.list(&List::Labels(metric))?;
                here(start, names.iter().filter(|(name, _)| name != "__name__").cloned().collect())
            }
            Context::LabelValue { metric, label, quote, is_regex, start } => {
                let names = self.list(&List::Values(metric, label))?;
                let closes = matches!(quote, Quote::Open(quote) if !line[at..].starts_with(quote));
                let value =
                    |(name, help): &(String, Option<String>)| (quoted(name, quote, is_regex, closes), help.clone());
                let typed = matches!(quote, Quote::Missing).then(|| "\"".to_owned());
                Some(Offer { start, names: names.iter().map(value).collect(), typed })
            }
            Context::Expression { start } => {
                let mut names = self.list(&List::Metrics)?.to_vec();
                names.extend(words::offered());
                here(start, names)
            }
        }
    }
}

/// The names that begin with `typed`; if there are none, those that have it anywhere.
fn matching(mut names: Named, typed: &str) -> Named {
    let typed = typed.to_lowercase();
    let begins = |name: &str| name.to_lowercase().starts_with(&typed);
    if names.iter().any(|(name, _)| begins(name)) {
        names.retain(|(name, _)| begins(name));
    } else {
        // One letter inside a name is in most names.
        names.retain(|(name, _)| typed.len() > 1 && name.to_lowercase().contains(&typed));
    }
    names.truncate(SHOWN_MAX);
    names
}

impl Completer for QueryCompleter {
    fn complete(&mut self, line: &str, pos: usize) -> CompletionResult {
        let Some(Offer { start, names, typed }) = self.offer(line, pos) else { return CompletionResult::Pending };
        let typed = typed.as_deref().unwrap_or(&line[start.min(pos)..pos]);
        let names = matching(names, typed);
        let columns = names.iter().map(|(name, _)| width(name)).max().unwrap_or(0).min(NAME_COLUMNS_MAX);
        let all_columns = self.columns.load(Ordering::Relaxed).saturating_sub(1);
        let suggestion = |(value, help): (String, Option<String>)| Suggestion {
            display_override: Some(shortened(&displayed(&value, help.as_deref(), columns), all_columns)),
            value,
            span: Span::new(start, pos),
            ..Suggestion::default()
        };
        CompletionResult::fresh(names.into_iter().map(suggestion).collect::<Vec<_>>())
    }

    fn poll_completion(&mut self) -> CompletionStatus {
        match (self.names.take_arrived(), self.names.is_waiting()) {
            (true, _) => CompletionStatus::Ready,
            (false, true) => CompletionStatus::Pending,
            (false, false) => CompletionStatus::Idle,
        }
    }
}

/// A line of the menu: the name, and its help in a column of its own.
fn displayed(name: &str, help: Option<&str>, columns: usize) -> String {
    let name = visible(name);
    // The quote behind a value is inserted, but no part of what is chosen.
    let Some(help) = help else { return name.trim_end_matches(['"', '\'', '`']).to_owned() };
    let pad = " ".repeat(columns.saturating_sub(width(&name)));
    format!("{name}{pad}  {}", visible(help))
}

/// A label value as it stands inside `quote`, escaped for a regular expression if it is in one; with the closing quote
/// if `closes`, with both if there is none yet.
fn quoted(value: &str, quote: Quote, is_regex: bool, closes: bool) -> String {
    const SPECIAL: &str = "\\.+*?()|[]{}^$";
    let mut text = String::new();
    for c in value.chars() {
        if is_regex && SPECIAL.contains(c) {
            text.push('\\');
        }
        text.push(c);
    }
    let inside = |quote: char| match quote {
        // Raw: there is no way to write a backtick.
        '`' => text.clone(),
        _ => text.replace('\\', "\\\\").replace(quote, &format!("\\{quote}")).replace('\n', "\\n"),
    };
    match quote {
        Quote::Missing => format!("\"{}\"", inside('"')),
        Quote::Open(quote) if closes => format!("{}{quote}", inside(quote)),
        Quote::Open(quote) => inside(quote),
    }
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

    struct Fixed;

    impl Names for Fixed {
        fn fetch(&mut self, list: &List) -> Option<Named> {
            let names: &[&str] = match list {
                List::Metrics => &["go_goroutines", "process_rate", "up"],
                List::Labels(_) => &["__name__", "instance", "job"],
                List::Values(..) => &["a\"b", "api.x"],
                List::Queries => &["7"],
            };
            Some(names.iter().map(|name| ((*name).to_owned(), Some("help".to_owned()))).collect())
        }
    }

    /// The suggestions at the end of `line`, once they are here.
    fn complete(line: &str) -> Vec<Suggestion> {
        complete_at(line, line.len())
    }

    fn complete_at(line: &str, at: usize) -> Vec<Suggestion> {
        let mut completer = QueryCompleter::new(Fixed, Arc::new(AtomicUsize::new(80)));
        loop {
            let result = completer.complete(line, at);
            if !result.is_pending() {
                return result.suggestions().to_vec();
            }
            while completer.poll_completion() != CompletionStatus::Ready {
                std::thread::yield_now();
            }
        }
    }

    #[track_caller]
    fn check(line: &str, want: &[&str]) {
        let found = complete(line);
        let got: Vec<&str> = found.iter().map(|suggestion| suggestion.value.as_str()).collect();
        assert_eq!(got.get(..want.len()), Some(want), "for {line:?}: {got:?}");
    }

    #[test]
    fn offers_what_fits() {
        check("go_", &["go_goroutines"]);
        check("gorou", &["go_goroutines"]);
        check("up{", &["instance", "job"]);
        check("up{j", &["job"]);
        check("sum by (", &["instance", "job"]);
        check("sum(rat", &["rate("]);
        check("sum(process_", &["process_rate"]);
        check("x[1", &["1m", "10m", "15m", "1h", "1d"]);
        check("a unl", &["unless"]);
        check("topk", &["topk("]);
        check(".ti", &[".time", ".timing"]);
        check(".help rat", &["rate"]);
        check(".format t", &["table"]);
        check(".kill ", &["7"]);
        assert_eq!(complete("12"), []);
        assert_eq!(complete("z"), []);
    }

    #[test]
    fn values_are_quoted_and_escaped_as_their_place_needs() {
        check("up{job=\"", &["a\\\"b\"", "api.x\""]);
        check("up{job='", &["a\"b'", "api.x'"]);
        check("up{job=`", &["a\"b`"]);
        check("up{job=", &["\"a\\\"b\"", "\"api.x\""]);
        check("up{job=~\"ap", &["api\\\\.x\""]);
        check("up{job=~\"other|ap", &["api\\\\.x\""]);
        assert_eq!(complete_at("up{job=\"ap\"}", 10)[0].value, "api.x", "the quote is there already");
    }

    #[test]
    fn suggestions_replace_what_was_typed_and_tell_what_they_are() {
        let found = complete("sum(go_g");
        assert_eq!((found[0].span, found[0].display_value()), (Span::new(4, 8), "go_goroutines  help"));
        for suggestion in complete("r").iter().chain(&complete(".")).chain(&complete("x[")) {
            assert!(suggestion.display_value().contains("  "), "{}", suggestion.value);
        }
    }

    #[test]
    fn lines_of_the_menu_fit_the_terminal() {
        let mut completer = QueryCompleter::new(Fixed, Arc::new(AtomicUsize::new(40)));
        let result = completer.complete(".help r", 7);
        assert!(result.suggestions().len() > 3);
        assert!(result.suggestions().iter().all(|suggestion| width(suggestion.display_value()) < 40));
    }

    #[test]
    fn nothing_is_waited_for() {
        struct Never;
        impl Names for Never {
            fn fetch(&mut self, _: &List) -> Option<Named> {
                loop {
                    std::thread::park();
                }
            }
        }
        let mut completer = QueryCompleter::new(Never, Arc::new(AtomicUsize::new(80)));
        assert!(completer.complete("go_", 3).is_pending());
        assert_eq!(completer.poll_completion(), CompletionStatus::Pending);
        assert!(!completer.complete(".ti", 3).is_pending());
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
