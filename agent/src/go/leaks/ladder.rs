//! The ladder of one process: censuses in, a verdict out.
//!
//! Keeps a few numbers of each window for the process and for the sites that have more than a handful of goroutines. What it costs is
//! bounded by `sites_max`: some 2 KiB a site at most, and a few microseconds a site and look.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::allow::IO_WAIT;
use super::baseline::Baseline;
use super::evidence::{Waiting, run_of};
use super::grade::Grade;
use super::options::LeakOptions;
use super::track::Track;
use super::trend;
use super::windows::{Counters, Look, OpenWindow, ProcessWindow, Ring, SCALES, length_ms, seconds};
use crate::go::census::{Census, Site, SiteCount, SourceLine};

/// Sites with fewer goroutines are not followed: growth of ten can be seen from here on.
const FOLLOWED_MIN: u32 = 3;
/// More of what is followed already take the place of a site with so many times fewer goroutines.
const MANY_TIMES: u32 = 10;
/// Windows that grade 0 looks at, at least and at most: an hour with those of five minutes, so that it falls when a rise has ended.
const HINT_WINDOWS: (usize, usize) = (6, 12);
/// Value of `wait` for all goroutines of a site, whatever they wait for.
pub const ANY_WAIT: &str = "any";

/// What else is known of a process at the time of a census.
#[derive(Debug, Clone, Copy, Default)]
pub struct Vitals {
    /// When the process began, in milliseconds since the Unix epoch.
    pub began_ms: i64,
    /// Goroutines created since, where the runtime counts them (Go 1.26 on).
    pub created: Option<u64>,
    /// A counter that grows with the work that the program does, such as requests served.
    pub load: Option<f64>,
}

/// What is to be said of one process.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Verdict {
    /// The highest grade, of a site or of the process as a whole.
    pub grade: Grade,
    /// Sites of grade 2 and above: highest grade first, then fastest growth; at most [`LeakOptions::told_max`].
    pub sites: Vec<SiteVerdict>,
}

/// What is to be said of one site.
#[derive(Debug, Clone, PartialEq)]
pub struct SiteVerdict {
    /// The site; its `wait` is [`ANY_WAIT`] where the goroutines change what they wait for.
    pub site: Site,
    /// Its grade, [`Grade::Probable`] or above.
    pub grade: Grade,
    /// Goroutines at the last look.
    pub count: u64,
    /// Floors of the last windows, oldest first.
    pub floors: Vec<u32>,
    /// Growth of the floor, in goroutines by hour.
    pub growth_per_hour: f64,
    /// When the rise began, in milliseconds since the Unix epoch.
    pub since_ms: i64,
    /// For how long the oldest has been blocked, in milliseconds, where that is known.
    pub longest_blocked_ms: Option<u64>,
    /// Goroutines that the runtime found leaked.
    pub leaked: u64,
    /// The `go` statement.
    pub line: Option<SourceLine>,
    /// The function of the program that one of them waits in, and the line.
    pub blocked_at: Option<(String, SourceLine)>,
}

/// The windows of one length.
#[derive(Debug, Clone)]
pub(super) struct Scale {
    open: OpenWindow,
    /// Counters at the last look before the open window.
    before: Counters,
    pub(super) kept: Ring<ProcessWindow>,
}

#[derive(Debug, Clone)]
struct Windows {
    scales: [Scale; SCALES],
    last: Counters,
}

/// The ladder of one process.
#[derive(Debug, Clone, Default)]
pub struct Ladder {
    windows: Option<Windows>,
    sites: BTreeMap<Site, Track>,
    process_grade: Grade,
}

