//! Label sets: sorted, unique `name="value"` pairs packed into one string.
//!
//! Owns the packed form, its builder and the limits on labels. Matching lives in `matcher`, parsing of
//! `{a="b"}` in `exposition` and in the query language.
//!
//! The packed form is the pairs in name order, each as length, name, length, value. A length is written in
//! base 64, low digits first, six bits to a byte, with bit 6 set on every byte but the last. All length
//! bytes are therefore ASCII, the whole is valid UTF-8, and a set is one allocation that is compared for
//! equality, hashed and stored as it is. Two equal sets have equal packed forms.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::label_bytes::{length_bytes, push_length, split_pair, take_length};

/// The label that holds the metric name.
pub const METRIC_NAME: &str = "__name__";
/// Longest name or value the packed form can hold: four base-64 digits of length.
pub(crate) const TEXT_BYTES_MAX: usize = (1 << 24) - 1;
/// Longest packed form, whatever a caller's limits say.
pub(crate) const SET_BYTES_MAX: usize = (1 << 31) - 1;
/// The label of a classic histogram bucket's upper bound.
pub const BUCKET_LABEL: &str = "le";

/// Bounds on label sets from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LabelLimits {
    /// Most labels in one set, the metric name included.
    pub labels_max: usize,
    /// Longest label name, in bytes.
    pub name_bytes_max: usize,
    /// Longest label value, in bytes.
    pub value_bytes_max: usize,
    /// Longest packed set, in bytes.
    pub set_bytes_max: usize,
}

impl Default for LabelLimits {
    fn default() -> Self {
        Self { labels_max: 64, name_bytes_max: 512, value_bytes_max: 4096, set_bytes_max: 16 * 1024 }
    }
}

/// Why a label set is refused. Every variant is a fault of the sender.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages name every field")]
pub enum LabelError {
    /// A name with no characters.
    #[error("label name is empty")]
    EmptyName,
    /// The same name twice.
    #[error("label name {name:?} occurs twice")]
    Duplicate { name: String },
    /// More labels than the limit.
    #[error("{found} labels in one set, the limit is {limit}")]
    TooMany { found: usize, limit: usize },
    /// A name longer than the limit.
    #[error("label name starting {prefix:?} has {found_bytes} bytes, the limit is {limit_bytes}")]
    NameTooLong { prefix: String, found_bytes: usize, limit_bytes: usize },
    /// A value longer than the limit.
    #[error("value of label {name:?} has {found_bytes} bytes, the limit is {limit_bytes}")]
    ValueTooLong { name: String, found_bytes: usize, limit_bytes: usize },
    /// The packed set is longer than the limit.
    #[error("label set has {found_bytes} bytes, the limit is {limit_bytes}")]
    SetTooLong { found_bytes: usize, limit_bytes: usize },
    /// Stored bytes that are no packed label set.
    #[error("packed label set is damaged at byte {at_byte}")]
    Damaged { at_byte: usize },
}

/// An owned label set. Cloning shares the bytes, which may be part of a [text of several](crate::LabelSets).
#[derive(Clone)]
pub struct Labels {
    text: Arc<str>,
    start: u32,
    end: u32,
}

/// A borrowed label set, in the packed form.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct LabelsRef<'a>(&'a str);

impl Labels {
    /// The set without labels.
    pub fn empty() -> Self {
        LabelsRef("").to_owned()
    }

    /// Builds a set from pairs in any order; empty values are left out, as PromQL has them.
    ///
    /// # Errors
    ///
    /// When a name is empty or occurs twice.
    pub fn from_pairs<N: AsRef<str>, V: AsRef<str>>(
        pairs: impl IntoIterator<Item = (N, V)>,
    ) -> Result<Self, LabelError> {
        let mut builder = LabelsBuilder::new();
        for (name, value) in pairs {
            builder.push(name.as_ref(), value.as_ref());
        }
        builder.build()
    }

    /// Checks and wraps a packed form read from outside, such as the catalog.
    ///
    /// # Errors
    ///
    /// [`LabelError::Damaged`] when `packed` is not canonical: lengths, order, uniqueness.
    pub fn from_packed(packed: &str) -> Result<Self, LabelError> {
        LabelsRef::from_packed(packed).map(LabelsRef::to_owned)
    }

    /// The set that is packed from `start` to `end` of a text.
    pub(crate) fn of_shared(text: Arc<str>, start: u32, end: u32) -> Self {
        Self { text, start, end }
    }

