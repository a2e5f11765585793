//! What a process is called in labels: what it calls itself where it pushes, so that what others read of it goes with that; else
//! by its executable. Such a process keeps its slot, a small number among those of its name, for life; its successor takes the
//! lowest free one. Restarts therefore do not make new series, as process ids would.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use super::ways::ProcessKey;

/// One life of one program: the process id, when it started, and the name of its executable, which `exec` changes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Life {
    /// Start of the process in clock ticks since boot; with the id it tells apart processes that reuse an id.
    pub start_ticks: u64,
    /// The process id.
    pub pid: i32,
    /// Name of the executable.
    pub name: String,
}

/// What a process is called in labels. No two processes of a host are called the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Identity {
    /// Value of label `job`.
    pub job: String,
    /// Value of label `instance`.
    pub instance: String,
}

/// What processes are called: as they call themselves where they push, by their executable and a slot otherwise.
///
/// Of several that call themselves the same the one that started first keeps the name. A process that pushes no more keeps its name for as
/// long as no other pushes under it. Slots give way to names: a process whose slot another one claims takes the next that is free.
#[derive(Debug)]
pub struct Identities {
    host: String,
    slots: HashMap<Life, u32>,
    adopted: HashMap<Life, Identity>,
}

/// What [`Identities`] would otherwise forget with the agent, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Names {
    pub(super) slots: Vec<(Life, u32)>,
    pub(super) adopted: Vec<(Life, Identity)>,
}

impl Identities {
    /// Names of processes of `host`.
    pub fn new(host: &str) -> Self {
        Self { host: host.to_owned(), slots: HashMap::new(), adopted: HashMap::new() }
    }

    /// What there is to remember.
    pub(super) fn names(&self) -> Names {
        let slots = self.slots.iter().map(|(life, slot)| (life.clone(), *slot));
        let adopted = self.adopted.iter().map(|(life, identity)| (life.clone(), identity.clone()));
        let mut names = Names { slots: slots.collect(), adopted: adopted.collect() };
        names.slots.sort();
        names.adopted.sort();
        names
    }

    /// Goes on from what is remembered, before anything is assigned.
    pub(super) fn restore(&mut self, names: Names) {
        let mut used = HashSet::new();
        self.slots = names.slots.into_iter().filter(|(life, slot)| used.insert((life.name.clone(), *slot))).collect();
        self.adopted = names.adopted.into_iter().collect();
    }

    /// Takes note of the lives there are now, and of what running processes call themselves, be they among `lives` or not; returns what each
    /// of `lives` is called, in the same order.
    pub fn assign(&mut self, lives: &[Life], claims: &[(ProcessKey, Identity)]) -> Vec<Identity> {
        let taken = self.adopt(lives, claims);
        let alive: HashSet<&Life> = lives.iter().collect();
        let host = &self.host;
        let is_free = |name: &str, slot: u32| !taken.contains(&own(host, name, slot));
        self.slots.retain(|life, slot| {
            alive.contains(life) && !self.adopted.contains_key(life) && is_free(&life.name, *slot)
        });
        let mut used: HashMap<&str, HashSet<u32>> = HashMap::new();
        for (life, slot) in &self.slots {
            used.entry(life.name.as_str()).or_default().insert(*slot);
        }
        let has_name = |life: &Life| self.slots.contains_key(life) || self.adopted.contains_key(life);
        let mut new: Vec<&Life> = alive.into_iter().filter(|life| !has_name(life)).collect();
        new.sort();
        let mut given = Vec::with_capacity(new.len());
        for life in new {
            let used = used.entry(life.name.as_str()).or_default();
            let fits = |slot: &u32| !used.contains(slot) && is_free(&life.name, *slot);
            let slot = (0..u32::MAX).find(fits).unwrap_or(u32::MAX);
            used.insert(slot);
            given.push((life.clone(), slot));
        }
        self.slots.extend(given);
        let name = |life: &Life| match self.adopted.get(life) {
            Some(adopted) => adopted.clone(),
            None => own(host, &life.name, self.slots.get(life).copied().unwrap_or(u32::MAX)),
        };
        lives.iter().map(name).collect()
    }

    /// Settles who is called as they say; returns every name that slots are to leave alone.
    fn adopt(&mut self, lives: &[Life], claims: &[(ProcessKey, Identity)]) -> HashSet<Identity> {
        let mut claims: Vec<_> = claims.iter().collect();
        claims.sort_by_key(|(key, _)| (key.start_ticks, key.pid));
        let mut holders: HashMap<&Identity, ProcessKey> = HashMap::new();
        for (key, identity) in &claims {
            holders.entry(identity).or_insert(*key);
        }
        let claimed: HashMap<ProcessKey, &Identity> = claims.iter().map(|(key, identity)| (*key, identity)).collect();
        let mut oldest_first: Vec<&Life> = lives.iter().collect();
        oldest_first.sort();
        let before = std::mem::take(&mut self.adopted);
        for life in &oldest_first {
            let key = ProcessKey::from(*life);
            if let Some(kept) = before.get(*life).filter(|_| !claimed.contains_key(&key)) {
                holders.entry(kept).or_insert(key);
            }
        }
        for life in oldest_first {
            let key = ProcessKey::from(life);
            let Some(identity) = claimed.get(&key).copied().or_else(|| before.get(life)) else { continue };
            if holders.get(identity) == Some(&key) {
                self.adopted.insert(life.clone(), identity.clone());
            }
        }
        holders.into_keys().cloned().collect()
    }
}

