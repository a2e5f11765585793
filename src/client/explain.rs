//! What the server tells of a query's cost: the tree of `explain=true`, the totals of `stats=all`, and the queries
//! under way.

use std::ops::Range;

use serde::Deserialize;

/// Most nodes of a plan that are read; a query of the longest allowed length has fewer.
pub(crate) const NODES_MAX: usize = 10_000;

/// One node of the tree of expressions. All numbers are of this node and what is below it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Plan {
    /// What it does, in the words of the query: `sum by (job)`.
    pub(crate) node: String,
    /// First byte of it in the query, and one past the last.
    #[serde(default)]
    pub(crate) position: Option<(usize, usize)>,
    /// Series read by a selector, or handed on by another node.
    #[serde(default)]
    pub(crate) series: u64,
    #[serde(default)]
    pub(crate) chunks: u64,
    #[serde(default)]
    pub(crate) samples: u64,
    #[serde(default)]
    pub(crate) bytes: u64,
    #[serde(default)]
    pub(crate) time_us: u64,
    /// What else there is to say.
    #[serde(default)]
    pub(crate) note: Option<String>,
    /// What was read where samples are kept no more.
    #[serde(default)]
    pub(crate) downsampled: Option<Downsampled>,
    #[serde(default)]
    pub(crate) children: Vec<Plan>,
}

impl Plan {
    /// The time it took itself, without what is below, in microseconds.
    pub(crate) fn own_us(&self) -> u64 {
        self.time_us.saturating_sub(self.children.iter().map(|child| child.time_us).sum())
    }

    /// Its bytes in `query`, if they lie in it.
    pub(crate) fn span(&self, query: &str) -> Option<Range<usize>> {
        let (start, end) = self.position?;
        query.get(start..end).filter(|text| !text.is_empty()).map(|_| start..end)
    }

    /// The nodes in the order they are shown, each before what is below it.
    pub(crate) fn nodes(&self) -> Vec<&Plan> {
        let mut found = Vec::new();
        let mut open = vec![self];
        while let Some(plan) = open.pop() {
            found.push(plan);
            open.extend(plan.children.iter().rev());
        }
        found
    }
}

/// Summaries that a selector read instead of samples.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Downsampled {
    /// Which parts of them, as `sum, count`.
    pub(crate) columns: String,
    pub(crate) summaries: u64,
    pub(crate) window_ms_min: i64,
    pub(crate) window_ms_max: i64,
    /// From when on all samples are kept.
    pub(crate) samples_from_ms: i64,
}

/// What a query cost.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Stats {
    pub(crate) timings: Timings,
    pub(crate) samples: Samples,
    /// Ours; other servers do not tell.
    pub(crate) storage: Option<Storage>,
    /// Ours; other servers do not tell.
    pub(crate) memory: Option<Memory>,
}

/// In seconds.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Timings {
    pub(crate) eval_total_time: f64,
    pub(crate) exec_queue_time: f64,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Samples {
    pub(crate) total_queryable_samples: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Storage {
    pub(crate) series: u64,
    pub(crate) chunks: u64,
    pub(crate) chunk_bytes: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Memory {
    pub(crate) peak_bytes: u64,
}

/// A query under way. What it has cost so far is told by servers that count while they evaluate.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct RunningQuery {
    pub(crate) id: u64,
    pub(crate) query: String,
    /// Since it came.
    #[serde(default)]
    pub(crate) seconds: f64,
    /// Whether it has been told to stop.
    #[serde(default)]
    pub(crate) canceled: bool,
    #[serde(default)]
    pub(crate) series: Option<u64>,
    #[serde(default)]
    pub(crate) samples: Option<u64>,
    #[serde(default)]
    pub(crate) bytes: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_are_read_with_what_they_tell() {
        let text = r#"{"node":"sum","position":[0,9],"series":1,"timeUs":10,"children":[
            {"node":"a","position":[4,5],"timeUs":4,"note":"from memory"},{"node":"b","position":[7,99],"timeUs":5}]}"#;
        let plan: Plan = serde_json::from_str(text).expect("reads");
        let names: Vec<&str> = plan.nodes().iter().map(|plan| plan.node.as_str()).collect();
        assert_eq!(names, ["sum", "a", "b"]);
        assert_eq!((plan.own_us(), plan.children[0].own_us()), (1, 4));
        assert_eq!(plan.span("sum(a + b)"), Some(0..9));
        assert_eq!(plan.children[1].span("sum(a + b)"), None, "beyond the query");
        assert_eq!(plan.span("sum(a + é"), None, "inside a character");
    }

    #[test]
    fn stats_of_other_servers_lack_some() {
        let text = r#"{"timings":{"evalTotalTime":0.25,"resultSortTime":0},"samples":{"totalQueryableSamples":7}}"#;
        let stats: Stats = serde_json::from_str(text).expect("reads");
        assert_eq!((stats.timings.eval_total_time, stats.samples.total_queryable_samples), (0.25, 7));
        assert_eq!(stats.storage, None);
    }
}
