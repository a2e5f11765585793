//! A place among the tokens, and the smallest parsers: one symbol, one keyword, one name, one list.
//!
//! Owns how errors read: `unexpected X in CONTEXT, expected Y`. A parser that finds nothing of its own answers
//! `nom::Err::Error` and may be tried against others; one that has recognised its first token answers `Failure`.

use nom::combinator::cut;
use nom::error::ErrorKind;
use nom::{IResult, Parser};

use crate::ast::Span;
use crate::lex::{Kind, Token, Tokens, unquote};
use crate::parse_error::Fault;

/// Deepest nesting of a query; each link of a chain such as `a or b or c` counts as a level.
pub const DEPTH_MAX: usize = 256;

/// What a parser over tokens answers.
pub(super) type Parsed<'a, T> = IResult<Cursor<'a>, T, Box<Fault>>;

/// A place among the tokens of a query.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor<'a> {
    tokens: &'a Tokens<'a>,
    at: usize,
    /// How many expressions enclose this place.
    depth: usize,
}

/// A syntax tree and its height. Boxed, as answers pass through many frames of the stack.
#[derive(Debug)]
pub(super) struct Tall<T> {
    pub(super) node: Box<T>,
    pub(super) height: usize,
}

impl<T> Tall<T> {
    /// A tree without branches.
    pub(super) fn leaf(node: T) -> Self {
        Self { node: Box::new(node), height: 1 }
    }

    /// The tree `node`, one level above branches of at most `height`. Refuses what is too tall to walk recursively.
    pub(super) fn above(height: usize, span: Span, node: T) -> Result<Self, nom::Err<Box<Fault>>> {
        if height >= DEPTH_MAX { Err(too_deep(span)) } else { Ok(Self { node: Box::new(node), height: height + 1 }) }
    }
}

fn too_deep(span: Span) -> nom::Err<Box<Fault>> {
    let fault = Fault::new(span, format!("query nests more than {DEPTH_MAX} levels deep"));
    nom::Err::Failure(Box::new(fault.with_hint("each link of a chain such as a or b or c counts as a level")))
}

impl<'a> Cursor<'a> {
    /// The first token.
    pub(super) fn new(tokens: &'a Tokens<'a>) -> Self {
        Self { tokens, at: 0, depth: 0 }
    }

