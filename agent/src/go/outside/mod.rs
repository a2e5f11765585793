//! Go processes read from outside, in their memory, without their help: what their executables tell, and what the
//! runtime inside keeps count of.

pub mod binary;
