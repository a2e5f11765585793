//! Texts and labels as Go writes them in the text forms of profiles: `"a\tb"`, `{"job":"x", "tenant":"a"}`.
#![warn(clippy::indexing_slicing)]

/// Most labels of one stack; those beyond are left out.
pub(super) const LABELS_MAX: usize = 64;

/// Reads the quoted text at the start of `text`; returns it and what follows. Nothing when it is malformed.
pub(super) fn unquote(text: &str) -> Option<(String, &str)> {
    let mut bytes = Vec::new();
    let mut rest = text.strip_prefix('"')?.chars();
    loop {
        match rest.next()? {
            '"' => return Some((String::from_utf8_lossy(&bytes).into_owned(), rest.as_str())),
            '\\' => match escaped(&mut rest)? {
                Escaped::Byte(byte) => bytes.push(byte),
                Escaped::Char(c) => push(&mut bytes, c),
            },
            c => push(&mut bytes, c),
        }
    }
}

fn push(bytes: &mut Vec<u8>, c: char) {
    bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}

enum Escaped {
    /// One byte of a text, which need not be valid UTF-8.
    Byte(u8),
    Char(char),
}

fn escaped(rest: &mut std::str::Chars<'_>) -> Option<Escaped> {
    let byte = |byte| Some(Escaped::Byte(byte));
    match rest.next()? {
        'a' => byte(7),
        'b' => byte(8),
        'f' => byte(12),
        'n' => byte(b'\n'),
        'r' => byte(b'\r'),
        't' => byte(b'\t'),
        'v' => byte(11),
        c @ ('\\' | '"' | '\'') => Some(Escaped::Char(c)),
        'x' => u8::try_from(digits(rest, 2, 16)?).ok().map(Escaped::Byte),
        'u' => char::from_u32(digits(rest, 4, 16)?).map(Escaped::Char),
        'U' => char::from_u32(digits(rest, 8, 16)?).map(Escaped::Char),
        first @ '0'..='7' => {
            let high = first.to_digit(8)? * 64;
            u8::try_from(high + digits(rest, 2, 8)?).ok().map(Escaped::Byte)
        }
        _ => None,
    }
}

fn digits(rest: &mut std::str::Chars<'_>, count: usize, radix: u32) -> Option<u32> {
    (0..count).try_fold(0u32, |number, _| number.checked_mul(radix)?.checked_add(rest.next()?.to_digit(radix)?))
}

/// Reads labels between braces. Names and values are quoted or bare; a bare value ends at a comma.
pub(super) fn labels(text: &str) -> Option<Vec<(String, String)>> {
    let mut rest = text.trim().strip_prefix('{')?.strip_suffix('}')?.trim();
    let mut all = Vec::new();
    while !rest.is_empty() && all.len() < LABELS_MAX {
        let (name, after) = token(rest, ':')?;
        let (value, after) = token(after.trim_start().strip_prefix(':')?.trim_start(), ',')?;
        all.push((name, value));
        let after = after.trim_start();
        rest = if after.is_empty() { after } else { after.strip_prefix(',')?.trim_start() };
    }
    Some(all)
}

/// A quoted text, or everything up to `end`.
fn token(text: &str, end: char) -> Option<(String, &str)> {
    if text.starts_with('"') {
        return unquote(text);
    }
    let (bare, rest) = text.split_at(text.find(end).unwrap_or(text.len()));
    Some((bare.trim_end().to_owned(), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, want: Option<&str>) {
        assert_eq!(unquote(text).map(|(text, rest)| format!("{text}|{rest}")).as_deref(), want, "{text}");
    }

    #[test]
    fn quoted_texts() {
        check(r#""""#, Some("|"));
        check(r#""a b":1"#, Some("a b|:1"));
        check(r#""\a\b\f\n\r\t\v\\\"\'""#, Some("\u{7}\u{8}\u{c}\n\r\t\u{b}\\\"'|"));
        check(r#""\xc3\xa9\u00e9\U0001F600\101""#, Some("éé😀A|"));
        check(r#""\xff""#, Some("\u{fffd}|"));
        for broken in ["", "a", "\"", r#""\"#, r#""\q""#, r#""\x4""#, r#""\ud800""#, r#""\777""#, r#""\u00"#] {
            check(broken, None);
        }
    }

    #[track_caller]
    fn check_labels(text: &str, want: Option<&[(&str, &str)]>) {
        let got = labels(text);
        let got: Option<Vec<(&str, &str)>> =
            got.as_ref().map(|all| all.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect());
        assert_eq!(got.as_deref(), want, "{text}");
    }

    #[test]
    fn labels_quoted_and_bare() {
        check_labels(r#"{"job":"x", "tenant":"a"}"#, Some(&[("job", "x"), ("tenant", "a")]));
        check_labels(r#"{"a": "x, }]:", "b": ""}"#, Some(&[("a", "x, }]:"), ("b", "")]));
        check_labels("{job: x y, tenant: a}", Some(&[("job", "x y"), ("tenant", "a")]));
        check_labels(r#"{job: "x, y"}"#, Some(&[("job", "x, y")]));
        check_labels("{}", Some(&[]));
        for broken in ["", "{", "job: x", "{job}", r#"{"job" "x"}"#, r#"{"job":"x" "y"}"#] {
            check_labels(broken, None);
        }
        let many: Vec<String> = (0..1000).map(|n| format!("k{n}: v")).collect();
        assert_eq!(labels(&format!("{{{}}}", many.join(", "))).map(|all| all.len()), Some(LABELS_MAX));
    }
}
