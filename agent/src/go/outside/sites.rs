//! A walk over goroutines as a census: kinds by address become sites by name, the runtime's own goroutines are left out, and
//! for the sites that matter most one goroutine's stack tells where it is blocked.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::image::Image;
use super::memory::{Fault, Reader};
use super::names::{Names, is_system};
use super::stack;
use super::walk::{Doing, Kind, Walk};
use crate::go::census::{Census, Site, SiteCount, States, Way};
use crate::go::sites::OTHER;

/// Most sites of a census; what is beyond is counted at a site called `other`.
pub const SITES_MAX: usize = 2000;
/// Most sites whose stacks are looked at.
const STACKS_MAX: usize = 32;

/// What is known besides the walk.
#[derive(Debug, Clone, Copy)]
pub struct Known {
    /// When the walk was taken, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// The same moment in monotonic nanoseconds.
    pub now_ns: u64,
    /// Goroutines that exist, the runtime's own left out, as the runtime counts them.
    pub total: Option<u64>,
    /// Whether those with ids beyond that of the walk came since the census before.
    pub newcomers: bool,
}

/// Makes a census of `walk`.
///
/// # Errors
///
/// When the process is gone while stacks are looked at. An allowance that is used up only leaves out stacks.
pub fn census(
    walk: &Walk,
    known: Known,
    image: &Image<'_>,
    reader: &mut Reader<'_>,
    names: &mut Names<'_>,
) -> Result<Census, Fault> {
    let mut kept: Vec<(Kind, Site, super::walk::Count)> = Vec::new();
    let mut system = States::default();
    for (kind, count) in &walk.kinds {
        let started = names.function_or_address(kind.started);
        let started = if names.is_wrapper(&started, kind.started) {
            unwrapped(started, *kind, count.example, image, reader, names)?
        } else {
            started
        };
        let wait = wait_text(image, kind.doing);
        if is_system(&started, wait) {
            add_state(&mut system, kind.doing, count.count);
            continue;
        }
        let created_by = created_by(&started, kind.created, names);
        kept.push((*kind, Site { function: started, created_by, wait: wait.to_owned() }, *count));
    }
    // Counted kinds in a fixed order, so that of equal ones the same give lines and stacks each time.
    kept.sort_by(|a, b| (Reverse(a.2.count), &a.0).cmp(&(Reverse(b.2.count), &b.0)));
    let user = kept.iter().map(|(.., count)| count.count).sum::<u64>().saturating_add(walk.beyond);
    let scale = Scale::new(walk, known.total, user);
    let total = if scale.sampled { known.total.unwrap_or_else(|| scale.up(user)) } else { user };
    let mut sites: BTreeMap<Site, SiteCount> = BTreeMap::new();
    let mut stacks_left = STACKS_MAX;
    for (kind, site, count) in kept {
        let known_site = sites.contains_key(&site);
        let site = if known_site || sites.len() < SITES_MAX { site } else { other() };
        let entry = sites.entry(site).or_default();
        entry.count += scale.up(count.count);
        if known.newcomers {
            *entry.newcomers.get_or_insert(0) += scale.up(count.newcomers);
        }
        entry.blocked_long += scale.up(count.blocked_long);
        entry.leaked += scale.up(count.leaked);
        let blocked_ms = (count.since_ns > 0).then(|| known.now_ns.saturating_sub(count.since_ns) / 1_000_000);
        entry.longest_blocked_ms = entry.longest_blocked_ms.max(blocked_ms);
        if entry.line.is_none() {
            entry.line = line(kind, names);
        }
        if entry.blocked_at.is_none() && stacks_left > 0 && stands(kind.doing) {
            stacks_left -= 1;
            match stack::frames(image, reader, count.example) {
                Ok(frames) => {
                    let place = stack::own_place(image, &frames, names);
                    entry.blocked_at = place.and_then(|(name, line)| Some((name.to_string(), line?)));
                }
                Err(Fault::Budget) => stacks_left = 0,
                Err(fault) => return Err(fault),
            }
        }
    }
    if walk.beyond > 0 {
        sites.entry(other()).or_default().count += scale.up(walk.beyond);
    }
    Ok(Census {
        way: Way::Memory,
        at_ms: known.at_ms,
        total,
        states: Some(scale.states(minus(walk.states, system))),
        sites,
        looked_at: user,
    })
}

