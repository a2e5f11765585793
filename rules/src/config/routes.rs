//! The tree of routes: what a node does not say it has from the node above, but matchers and times, which are its own.

use std::collections::BTreeMap;

use model::Matcher;
use model::labels::{Quoted, is_label_name};
use serde_saphyr::Spanned;

use super::check::{Checker, Names};
use super::raw::{RawFlap, RawRoute, RawStep, Texts};
use super::{ESCALATION_STEPS_MAX, FLAP_CHANGES_MAX, ROUTE_KEY_BYTES_MAX, ROUTE_LEVELS_MAX, ROUTES_MAX};
use crate::route::{EscalationStep, FlapHold, GroupBy, Options, Route};
use crate::yaml::at;

/// Checks the root and all below it.
pub(super) fn tree(checker: &mut Checker<'_>, raw: Spanned<RawRoute>, names: &Names) -> Option<Route> {
    let place = at(&raw);
    let root = &raw.value;
    if root.equals.is_some() || root.match_re.is_some() || root.matchers.as_ref().is_some_and(|all| !all.is_empty()) {
        checker.wrong(place, "the root takes every alert: it has no matchers");
    }
    for times in [&root.mute_time_intervals, &root.active_time_intervals] {
        if let Some(first) = times.as_ref().and_then(|times| times.first()) {
            checker.wrong(at(first), "the root has no time intervals; give them to a route below it");
        }
    }
    if let Some(continues) = root.continues.as_ref().filter(|continues| continues.value) {
        checker.wrong(at(continues), "the root has no siblings to continue with");
    }
    let Some(receiver) = root.receiver.as_ref().filter(|receiver| !receiver.value.is_empty()) else {
        checker.wrong(place, "the root has no receiver");
        return None;
    };
    let options = Options::new(&receiver.value);
    let mut tree = Tree { checker, names, count: 0 };
    tree.node(raw, &options, ["", ""], None, 0)
}

struct Tree<'a, 'c> {
    checker: &'a mut Checker<'c>,
    names: &'a Names,
    count: usize,
}

impl Tree<'_, '_> {
    fn node(
        &mut self,
        raw: Spanned<RawRoute>,
        above: &Options,
        [above_key, above_id]: [&str; 2],
        position: Option<usize>,
        level: usize,
    ) -> Option<Route> {
        let place = at(&raw);
        self.count += 1;
        if self.count > ROUTES_MAX {
            if self.count == ROUTES_MAX + 1 {
                self.checker.wrong(place, format!("more than {ROUTES_MAX} routes"));
            }
            return None;
        }
        if level >= ROUTE_LEVELS_MAX {
            self.checker.wrong(place, format!("more than {ROUTE_LEVELS_MAX} levels of routes"));
            return None;
        }
        let mut raw = raw.value;
        let options = self.options(&mut raw, above);
        let matchers = self.checker.matchers(raw.matchers, raw.equals, raw.match_re, "matchers");
        let own = show(&matchers);
        let key = if position.is_some() { format!("{above_key}/{own}") } else { own.clone() };
        if key.len() > ROUTE_KEY_BYTES_MAX {
            self.checker.wrong(
                place,
                format!("matchers of {} bytes from the root on; {ROUTE_KEY_BYTES_MAX} are allowed", key.len()),
            );
            return None;
        }
        // Nodes above with the same matchers have children with the same matchers, too.
        let id = position.map_or_else(|| key.clone(), |position| format!("{above_id}/{own}/{position}"));
        let (routes, keys) = (raw.routes.unwrap_or_default().into_iter().enumerate(), [key.as_str(), id.as_str()]);
        let routes = routes.filter_map(|(at, route)| self.node(route, &options, keys, Some(at), level + 1)).collect();
        let continues = raw.continues.is_some_and(|continues| continues.value);
        Some(Route { matchers, continues, options, routes, key, id })
    }

