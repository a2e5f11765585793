//! The file layer that all durable input and output of storage goes through.
