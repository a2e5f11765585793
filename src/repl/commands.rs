//! The commands of the REPL: lines that start with a dot.

use crate::render::Format;
use crate::when::{parse_instant_ms, parse_step_ms};
use clap::ValueEnum;
use model::time::parse_duration_ms;

/// A command's name and help.
#[derive(Debug)]
pub(crate) struct CommandHelp {
    pub(crate) name: &'static str,
    pub(crate) usage: &'static str,
    pub(crate) help: &'static str,
}

const fn row(name: &'static str, usage: &'static str, help: &'static str) -> CommandHelp {
    CommandHelp { name, usage, help }
}

/// Every command, in the order of `.help`.
pub(crate) const COMMANDS: [CommandHelp; 10] = [
    row(".metrics", ".metrics [PREFIX]", "list metric names"),
    row(".labels", ".labels SELECTOR", "the labels of the selected series, and how many values each has"),
    row(".range", ".range 1h [STEP]", "evaluate over the last hour and draw charts"),
    row(".instant", ".instant", "evaluate at one time again"),
    row(".time", ".time now|now-1h|2026-01-01T00:00:00Z", "the time at which queries are evaluated, or end"),
    row(".format", ".format chart|table|csv|json", "how answers are shown; chart shows instant answers as tables"),
    row(".timing", ".timing [on|off]", "show how long queries take"),
    row(".functions", ".functions [NAME]", "the functions of the language, or one of them"),
    row(".help", ".help", "this list"),
    row(".quit", ".quit", "leave; so does Ctrl-D"),
];

/// A command with its arguments.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Metrics { prefix: String },
    Labels { selector: String },
    Range { range_ms: i64, step_ms: Option<i64> },
    Instant,
    Time { time_ms: Option<i64> },
    Format(Format),
    Timing(Option<bool>),
    Functions { name: Option<String> },
    Help,
    Quit,
}

/// Parses a line that starts with a dot.
pub(crate) fn parse(line: &str, now_ms: i64) -> Result<Command, String> {
    let (name, rest) = line.trim().split_once(char::is_whitespace).unwrap_or((line.trim(), ""));
    let rest = rest.trim();
    let usage = || {
        let found = COMMANDS.iter().find(|command| command.name == name);
        format!("usage: {}", found.map_or(name, |command| command.usage))
    };
    match name {
        ".metrics" => Ok(Command::Metrics { prefix: rest.to_owned() }),
        ".labels" if rest.is_empty() => Err(usage()),
        ".labels" => Ok(Command::Labels { selector: rest.to_owned() }),
        ".range" => range(rest).map_err(|reason| format!("{reason}\n{}", usage())),
        ".instant" => Ok(Command::Instant),
        ".time" if rest.is_empty() || rest == "now" => Ok(Command::Time { time_ms: None }),
        ".time" => parse_instant_ms(rest, now_ms).map(|time_ms| Command::Time { time_ms: Some(time_ms) }),
        ".format" => Format::from_str(rest, true).map(Command::Format).map_err(|_| usage()),
        ".timing" => match rest {
            "" => Ok(Command::Timing(None)),
            "on" => Ok(Command::Timing(Some(true))),
            "off" => Ok(Command::Timing(Some(false))),
            _ => Err(usage()),
        },
        ".functions" => Ok(Command::Functions { name: (!rest.is_empty()).then(|| rest.to_owned()) }),
        ".help" => Ok(Command::Help),
        ".quit" | ".exit" | ".q" => Ok(Command::Quit),
        _ => Err(unknown(name)),
    }
}

fn range(rest: &str) -> Result<Command, String> {
    let mut words = rest.split_whitespace();
    let (range, step) = (words.next().unwrap_or_default(), words.next());
    if words.next().is_some() {
        return Err("too many words".to_owned());
    }
    let range_ms = parse_duration_ms(range).map_err(|error| error.to_string())?;
    if range_ms == 0 {
        return Err("a range of zero is an instant".to_owned());
    }
    Ok(Command::Range { range_ms, step_ms: step.map(parse_step_ms).transpose()? })
}

fn unknown(name: &str) -> String {
    let start = name.get(..2).unwrap_or(name);
    match COMMANDS.iter().find(|command| command.name.starts_with(start) && start.len() > 1) {
        Some(command) => format!("there is no command {name}; did you mean {}?", command.usage),
        None => format!("there is no command {name}; .help lists all"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, want: Result<Command, &str>) {
        match (parse(line, 10_000), want) {
            (Err(got), Err(want)) => assert!(got.contains(want), "for {line:?}: {got}"),
            (got, want) => assert_eq!(got, want.map_err(str::to_owned), "for {line:?}"),
        }
    }

    #[test]
    fn commands() {
        check(".range 1h", Ok(Command::Range { range_ms: 3_600_000, step_ms: None }));
        check(".range 1h 30s", Ok(Command::Range { range_ms: 3_600_000, step_ms: Some(30_000) }));
        check(".range", Err("usage: .range 1h"));
        check(".range 0s", Err("a range of zero"));
        check(".range 1h 1m 1s", Err("too many words"));
        check(".time", Ok(Command::Time { time_ms: None }));
        check(".time now-5s", Ok(Command::Time { time_ms: Some(5_000) }));
        check(".time soon", Err("is no time"));
        check(".format CSV", Ok(Command::Format(Format::Csv)));
        check(".format xml", Err("usage: .format"));
        check(".timing", Ok(Command::Timing(None)));
        check(".timing on", Ok(Command::Timing(Some(true))));
        check(".metrics go_", Ok(Command::Metrics { prefix: "go_".into() }));
        check(".labels", Err("usage: .labels SELECTOR"));
        check(".labels up{a=\"b c\"}", Ok(Command::Labels { selector: "up{a=\"b c\"}".into() }));
        check(".exit", Ok(Command::Quit));
        check(".rnage 1h", Err("did you mean .range 1h [STEP]?"));
        check(".", Err("there is no command .; .help lists all"));
    }
}
