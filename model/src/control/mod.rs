//! What a server and its agents say to each other beside samples: an agent checks in and tells how it is ([`CheckIn`]), the
//! server answers with what to do ([`Orders`]).
//!
//! The words only, as JSON. Fields that one side does not know are left out by the other, so that either may be upgraded first;
//! what an agent does not know how to do it declines ([`TaskKind::Unknown`]). Who keeps them is `server`'s and `agent`'s.

mod check_in;
mod task;

pub use check_in::{AgentQueue, AgentShed, CheckIn, HOSTS_MAX, Orders, ProfileOrder};
pub use task::{BURST_INTERVAL_MS_MIN, BURST_SECONDS_MAX, ProcessName, Task, TaskKind, TaskOutcome};

/// Where agents check in, below the server's address.
pub const CHECK_IN_PATH: &str = "/api/v1/agents/checkin";
/// Where agents fetch what they are to collect, below the server's address.
pub const PROFILE_PATH: &str = "/api/v1/agents/profile";
/// Longest check-in, and longest answer to one, in bytes of JSON.
pub const MESSAGE_BYTES_MAX: usize = 256 << 10;
/// Longest collection profile, in bytes of TOML.
pub const PROFILE_BYTES_MAX: usize = 128 << 10;
/// Longest text in a message: a name, a version.
pub const NAME_BYTES_MAX: usize = 256;
/// Longest text that tells what went wrong.
pub const REASON_BYTES_MAX: usize = 1_000;
/// Most outcomes in one check-in; more go with the next.
pub const OUTCOMES_MAX: usize = 64;
/// Most tasks that an agent has at a time.
pub const UNDER_WAY_MAX: usize = 64;
/// Most tasks in one answer; more come with the next.
pub const TASKS_MAX: usize = 16;

/// `text`, cut to [`REASON_BYTES_MAX`].
pub fn shortened(text: &str) -> &str {
    &text[..text.floor_char_boundary(REASON_BYTES_MAX)]
}
