//! A webhook that keeps what it is told, with the moment at which it had all of it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;

/// Longest body that is read.
const BODY_BYTES_MAX: u64 = 16 << 20;
/// Most notifications that are kept; the load's are many, and only probes are asked for.
const KEPT_MAX: usize = 10_000;
/// The path of probes.
const PROBES: &str = "/probes";

/// What was told to the path of probes.
#[derive(Debug, Default)]
struct Told {
    bodies: Mutex<Vec<(Instant, String)>>,
    more: Condvar,
}

/// See the module. Its threads end with the process.
#[derive(Debug)]
pub(super) struct Sink {
    url: String,
    told: Arc<Told>,
}

impl Sink {
    /// Listens on a port of its own.
    pub(super) fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("no free port for the webhook")?;
        let url = format!("http://{}", listener.local_addr()?);
        let told = Arc::new(Told::default());
        let kept = Arc::clone(&told);
        std::thread::Builder::new().name("webhook".to_owned()).spawn(move || {
            for stream in listener.incoming().flatten() {
                let kept = Arc::clone(&kept);
                // A connection that breaks is the sender's to make anew.
                let serve = move || drop(serve(stream, &kept));
                let _ = std::thread::Builder::new().name("webhook".to_owned()).spawn(serve);
            }
        })?;
        Ok(Self { url, told })
    }

    /// Where it listens.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Waits for a notification with `text` in it, and forgets those before; when it was there.
    pub(super) fn wait_for(&self, text: &str, patience: Duration) -> Option<Instant> {
        let find = |bodies: &[(Instant, String)]| bodies.iter().position(|(_, body)| body.contains(text));
        let bodies = lock(&self.told.bodies);
        let waited = self.told.more.wait_timeout_while(bodies, patience, |bodies| find(bodies).is_none());
        let (mut bodies, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let at = find(&bodies)?;
        bodies.drain(..=at).next_back().map(|(moment, _)| moment)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers requests of one connection until it ends.
fn serve(stream: TcpStream, told: &Told) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    loop {
        let (mut first, mut length) = (String::new(), 0);
        if reader.read_line(&mut first)? == 0 {
            return Ok(());
        }
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 || line.trim_end().is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().unwrap_or(0);
            }
        }
        let mut body = String::new();
        (&mut reader).take(u64::min(length, BODY_BYTES_MAX)).read_to_string(&mut body)?;
        let moment = Instant::now();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")?;
        if first.split(' ').nth(1).is_some_and(|path| path.starts_with(PROBES)) {
            let mut bodies = lock(&told.bodies);
            if bodies.len() < KEPT_MAX {
                bodies.push((moment, body));
            }
            drop(bodies);
            told.more.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::ingest::write_client;
    use super::*;

    #[test]
    fn what_is_told_is_found_once() {
        let sink = Sink::start().expect("a port");
        let tell =
            |path: &str, body: &str| write_client().post(format!("{}{path}", sink.url())).send(body).expect("told");
        tell("/all", "probe-1-");
        tell("/probes", "probe-2-");
        assert!(sink.wait_for("probe-2-", Duration::from_secs(20)).is_some());
        assert!(sink.wait_for("probe-2-", Duration::ZERO).is_none());
        assert!(sink.wait_for("probe-1-", Duration::ZERO).is_none());
    }
}
