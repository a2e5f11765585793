//! Expressions back to text.
