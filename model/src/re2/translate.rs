//! From RE2's dialect to that of the `regex` crate.
//!
//! Owns every difference between the two: what RE2 refuses and the crate would take (and the reverse), and what both
//! take and read differently. Works in one pass from left to right and never recurses.

use super::RegexError;

/// Highest count of a repetition, also as the product of nested ones.
pub(super) const REPEAT_MAX: u32 = 1000;

const INVALID_ESCAPE: &str = "invalid escape sequence";
const INVALID_RANGE: &str = "invalid character class range";
const INVALID_CAPTURE: &str = "invalid named capture";
const UNSUPPORTED: &str = "invalid or unsupported Perl syntax";

/// The names between `[:` and `:]`.
const POSIX_CLASSES: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper", "word",
    "xdigit",
];

/// Writes `pattern` in the dialect of the `regex` crate.
pub(super) fn translate(pattern: &str) -> Result<String, RegexError> {
    let out = String::with_capacity(pattern.len() + pattern.len() / 4);
    let mut translator = Translator { pattern, rest: pattern, out, groups: 0, last: Last::Nothing };
    while let Some(first) = translator.peek() {
        translator.piece(first)?;
    }
    if translator.groups > 0 {
        return Err(syntax("missing closing )", pattern));
    }
    Ok(translator.out)
}

fn syntax(reason: &str, fragment: &str) -> RegexError {
    RegexError::Syntax { reason: reason.to_owned(), fragment: super::shorten(fragment) }
}

/// What a repetition would apply to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    Nothing,
    Atom,
    Repetition,
}

struct Translator<'a> {
    pattern: &'a str,
    rest: &'a str,
    out: String,
    /// How many groups are open.
    groups: usize,
    last: Last,
}

impl<'a> Translator<'a> {
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    /// Passes the next `bytes` and returns them.
    fn take(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.rest = rest;
        taken
    }

    /// Passes `text` if it comes next.
    fn eat(&mut self, text: &str) -> bool {
        let found = self.rest.strip_prefix(text);
        self.rest = found.unwrap_or(self.rest);
        found.is_some()
    }

