//! What to do about a budget: which part of the work to stretch, which to leave out, and when to take it up again. Pure: from
//! what was used in a window to the next plan.
//!
//! Over the limit the costliest part is stretched, twice as long each time. Where that is at its end, the part that people miss
//! least is left out, then the next. The numbers of the runtimes and of the host are never left out; when nothing else is left,
//! all rounds come less often. Memory is treated alike, but that stretching does not help it.
//!
//! Coming back is slower than going: at the earliest [`CALM_WINDOWS`] windows after the last change, one step at a time, and only
//! when what the step cost before fits in with room to spare. What cannot be told so is tried after [`RETRY_WINDOWS`] windows,
//! after twice as many each time it failed. So no part goes and comes back twice within [`CALM_WINDOWS`] windows.

/// Parts of the work that can be stretched or left out, the least missed first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Profiles that programs are asked for.
    Pprof,
    /// Profiles read in the memory of programs.
    Profiles,
    /// Pages of programs that were found by themselves; those of configured targets stay.
    Pages,
    /// Goroutines by site.
    Goroutines,
}

/// How many parts there are.
pub const PARTS: usize = 4;

impl Part {
    /// Every part, the least missed first.
    pub const ALL: [Self; PARTS] = [Self::Pprof, Self::Profiles, Self::Pages, Self::Goroutines];

    /// Value of label `collector`.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Pprof => "pprof",
            Self::Profiles => "profiles",
            Self::Pages => "pages",
            Self::Goroutines => "goroutines",
        }
    }

    /// Its place in arrays.
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// Why a part is left out: value of label `reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Processor time.
    Cpu,
    /// Memory.
    Memory,
}

impl Why {
    /// The label's value.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
        }
    }
}

/// Longest factor on intervals.
pub const STRETCH_MAX: u32 = 16;
/// Windows without a change before anything comes back.
pub const CALM_WINDOWS: u32 = 4;
/// Windows after which what was left out is tried again though it did not fit before.
pub const RETRY_WINDOWS: u32 = 20;
/// Most times that the wait for a retry doubles.
const RETRY_DOUBLINGS: u32 = 5;
/// What comes back may fill the limit up to this part, in percent.
const ROOM_PERCENT: u64 = 80;

/// What was used in a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Used {
    /// Processor time of all, in microseconds.
    pub cpu_us: u64,
    /// That of each part.
    pub parts_us: [u64; PARTS],
    /// Memory at its end, after what was free was given back.
    pub resident_bytes: u64,
}

/// What may be used in a window; 0: as much as there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Processor time, in microseconds.
    pub cpu_us: u64,
    /// Memory.
    pub resident_bytes: u64,
}

/// What is done about one part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level {
    /// Factor on its intervals.
    pub stretch: u32,
    /// Why it is left out; nothing: it is not.
    pub shed: Option<Why>,
    /// What it used before it was left out, of the resource that it was left out for.
    before: u64,
}

impl Default for Level {
    fn default() -> Self {
        Self { stretch: 1, shed: None, before: 0 }
    }
}

/// The plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    levels: [Level; PARTS],
    /// Factor on all intervals.
    base: u32,
    /// Windows since the last change.
    since: u32,
    /// Times that coming back failed in a row.
    failed: u32,
    /// Whether the last change was one back.
    came_back: bool,
}

impl Default for Plan {
    fn default() -> Self {
        Self { levels: [Level::default(); PARTS], base: 1, since: 0, failed: 0, came_back: false }
    }
}

impl Plan {
    /// What is done about `part`.
    pub fn level(&self, part: Part) -> Level {
        self.levels.get(part.index()).copied().unwrap_or_default()
    }

    /// Factor on all intervals.
    pub fn base(&self) -> u32 {
        self.base
    }

    /// Whether everything is done as often as it is configured.
    pub fn is_whole(&self) -> bool {
        self.base == 1 && self.levels.iter().all(|level| level.stretch == 1 && level.shed.is_none())
    }

    /// The plan for the next window, after one in which so much was used.
    #[must_use]
    pub fn next(&self, used: &Used, limits: &Limits) -> Self {
        let mut next = self.clone();
        next.since = self.since.saturating_add(1);
        let over = |used: u64, limit: u64| limit > 0 && used > limit;
        let changed = if over(used.cpu_us, limits.cpu_us) {
            next.go_for_cpu(used)
        } else if over(used.resident_bytes, limits.resident_bytes) {
            // What was left out in the last window may not have been given back yet.
            next.since > 1 && next.shed_one(Why::Memory, |_| Some(used.resident_bytes))
        } else {
            let back = next.since >= CALM_WINDOWS && next.come_back(used, limits);
            if back {
                (next.since, next.came_back) = (0, true);
            } else if next.came_back && next.since > RETRY_WINDOWS {
                // It has worked for long.
                (next.failed, next.came_back) = (0, false);
            }
            return next;
        };
        if changed {
            if next.came_back {
                next.failed = (next.failed + 1).min(RETRY_DOUBLINGS);
            }
            (next.since, next.came_back) = (0, false);
        }
        next
    }

