//! Mails over SMTP. Each attempt has a connection of its own.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MessageBuilder, MultiPart, SinglePart};
use lettre::transport::smtp::Error as SmtpError;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{Certificate, CertificateStore, Identity, SmtpConnection, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail as MailFrom, Rcpt};
use lettre::transport::smtp::extension::{ClientId, Extension, MailBodyParameter, MailParameter};
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

/// How long a server may take to answer the end of a conversation.
const QUIT_TIMEOUT: Duration = Duration::from_secs(1);

/// Attempts under way, those given up among them.
static RUNNING: AtomicUsize = AtomicUsize::new(0);

/// What is decided, once, about the text of a mail.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    /// It goes out, so it may arrive whatever is heard of it.
    Sends,
    /// The time was over before, so it must not go out any more: another attempt sends it.
    GivenUp,
}

/// Sends `mail`. It is given up after `timeout`, or after twice that when its text was on its way by then.
///
/// Neither the resolution of names nor a conversation of many small steps can be ended from outside, so each attempt has a thread of its own, which
/// is left to itself when the time is over. It sends no text then.
pub(super) fn send(mail: &Mail, timeout: Duration) -> Verdict {
    within(timeout, &RUNNING, {
        let mail = mail.clone();
        move |fate| converse(&mail, timeout, fate)
    })
}

/// What `work` comes to on a thread of its own, if it does within `timeout`, or twice that when its [`Fate`] is to be sent. `running` are those that
/// have not ended.
fn within(
    timeout: Duration,
    running: &'static AtomicUsize,
    work: impl FnOnce(&OnceLock<Fate>) -> Verdict + Send + 'static,
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
    let fate = Arc::new(OnceLock::new());
    let decided = Arc::clone(&fate);
    let work = move || {
        let _ends = ends;
        // Nobody may wait any more.
        let _ = tell.send(work(&decided));
    };
    if let Err(error) = std::thread::Builder::new().name("deliver-mail".to_owned()).spawn(work) {
        return again(format!("no thread to send it: {error}"));
    }
    let mut heard = told.recv_timeout(timeout);
    if heard == Err(RecvTimeoutError::Timeout) {
        if fate.set(Fate::GivenUp).is_ok() {
            return again(format!("it took longer than {} ms", timeout.as_millis()));
        }
        heard = told.recv_timeout(timeout);
    }
    match heard {
        Ok(verdict) => verdict,
        Err(RecvTimeoutError::Timeout) => unknown(&format!("it took longer than {} ms", 2 * timeout.as_millis())),
        Err(RecvTimeoutError::Disconnected) => Verdict::Refused("sending it failed within this program".to_owned()),
    }
}

/// For a mail whose text was sent. It may have been taken, so it is not sent again before its group is looked at again.
fn unknown(why: &str) -> Verdict {
    Verdict::Refused(format!("the server did not say whether it took the mail: {why}"))
}

/// Whether trying again may help.
enum Trouble {
    Smtp(SmtpError),
    /// After the text was sent.
    Sent(SmtpError),
    /// Nobody waits for it any more.
    GivenUp,
    /// A file that may come back.
    Passing(String),
    Lasting(String),
}

impl From<SmtpError> for Trouble {
    fn from(error: SmtpError) -> Self {
        Self::Smtp(error)
    }
}

