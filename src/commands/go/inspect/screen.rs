//! The facts of a process as one screen of text.

use super::facts::{Build, Facts, GOGC_OFF, Goroutines, Site};
use super::warnings::percent;
use crate::render::number::{count, short};
use crate::render::text::{function, paint, shortened, visible, width, wrapped};
use crate::render::unit::{BYTES, PLAIN, SECONDS, Unit};
use crate::render::{append, table};

/// Columns of the names of lines.
const NAME_COLUMNS: usize = 11;
/// Columns from which on functions of sites, and those that started them, are told without folders.
const SITE_COLUMNS: usize = 36;
const BY_COLUMNS: usize = 24;
/// Columns of a function's name in a table.
const FUNCTION_COLUMNS: usize = 44;
/// Columns of a setting of the build.
const SETTING_COLUMNS: usize = 60;
/// Characters of a revision that tell it apart.
const REVISION_CHARS: usize = 12;
/// Width from which a table has a column for who started goroutines.
const WIDE: usize = 100;
/// Fewest goroutines that wait for mutexes at a time which are told.
const WAITERS_MIN: f64 = 0.01;
/// Fewest observations whose quantiles are told.
const OBSERVATIONS_MIN: f64 = 20.0;
/// Most sites of the heap that are told.
const HEAP_SITES_MAX: usize = 5;
/// Settings that matter to who reads numbers: those that change what the program does.
const SETTINGS: [&str; 10] =
    ["-tags", "-race", "-msan", "-asan", "-cover", "-pgo", "-gcflags", "CGO_ENABLED", "GOEXPERIMENT", "DefaultGODEBUG"];

const BYTES_PER_SECOND: Unit = Unit { per_second: true, ..BYTES };
const PER_SECOND: Unit = Unit { per_second: true, ..PLAIN };

/// Everything, in lines of at most `columns` columns.
pub(super) fn told(facts: &Facts, columns: usize, color: bool) -> String {
    let mut text = head(facts, columns, color);
    if !facts.warnings.is_empty() {
        text.push('\n');
        for warning in &facts.warnings {
            let lines = wrapped(&visible(warning), 2, columns);
            append(&mut text, format_args!("{}\n", paint(&format!("! {}", lines.trim_start()), "33", color)));
        }
    }
    text.push('\n');
    let over = format!(" in {}", short(facts.seconds, SECONDS));
    for (name, parts) in [
        ("processor", processor(facts, &over)),
        ("collector", collector(facts, &over)),
        ("heap", heap(facts)),
        ("memory", memory(facts)),
        ("goroutines", states(&facts.goroutines)),
    ] {
        line(&mut text, name, &parts, columns, color);
    }
    text.push_str(&sites(&facts.goroutines, columns));
    let hidden = facts.goroutines.sites_total.saturating_sub(facts.goroutines.sites.len());
    if hidden > 0 {
        append(
            &mut text,
            format_args!("… and {hidden} more sites; --sites {} has them all\n", facts.goroutines.sites_total),
        );
    }
    let kept = facts.heap_sites.iter().take(HEAP_SITES_MAX);
    let kept: Vec<String> = kept
        .map(|site| format!("{} {}", short(site.bytes, BYTES), function(&visible(&site.site), FUNCTION_COLUMNS)))
        .collect();
    line(&mut text, "heap by", &kept, columns, color);
    line(&mut text, "how read", &parts(facts), columns, color);
    text
}

