//! What the dispatcher keeps on its shelf, in bincode 2 (standard configuration: little-endian, variable-length integers).
//!
//! The first byte of a key says what its value is, and every value is an enumeration of its versions. `docs/format-alerting.md` has the tables.

#![warn(clippy::indexing_slicing)]

use std::sync::Arc;

use bincode::{Decode, Encode};
use model::{Labels, MatchOp, Matcher};

use super::acks::Ack;
use super::alerts::{Incoming, Kept};
use super::decision::{Fingerprint, Told};
use super::log::{Entry, LogKey};
use super::silence::{Recurrence, Silence};
use crate::coding::{decode, encode};
use crate::config::FLAP_CHANGES_MAX;
use crate::posted::Posted;

const ALERT: u8 = b'a';
const GROUP: u8 = b'g';
const ACK: u8 = b'k';
const LIVED: u8 = b'l';
const SILENCE: u8 = b's';
const TOLD: u8 = b't';

#[derive(Debug, Encode, Decode)]
enum StoredAlert {
    V1(AlertFields),
    /// With the groups that need not tell of its end any more.
    V2(AlertFields, Vec<String>),
}

#[derive(Debug, Encode, Decode)]
struct AlertFields {
    labels: String,
    annotations: Vec<(String, String)>,
    starts_ms: i64,
    ends_ms: i64,
    generator_url: String,
    times_out: bool,
    updated_ms: i64,
    changes_ms: Vec<i64>,
}

#[derive(Debug, Encode, Decode)]
enum StoredTimer {
    V1 { next_ms: i64, has_flushed: bool },
    V2 { next_ms: i64, has_flushed: bool, recheck_ms: Option<i64> },
}

#[derive(Debug, Encode, Decode)]
enum StoredTold {
    V1 {
        at_ms: i64,
        firing: Vec<(Fingerprint, i64)>,
        resolved: Vec<Fingerprint>,
        keep_until_ms: i64,
        sending: Option<Vec<Fingerprint>>,
    },
}

#[derive(Debug, Encode, Decode)]
enum StoredSilence {
    V1 {
        sets: Vec<Vec<(String, u8, String)>>,
        starts_ms: i64,
        ends_ms: i64,
        updated_ms: i64,
        created_by: String,
        comment: String,
        recurrence: Option<String>,
    },
}

#[derive(Debug, Encode, Decode)]
enum StoredAck {
    V1 { owner: String, note: String, at_ms: i64, expires_ms: i64 },
}

#[derive(Debug, Encode, Decode)]
enum StoredLived {
    V1 { at_ms: i64 },
}

/// Key and value of group, receiver, integration and step.
type StoredKey = (String, String, u64, Option<u64>);

/// When a group is looked at next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Timer {
    pub(super) next_ms: i64,
    pub(super) has_flushed: bool,
    /// A look before the next regular one.
    pub(super) recheck_ms: Option<i64>,
}

/// Something on the shelf.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Item {
    Alert(Kept),
    Timer(String, Timer),
    Told(LogKey, Entry),
    Silence(Silence),
    Ack(Fingerprint, Ack),
    Lived(i64),
}

fn with_tag(tag: u8, rest: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + rest.len());
    key.push(tag);
    key.extend_from_slice(rest);
    key
}

pub(super) fn alert_key(alert: Fingerprint) -> Vec<u8> {
    with_tag(ALERT, &alert.to_be_bytes())
}

pub(super) fn ack_key(alert: Fingerprint) -> Vec<u8> {
    with_tag(ACK, &alert.to_be_bytes())
}

pub(super) fn timer_key(group: &str) -> Vec<u8> {
    with_tag(GROUP, group.as_bytes())
}

pub(super) fn silence_key(id: &str) -> Vec<u8> {
    with_tag(SILENCE, id.as_bytes())
}

pub(super) fn lived_key() -> Vec<u8> {
    vec![LIVED]
}

