//! Catalogs of version 1, in which every series was a value of its own.
//!
//! sled's files never shrink, so the catalog is written anew beside the old one and takes its place when it is whole.
//! At every moment one of the two is whole, and the names say which:
//!
//! | catalog | .version-2 | .version-1 | what happened |
//! | --- | --- | --- | --- |
//! | old | maybe, in part | | it is being written; left-overs are removed, and it begins again |
//! | | whole | old | the old one has made room |
//! | new | | maybe, in part | done; the old one is being removed |

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use model::Labels;

use super::stored::{StoredSeries, decode, value_error};
use super::{Catalog, CatalogError, page_of};
use crate::files::folder_of;
use crate::ids::SeriesId;

/// Pages of series that are held in memory at once.
const PAGES_HELD_MAX: u32 = 64;

/// Where a conversion writes.
fn new_folder(catalog: &Path) -> PathBuf {
    with_suffix(catalog, ".version-2")
}

/// Where a conversion puts what was there before.
fn old_folder(catalog: &Path) -> PathBuf {
    with_suffix(catalog, ".version-1")
}

fn with_suffix(catalog: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(catalog);
    name.push(suffix);
    name.into()
}

/// Whether a conversion ended between its two renames.
pub(super) fn is_unfinished(catalog: &Path) -> bool {
    !catalog.exists() && new_folder(catalog).exists() && old_folder(catalog).exists()
}

/// Ends what an earlier process began.
pub(super) fn finish(catalog: &Path) -> Result<(), CatalogError> {
    let settle = || {
        if is_unfinished(catalog) {
            fs::rename(new_folder(catalog), catalog)?;
            sync_folder(folder_of(catalog))?;
        }
        if catalog.join("db").exists() {
            remove(&new_folder(catalog))?;
            remove(&old_folder(catalog))?;
        }
        Ok(())
    };
    settle().map_err(|source| CatalogError::Files { folder: catalog.to_owned(), source })
}

/// Writes the catalog anew and puts it into the place of `old`.
pub(super) fn from_version_1(old: Catalog) -> Result<(), CatalogError> {
    let catalog = old.folder.clone();
    let new = Catalog::open_trees(&new_folder(&catalog))?;
    let rooms = (old.rooms.tree(), new.rooms.tree());
    for (from, to) in [(&old.metadata, &new.metadata), (&old.manifest, &new.manifest), rooms] {
        for entry in from {
            let (key, value) = entry.map_err(|source| old.failed(source))?;
            to.insert(key, value).map_err(|source| new.failed(source))?;
        }
    }
    let mut held: Vec<(SeriesId, Labels)> = Vec::new();
    for entry in &old.tree("series")? {
        let (key, value) = entry.map_err(|source| old.failed(source))?;
        let (id, labels) = read_series(&key, &value)?;
        if held.first().is_some_and(|first| page_of(id) - page_of(first.0) >= PAGES_HELD_MAX) {
            new.add_series(held.iter().map(|(id, labels)| (*id, labels)))?;
            held.clear();
        }
        held.push((id, labels));
    }
    new.add_series(held.iter().map(|(id, labels)| (*id, labels)))?;
    new.set_version()?;
    drop((old, new));
    tracing::info!(catalog = %catalog.display(), "the catalog is converted to version 2");
    take_place(&catalog).map_err(|source| CatalogError::Files { folder: catalog, source })
}

/// Puts the new catalog into the place of the old one.
fn take_place(catalog: &Path) -> io::Result<()> {
    sync_folder(&new_folder(catalog))?;
    fs::rename(catalog, old_folder(catalog))?;
    sync_folder(folder_of(catalog))?;
    fs::rename(new_folder(catalog), catalog)?;
    sync_folder(folder_of(catalog))?;
    remove(&old_folder(catalog))
}

