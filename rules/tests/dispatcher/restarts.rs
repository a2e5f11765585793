//! The process ends in the middle of something: what was to come at a certain time still does.

use rules::matchers::parse_matchers;
use rules::notify::silence::Silence;

use crate::stage::{Stage, alert};

const PLAIN: &str = "
route: {receiver: ops, group_by: [g], group_wait: 10s, group_interval: 60s, repeat_interval: 5h}
receivers: [{name: ops, webhook_configs: [{url: 'http://x/'}]}]
";

fn silence(stage: &mut Stage, matchers: &str, ends_s: i64) {
    let silence = Silence {
        id: String::new(),
        sets: vec![parse_matchers(matchers).expect("matchers")],
        starts_ms: stage.now_ms,
        ends_ms: ends_s * 1000,
        updated_ms: 0,
        created_by: "ann".to_owned(),
        comment: String::new(),
        recurrence: None,
    };
    stage.dispatcher.set_silence(silence, "s".to_owned(), stage.now_ms).expect("a silence");
    stage.write();
}

/// A stage on which an alert began at 0, within a silence until `ends_s`, and which ended at 20.
fn silenced(ends_s: i64) -> Stage {
    let mut stage = Stage::new(PLAIN);
    silence(&mut stage, "a=1", ends_s);
    stage.put("a=1,g=x");
    assert!(stage.until(20).heard().is_empty());
    stage
}

#[test]
fn in_a_silence() {
    let mut stage = silenced(40);
    stage.restart();
    assert_eq!(stage.until(69).heard(), ["40 ops/0 first notification: 1"], "at its end, not at the group's next look");
    let mut stage = silenced(40);
    stage.now_ms = 50_000;
    stage.restart();
    assert_eq!(stage.until(69).heard(), ["50 ops/0 first notification: 1"], "it ended while nobody was there");
    let mut stage = silenced(400);
    stage.restart();
    stage.until(30).dispatcher.expire_silence("s", 30_000).expect("it is active");
    stage.write();
    stage.restart();
    assert_eq!(stage.until(69).heard(), ["30 ops/0 first notification: 1"], "somebody ended it");
}

#[test]
fn in_a_quiet_time() {
    let text = "
route: {receiver: ops, routes: [{group_wait: 0s, group_interval: 60s, repeat_interval: 5h, mute_time_intervals: [early]}]}
time_intervals: [{name: early, time_intervals: [{times: [{start_time: '00:00', end_time: '00:05'}]}]}]
receivers: [{name: ops, webhook_configs: [{url: 'http://x/'}]}]
";
    let mut stage = Stage::new(text);
    stage.until(30).put("a=1,g=x");
    stage.until(280).restart();
    assert_eq!(stage.until(329).heard(), ["300 ops/0 first notification: 1"]);
}

#[test]
fn before_an_escalation() {
    let text = PLAIN.replace("repeat_interval: 5h", "repeat_interval: 5h, escalate: [{after: 30s, receiver: ops}]");
    let mut stage = Stage::new(&text);
    stage.put("a=1,g=x");
    stage.until(20).restart();
    let want = ["10 ops/0 first notification: 1", "40 ops/0 first notification: 1"];
    assert_eq!(stage.until(69).heard(), want);
}

#[test]
fn with_something_on_its_way() {
    let mut stage = Stage::new(PLAIN);
    stage.put("a=1,g=x");
    stage.now_ms = 10_000;
    assert_eq!(stage.dispatcher.due(stage.now_ms).len(), 1);
    stage.write();
    stage.now_ms = 15_000;
    stage.restart();
    assert_eq!(stage.until(200).heard(), ["15 ops/0 first notification: 1"], "at once, not at the group's next look");
}

/// Two ends in a row of which nobody knows whether they were heard, and one that failed.
#[test]
fn twice_with_something_on_its_way() {
    let mut stage = Stage::new(PLAIN);
    stage.put("a=1,g=x");
    stage.now_ms = 10_000;
    assert_eq!(stage.dispatcher.due(stage.now_ms).len(), 1);
    stage.write();
    stage.restart();
    stage.end("a=1,g=x");
    stage.broken = vec!["ops".to_owned()];
    stage.until(20).broken.clear();
    assert_eq!(stage.until(200).heard(), ["70 ops/0 all alerts resolved: +1"], "it may have been told that it fires");
}

#[test]
fn after_an_end_was_told() {
    let mut stage = Stage::new(PLAIN);
    for text in ["a=1,g=x", "a=2,g=x"] {
        stage.put(text);
    }
    let ended = alert("a=1,g=x", 0, Some(20_000));
    stage.until(20).dispatcher.put([ended.clone()], 20_000);
    stage.until(80).put("a=3,g=x");
    let want =
        ["10 ops/0 first notification: 1 2", "70 ops/0 some alerts resolved: +1 2", "130 ops/0 new alerts added: 2 3"];
    assert_eq!(stage.until(140).heard(), want);
    stage.restart();
    assert!(stage.until(300).heard().is_empty(), "everybody knows");
    // Who found it says again that it has ended.
    stage.dispatcher.put([ended], stage.now_ms);
    stage.write();
    stage.restart();
    assert!(stage.until(600).heard().is_empty(), "everybody knows");
    stage.put("a=1,g=x");
    stage.restart();
    assert_eq!(stage.until(700).heard(), ["610 ops/0 new alerts added: 1 2 3"]);
    stage.end("a=1,g=x");
    stage.restart();
    assert_eq!(stage.until(800).heard(), ["730 ops/0 some alerts resolved: +1 2 3"]);
}

/// An end that nobody said, but that was noticed, is one also after a restart.
#[test]
fn after_an_alert_ended_in_time() {
    let mut stage = Stage::new(PLAIN);
    stage.dispatcher.put([alert("a=1,g=x", 0, Some(20_000))], 0);
    stage.write();
    assert_eq!(stage.until(25).heard(), ["10 ops/0 first notification: 1"]);
    assert!(stage.dispatcher.due(25_000).is_empty());
    stage.write();
    stage.restart();
    assert_eq!(stage.until(80).heard(), ["70 ops/0 all alerts resolved: +1"]);
}

#[test]
fn at_the_end_of_an_inhibition() {
    let inhibit = "inhibit_rules: [{source_matchers: [s=page], target_matchers: [s=ticket]}]\n";
    for (reevaluates, want) in [("true", "50 ops/0 first notification: 2"), ("false", "71 ops/0 first notification: 2")]
    {
        let text = format!("{PLAIN}{inhibit}").replace("5h}", &format!("5h, reevaluate_after_mute: {reevaluates}}}"));
        let mut stage = Stage::new(&text);
        stage.put("a=1,g=x,s=page");
        stage.until(1).put("a=2,g=y,s=ticket");
        assert_eq!(stage.until(40).heard(), ["10 ops/0 first notification: 1"]);
        stage.restart();
        stage.end("a=1,g=x,s=page");
        stage.restart();
        let heard = stage.until(80).heard();
        assert!(heard.contains(&want.to_owned()), "{heard:?}");
    }
}