pub(super) fn told_key(key: &LogKey) -> Vec<u8> {
    let step = key.step.map(|step| step as u64);
    with_tag(TOLD, &encode((&key.group_key, &key.receiver, key.integration as u64, step)))
}

pub(super) fn alert_value(kept: &Kept) -> Vec<u8> {
    let Posted { labels, annotations, starts_ms, ends_ms, generator_url } = &kept.posted;
    let fields = AlertFields {
        labels: labels.packed().to_owned(),
        annotations: annotations.iter().map(|(name, text)| (name.clone(), text.clone())).collect(),
        starts_ms: *starts_ms,
        ends_ms: *ends_ms,
        generator_url: generator_url.clone(),
        times_out: kept.times_out,
        updated_ms: kept.updated_ms,
        changes_ms: kept.changes_ms.clone(),
    };
    encode(StoredAlert::V2(fields, kept.left.iter().map(ToString::to_string).collect()))
}

pub(super) fn timer_value(timer: Timer) -> Vec<u8> {
    let Timer { next_ms, has_flushed, recheck_ms } = timer;
    encode(StoredTimer::V2 { next_ms, has_flushed, recheck_ms })
}

pub(super) fn told_value(entry: &Entry) -> Vec<u8> {
    encode(StoredTold::V1 {
        at_ms: entry.told.at_ms,
        firing: entry.since_ms.iter().map(|(alert, since)| (*alert, *since)).collect(),
        resolved: entry.told.resolved.iter().copied().collect(),
        keep_until_ms: entry.keep_until_ms,
        sending: entry.sending.as_ref().map(|alerts| alerts.iter().copied().collect()),
    })
}

pub(super) fn silence_value(silence: &Silence) -> Vec<u8> {
    let one = |matcher: &Matcher| (matcher.name().to_owned(), op_byte(matcher.op()), matcher.value().to_owned());
    encode(StoredSilence::V1 {
        sets: silence.sets.iter().map(|set| set.iter().map(one).collect()).collect(),
        starts_ms: silence.starts_ms,
        ends_ms: silence.ends_ms,
        updated_ms: silence.updated_ms,
        created_by: silence.created_by.clone(),
        comment: silence.comment.clone(),
        recurrence: silence.recurrence.as_ref().map(|recurrence| recurrence.text.clone()),
    })
}

pub(super) fn ack_value(ack: &Ack) -> Vec<u8> {
    let Ack { owner, note, at_ms, expires_ms } = ack.clone();
    encode(StoredAck::V1 { owner, note, at_ms, expires_ms })
}

pub(super) fn lived_value(at_ms: i64) -> Vec<u8> {
    encode(StoredLived::V1 { at_ms })
}

fn op_byte(op: MatchOp) -> u8 {
    match op {
        MatchOp::Equal => 0,
        MatchOp::NotEqual => 1,
        MatchOp::Regex => 2,
        MatchOp::NotRegex => 3,
    }
}

fn op_of(byte: u8) -> Option<MatchOp> {
    Some(match byte {
        0 => MatchOp::Equal,
        1 => MatchOp::NotEqual,
        2 => MatchOp::Regex,
        3 => MatchOp::NotRegex,
        _ => return None,
    })
}

