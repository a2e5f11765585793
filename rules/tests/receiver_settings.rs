//! Receivers in Alertmanager's file: defaults, what `global` sets, what is refused and where, and that no secret is told.

use std::path::Path;

use rules::config::receivers::Settings;
use rules::config::{Config, read as read_file};

/// Reads a file at `/etc/am/a.yml`, with a route put behind.
fn read(text: &str) -> Result<Config, String> {
    let first = text.split("- name: ").nth(1).or(text.split("{name: ").nth(1)).unwrap_or_default();
    let first: String = first.chars().take_while(char::is_ascii_alphanumeric).collect();
    read_file("/etc/am/a.yml", &format!("{text}\nroute: {{receiver: {first}}}"))
        .map_err(|faults| faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}

const ALL: &str = r"
global:
  resolve_timeout: 3m
  smtp_from: mon@example.org
  smtp_smarthost: 'mail.example.org:587'
  smtp_auth_username: mon
  smtp_auth_password: hunter2-mail
  slack_api_url: https://hooks.example.org/hunter2-slack
  opsgenie_api_key: hunter2-ops
  telegram_bot_token_file: bot
  wechat_api_secret: hunter2-wechat
  http_config:
    follow_redirects: false
receivers:
- name: none
- name: all
  webhook_configs:
  - url: http://127.0.0.1:1/hunter2-hook
    max_alerts: 3
    timeout: 5s
    http_config:
      basic_auth: {username: me, password: hunter2-basic}
      http_headers: {X-Key: {secrets: [hunter2-header], values: [open]}}
  - url_file: hook
  email_configs:
  - to: 'a@example.org, b@example.org'
    headers: {Subject: 'now {{ .Status }}'}
  pagerduty_configs:
  - routing_key: hunter2-pager
    details: {firing: mine, more: '{{ .Status }}'}
  - service_key: 0123456789
  opsgenie_configs:
  - responders: [{name: ops, type: team}]
  slack_configs:
  - channel: '#ops'
  telegram_configs:
  - chat_id: -100123
  discord_configs:
  - webhook_url: https://discord.example.org/hunter2-discord
  exec_configs:
  - command: [/usr/bin/logger, -t, alerts]
    env: {STATUS: '{{ .Status }}'}
  file_configs:
  - path: alerts.jsonl
  sns_configs: []
";

#[test]
fn defaults_and_what_global_sets() {
    let config = read(ALL).expect("a good file");
    let [none, all] = config.receivers.as_slice() else { panic!("two receivers") };
    assert!(none.integrations.is_empty());
    let told: Vec<(String, bool)> =
        all.integrations.iter().map(|integration| (integration.name(), integration.settings.send_resolved())).collect();
    let told: Vec<(&str, bool)> = told.iter().map(|(name, send)| (name.as_str(), *send)).collect();
    assert_eq!(
        told,
        [
            ("webhook[0]", true),
            ("webhook[1]", true),
            ("email[0]", false),
            ("pagerduty[0]", true),
            ("pagerduty[1]", true),
            ("opsgenie[0]", true),
            ("slack[0]", false),
            ("telegram[0]", true),
            ("discord[0]", true),
            ("exec[0]", true),
            ("file[0]", true),
        ]
    );
    for integration in &all.integrations {
        match &integration.settings {
            Settings::Webhook(webhook) if integration.number == 0 => {
                assert_eq!((webhook.max_alerts, webhook.timeout_ms), (3, 5000));
                assert!(webhook.http_config.as_ref().expect("its own").follow_redirects);
            }
            Settings::Webhook(webhook) => {
                assert_eq!(webhook.url_file.as_deref(), Some(Path::new("/etc/am/hook")));
                assert!(!webhook.http_config.as_ref().expect("global's").follow_redirects);
            }
            Settings::Email(email) => {
                assert_eq!(email.smarthost.as_deref(), Some("mail.example.org:587"));
                assert_eq!(email.from.as_ref().expect("global's").as_str(), "mon@example.org");
            }
            Settings::PagerDuty(pager) if integration.number == 0 => {
                assert_eq!(pager.url.as_deref(), Some("https://events.pagerduty.com/v2/enqueue"));
                assert_eq!(pager.details["firing"].as_str(), "mine");
                assert_eq!(pager.details.len(), 5);
                assert_eq!((pager.severity.as_str(), &pager.source), ("error", &pager.client));
            }
            Settings::Slack(slack) => assert_eq!(slack.title.as_str(), "{{ template \"slack.default.title\" . }}"),
            Settings::File(file) => assert_eq!(file.path, Path::new("/etc/am/alerts.jsonl")),
            _ => {}
        }
    }
}

#[test]
fn no_secret_is_told() {
    let config = read(ALL).expect("a good file");
    let shown: Vec<String> = config.receivers.iter().map(|receiver| receiver.shown().to_string()).collect();
    for told in [shown.join("\n"), format!("{:?}", config.receivers), config.global.shown().to_string()] {
        assert!(!told.contains("hunter2"), "{told}");
        assert!(told.contains("<secret>"), "{told}");
    }
    assert_eq!(config.global.shown()["resolve_timeout"], "3m");
    assert_eq!(config.resolve_timeout_ms, 180_000);
}

#[track_caller]
fn refused(receiver: &str, wanted: &str) {
    let told = read(&format!("receivers:\n- name: r\n{receiver}")).expect_err(receiver);
    assert!(told.contains(wanted), "{receiver}: {told:?}, wanted {wanted:?}");
    assert!(!told.contains("hunter2"), "{told}");
}

#[test]
fn faults_with_their_lines() {
    refused(
        "  sns_configs: [{topic_arn: x}]",
        "/etc/am/a.yml:3:17: receiver \"r\": sns_configs are not supported; there are discord",
    );
    refused("  pushover_configs: [{user_key: hunter2}]", "pushover_configs are not supported");
    refused("  webhook_configs: [{}]", "url or url_file is missing");
    refused("  webhook_configs: [{url: http://a, url_file: b}]", "url and url_file exclude each other");
    refused("  webhook_configs: [{url: hunter2}]", "url needs http:// or https:// and a host");
    refused("  webhook_configs: [{url: 'http://a/{{ hunter2'}]", "url is no template that can be read");
    refused("  webhook_configs: [{url: http://a, colour: red}]", "colour");
    refused("  webhook_configs: [{url: http://a, timeout: soon}]", "soon");
    refused("  slack_configs:\n  - api_url: http://a\n    text: '{{ .Foo'", "template:1:");
    refused("  slack_configs: [{channel: a}]", "api_url or app_token is missing");
    refused("  email_configs: [{to: a@b}]", "from is missing");
    refused("  email_configs: [{to: a@b, from: c@d, smarthost: mail}]", "HOST:PORT is wanted");
    refused("  email_configs: [{to: a@b, from: c@d, smarthost: 'm:25', auth_username: u, auth_secret: s}]", "CRAM-MD5");
    refused("  pagerduty_configs: [{}]", "routing_key or service_key");
    refused("  telegram_configs: [{bot_token: hunter2}]", "chat_id");
    refused("  telegram_configs: [{bot_token: a, chat_id: 1, parse_mode: RTF}]", "unknown variant `RTF`");
    refused("  opsgenie_configs: [{api_key: a, responders: [{type: team}]}]", "one of id, name and username");
    refused("  opsgenie_configs: [{api_key: a, responders: [{name: x, type: cat}]}]", "type \"cat\"");
    refused("  exec_configs: [{command: []}]", "command is empty");
    refused("  exec_configs: [{command: [x], env: {A: b}, env_file: {A: c}}]", "A is in env and in env_file");
    refused("  exec_configs: [{command: [x], env_file: {'A=': c}}]", "no name of a variable");
    refused("  file_configs: [{path: a, bytes_max: 10}]", "4096 is the least");
    let http = |http: &str| format!("  webhook_configs:\n  - url: http://a\n    http_config: {http}");
    refused(&http("{basic_auth: {}, authorization: {credentials: a}}"), "exclude each other");
    refused(&http("{tls_config: {cert_file: a}}"), "needs both cert and key");
    refused(&http("{tls_config: {server_name: a}}"), "server_name is not supported");
    refused(&http("{tls_config: {max_version: TLS12}}"), "max_version");
    refused(&http("{http_headers: {Host: {values: [a]}}}"), "must not set Host");
    refused(&http("{oauth2: {client_id: a, token_url: 'http://b'}}"), "client_secret");
    refused(&http("{proxy_connect_header: {a: [b]}}"), "proxy_connect_header");
    let twice = read("receivers: [{name: a}, {name: a}, {name: ''}]").expect_err("twice");
    assert!(
        twice.contains("1:31: receiver \"a\" is in this file twice") && twice.contains("without a name"),
        "{twice}"
    );
}

#[test]
fn no_secret_of_a_file_is_in_what_programs_print() {
    let file = r"
global: {slack_api_url: 'https://hooks.example/hunter2-a', smtp_smarthost: 'localhost:25', smtp_from: a@example.com, smtp_auth_password: hunter2-b}
route: {receiver: all}
receivers:
- name: all
  webhook_configs: [{url: 'https://example.com/hunter2-c', http_config: {basic_auth: {username: u, password: hunter2-d}}}]
  pagerduty_configs: [{routing_key: hunter2-e}]
  email_configs: [{to: b@example.com}]
";
    let config = rules::config::read("am.yml", file).expect("a routing file");
    let printed = format!("{config:?}");
    assert!(printed.contains("smtp"), "the rest is there: {printed}");
    assert!(!printed.contains("hunter2"), "{printed}");
    assert!(!rules::config::shown(config.text.expose()).contains("hunter2"));
}
