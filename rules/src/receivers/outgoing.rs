//! What is to be sent: requests, a mail, a command, a line. Whatever is shown of it has its secrets hidden.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::config::receivers::{HIDDEN, HttpConfig, Secret, TlsConfig};

/// Shortest secret that is looked for in what is shown: hiding every `a` would hide the rest too.
const SECRET_BYTES_MIN: usize = 4;
/// Shortest argument of a program that is: shorter ones are names of options and plain words.
const ARGUMENT_BYTES_MIN: usize = 8;

/// Something to send, rendered.
#[derive(Debug, Clone, PartialEq)]
pub enum Outgoing {
    /// Requests, one after the other; the next is sent when the one before it was taken.
    Http(Vec<Request>),
    /// A mail.
    Mail(Box<Mail>),
    /// A program to start.
    Exec(Command),
    /// A line for a file.
    Line(Line),
}

/// What a request's answer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Api {
    /// Nothing is known of it but the status.
    Plain,
    /// Slack answers `200` and `{"ok": false, "error": …}` to what it does not take.
    Slack,
    /// Telegram tells in its body when to come again.
    Telegram,
    /// Discord tells in its body when to come again.
    Discord,
}

/// A request.
#[derive(Clone, PartialEq)]
pub struct Request {
    /// `POST` and its like.
    pub method: &'static str,
    /// Where to.
    pub url: Secret,
    /// Names and values.
    pub headers: Vec<(String, Secret)>,
    /// Its body, JSON.
    pub body: Vec<u8>,
    /// How to connect.
    pub http: Box<HttpConfig>,
    /// The longest it may take; `None`: what all requests have.
    pub timeout_ms: Option<i64>,
    /// How its answer is read.
    pub api: Api,
    /// What must not be shown of all this.
    pub hide: Hide,
}

/// A mail.
#[derive(Clone, PartialEq)]
pub struct Mail {
    /// Name or address of the server.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// What this side calls itself.
    pub hello: String,
    /// Name and password, if there are.
    pub login: Option<(String, Secret)>,
    /// Whether a connection without TLS is refused.
    pub require_tls: bool,
    /// Whether TLS begins with the first byte.
    pub implicit_tls: bool,
    /// Certificates.
    pub tls: TlsConfig,
    /// Sender, as in the header.
    pub from: String,
    /// Receivers.
    pub to: Vec<String>,
    /// Headers in their order, `From`, `To` and `Subject` among them. Values are one line.
    pub headers: Vec<(String, String)>,
    /// The text; empty for none.
    pub text: String,
    /// The same in HTML; empty for none.
    pub html: String,
    /// What must not be shown.
    pub hide: Hide,
}

/// A program to start.
#[derive(Clone, PartialEq)]
pub struct Command {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Set in its environment.
    pub env: BTreeMap<String, String>,
    /// Its working folder.
    pub working_dir: Option<PathBuf>,
    /// Written to its standard input.
    pub stdin: Vec<u8>,
    /// After which it is ended.
    pub timeout_ms: i64,
    /// What must not be shown: values of its environment that are in files, or written out.
    pub hide: Hide,
}

/// A line for a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// The file.
    pub path: PathBuf,
    /// The line, with its end.
    pub line: Vec<u8>,
    /// Size at which the file is put aside.
    pub bytes_max: u64,
    /// Whether it is on disk before it counts.
    pub sync: bool,
}

/// Texts that are hidden in what is shown.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Hide(Vec<Secret>);

impl Hide {
    /// Whether all of `text` is a secret.
    fn has(&self, text: &str) -> bool {
        self.0.iter().any(|secret| secret.expose() == text)
    }

    /// Hides `secret` from now on.
    pub fn add(&mut self, secret: &Secret) {
        if !secret.expose().is_empty() && !self.0.contains(secret) {
            self.0.push(secret.clone());
            // The longest first, so that of a secret in another nothing is left.
            self.0.sort_by_key(|secret| std::cmp::Reverse(secret.expose().len()));
        }
    }

