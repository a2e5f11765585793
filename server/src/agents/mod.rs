//! The agents that check in here: who they are, how they are, and what they are to do.
//!
//! `book` keeps them, `tasks` what becomes of a task, `profiles` what they are to collect, `api` is their HTTP. All of it is in memory: agents check in
//! every few seconds, so that a server that starts anew knows them again at once. Tasks do not outlive it; their ids are never used twice.

mod api;
mod book;
mod profiles;
mod tasks;

pub(crate) use api::{burst, check_in, list, profile, profiles, task};
pub use book::{AgentBook, OrderError};
pub use profiles::{ProfileCheck, ProfileOptions};
pub use tasks::{TaskId, TaskState};

use std::sync::Arc;
use std::time::Duration;

use crate::app::App;

/// Time between two looks at the files of profiles.
const LOOK_EVERY: Duration = Duration::from_secs(3);

/// Takes up profiles that change, for as long as it is polled.
pub async fn watch_profiles(app: Arc<App>) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let book = Arc::clone(app.agents());
        // It fails only when the program ends.
        let _ = tokio::task::spawn_blocking(move || book.look_at_profiles()).await;
    }
}
