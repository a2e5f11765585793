//! An index file of any bytes: opening, asking and joining it ends, and never panics; what sound checksums cover is found.

use std::fs;
use std::path::Path;

use model::{Labels, MatchOp, Matcher};
use storage::files::{FileError, RealFiles};
use storage::ids::SeriesId;
use storage::index::SeriesIndex;
use storage::index::cold::{Cold, IndexFile, Stamp, seal};

use crate::input::Input;

const STAMP: Stamp = Stamp { lineage: 1, commit: 1 };

/// First what to do: take the rest as a file, or damage a good one at places that the rest names, with checksums made anew
/// or not.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("00000001.idx");
    let kind = input.byte() % 4;
    let mut bytes = match kind {
        0 => input.rest().to_vec(),
        _ => write(folder.path(), u32::from(input.byte())),
    };
    let sound = bytes.clone();
    while kind > 0 && !input.is_empty() {
        let at = usize::from(input.below(u16::MAX)) % bytes.len();
        bytes[at] ^= input.byte();
    }
    if kind > 1 {
        seal(&mut bytes);
    }
    fs::write(&path, &bytes).expect("a file can be written");
    let Ok(file) = IndexFile::open(&RealFiles, &path) else { return };
    assert!(kind != 1 || bytes == sound, "checksums find damage");
    for number in file.pages().take(100).collect::<Vec<_>>() {
        for (_, labels) in file.labels_of_page(number).unwrap_or_default() {
            drop(file.find(labels.as_ref()));
        }
    }
    for (op, text) in [(MatchOp::Equal, "up"), (MatchOp::NotEqual, "up"), (MatchOp::Regex, "1.*|u.")] {
        for name in ["__name__", "only"] {
            drop(file.select(&[Matcher::new(name, op, text).expect("valid")]));
        }
    }
    drop(file);
    let index = SeriesIndex::new(open(folder.path()));
    let all = index.all();
    if all.len() < 100_000 {
        drop(index.each(&all, |_, _| {}));
    }
    drop(index.names_among(&[1, 2].into()));
    drop(index.values_among("only", &[1].into()));
    drop(index.each_pair(|_, _, _| {}));
    drop(index.join_files(&RealFiles, 1 << 20));
}

fn open(folder: &Path) -> Cold {
    // As if half of the series had been removed.
    let agrees = |_: u32, _: &[(u8, Labels)]| Ok::<_, FileError>(Some(true));
    let mut cold = Cold::open(&RealFiles, folder.to_owned(), STAMP, 1 << 16, agrees).expect("a folder can be listed");
    let half = cold.all().iter().take(1 << 16).filter(|id| id % 2 == 0).collect();
    cold.keep(&half);
    cold
}

/// The bytes of a file of `series` series.
fn write(folder: &Path, series: u32) -> Vec<u8> {
    let index = SeriesIndex::new(open(folder));
    let labels = |id: u32| {
        let only = if id.is_multiple_of(3) { id.to_string() } else { String::new() };
        Labels::from_pairs([
            ("__name__", "up"),
            ("at", &(id % 40).to_string()),
            ("of", &(id / 40).to_string()),
            ("only", &only),
        ])
        .expect("valid labels")
    };
    let rows: Vec<(SeriesId, Labels)> = (0..=series).map(|id| (SeriesId(id * 3), labels(id))).collect();
    index.insert(rows.iter().map(|(id, labels)| (*id, labels)));
    index.file(&RealFiles, STAMP, &index.live()).expect("a file can be written");
    fs::read(folder.join("00000001.idx")).expect("the file can be read")
}