impl Ladder {
    /// Takes a census in. One that is not newer than the last is left out; when the clock was set back by more than a window, the ladder
    /// begins anew. `baseline` is that of the program's revision.
    pub fn observe(&mut self, census: &Census, vitals: &Vitals, baseline: &mut Baseline, options: &LeakOptions) {
        if let Some(windows) = &self.windows {
            let last_ms = windows.last.at_ms;
            if census.at_ms < last_ms.saturating_sub(options.window_ms) {
                *self = Self::default();
            } else if census.at_ms <= last_ms {
                return;
            }
        }
        let total = narrow(census.total);
        let ended = vitals.created.map(|created| created.saturating_sub(census.total));
        let now = Counters { at_ms: census.at_ms, total, ended, load: vitals.load };
        let is_first = self.windows.is_none();
        let over = self.step(now, connections(census), options);
        self.look(census, is_first, baseline, options);
        if over {
            self.judge(vitals.began_ms, options);
        }
    }

    /// Moves the windows on to `now`; whether one of the shortest was over.
    fn step(&mut self, now: Counters, connections: u32, options: &LeakOptions) -> bool {
        let Some(windows) = &mut self.windows else {
            let open = OpenWindow::begin(now.at_ms, now.at_ms, now.total, connections);
            let scale = || Scale { open, before: now, kept: Ring::default() };
            self.windows = Some(Windows { scales: std::array::from_fn(|_| scale()), last: now });
            return false;
        };
        let mut first_is_over = false;
        for (at, scale) in windows.scales.iter_mut().enumerate() {
            let length = length_ms(options.window_ms, at).max(1);
            let passed = now.at_ms.saturating_sub(scale.open.grid_ms) / length;
            if passed == 0 {
                scale.open.add(now.at_ms, now.total, connections);
                continue;
            }
            scale.kept.push(scale.open.close(&scale.before, &windows.last));
            self.sites.values_mut().for_each(|track| track.close(at));
            let grid_ms = scale.open.grid_ms.saturating_add(passed.saturating_mul(length));
            scale.open = OpenWindow::begin(grid_ms, now.at_ms, now.total, connections);
            scale.before = windows.last;
            first_is_over |= at == 0;
        }
        windows.last = now;
        first_is_over
    }

    /// Adds to each site what the census saw there.
    fn look(&mut self, census: &Census, is_first: bool, baseline: &mut Baseline, options: &LeakOptions) {
        let sampling = Sampling::of(census);
        let mut seen: BTreeMap<&Site, (Look, Option<&SiteCount>)> =
            census.sites.iter().map(|(site, count)| (site, (sampling.look(count), Some(count)))).collect();
        let together = self.together(census);
        let mut refused = BTreeSet::new();
        for (site, count) in &together {
            seen.insert(site, (sampling.look(count), Some(count)));
            if !self.part_ways(site, narrow(count.count), options) {
                refused.insert(site);
            }
        }
        for (site, track) in &mut self.sites {
            track.add(seen.get(site).map_or_else(Look::default, |(look, _)| *look));
        }
        for (site, (look, count)) in &seen {
            let leaked = count.map_or(0, |count| count.leaked);
            let is_new = !self.sites.contains_key(*site) && !refused.contains(site);
            if is_new && (look.count >= FOLLOWED_MIN || leaked > 0) {
                self.follow(site, *look, is_first, options);
            }
            let Some(track) = self.sites.get_mut(*site) else { continue };
            if let Some(count) = count {
                track.describe(count);
                track.note_leaked(leaked, census.at_ms, options, |first| baseline.least(site, first));
            }
        }
        // A site without goroutines has none that leaked.
        for (site, track) in &mut self.sites {
            if !seen.contains_key(site) {
                track.note_leaked(0, census.at_ms, options, |first| baseline.least(site, first));
            }
        }
    }

