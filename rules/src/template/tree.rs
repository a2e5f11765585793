//! What a template says, read.

/// A piece of a template.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Text(String),
    /// Told, unless it declares or assigns.
    Action(Pipe),
    Choice(Choice),
    Range(Branch),
    Template {
        at: usize,
        name: String,
        pipe: Option<Pipe>,
    },
    Break,
    Continue,
}

impl Node {
    /// Whether it is white space.
    pub(super) fn is_blank(&self) -> bool {
        matches!(self, Self::Text(text) if text.trim().is_empty())
    }
}

/// `if` and `with`, and all `else if` and `else with` behind them: of many pieces the first whose pipe has a value, or another. It is flat, so that
/// however many there are nothing goes deep.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Choice {
    pub(super) arms: Vec<Arm>,
    pub(super) other: Vec<Node>,
}

/// A piece for when a pipe has a value.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Arm {
    /// Whether that is what is filled in then.
    pub(super) changes_dot: bool,
    pub(super) pipe: Pipe,
    pub(super) then: Vec<Node>,
}

/// A piece for when a pipe has a value, and one for when it has none.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Branch {
    pub(super) pipe: Pipe,
    pub(super) then: Vec<Node>,
    pub(super) other: Vec<Node>,
}

/// Commands, each of which gets the value of the one before as its last argument.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pipe {
    pub(super) variables: Vec<String>,
    /// Whether the variables are there already.
    pub(super) assigns: bool,
    pub(super) commands: Vec<Command>,
}

/// A function, method or value, and arguments.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Command {
    pub(super) first: Operand,
    pub(super) args: Vec<Operand>,
}

/// A term, and fields of it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Operand {
    pub(super) at: usize,
    pub(super) term: Term,
    pub(super) fields: Vec<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Term {
    Dot,
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    Variable(String),
    Function(String),
    Pipe(Box<Pipe>),
}
