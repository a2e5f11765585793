//! Lives of alerts, step by step.

use rules::event::{Event, EventKind};
use rules::matchers::parse_matchers;
use rules::notify::acks::Ack;
use rules::notify::delivery::Delivered;
use rules::notify::silence::Silence;

use crate::stage::{Stage, alert, config, labels};

const PLAIN: &str = "
route: {receiver: ops, group_by: [g], group_wait: 10s, group_interval: 60s, repeat_interval: 5m}
receivers: [{name: ops, webhook_configs: [{url: 'http://x/'}]}]
";

fn silence(matchers: &str, starts_ms: i64, ends_ms: i64) -> Silence {
    Silence {
        id: String::new(),
        sets: vec![parse_matchers(matchers).expect("matchers")],
        starts_ms,
        ends_ms,
        updated_ms: 0,
        created_by: "ann".to_owned(),
        comment: String::new(),
        recurrence: None,
    }
}

#[test]
fn new_growing_resolving_repeated() {
    let mut stage = Stage::new(PLAIN);
    stage.put("a=1,g=x");
    stage.until(5).put("a=2,g=x");
    assert_eq!(stage.until(100).heard(), ["10 ops/0 first notification: 1 2"]);
    stage.put("a=3,g=x");
    stage.end("a=1,g=x");
    assert_eq!(stage.until(200).heard(), ["130 ops/0 new alerts added: +1 2 3"]);
    stage.end("a=2,g=x");
    assert_eq!(stage.until(250).heard(), ["250 ops/0 some alerts resolved: +2 3"]);
    // Told at 250; what is told again must be longer ago than the interval, so the tick after is the one.
    assert_eq!(stage.until(700).heard(), ["610 ops/0 repeat interval elapsed: 3"]);
    stage.end("a=3,g=x");
    assert_eq!(stage.until(2000).heard(), ["730 ops/0 all alerts resolved: +3"]);
    assert_eq!(stage.dispatcher.counts(), (0, 0), "ended alerts and empty groups are forgotten");
    assert_eq!(rules::shelf::Shelf::load(&*stage.shelf).expect("memory").len(), 1, "but when it lived last");
}

#[test]
fn what_ends_within_the_wait_is_not_told() {
    let mut stage = Stage::new(PLAIN);
    stage.put("a=1,g=x");
    stage.until(5).end("a=1,g=x");
    assert!(stage.until(100).heard().is_empty());
    // An alert that began long ago does not wait.
    stage.dispatcher.put([alert("a=2,g=y", 0, None)], stage.now_ms);
    assert_eq!(stage.until(100).heard(), ["100 ops/0 first notification: 2"]);
}

#[test]
fn an_alert_nobody_speaks_of_ends_in_time() {
    let mut stage = Stage::new(PLAIN);
    stage.dispatcher.put([alert("a=1,g=x", 0, Some(120_000))], 0);
    assert_eq!(stage.until(200).heard(), ["10 ops/0 first notification: 1", "130 ops/0 all alerts resolved: +1"]);
}

#[test]
fn what_failed_is_told_with_the_next_look() {
    let mut stage = Stage::new(PLAIN);
    stage.broken = vec!["ops".to_owned()];
    stage.put("a=1,g=x");
    stage.until(69).broken.clear();
    stage.end("a=1,g=x");
    stage.put("a=2,g=x");
    assert_eq!(stage.until(100).heard(), ["70 ops/0 first notification: +1 2"]);
    let failed = stage
        .events
        .0
        .lock()
        .expect("events")
        .iter()
        .filter(|event| matches!(&event.kind, EventKind::Delivery { ok: false, .. }))
        .count();
    assert_eq!(failed, 1);
}

