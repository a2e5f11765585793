//! A census of goroutines: how many there are, in which states, and at which sites.
//!
//! Every way of reading a process comes to this (its memory, a profile it serves), metrics are made of it, and the leak
//! ladder judges it. It does not know how it was taken, but for [`Way`].

use std::collections::BTreeMap;

/// How a process was read: value of label `way`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Way {
    /// From outside, in the memory of the process, without its help.
    Memory,
    /// A profile of `/debug/pprof`.
    Pprof,
    /// `/metrics` or `/debug/vars`.
    Page,
    /// Pushed by the client in the program.
    Sdk,
}

impl Way {
    /// The label's value.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Pprof => "pprof",
            Self::Page => "page",
            Self::Sdk => "sdk",
        }
    }
}

/// What goroutines have in common that are counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Site {
    /// The function that the goroutine was started with, such as `main.serve.func1`: label `site`.
    pub function: String,
    /// The function with the `go` statement: label `created_by`; empty where the way of reading does not tell.
    pub created_by: String,
    /// What it waits for, in the runtime's words, such as `chan receive`; for one that does not wait its state, such as `running`: label `wait`.
    pub wait: String,
}

/// A line of source.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SourceLine {
    /// Path of the file as the compiler was told, the module's with `-trimpath`.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
}

/// The goroutines of one site.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SiteCount {
    /// How many there are.
    pub count: u64,
    /// Those of them that were not there at the census before, where that is known.
    pub newcomers: Option<u64>,
    /// Those of them that have been blocked for the time that the census was asked about, or longer.
    pub blocked_long: u64,
    /// How long the one that has waited longest has been blocked, in milliseconds, where that is known.
    pub longest_blocked_ms: Option<u64>,
    /// Those that the runtime itself found leaked.
    pub leaked: u64,
    /// The `go` statement, or the start of the function where that is not known.
    pub line: Option<SourceLine>,
    /// The first function of the program, not of the runtime, in the stack of one of them, and its line.
    pub blocked_at: Option<(String, SourceLine)>,
}

/// Goroutines by state, as `runtime/metrics` names them from Go 1.26 on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct States {
    /// Running Go code.
    pub running: u64,
    /// Ready to run.
    pub runnable: u64,
    /// Waiting for something.
    pub waiting: u64,
    /// In a system call or in C.
    pub not_in_go: u64,
}

/// One look at the goroutines of one process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Census {
    /// How it was taken.
    pub way: Way,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// All goroutines, those of the runtime left out.
    pub total: u64,
    /// By state, where that is known.
    pub states: Option<States>,
    /// By site. When not all were looked at, counts are scaled up to all.
    pub sites: BTreeMap<Site, SiteCount>,
    /// How many were looked at; fewer than `total` when sampled.
    pub looked_at: u64,
}
