//! `retention_rules`: how long what is kept of which series, as people write it.
//!
//! A rule is a series selector and then `keep 7d`, or `raw 15d, 5m for 90d, 1h for 2y`: samples for 15 days, summaries
//! of five minutes for 90 days, of an hour for two years. `forever` is a time, too. Rules are separated by `;` where
//! they stand in one text, outside of quotes.

use model::Matcher;
use model::time::parse_duration_ms;
use query::ast::{ExprKind, Modifiers};
use storage::{LifetimeRule, LifetimeStep};

/// Most rules.
const RULES_MAX: usize = 100;
/// Most windows of a rule.
const STEPS_MAX: usize = 3;
/// Shortest window: shorter ones would hardly be smaller than samples.
const WINDOW_MS_MIN: i64 = 10_000;
/// Windows divide the day.
const DAY_MS: i64 = 86_400_000;
/// What every message ends with.
const EXAMPLES: &str =
    "write it like {env=\"dev\"} keep 7d, or like {__name__=~\"go_.*\"} raw 15d, 5m for 90d, 1h for 2y";

/// What is wrong, and the byte of the rule at which it is.
struct Fault {
    at: usize,
    reason: String,
}

fn fault(at: usize, reason: impl Into<String>) -> Fault {
    Fault { at, reason: reason.into() }
}

/// The rules that `text` has, in their order.
///
/// # Errors
///
/// Says of the first wrong rule which it is, where it is wrong, and how it is written.
pub(crate) fn parse(text: &str) -> Result<Vec<LifetimeRule>, String> {
    let texts = split(text);
    if texts.len() > RULES_MAX {
        return Err(format!("{} rules, {RULES_MAX} is the most", texts.len()));
    }
    let mut rules: Vec<LifetimeRule> = Vec::with_capacity(texts.len());
    for (at, text) in texts.into_iter().enumerate() {
        let number = at + 1;
        let rule = rule(text).map_err(|Fault { at, reason }| {
            let column = text[..at.min(text.len())].chars().count();
            format!(
                "rule {number}, character {}: {reason}\n  {text}\n  {}^\n{EXAMPLES}",
                column + 1,
                " ".repeat(column)
            )
        })?;
        if let Some(before) = rules.iter().position(|before| same_series(&before.matchers, &rule.matchers)) {
            let before = before + 1;
            return Err(format!(
                "rule {number} is never reached: rule {before} selects the same series, and the first that matches counts\n  {text}"
            ));
        }
        rules.push(rule);
    }
    Ok(rules)
}

fn same_series(one: &[Matcher], other: &[Matcher]) -> bool {
    one.iter().all(|matcher| other.contains(matcher)) && other.iter().all(|matcher| one.contains(matcher))
}

/// The rules of a text, without the space around them; empty ones are left out.
pub(crate) fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut quote, mut escaped) = (Vec::new(), 0, None, false);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(_), _) if escaped => escaped = false,
            (Some('"' | '\''), '\\') => escaped = true,
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'' | '`') => quote = Some(c),
            (None, ';') => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts.into_iter().map(str::trim).filter(|part| !part.is_empty()).collect()
}

fn rule(text: &str) -> Result<LifetimeRule, Fault> {
    let end = selector_end(text);
    let matchers = selector(&text[..end])?;
    let rest = &text[end..];
    let word_at = end + rest.len() - rest.trim_start().len();
    let word = text[word_at..].split_whitespace().next().unwrap_or_default();
    let after = word_at + word.len();
    let (raw_ms, steps) = match word {
        "keep" => (time(text, after..text.len())?, Vec::new()),
        "raw" => columns(text, after)?,
        "" => return Err(fault(text.len(), "the time is missing: keep or raw")),
        other => return Err(fault(word_at, format!("{other:?} is neither keep nor raw"))),
    };
    Ok(LifetimeRule { text: text.to_owned(), matchers, raw_ms, steps })
}

/// Where the selector ends: behind its braces, or else before the first space.
fn selector_end(text: &str) -> usize {
    let (mut quote, mut escaped, mut open) = (None, false, false);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(_), _) if escaped => escaped = false,
            (Some('"' | '\''), '\\') => escaped = true,
            (Some(ends), c) if c == ends => quote = None,
            (None, '"' | '\'' | '`') => quote = Some(c),
            (None, '{') => open = true,
            (None, '}') => return at + 1,
            (None, c) if c.is_whitespace() && !open && !text[at..].trim_start().starts_with('{') => return at,
            _ => {}
        }
    }
    text.len()
}

fn selector(text: &str) -> Result<Vec<Matcher>, Fault> {
    let expr = query::parse(text).map_err(|error| {
        let hint = error.hint.map(|hint| format!(" ({hint})")).unwrap_or_default();
        fault(error.span.start.min(text.len()), format!("{}{hint}", error.message))
    })?;
    match expr.kind {
        ExprKind::Selector(selector) if selector.modifiers == Modifiers::default() && selector.extension.is_none() => {
            Ok(selector.matchers)
        }
        _ => Err(fault(0, "a rule begins with a plain series selector")),
    }
}

type Columns = (Option<i64>, Vec<LifetimeStep>);

