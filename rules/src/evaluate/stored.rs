//! What the shelf has of alerts, rules and groups, in bincode 2 (standard configuration). The bytes are drawn in `docs/format-alerting.md`.
#![warn(clippy::indexing_slicing)]

use std::collections::BTreeMap;

use bincode::{Decode, Encode};
use model::Labels;

use super::ActiveAlert;
use super::kept::Identity;
use crate::alert::{State, Times};
use crate::coding::{decode, encode};

/// Longest value that is put on the shelf; of one that would be longer the texts are left out.
const STORED_BYTES_MAX: usize = 512 << 10;

/// First byte of the keys of alerts.
const ALERT: u8 = b'a';
/// First byte of the keys of rules.
const RULE: u8 = b'r';
/// First byte of the keys of groups.
const GROUP: u8 = b'g';

type Texts = Vec<(String, String)>;

#[derive(Debug, Encode, Decode)]
enum StoredAlert {
    V1 {
        /// Packed labels of the sample that it is of.
        source: Option<String>,
        annotations: Texts,
        evidence: Texts,
        value: f64,
        /// 0 pending, 1 firing, 2 resolved.
        state: u8,
        active_at_ms: i64,
        fired_at_ms: Option<i64>,
        keep_firing_since_ms: Option<i64>,
        resolved_at_ms: Option<i64>,
    },
}

#[derive(Debug, Encode, Decode)]
enum StoredRule {
    V1 { file: String, group: String, name: String, labels: Texts, twin: u32 },
}

#[derive(Debug, Encode, Decode)]
enum StoredGroup {
    V1 { evaluated_ms: i64 },
}

/// Something on the shelf.
#[derive(Debug)]
pub(super) enum Entry {
    /// An alert of the rule with the number.
    Alert(u64, Labels, Box<ActiveAlert>),
    /// The rule with the number.
    Rule(u64, Identity),
    /// When the group with the number was evaluated.
    Group(u64, i64),
}

pub(super) fn alert_key(rule: u64, labels: &Labels) -> Vec<u8> {
    [&[ALERT], rule.to_be_bytes().as_slice(), labels.packed().as_bytes()].concat()
}

pub(super) fn rule_key(rule: u64) -> Vec<u8> {
    [&[RULE], rule.to_be_bytes().as_slice()].concat()
}

pub(super) fn group_key(group: u64) -> Vec<u8> {
    [&[GROUP], group.to_be_bytes().as_slice()].concat()
}

fn texts(of: &BTreeMap<String, String>) -> Texts {
    of.iter().map(|(name, text)| (name.clone(), text.clone())).collect()
}

pub(super) fn alert_value(alert: &ActiveAlert) -> Vec<u8> {
    let value = |annotations: Texts| {
        let Times { state, active_at_ms, fired_at_ms, keep_firing_since_ms, resolved_at_ms } = alert.times;
        encode(&StoredAlert::V1 {
            source: alert.source.as_ref().map(|source| source.packed().to_owned()),
            annotations,
            evidence: texts(&alert.evidence),
            value: alert.value,
            state: state_number(state),
            active_at_ms,
            fired_at_ms,
            keep_firing_since_ms,
            resolved_at_ms,
        })
    };
    let whole = value(texts(&alert.annotations));
    if whole.len() > STORED_BYTES_MAX { value(Texts::new()) } else { whole }
}

pub(super) fn rule_value(identity: &Identity) -> Vec<u8> {
    let Identity { file, group, name, labels, twin } = identity.clone();
    encode(&StoredRule::V1 { file, group, name, labels: texts(&labels), twin })
}

pub(super) fn group_value(evaluated_ms: i64) -> Vec<u8> {
    encode(&StoredGroup::V1 { evaluated_ms })
}

fn state_number(state: State) -> u8 {
    match state {
        State::Pending => 0,
        State::Firing => 1,
        State::Resolved => 2,
    }
}

/// What an entry of the shelf says.
///
/// # Errors
///
/// When no version of this program wrote it.
pub(super) fn read(key: &[u8], value: &[u8]) -> Result<Entry, String> {
    let parts = key.split_first().and_then(|(kind, rest)| {
        let (number, rest) = rest.split_first_chunk::<8>()?;
        Some((*kind, u64::from_be_bytes(*number), rest))
    });
    match parts {
        Some((ALERT, rule, labels)) => {
            let labels = std::str::from_utf8(labels).map_err(|_| "its key is no label set".to_owned())?;
            let labels = Labels::from_packed(labels).map_err(|error| error.to_string())?;
            Ok(Entry::Alert(rule, labels, Box::new(alert(value)?)))
        }
        Some((RULE, rule, [])) => {
            let StoredRule::V1 { file, group, name, labels, twin } = decode(value)?;
            let labels = labels.into_iter().collect();
            Ok(Entry::Rule(rule, Identity { file, group, name, labels, twin }))
        }
        Some((GROUP, group, [])) => {
            let StoredGroup::V1 { evaluated_ms } = decode(value)?;
            Ok(Entry::Group(group, evaluated_ms))
        }
        _ => Err("its key is of no kind that is known".to_owned()),
    }
}

fn alert(value: &[u8]) -> Result<ActiveAlert, String> {
    let StoredAlert::V1 {
        source,
        annotations,
        evidence,
        value,
        state,
        active_at_ms,
        fired_at_ms,
        keep_firing_since_ms,
        resolved_at_ms,
    } = decode(value)?;
    let source = source.map(|packed| Labels::from_packed(&packed)).transpose().map_err(|error| error.to_string())?;
    let state = match (state, fired_at_ms, resolved_at_ms) {
        (0, _, _) => State::Pending,
        (1, Some(_), _) => State::Firing,
        (2, _, Some(_)) => State::Resolved,
        _ => return Err(format!("state {state} does not fit its times")),
    };
    let times = Times { state, active_at_ms, fired_at_ms, keep_firing_since_ms, resolved_at_ms };
    Ok(ActiveAlert {
        annotations: annotations.into_iter().collect(),
        evidence: evidence.into_iter().collect(),
        value,
        // Not known to be told: telling again does no harm.
        stored: Some((times, i64::MIN)),
        is_dirty: false,
        ..ActiveAlert::new(source, times)
    })
}
