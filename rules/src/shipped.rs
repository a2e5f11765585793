//! The rules that come with the program, and what to do when they fire.
//!
//! They are files as people write them (`rules/shipped`), with unit tests in promtool's form beside them; the runbooks are a page of the
//! documentation. Here they are in the program, so that it works without any file.

use crate::file::{RuleFile, read};

/// The files: name and text.
pub const FILES: [(&str, &str); 4] = [
    ("shipped/alerting.yml", include_str!("../shipped/alerting.yml")),
    ("shipped/go.yml", include_str!("../shipped/go.yml")),
    ("shipped/hosts.yml", include_str!("../shipped/hosts.yml")),
    ("shipped/metrickit.yml", include_str!("../shipped/metrickit.yml")),
];

/// The rule that fires when the server does not keep its own metrics, so not for one that is told not to.
pub const MISSES_SELF_METRICS: &str = "ServerStoresNothing";

const RUNBOOKS: &str = include_str!("../../docs/runbooks.md");

/// The files, read.
pub fn files() -> Vec<RuleFile> {
    // The tests read every one of them, so none is left out.
    FILES.iter().filter_map(|(name, text)| read(name, text).ok()).collect()
}

/// What to do when `alert`, which is a shipped rule's, fires: Markdown, the title first.
pub fn runbook(alert: &str) -> Option<&'static str> {
    let mut start = None;
    let mut at = 0;
    for line in RUNBOOKS.split_inclusive('\n') {
        match start {
            Some(start) if line.starts_with('#') => return RUNBOOKS.get(start..at).map(str::trim_end),
            None if line.trim_end().strip_prefix("## ") == Some(alert) => start = Some(at),
            _ => {}
        }
        at += line.len();
    }
    start.and_then(|start| RUNBOOKS.get(start..)).map(str::trim_end)
}

/// All runbooks, as one page of Markdown.
pub fn runbooks() -> &'static str {
    RUNBOOKS
}
