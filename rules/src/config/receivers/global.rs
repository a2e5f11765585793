//! The section `global`: what receivers have where they say nothing themselves.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::super::RESOLVE_TIMEOUT_MS;
use super::http::{HttpConfig, TlsConfig};
use super::value::{self, Secret, SecretSource, TemplateText, ms};
use super::{Unused, check_url, check_url_text, without_nulls};

/// The section `global`: what receivers have where they say nothing themselves.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
#[expect(missing_docs, reason = "the fields are the documented keys")]
pub struct Global {
    /// How long an alert fires whose sender does not say until when.
    #[serde(with = "ms", rename = "resolve_timeout")]
    pub resolve_timeout_ms: i64,
    pub http_config: Option<Box<HttpConfig>>,
    pub smtp_from: Option<TemplateText>,
    pub smtp_smarthost: Option<String>,
    pub smtp_hello: Option<String>,
    pub smtp_auth_username: Option<String>,
    pub smtp_auth_password: Option<Secret>,
    pub smtp_auth_password_file: Option<PathBuf>,
    pub smtp_auth_secret: Option<Secret>,
    pub smtp_auth_secret_file: Option<PathBuf>,
    pub smtp_auth_identity: Option<String>,
    pub smtp_require_tls: Option<bool>,
    pub smtp_force_implicit_tls: Option<bool>,
    pub smtp_tls_config: Option<TlsConfig>,
    pub slack_api_url: Option<Secret>,
    pub slack_api_url_file: Option<PathBuf>,
    pub slack_app_token: Option<Secret>,
    pub slack_app_token_file: Option<PathBuf>,
    pub slack_app_url: Option<String>,
    pub pagerduty_url: Option<String>,
    pub opsgenie_api_key: Option<Secret>,
    pub opsgenie_api_key_file: Option<PathBuf>,
    pub opsgenie_api_url: Option<String>,
    pub telegram_api_url: Option<String>,
    pub telegram_bot_token: Option<Secret>,
    pub telegram_bot_token_file: Option<PathBuf>,
    // Keys of kinds that are not sent to: without a receiver of theirs nobody needs them.
    #[serde(skip_serializing)]
    jira_api_url: Option<Unused>,
    #[serde(skip_serializing)]
    mattermost_webhook_url: Option<Unused>,
    #[serde(skip_serializing)]
    mattermost_webhook_url_file: Option<Unused>,
    #[serde(skip_serializing)]
    msteams_webhook_url: Option<Unused>,
    #[serde(skip_serializing)]
    rocketchat_api_url: Option<Unused>,
    #[serde(skip_serializing)]
    rocketchat_token: Option<Unused>,
    #[serde(skip_serializing)]
    rocketchat_token_file: Option<Unused>,
    #[serde(skip_serializing)]
    rocketchat_token_id: Option<Unused>,
    #[serde(skip_serializing)]
    rocketchat_token_id_file: Option<Unused>,
    #[serde(skip_serializing)]
    victorops_api_key: Option<Unused>,
    #[serde(skip_serializing)]
    victorops_api_key_file: Option<Unused>,
    #[serde(skip_serializing)]
    victorops_api_url: Option<Unused>,
    #[serde(skip_serializing)]
    webex_api_url: Option<Unused>,
    #[serde(skip_serializing)]
    wechat_api_corp_id: Option<Unused>,
    #[serde(skip_serializing)]
    wechat_api_secret: Option<Unused>,
    #[serde(skip_serializing)]
    wechat_api_secret_file: Option<Unused>,
    #[serde(skip_serializing)]
    wechat_api_url: Option<Unused>,
}

impl Default for Global {
    fn default() -> Self {
        Self {
            resolve_timeout_ms: RESOLVE_TIMEOUT_MS,
            http_config: None,
            smtp_from: None,
            smtp_smarthost: None,
            smtp_hello: None,
            smtp_auth_username: None,
            smtp_auth_password: None,
            smtp_auth_password_file: None,
            smtp_auth_secret: None,
            smtp_auth_secret_file: None,
            smtp_auth_identity: None,
            smtp_require_tls: None,
            smtp_force_implicit_tls: None,
            smtp_tls_config: None,
            slack_api_url: None,
            slack_api_url_file: None,
            slack_app_token: None,
            slack_app_token_file: None,
            slack_app_url: None,
            pagerduty_url: None,
            opsgenie_api_key: None,
            opsgenie_api_key_file: None,
            opsgenie_api_url: None,
            telegram_api_url: None,
            telegram_bot_token: None,
            telegram_bot_token_file: None,
            jira_api_url: None,
            mattermost_webhook_url: None,
            mattermost_webhook_url_file: None,
            msteams_webhook_url: None,
            rocketchat_api_url: None,
            rocketchat_token: None,
            rocketchat_token_file: None,
            rocketchat_token_id: None,
            rocketchat_token_id_file: None,
            victorops_api_key: None,
            victorops_api_key_file: None,
            victorops_api_url: None,
            webex_api_url: None,
            wechat_api_corp_id: None,
            wechat_api_secret: None,
            wechat_api_secret_file: None,
            wechat_api_url: None,
        }
    }
}

impl Global {
    /// Where the URL of Slack's webhook is.
    pub(super) fn slack_url(&self) -> Result<Option<SecretSource>, String> {
        value::pick("slack_api_url", self.slack_api_url.as_ref(), self.slack_api_url_file.as_ref())
    }

    /// Where the token of Slack's app is.
    pub(super) fn slack_token(&self) -> Result<Option<SecretSource>, String> {
        value::pick("slack_app_token", self.slack_app_token.as_ref(), self.slack_app_token_file.as_ref())
    }

    /// Checks it, and lets its paths begin at `folder`.
    pub(super) fn settle(&mut self, folder: &Path) -> Result<(), String> {
        for path in [
            &mut self.smtp_auth_password_file,
            &mut self.smtp_auth_secret_file,
            &mut self.slack_api_url_file,
            &mut self.slack_app_token_file,
            &mut self.opsgenie_api_key_file,
            &mut self.telegram_bot_token_file,
        ] {
            value::anchor(path, folder);
        }
        if let Some(http) = &mut self.http_config {
            http.settle(folder).map_err(|wrong| format!("http_config: {wrong}"))?;
        }
        if self.slack_url()?.is_some() && self.slack_token()?.is_some() {
            return Err("slack_api_url and slack_app_token exclude each other".to_owned());
        }
        if self.resolve_timeout_ms == 0 {
            return Err("resolve_timeout: it must be longer than 0s".to_owned());
        }
        check_url(self.slack_api_url.as_ref(), "slack_api_url")?;
        for (url, key) in [
            (&self.pagerduty_url, "pagerduty_url"),
            (&self.opsgenie_api_url, "opsgenie_api_url"),
            (&self.telegram_api_url, "telegram_api_url"),
            (&self.slack_app_url, "slack_app_url"),
        ] {
            check_url_text(url.as_deref(), key)?;
        }
        Ok(())
    }
}

impl Global {
    /// As the file would have it, without secrets.
    pub fn shown(&self) -> serde_json::Value {
        without_nulls(serde_json::to_value(self).unwrap_or_default())
    }
}
