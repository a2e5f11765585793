//! A routing file as it may be shown: as people wrote it, but without comments and secrets.
//!
//! In receivers and global settings a text is shown only where its key is known to hold none; what is new is hidden until somebody looked at it.

use serde_json::{Map, Value};

use super::receivers::HIDDEN;

/// What is shown in place of a URL that may hold a secret.
const HIDDEN_URL: &str = "http://secret.invalid/";
/// Keys of receivers and global settings whose texts are no secrets, besides those that end with `_file`.
const OPEN_KEYS: [&str; 44] = [
    "auth_identity",
    "auth_username",
    "body",
    "channel",
    "class",
    "client",
    "color",
    "component",
    "description",
    "disable_notifications",
    "entity",
    "fallback",
    "footer",
    "from",
    "group",
    "hello",
    "html",
    "icon_emoji",
    "max_alerts",
    "message",
    "name",
    "note",
    "parse_mode",
    "path",
    "pretext",
    "priority",
    "resolve_timeout",
    "severity",
    "short_fields",
    "smarthost",
    "smtp_auth_username",
    "smtp_from",
    "smtp_hello",
    "smtp_smarthost",
    "source",
    "subject",
    "summary",
    "tags",
    "text",
    "timeout",
    "title",
    "to",
    "type",
    "username",
];
/// What keys of secrets have in their names.
const SECRET_WORDS: [&str; 5] = ["key", "token", "password", "secret", "credentials"];
/// The key of a program's environment.
const ENV: &str = "env";
/// Kinds whose `url` or `api_url` is a service's, which everybody knows.
const OPEN_URLS: [&str; 4] = ["pagerduty_configs", "opsgenie_configs", "telegram_configs", "global"];

/// The text of a routing file that was read before, as it may be shown; empty where it is none.
pub fn shown(text: &str) -> String {
    let Ok(Value::Object(mut file)) = crate::yaml::read::<Value>("", text) else { return String::new() };
    for (key, value) in &mut file {
        if key == "global" {
            hide(value, "global", "global");
        } else if key == "receivers" {
            for receiver in value.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
                for (kind, settings) in receiver {
                    hide(settings, kind, kind);
                }
            }
        }
    }
    let mut out = String::new();
    write_map(&mut out, &file, 0);
    out
}

fn hide(value: &mut Value, key: &str, kind: &str) {
    match value {
        // The names of variables are anybody's.
        Value::Object(entries) if key == ENV => entries.values_mut().for_each(|value| hide(value, ENV, kind)),
        Value::Object(entries) => entries.iter_mut().for_each(|(key, value)| hide(value, key, kind)),
        Value::Array(items) => items.iter_mut().for_each(|item| hide(item, key, kind)),
        Value::String(text) => {
            let is_url = matches!(key, "url" | "api_url" | "pagerduty_url" | "opsgenie_api_url" | "telegram_api_url");
            let is_open = OPEN_KEYS.contains(&key)
                || key.ends_with("_file")
                || (is_url && OPEN_URLS.contains(&kind) && !text.contains('@'));
            if !is_open {
                // Clients read what is shown, and want URLs where there were some.
                let hidden = if key == "url" || key.ends_with("_url") { HIDDEN_URL } else { HIDDEN };
                hidden.clone_into(text);
            }
        }
        // A key or password of digits alone.
        Value::Number(_)
            if key == ENV || SECRET_WORDS.iter().any(|word| key.contains(word)) && !key.ends_with("_file") =>
        {
            *value = Value::String(HIDDEN.to_owned());
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn write_map(out: &mut String, entries: &Map<String, Value>, depth: usize) {
    for (key, value) in entries {
        out.push_str(&"  ".repeat(depth));
        write_key(out, key);
        write_value(out, value, depth);
    }
}

fn write_key(out: &mut String, key: &str) {
    let is_plain = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    let quoted = || Value::from(key).to_string();
    out.push_str(&if is_plain { key.to_owned() } else { quoted() });
    out.push(':');
}

fn write_value(out: &mut String, value: &Value, depth: usize) {
    match value {
        Value::Object(entries) if !entries.is_empty() => {
            out.push('\n');
            write_map(out, entries, depth + 1);
        }
        Value::Array(items) if !items.is_empty() => {
            out.push('\n');
            for item in items {
                out.push_str(&"  ".repeat(depth));
                out.push('-');
                match item {
                    Value::Object(entries) if !entries.is_empty() => {
                        let mut inner = String::new();
                        write_map(&mut inner, entries, depth + 1);
                        out.push(' ');
                        out.push_str(inner.trim_start());
                    }
                    item => write_value(out, item, depth + 1),
                }
            }
        }
        // What is JSON on one line is YAML too.
        value => {
            out.push(' ');
            out.push_str(&value.to_string());
            out.push('\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_stay_hidden() {
        let text = r"
global: {smtp_smarthost: 'mail:25', smtp_auth_password: 4711471147, slack_api_url: 'http://hunter2', pagerduty_url: 'https://p/'}
route: {receiver: a, group_by: [job], routes: [{matchers: ['a=b'], receiver: a}]}
receivers:
- name: a
  webhook_configs: [{url: 'http://x/hunter2', http_config: {basic_auth: {username: u, password: hunter2, password_file: /p}}, send_resolved: true}]
  pagerduty_configs: [{routing_key: hunter2, url: 'https://e/', details: {a: hunter2}}]
  new_configs: ['hunter2']
  exec_configs: [{command: [x, hunter2], env: {text: hunter2, PIN: 4711471147}}]
";
        let shown = shown(text);
        assert!(!shown.contains("hunter2") && !shown.contains("4711471147"), "{shown}");
        for wanted in [
            "smtp_smarthost: \"mail:25\"",
            "pagerduty_url: \"https://p/\"",
            "username: \"u\"",
            "password_file: \"/p\"",
            "url: \"https://e/\"",
            "send_resolved: true",
            "url: \"http://secret.invalid/\"",
        ] {
            assert!(shown.contains(wanted), "{wanted} in\n{shown}");
        }
        let again: Value = crate::yaml::read("", &shown).expect("YAML");
        assert_eq!(again["route"]["routes"][0]["matchers"][0], "a=b");
        assert_eq!(super::shown("- 1"), "");
    }
}
