//! `metrickit rules check`: every fault of rule files with its place, and on request what is seldom meant.

use std::collections::{BTreeMap, BTreeSet};

use model::time::parse_duration_ms;
use rules::file::lint::{Hint, hints, selectors};
use rules::file::{Kind, RuleFile, read};

use crate::UsageError;
use crate::cli::RulesCheckArgs;
use crate::client::Client;
use crate::commands::admin::counted as plurals;
use crate::output::Output;

/// Most selectors that a server is asked for.
const SELECTORS_MAX: usize = 2_000;

/// Reads and tells; whether there is no fault.
pub(super) fn run(args: &RulesCheckArgs, output: &mut Output) -> anyhow::Result<bool> {
    let interval_ms = parse_duration_ms(&args.interval).map_err(|error| UsageError(format!("--interval: {error}")))?;
    let (mut files, mut is_good) = (Vec::new(), true);
    for path in &args.files {
        let name = path.display().to_string();
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                is_good = false;
                output.line(&format!("{name}: {error}"))?;
                continue;
            }
        };
        match read(&name, &text) {
            Ok(file) => files.push(file),
            Err(faults) => {
                is_good = false;
                for fault in faults {
                    output.line(&fault.to_string())?;
                }
            }
        }
    }
    for file in &files {
        output.line(&format!("{}: {}", file.name, counted(file)))?;
    }
    let mut found: Vec<Hint> = Vec::new();
    if args.lint || args.strict || args.url.is_some() {
        found.extend(files.iter().flat_map(|file| hints(file, interval_ms)));
    }
    if let Some(url) = &args.url {
        found.extend(missing(&files, &Client::new(url).map_err(|error| UsageError(error.to_string()))?)?);
    }
    for hint in &found {
        output.line(&format!("hint: {hint}"))?;
    }
    Ok(is_good && (found.is_empty() || !args.strict))
}

fn plural(count: usize, what: &str) -> String {
    plurals(count as u64, what)
}

fn counted(file: &RuleFile) -> String {
    let rules = || file.groups.iter().flat_map(|group| &group.rules);
    let alerts = rules().filter(|rule| rule.alerting().is_some()).count();
    let recording = rules().count() - alerts;
    let (alerts, recording) = (plural(alerts, "alerting rule"), plural(recording, "recording rule"));
    format!("{alerts} and {recording} in {}", plural(file.groups.len(), "group"))
}

/// Rules that select what the server does not have, and no rule makes.
fn missing(files: &[RuleFile], client: &Client) -> anyhow::Result<Vec<Hint>> {
    let all = || {
        files
            .iter()
            .flat_map(|file| file.groups.iter().flat_map(move |group| group.rules.iter().map(move |rule| (file, rule))))
    };
    let made: BTreeSet<&str> = all()
        .filter(|(_, rule)| matches!(rule.kind, Kind::Recording))
        .map(|(_, rule)| rule.name.as_str())
        .chain(["ALERTS", "ALERTS_FOR_STATE"])
        .collect();
    let mut known: BTreeMap<String, bool> = BTreeMap::new();
    let mut found = Vec::new();
    for (file, rule) in all() {
        for (text, selector) in selectors(rule) {
            if selector.metric_name().is_some_and(|name| made.contains(name)) {
                continue;
            }
            let exists = match known.get(&text) {
                Some(exists) => *exists,
                None if known.len() >= SELECTORS_MAX => true,
                None => {
                    let exists = !client.series(&text, 1)?.is_empty();
                    known.insert(text.clone(), exists);
                    exists
                }
            };
            if !exists {
                let message = format!("the server has no series {text}");
                found.push(Hint { file: file.name.clone(), line: rule.line, rule: rule.name.clone(), message });
            }
        }
    }
    Ok(found)
}
