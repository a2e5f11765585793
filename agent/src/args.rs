//! The agent's flags, made from the table of options, so that `metrickit agent` and `metrickit-agent` take the same.

use std::path::PathBuf;
use std::sync::LazyLock;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use crate::config::layers::{FILE_DEFAULT, FILE_ENV, read_file};
use crate::config::options::{LOG_LEVEL, OPTIONS, OptionSpec, Shape};
use crate::config::{Config, ConfigError, Origin, Settings};

/// What the command line says.
#[derive(Debug, Clone, Default)]
pub struct AgentArgs {
    /// The configuration file, when named.
    pub config: Option<PathBuf>,
    /// Collect one round, print it, end.
    pub once: bool,
    /// Print every option with its value and origin, end.
    pub print_config: bool,
    /// Options given as flags: key and text.
    pub set: Vec<(&'static str, String)>,
}

impl AgentArgs {
    /// The configuration file, and whether it may be missing.
    pub fn file(&self, environment: impl Fn(&str) -> Option<String>) -> (PathBuf, bool) {
        let named = self.config.clone().or_else(|| environment(FILE_ENV).map(PathBuf::from));
        let optional = named.is_none();
        (named.unwrap_or_else(|| PathBuf::from(FILE_DEFAULT)), optional)
    }

    /// Merges defaults, file, environment and flags.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or any layer has an unknown key or a value out of bounds.
    pub fn settings(&self, environment: impl Fn(&str) -> Option<String>) -> Result<Settings, ConfigError> {
        self.settings_over(Settings::defaults(), environment)
    }

    /// As [`settings`](Self::settings), with `settings` in place of defaults: a profile may have set some of them.
    ///
    /// # Errors
    ///
    /// As for `settings`.
    pub fn settings_over(
        &self,
        mut settings: Settings,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Settings, ConfigError> {
        let (path, optional) = self.file(&environment);
        if let Some(text) = read_file(&path, optional)? {
            settings.merge_file(&path, &text)?;
        }
        settings.merge_environment(environment)?;
        for (key, text) in &self.set {
            let flag = key.replace(['.', '_'], "-");
            settings.set(key, text, Origin::Flag(flag))?;
        }
        Ok(settings)
    }

    /// Sets the log level as the flag of the program that runs the agent says it, if it does.
    pub fn set_log_level(&mut self, text: Option<String>) {
        self.set.extend(text.map(|text| (LOG_LEVEL, text)));
    }

    /// What is to be logged; what the flag says, or the default, where the rest of the configuration cannot be read,
    /// which is then told through that log.
    pub fn log_filter(&self) -> String {
        let said = self.set.iter().rfind(|(key, _)| *key == LOG_LEVEL).map(|(_, text)| text.clone());
        self.resolve().map(|config| config.log_level).ok().or(said).unwrap_or_else(|| "info".to_owned())
    }

    /// As [`settings`](Self::settings), with the process's own environment, as typed configuration.
    ///
    /// # Errors
    ///
    /// Also when values contradict each other.
    pub fn resolve(&self) -> Result<Config, ConfigError> {
        Config::from_settings(&self.settings(|name| std::env::var(name).ok())?)
    }
}

/// The flags, made once: clap borrows names for as long as the program runs.
static FLAGS: LazyLock<Vec<String>> = LazyLock::new(|| OPTIONS.iter().map(OptionSpec::flag).collect());

/// Whether the flag of an option is one of these; the program has `--log-level` and hands it on as an option that is set.
fn has_flag(spec: &OptionSpec) -> bool {
    spec.key != LOG_LEVEL
}

fn value_name(shape: Shape) -> &'static str {
    match shape {
        Shape::Text | Shape::Secret => "TEXT",
        Shape::Switch => "BOOL",
        Shape::Duration(..) => "DURATION",
        Shape::Bytes(..) => "BYTES",
        Shape::Count(..) => "COUNT",
        Shape::List => "A,B",
        Shape::Pairs | Shape::SecretPairs => "NAME=VALUE,…",
        Shape::Targets => "[JOB=]URL,…",
    }
}

impl Args for AgentArgs {
    fn augment_args(command: Command) -> Command {
        let command = command
            .arg(
                Arg::new("config")
                    .long("config")
                    .value_name("FILE")
                    .value_parser(clap::value_parser!(PathBuf))
                    .help(format!("Configuration file [env: {FILE_ENV}] [default: {FILE_DEFAULT} if it exists]")),
            )
            .arg(
                Arg::new("once")
                    .long("once")
                    .action(ArgAction::SetTrue)
                    .help("Collects one round, prints it as exposition text and ends; sends nothing"),
            )
            .arg(
                Arg::new("print-config")
                    .long("print-config")
                    .action(ArgAction::SetTrue)
                    .help("Prints each option, its value and where it came from, and ends"),
            );
        OPTIONS.iter().zip(FLAGS.iter()).filter(|(spec, _)| has_flag(spec)).fold(command, |command, (spec, flag)| {
            let default = match spec.shape {
                _ if spec.default.is_empty() => String::new(),
                // Lines break at spaces alone.
                Shape::List => format!(" [default: {}]", spec.default.replace(',', ", ")),
                _ => format!(" [default: {}]", spec.default),
            };
            let help = format!("{} [env: {}]{default}", spec.doc, spec.env_name());
            let mut arg = Arg::new(spec.key)
                .long(flag.as_str())
                .value_name(value_name(spec.shape))
                .allow_hyphen_values(true)
                .help(help);
            if matches!(spec.shape, Shape::List | Shape::Pairs | Shape::SecretPairs | Shape::Targets) {
                arg = arg.action(ArgAction::Append);
            }
            if spec.shape == Shape::Switch {
                arg = arg.num_args(0..=1).require_equals(true).default_missing_value("true");
            }
            command.arg(arg)
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for AgentArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut args = Self::default();
        args.update_from_arg_matches(matches)?;
        Ok(args)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.config = matches.get_one::<PathBuf>("config").cloned();
        self.once = matches.get_flag("once");
        self.print_config = matches.get_flag("print-config");
        self.set.clear();
        for spec in OPTIONS.iter().filter(|spec| has_flag(spec)) {
            if let Some(texts) = matches.get_many::<String>(spec.key) {
                let texts: Vec<_> = texts.map(String::as_str).collect();
                self.set.push((spec.key, texts.join(",")));
            }
        }
        Ok(())
    }
}
