//! Which metrics make up which families of OpenMetrics: histograms and summaries have several series a point, and the
//! names of counters and infos end with what their families' names do not.
//!
//! Whatever the metadata says, every metric is in exactly one family, and no family has the name of another. What the
//! format has no place for (a counter not called `_total`) is a family of its own name, of unknown kind.

use std::collections::{BTreeMap, BTreeSet};

use model::{MetricKind, MetricMetadata};

/// What names of series add to those of their families, and the kinds that do so.
pub(super) const SUFFIXES: [(&str, &[MetricKind]); 8] = [
    ("_bucket", &[MetricKind::Histogram, MetricKind::GaugeHistogram]),
    ("_count", &[MetricKind::Histogram, MetricKind::Summary]),
    ("_sum", &[MetricKind::Histogram, MetricKind::Summary]),
    ("_gcount", &[MetricKind::GaugeHistogram]),
    ("_gsum", &[MetricKind::GaugeHistogram]),
    ("_created", &[MetricKind::Counter, MetricKind::Histogram, MetricKind::Summary]),
    (COUNTER_SUFFIX, &[MetricKind::Counter]),
    ("_info", &[MetricKind::Info]),
];
const COUNTER_SUFFIX: &str = "_total";

/// A family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Family {
    pub(super) name: String,
    pub(super) metadata: MetricMetadata,
    /// The metrics whose series make it up.
    pub(super) members: Vec<String>,
    /// There is a metric of the family's own name that is no part of it. If it has samples, that name is its own, and
    /// the members are families of their own.
    pub(super) shares_name: bool,
}

impl Family {
    /// A metric that is a family of its own name.
    pub(super) fn alone(metric: &str, metadata: &BTreeMap<String, MetricMetadata>) -> Self {
        let mut metadata = metadata.get(metric).cloned().unwrap_or_default();
        if !matches!(metadata.kind, MetricKind::Gauge | MetricKind::Summary | MetricKind::StateSet) {
            metadata.kind = MetricKind::Unknown;
        }
        let name = metric.to_owned();
        Self { members: vec![name.clone()], name, metadata, shares_name: false }
    }

    /// The label whose values tell apart the series of one point.
    pub(super) fn point_label(&self) -> Option<&str> {
        match self.metadata.kind {
            MetricKind::Histogram | MetricKind::GaugeHistogram => Some("le"),
            MetricKind::Summary => Some("quantile"),
            MetricKind::StateSet => Some(&self.name),
            _ => None,
        }
    }
}

/// The families of the metrics `names`, in order of their own names.
pub(super) fn families(names: &BTreeSet<String>, metadata: &BTreeMap<String, MetricMetadata>) -> Vec<Family> {
    let mut families: BTreeMap<&str, Family> = BTreeMap::new();
    let mut alone = Vec::new();
    for name in names {
        match family_of(name, metadata) {
            Some((base, known)) => {
                let new = || Family {
                    name: base.to_owned(),
                    metadata: known.clone(),
                    members: Vec::new(),
                    shares_name: false,
                };
                families.entry(base).or_insert_with(new).members.push(name.clone());
            }
            None => alone.push(name),
        }
    }
    for name in alone {
        match families.get_mut(name.as_str()) {
            // The quantiles of a summary.
            Some(family) if family.metadata.kind == MetricKind::Summary => family.members.insert(0, name.clone()),
            Some(family) => family.shares_name = true,
            None => drop(families.insert(name, Family::alone(name, metadata))),
        }
    }
    families.into_values().collect()
}

/// The name of the family that `metric` is a part of by its suffix, and what is known of it.
fn family_of<'n, 'm>(
    metric: &'n str,
    metadata: &'m BTreeMap<String, MetricMetadata>,
) -> Option<(&'n str, &'m MetricMetadata)> {
    SUFFIXES.iter().find_map(|(suffix, kinds)| {
        let base = metric.strip_suffix(suffix).filter(|base| !base.is_empty())?;
        // Senders describe counters and infos by either name.
        let counter = format!("{base}{COUNTER_SUFFIX}");
        let known = [base, metric, &counter].into_iter().filter_map(|name| metadata.get(name));
        known.into_iter().find(|known| kinds.contains(&known.kind)).map(|known| (base, known))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(names: &[&str], known: &[(&str, MetricKind)], want: &[&str]) {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let of = |(name, kind): &(&str, MetricKind)| {
            ((*name).to_owned(), MetricMetadata { kind: *kind, ..MetricMetadata::default() })
        };
        let got = families(&names, &known.iter().map(of).collect());
        let shown = |family: &Family| {
            let shares = if family.shares_name { " shares" } else { "" };
            format!("{} {}: {}{shares}", family.name, family.metadata.kind, family.members.join(" "))
        };
        assert_eq!(got.iter().map(shown).collect::<Vec<_>>(), want);
    }

    #[test]
    fn every_metric_is_in_one_family() {
        use MetricKind::{Counter, Gauge, Histogram, Info, StateSet, Summary, Unknown};
        check(&["a", "b_total"], &[("a", Gauge)], &["a gauge: a", "b_total unknown: b_total"]);
        check(&["b_created", "b_total"], &[("b_total", Counter)], &["b counter: b_created b_total"]);
        check(
            &["b_total", "b_total_total"],
            &[("b", Counter)],
            &["b counter: b_total", "b_total_total unknown: b_total_total"],
        );
        check(&["b"], &[("b", Counter)], &["b unknown: b"]);
        check(&["i", "i_info"], &[("i", Info)], &["i info: i_info shares"]);
        check(
            &["h_bucket", "h_count", "h_sum", "h_total"],
            &[("h", Histogram)],
            &["h histogram: h_bucket h_count h_sum", "h_total unknown: h_total"],
        );
        check(&["h", "h_count"], &[("h", Histogram)], &["h histogram: h_count shares"]);
        check(&["h"], &[("h", Histogram)], &["h unknown: h"]);
        check(&["s", "s_count", "s_sum"], &[("s", Summary)], &["s summary: s s_count s_sum"]);
        check(&["s"], &[("s", Summary)], &["s summary: s"]);
        check(&["s_bucket"], &[("s", Summary)], &["s_bucket unknown: s_bucket"]);
        check(&["t", "_total"], &[("t", StateSet), ("_total", Counter)], &["_total unknown: _total", "t stateset: t"]);
        check(&["c", "c_total"], &[("c", Gauge), ("c_total", Counter)], &["c counter: c_total shares"]);
        check(&["u_count"], &[("u", Unknown)], &["u_count unknown: u_count"]);
    }
}
