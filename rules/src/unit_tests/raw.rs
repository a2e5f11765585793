//! A file of unit tests as YAML has it, before anything is checked.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_saphyr::Spanned;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawFile {
    pub(super) rule_files: Option<Vec<String>>,
    pub(super) evaluation_interval: Option<Spanned<String>>,
    pub(super) group_eval_order: Option<Vec<Spanned<String>>>,
    #[serde(default)]
    pub(super) fuzzy_compare: bool,
    pub(super) tests: Option<Vec<Spanned<RawTest>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTest {
    pub(super) name: Option<String>,
    pub(super) interval: Option<Spanned<String>>,
    pub(super) start_timestamp: Option<Spanned<String>>,
    pub(super) input_series: Option<Vec<RawSeries>>,
    pub(super) alert_rule_test: Option<Vec<Spanned<RawAlertCase>>>,
    pub(super) promql_expr_test: Option<Vec<Spanned<RawExprCase>>>,
    pub(super) external_labels: Option<BTreeMap<String, String>>,
    pub(super) external_url: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSeries {
    pub(super) series: Spanned<String>,
    pub(super) values: Spanned<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAlertCase {
    pub(super) eval_time: Option<Spanned<String>>,
    pub(super) alertname: Option<String>,
    pub(super) exp_alerts: Option<Vec<RawAlert>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAlert {
    pub(super) exp_labels: Option<BTreeMap<String, String>>,
    pub(super) exp_annotations: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawExprCase {
    pub(super) expr: String,
    pub(super) eval_time: Option<Spanned<String>>,
    pub(super) exp_samples: Option<Vec<RawSample>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSample {
    pub(super) labels: Option<Spanned<String>>,
    pub(super) value: Option<Spanned<String>>,
    pub(super) histogram: Option<Spanned<String>>,
}