/// The times behind `raw`, which begin at byte `at`: that of samples, then of summaries.
fn columns(text: &str, mut at: usize) -> Result<Columns, Fault> {
    let (mut raw_ms, mut steps): (Option<i64>, Vec<LifetimeStep>) = (None, Vec::new());
    for (number, part) in text[at..].split(',').enumerate() {
        let range = at..at + part.len();
        at = range.end + 1;
        if number == 0 {
            raw_ms = time(text, range)?;
            continue;
        }
        let start = range.start + part.len() - part.trim_start().len();
        let Some((window, _)) = part.split_once("for") else {
            return Err(fault(start, "a window and its time are written 5m for 90d"));
        };
        let for_at = range.start + window.len();
        let step = LifetimeStep {
            window_ms: duration(text, range.start..for_at)?,
            keep_ms: time(text, for_at + 3..range.end)?,
        };
        check_step(raw_ms, &steps, step).map_err(|reason| fault(start, reason))?;
        steps.push(step);
    }
    Ok((raw_ms, steps))
}

/// Whether `step` may follow.
fn check_step(raw_ms: Option<i64>, before: &[LifetimeStep], step: LifetimeStep) -> Result<(), String> {
    let LifetimeStep { window_ms, keep_ms } = step;
    if before.len() == STEPS_MAX {
        return Err(format!("{STEPS_MAX} windows are the most"));
    }
    if window_ms < WINDOW_MS_MIN || DAY_MS % window_ms != 0 {
        return Err("a window divides the day and has 10 seconds at least: 1m, 5m, 10m, 1h, 6h, 1d".to_owned());
    }
    if let Some(last) = before.last().filter(|last| window_ms <= last.window_ms || window_ms % last.window_ms != 0) {
        let last = model::time::ShowDuration(last.window_ms);
        return Err(format!("windows grow, each a multiple of the one before, which is {last}"));
    }
    let (Some(kept_ms), name) = before.last().map_or((raw_ms, "samples"), |last| (last.keep_ms, "the window")) else {
        return Err("what comes before is kept for ever, so this is never needed".to_owned());
    };
    match keep_ms {
        Some(keep_ms) if keep_ms <= kept_ms => {
            Err(format!("times grow: {name} before is kept for {} already", model::time::ShowDuration(kept_ms)))
        }
        _ => Ok(()),
    }
}

/// A time; `None` for ever.
fn time(text: &str, range: std::ops::Range<usize>) -> Result<Option<i64>, Fault> {
    if text[range.clone()].trim() == "forever" { Ok(None) } else { duration(text, range).map(Some) }
}

fn duration(text: &str, range: std::ops::Range<usize>) -> Result<i64, Fault> {
    let part = &text[range.clone()];
    let at = range.start + part.len() - part.trim_start().len();
    match parse_duration_ms(part.trim()) {
        Ok(ms) if ms > 0 => Ok(ms),
        Ok(_) => Err(fault(at, "a time of zero keeps nothing")),
        Err(_) if part.trim().is_empty() => Err(fault(at, "the time is missing")),
        Err(error) => Err(fault(at, error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: i64 = 3_600_000;

    #[test]
    fn rules_are_read_in_their_order() {
        let text = r#"{env="dev;x"} keep 7d; {__name__=~"go_.*",job='a}'} raw 15d, 5m for 90d,1h for 2y;up{a="b"} raw 1d, 1h for forever; up keep forever ;"#;
        let rules = parse(text).expect("valid");
        let steps = |rule: &LifetimeRule| rule.steps.iter().map(|s| (s.window_ms, s.keep_ms)).collect::<Vec<_>>();
        let day = |days: i64| Some(days * 24 * HOUR_MS);
        assert_eq!(rules.iter().map(|rule| rule.raw_ms).collect::<Vec<_>>(), [day(7), day(15), day(1), None]);
        assert_eq!(steps(&rules[1]), [(300_000, day(90)), (HOUR_MS, day(730))]);
        assert_eq!(steps(&rules[2]), [(HOUR_MS, None)]);
        assert_eq!(rules[0].text, r#"{env="dev;x"} keep 7d"#);
        assert_eq!(rules[3].matchers, [Matcher::equal("__name__", "up")]);
        assert_eq!(parse(" ; ").expect("nothing"), []);
    }

    #[track_caller]
    fn check(text: &str, position: usize, words: &str) {
        let error = parse(text).expect_err(text);
        assert!(error.contains(&format!("character {position}:")) && error.contains(words), "{text}: {error}");
    }

    #[test]
    fn mistakes_are_told_where_they_are() {
        check("up", 3, "keep or raw");
        check("up hold 5d", 4, "neither");
        check("up keep", 8, "missing");
        check("up keep 5", 9, "not a duration");
        check("{} keep 5d", 1, "matcher");
        check("up[5m] keep 5d", 1, "plain series selector");
        check(r#"{a=~"("} keep 5d"#, 5, "");
        check("up raw 5d, 7m for 9d", 12, "divides the day");
        check("up raw 5d, 5s for 9d", 12, "10 seconds");
        check("up raw 5d, 5m for 5d", 12, "times grow");
        check("up raw 5d, 5m for 9d, 1h for 8d", 23, "times grow");
        check("up raw 5d, 10m for 9d, 15m for 10d", 24, "multiple");
        check("up raw forever, 5m for 9d", 17, "never needed");
        check("up raw 5d, 5m", 12, "5m for 90d");
        check("up raw 1d, 1m for 2d, 5m for 3d, 1h for 4d, 2h for 5d", 45, "the most");
        check("up keep 0s", 9, "keeps nothing");
        assert!(
            parse("up keep 1d; a keep 2d; {__name__=\"up\"} keep 3d")
                .is_err_and(|error| error.contains("rule 3 is never reached"))
        );
        let many = (0..101).map(|at| format!("m{at} keep 1d")).collect::<Vec<_>>().join(";");
        assert!(parse(&many).is_err_and(|error| error.contains("100 is the most")));
    }
}
