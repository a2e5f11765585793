//! What is known of rules outlives the process and changes of the rules; and the evaluator is what a naive one is.

mod support;

use proptest::prelude::*;
use rules::alert::{State, Times};
use rules::evaluate::SETTLING_MS;
use rules::evaluate::kept::Kept;
use rules::file::{RuleFile, read};
use rules::shelf::Shelf;
use support::{Bench, MINUTE_MS, START_MS};

const HOSTS: [&str; 3] = ["a", "b", "c"];

fn text(name: &str, rule: &str) -> String {
    format!("groups: [{{name: {name}, rules: [{{{rule}}}]}}]")
}

fn files(text: &str) -> Vec<RuleFile> {
    vec![read("r.yml", text).unwrap_or_else(|faults| panic!("{faults:?}"))]
}

#[test]
fn an_alert_goes_on_where_it_was() {
    let rule = "alert: A, expr: 'x > 5', for: 2m, keep_firing_for: 2m, annotations: {v: 'value {{ $value }}'}";
    let mut bench = Bench::new(&text("g", rule));
    bench.series("x", &[("host", "a")], "6 7 8 9 1 1 1 1 1");
    let mut lines = Vec::new();
    for _ in 0..9 {
        lines.extend(bench.run(1));
        let before = bench.alerts();
        bench.restart();
        assert_eq!(bench.alerts(), before);
    }
    assert_eq!(lines, ["0: A{a} - pending", "2: A{a} pending firing", "6: A{a} firing resolved"]);
    // Texts and value of an alert without samples are those of its last one.
    let (minute, told) = bench.told().into_iter().rfind(|(minute, _)| *minute == 5).expect("told");
    assert_eq!((minute, told.annotations["v"].as_str()), (5, "value 9"));
    assert_eq!(bench.samples(r#"ALERTS{alertname="A", alertstate="pending", host="a"}"#), "0=1 1=1 2=stale");
}

#[test]
fn an_end_is_told_again_after_a_restart_and_forgotten_in_time() {
    let mut bench = Bench::new(&text("g", "alert: A, expr: 'x > 5'"));
    bench.series("x", &[], "6 1 1 1");
    bench.run(2);
    bench.restart();
    bench.run(1);
    let told: Vec<_> = bench.told().iter().map(|(minute, told)| (*minute, told.is_resolved(i64::MAX))).collect();
    assert_eq!(told.len(), 3);
    assert_eq!(bench.told()[2].1.ends_ms, START_MS + MINUTE_MS);
    bench.run(20);
    assert!(bench.alerts().is_empty());
    let left = bench.shelf.load().expect("readable");
    let keys: Vec<u8> = left.iter().map(|(key, _)| key[0]).collect();
    assert_eq!(keys, [b'g', b'r'], "its rule and group are still known");
}

/// The process may have ended before anybody was told.
#[test]
fn an_end_is_told_before_the_next_begin() {
    for (restarts, want) in
        [(false, &[(1, false), (2, true), (4, false)][..]), (true, &[(1, false), (2, true), (3, true), (4, false)])]
    {
        let mut bench = Bench::new(&text("g", "alert: A, expr: 'x > 5', for: 1m"));
        bench.series("x", &[], "6 6 1 6 6");
        bench.run(3);
        if restarts {
            bench.restart();
        }
        bench.run(2);
        let is_end = |ends_ms| ends_ms == START_MS + 2 * MINUTE_MS;
        let told: Vec<_> = bench.told().iter().map(|(minute, told)| (*minute, is_end(told.ends_ms))).collect();
        assert_eq!(told, want);
    }
}

/// Otherwise a series could tell of a begin that nobody knows of after the process ended.
#[test]
fn what_changed_can_be_kept_before_series_tell_of_it() {
    let mut bench = Bench::new(&text("g", "alert: A, expr: 'x > 5', for: 1m"));
    bench.series("x", &[], "6");
    let (mut made, samples) = bench.groups[0].judge(&bench.files[0].groups[0], &bench.world, &bench.settings, START_MS);
    let written = || bench.world.written.lock().expect("no panic").len();
    assert_eq!((made.changes.len(), samples.len(), written()), (3, 2, 0));
    made.write(&bench.world, samples);
    assert_eq!((made.samples, written()), (2, 2));
}

#[test]
fn time_without_a_process_is_told_and_counts() {
    let mut bench = Bench::new(&text("g", "alert: A, expr: 'x > 5', for: 10m"));
    bench.series("x", &[], "6 6 6 6 6 6 6 6 6 6 6 6 6 6");
    bench.run(2);
    bench.restart();
    bench.minute = 11;
    assert_eq!(bench.run(1), ["11: A{} pending firing"]);
    let at = |minute: i64| START_MS + minute * MINUTE_MS;
    let downtimes: Vec<_> = bench.evaluations().iter().map(|(_, made)| made.downtime_ms).collect();
    // That it was evaluated is noted once a minute.
    assert_eq!(downtimes, [None, None, Some((at(1), at(11)))]);
    bench.run(1);
    assert_eq!(bench.evaluations()[3].1.downtime_ms, None);
}

#[test]
fn after_a_start_missing_data_is_no_evidence() {
    for rule in ["alert: A, expr: 'x > 5'", "alert: A, expr: 'sum(x) > 5'", "alert: A, expr: 'x'"] {
        let mut bench = Bench::new(&text("g", rule));
        bench.series("x", &[("host", "a")], "6 6 _ _ _ _");
        bench.run(2);
        bench.restart();
        bench.settings.settling_until_ms = START_MS + 4 * MINUTE_MS;
        assert_eq!(bench.run(2), Vec::<String>::new(), "{rule}");
        let told = bench.run(1);
        assert!(told.len() == 1 && told[0].ends_with("firing resolved"), "{rule}: {told:?}");
    }
    // A condition that is false is evidence at once.
    let mut bench = Bench::new(&text("g", "alert: A, expr: 'x > 5'"));
    bench.series("x", &[("host", "a")], "6 6 1");
    bench.run(2);
    bench.restart();
    bench.settings.settling_until_ms = START_MS + 5 * MINUTE_MS;
    assert_eq!(bench.run(1), ["2: A{a} firing resolved"]);
    // So is what was seen since the start and is no more.
    let mut bench = Bench::new(&text("g", "alert: A, expr: 'x > 5'"));
    bench.settings.settling_until_ms = START_MS + 5 * MINUTE_MS;
    bench.series("x", &[("host", "a")], "6 6 6 _ _");
    bench.series("x", &[("host", "b")], "6 6 _ _ _");
    bench.run(2);
    bench.restart();
    assert_eq!(bench.run(3), ["3: A{a} firing resolved"]);
    // What was seen before the clock was set forward is no evidence of the time after it.
    let mut bench = Bench::new(&text("g", "alert: A, expr: 'x > 5'"));
    bench.series("x", &[("host", "a")], "6 6");
    bench.run(2);
    bench.minute = 60;
    bench.settings.settling_until_ms = START_MS + 60 * MINUTE_MS + SETTLING_MS;
    assert_eq!(bench.run(5), Vec::<String>::new());
    assert_eq!(bench.run(1), ["65: A{a} firing resolved"]);
}

/// Alerts that speak of their rule as a whole too.
#[test]
fn after_a_start_the_alert_about_missing_data_stays() {
    for (policy, alert) in [("alert", "A{}"), ("nodata", "NoData{A}")] {
        let rule = format!("alert: A, expr: 'x > 5', for: 1m, on_no_data: {policy}");
        let mut bench = Bench::new(&text("g", &rule));
        // With `nodata` there is a series that its alert is about, with `alert` none that fired.
        let first = if policy == "alert" { "1 1" } else { "6 6" };
        bench.series("x", &[], &format!("{first} _ _ _ _ _ _ 1 1"));
        let lines = bench.run(5);
        assert!(lines.contains(&format!("3: {alert} pending firing")), "{policy}: {lines:?}");
        bench.restart();
        bench.settings.settling_until_ms = START_MS + 9 * MINUTE_MS;
        assert_eq!(bench.run(3), Vec::<String>::new(), "{policy}");
        let lines = bench.run(1);
        assert!(lines.contains(&format!("8: {alert} firing resolved")), "{policy}: data is evidence: {lines:?}");
    }
}

#[test]
fn a_changed_rule_keeps_what_is_unchanged() {
    let first = "alert: A, expr: 'x > 5', for: 3m, labels: {severity: page}";
    let mut bench = Bench::new(&text("g", first));
    bench.series("x", &[("host", "a")], "6 6 6 6 6 6 6");
    bench.series("x", &[("host", "b")], "6 6 6 6 6 6 6");
    bench.run(2);
    let active = |bench: &Bench| bench.alerts().values().map(|times| times.active_at_ms).collect::<Vec<_>>();
    let before = active(&bench);
    // Another expression, wait and text, and another group; its second series is found no more.
    let second = "alert: A, expr: 'x{host=\"a\"} > 4', for: 2m, labels: {severity: page}, annotations: {a: b}";
    bench.reload(files(&text("other", second)));
    assert_eq!(bench.run(1), ["2: A{a,page} pending firing", "2: A{b,page} pending -"]);
    assert_eq!(active(&bench), before[..1]);
    bench.restart();
    assert_eq!(active(&bench), before[..1]);
    // A longer wait takes it back.
    bench.reload(files(&text("other", &first.replace("3m", "5m"))));
    assert_eq!(bench.run(1), ["3: A{a,page} firing pending", "3: A{b,page} - pending"]);
    // Other labels are other alerts.
    bench.reload(files(&text("other", &first.replace("page", "ticket"))));
    assert_eq!(bench.run(1), ["4: A{a,ticket} - pending", "4: A{b,ticket} - pending"]);
    // What is no more is kept for a while, and taken up again.
    let is_kept = |bench: &Bench| bench.shelf.load().expect("readable").iter().any(|(key, _)| key.ends_with(b"page"));
    assert!(is_kept(&bench));
    for restarts in [false, true] {
        bench.reload(files("groups: []"));
        if restarts {
            bench.restart();
        }
        bench.reload(files(&text("other", &first.replace("3m", "5m"))));
        assert_eq!(active(&bench), [START_MS, START_MS + 3 * MINUTE_MS], "{restarts}");
    }
    bench.reload(files("groups: []"));
    bench.minute += 62;
    bench.reload(files("groups: []"));
    assert!(!is_kept(&bench));
}

/// A kill after the shelf was changed costs nothing, one before it costs that evaluation alone.
#[test]
fn a_kill_at_any_change_of_the_shelf_costs_one_evaluation_at_most() {
    const MINUTES: usize = 14;
    let rules = "groups: [{name: g, rules: [{alert: A, expr: 'x > 5', for: 2m, keep_firing_for: 2m, annotations: {v: '{{ $value }}'}}, {alert: B, expr: 'x > 8'}]}]";
    let bench = || {
        let mut bench = Bench::new(rules);
        bench.series("x", &[("host", "a")], "6 6 6 6 1 9 1 1 1 6 6 6 6 6");
        bench.series("x", &[("host", "b")], "1 6 9 1 1 1 1 1 6 9 _ 9 1 1");
        bench
    };
    let told = |bench: &Bench| {
        let of = |(_, told): &(usize, rules::posted::Posted)| (told.labels.to_string(), told.starts_ms);
        bench.told().iter().map(of).collect::<std::collections::BTreeSet<_>>()
    };
    let mut whole = bench();
    whole.run(MINUTES);
    assert!(told(&whole).len() > 4, "{:?}", told(&whole));
    for minute in 0..MINUTES {
        let mut after = bench();
        after.run(minute + 1);
        after.restart();
        after.run(MINUTES - minute - 1);
        assert_eq!((after.alerts(), told(&after)), (whole.alerts(), told(&whole)), "after minute {minute}");
        let (mut before, mut missed) = (bench(), bench());
        before.run(minute);
        before.lose();
        before.run(MINUTES - minute - 1);
        missed.run(minute);
        missed.skip();
        missed.run(MINUTES - minute - 1);
        assert_eq!((before.alerts(), told(&before)), (missed.alerts(), told(&missed)), "before minute {minute}");
    }
}

#[test]
fn series_of_rules_that_are_no_more_end() {
    let rules = "groups: [{name: g, rules: [{record: r, expr: x}, {alert: A, expr: 'x > 5'}]}, {name: h, rules: [{record: s, expr: x}]}]";
    let mut bench = Bench::new(rules);
    bench.series("x", &[], "6 6 6");
    bench.run(1);
    let kept = Kept::of(std::mem::take(&mut bench.groups));
    bench.files = files("groups: [{name: g, rules: [{record: r, expr: x}]}]");
    let (groups, left) = kept.into_groups(&bench.files, START_MS);
    bench.groups = groups;
    let mut gone: Vec<String> = left.series.iter().map(ToString::to_string).collect();
    gone.sort();
    assert_eq!(gone, [r#"ALERTS_FOR_STATE{alertname="A"}"#, r#"ALERTS{alertname="A", alertstate="firing"}"#, "s"]);
}

#[test]
fn damaged_values_are_told_and_left_out() {
    let mut bench = Bench::new(&text("g", "alert: A, expr: 'x > 5'"));
    bench.series("x", &[("host", "a")], "6");
    bench.series("x", &[("host", "b")], "6");
    bench.run(1);
    let whole = bench.shelf.load().expect("readable");
    let alerts = |entries: Vec<(Vec<u8>, Vec<u8>)>| {
        let (kept, damaged) = Kept::read(entries);
        let (groups, _) = kept.into_groups(&bench.files, START_MS);
        (groups[0].rules()[0].alerts().count(), damaged.len())
    };
    assert_eq!(alerts(whole.clone()), (2, 0));
    for (entry, of_alert) in whole.iter().map(|(key, _)| key[0] == b'a').enumerate() {
        for byte in 0..whole[entry].1.len() {
            let mut entries = whole.clone();
            entries[entry].1.truncate(byte);
            let (found, damaged) = alerts(entries);
            assert_eq!((found, damaged), (if of_alert { 1 } else { 2 }, 1), "cut to {byte}");
        }
        for bit in 0..whole[entry].1.len() * 8 {
            let mut entries = whole.clone();
            entries[entry].1[bit / 8] ^= 1 << (bit % 8);
            alerts(entries);
        }
    }
    let odd: [&[u8]; 4] = [b"", b"a", b"z12345678", b"a12345678\xff"];
    let (_, damaged) = Kept::read(odd.map(|key| (key.to_vec(), vec![0; 9])).to_vec());
    assert_eq!(damaged.len(), 4);
}

/// What one minute came to, by definition: the naive evaluator knows each host's alert as its times.
fn naive(known: &mut [Option<Times>; 3], values: [Option<u8>; 3], now_ms: i64, hold: i64, keep: i64) -> Vec<String> {
    for (times, value) in known.iter_mut().zip(values) {
        let is_high = value.is_some_and(|value| value > 5);
        let next = match (*times, is_high) {
            (None, false) => None,
            (Some(one), true) if one.state != State::Resolved => Some(Times { keep_firing_since_ms: None, ..one }),
            (_, true) => Some(Times {
                state: State::Pending,
                active_at_ms: now_ms,
                fired_at_ms: None,
                keep_firing_since_ms: None,
                resolved_at_ms: None,
            }),
            (Some(one), false) => match one.state {
                State::Pending => None,
                State::Resolved => (now_ms - one.resolved_at_ms.expect("it ended") <= 15 * MINUTE_MS).then_some(one),
                State::Firing => {
                    let since = one.keep_firing_since_ms.unwrap_or(now_ms);
                    let one = Times { keep_firing_since_ms: Some(since), ..one };
                    let is_over = now_ms - since >= keep * MINUTE_MS;
                    Some(if is_over {
                        Times { state: State::Resolved, resolved_at_ms: Some(now_ms), ..one }
                    } else {
                        one
                    })
                }
            },
        };
        *times = next.map(|one| {
            let fires = one.state == State::Pending && now_ms - one.active_at_ms >= hold * MINUTE_MS;
            if fires { Times { state: State::Firing, fired_at_ms: Some(now_ms), ..one } } else { one }
        });
    }
    let line = |(host, times): (&str, &Option<Times>)| times.map(|times| format!("{host} {times:?}"));
    HOSTS.into_iter().zip(&*known).filter_map(line).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// However often the process ends.
    #[test]
    fn the_evaluator_is_a_naive_one(
        rows in prop::collection::vec((prop::array::uniform3(prop::option::weighted(0.8, 0_u8..10)), any::<bool>()), 1..40),
        hold in 0_i64..4,
        keep in 0_i64..4,
    ) {
        let mut bench = Bench::new(&text("g", &format!("alert: A, expr: 'x > 5', for: {hold}m, keep_firing_for: {keep}m")));
        for (at, host) in HOSTS.into_iter().enumerate() {
            let values = rows.iter().map(|(values, _)| values[at].map_or("_".to_owned(), |value| value.to_string()));
            bench.series("x", &[("host", host)], &values.collect::<Vec<_>>().join(" "));
        }
        let mut known = [None; 3];
        for (minute, (values, ends)) in (0_i64..).zip(&rows) {
            bench.run(1);
            let want = naive(&mut known, *values, START_MS + minute * MINUTE_MS, hold, keep);
            if *ends {
                bench.restart();
            }
            let name = |labels: &str| labels.split('"').nth(3).unwrap_or_default().to_owned();
            let found: Vec<String> =
                bench.alerts().iter().map(|(labels, times)| format!("{} {times:?}", name(labels))).collect();
            prop_assert_eq!(found, want, "minute {}", minute);
        }
    }
}

#[test]
fn labels_that_are_too_long_are_an_error() {
    let mut bench = Bench::new(&text("g", "alert: A, expr: 'x > 5'"));
    bench.series("x", &[("host", &"h".repeat(40_000))], "6");
    bench.run(1);
    assert_eq!(bench.faults(0).len(), 1);
    assert!(bench.alerts().is_empty());
}
