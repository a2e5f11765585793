//! Fuzz target bodies as a library, replayed over their seeds by cargo test.
//!
//! One module a target, each with `run(data)`, which panics when something that must hold does not. The binaries in
//! `targets/` hand libFuzzer's bytes to them; `tests/seeds.rs` hands them every file under `seeds/`.

#![expect(clippy::missing_panics_doc, reason = "a target says what is wrong by a panic")]

pub mod backup_files;
pub mod block_open;
pub mod chunk_decode;
pub mod chunk_round_trip;
pub mod engine_model;
pub mod exposition;
pub mod go_binary;
pub mod go_memory;
pub mod index_open;
pub mod input;
pub mod json_lines;
pub mod log_replay;
pub mod matchers;
pub mod notification_template;
pub mod pprof_decode;
pub mod promql;
pub mod query_data;
pub mod query_eval;
pub mod query_text;
pub mod queue_record;
pub mod remote_write;
pub mod routing_file;
pub mod rule_file;

/// A target: its name and body.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 20] = [
    ("backup_files", backup_files::run),
    ("block_open", block_open::run),
    ("chunk_decode", chunk_decode::run),
    ("chunk_round_trip", chunk_round_trip::run),
    ("engine_model", engine_model::run),
    ("exposition", exposition::run),
    ("go_binary", go_binary::run),
    ("go_memory", go_memory::run),
    ("index_open", index_open::run),
    ("json_lines", json_lines::run),
    ("log_replay", log_replay::run),
    ("matchers", matchers::run),
    ("notification_template", notification_template::run),
    ("pprof_decode", pprof_decode::run),
    ("promql", promql::run),
    ("query_eval", query_eval::run),
    ("queue_record", queue_record::run),
    ("remote_write", remote_write::run),
    ("routing_file", routing_file::run),
    ("rule_file", rule_file::run),
];
