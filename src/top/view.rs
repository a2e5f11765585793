//! The state as a screen: the frame around it, the list of processes, the help. `view_process` has the screen of one process.
//!
//! A function of state, time and size. Screens of any size are drawn; what has no room is left out.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};

use super::columns::{Column, Place, fitting};
use super::data::{Number, Process};
use super::state::{HELP, Mode, State};
use super::view_process;
use crate::render::number::short;
use crate::render::text::{shortened, visible, width};
use crate::render::unit::SECONDS;

/// Part of a limit on memory above which it is told in red.
const NEAR_LIMIT: f64 = 0.9;
/// Parts of the processor time that collection takes which are much, and too much.
const GC_MUCH: [f64; 2] = [0.1, 0.25];
/// Grades of leaks that are probable, and strong.
const LEAKS: [f64; 2] = [2.0, 3.0];

/// Whether there is colour.
#[derive(Debug, Clone, Copy)]
pub(super) struct Theme {
    pub(super) color: bool,
}

impl Theme {
    fn colored(self, color: Color) -> Style {
        if self.color { Style::new().fg(color) } else { Style::new() }
    }

    pub(super) fn title(self) -> Style {
        self.colored(Color::Cyan).add_modifier(Modifier::BOLD)
    }

    pub(super) fn header() -> Style {
        Style::new().add_modifier(Modifier::BOLD | Modifier::UNDERLINED)
    }

    pub(super) fn selected() -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    pub(super) fn old() -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    pub(super) fn warning(self) -> Style {
        self.colored(Color::Yellow)
    }

    pub(super) fn alarm(self) -> Style {
        self.colored(Color::Red).add_modifier(Modifier::BOLD)
    }

    /// By two bounds: what is above the second is an alarm.
    pub(super) fn graded(self, value: f64, bounds: [f64; 2]) -> Style {
        match value {
            value if value >= bounds[1] => self.alarm(),
            value if value >= bounds[0] => self.warning(),
            _ => Style::new(),
        }
    }
}

/// Draws all of it.
pub(super) fn draw(frame: &mut Frame<'_>, state: &State, now_ms: i64, theme: Theme) {
    let area = frame.area();
    let mut rows = Rows::new(area);
    rows.top(head(state, now_ms, usize::from(area.width), theme));
    if let Some(error) = &state.error {
        let text = error.lines().next().unwrap_or_default();
        rows.top(Line::styled(shortened(&visible(text), usize::from(area.width)), theme.alarm()));
    }
    // The footer gives way first: on a screen of three lines a process is worth more than keys.
    if area.height > 3 {
        rows.bottom(foot(state, usize::from(area.width), theme));
    }
    if state.mode == Mode::Help {
        help_lines(&mut rows, theme);
    } else if let Some(opened) = &state.opened {
        view_process::draw(&mut rows, state, opened, theme);
    } else {
        list(&mut rows, state, theme);
    }
    rows.render(frame);
}

/// How many rows of the list a screen of `height` has.
pub(super) fn page(height: u16) -> usize {
    usize::from(height.saturating_sub(3)).max(1)
}

/// Lines of a screen, filled from both ends.
pub(super) struct Rows<'a> {
    area: Rect,
    above: Vec<Line<'a>>,
    below: Vec<Line<'a>>,
}

impl<'a> Rows<'a> {
    fn new(area: Rect) -> Self {
        Self { area, above: Vec::new(), below: Vec::new() }
    }

    /// Columns of the screen.
    pub(super) fn width(&self) -> usize {
        usize::from(self.area.width)
    }

    /// Lines that are left.
    pub(super) fn left(&self) -> usize {
        usize::from(self.area.height).saturating_sub(self.above.len() + self.below.len())
    }

    /// Adds below what is at the top, if there is room.
    pub(super) fn top(&mut self, line: Line<'a>) {
        if self.left() > 0 {
            self.above.push(line);
        }
    }

    /// Adds above what is at the bottom, if there is room.
    pub(super) fn bottom(&mut self, line: Line<'a>) {
        if self.left() > 0 {
            self.below.push(line);
        }
    }

