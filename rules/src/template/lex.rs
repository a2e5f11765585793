//! A template's text as tokens: what stands between actions, and the words in them.

use super::{TEMPLATE_BYTES_MAX, Wrong};

/// A word of an action, or the text between two.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Word {
    /// What is told as it is.
    Text(String),
    /// `{{`
    Open,
    /// `}}`
    Close,
    /// A function or a keyword.
    Name(String),
    /// `.name`, without its point.
    Field(String),
    /// `.`
    Dot,
    /// `$`, `$name`
    Variable(String),
    Literal(String),
    Int(i64),
    Float(f64),
    Pipe,
    LeftParen,
    RightParen,
    Comma,
    /// `:=`
    Declare,
    /// `=`
    Assign,
}

/// A word and where it is.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token {
    pub(super) word: Word,
    /// Of its first byte.
    pub(super) at: usize,
    /// Whether there is room before it.
    pub(super) spaced: bool,
}

const OPEN: &str = "{{";
const CLOSE: &str = "}}";
const SPACE: [char; 4] = [' ', '\t', '\r', '\n'];

/// All tokens of `text`.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, Wrong> {
    if text.len() > TEMPLATE_BYTES_MAX {
        let message = format!("a template of {} bytes; {TEMPLATE_BYTES_MAX} are allowed", text.len());
        return Err(Wrong::new(0, message));
    }
    let mut lexer = Lexer { text, at: 0, tokens: Vec::new() };
    let mut trim = false;
    while lexer.at < text.len() {
        trim = lexer.text_and_action(trim)?;
    }
    Ok(lexer.tokens)
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    tokens: Vec<Token>,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn push(&mut self, word: Word, at: usize, spaced: bool) {
        self.tokens.push(Token { word, at, spaced });
    }

    /// Text up to the next action, and that; `trim` says that white space before it goes. Returns the same for what follows.
    fn text_and_action(&mut self, trim: bool) -> Result<bool, Wrong> {
        let rest = self.rest();
        let length = rest.find(OPEN).unwrap_or(rest.len());
        let (mut told, action) = rest.split_at(length);
        let start = self.at;
        let inner = action.strip_prefix(OPEN).unwrap_or_default();
        let trims_before = inner.starts_with('-') && inner.get(1..).is_some_and(|inner| inner.starts_with(SPACE));
        if trim {
            told = told.trim_start_matches(SPACE);
        }
        if trims_before {
            told = told.trim_end_matches(SPACE);
        }
        if !told.is_empty() {
            self.push(Word::Text(told.to_owned()), start, false);
        }
        self.at += length;
        if action.is_empty() {
            return Ok(false);
        }
        let opened = self.at;
        self.at += OPEN.len() + usize::from(trims_before);
        if let Some(after) = self.comment()? {
            return Ok(after);
        }
        self.push(Word::Open, opened, false);
        self.action(opened)
    }

    /// A comment, which is alone in its action; whether the text behind it is trimmed.
    fn comment(&mut self) -> Result<Option<bool>, Wrong> {
        let rest = self.rest();
        let inner = rest.trim_start_matches(SPACE);
        let Some(comment) = inner.strip_prefix("/*") else { return Ok(None) };
        let at = self.at + (rest.len() - inner.len());
        let end = comment.find("*/").ok_or_else(|| Wrong::new(at, "a comment that does not end"))?;
        let behind = at + 2 + end + 2;
        let after = self.text.get(behind..).unwrap_or_default();
        let close = after.trim_start_matches(SPACE);
        let trims = close.starts_with("-}}") && after.len() > close.len();
        if !trims && !after.starts_with(CLOSE) {
            return Err(Wrong::new(behind, "a comment stands alone in its action: `{{/* … */}}`"));
        }
        self.at = if trims { behind + (after.len() - close.len()) + 3 } else { behind + CLOSE.len() };
        Ok(Some(trims))
    }

    /// The words of an action up to `}}`; whether the text behind it is trimmed.
    fn action(&mut self, opened: usize) -> Result<bool, Wrong> {
        loop {
            let rest = self.rest();
            let word = rest.trim_start_matches(SPACE);
            let spaced = word.len() < rest.len();
            self.at += rest.len() - word.len();
            let at = self.at;
            if spaced && word.starts_with("-}}") {
                self.push(Word::Close, at, spaced);
                self.at += 3;
                return Ok(true);
            }
            if word.starts_with(CLOSE) {
                self.push(Word::Close, at, spaced);
                self.at += CLOSE.len();
                return Ok(false);
            }
            let Some(first) = word.chars().next() else {
                return Err(Wrong::new(opened, "an action that does not end: `}}` is missing"));
            };
            let (kind, length) = self.word(word, first)?;
            self.push(kind, at, spaced);
            self.at += length;
        }
    }

    /// The word that `rest` begins with, and its length in bytes.
    fn word(&self, rest: &str, first: char) -> Result<(Word, usize), Wrong> {
        let second = rest.chars().nth(1);
        let simple = |word, length| Ok((word, length));
        match first {
            '|' => simple(Word::Pipe, 1),
            '(' => simple(Word::LeftParen, 1),
            ')' => simple(Word::RightParen, 1),
            ',' => simple(Word::Comma, 1),
            '=' => simple(Word::Assign, 1),
            ':' if second == Some('=') => simple(Word::Declare, 2),
            '"' => self.quoted(rest, '"').map(|(text, length)| (Word::Literal(text), length)),
            '`' => self.raw(rest),
            '\'' => self.character(rest),
            '$' => {
                let length = name_length(rest.get(1..).unwrap_or_default());
                let name = rest.get(1..=length).unwrap_or_default().to_owned();
                simple(Word::Variable(name), length + 1)
            }
            '.' if !second.is_some_and(|c| c.is_ascii_digit()) => {
                let length = name_length(rest.get(1..).unwrap_or_default());
                let name = rest.get(1..=length).unwrap_or_default();
                simple(if length == 0 { Word::Dot } else { Word::Field(name.to_owned()) }, length + 1)
            }
            '0'..='9' | '+' | '-' | '.' => self.number(rest),
            _ if is_name(first) => {
                let length = name_length(rest);
                simple(Word::Name(rest.get(..length).unwrap_or_default().to_owned()), length)
            }
            _ => Err(Wrong::new(self.at, format!("{first:?} is not expected in an action"))),
        }
    }

    fn raw(&self, rest: &str) -> Result<(Word, usize), Wrong> {
        let inner = rest.get(1..).unwrap_or_default();
        let end = inner.find('`').ok_or_else(|| Wrong::new(self.at, "a raw string that does not end"))?;
        // Go leaves carriage returns out of raw strings.
        Ok((Word::Literal(inner.get(..end).unwrap_or_default().replace('\r', "")), end + 2))
    }

    fn character(&self, rest: &str) -> Result<(Word, usize), Wrong> {
        let (text, length) = self.quoted(rest, '\'')?;
        let mut chars = text.chars();
        match (chars.next(), chars.next()) {
            (Some(only), None) => Ok((Word::Int(i64::from(u32::from(only))), length)),
            _ => Err(Wrong::new(self.at, "a character constant is one character; strings have double quotes")),
        }
    }

    /// A text in `quote`s with Go's escapes, and its length with quotes.
    fn quoted(&self, rest: &str, quote: char) -> Result<(String, usize), Wrong> {
        let mut text = Vec::new();
        let mut chars = rest.char_indices();
        chars.next();
        while let Some((at, c)) = chars.next() {
            match c {
                '\n' => break,
                '\\' => {
                    let wrong = || Wrong::new(self.at + at, "an escape that Go's strings do not have");
                    let used = escape(rest.get(at + 1..).unwrap_or_default(), quote, &mut text).ok_or_else(wrong)?;
                    for _ in 0..used {
                        chars.next();
                    }
                }
                _ if c == quote => {
                    return Ok((String::from_utf8_lossy(&text).into_owned(), at + 1));
                }
                _ => text.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        Err(Wrong::new(self.at, "a string that does not end on its line"))
    }

    fn number(&self, rest: &str) -> Result<(Word, usize), Wrong> {
        let mut length = 0;
        let mut before = ' ';
        let is_hex = rest.trim_start_matches(['+', '-']).to_ascii_lowercase().starts_with("0x");
        for c in rest.chars() {
            let is_sign = matches!(c, '+' | '-')
                && (length == 0 || matches!(before, 'p' | 'P') || (!is_hex && matches!(before, 'e' | 'E')));
            if !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_') || is_sign) {
                break;
            }
            length += c.len_utf8();
            before = c;
        }
        let text = rest.get(..length).unwrap_or_default();
        let bad = || Wrong::new(self.at, format!("{text:?} is not a number"));
        number(text).map(|word| (word, length)).ok_or_else(bad)
    }
}