    /// Hides what is secret of a URL: what comes behind its host, and what comes before it.
    pub fn add_url(&mut self, url: &Secret) {
        self.add(url);
        let (before, host, behind) = url_parts(url.expose());
        // A path such as `/` or `/api` is no secret, and hiding it would make messages hard to read.
        for part in [before, behind.trim_start_matches('/')] {
            if part.len() >= 8 {
                self.add(&Secret::new(part));
            }
        }
        debug_assert!(!host.contains('@'), "what names a user is before the host");
    }

    /// `text` without the secrets, neither as they are nor as JSON and URLs write them.
    pub fn hidden(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in self.0.iter().filter(|secret| secret.expose().len() >= SECRET_BYTES_MIN) {
            let plain = secret.expose();
            let json = serde_json::to_string(plain).unwrap_or_default();
            let json = json.trim_matches('"');
            let query = crate::template::escape_query(plain);
            for form in [plain, json, query.as_str()] {
                if !form.is_empty() && text.contains(form) {
                    text = text.replace(form, HIDDEN);
                }
            }
        }
        text
    }
}

impl std::fmt::Debug for Hide {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} secrets", self.0.len())
    }
}

/// What is before the host (user and password), scheme and host, and what is behind it.
fn url_parts(url: &str) -> (&str, &str, &str) {
    let start = url.find("://").map_or(0, |at| at + 3);
    let rest = url.get(start..).unwrap_or_default();
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, behind) = rest.split_at(end);
    let (before, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    (before, host, behind)
}

/// A URL as it may be shown: scheme and host.
pub fn shown_url(url: &str) -> String {
    let (before, host, behind) = url_parts(url);
    let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
    let before = if before.is_empty() { "" } else { "<secret>@" };
    let behind = if behind.trim_start_matches('/').is_empty() { behind } else { "/<secret>" };
    format!("{scheme}://{before}{host}{behind}")
}

impl Request {
    /// The request as people may see it.
    pub fn shown(&self) -> String {
        let mut shown = format!("{} {}\n", self.method, shown_url(self.url.expose()));
        for (name, value) in &self.headers {
            let public = matches!(name.to_ascii_lowercase().as_str(), "content-type" | "accept");
            let value = if public { value.expose() } else { HIDDEN };
            shown.push_str(&[name, ": ", value, "\n"].concat());
        }
        shown.push('\n');
        shown.push_str(&self.hide.hidden(&readable(&self.body)));
        shown
    }
}

/// A body, JSON in lines.
fn readable(body: &[u8]) -> String {
    match serde_json::from_slice::<serde_json::Value>(body) {
        Ok(json) => serde_json::to_string_pretty(&json).unwrap_or_default(),
        Err(_) => String::from_utf8_lossy(body).into_owned(),
    }
}

impl Command {
    /// `text`, what the program said, without what must not be shown: its arguments among it, of which nobody knows whether one is a token.
    fn hidden(&self, text: &str) -> String {
        let mut hide = self.hide.clone();
        for argument in self.command.iter().skip(1) {
            let value = argument.split_once('=').map_or("", |(_, value)| value);
            for part in [argument.as_str(), value].into_iter().filter(|part| part.len() >= ARGUMENT_BYTES_MIN) {
                hide.add(&Secret::new(part));
            }
        }
        hide.hidden(text)
    }

    fn shown(&self) -> String {
        let mut shown = format!("{self:?}\n");
        for (name, value) in &self.env {
            // Short ones are not looked for in texts, and are secrets all the same.
            let value = if self.hide.has(value) { HIDDEN } else { value };
            shown.push_str(&[name, "=", value, "\n"].concat());
        }
        format!("{shown}\n{}", self.hide.hidden(&readable(&self.stdin)))
    }
}

impl Outgoing {
    /// All of it as people may see it.
    pub fn shown(&self) -> String {
        match self {
            Self::Http(requests) => requests.iter().map(Request::shown).collect::<Vec<_>>().join("\n\n"),
            Self::Mail(mail) => mail.shown(),
            Self::Exec(command) => command.shown(),
            Self::Line(line) => format!("append to {}\n\n{}", line.path.display(), readable(&line.line)),
        }
    }

