//! `slack_configs`, `telegram_configs` and `discord_configs`.
//!
//! Keys and defaults are those of <https://prometheus.io/docs/alerting/latest/configuration/#slack_config> and what follows there.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::http::HttpConfig;
use super::value::{Secret, SecretSource, TemplateText, anchor, ms, pick, pick_or};
use super::{Global, check_url, http_of, yes};

fn of(template: &str) -> TemplateText {
    TemplateText::new(format!("{{{{ template \"{template}\" . }}}}"))
}

macro_rules! defaults {
    ($($name:ident = $template:literal;)*) => {
        $(fn $name() -> TemplateText { of($template) })*
    };
}

defaults! {
    slack_username = "slack.default.username";
    slack_callback_id = "slack.default.callbackid";
    slack_fallback = "slack.default.fallback";
    slack_footer = "slack.default.footer";
    slack_pretext = "slack.default.pretext";
    slack_text = "slack.default.text";
    slack_title = "slack.default.title";
    slack_title_link = "slack.default.titlelink";
    slack_icon_emoji = "slack.default.iconemoji";
    slack_icon_url = "slack.default.iconurl";
    telegram_message = "telegram.default.message";
    discord_title = "discord.default.title";
    discord_message = "discord.default.message";
    discord_content = "discord.default.content";
}

fn slack_color() -> TemplateText {
    TemplateText::new("{{ if eq .Status \"firing\" }}danger{{ else }}good{{ end }}")
}

fn slack_mrkdwn_in() -> Vec<String> {
    ["fallback", "pretext", "text"].map(str::to_owned).to_vec()
}

/// Slack: an incoming webhook, or `chat.postMessage` with a token.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields are the documented keys")]
pub struct Slack {
    #[serde(default)]
    pub send_resolved: bool,
    pub api_url: Option<Secret>,
    pub api_url_file: Option<PathBuf>,
    pub app_token: Option<Secret>,
    pub app_token_file: Option<PathBuf>,
    pub app_url: Option<String>,
    #[serde(default)]
    pub channel: TemplateText,
    #[serde(default = "slack_username")]
    pub username: TemplateText,
    #[serde(default = "slack_color")]
    pub color: TemplateText,
    #[serde(default = "slack_title")]
    pub title: TemplateText,
    #[serde(default = "slack_title_link")]
    pub title_link: TemplateText,
    #[serde(default = "slack_pretext")]
    pub pretext: TemplateText,
    #[serde(default = "slack_text")]
    pub text: TemplateText,
    /// Text of the message itself, above the attachment.
    #[serde(default)]
    pub message_text: TemplateText,
    #[serde(default)]
    pub fields: Vec<SlackField>,
    #[serde(default)]
    pub short_fields: bool,
    #[serde(default = "slack_footer")]
    pub footer: TemplateText,
    #[serde(default = "slack_fallback")]
    pub fallback: TemplateText,
    #[serde(default = "slack_callback_id")]
    pub callback_id: TemplateText,
    #[serde(default = "slack_icon_emoji")]
    pub icon_emoji: TemplateText,
    #[serde(default = "slack_icon_url")]
    pub icon_url: TemplateText,
    #[serde(default)]
    pub image_url: TemplateText,
    #[serde(default)]
    pub thumb_url: TemplateText,
    #[serde(default)]
    pub link_names: bool,
    #[serde(default = "slack_mrkdwn_in")]
    pub mrkdwn_in: Vec<String>,
    #[serde(default)]
    pub actions: Vec<SlackAction>,
    #[serde(default, with = "ms", rename = "timeout")]
    pub timeout_ms: i64,
    pub http_config: Option<Box<HttpConfig>>,
    /// Where the URL is; set once the file is checked.
    #[serde(skip)]
    pub(crate) target: Option<SecretSource>,
    /// Where the token of an app is, if that is the way.
    #[serde(skip)]
    pub(crate) token: Option<SecretSource>,
}

/// A field of a Slack attachment.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields are the documented keys")]
pub struct SlackField {
    pub title: TemplateText,
    pub value: TemplateText,
    pub short: Option<bool>,
}

/// A button of a Slack attachment.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields are the documented keys")]
pub struct SlackAction {
    #[serde(rename = "type")]
    pub kind: TemplateText,
    pub text: TemplateText,
    #[serde(default)]
    pub url: TemplateText,
    #[serde(default)]
    pub style: TemplateText,
    #[serde(default)]
    pub name: TemplateText,
    #[serde(default)]
    pub value: TemplateText,
    pub confirm: Option<SlackConfirm>,
}

/// What a button asks before it acts.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields are the documented keys")]
pub struct SlackConfirm {
    pub text: TemplateText,
    #[serde(default)]
    pub title: TemplateText,
    #[serde(default)]
    pub ok_text: TemplateText,
    #[serde(default)]
    pub dismiss_text: TemplateText,
}