    /// The borrowed form.
    #[inline]
    pub fn as_ref(&self) -> LabelsRef<'_> {
        LabelsRef(self.packed())
    }

    /// The packed form.
    #[inline]
    pub fn packed(&self) -> &str {
        &self.text[self.start as usize..self.end as usize]
    }

    /// The pairs in name order.
    pub fn iter(&self) -> LabelIter<'_> {
        self.as_ref().iter()
    }

    /// The value of `name`, if present.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.as_ref().get(name)
    }

    /// The metric name, or the empty string.
    pub fn metric_name(&self) -> &str {
        self.get(METRIC_NAME).unwrap_or("")
    }

    /// Whether there are no labels.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }
}

impl PartialEq for Labels {
    fn eq(&self, other: &Self) -> bool {
        self.packed() == other.packed()
    }
}

impl Eq for Labels {}

impl Hash for Labels {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.packed().hash(state);
    }
}

impl<'a> LabelsRef<'a> {
    /// Checks and wraps a packed form; see [`Labels::from_packed`].
    ///
    /// # Errors
    ///
    /// [`LabelError::Damaged`] when `packed` is not canonical.
    pub fn from_packed(packed: &'a str) -> Result<Self, LabelError> {
        if packed.len() > SET_BYTES_MAX {
            return Err(LabelError::Damaged { at_byte: SET_BYTES_MAX });
        }
        let mut at_byte = 0;
        let mut last: Option<&str> = None;
        while at_byte < packed.len() {
            let damaged = LabelError::Damaged { at_byte };
            let Some((name, value, next)) = read_pair(packed, at_byte) else { return Err(damaged) };
            if name.is_empty() || value.is_empty() || last.is_some_and(|last| last >= name) {
                return Err(damaged);
            }
            let written = next - at_byte;
            if written != pair_bytes(name, value) {
                return Err(damaged);
            }
            last = Some(name);
            at_byte = next;
        }
        Ok(Self(packed))
    }

    /// Wraps a packed form that was checked before.
    pub(crate) fn trusted(packed: &'a str) -> Self {
        debug_assert!(Self::from_packed(packed).is_ok(), "packed labels are canonical");
        Self(packed)
    }

    /// The packed form.
    pub fn packed(self) -> &'a str {
        self.0
    }

    /// An owned copy.
    #[expect(clippy::missing_panics_doc, reason = "no longer set is made")]
    pub fn to_owned(self) -> Labels {
        let end = u32::try_from(self.0.len()).expect("shorter than SET_BYTES_MAX");
        Labels { text: Arc::from(self.0), start: 0, end }
    }

    /// The pairs in name order.
    pub fn iter(self) -> LabelIter<'a> {
        LabelIter { packed: self.0, at_byte: 0 }
    }

    /// The value of `name`, if present.
    pub fn get(self, name: &str) -> Option<&'a str> {
        for (found, value) in self.iter() {
            match found.cmp(name) {
                Ordering::Less => {}
                Ordering::Equal => return Some(value),
                Ordering::Greater => return None,
            }
        }
        None
    }
}

/// Iterates over the pairs of a label set in name order.
#[derive(Debug, Clone)]
pub struct LabelIter<'a> {
    packed: &'a str,
    at_byte: usize,
}

impl<'a> Iterator for LabelIter<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let (name, value, next) = read_pair(self.packed, self.at_byte)?;
        self.at_byte = next;
        Some((name, value))
    }
}

impl<'a> IntoIterator for &'a Labels {
    type Item = (&'a str, &'a str);
    type IntoIter = LabelIter<'a>;

    fn into_iter(self) -> LabelIter<'a> {
        self.iter()
    }
}

/// Label sets order by their pairs, as Prometheus orders them; the packed bytes would order by length first.
impl Ord for LabelsRef<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        let same_bytes = common_prefix(self.0.as_bytes(), other.0.as_bytes());
        if same_bytes == self.0.len() && same_bytes == other.0.len() {
            return Ordering::Equal;
        }
        // Pairs that lie in the common prefix are equal; label sets of one target share most of theirs.
        let mut at_byte = 0;
        while let Some(next) = pair_end(self.0, at_byte).filter(|&next| next <= same_bytes) {
            at_byte = next;
        }
        let rest = |packed| LabelIter { packed, at_byte };
        rest(self.0).cmp(rest(other.0))
    }
}