fn converse(mail: &Mail, timeout: Duration, fate: &OnceLock<Fate>) -> Verdict {
    let message = match message(mail) {
        Ok(message) => message,
        Err(why) => return Verdict::Refused(why),
    };
    match talk(mail, &message, timeout, fate) {
        Ok(answer) => {
            let told: Vec<&str> = answer.message().collect();
            Verdict::Taken(format!("{} {}", answer.code(), told.join(" ")))
        }
        // 5xx is for good, and so is what this side cannot do, such as a login that the server does not offer.
        Err(Trouble::Smtp(error) | Trouble::Sent(error)) if error.is_permanent() || error.is_client() => {
            Verdict::Refused(told(&error))
        }
        Err(Trouble::Sent(error)) if !error.is_transient() => unknown(&told(&error)),
        Err(Trouble::Smtp(error) | Trouble::Sent(error)) => Verdict::Again { after_ms: None, why: told(&error) },
        Err(Trouble::GivenUp) => Verdict::Again { after_ms: None, why: "its time was over".to_owned() },
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

/// The conversation; each of its steps may take `timeout`. Who waits for it may give it up by `fate` until the text is sent.
fn talk(mail: &Mail, message: &Message, timeout: Duration, fate: &OnceLock<Fate>) -> Result<Response, Trouble> {
    let tls = tls(mail)?;
    let hello = ClientId::Domain(mail.hello.clone());
    let wrapped = mail.implicit_tls.then_some(&tls);
    let mut server = SmtpConnection::connect((mail.host.as_str(), mail.port), Some(timeout), &hello, wrapped, None)?;
    if !mail.implicit_tls && (mail.require_tls || server.can_starttls()) {
        server.starttls(&tls, &hello)?;
    }
    if fate.get().is_some() {
        server.abort();
        return Err(Trouble::GivenUp);
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
    let answer = hand_over(&mut server, message, fate);
    if matches!(answer, Ok(_) | Err(Trouble::Smtp(_))) && server.set_timeout(Some(QUIT_TIMEOUT)).is_ok() {
        // What became of it is known, whatever is said to the end.
        let _ = server.quit();
    }
    answer
}

/// Says whom the mail is for, then its text unless it was given up meanwhile.
fn hand_over(server: &mut SmtpConnection, message: &Message, fate: &OnceLock<Fate>) -> Result<Response, Trouble> {
    let (envelope, text) = (message.envelope(), message.formatted());
    let ascii =
        envelope.from().into_iter().chain(envelope.to()).all(|address| AsRef::<str>::as_ref(address).is_ascii());
    let mut parameters = Vec::new();
    for (needed, extension, parameter) in [
        (!ascii, Extension::SmtpUtfEight, MailParameter::SmtpUtfEight),
        (!text.is_ascii(), Extension::EightBitMime, MailParameter::Body(MailBodyParameter::EightBitMime)),
    ] {
        if needed && !server.server_info().supports_feature(extension) {
            return Err(Trouble::Lasting(format!("the mail needs {extension}, which the server does not offer")));
        }
        parameters.extend(needed.then_some(parameter));
    }
    server.command(MailFrom::new(envelope.from().cloned(), parameters))?;
    for to in envelope.to() {
        server.command(Rcpt::new(to.clone(), Vec::new()))?;
    }
    server.command(Data)?;
    if fate.set(Fate::Sends).is_err() {
        // A connection that ends within the text leaves no mail.
        return Err(Trouble::GivenUp);
    }
    server.message(&text).map_err(Trouble::Sent)
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
        let taken = |_: &OnceLock<Fate>| Verdict::Taken(String::new());
        assert_eq!(within(Duration::from_mins(1), &RUNNING, taken), taken(&OnceLock::new()));
        let (end, ends) = mpsc::channel::<()>();
        let (tell, told) = mpsc::channel();
        let hangs = move |fate: &OnceLock<Fate>| {
            let _ = ends.recv();
            let _ = tell.send(fate.set(Fate::Sends).is_err());
            Verdict::Taken(String::new())
        };
        let Verdict::Again { why, .. } = within(Duration::from_millis(1), &RUNNING, hangs) else { panic!("it hangs") };
        assert_eq!(why, "it took longer than 1 ms");
        let panics = within(Duration::from_mins(1), &RUNNING, |_| panic!("a test of panics"));
        assert!(matches!(panics, Verdict::Refused(_)));
        drop(end);
        assert!(told.recv().expect("it ends"), "nothing is sent by what was given up");
        while RUNNING.load(Ordering::SeqCst) > 0 {
            std::thread::yield_now();
        }
        let Verdict::Again { why, .. } = within(Duration::from_mins(1), &HANGING, taken) else { panic!("no place") };
        assert!(why.contains("hang already"), "{why}");
        assert_eq!(HANGING.load(Ordering::SeqCst), WORKERS_MAX + STRAYS_MAX);
    }

    #[test]
    fn what_was_sent_is_not_sent_again() {
        static RUNNING: AtomicUsize = AtomicUsize::new(0);
        let (end, ends) = mpsc::channel::<()>();
        let hangs = move |fate: &OnceLock<Fate>| {
            fate.set(Fate::Sends).expect("it is not given up at once");
            let _ = ends.recv();
            Verdict::Taken(String::new())
        };
        let verdict = within(Duration::from_secs(2), &RUNNING, hangs);
        drop(end);
        let Verdict::Refused(why) = verdict else { panic!("{verdict:?}") };
        assert_eq!(why, "the server did not say whether it took the mail: it took longer than 4000 ms");
    }
}
