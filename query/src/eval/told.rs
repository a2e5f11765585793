//! Lists of annotations: each text once, the first ones kept, the rest counted. Clients compare texts, so what is told of
//! several places is one annotation, as in Prometheus.
//!
//! Threads keep lists of their own, which are joined in the order of the series, so that an answer tells the same
//! however many threads there were.

use std::collections::HashSet;
use std::fmt;
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};

use super::forced::Forced;
use super::summaries::Extent;

/// Most annotations of one kind that an answer tells one by one.
pub const ANNOTATIONS_TOLD_MAX: usize = 10;

/// One annotation.
#[derive(Debug, Clone)]
struct Line {
    text: String,
    /// The byte of the query it is about.
    at_byte: usize,
    /// What is told behind the text. It does not make another annotation of it.
    detail: Option<Detail>,
}

/// What is told behind a text, of all places that it is told of.
#[derive(Debug, Clone, Copy)]
pub(super) enum Detail {
    /// Of raised counts.
    Forced(Forced),
    /// Of summaries.
    Extent(Extent),
}

impl Detail {
    /// Of both; a text has one kind of detail.
    fn join(self, other: Self) -> Self {
        match (self, other) {
            (Self::Forced(one), Self::Forced(other)) => Self::Forced(one.join(other)),
            (Self::Extent(one), Self::Extent(other)) => Self::Extent(one.join(other)),
            (one, _) => one,
        }
    }
}

impl fmt::Display for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forced(forced) => forced.fmt(f),
            Self::Extent(extent) => extent.fmt(f),
        }
    }
}

/// The annotations of one kind.
#[derive(Debug, Default, Clone)]
pub(super) struct Told {
    /// The first ones in order.
    texts: Vec<Line>,
    /// Hashes of all: a query over many metrics may tell something of each.
    known: HashSet<u64>,
}

impl Told {
    /// Adds a text about what begins at a byte of the query. Told of several places, it stands for the last of them.
    pub(super) fn add(&mut self, text: String, at_byte: usize, detail: Option<Detail>) {
        if !self.known.insert(hash_of(&text)) {
            if let Some(told) = self.texts.iter_mut().find(|told| told.text == text) {
                told.at_byte = at_byte.max(told.at_byte);
                told.detail = told.detail.zip(detail).map(|(told, detail)| told.join(detail));
            }
        } else if self.texts.len() < ANNOTATIONS_TOLD_MAX {
            self.texts.push(Line { text, at_byte, detail });
        }
    }

    /// Adds those of another list.
    fn absorb(&mut self, other: Self) {
        for Line { text, at_byte, detail } in other.texts {
            self.add(text, at_byte, detail);
        }
        self.known.extend(other.known);
    }

    /// The same about an expression that is written the same elsewhere.
    fn moved(&self, from_byte: usize, to_byte: usize) -> Self {
        let moved = self
            .texts
            .iter()
            .map(|told| Line { at_byte: (told.at_byte + to_byte).saturating_sub(from_byte), ..told.clone() });
        Self { texts: moved.collect(), known: self.known.clone() }
    }

    /// The texts with their places, and a line that says how many more there were.
    pub(super) fn finish(self, kind: &str, place: impl Fn(usize) -> (usize, usize)) -> Vec<String> {
        let more = self.known.len() - self.texts.len();
        let told = self.texts.into_iter().map(|Line { text, at_byte, detail }| {
            let (line, column) = place(at_byte);
            let detail = detail.map_or_else(String::new, |detail| detail.to_string());
            format!("{text}{detail} ({line}:{column})")
        });
        let omitted = (more > 0).then(|| format!("{more} more {kind} annotations omitted"));
        told.chain(omitted).collect()
    }
}

fn hash_of(text: &str) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(text)
}

/// The annotations of both kinds.
#[derive(Debug, Default, Clone)]
pub(crate) struct ToldLists {
    pub(super) warnings: Told,
    pub(super) infos: Told,
}

impl ToldLists {
    pub(super) fn absorb(&mut self, other: Self) {
        self.warnings.absorb(other.warnings);
        self.infos.absorb(other.infos);
    }

    /// The same about an expression that is written the same elsewhere.
    pub(super) fn moved(&self, from_byte: usize, to_byte: usize) -> Self {
        Self { warnings: self.warnings.moved(from_byte, to_byte), infos: self.infos.moved(from_byte, to_byte) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn many(range: std::ops::Range<usize>, at_byte: usize) -> Told {
        let mut told = Told::default();
        range.for_each(|text| told.add(text.to_string(), at_byte, None));
        told
    }

    fn shown(told: Told) -> Vec<String> {
        told.finish("info", |at_byte| (1, at_byte))
    }

    #[test]
    fn joined_lists_tell_what_one_list_would() {
        let mut joined = many(0..8, 3);
        joined.absorb(many(4..30, 3));
        assert_eq!(shown(joined), shown(many(0..30, 3)));
    }

    #[test]
    fn a_text_is_told_once_of_its_last_place() {
        let first = many(0..30, 3);
        let mut both = first.moved(3, 40);
        both.absorb(first);
        let texts = shown(both);
        assert_eq!((texts[0].as_str(), texts[10].as_str()), ("0 (1:40)", "20 more info annotations omitted"));
    }
}