impl PartialOrd for LabelsRef<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Labels {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_ref().cmp(&other.as_ref())
    }
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Default for Labels {
    fn default() -> Self {
        Self::empty()
    }
}

/// `name{a="b"}`, the notation of the exposition format; names outside its grammar are quoted.
impl fmt::Display for LabelsRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "{";
        let mut name_shown = false;
        match self.get(METRIC_NAME) {
            Some(name) if is_metric_name(name) => {
                f.write_str(name)?;
                name_shown = true;
            }
            Some(name) => {
                name_shown = true;
                write!(f, "{{{}", Quoted(name))?;
                separator = ", ";
            }
            None => {}
        }
        for (name, value) in self.iter() {
            if name == METRIC_NAME {
                continue;
            }
            f.write_str(separator)?;
            separator = ", ";
            if is_label_name(name) {
                f.write_str(name)?;
            } else {
                Quoted(name).fmt(f)?;
            }
            write!(f, "={}", Quoted(value))?;
        }
        match separator {
            "{" if name_shown => Ok(()),
            "{" => f.write_str("{}"),
            _ => f.write_str("}"),
        }
    }
}

impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_ref().fmt(f)
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_ref().fmt(f)
    }
}

impl fmt::Debug for LabelsRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A string in double quotes with `\\`, `\"` and `\n` escaped, as the exposition format and PromQL read it.
#[derive(Debug, Clone, Copy)]
pub struct Quoted<'a>(pub &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        for piece in self.0.split_inclusive(['\\', '"', '\n']) {
            let (plain, last) = match piece.as_bytes().last() {
                Some(b'\\') => (&piece[..piece.len() - 1], "\\\\"),
                Some(b'"') => (&piece[..piece.len() - 1], "\\\""),
                Some(b'\n') => (&piece[..piece.len() - 1], "\\n"),
                _ => (piece, ""),
            };
            f.write_str(plain)?;
            f.write_str(last)?;
        }
        f.write_str("\"")
    }
}

/// Whether `name` is a label name of the classic grammar: `[a-zA-Z_][a-zA-Z0-9_]*`.
pub fn is_label_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .enumerate()
            .all(|(at, c)| c == b'_' || c.is_ascii_alphabetic() || (at > 0 && c.is_ascii_digit()))
}

/// Whether `name` is a metric name of the classic grammar: a label name that may also contain `:`.
pub fn is_metric_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .enumerate()
            .all(|(at, c)| c == b'_' || c == b':' || c.is_ascii_alphabetic() || (at > 0 && c.is_ascii_digit()))
}

/// Collects pairs in any order and packs them. Reusable: building leaves it empty with its memory kept.
#[derive(Debug, Default, Clone)]
pub struct LabelsBuilder {
    text: String,
    /// Start of name, start of value, end of value, in `text`.
    pairs: Vec<(usize, usize, usize)>,
    packed: String,
}

impl LabelsBuilder {
    /// An empty builder.
    pub fn new() -> Self {
        Self::default()
    }

    /// A builder that starts with the pairs of `labels`.
    pub fn from_labels(labels: LabelsRef<'_>) -> Self {
        let mut builder = Self::new();
        builder.extend(labels);
        builder
    }

    /// Adds one pair. A pair with an empty value is left out when building.
    pub fn push(&mut self, name: &str, value: &str) {
        let name_at = self.text.len();
        self.text.push_str(name);
        let value_at = self.text.len();
        self.text.push_str(value);
        self.pairs.push((name_at, value_at, self.text.len()));
    }

    /// Adds every pair of `labels`.
    pub fn extend(&mut self, labels: LabelsRef<'_>) {
        for (name, value) in labels.iter() {
            self.push(name, value);
        }
    }

    /// Removes `name` if present, then adds it with `value` unless that is empty.
    pub fn set(&mut self, name: &str, value: &str) {
        self.remove(name);
        if !value.is_empty() {
            self.push(name, value);
        }
    }

    /// Removes every pair named `name`.
    pub fn remove(&mut self, name: &str) {
        let text = &self.text;
        self.pairs.retain(|&(name_at, value_at, _)| &text[name_at..value_at] != name);
    }

