//! Goroutines told by profiles, counted by site: the function a goroutine was started with, which is the outermost of its
//! stack, and what it waits for, told by the functions at the leaf.
//!
//! A goroutine profile names neither the `go` statement nor how long something waits; the dump of all stacks does. Both
//! show the goroutine that writes the answer, and those of the server it came by.

use std::collections::BTreeMap;

use super::dump::{Goroutine, Place};
use super::model::{Frame, Profile};
use super::waits;
use crate::go::census::{Census, Site, SiteCount, SourceLine, States, Way};
use crate::go::sites::is_runtime;

/// Function of the site of goroutines whose stack is deeper than the profile keeps, so that its outermost function is not
/// the one they were started with.
pub const STACK_CUT: &str = "(stack cut)";
/// Function of the site of goroutines whose stack has no names.
pub const NAMELESS: &str = "(no name)";

/// Most frames of a stack in a goroutine profile of programs built with a toolchain such as `go1.24.1`.
pub fn frames_max(go_version: &str) -> usize {
    let minor = go_version.strip_prefix("go1.").and_then(|rest| {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        rest.get(..digits)?.parse::<u32>().ok()
    });
    match minor {
        Some(minor) if minor < 23 => 32,
        _ => 128,
    }
}

/// The census that a goroutine profile in protobuf form is. Stacks of `frames_max` frames or more are cut.
pub fn from_profile(profile: &Profile, at_ms: i64, frames_max: usize) -> Census {
    let mut census = empty(at_ms);
    for sample in &profile.samples {
        let count = sample.values.first().map_or(0, |count| u64::try_from(*count).unwrap_or(0));
        if count == 0 {
            continue;
        }
        let frames = profile.frames(sample);
        let (site, line) = site_of(frames.clone(), frames_max);
        let counted = census.sites.entry(site).or_default();
        counted.count = counted.count.saturating_add(count);
        counted.line = counted.line.take().or(line);
        if counted.blocked_at.is_none() {
            counted.blocked_at = frames
                .filter(|frame| !frame.function.is_empty())
                .find(|frame| !is_runtime(frame.function))
                .map(|frame| (frame.function.to_owned(), source_line(frame.file, frame.line)));
        }
        census.total = census.total.saturating_add(count);
    }
    census.looked_at = census.total;
    census
}

/// Adds to `census` what a goroutineleak profile says: how many of each site the runtime found leaked.
pub fn add_leaks(census: &mut Census, leaks: &Profile, frames_max: usize) {
    let found = from_profile(leaks, census.at_ms, frames_max);
    for (site, found) in found.sites {
        let counted = census.sites.entry(site).or_insert_with(|| SiteCount { count: 0, ..found.clone() });
        // The profile of leaks is of another moment: there are at least as many now as were found leaked then.
        let more = found.count.saturating_sub(counted.count);
        counted.count += more;
        census.total += more;
        counted.leaked = found.count;
    }
    census.looked_at = census.total;
}

fn empty(at_ms: i64) -> Census {
    Census { way: Way::Pprof, at_ms, total: 0, states: None, sites: BTreeMap::new(), looked_at: 0 }
}

/// The site of a stack, and where its function starts.
fn site_of<'a>(frames: impl Iterator<Item = Frame<'a>> + Clone, frames_max: usize) -> (Site, Option<SourceLine>) {
    let named = frames.clone().filter(|frame| !frame.function.is_empty());
    let outermost = named.clone().filter(|frame| frame.function != "runtime.goexit").last();
    let function = match outermost {
        _ if frames.count() >= frames_max => STACK_CUT,
        Some(frame) => frame.function,
        None => NAMELESS,
    };
    let wait = waits::wait_of(named.map(|frame| frame.function)).to_owned();
    let line = outermost.filter(|frame| frame.start_line > 0 && function != STACK_CUT);
    let line = line.map(|frame| source_line(frame.file, frame.start_line));
    (Site { function: function.to_owned(), created_by: String::new(), wait }, line)
}

fn source_line(file: &str, line: i64) -> SourceLine {
    SourceLine { file: file.to_owned(), line: u32::try_from(line).unwrap_or(0) }
}

/// Counts the goroutines of a dump, one after the other.
#[derive(Debug)]
pub struct DumpCensus {
    census: Census,
    states: States,
    blocked_ms: u64,
}

impl DumpCensus {
    /// A census at `at_ms`, in which those that have been blocked for `blocked_ms` milliseconds count as blocked long.
    pub fn new(at_ms: i64, blocked_ms: u64) -> Self {
        Self { census: empty(at_ms), states: States::default(), blocked_ms }
    }

