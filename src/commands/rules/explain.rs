//! `metrickit rules explain`: how a rule reads, which override holds and why, and what each of its alerts waits for.
//!
//! With rule files no server is asked, and what only a server knows is left out. Both ways give one JSON, which the text is made of.

use std::path::PathBuf;

use model::Labels;
use model::time::ShowDuration;
use rules::evaluate::Settings;
use rules::evaluate::explain::{Explained, Place, nearest};
use rules::file::RuleFile;
use serde_json::{Value as Json, json};

use super::backtest::read;
use crate::UsageError;
use crate::cli::RulesExplainArgs;
use crate::commands::admin::server;
use crate::commands::alerts::told_labels;
use crate::output::Output;
use crate::render::text::visible;
use crate::render::{append, table};
use crate::when::show_instant;

/// How instants are shown.
const TIME_PATTERN: &str = "%Y-%m-%d %H:%M:%S";
/// States in the order in which they matter.
const STATES: [&str; 5] = ["firing", "pending", "resolved", "inactive", "recorded"];
/// Width of the names of facts.
const NAMES_WIDTH: usize = 16;
/// Most characters of a number before it is rounded.
const DIGITS_MAX: usize = 10;

/// Explains.
pub(super) fn run(args: &RulesExplainArgs, output: &mut Output) -> anyhow::Result<()> {
    let labels = labels(&args.labels)?;
    let answer = if args.files.is_empty() && !args.shipped {
        let limit = args.limit.to_string();
        let mut pairs = vec![("name", args.name.as_str()), ("limit", limit.as_str())];
        pairs.extend(args.labels.iter().map(|label| ("label", label.as_str())));
        server(args.server.url.as_deref())?.get("/api/v1/rules/explain", &pairs)?
    } else {
        of_files(&args.files, args.shipped, &args.name, &labels)?
    };
    if args.server.json {
        output.line(&answer.to_string())?;
        return Ok(());
    }
    let width = output.is_terminal.then(|| output.width());
    output.text(&told(&answer, width))?;
    Ok(())
}

fn labels(texts: &[String]) -> anyhow::Result<Labels> {
    let wrong = |text: &String| UsageError(format!("{text:?} is no label; write it like job=api"));
    let pairs =
        texts.iter().map(|text| text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(|| wrong(text)));
    let pairs = pairs.collect::<Result<Vec<(&str, &str)>, UsageError>>()?;
    Ok(Labels::from_pairs(pairs).map_err(|error| UsageError(error.to_string()))?)
}

/// What the files alone say.
fn of_files(paths: &[PathBuf], with_shipped: bool, name: &str, labels: &Labels) -> anyhow::Result<Json> {
    let mut files = paths.iter().map(|path| read(path)).collect::<anyhow::Result<Vec<RuleFile>>>()?;
    if with_shipped {
        files.extend(rules::shipped::files());
    }
    let settings = Settings { interval_ms: 60_000, ..Settings::default() };
    let all = || {
        let groups = files.iter().flat_map(|file| file.groups.iter().map(move |group| (file.name.as_str(), group)));
        groups.flat_map(|(file, group)| group.rules.iter().map(move |rule| Place { file, group, rule }))
    };
    let found: Vec<Explained> =
        all().filter(|place| place.rule.name == name).map(|place| Explained::new(place, &settings, labels)).collect();
    if found.is_empty() {
        let near = nearest(name, all().map(|place| place.rule.name.as_str()));
        let hint = near.map_or_else(String::new, |near| format!("; did you mean {near}?"));
        return Err(UsageError(format!("no rule of these files is called {name:?}{hint}")).into());
    }
    Ok(json!({ "rules": found }))
}

fn told(answer: &Json, width: Option<usize>) -> String {
    let now_ms = answer["now_ms"].as_i64();
    let rules = list(&answer["rules"]);
    rules.iter().map(|rule| told_rule(rule, &answer["external_labels"], now_ms, width)).collect::<Vec<_>>().join("\n")
}