    /// Sites whose goroutines wait for different things, all together. Goroutines that wake and wait again flit between these; what they
    /// are together does not.
    fn together(&self, census: &Census) -> Vec<(Site, SiteCount)> {
        let groups = census.sites.iter().collect::<Vec<_>>();
        let same = |a: &(&Site, &SiteCount), b: &(&Site, &SiteCount)| {
            a.0.function == b.0.function && a.0.created_by == b.0.created_by
        };
        let mut all = Vec::new();
        for group in groups.chunk_by(same) {
            let Some((first, _)) = group.first() else { continue };
            let site = Site { wait: ANY_WAIT.to_owned(), ..(*first).clone() };
            // All of them may wait for another thing than before.
            if group.len() > 1 || self.parts(&site).any(|(part, _)| part.wait != first.wait) {
                let count = group.iter().map(|(_, count)| count.count).fold(0, u64::saturating_add);
                let newcomers = group.iter().map(|(_, count)| count.newcomers);
                let newcomers = newcomers.reduce(|a, b| a.zip(b).map(|(a, b)| a.saturating_add(b))).flatten();
                let line = group.iter().find_map(|(_, count)| count.line.clone());
                let blocked_at = group.iter().find_map(|(_, count)| count.blocked_at.clone());
                all.push((site, SiteCount { count, newcomers, line, blocked_at, ..SiteCount::default() }));
            }
        }
        all
    }

    /// Begins to follow a site, if need be in place of the least one that nothing is said of.
    fn follow(&mut self, site: &Site, look: Look, is_first: bool, options: &LeakOptions) {
        if self.has_room(site, look.count, options) {
            self.sites.insert(site.clone(), Track::begin(look, !is_first));
        }
    }

    /// Begins to follow all `count` goroutines of a site that no longer wait for the same, with the history that they had until then. Called
    /// before this look is added, so that all of them are added to that history and not only the part that still waits. False where there
    /// is no room for them.
    fn part_ways(&mut self, site: &Site, count: u32, options: &LeakOptions) -> bool {
        if count < FOLLOWED_MIN || self.sites.contains_key(site) {
            return true;
        }
        let Some(track) = self.sole_part(site) else { return true };
        let has_room = self.has_room(site, count, options);
        if has_room {
            self.sites.insert(site.clone(), track);
        }
        has_room
    }

    /// Whether `site` with `count` goroutines can be followed; makes room for it where that is to be had, in place of what had fewer for a
    /// while. What is followed of a function already takes no other function's only place, as many wake at one look of a busy machine, unless
    /// it has many times as many.
    fn has_room(&mut self, site: &Site, count: u32, options: &LeakOptions) -> bool {
        if self.sites.len() < options.sites_max {
            return true;
        }
        let is_new = self.parts(site).next().is_none();
        let is_own = |of: &Site| of.function == site.function && of.created_by == site.created_by;
        let may_go = |of: &Site, recent: u32| {
            is_new
                || recent.saturating_mul(MANY_TIMES) <= count
                || is_own(of) && site.wait != ANY_WAIT
                || self.parts(of).nth(1).is_some()
        };
        let least = self.sites.iter().map(|(of, track)| (of, track, track.recent()));
        let least =
            least.filter(|(of, track, recent)| *recent < count && track.grade().is_none() && may_go(of, *recent));
        let least = least.min_by_key(|(.., recent)| *recent).map(|(of, ..)| of.clone());
        least.is_some_and(|least| self.sites.remove(&least).is_some())
    }

    /// What all goroutines of a site were until now, when they all waited for the same: the history of the one part. Where there are several,
    /// the track of all was given up for want of room, and what it was is not known.
    fn sole_part(&self, site: &Site) -> Option<Track> {
        let mut parts = self.parts(site).filter(|(_, track)| track.count() > 0);
        let (_, sole) = parts.next()?;
        parts.next().is_none().then(|| sole.history())
    }

