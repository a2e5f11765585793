//! The lexer: query text to tokens.
//!
//! Owns spaces, comments and the shapes of words, numbers, durations, strings and symbols. It knows no keywords: which
//! word is one depends on where it stands, and the parser knows that. An offending character ends the tokens with
//! [`Kind::Invalid`], so that the parser reports whichever error comes first in the text.

mod number;
mod quoted;

use nom::branch::alt;
use nom::bytes::complete::{tag, take_while, take_while1};
use nom::character::complete::{anychar, char, multispace1, none_of, satisfy};
use nom::combinator::{cut, recognize, value};
use nom::error::{ErrorKind, ParseError};
use nom::multi::many0_count;
use nom::sequence::terminated;
use nom::{IResult, Parser};

use crate::ast::Span;
use crate::parse_error::Fault;

pub(crate) use quoted::unquote;

/// Most tokens in a query.
pub(crate) const TOKENS_MAX: usize = 1 << 16;

/// A token and where it stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Token<'a> {
    pub(crate) kind: Kind<'a>,
    pub(crate) span: Span,
}

/// The kinds of token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Kind<'a> {
    /// A keyword or a name; may hold colons outside of brackets.
    Word(&'a str),
    /// A number.
    Number(f64),
    /// A duration in seconds.
    Duration(f64),
    /// A string literal with its quotes, not yet unescaped.
    Quoted(&'a str),
    /// An operator, a bracket, a separator.
    Symbol(&'a str),
    /// Here the text stops being PromQL; the fault says why.
    Invalid,
    /// The end of the query.
    End,
}

/// The tokens of a query.
#[derive(Debug)]
pub(crate) struct Tokens<'a> {
    /// The text.
    pub(crate) query: &'a str,
    /// At least one token; the last is [`Kind::End`] or [`Kind::Invalid`].
    pub(crate) list: Vec<Token<'a>>,
    /// Why there is a [`Kind::Invalid`].
    pub(crate) fault: Option<Fault>,
}

/// Splits `query` into tokens.
pub(crate) fn lex(query: &str) -> Tokens<'_> {
    let mut tokens = Vec::new();
    let mut rest = query;
    let mut in_brackets = false;
    let fault = loop {
        rest = skip_blank(rest);
        let start = query.len() - rest.len();
        if rest.is_empty() {
            break None;
        }
        if tokens.len() == TOKENS_MAX {
            let span = Span { start, end: start };
            break Some(Fault::new(span, format!("query has more than {TOKENS_MAX} tokens")));
        }
        match token(rest, in_brackets) {
            Ok((after, kind)) => {
                in_brackets = match kind {
                    Kind::Symbol("[") => true,
                    Kind::Symbol("]") => false,
                    _ => in_brackets,
                };
                tokens.push(Token { kind, span: Span { start, end: query.len() - after.len() } });
                rest = after;
            }
            Err(nom::Err::Error(problem) | nom::Err::Failure(problem)) => break Some(problem.into_fault(query)),
            Err(nom::Err::Incomplete(_)) => unreachable!("only complete parsers are used"),
        }
    };
    let (kind, span) = match &fault {
        Some(fault) => (Kind::Invalid, fault.span),
        None => (Kind::End, Span { start: query.len(), end: query.len() }),
    };
    tokens.push(Token { kind, span });
    Tokens { query, list: tokens, fault }
}

/// A problem within the text that starts with `rest`.
#[derive(Debug)]
struct Problem<'a> {
    /// The text from the offending character on.
    rest: &'a str,
    /// How many bytes offend.
    length: usize,
    message: String,
    hint: Option<String>,
}

type Lexed<'a, T> = IResult<&'a str, T, Problem<'a>>;

impl<'a> Problem<'a> {
    fn failure(rest: &'a str, length: usize, message: impl Into<String>) -> nom::Err<Self> {
        nom::Err::Failure(Self { rest, length, message: message.into(), hint: None })
    }

    fn into_fault(self, query: &str) -> Fault {
        let start = query.len() - self.rest.len();
        Fault { span: Span { start, end: start + self.length }, message: self.message, hint: self.hint }
    }
}

