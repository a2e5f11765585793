//! Messages for Slack, Telegram and Discord.
//!
//! Slack: <https://api.slack.com/reference/messaging/attachments>. Telegram: <https://core.telegram.org/bots/api#sendmessage>.
//! Discord: <https://discord.com/developers/docs/resources/webhook#execute-webhook>.

use serde_json::{Map, Value, json};

use super::cut::{cut, cut_html};
use super::data::Status;
use super::outgoing::{Api, Hide, Outgoing};
use super::request::Making;
use super::{RenderError, Rendering};
use crate::config::receivers::{Discord, ParseMode, Secret, Slack, SlackAction, Telegram, TemplateText};

/// Longest title of a Slack attachment, characters.
const SLACK_TITLE_CHARS_MAX: usize = 1024;
/// Longest text in a Slack message, characters.
const SLACK_TEXT_CHARS_MAX: usize = 40_000;
/// Longest Telegram message, characters.
const TELEGRAM_CHARS_MAX: usize = 4096;
/// Longest title of a Discord embed, characters.
const DISCORD_TITLE_CHARS_MAX: usize = 256;
/// Longest text of a Discord embed, characters.
const DISCORD_TEXT_CHARS_MAX: usize = 4096;
/// Longest content of a Discord message, characters.
const DISCORD_CONTENT_CHARS_MAX: usize = 2000;
/// Longest name of a Discord user, characters.
const DISCORD_NAME_CHARS_MAX: usize = 80;

/// Collects what is not empty.
struct Fields<'r, 'a> {
    of: &'r Rendering<'a>,
    map: Map<String, Value>,
}

impl<'r, 'a> Fields<'r, 'a> {
    fn new(of: &'r Rendering<'a>) -> Self {
        Self { of, map: Map::new() }
    }

    fn text(&mut self, key: &str, template: &TemplateText, chars_max: usize) -> Result<(), RenderError> {
        let text = self.of.text(key, template)?;
        if !text.is_empty() {
            self.map.insert(key.to_owned(), cut(&text, chars_max).into());
        }
        Ok(())
    }
}

pub(super) fn slack(of: &Rendering<'_>, slack: &Slack) -> Result<Outgoing, RenderError> {
    let mut attachment = Fields::new(of);
    for (key, template, chars_max) in [
        ("title", &slack.title, SLACK_TITLE_CHARS_MAX),
        ("title_link", &slack.title_link, SLACK_TEXT_CHARS_MAX),
        ("pretext", &slack.pretext, SLACK_TEXT_CHARS_MAX),
        ("text", &slack.text, SLACK_TEXT_CHARS_MAX),
        ("fallback", &slack.fallback, SLACK_TEXT_CHARS_MAX),
        ("callback_id", &slack.callback_id, SLACK_TEXT_CHARS_MAX),
        ("image_url", &slack.image_url, SLACK_TEXT_CHARS_MAX),
        ("thumb_url", &slack.thumb_url, SLACK_TEXT_CHARS_MAX),
        ("footer", &slack.footer, SLACK_TEXT_CHARS_MAX),
        ("color", &slack.color, SLACK_TEXT_CHARS_MAX),
    ] {
        attachment.text(key, template, chars_max)?;
    }
    attachment.map.insert("mrkdwn_in".to_owned(), json!(slack.mrkdwn_in));
    let fields: Result<Vec<Value>, RenderError> = slack
        .fields
        .iter()
        .map(|field| {
            let (title, value) = (of.text("fields.title", &field.title)?, of.text("fields.value", &field.value)?);
            Ok(json!({"title": title, "value": value, "short": field.short.unwrap_or(slack.short_fields)}))
        })
        .collect();
    let actions: Result<Vec<Value>, RenderError> =
        slack.actions.iter().map(|action| slack_action(of, action)).collect();
    for (key, list) in [("fields", fields?), ("actions", actions?)] {
        if !list.is_empty() {
            attachment.map.insert(key.to_owned(), list.into());
        }
    }
    let mut message = Fields::new(of);
    for (key, template) in [
        ("channel", &slack.channel),
        ("username", &slack.username),
        ("icon_emoji", &slack.icon_emoji),
        ("icon_url", &slack.icon_url),
        ("text", &slack.message_text),
    ] {
        message.text(key, template, SLACK_TEXT_CHARS_MAX)?;
    }
    if slack.link_names {
        message.map.insert("link_names".to_owned(), true.into());
    }
    message.map.insert("attachments".to_owned(), json!([attachment.map]));

    let url = of.secret(slack.target.as_ref(), "api_url")?;
    let mut extra = Vec::new();
    let mut hide = Hide::default();
    if let Some(token) = &slack.token {
        let token = token.read(of.files).map_err(RenderError::Secret)?;
        hide.add(&token);
        extra.push(("Authorization", Secret::new(format!("Bearer {}", token.expose()))));
    }
    let making = Making {
        http: of.http(slack.http_config.as_deref()),
        files: of.files,
        timeout_ms: slack.timeout_ms,
        api: Api::Slack,
    };
    Ok(Outgoing::Http(vec![making.post(url, extra, &Value::Object(message.map), hide)?]))
}