fn read_series(key: &[u8], value: &[u8]) -> Result<(SeriesId, Labels), CatalogError> {
    let bad = |detail: &str| value_error("series", key, detail);
    let id = <[u8; 4]>::try_from(key).map_err(|_| bad("key is not 4 bytes"))?;
    let StoredSeries::V1 { packed } = decode("series", key, value)?;
    let labels = Labels::from_packed(&packed).map_err(|error| bad(&error.to_string()))?;
    Ok((SeriesId(u32::from_be_bytes(id)), labels))
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{BlockRecord, Change, State, VERSION_KEY, open_sled};
    use super::*;
    use crate::ids::BlockId;
    use model::{MetricKind, MetricMetadata};

    fn labels(at: u32) -> Labels {
        Labels::from_pairs([("__name__", "m".to_owned()), ("at", at.to_string())]).expect("valid labels")
    }

    /// Ids as they are after some retention.
    fn ids() -> impl Iterator<Item = u32> {
        (0..600).filter(|id| id % 7 != 0).chain([1 << 20, u32::MAX - 1])
    }

    fn change() -> Change {
        let record = BlockRecord { file: "7.blk".into(), samples: 3, ..BlockRecord::default() };
        Change {
            added: vec![(BlockId(7), record)],
            removed: vec![],
            state: State { flushed: 9, next_block: 8, next_series: 1 },
        }
    }

    fn about() -> MetricMetadata {
        MetricMetadata { kind: MetricKind::Info, unit: String::new(), help: "h".into() }
    }

    /// A catalog as version 1 wrote it.
    fn version_1(folder: &Path) {
        // sled's own default at the time.
        let db = sled::Config::new().path(folder).flush_every_ms(None).open().expect("sled opens");
        db.open_tree("format").expect("a tree").insert(VERSION_KEY, &[0, 1]).expect("written");
        let series = db.open_tree("series").expect("a tree");
        for id in ids() {
            let packed = labels(id).packed().to_owned();
            let value = [&[0, u8::try_from(packed.len()).expect("short")], packed.as_bytes()].concat();
            series.insert(id.to_be_bytes(), value).expect("written");
        }
        drop((series, db));
        let catalog = Catalog::open_trees(folder).expect("opens");
        catalog.set_metadata([("m", &about())]).expect("written");
        catalog.commit(&change()).expect("written");
        catalog.rooms().change("alerts", &[(b"k".to_vec(), Some(vec![7; 3000]))]).expect("written");
    }

    #[track_caller]
    fn check(folder: &Path) {
        let catalog = Catalog::open(folder).expect("opens");
        assert_eq!(catalog.version().expect("readable"), Some(2));
        let series: Vec<_> = catalog.series().map(Result::unwrap).collect();
        assert_eq!(series, ids().map(|id| (SeriesId(id), labels(id))).collect::<Vec<_>>());
        assert_eq!(catalog.metadata().map(Result::unwrap).collect::<Vec<_>>(), [("m".to_owned(), about())]);
        assert_eq!(catalog.blocks().map(Result::unwrap).collect::<Vec<_>>(), change().added);
        assert_eq!(catalog.state().expect("readable"), change().state);
        assert_eq!(catalog.rooms().entries("alerts").expect("readable"), [(b"k".to_vec(), vec![7; 3000])]);
        drop(catalog);
        let names: Vec<_> =
            fs::read_dir(folder_of(folder)).expect("listed").map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["catalog"], "nothing is left over");
    }

    fn copy(from: &Path, to: &Path) {
        fs::create_dir_all(to).expect("made");
        for entry in fs::read_dir(from).expect("listed") {
            let entry = entry.expect("listed");
            if entry.path().is_dir() {
                copy(&entry.path(), &to.join(entry.file_name()));
            } else {
                fs::copy(entry.path(), to.join(entry.file_name())).expect("copied");
            }
        }
    }

    #[test]
    fn a_catalog_of_version_1_is_converted_whenever_it_was_interrupted() {
        let (first, second) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let (old, new) = (first.path().join("catalog"), second.path().join("catalog"));
        version_1(&old);
        copy(&old, &new);
        drop(Catalog::open(&new).expect("converted"));
        check(&new);
        // Which is whole: old, new; and what lies beside it.
        let cases: [(&[(&Path, &str)], bool); 5] = [
            (&[(&old, "")], false),
            (&[(&old, ""), (&new, ".version-2")], true),
            (&[(&old, ""), (&new, ".version-2")], false),
            (&[(&old, ".version-1"), (&new, ".version-2")], false),
            (&[(&new, ""), (&old, ".version-1")], true),
        ];
        for (folders, torn) in cases {
            let folder = tempfile::tempdir().expect("a folder");
            let catalog = folder.path().join("catalog");
            for (from, suffix) in folders {
                copy(from, &with_suffix(&catalog, suffix));
            }
            if let (Some((_, suffix)), true) = (folders.last(), torn) {
                let db = with_suffix(&catalog, suffix).join("db");
                File::options().write(true).open(db).expect("there").set_len(1000).expect("cut");
            }
            assert!(Catalog::exists(&catalog), "{folders:?}");
            check(&catalog);
            check(&catalog);
        }
        drop(open_sled(&new).expect("opens"));
    }
}
