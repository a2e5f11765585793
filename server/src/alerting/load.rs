//! Rule files read at the start and read anew: all of them or none, and what is known of rules carried over.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use model::SampleValue;
use rules::evaluate::kept::{Kept, Left};
use rules::evaluate::{GroupState, RuleSample, World as _, schedule};
use rules::event::EventKind;
use rules::file::{FileFault, Group, RuleFile};
use rules::forward::Target;
use rules::shelf::Change;

use super::run::{Due, Unsaved};
use super::shown::Shown;
use super::world::ServerWorld;
use super::{Alerting, AlertingOptions, glob, lock};

/// Most faults of files that are told at once.
const FAULTS_TOLD_MAX: usize = 20;

/// A group, and what is known of it.
#[derive(Debug, Default)]
pub(super) struct Slot {
    pub(super) file: String,
    pub(super) group: Group,
    pub(super) interval_ms: i64,
    /// `None` once other rules have taken its place.
    pub(super) state: Mutex<Option<GroupState>>,
    /// What is told of it; held for a moment only, other than the state.
    pub(super) shown: Mutex<Arc<Shown>>,
    /// Changes that the shelf has not taken.
    pub(super) unsaved: Mutex<Unsaved>,
    pub(super) counts: Mutex<GroupCounts>,
    /// What was wrong at the last evaluation: rules and messages. What goes on being wrong is told once.
    pub(super) troubles: Mutex<BTreeSet<(String, String)>>,
}

impl Slot {
    /// What is told of it.
    pub(super) fn shown(&self) -> Arc<Shown> {
        Arc::clone(&lock(&self.shown))
    }

    /// What it is known by to people.
    pub(super) fn name(&self) -> String {
        format!("{};{}", self.file, self.group.name)
    }

    fn is_like(&self, file: &str, group: &Group) -> bool {
        self.file == file && self.group.name == group.name
    }
}

/// What a group came to since the server began.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct GroupCounts {
    pub(super) iterations: u64,
    pub(super) missed: u64,
    /// Without an evaluation in time between.
    pub(super) missed_in_a_row: u64,
    pub(super) evaluations: u64,
    pub(super) failures: u64,
    pub(super) last_seconds: f64,
    /// How long the queries of the last evaluation took, without waiting.
    pub(super) computed: Duration,
    pub(super) last_samples: usize,
    pub(super) shelf_failures: u64,
    pub(super) evaluated_ms: Option<i64>,
    /// Alerts after the last evaluation.
    pub(super) pending: u64,
    pub(super) firing: u64,
}

/// The rules that are evaluated.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    pub(super) slots: Vec<Arc<Slot>>,
    /// When they were read; `None` before the first time.
    pub(super) at_ms: Option<i64>,
    /// Why the last reading failed, so that these are older ones.
    pub(super) fault: Option<String>,
}

/// What a reading came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Reloaded {
    pub files: usize,
    pub groups: usize,
    pub rules: usize,
}

/// Why the files were not taken; the rules are those from before.
#[derive(Debug)]
pub enum LoadError {
    /// A file cannot be read.
    File(String),
    /// Files are wrong.
    Faults(Vec<FileFault>),
    /// What is known of rules cannot be read.
    State(String),
}

impl fmt::Display for LoadError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(detail) | Self::State(detail) => formatter.write_str(detail),
            Self::Faults(faults) => {
                let told: Vec<String> = faults.iter().take(FAULTS_TOLD_MAX).map(ToString::to_string).collect();
                formatter.write_str(&told.join("\n"))?;
                match faults.len().saturating_sub(FAULTS_TOLD_MAX) {
                    0 => Ok(()),
                    more => write!(formatter, "\nand {more} more"),
                }
            }
        }
    }
}

impl std::error::Error for LoadError {}

/// What files say: rules, and who is told of every alert.
#[derive(Debug)]
pub struct Read {
    files: Vec<RuleFile>,
    targets: Vec<Target>,
}

impl AlertingOptions {
    /// Reads the rule files that there are now, and the file of Alertmanagers.
    ///
    /// # Errors
    ///
    /// When one cannot be read, or everything that is wrong with rules.
    pub fn load(&self) -> Result<Read, LoadError> {
        let mut files = if self.shipped_rules { rules::shipped::files() } else { Vec::new() };
        if !self.self_metrics {
            let groups = files.iter_mut().flat_map(|file| &mut file.groups);
            groups.for_each(|group| group.rules.retain(|rule| rule.name != rules::shipped::MISSES_SELF_METRICS));
        }
        let mut paths = Vec::new();
        for pattern in &self.rule_files {
            let found = glob::matching(pattern);
            paths.extend(found.map_err(|error| LoadError::File(format!("rule files {pattern:?}: {error}")))?);
        }
        paths.sort();
        paths.dedup();
        let mut faults = Vec::new();
        for path in paths {
            let name = path.display().to_string();
            let text = std::fs::read_to_string(&path).map_err(|error| LoadError::File(format!("{name}: {error}")))?;
            match rules::file::read(&name, &text) {
                Ok(file) => files.push(file),
                Err(found) => faults.extend(found),
            }
        }
        if !faults.is_empty() {
            return Err(LoadError::Faults(faults));
        }
        Ok(Read { files, targets: self.targets().map_err(LoadError::File)? })
    }
}

