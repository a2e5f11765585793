//! Evidence at one site over windows of one length. Pure: windows in, a finding out.
//!
//! A floor that rises window after window is not yet a leak: pools warm up, load grows, queues fill. What tells them apart:
//!
//! - **Stuck**: hardly any look finds fewer than the one before, and the goroutine that has waited longest has been blocked through most
//!   of the rise. Those that serve load end or wake. Then four rises are enough, five where
//!   they wait for news.
//! - **Stays**: they do not become fewer, but how long they are blocked is not known, or they wake now and then, as behind a ticker. Then
//!   twice as many rises are asked for, thrice for those that wait for the network, to heights never reached before.
//! - **Comes and goes**: a floor that rises under a population that changes, or a queue whose head moves on, if slowly, or connections that
//!   brought other goroutines along. Half a day of it is asked for. Whether others come is seen by their ids where these are known. By net
//!   changes alone it shows badly while load grows, and not before those of a young population begin to leave: so the later half of a
//!   rise is looked at by itself.
//!
//! Those of such a population that stay show by age alone: the ones blocked for long are a population of their own.
//!
//! A rise is explained, and no evidence, when connections became as many more, or when load grew with it (but for what waits for a lock or a
//! receiver): by Little's law the goroutines that serve requests grow as these do, or faster where they also take longer, which the square
//! allows for; a leak grows faster. A rise that slows down is a population that fills up.

use std::cmp::Ordering;

use super::allow::{IDLE_CLIENT, IO_WAIT};
use super::grade::Grade;
use super::options::LeakOptions;
use super::windows::{ProcessWindow, SiteWindow, seconds};
use crate::go::census::Site;

/// What goroutines wait for says how a rise of their number is to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waiting {
    /// For something that no connection needs: a lock, a receiver, or what never comes.
    Hard,
    /// For news: a channel, a condition, a time. Those that serve a connection do that too.
    Soft,
    /// For the network.
    Network,
}

impl Waiting {
    /// By the runtime's words.
    pub(super) fn of(wait: &str) -> Self {
        match wait {
            IO_WAIT => Self::Network,
            "chan send"
            | "chan send (nil chan)"
            | "chan receive (nil chan)"
            | "select (no cases)"
            | "sync.Mutex.Lock"
            | "sync.RWMutex.Lock"
            | "sync.RWMutex.RLock" => Self::Hard,
            _ => Self::Soft,
        }
    }
}

/// Goroutines that one of `site` always has with it: a connection of an HTTP client has one that reads and one that writes. Where no
/// more come with them nobody uses it.
pub(super) fn company(site: &Site) -> f64 {
    if site.function == IDLE_CLIENT { 1.0 } else { 0.0 }
}

/// One site over the windows of one length, oldest first; `process` has as many windows as `site`.
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) site: &'a [SiteWindow],
    pub(super) process: &'a [ProcessWindow],
    /// Length of the shortest windows.
    pub(super) base_ms: i64,
    /// When the process began.
    pub(super) began_ms: i64,
    /// The most that longer windows saw before those in view.
    pub(super) peak_before: u32,
    pub(super) waiting: Waiting,
    /// See [`company`].
    pub(super) company: f64,
}

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Finding {
    pub(super) grade: Grade,
    /// When the rise began, in milliseconds since the Unix epoch.
    pub(super) since_ms: i64,
    /// The floor before it.
    pub(super) base: u32,
    /// The floor now.
    pub(super) top: u32,
}

/// In this share of a rise's time, at least, the oldest must have been blocked for the site to count as stuck. A queue that takes in
/// twice what it gives out has half.
const STUCK_SHARE: f64 = 0.65;
/// In less than this share, they wake; in between, they are a queue whose head moves on.
const WAKING_SHARE: f64 = 0.1;
/// A site comes and goes when more than this share of those that come go, or of the net change from look to look where it is not
/// known who came: most of what comes and goes is not seen then while the number rises fast.
const RESTLESS_SHARE: f64 = 0.125;
/// The same where the oldest is known to be stuck.
const RESTLESS_SHARE_STUCK: f64 = 0.25;
/// The same for connections: clients that stay for hours leave seldom.
const RESTLESS_SHARE_NETWORK: f64 = 0.08;
/// Growth of those blocked for long, by the least that counts, from which on their number may stay level between two rises.
const LEVEL_GROWTH: u64 = 3;
/// Windows of the shortest length that a rise must last under a population that comes and goes: half a day with those of five minutes.
const RESTLESS_WINDOWS: i64 = 150;
/// Later growth below this share of earlier growth is a population that fills up.
const SLOWING_SHARE: f64 = 0.6;
/// Goroutines of one site that one more connection may bring, with some slack.
const PER_CONNECTION: f64 = 1.25;
/// Growth of all goroutines by growth of those that read connections, from which on these are not alone.
const ACCOMPANIED: f64 = 1.7;
/// Goroutines that must end in a window for their rate to be a measure of load.
const ENDED_MIN: f64 = 30.0;
/// Load must have grown by this factor to explain anything.
const LOAD_GROWTH_MIN: f64 = 1.02;
/// How far measures of load may be off.
const LOAD_SLACK: f64 = 1.03;