    /// The value pushed for `name`, if any.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.pairs
            .iter()
            .find(|&&(name_at, value_at, _)| &self.text[name_at..value_at] == name)
            .map(|&(_, value_at, end)| &self.text[value_at..end])
    }

    /// Forgets all pairs, keeps the memory.
    pub fn clear(&mut self) {
        self.text.clear();
        self.pairs.clear();
    }

    /// Packs the pairs into an owned set and clears the builder.
    ///
    /// # Errors
    ///
    /// When a name is empty or occurs twice, or a text is longer than 16 MiB.
    pub fn build(&mut self) -> Result<Labels, LabelError> {
        let widest = LabelLimits {
            labels_max: usize::MAX,
            name_bytes_max: TEXT_BYTES_MAX,
            value_bytes_max: TEXT_BYTES_MAX,
            set_bytes_max: usize::MAX,
        };
        self.pack(&widest).map(LabelsRef::to_owned)
    }

    /// Packs the pairs under `limits` without allocating once warm, and clears the builder.
    ///
    /// # Errors
    ///
    /// When a name is empty or occurs twice, or a limit is passed; the builder is cleared then too.
    pub fn pack(&mut self, limits: &LabelLimits) -> Result<LabelsRef<'_>, LabelError> {
        self.packed.clear();
        let result = pack_pairs(&self.text, &mut self.pairs, limits, &mut self.packed);
        self.clear();
        result.map(|()| LabelsRef(&self.packed))
    }
}

fn pack_pairs(
    text: &str,
    pairs: &mut Vec<(usize, usize, usize)>,
    limits: &LabelLimits,
    packed: &mut String,
) -> Result<(), LabelError> {
    let name_of = |&(name_at, value_at, _): &(usize, usize, usize)| &text[name_at..value_at];
    if pairs.iter().any(|pair| name_of(pair).is_empty()) {
        return Err(LabelError::EmptyName);
    }
    if !pairs.is_sorted_by(|a, b| name_of(a) < name_of(b)) {
        pairs.sort_by(|a, b| name_of(a).cmp(name_of(b)));
        if let Some([twice, _]) = pairs.array_windows().find(|[a, b]| name_of(a) == name_of(b)) {
            return Err(LabelError::Duplicate { name: name_of(twice).to_owned() });
        }
    }
    pairs.retain(|&(_, value_at, end)| value_at != end);
    if pairs.len() > limits.labels_max {
        return Err(LabelError::TooMany { found: pairs.len(), limit: limits.labels_max });
    }
    for pair in pairs.iter() {
        let (name, value) = (name_of(pair), &text[pair.1..pair.2]);
        if name.len() > limits.name_bytes_max {
            let prefix = name.chars().take(32).collect();
            return Err(LabelError::NameTooLong {
                prefix,
                found_bytes: name.len(),
                limit_bytes: limits.name_bytes_max,
            });
        }
        if value.len() > limits.value_bytes_max {
            return Err(LabelError::ValueTooLong {
                name: name.to_owned(),
                found_bytes: value.len(),
                limit_bytes: limits.value_bytes_max,
            });
        }
        push_text(packed, name);
        push_text(packed, value);
    }
    let limit_bytes = limits.set_bytes_max.min(SET_BYTES_MAX);
    if packed.len() > limit_bytes {
        return Err(LabelError::SetTooLong { found_bytes: packed.len(), limit_bytes });
    }
    Ok(())
}

fn push_text(packed: &mut String, text: &str) {
    push_length(text.len(), |digit| packed.push(char::from(digit)));
    packed.push_str(text);
}

fn pair_bytes(name: &str, value: &str) -> usize {
    [name, value].iter().map(|text| text.len() + length_bytes(text.len())).sum()
}

/// The pair that starts at `at_byte` and where the next one starts; nothing at the end or on damage.
fn read_pair(packed: &str, at_byte: usize) -> Option<(&str, &str, usize)> {
    let (name, at_byte) = read_text(packed, at_byte)?;
    let (value, at_byte) = read_text(packed, at_byte)?;
    Some((name, value, at_byte))
}

/// Where the pair that begins at `at_byte` ends.
fn pair_end(packed: &str, at_byte: usize) -> Option<usize> {
    let (_, rest) = split_pair(packed.as_bytes().get(at_byte..)?)?;
    Some(packed.len() - rest.len())
}