    fn token(self) -> Token<'a> {
        self.tokens.list[self.at]
    }

    /// What stands here.
    pub(super) fn kind(self) -> Kind<'a> {
        self.token().kind
    }

    /// Where the token here stands.
    pub(super) fn span(self) -> Span {
        self.token().span
    }

    /// One past the last byte of the token before.
    pub(super) fn end_of_previous(self) -> usize {
        self.at.checked_sub(1).map_or(0, |before| self.tokens.list[before].span.end)
    }

    /// The place after this token; the last token is never passed.
    pub(super) fn next(self) -> Self {
        Self { at: (self.at + 1).min(self.tokens.list.len() - 1), ..self }
    }

    /// The same place, one level deeper.
    pub(super) fn deeper(self) -> Result<Self, nom::Err<Box<Fault>>> {
        if self.depth == DEPTH_MAX {
            return Err(too_deep(self.span()));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }

    /// This place, as deep as `outer`.
    pub(super) fn back_to(self, outer: Self) -> Self {
        Self { depth: outer.depth, ..self }
    }

    pub(super) fn is_symbol(self, symbol: &str) -> bool {
        self.kind() == Kind::Symbol(symbol)
    }

    /// Whether `keyword` stands here, in any case.
    pub(super) fn is_keyword(self, keyword: &str) -> bool {
        matches!(self.kind(), Kind::Word(word) if word.eq_ignore_ascii_case(keyword))
    }

    /// How the token here is called in messages.
    fn describe(self) -> String {
        let Token { kind, span } = self.token();
        let text = &self.tokens.query[span.start..span.end];
        let short: String = text.chars().take(40).collect();
        let ellipsis = if short.len() < text.len() { "…" } else { "" };
        match kind {
            Kind::Word(word) if is_reserved(word) => format!("keyword {short:?}"),
            Kind::Word(_) => format!("identifier \"{short}{ellipsis}\""),
            Kind::Number(_) => format!("number \"{short}{ellipsis}\""),
            Kind::Duration(_) => format!("duration \"{short}{ellipsis}\""),
            Kind::Quoted(_) => format!("string {short}{ellipsis}"),
            Kind::Symbol("(") => "left parenthesis '('".to_owned(),
            Kind::Symbol(")") => "right parenthesis ')'".to_owned(),
            Kind::Symbol("[") => "left bracket '['".to_owned(),
            Kind::Symbol("]") => "right bracket ']'".to_owned(),
            Kind::Symbol("{") => "left brace '{'".to_owned(),
            Kind::Symbol("}") => "right brace '}'".to_owned(),
            Kind::Symbol(symbol) => format!("{symbol:?}"),
            Kind::Invalid | Kind::End => "end of input".to_owned(),
        }
    }

    /// The fault that the token here does not belong in `context`, where `expected` should stand; both may be empty.
    #[expect(clippy::unnecessary_box_returns, reason = "every fault of the parser travels boxed")]
    pub(super) fn unexpected(self, context: &str, expected: &str) -> Box<Fault> {
        if let (Kind::Invalid, Some(fault)) = (self.kind(), &self.tokens.fault) {
            return Box::new(fault.clone());
        }
        let mut message = format!("unexpected {}", self.describe());
        for (link, text) in [(" in ", context), (", expected ", expected)] {
            if !text.is_empty() {
                message.push_str(link);
                message.push_str(text);
            }
        }
        let fault = Fault::new(self.span(), message);
        Box::new(match self.kind() {
            Kind::Symbol("=") => fault.with_hint("write == to compare"),
            Kind::Symbol("=~" | "!~") => fault.with_hint("regular expressions match labels, inside of braces"),
            Kind::Word(word) if word.eq_ignore_ascii_case("group_left") || word.eq_ignore_ascii_case("group_right") => {
                fault.with_hint("on(...) or ignoring(...) comes before it")
            }
            _ => fault,
        })
    }

    /// [`Self::unexpected`] as a failure that no alternative may hide.
    pub(super) fn refuse<T>(self, context: &str, expected: &str) -> Parsed<'a, T> {
        Err(nom::Err::Failure(self.unexpected(context, expected)))
    }
}

impl nom::error::ParseError<Cursor<'_>> for Box<Fault> {
    fn from_error_kind(cursor: Cursor<'_>, _: ErrorKind) -> Self {
        cursor.unexpected("", "")
    }

    fn append(_: Cursor<'_>, _: ErrorKind, other: Self) -> Self {
        other
    }
}

/// A fault that no alternative may hide.
pub(super) fn failure(span: Span, message: impl Into<String>) -> nom::Err<Box<Fault>> {
    nom::Err::Failure(Box::new(Fault::new(span, message)))
}

/// The keywords that are never metric names.
pub(super) fn is_reserved(word: &str) -> bool {
    ["bool", "on", "ignoring", "group_left", "group_right", "atan2"]
        .into_iter()
        .any(|keyword| word.eq_ignore_ascii_case(keyword))
}

/// The symbol `wanted`, in `context`.
pub(super) fn symbol<'a>(
    wanted: &'static str,
    context: &'static str,
) -> impl Parser<Cursor<'a>, Output = Span, Error = Box<Fault>> {
    move |cursor: Cursor<'a>| {
        if cursor.is_symbol(wanted) {
            Ok((cursor.next(), cursor.span()))
        } else {
            Err(nom::Err::Error(cursor.unexpected(context, &format!("{wanted:?}"))))
        }
    }
}

/// The keyword `wanted`, in any case.
pub(super) fn keyword<'a>(wanted: &'static str) -> impl Parser<Cursor<'a>, Output = Span, Error = Box<Fault>> {
    move |cursor: Cursor<'a>| {
        if cursor.is_keyword(wanted) {
            Ok((cursor.next(), cursor.span()))
        } else {
            Err(nom::Err::Error(cursor.unexpected("", &format!("{wanted:?}"))))
        }
    }
}

