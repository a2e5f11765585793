//! The silences there are, and which of them mute an alert.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use model::{LabelsRef, MatchOp};

use super::silence::{Change, Silence, State};

/// What became of silences.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Changed {
    pub(super) silence: Silence,
    /// `created`, `updated` or `expired`.
    pub(super) change: &'static str,
}

/// Why a silence is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SilenceError {
    /// There is none with this id.
    #[error("silence {0} not found")]
    Unknown(String),
    /// It is none; the message says why.
    #[error("{0}")]
    Invalid(String),
    /// There are too many.
    #[error("there are {0} silences, which is the limit; expired ones are forgotten after a while")]
    Full(usize),
    /// It is over already.
    #[error("silence {0} is over already")]
    Expired(String),
    /// The file of settings makes it.
    #[error("silence {0} is made by the routing file; change it there")]
    OfFile(String),
}

#[derive(Debug, Default)]
pub(super) struct Silences {
    all: BTreeMap<String, Silence>,
    /// Those of the file.
    of_file: BTreeMap<String, Silence>,
    /// Ids by a label and value that all their alerts have, for each set of matchers that demands one.
    by_pair: HashMap<(String, String), Vec<String>>,
    /// Ids of the rest.
    general: Vec<String>,
    /// When each was looked at, and until when that holds.
    looked: Mutex<HashMap<String, (i64, Option<i64>)>>,
}

impl Silences {
    pub(super) fn get(&self, id: &str) -> Option<&Silence> {
        self.all.get(id).or_else(|| self.of_file.get(id))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Silence> {
        self.all.values().chain(self.of_file.values())
    }

    pub(super) fn set_of_file(&mut self, silences: Vec<Silence>) {
        self.of_file = silences.into_iter().map(|silence| (silence.id.clone(), silence)).collect();
        self.index();
    }

    pub(super) fn restore(&mut self, silences: Vec<Silence>) {
        self.all.extend(silences.into_iter().map(|silence| (silence.id.clone(), silence)));
        self.index();
    }

    /// Those that people made, to [go back to](Self::go_back).
    pub(super) fn made(&self) -> BTreeMap<String, Silence> {
        self.all.clone()
    }

    pub(super) fn go_back(&mut self, made: BTreeMap<String, Silence>) {
        self.all = made;
        self.index();
    }

    /// Makes `wanted`, or changes the one whose id it has. A new one is called `new_id`.
    pub(super) fn set(
        &mut self,
        mut wanted: Silence,
        new_id: String,
        max: usize,
        now_ms: i64,
    ) -> Result<(String, Vec<Changed>), SilenceError> {
        wanted.updated_ms = now_ms;
        if self.of_file.contains_key(&wanted.id) {
            return Err(SilenceError::OfFile(wanted.id));
        }
        let mut changed = Vec::new();
        if !wanted.id.is_empty() {
            let Some(old) = self.all.get_mut(&wanted.id) else { return Err(SilenceError::Unknown(wanted.id)) };
            wanted.check(now_ms).map_err(SilenceError::Invalid)?;
            if old.change(&wanted, now_ms) == Change::Same {
                let id = wanted.id.clone();
                *old = wanted.clone();
                self.index();
                changed.push(Changed { silence: wanted, change: "updated" });
                return Ok((id, changed));
            }
        }
        // A new one does not mute what was.
        wanted.starts_ms = wanted.starts_ms.max(now_ms);
        wanted.check(now_ms).map_err(SilenceError::Invalid)?;
        if self.all.len() >= max {
            return Err(SilenceError::Full(max));
        }
        // It takes the place of the old one, which does not end without it.
        if let Some(old) = self.all.get_mut(&wanted.id)
            && old.expire(now_ms)
        {
            changed.push(Changed { silence: old.clone(), change: "expired" });
        }
        wanted.id.clone_from(&new_id);
        self.all.insert(new_id.clone(), wanted.clone());
        self.index();
        changed.push(Changed { silence: wanted, change: "created" });
        Ok((new_id, changed))
    }

    /// Ends one.
    pub(super) fn expire(&mut self, id: &str, now_ms: i64) -> Result<Changed, SilenceError> {
        if self.of_file.contains_key(id) {
            return Err(SilenceError::OfFile(id.to_owned()));
        }
        let silence = self.all.get_mut(id).ok_or_else(|| SilenceError::Unknown(id.to_owned()))?;
        if !silence.expire(now_ms) {
            return Err(SilenceError::Expired(id.to_owned()));
        }
        let changed = Changed { silence: silence.clone(), change: "expired" };
        self.index();
        Ok(changed)
    }

    /// Forgets those that were over at `before_ms`.
    pub(super) fn forget(&mut self, before_ms: i64) -> Vec<String> {
        let gone: Vec<String> =
            self.all.extract_if(.., |_, silence| silence.ends_ms <= before_ms).map(|(id, _)| id).collect();
        if !gone.is_empty() {
            self.index();
        }
        gone
    }

    /// Those that mute alerts with `labels` at `now_ms`, by id.
    pub(super) fn muting(&self, labels: LabelsRef<'_>, now_ms: i64) -> Vec<&Silence> {
        let pairs = labels.iter().filter_map(|(name, value)| self.by_pair.get(&(name.to_owned(), value.to_owned())));
        let mut ids: Vec<&String> = pairs.flatten().chain(&self.general).collect();
        ids.sort_unstable();
        ids.dedup();
        let found = ids.into_iter().filter_map(|id| self.get(id));
        found.filter(|silence| silence.state(now_ms) == State::Active && silence.matches(labels)).collect()
    }

    /// Until when nothing is to be asked of a silence; `None`: ever. Looked for once until then.
    pub(super) fn look_again_ms(&self, silence: &Silence, now_ms: i64) -> Option<i64> {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        match looked.get(&silence.id) {
            Some((from_ms, until_ms)) if now_ms >= *from_ms && until_ms.is_none_or(|until_ms| now_ms < until_ms) => {
                *until_ms
            }
            _ => {
                let until_ms = silence.look_again_ms(now_ms);
                looked.insert(silence.id.clone(), (now_ms, until_ms));
                until_ms
            }
        }
    }

    /// Orders them anew, after any of them changed.
    fn index(&mut self) {
        self.looked.get_mut().unwrap_or_else(PoisonError::into_inner).clear();
        let (mut by_pair, mut general) = (HashMap::<_, Vec<_>>::new(), Vec::new());
        for silence in self.iter() {
            for set in &silence.sets {
                let demands = set.iter().find(|one| one.op() == MatchOp::Equal && !one.value().is_empty());
                match demands {
                    Some(one) => {
                        let pair = (one.name().to_owned(), one.value().to_owned());
                        by_pair.entry(pair).or_default().push(silence.id.clone());
                    }
                    None => general.push(silence.id.clone()),
                }
            }
        }
        (self.by_pair, self.general) = (by_pair, general);
    }
}

#[cfg(test)]
mod tests {
    use model::Labels;

