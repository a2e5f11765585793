//! The rows of a Parquet file of samples, column by column: what export writes and import reads.

use parquet::data_type::ByteArray;

/// When, in milliseconds since the Unix epoch.
pub(super) const TIMESTAMP_MS: &str = "timestamp_ms";
/// The sample.
pub(super) const VALUE: &str = "value";
/// The labels but the name, as an object of JSON.
pub(super) const LABELS: &str = "labels";

/// Some rows. All columns are equally long.
#[derive(Default)]
pub(super) struct Rows {
    pub(super) timestamps_ms: Vec<i64>,
    pub(super) values: Vec<f64>,
    pub(super) names: Vec<ByteArray>,
    pub(super) labels: Vec<ByteArray>,
}

impl Rows {
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    pub(super) fn clear(&mut self) {
        let Self { timestamps_ms, values, names, labels } = self;
        timestamps_ms.clear();
        values.clear();
        names.clear();
        labels.clear();
    }
}
