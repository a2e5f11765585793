//! The HTTP surface: query API, status, self-metrics.
