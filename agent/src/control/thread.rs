//! The thread that checks in. While there is nothing to do the server holds its answer back, so that a task is known at once and
//! an idle agent says a word every 20 seconds. Whatever fails here delays no sample.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use model::control::{
    CHECK_IN_PATH, CheckIn, MESSAGE_BYTES_MAX, Orders, PROFILE_BYTES_MAX, PROFILE_PATH, ProfileOrder,
};
use serde::Deserialize;

use super::errands::Errands;
use super::kept::Kept;
use super::reload::Reloader;
use super::teller::Teller;
use crate::budget::CpuMeter;
use crate::config::value::masked;
use crate::config::{ControlConfig, PushConfig};
use crate::http::{Client, Exchange};
use crate::send::backoff::Backoff;
use crate::send::credentials::credentials;
use crate::stats::Stats;
use crate::stop::StopFlag;
use crate::threads;

/// How long the server may hold its answer back.
const WAIT_IDLE: Duration = Duration::from_secs(20);
/// The same while tasks are under way, so that their outcomes are told soon.
const WAIT_BUSY: Duration = Duration::from_secs(1);
/// Time for all but the waiting.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for the last word of an agent that ends.
const LAST_WORD_TIMEOUT: Duration = Duration::from_secs(1);
/// Pauses after failures, in milliseconds.
const BACKOFF_MS: (u64, u64) = (1_000, 60_000);
/// Pause before a receiver that does not know check-ins is asked again: it may be upgraded.
const FOREIGN_PAUSE: Duration = Duration::from_mins(10);
/// Shortest pause between two check-ins, whatever a server answers.
const PAUSE_MIN: Duration = Duration::from_millis(200);
/// Longest pause that a server may ask for.
const PAUSE_MS_MAX: u64 = 10 * 60_000;

/// The agent's end of it.
#[derive(Debug)]
pub struct Control {
    line: Line,
    teller: Teller,
}

/// How the server is reached.
#[derive(Debug, Clone)]
struct Line {
    server: String,
    push: PushConfig,
    client: Client,
    /// Whether the server may know check-ins: the last answer was none of one that does not.
    listens: Arc<AtomicBool>,
}

/// What became of a check-in.
enum Said {
    Orders(Orders),
    /// Whoever is there knows no check-ins.
    Foreign(String),
    Failed(String),
}

/// Pause before a profile is asked for again that could not be had.
const PROFILE_PAUSE: Duration = Duration::from_secs(10);

#[derive(Deserialize)]
struct Envelope {
    data: Orders,
}

impl Line {
    /// The profile that the server holds for `environment`, which it calls `etag` where it names it: what stands between may change or
    /// leave out the header of the answer, and the profile would be news for ever.
    fn profile(&self, environment: &str, etag: &str) -> Result<Kept, String> {
        let headers = credentials(&self.push)?;
        let url = format!("{}{PROFILE_PATH}?environment={}", self.server, escaped(environment));
        let exchange = Exchange {
            url: &url,
            headers: &headers,
            body: None,
            timeout: ANSWER_TIMEOUT,
            answer_bytes_max: PROFILE_BYTES_MAX as u64,
        };
        let answer = self.client.exchange(&exchange).map_err(|error| error.to_string())?;
        if answer.status != 200 {
            return Err(format!("status {}", answer.status));
        }
        let text = String::from_utf8(answer.body).map_err(|error| error.to_string())?;
        Ok(Kept { environment: environment.to_owned(), etag: etag.to_owned(), text })
    }

    fn say(&self, check_in: &CheckIn, wait: Duration, timeout: Duration) -> Said {
        let body = match serde_json::to_vec(check_in) {
            Ok(body) => body,
            Err(error) => return Said::Failed(error.to_string()),
        };
        let mut headers = match credentials(&self.push) {
            Ok(headers) => headers,
            Err(error) => return Said::Failed(error),
        };
        headers.push(("Content-Type".to_owned(), "application/json".to_owned()));
        let url = format!("{}{CHECK_IN_PATH}?wait={}s", self.server, wait.as_secs());
        let exchange = Exchange {
            url: &url,
            headers: &headers,
            body: Some(&body),
            timeout: wait + timeout,
            answer_bytes_max: MESSAGE_BYTES_MAX as u64,
        };
        let said = match self.client.exchange(&exchange) {
            Err(error) => Said::Failed(error.to_string()),
            Ok(answer) => match (answer.status, serde_json::from_slice::<Envelope>(&answer.body)) {
                (200, Ok(envelope)) => Said::Orders(envelope.data),
                (200..=299 | 404 | 405 | 501, _) => Said::Foreign(format!("status {}", answer.status)),
                (status, _) => Said::Failed(format!("status {status}")),
            },
        };
        match said {
            Said::Orders(_) => self.listens.store(true, Ordering::Relaxed),
            Said::Foreign(_) => self.listens.store(false, Ordering::Relaxed),
            Said::Failed(_) => {}
        }
        said
    }
}

