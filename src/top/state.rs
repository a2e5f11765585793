//! The state of the screen, and how keys and news change it. Pure: it knows no terminal, no clock and no server.

use std::collections::{HashMap, HashSet};

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::columns::{Column, by_slot, sortable};
use super::data::{Detail, Key, Number, Past, Process, Site, Snapshot};
use super::history::History;

/// Numbers whose last minutes are remembered.
pub(super) const REMEMBERED: [Number; 3] = [Number::Goroutines, Number::HeapLive, Number::Cpu];
/// Times between two looks that can be chosen, in milliseconds.
const INTERVALS_MS: [u64; 8] = [500, 1_000, 2_000, 5_000, 10_000, 15_000, 30_000, 60_000];
/// Most processes whose last minutes are remembered.
const HISTORIES_MAX: usize = 2_000;
/// Longest filter.
const FILTER_CHARS_MAX: usize = 64;

/// What the screen asks of whoever runs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing.
    None,
    /// What is looked at, or how often, has changed.
    Look,
    /// Look at once.
    LookNow,
    /// End.
    Quit,
}

/// What came of a look.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum News {
    /// What was before the screen was opened.
    Past(Vec<Past>),
    Snapshot(Snapshot),
    Detail(Detail),
    /// Why there is nothing new.
    Failed(String),
}

/// By what the sites of a process are sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SiteOrder {
    Count,
    Growth,
    Oldest,
    Name,
}

const SITE_ORDERS: [SiteOrder; 4] = [SiteOrder::Count, SiteOrder::Growth, SiteOrder::Oldest, SiteOrder::Name];

/// One process looked at closely.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Opened {
    pub(super) key: Key,
    /// Nothing until it has come.
    pub(super) detail: Option<Detail>,
    pub(super) order: SiteOrder,
    pub(super) selected: usize,
}

/// What keys mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// What the footer says.
    Keys,
    /// Any key closes the help.
    Help,
    /// They are letters of the filter.
    Filter,
}

/// Everything that is shown.
#[derive(Debug)]
pub(super) struct State {
    /// What is looked at: a server or this host.
    pub(super) source: String,
    pub(super) interval_ms: u64,
    pub(super) paused: bool,
    pub(super) mode: Mode,
    pub(super) snapshot: Option<Snapshot>,
    /// Why the last look failed.
    pub(super) error: Option<String>,
    pub(super) sort: Column,
    pub(super) reversed: bool,
    pub(super) filter: String,
    pub(super) opened: Option<Opened>,
    /// Rows of a page, as the terminal has them now.
    pub(super) page: usize,
    selected: Option<Key>,
    histories: HashMap<(Key, usize), History>,
}

impl State {
    pub(super) fn new(source: String, interval_ms: u64) -> Self {
        Self {
            source,
            interval_ms,
            paused: false,
            mode: Mode::Keys,
            snapshot: None,
            error: None,
            sort: Column::Number(Number::Cpu),
            reversed: false,
            filter: String::new(),
            opened: None,
            page: 10,
            selected: None,
            histories: HashMap::new(),
        }
    }

    /// Takes what came of a look.
    pub(super) fn take(&mut self, news: News) {
        match news {
            News::Past(past) => self.take_past(&past),
            News::Snapshot(snapshot) => {
                self.error = None;
                self.remember(&snapshot);
                self.snapshot = Some(snapshot);
            }
            News::Detail(detail) => {
                if let Some(opened) = self.opened.as_mut().filter(|opened| opened.key == detail.key) {
                    opened.detail = Some(detail);
                    let last = opened.sites().len().saturating_sub(1);
                    opened.selected = opened.selected.min(last);
                }
            }
            News::Failed(error) => self.error = Some(error),
        }
    }

    fn take_past(&mut self, past: &[Past]) {
        for past in past.iter().take(HISTORIES_MAX * REMEMBERED.len()) {
            if let Some(at) = REMEMBERED.iter().position(|which| *which == past.which) {
                self.histories.entry((past.key.clone(), at)).or_default().begin_with(&past.points);
            }
        }
    }

    fn remember(&mut self, snapshot: &Snapshot) {
        for process in snapshot.processes.iter().take(HISTORIES_MAX) {
            for (at, which) in REMEMBERED.into_iter().enumerate() {
                if let Some(value) = process.number(which) {
                    let history = self.histories.entry((process.key.clone(), at)).or_default();
                    history.push(snapshot.at_ms, value);
                }
            }
        }
        let alive: HashSet<&Key> = snapshot.processes.iter().map(|process| &process.key).collect();
        self.histories.retain(|(key, _), _| alive.contains(key));
    }

    /// The last minutes of a number.
    pub(super) fn history(&self, key: &Key, which: Number) -> Option<&History> {
        let at = REMEMBERED.iter().position(|one| *one == which)?;
        self.histories.get(&(key.clone(), at))
    }

