//! Orders and what agents bring for them, over a book of agents and with a clock that is set.

use std::time::Duration;

use model::control::{CheckIn, TaskOutcome};
use model::{Budget, ManualClock, TimestampMs};

use super::orders::BRINGING_MS_MAX;
use super::*;
use crate::ProfileOptions;

const STACKS: &str = "goroutine 1 [running]:\nmain.main()\n";

/// A server's part that orders captures of an agent, `web1`.
struct Bench {
    _folder: tempfile::TempDir,
    clock: Arc<ManualClock>,
    agents: Arc<AgentBook>,
    captures: Captures,
}

impl Bench {
    fn new(per_hour_max: usize) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let clock = Arc::new(ManualClock::new(TimestampMs(1_000_000)));
        let agents = Arc::new(AgentBook::new(clock.clone(), 1, ProfileOptions::default()));
        let options =
            CaptureOptions { folder: Some(folder.path().to_owned()), per_hour_max, ..CaptureOptions::default() };
        let memory = Arc::new(MemoryWatch::new(Budget::default()));
        let captures = Captures::open(options, agents.clone(), clock.clone(), memory);
        Self { _folder: folder, clock, agents, captures }
    }

    /// The agent checks in, tells `outcomes` and fetches what there is to do.
    async fn check_in(&self, outcomes: Vec<TaskOutcome>) {
        let check_in = CheckIn { agent: "web1".to_owned(), run: 1, outcomes, ..CheckIn::default() };
        self.agents.note(&check_in, None).expect("room for an agent");
        self.agents.orders(&check_in, Duration::ZERO).await;
    }

    fn order(&self, instance: &str) -> Result<u64, CaptureError> {
        let process = ProcessName::new("", instance);
        self.captures.order(&process, CaptureKind::Stacks, 0, (By::Alert, "it fired")).map(|TaskId(id)| id)
    }

    fn state(&self, id: u64) -> State {
        self.captures.state_of(&self.captures.orders.get(id).expect("an order"))
    }

    /// The agent brings `what` of `instance` for the order `id`.
    fn bring(&self, id: u64, what: CaptureKind, instance: &str) -> Result<Kept, CaptureError> {
        let about = About { instance: instance.to_owned(), order: Some(id), ..About::default() };
        self.captures.take(what, about, STACKS.as_bytes())
    }
}

#[tokio::test]
async fn what_was_ordered_by_process_id_comes_under_the_name_of_the_process() {
    let bench = Bench::new(30);
    bench.check_in(Vec::new()).await;
    let by_id = bench.order("web1/pid-4711").expect("ordered");
    let kept = bench.bring(by_id, CaptureKind::Stacks, "shop-7f/0").expect("kept");
    assert_eq!((kept.about.reason.as_str(), kept.about.by, kept.about.pinned), ("it fired", By::Alert, true));
    assert_eq!(kept.about.instance, "shop-7f/0", "what the process calls itself");
    assert_eq!(bench.state(by_id), State::Done);
    for instance in ["web1/0", "web1/pid-", "web1/pid-x"] {
        let by_name = bench.order(instance).expect("ordered");
        let kept = bench.bring(by_name, CaptureKind::Stacks, "shop-7f/0").expect("kept");
        assert_eq!(kept.about.order, None, "{instance} is another process");
        assert_eq!(bench.state(by_name), State::Waiting);
    }
}

#[tokio::test]
async fn orders_that_no_agent_was_given_are_not_counted() {
    let bench = Bench::new(1);
    for _ in 0..3 {
        let error = bench.order("web1/0").expect_err("no agent");
        assert_eq!(error, CaptureError::Agent(OrderError::Unknown { agent: "web1".to_owned() }));
    }
    bench.check_in(Vec::new()).await;
    let first = bench.order("web1/0").expect("none was taken in this hour");
    bench.bring(first, CaptureKind::Stacks, "web1/0").expect("kept");
    assert!(matches!(bench.order("web1/0"), Err(CaptureError::TooMany { limit: 1, .. })));
}

#[tokio::test]
async fn what_the_agent_never_brings_holds_up_no_later_order() {
    let bench = Bench::new(30);
    bench.check_in(Vec::new()).await;
    let first = bench.order("web1/0").expect("ordered");
    bench.check_in(Vec::new()).await;
    bench.clock.advance_ms(5_000);
    bench.check_in(vec![TaskOutcome::ok(first)]).await;
    bench.clock.advance_ms(BRINGING_MS_MAX);
    bench.check_in(Vec::new()).await;
    assert_eq!(bench.state(first), State::Sending);
    assert_eq!(bench.order("web1/0"), Ok(first), "it may come any moment");
    bench.clock.advance_ms(1);
    let State::Failed(error) = bench.state(first) else { panic!("{:?}", bench.state(first)) };
    assert!(error.contains("has not brought it in 120 s"), "{error}");
    let second = bench.order("web1/0").expect("ordered");
    assert_ne!(second, first);
    bench.bring(first, CaptureKind::Stacks, "web1/0").expect("kept");
    assert_eq!([first, second].map(|id| bench.state(id)), [State::Done, State::Waiting], "late is better than never");
}
