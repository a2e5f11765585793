//! The folder of captures: one file each, bounded in bytes, number and age. The oldest make room; those that an alert
//! holds go last.
//!
//! What is in the folder is learned from the files themselves when it is opened. A capture is there once its file has its
//! name: it is written as `ID.part`, synced, and renamed.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::record::{self, About};

const PART: &str = "part";

/// Bounds of the folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) bytes_max: u64,
    pub(crate) captures_max: usize,
    /// None: captures do not age.
    pub(crate) age_max_ms: Option<i64>,
}

/// A capture that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kept {
    /// Name of its file, without the ending. Ids ascend with time.
    pub(crate) id: String,
    /// Length of its file.
    pub(crate) bytes: u64,
    pub(crate) about: About,
}

/// Why a capture went to make room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gone {
    Bytes,
    Count,
    Age,
}

/// What the folder was told to do, and did.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) stored: AtomicU64,
    pub(crate) gone_by_bytes: AtomicU64,
    pub(crate) gone_by_count: AtomicU64,
    pub(crate) gone_by_age: AtomicU64,
    pub(crate) deleted: AtomicU64,
    pub(crate) unreadable: AtomicU64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Store {
    folder: PathBuf,
    bounds: Bounds,
    /// Never held while the disk works: those that ask wait for it.
    kept: Mutex<BTreeMap<String, Kept>>,
    /// Held while a capture is written, or removed, so that no other takes its id or its room.
    putting: Mutex<()>,
    pub(crate) counts: Counts,
}

