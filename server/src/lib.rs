//! The HTTP surface: query API, status, self-metrics, and the listener that carries them.
//!
//! [`App`] is what the handlers share, [`router`] the table of routes with `ingest`'s merged in, [`serve()`] the
//! loop that accepts connections and stops gracefully. Reading is synchronous and runs on blocking threads behind
//! a gate, so that queries never take the threads that ingestion needs.

mod admin_api;
mod admin_guard;
pub mod agents;
pub mod alerting;
mod alertmanager_api;
mod answer;
mod app;
mod backup_api;
pub mod captures;
mod cardinality_api;
mod chunk;
mod compress;
mod counters;
mod deletes_api;
mod engine_metrics;
mod exemplars_api;
mod explain_json;
mod export;
mod federate;
mod gate;
mod go_api;
mod graph;
mod histogram_json;
mod html;
mod json;
mod linger;
mod memory;
mod metrics_page;
mod pages;
mod params;
mod process;
mod query_api;
mod reading;
mod remote_read;
mod reply;
mod retention_api;
mod runbooks;
mod running;
mod self_metrics;
mod series_api;
mod serve;
mod slow;
mod slow_client;
mod status_api;
mod stream;
mod syntax_api;
mod syntax_tree;
mod time;

pub use admin_guard::AdminAccess;
pub use agents::{AgentBook, ProfileOptions, watch_profiles};
pub use alerting::{Alerting, AlertingOptions, NotifyOptions, is_like, matching_files};
pub use app::{App, DELIVERED_WITHIN, ServerOptions, router};
pub use captures::{CaptureOptions, Captures};
pub use memory::watch_memory;
pub use self_metrics::{SELF_JOB, SelfMetricsOptions, keep_self_metrics};
pub use serve::{ServeOptions, serve, serve_with};
