//! What is known of metrics: read from requests of version 1.0, and put into batches under limits.

#![warn(clippy::indexing_slicing)]

use model::remote_write::kind_from_number;
use model::{MetricMetadata, WriteBatch};

use crate::limits::IngestLimits;
use crate::rejected::{Reason, Rejected};
use crate::wire::{Coding, Reader, WireError};

/// Puts metadata into `batch`, or says why not.
pub(crate) fn push_metadata(
    metric: impl Into<String> + AsRef<str>,
    metadata: MetricMetadata,
    limits: &IngestLimits,
    batch: &mut WriteBatch,
    rejected: &mut Rejected,
) {
    let found_bytes = metric.as_ref().len() + metadata.unit.len() + metadata.help.len();
    if metadata_fits(metric.as_ref(), found_bytes, limits, batch, rejected) {
        batch.push_metadata(metric, metadata);
    }
}

/// Whether what is known of a metric, of `found_bytes` with its name, has room in `batch`; says so if it has not.
pub(super) fn metadata_fits(
    name: &str,
    found_bytes: usize,
    limits: &IngestLimits,
    batch: &WriteBatch,
    rejected: &mut Rejected,
) -> bool {
    let start = || name.chars().take(64).collect::<String>();
    if name.is_empty() {
        rejected.add(Reason::BadMetadata, 1, || "metadata without a metric name".to_owned());
    } else if batch.metadata().len() >= limits.metadata_per_request_max {
        let limit = limits.metadata_per_request_max;
        rejected.add(Reason::BadMetadata, 1, || {
            format!("{}: metadata beyond metadata_per_request_max of {limit}", start())
        });
    } else if found_bytes > limits.metadata_bytes_max {
        let limit = limits.metadata_bytes_max;
        rejected.add(Reason::BadMetadata, 1, || {
            format!("metadata of {} has {found_bytes} bytes, the limit metadata_bytes_max is {limit}", start())
        });
    } else {
        return true;
    }
    false
}

/// Reads the metadata of one metric.
pub(super) fn read_metadata(mut reader: Reader<'_>) -> Result<(&str, MetricMetadata), WireError> {
    let mut kind = 0;
    let (mut metric, mut help, mut unit) = ("", "", "");
    while let Some(field) = reader.next_field("MetricMetadata")? {
        match field.number {
            1 => {
                field.expect(Coding::Varint, "MetricMetadata.type")?;
                kind = reader.varint32("MetricMetadata.type")?.cast_signed();
            }
            2 => {
                field.expect(Coding::Bytes, "MetricMetadata.metric_family_name")?;
                metric = reader.text("MetricMetadata.metric_family_name")?;
            }
            4 => {
                field.expect(Coding::Bytes, "MetricMetadata.help")?;
                help = reader.text("MetricMetadata.help")?;
            }
            5 => {
                field.expect(Coding::Bytes, "MetricMetadata.unit")?;
                unit = reader.text("MetricMetadata.unit")?;
            }
            _ => reader.skip(field.coding, "MetricMetadata, unknown field")?,
        }
    }
    let kind = kind_from_number(kind);
    Ok((metric, MetricMetadata { kind, unit: unit.to_owned(), help: help.to_owned() }))
}
