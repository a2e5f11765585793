//! Running programs of every kind of build, read in their memory, beside what they say of themselves at the same time: all
//! of `runtime/metrics` and `runtime.MemStats`, goroutines by site, and the profiles. Prints a table of it.
//!
//! With the toolchain of this machine; `make test-go-matrix` gives others.

mod subject;

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use agent::go::census::{Site, Way};
use agent::go::discover::Scan;
use agent::go::ways::{Part, Reason, Told};
use model::METRIC_NAME;
use subject::agree::{self, Agreement};
use subject::toolchain::Toolchain;
use subject::{FORMS, Reading, Subject, build_experimental, build_with, number, value};

/// What of a heap profile may be another for rounding.
const HEAP_BOUND: f64 = 0.001;
/// How far the rate of ticks may be off that two programs tell by when they began.
const WAIT_BOUND: f64 = 0.01;

/// One program's row of the table.
struct Row {
    release: String,
    form: &'static str,
    parts: Vec<Agreement>,
    /// In place of what is not read: why.
    reasons: Vec<Option<Reason>>,
}

/// The columns.
const PARTS: [&str; 7] = ["runtime/metrics", "histograms", "MemStats", "goroutines", "heap", "mutex", "block"];

impl Row {
    fn put(&mut self, part: Agreement) {
        self.parts.push(part);
        self.reasons.push(None);
    }

    fn cells(&self) -> Vec<String> {
        let parts = self.parts.iter().zip(&self.reasons);
        let parts =
            parts.map(|(part, reason)| reason.map_or_else(|| part.to_string(), |reason| reason.text().to_owned()));
        [self.release.clone(), self.form.to_owned()].into_iter().chain(parts).collect()
    }
}

/// Numbers and histograms.
fn read_numbers(path: &Path, row: &mut Row) {
    let mut subject = Subject::start(path, &[]);
    for command in ["park 500", "keep 20", "churn 20000", "gc", "churn 100"] {
        subject.ask(command);
    }
    let mut reading = Reading::of(vec![subject.process.clone()], |_| {});
    // Names and pages come into the agent's caches, the program's into its own.
    reading.round();
    for command in ["metrics", "memstats", "metrics"] {
        subject.ask(command);
    }
    let stats_before = subject.ask("memstats")["memstats"].take();
    let before = subject.ask("metrics");
    let readings = reading.round();
    let after = subject.ask("metrics");
    let stats_after = subject.ask("memstats")["memstats"].take();
    let told = reading.ways.told((&subject.process.life).into(), Part::Runtime, 2_000_000);
    let mut numbers = agree::numbers(&before, &after, &readings);
    numbers.same("the way", told, Some(Told::Read(Way::Memory)));
    row.put(numbers);
    row.put(agree::histograms(&before, &after, &readings));
    row.put(agree::memstats(&stats_before, &stats_after, &readings));
}