    /// The text from `start` (what was left then) up to here.
    fn since(&self, start: &'a str) -> &'a str {
        &start[..start.len() - self.rest.len()]
    }

    fn atom(&mut self, text: &str) {
        self.out.push_str(text);
        self.last = Last::Atom;
    }

    fn literal(&mut self, c: char) {
        if regex_syntax::is_meta_character(c) {
            self.out.push('\\');
        }
        self.out.push(c);
        self.last = Last::Atom;
    }

    /// Translates what starts with `first`, which comes next.
    fn piece(&mut self, first: char) -> Result<(), RegexError> {
        match first {
            '\\' => return self.escape(),
            '[' => return self.class(),
            '(' => return self.group(),
            '*' | '+' | '?' => return self.repetition(1),
            '{' => {
                if let Some(length) = counted(self.rest) {
                    return self.repetition(length);
                }
                self.literal('{');
            }
            ')' => {
                self.groups = self.groups.checked_sub(1).ok_or_else(|| syntax("unexpected )", self.pattern))?;
                self.atom(")");
            }
            '|' => {
                self.out.push('|');
                self.last = Last::Nothing;
            }
            '.' => self.atom("."),
            '^' => self.atom("^"),
            '$' => self.atom("$"),
            other => self.literal(other),
        }
        self.take(first.len_utf8());
        Ok(())
    }

    /// A repetition operator of `length` bytes, perhaps with the `?` that makes it lazy.
    fn repetition(&mut self, length: usize) -> Result<(), RegexError> {
        let operator = self.take(length);
        let lazy = self.eat("?");
        match self.last {
            Last::Nothing => return Err(syntax("missing argument to repetition operator", operator)),
            Last::Repetition => return Err(syntax("invalid nested repetition operator", operator)),
            Last::Atom => {}
        }
        let counts = operator.split(|c: char| !c.is_ascii_digit()).filter(|digits| !digits.is_empty());
        if counts
            .into_iter()
            .any(|digits| digits.parse().is_ok_and(|count: u32| count > REPEAT_MAX) || digits.len() > 9)
        {
            return Err(syntax("invalid repeat count", operator));
        }
        self.out.push_str(operator);
        if lazy {
            self.out.push('?');
        }
        self.last = Last::Repetition;
        Ok(())
    }

    /// `(`, a named or unnamed group, or flags.
    fn group(&mut self) -> Result<(), RegexError> {
        let start = self.rest;
        self.take(1);
        self.last = Last::Nothing;
        if !self.eat("?") {
            self.groups += 1;
            self.out.push('(');
            return Ok(());
        }
        let looks_behind = self.rest.starts_with("<=") || self.rest.starts_with("<!");
        if !looks_behind && (self.eat("P<") || self.eat("<")) {
            let end = self.rest.find('>').ok_or_else(|| syntax(INVALID_CAPTURE, start))?;
            let name = self.take(end);
            self.take(1);
            let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
            if name.is_empty() || !name.chars().all(is_word) {
                return Err(syntax(INVALID_CAPTURE, self.since(start)));
            }
            self.groups += 1;
            self.out.push_str("(?P<");
            self.out.push_str(name);
            self.out.push('>');
            return Ok(());
        }
        self.flags(start)
    }

    /// The flags of a group that opened at `start`, up to `:` or `)`.
    fn flags(&mut self, start: &'a str) -> Result<(), RegexError> {
        let (mut on, mut off) = (String::new(), String::new());
        let (mut negative, mut empty) = (false, true);
        while let Some(c) = self.peek() {
            self.take(c.len_utf8());
            match c {
                'i' | 'm' | 's' | 'U' => {
                    on.retain(|flag| flag != c);
                    off.retain(|flag| flag != c);
                    if negative {
                        off.push(c);
                    } else {
                        on.push(c);
                    }
                    empty = false;
                }
                '-' if !negative => (negative, empty) = (true, true),
                ':' | ')' if !(negative && empty) => {
                    let separator = if off.is_empty() { "" } else { "-" };
                    match c {
                        ':' => {
                            self.groups += 1;
                            self.out.extend(["(?", &on, separator, &off, ":"]);
                        }
                        _ if on.is_empty() && off.is_empty() => self.out.push_str("(?:)"),
                        _ => self.out.extend(["(?", &on, separator, &off, ")"]),
                    }
                    return Ok(());
                }
                _ => return Err(syntax(UNSUPPORTED, self.since(start))),
            }
        }
        Err(syntax("missing closing )", self.pattern))
    }

    /// A backslash and what follows, outside of classes.
    fn escape(&mut self) -> Result<(), RegexError> {
        match self.rest.as_bytes().get(1) {
            Some(b'A') => self.atom(r"\A"),
            Some(b'z') => self.atom(r"\z"),
            // Word boundaries look at ASCII letters only.
            Some(b'b') => self.atom(r"(?-u:\b)"),
            Some(b'B') => self.atom(r"(?-u:\B)"),
            Some(b'Q') => {
                self.take(2);
                let end = self.rest.find(r"\E").unwrap_or(self.rest.len());
                self.take(end).chars().for_each(|c| self.literal(c));
                self.eat(r"\E");
                return Ok(());
            }
            _ => {
                if self.perl_class() || self.unicode_class()? {
                    self.last = Last::Atom;
                } else {
                    let c = self.escaped_char()?;
                    self.literal(c);
                }
                return Ok(());
            }
        }
        self.take(2);
        Ok(())
    }

    /// `\d` and the like, which mean ASCII only.
    fn perl_class(&mut self) -> bool {
        let class = match self.rest.as_bytes().get(1) {
            Some(b'd') => "[0-9]",
            Some(b'D') => "[^0-9]",
            Some(b's') => r"[\t\n\x0C\r\x20]",
            Some(b'S') => r"[^\t\n\x0C\r\x20]",
            Some(b'w') => "[0-9A-Za-z_]",
            Some(b'W') => "[^0-9A-Za-z_]",
            _ => return false,
        };
        self.out.push_str(class);
        self.take(2);
        true
    }

    /// `\pL`, `\p{Greek}`, `\p{^Greek}`, `\PL`.
    fn unicode_class(&mut self) -> Result<bool, RegexError> {
        let start = self.rest;
        let negated = match self.rest.as_bytes().get(1) {
            Some(b'p') => false,
            Some(b'P') => true,
            _ => return Ok(false),
        };
        self.take(2);
        let (inverted, name) = if self.eat("{") {
            let inverted = self.eat("^");
            let end = self.rest.find('}').ok_or_else(|| syntax(INVALID_RANGE, start))?;
            let name = self.take(end);
            self.take(1);
            (inverted, name)
        } else {
            let length = self.peek().map_or(0, char::len_utf8);
            (false, self.take(length))
        };
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphabetic() || c == '_') {
            return Err(syntax(INVALID_RANGE, self.since(start)));
        }
        self.out.push_str(if negated == inverted { r"\p{" } else { r"\P{" });
        self.out.push_str(name);
        self.out.push('}');
        Ok(true)
    }

