//! An export as OpenMetrics 1.0 text: families one after the other, in each the points of one set of labels after those
//! of another, points in order of time, and `# EOF` at the end.
//!
//! What the format cannot say is left out and counted: native histograms, stale markers, starts of counters. All NaNs
//! are one. Names beyond the classic grammar are quoted, which only newer readers know.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write as _;

use model::exposition::ShownSeries;
use model::json::write_number;
use model::labels::{Quoted, is_metric_name};
use model::sample::is_stale_marker;
use model::{Labels, LabelsBuilder, METRIC_NAME, MetricKind, MetricMetadata, Samples};
use serde_json::json;

use super::families::{Family, families};
use super::walk::{Found, Opened, Walk};
use crate::json::write_timestamp;
use crate::reply::ApiError;
use crate::stream::Pieces;

/// What the text lacks of what it was to hold.
#[derive(Debug, Default)]
struct LeftOut {
    histograms: usize,
    stale_markers: usize,
    starts: usize,
}

/// The text under construction.
struct Text<'a> {
    walk: &'a mut Walk,
    pieces: &'a mut Pieces,
    left_out: LeftOut,
    samples: Samples,
}

/// A series of a family, and its place among those of one point.
#[derive(Debug)]
struct Member {
    /// Buckets and quantiles by their bounds, then the others.
    order: (usize, f64),
    series: Opened,
    /// What stands before a value.
    front: Vec<u8>,
    has_samples: bool,
}

/// Writes the export to `pieces`, and behind it a line that tells of it if a `report` is wanted.
pub(super) fn write(
    walk: &mut Walk,
    names: &BTreeSet<String>,
    report: bool,
    pieces: &mut Pieces,
) -> Result<(), ApiError> {
    let metadata = walk.metadata()?;
    let mut text = Text { walk, pieces, left_out: LeftOut::default(), samples: Samples::default() };
    for family in families(names, &metadata) {
        // Such a metric mostly is the native form of the same histogram, of which nothing is written.
        if family.shares_name && text.family(&Family::alone(&family.name, &metadata))? {
            for member in &family.members {
                text.family(&Family::alone(member, &metadata))?;
            }
        } else {
            text.family(&family)?;
        }
    }
    text.end(report);
    Ok(())
}

impl Text<'_> {
    /// Writes a family. Says whether there was anything to write.
    fn family(&mut self, family: &Family) -> Result<bool, ApiError> {
        let mut header = Some(header(family));
        let mut groups: BTreeMap<Labels, Vec<(usize, Found)>> = BTreeMap::new();
        let is_grouped = family.members.len() > 1 || family.point_label().is_some();
        for (at, metric) in family.members.iter().enumerate() {
            for found in self.walk.series_of(metric)? {
                if is_grouped {
                    groups.entry(group_of(found.labels(), family)).or_default().push((at, found));
                } else {
                    self.group(family, vec![(at, found)], &mut header)?;
                }
            }
        }
        while let Some((_, group)) = groups.pop_first() {
            self.group(family, group, &mut header)?;
        }
        Ok(header.is_none())
    }

    /// Writes the points of series that share their labels, but for that which tells apart the series of one point.
    fn group(
        &mut self,
        family: &Family,
        group: Vec<(usize, Found)>,
        header: &mut Option<Vec<u8>>,
    ) -> Result<(), ApiError> {
        let mut members = Vec::with_capacity(group.len());
        for (at, found) in group {
            let order = (at, bound(found.labels(), family));
            let Some(series) = self.walk.open(&found)? else { continue };
            members.push(Member { order, front: front(series.labels()), series, has_samples: false });
        }
        members.sort_by(|one, other| one.order.0.cmp(&other.order.0).then(one.order.1.total_cmp(&other.order.1)));
        let mut points: Vec<(i64, usize, f64)> = Vec::new();
        for window in self.walk.windows(members.iter().map(|member| &member.series))? {
            points.clear();
            for (place, member) in members.iter().enumerate() {
                self.walk.read(&member.series, window, &mut self.samples)?;
                self.left_out.take(&self.samples);
                let floats = self.samples.iter().filter(|sample| !is_stale_marker(sample.value));
                points.extend(floats.map(|sample| (sample.timestamp.0, place, sample.value)));
            }
            points.sort_unstable_by_key(|&(timestamp_ms, place, _)| (timestamp_ms, place));
            for &(timestamp_ms, place, value) in &points {
                if let Some(header) = header.take() {
                    self.pieces.ready.extend_from_slice(&header);
                }
                let Some(member) = members.get_mut(place) else { continue };
                member.has_samples = true;
                let out = &mut self.pieces.ready;
                out.extend_from_slice(&member.front);
                write_number(out, value);
                out.push(b' ');
                write_timestamp(out, timestamp_ms);
                out.push(b'\n');
                self.pieces.go_on()?;
            }
            self.walk.count_samples(points.len(), 0);
        }
        members.iter().filter(|member| member.has_samples).for_each(|_| self.walk.count_series());
        Ok(())
    }

    fn end(self, report: bool) {
        let out = &mut self.pieces.ready;
        out.extend_from_slice(b"# EOF\n");
        if !report {
            return;
        }
        let counts = self.walk.counts();
        let LeftOut { histograms, stale_markers, starts } = self.left_out;
        let told = json!({
            "series": counts.series,
            "samples": counts.samples,
            "leftOut": { "histograms": histograms, "staleMarkers": stale_markers, "starts": starts },
            "chunksLost": counts.chunks_lost,
        });
        let written = writeln!(out, "{told}");
        debug_assert!(written.is_ok(), "a Vec takes every write");
    }
}

