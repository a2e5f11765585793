//! How queries are executed: on several threads, each expression once, within their memory, and told of.

mod explain;
mod memory;
mod sharing;
mod threads;
mod watched;
