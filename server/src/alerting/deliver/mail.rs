//! Mails over SMTP. Each attempt has a connection of its own.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MessageBuilder, MultiPart, SinglePart};
use lettre::transport::smtp::Error as SmtpError;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{Certificate, CertificateStore, Identity, SmtpConnection, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::transport::smtp::response::Response;
use lettre::{Address, Message, address::Envelope};
use rules::config::receivers::Secret;
use rules::receivers::{Mail, Verdict};

use super::WORKERS_MAX;
use super::http::pem;

/// Most receivers of one mail.
const RECEIVERS_MAX: usize = 100;

/// Most attempts that go on after their time was over, over all mails: a server that says a byte now and then, or names that are not resolved.
const STRAYS_MAX: usize = 32;

/// Attempts under way, those given up among them.
static RUNNING: AtomicUsize = AtomicUsize::new(0);

/// Sends `mail` within `timeout`.
///
/// Neither the resolution of names nor a conversation of many small steps can be ended from outside, so each attempt has a thread of its own, which
/// is left to itself when the time is over.
pub(super) fn send(mail: &Mail, timeout: Duration) -> Verdict {
    within(timeout, &RUNNING, {
        let mail = mail.clone();
        move || converse(&mail, timeout)
    })
}

/// What `work` comes to on a thread of its own, if it does within `timeout`. `running` are those that have not ended.
fn within(
    timeout: Duration,
    running: &'static AtomicUsize,
    work: impl FnOnce() -> Verdict + Send + 'static,
) -> Verdict {
    struct Ends(&'static AtomicUsize);
    impl Drop for Ends {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }
    let again = |why: String| Verdict::Again { after_ms: None, why };
    let count = running.fetch_add(1, Ordering::SeqCst);
    let ends = Ends(running);
    if count >= WORKERS_MAX + STRAYS_MAX {
        return again(format!("{STRAYS_MAX} attempts to send mails hang already"));
    }
    let (tell, told) = mpsc::sync_channel(1);
    let work = move || {
        let _ends = ends;
        // Nobody may wait any more.
        let _ = tell.send(work());
    };
    if let Err(error) = std::thread::Builder::new().name("deliver-mail".to_owned()).spawn(work) {
        return again(format!("no thread to send it: {error}"));
    }
    match told.recv_timeout(timeout) {
        Ok(verdict) => verdict,
        Err(RecvTimeoutError::Timeout) => again(format!("it took longer than {} ms", timeout.as_millis())),
        Err(RecvTimeoutError::Disconnected) => Verdict::Refused("sending it failed within this program".to_owned()),
    }
}

/// Whether trying again may help.
enum Trouble {
    Smtp(SmtpError),
    /// A file that may come back.
    Passing(String),
    Lasting(String),
}

impl From<SmtpError> for Trouble {
    fn from(error: SmtpError) -> Self {
        Self::Smtp(error)
    }
}

fn converse(mail: &Mail, timeout: Duration) -> Verdict {
    let message = match message(mail) {
        Ok(message) => message,
        Err(why) => return Verdict::Refused(why),
    };
    match talk(mail, &message, timeout) {
        Ok(answer) => {
            let told: Vec<&str> = answer.message().collect();
            Verdict::Taken(format!("{} {}", answer.code(), told.join(" ")))
        }
        // 5xx is for good, and so is what this side cannot do, such as a login that the server does not offer.
        Err(Trouble::Smtp(error)) if error.is_permanent() || error.is_client() => Verdict::Refused(told(&error)),
        Err(Trouble::Smtp(error)) => Verdict::Again { after_ms: None, why: told(&error) },
        Err(Trouble::Passing(why)) => Verdict::Again { after_ms: None, why },
        Err(Trouble::Lasting(why)) => Verdict::Refused(why),
    }
}

/// An error with what it comes from.
fn told(error: &SmtpError) -> String {
    let mut told = error.to_string();
    if let Some(source) = std::error::Error::source(error) {
        let source = source.to_string();
        if !told.contains(&source) {
            told = format!("{told}: {source}");
        }
    }
    told
}

/// The conversation; each of its steps may take `timeout`.
fn talk(mail: &Mail, message: &Message, timeout: Duration) -> Result<Response, Trouble> {
    let tls = tls(mail)?;
    let hello = ClientId::Domain(mail.hello.clone());
    let wrapped = mail.implicit_tls.then_some(&tls);
    let mut server = SmtpConnection::connect((mail.host.as_str(), mail.port), Some(timeout), &hello, wrapped, None)?;
    if !mail.implicit_tls && (mail.require_tls || server.can_starttls()) {
        server.starttls(&tls, &hello)?;
    }
    if let Some((name, password)) = &mail.login {
        // As Go's client does: who takes STARTTLS out of the answer is not told the password.
        if !server.is_encrypted() && !matches!(mail.host.as_str(), "localhost" | "127.0.0.1" | "::1") {
            server.abort();
            let why = "the server offers no TLS, and without it a password is told to this machine alone";
            return Err(Trouble::Lasting(why.to_owned()));
        }
        let login = Credentials::new(name.clone(), password.expose().to_owned());
        server.auth(&[Mechanism::Plain, Mechanism::Login], &login)?;
    }
    let answer = server.send(message.envelope(), &message.formatted())?;
    // It is taken, whatever is said to the end.
    let _ = server.quit();
    Ok(answer)
}

fn tls(mail: &Mail) -> Result<TlsParameters, Trouble> {
    let tls = &mail.tls;
    let mut builder = TlsParameters::builder(mail.host.clone())
        .dangerous_accept_invalid_certs(tls.insecure_skip_verify)
        .dangerous_accept_invalid_hostnames(tls.insecure_skip_verify);
    if let Some(ca) = pem(tls.ca.as_deref(), tls.ca_file.as_deref()).map_err(Trouble::Passing)? {
        let wrong = |_| Trouble::Lasting("ca is no certificate in PEM".to_owned());
        let ca = Certificate::from_pem(ca.as_bytes()).map_err(wrong)?;
        builder = builder.certificate_store(CertificateStore::None).add_root_certificate(ca);
    }
    if let (Some(cert), Some(key)) = (
        pem(tls.cert.as_deref(), tls.cert_file.as_deref()).map_err(Trouble::Passing)?,
        pem(tls.key.as_ref().map(Secret::expose), tls.key_file.as_deref()).map_err(Trouble::Passing)?,
    ) {
        let wrong = |_| Trouble::Lasting("cert and key are no PEM".to_owned());
        builder = builder.identify_with(Identity::from_pem(cert.as_bytes(), key.as_bytes()).map_err(wrong)?);
    }
    builder.build().map_err(|error| Trouble::Lasting(error.to_string()))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_end_in_time_and_hang_in_bounds() {
        static RUNNING: AtomicUsize = AtomicUsize::new(0);
        static HANGING: AtomicUsize = AtomicUsize::new(WORKERS_MAX + STRAYS_MAX);
        let taken = || Verdict::Taken(String::new());
        assert_eq!(within(Duration::from_mins(1), &RUNNING, taken), taken());
        let (end, ends) = mpsc::channel::<()>();
        let hangs = move || {
            let _ = ends.recv();
            Verdict::Taken(String::new())
        };
        let Verdict::Again { why, .. } = within(Duration::from_millis(1), &RUNNING, hangs) else { panic!("it hangs") };
        assert_eq!(why, "it took longer than 1 ms");
        let panics = within(Duration::from_mins(1), &RUNNING, || panic!("a test of panics"));
        assert!(matches!(panics, Verdict::Refused(_)));
        drop(end);
        while RUNNING.load(Ordering::SeqCst) > 0 {
            std::thread::yield_now();
        }
        let Verdict::Again { why, .. } = within(Duration::from_mins(1), &HANGING, taken) else { panic!("no place") };
        assert!(why.contains("hang already"), "{why}");
        assert_eq!(HANGING.load(Ordering::SeqCst), WORKERS_MAX + STRAYS_MAX);
    }
}
