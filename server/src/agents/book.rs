//! The book of agents: the last check-in of each, the tasks they are given, the profiles they work by. Others of the server
//! order tasks here.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::Clock;
use model::control::{CheckIn, Orders, TaskKind};
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::Instant;

use super::profiles::{ListedProfile, Profile, ProfileOptions, Profiles};
use super::tasks::{TaskId, TaskState, Tasks};

/// Most agents that are known.
const AGENTS_MAX: usize = 10_000;
/// Time without a check-in after which an agent counts as away. Agents check in every 20 seconds at least.
const AWAY_MS: i64 = 60_000;
/// Time for which two agents count as having one name after they last showed it. Each checks in every 20 seconds at least.
const TWINS_MS: i64 = 5 * 60_000;
/// Most runs of an agent before its last that are remembered.
const EARLIER_RUNS_MAX: usize = 8;
/// Time without a check-in after which an agent is forgotten.
const FORGOTTEN_MS: i64 = 24 * 3_600_000;
/// Pause that is asked of an agent whose check-in cannot wait here.
const BUSY_PAUSE_MS: u64 = 10_000;

/// Why a task was not ordered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages name every field")]
pub enum OrderError {
    /// Correct the request.
    #[error("{0}")]
    Invalid(String),
    /// No agent of that name has checked in; correct the name, or start one there.
    #[error("no agent {agent:?} has checked in; `metrickit agents` lists those that have")]
    Unknown { agent: String },
    /// The agent is away; try again when it is back.
    #[error("agent {agent:?} was last seen {seconds} s ago; it takes no tasks while it is away")]
    Away { agent: String, seconds: i64 },
    /// Two agents have the name, and none can know which one is meant; give each its own.
    #[error("two agents are called {agent:?}, so none can be told apart; give each a name of its own with --host")]
    Twins { agent: String },
    /// Too many tasks wait; try again later.
    #[error("{0}")]
    Full(String),
}

/// How an agent is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum AgentState {
    /// It checks in.
    Here,
    /// It said that it ends.
    Ended,
    /// It has not checked in for a while.
    Away,
    /// It checks in, and so does another of its name.
    Twins,
}

/// An agent as it is listed.
#[derive(Debug, Clone)]
pub(crate) struct Listed {
    /// What it said last.
    pub(crate) check_in: CheckIn,
    /// When, in milliseconds since the Unix epoch.
    pub(crate) seen_ms: i64,
    /// From where.
    pub(crate) address: Option<IpAddr>,
    pub(crate) state: AgentState,
}

#[derive(Debug)]
struct Known {
    check_in: CheckIn,
    seen_ms: i64,
    address: Option<IpAddr>,
    /// Its runs before this one, the last at the end.
    earlier_runs: VecDeque<u64>,
    /// When an earlier run was seen after a later one: then both are there.
    twins_ms: Option<i64>,
}

impl Known {
    fn new(check_in: CheckIn, seen_ms: i64, address: Option<IpAddr>) -> Self {
        Self { check_in, seen_ms, address, earlier_runs: VecDeque::new(), twins_ms: None }
    }

    /// What is known after one more check-in.
    fn then(self, next: Self) -> Self {
        let (mut earlier_runs, mut twins_ms) = (self.earlier_runs, self.twins_ms);
        if next.check_in.run != self.check_in.run {
            if earlier_runs.contains(&next.check_in.run) {
                twins_ms = Some(next.seen_ms);
            }
            earlier_runs.retain(|run| *run != next.check_in.run);
            earlier_runs.push_back(self.check_in.run);
            if earlier_runs.len() > EARLIER_RUNS_MAX {
                earlier_runs.pop_front();
            }
        }
        Self { earlier_runs, twins_ms, ..next }
    }

    fn state(&self, now_ms: i64) -> AgentState {
        match now_ms.saturating_sub(self.seen_ms) {
            _ if self.check_in.ending => AgentState::Ended,
            since_ms if since_ms > AWAY_MS => AgentState::Away,
            _ if self.twins_ms.is_some_and(|at_ms| now_ms.saturating_sub(at_ms) <= TWINS_MS) => AgentState::Twins,
            _ => AgentState::Here,
        }
    }