    /// The character that a backslash and what follows stand for.
    fn escaped_char(&mut self) -> Result<char, RegexError> {
        let start = self.rest;
        self.take(1);
        let Some(c) = self.peek() else { return Err(syntax("trailing backslash at end of expression", "")) };
        self.take(c.len_utf8());
        match c {
            'a' => Ok('\x07'),
            'f' => Ok('\x0C'),
            'n' => Ok('\n'),
            'r' => Ok('\r'),
            't' => Ok('\t'),
            'v' => Ok('\x0B'),
            'x' => self.hex(start),
            '0'..='7' => {
                // One digit other than 0 would be a backreference.
                let more = self.rest.bytes().take(2).take_while(|digit| matches!(digit, b'0'..=b'7')).count();
                if c != '0' && more == 0 {
                    return Err(syntax(INVALID_ESCAPE, self.since(start)));
                }
                self.take(more);
                self.code_point(start, &self.since(start)[1..], 8)
            }
            _ if c.is_ascii() && !c.is_ascii_alphanumeric() => Ok(c),
            _ => Err(syntax(INVALID_ESCAPE, self.since(start))),
        }
    }

    /// What follows `\x`: two digits, or any number of them in braces.
    fn hex(&mut self, start: &'a str) -> Result<char, RegexError> {
        let digits = if self.eat("{") {
            let end = self.rest.find('}').ok_or_else(|| syntax(INVALID_ESCAPE, start))?;
            let digits = self.take(end);
            self.take(1);
            digits
        } else {
            let length = self.rest.bytes().take(2).take_while(u8::is_ascii_hexdigit).count();
            if length < 2 {
                return Err(syntax(INVALID_ESCAPE, self.since(start)));
            }
            self.take(2)
        };
        self.code_point(start, digits, 16)
    }

    fn code_point(&self, start: &'a str, digits: &str, radix: u32) -> Result<char, RegexError> {
        let value = digits.chars().all(|c| c.is_digit(radix)).then(|| u32::from_str_radix(digits, radix).ok());
        value.flatten().and_then(char::from_u32).ok_or_else(|| syntax(INVALID_ESCAPE, self.since(start)))
    }

    /// A bracketed class, written anew so that no character in it has a meaning of its own.
    fn class(&mut self) -> Result<(), RegexError> {
        let start = self.rest;
        self.take(1);
        self.out.push('[');
        if self.eat("^") {
            self.out.push('^');
        }
        let mut is_first = true;
        loop {
            if self.rest.is_empty() {
                return Err(syntax("missing closing ]", start));
            }
            if self.rest.starts_with(']') && !is_first {
                break;
            }
            is_first = false;
            if self.posix_class()? || self.perl_class() || self.unicode_class()? {
                continue;
            }
            self.class_range()?;
        }
        self.take(1);
        self.atom("]");
        Ok(())
    }

    /// `[:alpha:]` or `[:^alpha:]` within a class.
    fn posix_class(&mut self) -> Result<bool, RegexError> {
        let Some(inner) = self.rest.strip_prefix("[:") else { return Ok(false) };
        let Some(end) = inner.find(":]") else { return Ok(false) };
        let class = self.take(end + 4);
        let name = &inner[..end];
        if !POSIX_CLASSES.contains(&name.strip_prefix('^').unwrap_or(name)) {
            return Err(syntax(INVALID_RANGE, class));
        }
        self.out.push_str(class);
        Ok(true)
    }

    /// A character or a range of them within a class.
    fn class_range(&mut self) -> Result<(), RegexError> {
        let start = self.rest;
        let low = self.class_char()?;
        let mut high = low;
        if self.rest.starts_with('-') && self.rest.len() > 1 && !self.rest.starts_with("-]") {
            self.take(1);
            high = self.class_char()?;
        }
        if high < low {
            return Err(syntax(INVALID_RANGE, self.since(start)));
        }
        self.out.extend(low.escape_unicode());
        self.out.push('-');
        self.out.extend(high.escape_unicode());
        Ok(())
    }

    fn class_char(&mut self) -> Result<char, RegexError> {
        match self.peek() {
            Some('\\') => self.escaped_char(),
            Some(c) => {
                self.take(c.len_utf8());
                Ok(c)
            }
            None => Err(syntax("missing closing ]", self.pattern)),
        }
    }
}

/// The length of the counted repetition, `{n}`, `{n,}` or `{n,m}`, that `text` starts with. Other braces are literal.
fn counted(text: &str) -> Option<usize> {
    let body = text.strip_prefix('{')?;
    let body = &body[..body.find('}')?];
    let is_count =
        |digits: &str| digits.bytes().all(|c| c.is_ascii_digit()) && (digits.len() < 2 || !digits.starts_with('0'));
    let (low, high) = body.split_once(',').unwrap_or((body, ""));
    (!low.is_empty() && is_count(low) && is_count(high)).then_some(body.len() + 2)
}