#[test]
fn what_was_superseded_is_no_failure_and_decided_anew() {
    let mut stage = Stage::new(PLAIN);
    stage.put("a=1,g=x");
    let sent = stage.dispatcher.due(10_000);
    let superseded = Delivered::Superseded { why: "a newer one".to_owned(), attempts: 0 };
    stage.dispatcher.delivered(sent[0].ticket, &superseded, 11_000);
    let events = stage.events.0.lock().expect("events").clone();
    let told = |event: &Event| match &event.kind {
        EventKind::Delivery { ok, superseded, answer, .. } => Some((*ok, *superseded, answer.clone())),
        _ => None,
    };
    assert_eq!(events.iter().filter_map(told).collect::<Vec<_>>(), [(false, true, "a newer one".to_owned())]);
    stage.set_clock(11);
    assert_eq!(stage.until(100).heard(), ["70 ops/0 first notification: 1"]);
}

#[test]
fn a_silence_mutes_and_its_end_is_an_event() {
    let mut stage = Stage::new(PLAIN);
    let id = stage.dispatcher.set_silence(silence("a=1", 0, 95_000), "s1".to_owned(), 0).expect("a silence");
    stage.put("a=1,g=x");
    assert!(stage.until(94).heard().is_empty());
    assert_eq!(stage.dispatcher.alerts(94_000)[0].silenced_by, [id.as_str()]);
    assert_eq!(stage.until(100).heard(), ["95 ops/0 first notification: 1"], "at its end, not at 130");
    // One that is told already is silenced, and ends meanwhile: its end is told after the silence.
    let id =
        stage.dispatcher.set_silence(silence("a=1", 0, 900_000), "s2".to_owned(), stage.now_ms).expect("a silence");
    stage.end("a=1,g=x");
    assert!(stage.until(300).heard().is_empty());
    stage.dispatcher.expire_silence(&id, stage.now_ms).expect("it was active");
    assert_eq!(stage.until(300).heard(), ["300 ops/0 all alerts resolved: +1"]);
    let events = stage.events.0.lock().expect("events");
    let suppressed = events.iter().filter(|event| matches!(&event.kind, EventKind::Suppressed { .. })).count();
    assert_eq!(suppressed, 2, "once for each silence, not for each look");
}

const TIMES: &str = "
route:
  receiver: ops
  routes:
  - {matchers: [g=x], receiver: ops, group_wait: 0s, group_interval: 60s, mute_time_intervals: [early]}
  - {matchers: [g=y], receiver: ops, group_wait: 0s, group_interval: 60s, mute_time_intervals: [early], reevaluate_after_mute: false}
  - {matchers: [g=z], receiver: ops, group_wait: 0s, group_interval: 60s, active_time_intervals: [early]}
time_intervals: [{name: early, time_intervals: [{times: [{start_time: '00:00', end_time: '00:05'}]}]}]
receivers: [{name: ops, webhook_configs: [{url: 'http://x/'}]}]
";

#[test]
fn times_mute_and_end() {
    let mut stage = Stage::new(TIMES);
    stage.until(30);
    for text in ["a=1,g=x", "a=2,g=y", "a=3,g=z"] {
        stage.put(text);
    }
    assert_eq!(stage.until(299).heard(), ["30 ops/0 first notification: 3"]);
    assert_eq!(stage.until(400).heard(), ["300 ops/0 first notification: 1", "330 ops/0 first notification: 2"]);
    stage.end("a=3,g=z");
    assert!(stage.until(86_399).heard().iter().all(|told| told.contains("repeat")));
    assert_eq!(stage.until(86_400).heard().first().map(String::as_str), Some("86400 ops/0 all alerts resolved: +3"));
}