impl Slack {
    pub(super) fn settle(&mut self, global: &Global, folder: &Path) -> Result<(), String> {
        anchor(&mut self.api_url_file, folder);
        anchor(&mut self.app_token_file, folder);
        self.target = pick("api_url", self.api_url.as_ref(), self.api_url_file.as_ref())?;
        self.token = pick("app_token", self.app_token.as_ref(), self.app_token_file.as_ref())?;
        if self.target.is_some() && self.token.is_some() {
            return Err("api_url and app_token exclude each other".to_owned());
        }
        if self.target.is_none() && self.token.is_none() {
            self.token = global.slack_token()?;
            if self.token.is_none() {
                self.target = global.slack_url()?;
            }
        }
        if self.token.is_some() && self.target.is_none() {
            let url = self.app_url.as_ref().or(global.slack_app_url.as_ref());
            let url = url.map_or("https://slack.com/api/chat.postMessage", String::as_str);
            self.target = Some(SecretSource::Given(Secret::new(url)));
        }
        if self.target.is_none() {
            return Err("api_url or app_token is missing, and global.slack_api_url too".to_owned());
        }
        check_url(self.api_url.as_ref(), "api_url")?;
        for action in &self.actions {
            if action.url.is_empty() && (action.name.is_empty() || action.value.is_empty()) {
                return Err("an action needs a url, or name and value".to_owned());
            }
        }
        http_of(&mut self.http_config, global, folder)
    }
}

/// Telegram: `sendMessage` of a bot.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields are the documented keys")]
pub struct Telegram {
    #[serde(default = "yes")]
    pub send_resolved: bool,
    pub api_url: Option<String>,
    pub bot_token: Option<Secret>,
    pub bot_token_file: Option<PathBuf>,
    pub chat_id: Option<i64>,
    pub chat_id_file: Option<PathBuf>,
    pub message_thread_id: Option<i64>,
    #[serde(default = "telegram_message")]
    pub message: TemplateText,
    #[serde(default)]
    pub disable_notifications: bool,
    #[serde(default)]
    pub parse_mode: ParseMode,
    pub http_config: Option<Box<HttpConfig>>,
    /// Set once the file is checked.
    #[serde(skip)]
    pub(crate) token: Option<SecretSource>,
}

/// How Telegram reads a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
pub enum ParseMode {
    /// A few tags; values are escaped.
    #[default]
    #[serde(rename = "HTML")]
    Html,
    /// Telegram's second Markdown; templates escape what must be.
    MarkdownV2,
    /// Its first.
    Markdown,
    /// As it is.
    #[serde(rename = "")]
    Plain,
}

impl Telegram {
    pub(super) fn settle(&mut self, global: &Global, folder: &Path) -> Result<(), String> {
        anchor(&mut self.bot_token_file, folder);
        anchor(&mut self.chat_id_file, folder);
        let inherited =
            pick("telegram_bot_token", global.telegram_bot_token.as_ref(), global.telegram_bot_token_file.as_ref())?;
        self.token = pick_or("bot_token", self.bot_token.as_ref(), self.bot_token_file.as_ref(), inherited.as_ref())?;
        if self.token.is_none() {
            return Err("bot_token or bot_token_file is missing".to_owned());
        }
        match (self.chat_id.is_some(), self.chat_id_file.is_some()) {
            (false, false) => return Err("chat_id or chat_id_file is missing".to_owned()),
            (true, true) => return Err("chat_id and chat_id_file exclude each other".to_owned()),
            _ => {}
        }
        if self.api_url.is_none() {
            self.api_url.clone_from(&global.telegram_api_url);
        }
        http_of(&mut self.http_config, global, folder)
    }
}

/// Discord: a webhook.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields are the documented keys")]
pub struct Discord {
    #[serde(default = "yes")]
    pub send_resolved: bool,
    pub webhook_url: Option<Secret>,
    pub webhook_url_file: Option<PathBuf>,
    #[serde(default = "discord_title")]
    pub title: TemplateText,
    #[serde(default = "discord_message")]
    pub message: TemplateText,
    #[serde(default = "discord_content")]
    pub content: TemplateText,
    #[serde(default)]
    pub username: TemplateText,
    #[serde(default)]
    pub avatar_url: TemplateText,
    pub http_config: Option<Box<HttpConfig>>,
    /// Where the URL is; set once the file is checked.
    #[serde(skip)]
    pub(crate) target: Option<SecretSource>,
}

impl Discord {
    pub(super) fn settle(&mut self, global: &Global, folder: &Path) -> Result<(), String> {
        anchor(&mut self.webhook_url_file, folder);
        self.target = pick("webhook_url", self.webhook_url.as_ref(), self.webhook_url_file.as_ref())?;
        if self.target.is_none() {
            return Err("webhook_url or webhook_url_file is missing".to_owned());
        }
        check_url(self.webhook_url.as_ref(), "webhook_url")?;
        http_of(&mut self.http_config, global, folder)
    }
}