/// What a process with this `slot` is called.
fn own(host: &str, name: &str, slot: u32) -> Identity {
    Identity { job: name.to_owned(), instance: format!("{host}/{slot}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn life(start_ticks: u64, pid: i32, name: &str) -> Life {
        Life { start_ticks, pid, name: name.to_owned() }
    }

    fn claim(life: &Life, identity: &str) -> (ProcessKey, Identity) {
        let (job, instance) = identity.split_once(' ').expect("a job and an instance");
        (life.into(), Identity { job: job.to_owned(), instance: instance.to_owned() })
    }

    #[track_caller]
    fn check(identities: &mut Identities, lives: &[&Life], claims: &[(&Life, &str)], want: &[&str]) {
        let lives: Vec<Life> = lives.iter().copied().cloned().collect();
        let claims: Vec<_> = claims.iter().map(|(life, identity)| claim(life, identity)).collect();
        let given = identities.assign(&lives, &claims);
        let shown: Vec<String> = given.iter().map(|one| format!("{} {}", one.job, one.instance)).collect();
        assert_eq!(shown, want);
        assert_eq!(given.iter().collect::<HashSet<_>>().len(), given.len(), "no two are called the same");
    }

    #[test]
    fn slots_are_kept_for_life_and_reused_after() {
        let mut identities = Identities::new("h");
        let mut slots = |lives: &[&Life], want: &[&str]| check(&mut identities, lives, &[], want);
        let (a, b, other) = (life(1, 10, "api"), life(2, 11, "api"), life(3, 12, "web"));
        slots(&[&b, &a, &other], &["api h/1", "api h/0", "web h/0"]);
        slots(&[&b, &other], &["api h/1", "web h/0"]);
        let reused_pid = life(9, 10, "api");
        slots(&[&reused_pid, &b], &["api h/0", "api h/1"]);
        let third = life(10, 13, "api");
        slots(&[&third, &reused_pid, &b], &["api h/2", "api h/0", "api h/1"]);
        slots(&[&life(9, 10, "api2")], &["api2 h/0"]);
    }

    #[test]
    fn a_process_is_called_as_it_calls_itself() {
        let mut identities = Identities::new("h");
        let (a, b) = (life(1, 10, "api"), life(2, 11, "api"));
        check(&mut identities, &[&a, &b], &[], &["api h/0", "api h/1"]);
        check(&mut identities, &[&a, &b], &[(&a, "shop box/7")], &["shop box/7", "api h/1"]);
        check(&mut identities, &[&a, &b], &[(&a, "shop box/8")], &["shop box/8", "api h/1"]);
        check(&mut identities, &[&a, &b], &[], &["shop box/8", "api h/1"]);
        let successor = life(3, 12, "api");
        check(&mut identities, &[&b, &successor], &[(&successor, "shop box/8")], &["api h/1", "shop box/8"]);
    }

    #[test]
    fn an_agent_that_starts_anew_calls_them_as_before() {
        // The first was restarted and took the slot that it had; the second one is older.
        let (b, a) = (life(2, 11, "api"), life(5, 14, "api"));
        let mut identities = Identities::new("h");
        check(&mut identities, &[&b, &a], &[], &["api h/0", "api h/1"]);
        check(&mut identities, &[&b, &a], &[(&a, "api h/0")], &["api h/1", "api h/0"]);
        check(&mut identities, &[&b, &a], &[(&a, "api h/0"), (&b, "api h/1")], &["api h/1", "api h/0"]);
    }

    #[test]
    fn of_two_that_claim_a_name_the_first_has_it() {
        let mut identities = Identities::new("h");
        let (a, b, c) = (life(1, 10, "api"), life(2, 11, "api"), life(3, 12, "api"));
        let all = [&a, &b, &c];
        check(&mut identities, &all, &[(&c, "api h/0"), (&b, "api h/0")], &["api h/1", "api h/0", "api h/2"]);
        // One that is not among those found has it, though nobody is called so here.
        check(&mut identities, &[&b, &c], &[(&a, "api h/0"), (&b, "api h/0")], &["api h/1", "api h/2"]);
        // One that pushes goes before one that did.
        check(&mut identities, &[&b, &c], &[(&b, "x y")], &["x y", "api h/2"]);
        check(&mut identities, &[&b, &c], &[(&c, "x y")], &["api h/0", "x y"]);
    }
}