/// How many bytes both begin with.
fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    let (a_words, b_words) = (a.as_chunks::<16>().0, b.as_chunks::<16>().0);
    let start = 16 * a_words.iter().zip(b_words).take_while(|(a, b)| a == b).count();
    let rest = a.get(start..).unwrap_or_default().iter().zip(b.get(start..).unwrap_or_default());
    start + rest.take_while(|(a, b)| a == b).count()
}

fn read_text(packed: &str, at_byte: usize) -> Option<(&str, usize)> {
    let (length, rest) = take_length(packed.as_bytes().get(at_byte..)?)?;
    let start = packed.len() - rest.len();
    let end = start.checked_add(length)?;
    Some((packed.get(start..end)?, end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        Labels::from_pairs(pairs.iter().copied()).expect("valid pairs")
    }

    #[track_caller]
    fn check_display(pairs: &[(&str, &str)], want: &str) {
        assert_eq!(labels(pairs).to_string(), want);
    }

    #[test]
    fn displays_as_exposition() {
        check_display(&[], "{}");
        check_display(&[("__name__", "up")], "up");
        check_display(&[("job", "a"), ("__name__", "up")], "up{job=\"a\"}");
        check_display(&[("b", "x\"y\\\n"), ("a", "")], "{b=\"x\\\"y\\\\\\n\"}");
        check_display(&[("__name__", "my.metric"), ("a.b", "c")], "{\"my.metric\", \"a.b\"=\"c\"}");
        check_display(&[("__name__", "my.metric")], "{\"my.metric\"}");
    }

    #[test]
    fn refuses_what_is_no_set() {
        let twice = Labels::from_pairs([("a", "1"), ("b", "2"), ("a", "3")]);
        assert_eq!(twice, Err(LabelError::Duplicate { name: "a".into() }));
        assert_eq!(Labels::from_pairs([("", "1")]), Err(LabelError::EmptyName));
        for damaged in
            ["\u{1}", "\u{1}a", "\u{1}a\u{2}b", "\u{1}b\u{1}x\u{1}a\u{1}x", "\u{41}\u{0}a\u{1}x", "\u{1}a\u{0}"]
        {
            assert!(matches!(Labels::from_packed(damaged), Err(LabelError::Damaged { .. })), "{damaged:?}");
        }
    }

    #[test]
    fn limits_are_exact() {
        let limits = LabelLimits { labels_max: 2, name_bytes_max: 3, value_bytes_max: 4, set_bytes_max: 14 };
        let mut builder = LabelsBuilder::new();
        let mut pack = |pairs: &[(&str, &str)]| {
            for (name, value) in pairs {
                builder.push(name, value);
            }
            builder.pack(&limits).map(drop)
        };
        assert_eq!(pack(&[("abc", "1234"), ("b", "12")]), Ok(()));
        assert_eq!(
            pack(&[("abc", "1234"), ("b", "123")]),
            Err(LabelError::SetTooLong { found_bytes: 15, limit_bytes: 14 })
        );
        assert_eq!(pack(&[("a", "1"), ("b", "1"), ("c", "1")]), Err(LabelError::TooMany { found: 3, limit: 2 }));
        assert!(matches!(pack(&[("abcd", "1")]), Err(LabelError::NameTooLong { found_bytes: 4, .. })));
        assert!(matches!(pack(&[("a", "12345")]), Err(LabelError::ValueTooLong { found_bytes: 5, .. })));
    }

    #[test]
    fn order_is_by_pairs_not_by_packed_bytes() {
        assert!(labels(&[("aa", "1")]) > labels(&[("a", "2")]));
        assert!(labels(&[("a", "10")]) < labels(&[("a", "2")]));
        assert!(labels(&[("a", "1")]) < labels(&[("a", "1"), ("b", "1")]));
    }

    proptest! {
        #[test]
        fn round_trips(pairs in prop::collection::btree_map("\\PC{1,80}", "\\PC{1,200}", 0..8)) {
            let set = Labels::from_pairs(pairs.iter()).expect("map keys are unique");
            let back: Vec<_> = set.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
            prop_assert_eq!(back, pairs.clone().into_iter().collect::<Vec<_>>());
            prop_assert_eq!(Labels::from_packed(set.packed()), Ok(set.clone()));
            for (name, value) in &pairs {
                prop_assert_eq!(set.get(name), Some(value.as_str()));
            }
        }

        #[test]
        fn damaged_bytes_never_panic(text in "\\PC{0,40}") {
            drop(Labels::from_packed(&text));
        }
    }
}
