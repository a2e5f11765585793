//! Sizes of file systems, asked by a thread that may be left behind: a file system whose server went away answers never, and nothing
//! ends the call. Such a one is not asked again until it has answered, and costs a round once what it costs to find that out.
//! The late answer of a slow one counts in the round that finds it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::time::{Duration, Instant};

use rustix::fs::StatVfs;

/// How long a round waits for all of its answers.
const WAIT: Duration = Duration::from_secs(5);
/// How long it waits for each when that is used up.
const WAIT_MIN: Duration = Duration::from_millis(50);
/// Most file systems, and so threads, that are waited for from one round to the next; with more nothing is asked.
const STUCK_MAX: usize = 32;

type Answer = Result<StatVfs, rustix::io::Errno>;
type Ask = dyn Fn(&Path) -> Answer + Send + Sync;

/// Asks for sizes, and knows who did not answer.
pub(super) struct Statvfs {
    ask: Arc<Ask>,
    wait: Duration,
    /// Kept from round to round, unless it is stuck.
    worker: Option<Worker>,
    stuck: HashMap<PathBuf, Receiver<Answer>>,
    /// What came since the last round of those that were late in it.
    late: HashMap<PathBuf, Answer>,
}

/// One round of asking.
#[derive(Debug)]
pub(super) struct Round<'s> {
    of: &'s mut Statvfs,
    left: Duration,
}

/// A thread that asks for what it is sent, until nobody sends more.
#[derive(Debug)]
struct Worker {
    asked: Sender<PathBuf>,
    answers: Receiver<Answer>,
}

impl std::fmt::Debug for Statvfs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Statvfs").field("stuck", &self.stuck.keys()).finish_non_exhaustive()
    }
}

impl Default for Statvfs {
    fn default() -> Self {
        Self::asking(|mount| rustix::fs::statvfs(mount), WAIT)
    }
}

impl Statvfs {
    /// Asks with `ask`, and waits for a round's answers as long as `wait`.
    fn asking(ask: impl Fn(&Path) -> Answer + Send + Sync + 'static, wait: Duration) -> Self {
        Self { ask: Arc::new(ask), wait, worker: None, stuck: HashMap::new(), late: HashMap::new() }
    }

    /// Begins a round; who answered meanwhile is asked again.
    pub(super) fn round(&mut self) -> Round<'_> {
        self.late.clear();
        self.stuck.retain(|mount, answers| match answers.try_recv() {
            Ok(answer) => {
                self.late.insert(mount.clone(), answer);
                false
            }
            Err(error) => error == TryRecvError::Empty,
        });
        let left = self.wait;
        Round { of: self, left }
    }
}

impl Round<'_> {
    /// The sizes of the file system at `mount`; nothing when it refuses or does not answer in time. Where an answer came late, that is what
    /// is given, unless a new one comes at once.
    pub(super) fn of(&mut self, mount: &Path) -> Option<StatVfs> {
        let late = self.of.late.remove(mount);
        if self.of.stuck.contains_key(mount) || self.of.stuck.len() >= STUCK_MAX {
            return late?.ok();
        }
        let worker = match self.of.worker.take() {
            Some(worker) => worker,
            None => Worker::start(Arc::clone(&self.of.ask))?,
        };
        worker.asked.send(mount.to_owned()).ok()?;
        let asked = Instant::now();
        let wait = if late.is_some() { WAIT_MIN } else { self.left.max(WAIT_MIN) };
        let answer = worker.answers.recv_timeout(wait);
        self.left = self.left.saturating_sub(asked.elapsed());
        let Ok(answer) = answer else {
            if late.is_none() {
                tracing::warn!(mount = %mount.display(), "file system does not answer; it is not asked again until it does");
            }
            self.of.stuck.insert(mount.to_owned(), worker.answers);
            return late?.ok();
        };
        self.of.worker = Some(worker);
        answer.ok()
    }
}

