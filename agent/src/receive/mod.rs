//! What Go programs with the client push to the agent: which processes do, and which metrics (`processes`).

pub mod processes;

pub use processes::SdkProcesses;
