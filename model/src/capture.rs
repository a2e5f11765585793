//! What can be captured of a program: the words that people, servers and agents use for it.

use std::fmt;

/// A kind of capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CaptureKind {
    /// Stacks of all goroutines, counted.
    Goroutine,
    /// Live objects by the stack that allocated them, and all that was allocated; viewers show the first.
    Heap,
    /// The same; viewers show the second.
    Allocs,
    /// Who holds contended mutexes, where the program keeps that.
    Mutex,
    /// What blocks, where the program keeps that.
    Block,
    /// What runs, sampled for some seconds.
    Cpu,
    /// Goroutines that nothing can wake; taking it costs the program a collection.
    GoroutineLeak,
    /// Each goroutine by itself, as text; taking it stops the program meanwhile.
    Stacks,
}

impl CaptureKind {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::Goroutine,
        Self::Heap,
        Self::Allocs,
        Self::Mutex,
        Self::Block,
        Self::Cpu,
        Self::GoroutineLeak,
        Self::Stacks,
    ];

    /// Longest measuring, in seconds.
    pub const SECONDS_MAX: u32 = 120;

    /// Its word.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Goroutine => "goroutine",
            Self::Heap => "heap",
            Self::Allocs => "allocs",
            Self::Mutex => "mutex",
            Self::Block => "block",
            Self::Cpu => "cpu",
            Self::GoroutineLeak => "goroutineleak",
            Self::Stacks => "stacks",
        }
    }

    /// The kind with this word.
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.text() == word)
    }

    /// Whether it is text, and not a profile that viewers of profiles open.
    pub const fn is_text(self) -> bool {
        matches!(self, Self::Stacks)
    }

    /// The values that a profile of the kind has, perhaps among others, as `go tool pprof` calls them.
    pub const fn value(self) -> &'static str {
        match self {
            Self::Goroutine | Self::Stacks => "goroutine",
            Self::Heap => "inuse_space",
            Self::Allocs => "alloc_space",
            Self::Mutex | Self::Block => "delay",
            Self::Cpu => "cpu",
            Self::GoroutineLeak => "goroutineleak",
        }
    }

    /// Over how many seconds it is measured where nobody says; 0 for a state.
    pub const fn seconds_default(self) -> u32 {
        if matches!(self, Self::Cpu) { 10 } else { 0 }
    }

    /// Why it cannot be measured over so many seconds, if so. Of states other than stacks and leaks, seconds ask for the difference
    /// between two looks, which a program's own endpoint takes.
    pub fn problem_with(self, seconds: u32) -> Option<String> {
        if seconds > Self::SECONDS_MAX {
            return Some(format!("is measured over {} seconds at most", Self::SECONDS_MAX));
        }
        match self {
            Self::Cpu if seconds == 0 => Some("is measured over seconds; say how many".to_owned()),
            Self::Stacks | Self::GoroutineLeak if seconds > 0 => {
                Some("is a state; it is not measured over seconds".to_owned())
            }
            _ => None,
        }
    }
}

impl fmt::Display for CaptureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_seconds() {
        for kind in CaptureKind::ALL {
            assert_eq!(CaptureKind::named(&kind.to_string()), Some(kind));
            assert_eq!(kind.problem_with(kind.seconds_default()), None, "{kind}");
            assert!(kind.problem_with(CaptureKind::SECONDS_MAX + 1).is_some(), "{kind}");
        }
        assert_eq!(CaptureKind::named("profile"), None);
        assert!(CaptureKind::Cpu.problem_with(0).is_some() && CaptureKind::Heap.problem_with(5).is_none());
        assert!(CaptureKind::Stacks.problem_with(1).is_some());
    }
}