/// `text` as a part of a URL's query.
fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// Starts checking in at the server of `config`, if it is to.
///
/// # Errors
///
/// When no thread can be started.
pub fn start(
    (config, push): (&ControlConfig, &PushConfig),
    teller: Teller,
    (errands, reloader): (Errands, Option<Reloader>),
    stop: &StopFlag,
    stats: &Arc<Stats>,
) -> std::io::Result<Option<Control>> {
    let Some(server) = config.server.clone() else { return Ok(None) };
    let line = Line { server, push: push.clone(), client: Client::proxied(), listens: Arc::new(AtomicBool::new(true)) };
    let control = Control { line: line.clone(), teller: teller.clone() };
    let (stop, stats) = (stop.clone(), Arc::clone(stats));
    let backoff = Backoff::new(BACKOFF_MS.0, BACKOFF_MS.1);
    let mut speaker = Speaker {
        takes_tasks: config.tasks,
        profiles: reloader.clone().filter(|_| config.profile),
        line,
        teller,
        errands,
        reloader,
        backoff,
        quiet: false,
    };
    threads::start("agent-control", &stop.clone(), move || {
        let mut pause = Duration::ZERO;
        while !stop.wait(pause) {
            let meter = CpuMeter::start();
            pause = speaker.turn();
            stats.cpu_us.add(meter.elapsed_us());
        }
    })?;
    Ok(Some(control))
}

impl Control {
    /// Tells the server, if it listens, that the agent ends.
    pub fn end(&self) {
        if self.line.listens.load(Ordering::Relaxed) {
            let check_in = CheckIn { ending: true, ..self.teller.tell() };
            self.line.say(&check_in, Duration::ZERO, LAST_WORD_TIMEOUT);
        }
    }
}

struct Speaker {
    line: Line,
    teller: Teller,
    errands: Errands,
    takes_tasks: bool,
    /// Tells how configuration stands.
    reloader: Option<Reloader>,
    /// Takes profiles.
    profiles: Option<Reloader>,
    backoff: Backoff,
    /// Whether it was logged that nobody listens.
    quiet: bool,
}

impl Speaker {
    /// Checks in once and does what is asked; the pause before the next time.
    fn turn(&mut self) -> Duration {
        let (under_way, outcomes) = self.errands.report();
        let wait = match (under_way.is_empty(), outcomes.is_empty()) {
            (_, false) => Duration::ZERO,
            (false, true) => WAIT_BUSY,
            (true, true) => WAIT_IDLE,
        };
        let check_in = CheckIn { under_way, outcomes, profile_off: self.profiles.is_none(), ..self.teller.tell() };
        let check_in = match &self.reloader {
            Some(reloader) => reloader.told(check_in),
            None => check_in,
        };
        match self.line.say(&check_in, wait, ANSWER_TIMEOUT) {
            Said::Orders(orders) => {
                if self.quiet {
                    tracing::info!(server = masked(&self.line.server), "server takes check-ins again");
                }
                self.quiet = false;
                self.backoff.reset();
                self.errands.heard(&check_in.outcomes);
                if self.takes_tasks {
                    self.errands.take(orders.tasks);
                } else {
                    self.errands.decline(orders.tasks, "control.tasks is off on this agent");
                }
                let pause = if self.profile(&orders.profile, &check_in) { PAUSE_MIN } else { PROFILE_PAUSE };
                Duration::from_millis(orders.pause_ms.min(PAUSE_MS_MAX)).max(pause)
            }
            Said::Foreign(why) => {
                self.tell_once(&why, "receiver takes no check-ins; it is asked again from time to time");
                FOREIGN_PAUSE
            }
            Said::Failed(why) => {
                self.tell_once(&why, "check-in failed; samples are not concerned");
                Duration::from_millis(self.backoff.next_ms(fastrand::f64(), None))
            }
        }
    }

    /// Works by the profile that the server names; whether that was possible, or nothing was to be done.
    fn profile(&mut self, order: &ProfileOrder, check_in: &CheckIn) -> bool {
        if !order.is_news_to(check_in) {
            return true;
        }
        let Some(reloader) = &self.profiles else { return true };
        match order {
            ProfileOrder::Keep => true,
            ProfileOrder::None => reloader.adopt(None),
            ProfileOrder::Etag(etag) => match self.line.profile(&check_in.environment, etag) {
                Ok(kept) => reloader.adopt(Some(kept)),
                Err(error) => {
                    tracing::warn!(error, "the server's profile cannot be had; what ran before goes on");
                    false
                }
            },
        }
    }

    fn tell_once(&mut self, why: &str, what: &str) {
        if !self.quiet {
            tracing::info!(server = masked(&self.line.server), why, "{what}");
        }
        self.quiet = true;
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_profile_is_called_as_it_was_ordered() {
        for header in ["ETag: W/\"a1\"\r\n", ""] {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
            let server = format!("http://{}", listener.local_addr().expect("bound"));
            let proxy = std::thread::spawn(move || {
                let (mut stream, _) = listener.accept().expect("asked");
                let _ = stream.read(&mut [0; 4096]);
                write!(stream, "HTTP/1.1 200 OK\r\n{header}Content-Length: 5\r\n\r\na = 1").expect("answered");
            });
            let config = crate::Config::default();
            let line =
                Line { server, push: config.push, client: Client::proxied(), listens: Arc::new(AtomicBool::new(true)) };
            let kept = line.profile("prod", "\"a1\"").expect("had");
            assert_eq!((kept.etag.as_str(), kept.text.as_str()), ("\"a1\"", "a = 1"), "{header:?}");
            proxy.join().expect("ends");
        }
    }
}
