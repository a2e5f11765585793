//! How queries are executed: on several threads, each expression once, within their memory, and told of.

mod downsampled;
mod explain;
mod memory;
mod sharing;
mod summaries;
mod threads;
mod watched;
