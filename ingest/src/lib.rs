//! Every way in: decoders, limits, the write routes.
//!
//! A request is let in by `admission`, received by `routes` under a limit on its bytes and its time, and then, on a
//! thread that may block, decompressed (`compress`), decoded (`remote_write`, `text_import`, `lines_import`) into a
//! [`model::WriteBatch`] and appended to the [`model::SampleSink`]. What is wrong with a whole request is an
//! [`IngestError`]; what is wrong with single series, samples or lines is [`Rejected`], and the rest is taken.
//! Storage, its log and its retention are behind the sink.

mod admission;
mod buffers;
mod compress;
mod error;
mod limits;
mod lines_import;
mod metrics;
mod rejected;
mod remote_write;
mod reply;
mod routes;
mod text_import;
mod wire;

pub use error::IngestError;
pub use limits::IngestLimits;
pub use lines_import::decode_lines;
pub use metrics::{IngestMetrics, IngestSnapshot, Outcome, Route, RouteSnapshot};
pub use rejected::{REASONS_TOLD_MAX, Reason, Rejected};
pub use remote_write::{RemoteWriteDecoder, Version};
pub use routes::{IngestState, router};
pub use text_import::{EXTRA_LABELS_MAX, ImportOptions, decode_page};
pub use wire::{Coding, WireError, WireProblem};
