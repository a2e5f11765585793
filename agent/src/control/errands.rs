//! Tasks of a server, carried out at most once each, on threads of their own: a check-in never waits for one.
//!
//! What is told of them goes with the check-ins: which are under way, and how others ended until a server has heard it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use model::control::{OUTCOMES_MAX, Task, TaskKind, TaskOutcome, UNDER_WAY_MAX};
use parking_lot::Mutex;

/// Most ids that are remembered. A server gives a task for a minute and has a thousand of them at most.
const SEEN_MAX: usize = 4_096;
/// Most outcomes that wait to be told.
const UNTOLD_MAX: usize = 256;

/// Someone who carries out tasks of a kind.
pub trait Orderly: Send + Sync + std::fmt::Debug {
    /// Carries out `task`; it is called on a thread where it may take its time.
    ///
    /// # Errors
    ///
    /// Why it could not, for whoever ordered it.
    fn carry_out(&self, task: &Task) -> Result<(), String>;
}

/// Who carries out what. Without someone a task is declined.
#[derive(Debug, Clone, Default)]
pub struct Lanes {
    /// Captures, one at a time.
    pub capture: Option<Arc<dyn Orderly>>,
    /// Bursts, a few at a time.
    pub burst: Option<Arc<dyn Orderly>>,
}

/// Bursts that are under way at once.
const BURSTS_MAX: usize = 4;

/// Which lane a task goes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum LaneName {
    Capture,
    Burst,
}

#[derive(Debug)]
struct Lane {
    orderly: Arc<dyn Orderly>,
    places: usize,
    running: usize,
    waiting: VecDeque<Task>,
}

/// The tasks of this run of the agent. Clones share them.
#[derive(Debug, Clone)]
pub struct Errands(Arc<Mutex<Book>>);

#[derive(Debug)]
struct Book {
    lanes: BTreeMap<LaneName, Lane>,
    seen: BTreeSet<u64>,
    under_way: BTreeSet<u64>,
    untold: VecDeque<TaskOutcome>,
}

impl Errands {
    /// No tasks yet; `lanes` carry them out.
    pub fn new(lanes: &Lanes) -> Self {
        let lane = |name, places, orderly: &Option<Arc<dyn Orderly>>| {
            let orderly = Arc::clone(orderly.as_ref()?);
            Some((name, Lane { orderly, places, running: 0, waiting: VecDeque::new() }))
        };
        let lanes = [lane(LaneName::Capture, 1, &lanes.capture), lane(LaneName::Burst, BURSTS_MAX, &lanes.burst)];
        Self(Arc::new(Mutex::new(Book {
            lanes: lanes.into_iter().flatten().collect(),
            seen: BTreeSet::new(),
            under_way: BTreeSet::new(),
            untold: VecDeque::new(),
        })))
    }

    /// Begins those of `tasks` that were not seen before.
    pub fn take(&self, tasks: Vec<Task>) {
        for task in tasks {
            let mut book = self.0.lock();
            if !book.seen.insert(task.id) {
                continue;
            }
            while book.seen.len() > SEEN_MAX {
                // Ids ascend: the smallest is the oldest.
                book.seen.pop_first();
            }
            let name = match task.kind {
                TaskKind::Capture { .. } => Some(LaneName::Capture),
                TaskKind::Burst { .. } => Some(LaneName::Burst),
                TaskKind::Unknown => None,
            };
            let full = book.under_way.len() >= UNDER_WAY_MAX;
            let lane = name.and_then(|name| Some((name, book.lanes.get_mut(&name)?)));
            match lane {
                Some((name, lane)) if !full => {
                    lane.waiting.push_back(task.clone());
                    book.under_way.insert(task.id);
                    drop(book);
                    self.start(name);
                }
                Some(_) => book.over(task.id, Err(format!("{UNDER_WAY_MAX} tasks are under way, which is the limit"))),
                None => book.over(task.id, Err(format!("this agent does no {} tasks", task.kind.name()))),
            }
        }
    }

    /// Does none of `tasks`, and says why.
    pub fn decline(&self, tasks: Vec<Task>, why: &str) {
        let mut book = self.0.lock();
        for task in tasks {
            if book.seen.insert(task.id) {
                book.over(task.id, Err(why.to_owned()));
            }
        }
    }

    /// The tasks that are not over, and the outcomes that no server has heard of, as many as go into one check-in.
    pub fn report(&self) -> (Vec<u64>, Vec<TaskOutcome>) {
        let book = self.0.lock();
        (book.under_way.iter().copied().collect(), book.untold.iter().take(OUTCOMES_MAX).cloned().collect())
    }

    /// A server has heard of these.
    pub fn heard(&self, outcomes: &[TaskOutcome]) {
        self.0.lock().untold.retain(|outcome| !outcomes.contains(outcome));
    }

