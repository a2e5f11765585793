//! A rough cut of a query into tokens, for what happens while someone types: colour, completion, open brackets.
//!
//! Takes any text, finished or not, and never fails; the language itself is `query`'s.

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A name or keyword.
    Word,
    /// A number or duration.
    Number,
    /// A string with its quotes; open if the closing quote is missing.
    Text { open: bool },
    /// `(`, `[` or `{`.
    Open,
    /// `)`, `]` or `}`.
    Close,
    /// Any other character.
    Sign,
    /// `#` to the end of the line.
    Comment,
}

/// A token and its bytes in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    pub(crate) kind: Kind,
    pub(crate) start: usize,
    pub(crate) text: &'a str,
}

impl Token<'_> {
    /// One past the last byte.
    pub(crate) fn end(&self) -> usize {
        self.start + self.text.len()
    }
}

/// Cuts `text`; spaces are left out.
pub(crate) fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    let mut start = 0;
    while let Some(first) = text[start..].chars().next() {
        let rest = &text[start..];
        let (kind, length) = match first {
            c if c.is_whitespace() => {
                start += c.len_utf8();
                continue;
            }
            '"' | '\'' | '`' => string(rest, first),
            '#' => (Kind::Comment, rest.find('\n').unwrap_or(rest.len())),
            '(' | '[' | '{' => (Kind::Open, 1),
            ')' | ']' | '}' => (Kind::Close, 1),
            c if c.is_ascii_digit() => (Kind::Number, run(rest, |c| c.is_ascii_alphanumeric() || c == '.')),
            c if is_word(c) => (Kind::Word, run(rest, |c| is_word(c) || c.is_ascii_digit())),
            c => (Kind::Sign, c.len_utf8()),
        };
        found.push(Token { kind, start, text: &rest[..length] });
        start += length;
    }
    found
}

/// Whether every bracket is closed and no raw string is open, so that Enter runs the query.
pub(crate) fn is_complete(text: &str) -> bool {
    let tokens = tokens(text);
    let count = |kind: Kind| tokens.iter().filter(|token| token.kind == kind).count();
    let raw_open = tokens.iter().any(|token| token.kind == Kind::Text { open: true } && token.text.starts_with('`'));
    count(Kind::Open) <= count(Kind::Close) && !raw_open
}

fn is_word(c: char) -> bool {
    c.is_alphabetic() || c == '_' || c == ':'
}

fn run(text: &str, belongs: impl Fn(char) -> bool) -> usize {
    text.find(|c| !belongs(c)).unwrap_or(text.len())
}

/// A string literal at the start of `text`: raw in backticks, else with backslash escapes and within one line.
fn string(text: &str, quote: char) -> (Kind, usize) {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' if quote != '`' => escaped = true,
            '\n' if quote != '`' => return (Kind::Text { open: true }, at),
            c if c == quote => return (Kind::Text { open: false }, at + 1),
            _ => {}
        }
    }
    (Kind::Text { open: true }, text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, want: &[(Kind, &str)]) {
        let got: Vec<_> = tokens(text).iter().map(|token| (token.kind, token.text)).collect();
        assert_eq!(got, want, "for {text:?}");
        assert!(tokens(text).iter().all(|token| &text[token.start..token.end()] == token.text));
    }

    #[test]
    fn cuts() {
        use Kind::{Close, Comment, Number, Open, Sign, Text, Word};
        check(
            r#"a:b{c=~"d\"}"}[5m]"#,
            &[
                (Word, "a:b"),
                (Open, "{"),
                (Word, "c"),
                (Sign, "="),
                (Sign, "~"),
                (Text { open: false }, r#""d\"}""#),
                (Close, "}"),
                (Open, "["),
                (Number, "5m"),
                (Close, "]"),
            ],
        );
        check("x # (\n1.5e3", &[(Word, "x"), (Comment, "# ("), (Number, "1.5e3")]);
        check("'é", &[(Text { open: true }, "'é")]);
        check("\"a\nb", &[(Text { open: true }, "\"a"), (Word, "b")]);
        check("", &[]);
    }

    #[test]
    fn enter_runs_what_is_closed() {
        assert!(is_complete("sum(rate(x[5m]))"));
        assert!(!is_complete("sum(rate(x[5m])"));
        assert!(!is_complete("x{"));
        assert!(is_complete("x{a=\"(\"}"));
        assert!(is_complete("x) # ("));
        assert!(!is_complete("`a"));
        assert!(is_complete("\"a"), "the parser tells of the missing quote");
    }
}
