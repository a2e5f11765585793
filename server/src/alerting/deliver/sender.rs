//! One attempt to send something rendered, by whatever way it goes, within a time.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

use rules::config::receivers::{SECRET_FILE_BYTES_MAX, Secret, SecretFiles};
use rules::receivers::{Outgoing, Request, Verdict};

use super::{exec, file, http, mail};

/// Sends; keeps connections and tokens between two attempts.
#[derive(Debug, Default)]
pub struct Sender {
    http: http::HttpSender,
}

impl Sender {
    /// Sends `outgoing` within `timeout`. No message in the verdict holds a secret.
    pub fn send(&self, outgoing: &Outgoing, timeout: Duration) -> Verdict {
        let verdict = match outgoing {
            Outgoing::Http(requests) => self.requests(requests, timeout),
            Outgoing::Mail(mail) => mail::send(mail, timeout),
            Outgoing::Exec(command) => exec::run(command, timeout),
            Outgoing::Line(line) => file::append(line, timeout),
        };
        match verdict {
            Verdict::Taken(answer) => Verdict::Taken(outgoing.hidden(&answer)),
            Verdict::Again { after_ms, why } => Verdict::Again { after_ms, why: outgoing.hidden(&why) },
            Verdict::Refused(why) => Verdict::Refused(outgoing.hidden(&why)),
        }
    }
}

impl Sender {
    /// The client of HTTP panics on a client certificate that it cannot use: one of version 1, or of another key.
    fn requests(&self, requests: &[Request], timeout: Duration) -> Verdict {
        let has_certificate = requests.iter().any(|request| !request.http.tls_config.is_default());
        if !has_certificate {
            return self.http.send_all(requests, timeout);
        }
        let sent = catch_unwind(AssertUnwindSafe(|| self.http.send_all(requests, timeout)));
        sent.unwrap_or_else(|_| {
            Verdict::Refused(
                "the client certificate cannot be used: it must be of version 3 and fit its key".to_owned(),
            )
        })
    }
}

/// Secrets in files of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct DiskSecrets;

impl SecretFiles for DiskSecrets {
    fn read(&self, path: &Path) -> Result<Secret, String> {
        read_bounded(path).map(|text| Secret::new(text.trim()))
    }
}

/// The text of a small file.
pub(super) fn read_bounded(path: &Path) -> Result<String, String> {
    use std::io::Read as _;
    let told = |error: std::io::Error| format!("{}: {error}", path.display());
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(told)?;
    file.take(SECRET_FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(told)?;
    if text.len() as u64 > SECRET_FILE_BYTES_MAX {
        return Err(format!("{}: more than {SECRET_FILE_BYTES_MAX} bytes", path.display()));
    }
    Ok(text)
}
