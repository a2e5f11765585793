//! Captures that were ordered: what was asked for, why, and which capture came of it. How far a task is, the book of agents
//! knows. In memory, as tasks are.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use model::CaptureKind;
use model::control::ProcessName;

use super::record::By;
use crate::agents::TaskState;

/// Most orders that are remembered; the oldest are forgotten first.
const ORDERS_MAX: usize = 1024;

/// How long a capture may be on its way here after its agent said that it took it: longer than an agent pauses between tries, and a try.
/// One that comes later is taken too.
pub(crate) const BRINGING_MS_MAX: i64 = 120_000;

/// An order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Order {
    /// Number of the task.
    pub(crate) id: u64,
    pub(crate) process: ProcessName,
    pub(crate) what: CaptureKind,
    pub(crate) seconds: u32,
    pub(crate) reason: String,
    pub(crate) by: By,
    pub(crate) asked_ms: i64,
    /// The capture that came of it.
    pub(crate) capture: Option<String>,
}

/// How far an order is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum State {
    /// The agent has not fetched it.
    Waiting,
    /// The agent has it.
    Taking,
    /// The agent says that it took the capture, which is not here yet.
    Sending,
    /// The capture is here.
    Done,
    /// There is none, and why.
    Failed(String),
}

impl State {
    pub(crate) const fn text(&self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Taking => "taking",
            Self::Sending => "sending",
            Self::Done => "done",
            Self::Failed(_) => "failed",
        }
    }

    /// Whether nothing more will become of it, but that a capture may still come late.
    pub(crate) const fn is_over(&self) -> bool {
        matches!(self, Self::Done | Self::Failed(_))
    }
}

impl Order {
    /// Whether a capture of `what` that was taken of `instance` can be the one. Who orders by process id, as of `web1/pid-4711`, need
    /// not know what the process calls itself.
    pub(crate) fn is_met_by(&self, what: CaptureKind, instance: &str) -> bool {
        let pid = self.process.instance.rsplit_once("/pid-").map(|(_, pid)| pid.parse::<i32>());
        self.what == what && (self.process.instance == instance || matches!(pid, Some(Ok(_))))
    }

    /// How far it is, when its task is `task`, whose outcome was told `told_ago_ms` milliseconds ago.
    pub(crate) fn state(&self, task: Option<TaskState>, told_ago_ms: i64) -> State {
        match (&self.capture, task) {
            (Some(_), _) => State::Done,
            (None, Some(TaskState::Waiting)) => State::Waiting,
            (None, Some(TaskState::Given)) => State::Taking,
            (None, Some(TaskState::Done)) if told_ago_ms > BRINGING_MS_MAX => {
                let seconds = BRINGING_MS_MAX / 1_000;
                State::Failed(format!(
                    "the agent took it and has not brought it in {seconds} s; its log may say why, and it may still come"
                ))
            }
            (None, Some(TaskState::Done)) => State::Sending,
            (None, Some(TaskState::Failed { error })) => State::Failed(error),
            (None, None) => State::Failed("it ended long ago".to_owned()),
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Orders(Mutex<BTreeMap<u64, Order>>);

impl Orders {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Order>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers `order`.
    pub(crate) fn add(&self, order: Order) {
        let mut all = self.lock();
        while all.len() >= ORDERS_MAX {
            all.pop_first();
        }
        all.insert(order.id, order);
    }

    /// The order `id`.
    pub(crate) fn get(&self, id: u64) -> Option<Order> {
        self.lock().get(&id).cloned()
    }

    /// The newest orders for the same that no capture has come of.
    pub(crate) fn same(&self, process: &ProcessName, what: CaptureKind, seconds: u32) -> Vec<Order> {
        let same = |order: &&Order| {
            let one = order.process == *process && order.what == what && order.seconds == seconds;
            one && order.capture.is_none()
        };
        self.lock().values().rev().filter(same).cloned().collect()
    }

    /// The capture of the order is here.
    pub(crate) fn arrived(&self, id: u64, capture: &str) {
        if let Some(order) = self.lock().get_mut(&id) {
            order.capture = Some(capture.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(id: u64) -> Order {
        Order {
            id,
            process: ProcessName::new("api", "web1/0"),
            what: CaptureKind::Heap,
            seconds: 0,
            reason: String::new(),
            by: By::Request,
            asked_ms: 1_000,
            capture: None,
        }
    }

    #[test]
    fn states_follow_the_task_until_the_capture_is_here() {
        let failed = TaskState::Failed { error: "no right".to_owned() };
        for (task, want) in [
            (Some(TaskState::Waiting), State::Waiting),
            (Some(TaskState::Given), State::Taking),
            (Some(TaskState::Done), State::Sending),
            (Some(failed.clone()), State::Failed("no right".to_owned())),
            (None, State::Failed("it ended long ago".to_owned())),
        ] {
            assert_eq!(order(1).state(task.clone(), BRINGING_MS_MAX), want);
            let here = Order { capture: Some("c1".to_owned()), ..order(1) };
            assert_eq!(here.state(task, i64::MAX), State::Done, "late is better than never");
        }
    }

    #[test]
    fn orders_are_found_again_and_bounded() {
        let orders = Orders::default();
        for id in 0..=ORDERS_MAX as u64 {
            orders.add(order(id));
        }
        assert!(orders.get(0).is_none() && orders.get(1).is_some());
        let same = |seconds| orders.same(&ProcessName::new("api", "web1/0"), CaptureKind::Heap, seconds);
        assert_eq!((same(0)[0].id, same(5).len()), (ORDERS_MAX as u64, 0));
        orders.arrived(ORDERS_MAX as u64, "c1");
        assert_eq!(same(0)[0].id, ORDERS_MAX as u64 - 1);
        assert_eq!(orders.get(ORDERS_MAX as u64).and_then(|order| order.capture).as_deref(), Some("c1"));
    }
}