fn told_rule(rule: &Json, external: &Json, now_ms: Option<i64>, width: Option<usize>) -> String {
    let of = |name: &str| text_of(&rule[name]);
    let mut text = format!("{}\n", visible(&of("name")));
    let mut fact =
        |name: &str, value: &str| append(&mut text, format_args!("  {name:NAMES_WIDTH$}{}\n", visible(value)));
    let every = duration(&rule["interval_ms"]);
    fact("rule", &format!("{}, {}:{}, group {}, every {every}", of("kind"), of("file"), of("line"), of("group")));
    if let Some(now_ms) = now_ms {
        fact("evaluated", &evaluated(&rule["evaluation"], now_ms));
    }
    if rule["fault"].is_string() {
        fact("now", &format!("it cannot be computed: {}", of("fault")));
    }
    let reading = &rule["reading"];
    let subject = told_labels(&rule["subject"]);
    // Of several alerts these may be the labels of the first.
    let instances = list(&rule["instances"]);
    let of_first = instances.len() > 1 && instances[0]["labels"] == rule["subject"];
    if !subject.is_empty() && !of_first {
        fact("labels", &subject);
    }
    let asks = text_of(&reading["expr"]);
    if asks != of("expr") {
        fact("written", &of("expr"));
    }
    fact("asks", &asks);
    let overrides = list(&rule["overrides"]);
    let is_alerting = rule["kind"] == "alerting";
    for (name, value) in parameters(reading, overrides.last().unwrap_or(&Json::Null), is_alerting) {
        fact(&name, &value);
    }
    if is_alerting {
        fact("on_no_data", on_no_data(&of("on_no_data")));
        fact("on_error", on_error(&of("on_error")));
    }
    if overrides.len() > 1 {
        text.push_str("\noverrides, the most specific first\n");
        text.push_str(&told_overrides(overrides, subject.is_empty() && now_ms.is_some(), width));
    }
    // Without an evaluation its alerts are not known.
    if let Some(now_ms) = now_ms.filter(|_| rule["evaluation"].is_object()) {
        text.push('\n');
        text.push_str(&told_instances(rule, now_ms, width));
    }
    if is_alerting {
        let first = list(&rule["instances"]).first().map_or(&rule["subject"], |first| &first["labels"]);
        append(
            &mut text,
            format_args!("\nwho is told, and what keeps it quiet: {}\n", route(&of("name"), first, external)),
        );
    }
    text
}

fn evaluated(evaluation: &Json, now_ms: i64) -> String {
    let Some(at_ms) = evaluation["at_ms"].as_i64() else { return "not yet".to_owned() };
    let when = format!("{} ago, {} UTC", rough(now_ms - at_ms), show_instant(at_ms, TIME_PATTERN));
    let took_ms = evaluation["took_us"].as_f64().unwrap_or_default() / 1000.0;
    match evaluation["error"].as_str() {
        None => format!("{when}, in {took_ms:.1} ms"),
        Some(error) => format!("{when}, and FAILED: {error}"),
    }
}

/// Every parameter with its value, and what it is without the override that gives it.
fn parameters(reading: &Json, usual: &Json, is_alerting: bool) -> Vec<(String, String)> {
    let line = reading["override_line"].as_u64();
    let told = |value: String, without: String| match line {
        Some(line) if value != without => format!("{value} by the override in line {line}; {without} without it"),
        _ => value,
    };
    let params = reading["params"].as_object().into_iter().flatten();
    let mut all: Vec<(String, String)> = params
        .map(|(name, value)| (format!("${name}"), told(text_of(value), text_of(&usual["params"][name]))))
        .collect();
    if is_alerting {
        for (name, field) in [("for", "for_ms"), ("keep_firing_for", "keep_firing_for_ms")] {
            all.push((name.to_owned(), told(duration(&reading[field]), duration(&usual[field]))));
        }
    }
    all
}

