//! Matchers as routes, inhibitions and silences write them: `team="web"`, `{severity=~"page|ticket", "the name"!=x}`.
//!
//! What Alertmanager's two parsers take is taken, the classic one and that of UTF-8:
//! <https://prometheus.io/docs/alerting/latest/configuration/#matcher>.

use std::iter::Peekable;
use std::str::CharIndices;

use model::{MatchOp, Matcher};

/// Most matchers in one text.
pub const MATCHERS_MAX: usize = 64;

/// What is wrong with a text of matchers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} at character {column} of {text:?}")]
pub struct MatcherFault {
    /// The text.
    pub text: String,
    /// From 1, in characters.
    pub column: usize,
    /// What is wrong.
    pub message: String,
}

/// Reads one matcher or several: `a="b"`, `a="b",c!="d"`, either in braces.
///
/// # Errors
///
/// When the text is something else, or a regular expression is none.
pub fn parse_matchers(text: &str) -> Result<Vec<Matcher>, MatcherFault> {
    let mut reader = Reader { text, chars: text.char_indices().peekable() };
    reader.matchers().map_err(|(at, message)| MatcherFault {
        text: text.to_owned(),
        column: text.get(..at).unwrap_or(text).chars().count() + 1,
        message,
    })
}

type Wrong = (usize, String);

struct Reader<'a> {
    text: &'a str,
    chars: Peekable<CharIndices<'a>>,
}

impl Reader<'_> {
    fn peek(&mut self) -> Option<char> {
        self.chars.peek().map(|(_, c)| *c)
    }

    fn at(&mut self) -> usize {
        self.chars.peek().map_or(self.text.len(), |(at, _)| *at)
    }

    fn wrong<T>(&mut self, message: impl Into<String>) -> Result<T, Wrong> {
        Err((self.at(), message.into()))
    }

    fn take(&mut self, c: char) -> bool {
        self.chars.next_if(|(_, next)| *next == c).is_some()
    }

    fn skip_space(&mut self) {
        while self.chars.next_if(|(_, c)| c.is_whitespace()).is_some() {}
    }

    fn matchers(&mut self) -> Result<Vec<Matcher>, Wrong> {
        self.skip_space();
        let braced = self.take('{');
        let mut all = Vec::new();
        loop {
            self.skip_space();
            let ends = if braced { self.peek() == Some('}') } else { self.peek().is_none() };
            if ends {
                break;
            }
            if all.len() >= MATCHERS_MAX {
                return self.wrong(format!("more than {MATCHERS_MAX} matchers"));
            }
            all.push(self.matcher(braced)?);
            self.skip_space();
            if !self.take(',') {
                break;
            }
        }
        if braced && !self.take('}') {
            return self.wrong("`}` is missing");
        }
        self.skip_space();
        if self.peek().is_some() {
            return self.wrong("more than matchers");
        }
        if all.is_empty() && !braced {
            return self.wrong("a matcher is missing");
        }
        Ok(all)
    }

    fn matcher(&mut self, braced: bool) -> Result<Matcher, Wrong> {
        let at = self.at();
        let name = if self.peek() == Some('"') {
            self.quoted()?
        } else {
            self.bare(|c| "=!~,{}\"'`\\".contains(c) || c.is_whitespace())
        };
        if name.is_empty() {
            return Err((at, "the name of a label is missing".to_owned()));
        }
        self.skip_space();
        let op = self.op()?;
        self.skip_space();
        let value_at = self.at();
        let value = if self.peek() == Some('"') {
            self.quoted()?
        } else {
            // Of several braces the last one of the text ends the matchers.
            let end = self.text.trim_end().len();
            let value = self.bare_until(|at, c| c == ',' || (braced && c == '}' && at + 1 == end));
            unescaped(value.trim_end()).map_err(|(at, message)| (value_at + at, message.to_owned()))?
        };
        Matcher::new(name, op, value).map_err(|error| (value_at, error.to_string()))
    }

    fn op(&mut self) -> Result<MatchOp, Wrong> {
        let first = self.peek();
        if self.take('=') {
            return Ok(if self.take('~') { MatchOp::Regex } else { MatchOp::Equal });
        }
        if self.take('!') {
            if self.take('=') {
                return Ok(MatchOp::NotEqual);
            }
            if self.take('~') {
                return Ok(MatchOp::NotRegex);
            }
        }
        match first {
            Some(c) => self.wrong(format!("one of = != =~ !~ is wanted, there is {c:?}")),
            None => self.wrong("one of = != =~ !~ is wanted"),
        }
    }

    fn bare(&mut self, ends: impl Fn(char) -> bool) -> String {
        self.bare_until(|_, c| ends(c))
    }

    fn bare_until(&mut self, ends: impl Fn(usize, char) -> bool) -> String {
        let mut text = String::new();
        while let Some((_, c)) = self.chars.next_if(|(at, c)| !ends(*at, *c)) {
            text.push(c);
        }
        text
    }

    /// A text in double quotes, with escapes.
    fn quoted(&mut self) -> Result<String, Wrong> {
        let start = self.at();
        self.chars.next();
        let mut text = String::new();
        while let Some((at, c)) = self.chars.next() {
            match c {
                '"' => return Ok(text),
                '\\' => match self.chars.next() {
                    Some((_, escaped)) => push_escaped(&mut text, escaped),
                    None => return Err((at, "an escape without a character".to_owned())),
                },
                _ => text.push(c),
            }
        }
        Err((start, "a quote that does not end".to_owned()))
    }
}

