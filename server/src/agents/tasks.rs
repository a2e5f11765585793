//! Tasks of agents, from being ordered to their outcome. Each is carried out at most once: it is given to one run of an agent alone,
//! which knows by its id whether it has seen it.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use model::control::{CheckIn, TASKS_MAX, Task, TaskKind, TaskOutcome, shortened};
use serde::Serialize;

/// Most tasks of one agent that are not over.
pub(super) const OPEN_PER_AGENT_MAX: usize = 16;
/// Most tasks that are not over, of all agents.
const OPEN_MAX: usize = 1_000;
/// Most tasks that are remembered when they are over.
const ENDED_MAX: usize = 1_000;
/// How long a task may wait for its agent.
const EXPIRES_MS: i64 = 60_000;
/// How long after its longest time a task's outcome is waited for, from when its agent last said that it has it.
const OUTCOME_LATE_MS: i64 = 60_000;
/// Longest time for which an agent may say so: as many captures as an agent can have, one after the other, take less.
const UNDER_WAY_MS_MAX: i64 = 2 * 3_600_000;

/// The number of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct TaskId(pub u64);

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What became of a task so far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "camelCase")]
pub enum TaskState {
    /// Its agent has not fetched it.
    Waiting,
    /// Its agent has it.
    Given,
    /// It was done.
    Done,
    /// It was not done, or not to its end.
    Failed {
        /// Why.
        error: String,
    },
}

impl TaskState {
    /// Whether nothing more will become of it.
    pub fn is_over(&self) -> bool {
        matches!(self, Self::Done | Self::Failed { .. })
    }
}

#[derive(Debug)]
struct Ordered {
    agent: String,
    task: Task,
    given: Option<Given>,
    /// When the agent told its outcome.
    told_ms: Option<i64>,
    state: TaskState,
}

/// Who has a task.
#[derive(Debug, Clone, Copy)]
struct Given {
    /// The run of the agent.
    run: u64,
    since_ms: i64,
    /// When the agent last said that it has it. There it may wait for its turn.
    heard_ms: i64,
}

/// All tasks, by number.
#[derive(Debug)]
pub(super) struct Tasks {
    next_id: u64,
    tasks: BTreeMap<u64, Ordered>,
}

impl Tasks {
    /// None yet. Numbers begin where no earlier run of the server can have come: a thousand for each millisecond.
    pub(super) fn new(now_ms: i64) -> Self {
        Self { next_id: now_ms.max(0).unsigned_abs().saturating_mul(1_000), tasks: BTreeMap::new() }
    }

    /// Adds a task for `agent`.
    pub(super) fn order(&mut self, agent: &str, kind: TaskKind, now_ms: i64) -> Result<TaskId, String> {
        self.settle(now_ms);
        let open = |of: &&Ordered| !of.state.is_over();
        let of_agent = self.tasks.values().filter(open).filter(|ordered| ordered.agent == agent).count();
        if of_agent >= OPEN_PER_AGENT_MAX {
            return Err(format!("{of_agent} tasks of this agent are not over, the limit is {OPEN_PER_AGENT_MAX}"));
        }
        let of_all = self.tasks.values().filter(open).count();
        if of_all >= OPEN_MAX {
            return Err(format!("{of_all} tasks are not over, the limit is {OPEN_MAX}"));
        }
        self.next_id += 1;
        let task = Task { id: self.next_id, expires_ms: now_ms.saturating_add(EXPIRES_MS), kind };
        let ordered = Ordered { agent: agent.to_owned(), task, given: None, told_ms: None, state: TaskState::Waiting };
        self.tasks.insert(self.next_id, ordered);
        Ok(TaskId(self.next_id))
    }

    /// Takes note of what an agent tells of its tasks; whether anything changed.
    pub(super) fn told(&mut self, check_in: &CheckIn, now_ms: i64) -> bool {
        for id in &check_in.under_way {
            let ordered = self.tasks.get_mut(id).filter(|ordered| ordered.agent == check_in.agent);
            let given = ordered.and_then(|ordered| ordered.given.as_mut());
            if let Some(given) = given.filter(|given| given.run == check_in.run) {
                given.heard_ms = now_ms;
            }
        }
        let mut changed = self.settle(now_ms);
        for TaskOutcome { id, error } in &check_in.outcomes {
            let Some(ordered) = self.tasks.get_mut(id).filter(|ordered| ordered.agent == check_in.agent) else {
                continue;
            };
            if ordered.given.is_some_and(|given| given.run == check_in.run) && !ordered.state.is_over() {
                ordered.told_ms = Some(now_ms);
                ordered.state = match error {
                    None => TaskState::Done,
                    Some(error) => TaskState::Failed { error: shortened(error).to_owned() },
                };
                changed = true;
            }
        }
        for ordered in self.tasks.values_mut().filter(|ordered| ordered.agent == check_in.agent) {
            let earlier = ordered.given.is_some_and(|given| given.run != check_in.run);
            if !ordered.state.is_over() && (earlier || (check_in.ending && ordered.given.is_some())) {
                let error = "the agent ended before it told the outcome".to_owned();
                ordered.state = TaskState::Failed { error };
                changed = true;
            }
        }
        changed
    }

