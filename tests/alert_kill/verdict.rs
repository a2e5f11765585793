//! What is wrong with what was told: alerts that nobody heard of, times that were reset, and what was said twice without need.
//!
//! - **Lost**: who is to be told of an alert was not told that it fires, or not of its end. Of alerts that come and go without waiting to be
//!   told, begins and ends between two looks at their group may go untold; but the last word of each must be its end.
//! - **Reset**: of one time during which a condition was true there is more than one begin, in notifications, in `ALERTS_FOR_STATE` or in the
//!   API; an alert pends for longer than its `for`, or pends after it fired; it fires before its `for` is over.
//! - **Doubled**: a notification that says nothing that its receiver was not told of its group. It is allowed once after a kill that came before
//!   the server can have known what became of the notification before it; elsewhere it is a fault.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use crate::scenario::Kind;
use crate::sink::{Said, Told};
use crate::world::Episode;

/// An alert, and when its condition was true.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) episodes: Vec<Episode>,
}

impl Subject {
    /// Which of its episodes an evaluation at `at_ms` saw.
    fn episode(&self, at_ms: i64) -> Option<usize> {
        self.episodes.iter().rposition(|episode| episode.rose_ms <= at_ms)
    }
}

/// What an evaluation left behind, or the API told, of an alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) name: String,
    /// When it was evaluated, or asked for.
    pub(crate) at_ms: i64,
    pub(crate) fires: bool,
    /// Since when it is active: between the two.
    pub(crate) active_ms: (i64, i64),
}

/// What a receiver was told of a group, and the last notification.
type Heard<'a> = (Vec<(&'a str, &'a Said)>, &'a Told);

/// Everything there is to judge.
#[derive(Debug, Default)]
pub(crate) struct Evidence {
    pub(crate) subjects: Vec<Subject>,
    /// By when it came.
    pub(crate) told: Vec<Told>,
    /// Of lives at whose end nothing was on its way: when that was asked.
    pub(crate) quiet: BTreeMap<u64, Instant>,
    /// `ALERTS` and `ALERTS_FOR_STATE`, by time.
    pub(crate) series: Vec<State>,
    /// Answers of the API, by time.
    pub(crate) answers: Vec<State>,
}

/// What is wrong, in words.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) lost: Vec<String>,
    pub(crate) reset: Vec<String>,
    pub(crate) doubled: Vec<String>,
    /// Notifications that said nothing new, after kills that explain them.
    pub(crate) duplicates: usize,
}

impl Evidence {
    pub(crate) fn judge(&self) -> Verdict {
        let mut verdict = Verdict::default();
        for subject in &self.subjects {
            self.lost(subject, &mut verdict.lost);
            self.reset(subject, &mut verdict.reset);
        }
        self.doubled(&mut verdict);
        verdict
    }

