//! One site of one process over time: its windows, what the runtime said of it, and the verdict that stands.

use super::evidence::{Finding, View, Waiting, company};
use super::grade::Grade;
use super::ladder::Scale;
use super::options::LeakOptions;
use super::trend;
use super::windows::{Look, ProcessWindow, Ring, SCALES, SiteWindow, length_ms, seconds};
use crate::go::census::{Site, SiteCount, SourceLine};

/// A verdict stands for this many windows after the last evidence for it, times the rises that are asked for.
const CALM_RUNS: i64 = 2;
/// Rises of the number of leaked goroutines that prove a leak of few.
const LEAKED_RISES: u32 = 2;
/// Fewest leaked goroutines above the baseline that are a proof.
const LEAKED_EXCESS_MIN: u64 = 3;

/// A verdict, and what it rests on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Standing {
    pub(super) grade: Grade,
    pub(super) since_ms: i64,
    confirmed_ms: i64,
    scale: usize,
    base: u32,
    top: u32,
}

/// What the runtime found leaked.
#[derive(Debug, Clone, Copy, Default)]
struct Leaked {
    now: u64,
    first: Option<u64>,
    rises: u32,
    proved_since_ms: Option<i64>,
}

/// One site over time.
#[derive(Debug, Clone, Default)]
pub(super) struct Track {
    open: [Option<SiteWindow>; SCALES],
    kept: [Ring<SiteWindow>; SCALES],
    last: Look,
    leaked: Leaked,
    standing: Option<Standing>,
    pub(super) line: Option<SourceLine>,
    pub(super) blocked_at: Option<(String, SourceLine)>,
}

impl Track {
    /// A site that begins with `look`. If it is `new`, nothing of it was there before; else it is there since who knows.
    pub(super) fn begin(look: Look, new: bool) -> Self {
        let mut window = SiteWindow::begin(if new { Look { error: look.error, ..Look::default() } } else { look }, 0);
        window.rose = 0;
        if new {
            window.add(look, 0);
        }
        Self { open: [Some(window); SCALES], last: look, ..Self::default() }
    }

    /// Its numbers alone, of which nothing is known but how many there were, and the verdict that numbers can bear.
    pub(super) fn history(&self) -> Self {
        let standing =
            self.standing.map(|standing| Standing { grade: standing.grade.min(Grade::Probable), ..standing });
        let counts = |window: &SiteWindow| SiteWindow { blocked_floor: 0, longest_ms: 0, ..*window };
        Self {
            open: self.open.map(|open| open.as_ref().map(counts)),
            kept: std::array::from_fn(|at| self.kept.get(at).map_or_else(Ring::default, |kept| kept.map(counts))),
            last: Look { blocked: 0, longest_ms: 0, ..self.last },
            standing,
            line: self.line.clone(),
            blocked_at: self.blocked_at.clone(),
            ..Self::default()
        }
    }

    /// Adds a look to the open windows.
    pub(super) fn add(&mut self, look: Look) {
        for open in &mut self.open {
            match open {
                Some(window) => window.add(look, self.last.count),
                None => *open = Some(SiteWindow::begin(look, self.last.count)),
            }
        }
        self.last = look;
    }

    /// The window of `scale` is over.
    pub(super) fn close(&mut self, scale: usize) {
        if let (Some(open), Some(kept)) = (self.open.get_mut(scale), self.kept.get_mut(scale))
            && let Some(window) = open.take()
        {
            kept.push(window);
        }
    }

    /// Keeps where the goroutines come from and what they wait at; what is known stays, so that labels do not change to and fro.
    pub(super) fn describe(&mut self, count: &SiteCount) {
        if self.line.is_none() {
            self.line.clone_from(&count.line);
        }
        if self.blocked_at.is_none() {
            self.blocked_at.clone_from(&count.blocked_at);
        }
    }

    /// Takes note of how many the runtime found leaked. `baseline` gives the least that processes of the same revision began with,
    /// this one included.
    pub(super) fn note_leaked(
        &mut self,
        leaked: u64,
        at_ms: i64,
        options: &LeakOptions,
        baseline: impl FnOnce(u64) -> u64,
    ) {
        let Some(first) = self.leaked.first.or((leaked > 0).then_some(leaked)) else { return };
        if self.leaked.first.is_some() && leaked > self.leaked.now {
            self.leaked.rises = self.leaked.rises.saturating_add(1);
        }
        (self.leaked.first, self.leaked.now) = (Some(first), leaked);
        let excess = leaked.saturating_sub(baseline(first));
        let rose = self.leaked.rises >= LEAKED_RISES && excess >= LEAKED_EXCESS_MIN;
        if rose || excess >= options.growth_min {
            self.leaked.proved_since_ms.get_or_insert(at_ms);
        } else {
            self.leaked.proved_since_ms = None;
        }
    }

    /// Judges anew; called when a window of the shortest length is over.
    pub(super) fn judge(
        &mut self,
        site: &Site,
        waiting: Waiting,
        scales: &[Scale; SCALES],
        began_ms: i64,
        at_ms: i64,
        options: &LeakOptions,
    ) {
        let fresh = self.fresh((waiting, company(site)), scales, began_ms, options);
        let fresh = fresh.map(|(finding, scale)| Standing {
            grade: finding.grade,
            since_ms: finding.since_ms,
            confirmed_ms: at_ms,
            scale,
            base: finding.base,
            top: finding.top,
        });
        self.standing = match (self.standing, fresh) {
            (Some(old), Some(new)) if new.grade >= old.grade => Some(Standing {
                since_ms: old.since_ms.min(new.since_ms),
                scale: old.scale.min(new.scale),
                base: old.base.min(new.base),
                top: old.top.max(new.top),
                ..new
            }),
            (Some(old), fresh) if self.released(&old) || calm(&old, at_ms, options) => fresh,
            (Some(old), _) => Some(old),
            (None, fresh) => fresh,
        };
    }