    /// Starts what waits in a lane as far as there are places.
    fn start(&self, name: LaneName) {
        let mut book = self.0.lock();
        let Some(lane) = book.lanes.get_mut(&name).filter(|lane| lane.running < lane.places) else { return };
        let Some(task) = lane.waiting.pop_front() else { return };
        lane.running += 1;
        let (orderly, errands, id) = (Arc::clone(&lane.orderly), self.clone(), task.id);
        drop(book);
        let started = std::thread::Builder::new().name(format!("agent-{}", task.kind.name())).spawn(move || {
            let mut running = Running { errands, name, id, result: Err("it ended by a panic".to_owned()) };
            running.result = orderly.carry_out(&task);
        });
        if let Err(error) = started {
            self.end(name, id, Err(format!("no thread could be started: {error}")));
        }
    }

    fn end(&self, name: LaneName, id: u64, result: Result<(), String>) {
        let mut book = self.0.lock();
        if let Some(lane) = book.lanes.get_mut(&name) {
            lane.running = lane.running.saturating_sub(1);
        }
        book.over(id, result);
        drop(book);
        self.start(name);
    }
}

impl Book {
    fn over(&mut self, id: u64, result: Result<(), String>) {
        if let Err(error) = &result {
            tracing::warn!(task = id, error, "a task of the server was not carried out");
        }
        self.under_way.remove(&id);
        self.untold.push_back(TaskOutcome::new(id, result));
        while self.untold.len() > UNTOLD_MAX {
            self.untold.pop_front();
        }
    }
}

/// Ends a task also when its thread panics.
struct Running {
    errands: Errands,
    name: LaneName,
    id: u64,
    result: Result<(), String>,
}

impl Drop for Running {
    fn drop(&mut self) {
        let result = std::mem::replace(&mut self.result, Ok(()));
        self.errands.end(self.name, self.id, result);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use model::control::ProcessName;

    use super::*;

    /// Tells the ids it was given and waits to be told how they end.
    #[derive(Debug)]
    struct Waits {
        begun: mpsc::Sender<u64>,
        end: Mutex<mpsc::Receiver<Result<(), String>>>,
    }

    impl Orderly for Waits {
        fn carry_out(&self, task: &Task) -> Result<(), String> {
            self.begun.send(task.id).expect("the test listens");
            self.end.lock().recv().expect("the test tells")
        }
    }

    fn task(id: u64) -> Task {
        let process = ProcessName::new("", "h/0");
        Task { id, expires_ms: 0, kind: TaskKind::Capture { process, what: "heap".to_owned(), seconds: 0 } }
    }

    #[track_caller]
    fn wait_for(errands: &Errands, untold: usize) -> Vec<TaskOutcome> {
        for _ in 0..10_000 {
            let (_, outcomes) = errands.report();
            if outcomes.len() >= untold {
                return outcomes;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("{untold} outcomes do not come");
    }

    #[test]
    fn tasks_are_carried_out_once_one_after_the_other_and_told_until_heard() {
        let (begun, begins) = mpsc::channel();
        let (ends, end) = mpsc::channel();
        let waits = Arc::new(Waits { begun, end: Mutex::new(end) });
        let errands = Errands::new(&Lanes { capture: Some(waits), burst: None });
        errands.take(vec![task(1), task(2)]);
        errands.take(vec![task(2), task(1)]);
        assert_eq!(begins.recv(), Ok(1));
        assert_eq!(errands.report(), (vec![1, 2], Vec::new()));
        ends.send(Ok(())).expect("it waits");
        assert_eq!(begins.recv(), Ok(2));
        ends.send(Err("no right".to_owned())).expect("it waits");
        let outcomes = wait_for(&errands, 2);
        let want = [TaskOutcome::ok(1), TaskOutcome { id: 2, error: Some("no right".to_owned()) }];
        assert_eq!(outcomes, want);
        errands.heard(&want[..1]);
        errands.take(vec![task(1)]);
        assert_eq!(errands.report(), (Vec::new(), want[1..].to_vec()));
        assert!(begins.try_recv().is_err(), "nothing is done twice");
    }

    #[derive(Debug)]
    struct Panics;

    impl Orderly for Panics {
        fn carry_out(&self, _: &Task) -> Result<(), String> {
            panic!("on purpose")
        }
    }

    #[test]
    fn what_is_declined_is_told_once() {
        let errands = Errands::new(&Lanes { capture: Some(Arc::new(Panics)), burst: None });
        errands.decline(vec![task(1)], "off");
        errands.decline(vec![task(1)], "off");
        errands.take(vec![task(1)]);
        assert_eq!(errands.report(), (Vec::new(), vec![TaskOutcome { id: 1, error: Some("off".to_owned()) }]));
    }

    #[test]
    fn what_panics_or_is_not_known_is_told() {
        let errands = Errands::new(&Lanes { capture: Some(Arc::new(Panics)), burst: None });
        let burst = TaskKind::Burst { process: ProcessName::new("", "h/0"), interval_ms: 100, seconds: 1 };
        errands.take(vec![task(1), Task { kind: burst, ..task(2) }, Task { kind: TaskKind::Unknown, ..task(3) }]);
        let mut outcomes = wait_for(&errands, 3);
        outcomes.sort_by_key(|outcome| outcome.id);
        let errors: Vec<_> = outcomes.into_iter().map(|outcome| outcome.error.unwrap_or_default()).collect();
        assert!(
            errors[0].contains("panic") && errors[1].contains("no burst") && errors[2].contains("no unknown"),
            "{errors:?}"
        );
    }
}
