//! What processes are called, kept in a file beside the queue, so that an agent that starts anew calls them as before: slots stay, and what is
//! read of a program before its next push goes with what was read before. It counts for the same boot of the machine alone.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::identity::Names;
use crate::private;

/// Its name in the folder of the queue.
const FILE: &str = "process-names.json";
/// Longest file that is read.
const FILE_BYTES_MAX: u64 = 8 << 20;
/// Least time between two writes.
const SAVED_EVERY: Duration = Duration::from_secs(10);

/// The file.
#[derive(Debug)]
pub(super) struct KeptNames {
    folder: PathBuf,
    boot: String,
    /// What was written last.
    saved: Option<Names>,
    /// When it was tried last, with or without success.
    tried: Option<Instant>,
    failing: bool,
}

#[derive(Serialize, Deserialize)]
struct Page {
    boot: String,
    names: Names,
}

impl KeptNames {
    /// The file in `folder`, and what it says of this boot.
    pub(super) fn open(folder: &Path) -> (Self, Names) {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Self::open_in(folder, boot.trim())
    }

    fn open_in(folder: &Path, boot: &str) -> (Self, Names) {
        let kept = Self { folder: folder.to_owned(), boot: boot.to_owned(), saved: None, tried: None, failing: false };
        let names = kept.load().unwrap_or_default();
        (kept, names)
    }

    /// Nothing where there is none that can be read, or when the machine started anew since: ids begin again then.
    fn load(&self) -> Option<Names> {
        let mut text = String::new();
        File::open(self.folder.join(FILE)).ok()?.take(FILE_BYTES_MAX).read_to_string(&mut text).ok()?;
        let page: Page = serde_json::from_str(&text).ok()?;
        (page.boot == self.boot && !self.boot.is_empty()).then_some(page.names)
    }

    /// Keeps what `names` gives, now and then and when it is new.
    pub(super) fn save(&mut self, names: impl FnOnce() -> Names, now: Instant) {
        if self.tried.is_some_and(|at| now.saturating_duration_since(at) < SAVED_EVERY) {
            return;
        }
        self.tried = Some(now);
        let names = names();
        if self.saved.as_ref() == Some(&names) {
            return;
        }
        let written = self.write(&names);
        match &written {
            Err(error) if !self.failing => tracing::warn!(%error, file = FILE, "names of processes not kept"),
            _ => {}
        }
        self.failing = written.is_err();
        // What the file says is not known after a failure: the same is tried again.
        self.saved = written.is_ok().then_some(names);
    }

    /// Whole or not at all. It is not forced to the device: after a power cut all ids begin again.
    fn write(&self, names: &Names) -> io::Result<()> {
        let part = self.folder.join(format!("{FILE}.part"));
        let page = Page { boot: self.boot.clone(), names: names.clone() };
        private::create(&part)?.write_all(&serde_json::to_vec(&page)?)?;
        fs::rename(&part, self.folder.join(FILE))
    }
}

#[cfg(test)]
mod tests {
    use super::super::identity::{Identities, Identity, Life};
    use super::*;

    #[test]
    fn an_agent_that_starts_anew_calls_processes_as_before() {
        let folder = tempfile::tempdir().expect("a folder");
        let life = |start_ticks, pid| Life { start_ticks, pid, name: "api".to_owned() };
        let (a, b, c) = (life(1, 10), life(2, 11), life(3, 12));
        let mut identities = Identities::new("h");
        identities.assign(&[a.clone(), b.clone()], &[]);
        let shop = Identity { job: "shop".to_owned(), instance: "box/3".to_owned() };
        let before = identities.assign(&[b.clone(), c.clone()], &[((&c).into(), shop.clone())]);
        assert_eq!((before[0].instance.as_str(), &before[1]), ("h/1", &shop));
        let (mut kept, nothing) = KeptNames::open_in(folder.path(), "boot 1");
        assert_eq!(nothing, Names::default());
        let now = Instant::now();
        kept.save(|| identities.names(), now);
        kept.save(|| panic!("too soon"), now + SAVED_EVERY / 2);

        let restarted = |boot: &str| {
            let (_, names) = KeptNames::open_in(folder.path(), boot);
            let mut identities = Identities::new("h");
            identities.restore(names);
            identities.assign(&[b.clone(), c.clone()], &[])
        };
        assert_eq!(restarted("boot 1"), before);
        assert_eq!(restarted("boot 2")[0].instance, "h/0", "other processes have these ids by now");
        fs::write(folder.path().join(FILE), b"{").expect("written");
        assert_eq!(restarted("boot 1")[0].instance, "h/0");
        kept.save(|| identities.names(), now + SAVED_EVERY);
        assert_ne!(restarted("boot 1"), before, "what did not change is not written again");
        identities.assign(&[b.clone(), c.clone(), a.clone()], &[]);
        kept.save(|| identities.names(), now + 2 * SAVED_EVERY);
        assert_eq!(restarted("boot 1"), before);
    }

    #[test]
    fn what_the_folder_refused_is_written_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let life = Life { start_ticks: 1, pid: 7, name: "api".to_owned() };
        let names = || Names { slots: vec![(life.clone(), 3)], adopted: Vec::new() };
        let (mut kept, _) = KeptNames::open_in(folder.path(), "boot 1");
        // A folder in place of the file.
        let in_the_way = folder.path().join(format!("{FILE}.part"));
        fs::create_dir(&in_the_way).expect("made");
        let now = Instant::now();
        kept.save(names, now);
        fs::remove_dir(&in_the_way).expect("removed");
        kept.save(|| panic!("too soon"), now + SAVED_EVERY / 2);
        kept.save(names, now + SAVED_EVERY);
        assert_eq!(KeptNames::open_in(folder.path(), "boot 1").1, names());
    }

    #[test]
    fn a_file_that_calls_two_the_same_is_believed_of_one() {
        let life = |pid| Life { start_ticks: 1, pid, name: "api".to_owned() };
        let mut identities = Identities::new("h");
        identities.restore(Names { slots: vec![(life(7), 0), (life(8), 0)], adopted: Vec::new() });
        let given = identities.assign(&[life(7), life(8)], &[]);
        assert_ne!(given[0], given[1]);
    }
}