    fn options(&mut self, raw: &mut RawRoute, above: &Options) -> Options {
        let mut options = above.clone();
        if let Some(receiver) = raw.receiver.as_ref().filter(|receiver| !receiver.value.is_empty()) {
            self.checker.is_known(receiver, &self.names.receivers, "receiver");
            options.receiver.clone_from(&receiver.value);
        }
        if let Some(group_by) = self.group_by(raw.group_by.take()) {
            options.group_by = group_by;
        }
        let checker = &mut *self.checker;
        options.wait_ms = checker.duration(raw.group_wait.as_ref(), "group_wait").unwrap_or(above.wait_ms);
        options.interval_ms =
            checker.some_time(raw.group_interval.as_ref(), "group_interval").unwrap_or(above.interval_ms);
        options.repeat_ms =
            checker.some_time(raw.repeat_interval.as_ref(), "repeat_interval").unwrap_or(above.repeat_ms);
        options.mute = self.times(raw.mute_time_intervals.take());
        options.active = self.times(raw.active_time_intervals.take());
        let labels = self.checker.labels(raw.labels.take(), "labels");
        let mut all: BTreeMap<String, String> = above.labels.clone();
        all.extend(labels);
        options.labels = all;
        if let Some(steps) = raw.escalate.take() {
            options.escalation = self.escalation(steps);
        }
        if let Some(flap) = raw.flap.take() {
            options.flap = self.flap(&flap);
        }
        options.reevaluate_after_mute = raw.reevaluate_after_mute.unwrap_or(above.reevaluate_after_mute);
        options
    }

    /// An empty list says nothing.
    fn group_by(&mut self, names: Texts) -> Option<GroupBy> {
        let names = names.filter(|names| !names.is_empty())?;
        let mut sorted: Vec<String> = Vec::new();
        for name in &names {
            if name.value == "..." {
                if names.len() > 1 {
                    self.checker.wrong(at(name), "group_by: `...` stands for all labels, and alone");
                }
                return Some(GroupBy::All);
            }
            if name.value.is_empty() {
                self.checker.wrong(at(name), format!("group_by: {:?} is no name of a label", name.value));
            }
            match sorted.binary_search(&name.value) {
                Ok(_) => self.checker.wrong(at(name), format!("group_by: label {:?} is there twice", name.value)),
                Err(place) => sorted.insert(place, name.value.clone()),
            }
        }
        Some(GroupBy::Labels(sorted))
    }

    fn times(&mut self, names: Texts) -> Vec<String> {
        let names = names.unwrap_or_default();
        for name in &names {
            self.checker.is_known(name, &self.names.intervals, "time interval");
        }
        names.into_iter().map(|name| name.value).collect()
    }

    fn escalation(&mut self, raw: Vec<Spanned<RawStep>>) -> Vec<EscalationStep> {
        let mut steps: Vec<EscalationStep> = Vec::new();
        for step in raw {
            let place = at(&step);
            if steps.len() >= ESCALATION_STEPS_MAX {
                self.checker.wrong(place, format!("more than {ESCALATION_STEPS_MAX} steps of escalation"));
                break;
            }
            let RawStep { after, receiver } = step.value;
            self.checker.is_known(&receiver, &self.names.receivers, "receiver");
            let Some(after_ms) = self.checker.some_time(Some(&after), "after") else { continue };
            if steps.last().is_some_and(|before| before.after_ms >= after_ms) {
                self.checker.wrong(at(&after), "after: steps of escalation come one after the other");
            }
            steps.push(EscalationStep { after_ms, receiver: receiver.value });
        }
        steps
    }

    fn flap(&mut self, raw: &Spanned<RawFlap>) -> Option<FlapHold> {
        let RawFlap { changes, window } = &raw.value;
        let window_ms = self.checker.some_time(Some(window), "window")?;
        let count = usize::try_from(changes.value).unwrap_or(usize::MAX);
        if !(2..=FLAP_CHANGES_MAX).contains(&count) {
            self.checker.wrong(at(changes), format!("changes: 2 to {FLAP_CHANGES_MAX} are allowed"));
            return None;
        }
        Some(FlapHold { changes: count, window_ms })
    }
}

/// Matchers as the keys of routes have them.
fn show(matchers: &[Matcher]) -> String {
    let one = |matcher: &Matcher| {
        let (name, op, value) = (matcher.name(), matcher.op(), Quoted(matcher.value()));
        if is_label_name(name) { format!("{name}{op}{value}") } else { format!("{}{op}{value}", Quoted(name)) }
    };
    format!("{{{}}}", matchers.iter().map(one).collect::<Vec<_>>().join(","))
}