impl Store {
    /// Opens `folder`, which is made where it is not there. A file that was not finished is removed; one that cannot be read is
    /// left where it is and told.
    ///
    /// # Errors
    ///
    /// When the folder cannot be made or listed.
    pub(crate) fn open(folder: &Path, bounds: Bounds, now_ms: i64) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let (mut kept, counts) = (BTreeMap::new(), Counts::default());
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let Some((id, extension)) = name_of(&path) else { continue };
            if extension == PART {
                remove(&path);
                continue;
            }
            match read_file(&path) {
                Ok((about, bytes)) if about.extension() == extension => {
                    kept.insert(id.to_owned(), Kept { id: id.to_owned(), bytes, about });
                }
                Ok(_) => {}
                Err(error) => {
                    counts.unreadable.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!(path = %path.display(), %error, "a capture cannot be read; it is left alone");
                }
            }
        }
        let store =
            Self { folder: folder.to_owned(), bounds, kept: Mutex::new(kept), putting: Mutex::default(), counts };
        store.make_room(0, 0, now_ms);
        Ok(store)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps `plain`, which `about` describes, and makes room for it. One that is there already, by its name at its agent, is
    /// not kept twice.
    ///
    /// # Errors
    ///
    /// When the disk refuses, or with [`io::ErrorKind::FileTooLarge`] when it alone has more bytes than all may have; nothing of it is
    /// left then.
    pub(crate) fn put(&self, about: About, plain: &[u8], now_ms: i64) -> io::Result<Kept> {
        let _one_at_a_time = self.putting.lock().unwrap_or_else(PoisonError::into_inner);
        let id = {
            let kept = self.lock();
            let same = |own: &&Kept| !about.origin.is_empty() && own.about.origin == about.origin;
            if let Some(there) = kept.values().find(same) {
                return Ok(there.clone());
            }
            free_id(&kept, about.time_ms)
        };
        let part = self.folder.join(format!("{id}.{PART}"));
        let path = self.folder.join(format!("{id}.{}", about.extension()));
        let written = write_file(&part, &about, plain).and_then(|bytes| {
            if bytes > self.bounds.bytes_max {
                let limit = self.bounds.bytes_max;
                let told = format!("it has {bytes} bytes here, captures_bytes_max is {limit}");
                return Err(io::Error::new(io::ErrorKind::FileTooLarge, told));
            }
            self.make_room(bytes, 1, now_ms);
            fs::rename(&part, &path)?;
            File::open(&self.folder)?.sync_all()?;
            Ok(bytes)
        });
        match written {
            Ok(bytes) => {
                let new = Kept { id: id.clone(), bytes, about };
                self.lock().insert(id, new.clone());
                self.counts.stored.fetch_add(1, Ordering::Relaxed);
                Ok(new)
            }
            Err(error) => {
                remove(&part);
                remove(&path);
                Err(error)
            }
        }
    }

    /// The captures, the newest first. Those that are too old go first.
    pub(crate) fn list(&self, now_ms: i64) -> Vec<Kept> {
        // A capture that is being written makes room itself.
        if let Ok(_one_at_a_time) = self.putting.try_lock() {
            self.make_room(0, 0, now_ms);
        }
        self.lock().values().rev().cloned().collect()
    }

    /// The capture `id`.
    pub(crate) fn get(&self, id: &str) -> Option<Kept> {
        self.lock().get(id).cloned()
    }

    /// The capture that was taken for the order of that number, the newest if there are more.
    pub(crate) fn of_order(&self, order: u64) -> Option<Kept> {
        self.lock().values().rev().find(|own| own.about.order == Some(order)).cloned()
    }

    /// The file of `capture`, whole.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or is gone meanwhile.
    pub(crate) fn read(&self, capture: &Kept) -> io::Result<Vec<u8>> {
        fs::read(self.path(capture))
    }

    /// Removes the capture `id`; whether it was there.
    pub(crate) fn delete(&self, id: &str) -> bool {
        let _one_at_a_time = self.putting.lock().unwrap_or_else(PoisonError::into_inner);
        let removed = self.lock().remove(id);
        let Some(gone) = removed else { return false };
        remove(&self.path(&gone));
        self.counts.deleted.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// How many captures there are, and their bytes.
    pub(crate) fn size(&self) -> (usize, u64) {
        let kept = self.lock();
        (kept.len(), kept.values().map(|own| own.bytes).sum())
    }

    fn path(&self, capture: &Kept) -> PathBuf {
        self.folder.join(format!("{}.{}", capture.id, capture.about.extension()))
    }

    /// Removes what is too old, and then as many of the oldest as it takes until `count` more with `bytes` fit.
    fn make_room(&self, bytes: u64, count: usize, now_ms: i64) {
        let mut kept = self.lock();
        let going = outgoing(&kept, self.bounds, bytes, count, now_ms);
        let gone: Vec<_> = going.into_iter().filter_map(|(id, why)| Some((kept.remove(&id)?, why))).collect();
        drop(kept);
        for (gone, why) in gone {
            remove(&self.path(&gone));
            let counter = match why {
                Gone::Bytes => &self.counts.gone_by_bytes,
                Gone::Count => &self.counts.gone_by_count,
                Gone::Age => &self.counts.gone_by_age,
            };
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Those that go so that `count` more with `bytes` fit, and why.
fn outgoing(
    kept: &BTreeMap<String, Kept>,
    bounds: Bounds,
    bytes: u64,
    count: usize,
    now_ms: i64,
) -> Vec<(String, Gone)> {
    let mut held: u64 = kept.values().map(|own| own.bytes).sum();
    let mut number = kept.len();
    let mut going = Vec::new();
    let old = |own: &Kept| bounds.age_max_ms.is_some_and(|age| now_ms.saturating_sub(own.about.time_ms) > age);
    for own in kept.values().filter(|own| old(own)) {
        (held, number) = (held - own.bytes, number - 1);
        going.push((own.id.clone(), Gone::Age));
    }
    let young = |pinned: bool| kept.values().filter(move |own| !old(own) && own.about.pinned == pinned);
    for own in young(false).chain(young(true)) {
        let why = if held.saturating_add(bytes) > bounds.bytes_max {
            Gone::Bytes
        } else if number.saturating_add(count) > bounds.captures_max {
            Gone::Count
        } else {
            break;
        };
        (held, number) = (held - own.bytes, number - 1);
        going.push((own.id.clone(), why));
    }
    going
}

/// An id that is not taken, after all others of its time.
fn free_id(kept: &BTreeMap<String, Kept>, time_ms: i64) -> String {
    let id = |number: usize| format!("{:012x}-{number:04x}", time_ms.clamp(0, (1 << 48) - 1));
    // One more than there are is free for certain.
    (0..=kept.len()).map(id).find(|id| !kept.contains_key(id)).unwrap_or_default()
}

fn write_file(path: &Path, about: &About, plain: &[u8]) -> io::Result<u64> {
    let mut file = File::create(path)?;
    record::write(about, plain, io::BufWriter::new(&mut file))?;
    file.flush()?;
    file.sync_all()?;
    Ok(file.metadata()?.len())
}

fn read_file(path: &Path) -> io::Result<(About, u64)> {
    let file = File::open(path)?;
    let bytes = file.metadata()?.len();
    Ok((record::read(io::BufReader::new(file))?, bytes))
}

fn remove(path: &Path) {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(path = %path.display(), %error, "file of a capture not removed");
        }
        _ => {}
    }
}

/// Id and ending of a file of the folder.
fn name_of(path: &Path) -> Option<(&str, &str)> {
    let (id, extension) = path.file_name()?.to_str()?.split_once('.')?;
    let is_id = id.len() >= 17 && id.len() <= 24 && id.bytes().all(|c| c.is_ascii_hexdigit() || c == b'-');
    (is_id && [PART, "pb.gz", "txt.gz"].contains(&extension)).then_some((id, extension))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BOUNDS: Bounds = Bounds { bytes_max: 1 << 20, captures_max: 100, age_max_ms: Some(1_000) };

    fn about(time_ms: i64, pinned: bool) -> About {
        About { time_ms, pinned, what: "heap".to_owned(), origin: format!("web1 {time_ms}"), ..About::default() }
    }

    fn ids(store: &Store, now_ms: i64) -> Vec<i64> {
        store.list(now_ms).iter().map(|own| own.about.time_ms).collect()
    }

    #[test]
    fn captures_survive_and_are_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), BOUNDS, 0).unwrap();
        let first = store.put(about(5, false), b"five", 5).unwrap();
        assert_eq!(store.put(about(5, false), b"five again", 5).unwrap().id, first.id, "sent twice");
        let text = store.put(About { is_text: true, origin: String::new(), ..about(5, true) }, b"text", 5).unwrap();
        assert!(text.id > first.id, "ids of one time ascend");
        store.put(about(7, false), b"seven", 7).unwrap();
        fs::write(folder.path().join("00000000000a-0000.part"), "half").unwrap();
        fs::write(folder.path().join("00000000000b-0000.pb.gz"), "no gzip").unwrap();
        fs::write(folder.path().join("notes.txt"), "of somebody").unwrap();
        let again = Store::open(folder.path(), BOUNDS, 7).unwrap();
        assert_eq!(again.list(7), store.list(7));
        assert_eq!(ids(&again, 7), [7, 5, 5]);
        assert_eq!(again.counts.unreadable.load(Ordering::Relaxed), 1);
        let left = fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(left, 3 + 2, "an unfinished file goes, others stay");
        assert!(again.delete(&first.id) && !again.delete(&first.id));
        assert!(again.get(&first.id).is_none() && again.get(&text.id).is_some());
        let gzip = again.read(&text).unwrap();
        let mut plain = String::new();
        io::Read::read_to_string(&mut flate2::read::GzDecoder::new(gzip.as_slice()), &mut plain).unwrap();
        assert_eq!(plain, "text");
    }

    #[test]
    fn the_oldest_go_and_the_pinned_last() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), Bounds { captures_max: 3, ..BOUNDS }, 0).unwrap();
        for (time_ms, pinned) in [(1, true), (2, false), (3, false), (4, false)] {
            store.put(about(time_ms, pinned), b"x", 4).unwrap();
        }
        assert_eq!(ids(&store, 4), [4, 3, 1]);
        store.put(about(5, true), b"x", 5).unwrap();
        store.put(about(6, true), b"x", 6).unwrap();
        assert_eq!(ids(&store, 6), [6, 5, 1]);
        store.put(about(7, false), b"x", 7).unwrap();
        assert_eq!(ids(&store, 7), [7, 6, 5], "the pinned go too when there is nothing else");
        assert_eq!(ids(&store, 1_006), [7, 6], "age");
        assert_eq!(ids(&store, 9_000), Vec::<i64>::new());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        assert_eq!(store.size(), (0, 0));
    }

    #[test]
    fn a_disk_that_refuses_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), BOUNDS, 0).unwrap();
        fs::create_dir(folder.path().join("000000000005-0000.pb.gz")).unwrap();
        assert!(store.put(about(5, false), b"x", 5).is_err());
        assert_eq!(store.size(), (0, 0));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn who_asks_does_not_wait_for_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), BOUNDS, 0).unwrap();
        // A pipe in place of the file: it takes no more than it holds until somebody reads.
        let part = folder.path().join("000000000005-0000.part");
        rustix::fs::mknodat(rustix::fs::CWD, &part, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        let noise = |at: u32| (at.wrapping_mul(2_654_435_761) >> 13).to_le_bytes();
        let plain: Vec<u8> = (0..200_000).flat_map(noise).collect();
        std::thread::scope(|threads| {
            let puts = threads.spawn(|| store.put(about(5, false), &plain, 5));
            // Opens once the other side has it open too.
            let mut reads = File::open(&part).unwrap();
            let (tells, told) = std::sync::mpsc::channel();
            let store = &store;
            threads.spawn(move || tells.send((store.size(), store.list(5).len(), store.get("x").is_none())));
            let told = told.recv_timeout(std::time::Duration::from_mins(1));
            io::copy(&mut reads, &mut io::sink()).unwrap();
            assert_eq!(told, Ok(((0, 0), 0, true)));
            assert!(puts.join().unwrap().is_err(), "a pipe cannot be synced");
        });
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    proptest! {
        /// Whatever was there, afterwards the new one fits; nothing pinned goes while something that is not stays, and
        /// of each of the two the oldest went.
        #[test]
        fn room_is_made(
            all in proptest::collection::vec((1u64..50, any::<bool>()), 0..40),
            bytes in 1u64..100, bytes_max in 100u64..300, captures_max in 1usize..20,
        ) {
            let kept: BTreeMap<String, Kept> = (0i64..).zip(&all).map(|(time_ms, &(bytes, pinned))| {
                let id = format!("{time_ms:012x}-0000");
                (id.clone(), Kept { id, bytes, about: about(time_ms, pinned) })
            }).collect();
            let bounds = Bounds { bytes_max, captures_max, age_max_ms: None };
            let going = outgoing(&kept, bounds, bytes, 1, 0);
            let stays = |own: &&Kept| !going.iter().any(|(id, _)| *id == own.id);
            let left: Vec<&Kept> = kept.values().filter(stays).collect();
            prop_assert!(left.iter().map(|own| own.bytes).sum::<u64>() + bytes <= bytes_max);
            prop_assert!(left.len() < captures_max);
            let pinned_went = going.iter().any(|(id, _)| kept[id].about.pinned);
            prop_assert!(!pinned_went || left.iter().all(|own| own.about.pinned));
            for (id, _) in &going {
                let older = left.iter().filter(|own| own.about.pinned == kept[id].about.pinned && own.id < *id);
                prop_assert_eq!(older.count(), 0);
            }
            let same = kept.len() < captures_max && kept.values().map(|own| own.bytes).sum::<u64>() + bytes <= bytes_max;
            prop_assert_eq!(going.is_empty(), same || kept.is_empty(), "nothing goes without need");
        }
    }
}
