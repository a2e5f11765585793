//! Computing blocks on several threads and handing them on in order.
//!
//! Owns the threads: who takes which block, how far they may be ahead of what was handed on, and how it all ends: with
//! the last block, the first error in the order of the blocks, or the panic of any thread. What a block is, is the
//! caller's.

use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::error::Result;

/// What lowers the priority of a thread beside the caller's.
const NICE: i32 = 5;

/// How many threads compute how many blocks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Task {
    /// Blocks to compute.
    pub(super) blocks: usize,
    /// Threads beside the caller's.
    pub(super) helpers: usize,
    /// Blocks that are computed and not handed on yet at most, those under way included; at least one.
    pub(super) ahead: usize,
    /// The stack of each thread.
    pub(super) stack_bytes: usize,
}

/// Computes every block, in any order and on any thread, and hands each on in order, on the caller's thread.
///
/// # Errors
///
/// The error of the first block that has one, or that `deliver` has one for: whatever the number of threads.
///
/// # Panics
///
/// With the panic of any of the threads.
pub(super) fn in_order<T: Send>(
    task: Task,
    compute: &(dyn Fn(usize) -> Result<T> + Sync),
    deliver: &mut dyn FnMut(usize, T) -> Result<()>,
) -> Result<()> {
    let crew = Crew { task, progress: Mutex::new(Progress::new(task.blocks)), changed: Condvar::new() };
    std::thread::scope(|scope| {
        // The scope waits for the others even when this thread panics, so they have to know.
        let stop_on_panic = StopOnPanic(&crew);
        let mut helpers = Vec::with_capacity(task.helpers);
        for _ in 0..task.helpers {
            let thread = std::thread::Builder::new().name("query".to_owned()).stack_size(task.stack_bytes);
            let work = || {
                // Where that is not allowed, the threads run as others do.
                let _ = rustix::process::nice(NICE);
                crew.help(compute);
            };
            // Without the thread the others do its work.
            helpers.extend(thread.spawn_scoped(scope, work));
        }
        let result = crew.lead(compute, deliver);
        crew.stop();
        for helper in helpers {
            helper.join().unwrap_or_else(|panic| resume_unwind(panic));
        }
        drop(stop_on_panic);
        result
    })
}

/// The threads of one task.
#[derive(Debug)]
struct Crew<T> {
    task: Task,
    progress: Mutex<Progress<T>>,
    changed: Condvar,
}

/// Where they stand.
#[derive(Debug)]
struct Progress<T> {
    /// The next block that nobody took.
    next: usize,
    /// One past the last block worth computing: those behind an error are not.
    end: usize,
    delivered: usize,
    ready: BTreeMap<usize, Result<T>>,
    stopped: bool,
}

impl<T> Progress<T> {
    fn new(blocks: usize) -> Self {
        Self { next: 0, end: blocks, delivered: 0, ready: BTreeMap::new(), stopped: false }
    }
}

impl<T> Crew<T> {
    /// Nothing panics while it holds the lock, and what it guards is never half done.
    fn lock(&self) -> MutexGuard<'_, Progress<T>> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'c>(&self, progress: MutexGuard<'c, Progress<T>>) -> MutexGuard<'c, Progress<T>> {
        self.changed.wait(progress).unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the next block if it is not too far ahead.
    fn claim(&self, progress: &mut Progress<T>) -> Option<usize> {
        let at = progress.next;
        let may = at < progress.end && at < progress.delivered + self.task.ahead.max(1);
        may.then(|| {
            progress.next += 1;
            at
        })
    }

    /// Computes a block that was taken.
    fn compute<'c>(
        &'c self,
        at: usize,
        progress: MutexGuard<'c, Progress<T>>,
        compute: &dyn Fn(usize) -> Result<T>,
    ) -> MutexGuard<'c, Progress<T>> {
        drop(progress);
        let done = compute(at);
        let mut progress = self.lock();
        if done.is_err() {
            progress.end = progress.end.min(at);
        }
        progress.ready.insert(at, done);
        self.changed.notify_all();
        progress
    }

    /// Computes blocks until there is none left.
    fn help(&self, compute: &dyn Fn(usize) -> Result<T>) {
        let _stop_on_panic = StopOnPanic(self);
        let mut progress = self.lock();
        while !progress.stopped && progress.next < progress.end {
            progress = match self.claim(&mut progress) {
                Some(at) => self.compute(at, progress, compute),
                None => self.wait(progress),
            };
        }
    }

