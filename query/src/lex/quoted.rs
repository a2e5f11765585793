//! String literals: from the quoted form to the text they stand for.

use crate::ast::Span;
use crate::parse_error::Fault;

/// The text of the string literal `literal` (with its quotes), which starts at byte `at` of the query.
pub(crate) fn unquote(literal: &str, at: usize) -> Result<String, Fault> {
    let body = &literal[1..literal.len() - 1];
    if literal.starts_with('`') || !body.contains('\\') {
        return Ok(body.to_owned());
    }
    let quote = literal.as_bytes()[0];
    let mut bytes = Vec::with_capacity(body.len());
    let mut rest = body;
    while let Some(slash) = rest.find('\\') {
        bytes.extend_from_slice(&rest.as_bytes()[..slash]);
        let escape = &rest[slash + 1..];
        let start = at + 1 + body.len() - escape.len() - 1;
        let (length, text) = unescape(escape, quote).map_err(|problem| problem.into_fault(escape, start))?;
        text.append_to(&mut bytes);
        rest = &escape[length..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8(bytes).map_err(|_| {
        Fault::new(Span { start: at, end: at + literal.len() }, format!("string {literal} is not valid UTF-8"))
    })
}

/// What an escape sequence stands for.
enum Escaped {
    Byte(u8),
    Char(char),
}

impl Escaped {
    fn append_to(self, bytes: &mut Vec<u8>) {
        match self {
            Self::Byte(byte) => bytes.push(byte),
            Self::Char(c) => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

/// Why a sequence is none.
enum Problem {
    /// No escape starts with this character.
    Unknown,
    /// Too few digits, or characters that are none.
    Digits,
    /// A number that stands for no character, or for no byte.
    Value,
}

impl Problem {
    fn into_fault(self, escape: &str, start: usize) -> Fault {
        let first = escape.chars().next().unwrap_or('\\');
        let span = Span { start, end: start + 1 + first.len_utf8() };
        match self {
            Self::Unknown => Fault::new(span, format!("unknown escape sequence \"\\{first}\"")).with_hint(format!(
                "write \\\\{first} for a backslash before {first}, or use `...`, where nothing is escaped"
            )),
            Self::Digits => Fault::new(span, format!("illegal character in escape sequence \"\\{first}\""))
                .with_hint("write \\ooo, \\xhh, \\uhhhh or \\Uhhhhhhhh"),
            Self::Value => Fault::new(span, "escape sequence is an invalid Unicode code point"),
        }
    }
}

/// How many bytes the escape sequence that `escape` starts with takes (the backslash is gone), and what it stands for.
fn unescape(escape: &str, quote: u8) -> Result<(usize, Escaped), Problem> {
    let first = *escape.as_bytes().first().ok_or(Problem::Unknown)?;
    let byte = |byte| Ok((1, Escaped::Byte(byte)));
    match first {
        b'a' => byte(0x07),
        b'b' => byte(0x08),
        b'f' => byte(0x0c),
        b'n' => byte(b'\n'),
        b'r' => byte(b'\r'),
        b't' => byte(b'\t'),
        b'v' => byte(0x0b),
        b'\\' => byte(b'\\'),
        _ if first == quote => byte(quote),
        b'0'..=b'7' => {
            let value = u8::try_from(digits(escape, 0, 3, 8)?).map_err(|_| Problem::Value)?;
            Ok((3, Escaped::Byte(value)))
        }
        b'x' => Ok((3, Escaped::Byte(u8::try_from(digits(escape, 1, 2, 16)?).map_err(|_| Problem::Value)?))),
        b'u' => Ok((5, Escaped::Char(char::from_u32(digits(escape, 1, 4, 16)?).ok_or(Problem::Value)?))),
        b'U' => Ok((9, Escaped::Char(char::from_u32(digits(escape, 1, 8, 16)?).ok_or(Problem::Value)?))),
        _ => Err(Problem::Unknown),
    }
}

/// The number of exactly `count` digits after `skip` bytes.
fn digits(escape: &str, skip: usize, count: usize, radix: u32) -> Result<u32, Problem> {
    let digits = escape.get(skip..skip + count).ok_or(Problem::Digits)?;
    if !digits.chars().all(|c| c.is_digit(radix)) {
        return Err(Problem::Digits);
    }
    u32::from_str_radix(digits, radix).map_err(|_| Problem::Digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(literal: &str, want: &str) {
        assert_eq!(unquote(literal, 0), Ok(want.to_owned()), "{literal}");
    }

    #[test]
    fn strings() {
        check("''", "");
        check("\"a'b\"", "a'b");
        check("'a\"b'", "a\"b");
        check("`a\\n\nb`", "a\\n\nb");
        check(r#""\a\b\f\n\r\t\v\\\"""#, "\u{7}\u{8}\u{c}\n\r\t\u{b}\\\"");
        check(r"'\''", "'");
        check(r#""\101\x42\u00e9\U0001F600""#, "ABé😀");
        check(r#""\xc3\xa9 \303\251""#, "é é");
        check(r#""é\\dé""#, "é\\dé");
    }

    #[track_caller]
    fn check_fault(literal: &str, start: usize, want: &str) {
        let fault = unquote(literal, 10).expect_err("no valid string");
        assert_eq!((fault.span.start, fault.message.as_str()), (start, want), "{literal}");
    }

    #[test]
    fn no_strings() {
        check_fault(r#""a\d""#, 12, r#"unknown escape sequence "\d""#);
        check_fault(r#""\'""#, 11, r#"unknown escape sequence "\'""#);
        check_fault(r#""\é""#, 11, r#"unknown escape sequence "\é""#);
        check_fault(r#""\x4""#, 11, r#"illegal character in escape sequence "\x""#);
        check_fault(r#""\x+4""#, 11, r#"illegal character in escape sequence "\x""#);
        check_fault(r#""\18""#, 11, r#"illegal character in escape sequence "\1""#);
        check_fault(r#""\400""#, 11, "escape sequence is an invalid Unicode code point");
        check_fault(r#""\ud800""#, 11, "escape sequence is an invalid Unicode code point");
        check_fault(r#""\U00110000""#, 11, "escape sequence is an invalid Unicode code point");
        check_fault(r#""a\xc5z""#, 10, r#"string "a\xc5z" is not valid UTF-8"#);
    }
}