impl LeftOut {
    fn take(&mut self, samples: &Samples) {
        self.histograms += samples.histograms.len();
        self.stale_markers += samples.values.iter().filter(|&&value| is_stale_marker(value)).count();
        self.starts += samples.starts_ms.iter().filter(|&&start_ms| start_ms != 0).count();
    }
}

/// The lines about a family.
fn header(family: &Family) -> Vec<u8> {
    let name = if is_metric_name(&family.name) { family.name.clone() } else { Quoted(&family.name).to_string() };
    let MetricMetadata { kind, unit, help } = &family.metadata;
    let mut text = format!("# TYPE {name} {kind}\n");
    // The format has a unit only as the end of the name, and none of infos and sets of states.
    let ends_with_unit =
        family.name.strip_suffix(unit.as_str()).is_some_and(|start| start.len() > 1 && start.ends_with('_'));
    let has_unit = !unit.is_empty() && ends_with_unit && !matches!(kind, MetricKind::Info | MetricKind::StateSet);
    let unit = if has_unit { format!("# UNIT {name} {unit}\n") } else { String::new() };
    text.push_str(&unit);
    if !help.is_empty() {
        let escaped = help.replace('\\', "\\\\").replace('\n', "\\n").replace('"', "\\\"");
        let written = writeln!(text, "# HELP {name} {escaped}");
        debug_assert!(written.is_ok(), "a string takes every write");
    }
    text.into_bytes()
}

/// What stands before the values of a series: name, labels, a space.
fn front(labels: &Labels) -> Vec<u8> {
    format!("{} ", ShownSeries(labels.as_ref())).into_bytes()
}

/// The labels that the series of one point share.
fn group_of(labels: &Labels, family: &Family) -> Labels {
    let mut shared = LabelsBuilder::from_labels(labels.as_ref());
    shared.remove(METRIC_NAME);
    if let Some(label) = family.point_label() {
        shared.remove(label);
    }
    // What was a set is one without a pair too.
    shared.build().unwrap_or_default()
}

/// The bound of a bucket, or the quantile; those without come last.
fn bound(labels: &Labels, family: &Family) -> f64 {
    let text = family.point_label().and_then(|label| labels.get(label));
    text.and_then(|text| text.parse().ok()).unwrap_or(f64::INFINITY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_header(name: &str, kind: MetricKind, unit: &str, help: &str, want: &str) {
        let metadata = MetricMetadata { kind, unit: unit.into(), help: help.into() };
        let family = Family { name: name.into(), metadata, members: Vec::new(), shares_name: false };
        assert_eq!(String::from_utf8(header(&family)).unwrap(), want);
    }

    #[test]
    fn headers() {
        check_header("a", MetricKind::Gauge, "", "", "# TYPE a gauge\n");
        let want = "# TYPE a_seconds counter\n# UNIT a_seconds seconds\n# HELP a_seconds \\\"x\\\" \\\\ y\\n\n";
        check_header("a_seconds", MetricKind::Counter, "seconds", "\"x\" \\ y\n", want);
        check_header("a", MetricKind::Gauge, "seconds", "", "# TYPE a gauge\n");
        check_header("seconds", MetricKind::Gauge, "seconds", "", "# TYPE seconds gauge\n");
        check_header("a_b", MetricKind::Info, "b", "", "# TYPE a_b info\n");
        check_header("a.b", MetricKind::Unknown, "", "", "# TYPE \"a.b\" unknown\n");
    }
}
