//! An export as lines of JSON: `model::json_lines` has the shape and writes a line, here is which lines there are.

use std::collections::{BTreeMap, BTreeSet};

use model::json_lines::{write_begin, write_end, write_series};
use model::{MetricMetadata, Samples};

use super::families::SUFFIXES;
use super::walk::Walk;
use crate::reply::ApiError;
use crate::stream::Pieces;

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
                write_series(&mut pieces.ready, series.labels().as_ref(), &samples, &described);
                described.clear();
                pieces.go_on()?;
            }
            if has_samples {
                walk.count_series();
            }
        }
    }
    write_end(&mut pieces.ready, &walk.counts());
    Ok(())
}

/// What is known of the metric `name` and of the family it is a part of, which is told once.
fn take_described(name: &str, untold: &mut BTreeMap<String, MetricMetadata>) -> Vec<(String, MetricMetadata)> {
    let families = SUFFIXES.iter().filter_map(|(suffix, _)| name.strip_suffix(suffix));
    families.chain([name]).filter_map(|metric| untold.remove_entry(metric)).collect()
}
