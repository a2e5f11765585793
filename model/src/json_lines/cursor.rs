//! A place in one line of JSON, and the values found there. What a line is made of is told in [`super::parse`].

use std::borrow::Cow;

use super::parse::{ParseError, Problem};

/// Most objects and lists inside one another in what is read over.
const DEPTH_MAX: u32 = 32;
/// Longest part of a bad line that an error repeats, in characters.
const FOUND_CHARS_MAX: usize = 32;

/// A place in one line. Always at the boundary of a character.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Cursor<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, at: 0 }
    }

    /// The byte that follows the blanks here.
    pub(super) fn peek(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = self.next_byte() {
            self.at += 1;
        }
        self.next_byte()
    }

    /// Steps over `byte`, which is ASCII, if it is next.
    pub(super) fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    pub(super) fn expect(&mut self, byte: u8, expected: &'static str) -> Result<(), ParseError> {
        if self.eat(byte) { Ok(()) } else { Err(self.unexpected(expected)) }
    }

    pub(super) fn expect_end(&mut self) -> Result<(), ParseError> {
        if self.peek().is_none() { Ok(()) } else { Err(self.unexpected("the end of the line")) }
    }

    /// Reads an object: `value` is called with each key, at its value.
    pub(super) fn object(
        &mut self,
        mut value: impl FnMut(&mut Self, &str) -> Result<(), ParseError>,
    ) -> Result<(), ParseError> {
        self.expect(b'{', "an object")?;
        if self.eat(b'}') {
            return Ok(());
        }
        loop {
            let key = self.string()?;
            self.expect(b':', ": after a key")?;
            value(self, &key)?;
            if self.eat(b'}') {
                return Ok(());
            }
            self.expect(b',', ", or } in an object")?;
        }
    }

    /// Reads a list: `item` is called at each of its items.
    pub(super) fn list(&mut self, mut item: impl FnMut(&mut Self) -> Result<(), ParseError>) -> Result<(), ParseError> {
        self.expect(b'[', "a list")?;
        if self.eat(b']') {
            return Ok(());
        }
        loop {
            item(self)?;
            if self.eat(b']') {
                return Ok(());
            }
            self.expect(b',', ", or ] in a list")?;
        }
    }

    /// Reads a list of two.
    pub(super) fn pair<A, B>(
        &mut self,
        first: impl FnOnce(&mut Self) -> Result<A, ParseError>,
        second: impl FnOnce(&mut Self) -> Result<B, ParseError>,
    ) -> Result<(A, B), ParseError> {
        self.expect(b'[', "a list of two")?;
        let first = first(self)?;
        self.expect(b',', ", in a list of two")?;
        let second = second(self)?;
        self.expect(b']', "] after a list of two")?;
        Ok((first, second))
    }

    pub(super) fn string(&mut self) -> Result<Cow<'t, str>, ParseError> {
        self.expect(b'"', "a text in double quotes")?;
        let plain = self.plain();
        if self.next_byte() == Some(b'"') {
            self.at += 1;
            return Ok(Cow::Borrowed(plain));
        }
        let mut text = plain.to_owned();
        while self.next_byte() == Some(b'\\') {
            let at_escape = *self;
            self.at += 1;
            text.push(self.escaped().ok_or_else(|| at_escape.problem(Problem::Escape))?);
            text.push_str(self.plain());
        }
        if self.next_byte() != Some(b'"') {
            return Err(self.unexpected("a closing quote"));
        }
        self.at += 1;
        Ok(Cow::Owned(text))
    }

    /// A run of letters with or without a sign; empty when there is none.
    pub(super) fn word(&mut self) -> &'t str {
        self.peek();
        self.take_while(|byte| byte.is_ascii_alphabetic() || matches!(byte, b'+' | b'-'))
    }

    pub(super) fn float(&mut self) -> Result<f64, ParseError> {
        let at_number = *self;
        match self.number().parse::<f64>() {
            Ok(value) if value.is_finite() => Ok(value),
            Ok(_) => Err(at_number.unexpected("a number a 64-bit float can hold")),
            Err(_) => Err(at_number.unexpected("a number")),
        }
    }

    pub(super) fn whole<T: std::str::FromStr>(&mut self) -> Result<T, ParseError> {
        let at_number = *self;
        self.number().parse().map_err(|_| at_number.unexpected("a whole number in range"))
    }

    /// Steps over any value.
    pub(super) fn skip(&mut self) -> Result<(), ParseError> {
        // One bit a level: whether it is an object.
        let (mut levels, mut depth) = (0_u32, 0_u32);
        loop {
            match self.peek() {
                Some(open @ (b'{' | b'[')) => {
                    if depth == DEPTH_MAX {
                        return Err(self.problem(Problem::TooDeep));
                    }
                    self.at += 1;
                    let is_object = open == b'{';
                    if self.eat(if is_object { b'}' } else { b']' }) {
                        // Nothing in it.
                    } else {
                        depth += 1;
                        levels = levels << 1 | u32::from(is_object);
                        self.key_if(is_object)?;
                        continue;
                    }
                }
                Some(b'"') => drop(self.string()?),
                _ => self.scalar()?,
            }
            loop {
                if depth == 0 {
                    return Ok(());
                }
                let is_object = levels & 1 == 1;
                if self.eat(b',') {
                    self.key_if(is_object)?;
                    break;
                }
                self.expect(if is_object { b'}' } else { b']' }, "a comma or the end of a value")?;
                depth -= 1;
                levels >>= 1;
            }
        }
    }

    pub(super) fn problem(self, problem: Problem) -> ParseError {
        ParseError { column: self.at + 1, problem }
    }

    /// The error that something other than what follows was expected here.
    pub(super) fn unexpected(mut self, expected: &'static str) -> ParseError {
        self.peek();
        let found = match self.rest() {
            "" => "the end of the line".to_owned(),
            rest => format!("{:?}", rest.chars().take(FOUND_CHARS_MAX).collect::<String>()),
        };
        self.problem(Problem::Unexpected { expected, found })
    }

    fn key_if(&mut self, is_object: bool) -> Result<(), ParseError> {
        if is_object {
            self.string()?;
            self.expect(b':', ": after a key")?;
        }
        Ok(())
    }

    /// Steps over a number or a word.
    fn scalar(&mut self) -> Result<(), ParseError> {
        let at_value = *self;
        for word in ["true", "false", "null"] {
            if self.rest().starts_with(word) {
                self.at += word.len();
                return Ok(());
            }
        }
        self.number().parse::<f64>().map(drop).map_err(|_| at_value.unexpected("a value"))
    }

    fn next_byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or("")
    }

    /// The characters a number may have.
    fn number(&mut self) -> &'t str {
        self.peek();
        self.take_while(|byte| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E'))
    }

    /// The text up to the next quote or backslash.
    fn plain(&mut self) -> &'t str {
        self.take_while(|byte| !matches!(byte, b'"' | b'\\'))
    }

    /// The run of bytes that `belongs` takes: every byte above ASCII, or none.
    fn take_while(&mut self, belongs: impl Fn(u8) -> bool) -> &'t str {
        let rest = self.rest();
        let length = rest.bytes().position(|byte| !belongs(byte)).unwrap_or(rest.len());
        self.at += length;
        rest.get(..length).unwrap_or("")
    }

    /// The character that follows a backslash, which was stepped over.
    fn escaped(&mut self) -> Option<char> {
        let byte = self.next_byte()?;
        let plain = match byte {
            b'"' | b'\\' | b'/' => char::from(byte),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                self.at += 1;
                return self.code_point();
            }
            _ => return None,
        };
        self.at += 1;
        Some(plain)
    }

    /// The character of `XXXX`, or of `XXXX\uXXXX` for one of two halves.
    fn code_point(&mut self) -> Option<char> {
        let first = self.code_unit()?;
        if !(0xd800..0xdc00).contains(&first) {
            return char::from_u32(first);
        }
        let rest = self.rest().strip_prefix("\\u")?;
        self.at = self.text.len() - rest.len();
        let second = self.code_unit().filter(|second| (0xdc00..0xe000).contains(second))?;
        char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00))
    }

    fn code_unit(&mut self) -> Option<u32> {
        let digits = self.rest().get(..4).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
        self.at += 4;
        u32::from_str_radix(digits, 16).ok()
    }
}
