//! From what YAML says to a configuration: every field checked, every fault kept.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use model::{MatchOp, Matcher};
use serde_saphyr::{Location, Spanned};

use super::raw::{RawConfig, RawHeartbeat, RawSilence, TextMap, Texts};
use super::{Config, FileFault, FileText, HEARTBEAT_MS_MIN, Heartbeat, INTERVALS_MAX, RecurringSilence};
use super::{inhibit, receivers, routes, times};
use crate::matchers::parse_matchers;
use crate::yaml::{Faults, at};

/// Collects what is wrong with a file.
#[derive(Debug)]
pub(crate) struct Checker<'a> {
    file: &'a str,
    faults: Faults<'a>,
}

impl<'a> Checker<'a> {
    /// Of the file called `file`, with nothing wrong yet.
    pub(crate) fn new(file: &'a str) -> Self {
        Self { file, faults: Faults::of(file) }
    }

    /// The folder of the file, where its paths begin.
    pub(crate) fn folder(&self) -> &'a Path {
        Path::new(self.file).parent().unwrap_or_else(|| Path::new(""))
    }

    /// `value`, unless something is wrong.
    pub(crate) fn done<T>(self, value: T) -> Result<T, Vec<FileFault>> {
        self.faults.none_or_all().map(|()| value)
    }

    /// The first thing that is wrong.
    pub(super) fn first_fault(self) -> Option<String> {
        self.faults.first()
    }

    /// Takes note of something wrong.
    pub(crate) fn wrong(&mut self, at: Location, message: impl Into<String>) {
        self.faults.wrong(at, message);
    }

    /// A duration in milliseconds; `None` when it is not there or none.
    pub(crate) fn duration(&mut self, text: Option<&Spanned<String>>, what: &str) -> Option<i64> {
        self.faults.duration(text, what)
    }

    /// A duration above zero.
    pub(crate) fn some_time(&mut self, text: Option<&Spanned<String>>, what: &str) -> Option<i64> {
        let ms = self.duration(text, what)?;
        if let (0, Some(text)) = (ms, text) {
            self.wrong(at(text), format!("{what}: it must be longer than 0s"));
            return None;
        }
        Some(ms)
    }

    /// Matchers in the three forms that files have had: as text, as `label: value` and as `label: expression`.
    pub(super) fn matchers(&mut self, texts: Texts, equals: TextMap, regexes: TextMap, what: &str) -> Vec<Matcher> {
        let mut all = Vec::new();
        for (name, value) in equals.unwrap_or_default() {
            self.old_matcher(&mut all, &name, MatchOp::Equal, &value, &value.value, what);
        }
        for (name, value) in regexes.unwrap_or_default() {
            // As Alertmanager keeps them, so that the keys of groups are the same.
            let anchored = format!("^(?:{})$", value.value);
            self.old_matcher(&mut all, &name, MatchOp::Regex, &value, &anchored, what);
        }
        for text in texts.unwrap_or_default() {
            match parse_matchers(&text.value) {
                Ok(matchers) => all.extend(matchers),
                Err(fault) => {
                    let message =
                        format!("{what}: {} at character {} of {:?}", fault.message, fault.column, fault.text);
                    self.wrong(at(&text), message);
                }
            }
        }
        all.sort_by(|a, b| (a.name(), a.value(), a.op() as u8).cmp(&(b.name(), b.value(), b.op() as u8)));
        all
    }

    fn old_matcher(
        &mut self,
        all: &mut Vec<Matcher>,
        name: &str,
        op: MatchOp,
        place: &Spanned<String>,
        value: &str,
        what: &str,
    ) {
        if name.is_empty() {
            self.wrong(at(place), format!("{what}: {name:?} is no name of a label"));
            return;
        }
        match Matcher::new(name, op, value) {
            Ok(matcher) => all.push(matcher),
            Err(error) => self.wrong(at(place), format!("{what}: {error}")),
        }
    }

    /// Labels with texts, whose names are checked.
    pub(super) fn labels(&mut self, labels: TextMap, what: &str) -> BTreeMap<String, String> {
        let mut checked = BTreeMap::new();
        for (name, value) in labels.unwrap_or_default() {
            if name.is_empty() {
                self.wrong(at(&value), format!("{what}: {name:?} is no name of a label"));
            }
            checked.insert(name, value.value);
        }
        checked
    }

    /// Whether something named in the file is defined in it; complains where it is not.
    pub(super) fn is_known(&mut self, name: &Spanned<String>, known: &BTreeSet<String>, what: &str) -> bool {
        let is_known = known.contains(&name.value);
        if !is_known {
            self.wrong(at(name), format!("there is no {what} {:?}", name.value));
        }
        is_known
    }

    fn heartbeat(&mut self, raw: Spanned<RawHeartbeat>, names: &Names) -> Option<Heartbeat> {
        let place = at(&raw);
        let RawHeartbeat { receiver, interval, labels } = raw.value;
        let is_known = self.is_known(&receiver, &names.receivers, "receiver");
        let interval_ms = self.duration(interval.as_ref(), "interval").unwrap_or(60_000);
        if interval_ms < HEARTBEAT_MS_MIN {
            self.wrong(interval.as_ref().map_or(place, at), "interval: heartbeats are at least 1s apart");
        }
        let mut labels = self.labels(labels, "labels");
        labels.entry("alertname".to_owned()).or_insert_with(|| "Heartbeat".to_owned());
        is_known.then_some(Heartbeat { receiver: receiver.value, interval_ms, labels })
    }

    fn silence(&mut self, raw: Spanned<RawSilence>, names: &Names) -> Option<RecurringSilence> {
        let place = at(&raw);
        let RawSilence { name, matchers, time_intervals, comment } = raw.value;
        let matchers = self.matchers(matchers, None, None, "matchers");
        if matchers.iter().all(Matcher::matches_empty) {
            self.wrong(
                place,
                "a silence needs a matcher that does not match the empty string, or every alert is muted",
            );
        }
        let intervals = time_intervals.unwrap_or_default();
        if intervals.is_empty() {
            self.wrong(place, "a silence in the file needs time_intervals in which it mutes");
        }
        for interval in &intervals {
            self.is_known(interval, &names.intervals, "time interval");
        }
        let Some(name) = name.filter(|name| !name.value.is_empty()) else {
            self.wrong(place, "a silence without a name");
            return None;
        };
        let intervals = intervals.into_iter().map(|interval| interval.value).collect();
        Some(RecurringSilence { name: name.value, matchers, intervals, comment: comment.unwrap_or_default() })
    }
}