/// Whether the stack of one that does this can be read.
fn stands(doing: Doing) -> bool {
    matches!(doing, Doing::Waiting(_) | Doing::Syscall)
}

/// What a goroutine was started with whose `go` statement the compiler wrapped into the function called `wrapper`: told by
/// its stack, once for all.
fn unwrapped(
    wrapper: String,
    kind: Kind,
    example: u64,
    image: &Image<'_>,
    reader: &mut Reader<'_>,
    names: &mut Names<'_>,
) -> Result<String, Fault> {
    if names.wrapped(kind.started).is_none() && stands(kind.doing) {
        match stack::frames(image, reader, example) {
            Ok(frames) => {
                let linked: Vec<u64> = frames.iter().map(|pc| image.linked(*pc)).collect();
                names.unwrap(kind.started, kind.created, &linked);
            }
            Err(Fault::Budget) => {}
            Err(fault) => return Err(fault),
        }
    }
    Ok(names.wrapped(kind.started).map_or(wrapper, |name| name.to_string()))
}

/// All goroutines by state, the runtime's own among them as in `runtime/metrics`, scaled up to all.
pub fn states(walk: &Walk) -> States {
    Scale::new(walk, None, walk.alive).states(walk.states)
}

/// How counts of those looked at become counts of all.
#[derive(Debug, Clone, Copy)]
struct Scale {
    sampled: bool,
    up: u64,
    down: u64,
}

impl Scale {
    fn new(walk: &Walk, total: Option<u64>, user: u64) -> Self {
        let sampled = walk.looked_at < walk.listed;
        match total {
            Some(total) if user > 0 => Self { sampled, up: total, down: user },
            _ => Self { sampled, up: walk.listed, down: walk.looked_at.max(1) },
        }
    }

    fn up(self, count: u64) -> u64 {
        if !self.sampled {
            return count;
        }
        let (count, up, down) = (u128::from(count), u128::from(self.up), u128::from(self.down));
        u64::try_from((count * up + down / 2) / down).unwrap_or(u64::MAX)
    }

    fn states(self, states: States) -> States {
        States {
            running: self.up(states.running),
            runnable: self.up(states.runnable),
            waiting: self.up(states.waiting),
            not_in_go: self.up(states.not_in_go),
        }
    }
}

fn other() -> Site {
    Site { function: OTHER.to_owned(), ..Site::default() }
}

/// What goroutines of a kind do, in the runtime's words.
pub(super) fn wait_text(image: &Image<'_>, doing: Doing) -> &'static str {
    match doing {
        Doing::Running => "running",
        Doing::Runnable => "runnable",
        Doing::Syscall => "syscall",
        Doing::Preempted => "preempted",
        Doing::Waiting(reason) => image
            .layout
            .wait_reasons
            .get(usize::from(reason))
            .copied()
            .filter(|text| !text.is_empty())
            .unwrap_or("waiting"),
    }
}

/// The function with the `go` statement. The first goroutine was made by the runtime.
fn created_by(started: &str, created: u64, names: &mut Names<'_>) -> String {
    if started == "runtime.main" {
        return String::new();
    }
    created.checked_sub(1).and_then(|pc| names.function(pc)).map(|name| name.to_string()).unwrap_or_default()
}

/// The `go` statement, or the start of the function.
fn line(kind: Kind, names: &mut Names<'_>) -> Option<crate::go::census::SourceLine> {
    let created = names.caller(kind.created).and_then(|(_, line)| line);
    created.or_else(|| names.place(kind.started).and_then(|(_, line)| line))
}

fn add_state(states: &mut States, doing: Doing, count: u64) {
    match doing {
        Doing::Running => states.running += count,
        Doing::Runnable => states.runnable += count,
        Doing::Syscall => states.not_in_go += count,
        Doing::Preempted | Doing::Waiting(_) => states.waiting += count,
    }
}

fn minus(all: States, some: States) -> States {
    States {
        running: all.running.saturating_sub(some.running),
        runnable: all.runnable.saturating_sub(some.runnable),
        waiting: all.waiting.saturating_sub(some.waiting),
        not_in_go: all.not_in_go.saturating_sub(some.not_in_go),
    }
}
