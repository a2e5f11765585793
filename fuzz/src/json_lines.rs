//! Any text as a line of an export: it is read or refused, and what was read is written and read back the same.

use model::json_lines::{LineReader, write_series};
use model::{HistogramSample, LabelsBuilder, Samples};

/// The line.
pub fn run(data: &[u8]) {
    let Ok(line) = std::str::from_utf8(data) else { return };
    let (mut labels, mut samples) = (LabelsBuilder::new(), Samples::default());
    let mut reader = LineReader::default();
    let Ok(told) = reader.read(line, &mut labels, &mut samples) else { return };
    let Ok(labels) = labels.build() else { return };
    let want = sorted(&samples);
    let mut written = Vec::new();
    write_series(&mut written, labels.as_ref(), &samples, &told.metadata);
    let written = String::from_utf8(written).expect("JSON is UTF-8");
    let (mut floats, mut histograms, mut metadata) = (Vec::new(), Vec::new(), Vec::new());
    for line in written.lines() {
        let mut again = LabelsBuilder::new();
        let told = reader.read(line, &mut again, &mut samples).unwrap_or_else(|error| panic!("{error} in {line}"));
        assert_eq!(again.build().as_ref(), Ok(&labels), "{line}");
        let (more_floats, more_histograms) = sorted(&samples);
        floats.extend(more_floats);
        histograms.extend(more_histograms);
        metadata.extend(told.metadata);
    }
    floats.sort_unstable();
    assert_eq!(((floats, histograms), metadata), (want, told.metadata), "written as {written}");
}

/// Floats as time, start and bits, by time, and histograms as they are.
fn sorted(samples: &Samples) -> (Vec<(i64, i64, u64)>, Vec<HistogramSample>) {
    let bits =
        |(at, sample): (usize, model::Sample)| (sample.timestamp.0, samples.start_ms(at), sample.value.to_bits());
    let mut floats: Vec<_> = samples.iter().enumerate().map(bits).collect();
    floats.sort_unstable();
    (floats, samples.histograms.clone())
}