    fn is_here(&self, now_ms: i64) -> bool {
        matches!(self.state(now_ms), AgentState::Here | AgentState::Twins)
    }
}

#[derive(Debug)]
struct State {
    agents: BTreeMap<String, Known>,
    tasks: Tasks,
    profiles: Profiles,
}

impl State {
    /// The agent called `host`, else the only one that is here and says that it reads processes which call themselves by that host.
    fn responsible(&self, host: &str, now_ms: i64) -> Option<(&String, &Known)> {
        if let Some(own) = self.agents.get_key_value(host) {
            return Some(own);
        }
        let reads = |(_, known): &(&String, &Known)| {
            known.is_here(now_ms) && known.check_in.hosts.iter().any(|other| other == host)
        };
        let mut all = self.agents.iter().filter(reads);
        all.next().filter(|_| all.next().is_none())
    }
}

/// Agents that checked in, and their tasks. Bounded in every way; nothing is kept on disk.
#[derive(Debug)]
pub struct AgentBook {
    state: Mutex<State>,
    clock: Arc<dyn Clock>,
    /// Sent to at every change that somebody may wait for.
    changes: watch::Sender<()>,
    waiting: AtomicUsize,
    waiting_max: usize,
    closed: AtomicBool,
    /// Held while profiles are read.
    looking: Mutex<()>,
}

impl AgentBook {
    /// A book without agents; at most `waiting_max` check-ins are answered late.
    pub fn new(clock: Arc<dyn Clock>, waiting_max: usize, profiles: ProfileOptions) -> Self {
        let (tasks, profiles) = (Tasks::new(clock.now().0), Profiles::new(profiles));
        Self {
            state: Mutex::new(State { agents: BTreeMap::new(), tasks, profiles }),
            clock,
            changes: watch::Sender::new(()),
            waiting: AtomicUsize::new(0),
            waiting_max,
            closed: AtomicBool::new(false),
            looking: Mutex::default(),
        }
    }

    /// Orders a task of `agent`, the host in `instance`: of the agent of that name, else of the one that reads processes of such a host. Its number tells later what became of it.
    ///
    /// # Errors
    ///
    /// When the task passes a limit, the agent is not there, or too many tasks wait.
    pub fn order(&self, agent: &str, kind: TaskKind) -> Result<TaskId, OrderError> {
        kind.check().map_err(OrderError::Invalid)?;
        let now_ms = self.clock.now().0;
        let mut state = self.lock();
        let Some((agent, known)) = state.responsible(agent, now_ms) else {
            return Err(OrderError::Unknown { agent: agent.to_owned() });
        };
        let agent = &agent.to_owned();
        match known.state(now_ms) {
            AgentState::Here => {}
            AgentState::Twins => return Err(OrderError::Twins { agent: agent.to_owned() }),
            AgentState::Away | AgentState::Ended => {
                let seconds = now_ms.saturating_sub(known.seen_ms) / 1_000;
                return Err(OrderError::Away { agent: agent.to_owned(), seconds });
            }
        }
        let id = state.tasks.order(agent, kind, now_ms).map_err(OrderError::Full)?;
        drop(state);
        self.changes.send_replace(());
        Ok(id)
    }

    /// What became of a task; none when it is not known, or was forgotten.
    pub fn outcome(&self, id: TaskId) -> Option<TaskState> {
        self.lock().tasks.state(id, self.clock.now().0)
    }

    /// When the agent told what became of a task.
    pub(crate) fn told_ms(&self, id: TaskId) -> Option<i64> {
        self.lock().tasks.told_ms(id)
    }

    /// As [`outcome`](Self::outcome), but waits for up to `wait` until the task is over.
    pub async fn wait_outcome(&self, id: TaskId, wait: Duration) -> Option<TaskState> {
        let until = Instant::now() + wait;
        let mut changes = self.changes.subscribe();
        loop {
            let state = self.outcome(id)?;
            if state.is_over() || self.is_closed() || tokio::time::timeout_at(until, changes.changed()).await.is_err() {
                return Some(state);
            }
        }
    }

