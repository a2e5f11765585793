//! What is being typed at the cursor: a metric, a label, a label's value, a duration, a command.

use super::commands::{Argument, COMMANDS};
use super::tokens::{Kind, Token, tokens};
use super::words::{KEYWORDS, is_aggregation};

/// What may stand at the cursor, with the bytes `start..` already typed of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Context {
    /// A metric, a function or a keyword.
    Expression { start: usize },
    /// A metric name.
    Metric { start: usize },
    /// A label name; of `metric` if one is known.
    LabelName { metric: Option<String>, start: usize },
    /// A value of `label`, inside its quotes or still without.
    LabelValue { metric: Option<String>, label: String, quote: Quote, is_regex: bool, start: usize },
    /// A range or step.
    Duration { start: usize },
    /// A command of the REPL, which starts with a dot.
    Command { start: usize },
    /// A function, an aggregation or a keyword.
    Word { start: usize },
    /// The id of a query under way.
    QueryId { start: usize },
    /// One of a few words.
    OneOf { words: &'static [&'static str], start: usize },
    /// Nothing to offer.
    Nothing,
}

/// What encloses a label's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quote {
    /// Nothing yet.
    Missing,
    /// This character, which is still open.
    Open(char),
}

/// Words that take label names in parentheses.
const GROUPINGS: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];

/// The context at byte `at` of `line`.
pub(crate) fn context(line: &str, at: usize) -> Context {
    let before = &line[..at];
    if before.trim_start().starts_with('.') {
        return command(line, before);
    }
    in_query(line, 0, at)
}

/// The context in the query that begins at byte `from`.
fn in_query(line: &str, from: usize, at: usize) -> Context {
    let typed = tokens(&line[from..at]);
    // A word or string that the cursor touches is being typed; what stands before it decides.
    let (current, settled) = match typed.split_last() {
        Some((last, rest)) if from + last.end() == at && is_unfinished(last.kind) => (Some(*last), rest),
        _ => (None, typed.as_slice()),
    };
    if current.is_some_and(|token| token.kind == Kind::Comment) {
        return Context::Nothing;
    }
    let start = current.map_or(at, |token| from + token.start);
    match innermost(settled) {
        Some((open, "{")) => in_braces(settled, open, current, start),
        Some((_, "[")) => Context::Duration { start },
        Some((open, "(")) if open > 0 && is_grouping(settled[open - 1].text) => {
            Context::LabelName { metric: first_metric(&line[from..]), start }
        }
        _ => match (current.map(|token| token.kind), settled.last()) {
            (None | Some(Kind::Number), Some(last)) if last.text.eq_ignore_ascii_case("offset") => {
                Context::Duration { start }
            }
            (Some(Kind::Number | Kind::Text { .. }), _) => Context::Nothing,
            _ => Context::Expression { start },
        },
    }
}

fn is_unfinished(kind: Kind) -> bool {
    matches!(kind, Kind::Word | Kind::Number | Kind::Text { open: true } | Kind::Comment)
}

/// Commands are completed, and what follows them by what they take.
fn command(line: &str, before: &str) -> Context {
    let indent = before.len() - before.trim_start().len();
    let Some((name, rest)) = before[indent..].split_once(char::is_whitespace) else {
        return Context::Command { start: indent };
    };
    let from = before.len() - rest.len();
    let start = rest
        .rfind(char::is_whitespace)
        .map_or(from, |space| from + space + rest[space..].chars().next().map_or(0, char::len_utf8));
    let is_first = rest.trim_start().len() == before.len() - start;
    let argument =
        COMMANDS.iter().find(|command| command.name == name).map_or(Argument::Nothing, |found| found.argument);
    match argument {
        Argument::Query => in_query(line, from, before.len()),
        Argument::Duration => Context::Duration { start },
        _ if !is_first => Context::Nothing,
        Argument::Metric => Context::Metric { start },
        Argument::Word => Context::Word { start },
        Argument::QueryId => Context::QueryId { start },
        Argument::OneOf(words) => Context::OneOf { words, start },
        Argument::Nothing => Context::Nothing,
    }
}

/// The last bracket that is still open: its place among `tokens`, and itself.
fn innermost<'a>(tokens: &[Token<'a>]) -> Option<(usize, &'a str)> {
    let mut open = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        match token.kind {
            Kind::Open => open.push((at, token.text)),
            Kind::Close => drop(open.pop()),
            _ => {}
        }
    }
    open.pop()
}

