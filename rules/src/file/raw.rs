//! A rule file as YAML has it, before anything is checked. The keys that Prometheus does not have are `params`, `overrides`,
//! `on_no_data`, `on_error`, `capture` and `burst`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_saphyr::Spanned;

/// Texts by name.
pub(super) type Texts = Option<BTreeMap<String, Spanned<String>>>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawFile {
    #[serde(default)]
    pub(super) params: Texts,
    #[serde(default)]
    pub(super) overrides: Option<Vec<RawOverride>>,
    #[serde(default)]
    pub(super) groups: Option<Vec<RawGroup>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawGroup {
    pub(super) name: Spanned<String>,
    pub(super) interval: Option<Spanned<String>>,
    pub(super) query_offset: Option<Spanned<String>>,
    pub(super) limit: Option<Spanned<i64>>,
    #[serde(default)]
    pub(super) labels: Texts,
    #[serde(default)]
    pub(super) params: Texts,
    #[serde(default)]
    pub(super) overrides: Option<Vec<RawOverride>>,
    #[serde(default)]
    pub(super) rules: Option<Vec<Spanned<RawRule>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRule {
    pub(super) record: Option<Spanned<String>>,
    pub(super) alert: Option<Spanned<String>>,
    pub(super) expr: Option<Spanned<String>>,
    #[serde(rename = "for")]
    pub(super) hold: Option<Spanned<String>>,
    pub(super) keep_firing_for: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) labels: Texts,
    #[serde(default)]
    pub(super) annotations: Texts,
    #[serde(default)]
    pub(super) params: Texts,
    #[serde(default)]
    pub(super) overrides: Option<Vec<RawOverride>>,
    pub(super) on_no_data: Option<Spanned<String>>,
    pub(super) on_error: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) capture: Option<Vec<Spanned<String>>>,
    pub(super) burst: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawOverride {
    #[serde(rename = "match")]
    pub(super) matchers: Spanned<String>,
    #[serde(default)]
    pub(super) params: Texts,
    #[serde(default)]
    pub(super) labels: Texts,
    #[serde(rename = "for")]
    pub(super) hold: Option<Spanned<String>>,
    pub(super) keep_firing_for: Option<Spanned<String>>,
}