    /// Lets go of everyone who waits, and makes nobody wait any more: the server stops.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        self.changes.send_replace(());
    }

    /// Takes note of a checked check-in that came from `address`. Nothing when there are too many agents.
    pub(crate) fn note(&self, check_in: &CheckIn, address: Option<IpAddr>) -> Option<()> {
        let now_ms = self.clock.now().0;
        let mut state = self.lock();
        if !state.agents.contains_key(&check_in.agent) {
            make_room(&mut state.agents, now_ms)?;
        }
        let next = Known::new(check_in.clone(), now_ms, address);
        let known = match state.agents.remove(&check_in.agent) {
            Some(before) => before.then(next),
            None => next,
        };
        state.agents.insert(check_in.agent.clone(), known);
        let changed = state.tasks.told(check_in, now_ms);
        drop(state);
        if changed || check_in.ending {
            self.changes.send_replace(());
        }
        Some(())
    }

    /// What an agent that said `check_in` is to do: at once if there is news for it, else after `wait`.
    pub(crate) async fn orders(&self, check_in: &CheckIn, wait: Duration) -> Orders {
        let until = Instant::now() + wait;
        let mut changes = self.changes.subscribe();
        let place = Place::take(self);
        loop {
            let mut orders = {
                let now_ms = self.clock.now().0;
                let mut state = self.lock();
                // A later run has checked in meanwhile, or another agent of the same name: this one takes nothing from it.
                let is_last = state.agents.get(&check_in.agent).is_some_and(|of| of.check_in.run == check_in.run);
                if check_in.ending || !is_last {
                    return Orders { pause_ms: BUSY_PAUSE_MS, ..Orders::default() };
                }
                let tasks = state.tasks.give(&check_in.agent, check_in.run, &check_in.under_way, now_ms);
                Orders { tasks, profile: state.profiles.order(&check_in.environment), pause_ms: 0 }
            };
            if place.is_none() {
                orders.pause_ms = BUSY_PAUSE_MS;
            }
            let news = !orders.tasks.is_empty() || orders.profile.is_news_to(check_in);
            if news
                || place.is_none()
                || self.is_closed()
                || tokio::time::timeout_at(until, changes.changed()).await.is_err()
            {
                return orders;
            }
        }
    }

    /// Every agent, by name.
    pub(crate) fn list(&self) -> Vec<Listed> {
        let now_ms = self.clock.now().0;
        let mut state = self.lock();
        state.agents.retain(|_, known| now_ms.saturating_sub(known.seen_ms) <= FORGOTTEN_MS);
        let listed = |known: &Known| Listed {
            check_in: known.check_in.clone(),
            seen_ms: known.seen_ms,
            address: known.address,
            state: known.state(now_ms),
        };
        state.agents.values().map(listed).collect()
    }

    /// Reads profiles that changed.
    pub fn look_at_profiles(&self) {
        let _one_at_a_time = self.looking.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(look) = ({ self.lock().profiles.look() }) else { return };
        let found = look.read();
        if self.lock().profiles.take_in(found) {
            self.changes.send_replace(());
        }
    }

    /// The profile for agents of `environment`.
    pub(crate) fn profile(&self, environment: &str) -> Option<Profile> {
        self.lock().profiles.profile(environment)
    }

    /// The profiles by name, each with the number of agents that are to work by it; of one environment, the one that counts there.
    pub(crate) fn profiles(&self, environment: Option<&str>) -> Vec<(ListedProfile, usize)> {
        let now_ms = self.clock.now().0;
        let state = self.lock();
        let name = environment.map(|environment| state.profiles.name_for(environment));
        let agents_of = |name: &str| {
            let here = state.agents.values().filter(|known| known.is_here(now_ms));
            here.filter(|known| state.profiles.name_for(&known.check_in.environment) == name).count()
        };
        let listed =
            state.profiles.list().into_iter().filter(|listed| name.is_none_or(|name| listed.environment == name));
        listed
            .map(|listed| {
                let agents = agents_of(&listed.environment);
                (listed, agents)
            })
            .collect()
    }

    /// How many agents are here, here beside another of their name, away, and ended.
    pub(crate) fn counts(&self) -> [(&'static str, usize); 4] {
        let now_ms = self.clock.now().0;
        let state = self.lock();
        let of = |wanted| state.agents.values().filter(|known| known.state(now_ms) == wanted).count();
        let [here, twins] = [AgentState::Here, AgentState::Twins].map(of);
        [("here", here), ("twins", twins), ("away", of(AgentState::Away)), ("ended", of(AgentState::Ended))]
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// A book whose holder panicked is still a book.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Forgets the agent that was seen longest ago where there are too many, unless all are here.
fn make_room(agents: &mut BTreeMap<String, Known>, now_ms: i64) -> Option<()> {
    if agents.len() < AGENTS_MAX {
        return Some(());
    }
    let gone = |known: &Known| !known.is_here(now_ms);
    let (name, _) = agents.iter().filter(|(_, known)| gone(known)).min_by_key(|(_, known)| known.seen_ms)?;
    let name = name.clone();
    agents.remove(&name);
    Some(())
}

/// A check-in that may wait.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(book: &'a AgentBook) -> Option<Self> {
        let place = Self(&book.waiting);
        (book.waiting.fetch_add(1, Ordering::Relaxed) < book.waiting_max).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::control::{ProcessName, ProfileOrder, TaskOutcome};
    use model::{ManualClock, TimestampMs};

    const LONG: Duration = Duration::from_hours(1);

    fn book(waiting_max: usize) -> (Arc<AgentBook>, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::new(TimestampMs(1_000_000)));
        (Arc::new(AgentBook::new(Arc::clone(&clock) as Arc<dyn Clock>, waiting_max, ProfileOptions::default())), clock)
    }

    fn agent(name: &str) -> CheckIn {
        CheckIn { agent: name.to_owned(), run: 1, ..CheckIn::default() }
    }

    fn nothing() -> Orders {
        Orders { profile: ProfileOrder::None, ..Orders::default() }
    }

    fn burst(seconds: u64) -> TaskKind {
        TaskKind::Burst { process: ProcessName::new("", "web1/0"), interval_ms: 100, seconds }
    }

    #[test]
    fn a_task_finds_the_agent_that_reads_processes_of_another_host() {
        let (book, _) = book(1);
        let reads = |name: &str, hosts: &[&str]| CheckIn {
            hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
            ..agent(name)
        };
        book.note(&reads("web1", &["box", "twice"]), None).unwrap();
        book.note(&reads("web2", &["twice", "web1"]), None).unwrap();
        let given = |host: &str| book.order(host, burst(1)).map(drop);
        assert_eq!([given("web1"), given("box")], [Ok(()), Ok(())]);
        for host in ["twice", "nobody"] {
            assert_eq!(given(host), Err(OrderError::Unknown { agent: host.to_owned() }), "{host}");
        }
        let waiting = |name: &str| book.lock().tasks.give(name, 1, &[], 0).len();
        assert_eq!((waiting("web1"), waiting("web2")), (2, 0));
    }

    #[tokio::test]
    async fn a_task_ends_the_wait_of_its_agent_and_its_outcome_that_of_who_ordered() {
        let (book, _) = book(1);
        book.note(&agent("web1"), None).unwrap();
        let waits = tokio::spawn({
            let book = Arc::clone(&book);
            async move { book.orders(&agent("web1"), LONG).await }
        });
        while book.waiting.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        let id = book.order("web1", burst(1)).unwrap();
        let orders = waits.await.unwrap();
        assert_eq!(orders.tasks.iter().map(|task| task.id).collect::<Vec<_>>(), [id.0]);
        assert_eq!(book.outcome(id), Some(TaskState::Given));
        let asks = tokio::spawn({
            let book = Arc::clone(&book);
            async move { book.wait_outcome(id, LONG).await }
        });
        tokio::task::yield_now().await;
        book.note(&CheckIn { outcomes: vec![TaskOutcome::ok(id.0)], ..agent("web1") }, None).unwrap();
        assert_eq!(asks.await.unwrap(), Some(TaskState::Done));
        assert_eq!(book.wait_outcome(TaskId(1), LONG).await, None);
    }

    #[tokio::test]
    async fn nobody_waits_beyond_the_places_or_when_the_server_stops() {
        let (book, _) = book(0);
        book.note(&agent("web1"), None).unwrap();
        let orders = book.orders(&agent("web1"), LONG).await;
        assert_eq!(orders.pause_ms, BUSY_PAUSE_MS);
        assert_eq!(book.waiting.load(Ordering::Relaxed), 0);
        let (book, _) = self::book(1);
        book.note(&agent("web1"), None).unwrap();
        assert_eq!(book.orders(&agent("web1"), Duration::ZERO).await, nothing());
        book.close();
        assert_eq!(book.orders(&agent("web1"), LONG).await, nothing());
    }

    #[test]
    fn who_is_away_takes_no_tasks() {
        let (book, clock) = book(1);
        assert_eq!(book.order("web1", burst(1)), Err(OrderError::Unknown { agent: "web1".to_owned() }));
        book.note(&agent("web1"), None).unwrap();
        assert!(matches!(book.order("web1", burst(0)), Err(OrderError::Invalid(_))));
        assert!(book.order("web1", burst(1)).is_ok());
        clock.advance_ms(AWAY_MS + 1);
        assert_eq!(book.list()[0].state, AgentState::Away);
        assert_eq!(book.order("web1", burst(1)), Err(OrderError::Away { agent: "web1".to_owned(), seconds: 60 }));
        book.note(&CheckIn { ending: true, ..agent("web1") }, None).unwrap();
        assert_eq!(book.list()[0].state, AgentState::Ended);
        clock.advance_ms(FORGOTTEN_MS + 1);
        assert!(book.list().is_empty());
    }

    #[test]
    fn two_agents_of_one_name_are_told() {
        let (book, clock) = book(1);
        let run = |run| CheckIn { run, ..agent("web1") };
        let state = |book: &AgentBook| book.list()[0].state;
        // A restart, and another.
        for at in [1, 1, 2, 3, 3] {
            book.note(&run(at), None).unwrap();
            assert_eq!(state(&book), AgentState::Here);
        }
        book.note(&run(2), None).unwrap();
        assert_eq!(state(&book), AgentState::Twins);
        assert_eq!(book.order("web1", burst(1)), Err(OrderError::Twins { agent: "web1".to_owned() }));
        for _ in 0..=TWINS_MS / 20_000 {
            clock.advance_ms(20_000);
            book.note(&run(2), None).unwrap();
        }
        assert_eq!(state(&book), AgentState::Here, "one of them has another name by now");
        for at in 10..10 + 2 * EARLIER_RUNS_MAX as u64 {
            book.note(&run(at), None).unwrap();
        }
        assert_eq!(book.lock().agents["web1"].earlier_runs.len(), EARLIER_RUNS_MAX);
    }

    #[test]
    fn nobody_waits_while_profiles_are_read() {
        static LOOK: std::sync::Barrier = std::sync::Barrier::new(2);
        let dir = tempfile::tempdir().unwrap();
        let check = |_: &str| {
            LOOK.wait();
            LOOK.wait();
            Ok(())
        };
        let options = ProfileOptions { dir: Some(dir.path().to_owned()), check };
        let book = AgentBook::new(Arc::new(ManualClock::new(TimestampMs(1_000_000))), 1, options);
        std::fs::write(dir.path().join("prod.toml"), "a = 1").unwrap();
        std::thread::scope(|threads| {
            threads.spawn(|| book.look_at_profiles());
            LOOK.wait();
            let (tells, told) = std::sync::mpsc::channel();
            let book = &book;
            threads.spawn(move || tells.send((book.note(&agent("web1"), None), book.profile("prod"))));
            let told = told.recv_timeout(Duration::from_mins(1));
            LOOK.wait();
            assert_eq!(told, Ok((Some(()), None)));
        });
        assert!(book.profile("prod").is_some());
    }

    #[test]
    fn agents_are_bounded() {
        let (book, clock) = book(1);
        for at in 0..AGENTS_MAX {
            book.note(&agent(&format!("a{at}")), None).unwrap();
        }
        assert_eq!(book.note(&agent("b"), None), None, "all are here");
        assert_eq!(book.note(&agent("a1"), None), Some(()));
        clock.advance_ms(AWAY_MS + 1);
        assert_eq!(book.note(&agent("b"), None), Some(()));
        assert_eq!(book.list().len(), AGENTS_MAX);
    }
}
