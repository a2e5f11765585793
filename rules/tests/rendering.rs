//! What each kind of receiver is sent, byte for byte or field by field.

use std::collections::BTreeMap;
use std::path::Path;

use model::Labels;
use rules::config::receivers::{Secret, SecretFiles};
use rules::config::{Config, read};
use rules::notify::decision::Reason;
use rules::notify::delivery::{Notification, NotifiedAlert};
use rules::posted::fingerprint;
use rules::receivers::{Mail, Outgoing, Templates, render};
use serde_json::{Value, json};

const AT_MS: i64 = 1_700_000_000_000;

struct Files;

impl SecretFiles for Files {
    fn read(&self, path: &Path) -> Result<Secret, String> {
        match path.file_name().and_then(|name| name.to_str()) {
            Some("missing") => Err(format!("{}: no such file", path.display())),
            Some(name) => Ok(Secret::new(format!("hunter2-{name}"))),
            None => Err("no name".to_owned()),
        }
    }
}

fn alert(name: &str, instance: &str, summary: &str, ends_ms: Option<i64>) -> NotifiedAlert {
    let labels =
        Labels::from_pairs([("alertname", name), ("instance", instance), ("severity", "page")]).expect("labels");
    NotifiedAlert {
        fingerprint: fingerprint(labels.as_ref()),
        labels,
        annotations: BTreeMap::from([("summary".to_owned(), summary.to_owned())]),
        starts_ms: AT_MS - 60_000,
        ends_ms,
        generator_url: "http://mon/graph?g0.expr=up".to_owned(),
    }
}

fn notification(alerts: Vec<NotifiedAlert>) -> Notification {
    Notification {
        group_key: "{}/{team=\"web\"}:{alertname=\"Leak\"}".to_owned(),
        receiver: "team.web".to_owned(),
        integration: 0,
        reason: Reason::First,
        alerts,
        group_labels: Labels::from_pairs([("alertname", "Leak")]).expect("labels"),
        route_labels: BTreeMap::from([("where".to_owned(), "{{ .CommonLabels.severity }}-desk".to_owned())]),
        at_ms: AT_MS,
        deadline_ms: AT_MS + 300_000,
    }
}

fn firing() -> Notification {
    notification(vec![
        alert("Leak", "a:1", "grows <fast> & \"loud\"", None),
        alert("Leak", "b:1", "ended", Some(AT_MS - 1)),
    ])
}

fn resolved() -> Notification {
    notification(vec![alert("Leak", "a:1", "was", Some(AT_MS - 500))])
}

fn config(settings: &str) -> Config {
    let text = format!("route: {{receiver: team.web}}\nreceivers:\n- name: team.web\n{settings}");
    read("/etc/am/a.yml", &text).unwrap_or_else(|faults| panic!("{settings}: {faults:?}"))
}

fn outgoing_with(settings: &str, notification: &Notification, templates: &str) -> Result<Outgoing, String> {
    let config = config(settings);
    let templates = Templates::new([("mine.tmpl", templates)]).expect("templates");
    let receiver = config.receivers.first().expect("a receiver");
    let integration = receiver.integrations.first().expect("an integration");
    render(integration, notification, "http://mon:9595", &templates, &Files).map_err(|error| error.to_string())
}

fn outgoing(settings: &str, notification: &Notification) -> Outgoing {
    let out = outgoing_with(settings, notification, "").unwrap_or_else(|error| panic!("{settings}: {error}"));
    assert!(!out.shown().contains("hunter2"), "{}", out.shown());
    assert!(!format!("{out:?}").contains("hunter2"), "{out:?}");
    out
}

/// Method, URL, headers and body of each request.
fn requests(settings: &str, notification: &Notification) -> Vec<(String, String, BTreeMap<String, String>, Value)> {
    let Outgoing::Http(requests) = outgoing(settings, notification) else { panic!("requests") };
    requests
        .iter()
        .map(|request| {
            let headers =
                request.headers.iter().map(|(name, value)| (name.clone(), value.expose().to_owned())).collect();
            let body = serde_json::from_slice(&request.body).expect("JSON");
            (request.method.to_owned(), request.url.expose().to_owned(), headers, body)
        })
        .collect()
}

fn only(settings: &str, notification: &Notification) -> (String, BTreeMap<String, String>, Value) {
    let mut all = requests(settings, notification);
    assert_eq!(all.len(), 1, "{all:?}");
    let (method, url, headers, body) = all.remove(0);
    assert_eq!((method.as_str(), headers["Content-Type"].as_str()), ("POST", "application/json"));
    (url, headers, body)
}

