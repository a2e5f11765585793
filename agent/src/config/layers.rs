//! Layers of configuration: defaults, then the profile of a server, the file, the environment, the flags. Each value keeps where it came from.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use super::options::{OPTIONS, OptionSpec, Shape, find, may_come_from_afar, nearest, needs_restart};
use super::value::Value;

/// The file that is read when it exists and no other is named.
pub const FILE_DEFAULT: &str = "/etc/metrickit/agent.toml";
/// The environment's name for the path of the file.
pub const FILE_ENV: &str = "METRICKIT_AGENT_CONFIG";
/// Longest configuration file.
pub const FILE_BYTES_MAX: u64 = 1 << 20;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant carries the name of its place")]
pub enum Origin {
    Default,
    /// The profile that a server holds for the agent's environment.
    Profile(String),
    File(PathBuf),
    Environment(String),
    Flag(String),
    Program,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Profile(name) if name.is_empty() => f.write_str("profile"),
            Self::Profile(name) => write!(f, "profile {name}"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag(flag) => write!(f, "flag --{flag}"),
            Self::Program => f.write_str("program"),
        }
    }
}

/// What is wrong with a configuration; correct it and start again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages name every field")]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("configuration file {}: {source}", path.display())]
    File { path: PathBuf, source: std::io::Error },
    /// The file is longer than the limit.
    #[error("configuration file {} has {bytes} bytes, the limit is {limit_bytes}", path.display())]
    FileTooLong { path: PathBuf, bytes: u64, limit_bytes: u64 },
    /// The text is no TOML.
    #[error("{origin}: {message}")]
    Syntax { origin: Origin, message: String },
    /// What is wrong, and in which line.
    #[error("line {line}: {problem}")]
    Line { line: usize, problem: Box<ConfigError> },
    /// A key that a profile may not set.
    #[error("{origin}: {key} may be set on the agent's own machine only")]
    NotFromAfar { origin: Origin, key: String },
    /// A key that no option has.
    #[error("{origin}: there is no option {key:?}{hint}")]
    UnknownKey { origin: Origin, key: String, hint: String },
    /// A value outside what its option allows.
    #[error("option {key} ({origin}) {problem}")]
    Value { key: String, origin: Origin, problem: String },
}

/// A value and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The checked value.
    pub value: Value,
    /// The layer that set it.
    pub origin: Origin,
}

