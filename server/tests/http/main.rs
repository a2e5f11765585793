//! The HTTP surface from a client's side: results and errors byte for byte, overload, the listener.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test that calls them")]

mod admin;
mod agents;
mod alertmanager_api;
mod captures;
mod chunk_decoder;
mod compress;
mod exemplars;
mod export;
mod federate;
mod fixed;
mod go_api;
mod listener;
mod overload;
mod pages;
mod query_api;
mod remote_read;
mod replay;
mod rules;
mod series_api;
mod status_api;
mod support;
mod syntax_api;
