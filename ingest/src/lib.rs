//! Every way in: decoders, limits, the write routes.
//!
//! A request is let in by `admission`, received by `routes` under a limit on its bytes and its time, and then, on a
//! thread that may block, decompressed (`compress`), decoded (`remote_write`, `text_import`, `lines_import`) into a
//! [`model::WriteBatch`] and appended to the [`model::SampleSink`]. What is wrong with a whole request is an
//! [`IngestError`]; what is wrong with single series, samples or lines is [`Rejected`], and the rest is taken.
//! Storage, its log and its retention are behind the sink.
//!
//! The routes are the feature `routes`, on by default; without it there are the decoders, which know no HTTP and no async
//! runtime: the agent takes those.

#[cfg(feature = "routes")]
mod admission;
#[cfg(feature = "routes")]
mod buffers;
#[cfg(feature = "routes")]
mod compress;
mod error;
mod limits;
mod lines_import;
#[cfg(feature = "routes")]
mod metrics;
mod rejected;
mod remote_write;
#[cfg(feature = "routes")]
mod reply;
#[cfg(feature = "routes")]
mod routes;
mod text_import;
mod wire;

pub use error::IngestError;
pub use limits::IngestLimits;
pub use lines_import::decode_lines;
#[cfg(feature = "routes")]
pub use metrics::{IngestMetrics, IngestSnapshot, Outcome, Route, RouteSnapshot};
pub use rejected::{REASONS_TOLD_MAX, Reason, Rejected};
pub use remote_write::{RemoteWriteDecoder, Version, version_of};
#[cfg(feature = "routes")]
pub use routes::{IngestState, router};
pub use text_import::{EXTRA_LABELS_MAX, ImportOptions, decode_page};
pub use wire::{Coding, WireError, WireProblem};
