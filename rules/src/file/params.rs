//! Numbers of a rule that differ between the series it looks at: `params`, and `overrides` of them by labels.
//!
//! ```yaml
//! - alert: TooManyGoroutines
//!   expr: go_goroutines > $limit
//!   params: {limit: 10000}
//!   overrides:
//!   - match: '{env="dev"}'
//!     params: {limit: 50000}
//!     for: 30m
//!     labels: {severity: info}
//!   - match: '{env="prod", job="gateway"}'
//!     params: {limit: 80000}
//! ```
//!
//! A series is judged by the rule as it reads with the numbers of the most specific override that matches the labels of the result: the
//! one with most `=` matchers, of those the one with most matchers, of those the last. So an expression says once what is
//! compared, PromQL itself does not change (`$` has no meaning in it, so no file of Prometheus reads differently), and any
//! number of an expression can be a parameter, ranges too. Group and file may have `params` and `overrides` for all their
//! rules, which is where the defaults of environments belong; those further inside win over equally specific ones.

use std::collections::BTreeMap;

use model::{LabelsRef, Matcher};
use query::ast::Expr;
use serde::Serialize;

use crate::alert::Waits;

/// Most overrides of a rule, those of its group and file among them: each may be one more query.
pub const OVERRIDES_MAX: usize = 64;
/// Most parameters of a rule.
pub const PARAMS_MAX: usize = 64;

/// Parameters as they are written: numbers, or durations such as `5m`.
pub type Params = BTreeMap<String, String>;

/// Where parameters and overrides are said; what is said further inside wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Level {
    File,
    Group,
    Rule,
}

/// How a rule reads for series that match.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// Where it is said.
    pub level: Level,
    /// The line it is said in, from 1: of an override, else of the rule.
    pub line: u64,
    /// All must match the labels of the result; none matches every series.
    pub matchers: Vec<Matcher>,
    /// Every parameter of the rule with its value here.
    pub params: Params,
    /// Labels that alerts have here whatever the rule says: plain texts.
    pub labels: BTreeMap<String, String>,
    /// Which of the rule's [queries](super::Rule::queries) it asks.
    pub query: usize,
    /// `for` and `keep_firing_for`.
    pub waits: Waits,
}

impl Case {
    /// Whether it is for a series with `labels`.
    pub fn matches(&self, labels: LabelsRef<'_>) -> bool {
        self.matchers.iter().all(|matcher| matcher.matches(labels.get(matcher.name()).unwrap_or_default()))
    }
}

/// An expression with its parameters put in.
#[derive(Debug, Clone, PartialEq)]
pub struct RuleQuery {
    /// As text.
    pub text: String,
    /// Read.
    pub expr: Expr,
    /// What tells whether the series that the rule is about have data, whatever their values; `None` where nothing is compared, so
    /// that no data and no alert are the same.
    pub data: Option<(String, Expr)>,
}

/// How specific matchers are: more is more.
pub(crate) fn specificity(matchers: &[Matcher]) -> (usize, usize) {
    let equal = matchers.iter().filter(|matcher| matcher.op() == model::MatchOp::Equal).count();
    (equal, matchers.len())
}

/// Whether `text` is a value of a parameter: a number or a duration.
pub(super) fn is_value(text: &str) -> bool {
    text.parse::<f64>().is_ok_and(f64::is_finite) || model::time::parse_duration_ms(text).is_ok()
}

/// `expr` with each `$name` outside of quotes and comments replaced by its value.
///
/// # Errors
///
/// The name of a parameter that there is not.
pub(super) fn put_in(expr: &str, params: &Params) -> Result<String, String> {
    let mut out = String::with_capacity(expr.len());
    let mut rest = expr;
    while let Some(at) = rest.find(['$', '"', '\'', '`', '#']) {
        let (before, found) = rest.split_at(at);
        out.push_str(before);
        let length = match found.as_bytes().first() {
            Some(b'$') => {
                let name = name_after(found);
                let value = params.get(name).ok_or_else(|| name.to_owned())?;
                let is_signed = value.starts_with(['-', '+']);
                if is_signed {
                    out.push('(');
                }
                out.push_str(value);
                if is_signed {
                    out.push(')');
                }
                rest = found.get(1 + name.len()..).unwrap_or_default();
                continue;
            }
            Some(b'#') => found.find('\n').unwrap_or(found.len()),
            Some(quote) => quoted_length(found, *quote),
            None => 0,
        };
        let (taken, after) = found.split_at_checked(length).unwrap_or((found, ""));
        out.push_str(taken);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

/// The name behind the `$` that `text` begins with.
fn name_after(text: &str) -> &str {
    let rest = text.get(1..).unwrap_or_default();
    let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
    rest.get(..end).unwrap_or_default()
}

/// How long the quoted text is that `text` begins with, its quotes among it; what has no end is all of it.
fn quoted_length(text: &str, quote: u8) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quote != b'`' => escaped = true,
            _ if byte == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_put_in_outside_of_quotes() {
        let params = |of: &[(&str, &str)]| of.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        let of = params(&[("limit", "10"), ("low", "-3"), ("window", "5m"), ("l", "1")]);
        for (expr, want) in [
            ("a > $limit", "a > 10"),
            ("a > $low", "a > (-3)"),
            ("rate(a[$window]) > $l", "rate(a[5m]) > 1"),
            (r#"a{b=~"x$limit|\"$l",c='$l',d=`\$l`} > $limit"#, r#"a{b=~"x$limit|\"$l",c='$l',d=`\$l`} > 10"#),
            ("a # $none\n > $limit", "a # $none\n > 10"),
            ("a # $none", "a # $none"),
            ("a{b=\"$none", "a{b=\"$none"),
            ("ä$limit", "ä10"),
        ] {
            assert_eq!(put_in(expr, &of).as_deref(), Ok(want), "{expr}");
        }
        assert_eq!(put_in("a > $limits", &of), Err("limits".to_owned()));
        assert_eq!(put_in("a > $", &of), Err(String::new()));
    }

    #[test]
    fn values_are_numbers_and_durations() {
        for (text, want) in [("10", true), ("-0.5", true), ("1e3", true), ("5m", true), ("NaN", false), ("x", false)] {
            assert_eq!(is_value(text), want, "{text}");
        }
    }
}
