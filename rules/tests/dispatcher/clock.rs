//! A clock that is set back or forward: everybody is told within one interval of the new time, and no more often than that.

use proptest::prelude::*;

use rules::notify::alerts::Incoming;

use crate::stage::{Stage, alert};

const HOUR_S: i64 = 3600;

const TEXT: &str = "
route:
  receiver: ops
  group_by: [g]
  group_wait: 10s
  group_interval: 60s
  repeat_interval: 5m
  routes:
  - {matchers: [g=y], receiver: ops, escalate: [{after: 90s, receiver: boss}]}
heartbeat: {receiver: alive, interval: 60s}
receivers:
- {name: ops, webhook_configs: [{url: 'http://x/'}]}
- {name: boss, webhook_configs: [{url: 'http://x/'}]}
- {name: alive, webhook_configs: [{url: 'http://x/'}]}
";

/// Tells of a life whose clock is set back by `back_s` at second 80; the process ends there, too, if `restarts`.
fn life(back_s: i64, restarts: bool) -> Vec<String> {
    let mut stage = Stage::new(&TEXT.replace("heartbeat", "# heartbeat"));
    stage.dispatcher.put([alert("a=4,g=z", 0, Some(50_000))], 0);
    stage.put("a=1,g=x");
    stage.put("a=2,g=y");
    // Its sender says nothing more of it.
    stage.dispatcher.put([alert("a=3,g=z", 0, Some(200_000))], 0);
    stage.until(80).put("a=5,g=w");
    let from_s = 80 - back_s;
    if restarts {
        stage.now_ms = from_s * 1000;
        stage.restart();
    } else {
        stage.set_clock(from_s);
    }
    stage.until(from_s + 400);
    stage.end("a=1,g=x");
    stage.until(from_s + 700);
    let heard = stage.heard().into_iter().map(|told| {
        let (at_s, what) = told.split_once(' ').expect("a time");
        let at_s: i64 = at_s.parse().expect("seconds");
        format!("{} {what}", if at_s < 0 { at_s + back_s } else { at_s })
    });
    heard.collect()
}

#[test]
fn a_clock_set_back_changes_nothing_of_what_is_told() {
    let want = [
        "10 ops/0 first notification: 1",
        "10 ops/0 first notification: 3 4",
        "10 ops/0 first notification: 2",
        "70 ops/0 some alerts resolved: 3 +4",
        "90 ops/0 first notification: 5",
        "100 boss/0 first notification: 2",
        "250 ops/0 all alerts resolved: +3",
        "370 ops/0 repeat interval elapsed: 1",
        "370 ops/0 repeat interval elapsed: 2",
        "430 boss/0 repeat interval elapsed: 2",
        "450 ops/0 repeat interval elapsed: 5",
        "490 ops/0 all alerts resolved: +1",
        "730 ops/0 repeat interval elapsed: 2",
    ];
    assert_eq!(life(0, false), want);
    assert_eq!(life(2 * HOUR_S, false), want);
    // After a start senders have the time to speak of their alerts again, so that this is another life.
    assert_eq!(life(2 * HOUR_S, true), life(0, true));
}

#[test]
fn what_a_rule_said_holds_for_as_long_as_it_had_to() {
    let mut stage = Stage::new(&TEXT.replace("heartbeat", "# heartbeat"));
    stage.dispatcher.put([alert("a=1,g=x", 0, Some(200_000))], 0);
    stage.until(80).set_clock(80 - HOUR_S).until(300 - HOUR_S).heard();
    // It has ended, its rule says nothing more, and somebody else does.
    let other = Incoming { by_rule: false, ..alert("a=1,g=x", stage.now_ms, None) };
    stage.dispatcher.put([other], stage.now_ms);
    stage.until(400 - HOUR_S);
    assert_eq!(stage.heard(), ["-3280 ops/0 first notification: 1"]);
}

#[test]
fn a_clock_set_forward_ends_nothing() {
    let mut stage = Stage::new(&TEXT.replace("heartbeat", "# heartbeat"));
    stage.dispatcher.put([alert("a=1,g=x", 0, Some(240_000)), alert("a=2,g=x", 0, Some(50_000))], 0);
    stage.until(80).heard();
    // An hour of which nobody knows, and a second more.
    stage.leap(HOUR_S).until(80 + HOUR_S + 299);
    assert_eq!(stage.heard(), ["3680 ops/0 repeat interval elapsed: 1"]);
    // After a start it has that time again: that it fires is on the shelf. Nobody speaks of it.
    stage.restart();
    stage.until(2 * HOUR_S);
    assert_eq!(stage.heard(), ["4040 ops/0 repeat interval elapsed: 1", "4280 ops/0 all alerts resolved: +1"]);
    assert_eq!(
        stage.notes(),
        [
            "the clock was set forward by 3600 s; what fires does so for 300 s at least, unless its sender says that it ended"
        ]
    );
}

#[test]
fn a_step_back_is_an_event() {
    let mut stage = Stage::new(TEXT);
    stage.until(7000).set_clock(7000).set_clock(6999).set_clock(7000).set_clock(3400).until(3500);
    assert_eq!(
        stage.notes(),
        [
            "the clock was set back by 1 s; what waits for its time goes on from there",
            "the clock was set back by 3600 s; what waits for its time goes on from there"
        ]
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn everybody_is_told_within_an_interval_of_the_new_time(steps in prop::collection::vec(-3 * HOUR_S..3 * HOUR_S, 1..20)) {
        let mut stage = Stage::new(TEXT);
        let mut now_s = 0;
        for (number, step_s) in steps.into_iter().enumerate() {
            stage.put(&format!("a={number},g=x"));
            stage.put(&format!("a={number},g=y"));
            stage.heard();
            now_s += step_s;
            let heard = stage.set_clock(now_s).until(now_s + 61).heard();
            now_s += 61;
            for whom in ["ops/0", "alive/0"] {
                let told: Vec<&String> = heard.iter().filter(|told| told.contains(whom)).collect();
                // There are two groups, and one kind of heartbeat.
                let groups = if whom == "ops/0" { 2 } else { 1 };
                prop_assert!((groups..=2 * groups).contains(&told.len()), "{step_s}: {heard:?}");
            }
            let is_told = |told: &&String| told.contains("ops/0") && told.split(' ').any(|word| word == number.to_string());
            prop_assert!(heard.iter().filter(is_told).count() >= 2, "{number}, {step_s}: {heard:?}");
        }
    }
}