    /// What was said of `name` at `path`, in order.
    fn said<'a>(&'a self, name: &'a str, path: &'a str) -> impl Iterator<Item = &'a Said> {
        self.told.iter().filter(move |told| told.path == path).filter_map(move |told| told.alerts.get(name))
    }

    fn lost(&self, subject: &Subject, lost: &mut Vec<String>) {
        let name = &subject.name;
        for path in subject.kind.paths {
            let final_word = self.said(name, path).last();
            if final_word.is_some_and(|said| said.fires) {
                lost.push(format!("{path} was not told of the last end of {name}"));
            }
            let episodes = subject.episodes.iter().enumerate().filter(|_| subject.kind.patient);
            for (number, episode) in episodes {
                let of_it = |said: &&Said| subject.episode(said.starts_ms) == Some(number);
                let mut said = self.said(name, path).filter(of_it).skip_while(|said| !said.fires);
                let (begin, end) = (said.next(), said.any(|said| !said.fires));
                for what in [(begin.is_none(), "begin"), (begin.is_some() && !end, "end")] {
                    if what.0 {
                        lost.push(format!("{path} was not told of the {} of {name}, true in {episode:?}", what.1));
                    }
                }
            }
        }
    }

    fn reset(&self, subject: &Subject, reset: &mut Vec<String>) {
        let (name, hold_ms) = (&subject.name, subject.kind.hold_ms);
        let mut starts: BTreeMap<usize, BTreeSet<i64>> = BTreeMap::new();
        for path in subject.kind.paths {
            let mut before_ms = i64::MIN;
            for said in self.said(name, path) {
                let Some(number) = subject.episode(said.starts_ms) else {
                    reset.push(format!("{name} began at {} by {path}, before it was true", said.starts_ms));
                    continue;
                };
                starts.entry(number).or_default().insert(said.starts_ms);
                let rose_ms = subject.episodes[number].rose_ms;
                if said.starts_ms < rose_ms + hold_ms {
                    reset.push(format!(
                        "{name} fired at {} with a `for` of {hold_ms} ms since {rose_ms}",
                        said.starts_ms
                    ));
                }
                if said.starts_ms < before_ms {
                    reset.push(format!("{path} was told that {name} began at {before_ms}, then {}", said.starts_ms));
                }
                before_ms = said.starts_ms;
            }
        }
        for (number, all) in starts.iter().filter(|(_, all)| all.len() > 1) {
            reset.push(format!("{name} was told to have begun at {all:?}, in {:?}", subject.episodes[*number]));
        }
        for (what, all) in [("in its series", &self.series), ("by the API", &self.answers)] {
            let mut active: BTreeMap<usize, (i64, i64)> = BTreeMap::new();
            let mut fired: BTreeSet<(i64, i64)> = BTreeSet::new();
            for State { at_ms, fires, active_ms, .. } in all.iter().filter(|state| state.name == *name) {
                let Some(number) = subject.episode(active_ms.1) else {
                    reset.push(format!("{name} is active {what} since {active_ms:?}, before it was true"));
                    continue;
                };
                let first = *active.entry(number).or_insert(*active_ms);
                if first != *active_ms {
                    reset.push(format!("{name} is active {what} since {first:?}, then since {active_ms:?}"));
                }
                if *fires {
                    fired.insert(*active_ms);
                } else if fired.contains(active_ms) {
                    reset.push(format!("{name} pends {what} at {at_ms}, and fired before"));
                } else if what == "in its series" && *at_ms >= active_ms.1 + hold_ms {
                    reset
                        .push(format!("{name} pends {what} at {at_ms} since {active_ms:?}, its `for` is {hold_ms} ms"));
                }
            }
        }
    }

    fn doubled(&self, verdict: &mut Verdict) {
        let mut known: BTreeMap<(&str, &str), Heard<'_>> = BTreeMap::new();
        for told in &self.told {
            let alerts = told.alerts.iter().map(|(name, said)| (name.as_str(), said));
            let Some((said, last)) = known.get_mut(&(&told.path, &told.group_key)) else {
                known.insert((&told.path, &told.group_key), (alerts.collect(), told));
                continue;
            };
            let news: Vec<(&str, &Said)> = alerts.filter(|alert| !said.contains(alert)).collect();
            if news.is_empty() {
                let is_settled = self.quiet.get(&last.life).is_some_and(|asked| last.came < *asked);
                if told.life == last.life {
                    verdict.doubled.push(format!("without a kill: {told:?} after {last:?}"));
                } else if is_settled {
                    verdict.doubled.push(format!("after a kill with nothing on its way: {told:?} after {last:?}"));
                } else {
                    verdict.duplicates += 1;
                }
            }
            said.extend(news);
            *last = told;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::scenario::KINDS;

    /// `life seconds path name±starts,…`: `+` fires, `-` has ended.
    fn told(began: Instant, text: &str) -> Told {
        let parts: Vec<&str> = text.split(' ').collect();
        let [life, at_s, path, alerts] = parts[..] else { panic!("{text}") };
        let alert = |alert: &str| {
            let fires = alert.contains('+');
            let (name, starts) = alert.split_once(['+', '-']).expect("a sign");
            (name.to_owned(), Said { fires, starts_ms: starts.parse().expect("a number") })
        };
        Told {
            life: life.parse().expect("a number"),
            path: path.to_owned(),
            group_key: "g".to_owned(),
            alerts: alerts.split(',').map(alert).collect(),
            came: began + Duration::from_secs(at_s.parse().expect("a number")),
        }
    }

    /// Two alerts, one with a `for` of two seconds at two receivers; each true from 1000 to 9000 and from 20000 to 29000.
    fn evidence(lines: &[&str], quiet: &[(u64, u64)]) -> Evidence {
        let began = Instant::now();
        let episode = |rose_ms, fell_ms| Episode { rose_ms, fell_ms: Some(fell_ms) };
        let of = |name: &str, kind: Kind| Subject {
            name: name.to_owned(),
            kind,
            episodes: vec![episode(1_000, 9_000), episode(20_000, 29_000)],
        };
        let hasty = Kind { paths: &["/slow"], ..KINDS[6] };
        Evidence {
            subjects: vec![of("w", KINDS[1]), of("h", hasty)],
            told: lines.iter().map(|line| told(began, line)).collect(),
            quiet: quiet.iter().map(|(life, at_s)| (*life, began + Duration::from_secs(*at_s))).collect(),
            ..Evidence::default()
        }
    }

    const GOOD: [&str; 9] = [
        "0 4 /slow w+3500",
        "0 4 /long w+3500",
        "0 5 /slow w+3500,h+5000",
        "1 10 /slow w-3500,h+5000",
        "1 10 /long w-3500",
        "2 23 /slow w+22500,h-5000",
        "2 23 /long w+22500",
        "3 30 /slow w-22500",
        "3 30 /long w-22500",
    ];

    fn state(at_ms: i64, fires: bool, active_ms: (i64, i64)) -> State {
        State { name: "w".to_owned(), at_ms, fires, active_ms }
    }

    #[track_caller]
    fn check(evidence: &Evidence, lost: usize, reset: usize, doubled: usize, duplicates: usize) {
        let verdict = evidence.judge();
        let counts = (verdict.lost.len(), verdict.reset.len(), verdict.doubled.len(), verdict.duplicates);
        assert_eq!(counts, (lost, reset, doubled, duplicates), "{verdict:#?}");
    }

    fn with(changes: &[(usize, &'static str)]) -> Vec<&'static str> {
        let mut all = GOOD.to_vec();
        for (at, line) in changes {
            all[*at] = line;
        }
        all
    }

    fn without(gone: usize) -> Vec<&'static str> {
        GOOD.iter().enumerate().filter(|(at, _)| *at != gone).map(|(_, line)| *line).collect()
    }

    #[test]
    fn what_is_lost_is_found() {
        check(&evidence(&GOOD, &[]), 0, 0, 0, 0);
        check(&evidence(&without(1), &[]), 1, 0, 0, 0);
        check(&evidence(&without(8), &[]), 2, 0, 0, 0);
        check(&evidence(&without(4), &[]), 1, 0, 0, 0);
        check(&evidence(&with(&[(5, "2 23 /slow w+22500")]), &[]), 1, 0, 0, 0);
        check(&evidence(&[], &[]), 4, 0, 0, 0);
    }

    #[test]
    fn what_is_reset_is_found() {
        check(&evidence(&with(&[(4, "1 10 /long w-4500")]), &[]), 0, 1, 0, 0);
        check(&evidence(&with(&[(6, "2 23 /long w+21500"), (8, "3 30 /long w-21500")]), &[]), 0, 3, 0, 0);
        check(&evidence(&with(&[(5, "2 23 /slow w+22500,h-4000")]), &[]), 0, 2, 0, 0);
        let of = |series: Vec<State>, answers: Vec<State>| Evidence { series, answers, ..evidence(&GOOD, &[]) };
        let since = (1_000, 1_999);
        let good = vec![state(1_500, false, since), state(3_500, true, since), state(21_000, false, (20_000, 20_999))];
        check(&of(good.clone(), vec![]), 0, 0, 0, 0);
        check(&of(vec![state(4_000, false, since)], vec![]), 0, 1, 0, 0);
        let since = (1_500, 1_500);
        check(&of(good, vec![state(1_600, false, since), state(1_700, false, (1_600, 1_600))]), 0, 1, 0, 0);
        check(&of(vec![], vec![state(3_600, true, since), state(4_000, false, since)]), 0, 1, 0, 0);
        check(&of(vec![], vec![state(900, false, (900, 900))]), 0, 1, 0, 0);
    }

    #[test]
    fn what_is_said_twice_is_found() {
        let again = |line: &'static str, quiet: &[(u64, u64)]| {
            let mut all = GOOD.to_vec();
            all.insert(5, line);
            evidence(&all, quiet)
        };
        check(&again("1 11 /long w-3500", &[]), 0, 0, 1, 0);
        check(&again("2 12 /long w-3500", &[]), 0, 0, 0, 1);
        check(&again("2 12 /long w-3500", &[(1, 10)]), 0, 0, 0, 1);
        check(&again("2 12 /long w-3500", &[(1, 11)]), 0, 0, 1, 0);
        // All of it was said, though not in this way.
        check(&again("2 12 /slow w-3500", &[(1, 11)]), 0, 0, 1, 0);
    }
}
