//! A world of a few series for rules: values by minute, and what rules made of them.
#![expect(dead_code, reason = "each test file uses its part")]

use std::collections::BTreeMap;
use std::sync::Mutex;

use model::sample::is_stale_marker;
use model::{Labels, SampleSink, SampleValue, WriteBatch};
use query::ast::Expr;
use query::{CancelToken, QueryOptions, QueryTime, Request, Value, VectorElement};
use rules::alert::State;
use rules::evaluate::kept::Kept;
use rules::evaluate::{Evaluation, GroupState, RuleSample, RuleState, Settings, World};
use rules::file::{RuleFile, read};
use rules::posted::Posted;
use rules::shelf::{MemoryShelf, Shelf};
use storage::MemoryStore;

pub(crate) const MINUTE_MS: i64 = 60_000;
pub(crate) const START_MS: i64 = 1_700_000_040_000;

/// Samples, queries over them, and the minute at which queries fail.
#[derive(Debug, Default)]
pub(crate) struct Store {
    pub(crate) samples: MemoryStore,
    pub(crate) written: Mutex<Vec<RuleSample>>,
    fails_at_ms: Option<i64>,
}

impl World for Store {
    fn vector(&self, text: &str, expr: &Expr, at_ms: i64) -> Result<Vec<VectorElement>, String> {
        if self.fails_at_ms == Some(at_ms) {
            return Err("on purpose".to_owned());
        }
        let options = QueryOptions { lookback_ms: MINUTE_MS, threads_max: 1, ..QueryOptions::default() };
        let request = Request {
            query: text,
            time: QueryTime::Instant { time_ms: at_ms },
            options: &options,
            lookback_ms: None,
            timeout_ms: None,
            cancel: &CancelToken::new(),
            explain: false,
        };
        match query::evaluate_expr(&self.samples, expr, &request).map_err(|error| error.to_string())?.value {
            Value::Vector(elements) => Ok(elements),
            Value::Scalar { timestamp_ms, value } => {
                Ok(vec![VectorElement { labels: Labels::empty(), timestamp_ms, value: SampleValue::Float(value) }])
            }
            _ => Err("rule result is not a vector or scalar".to_owned()),
        }
    }

    fn write(&self, samples: Vec<RuleSample>) -> Result<(), String> {
        let mut batch = WriteBatch::new();
        for sample in &samples {
            batch.push_series(sample.labels.as_ref());
            match &sample.value {
                SampleValue::Float(value) => batch.push_sample(sample.timestamp_ms, *value),
                value @ SampleValue::Histogram(_) => batch.push_full_sample(model::FullSample {
                    timestamp_ms: sample.timestamp_ms,
                    start_ms: 0,
                    value: value.clone(),
                }),
            }
        }
        self.samples.append(&batch).map_err(|error| error.to_string())?;
        self.written.lock().expect("no panic").extend(samples);
        Ok(())
    }
}

/// A rule file, what is known of its rules, and a world.
pub(crate) struct Bench {
    pub(crate) world: Store,
    pub(crate) settings: Settings,
    pub(crate) files: Vec<RuleFile>,
    pub(crate) groups: Vec<GroupState>,
    pub(crate) shelf: MemoryShelf,
    pub(crate) minute: usize,
    parked: Kept,
    evaluations: Vec<(usize, Evaluation)>,
}

impl Bench {
    pub(crate) fn new(text: &str) -> Self {
        let files = vec![read("r.yml", text).unwrap_or_else(|faults| panic!("{faults:?}"))];
        let (groups, _) = Kept::default().into_groups(&files, START_MS);
        let settings = Settings {
            external_labels: [("site".to_owned(), "home".to_owned())].into(),
            external_url: "http://m:1".to_owned(),
            interval_ms: MINUTE_MS,
            query_offset_ms: 0,
            settling_until_ms: 0,
        };
        let shelf = MemoryShelf::default();
        Self {
            world: Store::default(),
            settings,
            files,
            groups,
            shelf,
            minute: 0,
            parked: Kept::default(),
            evaluations: Vec::new(),
        }
    }

    /// A sample a minute; `_` is none.
    pub(crate) fn series(&mut self, name: &str, labels: &[(&str, &str)], values: &str) {
        let labels =
            Labels::from_pairs([("__name__", name)].into_iter().chain(labels.iter().copied())).expect("labels");
        let mut batch = WriteBatch::new();
        batch.push_series(labels.as_ref());
        for (minute, value) in (0_i64..).zip(values.split(' ')) {
            if let Ok(value) = value.parse() {
                batch.push_sample(START_MS + minute * MINUTE_MS, value);
            }
        }
        self.world.samples.append(&batch).expect("appended");
    }

    pub(crate) fn histogram(&mut self, name: &str) {
        let labels = Labels::from_pairs([("__name__", name)]).expect("labels");
        let histogram = model::Histogram { count: 1.0, sum: 1.0, zero_count: 1.0, ..model::Histogram::default() };
        let value = SampleValue::Histogram(std::sync::Arc::new(histogram));
        let mut batch = WriteBatch::new();
        batch.push_series(labels.as_ref());
        batch.push_full_sample(model::FullSample { timestamp_ms: START_MS, start_ms: 0, value });
        self.world.samples.append(&batch).expect("appended");
    }

