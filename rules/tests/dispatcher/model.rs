//! A naive model of the dispatcher, second by second, over random scripts.
//!
//! It keeps plain lists and looks at everything at each second; nothing of it is shared with the dispatcher.

use std::collections::BTreeMap;

use proptest::prelude::*;
use rules::matchers::parse_matchers;
use rules::notify::silence::Silence;

use crate::stage::Stage;

const TEXT: &str = "
route:
  receiver: all
  group_by: [g]
  group_wait: 3s
  group_interval: 10s
  repeat_interval: 25s
  reevaluate_after_mute: false
  routes:
  - {matchers: [g=x], receiver: quiet, group_wait: 0s, group_interval: 7s}
inhibit_rules: [{source_matchers: [a=0], target_matchers: [a=~1|2], equal: [g]}]
receivers:
- {name: all, webhook_configs: [{url: 'http://x/'}]}
- {name: quiet, webhook_configs: [{url: 'http://x/', send_resolved: false}]}
";

#[derive(Debug, Clone, Copy)]
enum Step {
    Put(u8, char),
    End(u8, char),
    Silence(u8, i64),
    Break(bool),
}

#[derive(Debug, Default)]
struct Group {
    next: i64,
    members: Vec<u8>,
    flushed: bool,
    empty_rounds: usize,
    told: Option<(i64, Vec<u8>, Vec<u8>)>,
    /// When something was sent last.
    sent: Option<i64>,
}

#[derive(Debug, Default)]
struct Model {
    /// End of each alert, by name and group; 0 fires.
    alerts: BTreeMap<(u8, char), Option<i64>>,
    silences: Vec<(u8, i64)>,
    groups: BTreeMap<char, Group>,
    /// What was told outlives a group.
    log: BTreeMap<char, (i64, Vec<u8>, Vec<u8>)>,
    broken: bool,
    told: Vec<String>,
    /// When empty groups were looked for last.
    round: i64,
}

impl Model {
    fn times(group: char) -> (i64, i64, &'static str, bool) {
        if group == 'x' { (0, 7, "quiet", false) } else { (3, 10, "all", true) }
    }

    fn message(&mut self, alert: u8, group: char, ended: bool, now: i64) {
        self.alerts.insert((alert, group), ended.then_some(now));
        let (wait, ..) = Self::times(group);
        let told = self.log.get(&group).cloned();
        let of = self.groups.entry(group).or_insert_with(|| Group { next: now + wait, told, ..Group::default() });
        if !of.members.contains(&alert) {
            of.members.push(alert);
        }
        of.empty_rounds = 0;
    }

    fn second(&mut self, now: i64) {
        let names: Vec<char> = self.groups.keys().copied().collect();
        // Those that are due at the same moment are told in the order of their routes and labels: x is below the root.
        let order = |group: &char| (*group == 'x', *group);
        let mut due: Vec<char> = names.into_iter().filter(|group| self.groups[group].next == now).collect();
        due.sort_by_key(order);
        for name in due {
            self.look(name, now);
        }
        if now == self.round + 30 {
            self.round = now;
            self.groups.retain(|_, group| {
                // What was just said is still on its way.
                let waits = group.sent == Some(now);
                group.empty_rounds += usize::from(group.members.is_empty() && !waits);
                group.empty_rounds < 2
            });
        }
    }