    /// What is to be done by a run of `agent` that has `under_way` already; that counts as given from now on.
    pub(super) fn give(&mut self, agent: &str, run: u64, under_way: &[u64], now_ms: i64) -> Vec<Task> {
        self.settle(now_ms);
        let has: HashSet<&u64> = under_way.iter().collect();
        let due = |(id, ordered): &(&u64, &mut Ordered)| {
            ordered.agent == agent && !ordered.state.is_over() && !has.contains(id)
        };
        let mut given = Vec::new();
        for (_, ordered) in self.tasks.iter_mut().filter(due).take(TASKS_MAX) {
            ordered.given.get_or_insert(Given { run, since_ms: now_ms, heard_ms: now_ms });
            ordered.state = TaskState::Given;
            given.push(ordered.task.clone());
        }
        given
    }

    /// What became of a task; none when it is not known.
    pub(super) fn state(&mut self, id: TaskId, now_ms: i64) -> Option<TaskState> {
        self.settle(now_ms);
        self.tasks.get(&id.0).map(|ordered| ordered.state.clone())
    }

    /// When the agent told the outcome of a task.
    pub(super) fn told_ms(&self, id: TaskId) -> Option<i64> {
        self.tasks.get(&id.0)?.told_ms
    }

    /// Ends what has waited too long and forgets what ended long ago; whether anything ended.
    fn settle(&mut self, now_ms: i64) -> bool {
        let mut changed = false;
        for ordered in self.tasks.values_mut().filter(|ordered| !ordered.state.is_over()) {
            let error = match ordered.given {
                None if now_ms > ordered.task.expires_ms => "the agent did not check in in time",
                Some(Given { since_ms, heard_ms, .. }) => {
                    let longest_ms =
                        i64::try_from(ordered.task.kind.seconds().saturating_mul(1_000)).unwrap_or(i64::MAX);
                    if now_ms.saturating_sub(since_ms) > UNDER_WAY_MS_MAX {
                        "the agent had it for two hours and had not done it"
                    } else if now_ms.saturating_sub(heard_ms) > longest_ms.saturating_add(OUTCOME_LATE_MS) {
                        "the agent took it and never told the outcome"
                    } else {
                        continue;
                    }
                }
                None => continue,
            };
            ordered.state = TaskState::Failed { error: error.to_owned() };
            changed = true;
        }
        let ended = self.tasks.values().filter(|ordered| ordered.state.is_over()).count();
        let mut surplus = ended.saturating_sub(ENDED_MAX);
        self.tasks.retain(|_, ordered| {
            let goes = surplus > 0 && ordered.state.is_over();
            surplus -= usize::from(goes);
            !goes
        });
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::control::ProcessName;

    fn burst() -> TaskKind {
        TaskKind::Burst { process: ProcessName::new("", "web1/0"), interval_ms: 100, seconds: 30 }
    }

    fn says(run: u64, under_way: &[u64], outcomes: &[TaskOutcome]) -> CheckIn {
        CheckIn {
            agent: "web1".to_owned(),
            run,
            under_way: under_way.to_vec(),
            outcomes: outcomes.to_vec(),
            ..CheckIn::default()
        }
    }

    fn ids(tasks: &[Task]) -> Vec<u64> {
        tasks.iter().map(|task| task.id).collect()
    }

    #[test]
    fn a_task_comes_until_it_is_known_to_have_arrived_and_its_outcome_counts_once() {
        let mut tasks = Tasks::new(5);
        let id = tasks.order("web1", burst(), 0).unwrap();
        assert_eq!(id, TaskId(5_001));
        assert!(tasks.give("web2", 7, &[], 0).is_empty(), "another agent's");
        assert_eq!(tasks.state(id, 0), Some(TaskState::Waiting));
        assert_eq!(ids(&tasks.give("web1", 7, &[], 0)), [id.0]);
        assert_eq!(ids(&tasks.give("web1", 7, &[], 1)), [id.0], "the answer was lost");
        assert!(tasks.give("web1", 7, &[id.0], 2).is_empty());
        assert_eq!(tasks.state(id, 0), Some(TaskState::Given));
        assert!(!tasks.told(&says(8, &[], &[]).clone_as("web2"), 3), "another agent");
        assert!(tasks.told(&says(7, &[], &[TaskOutcome::ok(id.0)]), 3));
        assert!(!tasks.told(&says(7, &[], &[TaskOutcome::new(id.0, Err("late".to_owned()))]), 3), "told once");
        assert_eq!(tasks.state(id, 0), Some(TaskState::Done));
        assert!(tasks.give("web1", 7, &[], 4).is_empty());
    }

    trait CloneAs {
        fn clone_as(&self, agent: &str) -> Self;
    }

    impl CloneAs for CheckIn {
        fn clone_as(&self, agent: &str) -> Self {
            Self { agent: agent.to_owned(), ..self.clone() }
        }
    }

    #[test]
    fn a_run_does_not_inherit_what_an_earlier_one_was_given() {
        let mut tasks = Tasks::new(0);
        let given = tasks.order("web1", burst(), 0).unwrap();
        tasks.give("web1", 7, &[], 0);
        let waiting = tasks.order("web1", burst(), 0).unwrap();
        assert!(tasks.told(&says(8, &[], &[]), 1));
        assert_eq!(ids(&tasks.give("web1", 8, &[], 1)), [waiting.0]);
        let Some(TaskState::Failed { error }) = tasks.state(given, 1) else { panic!("it failed") };
        assert!(error.contains("ended before"), "{error}");
        assert!(!tasks.told(&says(8, &[], &[TaskOutcome::ok(given.0)]), 1), "of another run");
        let ending = CheckIn { ending: true, ..says(8, &[waiting.0], &[]) };
        assert!(tasks.told(&ending, 2));
        assert!(tasks.state(waiting, 2).unwrap().is_over());
    }

    #[test]
    fn what_nobody_fetches_or_tells_of_ends() {
        let mut tasks = Tasks::new(0);
        let id = tasks.order("web1", burst(), 0).unwrap();
        assert_eq!(tasks.state(id, EXPIRES_MS), Some(TaskState::Waiting));
        assert!(tasks.state(id, EXPIRES_MS + 1).unwrap().is_over());
        assert!(tasks.give("web1", 7, &[], EXPIRES_MS + 2).is_empty());
        let id = tasks.order("web1", burst(), 0).unwrap();
        tasks.give("web1", 7, &[], 10);
        assert_eq!(tasks.state(id, 30_010 + OUTCOME_LATE_MS), Some(TaskState::Given));
        assert!(tasks.state(id, 30_011 + OUTCOME_LATE_MS).unwrap().is_over());
    }

    #[test]
    fn what_an_agent_says_it_has_is_waited_for() {
        let mut tasks = Tasks::new(0);
        let id = tasks.order("web1", burst(), 0).unwrap();
        tasks.give("web1", 7, &[], 0);
        let mut now_ms = 0;
        for _ in 0..20 {
            now_ms += 20_000;
            assert!(!tasks.told(&says(7, &[id.0], &[]), now_ms), "it waits for its turn there");
            assert_eq!(tasks.state(id, now_ms), Some(TaskState::Given), "after {now_ms} ms");
        }
        now_ms += 30_000 + OUTCOME_LATE_MS;
        assert_eq!(tasks.state(id, now_ms), Some(TaskState::Given), "it began when it was told of last");
        assert!(tasks.told(&says(7, &[], &[TaskOutcome::ok(id.0)]), now_ms));
        assert_eq!(tasks.state(id, now_ms), Some(TaskState::Done));
        // Another is never begun.
        let id = tasks.order("web1", burst(), now_ms).unwrap();
        tasks.give("web1", 7, &[], now_ms);
        let until_ms = now_ms + UNDER_WAY_MS_MAX;
        while now_ms < until_ms {
            now_ms += 20_000;
            tasks.told(&says(7, &[id.0], &[]), now_ms);
        }
        assert_eq!(tasks.state(id, until_ms), Some(TaskState::Given));
        tasks.told(&says(7, &[id.0], &[]), now_ms + 20_000);
        let Some(TaskState::Failed { error }) = tasks.state(id, now_ms + 20_000) else { panic!("it failed") };
        assert!(error.contains("had not done it"), "{error}");
    }

    #[test]
    fn tasks_are_bounded() {
        let mut tasks = Tasks::new(0);
        for _ in 0..OPEN_PER_AGENT_MAX {
            tasks.order("web1", burst(), 0).unwrap();
        }
        let error = tasks.order("web1", burst(), 0).unwrap_err();
        assert!(error.contains("16 tasks of this agent"), "{error}");
        for at in 0..OPEN_MAX - OPEN_PER_AGENT_MAX {
            tasks.order(&format!("b{}", at / OPEN_PER_AGENT_MAX), burst(), 0).unwrap();
        }
        assert!(tasks.order("c", burst(), 0).unwrap_err().contains("1000 tasks are not over"));
        for round in 1..4 {
            let now_ms = round * 2 * EXPIRES_MS;
            for at in 0..OPEN_MAX {
                tasks.order(&format!("b{}", at / OPEN_PER_AGENT_MAX), burst(), now_ms).unwrap();
            }
        }
        assert!(tasks.tasks.len() <= OPEN_MAX + ENDED_MAX);
    }
}
