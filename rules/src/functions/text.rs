//! Functions over text that both kinds of templates have.

use regex::{Regex, RegexBuilder};

use super::{one_text, text_of};
use crate::template::{Value, safe};

/// Most memory of a compiled regular expression.
const REGEX_BYTES_MAX: usize = 1 << 20;

const NAMES: [&str; 6] = ["title", "toUpper", "toLower", "match", "reReplaceAll", "safeHtml"];

pub(super) fn has(name: &str) -> bool {
    NAMES.contains(&name)
}

/// Calls one of them.
pub(super) fn call(name: &str, args: &[Value], bytes_max: usize) -> Result<Value, String> {
    match (name, args) {
        ("title", _) => Ok(Value::from(title(one_text(args)?))),
        ("toUpper", _) => Ok(Value::from(one_text(args)?.to_uppercase())),
        ("toLower", _) => Ok(Value::from(one_text(args)?.to_lowercase())),
        ("safeHtml", _) => one_text(args).map(safe),
        ("match", [pattern, text]) => Ok(Value::Bool(regex(text_of(pattern)?)?.is_match(text_of(text)?))),
        ("reReplaceAll", [pattern, replacement, text]) => {
            let (replacement, text) = (text_of(replacement)?, text_of(text)?);
            // Each place can become as long as the replacement and what it quotes.
            if text.len().saturating_mul(replacement.len() + 1) > bytes_max {
                return Err(format!("the result may be longer than {bytes_max} bytes"));
            }
            Ok(Value::from(regex(text_of(pattern)?)?.replace_all(text, replacement).into_owned()))
        }
        ("match", _) => Err(format!("a pattern and a text are wanted, there are {} arguments", args.len())),
        _ => Err(format!("a pattern, a replacement and a text are wanted, there are {} arguments", args.len())),
    }
}

fn regex(pattern: &str) -> Result<Regex, String> {
    RegexBuilder::new(pattern).size_limit(REGEX_BYTES_MAX).build().map_err(|error| error.to_string())
}

/// Every word with a capital.
fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut inside = false;
    for c in text.chars() {
        if inside {
            out.push(c);
        } else {
            out.extend(c.to_uppercase());
        }
        inside = c.is_alphanumeric() || matches!(c, '_' | '\'');
    }
    out
}
