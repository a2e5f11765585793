//! Codings of timestamps and values.
