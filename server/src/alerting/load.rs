//! Rule files read at the start and read anew: all of them or none, and what is known of rules carried over.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use model::SampleValue;
use rules::evaluate::kept::{Kept, Left};
use rules::evaluate::{GroupState, RuleSample, World as _, schedule};
use rules::event::EventKind;
use rules::file::{FileFault, Group, RuleFile};

use super::run::{Due, Unsaved};
use super::shown::Shown;
use super::world::ServerWorld;
use super::{Alerting, lock};

/// Most faults of files that are told at once.
const FAULTS_TOLD_MAX: usize = 20;

/// A group, and what is known of it.
#[derive(Debug)]
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
    /// Whether the last reading failed, so that these are older ones.
    pub(super) failed: bool,
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

impl Alerting {
    /// Reads the rule files anew, and the file of Alertmanagers. Groups that are evaluated are waited for; what is known of rules goes on in their successors.
    ///
    /// # Errors
    ///
    /// When any file is wrong; then everything stays as it is.
    pub fn reload(&self) -> Result<Reloaded, LoadError> {
        let mut parked = lock(&self.loading);
        if self.options.threads == 0 {
            return Ok(Reloaded { files: 0, groups: 0, rules: 0 });
        }
        if self.means.engine.replaying().is_some() {
            let detail = "the log is being replayed; the rule files are read when it is".to_owned();
            return Err(LoadError::State(detail));
        }
        let loaded = self.read_files().and_then(|files| {
            let targets = self.options.targets().map_err(LoadError::File)?;
            let told = self.replace(files, &mut parked)?;
            self.forward_to(targets);
            Ok(told)
        });
        if let Err(error) = &loaded {
            self.reload_failures.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            self.loaded.write().unwrap_or_else(PoisonError::into_inner).failed = true;
            let message = format!("the rule files were not taken, those from before are kept: {error}");
            self.record(self.now_ms(), EventKind::Note { message });
        }
        loaded
    }

    fn read_files(&self) -> Result<Vec<RuleFile>, LoadError> {
        let mut files = if self.options.shipped_rules { rules::shipped::files() } else { Vec::new() };
        let mut faults = Vec::new();
        for path in self.paths().map_err(LoadError::File)? {
            let name = path.display().to_string();
            let text = std::fs::read_to_string(&path).map_err(|error| LoadError::File(format!("{name}: {error}")))?;
            match rules::file::read(&name, &text) {
                Ok(file) => files.push(file),
                Err(found) => faults.extend(found),
            }
        }
        if faults.is_empty() { Ok(files) } else { Err(LoadError::Faults(faults)) }
    }

    /// Puts `files` into the place of what is evaluated.
    fn replace(&self, files: Vec<RuleFile>, parked: &mut Kept) -> Result<Reloaded, LoadError> {
        let is_first = self.loaded().at_ms.is_none();
        let mut kept = if is_first { self.kept()? } else { self.take_states() };
        kept.join(std::mem::take(parked));
        let now_ms = self.now_ms();
        let (states, mut left) = kept.into_groups(&files, now_ms);
        *parked = std::mem::take(&mut left.parked);
        let told = Reloaded {
            files: files.len(),
            groups: states.len(),
            rules: files.iter().flat_map(|file| &file.groups).map(|group| group.rules.len()).sum(),
        };
        self.settle(&mut left, now_ms);
        let mut unsaved = VecDeque::from(left.changes);
        let groups = files
            .into_iter()
            .flat_map(|RuleFile { name, groups }| groups.into_iter().map(move |group| (name.clone(), group)));
        let slots: Vec<Arc<Slot>> = groups
            .zip(states)
            .map(|((file, group), state)| {
                let interval_ms = self.settings.interval_ms(&group);
                // What could not be saved goes with the first group.
                let unsaved = Mutex::new(Unsaved::of(unsaved.drain(..)));
                let counts = Mutex::new(GroupCounts::default());
                let troubles = Mutex::default();
                let shown = Mutex::new(Arc::new(Shown::of(&state)));
                let state = Mutex::new(Some(state));
                Arc::new(Slot { file, group, interval_ms, state, shown, unsaved, counts, troubles })
            })
            .collect();
        self.carry_counts(&slots);
        self.queue_all(&slots, now_ms);
        *self.loaded.write().unwrap_or_else(PoisonError::into_inner) =
            Loaded { slots, at_ms: Some(now_ms), failed: false };
        self.wake.notify_all();
        let Reloaded { files, groups, rules } = told;
        let message = format!("{rules} rules in {groups} groups of {files} files are evaluated");
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

    /// What is known of all groups; they are not evaluated any more.
    fn take_states(&self) -> Kept {
        let slots = self.loaded().slots.clone();
        // Waits for each group's evaluation to end.
        Kept::of(slots.iter().filter_map(|slot| lock(&slot.state).take()))
    }

    /// Ends series that nobody makes any more, and forgets alerts of rules that are no more.
    fn settle(&self, left: &mut Left, now_ms: i64) {
        let world = ServerWorld::new(&self.means, &self.settings.external_url);
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
        let unsaved = lock_all_unsaved(&self.loaded().slots);
        left.changes.splice(0..0, unsaved);
        match self.shelf.change(&left.changes) {
            Ok(()) => left.changes.clear(),
            Err(error) => tracing::error!(%error, "states of alerts could not be kept; it is tried again"),
        }
    }

    /// A group that is still there goes on counting.
    fn carry_counts(&self, slots: &[Arc<Slot>]) {
        let before = self.loaded();
        for slot in slots {
            let same = before.slots.iter().find(|old| old.file == slot.file && old.group.name == slot.group.name);
            if let Some(old) = same {
                *lock(&slot.counts) = *lock(&old.counts);
            }
        }
    }

    fn queue_all(&self, slots: &[Arc<Slot>], now_ms: i64) {
        let mut queue = lock(&self.queue);
        queue.clear();
        for slot in slots {
            let offset_ms = schedule::offset_ms(&slot.file, &slot.group.name, slot.interval_ms);
            // A moment that came while the files were read is not missed.
            let evaluated_ms = lock(&slot.state).as_ref().and_then(GroupState::evaluated_ms);
            let since_ms = evaluated_ms.filter(|_| self.loaded().at_ms.is_some()).map_or(now_ms, |evaluated_ms| {
                now_ms.min(evaluated_ms.saturating_add(1)).max(now_ms.saturating_sub(slot.interval_ms - 1))
            });
            let due_ms = schedule::first_ms(since_ms, slot.interval_ms, offset_ms);
            queue.push(Due { due_ms, slot: Arc::clone(slot) });
        }
    }
}

fn lock_all_unsaved(slots: &[Arc<Slot>]) -> Vec<rules::shelf::Change> {
    slots.iter().flat_map(|slot| lock(&slot.unsaved).take()).collect()
}
