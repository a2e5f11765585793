//! Regular expressions in RE2's dialect, anchored and bounded in size.
//!
//! Owns what an expression may cost and how it is anchored; `translate` knows the dialects, `literals` the short cuts
//! that an index can take.

mod literals;
mod translate;

use regex::{Regex, RegexBuilder};
use regex_syntax::hir::{Hir, HirKind};

/// Longest expression, in bytes.
pub const PATTERN_BYTES_MAX: usize = 1 << 18;
/// Largest compiled program, in bytes.
pub const PROGRAM_BYTES_MAX: usize = 1 << 20;
/// Deepest nesting of groups and repetitions.
pub const NEST_MAX: u32 = 100;

/// Why an expression is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages name every field")]
pub enum RegexError {
    /// No expression of the dialect.
    #[error("error parsing regexp: {reason}: `{fragment}`")]
    Syntax { reason: String, fragment: String },
    /// The expression is too long.
    #[error("error parsing regexp: expression of {bytes} bytes is longer than {limit_bytes}")]
    TooLong { bytes: usize, limit_bytes: usize },
    /// The compiled program is too large.
    #[error("error parsing regexp: expression compiles to more than {limit_bytes} bytes: `{fragment}`")]
    TooLarge { fragment: String, limit_bytes: usize },
}

/// A compiled expression that has to match a whole text, or the finite set of texts it stands for.
#[derive(Debug, Clone)]
pub enum Pattern {
    /// Matches exactly these texts, sorted: `a|b|c`, `x(1|2)`.
    OneOf(Vec<String>),
    /// Matches `regex`, and only texts that start with `prefix`, which may be empty.
    General {
        /// The expression.
        regex: Regex,
        /// What every match starts with.
        prefix: String,
    },
}

impl Pattern {
    /// Whether the whole of `text` matches.
    pub fn is_match(&self, text: &str) -> bool {
        match self {
            Self::OneOf(texts) => texts.binary_search_by(|known| known.as_str().cmp(text)).is_ok(),
            Self::General { regex, prefix } => text.starts_with(prefix.as_str()) && regex.is_match(text),
        }
    }
}

/// Compiles `pattern` so that it has to match a whole text, with `.` matching newlines too, as in Prometheus 3.
///
/// # Errors
///
/// When `pattern` is no valid expression, too long, or compiles too large.
pub fn compile_anchored(pattern: &str) -> Result<Pattern, RegexError> {
    let (translated, hir) = parse(pattern)?;
    match literals::all_texts(&hir) {
        Some(texts) => Ok(Pattern::OneOf(texts)),
        None => Ok(Pattern::General { regex: compile(pattern, &translated)?, prefix: literals::prefix(&hir) }),
    }
}

/// Compiles `pattern` as [`compile_anchored`] does, for the sake of what its groups capture.
///
/// # Errors
///
/// When `pattern` is no valid expression, too long, or compiles too large.
pub fn compile_captures(pattern: &str) -> Result<Regex, RegexError> {
    let (translated, _) = parse(pattern)?;
    compile(pattern, &translated)
}

/// Compiles `pattern` to be looked for anywhere in a text, with `.` matching no newline, as Go's package `regexp` does.
///
/// # Errors
///
/// When `pattern` is no valid expression, too long, or compiles too large.
pub fn compile_search(pattern: &str) -> Result<Regex, RegexError> {
    let (translated, _) = parse(pattern)?;
    build(pattern, &translated)
}

/// The expression in the dialect of the `regex` crate, and its meaning. It is complete in itself, so that nothing in it
/// can reach the anchors that [`compile`] puts around it.
fn parse(pattern: &str) -> Result<(String, Hir), RegexError> {
    if pattern.len() > PATTERN_BYTES_MAX {
        return Err(RegexError::TooLong { bytes: pattern.len(), limit_bytes: PATTERN_BYTES_MAX });
    }
    let translated = translate::translate(pattern)?;
    let parsed =
        regex_syntax::ParserBuilder::new().nest_limit(NEST_MAX).dot_matches_new_line(true).build().parse(&translated);
    let hir = parsed.map_err(|error| syntax(pattern, &error.to_string()))?;
    if !repeats_within(&hir, translate::REPEAT_MAX) {
        let reason = "invalid repeat count".to_owned();
        return Err(RegexError::Syntax { reason, fragment: shorten(pattern) });
    }
    Ok((translated, hir))
}

fn compile(pattern: &str, translated: &str) -> Result<Regex, RegexError> {
    build(pattern, &format!("^(?s:{translated})$"))
}

/// Compiles `text`, which `pattern` became.
fn build(pattern: &str, text: &str) -> Result<Regex, RegexError> {
    // The anchors and the group around the expression are one level more.
    let built = RegexBuilder::new(text).size_limit(PROGRAM_BYTES_MAX).nest_limit(NEST_MAX + 2).build();
    built.map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => {
            RegexError::TooLarge { fragment: shorten(pattern), limit_bytes: PROGRAM_BYTES_MAX }
        }
        other => syntax(pattern, &other.to_string()),
    })
}

/// Whether the counts of nested repetitions multiply to at most `limit`.
fn repeats_within(hir: &Hir, limit: u32) -> bool {
    match hir.kind() {
        HirKind::Repetition(repetition) => match repetition.max.unwrap_or(repetition.min) {
            count if count > limit => false,
            count => repeats_within(&repetition.sub, limit / count.max(1)),
        },
        HirKind::Capture(capture) => repeats_within(&capture.sub, limit),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => parts.iter().all(|part| repeats_within(part, limit)),
        HirKind::Empty | HirKind::Literal(_) | HirKind::Class(_) | HirKind::Look(_) => true,
    }
}

/// The error that a message of the `regex` crate, whose last line is the reason, tells of `pattern`.
fn syntax(pattern: &str, message: &str) -> RegexError {
    let last = message.lines().last().unwrap_or("").trim();
    let reason = last.strip_prefix("error: ").unwrap_or(last).to_owned();
    RegexError::Syntax { reason, fragment: shorten(pattern) }
}

/// The start of an expression that may be long.
fn shorten(pattern: &str) -> String {
    pattern.chars().take(100).collect()
}