/// What the file defines by name.
#[derive(Debug, Default)]
pub(super) struct Names {
    pub(super) receivers: BTreeSet<String>,
    pub(super) intervals: BTreeSet<String>,
}

/// Checks a whole file.
pub(super) fn config(name: &str, text: &str, raw: RawConfig) -> Result<Config, Vec<FileFault>> {
    let mut checker = Checker::new(name);
    let global = receivers::check_global(&mut checker, raw.global);
    let receivers = receivers::check(&mut checker, &global, raw.receivers.unwrap_or_default());
    let mut intervals = BTreeMap::new();
    for times in raw.mute_time_intervals.into_iter().chain(raw.time_intervals).flatten() {
        times::named(&mut checker, times, &mut intervals);
    }
    let names = Names {
        receivers: receivers.iter().map(|receiver| receiver.name.clone()).collect(),
        intervals: intervals.keys().cloned().collect(),
    };
    let route = if let Some(route) = raw.route {
        routes::tree(&mut checker, route, &names)
    } else {
        checker.wrong(Location::UNKNOWN, "the file has no route");
        None
    };
    let inhibit =
        inhibit::rules(&mut checker, raw.inhibit_rules.unwrap_or_default(), raw.topology_inhibit.unwrap_or_default());
    let heartbeat = raw.heartbeat.and_then(|heartbeat| checker.heartbeat(heartbeat, &names));
    let mut silences: Vec<RecurringSilence> = Vec::new();
    for raw in raw.recurring_silences.unwrap_or_default() {
        let place = at(&raw);
        if silences.len() >= INTERVALS_MAX {
            checker.wrong(place, format!("more than {INTERVALS_MAX} silences"));
            break;
        }
        let Some(silence) = checker.silence(raw, &names) else { continue };
        if silences.iter().any(|other| other.name == silence.name) {
            checker.wrong(place, format!("silence {:?} is in this file twice", silence.name));
        }
        silences.push(silence);
    }
    match (checker.faults.none_or_all(), route) {
        (Ok(()), Some(route)) => Ok(Config {
            route,
            inhibit,
            receivers,
            intervals,
            templates: raw.templates.unwrap_or_default(),
            resolve_timeout_ms: global.resolve_timeout_ms,
            global,
            heartbeat,
            silences,
            text: FileText(text.to_owned()),
        }),
        (faults, _) => Err(faults.err().unwrap_or_default()),
    }
}
