//! One request of a program: decompressed, decoded, given the labels it lacks, and queued before it is answered.
//!
//! Requests are worked on one at a time; what waits is bounded by bytes.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use ingest::{IngestError, IngestLimits, Rejected, RemoteWriteDecoder, Version, version_of};
use model::{Clock, METRIC_NAME, NoCursor, SampleValue, WriteBatch};
use parking_lot::Mutex;

use super::connection::Answer;
use super::{Known, SdkProcesses};
use crate::go::SharedProcesses;
use crate::go::census::Way;
use crate::go::ways::{Part, ProcessKey, Ways};
use crate::http::Written;
use crate::queue::{QueueError, Unsynced};
use crate::readings::rows;
use crate::send::Outbox;
use crate::send::encode::decompress;
use crate::stats::Stats;

/// Longest body as it is sent.
pub(super) const BODY_BYTES_MAX: usize = 4 << 20;
/// Longest body before compression.
const PLAIN_BYTES_MAX: usize = 16 << 20;
/// Most samples of one request.
const SAMPLES_MAX: usize = 200_000;
/// Memory of decoded requests above which it is given back.
const KEPT_BYTES_MAX: usize = 1 << 20;
/// The pause that a program is asked for when the queue or the disk is full.
const FULL_RETRY_S: u64 = 10;

/// A process at the other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Peer {
    pub(super) pid: i32,
    /// When it started, in clock ticks since boot.
    pub(super) start_ticks: u64,
}

/// Takes requests and queues what is in them.
#[derive(Debug)]
pub(super) struct Intake {
    outbox: Outbox,
    processes: SharedProcesses,
    sdk: SdkProcesses,
    ways: Ways,
    clock: Arc<dyn Clock>,
    stats: Arc<Stats>,
    limits: IngestLimits,
    bench: Mutex<Bench>,
}

/// Most metrics that one request may describe, and the longest name, unit and help together: of symbols, all of them may be one text.
const METADATA_MAX: usize = 8_000;
const METADATA_BYTES_MAX: usize = 2_048;
/// Who pushes one of these pushes what the runtime says. Other names that begin with `go_` may be of anything.
const RUNTIME_NAMES: [&str; 2] = ["go_goroutines", "go_info"];

/// What a request is worked on in, kept from one to the next.
#[derive(Debug, Default)]
struct Bench {
    decoder: RemoteWriteDecoder,
    batch: WriteBatch,
    rejected: Rejected,
}

impl Intake {
    pub(super) fn new(outbox: Outbox, known: Known, clock: Arc<dyn Clock>, stats: Arc<Stats>) -> Self {
        let Known { processes, sdk, ways, ticks: _ } = known;
        let limits = IngestLimits {
            body_bytes_max: BODY_BYTES_MAX,
            decompressed_bytes_max: PLAIN_BYTES_MAX,
            samples_per_request_max: SAMPLES_MAX,
            series_per_request_max: SAMPLES_MAX,
            exemplars_per_request_max: SAMPLES_MAX,
            histogram_bytes_per_request_max: PLAIN_BYTES_MAX,
            label_bytes_per_request_max: PLAIN_BYTES_MAX,
            symbols_per_request_max: SAMPLES_MAX,
            metadata_per_request_max: METADATA_MAX,
            metadata_bytes_max: METADATA_BYTES_MAX,
            ..IngestLimits::default()
        };
        Self { outbox, processes, sdk, ways, clock, stats, limits: limits.consistent(), bench: Mutex::default() }
    }

    /// The version that a request speaks.
    ///
    /// # Errors
    ///
    /// The answer to a request of another kind.
    pub(super) fn version(content_type: Option<&str>, encoding: Option<&str>) -> Result<Version, Answer> {
        if !encoding.is_none_or(|encoding| encoding.eq_ignore_ascii_case("snappy")) {
            return Err(Answer::of(415, "the body is to be one block of snappy"));
        }
        version_of(content_type).map_err(|error| Answer::of(error.status(), error.to_string()))
    }

    /// Queues the samples of `body`, which `peer` sent, and answers.
    pub(super) fn take(&self, version: Version, body: &[u8], peer: Option<Peer>) -> Answer {
        let (answer, unsynced) = self.work(version, body, peer);
        // A slow device holds up this program alone.
        if let Some(unsynced) = unsynced {
            unsynced.sync_or_warn();
        }
        answer
    }

    /// The answer, and what is to be forced to the device before it is given.
    fn work(&self, version: Version, body: &[u8], peer: Option<Peer>) -> (Answer, Option<Unsynced>) {
        let mut bench = self.bench.lock();
        let Bench { decoder, batch, rejected } = &mut *bench;
        batch.clear();
        rejected.clear();
        let mut unsynced = None;
        let taken = self.queue(version, body, peer, decoder, batch, rejected).map(|(written, due)| {
            unsynced = due;
            written
        });
        let mut answer = match taken {
            Ok(written) if rejected.is_empty() => Answer { status: 204, written: Some(written), ..Answer::default() },
            Ok(written) => Answer { written: Some(written), ..Answer::of(400, rejected.reasons().join("\n")) },
            Err(answer) => Answer { written: Some(Written::default()), ..answer },
        };
        if version == Version::V1 {
            answer.written = None;
        }
        if batch.memory_bytes() > KEPT_BYTES_MAX {
            *bench = Bench::default();
        }
        (answer, unsynced)
    }

