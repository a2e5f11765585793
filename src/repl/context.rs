//! What is being typed at the cursor: a metric, a label, a label's value, a duration, a command.

use super::tokens::{Kind, Token, tokens};

/// What may stand at the cursor, with the bytes `start..` already typed of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Context {
    /// A metric, a function or a keyword.
    Expression { start: usize },
    /// A label name; of `metric` if one is known.
    LabelName { metric: Option<String>, start: usize },
    /// A value of `label`, inside its quotes.
    LabelValue { metric: Option<String>, label: String, start: usize },
    /// A range or step.
    Duration { start: usize },
    /// A command of the REPL, which starts with a dot.
    Command { start: usize },
    /// Nothing to offer.
    Nothing,
}

/// Words that take label names in parentheses.
const GROUPINGS: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];

/// The context at byte `at` of `line`.
pub(crate) fn context(line: &str, at: usize) -> Context {
    let before = &line[..at];
    if before.trim_start().starts_with('.') {
        return command(before);
    }
    let typed = tokens(before);
    // A word or string that the cursor touches is being typed; what stands before it decides.
    let (current, settled) = match typed.split_last() {
        Some((last, rest)) if last.end() == at && is_unfinished(last.kind) => (Some(*last), rest),
        _ => (None, typed.as_slice()),
    };
    if current.is_some_and(|token| token.kind == Kind::Comment) {
        return Context::Nothing;
    }
    let start = current.map_or(at, |token| token.start);
    match innermost(settled) {
        Some((open, "{")) => in_braces(settled, open, current, start),
        Some((_, "[")) => Context::Duration { start },
        Some((open, "(")) if open > 0 && GROUPINGS.contains(&settled[open - 1].text) => {
            Context::LabelName { metric: first_metric(line), start }
        }
        _ => match current.map(|token| token.kind) {
            Some(Kind::Number | Kind::Text { .. }) => Context::Nothing,
            _ => Context::Expression { start },
        },
    }
}

fn is_unfinished(kind: Kind) -> bool {
    matches!(kind, Kind::Word | Kind::Number | Kind::Text { open: true } | Kind::Comment)
}

/// Commands are completed, and what follows them is an expression.
fn command(before: &str) -> Context {
    let indent = before.len() - before.trim_start().len();
    if !before[indent..].contains(char::is_whitespace) {
        return Context::Command { start: indent };
    }
    let word_start = before.rfind(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
    Context::Expression { start: word_start.map_or(0, |at| at + before[at..].chars().next().map_or(1, char::len_utf8)) }
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
    match (since_comma.first(), current.map(|token| token.kind)) {
        (None, None | Some(Kind::Word)) => Context::LabelName { metric, start },
        (Some(label), Some(Kind::Text { .. })) if label.kind == Kind::Word => {
            Context::LabelValue { metric, label: label.text.to_owned(), start: start + 1 }
        }
        _ => Context::Nothing,
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
    const OTHERS: [&str; 10] = ["and", "or", "unless", "bool", "offset", "atan2", "start", "end", "inf", "nan"];
    let lower = word.to_ascii_lowercase();
    OTHERS.contains(&lower.as_str())
        || is_grouping(&lower)
        || query::ast::AggregateOp::NAMES.iter().any(|(name, _)| *name == lower)
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

    fn value(metric: &str, label: &str, start: usize) -> Context {
        let metric = (!metric.is_empty()).then(|| metric.to_owned());
        Context::LabelValue { metric, label: label.to_owned(), start }
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
        check("up{job=|", &Context::Nothing);
    }

    #[test]
    fn values() {
        check("up{job=\"a|", &value("up", "job", 8));
        check("up{x=\"\", job=~'|", &value("up", "job", 15));
        check("{job!=\"|", &value("", "job", 7));
    }

    #[test]
    fn durations_and_commands() {
        check("rate(x[|", &Context::Duration { start: 7 });
        check("rate(x[5|", &Context::Duration { start: 7 });
        check(".ra|", &Context::Command { start: 0 });
        check(".labels go_|", &Context::Expression { start: 8 });
    }
}