/// A value for every option.
#[derive(Debug, Clone)]
pub struct Settings(BTreeMap<&'static str, Setting>);

impl Settings {
    /// Every option at its default.
    ///
    /// # Panics
    ///
    /// Never: a test reads every default.
    pub fn defaults() -> Self {
        let setting = |spec: &OptionSpec| Setting {
            value: Value::parse(spec, spec.default).expect("defaults are valid"),
            origin: Origin::Default,
        };
        Self(OPTIONS.iter().map(|spec| (spec.key, setting(spec))).collect())
    }

    /// Sets the option `key` from text.
    ///
    /// # Errors
    ///
    /// When there is no such option or the value is outside its bounds.
    pub fn set(&mut self, key: &str, text: &str, origin: Origin) -> Result<(), ConfigError> {
        let spec = known(key, &origin)?;
        self.put(spec, Value::parse(spec, text), origin)
    }

    /// Takes over what `text`, the content of the file at `path`, sets.
    ///
    /// # Errors
    ///
    /// When it is no TOML, or names an unknown option or a value outside its bounds.
    pub fn merge_file(&mut self, path: &Path, text: &str) -> Result<(), ConfigError> {
        self.merge_text(text, &Origin::File(path.to_owned())).map(drop)
    }

    /// Takes over what `text`, the profile of a server for agents of `environment`, sets; how many options it sets.
    ///
    /// # Errors
    ///
    /// As for a file, and when it sets what may not come from afar.
    pub fn merge_profile(&mut self, environment: &str, text: &str) -> Result<usize, ConfigError> {
        self.merge_text(text, &Origin::Profile(environment.to_owned()))
    }

    fn merge_text(&mut self, text: &str, origin: &Origin) -> Result<usize, ConfigError> {
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| ConfigError::Syntax {
            origin: origin.clone(),
            message: syntax_message(text, &error),
        })?;
        let (mut count, afar) = (0, matches!(origin, Origin::Profile(_)));
        let mut put = |keys: &[&str], value: &toml::Value| {
            let key = keys.join(".");
            let taken = if afar && find(&key).is_some() && !may_come_from_afar(&key) {
                Err(ConfigError::NotFromAfar { origin: origin.clone(), key })
            } else {
                self.put_toml(&key, value, origin)
            };
            count += 1;
            taken.map_err(|error| match line_of(text, keys) {
                Some(line) => ConfigError::Line { line, problem: Box::new(error) },
                None => error,
            })
        };
        // Options nest one table deep, so that this walk needs no recursion.
        for (key, value) in &table {
            match value {
                toml::Value::Table(inner) if find(key).is_none() => {
                    for (inner_key, inner_value) in inner {
                        put(&[key, inner_key], inner_value)?;
                    }
                }
                _ => put(&[key], value)?,
            }
        }
        Ok(count)
    }

    /// Takes over what the environment sets, asked by name.
    ///
    /// Other variables that begin alike are left alone: orchestrators invent such names for services.
    ///
    /// # Errors
    ///
    /// When a value is outside its bounds.
    pub fn merge_environment(&mut self, lookup: impl Fn(&str) -> Option<String>) -> Result<(), ConfigError> {
        for spec in OPTIONS {
            let name = spec.env_name();
            if let Some(text) = lookup(&name) {
                self.put(spec, Value::parse(spec, &text), Origin::Environment(name))?;
            }
        }
        Ok(())
    }

    /// These settings, with those that a running agent cannot change as they are in `running`; and the keys of these.
    #[must_use]
    pub fn while_running(mut self, running: &Self) -> (Self, Vec<&'static str>) {
        let mut held = Vec::new();
        for spec in OPTIONS.iter().filter(|spec| needs_restart(spec.key)) {
            let own = running.get(spec.key);
            if self.get(spec.key).value != own.value {
                held.push(spec.key);
                self.0.insert(spec.key, own.clone());
            }
        }
        (self, held)
    }

    /// The keys whose values differ between these settings and `others`.
    pub fn differences(&self, others: &Self) -> Vec<&'static str> {
        let differs = |spec: &&OptionSpec| self.get(spec.key).value != others.get(spec.key).value;
        OPTIONS.iter().filter(differs).map(|spec| spec.key).collect()
    }

    /// The setting of a key of the table.
    ///
    /// # Panics
    ///
    /// When `key` is not in the table, which only a mistake in this crate can cause.
    pub fn get(&self, key: &str) -> &Setting {
        self.0.get(key).expect("the key is in the table of options")
    }

    /// One line an option: key, value, where it came from; secrets hidden.
    pub fn table(&self) -> String {
        let row = |spec: &&OptionSpec| {
            let setting = self.get(spec.key);
            (spec.key, quoted(&setting.value.show(spec.shape), spec.shape), setting.origin.to_string())
        };
        let rows: Vec<_> = OPTIONS.iter().collect::<Vec<_>>().iter().map(row).collect();
        let key_chars = rows.iter().map(|row| row.0.chars().count()).max().unwrap_or(0);
        let value_chars = rows.iter().map(|row| row.1.chars().count()).max().unwrap_or(0).min(VALUE_COLUMN_CHARS_MAX);
        rows.iter().fold(String::new(), |mut text, (key, value, origin)| {
            let line = format!("{key:key_chars$} = {value:value_chars$}  # {origin}\n");
            text.push_str(&line);
            text
        })
    }

    fn put_toml(&mut self, key: &str, value: &toml::Value, origin: &Origin) -> Result<(), ConfigError> {
        let spec = known(key, origin)?;
        self.put(spec, Value::from_toml(spec, value), origin.clone())
    }

    fn put(
        &mut self,
        spec: &'static OptionSpec,
        value: Result<Value, String>,
        origin: Origin,
    ) -> Result<(), ConfigError> {
        let problem = |problem| ConfigError::Value { key: spec.key.to_owned(), origin: origin.clone(), problem };
        let value = value.map_err(problem)?;
        self.0.insert(spec.key, Setting { value, origin });
        Ok(())
    }
}

/// What is wrong and in which line, without the line itself, which may hold a secret.
fn syntax_message(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or("");
    format!("line {}: {}", before.matches('\n').count() + 1, error.message().replace('\n', ", "))
}

/// The line in which `text` gives the key at the end of `keys`, counted from 1.
fn line_of(text: &str, keys: &[&str]) -> Option<usize> {
    let parsed = toml::de::DeTable::parse(text).ok()?;
    let mut table = parsed.get_ref();
    let mut at_byte = None;
    for (depth, wanted) in keys.iter().enumerate() {
        let (key, value) = table.iter().find(|(key, _)| key.get_ref() == *wanted)?;
        at_byte = Some(key.span().start);
        match value.get_ref() {
            toml::de::DeValue::Table(inner) => table = inner,
            _ if depth + 1 == keys.len() => {}
            _ => return None,
        }
    }
    Some(text.get(..at_byte?)?.matches('\n').count() + 1)
}

/// Widest column of values; longer ones push their origin to the right.
const VALUE_COLUMN_CHARS_MAX: usize = 48;

fn quoted(text: &str, shape: Shape) -> String {
    match shape {
        Shape::Switch | Shape::Count(..) => text.to_owned(),
        _ => format!("{text:?}"),
    }
}

fn known(key: &str, origin: &Origin) -> Result<&'static OptionSpec, ConfigError> {
    find(key).ok_or_else(|| {
        let hint = nearest(key).map_or_else(String::new, |near| format!("; did you mean {near:?}?"));
        ConfigError::UnknownKey { origin: origin.clone(), key: key.to_owned(), hint }
    })
}

/// Reads the configuration file at `path`; with `optional`, a missing file is an empty one.
///
/// # Errors
///
/// When it cannot be read or is longer than [`FILE_BYTES_MAX`].
pub fn read_file(path: &Path, optional: bool) -> Result<Option<String>, ConfigError> {
    let failed = |source| ConfigError::File { path: path.to_owned(), source };
    let bytes = match std::fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(error) if optional && error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    if bytes > FILE_BYTES_MAX {
        return Err(ConfigError::FileTooLong { path: path.to_owned(), bytes, limit_bytes: FILE_BYTES_MAX });
    }
    std::fs::read_to_string(path).map(Some).map_err(failed)
}