#[test]
fn a_webhook_with_a_body_of_its_own() {
    let settings = r#"  webhook_configs:
  - url: http://h/hunter2
    payload:
      title: '{{ .Status | toUpper }} {{ .CommonLabels.alertname }}'
      priority: '{{ if eq .Status "firing" }}5{{ else }}0{{ end }}'
      labels: '{{ .CommonLabels | toJson }}'
      '{{ .GroupLabels.alertname }}s': [1, yes it is, '{{ len .Alerts }}', null, true]
      says: '{{ (index .Alerts 0).Annotations.summary }}'
"#;
    let (_, _, body) = only(settings, &notification(vec![alert("Leak", "a:1", "{{ .Receiver }}: {x", None)]));
    let want = json!({
        "title": "FIRING Leak",
        "priority": 5,
        "labels": {"alertname": "Leak", "instance": "a:1", "severity": "page"},
        "Leaks": [1, "yes it is", 1, null, true],
        "says": "{{ .Receiver }}: {x",
    });
    assert_eq!(body, want);
    let text = "  webhook_configs: [{url: 'http://h/hunter2', payload: '{\"a\": [{{ len .Alerts }}]}'}]";
    assert_eq!(only(text, &firing()).2, json!({"a": [2]}));
    let text = text.replace("payload:", "max_alerts: 1, payload:");
    assert_eq!(only(&text, &firing()).2, json!({"a": [1]}));
    let wrong =
        "route: {receiver: a}\nreceivers: [{name: a, webhook_configs: [{url: 'http://h', payload: {a: ['{{ if']}}]}]";
    let faults = read("a.yml", wrong).expect_err("no template");
    assert!(faults[0].message.contains("template"), "{faults:?}");
}

#[test]
fn webhook_version_4() {
    let settings = "  webhook_configs:\n  - url: http://h/{{ .CommonLabels.severity }}/hunter2\n    max_alerts: 1\n    http_config: {authorization: {credentials_file: token}, http_headers: {X-Team: {values: [web]}}}";
    let (url, headers, body) = only(settings, &firing());
    assert_eq!(url, "http://h/page/hunter2");
    assert_eq!(headers["Authorization"], "Bearer hunter2-token");
    assert_eq!(headers["X-Team"], "web");
    let labels = json!({"alertname": "Leak", "instance": "a:1", "severity": "page"});
    let annotations = json!({"summary": "grows <fast> & \"loud\""});
    assert_eq!(
        body,
        json!({
            "version": "4",
            "groupKey": "{}/{team=\"web\"}:{alertname=\"Leak\"}",
            "truncatedAlerts": 1,
            "status": "firing",
            "receiver": "team\\.web",
            "groupLabels": {"alertname": "Leak"},
            "commonLabels": labels,
            "commonAnnotations": annotations,
            "routeLabels": {"where": "page-desk"},
            "externalURL": "http://mon:9595",
            "notification_reason": "first notification",
            "alerts": [{
                "status": "firing",
                "labels": labels,
                "annotations": annotations,
                "startsAt": "2023-11-14T22:12:20Z",
                "endsAt": "0001-01-01T00:00:00Z",
                "generatorURL": "http://mon/graph?g0.expr=up",
                "fingerprint": format!("{:016x}", firing().alerts[0].fingerprint),
            }],
        })
    );
    let (_, _, body) = only("  webhook_configs: [{url: 'http://h/hunter2'}]", &firing());
    assert_eq!(body["commonLabels"], json!({"alertname": "Leak", "severity": "page"}));
    assert_eq!(body["alerts"][1]["endsAt"], "2023-11-14T22:13:19.999Z");
    assert_eq!(body["alerts"][1]["status"], "resolved");
    assert_eq!(only("  webhook_configs: [{url: 'http://h/hunter2'}]", &resolved()).2["status"], "resolved");
}

