//! An export as a Parquet file, for `DuckDB`, pandas and their like: one row a sample.
//!
//! ```text
//! timestamp_ms  INT64, TIMESTAMP(MILLIS, UTC)
//! value         DOUBLE; the stale marker and other NaNs with their bits
//! __name__      STRING
//! labels        STRING: the other labels as an object of JSON
//! ```
//!
//! Labels are one column of JSON and no MAP: rows come series by series, so that a dictionary and runs make next to nothing of a
//! column that repeats, readers find a label by `labels->>'job'`, and pandas gets a category, where a MAP would be a list of pairs
//! for every row. Native histograms and starts of counters have no place in it; they are counted.
//!
//! Memory is that of one row group, whose rows and labels are bounded.

use std::io::Write;
use std::sync::Arc;

use anyhow::Context as _;
use model::json::write_string;
use model::json_lines::LineReader;
use model::{Labels, LabelsBuilder, METRIC_NAME, Samples};
use parquet::basic::{Compression, Encoding};
use parquet::data_type::{ByteArray, ByteArrayType, DataType, DoubleType, Int64Type};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::ColumnPath;

use super::{CANNOT_WRITE, LeftOut};
use crate::commands::parquet_rows::{Rows, TIMESTAMP_MS};

const SCHEMA: &str = "message samples {
    required int64 timestamp_ms (TIMESTAMP(MILLIS,true));
    required double value;
    required binary __name__ (STRING);
    required binary labels (STRING);
}";
/// Rows of a row group: some ten megabytes in memory, and enough for the columns to compress.
const GROUP_ROWS_MAX: usize = 128 << 10;
/// Bytes of labels, each series' once, at which a row group ends early.
const GROUP_LABEL_BYTES_MAX: usize = 16 << 20;

/// The file under construction.
pub(super) struct ParquetFile<W: Write + Send> {
    writer: SerializedFileWriter<W>,
    reader: LineReader,
    labels: LabelsBuilder,
    samples: Samples,
    /// The next row group, and what its labels take.
    rows: Rows,
    label_bytes: usize,
    left_out: LeftOut,
}

impl<W: Write + Send> ParquetFile<W> {
    /// Begins a file in `out`.
    pub(super) fn begin(out: W) -> anyhow::Result<Self> {
        let times = ColumnPath::from(TIMESTAMP_MS);
        let properties = WriterProperties::builder()
            .set_created_by(concat!("metrickit ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_compression(Compression::SNAPPY)
            .set_column_dictionary_enabled(times.clone(), false)
            .set_column_encoding(times, Encoding::DELTA_BINARY_PACKED)
            // What is kept of each page would grow with the file.
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .set_offset_index_disabled(true)
            .build();
        let schema = Arc::new(parse_message_type(SCHEMA)?);
        let writer = SerializedFileWriter::new(out, schema, Arc::new(properties)).context(CANNOT_WRITE)?;
        let (labels, samples) = (LabelsBuilder::new(), Samples::default());
        let left_out = LeftOut::default();
        let (reader, rows) = (LineReader::default(), Rows::default());
        Ok(Self { writer, reader, labels, samples, rows, label_bytes: 0, left_out })
    }

    /// Takes in a line of an export as lines of JSON.
    pub(super) fn take(&mut self, line: &[u8]) -> anyhow::Result<()> {
        let not_understood = "a line of the export is not understood";
        let line = std::str::from_utf8(line).context(not_understood)?;
        self.reader.read(line.trim_end(), &mut self.labels, &mut self.samples).context(not_understood)?;
        self.left_out.histograms += self.samples.histograms.len() as u64;
        self.left_out.starts += self.samples.starts_ms.iter().filter(|&&start_ms| start_ms != 0).count() as u64;
        if self.samples.values.is_empty() {
            return Ok(());
        }
        let labels = self.labels.build().context(not_understood)?;
        let name = ByteArray::from(labels.metric_name());
        let others = ByteArray::from(as_json(&labels));
        self.label_bytes += labels.packed().len();
        for at in 0..self.samples.values.len() {
            if self.rows.len() >= GROUP_ROWS_MAX || self.label_bytes >= GROUP_LABEL_BYTES_MAX {
                self.end_group()?;
            }
            self.rows.timestamps_ms.push(self.samples.timestamps_ms[at]);
            self.rows.values.push(self.samples.values[at]);
            self.rows.names.push(name.clone());
            self.rows.labels.push(others.clone());
        }
        Ok(())
    }

    /// Ends the file: what has no place in it, and how long it is.
    pub(super) fn finish(mut self) -> anyhow::Result<(LeftOut, u64)> {
        self.end_group()?;
        self.writer.finish().context(CANNOT_WRITE)?;
        self.writer.inner_mut().flush().context(CANNOT_WRITE)?;
        Ok((self.left_out, self.writer.bytes_written() as u64))
    }

    fn end_group(&mut self) -> anyhow::Result<()> {
        if self.rows.len() == 0 {
            return Ok(());
        }
        let Rows { timestamps_ms, values, names, labels } = &self.rows;
        let mut group = self.writer.next_row_group().context(CANNOT_WRITE)?;
        write_column::<Int64Type, W>(&mut group, timestamps_ms)?;
        write_column::<DoubleType, W>(&mut group, values)?;
        write_column::<ByteArrayType, W>(&mut group, names)?;
        write_column::<ByteArrayType, W>(&mut group, labels)?;
        group.close().context(CANNOT_WRITE)?;
        self.rows.clear();
        self.label_bytes = 0;
        Ok(())
    }
}

fn write_column<T: DataType, W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    values: &[T::T],
) -> anyhow::Result<()> {
    let column = group.next_column().context(CANNOT_WRITE)?;
    let mut column = column.context("the schema has fewer columns than are written")?;
    column.typed::<T>().write_batch(values, None, None).context(CANNOT_WRITE)?;
    column.close().context(CANNOT_WRITE)
}

/// The labels but the name.
fn as_json(labels: &Labels) -> Vec<u8> {
    let mut text = Vec::new();
    let mut separator = b'{';
    for (label, value) in labels.iter().filter(|(label, _)| *label != METRIC_NAME) {
        text.push(separator);
        separator = b',';
        write_string(&mut text, label);
        text.push(b':');
        write_string(&mut text, value);
    }
    if separator == b'{' {
        text.push(b'{');
    }
    text.push(b'}');
    text
}

#[cfg(test)]
mod tests {
    use model::json_lines::write_series;
    use model::{FullSample, Histogram, SampleValue};
    use parquet::file::metadata::RowGroupMetaData;
    use parquet::file::reader::{FileReader as _, SerializedFileReader};
    use parquet::record::RowAccessor as _;