    /// The processes that the filter leaves, in order.
    pub(super) fn rows(&self) -> Vec<&Process> {
        let wanted = self.filter.to_lowercase();
        let fits = |process: &&Process| {
            let texts = [&process.key.job, &process.key.instance, &process.version, &process.pid];
            wanted.is_empty() || texts.iter().any(|text| text.to_lowercase().contains(&wanted))
        };
        let all = self.snapshot.iter().flat_map(|snapshot| &snapshot.processes);
        let mut rows: Vec<&Process> = all.filter(fits).collect();
        let descending = self.sort.is_number() != self.reversed;
        rows.sort_by(|a, b| {
            let order = self.sort.compare(a, b);
            let order = if descending { order.reverse() } else { order };
            order
                .then_with(|| a.key.job.cmp(&b.key.job))
                .then_with(|| by_slot(&a.key.instance).cmp(&by_slot(&b.key.instance)))
        });
        rows
    }

    /// The row that is selected among `rows`; the first where it is gone.
    pub(super) fn selected_row(&self, rows: &[&Process]) -> usize {
        let at = |key: &Key| rows.iter().position(|process| process.key == *key);
        self.selected.as_ref().and_then(at).unwrap_or(0)
    }

    /// The process that is looked at closely, if it is still there.
    pub(super) fn opened_process(&self) -> Option<&Process> {
        let opened = self.opened.as_ref()?;
        self.snapshot.iter().flat_map(|snapshot| &snapshot.processes).find(|process| process.key == opened.key)
    }

    /// Takes a key.
    pub(super) fn press(&mut self, key: KeyEvent) -> Effect {
        if key.kind == KeyEventKind::Release {
            return Effect::None;
        }
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        if control {
            return match key.code {
                KeyCode::Char('c' | 'd') => Effect::Quit,
                KeyCode::Char('l') => Effect::LookNow,
                _ => Effect::None,
            };
        }
        if self.mode == Mode::Filter {
            self.type_filter(key.code);
            return Effect::None;
        }
        if self.mode == Mode::Help {
            self.mode = Mode::Keys;
            return if key.code == KeyCode::Char('q') { Effect::Quit } else { Effect::None };
        }
        match key.code {
            KeyCode::Char('q') => Effect::Quit,
            KeyCode::Char('?') | KeyCode::F(1) => {
                self.mode = Mode::Help;
                Effect::None
            }
            KeyCode::Char(' ' | 'p') => {
                self.paused = !self.paused;
                Effect::Look
            }
            KeyCode::Char('+' | '=') => self.change_interval(true),
            KeyCode::Char('-') => self.change_interval(false),
            KeyCode::Char('R') | KeyCode::F(5) => Effect::LookNow,
            code if self.opened.is_some() => self.press_in_process(code),
            code => self.press_in_list(code),
        }
    }

    fn type_filter(&mut self, code: KeyCode) {
        match code {
            KeyCode::Enter => self.mode = Mode::Keys,
            KeyCode::Esc => {
                self.mode = Mode::Keys;
                self.filter.clear();
            }
            KeyCode::Backspace if self.filter.is_empty() => self.mode = Mode::Keys,
            KeyCode::Backspace => {
                self.filter.pop();
            }
            KeyCode::Char(c) if self.filter.chars().count() < FILTER_CHARS_MAX && !c.is_control() => {
                self.filter.push(c);
            }
            _ => {}
        }
    }

    fn change_interval(&mut self, longer: bool) -> Effect {
        let next = if longer {
            INTERVALS_MS.into_iter().find(|ms| *ms > self.interval_ms)
        } else {
            INTERVALS_MS.into_iter().rev().find(|ms| *ms < self.interval_ms)
        };
        match next {
            Some(ms) => {
                self.interval_ms = ms;
                Effect::Look
            }
            None => Effect::None,
        }
    }

    fn press_in_list(&mut self, code: KeyCode) -> Effect {
        match code {
            KeyCode::Char('/') => self.mode = Mode::Filter,
            KeyCode::Esc => self.filter.clear(),
            KeyCode::Char('r') => self.reversed = !self.reversed,
            KeyCode::Right | KeyCode::Char('>') => self.sort_beside(1),
            KeyCode::Left | KeyCode::Char('<') => self.sort_beside(-1),
            KeyCode::Char(letter) => {
                if let Some(steps) = vertical(KeyCode::Char(letter), self.page) {
                    self.move_by(steps);
                } else if let Some(column) = column_of(letter) {
                    self.reversed = false;
                    self.sort = column;
                }
            }
            KeyCode::Enter => return self.open(),
            code => {
                if let Some(steps) = vertical(code, self.page) {
                    self.move_by(steps);
                }
            }
        }
        Effect::None
    }