    /// Hands blocks on in order, and computes some meanwhile.
    fn lead(
        &self,
        compute: &dyn Fn(usize) -> Result<T>,
        deliver: &mut dyn FnMut(usize, T) -> Result<()>,
    ) -> Result<()> {
        let mut progress = self.lock();
        while progress.delivered < self.task.blocks && !progress.stopped {
            let at = progress.delivered;
            if let Some(done) = progress.ready.remove(&at) {
                drop(progress);
                deliver(at, done?)?;
                progress = self.lock();
                progress.delivered += 1;
                self.changed.notify_all();
            } else if let Some(at) = self.claim(&mut progress) {
                progress = self.compute(at, progress, compute);
            } else {
                progress = self.wait(progress);
            }
        }
        Ok(())
    }

    fn stop(&self) {
        self.lock().stopped = true;
        self.changed.notify_all();
    }
}

/// Keeps the others from waiting for a thread that is gone.
struct StopOnPanic<'c, T>(&'c Crew<T>);

impl<T> Drop for StopOnPanic<'_, T> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use super::*;
    use crate::eval::error::execution;

    fn task(blocks: usize, helpers: usize) -> Task {
        Task { blocks, helpers, ahead: 2 * (helpers + 1), stack_bytes: 256 << 10 }
    }

    /// Lets threads take turns in an order of their own.
    fn dawdle(at: usize) {
        (0..at * 7919 % 13).for_each(|_| thread::yield_now());
    }

    fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
        panic.downcast_ref::<String>().cloned().expect("a text")
    }

    #[test]
    fn every_block_once_and_in_order() {
        for helpers in 0..5 {
            for blocks in [0, 1, 2, 7, 100] {
                let (computed, ahead) = (AtomicUsize::new(0), 2 * (helpers + 1));
                let delivered = AtomicUsize::new(0);
                let compute = |at| {
                    dawdle(at);
                    assert!(at < delivered.load(Ordering::SeqCst) + ahead, "block {at} is too far ahead");
                    computed.fetch_add(1, Ordering::SeqCst);
                    Ok(at * 2)
                };
                let mut found = Vec::new();
                in_order(task(blocks, helpers), &compute, &mut |at, double| {
                    assert_eq!(double, at * 2);
                    found.push(at);
                    delivered.fetch_add(1, Ordering::SeqCst);
                    Ok(())
                })
                .expect("no error");
                assert!(found.iter().copied().eq(0..blocks), "{found:?}");
                assert_eq!(computed.into_inner(), blocks);
            }
        }
    }

    #[test]
    fn all_threads_work() {
        // A block waits for another one, so that it takes two threads to get on.
        let barrier = std::sync::Barrier::new(2);
        let compute = |_| Ok(barrier.wait().is_leader());
        let mut leaders = 0;
        in_order(task(8, 1), &compute, &mut |_, is_leader| {
            leaders += usize::from(is_leader);
            Ok(())
        })
        .expect("no error");
        assert_eq!(leaders, 4);
    }

    #[test]
    fn the_error_of_the_first_block_ends_it() {
        for helpers in 0..5 {
            for bad in 0..30 {
                let compute = |at| {
                    dawdle(at);
                    if at >= bad { Err(execution(format!("block {at}"))) } else { Ok(at) }
                };
                let mut found = 0;
                let result = in_order(task(30, helpers), &compute, &mut |_, _| {
                    found += 1;
                    Ok(())
                });
                assert_eq!(result.expect_err("a bad block").to_string(), format!("block {bad}"));
                assert_eq!(found, bad, "what lies before the error is handed on");
                let result = in_order(task(30, helpers), &|at| Ok(at), &mut |at, _| {
                    if at == bad { Err(execution("full")) } else { Ok(()) }
                });
                assert_eq!(result.expect_err("a full sink").to_string(), "full");
            }
        }
    }

    #[test]
    fn a_panic_on_any_thread_ends_it() {
        for helpers in 0..5 {
            for bad in [0, 1, 15, 29] {
                let compute = |at| {
                    dawdle(at);
                    assert!(at != bad, "block {at}");
                    Ok(at)
                };
                let run = || in_order(task(30, helpers), &compute, &mut |_, _| Ok(()));
                let panic = catch_unwind(AssertUnwindSafe(run)).expect_err("a panic");
                assert_eq!(panic_text(&*panic), format!("block {bad}"));
                let run = || {
                    in_order(task(30, helpers), &|at| Ok(at), &mut |at, _| {
                        assert!(at != bad, "sink {at}");
                        Ok(())
                    })
                };
                let panic = catch_unwind(AssertUnwindSafe(run)).expect_err("a panic");
                assert_eq!(panic_text(&*panic), format!("sink {bad}"));
            }
        }
    }
}