#[test]
fn inhibition_and_topology() {
    let text = "
route: {receiver: ops, group_by: [g], group_wait: 0s, group_interval: 60s}
receivers: [{name: ops, webhook_configs: [{url: 'http://x/'}]}]
inhibit_rules: [{name: pages, source_matchers: [s=page], target_matchers: [s=ticket], equal: [g]}]
topology_inhibit: [{source_matchers: [a=down]}]
";
    let mut stage = Stage::new(text);
    stage.put("a=1,g=x,s=page");
    stage.put("a=2,g=x,s=ticket");
    stage.put("a=down,instance=web1");
    stage.put("a=leak,instance=web1/api");
    stage.put("a=leak,instance=web2/api");
    assert_eq!(stage.until(10).heard(), ["0 ops/0 first notification: down leak", "0 ops/0 first notification: 1"]);
    stage.end("a=1,g=x,s=page");
    assert_eq!(stage.until(70).heard(), ["10 ops/0 new alerts added: +1 2"], "the group waits for nothing");
    assert_eq!(stage.dispatcher.mutes(labels("instance=web1/x").as_ref(), stage.now_ms).len(), 1);
}

#[test]
fn nobody_takes_it_on() {
    let text = "
route: {receiver: ops, group_wait: 0s, group_interval: 60s, repeat_interval: 10m, escalate: [{after: 90s, receiver: boss}, {after: 5m, receiver: ceo}]}
receivers: [{name: ops, webhook_configs: [{url: 'http://x/'}]}, {name: boss, webhook_configs: [{url: 'http://x/'}]}, {name: ceo, webhook_configs: [{url: 'http://x/', send_resolved: false}]}]
";
    let mut stage = Stage::new(text);
    stage.put("a=1,g=x");
    stage.until(30).put("a=2,g=x");
    assert_eq!(
        stage.until(100).heard(),
        ["0 ops/0 first notification: 1", "60 ops/0 new alerts added: 1 2", "90 boss/0 first notification: 1"]
    );
    let ack = Ack { owner: "ann".to_owned(), note: "mine".to_owned(), at_ms: 100_000, expires_ms: 1_000_000_000 };
    let matchers = parse_matchers("a=2").expect("matchers");
    assert_eq!(stage.dispatcher.acknowledge(&matchers, &ack, stage.now_ms).map(|alerts| alerts.len()), Ok(1));
    assert!(stage.dispatcher.acknowledge(&parse_matchers("a=9").expect("matchers"), &ack, stage.now_ms).is_err());
    stage.write();
    stage.restart();
    assert_eq!(stage.until(400).heard(), ["300 ceo/0 first notification: 1"], "also after a restart");
    stage.end("a=1,g=x");
    stage.end("a=2,g=x");
    assert_eq!(
        stage.until(500).heard(),
        ["420 ops/0 all alerts resolved: +1 +2", "420 boss/0 all alerts resolved: +1"]
    );
}

#[test]
fn what_somebody_took_on_is_not_repeated() {
    let mut stage = Stage::new(PLAIN);
    stage.put("a=1,g=x");
    assert_eq!(stage.until(20).heard().len(), 1);
    let ack = Ack { owner: "ann".to_owned(), note: String::new(), at_ms: 20_000, expires_ms: 1_000_000 };
    stage.dispatcher.acknowledge(&parse_matchers("a=1").expect("matchers"), &ack, 20_000).expect("it fires");
    assert!(stage.until(999).heard().is_empty());
    assert_eq!(stage.until(1030).heard(), ["1030 ops/0 repeat interval elapsed: 1"], "when it has expired");
    stage
        .dispatcher
        .acknowledge(&parse_matchers("a=1").expect("matchers"), &Ack { expires_ms: i64::MAX, ..ack }, stage.now_ms)
        .expect("it fires");
    stage.end("a=1,g=x");
    stage.until(1100).put("a=1,g=x");
    assert!(stage.dispatcher.alerts(stage.now_ms)[0].ack.is_none(), "it ended with the alert");
}

