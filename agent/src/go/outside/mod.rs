//! Go processes read from outside, in their memory, without their help: what their executables tell, and what the
//! runtime inside keeps count of.
//!
//! Nothing is attached to and nothing stopped: a reading is a few copies of words that the program goes on changing.
//! `memory` and `process_memory` give bounded copies, `image` says where the runtime is in them. `snapshot` copies its variables,
//! of which `counters`, `heap` and `time_histogram` make the numbers of `runtime/metrics`; `walk`, `stack` and `sites` make a census
//! of goroutines, `profile` reads what the program profiles of itself, and `capture` makes a file of either that viewers of profiles open. `collector` does it at its times, for every
//! process.

pub mod binary;
pub mod capture;
pub mod collector;
pub mod counters;
mod executable;
pub mod heap;
pub mod image;
pub mod memory;
pub mod names;
mod part;
pub mod process_memory;
pub mod profile;
pub mod series;
pub mod sites;
pub mod snapshot;
pub mod stack;
pub mod ticks;
pub mod time_histogram;
pub mod walk;

pub use collector::{Outside, SharedCensuses, SharedTicks};
