//! Decodes lines of JSON, as exports are made of, into a [`WriteBatch`]. `model::json_lines` has their shape.
//!
//! Lines that are not understood are rejected one by one with their number; the others are taken.

use model::json_lines::LineReader;
use model::{FullSample, LabelsBuilder, SampleValue, Samples, WriteBatch};

use crate::error::IngestError;
use crate::limits::IngestLimits;
use crate::rejected::{Reason, Rejected};
use crate::remote_write::{check, check_sizes, push_metadata};
use crate::text_import::{ImportOptions, push_labels, text_of};

/// Adds the samples and metadata of the lines `body` to `batch`, and what can't be taken to `rejected`. Says how many
/// histograms there are.
///
/// # Errors
///
/// When the body is not UTF-8 or passes a limit on requests; `batch` is then to be thrown away.
pub fn decode_lines(
    body: &[u8],
    options: &ImportOptions,
    limits: &IngestLimits,
    batch: &mut WriteBatch,
    rejected: &mut Rejected,
) -> Result<u64, IngestError> {
    let mut reader = LineReader::new(limits.samples_per_request_max);
    let (mut labels, mut samples) = (LabelsBuilder::new(), Samples::default());
    let (mut histograms, mut histogram_bytes) = (0, 0);
    for (at, line) in text_of(body)?.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let told = match reader.read(line, &mut labels, &mut samples) {
            Ok(told) => told,
            Err(error) => {
                rejected.add(Reason::BadLine, 1, || format!("line {}, {error}", at + 1));
                continue;
            }
        };
        for (metric, metadata) in told.metadata {
            push_metadata(metric, metadata, limits, batch, rejected);
        }
        if samples.is_empty() {
            continue;
        }
        for (name, value) in &options.extra_labels {
            labels.set(name, value);
        }
        if let Err((reason, message)) = push_labels(&mut labels, limits, batch) {
            rejected.add(reason, samples.len() as u64, || format!("line {}: {message}", at + 1));
            continue;
        }
        histograms += samples.histograms.len() as u64;
        histogram_bytes += samples.histograms.iter().map(|sample| sample.histogram.memory_bytes()).sum::<usize>();
        let limit = limits.histogram_bytes_per_request_max;
        check(histogram_bytes, limit, "bytes of histograms", "histogram_bytes_per_request_max")?;
        samples.iter_full().for_each(|sample| push(sample, batch));
        check_sizes(limits, batch)?;
    }
    Ok(histograms)
}

/// Adds a sample of the series started last. A start that lies after its sample is not believed.
fn push(mut sample: FullSample, batch: &mut WriteBatch) {
    if sample.start_ms > sample.timestamp_ms {
        sample.start_ms = 0;
    }
    match sample {
        FullSample { timestamp_ms, start_ms: 0, value: SampleValue::Float(value) } => {
            batch.push_sample(timestamp_ms, value);
        }
        full => batch.push_full_sample(full),
    }
}
