//! Layers of configuration: which wins, where values come from, what is refused.

use agent::config::layers::{FILE_ENV, Settings};
use agent::config::{Config, ConfigError, Value};
use agent::{AgentArgs, cli, config::options::OPTIONS};
use clap::{Args, Command, FromArgMatches};

fn parse(flags: &[&str]) -> AgentArgs {
    let command = AgentArgs::augment_args(Command::new("agent").no_binary_name(true));
    AgentArgs::from_arg_matches(&command.get_matches_from(flags)).expect("parsed by its own matches")
}

/// The settings of a file, an environment and flags.
fn layers(file: &str, environment: &[(&str, &str)], flags: &[&str]) -> Result<Settings, ConfigError> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("agent.toml");
    std::fs::write(&path, file).expect("written");
    let lookup = |name: &str| {
        if name == FILE_ENV {
            return Some(path.to_string_lossy().into_owned());
        }
        environment.iter().find(|(own, _)| *own == name).map(|(_, value)| (*value).to_owned())
    };
    parse(flags).settings(lookup)
}

#[test]
fn later_layers_win_and_are_named() {
    let file = "host = \"f\"\n[poll]\ninterval = \"2s\"\n[push]\ninterval = \"3s\"\n[queue]\nbytes_max = 1048576\n";
    let environment = [("METRICKIT_AGENT_PUSH_INTERVAL", "4s"), ("METRICKIT_AGENT_QUEUE_BYTES_MAX", "3MiB")];
    let settings = layers(file, &environment, &["--queue-bytes-max", "4MiB", "--go-expvar=false"]).expect("valid");
    for (key, want, origin) in [
        ("scrape.interval", Value::DurationMs(10_000), "default"),
        ("poll.interval", Value::DurationMs(2_000), "file"),
        ("push.interval", Value::DurationMs(4_000), "environment METRICKIT_AGENT_PUSH_INTERVAL"),
        ("queue.bytes_max", Value::Bytes(4 << 20), "flag --queue-bytes-max"),
        ("go.expvar", Value::Switch(false), "flag --go-expvar"),
    ] {
        let setting = settings.get(key);
        assert_eq!(setting.value, want, "{key}");
        assert!(setting.origin.to_string().starts_with(origin), "{key}: {}", setting.origin);
    }
    let table = settings.table();
    assert_eq!(table.lines().count(), OPTIONS.len());
    assert!(table.contains("# flag --queue-bytes-max") && table.contains("poll.interval"), "{table}");
}

#[track_caller]
fn refused(file: &str, environment: &[(&str, &str)], flags: &[&str], part: &str) {
    let result = layers(file, environment, flags).and_then(|settings| Config::from_settings(&settings));
    let message = result.expect_err("refused").to_string();
    assert!(message.contains(part), "{message}");
}

#[test]
fn mistakes_are_named() {
    refused("pol = 1", &[], &[], "there is no option \"pol\"");
    refused("[poll]\nintervall = \"1s\"", &[], &[], "did you mean \"poll.interval\"?");
    refused("[poll]\ninterval = 5", &[], &[], "is an integer in the file; write a duration");
    refused("[poll]\ninterval = \"1ms\"", &[], &[], "is 1ms; allowed are 100ms to 1d");
    refused("poll = [", &[], &[], "agent.toml");
    refused("", &[("METRICKIT_AGENT_SCRAPE_WORKERS", "x")], &[], "(environment METRICKIT_AGENT_SCRAPE_WORKERS)");
    refused("", &[], &["--scrape-workers", "65"], "(flag --scrape-workers) is 65; allowed are 1 to 64");
    refused("[labels]\n\"a-b\" = \"c\"", &[], &[], "has label \"a-b\"");
    refused("", &[], &["--push-url", "x"], "is \"x\"; write http://");
    refused("", &[], &["--push-backoff-max", "100ms"], "is below push.backoff_min");
    refused("", &[], &["--scrape-timeout", "11s"], "longer than scrape.interval");
    refused("", &[], &["--go-scrape-ignore-ports", "1,70000"], "holds \"70000\"");
    refused("[[targets]]\nurl = \"http://x\"\npath = \"y\"", &[], &[], "has `path`, which no target knows");
}

#[test]
fn targets_and_labels_in_every_layer() {
    let file =
        "[labels]\nteam = \"a\"\n[[targets]]\nurl = \"http://db:9/m\"\njob = \"db\"\nlabels = { shard = \"1\" }\n";
    let config = Config::from_settings(&layers(file, &[], &["--environment", "prod"]).expect("valid")).expect("valid");
    assert_eq!(config.targets[0].labels, [("shard".to_owned(), "1".to_owned())]);
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(config.external_labels(), [pair("env", "prod"), pair("team", "a")]);
    let flags = ["--targets", "a=http://h:1", "--targets", "http://h:2"];
    let config = Config::from_settings(&layers(file, &[], &flags).expect("valid")).expect("valid");
    assert_eq!(config.targets.len(), 2, "a later layer replaces the list");
}