    /// The longest an attempt may take, where the settings say it.
    pub fn timeout(&self) -> Option<std::time::Duration> {
        let ms = match self {
            Self::Http(requests) => requests.iter().filter_map(|request| request.timeout_ms).max(),
            Self::Exec(command) => Some(command.timeout_ms),
            Self::Mail(_) | Self::Line(_) => None,
        };
        ms.and_then(|ms| u64::try_from(ms).ok()).map(std::time::Duration::from_millis)
    }

    /// `text`, an answer or an error, without what must not be shown.
    pub fn hidden(&self, text: &str) -> String {
        match self {
            Self::Http(requests) => requests.iter().fold(text.to_owned(), |text, request| request.hide.hidden(&text)),
            Self::Mail(mail) => mail.hide.hidden(text),
            Self::Exec(command) => command.hidden(text),
            Self::Line(_) => text.to_owned(),
        }
    }
}

impl Mail {
    fn shown(&self) -> String {
        let login = self.login.as_ref().map_or(String::new(), |(name, _)| format!(" as {name}"));
        let tls = match (self.implicit_tls, self.require_tls) {
            (true, _) => "TLS",
            (false, true) => "STARTTLS",
            (false, false) => "STARTTLS if offered",
        };
        let mut shown = format!("SMTP {}:{}{login}, {tls}\nto {}\n\n", self.host, self.port, self.to.join(", "));
        for (name, value) in &self.headers {
            shown.push_str(&[name, ": ", value, "\n"].concat());
        }
        for (kind, body) in [("text/plain", &self.text), ("text/html", &self.html)] {
            if !body.is_empty() {
                shown.push_str(&["\n-- ", kind, "\n", body, "\n"].concat());
            }
        }
        self.hide.hidden(&shown)
    }
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} ({} bytes)", self.method, shown_url(self.url.expose()), self.body.len())
    }
}

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = self.command.iter().enumerate().map(|(at, text)| if at == 0 { text.as_str() } else { HIDDEN });
        write!(f, "run {:?}", shown.collect::<Vec<_>>())
    }
}

impl std::fmt::Debug for Mail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "mail to {} through {}:{}", self.to.join(", "), self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_show_their_host() {
        for (url, want) in [
            ("https://hooks.example.org/T0/B0/x", "https://hooks.example.org/<secret>"),
            ("http://user:pass@h:1/", "http://<secret>@h:1/"),
            ("http://h?token=x", "http://h/<secret>"),
            ("http://h", "http://h"),
        ] {
            assert_eq!(shown_url(url), want);
        }
    }

    #[test]
    fn arguments_of_programs_are_hidden() {
        let command = Command {
            command: ["/bin/tell", "--team", "web", "--token=hunter2-token", "-phunter2"].map(str::to_owned).to_vec(),
            env: BTreeMap::new(),
            working_dir: None,
            stdin: b"{\"team\": \"web\"}".to_vec(),
            timeout_ms: 1000,
            hide: Hide::default(),
        };
        let outgoing = Outgoing::Exec(command);
        let shown = outgoing.shown();
        let run = r#"run ["/bin/tell", "<secret>", "<secret>", "<secret>", "<secret>"]"#;
        assert!(shown.starts_with(run) && shown.contains("web") && !shown.contains("hunter2"), "{shown}");
        assert!(!format!("{outgoing:?}").contains("hunter2"), "{outgoing:?}");
        let told = outgoing.hidden("web: no user for hunter2-token, -phunter2");
        assert_eq!(told, "web: no user for <secret>, <secret>");
    }

    #[test]
    fn secrets_are_hidden_in_every_form() {
        let mut hide = Hide::default();
        hide.add(&Secret::new("a\"b c/d"));
        hide.add_url(&Secret::new("https://u:passw0rd@h/services/T0/xyz?k=1"));
        let told = hide.hidden("a\"b c/d a\\\"b c/d a%22b+c%2Fd services/T0/xyz?k=1 u:passw0rd https://h");
        assert_eq!(told, "<secret> <secret> <secret> <secret> <secret> https://h");
    }
}
