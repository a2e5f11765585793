//! Fuzz target bodies as a library, replayed over their seeds by cargo test.