    use super::*;

    /// Time, bits of the value, name and labels of each row, and the rows of each group.
    /// A row: time, bits of the value, name, other labels.
    type Row = (i64, u64, String, String);

    fn read(bytes: &[u8]) -> (Vec<Row>, Vec<i64>) {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(bytes).expect("written");
        let reader = SerializedFileReader::new(file).expect("a Parquet file");
        let groups = reader.metadata().row_groups().iter().map(RowGroupMetaData::num_rows).collect();
        let row = |row: parquet::errors::Result<parquet::record::Row>| {
            let row = row.expect("a row");
            let text = |at: usize| row.get_string(at).expect("a text").clone();
            let at_ms = row.get_timestamp_millis(0).expect("a time");
            (at_ms, row.get_double(1).expect("a value").to_bits(), text(2), text(3))
        };
        (reader.get_row_iter(None).expect("rows").map(row).collect(), groups)
    }

    fn line(pairs: &[(&str, &str)], samples: &Samples) -> Vec<u8> {
        let mut line = Vec::new();
        write_series(&mut line, Labels::from_pairs(pairs.iter().copied()).expect("valid").as_ref(), samples, &[]);
        line
    }

    fn write(lines: &[u8]) -> (Vec<u8>, LeftOut) {
        let mut out = Vec::new();
        let mut file = ParquetFile::begin(&mut out).expect("begun");
        lines.split_inclusive(|&byte| byte == b'\n').for_each(|line| file.take(line).expect("taken"));
        let (left_out, bytes) = file.finish().expect("written");
        assert_eq!(bytes, out.len() as u64);
        (out, left_out)
    }

    #[test]
    fn rows_are_read_back_to_the_bit() {
        let values = [-0.0, 0.1, f64::INFINITY, model::sample::stale_marker(), f64::from_bits(0xfff8_dead_beef_0001)];
        let mut samples = Samples::default();
        (0..).zip(values).for_each(|(at, value)| samples.push(1_700_000_000_000 + at, value));
        let mut lines = line(&[("__name__", "a"), ("quoted", "x\"\n"), ("é", "🦀")], &samples);
        let mut full = Samples::default();
        full.push_full(FullSample { timestamp_ms: 1, start_ms: 1, value: SampleValue::Float(7.0) });
        let histogram = SampleValue::Histogram(Arc::new(Histogram::default()));
        full.push_full(FullSample { timestamp_ms: 2, start_ms: 0, value: histogram });
        lines.extend(line(&[("__name__", "b")], &full));
        let (file, left_out) = write(&lines);
        assert_eq!(left_out, LeftOut { histograms: 1, stale_markers: 0, starts: 1 });
        let mut rows = read(&file).0;
        // Infinite values stand on lines of their own.
        rows.sort_by_key(|row| row.0);
        let labels = r#"{"quoted":"x\"\n","é":"🦀"}"#;
        let want = values.iter().zip(1_700_000_000_000..);
        let want = want.map(|(value, at)| (at, value.to_bits(), "a".to_owned(), labels.to_owned()));
        let want: Vec<_> = [(1, 7.0_f64.to_bits(), "b".to_owned(), "{}".to_owned())].into_iter().chain(want).collect();
        assert_eq!(rows, want);
        assert_eq!(read(&write(b"").0).0, []);
    }

    #[test]
    fn row_groups_are_bounded_and_what_repeats_takes_next_to_nothing() {
        let rows = 2 * GROUP_ROWS_MAX + 5;
        let mut lines = Vec::new();
        let mut samples = Samples::default();
        for from in (0..rows).step_by(10_000) {
            samples.clear();
            let times = from..rows.min(from + 10_000);
            times.for_each(|at| samples.push(i64::try_from(at).expect("small") * 15_000, 1.0));
            lines.extend(line(&[("__name__", "a"), ("job", "x")], &samples));
        }
        let (file, _) = write(&lines);
        assert!(file.len() < rows / 20, "{} bytes of {rows} rows", file.len());
        let (got, groups) = read(&file);
        let times: Vec<i64> = got.iter().map(|row| row.0).collect();
        assert_eq!(times, (0..).map(|at| at * 15_000).take(rows).collect::<Vec<i64>>());
        let most = i64::try_from(GROUP_ROWS_MAX).expect("small");
        assert_eq!(groups, [most, most, 5]);

        let label = "x".repeat(1 << 20);
        let mut lines = Vec::new();
        samples.clear();
        samples.push(1, 1.0);
        (0..40)
            .for_each(|at| lines.extend(line(&[("__name__", "a"), ("at", &at.to_string()), ("x", &label)], &samples)));
        let groups = read(&write(&lines).0).1;
        assert!(groups.len() >= 2 && groups.iter().sum::<i64>() == 40, "{groups:?}");
    }
}