    fn look(&mut self, name: char, now: i64) {
        let (_, interval, receiver, send_resolved) = Self::times(name);
        let group = self.groups.get_mut(&name).expect("a group");
        (group.next, group.flushed) = (now + interval, true);
        let ended = |alert: u8| self.alerts[&(alert, name)].is_some();
        let source = self.alerts.get(&(0, name)).is_some_and(Option::is_none);
        let mut members = group.members.clone();
        members.sort_unstable();
        let silenced = |alert: u8| self.silences.iter().any(|(of, until)| *of == alert && now < *until);
        let visible: Vec<u8> =
            members.iter().copied().filter(|alert| !(silenced(*alert) || source && (1..=2).contains(alert))).collect();
        let (resolved, firing): (Vec<u8>, Vec<u8>) = visible.iter().partition(|alert| ended(**alert));
        let mut all_told = true;
        if !visible.is_empty() {
            let within = |few: &[u8], many: &[u8]| few.iter().all(|one| many.contains(one));
            let reason = match &group.told {
                None if firing.is_empty() => None,
                None => Some("first notification"),
                Some((_, before, _)) if !within(&firing, before) && before.is_empty() => Some("first notification"),
                Some((_, before, _)) if !within(&firing, before) => Some("new alerts added"),
                Some((_, before, _)) if firing.is_empty() => (!before.is_empty()).then_some("all alerts resolved"),
                Some((_, _, before)) if send_resolved && !within(&resolved, before) => Some("some alerts resolved"),
                Some((at, ..)) => (now - at > 25).then_some("repeat interval elapsed"),
            };
            if let Some(reason) = reason {
                let shown = visible.iter().filter(|alert| send_resolved || !ended(**alert));
                let shown: Vec<String> =
                    shown.map(|alert| format!("{}{alert}", if ended(*alert) { "+" } else { "" })).collect();
                if !shown.is_empty() && self.broken {
                    all_told = false;
                } else {
                    group.told = Some((now, firing, resolved));
                    self.log.extend(group.told.clone().map(|told| (name, told)));
                    if !shown.is_empty() {
                        group.sent = Some(now);
                        self.told.push(format!("{now} {receiver}/0 {reason}: {}", shown.join(" ")));
                    }
                }
            }
        }
        if all_told {
            group.members.retain(|alert| self.alerts[&(*alert, name)].is_none());
        }
    }
}

fn steps() -> impl Strategy<Value = Vec<(i64, Step)>> {
    let group = prop::sample::select(vec!['x', 'y', 'z']);
    let step = prop_oneof![
        4 => (0_u8..4, group.clone()).prop_map(|(alert, group)| Step::Put(alert, group)),
        4 => (0_u8..4, group).prop_map(|(alert, group)| Step::End(alert, group)),
        1 => (0_u8..4, 5_i64..60).prop_map(|(alert, length)| Step::Silence(alert, length)),
        1 => any::<bool>().prop_map(Step::Break),
    ];
    prop::collection::vec((1_i64..20, step), 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn the_dispatcher_tells_what_the_model_tells(steps in steps()) {
        let mut stage = Stage::new(TEXT);
        let mut model = Model::default();
        let mut now = 0;
        let mut silences = 0;
        for (pause, step) in steps {
            for second in now + 1..=now + pause {
                model.second(second);
            }
            now += pause;
            stage.until(now);
            match step {
                Step::Put(alert, group) => {
                    stage.put(&format!("a={alert},g={group}"));
                    model.message(alert, group, false, now);
                }
                Step::End(alert, group) => {
                    stage.end(&format!("a={alert},g={group}"));
                    model.message(alert, group, true, now);
                }
                Step::Silence(alert, length) => {
                    let silence = Silence {
                        id: String::new(),
                        sets: vec![parse_matchers(&format!("a={alert}")).expect("matchers")],
                        starts_ms: now * 1000,
                        ends_ms: (now + length) * 1000,
                        updated_ms: 0,
                        created_by: String::new(),
                        comment: String::new(),
                        recurrence: None,
                    };
                    silences += 1;
                    stage.dispatcher.set_silence(silence, format!("s{silences}"), now * 1000).expect("a silence");
                    model.silences.push((alert, now + length));
                }
                Step::Break(broken) => {
                    stage.broken = if broken { vec!["all".to_owned(), "quiet".to_owned()] } else { Vec::new() };
                    model.broken = broken;
                }
            }
            // What waits for nobody is told in this very second.
            stage.until(now);
            model.second(now);
            prop_assert_eq!(&stage.told, &model.told, "after {:?} at {}", step, now);
        }
        for second in now + 1..now + 100 {
            model.second(second);
        }
        prop_assert_eq!(&stage.until(now + 99).told, &model.told);
    }
}
