//! Sends batches to a server by remote write: in order, again after a pause while the server is busy, in halves where it
//! finds a request too large, and counted by what it says of them.
//!
//! Version 2.0 is spoken to servers that answer as it asks, with how much they took; to others 1.0.

use std::borrow::Cow;
use std::io::Read;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use agent::send::backoff::{Backoff, Verdict, judge};
use agent::send::encode::compress;
use anyhow::{Context, bail};
use model::remote_write::v2;
use model::{BatchSeries, MetricMetadata, WriteBatch};
use ureq::http::{HeaderMap, Response};

use super::encode::{Version, encode, encode_metadata};

/// Batches that wait to be sent.
const BATCHES_WAITING_MAX: usize = 2;
/// How long one request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_mins(2);
/// How long a server may be busy or away before the import gives up.
const PATIENCE: Duration = Duration::from_mins(10);
/// The shortest and the longest pause before a request is sent again, in milliseconds.
const PAUSES_MS: (u64, u64) = (100, 10_000);
/// Most reasons for refusals that are told.
const REASONS_MAX: usize = 10;
/// Longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: u64 = 16 << 10;

/// What became of what was sent.
#[derive(Debug, Default, Clone)]
pub(super) struct Sent {
    /// Samples that the server took.
    pub(super) taken: u64,
    /// Samples that it will never take.
    pub(super) refused: u64,
    /// The first reasons.
    pub(super) reasons: Vec<String>,
    /// Starts of counters that the server has no ears for.
    pub(super) starts_dropped: u64,
    /// Times that the server was waited for.
    pub(super) pauses: u64,
}

/// A thread that sends. Batches go in, and at the end comes out what became of them.
#[derive(Debug)]
pub(super) struct Sending {
    batches: SyncSender<WriteBatch>,
    thread: JoinHandle<(Sent, anyhow::Result<()>)>,
}

impl Sending {
    /// Starts sending to the server at `url`.
    pub(super) fn start(url: &str) -> anyhow::Result<Self> {
        let (batches, receiver) = sync_channel(BATCHES_WAITING_MAX);
        let sender = Sender::new(format!("{url}/api/v1/write"));
        let thread = std::thread::Builder::new().name("sending".to_owned()).spawn(move || sender.run(&receiver))?;
        Ok(Self { batches, thread })
    }

    /// Queues a batch, waiting for room. Whether there is anyone to send it; if not, [`finish`](Self::finish) tells why.
    pub(super) fn push(&self, batch: WriteBatch) -> bool {
        self.batches.send(batch).is_ok()
    }

    /// Waits until everything is sent, or cannot be: what became of it, and why there is no more.
    pub(super) fn finish(self) -> (Sent, anyhow::Result<()>) {
        let Self { batches, thread } = self;
        drop(batches);
        thread.join().unwrap_or_else(|_| (Sent::default(), Err(anyhow::anyhow!("the sending thread panicked"))))
    }
}

#[derive(Debug)]
struct Sender {
    url: String,
    http: ureq::Agent,
    version: Version,
    /// Whether the server has answered as version 2.0 asks.
    speaks_v2: bool,
    /// Whether it has answered at all.
    is_there: bool,
    sent: Sent,
}

/// A request that the server finds too large: its length as it was sent, and what the server said.
#[derive(Debug)]
struct TooLarge {
    bytes: usize,
    message: String,
}

/// A server's answer.
#[derive(Debug)]
struct Reply {
    status: u16,
    /// Samples written, where the server tells.
    written: Option<u64>,
    retry_after_s: Option<u64>,
    message: String,
}