#[test]
fn what_flaps_is_held_open() {
    let text = PLAIN.replace("repeat_interval: 5m", "repeat_interval: 5h, flap: {changes: 4, window: 20m}");
    let mut stage = Stage::new(&text);
    for round in 0..6 {
        stage.until(round * 120).put("a=1,g=x");
        stage.until(round * 120 + 60).end("a=1,g=x");
    }
    stage.until(800);
    let heard = stage.heard();
    assert_eq!(
        heard,
        ["10 ops/0 first notification: 1", "70 ops/0 all alerts resolved: +1", "130 ops/0 first notification: 1"]
    );
    // The changes 300, 360, … 660: the fourth from the end is 480, and is out of the window at 1680.
    assert_eq!(stage.until(3000).heard(), ["1680 ops/0 all alerts resolved: +1"]);
}

#[test]
fn heartbeats_come_and_a_reload_keeps_the_rhythm() {
    let text = format!("{PLAIN}heartbeat: {{receiver: ops, interval: 40s}}\n");
    let mut stage = Stage::new(&text);
    stage.put("a=1,g=x");
    let heard = stage.until(81).heard();
    assert_eq!(
        heard,
        [
            "0 ops/0 first notification: ?",
            "10 ops/0 first notification: 1",
            "40 ops/0 repeat interval elapsed: ?",
            "80 ops/0 repeat interval elapsed: ?"
        ]
    );
    stage.put("a=2,g=x");
    stage.dispatcher.set_config(config(&text.replace("[g]", "[g, h]")), stage.now_ms);
    assert_eq!(stage.until(125).heard(), ["120 ops/0 repeat interval elapsed: ?"]);
    assert_eq!(stage.until(131).heard(), ["130 ops/0 new alerts added: 1 2"]);
}

#[test]
fn a_restart_neither_ends_alerts_nor_tells_twice() {
    let mut stage = Stage::new(PLAIN);
    stage.dispatcher.put([alert("a=1,g=x", 0, Some(240_000))], 0);
    stage.write();
    assert_eq!(stage.until(30).heard().len(), 1);
    // Away for long: the alert's end is over, but it fired when the process ended.
    stage.now_ms = 250_000;
    stage.restart();
    assert!(stage.until(251).heard().is_empty());
    stage.dispatcher.put([alert("a=1,g=x", 0, Some(500_000)), alert("a=2,g=x", 252_000, Some(500_000))], stage.now_ms);
    stage.write();
    assert_eq!(stage.until(320).heard(), ["310 ops/0 new alerts added: 1 2"]);
    assert_eq!(stage.until(620).heard(), ["550 ops/0 all alerts resolved: +1 +2"]);
}

/// What was told is remembered while it is about alerts that are there.
#[test]
fn long_silences_and_acks_forget_nothing() {
    const DAY: i64 = 24 * 3_600;
    let text = PLAIN.replace("group_interval: 60s", "group_interval: 1h");
    let mut stage = Stage::new(&text);
    let both = ["a=1,g=x", "a=2,g=y"].map(|text| alert(text, 0, Some(20 * DAY * 1000)));
    stage.dispatcher.put(both, 0);
    assert_eq!(stage.until(3500).heard(), ["10 ops/0 first notification: 1", "10 ops/0 first notification: 2"]);
    let until_ms = (7 * DAY + 10) * 1000;
    let ack = Ack { owner: "ann".to_owned(), note: String::new(), at_ms: stage.now_ms, expires_ms: until_ms };
    stage.dispatcher.acknowledge(&parse_matchers("a=1").expect("matchers"), &ack, stage.now_ms).expect("it fires");
    stage.dispatcher.set_silence(silence("a=2", 0, until_ms), "s".to_owned(), stage.now_ms).expect("a silence");
    stage.until(6 * DAY).restart();
    stage.end("a=2,g=y");
    assert_eq!(stage.until(7 * DAY).heard(), Vec::<String>::new());
    let heard = stage.until(7 * DAY + 2 * 3600).heard();
    let words: Vec<&str> = heard.iter().filter_map(|line| line.split_once(' ').map(|(_, rest)| rest)).collect();
    assert!(words.contains(&"ops/0 all alerts resolved: +2"), "{heard:?}");
    assert!(words.contains(&"ops/0 repeat interval elapsed: 1"), "{heard:?}");
}

