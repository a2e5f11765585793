//! The agent: collectors for hosts and Go processes, scraping, a queue on disk, a remote-write sender.
//!
//! Synchronous: `run` starts one thread that looks for processes, two that collect, one that scrapes and one that sends. Readings flow
//! `collect`, `go`, `scrape` → `readings` → `send::Outbox` → `queue` → `send::sender`. Everything that can be set is in
//! the table of `config::options`; the binaries `metrickit-agent` and `metrickit agent` are `cli`.

pub mod allocator;
pub mod args;
pub mod budget;
pub mod captures;
pub mod cli;
pub mod collect;
pub mod config;
pub mod control;
pub mod filter;
pub mod go;
pub mod http;
mod mounts;
mod peer;
pub mod poll;
mod private;
pub mod queue;
pub mod readings;
pub mod receive;
pub mod run;
pub mod scrape;
pub mod send;
pub mod stale;
pub mod stats;
pub mod stop;
pub mod threads;

pub use args::AgentArgs;
pub use config::{Config, ConfigError};
pub use run::{AgentError, RunSummary, once, run, run_from};
pub use stop::StopFlag;