impl View<'_> {
    /// The strongest evidence in view.
    pub(super) fn finding(&self, options: &LeakOptions) -> Option<Finding> {
        let strong = self.strong(options);
        strong.or_else(|| self.probable(options))
    }

    /// A rising floor; see the module's notes.
    fn probable(&self, options: &LeakOptions) -> Option<Finding> {
        let floor = |window: &SiteWindow| window.floor;
        let (run, climb) = (run_of(self.site, floor), climb_of(self.site, floor));
        let last = self.site.len().checked_sub(1)?;
        (options.rises..=run).find_map(|rises| {
            let from = last.checked_sub(rises)?;
            let (base, top) = (self.site.get(from)?.floor, self.site.get(last)?.floor);
            let holds = self.grew(base, top, options, from)
                && !slows(self.site, from, climb, floor)
                && !self.by_connections(from, top - base)
                && self.persists(from, rises, top, options);
            holds.then(|| self.told(Grade::Probable, run, base, top))
        })
    }

    /// More and more that have been blocked for long, while they become more at all. Of those hardly any ends by chance: where their
    /// number stays level for some windows between rises that are high, as between bursts, the rise goes on. Connections that are idle
    /// for long, and nothing else with them, are [`Grade::Probable`] at the most.
    fn strong(&self, options: &LeakOptions) -> Option<Finding> {
        let blocked = |window: &SiteWindow| window.blocked_floor;
        let network = self.waiting == Waiting::Network;
        let rises_min = if network { 3 * options.rises } else { self.least_stuck(options) };
        let run = climb_of(self.site, blocked);
        let last = self.site.len().checked_sub(1)?;
        (rises_min..=run).find_map(|length| {
            let from = last.checked_sub(length)?;
            let rises = self.site.get(from..)?.windows(2).map(|pair| matches!(pair, [a, b] if blocked(b) > blocked(a)));
            let begins = rises.clone().next() == Some(true);
            let rises = rises.filter(|rose| *rose).count();
            if !begins || rises < rises_min {
                return None;
            }
            let (first, now) = (self.site.get(from)?, self.site.get(last)?);
            let grown = now.blocked_floor.saturating_sub(first.blocked_floor);
            // Daemons that were all there and only grow older have a level floor.
            let arrived = now.floor.saturating_sub(first.floor);
            let high = LEVEL_GROWTH * options.growth_needed(u64::from(first.blocked_floor));
            let grade = if network { Grade::Probable } else { Grade::Strong };
            let holds = self.grew(first.blocked_floor, now.blocked_floor, options, from)
                && (rises == length || u64::from(grown) >= high)
                && arrived.saturating_mul(2) >= grown
                && f64::from(arrived) >= self.chance(from)
                && self.stuck(from)
                && !slows(self.site, from, run, blocked)
                && !self.by_connections(from, arrived)
                && !self.accompanied(from, now.floor)
                && (self.waiting == Waiting::Hard || !self.by_load(from));
            holds.then(|| self.told(grade, run, first.floor, now.floor))
        })
    }

    /// By how much the floor of a population that comes and goes differs by chance: about as much as the number does in one window.
    fn chance(&self, from: usize) -> f64 {
        if !self.restless(from, true) {
            return 0.0;
        }
        let ranges = self.site.iter().skip(from).map(|window| window.ceiling.saturating_sub(window.floor));
        let windows = u32::try_from(ranges.len()).unwrap_or(u32::MAX).max(1);
        f64::from(ranges.fold(0, u32::saturating_add)) / f64::from(windows)
    }

    fn told(&self, grade: Grade, run: usize, base: u32, top: u32) -> Finding {
        let began = self.process.len().saturating_sub(run + 1);
        let since_ms = self.process.get(began).map_or(0, |window| window.end_ms);
        Finding { grade, since_ms, base, top }
    }

    /// Whether it grew enough, after the process had warmed up.
    fn grew(&self, base: u32, top: u32, options: &LeakOptions, from: usize) -> bool {
        let error = self.site.iter().map(|window| window.error).max().unwrap_or(0);
        let needed = options.growth_needed(u64::from(base)).max(4 * u64::from(error));
        let warm = self.process.get(from).is_some_and(|window| window.end_ms - self.began_ms >= options.warm_up_ms());
        warm && u64::from(top.saturating_sub(base)) >= needed
    }

    /// Whether a rise of `rises` windows from `from` on is long enough for what is known of its goroutines.
    fn persists(&self, from: usize, rises: usize, top: u32, options: &LeakOptions) -> bool {
        let stuck = self.waiting != Waiting::Network && self.stuck(from);
        let restless = self.restless(from, stuck);
        let explained = self.waiting != Waiting::Hard && self.by_load(from);
        let new_height = top > self.peak_until(from);
        if stuck && !restless {
            return rises >= self.least_stuck(options) && !explained && (new_height || self.waiting == Waiting::Hard);
        }
        let least = match self.waiting {
            Waiting::Network => 3 * options.rises,
            Waiting::Soft => 2 * options.rises,
            // What waits for a lock or a receiver serves nobody meanwhile, unless it is known to get on.
            Waiting::Hard if self.ages_known() => 2 * options.rises,
            Waiting::Hard => options.rises + 1,
        };
        let long = self.span_ms(from) >= RESTLESS_WINDOWS.saturating_mul(self.base_ms);
        let calls_for_long = restless || self.queues(from) || self.accompanied(from, top);
        rises >= least && new_height && (long || !calls_for_long) && !explained
    }

    /// Whether connections brought other goroutines with them: somebody serves them still.
    fn accompanied(&self, from: usize, top: u32) -> bool {
        let (Some(before), Some(after)) = (self.process.get(from), self.process.last()) else { return false };
        let growth = f64::from(top) - f64::from(self.site.get(from).map_or(0, |window| window.floor));
        let of_all = f64::from(after.total_floor) - f64::from(before.total_floor);
        self.waiting == Waiting::Network && of_all >= (ACCOMPANIED + self.company) * growth
    }

    /// Rises that are enough where goroutines are stuck: one more for those that wait for news, of which some live long by chance.
    fn least_stuck(&self, options: &LeakOptions) -> usize {
        options.rises + usize::from(self.waiting == Waiting::Soft)
    }

    /// Time from the end of window `from` to that of the last.
    fn span_ms(&self, from: usize) -> i64 {
        match (self.process.get(from), self.process.last()) {
            (Some(first), Some(last)) => last.end_ms.saturating_sub(first.end_ms),
            _ => 0,
        }
    }

    fn ages_known(&self) -> bool {
        self.site.last().is_some_and(|window| window.longest_ms > 0)
    }

    /// By what share of the time since window `from` the oldest became older; nothing where ages are not known.
    fn aging(&self, from: usize) -> Option<f64> {
        let (first, last) = (self.site.get(from)?, self.site.last().filter(|window| window.longest_ms > 0)?);
        let aged_ms = i64::from(last.longest_ms) - i64::from(first.longest_ms);
        Some(seconds(aged_ms) / seconds(self.span_ms(from)).max(1e-3))
    }

    /// Whether the oldest has been blocked through most of the time since window `from`.
    fn stuck(&self, from: usize) -> bool {
        self.aging(from).is_some_and(|share| share >= STUCK_SHARE)
    }

    /// Whether the oldest became older, but less than time went by: others take its place.
    fn queues(&self, from: usize) -> bool {
        self.waiting != Waiting::Network
            && self.aging(from).is_some_and(|share| (WAKING_SHARE..STUCK_SHARE).contains(&share))
    }

    /// Whether goroutines of the site come and go: through the whole rise or, since the first of those who leave have yet to leave when
    /// it begins, in its later half.
    fn restless(&self, from: usize, stuck: bool) -> bool {
        let most = match self.waiting {
            Waiting::Network => RESTLESS_SHARE_NETWORK,
            _ if stuck => RESTLESS_SHARE_STUCK,
            _ => RESTLESS_SHARE,
        };
        let leave = |from: usize| {
            let sum = |of: fn(&SiteWindow) -> u32| -> f64 {
                self.site.iter().skip(from + 1).map(|window| f64::from(of(window))).sum()
            };
            sum(|window| window.fell) > most * sum(|window| window.rose)
        };
        leave(from) || leave(from + self.site.len().saturating_sub(from + 1) / 2)
    }

    /// The most there ever were until the end of window `from`, as far as is remembered.
    fn peak_until(&self, from: usize) -> u32 {
        let seen = self.site.iter().take(from + 1).map(|window| window.ceiling).max().unwrap_or(0);
        seen.max(self.peak_before)
    }

    /// Whether about as many connections came since window `from`.
    fn by_connections(&self, from: usize, growth: u32) -> bool {
        let (Some(first), Some(last)) = (self.process.get(from), self.process.last()) else { return false };
        let [(floor, ceiling), (last_floor, last_ceiling)] = [first.connections, last.connections];
        let came = last_floor.saturating_sub(floor).max(last_ceiling.saturating_sub(ceiling));
        self.waiting == Waiting::Soft && came > 0 && f64::from(growth) <= PER_CONNECTION * f64::from(came) + 2.0
    }

    /// Whether load grew in a way that explains the rise since window `from`.
    fn by_load(&self, from: usize) -> bool {
        let (Some(first), Some(last)) = (self.site.get(from), self.site.last()) else { return false };
        let factor = (f64::from(last.floor) + 1.0) / (f64::from(first.floor) + 1.0);
        let explains = |from: Option<f64>, to: Option<f64>| match from.zip(to) {
            Some((from, to)) if from > 0.0 => {
                let load = to / from;
                load >= LOAD_GROWTH_MIN && factor <= LOAD_SLACK * load * load
            }
            _ => false,
        };
        let (Some(before), Some(after)) = (self.process.get(from), self.process.last()) else { return false };
        let enough = |window: &ProcessWindow| {
            let length = seconds(window.end_ms.saturating_sub(window.begin_ms)).max(1e-3);
            window.ended_rate.filter(|rate| rate * length >= ENDED_MIN)
        };
        explains(before.load_rate, after.load_rate) || explains(enough(before), enough(after))
    }
}

