//! What a process is called in labels. A process keeps its slot, a small number among those of its name, for life; its
//! successor takes the lowest free one. Restarts therefore do not make new series, as process ids would.

use std::collections::{HashMap, HashSet};

/// One life of one program: the process id, when it started, and the name of its executable, which `exec` changes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Life {
    /// Start of the process in clock ticks since boot; with the id it tells apart processes that reuse an id.
    pub start_ticks: u64,
    /// The process id.
    pub pid: i32,
    /// Name of the executable.
    pub name: String,
}

/// Which life has which slot.
#[derive(Debug, Default)]
pub struct Slots {
    taken: HashMap<Life, u32>,
}

impl Slots {
    /// Takes note of the lives there are now and returns the slot of each, in the same order.
    pub fn assign(&mut self, lives: &[Life]) -> Vec<u32> {
        let alive: HashSet<&Life> = lives.iter().collect();
        self.taken.retain(|life, _| alive.contains(life));
        let mut used: HashMap<&str, HashSet<u32>> = HashMap::new();
        for (life, slot) in &self.taken {
            used.entry(life.name.as_str()).or_default().insert(*slot);
        }
        let mut new: Vec<&Life> = alive.into_iter().filter(|life| !self.taken.contains_key(*life)).collect();
        new.sort();
        let mut given = Vec::with_capacity(new.len());
        for life in new {
            let used = used.entry(life.name.as_str()).or_default();
            let slot = (0..u32::MAX).find(|slot| !used.contains(slot)).unwrap_or(u32::MAX);
            used.insert(slot);
            given.push((life.clone(), slot));
        }
        self.taken.extend(given);
        lives.iter().map(|life| self.taken.get(life).copied().unwrap_or(u32::MAX)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn life(start_ticks: u64, pid: i32, name: &str) -> Life {
        Life { start_ticks, pid, name: name.to_owned() }
    }

    #[test]
    fn slots_are_kept_for_life_and_reused_after() {
        let mut slots = Slots::default();
        let (a, b, other) = (life(1, 10, "api"), life(2, 11, "api"), life(3, 12, "web"));
        assert_eq!(slots.assign(&[b.clone(), a.clone(), other.clone()]), [1, 0, 0], "by start, name by name");
        assert_eq!(slots.assign(&[b.clone(), other.clone()]), [1, 0], "the younger keeps its slot");
        let reused_pid = life(9, 10, "api");
        assert_eq!(slots.assign(&[reused_pid.clone(), b.clone()]), [0, 1], "the successor takes the free slot");
        let third = life(10, 13, "api");
        assert_eq!(slots.assign(&[third, reused_pid, b]), [2, 0, 1]);
        let after_exec = life(9, 10, "api2");
        assert_eq!(slots.assign(&[after_exec]), [0]);
    }
}
