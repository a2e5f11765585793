//! Routing files as people write them, and what is said of those that are none.

use model::{Labels, Matcher};
use rules::config::{Config, read};
use rules::route::{GroupBy, Route};

const GOOD: &str = r#"
global:
  resolve_timeout: 10m
route:
  receiver: default
  group_by: [job, alertname]
  labels: {team: none}
  routes:
  - matchers: ['team="web"', severity=~"page|ticket"]
    receiver: web
    continue: true
    group_wait: 0s
    mute_time_intervals: [offhours]
    labels: {team: web}
    escalate:
    - {after: 15m, receiver: boss}
    routes:
    - match: {zone: a}
      match_re: {tier: 1|2}
      group_by: ['...']
      repeat_interval: 1h
      reevaluate_after_mute: false
      flap: {changes: 4, window: 30m}
  - match: {code: 200}
    active_time_intervals: [weekend]
inhibit_rules:
- source_matchers: [severity=page]
  target_match: {severity: ticket}
  equal: [job]
topology_inhibit:
- source_matchers: [alertname=HostDown]
receivers:
- name: default
- name: web
  webhook_configs:
  - url: http://127.0.0.1:1/web
- name: boss
mute_time_intervals:
- name: offhours
  time_intervals:
  - times: [{start_time: '22:00', end_time: '24:00'}]
    location: Europe/Berlin
time_intervals:
- name: weekend
  time_intervals:
  - weekdays: [saturday, 'sunday']
    years: [2026, '2027:2030']
heartbeat: {receiver: web, interval: 30s}
recurring_silences:
- name: backups
  matchers: [job=backup]
  time_intervals: [weekend]
templates: ['*.tmpl']
"#;

fn good() -> Config {
    read("am.yml", GOOD).expect("a routing file")
}

fn faults(text: &str) -> Vec<String> {
    read("am.yml", text).err().unwrap_or_default().iter().map(ToString::to_string).collect()
}