impl<'a> ParseError<&'a str> for Problem<'a> {
    fn from_error_kind(rest: &'a str, _: ErrorKind) -> Self {
        Self { rest, length: 0, message: String::new(), hint: None }
    }

    fn append(_: &'a str, _: ErrorKind, other: Self) -> Self {
        other
    }
}

/// Drops spaces and comments.
fn skip_blank(text: &str) -> &str {
    let comment = recognize((char('#'), take_while(|c| c != '\n' && c != '\r')));
    let blank: Lexed<'_, usize> = many0_count(alt((multispace1, comment))).parse(text);
    blank.map_or(text, |(rest, _)| rest)
}

/// The token that `text` starts with. The first byte decides which kind it can be.
fn token(text: &str, in_brackets: bool) -> Lexed<'_, Kind<'_>> {
    match text.as_bytes().first() {
        Some(b'a'..=b'z' | b'A'..=b'Z' | b'_') => word(text, in_brackets),
        Some(b'0'..=b'9' | b'.') => alt((number::number, unknown)).parse(text),
        Some(b'"' | b'\'' | b'`') => quoted(text),
        Some(b':') if !in_brackets => word(text, in_brackets),
        _ => alt((symbol, unknown)).parse(text),
    }
}

fn word(text: &str, in_brackets: bool) -> Lexed<'_, Kind<'_>> {
    let colon = move |c| c == ':' && !in_brackets;
    let first = satisfy(move |c| c.is_ascii_alphabetic() || c == '_' || colon(c));
    let others = take_while(move |c: char| c.is_ascii_alphanumeric() || c == '_' || colon(c));
    recognize((first, others)).map(Kind::Word).parse(text)
}

/// A string literal, `"…"`, `'…'` or `` `…` ``.
fn quoted(text: &str) -> Lexed<'_, Kind<'_>> {
    let escaped = |quote: char| {
        let plain = take_while1(move |c| c != quote && c != '\\' && c != '\n');
        let body = many0_count(alt((plain, recognize((char('\\'), none_of("\n"))))));
        (char(quote), cut(terminated(body, char(quote))))
    };
    let raw = (char('`'), cut(terminated(take_while(|c| c != '`'), char('`'))));
    let literal = recognize(alt((value((), escaped('"')), value((), escaped('\'')), value((), raw)))).parse(text);
    match literal {
        Ok((rest, literal)) => Ok((rest, Kind::Quoted(literal))),
        Err(nom::Err::Failure(_)) => {
            let message = if text.starts_with('`') { "unterminated raw string" } else { "unterminated quoted string" };
            Err(Problem::failure(text, text.lines().next().map_or(0, str::len), message))
        }
        Err(other) => Err(other),
    }
}

/// Every symbol; one that starts with another stands before it.
const SYMBOLS: [&str; 26] = [
    "==", "=~", "=", "!=", "!~", "<=", "</", "<", ">=", ">/", ">", "+", "-", "*", "/", "%", "^", "@", ",", "(", ")",
    "{", "}", "[", "]", ":",
];

fn symbol(text: &str) -> Lexed<'_, Kind<'_>> {
    match SYMBOLS.into_iter().find(|symbol| text.starts_with(symbol)) {
        Some(symbol) => tag(symbol).map(Kind::Symbol).parse(text),
        None => Err(nom::Err::Error(ParseError::from_error_kind(text, ErrorKind::Tag))),
    }
}

/// Nothing that PromQL knows.
fn unknown(text: &str) -> Lexed<'_, Kind<'_>> {
    let (_, found) = anychar(text)?;
    let hint = [("&&", "write and"), ("||", "write or"), ("!", "write unless, != or !~")]
        .into_iter()
        .find(|(start, _)| text.starts_with(start))
        .map(|(_, hint)| hint.to_owned());
    let message = format!("unexpected character: {found:?}");
    Err(nom::Err::Failure(Problem { rest: text, length: found.len_utf8(), message, hint }))
}
