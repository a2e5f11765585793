//! Threads that help with a round and are kept for the next: to start one costs more than most scrapes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread::Builder;

/// Work that several threads do at once, each taking a part of it until there is none left.
pub(super) type Work = Arc<dyn Fn() + Send + Sync>;

/// Threads that sleep until there is work. They end with the pool.
#[derive(Debug, Default)]
pub(super) struct Pool {
    helpers: Vec<SyncSender<Task>>,
}

struct Task {
    work: Work,
    /// Says so where the work ended by a panic.
    panicked: Arc<AtomicBool>,
    /// Dropped when the work is done, also by a panic.
    _done: SyncSender<()>,
}

impl Drop for Task {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.panicked.store(true, Ordering::Relaxed);
        }
    }
}

impl Pool {
    /// No threads yet.
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Does `own` on this thread and `help` on `helpers` others; returns when all of them are done. Threads that are missing
    /// are started; where that is not possible the others do all of it.
    ///
    /// # Panics
    ///
    /// Where the work of one of them panicked.
    pub(super) fn run(&mut self, helpers: usize, help: &Work, own: impl FnOnce()) {
        let (done, ended) = mpsc::sync_channel(0);
        let panicked = Arc::new(AtomicBool::new(false));
        for at in 0..helpers {
            let task = Task { work: Arc::clone(help), panicked: Arc::clone(&panicked), _done: done.clone() };
            // One that does not take it has panicked.
            let left = match self.helpers.get(at) {
                Some(helper) => helper.send(task).err().map(|refused| refused.0),
                None => Some(task),
            };
            let Some(task) = left else { continue };
            match start(task) {
                Ok(helper) if at < self.helpers.len() => self.helpers[at] = helper,
                Ok(helper) => self.helpers.push(helper),
                Err(error) => {
                    tracing::debug!(%error, "thread could not be started; others do its work");
                    break;
                }
            }
        }
        drop(done);
        own();
        // Nothing is ever sent: the channel ends when the last one is done.
        let _ = ended.recv();
        assert!(!panicked.load(Ordering::Relaxed), "a helper panicked; what it said is above");
    }
}

/// Starts a helper with `first` as its first task; it takes the next from the channel that is returned.
fn start(first: Task) -> std::io::Result<SyncSender<Task>> {
    // Nothing waits in the channel: a task is taken by a thread that is there, or refused.
    let (hand, tasks) = mpsc::sync_channel(0);
    Builder::new().name("agent-scrape+".to_owned()).spawn(move || {
        (first.work)();
        drop(first);
        help(&tasks);
    })?;
    Ok(hand)
}

fn help(tasks: &Receiver<Task>) {
    for task in tasks {
        (task.work)();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::Barrier;
    use std::thread::{ThreadId, current};

    use parking_lot::Mutex;

    use super::*;

    /// Work that ends when `threads` do it at the same time, and who they were.
    fn together(threads: usize) -> (Work, Arc<Mutex<HashSet<ThreadId>>>) {
        let (barrier, who) = (Barrier::new(threads), Arc::new(Mutex::new(HashSet::new())));
        let told = Arc::clone(&who);
        let work = move || {
            barrier.wait();
            told.lock().insert(current().id());
        };
        (Arc::new(work), who)
    }

    fn run(pool: &mut Pool, helpers: usize) -> HashSet<ThreadId> {
        let (work, who) = together(helpers + 1);
        pool.run(helpers, &work, &*work);
        let who = who.lock();
        assert!(who.len() == helpers + 1 && who.contains(&current().id()), "all are done when it returns");
        who.clone()
    }

    #[test]
    fn threads_are_kept_from_round_to_round() {
        let mut pool = Pool::new();
        let first = run(&mut pool, 3);
        assert_eq!(run(&mut pool, 3), first);
        assert!(run(&mut pool, 1).is_subset(&first), "fewer of the same");
        assert!(run(&mut pool, 5).is_superset(&first), "more are started when they are needed");
        assert_eq!(run(&mut pool, 0).len(), 1);
        assert_eq!(pool.helpers.len(), 5);
    }

    #[test]
    fn one_that_panics_is_replaced() {
        let mut pool = Pool::new();
        run(&mut pool, 2);
        let work: Work = Arc::new(|| panic!("on purpose"));
        let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| pool.run(2, &work, || ())));
        assert!(told.is_err(), "who asked for the work is told");
        assert_eq!(run(&mut pool, 2).len(), 3, "all take part again");
    }
}
