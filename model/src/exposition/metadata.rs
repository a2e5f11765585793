//! Gathers `HELP`, `TYPE` and `UNIT` lines, which come apart, into one metadata a metric.
//!
//! In OpenMetrics a counter family `x` has series `x_total` and an info family `x` has `x_info`; readers look
//! metadata up by the name that series have, so the table is keyed by that.

use std::collections::BTreeMap;

use super::{Entry, TextFormat};
use crate::metadata::{MetricKind, MetricMetadata};

/// Metadata by metric, as the lines of one page told it. A later line replaces an earlier one.
#[derive(Debug)]
pub struct MetadataTable {
    format: TextFormat,
    metrics_max: usize,
    metrics: BTreeMap<String, MetricMetadata>,
    lines_dropped: u64,
}

impl MetadataTable {
    /// An empty table for at most `metrics_max` metrics of a page in `format`.
    pub fn new(format: TextFormat, metrics_max: usize) -> Self {
        Self { format, metrics_max, metrics: BTreeMap::new(), lines_dropped: 0 }
    }

    /// Takes in what `entry` says of a metric; samples say nothing.
    pub fn take(&mut self, entry: &Entry<'_>) {
        match entry {
            Entry::Help { metric, help } => self.metric(metric, |of| help.as_ref().clone_into(&mut of.help)),
            Entry::Type { metric, kind } => self.metric(metric, |of| of.kind = *kind),
            Entry::Unit { metric, unit } => self.metric(metric, |of| (*unit).clone_into(&mut of.unit)),
            Entry::Sample { .. } => {}
        }
    }

    /// Lines that were left out because the table was full.
    pub fn lines_dropped(&self) -> u64 {
        self.lines_dropped
    }

    /// The metadata by the name that series have, in the order of the names in the page.
    pub fn into_metrics(self) -> impl Iterator<Item = (String, MetricMetadata)> {
        let format = self.format;
        self.metrics.into_iter().map(move |(family, metadata)| (series_name(family, metadata.kind, format), metadata))
    }

    fn metric(&mut self, metric: &str, change: impl FnOnce(&mut MetricMetadata)) {
        if let Some(metadata) = self.metrics.get_mut(metric) {
            change(metadata);
        } else if self.metrics.len() < self.metrics_max {
            change(self.metrics.entry(metric.to_owned()).or_default());
        } else {
            self.lines_dropped += 1;
        }
    }
}

/// The name that the series of `family` have, as far as its kind settles it.
fn series_name(mut family: String, kind: MetricKind, format: TextFormat) -> String {
    let suffix = super::write::family_suffix(kind);
    if format == TextFormat::OpenMetrics && !family.ends_with(suffix) {
        family.push_str(suffix);
    }
    family
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exposition::TextParser;

    fn table(text: &str, format: TextFormat, metrics_max: usize) -> (Vec<(String, MetricMetadata)>, u64) {
        let mut table = MetadataTable::new(format, metrics_max);
        let mut parser = TextParser::new(text, format);
        while let Some(entry) = parser.next_entry() {
            table.take(&entry.expect("well formed"));
        }
        let dropped = table.lines_dropped();
        (table.into_metrics().collect(), dropped)
    }

    fn metadata(kind: MetricKind, unit: &str, help: &str) -> MetricMetadata {
        MetricMetadata { kind, unit: unit.into(), help: help.into() }
    }

    #[test]
    fn lines_come_together_under_the_name_of_the_series() {
        let text = "# TYPE b_seconds counter\n# UNIT b_seconds seconds\n# HELP b_seconds Busy.\nb_seconds_total 1\n\
                    # TYPE a info\n# EOF\n";
        let want = [
            ("a_info".to_owned(), metadata(MetricKind::Info, "", "")),
            ("b_seconds_total".to_owned(), metadata(MetricKind::Counter, "seconds", "Busy.")),
        ];
        assert_eq!(table(text, TextFormat::OpenMetrics, 2), (want.to_vec(), 0));
        let want = [("c".to_owned(), metadata(MetricKind::Counter, "", "C."))];
        assert_eq!(table("# TYPE c counter\n# HELP c C.\nc 1\n", TextFormat::Prometheus, 2), (want.to_vec(), 0));
    }

    #[test]
    fn a_full_table_counts_what_it_drops() {
        let (metrics, dropped) = table("# HELP a A.\n# HELP b B.\n# TYPE a gauge\n", TextFormat::Prometheus, 1);
        assert_eq!(metrics, [("a".to_owned(), metadata(MetricKind::Gauge, "", "A."))]);
        assert_eq!(dropped, 1);
    }
}
