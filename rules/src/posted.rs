//! An alert on its way from whoever decides that it fires to whoever tells people.
//!
//! Rules hand alerts over so, and so do clients of the API. The fingerprint is that of Prometheus's and Alertmanager's programs
//! (`model.LabelSet.Fingerprint`): FNV-1a over names and values in the order of names, each followed by the byte 255.

use std::collections::BTreeMap;

use model::{Labels, LabelsRef};

use crate::notify::decision::Fingerprint;
use crate::receivers::cut::cut_bytes;

/// Longest labels of an alert as it is told, packed.
pub const ALERT_LABELS_BYTES_MAX: usize = 8 << 10;
/// Longest annotations of an alert, its URL among them.
pub const ALERT_TEXTS_BYTES_MAX: usize = 128 << 10;

/// An alert, and until when it fires for all its sender knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Posted {
    /// What it is known by, `alertname` among them.
    pub labels: Labels,
    /// Text for people.
    pub annotations: BTreeMap<String, String>,
    /// When it began, milliseconds since the Unix epoch.
    pub starts_ms: i64,
    /// When it ended, or, if that lies ahead, when it counts as ended unless its sender says otherwise until then.
    pub ends_ms: i64,
    /// Where a person can look at it; empty for nowhere.
    pub generator_url: String,
}

impl Posted {
    /// The number it is known by.
    pub fn fingerprint(&self) -> Fingerprint {
        fingerprint(self.labels.as_ref())
    }

    /// Whether it has a size that can be kept.
    ///
    /// # Errors
    ///
    /// When it has not.
    pub fn check(&self) -> Result<(), String> {
        let labels = self.labels.packed().len();
        if labels > ALERT_LABELS_BYTES_MAX {
            return Err(format!("labels of {labels} bytes; {ALERT_LABELS_BYTES_MAX} are allowed"));
        }
        let texts: usize = self.annotations.iter().map(|(name, text)| name.len() + text.len()).sum();
        if texts + self.generator_url.len() > ALERT_TEXTS_BYTES_MAX {
            let found = texts + self.generator_url.len();
            return Err(format!("annotations of {found} bytes; {ALERT_TEXTS_BYTES_MAX} are allowed"));
        }
        Ok(())
    }

    /// Cuts annotations that are longer than can be kept.
    pub(crate) fn cut_texts(&mut self) {
        if self.check().is_ok() {
            return;
        }
        let mut left = ALERT_TEXTS_BYTES_MAX.saturating_sub(self.generator_url.len());
        self.annotations.retain(|name, text| {
            let Some(room) = left.checked_sub(name.len()).filter(|room| *room >= '…'.len_utf8()) else {
                return false;
            };
            *text = cut_bytes(text, room);
            left = room - text.len();
            true
        });
    }

    /// Whether it has ended at `now_ms`.
    pub fn is_resolved(&self, now_ms: i64) -> bool {
        self.ends_ms <= now_ms
    }
}

/// The number a label set is known by.
pub fn fingerprint(labels: LabelsRef<'_>) -> Fingerprint {
    /// Start and factor of FNV-1a with 64 bits: <http://www.isthe.com/chongo/tech/comp/fnv/>.
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let add = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(PRIME);
    labels.iter().fold(OFFSET, |hash, (name, value)| {
        let hash = add(name.bytes().fold(hash, add), 255);
        add(value.bytes().fold(hash, add), 255)
    })
}

/// Takes alerts from those who find them.
pub trait Tell: Send + Sync {
    /// Takes `alerts`; never waits for receivers.
    fn tell(&self, alerts: Vec<Posted>);
}
