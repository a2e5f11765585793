//! Alerting: rule and routing files, the states of alerts, and who is told when. Plain functions over what they are given;
//! clocks, queries, files and senders come from outside.

pub mod alert;
mod coding;
pub mod config;
pub mod evaluate;
pub mod event;
pub mod file;
pub mod forward;
pub mod functions;
pub mod interval;
pub mod matchers;
pub mod notify;
pub mod posted;
pub mod receivers;
pub mod route;
pub mod shelf;
pub mod shipped;
pub mod template;
pub mod unit_tests;
mod yaml;