fn head(facts: &Facts, columns: usize, color: bool) -> String {
    let (process, build) = (&facts.process, &facts.build);
    let title = format!("{}  pid {}  {}", visible(&process.name), process.pid, visible(&process.instance));
    let mut text = paint(&shortened(&title, columns), "1", color);
    let age = process.age_seconds.map(|age| format!("up {}", short(age, SECONDS)));
    let user = (!process.user.is_empty()).then(|| format!("user {}", visible(&process.user)));
    let rest = age.into_iter().chain(user).collect::<Vec<_>>().join(" · ");
    if width(&title) + width(&rest) + 2 <= columns {
        append(&mut text, format_args!("  {rest}\n"));
    } else {
        append(&mut text, format_args!("\n{rest}\n"));
    }
    line(&mut text, "build", &made(build), columns, color);
    let files = process.open_files.map(|open| {
        let most = process.open_files_max.map_or(String::new(), |most| format!(" of {}", short(most, PLAIN)));
        format!("{} files{most}", short(open, PLAIN))
    });
    let number = |value: Option<f64>, unit, what: &str| value.map(|value| format!("{what}{}", short(value, unit)));
    let cores = process.cpu_cores.map(|cores| format!("CPU {} of a core", percent(cores)));
    let host = [
        cores,
        number(process.resident_bytes, BYTES, "resident "),
        process.threads.map(|threads| format!("{} threads", short(threads, PLAIN))),
        files,
    ];
    line(&mut text, "process", &host.into_iter().flatten().collect::<Vec<_>>(), columns, color);
    text
}

fn made(build: &Build) -> Vec<String> {
    let mut parts = vec![visible(&build.path)];
    parts.extend((!build.version.is_empty()).then(|| visible(&build.version)));
    if !build.revision.is_empty() {
        let revision: String = build.revision.chars().take(REVISION_CHARS).collect();
        parts.push(format!("{}{}", visible(&revision), if build.modified { " with changes" } else { "" }));
    }
    let setting = |key: &str| build.settings.iter().find(|(of, _)| of == key).map(|(_, value)| value.as_str());
    let level = ["GOAMD64", "GOARM64"].into_iter().find_map(setting).map_or(String::new(), |level| format!("/{level}"));
    let on = setting("GOARCH").map_or(String::new(), |arch| format!(" {arch}{level}"));
    parts.push(visible(&format!("{}{on}", build.go_version)));
    // With cgo is the default, and all that there is without.
    let matters =
        |(key, value): &&(String, String)| SETTINGS.contains(&key.as_str()) && !(key == "CGO_ENABLED" && value == "1");
    let setting = |(key, value): &(String, String)| shortened(&visible(&format!("{key}={value}")), SETTING_COLUMNS);
    parts.extend(build.settings.iter().filter(matters).map(setting));
    parts.retain(|part| !part.is_empty());
    parts
}

fn processor(facts: &Facts, over: &str) -> Vec<String> {
    let (scheduler, group) = (&facts.scheduler, &facts.group);
    let quantiles = |p50: Option<f64>, p99: Option<f64>| {
        let (p50, p99) = p50.zip(p99)?;
        Some(format!("p50 {} p99 {}", short(p50, SECONDS), short(p99, SECONDS)))
    };
    let now = quantiles(scheduler.latency_p50_seconds, scheduler.latency_p99_seconds);
    let now = now.zip(scheduler.latency_observations).filter(|(_, observed)| *observed >= OBSERVATIONS_MIN);
    let now = now.map(|(now, observed)| format!("ready to running {now}{over} ({} observed)", short(observed, PLAIN)));
    let alone = if now.is_some() { "" } else { "ready to running " };
    let ever = quantiles(scheduler.latency_p50_seconds_since_start, scheduler.latency_p99_seconds_since_start);
    let quota = group.cpu_quota.map(|quota| {
        let throttled = group
            .throttled_ratio
            .map_or(String::new(), |part| format!(", ran out in {} of the periods", percent(part)));
        format!("quota {}{throttled}", short(quota, PLAIN))
    });
    let all = [
        scheduler.gomaxprocs.map(|procs| format!("GOMAXPROCS {}", short(procs, PLAIN))),
        quota,
        now,
        ever.map(|ever| format!("{alone}{ever} since the start")),
        scheduler
            .mutex_waiters
            .filter(|waiters| *waiters >= WAITERS_MIN)
            .map(|waiters| format!("{} wait for mutexes at a time", short(waiters, PLAIN))),
    ];
    all.into_iter().flatten().collect()
}

