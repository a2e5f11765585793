//! The screen of one process: its numbers, the sites of its goroutines, its signals, and how each part of it is read.

use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::data::{Detail, Number, Process, Site, signal_text};
use super::state::{Opened, SiteOrder, State};
use super::view::{Rows, Theme, fit};
use crate::render::text::{function, shortened, visible, width};

/// Columns of a line of the last minutes.
const LINE_COLUMNS: usize = 12;
/// Columns of one signal where several stand side by side.
const SIGNAL_COLUMNS: usize = 38;
/// Rows that sites keep however many signals there are.
const SITE_ROWS_MIN: usize = 6;

pub(super) fn draw(rows: &mut Rows<'_>, state: &State, opened: &Opened, theme: Theme) {
    let process = state.opened_process();
    let name = format!("{} {}", visible(&opened.key.job), visible(&opened.key.instance));
    match process {
        Some(process) => about(rows, state, &name, process, theme),
        None => rows
            .top(Line::styled(shortened(&format!("{name}: it is not there any more"), rows.width()), theme.warning())),
    }
    let Some(detail) = &opened.detail else {
        rows.top(Line::raw(shortened("  looking at its goroutines …", rows.width())));
        return;
    };
    let sites = opened.sites();
    if let Some(site) = sites.get(opened.selected) {
        below(rows, site, theme);
    }
    signals(rows, detail);
    if sites.is_empty() {
        rows.top(Line::raw(shortened(&no_sites(detail), rows.width())));
        return;
    }
    let layout = Layout::of(rows.width());
    rows.top(header(&layout, opened.order, detail));
    let page = rows.left().max(1);
    let first = opened.selected / page * page;
    for (at, site) in sites.iter().enumerate().skip(first).take(page) {
        rows.top(row(&layout, site, at == opened.selected, state.error.is_some(), theme));
    }
}

/// Who it is, and its numbers with their last minutes.
fn about(rows: &mut Rows<'_>, state: &State, name: &str, process: &Process, theme: Theme) {
    let rest = [
        if process.pid.is_empty() { String::new() } else { format!("pid {}", visible(&process.pid)) },
        visible(&process.version),
        visible(&process.go_version),
    ];
    let rest: Vec<String> = rest.into_iter().filter(|text| !text.is_empty()).collect();
    let title = shortened(&format!("{name}  {}", rest.join(" · ")), rows.width());
    rows.top(Line::styled(title, theme.title()));
    let told = |which: Number| process.number(which).map(|value| which.text(value));
    let line =
        |which: Number| state.history(&process.key, which).map_or(String::new(), |history| history.line(LINE_COLUMNS));
    let with = |what: &str, value: Option<String>, after: &str| value.map(|value| format!("{what} {value}{after}"));
    let limit = told(Number::HeapLimit).map_or(String::new(), |limit| format!(" of {limit}"));
    let numbers = [
        with("goroutines", told(Number::Goroutines), &format!(" {}", line(Number::Goroutines))),
        with("heap", told(Number::HeapLive), &format!("{limit} {}", line(Number::HeapLive))),
        with("CPU", told(Number::Cpu), &format!(" % {}", line(Number::Cpu))),
        with("allocates", told(Number::Allocated), "/s"),
        with("GC", told(Number::GcCpu), " %"),
        with("sched p99", told(Number::Latency), ""),
        with("resident", told(Number::Resident), ""),
        with("threads", told(Number::Threads), ""),
        with("leak grade", told(Number::Leak).map(|grade| if grade == "-" { "none".to_owned() } else { grade }), ""),
    ];
    let mut text = String::new();
    for number in numbers.into_iter().flatten() {
        let number = number.trim_end();
        if !text.is_empty() && width(&text) + 3 + width(number) > rows.width() {
            rows.top(Line::raw(std::mem::take(&mut text)));
        }
        if !text.is_empty() {
            text.push_str(" · ");
        }
        text.push_str(number);
    }
    rows.top(Line::raw(shortened(&text, rows.width())));
}

/// What of the selected site has no room in its row.
fn below(rows: &mut Rows<'_>, site: &Site, theme: Theme) {
    if rows.left() < SITE_ROWS_MIN {
        return;
    }
    let by = if site.created_by.is_empty() {
        String::new()
    } else {
        format!(" · started by {}", visible(&site.created_by))
    };
    let at = if site.place.is_empty() { String::new() } else { format!(" · at {}", visible(&site.place)) };
    let text = format!("▶ {}{at}{by}", visible(&site.function));
    rows.bottom(Line::styled(shortened(&text, rows.width()), theme.warning()));
}

