//! `metrickit rules shipped`: the rules that come with the program.

use model::time::ShowDuration;
use rules::file::Kind;
use rules::shipped::{FILES, files};

use crate::UsageError;
use crate::cli::RulesShippedArgs;
use crate::output::Output;
use crate::render::table;

/// Lists them, or prints a file.
pub(crate) fn run(args: &RulesShippedArgs, output: &mut Output) -> anyhow::Result<()> {
    if let Some(wanted) = &args.file {
        let found = FILES.iter().find(|(name, _)| short(name) == wanted || *name == wanted);
        let Some((_, text)) = found else {
            let names: Vec<&str> = FILES.iter().map(|(name, _)| short(name)).collect();
            return Err(UsageError(format!("there is no file {wanted:?}; there are {}", names.join(", "))).into());
        };
        output.text(text)?;
        return Ok(());
    }
    let width = output.is_terminal.then(|| output.width());
    output.text(&table::aligned(&["file", "alert", "for", "what it says"], &rows(), 0, width))?;
    Ok(())
}

fn rows() -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for file in files() {
        for rule in file.groups.iter().flat_map(|group| &group.rules) {
            let Kind::Alerting(alerting) = &rule.kind else { continue };
            let hold = if alerting.waits.hold_ms > 0 {
                ShowDuration(alerting.waits.hold_ms).to_string()
            } else {
                String::new()
            };
            let says = alerting.annotations.get("description").map(|text| plain(text)).unwrap_or_default();
            rows.push(vec![short(&file.name).to_owned(), rule.name.clone(), hold, says]);
        }
    }
    rows
}

fn short(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// A template as people read it: `{{ $labels.job }}` is `JOB`, a value `N`.
fn plain(template: &str) -> String {
    let mut text = String::new();
    let mut rest = template;
    let name = |action: &str| action.strip_prefix("$labels.").map(str::to_uppercase);
    // What `.` is within each `with`.
    let mut withs = Vec::new();
    while let Some((before, inside)) = rest.split_once("{{") {
        let (action, after) = inside.split_once("}}").unwrap_or((inside, ""));
        text.push_str(before);
        let action = action.trim();
        if let Some(label) = name(action) {
            text.push_str(&label);
        } else if let Some(value) = action.strip_prefix("with ") {
            withs.push(name(value.trim()).unwrap_or_else(|| "…".to_owned()));
        } else if action == "end" {
            withs.pop();
        } else if action.starts_with("$value") {
            text.push('N');
        } else if action == "." {
            text.push_str(withs.last().map_or("…", String::as_str));
        }
        rest = after;
    }
    text.push_str(rest);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_is_listed_in_words() {
        let rows = rows();
        assert!(rows.len() > 40, "{}", rows.len());
        assert!(rows.iter().all(|row| !row[3].is_empty() && !row[3].contains("{{")), "{rows:?}");
        assert_eq!(
            plain(
                "{{ $value | humanize }} of {{ $labels.job }}{{ with $labels.x }} at {{ . }}{{ with $labels.y }}:{{ . }}{{ end }} {{ . }}{{ end }}."
            ),
            "N of JOB at X:Y X."
        );
    }
}
