//! Receivers of the test: they note what they are told, take their time to answer, and refuse now and then.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::Value;

use crate::web::Web;

/// Of so many notifications one is refused, to be sent again.
const REFUSED: u32 = 16;

/// What a notification says of an alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) fires: bool,
    pub(crate) starts_ms: i64,
}

/// A notification that a receiver took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told {
    /// Which life of the server sent it.
    pub(crate) life: u64,
    pub(crate) path: String,
    pub(crate) group_key: String,
    /// By the alert: `Plain a`.
    pub(crate) alerts: BTreeMap<String, Said>,
    /// When it came.
    pub(crate) came: Instant,
}

impl Told {
    fn of_body(path: &str, body: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("a text in {body}")).to_owned();
        let alert = |alert: &Value| {
            let labels = &alert["labels"];
            let starts: Timestamp = text(&alert["startsAt"]).parse().expect("a time");
            let said = Said { fires: alert["status"] == "firing", starts_ms: starts.as_millisecond() };
            (format!("{} {}", text(&labels["alertname"]), text(&labels["host"])), said)
        };
        // Each life has another URL.
        let life = text(&body["externalURL"]).rsplit('-').next().and_then(|life| life.parse().ok());
        Self {
            life: life.expect("the number of a life"),
            path: path.to_owned(),
            group_key: text(&body["groupKey"]),
            alerts: body["alerts"].as_array().into_iter().flatten().map(alert).collect(),
            came: Instant::now(),
        }
    }
}

/// What was told, and what random answers are drawn from.
#[derive(Debug)]
struct Book {
    told: Vec<Told>,
    refused: u64,
    random: fastrand::Rng,
}

/// See the module.
pub(crate) struct Sink {
    book: Arc<(Mutex<Book>, Condvar)>,
    web: Web,
}

fn lock(book: &Mutex<Book>) -> MutexGuard<'_, Book> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sink {
    pub(crate) fn start(random: fastrand::Rng) -> Self {
        let book = Arc::new((Mutex::new(Book { told: Vec::new(), refused: 0, random }), Condvar::new()));
        let own = Arc::clone(&book);
        let web = Web::start(Arc::new(move |path, body| take(&own, path, body)));
        Self { book, web }
    }

    pub(crate) fn address(&self) -> &str {
        &self.web.address
    }

    /// How many notifications were taken.
    pub(crate) fn count(&self) -> usize {
        lock(&self.book.0).told.len()
    }

    /// How many were refused.
    pub(crate) fn refused(&self) -> u64 {
        lock(&self.book.0).refused
    }

    /// What was taken after the first `known`.
    pub(crate) fn since(&self, known: usize) -> Vec<Told> {
        lock(&self.book.0).told.get(known..).unwrap_or_default().to_vec()
    }

    /// Waits until one more is taken than now, for `within` at most; whether one was.
    pub(crate) fn wait(&self, within: Duration) -> bool {
        let (book, came) = &*self.book;
        let book = lock(book);
        let known = book.told.len();
        let waited = came.wait_timeout_while(book, within, |book| book.told.len() == known);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }
}

/// Answers a request.
fn take((book, came): &(Mutex<Book>, Condvar), path: &str, body: &[u8]) -> (u16, String) {
    // The server was killed while it sent.
    let Ok(body) = serde_json::from_slice(body) else { return (400, "a part".to_owned()) };
    let told = Told::of_body(path, &body);
    let mut book = lock(book);
    if book.random.u32(0..REFUSED) == 0 {
        book.refused += 1;
        return (500, "not now".to_owned());
    }
    book.told.push(told);
    let pause_ms = match book.random.u32(0..4) {
        _ if path == "/slow" => book.random.u64(300..1_500),
        0 => book.random.u64(100..500),
        1 => book.random.u64(0..100),
        _ => 0,
    };
    drop(book);
    came.notify_all();
    // A server that is killed meanwhile does not learn that it was heard.
    std::thread::sleep(Duration::from_millis(pause_ms));
    (200, String::new())
}
