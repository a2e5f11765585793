//! The table of functions that every Go executable carries, stripped or not: from an address to a name and a line.

use std::sync::Arc;

use crate::go::census::SourceLine;

/// A function of the executable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// Its full name, such as `net/http.(*Server).Serve`.
    pub name: Arc<str>,
    /// Address of its first instruction, as linked.
    pub entry: u64,
}

/// A function and the line of an address in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// The function.
    pub function: Function,
    /// The line of the code at the address; code that was inlined there has its own function's line.
    pub line: Option<SourceLine>,
}

/// The table of functions of one executable; all addresses as linked.
#[derive(Debug)]
pub struct FunctionTable {}

impl FunctionTable {
    /// The function that the instruction at `pc` belongs to.
    pub fn function(&self, pc: u64) -> Option<Function> {
        let _ = pc;
        None
    }

    /// The function and line of the instruction at `pc`. For a return address give the one before it.
    pub fn position(&self, pc: u64) -> Option<Position> {
        let _ = pc;
        None
    }

    /// How far the stack pointer stands below its place at the function's entry, at the instruction at `pc`, in bytes.
    pub fn frame_bytes(&self, pc: u64) -> Option<u64> {
        let _ = pc;
        None
    }
}