/// Signals side by side, from the bottom up, as far as sites leave room; and how parts are read.
fn signals(rows: &mut Rows<'_>, detail: &Detail) {
    let columns = (rows.width() / SIGNAL_COLUMNS).max(1);
    let columns_width = rows.width() / columns;
    let cell = |(name, value): &(String, f64)| {
        let value = signal_text(name, *value);
        let room = columns_width.saturating_sub(width(&value) + 2);
        fit(&format!("{} {value}", fit(&visible(&name.replace('_', " ")), room, false)), columns_width, false)
    };
    let cells: Vec<String> = detail.signals.iter().map(cell).collect();
    let room = rows.left().saturating_sub(SITE_ROWS_MIN + 2);
    let lines: Vec<String> = cells.chunks(columns).map(|line| line.concat().trim_end().to_owned()).collect();
    let read = detail.parts.iter().map(|(part, how)| format!("{}: {}", part.replace('_', " "), visible(how)));
    let read = read.collect::<Vec<_>>().join(" · ");
    if room > 1 && !read.is_empty() {
        rows.bottom(Line::styled(shortened(&format!("read  {read}"), rows.width()), Theme::old()));
    }
    let shown = lines.len().min(room.saturating_sub(1));
    for line in lines.iter().take(shown).rev() {
        rows.bottom(Line::raw(shortened(line, rows.width())));
    }
    if shown > 0 {
        let hidden = lines.len() - shown;
        let more = if hidden > 0 { format!(", {} more on a higher screen", hidden * columns) } else { String::new() };
        rows.bottom(Line::styled(fit(&format!("SIGNALS{more}"), rows.width(), false), Theme::header()));
    }
}

fn no_sites(detail: &Detail) -> String {
    let why = detail.parts.iter().find(|(part, _)| part == "goroutines").map(|(_, how)| how.as_str());
    match why {
        Some(how) => format!("  no goroutines by site: {}", visible(how)),
        None => "  no goroutines by site are known yet".to_owned(),
    }
}

/// An age in its largest unit, in six columns at most.
fn age(seconds: f64) -> String {
    let units = [(86_400.0, "d"), (3_600.0, "h"), (60.0, "min")];
    let unit = units.into_iter().find(|(length, _)| seconds >= 2.0 * length);
    let (length, name) = unit.unwrap_or((1.0, "s"));
    format!("{:.0}{name}", (seconds / length).floor())
}

/// Columns of the table of sites.
struct Layout {
    site: usize,
    wait: usize,
    place: usize,
    by: usize,
}

/// Columns of the numbers at the right: count, growth, age, each with a space before it.
const NUMBERS: usize = 8 + 8 + 7;

impl Layout {
    fn of(columns: usize) -> Self {
        let rest = columns.saturating_sub(NUMBERS);
        match rest {
            0..40 => Self { site: rest, wait: 0, place: 0, by: 0 },
            40..65 => Self { site: rest - 17, wait: 16, place: 0, by: 0 },
            65..95 => Self { site: rest - 17 - 23, wait: 16, place: 22, by: 0 },
            _ => {
                let by = (rest - 17 - 27) * 2 / 5;
                Self { site: rest - 17 - 27 - by - 1, wait: 16, place: 26, by }
            }
        }
    }

    fn texts(&self, texts: [&str; 4]) -> String {
        let widths = [self.site, self.wait, self.place, self.by];
        let shown = texts.into_iter().zip(widths).filter(|(_, width)| *width > 0);
        shown.map(|(text, width)| fit(text, width, false)).collect::<Vec<_>>().join(" ")
    }
}

fn header(layout: &Layout, order: SiteOrder, detail: &Detail) -> Line<'static> {
    let mark = |of: SiteOrder, text: &str| if order == of { format!("{text}▼") } else { text.to_owned() };
    let over = detail.growth_seconds.map_or("±".to_owned(), |seconds| format!("±{}", age(seconds)));
    let name = if order == SiteOrder::Name { "SITE▲" } else { "SITE" };
    let text = format!(
        "{} {} {} {}",
        layout.texts([name, "WAITS FOR", "AT", "STARTED BY"]),
        fit(&mark(SiteOrder::Count, "COUNT"), 7, true),
        fit(&mark(SiteOrder::Growth, &over), 7, true),
        fit(&mark(SiteOrder::Oldest, "AGE"), 6, true)
    );
    Line::styled(text, Theme::header())
}

fn row(layout: &Layout, site: &Site, selected: bool, old: bool, theme: Theme) -> Line<'static> {
    // The end of a place tells more than its beginning.
    let place = site.place.rsplit('/').take(2).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("/");
    let texts = [&site.function, &site.wait, &place, &site.created_by].map(|text| visible(text));
    let named = [function(&texts[0], layout.site), function(&texts[3], layout.by)];
    let text = layout.texts([&named[0], &texts[1], &texts[2], &named[1]]);
    let growth = site.growth.filter(|growth| *growth != 0.0).map_or(String::new(), |growth| {
        let text = Number::Goroutines.text(growth.abs());
        if growth > 0.0 { format!("+{text}") } else { format!("-{text}") }
    });
    let oldest = site.oldest_seconds.map_or(String::new(), age);
    let grade = site.grade.map_or(Style::new(), |grade| theme.graded(grade, [2.0, 3.0]));
    let spans = vec![
        Span::styled(text, grade),
        Span::raw(format!(" {}", fit(&Number::Goroutines.text(site.count), 7, true))),
        Span::raw(format!(" {}", fit(&growth, 7, true))),
        Span::raw(format!(" {}", fit(&oldest, 6, true))),
    ];
    let style = if selected { Theme::selected() } else { Style::new() };
    Line::from(spans).style(if old { style.patch(Theme::old()) } else { style })
}