    /// Counts one goroutine.
    pub fn add(&mut self, goroutine: &Goroutine) {
        let header = &goroutine.header;
        self.census.total += 1;
        match header.status.as_str() {
            "running" => self.states.running += 1,
            "runnable" => self.states.runnable += 1,
            "syscall" | "waiting for cgo callback" => self.states.not_in_go += 1,
            _ => self.states.waiting += 1,
        }
        let started = goroutine.frames.iter().rev().find(|place| place.function != "runtime.goexit");
        let site = Site {
            function: started.map_or(NAMELESS, |place| &place.function).to_owned(),
            created_by: goroutine.created_by.as_ref().map_or("", |place| &place.function).to_owned(),
            wait: header.status.clone(),
        };
        let counted = self.census.sites.entry(site).or_default();
        counted.count += 1;
        counted.leaked += u64::from(header.leaked);
        let blocked_ms = header.minutes.map(|minutes| minutes.saturating_mul(60_000));
        counted.blocked_long += u64::from(blocked_ms.is_some_and(|ms| ms >= self.blocked_ms));
        counted.longest_blocked_ms = counted.longest_blocked_ms.max(blocked_ms);
        if counted.line.is_none() {
            counted.line = goroutine.created_by.as_ref().filter(|place| place.line > 0).map(line_of);
        }
        if counted.blocked_at.is_none() {
            let own = goroutine.frames.iter().find(|place| !is_runtime(&place.function));
            counted.blocked_at = own.map(|place| (place.function.clone(), line_of(place)));
        }
    }

    /// The census.
    pub fn finish(mut self) -> Census {
        self.census.looked_at = self.census.total;
        self.census.states = Some(self.states);
        self.census
    }
}

fn line_of(place: &Place) -> SourceLine {
    SourceLine { file: place.file.clone(), line: place.line }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::go::profile::model::{Builder, Line, ValueType};

    /// A profile of stacks, the leaf first, with their counts.
    fn profile(stacks: &[(&[&str], i64)]) -> Profile {
        let mut builder = Builder::new(vec![ValueType::new("goroutine", "count")]);
        for (functions, count) in stacks {
            let mut stack = Vec::new();
            for name in *functions {
                let lines = if name.is_empty() {
                    Vec::new()
                } else {
                    vec![Line { function: builder.function(name, "/src/main.go", 3), line: 4 }]
                };
                stack.push(builder.location(0, lines));
            }
            builder.sample(stack, vec![*count], Vec::new());
        }
        builder.finish()
    }

    fn counts(census: &Census) -> Vec<(&str, &str, u64, u64)> {
        census
            .sites
            .iter()
            .map(|(site, counted)| (site.function.as_str(), site.wait.as_str(), counted.count, counted.leaked))
            .collect()
    }

    #[test]
    fn stacks_that_are_cut_nameless_or_negative() {
        let deep = ["main.recurse"; 40];
        let stacks = profile(&[
            (&["runtime.gopark", "runtime.chanrecv1", "main.a", "runtime.goexit"], 2),
            (&["runtime.gopark", "runtime.chanrecv1", "main.b", "main.a"], 3),
            (&deep, 4),
            (&["", ""], 5),
            (&[], 6),
            (&["main.a"], -7),
        ]);
        let census = from_profile(&stacks, 1, 128);
        let want = [(NAMELESS, "running", 11, 0), ("main.a", "chan receive", 5, 0), ("main.recurse", "running", 4, 0)];
        assert_eq!(counts(&census), want);
        assert_eq!((census.total, census.looked_at), (20, 20));
        assert!(counts(&from_profile(&stacks, 1, 32)).contains(&(STACK_CUT, "running", 4, 0)));
    }

    #[test]
    fn leaks_are_added_to_their_sites() {
        let parked: &[&str] = &["runtime.gopark", "runtime.chanrecv1", "main.a"];
        let other: &[&str] = &["runtime.gopark", "runtime.chansend1", "main.gone"];
        let mut census = from_profile(&profile(&[(parked, 5)]), 1, 128);
        add_leaks(&mut census, &profile(&[(parked, 3), (other, 2)]), 128);
        assert_eq!(counts(&census), [("main.a", "chan receive", 5, 3), ("main.gone", "chan send", 2, 2)]);
        assert_eq!(census.total, 7);
    }

    #[test]
    fn depths_by_release() {
        for (version, want) in
            [("go1.18", 32), ("go1.22.10", 32), ("go1.23rc1", 128), ("go1.27.3", 128), ("", 128), ("devel", 128)]
        {
            assert_eq!(frames_max(version), want, "{version}");
        }
    }
}
