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
    /// What completion offers behind the name.
    pub(crate) argument: Argument,
}

/// What follows a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Argument {
    Nothing,
    Query,
    Metric,
    Duration,
    Word,
    QueryId,
    OneOf(&'static [&'static str]),
}

const fn row(name: &'static str, usage: &'static str, argument: Argument, help: &'static str) -> CommandHelp {
    CommandHelp { name, usage, help, argument }
}

const SWITCH: Argument = Argument::OneOf(&["on", "off"]);

/// Every command, in the order of `.help`.
pub(crate) const COMMANDS: [CommandHelp; 14] = [
    row(".range", ".range 1h [STEP]", Argument::Duration, "evaluate over the last hour and draw charts"),
    row(".instant", ".instant", Argument::Nothing, "evaluate at one time again"),
    row(
        ".time",
        ".time now-1h",
        Argument::OneOf(&["now", "now-5m", "now-1h", "now-1d"]),
        "evaluate as of then; .time now ends that",
    ),
    row(
        ".format",
        ".format chart|table|csv|json",
        Argument::OneOf(&["chart", "table", "csv", "json"]),
        "how answers are shown",
    ),
    row(".explain", ".explain QUERY", Argument::Query, "what each part reads and how long it takes"),
    row(".stats", ".stats [on|off]", SWITCH, "show what each query read"),
    row(".timing", ".timing [on|off]", SWITCH, "show how long answers take to arrive"),
    row(".metrics", ".metrics [TEXT]", Argument::Metric, "metrics with TEXT in their names, and help"),
    row(".labels", ".labels SELECTOR", Argument::Query, "labels of the selected series with their values"),
    row(".queries", ".queries", Argument::Nothing, "queries that run on the server, and their cost"),
    row(".kill", ".kill ID", Argument::QueryId, "end a query that runs on the server"),
    row(".functions", ".functions", Argument::Nothing, "every function and aggregation, a sentence each"),
    row(".help", ".help [WORD]", Argument::Word, "this list, or how a function or keyword is used"),
    row(".quit", ".quit", Argument::Nothing, "leave; so does Ctrl-D"),
];

/// A command with its arguments.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Metrics { part: String },
    Labels { selector: String },
    Range { range_ms: i64, step_ms: Option<i64> },
    Instant,
    Time { time_ms: Option<i64> },
    Format(Format),
    Timing(Option<bool>),
    Stats(Option<bool>),
    Explain { query: String },
    Queries,
    Kill { id: u64 },
    Functions,
    Help { word: Option<String> },
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
    let word = || (!rest.is_empty()).then(|| rest.to_owned());
    match name {
        ".metrics" => Ok(Command::Metrics { part: rest.to_owned() }),
        ".labels" | ".explain" if rest.is_empty() => Err(usage()),
        ".labels" => Ok(Command::Labels { selector: rest.to_owned() }),
        ".range" => range(rest).map_err(|reason| format!("{reason}\n{}", usage())),
        ".instant" => Ok(Command::Instant),
        ".time" if rest.is_empty() || rest == "now" => Ok(Command::Time { time_ms: None }),
        ".time" => parse_instant_ms(rest, now_ms).map(|time_ms| Command::Time { time_ms: Some(time_ms) }),
        ".format" => Format::from_str(rest, true).map(Command::Format).map_err(|_| usage()),
        ".timing" => switch(rest, Command::Timing).ok_or_else(usage),
        ".stats" => switch(rest, Command::Stats).ok_or_else(usage),
        ".explain" => Ok(Command::Explain { query: rest.to_owned() }),
        ".queries" => Ok(Command::Queries),
        ".kill" => rest.parse().map(|id| Command::Kill { id }).map_err(|_| format!("{}; .queries lists them", usage())),
        ".functions" => Ok(word().map_or(Command::Functions, |word| Command::Help { word: Some(word) })),
        ".help" => Ok(Command::Help { word: word() }),
        ".quit" | ".exit" | ".q" => Ok(Command::Quit),
        _ => Err(unknown(name)),
    }
}

/// On, off, or the other way round.
fn switch(rest: &str, command: impl Fn(Option<bool>) -> Command) -> Option<Command> {
    match rest {
        "" => Some(command(None)),
        "on" => Some(command(Some(true))),
        "off" => Some(command(Some(false))),
        _ => None,
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
    const DISTANCE_MAX: usize = 2;
    let distance = |command: &&CommandHelp| {
        let begun = command.name.starts_with(name) && name.len() > 1;
        if begun { 0 } else { strsim::damerau_levenshtein(name, command.name) }
    };
    match COMMANDS.iter().min_by_key(distance).filter(|command| distance(command) <= DISTANCE_MAX && name.len() > 1) {
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
        check(".stats off", Ok(Command::Stats(Some(false))));
        check(".stats maybe", Err("usage: .stats [on|off]"));
        check(".metrics go_", Ok(Command::Metrics { part: "go_".into() }));
        check(".labels", Err("usage: .labels SELECTOR"));
        check(".labels up{a=\"b c\"}", Ok(Command::Labels { selector: "up{a=\"b c\"}".into() }));
        check(".explain sum(\n  up)", Ok(Command::Explain { query: "sum(\n  up)".into() }));
        check(".explain", Err("usage: .explain QUERY"));
        check(".kill 7", Ok(Command::Kill { id: 7 }));
        check(".kill all", Err("usage: .kill ID; .queries lists them"));
        check(".help rate", Ok(Command::Help { word: Some("rate".into()) }));
        check(".functions rate", Ok(Command::Help { word: Some("rate".into()) }));
        check(".help", Ok(Command::Help { word: None }));
        check(".exit", Ok(Command::Quit));
        check(".rnage 1h", Err("did you mean .range 1h [STEP]?"));
        check(".expl up", Err("did you mean .explain QUERY?"));
        check(".something", Err(".help lists all"));
        check(".", Err("there is no command .; .help lists all"));
    }
}
