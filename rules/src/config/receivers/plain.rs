//! `webhook_configs`, `exec_configs` and `file_configs`: receivers that get the alerts as JSON.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::http::HttpConfig;
use super::value::{Secret, SecretSource, TemplateText, check_template, ms, pick};
use super::{Global, http_of, yes};

/// A webhook: <https://prometheus.io/docs/alerting/latest/configuration/#webhook_config>.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields are the documented keys")]
pub struct Webhook {
    #[serde(default = "yes")]
    pub send_resolved: bool,
    pub url: Option<Secret>,
    pub url_file: Option<PathBuf>,
    /// 0 is all of them.
    #[serde(default)]
    pub max_alerts: usize,
    /// 0 is what all receivers have.
    #[serde(default, with = "ms", rename = "timeout")]
    pub timeout_ms: i64,
    pub http_config: Option<Box<HttpConfig>>,
    /// What is sent in place of the body that all webhooks have.
    pub payload: Option<Payload>,
    /// Where the URL is; set once the file is checked.
    #[serde(skip)]
    pub(crate) target: Option<SecretSource>,
}

impl Webhook {
    pub(super) fn settle(&mut self, global: &Global, folder: &Path) -> Result<(), String> {
        super::value::anchor(&mut self.url_file, folder);
        self.target = pick("url", self.url.as_ref(), self.url_file.as_ref())?;
        if self.target.is_none() {
            return Err("url or url_file is missing".to_owned());
        }
        super::check_url(self.url.as_ref(), "url")?;
        http_of(&mut self.http_config, global, folder)
    }
}

/// A body of the user's own: whatever YAML has, with templates in its texts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Payload(Value);

impl Payload {
    /// What it is made from.
    pub fn value(&self) -> &Value {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        check_templates(&value).map_err(D::Error::custom)?;
        Ok(Self(value))
    }
}

/// Whether each text is a template.
fn check_templates(value: &Value) -> Result<(), String> {
    match value {
        Value::String(text) => check_template(text),
        Value::Array(items) => items.iter().try_for_each(check_templates),
        Value::Object(entries) => {
            entries.iter().try_for_each(|(key, value)| check_template(key).and_then(|()| check_templates(value)))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
    }
}

/// Most arguments of a command.
const ARGUMENTS_MAX: usize = 256;

/// A program that is started for each notification and gets the webhook's JSON on its standard input. No shell is involved.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Exec {
    /// Whether it is told of ends.
    #[serde(default = "yes")]
    pub send_resolved: bool,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Set in its environment; templates. What is none is not shown.
    #[serde(default)]
    pub env: BTreeMap<String, TemplateText>,
    /// Set in its environment: what is in these files. It is not shown.
    #[serde(default)]
    pub env_file: BTreeMap<String, PathBuf>,
    /// After which it is ended, milliseconds.
    #[serde(default = "exec_timeout_ms", with = "ms", rename = "timeout")]
    pub timeout_ms: i64,
    /// Its working folder; the server's without.
    pub working_dir: Option<PathBuf>,
}

fn exec_timeout_ms() -> i64 {
    30_000
}

impl Exec {
    pub(super) fn settle(&mut self, folder: &Path) -> Result<(), String> {
        super::value::anchor(&mut self.working_dir, folder);
        for path in self.env_file.values_mut() {
            *path = folder.join(&*path);
        }
        if self.command.first().is_none_or(String::is_empty) {
            return Err("command is empty: it is a list of the program and its arguments".to_owned());
        }
        if self.command.len() > ARGUMENTS_MAX {
            return Err(format!("command has {} parts; {ARGUMENTS_MAX} are allowed", self.command.len()));
        }
        let mut names = self.env.keys().chain(self.env_file.keys());
        if let Some(name) = names.find(|name| name.is_empty() || name.contains(['=', '\0'])) {
            return Err(format!("env: {name:?} is no name of a variable"));
        }
        if let Some(name) = self.env.keys().find(|name| self.env_file.contains_key(*name)) {
            return Err(format!("{name} is in env and in env_file, which exclude each other"));
        }
        if self.timeout_ms == 0 {
            return Err("timeout must not be 0".to_owned());
        }
        Ok(())
    }
}

/// A file that gets a line of JSON for each notification.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Whether it is told of ends.
    #[serde(default = "yes")]
    pub send_resolved: bool,
    /// The file.
    pub path: PathBuf,
    /// Size at which it becomes `PATH.1`, whose old content goes.
    #[serde(default = "file_bytes_max")]
    pub bytes_max: u64,
    /// Whether a line is on disk before the notification counts as delivered.
    #[serde(default)]
    pub sync: bool,
}

fn file_bytes_max() -> u64 {
    64 << 20
}

impl File {
    pub(super) fn settle(&mut self, folder: &Path) -> Result<(), String> {
        if self.path.as_os_str().is_empty() {
            return Err("path is empty".to_owned());
        }
        if self.path.is_relative() {
            self.path = folder.join(&self.path);
        }
        if self.bytes_max < 4096 {
            return Err(format!("bytes_max is {}; 4096 is the least", self.bytes_max));
        }
        Ok(())
    }
}