#[test]
fn slack_attachments() {
    let settings = "  slack_configs:\n  - api_url: https://h/hunter2\n    channel: '#ops'\n    fields: [{title: Env, value: '{{ .CommonLabels.severity }}'}]\n    short_fields: true\n    actions: [{type: button, text: Look, url: '{{ .ExternalURL }}'}]\n    link_names: true";
    let (url, _, body) = only(settings, &firing());
    assert_eq!(url, "https://h/hunter2");
    assert_eq!(
        (&body["channel"], &body["username"], &body["link_names"]),
        (&json!("#ops"), &json!("MetricKit"), &json!(true))
    );
    let attachment = &body["attachments"][0];
    assert_eq!(attachment["title"], "[FIRING:1] Leak (page)");
    assert_eq!(attachment["color"], "danger");
    assert_eq!(attachment["fields"], json!([{"title": "Env", "value": "page", "short": true}]));
    assert_eq!(attachment["actions"][0]["url"], "http://mon:9595");
    assert_eq!(attachment["mrkdwn_in"], json!(["fallback", "pretext", "text"]));
    let text = attachment["text"].as_str().expect("text");
    assert!(
        text.starts_with(":red_circle: *Leak*: grows <fast> & \"loud\"\n`instance=a:1` `severity=page`\n"),
        "{text}"
    );
    assert!(text.contains("\n\n:large_green_circle: *Leak*: ended\n"), "{text}");
    assert_eq!(attachment.get("footer"), None);
    let token =
        "  slack_configs: [{app_token_file: token, channel: x, title: '{{ template \"slack.default.title\" . }}'}]";
    let (url, headers, body) = only(token, &resolved());
    assert_eq!(
        (url.as_str(), headers["Authorization"].as_str()),
        ("https://slack.com/api/chat.postMessage", "Bearer hunter2-token")
    );
    assert_eq!(
        (&body["attachments"][0]["color"], &body["attachments"][0]["title"]),
        (&json!("good"), &json!("[RESOLVED] Leak (a:1 page)"))
    );
    let long = format!("  slack_configs: [{{api_url: 'http://h/hunter2', title: '{}'}}]", "ä".repeat(2000));
    let title = only(&long, &firing()).2["attachments"][0]["title"].as_str().expect("a title").to_owned();
    assert_eq!(title.chars().count(), 1024);
}

#[test]
fn users_templates_replace_ours() {
    let mine = "{{ define \"slack.default.title\" }}mine {{ template \"__subject\" . }}{{ end }}";
    let settings = "  slack_configs: [{api_url: 'http://h/hunter2'}]";
    let Ok(Outgoing::Http(requests)) = outgoing_with(settings, &firing(), mine) else { panic!("requests") };
    let body: Value = serde_json::from_slice(&requests[0].body).expect("JSON");
    assert_eq!(body["attachments"][0]["title"], "mine [FIRING:1] Leak (page)");
    let faults = Templates::new([("a.tmpl", "{{ nothing }}"), ("b.tmpl", "{{ if }}")]).expect_err("two faults");
    assert!(faults.len() == 2 && faults[0].to_string().starts_with("a.tmpl:1:4: "), "{faults:?}");
    let error =
        outgoing_with("  discord_configs: [{webhook_url: 'http://h/hunter2', title: '{{ .Nope }}'}]", &firing(), "");
    assert_eq!(error.expect_err("no such field"), "template title:1:4: template.Data has no field or method Nope");
    let error = outgoing_with("  webhook_configs: [{url_file: missing}]", &firing(), "").expect_err("no file");
    assert_eq!(error, "/etc/am/missing: no such file");
}

#[test]
fn telegram_escapes_and_cuts() {
    let (url, _, body) =
        only("  telegram_configs: [{bot_token: 'hunter2:x', chat_id: -5, message_thread_id: 7}]", &firing());
    assert_eq!(url, "https://api.telegram.org/bothunter2:x/sendMessage");
    assert_eq!(
        (&body["chat_id"], &body["parse_mode"], &body["message_thread_id"]),
        (&json!(-5), &json!("HTML"), &json!(7))
    );
    let text = body["text"].as_str().expect("text");
    assert!(text.starts_with("<b>[FIRING:1] Leak (page)</b>"), "{text}");
    assert!(text.contains("grows &lt;fast&gt; &amp; &#34;loud&#34;"), "{text}");
    let many: Vec<_> = (0..200).map(|at| alert("Leak", &format!("host{at}:1"), "<&>", None)).collect();
    let (_, _, body) = only("  telegram_configs: [{bot_token: hunter2, chat_id: 5}]", &notification(many));
    let text = body["text"].as_str().expect("text");
    assert!(text.chars().count() <= 4096 && text.contains('…'), "{}", text.chars().count());
    assert_eq!(text.matches("<b>").count(), text.matches("</b>").count());
    let plain = only("  telegram_configs: [{bot_token: hunter2, chat_id: 5, parse_mode: '', message: '{{ (index .Alerts 0).Annotations.summary }}'}]", &firing()).2;
    assert_eq!((plain["text"].as_str(), plain.get("parse_mode")), (Some("grows <fast> & \"loud\""), None));
}