    /// Uses less processor time; whether anything is left to change.
    fn go_for_cpu(&mut self, used: &Used) -> bool {
        let costs = Part::ALL.map(|part| (used.parts_us[part.index()], part));
        let stretchable = |(cost, part): &&(u64, Part)| {
            let level = self.level(*part);
            // What is next to nothing is not worth the change: a 20th of all.
            level.shed.is_none() && level.stretch < STRETCH_MAX && cost.saturating_mul(20) > used.cpu_us
        };
        if let Some((_, part)) = costs.iter().filter(stretchable).max() {
            self.levels[part.index()].stretch *= 2;
            return true;
        }
        // What costs nothing is not left out: nothing would be won.
        if self.shed_one(Why::Cpu, |part| Some(used.parts_us[part.index()]).filter(|cost| *cost > 0)) {
            return true;
        }
        if self.base < STRETCH_MAX {
            self.base *= 2;
            return true;
        }
        false
    }

    /// Leaves out the part that is missed least of those that `before` tells the use of, and those that are missed less yet, which
    /// would take its place; whether there was one.
    fn shed_one(&mut self, why: Why, before: impl Fn(Part) -> Option<u64>) -> bool {
        let mut here = Part::ALL.into_iter().filter(|part| self.level(*part).shed.is_none());
        let Some((last, used)) = here.find_map(|part| Some((part, before(part)?))) else { return false };
        for level in self.levels[..=last.index()].iter_mut().filter(|level| level.shed.is_none()) {
            (level.shed, level.before) = (Some(why), 0);
        }
        self.levels[last.index()].before = used;
        true
    }

