//! Executables of the processes that are read: each understood once, remembered while it is in use, within a bound.

use std::collections::HashMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use super::binary::{GoBinary, Layout, Unreadable};
use super::memory::Fault;
use super::names::Remembered;
use super::process_memory::ProcessMemory;
use super::time_histogram::Bounds;
use crate::go::BuildInfo;
use crate::go::ways::Reason;

/// Most executables that are remembered; each holds a file open.
const REMEMBERED_MAX: usize = 64;
/// How long one without a process is remembered, for programs that start again and again. An open file that was deleted, as by
/// a new release, keeps its room on disk.
const REMEMBERED: Duration = Duration::from_mins(1);
/// Most time a round spends on executables that it has not met before; the rest waits for the next.
const OPENING_MAX: Duration = Duration::from_millis(500);
/// Time until a file that could not be read is tried again.
const AGAIN: Duration = Duration::from_mins(1);

/// Device, inode, size and time of change.
type Key = (u64, u64, u64, i64, i64);

/// What is known of one executable.
#[derive(Debug)]
pub(super) struct Executable {
    /// What its file tells.
    pub(super) binary: GoBinary,
    /// The bounds of its runtime's histograms.
    pub(super) bounds: Option<Bounds>,
    /// Names of its code.
    pub(super) remembered: Remembered,
}

#[derive(Debug)]
struct Entry {
    known: Result<Box<Executable>, Reason>,
    used: Instant,
    used_round: u64,
    again: Option<Instant>,
}

/// Executables by file.
#[derive(Debug, Default)]
pub(super) struct Executables {
    entries: HashMap<Key, Entry>,
    round: u64,
    opening: Duration,
}

/// Why there is no executable to read a process by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoExecutable {
    /// The process is gone or may not be read.
    Fault(Fault),
    /// It cannot be understood.
    Reason(Reason),
    /// It is looked at in a later round.
    Later,
}

impl Executables {
    /// Begins a round at `now`: what was not used for long goes.
    pub(super) fn begin_round(&mut self, now: Instant) {
        let last_round = self.round;
        self.round += 1;
        self.entries.retain(|_, entry| {
            entry.used_round >= last_round || now.saturating_duration_since(entry.used) < REMEMBERED
        });
        self.opening = Duration::ZERO;
        while self.entries.len() > REMEMBERED_MAX {
            let oldest = self.entries.iter().min_by_key(|(_, entry)| entry.used).map(|(key, _)| *key);
            let Some(oldest) = oldest else { break };
            self.entries.remove(&oldest);
        }
    }

    /// Forgets the names of code, which are read from the files again.
    pub(super) fn forget_names(&mut self) {
        for entry in self.entries.values_mut() {
            if let Ok(executable) = &mut entry.known {
                executable.remembered = Remembered::default();
            }
        }
    }

    /// The executable of the process whose memory `memory` is, of which `info` tells the release.
    ///
    /// # Errors
    ///
    /// See [`NoExecutable`].
    pub(super) fn of(&mut self, memory: &ProcessMemory, info: &BuildInfo) -> Result<&mut Executable, NoExecutable> {
        let key = key(memory.executable_metadata());
        let due = self.entries.get(&key).is_none_or(|entry| entry.again.is_some_and(|again| again < Instant::now()));
        if due {
            if self.opening > OPENING_MAX {
                return Err(NoExecutable::Later);
            }
            let started = Instant::now();
            let entry = open(memory, info).map_err(NoExecutable::Fault)?;
            self.opening += started.elapsed();
            self.entries.insert(key, entry);
        }
        let Some(entry) = self.entries.get_mut(&key) else { return Err(NoExecutable::Later) };
        (entry.used, entry.used_round) = (Instant::now(), self.round);
        match &mut entry.known {
            Ok(executable) => Ok(executable),
            Err(reason) => Err(NoExecutable::Reason(*reason)),
        }
    }
}

fn key(metadata: &Metadata) -> Key {
    (metadata.dev(), metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec())
}

fn open(memory: &ProcessMemory, info: &BuildInfo) -> Result<Entry, Fault> {
    let file = memory.open_executable()?;
    let opened = GoBinary::open(file, info).map(|binary| {
        let bounds = Bounds::of(binary.layout().time_histogram);
        Box::new(Executable { binary, bounds, remembered: Remembered::default() })
    });
    if opened.as_ref().is_ok_and(|executable| Layout::is_assumed(*executable.binary.version())) {
        let (path, go_version) = (&info.path, &info.go_version);
        tracing::info!(
            path,
            go_version,
            "patch of Go is newer than the agent; its runtime is taken to be as in the one before"
        );
    }
    let again = matches!(opened, Err(Unreadable::Io(_))).then(|| Instant::now() + AGAIN);
    if let Err(error) = &opened {
        tracing::info!(path = info.path, go_version = info.go_version, %error, "memory of processes of this executable is not read");
    }
    let known = opened.map_err(|error| match error {
        Unreadable::UnknownRelease(_) | Unreadable::Format => Reason::UnknownRelease,
        _ => Reason::NoAddresses,
    });
    Ok(Entry { known, used: Instant::now(), used_round: 0, again })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executables_without_processes_are_forgotten() {
        let mut executables = Executables::default();
        let start = Instant::now();
        for number in 0..100_u64 {
            let used = start + Duration::from_secs(number);
            let entry = Entry { known: Err(Reason::UnknownRelease), used, used_round: 0, again: None };
            executables.entries.insert((0, number, 0, 0, 0), entry);
        }
        let left = |executables: &Executables| {
            let mut left: Vec<u64> = executables.entries.keys().map(|key| key.1).collect();
            left.sort_unstable();
            (left.len(), left.first().copied())
        };
        // However long a round takes, what the last one used stays.
        executables.begin_round(start + Duration::from_secs(1000));
        assert_eq!(left(&executables), (64, Some(36)), "no more than are held open at once");
        executables.begin_round(start + Duration::from_mins(2));
        assert_eq!(left(&executables), (39, Some(61)), "none that a minute ago had no process");
        executables.begin_round(start + Duration::from_secs(160));
        assert_eq!(left(&executables), (0, None));
    }
}