    fn render(self, frame: &mut Frame<'_>) {
        let (area, height) = (self.area, self.area.height);
        let below = (0u16..).zip(self.below).map(|(at, line)| (height.saturating_sub(at + 1), line));
        for (y, line) in (0u16..).zip(self.above).chain(below) {
            if y < height && area.width > 0 {
                frame.buffer_mut().set_line(area.x, area.y + y, &line, area.width);
            }
        }
    }
}

/// What is looked at, and how fresh that is.
fn head(state: &State, now_ms: i64, columns: usize, theme: Theme) -> Line<'static> {
    let shown = state.rows().len();
    let all = state.snapshot.as_ref().map_or(0, |snapshot| snapshot.processes.len());
    let count = match (&state.snapshot, shown == all) {
        (None, _) => String::new(),
        (Some(_), true) => format!(" · {all} {}", if all == 1 { "process" } else { "processes" }),
        (Some(_), false) => format!(" · {shown} of {all} processes"),
    };
    let left = format!("metrickit top · {}{count}", visible(&state.source));
    let age_ms = state.snapshot.as_ref().map(|snapshot| now_ms.saturating_sub(snapshot.at_ms).max(0));
    let age = age_ms.map(|ms| short(seconds(ms / 1000 * 1000), SECONDS));
    let (right, style) = match (&state.error, state.paused, age) {
        (Some(_), _, Some(age)) => (format!("values of {age} ago, trying again"), theme.alarm()),
        (Some(_), _, None) => ("trying again".to_owned(), theme.alarm()),
        (None, true, Some(age)) => (format!("paused, {age} ago"), theme.warning()),
        (None, true, None) => ("paused".to_owned(), theme.warning()),
        (None, false, None) => ("looking".to_owned(), Style::new()),
        (None, false, Some(_)) => {
            (format!("every {}", short(interval_seconds(state.interval_ms), SECONDS)), Style::new())
        }
    };
    let room = columns.saturating_sub(width(&right) + 1);
    // On narrow screens how fresh it is matters more than where it is from.
    if room < 4 {
        return Line::styled(shortened(&right, columns), style);
    }
    let left = shortened(&left, room);
    let gap = " ".repeat(columns.saturating_sub(width(&left) + width(&right)));
    Line::from(vec![Span::styled(left, theme.title()), Span::raw(gap), Span::styled(right, style)])
}

fn foot(state: &State, columns: usize, theme: Theme) -> Line<'static> {
    if state.mode == Mode::Filter {
        let text = format!("filter: {}█  Enter keeps it, Esc drops it", visible(&state.filter));
        return Line::styled(shortened(&text, columns), theme.warning());
    }
    let pause = if state.paused { "space go on" } else { "space pause" };
    let keys: Vec<String> = if state.opened.is_some() {
        ["Esc back", "←→ sort", "↑↓ move", pause, "? help", "q quit"].map(str::to_owned).to_vec()
    } else {
        let filter = if state.filter.is_empty() {
            "/ filter".to_owned()
        } else {
            format!("filter {:?}, Esc drops it", visible(&state.filter))
        };
        let keys = ["Enter sites", "←→ sort", "r reverse", pause, "+- pace", "? help", "q quit"];
        std::iter::once(filter).chain(keys.map(str::to_owned)).collect()
    };
    let mut text = String::new();
    for key in keys {
        let gap = if text.is_empty() { "" } else { "  " };
        if width(&text) + gap.len() + width(&key) <= columns {
            text.push_str(gap);
            text.push_str(&key);
        }
    }
    Line::styled(text, Theme::old())
}

fn list(rows: &mut Rows<'_>, state: &State, theme: Theme) {
    let Some(snapshot) = &state.snapshot else {
        if state.error.is_some() {
            let hint = "  `metrickit up` starts a server, `metrickit top --local` shows this host alone";
            rows.top(Line::default());
            rows.top(Line::raw(shortened(hint, rows.width())));
        }
        return;
    };
    if snapshot.processes.is_empty() {
        rows.top(Line::default());
        let text = if snapshot.hidden > 0 {
            format!("  no Go process is seen; {} processes are hidden, run it as root to see them", snapshot.hidden)
        } else {
            "  no Go process is known; start one, and an agent where it runs".to_owned()
        };
        rows.top(Line::raw(shortened(&text, rows.width())));
        return;
    }
    let places = fitting(rows.width());
    rows.top(header(&places, state, theme));
    let processes = state.rows();
    let selected = state.selected_row(&processes);
    let visible_rows = rows.left().max(1);
    let first = selected / visible_rows * visible_rows;
    for (at, process) in processes.iter().enumerate().skip(first).take(visible_rows) {
        rows.top(row(process, &places, state, at == selected, theme));
    }
}

