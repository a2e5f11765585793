//! Mails through a small server of SMTP.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::stage::{Stage, failed, taken};

/// Most lines that the server reads of one client.
const LINES_MAX: usize = 10_000;

/// Instead of a command: the text is not answered.
const HANG_UP: &str = "the end of a text";

/// A server that takes one mail after the other. `refuse` gives another answer to commands that begin with its first part.
struct Smtp {
    port: u16,
    said: Arc<Mutex<Vec<String>>>,
}

impl Smtp {
    fn start(refuse: Option<(&'static str, &'static str)>) -> Self {
        Self::start_at("127.0.0.1", refuse)
    }

    fn start_at(host: &str, refuse: Option<(&'static str, &'static str)>) -> Self {
        let listener = TcpListener::bind((host, 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let said = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&said);
        std::thread::spawn(move || {
            for mut stream in listener.incoming().take(8).flatten() {
                let _ = stream.write_all(b"220 here\r\n").and_then(|()| talk(stream, &all, refuse, false));
            }
        });
        Self { port, said }
    }

    fn said(&self) -> Vec<String> {
        self.said.lock().expect("no panic").clone()
    }
}

/// Answers a client that was greeted. With `offers_tls`, gives the connection back when it is to be encrypted.
pub(crate) fn talk<S: Read + Write>(
    stream: S,
    all: &Mutex<Vec<String>>,
    refuse: Option<(&str, &str)>,
    offers_tls: bool,
) -> std::io::Result<Option<S>> {
    let mut stream = BufReader::new(stream);
    let mut in_data = false;
    for _ in 0..LINES_MAX {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            break;
        }
        let line = line.trim_end_matches(['\r', '\n']).to_owned();
        all.lock().expect("no panic").push(line.clone());
        if in_data {
            if line == "." && refuse.is_some_and(|(command, _)| command == HANG_UP) {
                break;
            }
            if line == "." {
                in_data = false;
                stream.get_mut().write_all(b"250 queued as 42\r\n")?;
            }
            continue;
        }
        let refused = refuse.filter(|(command, _)| line.starts_with(command));
        let answer = match refused {
            Some((_, answer)) => answer,
            None if line.starts_with("EHLO") && offers_tls => "250-here\r\n250 STARTTLS",
            None if line.starts_with("STARTTLS") => "220 go on",
            None if line.starts_with("EHLO") => "250-here\r\n250 AUTH PLAIN LOGIN",
            None if line.starts_with("AUTH") => "235 welcome",
            None if line.starts_with("DATA") => "354 go on",
            None if line.starts_with("QUIT") => "221 bye",
            None => "250 fine",
        };
        in_data = line.starts_with("DATA") && refused.is_none();
        stream.get_mut().write_all(format!("{answer}\r\n").as_bytes())?;
        if offers_tls && line.starts_with("STARTTLS") {
            return Ok(Some(stream.into_inner()));
        }
    }
    Ok(None)
}

fn settings(port: u16, more: &str) -> String {
    format!(
        "- name: a\n  email_configs: [{{to: 'Ops <ops@example.org>, b@example.org', from: 'Mön <mon@example.org>', smarthost: '127.0.0.1:{port}', {more}}}]\n"
    )
}

#[test]
fn mails_are_taken() {
    let smtp = Smtp::start(None);
    let stage = Stage::new(&settings(
        smtp.port,
        "require_tls: false, auth_username: mon, auth_password: hunter2, hello: me.example.org",
    ));
    stage.send("a", "g", Duration::from_mins(1));
    assert_eq!(taken(&stage.only()), ("250 queued as 42", 1));
    let said = smtp.said();
    assert_eq!(said[0], "EHLO me.example.org");
    assert_eq!(said[1], "AUTH PLAIN AG1vbgBodW50ZXIy");
    let begin = |start: &str| said.iter().any(|line| line.starts_with(start));
    for start in [
        "MAIL FROM:<mon@example.org>",
        "RCPT TO:<ops@example.org>",
        "RCPT TO:<b@example.org>",
        "Subject: [FIRING:1]",
        "From: =?utf-8?",
        "To: Ops <ops@example.org>, b@example.org",
        "Message-ID: <",
        "References: <",
        "In-Reply-To: <",
        "Date: ",
        "Content-Type: multipart/alternative",
        "Content-Type: text/plain",
        "Content-Type: text/html",
    ] {
        assert!(begin(start), "{start}: {said:#?}");
    }
}