#[test]
fn secrets_are_not_shown() {
    let file = "targets = [\"http://me:hush@db:9/m\"]\npush.url = \"http://me:hush@h/w\"";
    let environment = [("METRICKIT_AGENT_PUSH_TOKEN", "hush")];
    let settings = layers(file, &environment, &["--push-headers", "X=hush"]).expect("valid");
    assert!(!settings.table().contains("hush"));
    let config = Config::from_settings(&settings).expect("valid");
    assert_eq!(config.push.token, "hush");
    assert!(!format!("{config:?}").contains("hush"));
    assert_eq!(config.push.url, "http://me:hush@h/w", "it is used all the same");
}

#[test]
fn complaints_do_not_show_secrets() {
    for (file, flags, part) in [
        ("host = \"a\"\n[push]\ntoken = \"hush", &[][..], "line 3"),
        ("", &["--push-headers", "hush"], "write name=value"),
        ("", &["--push-headers", "X Y=hush"], "\"X Y\""),
        ("", &["--push-headers", "X=hu\nsh"], "push.headers"),
        ("", &["--push-token", "hu\nsh hush"], "push.token"),
        ("", &["--push-url", "ftp://me:hush@h"], "(hidden)@h"),
        ("", &["--targets", "ftp://me:hush@h"], "(hidden)@h"),
    ] {
        let result = layers(file, &[], flags).and_then(|settings| Config::from_settings(&settings));
        let message = result.expect_err("refused").to_string();
        assert!(message.contains(part) && !message.contains("hush"), "{message}");
    }
}

#[test]
fn a_missing_file_matters_only_when_named() {
    let lookup = |name: &str| (name == FILE_ENV).then(|| "/no/such/file".to_owned());
    assert!(matches!(parse(&[]).settings(lookup), Err(ConfigError::File { .. })));
    assert!(matches!(parse(&["--config", "/no/such/file"]).settings(|_| None), Err(ConfigError::File { .. })));
}

#[test]
fn print_config_prints() {
    let mut out = Vec::new();
    let args = parse(&["--print-config", "--host", "web1"]);
    let _ = cli::main_with(&args, &agent::StopFlag::new(), &mut out);
    let text = String::from_utf8(out).expect("text");
    assert!(
        text.lines().next().is_some_and(|line| line.contains("\"web1\"") && line.ends_with("# flag --host")),
        "{text}"
    );
}

#[test]
fn the_log_level_is_the_programs_flag() {
    let flags = AgentArgs::augment_args(Command::new("agent"));
    let mut longs = flags.get_arguments().filter_map(clap::Arg::get_long);
    assert!(longs.all(|long| !long.contains("log")), "there would be two flags");
    let level = |args: &AgentArgs| {
        let environment = |name: &str| (name == "METRICKIT_AGENT_LOG_LEVEL").then(|| "debug".to_owned());
        let settings = args.settings(environment).expect("valid");
        let setting = settings.get("log_level");
        (setting.value.clone(), setting.origin.to_string())
    };
    let mut args = parse(&[]);
    assert_eq!(level(&args).0, Value::Text("debug".to_owned()));
    args.set_log_level(Some("warn".to_owned()));
    assert_eq!(level(&args), (Value::Text("warn".to_owned()), "flag --log-level".to_owned()));
    assert_eq!(args.log_filter(), "warn");
    args.set.push(("poll.interval", "never".to_owned()));
    assert_eq!(args.log_filter(), "warn", "also where the rest is wrong");
    refused("log = \"info\"", &[], &[], "there is no option \"log\"");
}

/// The table of options in the documentation is this table.
#[test]
fn documentation_has_every_option() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/agent.md");
    let page = std::fs::read_to_string(path).expect("docs/agent.md");
    for spec in OPTIONS {
        let default = if spec.default.is_empty() { "" } else { &format!("`{}`", spec.default.replace(',', ", ")) };
        let row = format!("| `{}` | {default} | {} |", spec.key, spec.doc).replace("|  |", "| |");
        assert!(page.contains(&row), "docs/agent.md lacks: {row}");
    }
}

#[test]
fn how_long_is_long_is_told_by_the_environment() {
    for (environment, told, want_ms) in [
        ("", "", 3_600_000),
        ("prod", "", 3_600_000),
        ("Staging", "", 1_800_000),
        ("dev", "", 600_000),
        ("dev", "2h", 7_200_000),
    ] {
        let line = if told.is_empty() { String::new() } else { format!("[go]\nleak_blocked = \"{told}\"\n") };
        let settings = layers(&format!("environment = \"{environment}\"\n{line}"), &[], &[]).expect("valid");
        let config = Config::from_settings(&settings).expect("valid");
        assert_eq!(config.go.memory.leak_blocked_ms, want_ms, "{environment} {told}");
        assert_eq!(config.go.leaks.expect("on").blocked_ms, want_ms, "{environment} {told}");
    }
}

#[test]
fn help_is_no_wider_than_a_hundred_columns() {
    let help = |columns: &str| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_metrickit-agent"))
            .arg("--help")
            .env("COLUMNS", columns)
            .stdin(std::process::Stdio::null())
            .output()
            .expect("starts");
        String::from_utf8(output.stdout).expect("text")
    };
    for (columns, most) in [("80", 80), ("250", 100)] {
        let text = help(columns);
        assert!(text.contains("--queue-bytes-max"), "{text}");
        let wide: Vec<&str> = text.lines().filter(|line| line.chars().count() > most).collect();
        assert!(wide.is_empty(), "{wide:#?}");
    }
}
