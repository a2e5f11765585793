//! Index files: what was written is found, damage is found out, joined files are as those they come from.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use model::{Labels, MatchOp, Matcher};
use proptest::prelude::*;
use roaring::RoaringBitmap;
use storage::files::RealFiles;
use storage::ids::SeriesId;
use storage::index::cold::{Cold, IndexFile, IndexFileError, Stamp};
use storage::index::{Found, SeriesIndex};

/// Memory to join files in: enough.
const MEMORY_BYTES: u64 = 1 << 30;
const STAMP: Stamp = Stamp { lineage: 0x1234_5678_9abc_def0, commit: 7 };

/// A folder in memory where there is one.
fn fast_folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder")
}

fn labels(id: u32, own: u32) -> Labels {
    let name = ["up", "go_goroutines", "http_requests_total"][id as usize % 3];
    let (instance, slot) = (format!("10.0.0.{}", id / 40), (id % 40).to_string());
    let mut pairs = vec![("__name__", name.to_owned()), ("instance", instance), ("slot", slot)];
    if id.is_multiple_of(own.max(1)) {
        pairs.push(("only", format!("{id:x}-ü")));
    }
    Labels::from_pairs(pairs).expect("valid labels")
}

/// Nothing there is of another catalog.
fn cold(folder: &Path) -> Cold {
    let agrees = |_: u32, _: &[(u8, Labels)]| Ok::<_, storage::files::FileError>(Some(true));
    Cold::open(&RealFiles, folder.to_owned(), STAMP, 1 << 20, agrees).expect("listed")
}

fn index_of(folder: &Path, series: &[(SeriesId, Labels)]) -> SeriesIndex {
    let index = SeriesIndex::new(cold(folder));
    index.insert(series.iter().map(|(id, labels)| (*id, labels)));
    index
}

fn matchers() -> Vec<Vec<Matcher>> {
    let of = |name: &str, op, text: &str| Matcher::new(name, op, text).expect("valid");
    vec![
        vec![],
        vec![of("__name__", MatchOp::Equal, "up")],
        vec![of("__name__", MatchOp::NotEqual, "up"), of("instance", MatchOp::Regex, "10.0.0.[12].*")],
        vec![of("only", MatchOp::Regex, ".+")],
        vec![of("only", MatchOp::Equal, "")],
        vec![of("only", MatchOp::NotRegex, "1.*")],
        vec![of("instance", MatchOp::Regex, "10.0.0.1|10.0.0.3"), of("missing", MatchOp::NotRegex, ".+")],
        vec![of("missing", MatchOp::Equal, "x")],
    ]
}

/// Both give the same answers.
fn same(plain: &SeriesIndex, other: &SeriesIndex, ids: u32) {
    assert_eq!((plain.len(), plain.all()), (other.len(), other.all()));
    for matchers in matchers() {
        let (want, got) = (plain.select(&matchers), other.select(&matchers));
        assert_eq!(got, want, "{matchers:?}");
        let among = got.expect("sound");
        assert_eq!(other.names_among(&among), plain.names_among(&among));
        for name in ["__name__", "instance", "only", "missing"] {
            assert_eq!(other.values_among(name, &among), plain.values_among(name, &among), "{name} of {matchers:?}");
        }
    }
    let pairs = |index: &SeriesIndex| {
        let mut pairs = Vec::new();
        let each = index.each_pair(|name, value, count| pairs.push((name.to_owned(), value.to_owned(), count)));
        each.map(|()| pairs)
    };
    assert_eq!(pairs(other), pairs(plain));
    for name in ["__name__", "instance", "slot", "only", "missing"] {
        counted(other, name);
    }
    let each = |index: &SeriesIndex| {
        let mut found = Vec::new();
        index.each(0..ids, |id, labels| found.push((id, labels.clone()))).map(|()| found)
    };
    assert_eq!(each(other), each(plain));
    for id in 0..ids {
        let id = SeriesId(id);
        assert_eq!((other.has(id), other.labels(id)), (plain.has(id), plain.labels(id)));
    }
}

/// Each value of `name` is told once, with the series that its labels say, wherever these are.
fn counted(index: &SeriesIndex, name: &str) {
    let all = index.all();
    let some: RoaringBitmap = all.iter().filter(|id| id % 3 != 1).collect();
    let mut want: BTreeMap<String, [u64; 2]> = BTreeMap::new();
    let each = index.each(&all, |id, labels| {
        if let Some(value) = labels.get(name) {
            let counts = want.entry(value.to_owned()).or_default();
            counts[0] += 1;
            counts[1] += u64::from(some.contains(id.0));
        }
    });
    each.expect("sound");
    let mut told: Vec<(String, [u64; 2])> = Vec::new();
    index.each_value(name, [&all, &some], |value, counts| told.push((value.to_owned(), counts))).expect("sound");
    assert!(told.is_sorted_by(|a, b| a.0 < b.0), "ascending, each once: {told:?}");
    // Of values that only removed series had nothing is in a set.
    told.retain(|(_, counts)| *counts != [0; 2]);
    assert_eq!(told, want.into_iter().collect::<Vec<_>>(), "{name}");
}

