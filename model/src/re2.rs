//! Regular expressions in RE2's dialect, anchored and bounded in size.
//!
//! Owns the translation to the `regex` crate's dialect and the literal analysis that indexes use.

use regex::{Regex, RegexBuilder};
use regex_syntax::hir::{Class, Hir, HirKind};

/// Largest compiled program, in bytes.
pub const PROGRAM_BYTES_MAX: usize = 1 << 20;
/// Deepest nesting of groups and repetitions.
pub const NEST_MAX: u32 = 100;
/// Most texts an expression is expanded to.
const ALTERNATIVES_MAX: usize = 256;

/// Why an expression is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages name every field")]
pub enum RegexError {
    /// No expression of the dialect.
    #[error("error parsing regexp: {reason}: `{pattern}`")]
    Syntax { pattern: String, reason: String },
    /// The compiled program is too large.
    #[error("regexp compiles to more than {limit_bytes} bytes: `{pattern}`")]
    TooLarge { pattern: String, limit_bytes: usize },
}

/// What is known of the texts an expression matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Literals {
    /// Exactly these, sorted.
    OneOf(Vec<String>),
    /// All start with this text, which may be empty.
    Prefix(String),
}

/// Compiles `pattern` so that it has to match a whole text, with `.` matching newlines too, as in Prometheus 3.
///
/// # Errors
///
/// When `pattern` is no valid expression or compiles too large.
pub fn compile_anchored(pattern: &str) -> Result<(Regex, Literals), RegexError> {
    let anchored = format!("^(?s:{pattern})$");
    let syntax = |reason: String| RegexError::Syntax { pattern: pattern.to_owned(), reason };
    let regex =
        RegexBuilder::new(&anchored).size_limit(PROGRAM_BYTES_MAX).nest_limit(NEST_MAX).build().map_err(|error| {
            match error {
                regex::Error::CompiledTooBig(_) => {
                    RegexError::TooLarge { pattern: pattern.to_owned(), limit_bytes: PROGRAM_BYTES_MAX }
                }
                other => syntax(last_line(&other.to_string())),
            }
        })?;
    let hir = regex_syntax::ParserBuilder::new()
        .nest_limit(NEST_MAX)
        .dot_matches_new_line(true)
        .build()
        .parse(pattern)
        .map_err(|error| syntax(last_line(&error.to_string())))?;
    let literals = match alternatives(&hir) {
        Some(mut texts) => {
            texts.sort();
            texts.dedup();
            Literals::OneOf(texts)
        }
        None => Literals::Prefix(prefix(&hir)),
    };
    Ok((regex, literals))
}

fn last_line(message: &str) -> String {
    let last = message.lines().last().unwrap_or("").trim();
    last.strip_prefix("error: ").unwrap_or(last).to_owned()
}

/// Every text the expression matches, when there are few.
fn alternatives(hir: &Hir) -> Option<Vec<String>> {
    match hir.kind() {
        HirKind::Empty => Some(vec![String::new()]),
        HirKind::Literal(literal) => Some(vec![String::from_utf8(literal.0.to_vec()).ok()?]),
        HirKind::Capture(capture) => alternatives(&capture.sub),
        HirKind::Class(Class::Unicode(class)) => {
            let mut texts = Vec::new();
            for range in class.iter() {
                if texts.len() + range.len() > ALTERNATIVES_MAX {
                    return None;
                }
                texts.extend((range.start()..=range.end()).map(String::from));
            }
            Some(texts)
        }
        HirKind::Alternation(parts) => {
            let mut texts = Vec::new();
            for part in parts {
                texts.extend(alternatives(part)?);
                if texts.len() > ALTERNATIVES_MAX {
                    return None;
                }
            }
            Some(texts)
        }
        HirKind::Concat(parts) => {
            let mut texts = vec![String::new()];
            for part in parts {
                let tails = alternatives(part)?;
                if texts.len() * tails.len() > ALTERNATIVES_MAX {
                    return None;
                }
                texts = texts.iter().flat_map(|head| tails.iter().map(move |tail| format!("{head}{tail}"))).collect();
            }
            Some(texts)
        }
        HirKind::Class(Class::Bytes(_)) | HirKind::Look(_) | HirKind::Repetition(_) => None,
    }
}

/// What every match starts with.
fn prefix(hir: &Hir) -> String {
    match hir.kind() {
        HirKind::Literal(literal) => String::from_utf8(literal.0.to_vec()).unwrap_or_default(),
        HirKind::Capture(capture) => prefix(&capture.sub),
        HirKind::Concat(parts) => {
            let mut text = String::new();
            for part in parts {
                if let Some([only]) = alternatives(part).as_deref() {
                    text.push_str(only);
                } else {
                    text.push_str(&prefix(part));
                    break;
                }
            }
            text
        }
        _ => String::new(),
    }
}