fn on_no_data(word: &str) -> &'static str {
    match word {
        "keep" => "keep: alerts stay as they are until there is data",
        "alert" => "alert: no data counts as the condition",
        "nodata" => "nodata: alerts stay as they are, and an alert NoData fires after `for`",
        _ => "resolve: alerts end when their series end",
    }
}

fn on_error(word: &str) -> &'static str {
    match word {
        "alert" => "alert: alerts stay as they are, and an alert RuleError fires after `for`",
        _ => "keep: alerts stay as they are",
    }
}

/// A line for each way of reading; for many series at once how many each is chosen for, else why it is chosen or not.
fn told_overrides(overrides: &[Json], of_many: bool, width: Option<usize>) -> String {
    let usual = overrides.last().unwrap_or(&Json::Null);
    let row = |one: &Json| {
        let matchers = text_of(&one["match"]);
        let is_usual = matchers.is_empty();
        let params = one["params"].as_object().into_iter().flatten();
        let mut sets: Vec<String> = params.map(|(name, value)| format!("${name} = {}", text_of(value))).collect();
        for (name, field) in [("for", "for_ms"), ("keep_firing_for", "keep_firing_for_ms")] {
            if one[field] != usual[field] {
                sets.push(format!("{name} {}", duration(&one[field])));
            }
        }
        let labels = one["labels"].as_object().into_iter().flatten();
        sets.extend(labels.map(|(name, value)| format!("{name}={}", text_of(value))));
        let held = match text_of(&one["verdict"]).as_str() {
            _ if of_many => text_of(&one["instances"]),
            "chosen" => "chosen".to_owned(),
            "less_specific" if is_usual => text_of(&one["why"]),
            "less_specific" => format!("matches; {}", text_of(&one["why"])),
            _ => format!("no: {}", text_of(&one["why"])),
        };
        vec![
            format!("{} ({})", text_of(&one["line"]), text_of(&one["level"])),
            if is_usual { "all others".to_owned() } else { matchers },
            sets.join(", "),
            held,
        ]
    };
    let rows: Vec<Vec<String>> = overrides.iter().map(row).collect();
    table::aligned(&["line", "for series with", "sets", if of_many { "series" } else { "here" }], &rows, 0, width)
}

fn told_instances(rule: &Json, now_ms: i64, width: Option<usize>) -> String {
    let instances = list(&rule["instances"]);
    let counts = rule["counts"].as_object().into_iter().flatten();
    let total: u64 = counts.filter_map(|(_, count)| count.as_u64()).sum();
    if total == 0 {
        let asked = told_labels(&rule["subject"]);
        return if asked.is_empty() {
            "no series that it looks at has data now, and it has no alerts\n".to_owned()
        } else {
            format!("no series with {} has data now, and no alert has these labels\n", visible(&asked))
        };
    }
    let counts = STATES.iter().filter_map(|state| Some((state, rule["counts"][state].as_u64()?)));
    let counts: Vec<String> = counts.map(|(state, count)| format!("{count} {state}")).collect();
    let mut text = format!("{}\n", counts.join(", "));
    let row = |one: &Json| {
        vec![
            state(one),
            since(one, now_ms).unwrap_or_default(),
            next(rule, one, now_ms),
            condition(one),
            told_labels(&one["labels"]).trim_start_matches(&text_of(&rule["name"])).trim_start().to_owned(),
        ]
    };
    let rows: Vec<Vec<String>> = instances.iter().map(row).collect();
    text.push_str(&table::aligned(&["state", "since (UTC)", "next", "now", "labels"], &rows, 0, width));
    let left_out = total.saturating_sub(instances.len() as u64);
    if left_out > 0 {
        append(&mut text, format_args!("and {left_out} more: name labels of those you mean, or use --limit\n"));
    }
    text
}