fn collector(facts: &Facts, over: &str) -> Vec<String> {
    let gc = &facts.gc;
    let now = gc.cycles_now.map(|cycles| format!("{}{over}", short(cycles, PLAIN)));
    let pauses = gc.pause_median_seconds.zip(gc.pause_max_seconds).map(|(median, most)| {
        format!("pauses {} on the median, longest {}", short(median, SECONDS), short(most, SECONDS))
    });
    let share = gc.cpu_ratio.map(|ever| {
        let now = gc.cpu_ratio_now.map_or(String::new(), |now| format!("{}{over}, ", percent(now)));
        format!("CPU {now}{} since the start", percent(ever))
    });
    let all = [
        gc.cycles.map(cycles_text),
        now,
        gc.cycles_per_minute.map(|cycles| format!("{}/min", short(cycles, PLAIN))),
        gc.last_seconds_ago.map(|ago| format!("last {} ago", short(ago, SECONDS))),
        pauses,
        share,
        gc.limiter_cycles_ago.map(|ago| format!("held back {} ago", cycles_text(ago))),
    ];
    all.into_iter().flatten().collect()
}

fn heap(facts: &Facts) -> Vec<String> {
    let (memory, gc) = (&facts.memory, &facts.gc);
    let bytes = |what: &str, value: Option<f64>| value.map(|value| format!("{what} {}", short(value, BYTES)));
    let gogc = gc
        .gogc_percent
        .map(|gogc| if gogc == GOGC_OFF { "GOGC off".to_owned() } else { format!("GOGC {}", short(gogc, PLAIN)) });
    let allocating = memory.alloc_bytes_per_second.map(|rate| {
        let objects =
            memory.allocs_per_second.map_or(String::new(), |rate| format!(", {} objects", short(rate, PER_SECOND)));
        format!("allocates {}{objects}", short(rate, BYTES_PER_SECOND))
    });
    let all = [
        bytes("live", memory.heap_live_bytes),
        bytes("goal", memory.heap_goal_bytes),
        gogc,
        memory.heap_objects.map(|objects| format!("{} objects", short(objects, PLAIN))),
        allocating,
    ];
    all.into_iter().flatten().collect()
}

fn memory(facts: &Facts) -> Vec<String> {
    let (memory, group) = (&facts.memory, &facts.group);
    let bytes = |what: &str, value: Option<f64>| value.map(|value| format!("{what} {}", short(value, BYTES)));
    let limit = memory.limit_bytes.map(|limit| {
        let free = memory.limit_headroom_ratio.map_or(String::new(), |free| format!(", {} of it free", percent(free)));
        format!("GOMEMLIMIT {}{free}", short(limit, BYTES))
    });
    let unset =
        (memory.runtime_bytes.is_some() && memory.limit_bytes.is_none()).then(|| "GOMEMLIMIT not set".to_owned());
    let all = [
        bytes("runtime", memory.runtime_bytes),
        bytes("stacks", memory.stacks_bytes),
        bytes("outside Go", memory.outside_go_bytes),
        limit.or(unset),
        bytes("control group's limit", group.memory_max_bytes),
    ];
    all.into_iter().flatten().collect()
}

fn states(goroutines: &Goroutines) -> Vec<String> {
    let state = |what: &str, value: Option<f64>| value.map(|value| format!("{} {what}", whole(value)));
    let total = goroutines.total.unwrap_or(0.0);
    let looked = goroutines.looked_at.filter(|looked| count(*looked) * 1.5 < total);
    let all = [
        goroutines.total.map(whole),
        state("running", goroutines.running),
        state("ready", goroutines.runnable),
        state("waiting", goroutines.waiting),
        state("in system calls", goroutines.not_in_go),
        goroutines.created_per_second.map(|rate| format!("{} created", short(rate, PER_SECOND))),
        looked.map(|looked| format!("by site estimated of {}", whole(count(looked)))),
    ];
    all.into_iter().flatten().collect()
}

