//! The process ends at any moment: nothing is lost, and nothing is told twice but what was on its way.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use rules::matchers::parse_matchers;
use rules::notify::acks::Ack;
use rules::notify::delivery::Delivered;
use rules::notify::dispatch::{ALERT_LABELS_BYTES_MAX, ALERT_TEXTS_BYTES_MAX, Dispatcher, Limits, Outgoing};
use rules::notify::silence::Silence;
use rules::shelf::Shelf as _;

use crate::stage::{Stage, alert, labels};

const TEXT: &str = "
route: {receiver: ops, group_by: [g], group_wait: 2s, group_interval: 10s, repeat_interval: 1000h}
receivers:
- {name: ops, webhook_configs: [{url: 'http://x/'}, {url: 'http://y/'}]}
";

/// An integration and a group.
type Whom = (usize, String);

#[derive(Debug, Default)]
struct World {
    /// What a receiver knows: of each alert of a group whether it fires.
    known: BTreeMap<Whom, BTreeMap<String, bool>>,
    last: BTreeMap<Whom, BTreeMap<String, bool>>,
    /// Notifications that said what the one before said.
    duplicates: usize,
}

impl World {
    fn hears(&mut self, outgoing: &Outgoing) {
        let notification = &outgoing.notification;
        let whom = (notification.integration, notification.group_key.clone());
        let alerts = notification.alerts.iter();
        let said: BTreeMap<String, bool> =
            alerts.map(|alert| (alert.labels.get("a").unwrap_or_default().to_owned(), !alert.is_resolved())).collect();
        self.known.entry(whom.clone()).or_default().extend(said.clone());
        self.duplicates += usize::from(self.last.insert(whom, said.clone()).is_some_and(|last| last == said));
    }
}

#[derive(Debug, Clone, Copy)]
struct Step {
    pause_s: i64,
    alert: u8,
    fires: bool,
    /// The process ends after so many writes of this step.
    killed_after: usize,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (1_i64..25, 0_u8..6, any::<bool>(), 0_usize..12)
        .prop_map(|(pause_s, alert, fires, killed_after)| Step { pause_s, alert, fires, killed_after });
    prop::collection::vec(step, 1..40)
}