    /// What its numbers tell is left out: the site is not judged.
    pub(super) fn acquit(&mut self) {
        self.standing = None;
    }

    fn fresh(
        &self,
        (waiting, company): (Waiting, f64),
        scales: &[Scale; SCALES],
        began_ms: i64,
        options: &LeakOptions,
    ) -> Option<(Finding, usize)> {
        let mut best: Option<(Finding, usize)> = None;
        for (at, (kept, scale)) in self.kept.iter().zip(scales).enumerate() {
            if kept.len() <= options.rises {
                continue;
            }
            let windows: Vec<SiteWindow> = kept.iter().copied().collect();
            let process: Vec<ProcessWindow> =
                scale.kept.iter().skip(scale.kept.len().saturating_sub(windows.len())).copied().collect();
            let peak_before = process.first().map_or(0, |first| self.peak_before(first.begin_ms, scales));
            let base_ms = options.window_ms;
            let view = View { site: &windows, process: &process, base_ms, began_ms, peak_before, waiting, company };
            if let Some(finding) = view.finding(options)
                && (at == 0 || self.goes_on(kept))
                && best.is_none_or(|(before, _)| finding.grade > before.grade)
            {
                best = Some((finding, at));
            }
        }
        best
    }

    /// Whether a rise in long windows goes on in the short ones: the last of these lies above the floor of the last long one.
    fn goes_on(&self, long: &Ring<SiteWindow>) -> bool {
        let floor = |ring: &Ring<SiteWindow>| ring.last().map_or(0, |window| window.floor);
        self.kept.first().is_some_and(|short| floor(short) > floor(long))
    }

    /// The most that windows of any length saw that were over at `until_ms`.
    fn peak_before(&self, until_ms: i64, scales: &[Scale; SCALES]) -> u32 {
        let of_scale = |(kept, scale): (&Ring<SiteWindow>, &Scale)| {
            let ends = scale.kept.iter().rev().map(|window| window.end_ms);
            let over = kept.iter().rev().zip(ends).filter(|(_, end_ms)| *end_ms <= until_ms);
            over.map(|(window, _)| window.ceiling).max().unwrap_or(0)
        };
        self.kept.iter().zip(scales).map(of_scale).max().unwrap_or(0)
    }

    /// Whether half of what a verdict rests on is gone.
    fn released(&self, standing: &Standing) -> bool {
        let floor = self.kept.first().and_then(Ring::last).map_or(0, |window| window.floor);
        floor < standing.base + standing.top.saturating_sub(standing.base) / 2
    }

    /// The grade that stands, and since when.
    pub(super) fn grade(&self) -> Option<(Grade, i64)> {
        let standing = self.standing.map(|standing| (standing.grade, standing.since_ms));
        match (self.leaked.proved_since_ms, standing) {
            (Some(proved_ms), standing) => {
                Some((Grade::Proved, standing.map_or(proved_ms, |(_, since_ms)| since_ms.min(proved_ms))))
            }
            (None, standing) => standing,
        }
    }

    /// How many goroutines there were at the last look.
    pub(super) fn count(&self) -> u32 {
        self.last.count
    }

    /// The most there were lately: in the last of the shortest windows, or since.
    pub(super) fn recent(&self) -> u32 {
        let last = self.kept.first().and_then(Ring::last);
        let open = self.open.first().and_then(Option::as_ref);
        last.into_iter().chain(open).map(|window| window.ceiling).fold(self.last.count, u32::max)
    }

    /// For how long the oldest was blocked at the last look, in milliseconds.
    pub(super) fn longest_ms(&self) -> Option<u64> {
        (self.last.longest_ms > 0).then(|| u64::from(self.last.longest_ms))
    }

    /// How many the runtime found leaked.
    pub(super) fn leaked(&self) -> u64 {
        self.leaked.now
    }

    /// Whether it can be forgotten: nothing stands, and for a while there were hardly any.
    pub(super) fn is_idle(&self, least: u32) -> bool {
        let few = |kept: &Ring<SiteWindow>| kept.iter().all(|window| window.ceiling < least);
        self.grade().is_none() && self.last.count < least && self.kept.first().is_some_and(few) && self.leaked.now == 0
    }

    /// Floors of the windows of the length that the verdict rests on, oldest first, and their growth in goroutines by hour.
    pub(super) fn floors(&self, scales: &[Scale; SCALES]) -> (Vec<u32>, f64) {
        let at = self.standing.map_or(0, |standing| standing.scale);
        let (Some(kept), Some(scale)) = (self.kept.get(at), scales.get(at)) else { return (Vec::new(), 0.0) };
        let floors: Vec<u32> = kept.iter().map(|window| window.floor).collect();
        let ends = scale.kept.iter().skip(scale.kept.len().saturating_sub(floors.len()));
        let first_ms = ends.clone().next().map_or(0, |window| window.end_ms);
        let hours = ends.map(|window| seconds(window.end_ms - first_ms) / 3600.0);
        let points: Vec<(f64, f64)> = hours.zip(floors.iter().map(|floor| f64::from(*floor))).collect();
        let growth = trend::slope(&points).map_or(0.0, |slope| slope.median);
        (floors, growth)
    }
}

/// Whether there has been no evidence for so long that the verdict falls.
fn calm(standing: &Standing, at_ms: i64, options: &LeakOptions) -> bool {
    let runs = CALM_RUNS.saturating_mul(i64::try_from(options.rises).unwrap_or(i64::MAX));
    let patience_ms = length_ms(options.window_ms, standing.scale).saturating_mul(runs);
    at_ms.saturating_sub(standing.confirmed_ms) > patience_ms
}