/// What happens to a row of series.
#[derive(Debug, Clone)]
enum Step {
    /// So many new ones.
    New(u32),
    /// Some are put into a file, and leave memory.
    Cool(u32, u32),
    /// Some leave memory that are in files.
    Leave,
    /// Some are written again.
    Return(u32, u32),
    Remove(u32, u32),
    Join,
    Reopen,
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (1..400u32).prop_map(Step::New),
        4 => (0..6u32, 1..6u32).prop_map(|(rest, each)| Step::Cool(rest % each, each)),
        1 => Just(Step::Leave),
        2 => (0..9u32, 1..9u32).prop_map(|(rest, each)| Step::Return(rest % each, each)),
        2 => (0..9u32, 1..9u32).prop_map(|(rest, each)| Step::Remove(rest % each, each)),
        2 => Just(Step::Join),
        1 => Just(Step::Reopen),
    ]
}

fn some(ids: &RoaringBitmap, rest: u32, each: u32) -> RoaringBitmap {
    ids.iter().filter(|id| id % each == rest).collect()
}

fn ids(of: &RoaringBitmap) -> Vec<SeriesId> {
    of.iter().map(SeriesId).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever series do, an index with files answers as one without.
    #[test]
    fn an_index_with_files_is_as_one_without(steps in prop::collection::vec(any_step(), 1..24), own in 1u32..50) {
        let folder = fast_folder();
        let path = folder.path().join("index");
        let plain = SeriesIndex::default();
        let mut index = SeriesIndex::new(cold(&path));
        let mut next = 0;
        for step in &steps {
            match *step {
                Step::New(count) => {
                    let new: Vec<(SeriesId, Labels)> =
                        (next..next + count).map(|id| (SeriesId(id), labels(id, own))).collect();
                    next += count + 3;
                    for index in [&plain, &index] {
                        index.insert(new.iter().map(|(id, labels)| (*id, labels)));
                    }
                }
                Step::Cool(rest, each) => {
                    let chosen = some(&(index.live() - index.filed()), rest, each);
                    if !chosen.is_empty() {
                        index.file(&RealFiles, STAMP, &chosen).expect("written");
                        index.forget(&ids(&chosen), |_| {});
                    }
                }
                Step::Leave => index.forget(&ids(&(index.live() & index.filed())), |_| {}),
                Step::Return(rest, each) => {
                    for id in some(&(index.all() - index.live()), rest, each) {
                        let of = labels(id, own);
                        prop_assert_eq!(index.find(of.as_ref()), Ok(Some(Found::Cold(SeriesId(id), of.clone()))));
                        index.insert([(SeriesId(id), &of)]);
                        prop_assert_eq!(index.find(of.as_ref()), Ok(Some(Found::Live(SeriesId(id)))));
                    }
                }
                Step::Remove(rest, each) => {
                    let chosen = ids(&some(&index.all(), rest, each));
                    index.remove(&chosen, |_| {});
                    plain.remove(&chosen, |_| {});
                }
                Step::Join => while index.join_files(&RealFiles, MEMORY_BYTES).expect("joined") {},
                Step::Reopen => {
                    let mut files = cold(&path);
                    files.keep(&plain.all());
                    index = SeriesIndex::new(files);
                    let missing = plain.all() - index.all();
                    index.insert(missing.iter().map(|id| (SeriesId(id), labels(id, own))).collect::<Vec<_>>().iter().map(|(id, of)| (*id, of)));
                }
            }
            same(&plain, &index, next);
        }
        let stranger = labels(next + 1, 1);
        prop_assert_eq!(index.find(stranger.as_ref()), Ok(None));
    }
}

