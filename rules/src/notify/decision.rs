//! Whether a group of alerts is told to a receiver now: a plain function of what it was told last.
//!
//! The table is Alertmanager's (`notify.DedupStage`).

use std::collections::BTreeSet;

/// A label set's hash, by which alerts are known.
pub type Fingerprint = u64;

/// What a receiver was told of a group last.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Told {
    /// When, milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// The alerts that fired.
    pub firing: BTreeSet<Fingerprint>,
    /// Those that had ended.
    pub resolved: BTreeSet<Fingerprint>,
}

/// What a group is now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Group {
    /// The alerts that fire, without those that are muted.
    pub firing: BTreeSet<Fingerprint>,
    /// Those that have ended.
    pub resolved: BTreeSet<Fingerprint>,
}

/// How a receiver wants to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wishes {
    /// Whether it is told of ends.
    pub send_resolved: bool,
    /// After how long it is told the same again.
    pub repeat_ms: i64,
}

/// Why a receiver is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Nothing is known to have been told, or all that was had ended.
    First,
    /// Alerts fire that it was not told of.
    NewAlerts,
    /// None fires any more.
    AllResolved,
    /// Some have ended that it was not told of.
    SomeResolved,
    /// It was told long ago.
    Repeat,
}

impl Reason {
    /// As Alertmanager's notifications say it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::First => "first notification",
            Self::NewAlerts => "new alerts added",
            Self::AllResolved => "all alerts resolved",
            Self::SomeResolved => "some alerts resolved",
            Self::Repeat => "repeat interval elapsed",
        }
    }
}

/// Whether, and why, a receiver is told of `group` at `now_ms`. With [`Reason::AllResolved`] it is written down as told also where ends are not
/// sent, so that the next alert is a first one.
pub fn decide(told: Option<&Told>, group: &Group, wishes: Wishes, now_ms: i64) -> Option<Reason> {
    let Some(told) = told else {
        return (!group.firing.is_empty()).then_some(Reason::First);
    };
    if !group.firing.is_subset(&told.firing) {
        return Some(if told.firing.is_empty() { Reason::First } else { Reason::NewAlerts });
    }
    if group.firing.is_empty() {
        return (!told.firing.is_empty()).then_some(Reason::AllResolved);
    }
    if wishes.send_resolved && !group.resolved.is_subset(&told.resolved) {
        return Some(Reason::SomeResolved);
    }
    (now_ms.saturating_sub(told.at_ms) > wishes.repeat_ms).then_some(Reason::Repeat)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(text: &str) -> BTreeSet<Fingerprint> {
        text.bytes().map(Fingerprint::from).collect()
    }

    #[test]
    fn the_table() {
        let wishes = |send_resolved| Wishes { send_resolved, repeat_ms: 100 };
        // What was told (firing/resolved), what is (firing/resolved), whether ends are sent, time since.
        for (told, is, send_resolved, since_ms, want) in [
            ("", "a/", true, 0, Some(Reason::First)),
            ("", "/a", true, 0, None),
            ("", "/", true, 0, None),
            ("a/", "a/", true, 100, None),
            ("a/", "a/", true, 101, Some(Reason::Repeat)),
            ("a/", "ab/", true, 0, Some(Reason::NewAlerts)),
            ("/a", "b/", true, 0, Some(Reason::First)),
            ("a/", "/a", true, 0, Some(Reason::AllResolved)),
            ("a/", "/a", false, 0, Some(Reason::AllResolved)),
            ("a/", "/", true, 0, Some(Reason::AllResolved)),
            ("/a", "/a", true, 500, None),
            ("ab/", "a/b", true, 0, Some(Reason::SomeResolved)),
            ("ab/", "a/b", false, 0, None),
            ("ab/", "a/b", false, 101, Some(Reason::Repeat)),
            ("a/b", "a/b", true, 0, None),
            ("ab/", "a/", true, 0, None),
        ] {
            let split = |text: &str| text.split_once('/').map(|(firing, resolved)| (set(firing), set(resolved)));
            let told = split(told).map(|(firing, resolved)| Told { at_ms: 1000, firing, resolved });
            let (firing, resolved) = split(is).expect("firing/resolved");
            let decided = decide(told.as_ref(), &Group { firing, resolved }, wishes(send_resolved), 1000 + since_ms);
            assert_eq!(decided, want, "{told:?} {is}");
        }
    }

    proptest! {
        /// A receiver that is told whatever is decided learns of every alert, and is not told the same twice before it wants to.
        #[test]
        fn nothing_is_missed_nor_said_twice(
            rounds in prop::collection::vec((prop::collection::btree_set(0_u64..5, 0..4), 1_i64..50), 1..40),
            send_resolved in any::<bool>(),
        ) {
            let wishes = Wishes { send_resolved, repeat_ms: 100 };
            let (mut told, mut now_ms, mut before): (Option<Told>, i64, BTreeSet<u64>) = (None, 0, BTreeSet::new());
            for (firing, pause_ms) in rounds {
                now_ms += pause_ms;
                let resolved = before.difference(&firing).copied().collect();
                let group = Group { firing: firing.clone(), resolved };
                let reason = decide(told.as_ref(), &group, wishes, now_ms);
                if let Some(reason) = reason {
                    let same = told.as_ref().is_some_and(|told| told.firing == group.firing && told.resolved == group.resolved);
                    prop_assert!(!same || reason == Reason::Repeat, "{:?}", reason);
                    told = Some(Told { at_ms: now_ms, firing: group.firing.clone(), resolved: group.resolved.clone() });
                }
                let known = told.as_ref().map(|told| &told.firing);
                prop_assert!(firing.iter().all(|alert| known.is_some_and(|known| known.contains(alert))));
                prop_assert!(!firing.is_empty() || known.is_none_or(BTreeSet::is_empty), "an end that nobody was told");
                prop_assert!(decide(told.as_ref(), &group, wishes, now_ms).is_none(), "at once again");
                before = firing;
            }
        }
    }
}
