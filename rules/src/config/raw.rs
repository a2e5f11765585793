//! A routing file as YAML has it, before anything is checked.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::receivers::{Global, RawReceiver};

pub(super) type Texts = Option<Vec<Spanned<String>>>;
pub(super) type TextMap = Option<BTreeMap<String, Spanned<String>>>;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawConfig {
    pub(super) global: Option<Spanned<Global>>,
    pub(super) route: Option<Spanned<RawRoute>>,
    pub(super) inhibit_rules: Option<Vec<Spanned<RawInhibit>>>,
    pub(super) receivers: Option<Vec<Spanned<RawReceiver>>>,
    pub(super) templates: Option<Vec<String>>,
    pub(super) mute_time_intervals: Option<Vec<Spanned<RawTimes>>>,
    pub(super) time_intervals: Option<Vec<Spanned<RawTimes>>>,
    pub(super) heartbeat: Option<Spanned<RawHeartbeat>>,
    pub(super) topology_inhibit: Option<Vec<Spanned<RawTopology>>>,
    pub(super) recurring_silences: Option<Vec<Spanned<RawSilence>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawRoute {
    pub(super) receiver: Option<Spanned<String>>,
    pub(super) group_by: Texts,
    #[serde(rename = "continue")]
    pub(super) continues: Option<Spanned<bool>>,
    #[serde(rename = "match")]
    pub(super) equals: TextMap,
    pub(super) match_re: TextMap,
    pub(super) matchers: Texts,
    pub(super) group_wait: Option<Spanned<String>>,
    pub(super) group_interval: Option<Spanned<String>>,
    pub(super) repeat_interval: Option<Spanned<String>>,
    pub(super) mute_time_intervals: Texts,
    pub(super) active_time_intervals: Texts,
    pub(super) labels: Option<BTreeMap<String, Spanned<String>>>,
    pub(super) escalate: Option<Vec<Spanned<RawStep>>>,
    pub(super) flap: Option<Spanned<RawFlap>>,
    pub(super) reevaluate_after_mute: Option<bool>,
    pub(super) routes: Option<Vec<Spanned<RawRoute>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawStep {
    pub(super) after: Spanned<String>,
    pub(super) receiver: Spanned<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawFlap {
    pub(super) changes: Spanned<u64>,
    pub(super) window: Spanned<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawInhibit {
    pub(super) name: Option<String>,
    pub(super) source_match: TextMap,
    pub(super) source_match_re: TextMap,
    pub(super) source_matchers: Texts,
    pub(super) target_match: TextMap,
    pub(super) target_match_re: TextMap,
    pub(super) target_matchers: Texts,
    pub(super) equal: Texts,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawTopology {
    pub(super) name: Option<String>,
    pub(super) source_matchers: Texts,
    pub(super) label: Option<Spanned<String>>,
    pub(super) separator: Option<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawTimes {
    pub(super) name: Option<Spanned<String>>,
    pub(super) time_intervals: Option<Vec<Spanned<RawInterval>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawInterval {
    pub(super) times: Option<Vec<Spanned<RawTime>>>,
    pub(super) weekdays: Texts,
    pub(super) days_of_month: Texts,
    pub(super) months: Texts,
    pub(super) years: Texts,
    pub(super) location: Option<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawTime {
    pub(super) start_time: Option<Spanned<String>>,
    pub(super) end_time: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawHeartbeat {
    pub(super) receiver: Spanned<String>,
    pub(super) interval: Option<Spanned<String>>,
    pub(super) labels: Option<BTreeMap<String, Spanned<String>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawSilence {
    pub(super) name: Option<Spanned<String>>,
    pub(super) matchers: Texts,
    pub(super) time_intervals: Texts,
    pub(super) comment: Option<String>,
}
