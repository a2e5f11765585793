//! What panics within the dispatcher costs that one look: nobody waits for what does not come.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use rules::event::{Event, EventKind, EventLog};
use rules::matchers::parse_matchers;
use rules::notify::delivery::Delivered;
use rules::notify::dispatch::{Dispatcher, Limits, Outgoing};
use rules::notify::silence::Silence;
use rules::shelf::MemoryShelf;

use crate::stage::{alert, config, told};

const CONFIG: &str = "
route: {receiver: ops, group_by: [a], group_wait: 10s, group_interval: 60s, repeat_interval: 5m}
receivers: [{name: ops, webhook_configs: [{url: 'http://x/'}]}]
";

type IsIt = fn(&EventKind) -> bool;

/// Panics at the first event that it is to panic at.
#[derive(Debug)]
struct Panics(Mutex<Option<IsIt>>);

impl EventLog for Panics {
    fn record(&self, event: Event) {
        let panics = self.0.lock().expect("nobody panics with it").take_if(|at| at(&event.kind));
        assert!(panics.is_none(), "as wanted");
    }
}

fn dispatcher(panics_at: IsIt) -> Dispatcher {
    let events = Arc::new(Panics(Mutex::new(Some(panics_at))));
    Dispatcher::open(config(CONFIG), Limits::default(), &MemoryShelf::default(), events, 0).expect("a shelf")
}

fn panics<T>(what: impl FnOnce() -> T) -> bool {
    catch_unwind(AssertUnwindSafe(what)).is_err()
}

/// What is due, all of which is taken.
fn heard(dispatcher: &mut Dispatcher, now_ms: i64) -> Vec<String> {
    let due = dispatcher.due(now_ms);
    let taken = Delivered::Taken { answer: "200".to_owned(), attempts: 1 };
    let take = |Outgoing { ticket, notification }: Outgoing| {
        dispatcher.delivered(ticket, &taken, now_ms);
        told(now_ms, &notification)
    };
    due.into_iter().map(take).collect()
}

#[test]
fn a_group_that_panics_silences_neither_itself_nor_others() {
    let mut dispatcher = dispatcher(|kind| matches!(kind, EventKind::Suppressed { .. }));
    let silence = Silence {
        id: String::new(),
        sets: vec![parse_matchers("a=2").expect("matchers")],
        starts_ms: 0,
        ends_ms: 50_000,
        updated_ms: 0,
        created_by: "ann".to_owned(),
        comment: String::new(),
        recurrence: None,
    };
    dispatcher.set_silence(silence, "s".to_owned(), 0).expect("a silence");
    dispatcher.put(["a=1", "a=2", "a=3"].map(|text| alert(text, 0, None)), 0);
    assert!(panics(|| dispatcher.due(10_000)), "in the second of three groups");
    assert_eq!(heard(&mut dispatcher, 11_000), ["11 ops/0 first notification: 1", "11 ops/0 first notification: 3"]);
    assert_eq!(dispatcher.in_flight(), 0);
    assert_eq!(heard(&mut dispatcher, 70_000), ["70 ops/0 first notification: 2"]);
}

#[test]
fn an_outcome_that_panics_leaves_nobody_waiting() {
    let mut dispatcher = dispatcher(|kind| matches!(kind, EventKind::Delivery { .. }));
    dispatcher.put([alert("a=1", 0, None)], 0);
    let due = dispatcher.due(10_000);
    let taken = Delivered::Taken { answer: "200".to_owned(), attempts: 1 };
    assert!(panics(|| dispatcher.delivered(due[0].ticket, &taken, 10_000)));
    // Nobody wrote down that they heard it, so it is told again.
    assert_eq!(heard(&mut dispatcher, 70_000).len(), 1);
    assert_eq!(dispatcher.in_flight(), 0);
}
