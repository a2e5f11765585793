//! Which leaks are worth a capture: a site that reaches grade 2, once a day for each process and site, so that the evidence is
//! there in the morning, and a leak that stays costs no more than that.

use std::collections::HashMap;
use std::fmt::Write as _;

use crate::go::identity::Life;
use crate::go::leaks::{Grade, SiteVerdict, Verdict};

/// Time after which the same site of the same process is captured again.
const AGAIN_MS: u64 = 86_400_000;
/// Most sites that are remembered; the oldest are forgotten.
const SITES_MAX: usize = 1024;
/// Shortest time between two captures of a process, whatever leaks there.
const BETWEEN_MS: u64 = 600_000;

/// A site of a process.
type Key = (Life, String, String);

/// A capture that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Why, for people: grade, site and evidence.
    pub reason: String,
}

/// Remembers what was captured.
#[derive(Debug, Default)]
pub struct Trigger {
    captured: HashMap<Key, (Grade, i64)>,
    processes: HashMap<Life, i64>,
}

impl Trigger {
    /// Whether the verdict on `life` makes a capture wanted at `now_ms`. One capture shows all sites of the process.
    pub fn look(&mut self, life: &Life, verdict: &Verdict, now_ms: i64) -> Option<Wanted> {
        let recent = |of: Option<&i64>, within_ms: u64| of.is_some_and(|at_ms| now_ms.abs_diff(*at_ms) < within_ms);
        if recent(self.processes.get(life), BETWEEN_MS) {
            return None;
        }
        let key = |of: &SiteVerdict| (life.clone(), of.site.function.clone(), of.site.created_by.clone());
        let is_new = |of: &&SiteVerdict| {
            let known = self.captured.get(&key(of));
            of.grade >= Grade::Probable && !recent(known.map(|(_, at_ms)| at_ms), AGAIN_MS)
        };
        let first = verdict.sites.iter().find(is_new)?;
        let reason = reason(first);
        for of in verdict.sites.iter().filter(|of| of.grade >= Grade::Probable) {
            self.captured.insert(key(of), (of.grade, now_ms));
        }
        self.processes.insert(life.clone(), now_ms);
        self.forget(now_ms);
        Some(Wanted { reason })
    }

    fn forget(&mut self, now_ms: i64) {
        self.captured.retain(|_, (_, at_ms)| now_ms.abs_diff(*at_ms) < AGAIN_MS);
        self.processes.retain(|_, at_ms| now_ms.abs_diff(*at_ms) < BETWEEN_MS);
        while self.captured.len() > SITES_MAX {
            let oldest = self.captured.iter().min_by_key(|(_, (_, at_ms))| *at_ms).map(|(key, _)| key.clone());
            let Some(oldest) = oldest else { break };
            self.captured.remove(&oldest);
        }
    }
}

fn reason(of: &SiteVerdict) -> String {
    let word = match of.grade {
        Grade::Proved => "proved",
        Grade::Strong => "strong",
        _ => "probable",
    };
    let site = &of.site;
    let mut reason =
        format!("goroutines leak, grade {} ({word}): {} at {}", of.grade.number(), of.count, site.function);
    // A string takes everything.
    if !site.wait.is_empty() {
        let _ = write!(reason, " in {}", site.wait);
    }
    if !site.created_by.is_empty() {
        let _ = write!(reason, ", created by {}", site.created_by);
    }
    if let Some(line) = of.line.as_ref().filter(|line| line.line > 0) {
        let _ = write!(reason, " ({}:{})", line.file, line.line);
    }
    reason
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::go::census::{Site, SourceLine};

    fn life(pid: i32) -> Life {
        Life { start_ticks: 1, pid, name: "api".to_owned() }
    }

    fn site(function: &str, grade: Grade) -> SiteVerdict {
        SiteVerdict {
            site: Site {
                function: function.to_owned(),
                created_by: "main.main".to_owned(),
                wait: "chan send".to_owned(),
            },
            grade,
            count: 120,
            floors: vec![1, 2, 3],
            growth_per_hour: 5.0,
            since_ms: 0,
            longest_blocked_ms: None,
            leaked: 0,
            line: Some(SourceLine { file: "/src/main.go".to_owned(), line: 41 }),
            blocked_at: None,
        }
    }

    fn verdict(sites: Vec<SiteVerdict>) -> Verdict {
        Verdict { grade: sites.first().map_or(Grade::Nothing, |of| of.grade), sites }
    }

    #[test]
    fn each_site_once_a_day_and_a_process_not_too_often() {
        let mut trigger = Trigger::default();
        let one = verdict(vec![site("main.leak", Grade::Probable)]);
        let two = verdict(vec![site("main.leak", Grade::Strong), site("main.other", Grade::Probable)]);
        assert_eq!(trigger.look(&life(1), &verdict(Vec::new()), 0), None);
        let hint = Verdict { grade: Grade::Hint, sites: Vec::new() };
        assert_eq!(trigger.look(&life(1), &hint, 0), None);
        let reason = trigger.look(&life(1), &one, 0).map(|wanted| wanted.reason);
        let want = "goroutines leak, grade 2 (probable): 120 at main.leak in chan send, created by main.main (/src/main.go:41)";
        assert_eq!(reason.as_deref(), Some(want));
        assert_eq!(trigger.look(&life(1), &one, 60_000), None);
        assert!(trigger.look(&life(2), &one, 60_000).is_some(), "another process");
        assert_eq!(trigger.look(&life(1), &two, 60_000), None, "the process was captured just now");
        let reason = trigger.look(&life(1), &two, 700_000).map(|wanted| wanted.reason);
        assert!(reason.is_some_and(|reason| reason.contains("main.other")), "a new site");
        assert_eq!(trigger.look(&life(1), &two, 80_000_000), None);
        assert!(trigger.look(&life(1), &two, 88_000_000).is_some(), "a day later");
        assert!(trigger.look(&life(1), &two, -88_000_000).is_some(), "a clock set back blocks nothing");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut trigger = Trigger::default();
        for pid in 0..2_000 {
            assert!(trigger.look(&life(pid), &verdict(vec![site("main.leak", Grade::Probable)]), pid.into()).is_some());
        }
        assert_eq!(trigger.captured.len(), SITES_MAX);
    }
}