fn state(one: &Json) -> String {
    let state = text_of(&one["state"]);
    match (state.as_str(), one["kept_until_ms"].is_i64(), one["has_data"] == false) {
        ("firing", true, _) => "kept firing".to_owned(),
        (_, _, true) => format!("{state}, no data"),
        _ => state,
    }
}

fn since(one: &Json, now_ms: i64) -> Option<String> {
    let field = match one["state"].as_str()? {
        "firing" => "firing_since_ms",
        "pending" => "active_since_ms",
        "resolved" => "resolved_at_ms",
        _ => return None,
    };
    let at_ms = one[field].as_i64()?;
    Some(format!("{} ({} ago)", show_instant(at_ms, TIME_PATTERN), rough(now_ms - at_ms)))
}

/// What happens if nothing changes.
fn next(rule: &Json, one: &Json, now_ms: i64) -> String {
    let at = |field: &str| one[field].as_i64();
    let condition = one["condition"].as_bool();
    match (one["state"].as_str().unwrap_or_default(), condition) {
        ("pending", Some(false)) => "ends at the next evaluation".to_owned(),
        ("pending", _) => match at("fires_at_ms").map(|at_ms| at_ms - now_ms) {
            Some(left_ms) if left_ms > 0 => format!("fires in {}", rough(left_ms)),
            _ => "fires at the next evaluation".to_owned(),
        },
        ("firing", Some(true)) | ("recorded", _) => String::new(),
        ("firing", _) if one["has_data"] == false && rule["on_no_data"] != "resolve" => {
            "goes on by on_no_data".to_owned()
        }
        ("firing", _) => match at("kept_until_ms").map(|at_ms| at_ms - now_ms) {
            Some(left_ms) if left_ms > 0 => format!("ends in {}", rough(left_ms)),
            None if rule["reading"]["keep_firing_for_ms"].as_i64() > Some(0) => "is kept by keep_firing_for".to_owned(),
            _ => "ends at the next evaluation".to_owned(),
        },
        (_, Some(true)) => "begins at the next evaluation".to_owned(),
        _ => String::new(),
    }
}

/// The comparisons with their numbers; where there are none, or no data, the value.
fn condition(one: &Json) -> String {
    let value = one["value"].as_str().map(figure);
    if one["has_data"] == false {
        return value.map_or_else(|| "no data".to_owned(), |value| format!("no data; the last value was {value}"));
    }
    let compared = list(&one["compared"]);
    let Some(first) = compared.first() else { return value.unwrap_or_default() };
    let mut text = String::new();
    for (number, part) in compared.iter().enumerate() {
        let joined = text_of(&part["joined"]);
        if number > 0 || joined != "and" {
            append(&mut text, format_args!("{}{joined} ", if number > 0 { " " } else { "" }));
        }
        let side = |name: &str| part[format!("{name}_value")].as_str().map(figure);
        let right = text_of(&part["right"]);
        if number > 0 && part["left"] != first["left"] {
            append(&mut text, format_args!("{}: ", text_of(&part["left"])));
        }
        let left = side("left").unwrap_or_else(|| "?".to_owned());
        append(
            &mut text,
            format_args!("{left} {} {}", text_of(&part["op"]), side("right").unwrap_or_else(|| right.clone())),
        );
        if right.parse::<f64>().is_err() && side("right").is_some() {
            append(&mut text, format_args!(" ({right})"));
        }
        match part["holds"].as_bool() {
            Some(true) => text.push_str(" ✓"),
            Some(false) => text.push_str(" ✗"),
            None => {}
        }
    }
    text
}

/// A number with few digits.
fn figure(text: &str) -> String {
    match text.parse::<f64>() {
        Ok(value) if text.len() > DIGITS_MAX => {
            let short = format!("{value:.4e}").parse::<f64>().unwrap_or(value);
            short.to_string()
        }
        _ => text.to_owned(),
    }
}

