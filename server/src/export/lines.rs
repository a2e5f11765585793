//! An export as lines of JSON: `model::json_lines` has the shape and writes a line, here is which lines there are.

use std::collections::{BTreeMap, BTreeSet};

use model::json_lines::{write_begin, write_end, write_series};
use model::{HistogramSample, MetricMetadata, Samples};

use super::families::SUFFIXES;
use super::walk::Walk;
use crate::reply::ApiError;
use crate::stream::Pieces;

/// Memory of the histograms of one line: as text they take up to three times as much, and a line has 64 MiB at most.
const LINE_HISTOGRAM_BYTES: usize = 4 << 20;

/// Writes the export to `pieces`, with its marks.
pub(super) fn write(walk: &mut Walk, names: &BTreeSet<String>, pieces: &mut Pieces) -> Result<(), ApiError> {
    write_begin(&mut pieces.ready);
    let mut untold = walk.metadata()?;
    let mut samples = Samples::default();
    for name in names {
        let mut described = take_described(name, &mut untold);
        for found in walk.series_of(name)? {
            let Some(series) = walk.open(&found)? else { continue };
            let mut has_samples = false;
            for window in walk.windows([&series])? {
                walk.read(&series, window, &mut samples)?;
                if samples.is_empty() {
                    continue;
                }
                has_samples = true;
                walk.count_samples(samples.len(), samples.histograms.len());
                loop {
                    let rest = rest_of(&mut samples);
                    write_series(&mut pieces.ready, series.labels().as_ref(), &samples, &described);
                    described.clear();
                    pieces.go_on()?;
                    if rest.is_empty() {
                        break;
                    }
                    samples = rest;
                }
            }
            if has_samples {
                walk.count_series();
            }
        }
    }
    write_end(&mut pieces.ready, &walk.counts());
    Ok(())
}

/// Takes what is too much for one line away from `samples`: histograms can be so large that some thousands of them are more
/// than any reader takes.
fn rest_of(samples: &mut Samples) -> Samples {
    let mut bytes = 0;
    let mut fits = |sample: &HistogramSample| {
        bytes += sample.histogram.memory_bytes();
        bytes <= LINE_HISTOGRAM_BYTES
    };
    let count = samples.histograms.iter().take_while(|sample| fits(sample)).count().max(1);
    let histograms = samples.histograms.split_off(count.min(samples.histograms.len()));
    Samples { histograms, ..Samples::default() }
}

/// What is known of the metric `name` and of the family it is a part of, which is told once.
fn take_described(name: &str, untold: &mut BTreeMap<String, MetricMetadata>) -> Vec<(String, MetricMetadata)> {
    let families = SUFFIXES.iter().filter_map(|(suffix, _)| name.strip_suffix(suffix));
    families.chain([name]).filter_map(|metric| untold.remove_entry(metric)).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::json_lines::LINE_BYTES_MAX;
    use model::{Bucket, Histogram, Labels};

    use super::*;

    #[test]
    fn large_histograms_come_in_lines_that_readers_take() {
        // Texts of numbers do not come any longer.
        let buckets =
            |from: i32| (from..from + 2_048).map(|index| Bucket { index, count: -1.234_567_890_123_456_7e-300 });
        let histogram = Arc::new(Histogram {
            positive: buckets(i32::MIN).collect(),
            negative: buckets(i32::MIN).collect(),
            ..Histogram::default()
        });
        let of = |timestamp_ms: i64| HistogramSample { timestamp_ms, start_ms: 0, histogram: histogram.clone() };
        let mut samples = Samples { histograms: (0..1_000).map(of).collect(), ..Samples::default() };
        (0..8_192).for_each(|at| samples.push(10_000 + at, -1.234_567_890_123_456_7e-300));
        let (mut floats, mut times, mut longest) = (0, Vec::new(), 0);
        while !samples.is_empty() {
            let rest = rest_of(&mut samples);
            let mut line = Vec::new();
            write_series(&mut line, Labels::empty().as_ref(), &samples, &[]);
            longest = longest.max(line.len());
            floats += samples.values.len();
            times.extend(samples.histograms.iter().map(|sample| sample.timestamp_ms));
            samples = rest;
        }
        assert!(longest < LINE_BYTES_MAX / 4, "{longest} bytes");
        assert_eq!((floats, times), (8_192, (0..1_000).collect()));
    }
}
