//! What is known of the texts an expression matches, without running it.

use regex_syntax::hir::{Class, Hir, HirKind};

/// Most texts an expression is expanded to.
const TEXTS_MAX: usize = 4096;
/// Most bytes of all these texts.
const TEXT_BYTES_MAX: usize = 1 << 20;

/// Every text the expression matches, sorted, when there are few.
pub(super) fn all_texts(hir: &Hir) -> Option<Vec<String>> {
    let mut texts = alternatives(hir)?;
    texts.sort_unstable();
    texts.dedup();
    Some(texts)
}

/// Texts within the limits.
fn bounded(texts: Vec<String>) -> Option<Vec<String>> {
    let few = texts.len() <= TEXTS_MAX && texts.iter().map(String::len).sum::<usize>() <= TEXT_BYTES_MAX;
    few.then_some(texts)
}

fn alternatives(hir: &Hir) -> Option<Vec<String>> {
    match hir.kind() {
        HirKind::Empty => Some(vec![String::new()]),
        HirKind::Literal(literal) => Some(vec![String::from_utf8(literal.0.to_vec()).ok()?]),
        HirKind::Capture(capture) => alternatives(&capture.sub),
        HirKind::Class(Class::Unicode(class)) => {
            let count = class.iter().map(regex_syntax::hir::ClassUnicodeRange::len).sum::<usize>();
            let chars = class.iter().flat_map(|range| range.start()..=range.end());
            (count <= TEXTS_MAX).then(|| chars.map(String::from).collect())
        }
        HirKind::Alternation(parts) => {
            let mut texts = Vec::new();
            for part in parts {
                texts.extend(alternatives(part)?);
                if texts.len() > TEXTS_MAX {
                    return None;
                }
            }
            bounded(texts)
        }
        HirKind::Concat(parts) => {
            let mut texts = vec![String::new()];
            for part in parts {
                texts = products(texts, &alternatives(part)?)?;
            }
            Some(texts)
        }
        HirKind::Class(Class::Bytes(_)) | HirKind::Look(_) | HirKind::Repetition(_) => None,
    }
}

/// Every head followed by every tail.
fn products(mut heads: Vec<String>, tails: &[String]) -> Option<Vec<String>> {
    if let [only] = tails {
        // In place, so that many single tails in a row cost no more than their length.
        for head in &mut heads {
            head.push_str(only);
        }
        return if heads.len() * only.len() == 0 { Some(heads) } else { bounded(heads) };
    }
    let count = heads.len() * tails.len();
    let bytes = |texts: &[String]| texts.iter().map(String::len).sum::<usize>();
    if count > TEXTS_MAX || bytes(&heads) * tails.len() + bytes(tails) * heads.len() > TEXT_BYTES_MAX {
        return None;
    }
    Some(heads.iter().flat_map(|head| tails.iter().map(move |tail| format!("{head}{tail}"))).collect())
}

/// What every match starts with; perhaps nothing.
pub(super) fn prefix(hir: &Hir) -> String {
    match hir.kind() {
        HirKind::Literal(literal) => String::from_utf8(literal.0.to_vec()).unwrap_or_default(),
        HirKind::Capture(capture) => prefix(&capture.sub),
        HirKind::Concat(parts) => {
            let mut text = String::new();
            for part in parts {
                match part.kind() {
                    HirKind::Empty | HirKind::Look(_) => {}
                    HirKind::Literal(literal) => text.push_str(std::str::from_utf8(&literal.0).unwrap_or("")),
                    _ => {
                        text.push_str(&prefix(part));
                        break;
                    }
                }
            }
            text
        }
        _ => String::new(),
    }
}
