//! An explained query as JSON, beside its result.

use query::{Downsampled, Explain};
use serde::Serialize;

/// One node: `{"node":"sum by (job)","position":[0,23],"series":1,…,"timeUs":12,"children":[…]}`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ExplainJson<'a> {
    node: &'a str,
    position: (usize, usize),
    series: u64,
    chunks: u64,
    samples: u64,
    bytes: u64,
    time_us: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    downsampled: Option<DownsampledJson>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    children: Vec<Self>,
}

/// `{"columns":"sum, count","summaries":288,"windowMsMin":300000,"windowMsMax":300000,"samplesFromMs":1767225600000}`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct DownsampledJson {
    columns: &'static str,
    summaries: u64,
    window_ms_min: i64,
    window_ms_max: i64,
    samples_from_ms: i64,
}

impl From<Downsampled> for DownsampledJson {
    fn from(of: Downsampled) -> Self {
        let Downsampled { columns, summaries, window_ms_min, window_ms_max, samples_from_ms } = of;
        Self { columns, summaries, window_ms_min, window_ms_max, samples_from_ms }
    }
}

impl<'a> From<&'a Explain> for ExplainJson<'a> {
    /// Recurses as deep as the query, which the parser bounds.
    fn from(explain: &'a Explain) -> Self {
        Self {
            node: &explain.node,
            position: explain.position,
            series: explain.series,
            chunks: explain.chunks,
            samples: explain.samples,
            bytes: explain.bytes,
            time_us: explain.time_us,
            note: explain.note,
            downsampled: explain.downsampled.map(DownsampledJson::from),
            children: explain.children.iter().map(Self::from).collect(),
        }
    }
}