impl Alerting {
    /// Reads the rule files anew and evaluates what they say: see [`apply`](Self::apply).
    ///
    /// # Errors
    ///
    /// When any file is wrong; then everything stays as it is.
    pub(crate) fn reload(&self) -> Result<Reloaded, LoadError> {
        let loaded = self.options.load().and_then(|read| self.apply(read));
        if let Err(error) = &loaded {
            self.refused(&error.to_string(), false);
        }
        loaded
    }

    /// Goes by what was read from now on. Groups that say what they said go on as they are; others are waited for, and what is known of their rules
    /// goes on in their successors. While the log is replayed, and where nothing is evaluated, nothing happens.
    ///
    /// # Errors
    ///
    /// When what is known of rules cannot be read; then everything stays as it is.
    pub(crate) fn apply(&self, read: Read) -> Result<Reloaded, LoadError> {
        let mut parked = lock(&self.loading);
        // What reads the files when the log is replayed finds these.
        if self.options.threads == 0 || self.means.engine.replaying().is_some() {
            return Ok(Reloaded { files: 0, groups: 0, rules: 0 });
        }
        let told = self.replace(read.files, &mut parked)?;
        self.forward_to(read.targets);
        Ok(told)
    }

    /// Takes note that files were not taken. What goes on being wrong is told once, and again to who `asked` to have them read.
    pub(crate) fn refused(&self, why: &str, asked: bool) {
        self.reload_failures.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let fault = Some(why.to_owned());
        let known = std::mem::replace(&mut self.loaded.write().unwrap_or_else(PoisonError::into_inner).fault, fault);
        if asked || known.as_deref() != Some(why) {
            let message = format!("the files were not taken, those from before are kept: {why}");
            tracing::error!("{message}");
            self.record(self.now_ms(), EventKind::Note { message });
        }
    }

    /// Takes note that all files were taken.
    pub(crate) fn taken(&self) {
        self.loaded.write().unwrap_or_else(PoisonError::into_inner).fault = None;
    }

    /// Puts `files` into the place of what is evaluated.
    fn replace(&self, files: Vec<RuleFile>, parked: &mut Kept) -> Result<Reloaded, LoadError> {
        let known = {
            let loaded = self.loaded();
            loaded.at_ms.map(|_| loaded.slots.clone())
        };
        let told = Reloaded {
            files: files.len(),
            groups: files.iter().map(|file| file.groups.len()).sum(),
            rules: files.iter().flat_map(|file| &file.groups).map(|group| group.rules.len()).sum(),
        };
        let Parts { order, changed, left: leaving } = parts(files, known.as_deref().unwrap_or_default());
        let mut kept = if known.is_some() { take_states(&leaving) } else { self.kept()? };
        kept.join(std::mem::take(parked));
        let now_ms = self.now_ms();
        let (states, mut left) = kept.into_groups(&changed, now_ms);
        *parked = std::mem::take(&mut left.parked);
        self.settle(&mut left, &leaving, now_ms);
        let groups = changed
            .into_iter()
            .flat_map(|RuleFile { name, groups }| groups.into_iter().map(move |group| (name.clone(), group)));
        let mut new = groups.zip(states).map(|((file, group), state)| {
            let interval_ms = self.settings.interval_ms(&group);
            let shown = Mutex::new(Arc::new(Shown::of(&state)));
            let state = Mutex::new(Some(state));
            // What could not be saved goes with the first group.
            let unsaved = Mutex::new(Unsaved::of(left.changes.drain(..)));
            let slot = Slot { file, group, interval_ms, state, shown, unsaved, ..Slot::default() };
            self.queue_slot(Arc::new(slot), &leaving, now_ms)
        });
        let slots: Vec<Arc<Slot>> = order.into_iter().filter_map(|slot| slot.or_else(|| new.next())).collect();
        drop(new);
        if let Some(first) = slots.first() {
            lock(&first.unsaved).add(left.changes);
        }
        *self.loaded.write().unwrap_or_else(PoisonError::into_inner) =
            Loaded { slots, at_ms: Some(now_ms), fault: None };
        self.wake.notify_all();
        let Reloaded { files, groups, rules } = told;
        let count = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
        let (rules, groups, files) = (count(rules, "rule"), count(groups, "group"), count(files, "file"));
        let message = format!("rules are evaluated: {rules} in {groups} of {files}");
        tracing::info!("{message}");
        self.record(now_ms, EventKind::Note { message });
        Ok(told)
    }

