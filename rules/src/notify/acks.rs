//! Acknowledgements: somebody took an alert on. It is not repeated and does not escalate; it is still told when it changes.

use std::collections::BTreeMap;

use super::decision::Fingerprint;
use super::silence::TEXT_BYTES_MAX;

/// Somebody took an alert on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack {
    /// Who.
    pub owner: String,
    /// What they say.
    pub note: String,
    /// When, milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// When it ends by itself; it also ends with the alert.
    pub expires_ms: i64,
}

impl Ack {
    /// Whether it is one at all.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn check(&self, now_ms: i64) -> Result<(), String> {
        if self.owner.is_empty() {
            return Err("an acknowledgement needs an owner".to_owned());
        }
        let longest = self.owner.len().max(self.note.len());
        if longest > TEXT_BYTES_MAX {
            return Err(format!("a text of {longest} bytes; {TEXT_BYTES_MAX} are allowed"));
        }
        if self.expires_ms <= now_ms {
            return Err("its end is in the past".to_owned());
        }
        Ok(())
    }
}

/// All of them. Each is of an alert that is known, so they are bounded as alerts are.
#[derive(Debug, Clone, Default)]
pub(super) struct Acks(BTreeMap<Fingerprint, Ack>);

impl Acks {
    /// The one of an alert that holds at `now_ms`.
    pub(super) fn get(&self, alert: Fingerprint, now_ms: i64) -> Option<&Ack> {
        self.0.get(&alert).filter(|ack| now_ms < ack.expires_ms)
    }

    pub(super) fn set(&mut self, alert: Fingerprint, ack: Ack) {
        self.0.insert(alert, ack);
    }

    pub(super) fn remove(&mut self, alert: Fingerprint) -> Option<Ack> {
        self.0.remove(&alert)
    }

    /// Takes away those that are over.
    pub(super) fn expire(&mut self, now_ms: i64) -> Vec<(Fingerprint, Ack)> {
        self.0.extract_if(.., |_, ack| ack.expires_ms <= now_ms).collect()
    }
}