fn sites(goroutines: &Goroutines, columns: usize) -> String {
    if goroutines.sites.is_empty() {
        return String::new();
    }
    let wide = columns >= WIDE;
    let mut header = vec!["site", "waits for", "blocked at"];
    header.extend(wide.then_some("created by"));
    header.extend(["oldest", "±", "count"]);
    let mut rows: Vec<Vec<String>> = goroutines.sites.iter().map(|site| row(site, wide)).collect();
    fit(&header, &mut rows, NUMBERS, columns);
    table::aligned(&header, &rows, NUMBERS, Some(columns))
}

/// Cells of numbers at the end of a row of sites.
const NUMBERS: usize = 3;

fn row(site: &Site, wide: bool) -> Vec<String> {
    let name = |text: &str| shortened(&visible(text), FUNCTION_COLUMNS);
    // Where it waits tells more than where it was started; where that is not known, the `go` statement.
    let blocked = place(&site.blocked_file, site.blocked_line);
    let started = place(&site.file, site.line);
    let mut row = vec![
        function(&visible(&site.function), SITE_COLUMNS),
        name(&site.wait),
        name(if blocked.is_empty() { &started } else { &blocked }),
    ];
    row.extend(wide.then(|| {
        let by = function(&visible(&site.created_by), BY_COLUMNS);
        let by = if by.is_empty() { String::new() } else { format!("{by} ") };
        name(format!("{by}{started}").trim_end())
    }));
    let change = site.change.filter(|change| *change != 0);
    row.push(site.oldest_seconds.map_or(String::new(), |seconds| short(seconds, SECONDS)));
    row.push(change.map_or(String::new(), |change| format!("{change:+}")));
    row.push(whole(count(site.count)));
    row
}

/// Shortens texts, the longest columns first, until no cell of the table is broken; the last `numbers` columns stay.
fn fit(header: &[&str], rows: &mut [Vec<String>], numbers: usize, columns: usize) {
    let widest = |at: usize| rows.iter().map(|row| width(&row[at])).chain([width(header[at])]).max().unwrap_or(0);
    let mut widths: Vec<usize> = (0..header.len()).map(widest).collect();
    let texts = header.len().saturating_sub(numbers);
    // A border and two spaces a column.
    while widths.iter().sum::<usize>() + 3 * widths.len() + 1 > columns {
        // The first, the site itself, gives way later than the others.
        let weight = |at: usize, width: usize| if at == 0 { width * 2 / 3 } else { width };
        let longest = widths[..texts].iter_mut().enumerate().max_by_key(|(at, width)| weight(*at, **width));
        let Some((_, longest)) = longest.filter(|(_, width)| **width > 1) else { break };
        *longest -= 1;
    }
    for row in rows {
        for (cell, width) in row.iter_mut().zip(&widths).take(texts) {
            *cell = shortened(cell, *width);
        }
    }
}

/// The end of a path and the line: enough to find it, not where it was built.
fn place(file: &str, line: u32) -> String {
    if file.is_empty() {
        return String::new();
    }
    let parts: Vec<&str> = file.rsplit('/').take(2).collect();
    format!("{}:{line}", parts.into_iter().rev().collect::<Vec<_>>().join("/"))
}

fn parts(facts: &Facts) -> Vec<String> {
    let told = facts.parts.iter().map(|part| {
        let name = part.part.replace('_', " ");
        if part.way == "none" { format!("{name}: {}", part.meaning) } else { format!("{name} from {}", part.way) }
    });
    told.collect()
}

/// How many collections.
fn cycles_text(cycles: f64) -> String {
    let number = short(cycles, PLAIN);
    let plural = if number == "1" { "" } else { "s" };
    format!("{number} cycle{plural}")
}

/// A count in full.
fn whole(value: f64) -> String {
    format!("{value:.0}")
}

/// A named line of parts, broken between them.
fn line(text: &mut String, name: &str, parts: &[String], columns: usize, color: bool) {
    if parts.is_empty() {
        return;
    }
    let mut lines: Vec<String> = Vec::new();
    for part in parts {
        match lines.last_mut().filter(|line| NAME_COLUMNS + width(line) + 3 + width(part) <= columns) {
            Some(line) => append(line, format_args!(" · {part}")),
            None => lines.push(shortened(part, columns.saturating_sub(NAME_COLUMNS).max(1))),
        }
    }
    let pad = " ".repeat(NAME_COLUMNS);
    let named = paint(&format!("{name:NAME_COLUMNS$}"), "2", color);
    append(text, format_args!("{named}{}\n", lines.join(&format!("\n{pad}"))));
}

