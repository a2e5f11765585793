//! `metrickit rules test`: unit tests of rules, and what is not as expected side by side with what is.

use std::path::Path;

use anyhow::Context;
use model::time::ShowDuration;
use rules::file::RuleFile;
use rules::unit_tests::{self, Failure, Pair, Reason, Row, Subject, TestFile, TestReport};
use serde_json::{Value as Json, json};

use crate::cli::RulesTestArgs;
use crate::commands::admin::counted;
use crate::output::Output;
use crate::render::text::{paint, visible};
use crate::render::{append, table};

/// Columns a table is laid out for where it does not go to a terminal.
const COLUMNS: usize = 120;

/// What came of a file.
struct Outcome {
    name: String,
    /// Why nothing of it could be run.
    faults: Vec<String>,
    /// Patterns of rule files that no file is like.
    unused: Vec<String>,
    tests: Vec<TestReport>,
}

impl Outcome {
    fn failures(&self) -> usize {
        self.tests.iter().map(|test| test.failures.len()).sum()
    }

    /// Whether no test of it was run, and nothing is wrong with it.
    fn is_idle(&self) -> bool {
        self.faults.is_empty() && self.tests.is_empty()
    }

    fn is_good(&self) -> bool {
        self.faults.is_empty() && self.failures() == 0
    }
}

/// Runs all files; whether everything is as expected.
pub(crate) fn run(args: &RulesTestArgs, output: &mut Output) -> anyhow::Result<bool> {
    let mut outcomes = Vec::new();
    for file in &args.files {
        let outcome = run_file(file, args.only.as_deref());
        let is_left_out = args.only.is_some() && outcome.is_idle();
        if !args.json && !is_left_out {
            let columns = if output.is_terminal { output.width() } else { COLUMNS };
            output.text(&told(&outcome, columns, output.color))?;
        }
        outcomes.push(outcome);
    }
    if let Some(only) = args.only.as_deref().filter(|_| outcomes.iter().all(Outcome::is_idle)) {
        anyhow::bail!("no test is like --only {only:?}");
    }
    if args.json {
        output.line(&json!({ "files": outcomes.iter().map(as_json).collect::<Vec<_>>() }).to_string())?;
    }
    Ok(outcomes.iter().all(Outcome::is_good))
}

fn run_file(path: &Path, only: Option<&str>) -> Outcome {
    let name = path.display().to_string();
    let mut outcome = Outcome { name, faults: Vec::new(), unused: Vec::new(), tests: Vec::new() };
    match load(path, &mut outcome) {
        Ok((file, rules)) => {
            let is_wanted = |name: &str| only.is_none_or(|only| server::is_like(only, name));
            let tests = file.tests.iter().filter(|test| is_wanted(&test.name));
            outcome.tests = tests.map(|test| unit_tests::run(&file, test, &rules)).collect();
        }
        Err(faults) => outcome.faults = faults,
    }
    outcome
}

/// Reads a file of tests and the rules that it names.
fn load(path: &Path, outcome: &mut Outcome) -> Result<(TestFile, Vec<RuleFile>), Vec<String>> {
    let told = |faults: Vec<rules::file::FileFault>| faults.iter().map(ToString::to_string).collect::<Vec<_>>();
    let text = read(path).map_err(|error| vec![format!("{error:#}")])?;
    let file = unit_tests::read(&outcome.name, &text).map_err(told)?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let (mut rules, mut faults) = (Vec::new(), Vec::new());
    for pattern in &file.rule_files {
        let paths = server::matching_files(&folder.join(pattern).to_string_lossy());
        let paths = paths.map_err(|error| vec![format!("rule_files {pattern:?}: {error}")])?;
        if paths.is_empty() {
            outcome.unused.push(pattern.clone());
        }
        for path in paths {
            let text = read(&path).map_err(|error| vec![format!("{error:#}")])?;
            match rules::file::read(&path.display().to_string(), &text) {
                Ok(file) => rules.push(file),
                Err(found) => faults.extend(told(found)),
            }
        }
    }
    if faults.is_empty() { Ok((file, rules)) } else { Err(faults) }
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))
}

