//! Mails: headers, text and HTML, and the threads they belong to.

use std::collections::BTreeMap;

use super::hash::sha256;
use super::outgoing::{Hide, Mail, Outgoing};
use super::{RenderError, Rendering};
use crate::config::receivers::{ByDate, Email, TemplateText, host_and_port};
use crate::template::format_time;

/// Longest value of a header that is text, characters.
const HEADER_CHARS_MAX: usize = 900;
/// Headers of addresses, of which none is to be cut.
const ADDRESSES: [&str; 6] = ["from", "to", "cc", "bcc", "reply-to", "sender"];

/// On which port TLS begins with the first byte.
const IMPLICIT_TLS_PORT: u16 = 465;

pub(super) fn email(of: &Rendering<'_>, email: &Email) -> Result<Outgoing, RenderError> {
    let (host, port) = host_and_port(email.smarthost.as_deref().unwrap_or_default()).map_err(RenderError::Setting)?;
    let from = of.text("from", email.from.as_ref().unwrap_or(&TemplateText::default()))?;
    let to = of.text("to", &email.to)?;
    let password = email.password.as_ref().map(|source| source.read(of.files)).transpose();
    let password = password.map_err(RenderError::Secret)?;
    let mut hide = Hide::default();
    if let Some(password) = &password {
        hide.add(password);
    }
    let name = email.auth_username.clone().filter(|name| !name.is_empty());
    Ok(Outgoing::Mail(Box::new(Mail {
        host: host.to_owned(),
        port,
        hello: email.hello.clone().unwrap_or_else(|| "localhost".to_owned()),
        login: name.zip(password),
        require_tls: email.require_tls.unwrap_or(true),
        implicit_tls: email.force_implicit_tls.unwrap_or(port == IMPLICIT_TLS_PORT),
        tls: email.tls_config.clone().unwrap_or_default(),
        to: addresses(&to),
        headers: headers(of, email, &from, &to)?,
        text: of.text("text", &email.text)?,
        html: of.filler.html("html", &email.html)?,
        from,
        hide,
    })))
}

/// What is between commas that are in no quotes.
fn addresses(list: &str) -> Vec<String> {
    let mut quoted = false;
    let parts = list.split(|c| {
        quoted ^= c == '"';
        c == ',' && !quoted
    });
    parts.map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

/// One line, not too long: whatever a label holds, it makes no header of its own.
fn one_line(name: &str, text: &str) -> String {
    let words = text.split(|c: char| c.is_control()).filter(|part| !part.is_empty());
    let line = words.collect::<Vec<_>>().join(" ");
    let is_addresses = ADDRESSES.iter().any(|of| of.eq_ignore_ascii_case(name));
    if is_addresses { line } else { line.chars().take(HEADER_CHARS_MAX).collect() }
}

fn headers(of: &Rendering<'_>, email: &Email, from: &str, to: &str) -> Result<Vec<(String, String)>, RenderError> {
    let mut own = BTreeMap::new();
    for (name, text) in &email.headers {
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':') {
            return Err(RenderError::Setting(format!("headers: {name:?} is no name of a header")));
        }
        own.insert(name.to_ascii_lowercase(), (name.clone(), of.text(&format!("headers.{name}"), text)?));
    }
    let subject = TemplateText::new("{{ template \"email.default.subject\" . }}");
    let subject = match own.remove("subject") {
        Some((_, subject)) => subject,
        None => of.text("subject", &subject)?,
    };
    let mut take = |name: &str, default: &str| own.remove(name).map_or(default.to_owned(), |(_, text)| text);
    let mut headers = vec![
        ("From".to_owned(), take("from", from)),
        ("To".to_owned(), take("to", to)),
        ("Subject".to_owned(), subject),
    ];
    let key = sha256(&of.data.group_key);
    let key = key.get(..32).unwrap_or(&key);
    let domain = from.rsplit_once('@').map_or("localhost", |(_, domain)| domain.trim_end_matches(['>', ' ']));
    let reason = sha256(of.data.reason);
    let reason = reason.get(..8).unwrap_or(&reason);
    let id = take("message-id", &format!("<{key}.{}.{reason}@{domain}>", of.data.now_ms));
    headers.push(("Message-ID".to_owned(), id));
    if email.threading.enabled {
        let day = match email.threading.thread_by_date {
            ByDate::None => String::new(),
            ByDate::Daily => format_time(&super::data::moment_of(Some(of.data.now_ms)), ".2006-01-02"),
        };
        let thread = format!("<{key}{day}@{domain}>");
        headers.push(("References".to_owned(), take("references", &thread)));
        headers.push(("In-Reply-To".to_owned(), take("in-reply-to", &thread)));
    }
    headers.extend(own.into_values());
    let told = headers.into_iter().map(|(name, text)| {
        let line = one_line(&name, &text);
        (name, line)
    });
    Ok(told.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_addresses() {
        assert_eq!(addresses("a@b, \"Doe, J\" <c@d>,, e@f "), ["a@b", "\"Doe, J\" <c@d>", "e@f"]);
        assert_eq!(one_line("Subject", "a\r\nBcc: x\u{0}y"), "a Bcc: x y");
        let many = vec!["somebody@example.com"; 100].join(",");
        assert_eq!((one_line("To", &many), one_line("Subject", &many).len()), (many.clone(), 900));
    }
}