    fn open(&mut self) -> Effect {
        let rows = self.rows();
        let Some(process) = rows.get(self.selected_row(&rows)) else { return Effect::None };
        let key = process.key.clone();
        self.selected = Some(key.clone());
        self.opened = Some(Opened { key, detail: None, order: SiteOrder::Count, selected: 0 });
        Effect::LookNow
    }

    /// Sorts by the column `steps` to the right.
    fn sort_beside(&mut self, steps: isize) {
        let all: Vec<Column> = sortable().collect();
        let at = all.iter().position(|column| *column == self.sort).unwrap_or(0);
        let next = at.saturating_add_signed(steps).min(all.len().saturating_sub(1));
        (self.sort, self.reversed) = (all[next], false);
    }

    fn move_by(&mut self, steps: isize) {
        let rows = self.rows();
        let at = self.selected_row(&rows).saturating_add_signed(steps).min(rows.len().saturating_sub(1));
        let key = rows.get(at).map(|process| process.key.clone());
        self.selected = key;
    }

    fn press_in_process(&mut self, code: KeyCode) -> Effect {
        if matches!(code, KeyCode::Esc | KeyCode::Backspace | KeyCode::Enter) {
            self.opened = None;
            return Effect::Look;
        }
        let page = self.page;
        let Some(opened) = &mut self.opened else { return Effect::None };
        let at = SITE_ORDERS.iter().position(|order| *order == opened.order).unwrap_or(0);
        match code {
            KeyCode::Right | KeyCode::Char('>') => {
                opened.order = SITE_ORDERS[(at + 1).min(SITE_ORDERS.len() - 1)];
            }
            KeyCode::Left | KeyCode::Char('<') => opened.order = SITE_ORDERS[at.saturating_sub(1)],
            code => {
                let steps = vertical(code, page).unwrap_or(0);
                let last = opened.sites().len().saturating_sub(1);
                opened.selected = opened.selected.saturating_add_signed(steps).min(last);
            }
        }
        Effect::None
    }

    /// The process that is to be looked at closely.
    pub(super) fn watched(&self) -> Option<&Key> {
        self.opened.as_ref().map(|opened| &opened.key)
    }
}

impl Opened {
    /// The sites in their order.
    pub(super) fn sites(&self) -> Vec<&Site> {
        let mut sites: Vec<&Site> = self.detail.iter().flat_map(|detail| &detail.sites).collect();
        let low = |value: Option<f64>| value.unwrap_or(f64::NEG_INFINITY);
        sites.sort_by(|a, b| {
            let order = match self.order {
                SiteOrder::Count => b.count.total_cmp(&a.count),
                SiteOrder::Growth => low(b.growth).total_cmp(&low(a.growth)),
                SiteOrder::Oldest => low(b.oldest_seconds).total_cmp(&low(a.oldest_seconds)),
                SiteOrder::Name => a.function.cmp(&b.function),
            };
            order
                .then_with(|| b.count.total_cmp(&a.count))
                .then_with(|| (&a.function, &a.wait).cmp(&(&b.function, &b.wait)))
        });
        sites
    }
}

/// How far a key moves down.
fn vertical(code: KeyCode, page: usize) -> Option<isize> {
    let page = page.max(1).cast_signed();
    Some(match code {
        KeyCode::Down | KeyCode::Char('j') => 1,
        KeyCode::Up | KeyCode::Char('k') => -1,
        KeyCode::PageDown => page,
        KeyCode::PageUp => -page,
        KeyCode::Home => isize::MIN,
        KeyCode::End | KeyCode::Char('G') => isize::MAX,
        _ => return None,
    })
}

/// The column that a letter sorts by.
fn column_of(letter: char) -> Option<Column> {
    let number = match letter {
        'n' => return Some(Column::Name),
        'i' => return Some(Column::Instance),
        'v' => return Some(Column::Version),
        'g' => Number::Goroutines,
        'h' => Number::HeapLive,
        'a' => Number::Allocated,
        's' => Number::Latency,
        'c' => Number::Cpu,
        'm' => Number::Resident,
        't' => Number::Threads,
        'l' => Number::Leak,
        'o' => Number::GcCpu,
        _ => return None,
    };
    Some(Column::Number(number))
}

/// Keys and what they do, for the help.
pub(super) const HELP: [(&str, &str); 13] = [
    ("↑ ↓ PgUp PgDn Home End, j k G", "move"),
    ("Enter", "sites and signals of the process"),
    ("Esc", "back; in the list: no filter"),
    ("← →, < >", "sort by the column beside"),
    ("n i v", "sort by name, instance, version"),
    ("g h a o", "by goroutines, heap, allocations, collector"),
    ("s c m t l", "by scheduler, CPU, memory, threads, leak grade"),
    ("r", "the other way round"),
    ("/", "filter by name, instance, version or pid"),
    ("space", "pause"),
    ("+ -", "look less or more often"),
    ("R", "look now"),
    ("q, Ctrl-C", "quit"),
];

#[cfg(test)]
mod tests;