#[test]
fn discord_embeds() {
    let (_, _, body) =
        only("  discord_configs: [{webhook_url: 'https://h/hunter2', content: '@here', username: bot}]", &firing());
    assert_eq!((&body["content"], &body["username"]), (&json!("@here"), &json!("bot")));
    assert_eq!(
        (&body["embeds"][0]["title"], &body["embeds"][0]["color"]),
        (&json!("[FIRING:1] Leak (page)"), &json!(0x99_2d_22))
    );
    let text = body["embeds"][0]["description"].as_str().expect("text");
    assert!(
        text.starts_with("**Firing**\n**Leak**: grows <fast> & \"loud\"\n`instance=a:1`")
            && text.contains("**Resolved**"),
        "{text}"
    );
}

#[test]
fn pagerduty_events() {
    let (url, _, body) = only(
        "  pagerduty_configs: [{routing_key: hunter2-key, severity: Critical, component: api, links: [{href: 'http://r', text: Runbook}]}]",
        &firing(),
    );
    assert_eq!(url, "https://events.pagerduty.com/v2/enqueue");
    // The key is the hash that Alertmanager has for this group.
    assert_eq!(body["dedup_key"].as_str().map(str::len), Some(64));
    assert_eq!((&body["event_action"], &body["routing_key"]), (&json!("trigger"), &json!("hunter2-key")));
    assert_eq!(body["client_url"], "http://mon:9595");
    let payload = &body["payload"];
    assert_eq!(
        (&payload["summary"], &payload["severity"], &payload["source"]),
        (&json!("[FIRING:1] Leak (page)"), &json!("critical"), &json!("MetricKit"))
    );
    assert_eq!((&payload["custom_details"]["num_firing"], &payload["component"]), (&json!("1"), &json!("api")));
    assert_eq!(body["links"], json!([{"href": "http://r", "text": "Runbook"}]));
    let (url, _, body) = only("  pagerduty_configs: [{service_key: hunter2-key}]", &resolved());
    assert_eq!(url, "https://events.pagerduty.com/generic/2010-04-15/create_event.json");
    assert_eq!((&body["event_type"], &body["service_key"]), (&json!("resolve"), &json!("hunter2-key")));
    let big =
        "  pagerduty_configs: [{routing_key: hunter2-key, details: {big: '{{ range 60000 }}0123456789{{ end }}'}}]";
    let body = only(big, &firing()).2;
    assert!(body["payload"]["custom_details"]["error"].as_str().expect("a note").starts_with("left out"), "{body}");
}

#[test]
fn opsgenie_alerts() {
    let settings = "  opsgenie_configs: [{api_key: hunter2-key, tags: 'a, b,,c', priority: P2, update_alerts: true, responders: [{name: 'x, y', type: teams}, {id: z, type: user}]}]";
    let all = requests(settings, &firing());
    let told: Vec<_> =
        all.iter().map(|(method, url, _, _)| (method.as_str(), url.split('/').next_back().expect("a path"))).collect();
    assert_eq!(
        told,
        [("POST", "alerts"), ("PUT", "message?identifierType=alias"), ("PUT", "description?identifierType=alias")]
    );
    let (_, url, headers, body) = &all[0];
    assert_eq!(
        (url.as_str(), headers["Authorization"].as_str()),
        ("https://api.opsgenie.com/v2/alerts", "GenieKey hunter2-key")
    );
    assert_eq!((&body["tags"], &body["priority"]), (&json!(["a", "b", "c"]), &json!("P2")));
    assert_eq!(
        body["responders"],
        json!([{"name": "x", "type": "team"}, {"name": "y", "type": "team"}, {"id": "z", "type": "user"}])
    );
    assert_eq!(body["details"], json!({"alertname": "Leak", "severity": "page"}));
    let (url, _, closed) = only("  opsgenie_configs: [{api_key: hunter2-key}]", &resolved());
    assert_eq!(
        url,
        format!(
            "https://api.opsgenie.com/v2/alerts/{}/close?identifierType=alias",
            body["alias"].as_str().expect("an alias")
        )
    );
    assert_eq!(closed, json!({"source": "http://mon:9595"}));
}