/// Lets `stage` live until `until_ms`, and end after `killed_after` writes: before the write, with what was just said unwritten. Whether it ended.
fn live(stage: &mut Stage, world: &mut World, until_ms: i64, killed_after: &mut usize) -> bool {
    let mut write = |stage: &mut Stage| {
        let changes = stage.dispatcher.take_changes(stage.now_ms);
        if changes.is_empty() {
            return true;
        }
        if *killed_after == 0 {
            return false;
        }
        *killed_after -= 1;
        stage.shelf.change(&changes).expect("memory");
        true
    };
    loop {
        let next_ms = stage.dispatcher.next_due_ms().max(stage.now_ms);
        if next_ms > until_ms {
            stage.now_ms = until_ms;
            return false;
        }
        stage.now_ms = next_ms;
        let all = stage.dispatcher.due(stage.now_ms);
        if !write(stage) {
            return true;
        }
        for outgoing in all {
            world.hears(&outgoing);
            let delivered = Delivered::Taken { answer: String::new(), attempts: 1 };
            stage.dispatcher.delivered(outgoing.ticket, &delivered, stage.now_ms);
            if !write(stage) {
                return true;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn nothing_is_lost_and_little_said_twice(steps in steps()) {
        let mut stage = Stage::new(TEXT);
        let mut world = World::default();
        let mut fires = BTreeMap::new();
        let mut kills = 0;
        for step in steps {
            let until_ms = stage.now_ms + step.pause_s * 1000;
            let mut killed_after = step.killed_after;
            while live(&mut stage, &mut world, until_ms, &mut killed_after) {
                kills += 1;
                killed_after = usize::MAX;
                stage.restart();
            }
            // Who finds alerts says so again until it is taken, so a message is on the shelf before it counts.
            let text = format!("a={},g={}", step.alert, step.alert % 2);
            if step.fires { stage.put(&text) } else { stage.end(&text) }
            fires.insert(step.alert, step.fires);
        }
        // A restart for each thing that may still be on its way, then time to say all.
        stage.restart();
        let until_ms = stage.now_ms + 60_000;
        live(&mut stage, &mut world, until_ms, &mut usize::MAX.clone());
        for (integration, group) in (0..2).flat_map(|integration| (0..2_u8).map(move |group| (integration, group))) {
            let key = (integration, format!("{{}}:{{g=\"{group}\"}}"));
            let known = world.known.get(&key);
            for (alert, fires) in fires.iter().filter(|(alert, _)| **alert % 2 == group) {
                let told = known.and_then(|known| known.get(&alert.to_string())).copied().unwrap_or(false);
                prop_assert_eq!(told, *fires, "{} at {:?}", alert, key);
            }
        }
        prop_assert!(world.duplicates <= kills, "{} said twice after {} ends", world.duplicates, kills);
    }
}

#[test]
fn damage_on_the_shelf_costs_itself() {
    let mut stage = Stage::new(TEXT);
    stage.put("a=1,g=x");
    stage.put("a=2,g=y");
    stage.until(5);
    assert_eq!(stage.heard().len(), 4);
    let mut values = stage.shelf.load().expect("memory");
    let damaged = values.iter_mut().find(|(key, _)| key[0] == b'a').expect("an alert");
    damaged.1.truncate(3);
    stage
        .shelf
        .change(&[(damaged.0.clone(), Some(damaged.1.clone())), (b"?".to_vec(), Some(vec![1]))])
        .expect("memory");
    stage.restart();
    assert_eq!(stage.dispatcher.alerts(stage.now_ms).len(), 1);
    let events = stage.events.0.lock().expect("events");
    assert!(format!("{events:?}").contains("2 values of the notifications' state are damaged"), "{events:?}");
}

#[test]
fn texts_are_cut_and_labels_are_not() {
    let mut stage = Stage::new(TEXT);
    let mut long = alert("a=1,g=1", 0, None);
    long.posted.generator_url = "u".repeat(100);
    long.posted.annotations =
        ["a", "b", "c"].map(|name| (name.to_owned(), "ä".repeat(ALERT_TEXTS_BYTES_MAX / 3))).into();
    let mut wide = alert("a=2,g=1", 0, None);
    wide.posted.labels = labels(&format!("a=2,g={}", "x".repeat(ALERT_LABELS_BYTES_MAX)));
    stage.dispatcher.put([long, wide], 0);
    assert_eq!(stage.dispatcher.refused().alerts, 1);
    stage.dispatcher.due(30_000);
    assert!(
        stage.notes()[0].contains("because labels of 82") && stage.notes()[0].contains("8192 are allowed"),
        "{:?}",
        stage.notes()
    );
    let texts = stage.dispatcher.alerts(0)[0].kept.posted.annotations.clone();
    let lengths: Vec<usize> = texts.values().map(String::len).collect();
    assert_eq!(lengths[0], ALERT_TEXTS_BYTES_MAX / 3 * 2);
    let all = lengths.iter().sum::<usize>() + texts.len() + 100;
    assert!((ALERT_TEXTS_BYTES_MAX - 3..=ALERT_TEXTS_BYTES_MAX).contains(&all), "{lengths:?}");
    assert!(texts["b"].ends_with('…'));
}

#[test]
fn what_cannot_be_written_is_undone() {
    let mut stage = Stage::new(TEXT);
    stage.put("a=1,g=1");
    let before = stage.dispatcher.before();
    let mute = Silence {
        id: String::new(),
        sets: vec![parse_matchers("a=1").expect("matchers")],
        starts_ms: 0,
        ends_ms: 500_000,
        updated_ms: 0,
        created_by: "ann".to_owned(),
        comment: String::new(),
        recurrence: None,
    };
    stage.dispatcher.set_silence(mute, "s".to_owned(), 0).expect("a silence");
    let ack = Ack { owner: "ann".to_owned(), note: String::new(), at_ms: 0, expires_ms: 500_000 };
    stage.dispatcher.acknowledge(&parse_matchers("a=1").expect("matchers"), &ack, 0).expect("it fires");
    let changes = stage.dispatcher.take_changes(0);
    stage.dispatcher.give_back(changes);
    stage.dispatcher.undo(before, &"the disk is full", 0);
    assert!(stage.dispatcher.take_changes(0).is_empty());
    assert_eq!(stage.dispatcher.silences().count(), 0);
    assert!(stage.dispatcher.alerts(0)[0].ack.is_none());
    assert_eq!(stage.notes(), ["a change by people could not be written down and does not count: the disk is full"]);
    assert_eq!(stage.until(30).heard().len(), 2, "both integrations are told");
}

#[test]
fn everything_has_a_bound() {
    let mut stage = Stage::new(TEXT);
    let limits = Limits { alerts_max: 3, groups_max: 2, ..Limits::default() };
    let config = Arc::clone(stage.dispatcher.config());
    stage.dispatcher = Dispatcher::open(config, limits, &*stage.shelf, stage.events.clone(), 0).expect("a shelf");
    let all: Vec<_> = (0..5).map(|number| alert(&format!("a={number},g={number}"), 0, None)).collect();
    stage.dispatcher.put(all, 0);
    assert_eq!(stage.dispatcher.counts(), (3, 2));
    assert_eq!((stage.dispatcher.refused().alerts, stage.dispatcher.refused().groups), (2, 1));
    let due = stage.dispatcher.due(30_000);
    let notes = stage.notes();
    let want = "nobody is told of some alerts: 2 messages were not taken, 1 alerts are in no group; the last because 3 alerts are known already";
    assert_eq!((notes, due.len()), (vec![want.to_owned()], 4));
    // What goes on is not told anew.
    stage.dispatcher.due(90_000);
    assert_eq!(stage.notes().len(), 1);
    // Those that are known are heard.
    stage.dispatcher.put([alert("a=1,g=1", 0, Some(1))], 5);
    assert_eq!(stage.dispatcher.alerts(5).len(), 2);
}

#[test]
fn alerts_end_when_there_is_no_place_for_longer_texts() {
    let mut stage = Stage::new(TEXT);
    let limits = Limits { alerts_bytes_max: 1500, ..Limits::default() };
    let config = Arc::clone(stage.dispatcher.config());
    stage.dispatcher = Dispatcher::open(config, limits, &*stage.shelf, stage.events.clone(), 0).expect("a shelf");
    stage.dispatcher.put([alert("a=1,g=1", 0, None)], 0);
    let mut longer = alert("a=1,g=1", 0, Some(1));
    longer.posted.annotations.insert("summary".to_owned(), "x".repeat(1500));
    stage.dispatcher.put([longer], 1);
    assert_eq!((stage.dispatcher.alerts(1).len(), stage.dispatcher.refused().texts), (0, 1));
    let mut other = alert("a=2,g=1", 0, None);
    other.posted.annotations.insert("summary".to_owned(), "x".repeat(1500));
    stage.dispatcher.put([other], 1);
    stage.dispatcher.due(30_000);
    let want = "nobody is told of some alerts: 1 messages were not taken, 0 alerts are in no group; \
        some alerts keep the texts that they had: 1 messages had longer ones; the last because all alerts may take 1500 bytes";
    assert_eq!(stage.notes(), [want]);
}