/// The command that tells the ways of an alert, which has the `external` labels that it does not have itself when it leaves.
fn route(name: &str, labels: &Json, external: &Json) -> String {
    let mut command = format!("metrickit route explain alertname={}", quoted(name));
    let added = external.as_object().into_iter().flatten().filter(|(label, _)| labels[label.as_str()].is_null());
    let all = labels.as_object().into_iter().flatten().filter(|(label, _)| *label != "alertname");
    for (label, value) in all.chain(added) {
        append(&mut command, format_args!(" {label}={}", quoted(&text_of(value))));
    }
    command
}

/// `text` as a shell takes it.
fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./:@%+,".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        visible(text)
    } else {
        format!("'{}'", visible(text).replace('\'', "'\\''"))
    }
}

fn duration(value: &Json) -> String {
    ShowDuration(value.as_i64().unwrap_or_default()).to_string()
}

/// A span in its two largest units or so.
fn rough(ms: i64) -> String {
    let ms = ms.max(0);
    let unit_ms = match ms {
        86_400_000.. => 3_600_000,
        3_600_000.. => 60_000,
        _ => 1_000,
    };
    ShowDuration(ms / unit_ms * unit_ms).to_string()
}

fn list(value: &Json) -> &[Json] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text_of(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: i64 = 1_700_000_000_000;

    fn answer() -> Json {
        let usual = json!({"level": "rule", "line": 5, "match": "", "params": {"limit": "5"}, "for_ms": 120_000,
            "keep_firing_for_ms": 300_000, "verdict": "less_specific", "why": "an override matches", "instances": 0});
        let chosen = json!({"level": "group", "line": 3, "match": "{env=\"dev\"}", "params": {"limit": "50"},
            "labels": {"severity": "info"}, "for_ms": 3_600_000,
            "keep_firing_for_ms": 300_000, "verdict": "chosen", "why": "", "instances": 2});
        let compared = json!([
            {"joined": "and", "left": "load", "op": ">", "right": "50", "left_value": "51.123456789", "right_value": "50", "holds": true},
            {"joined": "and", "left": "cpus", "op": "<=", "right": "max", "left_value": "9", "right_value": "8", "holds": false},
        ]);
        json!({"now_ms": NOW_MS, "rules": [{
            "name": "High", "kind": "alerting", "file": "r.yml", "line": 5, "group": "g", "interval_ms": 15_000,
            "expr": "load > $limit", "labels": {}, "subject": {"alertname": "High", "env": "dev"},
            "reading": {"override_line": 3, "expr": "load > 50", "params": {"limit": "50"}, "for_ms": 3_600_000, "keep_firing_for_ms": 300_000},
            "overrides": [chosen, usual], "on_no_data": "keep", "on_error": "keep",
            "evaluation": {"at_ms": NOW_MS - 12_000, "took_us": 2100, "samples": 2, "error": null}, "fault": null,
            "counts": {"firing": 1, "pending": 1, "inactive": 7},
            "instances": [
                {"state": "firing", "labels": {"alertname": "High", "host": "a b"}, "condition": null, "has_data": false, "value": "60",
                 "firing_since_ms": NOW_MS - 3_700_000, "compared": []},
                {"state": "pending", "labels": {"alertname": "High", "host": "b"}, "condition": true, "has_data": true, "value": "51.1",
                 "active_since_ms": NOW_MS - 60_000, "fires_at_ms": NOW_MS + 90_000, "compared": compared},
            ],
        }]})
    }

    #[test]
    fn a_rule_is_told_for_the_night() {
        let want = "\
High
  rule            alerting, r.yml:5, group g, every 15s
  evaluated       12s ago, 2023-11-14 22:13:08 UTC, in 2.1 ms
  labels          High env=dev
  written         load > $limit
  asks            load > 50
  $limit          50 by the override in line 3; 5 without it
  for             1h by the override in line 3; 2m without it
  keep_firing_for 5m
  on_no_data      keep: alerts stay as they are until there is data
  on_error        keep: alerts stay as they are

overrides, the most specific first
┌───────────┬─────────────────┬────────────────────────────────────┬─────────────────────┐
│ line      ┆ for series with ┆ sets                               ┆ here                │
╞═══════════╪═════════════════╪════════════════════════════════════╪═════════════════════╡
│ 3 (group) ┆ {env=\"dev\"}     ┆ $limit = 50, for 1h, severity=info ┆ chosen              │
│ 5 (rule)  ┆ all others      ┆ $limit = 5                         ┆ an override matches │
└───────────┴─────────────────┴────────────────────────────────────┴─────────────────────┘

1 firing, 1 pending, 7 inactive
┌─────────────────┬────────────────────────────────┬───────────────────────┬────────────────────────────────────────┬──────────┐
│ state           ┆ since (UTC)                    ┆ next                  ┆ now                                    ┆ labels   │
╞═════════════════╪════════════════════════════════╪═══════════════════════╪════════════════════════════════════════╪══════════╡
│ firing, no data ┆ 2023-11-14 21:11:40 (1h1m ago) ┆ goes on by on_no_data ┆ no data; the last value was 60         ┆ host=a b │
│ pending         ┆ 2023-11-14 22:12:20 (1m ago)   ┆ fires in 1m30s        ┆ 51.123 > 50 ✓ and cpus: 9 <= 8 (max) ✗ ┆ host=b   │
└─────────────────┴────────────────────────────────┴───────────────────────┴────────────────────────────────────────┴──────────┘
and 7 more: name labels of those you mean, or use --limit

who is told, and what keeps it quiet: metrickit route explain alertname=High host='a b'
";
        assert_eq!(told(&answer(), None), want);
    }

    #[test]
    fn labels_are_those_that_were_asked_for() {
        let mut answer = answer();
        answer["external_labels"] = json!({"cluster": "eu1", "host": "x"});
        let text = told(&answer, None);
        assert!(text.ends_with("route explain alertname=High host='a b' cluster=eu1\n"), "{text}");
        // Explained for the first of two.
        assert!(text.contains("\n  labels "), "{text}");
        answer["rules"][0]["subject"] = answer["rules"][0]["instances"][0]["labels"].clone();
        let text = told(&answer, None);
        assert!(!text.contains("\n  labels "), "{text}");
        let mut rule = json!({"subject": {"env": "prod"}, "counts": {}});
        assert_eq!(
            told_instances(&rule, NOW_MS, None),
            "no series with env=prod has data now, and no alert has these labels\n"
        );
        rule["subject"] = json!({});
        assert!(told_instances(&rule, NOW_MS, None).starts_with("no series that it looks at has data now"));
    }

    #[test]
    fn what_comes_next_is_said() {
        let rule = json!({"on_no_data": "resolve", "reading": {"keep_firing_for_ms": 0}});
        for (one, want) in [
            (json!({"state": "pending", "condition": true, "fires_at_ms": NOW_MS}), "fires at the next evaluation"),
            (
                json!({"state": "pending", "condition": false, "fires_at_ms": NOW_MS + 1000}),
                "ends at the next evaluation",
            ),
            (json!({"state": "firing", "condition": true}), ""),
            (json!({"state": "firing", "condition": false}), "ends at the next evaluation"),
            (json!({"state": "firing", "condition": false, "kept_until_ms": NOW_MS + 61_000}), "ends in 1m1s"),
            (json!({"state": "firing", "has_data": false}), "ends at the next evaluation"),
            (json!({"state": "inactive", "condition": true}), "begins at the next evaluation"),
            (json!({"state": "inactive", "condition": false}), ""),
            (json!({"state": "resolved", "condition": false}), ""),
        ] {
            assert_eq!(next(&rule, &one, NOW_MS), want, "{one}");
        }
    }
}