/// One value lies in several files and in memory, and others in one of them, or nowhere any more.
#[test]
fn values_of_several_files_are_told_as_one() {
    let folder = fast_folder();
    let index = SeriesIndex::new(cold(&folder.path().join("index")));
    let all: Vec<(SeriesId, Labels)> = (0..4000).map(|id| (SeriesId(id), labels(id, 9))).collect();
    for part in all[..3200].chunks(800) {
        index.insert(part.iter().map(|(id, labels)| (*id, labels)));
        index.file(&RealFiles, STAMP, &index.live()).expect("written");
        index.forget(&part.iter().map(|(id, _)| *id).collect::<Vec<_>>(), |_| {});
    }
    // New ones, and some that came back: in memory and in a file.
    index.insert(all[3200..].iter().chain(&all[700..900]).map(|(id, labels)| (*id, labels)));
    assert_eq!((index.usage().files, index.usage().live, index.len()), (4, 1000, 4000));
    let values = |name: &str| index.values_among(name, &index.all()).expect("sound");
    let want: BTreeSet<String> = all.iter().filter_map(|(_, labels)| labels.get("only").map(str::to_owned)).collect();
    assert_eq!(values("only"), want.into_iter().collect::<Vec<_>>());
    assert_eq!(values("__name__").len(), 3);
    counted(&index, "__name__");
    counted(&index, "only");
    // Whole values go, and parts of others.
    index.remove(&(0..1000).step_by(2).chain(2000..2100).map(SeriesId).collect::<Vec<_>>(), |_| {});
    for _ in 0..2 {
        for name in ["__name__", "instance", "slot", "only"] {
            counted(&index, name);
        }
        let (mut pairs, mut want) = (BTreeMap::new(), BTreeMap::new());
        let each = index.each_pair(|name, value, count| {
            assert_eq!(pairs.insert((name.to_owned(), value.to_owned()), count), None, "told once");
        });
        each.expect("sound");
        let each = index.each(index.all(), |_, labels| {
            for (name, value) in labels {
                *want.entry((name.to_owned(), value.to_owned())).or_insert(0) += 1;
            }
        });
        each.expect("sound");
        assert_eq!(pairs, want);
        while index.join_files(&RealFiles, MEMORY_BYTES).expect("joined") {}
    }
    assert_eq!(index.usage().files, 1);
}

/// Flips a bit of a label page of a file that is open.
fn damage_open(file: &Path) {
    use std::os::unix::fs::FileExt;
    let open = std::fs::OpenOptions::new().read(true).write(true).open(file).expect("opened");
    let mut byte = [0];
    open.read_exact_at(&mut byte, 40).expect("read");
    open.write_all_at(&[byte[0] ^ 4], 40).expect("written");
}

/// What is found damaged while the series of another file are brought back into memory keeps its own until its turn comes.
#[test]
fn only_files_whose_series_were_brought_back_go() {
    let folder = fast_folder();
    let path = folder.path().join("index");
    let index = SeriesIndex::new(cold(&path));
    let all: Vec<(SeriesId, Labels)> = (0..200).map(|id| (SeriesId(id), labels(id, 9))).collect();
    for part in all.chunks(100) {
        index.insert(part.iter().map(|(id, labels)| (*id, labels)));
        index.file(&RealFiles, STAMP, &index.live()).expect("written");
        index.forget(&part.iter().map(|(id, _)| *id).collect::<Vec<_>>(), |_| {});
    }
    damage_open(&path.join("00000001.idx"));
    assert!(index.labels(SeriesId(7)).is_err() && index.find(all[7].1.as_ref()).is_err());
    let found = index.damaged();
    assert_eq!(found.series(), &(0..100).collect());
    damage_open(&path.join("00000002.idx"));
    assert!(index.labels(SeriesId(107)).is_err());
    index.insert(all[..100].iter().map(|(id, labels)| (*id, labels)));
    index.remove_damaged(&RealFiles, &found);
    assert_eq!((index.len(), index.usage().files), (200, 1));
    assert_eq!(index.labels(SeriesId(7)), Ok(Some(all[7].1.clone())));
    let found = index.damaged();
    assert_eq!(found.series(), &(100..200).collect(), "its turn comes");
    index.insert(all[100..].iter().map(|(id, labels)| (*id, labels)));
    index.remove_damaged(&RealFiles, &found);
    assert_eq!((index.len(), index.usage().files, index.damaged().series().len()), (200, 0, 0));
}

/// A selection that is spread over more pages than the cache has room for is read without driving out what is in it.
#[test]
fn scattered_series_are_read_past_the_cache() {
    let folder = fast_folder();
    let index = SeriesIndex::new(cold(&folder.path().join("index")));
    let all: Vec<(SeriesId, Labels)> = (0..256 * 40).map(|id| (SeriesId(id), labels(id, 9))).collect();
    index.insert(all.iter().map(|(id, labels)| (*id, labels)));
    index.file(&RealFiles, STAMP, &index.live()).expect("written");
    index.forget(&all.iter().map(|(id, _)| *id).collect::<Vec<_>>(), |_| {});
    let read = |ids: &[u32]| {
        let mut found = Vec::new();
        index.each(ids.iter().copied(), |id, labels| found.push((id, labels.clone()))).expect("sound");
        let want: Vec<_> = ids.iter().map(|&id| all[id as usize].clone()).collect();
        assert_eq!(found, want);
        index.usage().cache_bytes
    };
    let scattered: Vec<u32> = (0..256 * 40).step_by(100).collect();
    assert_eq!(read(&scattered), 0, "nothing of it is kept");
    let near: Vec<u32> = (300..700).collect();
    let kept = read(&near);
    assert!(kept > 0);
    assert_eq!((read(&scattered), read(&near)), (kept, kept));
    index.forget_decoded();
    assert_eq!(index.usage().cache_bytes, 0);
}