    /// Queries at this minute fail.
    pub(crate) fn fail(&mut self, minute: i64) {
        self.world.fails_at_ms = Some(START_MS + minute * MINUTE_MS);
    }

    /// Evaluates so many minutes, and tells what changed.
    pub(crate) fn run(&mut self, minutes: usize) -> Vec<String> {
        let mut lines = Vec::new();
        for _ in 0..minutes {
            let at_ms = START_MS + i64::try_from(self.minute).expect("few") * MINUTE_MS;
            let groups = self.files.iter().flat_map(|file| &file.groups);
            for (group, state) in groups.zip(&mut self.groups) {
                let made = state.evaluate(group, &self.world, &self.settings, at_ms);
                self.shelf.change(&made.changes).expect("kept");
                let mut told: Vec<String> = made
                    .transitions
                    .iter()
                    .map(|one| {
                        let values: Vec<&str> = one
                            .labels
                            .iter()
                            .filter(|(name, _)| *name != "alertname")
                            .map(|(_, value)| value)
                            .collect();
                        let name = one.labels.get("alertname").unwrap_or_default();
                        let word = |state: Option<State>| match state {
                            None => "-",
                            Some(State::Pending) => "pending",
                            Some(State::Firing) => "firing",
                            Some(State::Resolved) => "resolved",
                        };
                        let (before, after) = (word(one.before), word(one.after));
                        format!("{}: {name}{{{}}} {before} {after}", self.minute, values.join(","))
                    })
                    .collect();
                told.sort();
                lines.extend(told);
                self.evaluations.push((self.minute, made));
            }
            self.minute += 1;
        }
        lines
    }

    /// The process ends after a minute's evaluation, before the shelf has it.
    pub(crate) fn lose(&mut self) {
        let before = std::mem::take(&mut self.shelf);
        self.run(1);
        self.evaluations.pop();
        self.shelf = before;
        self.restart();
    }

    /// Nothing is evaluated for a minute.
    pub(crate) fn skip(&mut self) {
        self.minute += 1;
    }

    /// The process ends, and another one takes up what is on the shelf.
    pub(crate) fn restart(&mut self) {
        self.parked = Kept::default();
        let (kept, damaged) = Kept::read(self.shelf.load().expect("readable"));
        assert!(damaged.is_empty(), "{damaged:?}");
        self.take(kept);
    }

    /// Other rules take the place of these.
    pub(crate) fn reload(&mut self, files: Vec<RuleFile>) {
        self.files = files;
        let kept = Kept::of(std::mem::take(&mut self.groups));
        self.take(kept);
    }

    fn take(&mut self, mut kept: Kept) {
        kept.join(std::mem::take(&mut self.parked));
        let now_ms = START_MS + i64::try_from(self.minute).expect("few") * MINUTE_MS;
        let (groups, left) = kept.into_groups(&self.files, now_ms);
        self.parked = left.parked;
        self.shelf.change(&left.changes).expect("kept");
        self.groups = groups;
    }

    pub(crate) fn told(&self) -> Vec<(usize, Posted)> {
        let told = |(minute, made): &(usize, Evaluation)| {
            made.posted.iter().map(|posted| (*minute, posted.clone())).collect::<Vec<_>>()
        };
        self.evaluations.iter().flat_map(told).collect()
    }

    pub(crate) fn evaluations(&self) -> &[(usize, Evaluation)] {
        &self.evaluations
    }

    pub(crate) fn faults(&self, minute: usize) -> Vec<String> {
        let group = &self.files[0].groups[0];
        let made = self.evaluations.iter().filter(|(at, _)| *at == minute);
        made.flat_map(|(_, made)| &made.faults)
            .map(|fault| match fault.rule {
                Some(rule) => format!("{}: {}", group.rules[rule].name, fault.message),
                None => fault.message.clone(),
            })
            .collect()
    }

    pub(crate) fn written(&self, series: &str) -> Vec<RuleSample> {
        let written = self.world.written.lock().expect("no panic");
        written.iter().filter(|sample| sample.labels.to_string() == series).cloned().collect()
    }

    /// What was written to a series: minutes and values.
    pub(crate) fn samples(&self, series: &str) -> String {
        let of = |sample: &RuleSample| {
            let minute = (sample.timestamp_ms - START_MS) / MINUTE_MS;
            match sample.value {
                SampleValue::Float(value) if is_stale_marker(value) => format!("{minute}=stale"),
                SampleValue::Float(value) => format!("{minute}={value}"),
                SampleValue::Histogram(_) => format!("{minute}=histogram"),
            }
        };
        self.written(series).iter().map(of).collect::<Vec<_>>().join(" ")
    }

    /// The state of the only alert of a rule.
    pub(crate) fn state(&self, rule: &str) -> Option<State> {
        let rules = self.files[0].groups[0].rules.iter().zip(self.groups[0].rules());
        let mut alerts = rules.filter(|(one, _)| one.name == rule).flat_map(|(_, state)| state.alerts());
        alerts.next().map(|(_, alert)| alert.times.state)
    }

    /// All alerts: labels, state, times.
    pub(crate) fn alerts(&self) -> BTreeMap<String, rules::alert::Times> {
        let all = self.groups.iter().flat_map(GroupState::rules).flat_map(RuleState::alerts);
        all.map(|(labels, alert)| (labels.to_string(), alert.times)).collect()
    }
}
