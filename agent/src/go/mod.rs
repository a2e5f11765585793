//! Go processes: recognised by the build information in their executables, named so that restarts make no new series,
//! read from outside without their help. Pages they offer are read in `scrape`.

pub mod buildinfo;
pub mod census;
pub mod discover;
mod elf;
pub mod identity;
mod kept_names;
pub mod leaks;
pub mod local;
pub mod outside;
pub mod process;
pub mod profile;
pub mod signals;
pub mod sites;
pub mod ways;

pub use buildinfo::BuildInfo;
pub use discover::{Discovery, GoProcess, Scan};
pub use process::{GoProcesses, SharedProcesses};
