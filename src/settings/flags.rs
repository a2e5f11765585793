//! A flag for every row of the table of settings, for clap.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches, value_parser};

use super::{Kind, TABLE};

/// The flags that were given; texts are checked with those of the other layers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SettingFlags {
    /// Given values by key.
    pub(crate) values: BTreeMap<&'static str, String>,
    /// The file of settings.
    pub(crate) config: Option<PathBuf>,
    /// Whether to show the settings and their origins, and stop.
    pub(crate) print_config: bool,
}

impl Args for SettingFlags {
    fn augment_args(command: Command) -> Command {
        let with_settings = TABLE.iter().fold(command, |command, setting| {
            let choices = match setting.kind {
                Kind::Choice(choices) => format!(" ({})", choices.join(", ")),
                _ => String::new(),
            };
            let default = if setting.default.is_empty() { "none" } else { setting.default };
            let help = format!("{}{choices} [default: {default}] [env: {}]", setting.help, setting.variable());
            // `--log-level` is there for every command; its row is for the file.
            if setting.key == "log_level" {
                return command;
            }
            command.arg(
                Arg::new(setting.key)
                    .long(setting.key.replace('_', "-"))
                    .value_name(setting.kind.value_name())
                    .help(help)
                    .allow_hyphen_values(false),
            )
        });
        with_settings
            .arg(
                Arg::new("config")
                    .long("config")
                    .value_name("FILE")
                    .value_parser(value_parser!(PathBuf))
                    .help("TOML file of these settings, words joined by _ [env: METRICKIT_CONFIG]"),
            )
            .arg(
                Arg::new("print_config")
                    .long("print-config")
                    .action(ArgAction::SetTrue)
                    .help("Show every setting and where its value comes from, then stop"),
            )
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for SettingFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let mut flags = Self::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        for setting in TABLE.iter().filter(|setting| setting.key != "log_level") {
            if let Some(value) = matches.get_one::<String>(setting.key) {
                self.values.insert(setting.key, value.clone());
            }
        }
        if let Some(path) = matches.get_one::<PathBuf>("config") {
            self.config = Some(path.clone());
        }
        self.print_config |= matches.get_flag("print_config");
        Ok(())
    }
}
