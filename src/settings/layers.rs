//! Layers of settings: defaults < file < environment < flags, each value with its origin.
//!
//! Every text is checked here against its kind, so that a wrong value is told with the place to correct.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};

use model::time::parse_duration_ms;

use super::{Kind, Setting, TABLE, alerting, find, lifetimes, parse_bytes};
use crate::render::append;

/// What stands for a value that follows from others.
const AUTO: &str = "auto";

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    Default,
    File(PathBuf),
    Environment(String),
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Environment(variable) => write!(f, "environment {variable}"),
            Self::Flag(flag) => write!(f, "flag {flag}"),
        }
    }
}

/// Why there are no settings. All are mistakes to correct where the message points.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SettingsError {
    /// The file cannot be read or is no TOML.
    File { path: PathBuf, reason: String },
    /// The file has a key that is none.
    UnknownKey { path: PathBuf, key: String, suggestion: Option<&'static str> },
    /// A value is not of its kind.
    Value { key: &'static str, origin: Origin, reason: String },
}

impl std::error::Error for SettingsError {}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, reason } => write!(f, "{}: {reason}", path.display()),
            Self::UnknownKey { path, key, suggestion } => {
                write!(f, "{}: there is no setting {key:?}", path.display())?;
                match suggestion {
                    Some(suggestion) => write!(f, "; did you mean {suggestion:?}?"),
                    None => f.write_str("; --print-config lists all"),
                }
            }
            Self::Value { key, origin, reason } => write!(f, "setting {key:?} ({origin}): {reason}"),
        }
    }
}

/// The winning text of every setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Resolved(BTreeMap<&'static str, (String, Origin)>);

impl Resolved {
    /// The text of a setting of the table.
    pub(crate) fn text(&self, key: &str) -> &str {
        &self.0[key].0
    }

    /// The origin of a setting of the table.
    pub(crate) fn origin(&self, key: &str) -> &Origin {
        &self.0[key].1
    }

    /// A duration setting in milliseconds; `None` for `off`.
    pub(crate) fn duration_ms(&self, key: &str) -> Option<i64> {
        parse_duration_ms(self.text(key)).ok()
    }

    /// A size setting in bytes.
    pub(crate) fn bytes(&self, key: &str) -> u64 {
        parse_bytes(self.text(key)).expect("sizes were checked when the layers were put together")
    }

    /// A size setting in bytes; `None` for `auto`.
    pub(crate) fn bytes_or_auto(&self, key: &str) -> Option<u64> {
        (self.text(key) != AUTO).then(|| self.bytes(key))
    }

    /// A count setting; `None` for `auto`.
    pub(crate) fn count_or_auto(&self, key: &str) -> Option<usize> {
        (self.text(key) != AUTO).then(|| self.count(key))
    }

    /// A count setting.
    pub(crate) fn count(&self, key: &str) -> usize {
        self.text(key).parse().expect("counts were checked when the layers were put together")
    }

    /// Every setting as a line of TOML, with its origin as a comment: a file to start from.
    pub(crate) fn show(&self) -> String {
        let line = |setting: &Setting| {
            let text = self.text(setting.key);
            let quoted = match setting.kind {
                Kind::Count => text.to_owned(),
                Kind::CountOrAuto if text != AUTO => text.to_owned(),
                Kind::Rules => toml::Value::from(lifetimes::split(text)).to_string(),
                Kind::List => toml::Value::from(alerting::list(text)).to_string(),
                _ => toml::Value::from(text).to_string(),
            };
            (format!("{} = {quoted}", setting.key), self.origin(setting.key))
        };
        let lines: Vec<_> = TABLE.iter().map(line).collect();
        let width = lines.iter().map(|(text, _)| text.chars().count()).max().unwrap_or(0);
        let mut all = String::new();
        for (text, origin) in &lines {
            append(&mut all, format_args!("{text:<width$}  # {origin}\n"));
        }
        all
    }
}