/// Goroutines by site, how long they have been blocked, and where.
fn read_goroutines(path: &Path, row: &mut Row) {
    let mut subject = Subject::start(path, &[]);
    subject.ask("park 700");
    subject.ask("hold 50");
    // Since when something waits is the end of the collection before the one that saw it wait.
    subject.ask("gc");
    subject.ask("gc");
    let mut reading = Reading::of(vec![subject.process.clone()], |config| config.leak_blocked_ms = 0);
    let readings = reading.round();
    let told = subject.ask("goroutines");
    let census = reading.censuses.lock().get(&subject.process.life).cloned().expect("a census");
    let mut agreement = Agreement::default();
    agreement.same("all", Some(census.total), told["count"].as_u64());
    let told = agree::by_site(&told);
    for ((function, created_by, wait), count) in &told {
        let site = Site { function: function.clone(), created_by: created_by.clone(), wait: wait.clone() };
        let found = census.sites.get(&site).map(|site| site.count);
        agreement.same(&format!("{site:?}"), found, Some(*count));
        let labels = format!(r#"site="{function}", wait="{wait}""#);
        let series = readings.iter().find(|(own, _)| {
            own.get(METRIC_NAME) == Some("go_goroutines_by_site")
                && own.get("created_by") == Some(created_by)
                && own.to_string().contains(&labels)
        });
        agreement.take(&format!("the series of {site:?}"), series.and_then(|(_, own)| own.value()), both(*count), 0.0);
    }
    for (function, count, blocked_in) in [("main.parked", 700, "main.receive"), ("main.locked", 50, "main.locked")] {
        let Some((_, own)) = census.sites.iter().find(|(site, _)| site.function == function) else {
            agreement.faults.push(format!("no {function}"));
            continue;
        };
        agreement.same(function, (own.count, own.blocked_long, own.leaked), (count, count, 0));
        agreement.same(function, own.longest_blocked_ms.is_some(), true);
        let line = own.line.as_ref().is_some_and(|line| line.file.ends_with("main.go") && line.line > 100);
        agreement.same("its line", line, true);
        let at = own.blocked_at.as_ref().map(|(function, _)| function.as_str());
        agreement.same("where it is blocked", at, Some(blocked_in));
    }
    row.put(agreement);
}

#[expect(clippy::cast_precision_loss, reason = "small counts")]
fn both(count: u64) -> (f64, f64) {
    (count as f64, count as f64)
}

/// The profiles of memory, of mutexes and of blocking.
fn read_profiles(path: &Path, row: &mut Row) {
    // What a tick is programs say once they are asked; a second of the agent's own tells it, or two programs that started so
    // far apart.
    let mut older = Subject::start(path, &[]);
    "web1/1".clone_into(&mut older.process.instance);
    let mut reading = Reading::of(Vec::new(), |_| {});
    std::thread::sleep(Duration::from_millis(1100));
    let mut subject = Subject::start(path, &[]);
    let processes = vec![older.process.clone(), subject.process.clone()];
    *reading.processes.lock() = Arc::new(Scan { processes, ..Scan::default() });
    for command in ["keep 400", "contend 5", "gc", "gc"] {
        subject.ask(command);
    }
    let readings = reading.round();
    let heap = subject.ask("heap");
    let mut agreement = Agreement::default();
    for (key, series) in [("inuse", "go_heap_inuse_bytes_by_site"), ("allocated", "go_heap_allocs_bytes_by_site_total")]
    {
        let told = number(&heap, key);
        let found = value(&readings, series, r#"site="main.keep""#);
        agreement.take(key, found, (told, told), told * HEAP_BOUND);
        agreement.same(key, (1e6..8e7).contains(&told), true);
    }
    row.put(agreement);
    let waits = subject.ask("waits");
    for (part, key, series, site) in [
        (Part::MutexProfile, "mutex", "go_mutex_wait_seconds_by_site_total", "main.release"),
        (Part::BlockProfile, "block", "go_block_wait_seconds_by_site_total", "main.waiter"),
    ] {
        let told = reading.ways.told((&subject.process.life).into(), part, 2_000_000);
        let mut agreement = Agreement::default();
        let seconds = number(&waits, key);
        let found = value(&readings, series, &format!(r#"site="{site}""#));
        agreement.take(key, found, (seconds, seconds), seconds * WAIT_BOUND);
        agreement.same(key, (0.02..60.0).contains(&seconds), true);
        row.parts.push(agreement);
        row.reasons.push(match told {
            Some(Told::Not(reason)) => Some(reason),
            _ => None,
        });
    }
}

/// Where the rows go that a run over several toolchains puts together.
fn keep(lines: &[String]) {
    if let Some(path) = std::env::var_os("METRICKIT_GO_TABLE") {
        let mut file = std::fs::File::options().create(true).append(true).open(path).expect("a file");
        for line in lines {
            writeln!(file, "{line}").expect("written");
        }
    }
}

#[test]
fn what_is_read_is_what_the_program_says_of_itself() {
    let mut rows = Vec::new();
    for toolchain in Toolchain::all() {
        for (form, _) in FORMS {
            let path = build_with(&toolchain, form);
            let release = Subject::start(&path, &[]).process.build.go_version.clone();
            let mut row = Row { release, form, parts: Vec::new(), reasons: Vec::new() };
            read_numbers(&path, &mut row);
            read_goroutines(&path, &mut row);
            read_profiles(&path, &mut row);
            rows.push(row);
        }
        if toolchain.chosen {
            // Of many releases these would take gigabytes.
            let built = build_with(&toolchain, FORMS[0].0);
            std::fs::remove_dir_all(built.parent().expect("a folder")).expect("removed");
        }
    }
    println!("release | build | {}", PARTS.join(" | "));
    let lines: Vec<String> = rows.iter().map(|row| row.cells().join(" | ")).collect();
    for line in &lines {
        println!("{line}");
    }
    keep(&lines);
    let mut wrong = Vec::new();
    for row in &rows {
        for ((part, name), reason) in row.parts.iter().zip(PARTS).zip(&row.reasons) {
            let place = format!("{} {}, {name}", row.release, row.form);
            for (metric, off, bound) in &part.near {
                println!("{place}: {metric} off by {off}, bound {bound}");
            }
            match reason {
                Some(reason) => wrong.push(format!("{place}: {}", reason.text())),
                None => wrong.extend(part.faults.iter().map(|fault| format!("{place}: {fault}"))),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Experiments of the toolchain change how the runtime's types are laid out, or do not: what is known is read as exactly as without, of
/// the rest it is told that it is not.
#[test]
fn experiments_are_read_where_their_types_are_known() {
    for toolchain in Toolchain::all() {
        for (experiments, is_known) in [
            ("greenteagc", true),
            ("nogreenteagc", true),
            ("arenas,cgocheck2,fieldtrack", true),
            ("staticlockranking", false),
        ] {
            let Some(path) = build_experimental(&toolchain, experiments) else {
                println!("SKIPPED: a toolchain that does not know {experiments}");
                continue;
            };
            if is_known {
                let mut row = Row { release: String::new(), form: "plain", parts: Vec::new(), reasons: Vec::new() };
                read_numbers(&path, &mut row);
                read_goroutines(&path, &mut row);
                let faults: Vec<&String> = row.parts.iter().flat_map(|part| &part.faults).collect();
                assert!(faults.is_empty(), "{experiments}: {faults:#?}");
            } else {
                let subject = Subject::start(&path, &[]);
                let mut reading = Reading::of(vec![subject.process.clone()], |_| {});
                let readings = reading.round();
                assert_eq!(readings.len(), 0, "{experiments}");
                for part in Part::ALL {
                    let told = reading.ways.told((&subject.process.life).into(), part, 2_000_000);
                    assert_eq!(told, Some(Told::Not(Reason::UnknownRelease)), "{experiments}, {part:?}");
                }
            }
            if toolchain.chosen {
                std::fs::remove_dir_all(path.parent().expect("a folder")).expect("removed");
            }
        }
    }
}