/// Inside `metric{…`: a label's name, or a value behind its operator.
fn in_braces(settled: &[Token<'_>], open: usize, current: Option<Token<'_>>, start: usize) -> Context {
    let before = open.checked_sub(1).map(|at| settled[at]).filter(|token| token.kind == Kind::Word);
    let metric = before.map(|token| token.text.to_owned());
    let inside = &settled[open + 1..];
    let since_comma = inside.rsplit(|token| token.text == ",").next().unwrap_or_default();
    let (label, operator) = match since_comma {
        [] => {
            return match current.map(|token| token.kind) {
                None | Some(Kind::Word) => Context::LabelName { metric, start },
                _ => Context::Nothing,
            };
        }
        [label, operator @ ..] if label.kind == Kind::Word => (label.text.to_owned(), operator),
        _ => return Context::Nothing,
    };
    let operator: String = operator.iter().map(|token| token.text).collect();
    let is_regex = match operator.as_str() {
        "=" | "!=" => false,
        "=~" | "!~" => true,
        _ => return Context::Nothing,
    };
    match current {
        None => Context::LabelValue { metric, label, quote: Quote::Missing, is_regex, start },
        Some(Token { kind: Kind::Text { .. }, text, .. }) => {
            let quote = Quote::Open(text.chars().next().unwrap_or('"'));
            // Of a regular expression, the alternative that is being typed.
            let typed = if is_regex { text.rfind(['|', '(']).unwrap_or(0) } else { 0 };
            Context::LabelValue { metric, label, quote, is_regex, start: start + typed + 1 }
        }
        Some(_) => Context::Nothing,
    }
}

/// The first name in `line` that is selected: followed by no parenthesis, and no keyword.
fn first_metric(line: &str) -> Option<String> {
    let all = tokens(line);
    let is_metric = |at: usize| {
        let next = all.get(at + 1).map_or("", |token| token.text);
        let inside = innermost(&all[..at]).map_or("", |(_, bracket)| bracket);
        let in_grouping = innermost(&all[..at]).is_some_and(|(open, _)| open > 0 && is_grouping(all[open - 1].text));
        all[at].kind == Kind::Word && next != "(" && inside != "{" && !in_grouping && !is_keyword(all[at].text)
    };
    (0..all.len()).find(|&at| is_metric(at)).map(|at| all[at].text.to_owned())
}

fn is_grouping(word: &str) -> bool {
    GROUPINGS.contains(&word)
}

/// Words of the language that are no metric. Aggregations may stand before `by`.
pub(crate) fn is_keyword(word: &str) -> bool {
    let lower = word.to_ascii_lowercase();
    matches!(lower.as_str(), "start" | "end")
        || KEYWORDS.iter().any(|keyword| keyword.name == lower)
        || is_aggregation(&lower)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The cursor is at `|`.
    #[track_caller]
    fn check(marked: &str, want: &Context) {
        let at = marked.find('|').expect("a cursor");
        assert_eq!(&context(&marked.replace('|', ""), at), want, "for {marked:?}");
    }

    fn name(metric: &str, start: usize) -> Context {
        Context::LabelName { metric: (!metric.is_empty()).then(|| metric.to_owned()), start }
    }

    fn value(metric: &str, label: &str, quote: Quote, is_regex: bool, start: usize) -> Context {
        let metric = (!metric.is_empty()).then(|| metric.to_owned());
        Context::LabelValue { metric, label: label.to_owned(), quote, is_regex, start }
    }

    #[test]
    fn expressions() {
        check("|", &Context::Expression { start: 0 });
        check("go_gor|", &Context::Expression { start: 0 });
        check("sum(go|", &Context::Expression { start: 4 });
        check("sum(up) / |", &Context::Expression { start: 10 });
        check("up{a=\"b\"} + g|", &Context::Expression { start: 12 });
        check("12|", &Context::Nothing);
        check("up # comm|", &Context::Nothing);
    }

    #[test]
    fn labels() {
        check("up{|", &name("up", 3));
        check("up{jo|", &name("up", 3));
        check("up{job=\"a\", in|", &name("up", 12));
        check("{jo|", &name("", 1));
        check("sum by (jo|) (up)", &name("up", 8));
        check("sum(rate(x_total[5m])) without (|", &name("x_total", 32));
        check("up{job|=", &name("up", 3));
        check("up{job |", &Context::Nothing);
        check("up{\"|", &Context::Nothing);
    }

    #[test]
    fn values() {
        let open = Quote::Open('"');
        check("up{job=|", &value("up", "job", Quote::Missing, false, 7));
        check("up{job=~ |", &value("up", "job", Quote::Missing, true, 9));
        check("up{job=\"a|", &value("up", "job", open, false, 8));
        check("up{x=\"\", job!~'|", &value("up", "job", Quote::Open('\''), true, 15));
        check("{job!=\"|", &value("", "job", open, false, 7));
        check("up{job==\"|", &Context::Nothing);
    }

    #[test]
    fn the_alternative_that_is_typed_counts() {
        let text = "up{job=~\"(api|we";
        let want = value("up", "job", Quote::Open('"'), true, 14);
        assert_eq!(context(text, text.len()), want);
    }

    #[test]
    fn durations() {
        check("rate(x[|", &Context::Duration { start: 7 });
        check("rate(x[5|", &Context::Duration { start: 7 });
        check("x offset |", &Context::Duration { start: 9 });
        check("x offset 5|", &Context::Duration { start: 9 });
    }

    #[test]
    fn commands() {
        check(".ra|", &Context::Command { start: 0 });
        check(".labels go_|", &Context::Expression { start: 8 });
        check(".labels up{j|", &name("up", 11));
        check(".explain sum by (j|) (up)", &name("up", 17));
        check(".help ra|", &Context::Word { start: 6 });
        check(".help rate |", &Context::Nothing);
        check(".range 1|", &Context::Duration { start: 7 });
        check(".range 1h 3|", &Context::Duration { start: 10 });
        check(".metrics |", &Context::Metric { start: 9 });
        check(".kill |", &Context::QueryId { start: 6 });
        check(".stats o|", &Context::OneOf { words: &["on", "off"], start: 7 });
        check(".quit |", &Context::Nothing);
        check(".nothing x|", &Context::Nothing);
    }
}
