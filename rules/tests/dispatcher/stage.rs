//! A dispatcher on a stage: a clock that is moved by hand, a shelf, receivers that note what they are told.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use ::model::Labels;
use rules::config::{Config, read};
use rules::event::{Event, EventKind, EventLog};
use rules::notify::alerts::Incoming;
use rules::notify::delivery::{Delivered, Notification};
use rules::notify::dispatch::{Dispatcher, Limits};
use rules::posted::Posted;
use rules::shelf::{MemoryShelf, Shelf as _};

/// Keeps all events.
#[derive(Debug, Default)]
pub(crate) struct Events(pub(crate) Mutex<Vec<Event>>);

impl EventLog for Events {
    fn record(&self, event: Event) {
        self.0.lock().expect("events").push(event);
    }
}

pub(crate) fn config(text: &str) -> Arc<Config> {
    Arc::new(read("am.yml", text).unwrap_or_else(|faults| panic!("{faults:?}")))
}

pub(crate) fn labels(text: &str) -> Labels {
    Labels::from_pairs(text.split(',').map(|pair| pair.split_once('=').expect("a pair"))).expect("labels")
}

/// An alert that fires for an hour, or has ended at `ends_ms`.
pub(crate) fn alert(text: &str, starts_ms: i64, ends_ms: Option<i64>) -> Incoming {
    let ends_ms = ends_ms.unwrap_or(starts_ms + 100 * 3_600_000);
    let posted =
        Posted { labels: labels(text), annotations: BTreeMap::new(), starts_ms, ends_ms, generator_url: String::new() };
    Incoming::from(posted)
}

/// `0 web/0 first notification: a +b`, where `+` is an end.
pub(crate) fn told(at_ms: i64, notification: &Notification) -> String {
    let one = |alert: &rules::notify::delivery::NotifiedAlert| {
        let sign = if alert.is_resolved() { "+" } else { "" };
        format!("{sign}{}", alert.labels.get("a").unwrap_or("?"))
    };
    let alerts: Vec<String> = notification.alerts.iter().map(one).collect();
    let Notification { receiver, integration, reason, .. } = notification;
    format!("{} {receiver}/{integration} {}: {}", at_ms / 1000, reason.as_str(), alerts.join(" "))
}

pub(crate) struct Stage {
    pub(crate) dispatcher: Dispatcher,
    pub(crate) shelf: Arc<MemoryShelf>,
    pub(crate) events: Arc<Events>,
    pub(crate) now_ms: i64,
    pub(crate) told: Vec<String>,
    /// Receivers that fail.
    pub(crate) broken: Vec<String>,
}

impl Stage {
    pub(crate) fn new(text: &str) -> Self {
        let (shelf, events) = (Arc::new(MemoryShelf::default()), Arc::new(Events::default()));
        let dispatcher =
            Dispatcher::open(config(text), Limits::default(), &*shelf, events.clone(), 0).expect("a shelf");
        Self { dispatcher, shelf, events, now_ms: 0, told: Vec::new(), broken: Vec::new() }
    }

    /// As after the end of the process: what is on the shelf is all there is.
    pub(crate) fn restart(&mut self) {
        let config = self.dispatcher.config().clone();
        self.dispatcher = Dispatcher::open(config, Limits::default(), &*self.shelf, self.events.clone(), self.now_ms)
            .expect("a shelf");
    }

    pub(crate) fn put(&mut self, text: &str) {
        self.dispatcher.put([alert(text, self.now_ms, None)], self.now_ms);
        self.write();
    }

    pub(crate) fn end(&mut self, text: &str) {
        self.dispatcher.put([alert(text, self.now_ms - 1, Some(self.now_ms))], self.now_ms);
        self.write();
    }

    pub(crate) fn write(&mut self) {
        let changes = self.dispatcher.take_changes(self.now_ms);
        self.shelf.change(&changes).expect("memory");
    }

    /// Lets the time pass until `until_s`; whatever is due happens when it is.
    pub(crate) fn until(&mut self, until_s: i64) -> &mut Self {
        loop {
            let next_ms = self.dispatcher.next_due_ms().max(self.now_ms);
            if next_ms > until_s * 1000 {
                break;
            }
            self.now_ms = next_ms;
            self.look();
        }
        self.now_ms = until_s * 1000;
        self
    }

    /// Sets the clock, and has the dispatcher look at it.
    pub(crate) fn set_clock(&mut self, now_s: i64) -> &mut Self {
        self.now_ms = now_s * 1000;
        self.look();
        self
    }

    /// Sets the clock forward while no time passes, which the dispatcher is told.
    pub(crate) fn leap(&mut self, by_s: i64) -> &mut Self {
        self.now_ms += by_s * 1000;
        self.dispatcher.set_forward(by_s * 1000, self.now_ms);
        self.look();
        self
    }

    fn look(&mut self) {
        for outgoing in self.dispatcher.due(self.now_ms) {
            let notification = &outgoing.notification;
            let delivered = if self.broken.contains(&notification.receiver) {
                Delivered::Failed { error: "broken".to_owned(), attempts: 1 }
            } else {
                self.told.push(told(self.now_ms, notification));
                Delivered::Taken { answer: "200".to_owned(), attempts: 1 }
            };
            self.dispatcher.delivered(outgoing.ticket, &delivered, self.now_ms);
        }
        self.write();
    }

    /// The notes among the events.
    pub(crate) fn notes(&self) -> Vec<String> {
        let events = self.events.0.lock().expect("events");
        let note = |event: &Event| match &event.kind {
            EventKind::Note { message } => Some(message.clone()),
            _ => None,
        };
        events.iter().filter_map(note).collect()
    }

    /// What was told since the last question.
    pub(crate) fn heard(&mut self) -> Vec<String> {
        std::mem::take(&mut self.told)
    }
}
