//! Sends what is queued, in order: one request at a time, acknowledged when the receiver took it, repeated after a pause
//! when it did not, dropped and counted when it never will. In which version of remote write is `protocol`'s, what the
//! bodies are is `request`'s.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ingest::Version;
use model::remote_write::WriteRequest;
use model::remote_write::v2::PROTO;
use model::{Clock, WriteBatch};
use prost::Message;

use super::backoff::{Backoff, Verdict, judge};
use super::classic::Told;
use super::credentials::credentials;
use super::encode::{compress, decompress};
use super::metadata::{MetadataBook, SharedMetadata};
use super::protocol::{Learned, Negotiation};
use super::request::{RecordDecoder, body_v1, body_v2};
use crate::budget::CpuMeter;
use crate::config::PushConfig;
use crate::config::value::masked;
use crate::http::{Client, Reply};
use crate::queue::record::{PAYLOAD_BYTES_MAX, Record};
use crate::queue::{Batch, SharedQueue};
use crate::stats::Stats;
use crate::stop::StopFlag;

/// Longest piece of a request before compression.
const PIECE_BYTES_MAX: usize = PAYLOAD_BYTES_MAX * 8;
/// Longest pause before the first push; it doubles up to the interval. Who starts an agent waits to see something.
const FIRST_PUSH_DELAY: Duration = Duration::from_secs(1);
/// Shortest time between two lines of the log about refusals with one status.
const TOLD_EVERY: Duration = Duration::from_mins(1);

/// Sends the queue to a receiver.
#[derive(Debug)]
pub struct Sender {
    queue: SharedQueue,
    metadata: SharedMetadata,
    client: Client,
    config: PushConfig,
    clock: Arc<dyn Clock>,
    stats: Arc<Stats>,
    backoff: Backoff,
    negotiation: Negotiation,
    decoder: RecordDecoder,
    classic: Told,
    samples_max: u64,
    /// By status, when a refusal was logged last, and samples of requests refused since.
    told: HashMap<u16, (Option<Instant>, u64)>,
    failing: bool,
}

/// A request that was sent.
#[derive(Debug)]
struct Sent {
    version: Version,
    /// Samples that could not be read back from the queue.
    unreadable: u64,
    /// Metrics whose metadata it told.
    described: Vec<String>,
}

/// What became of one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attempt {
    /// The batch is done with: delivered or dropped.
    Done,
    /// The same again at once, smaller or in another form.
    Again,
    /// The same again after this pause.
    After(Duration),
}

impl Sender {
    /// A sender of `queue` as `config` says.
    pub fn new(
        queue: SharedQueue,
        metadata: SharedMetadata,
        config: &PushConfig,
        clock: Arc<dyn Clock>,
        stats: Arc<Stats>,
    ) -> Self {
        Self {
            queue,
            metadata,
            client: Client::proxied(),
            clock,
            stats,
            backoff: Backoff::new(config.backoff_min_ms, config.backoff_max_ms),
            negotiation: Negotiation::new(config.protocol, config.histograms),
            decoder: RecordDecoder::default(),
            classic: Told::default(),
            samples_max: config.samples_max as u64,
            config: config.clone(),
            told: HashMap::new(),
            failing: false,
        }
    }

    /// Sends at every push interval until `stop`.
    pub fn run(&mut self, stop: &StopFlag) {
        let mut interval = self.config.interval.min(FIRST_PUSH_DELAY);
        let mut pause = interval;
        while !stop.wait(pause) {
            let meter = CpuMeter::start();
            let timeout = self.config.timeout;
            let left = || (!stop.is_stopped()).then_some(timeout);
            interval = (interval * 2).min(self.config.interval);
            pause = self.drain(left).unwrap_or(interval);
            let now_ms = self.clock.now().0;
            self.send_metadata(|book, interval_ms| book.due(now_ms, interval_ms), || Some(timeout));
            self.stats.cpu_us.add(meter.elapsed_us());
        }
    }

