//! Captures a profile on request: asks a program, in its turn, and keeps the answer as it is.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use model::Clock;

use super::decode::{Limits, decode};
use super::endpoint::Endpoint;
use super::index::Index;
use super::request::{Form, Kind, Request};
use super::sources::{Source, SourceKey, Sources};
use super::store::{About, Capture, Store, StoreError};
use crate::http::{Client, HttpError};

/// Up to how many goroutines each one's stack is asked for: writing them stops the program, for a second and more with a
/// hundred thousand.
pub const STACKS_MAX: u64 = 10_000;
/// Longest measuring.
pub const SECONDS_MAX: u32 = 120;
/// Longest wait for another request to the same program to end.
const TURN_MAX: Duration = Duration::from_secs(10);
/// Longest wait for an answer, beside what is measured.
const TIMEOUT: Duration = Duration::from_mins(1);

/// Why there is no capture.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages name every field")]
pub enum CaptureError {
    /// Nobody like that offers profiles now.
    #[error("this program offers no profiles")]
    NoSource,
    /// No program answers this: ask for something else.
    #[error("{kind} {problem}")]
    Impossible { kind: &'static str, problem: String },
    /// It would stop the program for too long: ask for text with counts.
    #[error("stacks one by one would stop the program: it has {goroutines} goroutines, the limit is {limit}")]
    TooMany { goroutines: u64, limit: u64 },
    /// Another request to the program takes long; try again later.
    #[error("the program is answering another request")]
    Busy,
    /// There was no answer; trying again may help.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The program refused.
    #[error("the program answered {status}: {message}")]
    Refused { status: u16, message: String },
    /// The answer could not be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Captures profiles into a store.
#[derive(Debug, Clone)]
pub struct Capturer {
    client: Client,
    sources: Sources,
    store: Arc<Store>,
    clock: Arc<dyn Clock>,
}

impl Capturer {
    /// Captures from `sources` into `store`.
    pub fn new(sources: Sources, store: Arc<Store>, clock: Arc<dyn Clock>) -> Self {
        Self { client: Client::direct(), sources, store, clock }
    }

    /// Where captures are kept.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Asks the program `key` and keeps the answer with what `about` says besides; returns what is kept. It waits for as long
    /// as is measured.
    ///
    /// # Errors
    ///
    /// When there is no answer, or it cannot be kept. Nothing is left of it then.
    pub fn capture(&self, key: &SourceKey, request: Request, about: About) -> Result<Capture, CaptureError> {
        let kind = request.kind.path();
        let impossible = |problem: String| CaptureError::Impossible { kind, problem };
        if let Some(problem) = request.problem() {
            return Err(impossible(problem.to_owned()));
        }
        if request.seconds > SECONDS_MAX {
            return Err(impossible(format!("is measured over {SECONDS_MAX} seconds at most")));
        }
        let source = self.sources.get(key).ok_or(CaptureError::NoSource)?;
        let _turn = source.turn(TURN_MAX).ok_or(CaptureError::Busy)?;
        if request.form == Form::Stacks {
            self.check_stacks(&source)?;
        }
        let about = About {
            at_ms: self.clock.now().0,
            kind: kind.to_owned(),
            seconds: request.seconds,
            extension: request.extension().to_owned(),
            labels: source.labels.clone(),
            way: if matches!(source.endpoint, Endpoint::Socket { .. }) { "sdk" } else { "pprof" }.to_owned(),
            ..about
        };
        let mut draft = self.store.begin(about)?;
        let timeout = TIMEOUT + Duration::from_secs(u64::from(request.seconds));
        let bytes_max = self.store.capture_bytes_max();
        let mut kept = Beginning { sink: &mut draft, first: Vec::new() };
        let head = source.endpoint.fetch(&self.client, &request.path(), timeout, bytes_max, &mut kept);
        let first = kept.first;
        match head {
            Ok(head) if head.status == 200 => {}
            Ok(head) => {
                let message = String::from_utf8_lossy(&first).trim().replace(char::is_control, " ");
                return Err(CaptureError::Refused { status: head.status, message });
            }
            // The store says it better.
            Err(HttpError::Kept { .. }) => {}
            Err(HttpError::TooLong { limit_bytes }) => return Err(StoreError::TooLong { limit_bytes }.into()),
            Err(error) => return Err(error.into()),
        }
        let id = draft.commit(self.clock.now().0)?;
        Ok(self.store.read(&id)?.0)
    }

    /// Keeps `bytes` with what `about` says; returns what is kept.
    ///
    /// # Errors
    ///
    /// When they cannot be kept. Nothing is left of them then.
    pub fn keep(&self, about: About, bytes: &[u8]) -> Result<Capture, CaptureError> {
        let mut draft = self.store.begin(about)?;
        // What the store refuses it says at the end.
        let _ = draft.write_all(bytes);
        let id = draft.commit(self.clock.now().0)?;
        Ok(self.store.read(&id)?.0)
    }

    /// Whether the program `key` offers profiles itself.
    pub fn is_offered(&self, key: &SourceKey) -> bool {
        self.sources.get(key).is_some()
    }

    /// Refuses stacks one by one where there are many goroutines. What is known of their number may be old, so it is asked
    /// for: the list of profiles tells it, else their counted form.
    fn check_stacks(&self, source: &Source) -> Result<(), CaptureError> {
        let limits = Limits::default();
        let get = |path: &str| source.endpoint.get(&self.client, path, TIMEOUT, limits.inflated_bytes_max);
        let index = get("")?;
        let told = Index::parse(&String::from_utf8_lossy(&index.body)).and_then(|index| index.count("goroutine"));
        let goroutines = if let Some(count) = told {
            count
        } else {
            let page = get(&Request::now(Kind::Goroutine).path())?;
            let refused = |message: String| CaptureError::Refused { status: page.status, message };
            if page.status != 200 {
                return Err(refused("goroutines cannot be counted".to_owned()));
            }
            let profile = decode(&page.body, &limits).map_err(|error| refused(error.to_string()))?;
            u64::try_from(profile.total(0)).unwrap_or(0)
        };
        source.saw_goroutines(goroutines);
        if goroutines > STACKS_MAX {
            return Err(CaptureError::TooMany { goroutines, limit: STACKS_MAX });
        }
        Ok(())
    }
}

/// Longest message of a refusal.
const MESSAGE_BYTES_MAX: usize = 256;

/// Keeps the beginning of what is written, for people.
struct Beginning<'a> {
    sink: &'a mut dyn Write,
    first: Vec<u8>,
}

impl Write for Beginning<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.sink.write(bytes)?;
        let room = MESSAGE_BYTES_MAX.saturating_sub(self.first.len());
        self.first.extend(bytes.iter().take(written.min(room)));
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.sink.flush()
    }
}