impl Sender {
    fn new(url: String) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(REQUEST_TIMEOUT))
            .user_agent(concat!("metrickit/", env!("CARGO_PKG_VERSION")));
        let http = config.build().new_agent();
        Self { url, http, version: Version::V2, speaks_v2: false, is_there: false, sent: Sent::default() }
    }

    fn run(mut self, batches: &Receiver<WriteBatch>) -> (Sent, anyhow::Result<()>) {
        let sent = batches.iter().try_for_each(|batch| {
            self.send(&batch)?;
            self.send_metadata(batch.metadata())
        });
        (self.sent, sent)
    }

    /// Sends a batch, in as many parts as the server asks for.
    fn send(&mut self, batch: &WriteBatch) -> anyhow::Result<()> {
        let mut parts = vec![Cow::Borrowed(batch)];
        while let Some(part) = parts.pop() {
            if part.samples_len() == 0 {
                continue;
            }
            let Some(TooLarge { bytes, message }) = self.send_part(&part)? else { continue };
            if part.samples_len() == 1 {
                let series = (0..part.series_len()).filter_map(|at| part.series(at).labels());
                let series = series.map(|labels| labels.to_string()).collect::<String>();
                bail!(
                    "{} finds a request with a single sample too large: {bytes} bytes for {series}: {message}",
                    self.url
                );
            }
            let [first, rest] = halves(&part);
            parts.extend([Cow::Owned(rest), Cow::Owned(first)]);
        }
        Ok(())
    }

    fn send_part(&mut self, batch: &WriteBatch) -> anyhow::Result<Option<TooLarge>> {
        loop {
            let body = compress(&encode(batch, self.version));
            let reply = self.deliver(&body, self.version)?;
            // Whoever says so may be a proxy, which knows nothing of versions.
            if judge(reply.status) == Verdict::Split {
                return Ok(Some(TooLarge { bytes: body.len(), message: reply.message }));
            }
            // A server that does not know version 2.0 finds nothing in such a request, and may well say that this is fine.
            if self.version == Version::V2 && reply.written.is_none() && !self.speaks_v2 && reply.status < 500 {
                self.version = Version::V1;
                continue;
            }
            self.speaks_v2 |= reply.written.is_some();
            return self.take(batch, &reply).map(|()| None);
        }
    }

    /// Counts what became of a batch.
    fn take(&mut self, batch: &WriteBatch, reply: &Reply) -> anyhow::Result<()> {
        let samples = batch.samples_len() as u64;
        let verdict = judge(reply.status);
        let taken = match (verdict, reply.written) {
            (Verdict::Delivered, written) => written.unwrap_or(samples),
            (Verdict::Drop, written) => written.unwrap_or(0),
            _ => bail!("{} answered with status {}: {}", self.url, reply.status, reply.message),
        };
        self.sent.taken += taken.min(samples);
        self.sent.refused += samples.saturating_sub(taken);
        if verdict == Verdict::Drop {
            let reasons = reply.message.lines().filter(|line| !is_headline(line) && !line.is_empty());
            let room = REASONS_MAX.saturating_sub(self.sent.reasons.len());
            self.sent.reasons.extend(reasons.take(room).map(str::to_owned));
        }
        if self.version == Version::V1 {
            let full = (0..batch.series_len()).flat_map(|at| batch.full_samples(at));
            self.sent.starts_dropped += full.filter(|sample| sample.start_ms != 0).count() as u64;
        }
        Ok(())
    }

    /// Sends what is known of metrics. That a server has no use for it is no failure.
    fn send_metadata(&mut self, described: &[(String, MetricMetadata)]) -> anyhow::Result<()> {
        let mut parts = vec![described];
        while let Some(part) = parts.pop() {
            if part.is_empty() {
                continue;
            }
            let reply = self.deliver(&compress(&encode_metadata(part)), Version::V1)?;
            if judge(reply.status) == Verdict::Split && part.len() > 1 {
                let (first, rest) = part.split_at(part.len() / 2);
                parts.extend([rest, first]);
            }
        }
        Ok(())
    }

    /// Posts `body` until the server has something to say to it.
    fn deliver(&mut self, body: &[u8], version: Version) -> anyhow::Result<Reply> {
        let mut backoff = Backoff::new(PAUSES_MS.0, PAUSES_MS.1);
        let begun = Instant::now();
        loop {
            let answer = self.post(body, version);
            self.is_there |= answer.is_ok();
            let (why, retry_after_s) = match answer {
                Ok(reply) if is_busy(reply.status) => {
                    (anyhow::anyhow!("status {}: {}", reply.status, reply.message), reply.retry_after_s)
                }
                Ok(reply) => return Ok(reply),
                // Nobody is there from the beginning: a wrong address, rather than a restart.
                Err(error) if !self.is_there => return Err(error),
                Err(error) => (error, None),
            };
            if begun.elapsed() > PATIENCE {
                return Err(why).with_context(|| format!("{} takes nothing for too long", self.url));
            }
            self.sent.pauses += 1;
            std::thread::sleep(Duration::from_millis(backoff.next_ms(fastrand::f64(), retry_after_s)));
        }
    }

    fn post(&self, body: &[u8], version: Version) -> anyhow::Result<Reply> {
        let (content_type, number) = match version {
            Version::V1 => ("application/x-protobuf".to_owned(), "0.1.0"),
            Version::V2 => (format!("application/x-protobuf;proto={}", v2::PROTO), "2.0.0"),
        };
        let request = self
            .http
            .post(&self.url)
            .header("Content-Type", content_type)
            .header("Content-Encoding", "snappy")
            .header("X-Prometheus-Remote-Write-Version", number);
        let response = request.send(body).with_context(|| format!("cannot write to {}", self.url))?;
        Ok(Reply::of(response))
    }
}