#[test]
fn mails_have_threads_and_no_injected_headers() {
    let settings = "  email_configs: [{to: 'a@example.org, b@example.org', from: 'Mon <mon@example.org>', smarthost: 'mail:587', auth_username: mon, auth_password: hunter2, headers: {X-Sum: '{{ (index .Alerts 0).Annotations.summary }}', subject: 'S {{ .Status }}'}}]";
    let mut notification = firing();
    notification.alerts[0].annotations.insert("summary".to_owned(), "x\r\nBcc: evil@example.org <b>".to_owned());
    let Outgoing::Mail(mail) = outgoing(settings, &notification) else { panic!("a mail") };
    let Mail { host, port, login, require_tls, implicit_tls, to, .. } = mail.as_ref();
    assert_eq!((host.as_str(), *port, *require_tls, *implicit_tls), ("mail", 587, true, false));
    assert_eq!(login.as_ref().map(|(name, password)| (name.as_str(), password.expose())), Some(("mon", "hunter2")));
    assert_eq!(to, &["a@example.org", "b@example.org"]);
    let header = |name: &str| mail.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    assert_eq!(header("Subject"), Some("S firing"));
    assert_eq!(header("X-Sum"), Some("x Bcc: evil@example.org <b>"));
    let thread = header("References").expect("a thread");
    assert!(thread.ends_with(".2023-11-14@example.org>") && header("In-Reply-To") == Some(thread), "{thread}");
    assert!(mail.html.contains("evil@example.org &lt;b&gt;") && !mail.html.contains("<b>"), "{}", mail.html);
    assert!(mail.text.starts_with("[FIRING:1] Leak (page)\n\nFiring:\nLeak: x\r\nBcc"), "{}", mail.text);
    // Nothing that a label says is run by a click.
    notification.alerts[1].generator_url = "javascript:alert(1)".to_owned();
    assert!(mail.html.matches("href=\"http://mon/graph").count() == 2, "{}", mail.html);
    let Outgoing::Mail(mail) = outgoing(settings, &notification) else { panic!("a mail") };
    assert!(mail.html.matches("href=\"http").count() == 2 && !mail.html.contains("javascript"), "{}", mail.html);
    let unthreaded = settings.replace("headers:", "threading: {enabled: false}, headers:");
    let Outgoing::Mail(mail) = outgoing(&unthreaded, &notification) else { panic!("a mail") };
    assert!(!mail.headers.iter().any(|(name, _)| name == "References"));
}

