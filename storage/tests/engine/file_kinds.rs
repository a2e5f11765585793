//! Which files a data folder and a backup have, and which sections each of them: written from the pages on the formats, so that a
//! test that flips bits leaves nothing out. A file that is none of these fails the test that meets it.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;

/// A kind of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Lock,
    Mark,
    Segment,
    Block,
    Index,
    /// sled's own.
    Sled,
    Manifest,
    /// The flat catalog of a backup.
    FlatCatalog,
}

/// What a folder has after a life that saw everything.
pub(crate) const DATA_FOLDER: [Kind; 6] = [Kind::Lock, Kind::Mark, Kind::Segment, Kind::Block, Kind::Index, Kind::Sled];
/// What a backup of it has.
pub(crate) const BACKUP: [Kind; 4] = [Kind::Lock, Kind::Block, Kind::Manifest, Kind::FlatCatalog];

const FOOTER_BYTES: usize = 168;
const INDEX_SECTIONS: [&str; 6] = ["labels", "pages", "hashes", "ids", "values", "names"];

/// The kind of the file at `path` inside its folder.
pub(crate) fn kind_of(path: &Path) -> Kind {
    let text = path.to_str().expect("UTF-8");
    let (folder, name) = text.rsplit_once('/').unwrap_or(("", text));
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    match (folder, name, ending) {
        ("", "LOCK", _) => Kind::Lock,
        ("", "COMMIT", _) => Kind::Mark,
        ("", "MANIFEST", _) => Kind::Manifest,
        ("", name, _) if name.starts_with("catalog-") => Kind::FlatCatalog,
        ("log", _, "seg") => Kind::Segment,
        ("blocks", _, "blk") => Kind::Block,
        ("index", _, "idx") => Kind::Index,
        ("catalog", "conf" | "db", _) => Kind::Sled,
        ("catalog", name, _) if name.starts_with("snap.") => Kind::Sled,
        _ => {
            panic!("{text} is of no kind that is known: say here what it is, and see to it that damage of it is found")
        }
    }
}

/// All of `kinds` are among the files at `paths`, and no others.
#[track_caller]
pub(crate) fn check_kinds<'a>(paths: impl Iterator<Item = &'a Path>, kinds: &[Kind]) {
    let found: BTreeSet<Kind> = paths.map(kind_of).collect();
    assert_eq!(found, kinds.iter().copied().collect::<BTreeSet<Kind>>());
}

/// The sections of a file by name, without empty ones. Of sled's files nothing is known here.
pub(crate) fn sections(kind: Kind, bytes: &[u8]) -> Vec<(String, Range<usize>)> {
    let mut sections = match kind {
        Kind::Lock | Kind::Sled => Vec::new(),
        Kind::Mark => vec![("mark".to_owned(), 0..bytes.len())],
        Kind::Segment => of_segment(bytes),
        Kind::Block => of_block(bytes),
        Kind::Index => of_index(bytes),
        Kind::Manifest => of_manifest(bytes),
        Kind::FlatCatalog => of_flat_catalog(bytes),
    };
    sections.retain(|(_, range)| !range.is_empty());
    assert!(sections.iter().all(|(_, range)| range.end <= bytes.len()), "{kind:?}: {sections:?} of {}", bytes.len());
    sections
}

fn number(bytes: &[u8], at: usize, length: usize) -> usize {
    let mut number = [0; 8];
    number[..length].copy_from_slice(&bytes[at..at + length]);
    usize::try_from(u64::from_le_bytes(number)).expect("small")
}

fn named(name: &str, range: Range<usize>) -> (String, Range<usize>) {
    (name.to_owned(), range)
}

/// The header, and of each record its header and its payload.
fn of_segment(bytes: &[u8]) -> Vec<(String, Range<usize>)> {
    let mut sections = vec![named("header", 0..24)];
    let mut at = 24;
    while at < bytes.len() {
        let end = at + 24 + number(bytes, at + 4, 4);
        sections.push((format!("head of the record at {at}"), at..at + 24));
        sections.push((format!("record at {at}"), at + 24..end));
        at = end;
    }
    sections
}

fn of_block(bytes: &[u8]) -> Vec<(String, Range<usize>)> {
    let footer = bytes.len() - FOOTER_BYTES;
    let names = ["column directory", "column index", "series directory", "series index"];
    let section = |at: usize| {
        let offset = number(bytes, footer + at * 24, 8);
        named(names[at], offset..offset + number(bytes, footer + at * 24 + 8, 8))
    };
    let mut sections: Vec<_> = (0..names.len()).map(section).collect();
    let data = 40..sections[0].1.start;
    sections.extend([named("header", 0..40), named("data", data), named("footer", footer..bytes.len())]);
    sections
}

fn of_index(bytes: &[u8]) -> Vec<(String, Range<usize>)> {
    let footer = bytes.len() - INDEX_SECTIONS.len() * 12 - 4;
    let mut sections = vec![named("header", 0..32), named("footer", footer..bytes.len())];
    let mut at = 32;
    for (place, name) in INDEX_SECTIONS.into_iter().enumerate() {
        let end = at + number(bytes, footer + place * 12, 8);
        sections.push(named(name, at..end));
        at = end;
    }
    assert_eq!(at, footer, "sections are without gap");
    sections
}

/// Each line.
fn of_manifest(bytes: &[u8]) -> Vec<(String, Range<usize>)> {
    let mut at = 0;
    let line = |line: &[u8]| {
        at += line.len();
        (String::from_utf8_lossy(line).trim().to_owned(), at - line.len()..at)
    };
    bytes.split_inclusive(|byte| *byte == b'\n').map(line).collect()
}

/// The header, and of each frame its header and its payload.
fn of_flat_catalog(bytes: &[u8]) -> Vec<(String, Range<usize>)> {
    let mut sections = vec![named("header", 0..20)];
    let mut at = 20;
    while at < bytes.len() {
        let end = at + 8 + number(bytes, at, 4);
        sections.push((format!("head of the frame at {at}"), at..at + 8));
        sections.push((format!("frame at {at}"), at + 8..end));
        at = end;
    }
    sections
}