    fn queue(
        &self,
        version: Version,
        body: &[u8],
        peer: Option<Peer>,
        decoder: &mut RemoteWriteDecoder,
        batch: &mut WriteBatch,
        rejected: &mut Rejected,
    ) -> Result<(Written, Option<Unsynced>), Answer> {
        let refused = |error: IngestError| Answer::of(error.status(), error.to_string());
        let plain = decompress(body, PLAIN_BYTES_MAX).ok_or_else(|| {
            Answer::of(400, format!("the body is no block of snappy of {PLAIN_BYTES_MAX} bytes at most"))
        })?;
        let result = decoder.decode(version, &plain, &self.limits, &mut NoCursor, batch, rejected);
        decoder.clear();
        result.map_err(refused)?;
        let now_ms = self.clock.now().0;
        let unsynced = self.outbox.accept(batch, &self.target(peer), now_ms).map_err(|error| self.full(&error))?;
        self.note(peer, batch);
        let is_histogram = |at: usize| {
            batch.full_samples(at).iter().filter(|sample| matches!(sample.value, SampleValue::Histogram(_))).count()
        };
        let histograms = (0..batch.series_len()).map(is_histogram).sum::<usize>() as u64;
        let samples = batch.samples_len() as u64;
        self.stats.receive_samples.add(samples);
        let written = Written { samples: samples - histograms, histograms, exemplars: batch.exemplars_len() as u64 };
        Ok((written, unsynced))
    }

    fn full(&self, error: &QueueError) -> Answer {
        match error {
            QueueError::TooLong { .. } => Answer::of(413, error.to_string()),
            QueueError::Full { .. } => Answer::later(FULL_RETRY_S, error.to_string()),
            _ => {
                // One line when trouble begins; the count goes on.
                if self.stats.queue_failed() {
                    tracing::error!(%error, "queue on disk refused; programs are told to come back");
                }
                Answer::later(FULL_RETRY_S, error.to_string())
            }
        }
    }

    /// The labels of the process for series that do not say whose they are.
    fn target(&self, peer: Option<Peer>) -> Vec<(String, String)> {
        let Some(peer) = peer else { return Vec::new() };
        let scan = Arc::clone(&self.processes.lock());
        let is_peer = |life: &crate::go::identity::Life| (life.pid, life.start_ticks) == (peer.pid, peer.start_ticks);
        let found = scan.processes.iter().find(|process| is_peer(&process.life));
        found.map_or_else(Vec::new, |process| {
            vec![("job".to_owned(), process.job.clone()), ("instance".to_owned(), process.instance.clone())]
        })
    }

    /// Takes note of what the process gives, so that it is not read otherwise.
    fn note(&self, peer: Option<Peer>, batch: &WriteBatch) {
        let Some(peer) = peer else { return };
        let mut names = HashSet::new();
        let mut newest_ms = i64::MIN;
        let (mut identity, mut has_one, mut has_ended) = (None, true, true);
        for (labels, values) in rows(batch) {
            names.extend(labels.get(METRIC_NAME));
            newest_ms = newest_ms.max(values.timestamp_ms().unwrap_or(i64::MIN));
            has_ended &= values.is_stale_marker();
            if let Some(told) = labels.get("job").zip(labels.get("instance")) {
                has_one &= *identity.get_or_insert(told) == told;
            }
        }
        if names.is_empty() {
            return;
        }
        let now = Instant::now();
        let noted = self.sdk.note(peer.pid, peer.start_ticks, newest_ms, names.iter().copied(), now);
        // Who tells of several passes on what others say.
        if let Some(identity) = identity.filter(|_| has_one) {
            self.sdk.call(peer.pid, peer.start_ticks, identity, has_ended, now);
        }
        if let Some(noted) = noted {
            let key = ProcessKey { pid: peer.pid, start_ticks: peer.start_ticks };
            let kept_ms = u64::try_from(noted.kept.as_millis()).unwrap_or(u64::MAX);
            let now_ms = self.clock.now().0;
            if RUNTIME_NAMES.iter().any(|name| noted.names.contains(name)) {
                self.ways.works(key, Part::Runtime, Way::Sdk, &noted.names, now_ms, kept_ms);
            } else {
                self.ways.gives(key, Way::Sdk, &noted.names, now_ms, kept_ms);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use model::remote_write::{Label, TimeSeries, WireSample, WriteRequest};
    use model::{ManualClock, TimestampMs};
    use prost::Message as _;

    use super::*;
    use crate::config::Config;
    use crate::queue::Queue;
    use crate::send::encode::{External, compress};
    use crate::send::metadata::SharedMetadata;

    #[test]
    fn what_is_forced_to_the_device_holds_up_no_other_program() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut options = Config::default().queue;
        folder.path().clone_into(&mut options.folder);
        options.sync_interval_ms = 0;
        let queue = Arc::new(Mutex::new(Queue::open(&options).expect("opens")));
        let stats = Arc::new(Stats::default());
        let outbox = Outbox::new(queue, SharedMetadata::default(), External::new(Vec::new()), 100, Arc::clone(&stats));
        let clock = Arc::new(ManualClock::new(TimestampMs(20_000)));
        let intake = Intake::new(outbox, Known::default(), clock, stats);
        let label = Label { name: METRIC_NAME.to_owned(), value: "up".to_owned() };
        let sample = WireSample { value: 1.0, timestamp: 19_000, ..WireSample::default() };
        let series = TimeSeries { labels: vec![label], samples: vec![sample], ..TimeSeries::default() };
        let request = WriteRequest { timeseries: vec![series], ..WriteRequest::default() };
        let body = compress(&request.encode_to_vec());
        let (answer, unsynced) = intake.work(Version::V1, &body, None);
        assert_eq!(answer.status, 204, "{answer:?}");
        unsynced.expect("left to whoever answers").sync().expect("forced");
        assert!(intake.bench.try_lock().is_some());
        assert_eq!(intake.take(Version::V1, &body, None).status, 204);
    }
}