    fn judge(&mut self, began_ms: i64, options: &LeakOptions) {
        let Some(windows) = &self.windows else { return };
        let at_ms = windows.last.at_ms;
        // Readers of connections wake, and are no less that: where most are, all of them together are judged as they are.
        let all = |site: &Site| Site { wait: ANY_WAIT.to_owned(), ..site.clone() };
        let readers = self.sites.iter().filter(|(site, _)| site.wait == IO_WAIT);
        let readers: BTreeMap<Site, u32> = readers.map(|(site, track)| (all(site), track.recent())).collect();
        self.sites.retain(|site, track| {
            if options.allow.contains(site) {
                track.acquit();
            } else {
                let read = readers.get(site).is_some_and(|readers| *readers > track.recent() / 2);
                let waiting = if read { Waiting::Network } else { Waiting::of(&site.wait) };
                track.judge(site, waiting, &windows.scales, began_ms, at_ms, options);
            }
            !track.is_idle(FOLLOWED_MIN)
        });
        let [base, ..] = &windows.scales;
        let process: Vec<ProcessWindow> = base.kept.iter().copied().collect();
        self.process_grade = of_process(&process, began_ms, options);
    }

    /// What is to be said now.
    pub fn verdict(&self, options: &LeakOptions) -> Verdict {
        let Some(windows) = &self.windows else { return Verdict::default() };
        let told = |(site, track): (&Site, &Track)| {
            let (grade, since_ms) = track.grade()?;
            if self.is_told_together(site) != (site.wait == ANY_WAIT) {
                return None;
            }
            let (floors, growth_per_hour) = track.floors(&windows.scales);
            Some(SiteVerdict {
                site: site.clone(),
                grade,
                count: u64::from(track.count()),
                floors,
                growth_per_hour,
                since_ms,
                longest_blocked_ms: track.longest_ms(),
                leaked: track.leaked(),
                line: track.line.clone(),
                blocked_at: track.blocked_at.clone(),
            })
        };
        let mut sites: Vec<SiteVerdict> = self.sites.iter().filter_map(told).collect();
        sites.sort_by(|a, b| {
            b.grade.cmp(&a.grade).then(b.growth_per_hour.total_cmp(&a.growth_per_hour)).then(a.site.cmp(&b.site))
        });
        sites.truncate(options.told_max);
        let grade = sites.first().map_or(Grade::Nothing, |site| site.grade).max(self.process_grade);
        Verdict { grade, sites }
    }

    /// Whether the goroutines of a site are told all together, and not by what they wait for: when no part of them has a higher grade or, where
    /// it is the same, has it for as long, so that what is told does not change to and fro.
    fn is_told_together(&self, site: &Site) -> bool {
        let rank = |(_, track): (&Site, &Track)| track.grade().map(|(grade, since_ms)| (grade, Reverse(since_ms)));
        let (all, parts): (Vec<_>, Vec<_>) = self.parts(site).partition(|(part, _)| part.wait == ANY_WAIT);
        let best = |of: Vec<_>| of.into_iter().filter_map(rank).max();
        best(all) > best(parts)
    }

    /// What is followed of a site, whatever its goroutines wait for: each part, and all of them.
    fn parts(&self, site: &Site) -> impl Iterator<Item = (&Site, &Track)> {
        let from = Site { wait: String::new(), ..site.clone() };
        self.sites
            .range(from..)
            .take_while(move |(part, _)| part.function == site.function && part.created_by == site.created_by)
    }

    /// How many sites are followed.
    pub fn followed(&self) -> usize {
        self.sites.len()
    }
}

/// Grades 0 and 1: all goroutines of the process together.
fn of_process(windows: &[ProcessWindow], began_ms: i64, options: &LeakOptions) -> Grade {
    let warm = windows.iter().position(|window| window.begin_ms - began_ms >= options.warm_up_ms());
    let warm = warm.map(|from| from.max(windows.len().saturating_sub(HINT_WINDOWS.1)));
    let Some(windows) = warm.and_then(|from| windows.get(from..)) else { return Grade::Nothing };
    let (Some(first), Some(last)) = (windows.first(), windows.last()) else { return Grade::Nothing };
    if windows.len() < HINT_WINDOWS.0 {
        return Grade::Nothing;
    }
    if sustained(windows, options) {
        return Grade::Suspect;
    }
    let needed = options.growth_needed(u64::from(first.total_floor));
    let grew = u64::from(last.total_floor.saturating_sub(first.total_floor)) >= needed;
    if grew && rises(windows, |window| f64::from(window.total_floor)) && !follows_load(windows) {
        Grade::Hint
    } else {
        Grade::Nothing
    }
}