#[test]
fn what_servers_of_mail_refuse() {
    for (refuse, more, again, wanted) in [
        (("RCPT", "550 no such user"), "require_tls: false", false, "no such user"),
        (
            ("AUTH", "535 wrong password"),
            "require_tls: false, auth_username: mon, auth_password: hunter2",
            false,
            "wrong password",
        ),
        (("MAIL", "451 try later"), "require_tls: false", true, "try later"),
        (("NONE", ""), "require_tls: true", false, "STARTTLS"),
    ] {
        let smtp = Smtp::start(Some(refuse));
        let stage = Stage::new(&settings(smtp.port, more));
        stage.send("a", "g", Duration::from_millis(900));
        let ended = stage.only();
        let (error, attempts) = failed(&ended);
        assert!(error.contains(wanted) && !error.contains("hunter2"), "{error}");
        assert_eq!(attempts > 1, again, "{error} {attempts}");
    }
}

#[test]
fn passwords_are_not_told_without_tls() {
    // Another machine for all that names say.
    let smtp = Smtp::start_at("127.0.0.2", None);
    let login = "require_tls: false, auth_username: mon, auth_password: hunter2";
    let stage = Stage::new(&settings(smtp.port, login).replace("127.0.0.1", "127.0.0.2"));
    stage.send("a", "g", Duration::from_mins(1));
    let ended = stage.only();
    let (error, attempts) = failed(&ended);
    assert!(error.contains("no TLS") && attempts == 1, "{error}");
    let said = smtp.said();
    assert!(!said.iter().any(|line| line.starts_with("AUTH")), "{said:?}");
    let stage = Stage::new(&settings(smtp.port, "require_tls: false").replace("127.0.0.1", "127.0.0.2"));
    stage.send("a", "g", Duration::from_mins(1));
    assert_eq!(taken(&stage.only()).1, 1);
}

#[test]
fn attempts_to_send_mails_end_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        // A greeting without an end: each line comes well in time.
        let mut stream = listener.accept().expect("a client").0;
        while stream.write_all(b"220-here\r\n").is_ok() {
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    let stage = Stage::new(&settings(port, "require_tls: false"));
    stage.send("a", "g", Duration::from_millis(900));
    let ended = stage.only();
    let (error, _) = failed(&ended);
    assert!(error.contains("it took longer than"), "{error}");
}

#[test]
fn mails_that_were_given_up_are_not_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let (go_on, goes_on) = channel::<()>();
    let server = std::thread::spawn(move || -> std::io::Result<Vec<String>> {
        let mut stream = BufReader::new(listener.accept()?.0);
        stream.get_mut().write_all(b"220 here\r\n")?;
        let mut said = Vec::new();
        let mut line = String::new();
        while stream.read_line(&mut line)? > 0 {
            if line.starts_with("RCPT") {
                // A name is judged without an end, but each line comes well in time.
                while goes_on.recv_timeout(Duration::from_millis(50)) == Err(RecvTimeoutError::Timeout) {
                    stream.get_mut().write_all(b"250-wait\r\n")?;
                }
            }
            let answer = if line.starts_with("DATA") { "354 go on\r\n" } else { "250 fine\r\n" };
            stream.get_mut().write_all(answer.as_bytes())?;
            said.push(std::mem::take(&mut line));
        }
        Ok(said)
    });
    let stage = Stage::new(&settings(port, "require_tls: false").replace("Ops <ops@example.org>, ", ""));
    stage.send("a", "g", Duration::from_millis(900));
    let ended = stage.only();
    let (error, _) = failed(&ended);
    assert!(error.contains("it took longer than"), "{error}");
    drop(go_on);
    let said = server.join().expect("no panic").expect("the client closes the connection");
    assert_eq!(said.last().map(String::as_str), Some("DATA\r\n"), "no text follows: {said:?}");
}

#[test]
fn mails_that_may_have_been_taken_are_not_sent_again() {
    let smtp = Smtp::start(Some((HANG_UP, "")));
    let stage = Stage::new(&settings(smtp.port, "require_tls: false"));
    stage.send("a", "g", Duration::from_mins(1));
    let ended = stage.only();
    let (error, attempts) = failed(&ended);
    assert!(error.contains("did not say whether it took the mail") && attempts == 1, "{attempts}: {error}");
    assert_eq!(smtp.said().iter().filter(|line| *line == ".").count(), 1);
}

#[test]
fn certificates_that_are_not_there_may_come() {
    let stage = Stage::new(&settings(9, "tls_config: {ca_file: /nowhere/ca.pem}"));
    stage.send("a", "g", Duration::from_millis(900));
    let ended = stage.only();
    let (error, attempts) = failed(&ended);
    assert!(error.contains("/nowhere/ca.pem") && attempts > 1, "{attempts}: {error}");
}