    /// Sends what is queued until `timeout` has passed, and metadata that is news; tells whether all samples went out.
    pub fn flush(&mut self, timeout: Duration) -> bool {
        let started = Instant::now();
        let push_timeout = self.config.timeout;
        let left = || Some(timeout.saturating_sub(started.elapsed())).filter(|left| !left.is_zero());
        while let Some(pause) = self.drain(|| left().map(|left| left.min(push_timeout))) {
            let Some(left) = left() else { break };
            std::thread::sleep(pause.min(left));
        }
        let now_ms = self.clock.now().0;
        self.send_metadata(|book, _| book.news(now_ms), || left().map(|left| left.min(push_timeout)));
        self.queue.lock().state().samples_waiting == 0
    }

    /// Sends batch after batch, each within the time that `left` gives it; returns the pause to make when one failed,
    /// nothing when the queue is empty or no time is left.
    fn drain(&mut self, left: impl Fn() -> Option<Duration>) -> Option<Duration> {
        while let Some(timeout) = left() {
            // The cap is on bytes before compression, and pieces are never longer compressed.
            let bytes_max = self.config.body_bytes_max as u64;
            let mut batch = self.queue.lock().peek(self.samples_max, bytes_max, self.clock.now().0)?;
            match self.attempt(&mut batch, timeout) {
                Attempt::Done => {
                    if let Err(error) = self.queue.lock().acknowledge(&batch) {
                        tracing::warn!(%error, "position not stored; a restart sends some samples again");
                    }
                }
                Attempt::Again => {}
                Attempt::After(pause) => return Some(pause),
            }
        }
        None
    }

    /// Sends `batch`, or as much of its beginning as one request may hold, which is what stays in it.
    fn attempt(&mut self, batch: &mut Batch, timeout: Duration) -> Attempt {
        let (mut all, mut bytes, mut taken, mut unreadable) = (Vec::new(), 0, 0, 0);
        for record in batch.records() {
            match self.read(record) {
                Some((_, length, _)) if !all.is_empty() && bytes + length > self.config.body_bytes_max => break,
                Some((series, length, lost)) => {
                    bytes += length;
                    unreadable += lost;
                    all.push(series);
                }
                None => unreadable += u64::from(record.samples),
            }
            taken += 1;
        }
        batch.keep_first(taken);
        if all.iter().all(|series| series.series_len() == 0) {
            self.stats.samples_rejected.add(batch.samples());
            return Attempt::Done;
        }
        let (body, sent) = self.body(&all, unreadable);
        match self.post(&compress(&body), sent.version, timeout) {
            Ok(reply) => self.judge(&reply, &sent, batch),
            Err(error) => self.retry(&error, None),
        }
    }

    /// The series of `record`, how long they are before compression, and how many of its samples are not among them.
    fn read(&mut self, record: &Record) -> Option<(WriteBatch, usize, u64)> {
        let bytes = decompress(&record.payload, PIECE_BYTES_MAX)?;
        match self.decoder.decode(&bytes) {
            Ok((series, lost)) => Some((series, bytes.len(), lost)),
            Err(error) => {
                tracing::error!(sequence = record.sequence, %error, "queued record is none; its samples are lost");
                None
            }
        }
    }

    /// The body of the next request, in the version that the receiver is spoken to in.
    fn body(&mut self, all: &[WriteBatch], unreadable: u64) -> (Vec<u8>, Sent) {
        let version = self.negotiation.version(Instant::now());
        let (body, described) = match version {
            Version::V1 => (body_v1(all, self.negotiation.sends_native(), &mut self.classic), Vec::new()),
            Version::V2 => {
                let book = self.metadata.lock();
                let body = body_v2(all, &book, self.clock.now().0, self.config.metadata_interval_ms);
                (body.bytes, body.described)
            }
        };
        self.stats.push_version.set(if version == Version::V1 { 1 } else { 2 });
        (body, Sent { version, unreadable, described })
    }

