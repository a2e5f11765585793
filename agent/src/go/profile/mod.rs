//! Profiles of Go programs, `/debug/pprof`: one model for every form they come in, read under limits and written again so
//! that `go tool pprof` opens it; what they tell of goroutines and of sites; where they are offered, how often they are
//! asked for, and how they are kept.

pub mod capture;
pub mod census;
pub mod decode;
pub mod dump;
pub mod encode;
pub mod endpoint;
pub mod index;
pub mod model;
pub mod pace;
pub mod poll;
mod quoted;
mod reading;
pub mod request;
pub mod sources;
pub mod store;
pub mod table;
pub mod text;
pub mod thread;
pub mod waits;

pub use decode::{DecodeError, Limits, decode};
pub use encode::encode;
pub use model::Profile;
