//! Reads Parquet files as `metrickit export` writes them, see `commands::export::parquet`: row group by row group, some thousand
//! rows at a time. Other columns are passed over.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use anyhow::{Context as _, anyhow, bail};
use model::{FullSample, LabelsBuilder, METRIC_NAME, SampleValue};
use parquet::basic::{LogicalType, TimeUnit, Type};
use parquet::column::reader::{ColumnReaderImpl, get_typed_column_reader};
use parquet::data_type::{ByteArrayType, DataType, DoubleType, Int64Type};
use parquet::file::metadata::FileMetaData;
use parquet::file::reader::{FileReader as _, RowGroupReader, SerializedFileReader};

use super::read::Importer;
use crate::commands::parquet_rows::{LABELS, Rows, TIMESTAMP_MS, VALUE};

/// Rows that are read at a time.
const BATCH_ROWS: usize = 8_192;

/// Columns by their places in the file.
struct Columns {
    timestamp_ms: usize,
    value: usize,
    name: usize,
    labels: usize,
}

/// Reads all of the file at `path`. Tells `progress` now and then how many of its bytes are done, and how many samples there were
/// so far.
pub(super) fn read(path: &Path, importer: &mut Importer, progress: &mut dyn FnMut(u64, u64)) -> anyhow::Result<()> {
    let unreadable = || format!("{} cannot be read", path.display());
    let file = File::open(path).with_context(unreadable)?;
    let reader = SerializedFileReader::new(file).with_context(unreadable)?;
    let columns = Columns::of(reader.metadata().file_metadata()).with_context(unreadable)?;
    let (mut row, mut done_bytes) = (0, 0);
    for at in 0..reader.num_row_groups() {
        let group = reader.get_row_group(at).with_context(unreadable)?;
        read_group(&*group, &columns, importer, &path.display().to_string(), &mut row).with_context(unreadable)?;
        done_bytes += u64::try_from(group.metadata().compressed_size()).unwrap_or(0);
        progress(done_bytes, importer.samples());
    }
    Ok(())
}

impl Columns {
    fn of(file: &FileMetaData) -> anyhow::Result<Self> {
        let all = file.schema_descr();
        let place = |name: &str, physical: Type| {
            let place = (0..all.num_columns()).find(|&at| all.column(at).path().string() == name);
            let place = place.ok_or_else(|| anyhow!("it has no column {name}"))?;
            let found = all.column(place);
            if found.physical_type() != physical || found.max_def_level() > 0 {
                bail!("its column {name} is not required, or not {physical}, as exports have it");
            }
            Ok(place)
        };
        let timestamp_ms = place(TIMESTAMP_MS, Type::INT64)?;
        let is_ms = |of: &LogicalType| matches!(of, LogicalType::Timestamp(time) if time.unit == TimeUnit::MILLIS);
        if !all.column(timestamp_ms).logical_type_ref().is_some_and(is_ms) {
            bail!("its column {TIMESTAMP_MS} is not one of milliseconds");
        }
        Ok(Self {
            timestamp_ms,
            value: place(VALUE, Type::DOUBLE)?,
            name: place(METRIC_NAME, Type::BYTE_ARRAY)?,
            labels: place(LABELS, Type::BYTE_ARRAY)?,
        })
    }
}

fn read_group(
    group: &dyn RowGroupReader,
    columns: &Columns,
    importer: &mut Importer,
    file: &str,
    row: &mut usize,
) -> anyhow::Result<()> {
    let mut times = column::<Int64Type>(group, columns.timestamp_ms)?;
    let mut values = column::<DoubleType>(group, columns.value)?;
    let mut names = column::<ByteArrayType>(group, columns.name)?;
    let mut labels = column::<ByteArrayType>(group, columns.labels)?;
    let mut rows = Rows::default();
    loop {
        let counts = [
            next(&mut times, &mut rows.timestamps_ms)?,
            next(&mut values, &mut rows.values)?,
            next(&mut names, &mut rows.names)?,
            next(&mut labels, &mut rows.labels)?,
        ];
        if counts.iter().any(|&count| count != counts[0]) {
            bail!("its columns have different lengths");
        }
        if counts[0] == 0 {
            return Ok(());
        }
        rows.hand_on(importer, file, row)?;
    }
}

fn column<T: DataType>(group: &dyn RowGroupReader, at: usize) -> anyhow::Result<ColumnReaderImpl<T>> {
    Ok(get_typed_column_reader(group.get_column_reader(at)?))
}

/// Replaces `into` by the next values; how many there are.
fn next<T: DataType>(column: &mut ColumnReaderImpl<T>, into: &mut Vec<T::T>) -> anyhow::Result<usize> {
    into.clear();
    Ok(column.read_records(BATCH_ROWS, None, None, into)?.0)
}

impl Rows {
    /// Hands the rows to `importer`, series by series; `row` counts those of the file.
    fn hand_on(&self, importer: &mut Importer, file: &str, row: &mut usize) -> anyhow::Result<()> {
        let mut labels = LabelsBuilder::new();
        let mut start = 0;
        while start < self.values.len() {
            let same = |&at: &usize| self.names[at] == self.names[start] && self.labels[at] == self.labels[start];
            let end = start + (start..self.values.len()).take_while(same).count();
            let taken = match read_labels(self.names[start].data(), self.labels[start].data(), &mut labels) {
                Ok(()) => importer.take(&mut labels, (start..end).map(|at| self.sample(at)))?,
                Err(problem) => Err(problem),
            };
            if let Err(problem) = taken {
                (start..end).try_for_each(|at| importer.bad_line(file, *row + at + 1, &problem))?;
            }
            start = end;
        }
        *row += self.values.len();
        Ok(())
    }

    fn sample(&self, at: usize) -> FullSample {
        let value = SampleValue::Float(self.values[at]);
        FullSample { timestamp_ms: self.timestamps_ms[at], start_ms: 0, value }
    }
}

fn read_labels(name: &[u8], others: &[u8], labels: &mut LabelsBuilder) -> Result<(), String> {
    labels.clear();
    let name = std::str::from_utf8(name).map_err(|_| "the name is not UTF-8".to_owned())?;
    let others: BTreeMap<String, String> =
        serde_json::from_slice(others).map_err(|error| format!("labels are no object of texts: {error}"))?;
    labels.push(METRIC_NAME, name);
    for (name, value) in &others {
        labels.push(name, value);
    }
    Ok(())
}