/// The sentence first, then what it means, then where to go on; an address is a link, under a name that people read.
#[test]
fn what_is_wrong_stands_first_and_links_can_be_followed() {
    let mut notification = firing();
    for (name, value) in [
        ("capture_goroutine", "http://mon/api/v1/captures/orders/1"),
        ("description", "It holds memory.\nAll of it."),
        ("owner", "web"),
        ("runbook_url", "https://mon/runbooks/Leak?a=\"b\""),
        ("see", "javascript:alert(1)"),
    ] {
        notification.alerts[0].annotations.insert(name.to_owned(), value.to_owned());
    }
    let links = "goroutine capture: http://mon/api/v1/captures/orders/1\nowner: web\nrunbook: https://mon/runbooks/Leak?a=\"b\"\n\
                 see: javascript:alert(1)\n";
    let labels = "instance=a:1 severity=page";
    let mail = "  email_configs: [{to: 'a@example.org', from: 'mon@example.org', smarthost: 'mail:587'}]";
    let Outgoing::Mail(mail) = outgoing(mail, &notification) else { panic!("a mail") };
    let want = format!(
        "[FIRING:1] Leak (page)\n\nFiring:\nLeak: grows <fast> & \"loud\"\n  It holds memory.\nAll of it.\n  since 2023-11-14 22:12:20 UTC\n  {labels}\n  {}  \
         source: http://mon/graph?g0.expr=up\n\nResolved:\nLeak: ended\n  since 2023-11-14 22:12:20 UTC, until 2023-11-14 22:13:19 UTC\n  instance=b:1 severity=page\n  \
         source: http://mon/graph?g0.expr=up\n\n-- \nhttp://mon:9595\n",
        links.replace('\n', "\n  ").trim_end_matches(' ')
    );
    assert_eq!(mail.text, want);
    for piece in [
        "<div style=\"font-size:16px;white-space:pre-line\">grows &lt;fast&gt; &amp; &#34;loud&#34;</div>",
        "href=\"http://mon/api/v1/captures/orders/1\">goroutine capture</a>",
        "href=\"https://mon/runbooks/Leak?a=&#34;b&#34;\">runbook</a>",
        "owner:</span> web</div>",
        "see:</span> javascript:alert(1)</div>",
    ] {
        assert!(mail.html.contains(piece), "{piece} is not in {}", mail.html);
    }
    let (_, _, body) = only("  slack_configs: [{api_url: 'http://h/hunter2'}]", &notification);
    let want = format!("\nIt holds memory.\nAll of it.\n`{}`\n{links}\n:large", labels.replace(' ', "` `"));
    let text = body["attachments"][0]["text"].as_str().expect("text");
    assert!(text.contains(&want), "{text}");
    let (_, _, body) = only("  discord_configs: [{webhook_url: 'https://h/hunter2'}]", &notification);
    let text = body["embeds"][0]["description"].as_str().expect("text");
    let want = "[goroutine capture](http://mon/api/v1/captures/orders/1) owner: web\n[runbook](https://mon/runbooks/Leak?a=\"b\") see: javascript:alert(1)\n[source](http://mon/graph?g0.expr=up)\n";
    assert!(text.contains(want), "{text}");
    // What only begins as an address is no link.
    let mut odd = notification.clone();
    odd.alerts[0].annotations.insert("runbook_url".to_owned(), "https://mon/a (or b)".to_owned());
    let (_, _, body) = only("  discord_configs: [{webhook_url: 'https://h/hunter2'}]", &odd);
    let text = body["embeds"][0]["description"].as_str().expect("text");
    assert!(text.contains("runbook_url: https://mon/a (or b)\n") && !text.contains("[runbook]"), "{text}");
    let (_, _, body) = only("  telegram_configs: [{bot_token: hunter2, chat_id: 5}]", &notification);
    let text = body["text"].as_str().expect("text");
    assert!(
        text.contains(
            "</b>: grows &lt;fast&gt; &amp; &#34;loud&#34;\nIt holds memory.\nAll of it.\n<code>instance=a:1</code> "
        ),
        "{text}"
    );
    assert!(text.contains("\nrunbook: https://mon/runbooks/Leak?a=&#34;b&#34;\n"), "{text}");
}

#[test]
fn programs_and_files() {
    let Outgoing::Exec(command) = outgoing(
        "  exec_configs: [{command: [/bin/x, -y], env: {SEV: '{{ .CommonLabels.severity }}'}, timeout: 3s}]",
        &firing(),
    ) else {
        panic!("a command")
    };
    assert_eq!((command.command.join(" ").as_str(), command.timeout_ms), ("/bin/x -y", 3000));
    assert_eq!((command.env["SEV"].as_str(), command.env["METRICKIT_STATUS"].as_str()), ("page", "firing"));
    assert_eq!(serde_json::from_slice::<Value>(&command.stdin).expect("JSON")["version"], "4");
    // Neither what is shown of it nor what it answers has what the file says of its environment.
    let secretive = outgoing(
        "  exec_configs: [{command: [/bin/x], env: {SEV: '{{ .CommonLabels.severity }}', TOKEN: hunter2, PIN: '471', AUTH: 'Bearer {{ .Status }}'}}]",
        &firing(),
    );
    let shown = secretive.shown();
    for wanted in ["SEV=page\n", "TOKEN=<secret>\n", "PIN=<secret>\n", "AUTH=<secret>\n", "METRICKIT_STATUS=firing\n"] {
        assert!(shown.contains(wanted), "{wanted} in\n{shown}");
    }
    assert!(shown.contains("  \"status\": \"firing\"") && !shown.contains("hunter2"), "{shown}");
    assert_eq!(secretive.hidden("no hunter2 here"), "no <secret> here");
    assert!(!format!("{secretive:?}").contains("hunter2"));
    let Outgoing::Line(line) = outgoing("  file_configs: [{path: out.jsonl}]", &firing()) else { panic!("a line") };
    assert_eq!(line.path, Path::new("/etc/am/out.jsonl"));
    assert_eq!(line.line.split(|byte| *byte == b'\n').map(<[u8]>::is_empty).collect::<Vec<_>>(), [false, true]);
}
