//! Immutable block files: chunks of one day, each series in one place.