/// What is under `key`; nothing where key or value are damaged.
pub(super) fn item(key: &[u8], value: &[u8]) -> Option<Item> {
    let (tag, rest) = key.split_first()?;
    let fingerprint = || Some(Fingerprint::from_be_bytes(rest.try_into().ok()?));
    let text = || std::str::from_utf8(rest).ok().map(str::to_owned);
    Some(match *tag {
        ALERT => {
            let kept = alert(decode(value).ok()?)?;
            Item::Alert(Some(kept).filter(|kept| Some(kept.posted.fingerprint()) == fingerprint())?)
        }
        GROUP => {
            let (next_ms, has_flushed, recheck_ms) = match decode(value).ok()? {
                StoredTimer::V1 { next_ms, has_flushed } => (next_ms, has_flushed, None),
                StoredTimer::V2 { next_ms, has_flushed, recheck_ms } => (next_ms, has_flushed, recheck_ms),
            };
            Item::Timer(text()?, Timer { next_ms, has_flushed, recheck_ms })
        }
        TOLD => {
            let (group_key, receiver, integration, step): StoredKey = decode(rest).ok()?;
            let step = step.map(usize::try_from).transpose().ok()?;
            let key = LogKey { group_key, receiver, integration: usize::try_from(integration).ok()?, step };
            let StoredTold::V1 { at_ms, firing, resolved, keep_until_ms, sending } = decode(value).ok()?;
            let told = Told {
                at_ms,
                firing: firing.iter().map(|(alert, _)| *alert).collect(),
                resolved: resolved.into_iter().collect(),
            };
            let (unsure, sending) = (sending.is_some(), sending.map(|alerts| alerts.into_iter().collect()));
            Item::Told(key, Entry { told, since_ms: firing.into_iter().collect(), keep_until_ms, sending, unsure })
        }
        SILENCE => Item::Silence(silence(text()?, decode(value).ok()?)?),
        ACK => {
            let StoredAck::V1 { owner, note, at_ms, expires_ms } = decode(value).ok()?;
            Item::Ack(fingerprint()?, Ack { owner, note, at_ms, expires_ms })
        }
        LIVED => {
            let StoredLived::V1 { at_ms } = decode(value).ok()?;
            Item::Lived(at_ms)
        }
        _ => return None,
    })
}

fn alert(stored: StoredAlert) -> Option<Kept> {
    let (fields, left) = match stored {
        StoredAlert::V1(fields) => (fields, Vec::new()),
        StoredAlert::V2(fields, left) => (fields, left),
    };
    let AlertFields { labels, annotations, starts_ms, ends_ms, generator_url, times_out, updated_ms, mut changes_ms } =
        fields;
    let labels = Labels::from_packed(&labels).ok()?;
    let annotations = annotations.into_iter().collect();
    let posted = Posted { labels, annotations, starts_ms, ends_ms, generator_url };
    changes_ms.truncate(FLAP_CHANGES_MAX);
    let mut kept = Kept::new(Incoming { posted, times_out, by_rule: false }, updated_ms);
    (kept.changes_ms, kept.shelved_ends_ms) = (changes_ms, ends_ms);
    kept.left = left.into_iter().map(Arc::from).collect();
    Some(kept)
}