/// A text without quotes around it, its escapes read.
fn unescaped(raw: &str) -> Result<String, (usize, &'static str)> {
    let mut text = String::with_capacity(raw.len());
    let mut chars = raw.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Err((at, "a quote inside of a value that does not begin with one")),
            '\\' => match chars.next() {
                Some((_, escaped)) => push_escaped(&mut text, escaped),
                None => text.push(c),
            },
            _ => text.push(c),
        }
    }
    Ok(text)
}

/// What `c` behind a backslash stands for: `\"`, `\\` and `\n` are known, others are a regular expression's own and stay as they are.
fn push_escaped(text: &mut String, c: char) {
    match c {
        '"' | '\\' => text.push(c),
        'n' => text.push('\n'),
        _ => text.extend(['\\', c]),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn told(text: &str) -> String {
        match parse_matchers(text) {
            Ok(matchers) => {
                let one = |matcher: &Matcher| format!("{}{}{:?}", matcher.name(), sign(matcher.op()), matcher.value());
                matchers.iter().map(one).collect::<Vec<_>>().join(" ")
            }
            Err(fault) => format!("{}: {}", fault.column, fault.message),
        }
    }

    fn sign(op: MatchOp) -> &'static str {
        match op {
            MatchOp::Equal => "=",
            MatchOp::NotEqual => "!=",
            MatchOp::Regex => "=~",
            MatchOp::NotRegex => "!~",
        }
    }

    #[test]
    fn both_forms_are_read() {
        for (text, want) in [
            ("a=b", "a=\"b\""),
            (" a = \"b\" ", "a=\"b\""),
            ("a != b c ", "a!=\"b c\""),
            ("{a=\"b\",c=~\"d|e\"}", "a=\"b\" c=~\"d|e\""),
            ("a=b, c!~d.*", "a=\"b\" c!~\"d.*\""),
            ("{a=b,}", "a=\"b\""),
            ("{}", ""),
            ("a=", "a=\"\""),
            ("\"the name\"=x", "the name=\"x\""),
            ("größe=\"ü\"", "größe=\"ü\""),
            (r#"a="x\"y\\z\n""#, "a=\"x\\\"y\\\\z\\n\""),
            (r#"a=~"\d+""#, "a=~\"\\\\d+\""),
            ("a=b=c", "a=\"b=c\""),
            (r"a=~web\\d+", "a=~\"web\\\\d+\""),
            (r"a=\d+\n\", "a=\"\\\\d+\\n\\\\\""),
            (r#"{a=b\"c}"#, "a=\"b\\\"c\""),
            ("{a=~x{2}}", "a=~\"x{2}\""),
            ("{a=~x{2},b=y{3}} ", "a=~\"x{2}\" b=\"y{3}\""),
            ("", "1: a matcher is missing"),
            ("{a=b", "5: `}` is missing"),
            ("a", "2: one of = != =~ !~ is wanted"),
            ("a!b", "3: one of = != =~ !~ is wanted, there is '!'"),
            ("=b", "1: the name of a label is missing"),
            ("a=\"b", "3: a quote that does not end"),
            ("a=b\"c", "4: a quote inside of a value that does not begin with one"),
            ("a=\"b\" c", "7: more than matchers"),
            ("{a=b} c", "8: `}` is missing"),
            ("{a=\"b\"} c", "9: more than matchers"),
        ] {
            assert_eq!(told(text), want, "{text}");
        }
        assert!(told("a=~\"(\"").starts_with("4: error parsing regexp"), "{}", told("a=~\"(\""));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,60}") {
            if let Err(fault) = parse_matchers(&text) {
                prop_assert!(fault.column <= text.chars().count() + 1);
            }
        }

        #[test]
        fn what_is_quoted_comes_back(name in "[a-z \"\\\\]{1,8}", value in "[a-z \"\\\\{},=\n]{0,12}") {
            let quote = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"));
            let read = parse_matchers(&format!("{{{}={}}}", quote(&name), quote(&value)));
            let read = read.map_err(|fault| TestCaseError::fail(fault.to_string()))?;
            prop_assert_eq!((read[0].name(), read[0].value()), (name.as_str(), value.as_str()));
        }
    }
}
