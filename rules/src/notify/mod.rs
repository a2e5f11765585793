//! Who is told of alerts, and when: decisions over what is firing and what was told, and the dispatcher that puts them together.

pub mod acks;
pub mod alerts;
pub mod decision;
pub mod delivery;
pub mod dispatch;
pub mod inhibit;
pub mod log;
pub mod silence;
pub mod silences;
mod stored;
