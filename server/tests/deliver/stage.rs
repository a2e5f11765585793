//! Deliveries by a file of settings, notifications to send, and what becomes of them.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use model::{Clock as _, Labels, SystemClock};
use rules::config::{Config, read};
use rules::event::{Event, EventKind, EventLog};
use rules::notify::decision::Reason;
use rules::notify::delivery::{Deliver as _, Delivered, Notification, NotifiedAlert};
use rules::posted::fingerprint;
use rules::receivers::Templates;
use server::alerting::deliver::Deliveries;

/// Longest wait for what must come: it is no measurement.
const PATIENCE: Duration = Duration::from_mins(1);

#[derive(Debug, Default)]
pub(crate) struct Events(Mutex<Vec<Event>>);

impl EventLog for Events {
    fn record(&self, event: Event) {
        self.0.lock().expect("no panic").push(event);
    }
}

pub(crate) struct Stage {
    pub(crate) deliveries: Arc<Deliveries>,
    pub(crate) events: Arc<Events>,
    tell: Sender<(String, Delivered)>,
    told: Receiver<(String, Delivered)>,
}

pub(crate) fn config(receivers: &str) -> Config {
    let first = receivers.split("name: ").nth(1).and_then(|rest| rest.split(['\n', ',', '}']).next()).expect("a name");
    let text = format!("route: {{receiver: {first}}}\nreceivers:\n{receivers}");
    read("/nowhere/am.yml", &text).unwrap_or_else(|faults| panic!("{text}\n{faults:?}"))
}

pub(crate) fn alert(name: &str, instance: &str) -> NotifiedAlert {
    let labels = Labels::from_pairs([("alertname", name), ("instance", instance)]).expect("labels");
    NotifiedAlert {
        fingerprint: fingerprint(labels.as_ref()),
        labels,
        annotations: BTreeMap::new(),
        starts_ms: 1_700_000_000_000,
        ends_ms: None,
        generator_url: String::new(),
    }
}

impl Stage {
    pub(crate) fn new(receivers: &str) -> Self {
        let (tell, told) = channel();
        let events = Arc::new(Events::default());
        let templates = Templates::new([]).expect("our templates");
        let log: Arc<dyn EventLog> = Arc::<Events>::clone(&events);
        let deliveries = Deliveries::new(&config(receivers), templates, "http://mon", Arc::new(SystemClock), log);
        Self { deliveries, events, tell, told }
    }

    /// Hands a notification of `group` over, with `within` until its deadline.
    pub(crate) fn send(&self, receiver: &str, group: &str, within: Duration) {
        self.hand_over(receiver, group, &[], vec![alert("Down", group)], within);
    }

    /// Hands `alerts` over.
    pub(crate) fn send_alerts(&self, receiver: &str, group: &str, labels: &[(&str, &str)], alerts: Vec<NotifiedAlert>) {
        self.hand_over(receiver, group, labels, alerts, PATIENCE);
    }

    fn hand_over(
        &self,
        receiver: &str,
        group: &str,
        labels: &[(&str, &str)],
        alerts: Vec<NotifiedAlert>,
        within: Duration,
    ) {
        let now_ms = SystemClock.now().0;
        let notification = Notification {
            group_key: group.to_owned(),
            receiver: receiver.to_owned(),
            integration: 0,
            reason: Reason::First,
            alerts,
            group_labels: Labels::from_pairs(labels.iter().copied()).expect("labels"),
            route_labels: BTreeMap::new(),
            at_ms: now_ms,
            deadline_ms: now_ms + i64::try_from(within.as_millis()).expect("not so long"),
        };
        let (tell, named) = (self.tell.clone(), format!("{receiver}/{group}"));
        self.deliveries.deliver(notification, Box::new(move |delivered| drop(tell.send((named, delivered)))));
    }

    /// The next end of a delivery.
    pub(crate) fn next(&self) -> (String, Delivered) {
        self.told.recv_timeout(PATIENCE).expect("a delivery ends")
    }

    /// The end of the only delivery.
    pub(crate) fn only(&self) -> Delivered {
        self.next().1
    }

    /// Number and answer of each attempt that another one followed.
    pub(crate) fn attempts(&self) -> Vec<(u32, String)> {
        let events = self.events.0.lock().expect("no panic");
        let attempts = events.iter().filter_map(|event| match &event.kind {
            EventKind::Attempt { attempt, answer, .. } => Some((*attempt, answer.clone())),
            _ => None,
        });
        attempts.collect()
    }

    /// A number of `/metrics`.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let families = self.deliveries.families();
        let family = families.iter().find(|family| family.name == name).unwrap_or_else(|| panic!("no {name}"));
        let sum: f64 = family.samples.iter().map(|sample| sample.value).sum();
        sum.to_string().parse().expect("a whole number")
    }
}

/// What was answered, how often it was sent.
pub(crate) fn taken(delivered: &Delivered) -> (&str, u32) {
    match delivered {
        Delivered::Taken { answer, attempts } => (answer, *attempts),
        _ => panic!("{delivered:?}"),
    }
}

/// Why it failed, how often it was sent.
pub(crate) fn failed(delivered: &Delivered) -> (&str, u32) {
    match delivered {
        Delivered::Failed { error, attempts } => (error, *attempts),
        _ => panic!("{delivered:?}"),
    }
}

/// By what it was superseded, how often it was sent.
pub(crate) fn superseded(delivered: &Delivered) -> (&str, u32) {
    match delivered {
        Delivered::Superseded { why, attempts } => (why, *attempts),
        _ => panic!("{delivered:?}"),
    }
}