impl Worker {
    /// Nothing when no thread can be had.
    fn start(ask: Arc<Ask>) -> Option<Self> {
        let (asked, asks) = channel::<PathBuf>();
        let (answer, answers) = channel();
        let work = move || {
            while let Ok(mount) = asks.recv() {
                if answer.send(ask(&mount)).is_err() {
                    break;
                }
            }
        };
        std::thread::Builder::new().name("agent-statvfs".to_owned()).spawn(work).ok()?;
        Some(Self { asked, answers })
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;

    #[test]
    fn rounds_share_a_thread() {
        let askers = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&askers);
        let ask = move |mount: &Path| {
            told.lock().push(std::thread::current().id());
            rustix::fs::statvfs(mount)
        };
        let mut statvfs = Statvfs::asking(ask, Duration::from_mins(1));
        for _ in 0..3 {
            let mut round = statvfs.round();
            assert!(round.of(Path::new("/")).is_some() && round.of(Path::new("/")).is_some());
        }
        let askers = askers.lock();
        assert!(askers.len() == 6 && askers.iter().all(|asker| *asker == askers[0]), "{askers:?}");
    }

    #[test]
    fn one_that_never_answers_holds_up_no_other() {
        let (release, released) = channel::<()>();
        let released = Mutex::new(released);
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        let ask = move |mount: &Path| {
            log.lock().push(mount.to_owned());
            if mount == Path::new("/hung") {
                let _ = released.lock().recv();
            }
            rustix::fs::statvfs("/")
        };
        let mut statvfs = Statvfs::asking(ask, Duration::from_secs(3));
        let mut round = |mounts: &[&str]| {
            let mut round = statvfs.round();
            mounts.iter().map(|mount| round.of(Path::new(mount)).is_some()).collect::<Vec<_>>()
        };
        assert_eq!(round(&["/a", "/hung"]), [true, false]);
        assert_eq!(round(&["/hung", "/a"]), [false, true]);
        let hung = |asked: &[PathBuf]| asked.iter().filter(|mount| mount.as_os_str() == "/hung").count();
        assert_eq!(hung(&asked.lock()), 1, "not asked while it hangs");
        release.send(()).expect("it waits");
        drop(release);
        while !round(&["/hung"])[0] {
            std::thread::yield_now();
        }
        // Asked anew when it has answered.
        while hung(&asked.lock()) < 2 {
            std::thread::yield_now();
        }
    }

    /// File systems each of which answers when it is released, or once nobody can any more.
    fn hanging() -> (Sender<()>, Statvfs) {
        let (release, released) = channel();
        let released = Mutex::new(released);
        let ask = move |_: &Path| {
            let _ = released.lock().recv();
            rustix::fs::statvfs("/")
        };
        (release, Statvfs::asking(ask, Duration::ZERO))
    }

    #[test]
    fn a_late_answer_counts_and_is_not_waited_for() {
        let (release, mut statvfs) = hanging();
        let slow = Path::new("/slow");
        assert!(statvfs.round().of(slow).is_none());
        // Who waits for it as for others comes too late.
        statvfs.wait = Duration::from_mins(1);
        let began = Instant::now();
        for _ in 0..2 {
            release.send(()).expect("it waits");
            while statvfs.round().of(slow).is_none() {
                assert!(began.elapsed() < Duration::from_mins(1), "the late answer is lost");
                std::thread::yield_now();
            }
            assert!(statvfs.stuck.contains_key(slow), "asked again behind the round");
        }
        drop(release);
    }

    #[test]
    fn what_hangs_is_bounded() {
        let (release, mut statvfs) = hanging();
        let mut round = statvfs.round();
        for number in 0..STUCK_MAX + 5 {
            assert!(round.of(Path::new(&format!("/{number}"))).is_none());
        }
        assert_eq!(statvfs.stuck.len(), STUCK_MAX);
        drop(release);
    }
}
