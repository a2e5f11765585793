//! The command line: one binary that is server, agent, query client and REPL.

fn main() {}
