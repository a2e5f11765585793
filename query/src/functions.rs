//! The function table: name, signature and one line of help for every PromQL function.
//!
//! Owns what the parser, the checker and completion need. How each is computed lives in `eval`.

use crate::ast::ValueType;

/// One function of the language.
#[derive(Debug, PartialEq)]
pub struct Function {
    /// The name, case-sensitive.
    pub name: &'static str,
    /// Which computation it is.
    pub id: FunctionId,
    /// The types of its arguments in order.
    pub args: &'static [ValueType],
    /// How many of `args`, counted from the end, may be left out.
    pub optional: usize,
    /// How often the last argument may be repeated beyond once; `usize::MAX` means any number.
    pub variadic: usize,
    /// The type of its result.
    pub returns: ValueType,
    /// One line for people.
    pub help: &'static str,
}

/// Names a computation; see [`Function`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is the function of the same name")]
pub enum FunctionId {
    Rate,
}

/// Every function, ordered by name.
pub static FUNCTIONS: &[Function] = &[Function {
    name: "rate",
    id: FunctionId::Rate,
    args: &[ValueType::RangeVector],
    optional: 0,
    variadic: 0,
    returns: ValueType::InstantVector,
    help: "per-second increase of a counter over the range, resets handled, extrapolated to its ends",
}];

/// The function named `name`.
pub fn find(name: &str) -> Option<&'static Function> {
    FUNCTIONS.binary_search_by(|function| function.name.cmp(name)).ok().map(|at| &FUNCTIONS[at])
}
