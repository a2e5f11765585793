//! Functions over text that both kinds of templates have.

use model::re2::compile_search;

use super::{one_text, text_of};
use crate::template::{Value, safe, too_long};

const NAMES: [&str; 5] = ["toUpper", "toLower", "match", "reReplaceAll", "safeHtml"];

pub(super) fn has(name: &str) -> bool {
    NAMES.contains(&name)
}

/// Calls one of them.
pub(super) fn call(name: &str, args: &[Value], bytes_max: usize) -> Result<Value, String> {
    match (name, args) {
        ("toUpper", _) => Ok(Value::from(one_text(args)?.to_uppercase())),
        ("toLower", _) => Ok(Value::from(one_text(args)?.to_lowercase())),
        ("safeHtml", _) => one_text(args).map(safe),
        ("match", [pattern, text]) => {
            let regex = compile_search(text_of(pattern)?).map_err(|error| error.to_string())?;
            Ok(Value::Bool(regex.is_match(text_of(text)?)))
        }
        ("reReplaceAll", [pattern, replacement, text]) => {
            replace_all(text_of(pattern)?, text_of(replacement)?, text_of(text)?, bytes_max).map(Value::from)
        }
        ("match", _) => Err(format!("a pattern and a text are wanted, there are {} arguments", args.len())),
        _ => Err(format!("a pattern, a replacement and a text are wanted, there are {} arguments", args.len())),
    }
}

fn replace_all(pattern: &str, replacement: &str, text: &str, bytes_max: usize) -> Result<String, String> {
    let regex = compile_search(pattern).map_err(|error| error.to_string())?;
    let (mut out, mut behind) = (String::new(), 0);
    for found in regex.captures_iter(text) {
        let place = found.get_match();
        out.push_str(text.get(behind..place.start()).unwrap_or_default());
        found.expand(replacement, &mut out);
        behind = place.end();
        if out.len() > bytes_max {
            return Err(too_long(bytes_max));
        }
    }
    out.push_str(text.get(behind..).unwrap_or_default());
    Ok(out)
}

/// Every word with a capital, as Go's `strings.Title`: all but letters, digits and `_` parts words.
pub(super) fn title_rule(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut inside = false;
    for c in text.chars() {
        if inside {
            out.push(c);
        } else {
            out.extend(c.to_uppercase());
        }
        inside = if c.is_ascii() { c.is_ascii_alphanumeric() || c == '_' } else { !c.is_whitespace() };
    }
    out
}

/// Every word with one capital and small letters, as `golang.org/x/text/cases` has them: digits and `_` do not part words, nor does
/// one `'`, `.` or `:` alone between letters.
pub(super) fn title_notification(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut inside, mut was_mid) = (false, false);
    for c in text.chars() {
        let is_mid = matches!(c, '\'' | '.' | ':' | '\u{b7}' | '\u{2018}' | '\u{2019}' | '\u{2024}' | '\u{2027}');
        inside &= !(was_mid && is_mid);
        if c.is_lowercase() || c.is_uppercase() {
            if inside {
                out.extend(c.to_lowercase());
            } else {
                let mut capital = c.to_uppercase();
                out.extend(capital.next());
                out.extend(capital.flat_map(char::to_lowercase));
            }
            inside = true;
        } else {
            out.push(c);
            inside &= is_mid || c.is_alphanumeric() || c == '_';
        }
        was_mid = is_mid;
    }
    out
}