fn slack_action(of: &Rendering<'_>, action: &SlackAction) -> Result<Value, RenderError> {
    let mut fields = Fields::new(of);
    for (key, template) in [
        ("type", &action.kind),
        ("text", &action.text),
        ("url", &action.url),
        ("style", &action.style),
        ("name", &action.name),
        ("value", &action.value),
    ] {
        fields.text(key, template, SLACK_TEXT_CHARS_MAX)?;
    }
    if let Some(confirm) = &action.confirm {
        let mut asked = Fields::new(of);
        for (key, template) in [
            ("text", &confirm.text),
            ("title", &confirm.title),
            ("ok_text", &confirm.ok_text),
            ("dismiss_text", &confirm.dismiss_text),
        ] {
            asked.text(key, template, SLACK_TEXT_CHARS_MAX)?;
        }
        fields.map.insert("confirm".to_owned(), Value::Object(asked.map));
    }
    Ok(Value::Object(fields.map))
}

pub(super) fn telegram(of: &Rendering<'_>, telegram: &Telegram) -> Result<Outgoing, RenderError> {
    let token = of.secret(telegram.token.as_ref(), "bot_token")?;
    let (text, mode) = match telegram.parse_mode {
        ParseMode::Html => (cut_html(&of.filler.html("message", &telegram.message)?, TELEGRAM_CHARS_MAX), Some("HTML")),
        other => {
            let mode = match other {
                ParseMode::MarkdownV2 => Some("MarkdownV2"),
                ParseMode::Markdown => Some("Markdown"),
                ParseMode::Html | ParseMode::Plain => None,
            };
            (cut(&of.text("message", &telegram.message)?, TELEGRAM_CHARS_MAX), mode)
        }
    };
    let chat_id = match (telegram.chat_id, &telegram.chat_id_file) {
        (Some(id), _) => id,
        (None, Some(file)) => {
            let id = of.files.read(file).map_err(RenderError::Secret)?;
            id.expose().parse().map_err(|_| RenderError::Setting("chat_id_file holds no number".to_owned()))?
        }
        (None, None) => return Err(RenderError::Setting("chat_id is missing".to_owned())),
    };
    let mut body = json!({
        "chat_id": chat_id,
        "text": text,
        "disable_notification": telegram.disable_notifications,
        "link_preview_options": {"is_disabled": true},
    });
    if let Some(mode) = mode {
        body["parse_mode"] = mode.into();
    }
    if let Some(thread) = telegram.message_thread_id {
        body["message_thread_id"] = thread.into();
    }
    let api_url = telegram.api_url.as_deref().unwrap_or("https://api.telegram.org").trim_end_matches('/');
    let mut hide = Hide::default();
    hide.add(&token);
    let url = Secret::new(format!("{api_url}/bot{}/sendMessage", token.expose()));
    let making =
        Making { http: of.http(telegram.http_config.as_deref()), files: of.files, timeout_ms: 0, api: Api::Telegram };
    Ok(Outgoing::Http(vec![making.post(url, Vec::new(), &body, hide)?]))
}

pub(super) fn discord(of: &Rendering<'_>, discord: &Discord) -> Result<Outgoing, RenderError> {
    let color = match of.data.status() {
        Status::Firing => 0x99_2d_22,
        Status::Resolved => 0x2e_cc_71,
    };
    let mut embed = Fields::new(of);
    embed.text("title", &discord.title, DISCORD_TITLE_CHARS_MAX)?;
    let description = cut(&of.text("message", &discord.message)?, DISCORD_TEXT_CHARS_MAX);
    embed.map.insert("description".to_owned(), description.into());
    embed.map.insert("color".to_owned(), color.into());
    let mut message = Fields::new(of);
    message.text("content", &discord.content, DISCORD_CONTENT_CHARS_MAX)?;
    message.text("username", &discord.username, DISCORD_NAME_CHARS_MAX)?;
    message.text("avatar_url", &discord.avatar_url, DISCORD_CONTENT_CHARS_MAX)?;
    message.map.insert("embeds".to_owned(), json!([embed.map]));
    let url = of.secret(discord.target.as_ref(), "webhook_url")?;
    let making =
        Making { http: of.http(discord.http_config.as_deref()), files: of.files, timeout_ms: 0, api: Api::Discord };
    Ok(Outgoing::Http(vec![making.post(url, Vec::new(), &Value::Object(message.map), Hide::default())?]))
}