impl Reply {
    fn of(mut response: Response<ureq::Body>) -> Self {
        let number = |headers: &HeaderMap, name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<u64>().ok();
        let written = |kind: &str| number(response.headers(), &format!("X-Prometheus-Remote-Write-{kind}-Written"));
        let written = written("Samples").map(|samples| samples + written("Histograms").unwrap_or(0));
        let retry_after_s = number(response.headers(), "Retry-After");
        let mut message = Vec::new();
        // The status has said it all already; a message that cannot be read is no failure.
        let _ = response.body_mut().as_reader().take(ANSWER_BYTES_MAX).read_to_end(&mut message);
        let message = String::from_utf8_lossy(&message).trim().to_owned();
        Self { status: response.status().as_u16(), written, retry_after_s, message }
    }
}

/// The first half of a batch's samples and the others, in their order.
fn halves(batch: &WriteBatch) -> [WriteBatch; 2] {
    let mut left = batch.samples_len() / 2;
    let mut halves = [WriteBatch::new(), WriteBatch::new()];
    for at in 0..batch.series_len() {
        // Batches of files are made without a sink, so that nothing has a number.
        let BatchSeries::Labels(labels) = batch.series(at) else { continue };
        let plain = batch.samples(at);
        let plain = plain.split_at(plain.len().min(left));
        left -= plain.0.len();
        let full = batch.full_samples(at);
        let full = full.split_at(full.len().min(left));
        left -= full.0.len();
        for (half, (plain, full)) in halves.iter_mut().zip([(plain.0, full.0), (plain.1, full.1)]) {
            if !plain.is_empty() || !full.is_empty() {
                half.push_series(labels);
            }
            for sample in plain {
                half.push_sample(sample.timestamp.0, sample.value);
            }
            for sample in full {
                half.push_full_sample(sample.clone());
            }
        }
    }
    halves
}

/// Whether the same may be taken later.
fn is_busy(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 502..=504)
}

/// Whether a line of our own server's answer counts, and does not name, what was refused.
fn is_headline(line: &str) -> bool {
    line.contains("will not be when sent again") || line == "and more"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted() {
        let mut batch = WriteBatch::new();
        batch.push_series(model::Labels::empty().as_ref());
        (0..10).for_each(|at| batch.push_sample(at, 1.0));
        let reply = |status, written, message: &str| Reply {
            status,
            written,
            retry_after_s: None,
            message: message.to_owned(),
        };
        let mut sender = Sender::new("http://a".to_owned());
        sender.take(&batch, &reply(204, Some(10), "")).expect("taken");
        let message =
            "7 samples or metadata were not taken and will not be when sent again; 3 …:\na: too old\nand more";
        sender.take(&batch, &reply(400, Some(3), message)).expect("told");
        sender.take(&batch, &reply(400, None, "no")).expect("told");
        sender.take(&batch, &reply(200, None, "")).expect("taken");
        let error = sender.take(&batch, &reply(401, None, "who are you")).expect_err("is the end").to_string();
        assert!(error.contains("status 401: who are you"), "{error}");
        let Sent { taken, refused, reasons, .. } = sender.sent;
        assert_eq!((taken, refused, reasons), (23, 17, vec!["a: too old".to_owned(), "no".to_owned()]));
    }
    #[test]
    fn halves_have_all_samples_in_their_order() {
        let labels = |at: &str| model::Labels::from_pairs([("at", at)]).expect("valid");
        let mut batch = WriteBatch::new();
        for (at, plain, full) in [("0", 0, 0), ("1", 5, 2), ("2", 0, 3), ("3", 1, 0)] {
            batch.push_series(labels(at).as_ref());
            (0..plain).for_each(|at| batch.push_sample(at, 1.0));
            (0..full).for_each(|at| {
                let value = model::SampleValue::Float(2.0);
                batch.push_full_sample(model::FullSample { timestamp_ms: 100 + at, start_ms: 1, value });
            });
        }
        let told = |batch: &WriteBatch| -> Vec<(String, i64)> {
            let of = |at: usize| {
                let labels = batch.series(at).labels().expect("nobody knows numbers");
                let plain = batch.samples(at).iter().map(|sample| sample.timestamp.0);
                let times = plain.chain(batch.full_samples(at).iter().map(|sample| sample.timestamp_ms));
                times.map(move |at_ms| (labels.to_string(), at_ms)).collect::<Vec<_>>()
            };
            (0..batch.series_len()).flat_map(of).collect()
        };
        // Halves of halves, down to single samples.
        let mut parts = vec![batch.clone()];
        while parts.iter().any(|part| part.samples_len() > 1) {
            let split = |part: WriteBatch| {
                if part.samples_len() == 1 {
                    return vec![part];
                }
                let halves = halves(&part);
                assert!(halves.iter().all(|half| (1..part.samples_len()).contains(&half.samples_len())));
                halves.to_vec()
            };
            parts = parts.into_iter().flat_map(split).collect();
            assert_eq!(parts.iter().flat_map(told).collect::<Vec<_>>(), told(&batch));
        }
        assert_eq!(parts.len(), 11);
    }
}
