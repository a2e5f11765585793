//! Pages that programs offer: fetching them, reading them as text or expvar JSON, finding them on the ports of Go
//! processes, and keeping at it in rounds.

pub mod expvar;
pub mod listen;
mod pool;
pub(crate) mod ports;
pub mod probe;
pub mod rounds;
mod sockets;
pub mod target;
pub mod text;

pub use rounds::Scraper;
pub use target::{Limits, Target};