/// The keyword `wanted` in front of a parenthesis; elsewhere it is a name.
pub(super) fn keyword_before_parenthesis<'a>(
    wanted: &'static str,
) -> impl Parser<Cursor<'a>, Output = Span, Error = Box<Fault>> {
    move |cursor: Cursor<'a>| {
        if cursor.next().is_symbol("(") { keyword(wanted).parse(cursor) } else { keyword("\0").parse(cursor) }
    }
}

/// The `closing` bracket that belongs to the one at `opened`.
pub(super) fn close<'a>(
    cursor: Cursor<'a>,
    opened: Span,
    closing: &'static str,
    context: &'static str,
    expected: &str,
) -> Parsed<'a, Span> {
    if cursor.is_symbol(closing) {
        return Ok((cursor.next(), cursor.span()));
    }
    if cursor.kind() == Kind::End {
        let name = match closing {
            ")" => "parenthesis",
            "]" => "bracket",
            _ => "brace",
        };
        return Err(failure(opened, format!("unclosed left {name}")));
    }
    cursor.refuse(context, expected)
}

/// A string literal, unescaped.
pub(super) fn string(cursor: Cursor<'_>) -> Parsed<'_, String> {
    match cursor.kind() {
        Kind::Quoted(literal) => match unquote(literal, cursor.span().start) {
            Ok(text) => Ok((cursor.next(), text)),
            Err(fault) => Err(nom::Err::Failure(Box::new(fault))),
        },
        _ => Err(nom::Err::Error(cursor.unexpected("", "string"))),
    }
}

/// A number with an optional sign, which may be written as a duration.
pub(super) fn signed_number<'a>(cursor: Cursor<'a>, context: &'static str) -> Parsed<'a, f64> {
    let (sign, at) = match cursor.kind() {
        Kind::Symbol("-") => (-1.0, cursor.next()),
        Kind::Symbol("+") => (1.0, cursor.next()),
        _ => (1.0, cursor),
    };
    match at.kind() {
        Kind::Number(value) | Kind::Duration(value) => Ok((at.next(), sign * value)),
        Kind::Word(word) => match number_word(word) {
            Some(value) => Ok((at.next(), sign * value)),
            None => Err(nom::Err::Error(at.unexpected(context, "number"))),
        },
        _ => Err(nom::Err::Error(at.unexpected(context, "number"))),
    }
}

/// `Inf` and `NaN`, in any case.
pub(super) fn number_word(word: &str) -> Option<f64> {
    if word.eq_ignore_ascii_case("inf") {
        Some(f64::INFINITY)
    } else if word.eq_ignore_ascii_case("nan") {
        Some(f64::NAN)
    } else {
        None
    }
}

/// `(a, "b.c", by)`: label names in parentheses, any keyword among them, with an optional last comma.
pub(super) fn label_list<'a>(cursor: Cursor<'a>, context: &'static str) -> Parsed<'a, Vec<String>> {
    let (mut cursor, opened) = cut(symbol("(", context)).parse(cursor)?;
    let mut labels = Vec::new();
    loop {
        if cursor.is_symbol(")") || (cursor.kind() == Kind::End && !labels.is_empty()) {
            break;
        }
        let (after, label) = cut(|cursor| label_name(cursor, context)).parse(cursor)?;
        labels.push(label);
        cursor = after;
        if !cursor.is_symbol(",") {
            break;
        }
        cursor = cursor.next();
    }
    let (cursor, _) = close(cursor, opened, ")", context, "\",\" or \")\"")?;
    Ok((cursor, labels))
}

fn label_name<'a>(cursor: Cursor<'a>, context: &'static str) -> Parsed<'a, String> {
    match cursor.kind() {
        Kind::Word(word) if !word.contains(':') => Ok((cursor.next(), word.to_owned())),
        Kind::Quoted(_) => {
            let (after, name) = string(cursor)?;
            if name.is_empty() { Err(failure(cursor.span(), "invalid label name \"\"")) } else { Ok((after, name)) }
        }
        _ => Err(nom::Err::Error(cursor.unexpected(context, "label"))),
    }
}