fn written(folder: &Path, series: u32) -> (std::path::PathBuf, Vec<(SeriesId, Labels)>) {
    let rows: Vec<(SeriesId, Labels)> = (0..series).map(|id| (SeriesId(id * 2), labels(id, 7))).collect();
    let index = index_of(folder, &rows);
    index.file(&RealFiles, STAMP, &index.live()).expect("written");
    let path = std::fs::read_dir(folder).expect("a folder").next().expect("a file").expect("an entry").path();
    (path, rows)
}

#[test]
fn every_bit_that_flips_is_found_when_the_file_is_opened() {
    let folder = fast_folder();
    let (path, rows) = written(&folder.path().join("index"), 30);
    let file = IndexFile::open(&RealFiles, &path).expect("sound");
    for (id, labels) in &rows {
        assert_eq!(file.find(labels.as_ref()), Ok(Some(*id)));
    }
    assert_eq!((file.stamp(), file.ids().len()), (STAMP, 30));
    drop(file);
    let sound = std::fs::read(&path).expect("read");
    for at in (0..sound.len()).step_by(3) {
        let mut flipped = sound.clone();
        flipped[at] ^= 1 << (at % 8);
        std::fs::write(&path, &flipped).expect("written");
        let opened = IndexFile::open(&RealFiles, &path);
        assert!(matches!(opened, Err(IndexFileError::Damaged(_))), "byte {at} of {}", sound.len());
        std::fs::write(&path, &sound[..at]).expect("written");
        assert!(matches!(IndexFile::open(&RealFiles, &path), Err(IndexFileError::Damaged(_))), "cut at {at}");
    }
}

/// Checksums do not hold against who writes them: whatever a file says, reading it ends, without a panic.
#[test]
fn files_that_lie_are_read_without_a_panic() {
    let folder = fast_folder();
    let (path, rows) = written(&folder.path().join("index"), 300);
    let sound = std::fs::read(&path).expect("read");
    let mut random = fastrand::Rng::with_seed(5);
    for _ in 0..600 {
        let mut bytes = sound.clone();
        for _ in 0..random.usize(1..4) {
            let at = random.usize(0..bytes.len());
            bytes[at] = random.u8(..);
        }
        storage::index::cold::seal(&mut bytes);
        std::fs::write(&path, &bytes).expect("written");
        let Ok(file) = IndexFile::open(&RealFiles, &path) else { continue };
        for matchers in matchers() {
            drop(file.select(&matchers));
        }
        for number in file.pages().collect::<Vec<_>>() {
            drop(file.labels_of_page(number));
        }
        drop(file.find(rows[random.usize(0..rows.len())].1.as_ref()));
        drop(file);
        let index = SeriesIndex::new(cold(path.parent().expect("a folder")));
        drop(index.each_pair(|_, _, _| {}));
        drop(index.names_among(&index.all()));
        drop(index.values_among("only", &[2].into()));
        drop(index.join_files(&RealFiles, MEMORY_BYTES));
        if !path.exists() {
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        }
    }
}

#[test]
fn files_of_another_catalog_are_refused() {
    let folder = fast_folder();
    let path = folder.path().join("index");
    let open = |stamp: Stamp, agrees: Option<bool>| {
        let (file, _) = written(&path, 9);
        let said = move |_: u32, _: &[(u8, Labels)]| Ok::<_, storage::files::FileError>(agrees);
        let cold = Cold::open(&RealFiles, path.clone(), stamp, 0, said).expect("listed");
        let opened = (cold.all().len(), SeriesIndex::new(cold).usage().refused, file.exists());
        std::fs::remove_dir_all(&path).expect("removed");
        opened
    };
    for (stamp, agrees, want) in [
        (STAMP, Some(true), (9, 0, true)),
        (Stamp { commit: 8, ..STAMP }, Some(true), (9, 0, true)),
        (STAMP, None, (9, 0, true)),
        (STAMP, Some(false), (0, 1, false)),
        (Stamp { commit: 6, ..STAMP }, Some(true), (0, 1, false)),
        (Stamp { lineage: 1, ..STAMP }, Some(true), (0, 1, false)),
    ] {
        assert_eq!(open(stamp, agrees), want, "{stamp:?} {agrees:?}");
    }
}
