//! Mails over SMTP. Each attempt has a connection of its own.

use std::time::Duration;

use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MessageBuilder, MultiPart, SinglePart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Identity, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{Address, Message, SmtpTransport, Transport as _, address::Envelope};
use rules::config::receivers::Secret;
use rules::receivers::{Mail, Verdict};

use super::http::pem;

/// Most receivers of one mail.
const RECEIVERS_MAX: usize = 100;

/// Sends `mail`; each step of the conversation may take `timeout`.
pub(super) fn send(mail: &Mail, timeout: Duration) -> Verdict {
    let message = match message(mail) {
        Ok(message) => message,
        Err(why) => return Verdict::Refused(why),
    };
    let transport = match transport(mail, timeout) {
        Ok(transport) => transport,
        Err(why) => return Verdict::Refused(why),
    };
    match transport.send(&message) {
        Ok(answer) => {
            let told: Vec<&str> = answer.message().collect();
            Verdict::Taken(format!("{} {}", answer.code(), told.join(" ")))
        }
        // 5xx is for good, and so is what this side cannot do, such as a login that the server does not offer.
        Err(error) if error.is_permanent() || error.is_client() => Verdict::Refused(told(&error)),
        Err(error) => Verdict::Again { after_ms: None, why: told(&error) },
    }
}

/// An error with what it comes from.
fn told(error: &lettre::transport::smtp::Error) -> String {
    let mut told = error.to_string();
    if let Some(source) = std::error::Error::source(error) {
        let source = source.to_string();
        if !told.contains(&source) {
            told = format!("{told}: {source}");
        }
    }
    told
}

fn transport(mail: &Mail, timeout: Duration) -> Result<SmtpTransport, String> {
    let tls = match (mail.implicit_tls, mail.require_tls) {
        (true, _) => Tls::Wrapper(tls(mail)?),
        (false, true) => Tls::Required(tls(mail)?),
        (false, false) => Tls::Opportunistic(tls(mail)?),
    };
    let mut builder = SmtpTransport::builder_dangerous(&mail.host)
        .port(mail.port)
        .timeout(Some(timeout))
        .hello_name(ClientId::Domain(mail.hello.clone()))
        .tls(tls);
    if let Some((name, password)) = &mail.login {
        builder = builder.credentials(Credentials::new(name.clone(), password.expose().to_owned()));
    }
    Ok(builder.build())
}

fn tls(mail: &Mail) -> Result<TlsParameters, String> {
    let tls = &mail.tls;
    let mut builder = TlsParameters::builder(mail.host.clone())
        .dangerous_accept_invalid_certs(tls.insecure_skip_verify)
        .dangerous_accept_invalid_hostnames(tls.insecure_skip_verify);
    if let Some(ca) = pem(tls.ca.as_deref(), tls.ca_file.as_deref())? {
        let ca = Certificate::from_pem(ca.as_bytes()).map_err(|_| "ca is no certificate in PEM".to_owned())?;
        builder = builder.certificate_store(CertificateStore::None).add_root_certificate(ca);
    }
    if let (Some(cert), Some(key)) = (
        pem(tls.cert.as_deref(), tls.cert_file.as_deref())?,
        pem(tls.key.as_ref().map(Secret::expose), tls.key_file.as_deref())?,
    ) {
        let identity = Identity::from_pem(cert.as_bytes(), key.as_bytes());
        builder = builder.identify_with(identity.map_err(|_| "cert and key are no PEM".to_owned())?);
    }
    builder.build().map_err(|error| error.to_string())
}

fn message(mail: &Mail) -> Result<Message, String> {
    let address = |text: &str| -> Result<Address, String> {
        let mailbox: Mailbox = text.parse().map_err(|error| format!("{text:?} is no address: {error}"))?;
        Ok(mailbox.email)
    };
    if mail.to.is_empty() || mail.to.len() > RECEIVERS_MAX {
        return Err(format!("{} receivers of one mail; 1 to {RECEIVERS_MAX} are allowed", mail.to.len()));
    }
    let to: Result<Vec<Address>, String> = mail.to.iter().map(|to| address(to)).collect();
    let envelope = Envelope::new(Some(address(&mail.from)?), to?).map_err(|error| error.to_string())?;
    let mut builder: MessageBuilder = Message::builder().envelope(envelope);
    if !mail.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("date")) {
        builder = builder.date_now();
    }
    for (name, value) in &mail.headers {
        let header =
            HeaderName::new_from_ascii(name.clone()).map_err(|_| format!("{name:?} is no name of a header"))?;
        builder = match name.to_ascii_lowercase().as_str() {
            // Names in addresses are written otherwise than other texts, and are read to be so.
            "from" => builder.from(value.parse().map_err(|error| format!("From {value:?}: {error}"))?),
            "to" => builder.mailbox(lettre::message::header::To::from(
                value.parse::<lettre::message::Mailboxes>().map_err(|error| format!("To {value:?}: {error}"))?,
            )),
            _ => builder.raw_header(HeaderValue::new(header, value.clone())),
        };
    }
    let (text, html) = (mail.text.clone(), mail.html.clone());
    let message = match (text.is_empty(), html.is_empty()) {
        (false, true) => builder.singlepart(SinglePart::plain(text)),
        (true, false) => builder.singlepart(SinglePart::html(html)),
        (false, false) => builder.multipart(MultiPart::alternative_plain_html(text, html)),
        (true, true) => return Err("the mail has neither text nor html".to_owned()),
    };
    message.map_err(|error| error.to_string())
}