/// Puts the layers together. `variable` reads the environment, `flags` are those given.
pub(crate) fn resolve(
    file: Option<&Path>,
    variable: impl Fn(&str) -> Option<String>,
    flags: &BTreeMap<&'static str, String>,
) -> Result<Resolved, SettingsError> {
    let mut values: BTreeMap<&'static str, (String, Origin)> =
        TABLE.iter().map(|setting| (setting.key, (setting.default.to_owned(), Origin::Default))).collect();
    if let Some(path) = file {
        for (key, text) in read_file(path)? {
            values.insert(key, (text, Origin::File(path.to_owned())));
        }
    }
    for setting in TABLE {
        // An empty variable counts as not set: `METRICKIT_DATA= metrickit up`.
        if let Some(text) = variable(&setting.variable()).filter(|text| !text.is_empty()) {
            values.insert(setting.key, (text, Origin::Environment(setting.variable())));
        }
        if let Some(text) = flags.get(setting.key) {
            values.insert(setting.key, (text.clone(), Origin::Flag(format!("--{}", setting.key.replace('_', "-")))));
        }
    }
    for setting in TABLE {
        let (text, origin) = &values[setting.key];
        check(setting.kind, text).map_err(|reason| SettingsError::Value {
            key: setting.key,
            origin: origin.clone(),
            reason,
        })?;
    }
    Ok(Resolved(values))
}

/// The keys and texts of a file.
fn read_file(path: &Path) -> Result<Vec<(&'static str, String)>, SettingsError> {
    let fault = |reason: String| SettingsError::File { path: path.to_owned(), reason };
    let text = std::fs::read_to_string(path).map_err(|error| fault(error.to_string()))?;
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| fault(error.to_string()))?;
    let mut values = Vec::new();
    for (key, value) in table {
        let Some(setting) = find(&key) else {
            let suggestion = closest(&key);
            return Err(SettingsError::UnknownKey { path: path.to_owned(), key, suggestion });
        };
        let text = match value {
            toml::Value::String(text) => text,
            toml::Value::Integer(number) => number.to_string(),
            toml::Value::Array(rules)
                if matches!(setting.kind, Kind::Rules | Kind::List) && rules.iter().all(toml::Value::is_str) =>
            {
                rules.iter().filter_map(toml::Value::as_str).collect::<Vec<_>>().join("; ")
            }
            toml::Value::Boolean(false) if setting.kind == Kind::DurationOrOff => "off".to_owned(),
            other => {
                let reason = format!("a {} is not expected; write a string in quotes", other.type_str());
                return Err(SettingsError::Value { key: setting.key, origin: Origin::File(path.to_owned()), reason });
            }
        };
        values.push((setting.key, text));
    }
    Ok(values)
}

/// Whether `text` is of `kind`.
fn check(kind: Kind, text: &str) -> Result<(), String> {
    match kind {
        Kind::Address => address(text).map(drop),
        Kind::Folder | Kind::Text if text.trim().is_empty() => Err("it is empty".to_owned()),
        Kind::Folder | Kind::Text | Kind::List => Ok(()),
        Kind::DurationOrOff if text == "off" => Ok(()),
        Kind::Duration | Kind::DurationOrOff => match parse_duration_ms(text) {
            Ok(0) => Err("a duration of zero is not allowed".to_owned()),
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        },
        Kind::Rules => lifetimes::parse(text).map(drop),
        Kind::Labels => alerting::labels(text).map(drop),
        Kind::BytesOrAuto | Kind::CountOrAuto if text == AUTO => Ok(()),
        Kind::Bytes | Kind::BytesOrAuto => parse_bytes(text).map(drop),
        Kind::Count | Kind::CountOrAuto => {
            text.parse::<usize>().map(drop).map_err(|_| format!("{text:?} is no whole number"))
        }
        Kind::Choice(choices) if choices.contains(&text) => Ok(()),
        Kind::Choice(choices) => Err(format!("{text:?} is none of {}", choices.join(", "))),
    }
}

/// The address that `HOST:PORT` means; `:PORT` means every address of this machine.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    let full = if text.starts_with(':') { format!("0.0.0.0{text}") } else { text.to_owned() };
    let wrong =
        |reason: String| format!("{text:?} is no address to listen on ({reason}); write it like 127.0.0.1:9595");
    let mut found = full.to_socket_addrs().map_err(|error| wrong(error.to_string()))?;
    found.next().ok_or_else(|| wrong("it names nothing".to_owned()))
}