    /// What the shelf has.
    fn kept(&self) -> Result<Kept, LoadError> {
        let entries = self.shelf.load().map_err(|error| LoadError::State(format!("states of alerts: {error}")))?;
        let (kept, damaged) = Kept::read(entries);
        for detail in damaged {
            tracing::error!(detail, "a state of alerting cannot be read and is left out");
            let message = format!("a state of alerting cannot be read and is left out: {detail}");
            self.record(self.now_ms(), EventKind::Note { message });
        }
        Ok(kept)
    }

    /// Ends series that nobody makes any more, and forgets alerts of rules that are no more.
    fn settle(&self, left: &mut Left, leaving: &[Arc<Slot>], now_ms: i64) {
        let world = ServerWorld::new(self, self.settings.interval_ms, Arc::default());
        let timestamp_ms = now_ms.saturating_sub(self.settings.query_offset_ms);
        let value = SampleValue::Float(model::sample::stale_marker());
        let ends: Vec<RuleSample> = std::mem::take(&mut left.series)
            .into_iter()
            .map(|labels| RuleSample { labels, timestamp_ms, value: value.clone() })
            .collect();
        if !ends.is_empty()
            && let Err(error) = world.write(ends)
        {
            tracing::warn!(error, "series of rules that are no more could not be ended");
        }
        let unsaved: Vec<Change> = leaving.iter().flat_map(|slot| lock(&slot.unsaved).take()).collect();
        left.changes.splice(0..0, unsaved);
        match self.shelf.change(&left.changes) {
            Ok(()) => left.changes.clear(),
            Err(error) => tracing::error!(%error, "states of alerts could not be kept; it is tried again"),
        }
    }

    /// Has a new group evaluated; one that was there before goes on counting.
    fn queue_slot(&self, slot: Arc<Slot>, leaving: &[Arc<Slot>], now_ms: i64) -> Arc<Slot> {
        if let Some(old) = leaving.iter().find(|old| old.is_like(&slot.file, &slot.group)) {
            *lock(&slot.counts) = *lock(&old.counts);
        }
        let offset_ms = schedule::offset_ms(&slot.file, &slot.group.name, slot.interval_ms);
        // A moment that came while the files were read is not missed.
        let evaluated_ms = lock(&slot.state).as_ref().and_then(GroupState::evaluated_ms);
        let since_ms = evaluated_ms.filter(|_| self.loaded().at_ms.is_some()).map_or(now_ms, |evaluated_ms| {
            now_ms.min(evaluated_ms.saturating_add(1)).max(now_ms.saturating_sub(slot.interval_ms - 1))
        });
        let due_ms = schedule::first_ms(since_ms, slot.interval_ms, offset_ms);
        lock(&self.queue).push(Due { due_ms, slot: Arc::clone(&slot) });
        slot
    }
}

/// What files say, compared with the groups that are evaluated.
struct Parts {
    /// For each group of the files the one that says the same; `None` for the next of `changed`.
    order: Vec<Option<Arc<Slot>>>,
    /// The files without those groups.
    changed: Vec<RuleFile>,
    /// Groups that others take the place of, or nobody.
    left: Vec<Arc<Slot>>,
}

fn parts(files: Vec<RuleFile>, known: &[Arc<Slot>]) -> Parts {
    let key = |file: &str, group: &Group| (file.to_owned(), group.name.clone());
    let mut left: BTreeMap<(String, String), Arc<Slot>> =
        known.iter().map(|slot| (key(&slot.file, &slot.group), Arc::clone(slot))).collect();
    let mut order = Vec::new();
    let mut changed = Vec::new();
    for RuleFile { name, groups } in files {
        let mut others = Vec::new();
        for group in groups {
            let same = match left.entry(key(&name, &group)) {
                Entry::Occupied(slot) if slot.get().group == group => Some(slot.remove()),
                _ => None,
            };
            if same.is_none() {
                others.push(group);
            }
            order.push(same);
        }
        changed.push(RuleFile { name, groups: others });
    }
    Parts { order, changed, left: left.into_values().collect() }
}

/// What is known of groups; they are not evaluated any more.
fn take_states(slots: &[Arc<Slot>]) -> Kept {
    // All are waited for before the first is taken, so that none is held up for long by one that takes long.
    for slot in slots {
        drop(lock(&slot.state));
    }
    Kept::of(slots.iter().filter_map(|slot| lock(&slot.state).take()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_keeps_no_metrics_of_its_own_does_not_miss_them() {
        let misses = |self_metrics| {
            let options = AlertingOptions { shipped_rules: true, self_metrics, ..AlertingOptions::default() };
            let read = options.load().expect("shipped rules can be read");
            let groups = read.files.iter().flat_map(|file| &file.groups);
            groups.flat_map(|group| &group.rules).any(|rule| rule.name == rules::shipped::MISSES_SELF_METRICS)
        };
        assert_eq!((misses(true), misses(false)), (true, false));
    }
}
