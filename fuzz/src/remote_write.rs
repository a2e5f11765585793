//! Any bytes as a remote-write request: our walk and prost agree on what is one, and on what it says.

use ingest::{IngestLimits, Rejected, RemoteWriteDecoder};
use model::remote_write::WriteRequest;
use model::{Labels, WriteBatch};
use prost::Message;

/// The decompressed body.
pub fn run(data: &[u8]) {
    let mut batch = WriteBatch::new();
    let mut rejected = Rejected::default();
    let walked = RemoteWriteDecoder::default().decode(data, &IngestLimits::default(), &mut batch, &mut rejected);
    let Ok(message) = WriteRequest::decode(data) else { return };
    if walked.is_err() {
        // The walk is stricter in places (limits, known fields with foreign wire types of unknown messages).
        return;
    }
    let samples: usize = batch.samples_len();
    let declared: usize = message.timeseries.iter().map(|series| series.samples.len()).sum();
    assert!(samples <= declared, "{samples} samples walked, {declared} declared");
    if !rejected.is_empty() {
        return;
    }
    let mut walked = batch.iter();
    for series in message.timeseries.iter().filter(|series| !series.samples.is_empty()) {
        let labels = Labels::from_pairs(series.labels.iter().map(|label| (&label.name, &label.value)));
        let (found, samples) = walked.next().expect("every series is walked");
        assert_eq!(labels.as_ref().map(Labels::as_ref), Ok(found));
        let same = samples.iter().map(|s| (s.timestamp.0, s.value.to_bits()));
        assert!(same.eq(series.samples.iter().map(|s| (s.timestamp, s.value.to_bits()))), "{series:?}");
    }
}
