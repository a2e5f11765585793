//! Why a text is no query: one error, where it is, what was found, what was expected, and a hint where one helps.
//!
//! Owns the shape of the message; the lexer, the parser and the checker supply the words.

use std::fmt;

use crate::ast::Span;

/// Why a text is no query, be it by its syntax or by its types. The caller has to change the query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// The offending bytes of the query.
    pub span: Span,
    /// The line of the first offending byte, from 1.
    pub line: usize,
    /// The byte of that line, from 1, as Prometheus counts.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to write instead, where that can be guessed.
    pub hint: Option<String>,
}

impl std::error::Error for ParseError {}

/// `1:6: parse error: message (hint)`, as Prometheus words it.
impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: parse error: {}", self.line, self.column, self.message)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

/// A [`ParseError`] that does not yet know its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) span: Span,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

impl Fault {
    /// `message` about the bytes `span`.
    pub(crate) fn new(span: Span, message: impl Into<String>) -> Self {
        Self { span, message: message.into(), hint: None }
    }

    /// The same with advice.
    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Finds line and column in `query`.
    pub(crate) fn locate(self, query: &str) -> ParseError {
        let before = &query.as_bytes()[..self.span.start.min(query.len())];
        let line_start = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        ParseError {
            line: before.split(|&byte| byte == b'\n').count(),
            column: 1 + before.len() - line_start,
            span: self.span,
            message: self.message,
            hint: self.hint,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_line_column_and_hint() {
        let fault = Fault::new(Span { start: 5, end: 6 }, "no").with_hint("yes");
        assert_eq!(fault.clone().locate("ab\ncd\nef").to_string(), "2:3: parse error: no (yes)");
        assert_eq!(fault.locate("é\nx").to_string(), "2:2: parse error: no (yes)", "columns are bytes");
        let end = Fault::new(Span { start: 1, end: 1 }, "no");
        assert_eq!(end.locate("a").to_string(), "1:2: parse error: no");
    }
}