/// An integer or a float as Go's constants are written.
fn number(text: &str) -> Option<Word> {
    let digits = text.replace('_', "");
    let (sign, digits) = match digits.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, digits.strip_prefix('+').unwrap_or(&digits)),
    };
    let lower = digits.to_ascii_lowercase();
    let radix = |digits: &str, radix: u32| {
        let value = i128::from_str_radix(digits, radix).ok().filter(|_| !digits.starts_with(['+', '-']))?;
        i64::try_from(value * i128::from(sign)).ok().map(Word::Int)
    };
    match lower.get(..2) {
        Some("0x") => return radix(lower.get(2..)?, 16),
        Some("0o") => return radix(lower.get(2..)?, 8),
        Some("0b") => return radix(lower.get(2..)?, 2),
        _ => {}
    }
    if lower.bytes().all(|byte| byte.is_ascii_digit()) {
        let octal = lower.len() > 1 && lower.starts_with('0');
        return radix(&lower, if octal { 8 } else { 10 });
    }
    let plain = lower.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'+' | b'-'));
    let value: f64 = lower.parse().ok().filter(|_| plain)?;
    value.is_finite().then_some(Word::Float(value * f64::from(sign)))
}

/// Reads the escape behind a backslash; how many characters it is.
fn escape(rest: &str, quote: char, out: &mut Vec<u8>) -> Option<usize> {
    let first = rest.chars().next()?;
    let simple = match first {
        'a' => 7,
        'b' => 8,
        'f' => 12,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 11,
        '\\' => b'\\',
        _ if first == quote => u8::try_from(u32::from(quote)).ok()?,
        'x' => u8::from_str_radix(hex(rest, 2)?, 16).ok()?,
        '0'..='7' => u8::from_str_radix(rest.get(..3)?, 8).ok()?,
        'u' | 'U' => {
            let digits = hex(rest, if first == 'u' { 4 } else { 8 })?;
            let c = char::from_u32(u32::from_str_radix(digits, 16).ok()?)?;
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            return Some(1 + digits.len());
        }
        _ => return None,
    };
    out.push(simple);
    Some(match first {
        'x' | '0'..='7' => 3,
        _ => 1,
    })
}

fn hex(rest: &str, digits: usize) -> Option<&str> {
    rest.get(1..=digits).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn is_name(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

fn name_length(text: &str) -> usize {
    text.find(|c| !is_name(c)).unwrap_or(text.len())
}
