//! `email_configs`: <https://prometheus.io/docs/alerting/latest/configuration/#email_config>.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::http::TlsConfig;
use super::value::{Secret, SecretSource, TemplateText, anchor, pick_or};
use super::{Global, yes};

/// Mail.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields are the documented keys")]
pub struct Email {
    #[serde(default)]
    pub send_resolved: bool,
    #[serde(default)]
    pub to: TemplateText,
    pub from: Option<TemplateText>,
    /// `HOST:PORT`.
    pub smarthost: Option<String>,
    pub hello: Option<String>,
    pub auth_username: Option<String>,
    pub auth_password: Option<Secret>,
    pub auth_password_file: Option<PathBuf>,
    pub auth_secret: Option<Secret>,
    pub auth_secret_file: Option<PathBuf>,
    pub auth_identity: Option<String>,
    pub require_tls: Option<bool>,
    /// TLS from the first byte, which port 465 has in any case.
    pub force_implicit_tls: Option<bool>,
    pub tls_config: Option<TlsConfig>,
    #[serde(default = "html")]
    pub html: TemplateText,
    #[serde(default = "text")]
    pub text: TemplateText,
    #[serde(default)]
    pub headers: BTreeMap<String, TemplateText>,
    #[serde(default)]
    pub threading: Threading,
    /// Set once the file is checked.
    #[serde(skip)]
    pub(crate) password: Option<SecretSource>,
}

/// Whether the mails of a group are one thread.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Threading {
    /// Whether they are. They are unless told otherwise: a reader sees an alert and its end together.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Whether each day has a thread of its own.
    #[serde(default)]
    pub thread_by_date: ByDate,
}

impl Default for Threading {
    fn default() -> Self {
        Self { enabled: true, thread_by_date: ByDate::default() }
    }
}

/// Threads of days.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ByDate {
    /// A group has one thread.
    None,
    /// A group has one thread for each day.
    #[default]
    Daily,
}

fn html() -> TemplateText {
    TemplateText::new("{{ template \"email.default.html\" . }}")
}

fn text() -> TemplateText {
    TemplateText::new("{{ template \"email.default.text\" . }}")
}

impl Email {
    pub(super) fn settle(&mut self, global: &Global, folder: &Path) -> Result<(), String> {
        let or = |own: &mut Option<String>, global: &Option<String>| {
            if own.is_none() {
                own.clone_from(global);
            }
        };
        or(&mut self.smarthost, &global.smtp_smarthost);
        or(&mut self.hello, &global.smtp_hello);
        or(&mut self.auth_username, &global.smtp_auth_username);
        or(&mut self.auth_identity, &global.smtp_auth_identity);
        self.from = self.from.take().or_else(|| global.smtp_from.clone());
        self.require_tls = self.require_tls.or(global.smtp_require_tls);
        self.force_implicit_tls = self.force_implicit_tls.or(global.smtp_force_implicit_tls);
        anchor(&mut self.auth_password_file, folder);
        let inherited = super::value::pick(
            "smtp_auth_password",
            global.smtp_auth_password.as_ref(),
            global.smtp_auth_password_file.as_ref(),
        )?;
        self.password = pick_or(
            "auth_password",
            self.auth_password.as_ref(),
            self.auth_password_file.as_ref(),
            inherited.as_ref(),
        )?;
        let mut tls = self.tls_config.take().or_else(|| global.smtp_tls_config.clone()).unwrap_or_default();
        tls.settle(folder)?;
        self.tls_config = Some(tls);
        if self.to.is_empty() {
            return Err("to is missing".to_owned());
        }
        if self.from.as_ref().is_none_or(TemplateText::is_empty) {
            return Err("from is missing, and global.smtp_from too".to_owned());
        }
        let smarthost = self.smarthost.as_deref().unwrap_or_default();
        if smarthost.is_empty() {
            return Err("smarthost is missing, and global.smtp_smarthost too".to_owned());
        }
        host_and_port(smarthost)?;
        let named = self.auth_username.as_ref().is_some_and(|name| !name.is_empty());
        if named && self.password.is_none() {
            return Err("auth_username needs auth_password; CRAM-MD5 with auth_secret is not supported".to_owned());
        }
        Ok(())
    }
}

/// `HOST:PORT`, where an IPv6 address is in brackets.
pub(crate) fn host_and_port(text: &str) -> Result<(&str, u16), String> {
    let wrong = || format!("smarthost is {text:?}, but HOST:PORT is wanted");
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    match port.parse() {
        Ok(port) if !host.is_empty() => Ok((host, port)),
        _ => Err(wrong()),
    }
}