#[cfg(test)]
mod tests {
    use super::super::facts::{Gc, HeapSite, Memory, PartRead, Process};
    use super::*;

    fn facts() -> Facts {
        let site = Site {
            function: "main.(*worker).run\u{1b}[31m".into(),
            created_by: "main.start".into(),
            wait: "chan send".into(),
            count: 1_503,
            change: Some(12),
            oldest_seconds: Some(7_200.0),
            file: "/src/shop/cmd/api/main.go".into(),
            line: 41,
            ..Site::default()
        };
        Facts {
            seconds: 2.0,
            process: Process {
                pid: 4711,
                name: "api".into(),
                instance: "web1/0".into(),
                user: "www-data".into(),
                age_seconds: Some(90_000.0),
                cpu_cores: Some(0.525),
                resident_bytes: Some(67_108_864.0),
                ..Process::default()
            },
            build: Build {
                go_version: "go1.26.1".into(),
                path: "example.com/shop/cmd/api".into(),
                version: "v1.4.2".into(),
                revision: "8c5f0123456789abcdef".into(),
                modified: true,
                settings: [
                    ("-tags", "netgo"),
                    ("CGO_ENABLED", "1"),
                    ("GOARCH", "amd64"),
                    ("GOAMD64", "v3"),
                    ("vcs", "git"),
                ]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .to_vec(),
                ..Build::default()
            },
            goroutines: Goroutines { total: Some(1_510.0), sites_total: 3, sites: vec![site], ..Goroutines::default() },
            gc: Gc { cycles: Some(120.0), gogc_percent: Some(GOGC_OFF), cpu_ratio: Some(0.0123), ..Gc::default() },
            memory: Memory {
                limit_bytes: Some(1_073_741_824.0),
                limit_headroom_ratio: Some(0.25),
                ..Memory::default()
            },
            heap_sites: vec![HeapSite { site: "main.load".into(), bytes: 1_048_576.0 }],
            parts: vec![
                PartRead { part: "runtime", way: "memory", ..PartRead::default() },
                PartRead { part: "heap_profile", way: "none", reason: "not_kept", meaning: "the program keeps none" },
            ],
            warnings: vec!["One thing to look at, which takes more than a line on a narrow terminal.".into()],
            ..Facts::default()
        }
    }

    #[test]
    fn everything_that_is_known_is_told() {
        let text = told(&facts(), 120, false);
        for wanted in [
            "api  pid 4711  web1/0  up 25h · user www-data\n",
            "build      example.com/shop/cmd/api · v1.4.2 · 8c5f01234567 with changes · go1.26.1 amd64/v3 · -tags=netgo\n",
            "process    CPU 52.5 % of a core · resident 64MiB\n",
            "! One thing to look at",
            "collector  120 cycles · CPU 1.2 % since the start\n",
            "heap       GOGC off\n",
            "memory     GOMEMLIMIT 1GiB, 25 % of it free\n",
            "goroutines 1510\n",
            "┆ chan send ┆ api/main.go:41 ┆ main.start api/main.go:41 ┆     2h ┆ +12 ┆  1503 │",
            "… and 2 more sites; --sites 3 has them all\n",
            "heap by    1MiB main.load\n",
            "how read   runtime from memory · heap profile: the program keeps none\n",
        ] {
            assert!(text.contains(wanted), "{wanted} in\n{text}");
        }
        assert!(!text.contains('\u{1b}'), "{text}");
    }

    #[test]
    fn lines_keep_to_the_terminal() {
        for columns in [60, 80, 100, 119] {
            let text = told(&facts(), columns, false);
            let long = text.lines().find(|line| width(line) > columns);
            assert_eq!(long, None, "in {columns}\n{text}");
        }
        assert!(told(&Facts::default(), 80, false).contains("pid 0"), "nothing is known");
    }
}
