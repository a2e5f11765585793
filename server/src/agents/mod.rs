//! The agents that check in here: who they are, how they are, and what they are to do.
//!
//! `book` keeps them and their tasks, `tasks` what becomes of a task, `api` is their HTTP. All of it is in memory: agents check in
//! every few seconds, so that a server that starts anew knows them again at once. Tasks do not outlive it; their ids are never used twice.

mod api;
mod book;
mod tasks;

pub(crate) use api::{burst, check_in, list, task};
pub use book::{AgentBook, OrderError};
pub use tasks::{TaskId, TaskState};