fn told(outcome: &Outcome, columns: usize, color: bool) -> String {
    let mut text = String::new();
    let name = visible(&outcome.name);
    let cases: usize = outcome.tests.iter().map(|test| test.passed).sum();
    let failures = outcome.failures();
    let tests = counted(outcome.tests.len() as u64, "test");
    if !outcome.faults.is_empty() {
        append(&mut text, format_args!("{} {name} cannot be run\n", paint("✗", "31", color)));
    } else if failures == 0 {
        let cases = counted(cases as u64, "case");
        append(&mut text, format_args!("{} {name}: {cases} of {tests} as expected\n", paint("✓", "32", color)));
    } else {
        let all = counted((cases + failures) as u64, "case");
        append(
            &mut text,
            format_args!("{} {name}: {failures} of {all} of {tests} not as expected\n", paint("✗", "31", color)),
        );
    }
    for fault in &outcome.faults {
        append(&mut text, format_args!("  {}\n", visible(fault)));
    }
    for pattern in &outcome.unused {
        append(&mut text, format_args!("  no file is like rule_files {pattern:?}\n"));
    }
    for test in &outcome.tests {
        for failure in &test.failures {
            text.push('\n');
            text.push_str(&failed(&name, test, failure, columns));
        }
    }
    text
}

/// Where, what, and both sides.
fn failed(file: &str, of: &TestReport, failure: &Failure, columns: usize) -> String {
    let mut text = format!("{file}:{}", failure.line);
    if !of.name.is_empty() {
        append(&mut text, format_args!(" ({})", visible(&of.name)));
    }
    append(&mut text, format_args!(": {}", subject(&failure.subject)));
    match &failure.reason {
        Reason::Fault(message) => append(&mut text, format_args!(": {}\n", visible(message))),
        Reason::Differs { same, pairs } => {
            let found = pairs.iter().filter(|pair| pair.is_found).count() + same;
            let expected = pairs.iter().filter(|pair| pair.is_expected).count() + same;
            append(&mut text, format_args!(": {expected} expected, {found} found, {same} the same\n"));
            for pair in pairs {
                text.push_str(&side_by_side(pair, columns));
            }
        }
    }
    text
}

fn subject(subject: &Subject) -> String {
    match subject {
        Subject::Test => "the test".to_owned(),
        Subject::Rule { name, at_ms } => format!("rule {} at {}", visible(name), ShowDuration(*at_ms)),
        Subject::Alert { name, at_ms } => format!("alerts {} at {}", visible(name), ShowDuration(*at_ms)),
        Subject::Expr { text, at_ms } => format!("{} at {}", visible(text), ShowDuration(*at_ms)),
    }
}

fn side_by_side(pair: &Pair, columns: usize) -> String {
    let nothing = || "-".to_owned();
    let row = |row: &Row| {
        let mark = if row.is_same() { "" } else { "≠" };
        let side = |text: &Option<String>| text.clone().unwrap_or_else(nothing);
        vec![mark.to_owned(), row.name.clone(), side(&row.expected), side(&row.found)]
    };
    let (expected, found) = match (pair.is_expected, pair.is_found) {
        (true, false) => ("expected", "found: nothing like it"),
        (false, true) => ("expected: nothing like it", "found"),
        _ => ("expected", "found"),
    };
    let rows: Vec<Vec<String>> = pair.rows.iter().map(row).collect();
    table::aligned(&["", "", expected, found], &rows, 0, Some(columns))
}

fn as_json(outcome: &Outcome) -> Json {
    let failure = |failure: &Failure| {
        let (kind, subject, at_ms) = match &failure.subject {
            Subject::Test => ("test", "", 0),
            Subject::Rule { name, at_ms } => ("rule", name.as_str(), *at_ms),
            Subject::Alert { name, at_ms } => ("alert", name.as_str(), *at_ms),
            Subject::Expr { text, at_ms } => ("expr", text.as_str(), *at_ms),
        };
        let (message, same, pairs) = match &failure.reason {
            Reason::Fault(message) => (Some(message), 0, Vec::new()),
            Reason::Differs { same, pairs } => (None, *same, pairs.iter().map(pair_json).collect()),
        };
        json!({
            "line": failure.line, "kind": kind, "subject": subject, "atMs": at_ms,
            "error": message, "same": same, "different": pairs,
        })
    };
    let test = |test: &TestReport| {
        json!({
            "name": test.name, "line": test.line, "passed": test.passed,
            "failures": test.failures.iter().map(failure).collect::<Vec<_>>(),
        })
    };
    json!({
        "file": outcome.name,
        "good": outcome.is_good(),
        "faults": outcome.faults,
        "tests": outcome.tests.iter().map(test).collect::<Vec<_>>(),
    })
}

fn pair_json(pair: &Pair) -> Json {
    let side = |is_there: bool, of: fn(&Row) -> Option<&String>| {
        let parts = pair.rows.iter().filter_map(|row| Some((row.name.clone(), Json::from(of(row)?.as_str()))));
        is_there.then(|| Json::Object(parts.collect()))
    };
    json!({
        "expected": side(pair.is_expected, |row| row.expected.as_ref()),
        "found": side(pair.is_found, |row| row.found.as_ref()),
    })
}