    fn judge(&mut self, reply: &Reply, sent: &Sent, batch: &Batch) -> Attempt {
        match self.negotiation.learn(sent.version, reply.status, reply.written, &reply.message, Instant::now()) {
            Learned::Nothing => {}
            Learned::AskOtherwise => {
                tracing::info!(status = reply.status, "receiver does not know all of remote write 2.0; asked in 1.0");
                self.metadata.lock().forget_told();
                return Attempt::Again;
            }
            Learned::NotSpoken => {
                return self.retry(&format!("status {}: push.protocol is not spoken there", reply.status), None);
            }
        }
        let verdict = judge(reply.status);
        if verdict == Verdict::Split && batch.records().len() > 1 {
            self.samples_max = (batch.samples() / 2).max(1);
            return Attempt::Again;
        }
        // A receiver of 2.0 tells what it wrote, of requests that it refuses in part too.
        let written = match (sent.version, reply.written, verdict) {
            (_, Some(written), _) => written.samples + written.histograms,
            (Version::V1, None, Verdict::Delivered) => batch.samples().saturating_sub(sent.unreadable),
            _ => 0,
        };
        let written = written.min(batch.samples());
        match verdict {
            Verdict::Delivered => {
                self.count(written, batch);
                self.metadata.lock().told(&sent.described, self.clock.now().0);
                // After a 413, slowly back to full size: the receiver's limit may have been raised.
                let full = self.config.samples_max as u64;
                self.samples_max = (self.samples_max + full / 50 + 1).min(full);
                self.recovered();
                Attempt::Done
            }
            Verdict::Retry => self.retry(&format!("status {}: {}", reply.status, reply.message), reply.retry_after_s),
            Verdict::Split | Verdict::Drop => {
                self.count(written, batch);
                self.tell_refused(reply, batch.samples() - written);
                self.recovered();
                Attempt::Done
            }
        }
    }

    /// Counts a batch that is done with, of which `written` samples arrived.
    fn count(&self, written: u64, batch: &Batch) {
        self.stats.samples_sent.add(written);
        self.stats.samples_rejected.add(batch.samples() - written);
    }

    /// Logs that a request was refused, once in [`TOLD_EVERY`] for each status.
    fn tell_refused(&mut self, reply: &Reply, samples: u64) {
        let (told, waiting) = self.told.entry(reply.status).or_default();
        *waiting += samples;
        if told.is_some_and(|told| told.elapsed() < TOLD_EVERY) {
            return;
        }
        *told = Some(Instant::now());
        let (samples, status, message) = (std::mem::take(waiting), reply.status, &reply.message);
        tracing::error!(status, message, samples, "receiver refused samples for good, all or some; those are dropped");
    }

    fn retry(&mut self, why: &str, asked_s: Option<u64>) -> Attempt {
        self.stats.retries.add(1);
        if !self.failing {
            tracing::warn!(url = masked(&self.config.url), why, "push failed; samples wait in the queue");
        }
        self.failing = true;
        Attempt::After(Duration::from_millis(self.backoff.next_ms(fastrand::f64(), asked_s)))
    }

    fn recovered(&mut self) {
        if self.failing {
            tracing::info!(url = masked(&self.config.url), "receiver answers again");
        }
        self.failing = false;
        self.backoff.reset();
    }

    /// Sends what `choose` takes of the metadata to a receiver of 1.0 that is well, each request within the time that `left` gives
    /// it. A failure is no matter: it is sent again.
    fn send_metadata(
        &mut self,
        choose: impl FnOnce(&mut MetadataBook, i64) -> Vec<WriteRequest>,
        left: impl Fn() -> Option<Duration>,
    ) {
        if self.failing || self.negotiation.version(Instant::now()) != Version::V1 {
            return;
        }
        let requests = choose(&mut self.metadata.lock(), self.config.metadata_interval_ms);
        for request in requests {
            let Some(timeout) = left() else { return };
            if let Err(error) = self.post(&compress(&request.encode_to_vec()), Version::V1, timeout) {
                tracing::debug!(error, "metadata not sent");
                return;
            }
        }
    }

    fn post(&self, body: &[u8], version: Version, timeout: Duration) -> Result<Reply, String> {
        self.stats.requests.add(1);
        self.stats.request_bytes.add(body.len() as u64);
        let headers = self.headers(version)?;
        self.client.post(&self.config.url, &headers, body, timeout).map_err(|error| error.to_string())
    }

    fn headers(&self, version: Version) -> Result<Vec<(String, String)>, String> {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let (content_type, number) = match version {
            Version::V1 => ("application/x-protobuf".to_owned(), "0.1.0"),
            Version::V2 => (format!("application/x-protobuf;proto={PROTO}"), "2.0.0"),
        };
        let mut headers = vec![
            pair("Content-Type", &content_type),
            pair("Content-Encoding", "snappy"),
            pair("X-Prometheus-Remote-Write-Version", number),
        ];
        headers.extend(credentials(&self.config)?);
        Ok(headers)
    }
}