#[test]
fn a_file_is_read_whole() {
    let config = good();
    assert_eq!(config.resolve_timeout_ms, 600_000);
    let root = &config.route;
    assert_eq!((root.key.as_str(), root.id.as_str(), root.options.wait_ms), ("{}", "{}", 30_000));
    assert_eq!(root.options.group_by, GroupBy::Labels(vec!["alertname".into(), "job".into()]));
    let [web, code] = root.routes.as_slice() else { panic!("two routes") };
    assert_eq!(web.key, r#"{}/{severity=~"page|ticket",team="web"}"#);
    assert_eq!(web.id, format!("{}/0", web.key));
    assert_eq!(
        (web.options.wait_ms, web.continues, web.options.mute.as_slice()),
        (0, true, &["offhours".to_owned()][..])
    );
    assert_eq!((web.options.labels["team"].as_str(), code.options.labels["team"].as_str()), ("web", "none"));
    let zone = &web.routes[0];
    assert_eq!(zone.key, format!(r#"{}/{{tier=~"^(?:1|2)$",zone="a"}}"#, web.key));
    assert_eq!((&zone.options.group_by, zone.options.repeat_ms, zone.options.wait_ms), (&GroupBy::All, 3_600_000, 0));
    assert!(zone.options.mute.is_empty(), "times are a route's own");
    assert_eq!(zone.options.escalation[0].receiver, "boss");
    assert!(zone.options.flap.is_some() && !zone.options.reevaluate_after_mute && web.options.reevaluate_after_mute);
    assert_eq!(code.matchers, [Matcher::equal("code", "200")]);
    assert_eq!((config.inhibit.len(), config.inhibit[1].name.as_str()), (2, "topology"));
    assert_eq!(
        config.heartbeat.as_ref().map(|beat| (beat.interval_ms, beat.labels["alertname"].as_str())),
        Some((30_000, "Heartbeat"))
    );
    assert_eq!(
        (config.silences[0].name.as_str(), config.templates.as_slice()),
        ("backups", &["*.tmpl".to_owned()][..])
    );
    let saturday = "2026-11-28T12:00:00Z".parse().expect("a time");
    assert!(
        config.holds("weekend", saturday) && !config.holds("offhours", saturday) && !config.holds("none", saturday)
    );
    let labels = Labels::from_pairs([("team", "web"), ("severity", "page"), ("code", "200")]).expect("labels");
    let told: Vec<&str> =
        root.matching(labels.as_ref()).iter().map(|route: &&Route| route.options.receiver.as_str()).collect();
    assert_eq!(told, ["web", "default"]);
}

#[test]
fn names_are_any_text() {
    let text = "
route: {receiver: a, group_by: [größe, 'a b'], routes: [{match: {a-b: c}, match_re: {'1': d}, labels: {'x y': z}}]}
inhibit_rules: [{source_matchers: [a=b], target_matchers: [a=c], equal: [a.b]}]
topology_inhibit: [{source_matchers: [a=b], label: host.name}]
receivers: [{name: a}]
";
    let config = read("am.yml", text).unwrap_or_else(|faults| panic!("{faults:?}"));
    let labels = Labels::from_pairs([("a-b", "c"), ("1", "d")]).expect("labels");
    assert_eq!(config.route.matching(labels.as_ref())[0].id, config.route.routes[0].id);
}

#[test]
fn every_fault_is_told_with_its_place() {
    let text = r#"
route:
  receiver: nobody
  matchers: [a=b]
  group_interval: 0s
  group_by: [job, job, '...']
  routes:
  - matchers: ['a=~"("', 'b']
    mute_time_intervals: [never]
  - match_re: {"": c}
    group_wait: soon
    escalate:
    - {after: 5m, receiver: a}
    - {after: 1m, receiver: a}
    flap: {changes: 1, window: 1m}
receivers:
- name: a
- name: a
- name: ''
time_intervals:
- name: n
  time_intervals:
  - times: [{start_time: '10:00', end_time: '9:00'}, {start_time: '10:00'}]
    weekdays: [someday]
    location: Nowhere/City
- name: n
inhibit_rules:
- equal: ['']
topology_inhibit:
- separator: ''
heartbeat: {receiver: b, interval: 1ms}
recurring_silences:
- matchers: ['a=~".*"']
"#;
    let want = [
        "am.yml:18:9: receiver \"a\" is in this file twice",
        "am.yml:19:3: a receiver without a name",
        "am.yml:23:45: \"9:00\" is no time of day such as 09:30; 24:00 is the day's end",
        "am.yml:23:54: times: both start_time and end_time are wanted",
        "am.yml:24:16: \"someday\" is no weekday",
        "am.yml:26:9: time interval \"n\" is in this file twice",
        "am.yml:3:3: the root takes every alert: it has no matchers",
        "am.yml:3:13: there is no receiver \"nobody\"",
        "am.yml:6:19: group_by: label \"job\" is there twice",
        "am.yml:6:24: group_by: `...` stands for all labels, and alone",
        "am.yml:5:19: group_interval: it must be longer than 0s",
        "am.yml:9:27: there is no time interval \"never\"",
        "am.yml:8:26: matchers: one of = != =~ !~ is wanted at character 2 of \"b\"",
        "am.yml:11:17: group_wait: \"soon\" is not a duration; write it like 90s, 1h30m or 15d (units y w d h m s ms, longest first)",
        "am.yml:14:15: after: steps of escalation come one after the other",
        "am.yml:15:21: changes: 2 to 32 are allowed",
        "am.yml:10:20: matchers: \"\" is no name of a label",
        "am.yml:28:11: equal: \"\" is no name of a label",
        "am.yml:30:3: source_matchers: they tell which alerts mean that all beneath is gone",
        "am.yml:30:14: separator: it is empty",
        "am.yml:31:23: there is no receiver \"b\"",
        "am.yml:31:36: interval: heartbeats are at least 1s apart",
        "am.yml:33:3: a silence needs a matcher that does not match the empty string, or every alert is muted",
        "am.yml:33:3: a silence in the file needs time_intervals in which it mutes",
        "am.yml:33:3: a silence without a name",
    ];
    let told = faults(text);
    for want in want {
        assert!(told.iter().any(|told| told == want), "{want}\nin\n{}", told.join("\n"));
    }
    let more: Vec<&String> = told.iter().filter(|told| !want.contains(&told.as_str())).collect();
    assert_eq!(more.len(), 2, "the expression and the zone: {more:#?}");
}

#[test]
fn what_is_no_routing_file_is_told() {
    for (text, want) in [
        ("", "am.yml:1:1: the file has no route"),
        ("route: 3", "am.yml:1:8: "),
        ("route: {reciever: a}", "am.yml:1:9: "),
        ("routes: []", "am.yml:1:1: "),
        ("route: {receiver: a}\nreceivers: [{name: a, pigeon_configs: []}]", "am.yml:2:23: "),
        ("route: {receiver: a, receiver: b}", "am.yml:1:22: "),
    ] {
        let told = faults(text);
        assert!(told.len() == 1 && told[0].starts_with(want), "{text}: {told:?}");
    }
}

#[test]
fn trees_have_bounds() {
    let deep = |levels: usize| {
        let nested = (0..levels).fold(String::new(), |inner, _| format!("{{matchers: [a=b], routes: [{inner}]}}"));
        format!("route: {{receiver: a, routes: [{nested}]}}\nreceivers: [{{name: a}}]")
    };
    assert_eq!(faults(&deep(15)), [] as [String; 0]);
    assert!(faults(&deep(18)).iter().any(|fault| fault.contains("16 levels of routes")));
    assert_eq!(faults(&deep(5_000)).len(), 1, "the reader itself is bounded");
    let wide =
        format!("route: {{receiver: a, routes: [{}]}}\nreceivers: [{{name: a}}]", "{matchers: [a=b]},".repeat(10_001));
    assert!(faults(&wide).iter().any(|fault| fault.contains("more than 10000 routes")));
}