/// How many times in a row, up to now, the number rose.
pub(super) fn run_of<T>(windows: &[T], number: impl Fn(&T) -> u32) -> usize {
    windows
        .windows(2)
        .rev()
        .take_while(|pair| matches!(pair, [before, after] if number(after) > number(before)))
        .count()
}

/// As [`run_of`], but the number may stay level between two rises.
fn climb_of<T>(windows: &[T], number: impl Fn(&T) -> u32) -> usize {
    let steps = windows.windows(2).rev().map(|pair| match pair {
        [before, after] => number(after).cmp(&number(before)),
        _ => Ordering::Less,
    });
    let climb = (1usize..).zip(steps.take_while(|step| step.is_ge()));
    climb.filter(|(_, step)| step.is_gt()).map(|(length, _)| length).last().unwrap_or(0)
}

/// Whether a rise since window `from` slows down: in its later half against the earlier, and as a whole against as many windows of the
/// same rise before it. `run` is how long the rise is, level windows between included: behind one of these it is not another.
fn slows<T>(windows: &[T], from: usize, run: usize, number: impl Fn(&T) -> u32) -> bool {
    let Some(last) = windows.len().checked_sub(1) else { return false };
    let rate = |begin: usize, end: usize| -> Option<f64> {
        let growth = f64::from(number(windows.get(end)?)) - f64::from(number(windows.get(begin)?));
        let length = f64::from(u32::try_from(end.checked_sub(begin)?).ok()?);
        (length > 0.0).then(|| growth / length)
    };
    let rises = last.saturating_sub(from);
    let halves = rate(from, last - rises / 2).zip(rate(last - rises / 2, last));
    let began = last.saturating_sub(run).max(from.saturating_sub(rises));
    let before = if from - began >= 2 { rate(began, from).zip(rate(from, last)) } else { None };
    [halves, before].into_iter().flatten().any(|(earlier, later)| later < SLOWING_SHARE * earlier)
}

#[cfg(test)]
#[path = "evidence_tests.rs"]
mod tests;