    /// Takes one step back, if one fits; whether it did. The last that went comes first.
    fn come_back(&mut self, used: &Used, limits: &Limits) -> bool {
        let fits = |amount: u64, limit: u64| {
            limit == 0 || u128::from(amount) * 100 <= u128::from(limit) * u128::from(ROOM_PERCENT)
        };
        if self.base > 1 {
            let back = fits(used.cpu_us.saturating_mul(2), limits.cpu_us);
            if back {
                self.base /= 2;
            }
            return back;
        }
        let retry = self.since >= RETRY_WINDOWS << self.failed;
        if let Some(level) = self.levels.iter_mut().rev().find(|level| level.shed.is_some()) {
            let back = match level.shed {
                Some(Why::Cpu) => {
                    let with = used.cpu_us.saturating_add(level.before);
                    fits(with, limits.cpu_us) || (retry && fits(used.cpu_us, limits.cpu_us))
                }
                // How much memory it takes is not known: it is tried when there is room, more seldom each time.
                _ => retry && fits(used.resident_bytes, limits.resident_bytes),
            };
            if back {
                (level.shed, level.before) = (None, 0);
            }
            return back;
        }
        // Of several the one that costs least: it comes back with the least risk.
        let stretched = Part::ALL.into_iter().filter(|part| self.level(*part).stretch > 1);
        let Some(part) = stretched.min_by_key(|part| used.parts_us[part.index()]) else { return false };
        let back = fits(used.cpu_us.saturating_add(used.parts_us[part.index()]), limits.cpu_us);
        if back {
            self.levels[part.index()].stretch /= 2;
        }
        back
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What a plan makes of work that costs so much when it is done as often as it is configured.
    #[derive(Debug, Clone)]
    struct Work {
        rest_us: u64,
        parts_us: [u64; PARTS],
        rest_bytes: u64,
        parts_bytes: [u64; PARTS],
    }

    impl Work {
        fn used(&self, plan: &Plan) -> Used {
            let base = u64::from(plan.base());
            let done = |part: Part| plan.level(part).shed.is_none();
            let parts_us = Part::ALL.map(|part| {
                let level = plan.level(part);
                if done(part) { self.parts_us[part.index()] / u64::from(level.stretch) / base } else { 0 }
            });
            let held = Part::ALL.into_iter().filter(|part| done(*part)).map(|part| self.parts_bytes[part.index()]);
            Used {
                cpu_us: self.rest_us / base + parts_us.iter().sum::<u64>(),
                parts_us,
                resident_bytes: self.rest_bytes + held.sum::<u64>(),
            }
        }

        /// Plans of `windows` windows.
        fn run(&self, limits: &Limits, windows: usize) -> Vec<Plan> {
            let step = |plan: &Plan| Some(plan.next(&self.used(plan), limits));
            std::iter::successors(Some(Plan::default()), step).take(windows + 1).collect()
        }
    }

    const LIMITS: Limits = Limits { cpu_us: 1_000, resident_bytes: 1_000 };

    #[test]
    fn the_costliest_is_stretched_and_the_least_missed_goes_first() {
        let work = Work { rest_us: 100, parts_us: [100, 100, 300, 3_000], rest_bytes: 0, parts_bytes: [0; PARTS] };
        let last = work.run(&LIMITS, 30).pop().expect("plans");
        let levels = Part::ALL.map(|part| (last.level(part).stretch, last.level(part).shed));
        assert_eq!(levels, [(1, None), (1, None), (1, None), (8, None)], "one part alone");
        let work = Work { rest_us: 850, parts_us: [2_000; PARTS], ..work };
        let last = work.run(&LIMITS, 200).pop().expect("plans");
        assert!(work.used(&last).cpu_us <= LIMITS.cpu_us, "{last:?}");
        assert_eq!(last.level(Part::Pprof).shed, Some(Why::Cpu));
        assert_eq!((last.level(Part::Goroutines).shed, last.base()), (None, 1), "{last:?}");
        let heavy = Work { rest_us: 3_000, parts_us: [0; PARTS], rest_bytes: 0, parts_bytes: [0; PARTS] };
        assert_eq!(heavy.run(&LIMITS, 50).pop().expect("plans").base(), 4, "all rounds, when nothing else is left");
    }

    #[test]
    fn memory_sheds_without_stretching() {
        let work = Work { rest_us: 0, parts_us: [0; PARTS], rest_bytes: 500, parts_bytes: [300, 400, 100, 100] };
        let plans = work.run(&LIMITS, 15);
        let last = plans.last().expect("plans");
        let shed = Part::ALL.map(|part| last.level(part).shed);
        assert_eq!(shed, [Some(Why::Memory), Some(Why::Memory), None, None]);
        assert!(plans.iter().all(|plan| plan.base() == 1 && plan.levels.iter().all(|level| level.stretch == 1)));
    }

    #[test]
    fn all_comes_back_when_there_is_room() {
        let heavy = Work { rest_us: 900, parts_us: [2_000; PARTS], rest_bytes: 900, parts_bytes: [300; PARTS] };
        let mut plan = heavy.run(&LIMITS, 100).pop().expect("plans");
        assert!(!plan.is_whole());
        let light = Work { rest_us: 10, parts_us: [10; PARTS], rest_bytes: 10, parts_bytes: [10; PARTS] };
        for _ in 0..4 * (RETRY_WINDOWS << RETRY_DOUBLINGS) as usize {
            plan = plan.next(&light.used(&plan), &LIMITS);
        }
        assert!(plan.is_whole(), "{plan:?}");
        let none = Limits::default();
        assert!(heavy.run(&none, 20).iter().all(Plan::is_whole), "without limits nothing is left out");
    }

    fn work() -> impl Strategy<Value = Work> {
        let part = prop_oneof![Just(0u64), 0u64..50, 0u64..5_000];
        let parts = || proptest::array::uniform4(part.clone());
        (0u64..3_000, parts(), 0u64..1_500, parts()).prop_map(|(rest_us, parts_us, rest_bytes, parts_bytes)| Work {
            rest_us,
            parts_us,
            rest_bytes,
            parts_bytes,
        })
    }

    proptest! {
        /// Where some plan keeps both limits, the plans come to keep them, and then break them no more than the retries
        /// that are stated.
        #[test]
        fn plans_come_under_the_limits(work in work()) {
            prop_assume!(work.rest_us / u64::from(STRETCH_MAX) < LIMITS.cpu_us && work.rest_bytes < LIMITS.resident_bytes);
            // Every stretch, every part, the base, and every part with a window between for memory.
            let steps = PARTS * 4 + PARTS + 4 + PARTS * 2 + 2;
            let plans = work.run(&LIMITS, 400);
            let is_over = |plan: &Plan| {
                let used = work.used(plan);
                used.cpu_us > LIMITS.cpu_us || used.resident_bytes > LIMITS.resident_bytes
            };
            prop_assert!(plans[..=steps].iter().any(|plan| !is_over(plan)), "{:?}", plans[steps]);
            let over = plans[2 * steps..].iter().filter(|plan| is_over(plan)).count();
            prop_assert!(over <= 60, "{over} windows over the limit of {}", plans.len() - 2 * steps);
        }

        /// A change back never follows a change sooner than the stated number of windows, whatever is used.
        #[test]
        fn nothing_swings_faster_than_stated(all in proptest::collection::vec((0u64..3_000, 0u64..2_000, 0u64..2_000), 1..200)) {
            let weight = |plan: &Plan| {
                let levels = plan.levels.iter().map(|level| if level.shed.is_some() { 1_000 } else { level.stretch });
                (plan.base() * 100_000) + levels.sum::<u32>()
            };
            let (mut plan, mut changed_at, mut returned_at) = (Plan::default(), None, None);
            for (at, (rest, part, bytes)) in all.into_iter().enumerate() {
                let used = Used { cpu_us: rest + 4 * part, parts_us: [part; PARTS], resident_bytes: bytes };
                let next = plan.next(&used, &LIMITS);
                if weight(&next) < weight(&plan) {
                    let calm = changed_at.is_none_or(|changed_at| at - changed_at >= CALM_WINDOWS as usize);
                    prop_assert!(calm, "back {} windows after a change", at - changed_at.unwrap_or(0));
                    let between = returned_at.is_none_or(|returned_at| at - returned_at >= CALM_WINDOWS as usize);
                    prop_assert!(between);
                    returned_at = Some(at);
                }
                if weight(&next) != weight(&plan) {
                    changed_at = Some(at);
                }
                plan = next;
            }
        }
    }
}