#[test]
fn what_a_reload_removes_leaves_no_trace() {
    let mut stage = Stage::new(PLAIN);
    stage.put("a=1,g=x");
    stage.put("a=2,g=y");
    stage.until(20);
    stage.end("a=2,g=y");
    assert_eq!(stage.until(71).heard().len(), 3);
    let timers = |stage: &Stage| {
        let kept = rules::shelf::Shelf::load(&*stage.shelf).expect("memory");
        kept.iter().filter(|(key, _)| key.first() == Some(&b'g')).count()
    };
    stage.dispatcher.set_config(config(&PLAIN.replace("[g]", "[a]")), stage.now_ms);
    stage.write();
    // The group of the ended alert is not made again, and nothing is left of the groups of before.
    assert_eq!((stage.dispatcher.counts().1, timers(&stage)), (1, 1));
    stage.restart();
    stage.write();
    assert_eq!((stage.dispatcher.counts().1, timers(&stage)), (1, 1));
}

/// Routes that look alike, beneath routes that look alike, are two all the same.
#[test]
fn twins_of_routes_are_both_told() {
    let text = "
route:
  receiver: ops
  group_wait: 10s
  routes:
  - matchers: [g=x]
    continue: true
    routes: [{matchers: [a=1], receiver: pager}]
  - matchers: [g=x]
    routes: [{matchers: [a=1], receiver: mail}]
receivers:
- {name: ops, webhook_configs: [{url: 'http://x/'}]}
- {name: pager, webhook_configs: [{url: 'http://x/'}]}
- {name: mail, webhook_configs: [{url: 'http://x/'}]}
";
    let mut stage = Stage::new(text);
    stage.put("a=1,g=x");
    assert_eq!(
        stage.until(20).heard(),
        ["10 pager/0 first notification: 1", "10 mail/0 first notification: 1"],
        "{:?}",
        stage.dispatcher.counts()
    );
}

/// The end of an inhibition is noticed also where the file was read anew meanwhile, and what was recorded is not recorded again.
#[test]
fn what_kept_alerts_quiet_is_known_after_a_reload() {
    let text = format!("{PLAIN}inhibit_rules: [{{source_matchers: [s=page], target_matchers: [s=ticket]}}]\n");
    let mut stage = Stage::new(&text);
    stage.put("a=1,g=x,s=page");
    stage.put("a=2,g=y,s=ticket");
    assert_eq!(stage.until(12).heard(), ["10 ops/0 first notification: 1"]);
    stage.dispatcher.set_config(config(&text), stage.now_ms);
    stage.until(15).end("a=1,g=x,s=page");
    assert_eq!(stage.until(26).heard(), ["25 ops/0 first notification: 2"], "after group_wait, not at 70");
    stage.dispatcher.set_silence(silence("a=2", 0, 900_000), "s".to_owned(), stage.now_ms).expect("a silence");
    stage.until(80);
    stage.dispatcher.set_config(config(&text), stage.now_ms);
    stage.until(200);
    let events = stage.events.0.lock().expect("events");
    let suppressed = events.iter().filter(|event| matches!(&event.kind, EventKind::Suppressed { .. })).count();
    assert_eq!(suppressed, 2, "once for each reason");
}

/// An end that nobody was told of goes with what was on its way when the process ended.
#[test]
fn what_was_on_its_way_is_said_as_it_was() {
    let mut stage = Stage::new(PLAIN);
    stage.put("a=1,g=x");
    assert_eq!(stage.until(20).heard(), ["10 ops/0 first notification: 1"]);
    stage.end("a=2,g=x");
    stage.now_ms = 70_000;
    assert_eq!(stage.dispatcher.due(stage.now_ms).len(), 1, "some alerts resolved");
    stage.write();
    stage.restart();
    assert_eq!(stage.until(200).heard(), ["70 ops/0 some alerts resolved: 1 +2"]);
}