/// The key nearest to `key`, if near enough to be meant.
fn closest(key: &str) -> Option<&'static str> {
    let key = key.replace('-', "_").to_ascii_lowercase();
    let near = TABLE.iter().map(|setting| (strsim::levenshtein(&key, setting.key), setting.key)).min();
    near.filter(|&(distance, found)| distance <= 2.max(found.len() / 3)).map(|(_, found)| found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers(file: &str, environment: &[(&str, &str)], flags: &[(&'static str, &str)]) -> Result<Resolved, String> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("metrickit.toml");
        std::fs::write(&path, file).expect("written");
        let variable = |name: &str| {
            environment.iter().find(|(variable, _)| *variable == name).map(|(_, value)| (*value).to_owned())
        };
        let flags = flags.iter().map(|&(key, value)| (key, value.to_owned())).collect();
        resolve(Some(&path), variable, &flags).map_err(|error| error.to_string())
    }

    #[track_caller]
    fn check_error(file: &str, environment: &[(&str, &str)], flags: &[(&'static str, &str)], want: &str) {
        let error = layers(file, environment, flags).expect_err("refused");
        assert!(error.contains(want), "{error}");
    }

    #[test]
    fn later_layers_win_and_the_origin_is_kept() {
        let file = "retention = \"7d\"\nseries_max = 5\nflush_age = \"1h\"\n";
        let environment = [("METRICKIT_RETENTION", "8d"), ("METRICKIT_SERIES_MAX", "6"), ("METRICKIT_DATA", "")];
        let resolved = layers(file, &environment, &[("retention", "9d")]).expect("valid");
        let shown = |key: &str| (resolved.text(key).to_owned(), resolved.origin(key).clone());
        assert_eq!(shown("retention"), ("9d".to_owned(), Origin::Flag("--retention".to_owned())));
        assert_eq!(shown("series_max"), ("6".to_owned(), Origin::Environment("METRICKIT_SERIES_MAX".to_owned())));
        assert_eq!(shown("data"), ("./metrickit-data".to_owned(), Origin::Default));
        assert!(matches!(shown("flush_age"), (text, Origin::File(_)) if text == "1h"));
        assert_eq!(resolved.duration_ms("retention"), Some(9 * 86_400_000));
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        check_error("retenton = \"7d\"", &[], &[], "there is no setting \"retenton\"; did you mean \"retention\"?");
        check_error("log-level = \"x\"", &[], &[], "did you mean \"log_level\"?");
        check_error("colour = 1", &[], &[], "there is no setting \"colour\"; --print-config lists all");
        check_error("retention = ", &[], &[], "TOML parse error");
        check_error("retention = 1.5", &[], &[], "a float is not expected");
        check_error("", &[("METRICKIT_RETENTION", "soon")], &[], "(environment METRICKIT_RETENTION): \"soon\" is not");
        check_error("", &[], &[("listen", "9595")], "setting \"listen\" (flag --listen): \"9595\" is no address");
        check_error("", &[], &[("durability", "maybe")], "is none of sync, interval, off");
        check_error("", &[], &[("flush_age", "0")], "a duration of zero");
        check_error("", &[], &[("data", " ")], "it is empty");
        check_error("retention_rules = [\"up keep 1d\", \"{a=\"]", &[], &[], "rule 2, character");
        check_error("retention_rules = [5]", &[], &[], "a array is not expected");
    }

    #[test]
    fn what_is_shown_reads_back_as_a_file() {
        let resolved = layers(
            "retention = false\nretention_rules = ['{a=\"x;y\"} keep 7d', 'up raw 1d, 1h for 1y']",
            &[],
            &[("data", "a \"b\"")],
        )
        .expect("valid");
        let again = layers(&resolved.show(), &[], &[]).expect("valid");
        for setting in TABLE {
            assert_eq!(again.text(setting.key), resolved.text(setting.key));
        }
        assert_eq!(again.duration_ms("retention"), None);
    }
}
