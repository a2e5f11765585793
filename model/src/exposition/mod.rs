//! The exposition text formats: Prometheus text 0.0.4 and OpenMetrics 1.0, read and written.
//!
//! `parse` reads a page line by line and tells each bad line by itself; `write` prints families.
