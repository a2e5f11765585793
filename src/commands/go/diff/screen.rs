//! The comparison as text: the sentence, a table of metrics, a table of sites.

use super::compare::Side;
use super::fetch::{METRICS, SITE_METRICS};
use super::report::{ComparedSite, Named, Report, percent};
use crate::render::number::short;
use crate::render::text::{function, paint, shortened, visible, wrapped};
use crate::render::unit::{PLAIN, SECONDS, Unit};
use crate::render::{append, table};
use crate::when::show_instant;

/// Columns of a function's name.
const FUNCTION_COLUMNS: usize = 48;
/// From three times as much on, changes are told as times.
const TIMES_FROM: f64 = 2.0;
/// What stands at changes beyond noise.
const MARK: &str = "●";
/// The rule, said once.
const RULE: &str = "● beyond noise: the middle halves of what the processes of A and of B showed (in brackets, over time and all processes) do not \
overlap, and the medians differ by 5 % or more.";

pub(super) fn told(report: &Report, columns: usize, color: bool) -> String {
    let mut text = format!("{}\n\n", paint(&wrapped(&visible(&report.sentence), 0, columns), "1", color));
    for (name, side) in [("A", &report.a), ("B", &report.b)] {
        append(&mut text, format_args!("{}\n", shortened(&release(name, side, report), columns)));
    }
    let header = ["", "A", "", "B", "", "change", ""];
    let rows: Vec<Vec<String>> = METRICS
        .iter()
        .zip(&report.metrics)
        .filter(|(_, compared)| compared.a.is_some() || compared.b.is_some())
        .map(|(metric, compared)| {
            let (change, mark) = match compared.change {
                Some(change) => (ratio(change.ratio), if change.beyond_noise { MARK } else { "" }),
                None => (String::new(), ""),
            };
            let mut row = vec![metric.name.to_owned()];
            row.extend(side(compared.a, metric.unit, metric.is_worst));
            row.extend(side(compared.b, metric.unit, metric.is_worst));
            row.extend([change, mark.to_owned()]);
            row
        })
        .collect();
    text.push_str(&table::aligned(&header, &rows, 6, Some(columns)));
    append(&mut text, format_args!("{}\n", wrapped(RULE, 0, columns)));
    text.push_str(&sites(report, columns));
    for note in &report.notes {
        append(&mut text, format_args!("{}\n", wrapped(&format!("Note: {note}."), 0, columns)));
    }
    text
}

fn release(name: &str, side: &Named, report: &Report) -> String {
    let go = side.go_versions.iter().map(|version| visible(version)).collect::<Vec<_>>().join(", ");
    let processes = if side.processes == 1 { "1 process".to_owned() } else { format!("{} processes", side.processes) };
    let range = short(report.range_seconds, SECONDS);
    let until = show_instant(side.until_ms, "%Y-%m-%d %H:%M");
    format!(
        "{name}: {} of {}, {go}; {processes} in the {range} until {until} UTC",
        side.key.text(),
        visible(&report.job)
    )
}

fn side(side: Option<Side>, unit: Unit, is_grade: bool) -> [String; 2] {
    let Some(side) = side else { return [String::new(), String::new()] };
    let text = |value: f64| if is_grade && value < 0.0 { "none".to_owned() } else { short(value, unit) };
    let (lower, upper) = (text(side.lower), text(side.upper));
    let spread = if lower == upper { String::new() } else { format!("({lower} to {upper})") };
    [text(side.median), spread]
}

fn ratio(ratio: Option<f64>) -> String {
    match ratio {
        None => String::new(),
        Some(ratio) if ratio >= TIMES_FROM => format!("×{}", short(ratio + 1.0, PLAIN)),
        Some(ratio) if ratio > 0.0 => format!("+{}", percent(ratio)),
        Some(ratio) => percent(ratio),
    }
}

fn sites(report: &Report, columns: usize) -> String {
    if report.sites.is_empty() {
        return "\nNo site is new in B or grew beyond noise.\n".to_owned();
    }
    let header = ["of", "site", "created by", "A", "B", "change"];
    let rows: Vec<Vec<String>> = report.sites.iter().map(row).collect();
    let mut text = format!(
        "\nSites that only B has, or that grew beyond noise, by process:\n{}",
        table::aligned(&header, &rows, 3, Some(columns))
    );
    if report.sites.iter().any(|site| site.may_be_old) {
        let note = "new?: A has so many at sites without series of their own that this may have been one of them.";
        append(&mut text, format_args!("{}\n", wrapped(note, 0, columns)));
    }
    text
}

fn row(site: &ComparedSite) -> Vec<String> {
    let unit = SITE_METRICS.iter().find(|metric| metric.name == site.of).map(|metric| metric.unit);
    let number = |value: f64| unit.map_or_else(|| value.to_string(), |unit| short(value, unit));
    let name = |text: &str| function(&visible(text), FUNCTION_COLUMNS);
    let change = match site.change {
        Some(change) => ratio(change.ratio),
        None if site.may_be_old => "new?".to_owned(),
        None => "new".to_owned(),
    };
    let before = site.a.map_or(String::new(), number);
    vec![site.of.to_owned(), name(&site.site), name(&site.created_by), before, number(site.b), change]
}

#[cfg(test)]
mod tests {
    use super::super::report::compare;
    use super::super::report::tests::{life, named};
    use super::*;

    #[test]
    fn releases_are_two_columns() {
        let old = [life("a", &[("goroutines", 100.0), ("heap live", 1_048_576.0)], &[("main.f", 10.0)])];
        let new = [life("b", &[("goroutines", 250.0), ("CPU cores", 0.5)], &[("main.f", 40.0), ("main.g\u{1b}", 4.0)])];
        let report = compare("api".into(), 3600.0, (named("v1.4.2", &old), &old), (named("v1.5.0", &new), &new));
        let text = told(&report, 120, false);
        for wanted in [
            "v1.5.0 has 150 % more goroutines and has goroutines at 1 new site, compared with v1.4.2.\n",
            "A: v1.4.2 (8c5f01234567) of api, ; 1 process in the 60min until 1970-01-01 00:00 UTC\n",
            "│ goroutines ┆  100 ┆            (99 to 101) ┆ 250 ┆ (247.5 to 252.5) ┆ +150 % ┆ ● │",
            "│ goroutines ┆ main.f       ┆ main.main  ┆ 10 ┆ 40 ┆     ×4 │",
            "│ goroutines ┆ main.g\\u{1b} ┆ main.main  ┆    ┆  4 ┆    new │",
            "Note: one process of each release",
        ] {
            assert!(text.contains(wanted), "{wanted} in\n{text}");
        }
        assert!(!text.contains('\u{1b}'), "{text}");
    }
}