    use super::*;
    use crate::matchers::parse_matchers;

    fn silence(matchers: &str, starts_ms: i64, ends_ms: i64) -> Silence {
        Silence {
            id: String::new(),
            sets: matchers.split(" or ").map(|set| parse_matchers(set).expect("matchers")).collect(),
            starts_ms,
            ends_ms,
            updated_ms: 0,
            created_by: String::new(),
            comment: String::new(),
            recurrence: None,
        }
    }

    #[test]
    fn silences_are_made_changed_and_ended() {
        let mut all = Silences::default();
        let told = |changed: &[Changed]| {
            changed.iter().map(|one| format!("{} {}", one.change, one.silence.id)).collect::<Vec<_>>().join(", ")
        };
        let (id, changed) = all.set(silence("a=b", 0, 200), "1".into(), 2, 100).expect("a silence");
        assert_eq!((id.as_str(), told(&changed).as_str(), changed[0].silence.starts_ms), ("1", "created 1", 100));
        let longer = Silence { id, ..silence("a=b", 100, 300) };
        assert_eq!(
            all.set(longer.clone(), "2".into(), 2, 110).map(|(id, changed)| (id, told(&changed))),
            Ok(("1".into(), "updated 1".into()))
        );
        let other = Silence { sets: silence("a=c", 0, 0).sets, ..longer };
        let (id, changed) = all.set(other, "2".into(), 2, 120).expect("another");
        assert_eq!((id.as_str(), told(&changed).as_str()), ("2", "expired 1, created 2"));
        // One that finds no place does not end the one whose place it was to take.
        let third = Silence { id, ..silence("a=d", 120, 300) };
        assert_eq!(all.set(third, "3".into(), 2, 125), Err(SilenceError::Full(2)));
        assert_eq!(all.get("2").map(|one| one.state(126)), Some(State::Active));
        assert_eq!(all.set(silence("a=d", 0, 200), "3".into(), 2, 120), Err(SilenceError::Full(2)));
        let past = all.set(silence("a=d", 0, 50), "3".into(), 3, 120).expect_err("it is over");
        assert!(past.to_string().contains("is past"), "{past}");
        assert_eq!(all.expire("1", 130), Err(SilenceError::Expired("1".into())));
        assert_eq!(all.expire("9", 130), Err(SilenceError::Unknown("9".into())));
        assert!(all.expire("2", 130).is_ok());
        assert_eq!(all.forget(120), ["1"]);
        assert_eq!(all.forget(130), ["2"]);
    }

    #[test]
    fn what_a_silence_changes_at_is_looked_for_once() {
        let mut all = Silences::default();
        let (id, _) = all.set(silence("a=b", 0, 200), "1".into(), 9, 100).expect("a silence");
        let again = |all: &Silences, now_ms| all.look_again_ms(all.get("1").expect("a silence"), now_ms);
        assert_eq!((again(&all, 100), again(&all, 150)), (Some(200), Some(200)));
        assert_eq!(again(&all, 200), None, "it is over then");
        all.set(Silence { id, ..silence("a=b", 100, 300) }, "2".into(), 9, 150).expect("longer");
        assert_eq!(again(&all, 150), Some(300));
        all.expire("1", 160).expect("it goes on");
        assert_eq!(again(&all, 160), None);
    }

    #[test]
    fn the_index_finds_what_matches() {
        let mut all = Silences::default();
        for (at, matchers) in ["a=b", "a=~\"b|c\"", "x=y,a=c or a=b,z!=q", "a!=b,k=v"].into_iter().enumerate() {
            all.set(silence(matchers, 0, 200), at.to_string(), 9, 100).expect("a silence");
        }
        let muting = |pairs: &[(&str, &str)], now_ms| {
            let labels = Labels::from_pairs(pairs.iter().copied()).expect("labels");
            all.muting(labels.as_ref(), now_ms).iter().map(|one| one.id.as_str()).collect::<Vec<_>>().join("")
        };
        assert_eq!(muting(&[("a", "b")], 150), "012");
        assert_eq!(muting(&[("a", "b"), ("z", "q")], 150), "01");
        assert_eq!(muting(&[("a", "c"), ("x", "y")], 150), "12");
        assert_eq!(muting(&[("k", "v")], 150), "3");
        assert_eq!(muting(&[("a", "b")], 200), "");
    }
}