fn silence(id: String, stored: StoredSilence) -> Option<Silence> {
    let StoredSilence::V1 { sets, starts_ms, ends_ms, updated_ms, created_by, comment, recurrence } = stored;
    let one = |(name, op, value): (String, u8, String)| Matcher::new(name, op_of(op)?, value).ok();
    let sets = sets.into_iter().map(|set| set.into_iter().map(one).collect()).collect::<Option<_>>()?;
    let recurrence = recurrence.map(|text| Recurrence::parse(&text)).transpose().ok()?;
    Some(Silence { id, sets, starts_ms, ends_ms, updated_ms, created_by, comment, recurrence })
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;
    use crate::matchers::parse_matchers;

    fn kept() -> Kept {
        let posted = Posted {
            labels: Labels::from_pairs([("alertname", "A"), ("job", "api")]).expect("labels"),
            annotations: BTreeMap::from([("summary".to_owned(), "ü".to_owned())]),
            starts_ms: -5,
            ends_ms: 1 << 40,
            generator_url: "http://x".to_owned(),
        };
        let mut kept = Kept::new(Incoming { posted, times_out: true, by_rule: false }, 7);
        (kept.changes_ms, kept.shelved_ends_ms) = (vec![1, 2, 7], 1 << 40);
        kept.left = [Arc::from("g\0x")].into();
        kept
    }

    fn items() -> Vec<(Vec<u8>, Vec<u8>, Item)> {
        let key = LogKey {
            group_key: "{}:{a=\"\\0\"}".to_owned(),
            receiver: "r\0".to_owned(),
            integration: 3,
            step: Some(1),
        };
        let since_ms = BTreeMap::from([(1, 5), (u64::MAX, 6)]);
        let told = Told { at_ms: 9, firing: since_ms.keys().copied().collect(), resolved: [4].into() };
        let entry = Entry { told, since_ms, keep_until_ms: 99, sending: Some([7].into()), unsure: true };
        let silence = Silence {
            id: "x-1".to_owned(),
            sets: vec![parse_matchers("a=b,c!~\"d|e\"").expect("matchers"), parse_matchers("f!=g").expect("matchers")],
            starts_ms: 1,
            ends_ms: 2,
            updated_ms: 3,
            created_by: "ann".to_owned(),
            comment: "work".to_owned(),
            recurrence: Some(Recurrence::parse("[{\"weekdays\":[\"sunday\"]}]").expect("times")),
        };
        let ack = Ack { owner: "ann".to_owned(), note: String::new(), at_ms: 1, expires_ms: 2 };
        let timer = Timer { next_ms: 8, has_flushed: true, recheck_ms: Some(-2) };
        vec![
            (alert_key(kept().posted.fingerprint()), alert_value(&kept()), Item::Alert(kept())),
            (timer_key("g\0x"), timer_value(timer), Item::Timer("g\0x".to_owned(), timer)),
            (told_key(&key), told_value(&entry), Item::Told(key, entry)),
            (silence_key("x-1"), silence_value(&silence), Item::Silence(silence)),
            (ack_key(77), ack_value(&ack), Item::Ack(77, ack)),
            (lived_key(), lived_value(5), Item::Lived(5)),
        ]
    }

    #[test]
    fn what_is_stored_comes_back() {
        for (key, value, want) in items() {
            assert_eq!(item(&key, &value), Some(want));
            assert_eq!(item(&key, value.get(..value.len() - 1).expect("a byte")), None, "cut short");
        }
        assert_eq!(item(&[], &[]), None);
        assert_eq!(item(b"?", &[0]), None);
        assert_eq!(item(&alert_key(1), &alert_value(&kept())), None, "another alert's");
    }

    /// Bytes that were written once stay readable.
    #[test]
    fn old_bytes_are_read() {
        let timer = Timer { next_ms: 8, has_flushed: true, recheck_ms: None };
        assert_eq!(timer_value(timer), [1, 16, 1, 0]);
        let mut alert = alert_value(&Kept { left: BTreeSet::new(), ..kept() });
        assert_eq!((alert.remove(0), alert.pop()), (1, Some(0)), "the version and no groups");
        alert.insert(0, 0);
        let read = item(&alert_key(kept().posted.fingerprint()), &alert);
        assert_eq!(read, Some(Item::Alert(Kept { left: BTreeSet::new(), ..kept() })));
        assert_eq!(item(b"gx", &[0, 16, 1]), Some(Item::Timer("x".to_owned(), timer)));
        assert_eq!(
            ack_value(&Ack { owner: "a".to_owned(), note: String::new(), at_ms: 1, expires_ms: 2 }),
            [0, 1, b'a', 0, 2, 4]
        );
        assert_eq!(lived_value(-1), [0, 1]);
        let since_ms = BTreeMap::from([(5, 6)]);
        let entry = Entry { told: Told::default(), since_ms, keep_until_ms: 3, sending: None, unsure: false };
        assert_eq!(told_value(&entry), [0, 0, 1, 5, 12, 0, 6, 0]);
    }

    proptest! {
        #[test]
        fn damage_is_left_out(at in 0_usize..6, changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
            let (key, mut value, _) = items().swap_remove(at);
            for (place, byte) in changes {
                *place.get_mut(&mut value) = byte;
            }
            drop(item(&key, &value));
        }
    }
}