fn header(places: &[Place], state: &State, theme: Theme) -> Line<'static> {
    let mut spans = Vec::new();
    for place in places {
        let sorted = place.column == state.sort;
        let down = state.sort.is_number() != state.reversed;
        let mark = if down { "▼" } else { "▲" };
        let title = if sorted && width(place.title) < place.width {
            format!("{}{mark}", place.title)
        } else {
            place.title.to_owned()
        };
        let style = if sorted { Theme::header().patch(theme.title()) } else { Theme::header() };
        spans.push(Span::styled(fit(&title, place.width, place.column.is_number()), style));
        spans.push(Span::styled(" ", Theme::header()));
    }
    spans.pop();
    Line::from(spans)
}

fn row(process: &Process, places: &[Place], state: &State, selected: bool, theme: Theme) -> Line<'static> {
    let mut spans = Vec::new();
    for place in places {
        let (text, style) = cell(process, place, state, theme);
        spans.push(Span::styled(fit(&text, place.width, matches!(place.column, Column::Number(_))), style));
        spans.push(Span::raw(" "));
    }
    spans.pop();
    let style = if selected { Theme::selected() } else { Style::new() };
    let style = if state.error.is_some() { style.patch(Theme::old()) } else { style };
    Line::from(spans).style(style)
}

fn cell(process: &Process, place: &Place, state: &State, theme: Theme) -> (String, Style) {
    let plain = |text: &str| (visible(text), Style::new());
    match place.column {
        Column::Name => plain(&process.key.job),
        Column::Instance => plain(&process.key.instance),
        Column::Version => plain(&process.version),
        Column::Line(which) => {
            let line = state.history(&process.key, which).map(|history| history.line(place.width));
            (line.unwrap_or_default(), Theme::old())
        }
        Column::Number(which) => match process.number(which) {
            Some(value) => (which.text(value), style_of(process, which, value, theme)),
            None => (String::new(), Style::new()),
        },
    }
}

fn style_of(process: &Process, which: Number, value: f64, theme: Theme) -> Style {
    match which {
        Number::Leak => theme.graded(value, LEAKS),
        Number::GcCpu => theme.graded(value, GC_MUCH),
        Number::HeapLive if process.number(Number::HeapLimit).is_some_and(|limit| value > limit * NEAR_LIMIT) => {
            theme.alarm()
        }
        _ => Style::new(),
    }
}

fn help_lines(rows: &mut Rows<'_>, theme: Theme) {
    rows.top(Line::styled("Keys", theme.title()));
    for (keys, what) in HELP {
        let text = format!("  {} {what}", fit(keys, 30, false));
        rows.top(Line::raw(shortened(&text, rows.width())));
    }
    let notes = [
        "CPU% is of one core, GC% of the processor time there was; SCHED99 is how long",
        "the slowest of a hundred waited for a processor; LEAK is 0 hint to 4 proved.",
        "TREND is the time that is known, ten minutes at most, from lowest to highest.",
    ];
    for note in notes {
        rows.top(Line::styled(shortened(note, rows.width()), Theme::old()));
    }
}

/// `text` in exactly `columns` columns.
pub(super) fn fit(text: &str, columns: usize, right: bool) -> String {
    let text = shortened(text, columns);
    let pad = " ".repeat(columns.saturating_sub(width(&text)));
    if right { format!("{pad}{text}") } else { format!("{text}{pad}") }
}

#[expect(clippy::cast_precision_loss, reason = "ages are far below 2^53 milliseconds")]
pub(super) fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}

fn interval_seconds(ms: u64) -> f64 {
    seconds(ms.cast_signed())
}

#[cfg(test)]
mod tests;
