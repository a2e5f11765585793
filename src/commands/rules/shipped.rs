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

/// A template as people read it: `{{ $labels.job }}` is `JOB`, `{{ $params.limit }}` is `LIMIT`, a value `N`; of what depends on something, what
/// is said where that is there.
fn plain(template: &str) -> String {
    let mut text = String::new();
    let mut rest = template;
    let name = |action: &str| {
        let of = ["$labels.", "$params."].iter().find_map(|of| action.strip_prefix(of))?;
        Some(of.split(|c: char| c.is_whitespace() || c == '|').next()?.to_uppercase())
    };
    // What `.` is within each block, and whether that is the part where there is none.
    let mut blocks: Vec<(String, bool)> = Vec::new();
    while let Some((before, inside)) = rest.split_once("{{") {
        let (action, after) = inside.split_once("}}").unwrap_or((inside, ""));
        let action = action.trim();
        let dot = blocks.last().map_or("…", |(dot, _)| dot).to_owned();
        let said = match action {
            "." => dot.clone(),
            value if value.starts_with("$value") => "N".to_owned(),
            other => name(other).unwrap_or_default(),
        };
        if blocks.iter().all(|(_, is_else)| !is_else) {
            text.extend([before, &said]);
        }
        match action.split_once(' ').unwrap_or((action, "")) {
            ("with", value) => blocks.push((name(value.trim()).unwrap_or_else(|| "…".to_owned()), false)),
            ("if", _) => blocks.push((dot, false)),
            ("range", _) => blocks.push(("…".to_owned(), false)),
            ("else", _) => blocks.iter_mut().last().into_iter().for_each(|(_, is_else)| *is_else = true),
            ("end", _) => drop(blocks.pop()),
            _ => {}
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
        assert_eq!(
            plain(
                "{{ if $labels.a }}{{ with $labels.file }}{{ . }}{{ else }}{{ $labels.site }} of{{ if $value }} x{{ end }}{{ end }}{{ end }} over {{ $params.limit | humanize }} is too many"
            ),
            "FILE over LIMIT is too many"
        );
    }
}
