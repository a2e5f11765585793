//! Label matchers: `=`, `!=`, `=~`, `!~` against one label's value.
//!
//! Owns their meaning and the literal short cuts an index can use. The regular-expression dialect is `re2`'s.

use std::fmt;

use crate::labels::{METRIC_NAME, Quoted, is_label_name};
use crate::re2::{self, Pattern, RegexError};

/// How a matcher compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MatchOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`, anchored at both ends
    Regex,
    /// `!~`, anchored at both ends
    NotRegex,
}

impl fmt::Display for MatchOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Regex => "=~",
            Self::NotRegex => "!~",
        })
    }
}

/// A condition on one label. A label that is absent has the empty value.
#[derive(Debug, Clone)]
pub struct Matcher {
    name: String,
    op: MatchOp,
    value: String,
    pattern: Option<Pattern>,
}

impl Matcher {
    /// A matcher on the label `name`.
    ///
    /// # Errors
    ///
    /// When `op` is a regular-expression operator and `value` is no valid expression or compiles too large.
    pub fn new(name: impl Into<String>, op: MatchOp, value: impl Into<String>) -> Result<Self, RegexError> {
        let value = value.into();
        let pattern = match op {
            MatchOp::Equal | MatchOp::NotEqual => None,
            MatchOp::Regex | MatchOp::NotRegex => Some(re2::compile_anchored(&value)?),
        };
        Ok(Self { name: name.into(), op, value, pattern })
    }

    /// The matcher `name="value"`.
    pub fn equal(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), op: MatchOp::Equal, value: value.into(), pattern: None }
    }

    /// The label it looks at.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it compares.
    pub fn op(&self) -> MatchOp {
        self.op
    }

    /// What it compares with: a text or a regular expression.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Whether a label with this value fulfils the matcher; the empty string stands for an absent label.
    pub fn matches(&self, value: &str) -> bool {
        let (negated, hit) = match self.op {
            MatchOp::Equal => (false, self.value == value),
            MatchOp::NotEqual => (true, self.value == value),
            MatchOp::Regex => (false, self.pattern_matches(value)),
            MatchOp::NotRegex => (true, self.pattern_matches(value)),
        };
        negated != hit
    }

    /// Whether a series without the label fulfils the matcher.
    pub fn matches_empty(&self) -> bool {
        self.matches("")
    }

    /// Whether the matcher is `!=` or `!~`.
    pub fn is_negative(&self) -> bool {
        matches!(self.op, MatchOp::NotEqual | MatchOp::NotRegex)
    }

    /// The finite sorted set of values that `=` or `=~` accepts (that `!=` or `!~` refuses), if there is one.
    pub fn one_of(&self) -> Option<&[String]> {
        match (&self.op, &self.pattern) {
            (MatchOp::Equal | MatchOp::NotEqual, _) => Some(std::slice::from_ref(&self.value)),
            (_, Some(Pattern::OneOf(texts))) => Some(texts),
            _ => None,
        }
    }

    /// What every value that the expression matches starts with; empty when nothing is known.
    pub fn prefix(&self) -> &str {
        match &self.pattern {
            Some(Pattern::General { prefix, .. }) => prefix,
            _ => "",
        }
    }

    fn pattern_matches(&self, value: &str) -> bool {
        self.pattern.as_ref().is_some_and(|pattern| pattern.is_match(value))
    }
}

/// Equality by what was written: name, operator, value.
impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, self.op, &self.value) == (&other.name, other.op, &other.value)
    }
}

impl Eq for Matcher {}

impl std::hash::Hash for Matcher {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (&self.name, self.op, &self.value).hash(state);
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if is_label_name(&self.name) {
            f.write_str(&self.name)?;
        } else {
            Quoted(&self.name).fmt(f)?;
        }
        write!(f, "{}{}", self.op, Quoted(&self.value))
    }
}

/// Whether a set of matchers selects something definite: at least one of them refuses the empty string.
pub fn is_selective(matchers: &[Matcher]) -> bool {
    matchers.iter().any(|matcher| !matcher.matches_empty())
}

/// The metric name that `matchers` ask for with `=`, if they do.
pub fn metric_name_of(matchers: &[Matcher]) -> Option<&str> {
    matchers
        .iter()
        .find(|matcher| matcher.name == METRIC_NAME && matcher.op == MatchOp::Equal)
        .map(|matcher| matcher.value.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(op: MatchOp, value: &str, yes: &[&str], no: &[&str]) {
        let matcher = Matcher::new("a", op, value).expect("valid matcher");
        for text in yes {
            assert!(matcher.matches(text), "{matcher} should match {text:?}");
        }
        for text in no {
            assert!(!matcher.matches(text), "{matcher} should not match {text:?}");
        }
    }

    #[test]
    fn operators() {
        check(MatchOp::Equal, "x", &["x"], &["", "xx"]);
        check(MatchOp::NotEqual, "x", &["", "xx"], &["x"]);
        check(MatchOp::Regex, "x|yz", &["x", "yz"], &["", "xyz", "y"]);
        check(MatchOp::Regex, "x.*", &["x", "x\ny"], &["", "yx"]);
        check(MatchOp::Regex, "", &[""], &["x"]);
        check(MatchOp::NotRegex, "x.+", &["", "x"], &["xy"]);
        check(MatchOp::Regex, "(?i)ab|c", &["AB", "aB", "C"], &["abc"]);
    }

    #[test]
    fn short_cuts() {
        let of = |value| Matcher::new("a", MatchOp::Regex, value).expect("valid matcher");
        let texts = |matcher: &Matcher| matcher.one_of().map(<[String]>::to_vec);
        assert_eq!(texts(&of("b|a")), Some(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(texts(&of("x(1|2)")), Some(vec!["x1".to_owned(), "x2".to_owned()]));
        assert_eq!(texts(&of("a.*")), None);
        assert_eq!(of("go_.*").prefix(), "go_");
        assert_eq!(of("(?i)go_.*").prefix(), "");
    }
}