/// Whether in each of the last windows more goroutines were created than ended, and the floor rose as long. Only where the runtime counts those created.
fn sustained(windows: &[ProcessWindow], options: &LeakOptions) -> bool {
    let rises = run_of(windows, |window| window.total_floor);
    let positive = windows.iter().rev().take_while(|window| window.net > 0 && window.ended_rate.is_some()).count();
    let run = rises.min(positive);
    let from = windows.len().saturating_sub(run + 1);
    let base = windows.get(from).map_or(0, |window| window.total_floor);
    let top = windows.last().map_or(0, |window| window.total_floor);
    run > options.rises
        && u64::from(top.saturating_sub(base)) >= options.growth_needed(u64::from(base))
        && !follows_load(windows)
}

/// Whether the slope of `number` over time is above zero with 95 %.
fn rises(windows: &[ProcessWindow], number: impl Fn(&ProcessWindow) -> f64) -> bool {
    let first_ms = windows.first().map_or(0, |window| window.end_ms);
    let points: Vec<_> = windows.iter().map(|window| (seconds(window.end_ms - first_ms), number(window))).collect();
    trend::slope(&points).is_some_and(|slope| slope.low > 0.0)
}

/// Whether nothing is left of the rise when its part that follows load is taken away.
fn follows_load(windows: &[ProcessWindow]) -> bool {
    let load = |of: fn(&ProcessWindow) -> Option<f64>| windows.iter().map(of).collect::<Option<Vec<f64>>>();
    let Some(load) = load(|window| window.load_rate).or_else(|| load(|window| window.ended_rate)) else { return false };
    let points: Vec<_> = load.into_iter().zip(windows.iter().map(|window| f64::from(window.total_floor))).collect();
    // Load that does not rise explains no rise, whatever a fit through its noise says.
    let first_ms = windows.first().map_or(0, |window| window.end_ms);
    let times = windows.iter().map(|window| seconds(window.end_ms - first_ms));
    let over_time: Vec<_> = times.clone().zip(points.iter().map(|(load, _)| *load)).collect();
    if !trend::slope(&over_time).is_some_and(|slope| slope.low > 0.0) {
        return false;
    }
    let left: Vec<_> = times.zip(trend::residuals(&points)).collect();
    !trend::slope(&left).is_some_and(|slope| slope.low > 0.0)
}

/// Goroutines that wait for the network.
fn connections(census: &Census) -> u32 {
    let of_network = census.sites.iter().filter(|(site, _)| site.wait == IO_WAIT);
    narrow(of_network.map(|(_, count)| count.count).fold(0, u64::saturating_add))
}

/// How far counts can be off because not all goroutines were looked at.
struct Sampling {
    /// Unseen goroutines by seen one.
    unseen: f64,
}

impl Sampling {
    fn of(census: &Census) -> Self {
        let (total, looked_at) = (f64::from(narrow(census.total)), f64::from(narrow(census.looked_at)));
        Self { unseen: if looked_at >= 1.0 { (total / looked_at - 1.0).max(0.0) } else { 0.0 } }
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a root of a 32-bit number, rounded up"
    )]
    fn look(&self, of: &SiteCount) -> Look {
        let count = narrow(of.count);
        Look {
            count,
            came: of.newcomers.map(narrow),
            blocked: narrow(of.blocked_long),
            longest_ms: of.longest_blocked_ms.map_or(0, narrow),
            error: (f64::from(count) * self.unseen).sqrt().ceil() as u32,
        }
    }
}

/// A count as it is kept; four thousand million goroutines are enough.
fn narrow(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
#[path = "ladder_tests.rs"]
mod tests;
