//! Tokens to nodes.

use super::lex::{self, Token, Word};
use super::tree::{Arm, Branch, Choice, Command, Node, Operand, Pipe, Term};
use super::{Functions, Wrong, builtins};

/// Most actions and parentheses inside each other.
const DEPTH_MAX: usize = 64;

/// What a text holds.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) nodes: Vec<Node>,
    /// Templates it defines, in their order.
    pub(super) defined: Vec<(String, Vec<Node>)>,
}

/// How a list of nodes ended.
#[derive(Debug, PartialEq)]
enum Stop {
    Text,
    End,
    /// An `else`; what follows it in its action is still to be read.
    Else,
}

/// Reads `text`, in which `variables` are set.
pub(super) fn parse(text: &str, variables: &[&str], functions: &dyn Functions) -> Result<Parsed, Wrong> {
    let tokens = lex::tokens(text)?;
    let known = variables.iter().map(|name| (*name).to_owned()).collect();
    let mut parser =
        Parser { tokens: &tokens, next: 0, end: text.len(), known, functions, defined: Vec::new(), depth: 0, loops: 0 };
    let (nodes, end) = parser.nodes()?;
    match end {
        Stop::Text => Ok(Parsed { nodes, defined: parser.defined }),
        Stop::End => Err(parser.wrong_here_before("an `end` of nothing")),
        Stop::Else => Err(parser.wrong_here_before("an `else` of nothing")),
    }
}

struct Parser<'a> {
    tokens: &'a [Token],
    next: usize,
    /// Length of the text.
    end: usize,
    /// Variables in scope, the newest last.
    known: Vec<String>,
    functions: &'a dyn Functions,
    defined: Vec<(String, Vec<Node>)>,
    depth: usize,
    loops: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<&'a Token> {
        self.tokens.get(self.next)
    }

    fn word(&self) -> Option<&'a Word> {
        self.peek().map(|token| &token.word)
    }

    fn at(&self) -> usize {
        self.peek().map_or(self.end, |token| token.at)
    }

    fn wrong<T>(&self, message: impl Into<String>) -> Result<T, Wrong> {
        Err(Wrong::new(self.at(), message))
    }

    /// A complaint about the last token that was read.
    fn wrong_here_before(&self, message: &str) -> Wrong {
        let at = self.next.checked_sub(1).and_then(|before| self.tokens.get(before)).map_or(0, |token| token.at);
        Wrong::new(at, message)
    }

    fn take(&mut self, word: &Word) -> bool {
        let found = self.word() == Some(word);
        self.next += usize::from(found);
        found
    }

    fn expect(&mut self, word: &Word, what: &str) -> Result<(), Wrong> {
        if self.take(word) { Ok(()) } else { self.wrong(format!("{what} is expected, there is {}", told(self.word()))) }
    }

    fn take_name(&mut self, name: &str) -> bool {
        let found = matches!(self.word(), Some(Word::Name(found)) if found == name);
        self.next += usize::from(found);
        found
    }

    fn deeper(&mut self) -> Result<(), Wrong> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return self.wrong(format!("more than {DEPTH_MAX} actions or parentheses inside each other"));
        }
        Ok(())
    }

    /// Nodes up to the end of the text, an `end` or an `else`, of which `end` is read whole.
    fn nodes(&mut self) -> Result<(Vec<Node>, Stop), Wrong> {
        self.deeper()?;
        let mut nodes = Vec::new();
        let end = loop {
            match self.word() {
                None => break Stop::Text,
                Some(Word::Text(text)) => {
                    nodes.push(Node::Text(text.clone()));
                    self.next += 1;
                }
                _ => {
                    self.expect(&Word::Open, "`{{`")?;
                    if self.take_name("end") {
                        self.expect(&Word::Close, "`}}`")?;
                        break Stop::End;
                    }
                    if self.take_name("else") {
                        break Stop::Else;
                    }
                    nodes.extend(self.action()?);
                }
            }
        };
        self.depth -= 1;
        Ok((nodes, end))
    }

    /// What is in an action, behind its `{{`.
    fn action(&mut self) -> Result<Option<Node>, Wrong> {
        let at = self.at();
        let Some(Word::Name(name)) = self.word() else { return self.told_or_set().map(Some) };
        let node = match name.as_str() {
            "if" | "with" => {
                self.next += 1;
                self.choice(name)?
            }
            "range" => {
                self.next += 1;
                self.range()?
            }
            "template" => {
                self.next += 1;
                self.call(at)?
            }
            "block" => {
                self.next += 1;
                let node = self.call(at)?;
                let Node::Template { name, .. } = &node else { return Ok(Some(node)) };
                self.define(name.clone())?;
                node
            }
            "define" => {
                if self.depth > 1 {
                    return self.wrong("`define` inside of something");
                }
                self.next += 1;
                let name = self.literal("a template's name in quotes")?;
                self.expect(&Word::Close, "`}}`")?;
                self.define(name)?;
                return Ok(None);
            }
            "break" | "continue" => {
                if self.loops == 0 {
                    return self.wrong(format!("`{name}` outside of a `range`"));
                }
                self.next += 1;
                self.expect(&Word::Close, "`}}`")?;
                if name == "break" { Node::Break } else { Node::Continue }
            }
            _ => self.told_or_set()?,
        };
        Ok(Some(node))
    }

    fn told_or_set(&mut self) -> Result<Node, Wrong> {
        let pipe = self.pipe(1)?;
        self.expect(&Word::Close, "`}}`")?;
        Ok(Node::Action(pipe))
    }

    /// `if` or `with`, behind that word, and all of its `else if` and `else with`, which have one `end`.
    fn choice(&mut self, kind: &str) -> Result<Node, Wrong> {
        let scope = self.known.len();
        let mut kind = kind.to_owned();
        let mut choice = Choice { arms: Vec::new(), other: Vec::new() };
        let end = loop {
            let (pipe, then, end) = self.arm(1)?;
            choice.arms.push(Arm { changes_dot: kind == "with", pipe, then });
            if end != Stop::Else {
                break end;
            }
            match self.word() {
                Some(Word::Name(name)) if name == "if" || name == "with" => kind.clone_from(name),
                _ => {
                    let (other, end) = self.other()?;
                    choice.other = other;
                    break end;
                }
            }
            self.next += 1;
        };
        self.known.truncate(scope);
        self.ended(&end, &kind)?;
        Ok(Node::Choice(choice))
    }

    /// `range`, behind that word.
    fn range(&mut self) -> Result<Node, Wrong> {
        let scope = self.known.len();
        self.loops += 1;
        let arm = self.arm(2);
        self.loops -= 1;
        let (pipe, then, mut end) = arm?;
        let mut other = Vec::new();
        if end == Stop::Else {
            (other, end) = self.other()?;
        }
        self.known.truncate(scope);
        self.ended(&end, "range")?;
        Ok(Node::Range(Branch { pipe, then, other }))
    }

    /// A pipe, and the nodes for when it has a value.
    fn arm(&mut self, variables_max: usize) -> Result<(Pipe, Vec<Node>, Stop), Wrong> {
        let pipe = self.pipe(variables_max)?;
        self.expect(&Word::Close, "`}}`")?;
        let inner = self.known.len();
        let (then, end) = self.nodes()?;
        self.known.truncate(inner);
        Ok((pipe, then, end))
    }

    /// The nodes behind an `else`.
    fn other(&mut self) -> Result<(Vec<Node>, Stop), Wrong> {
        self.expect(&Word::Close, "`}}`")?;
        self.nodes()
    }

    /// What `kind` ends with is its `end`.
    fn ended(&self, end: &Stop, kind: &str) -> Result<(), Wrong> {
        match end {
            Stop::End => Ok(()),
            Stop::Else => Err(self.wrong_here_before("a second `else`")),
            Stop::Text => self.wrong(format!("the `end` of this template's `{kind}` is missing")),
        }
    }

    /// `template`'s name and what it is given.
    fn call(&mut self, at: usize) -> Result<Node, Wrong> {
        let name = self.literal("a template's name in quotes")?;
        let pipe = if self.word() == Some(&Word::Close) { None } else { Some(self.pipe(0)?) };
        self.expect(&Word::Close, "`}}`")?;
        Ok(Node::Template { at, name, pipe })
    }

    /// A template's nodes, up to its `end`.
    fn define(&mut self, name: String) -> Result<(), Wrong> {
        // It has no variables of those around it.
        let known = std::mem::take(&mut self.known);
        let loops = std::mem::take(&mut self.loops);
        let (nodes, end) = self.nodes()?;
        self.known = known;
        self.loops = loops;
        match end {
            Stop::End if is_twice(&self.defined, &name, &nodes) => {
                return Err(self.wrong_here_before(&format!("template {name:?} is defined twice")));
            }
            Stop::End => self.defined.push((name, nodes)),
            Stop::Else => return Err(self.wrong_here_before("an `else` of nothing")),
            Stop::Text => return self.wrong(format!("the `end` of template {name:?} is missing")),
        }
        Ok(())
    }

    fn literal(&mut self, what: &str) -> Result<String, Wrong> {
        match self.word() {
            Some(Word::Literal(text)) => {
                self.next += 1;
                Ok(text.clone())
            }
            other => self.wrong(format!("{what} is expected, there is {}", told(other))),
        }
    }

    /// A pipe, which may set as many as `variables_max`.
    fn pipe(&mut self, variables_max: usize) -> Result<Pipe, Wrong> {
        self.deeper()?;
        let (variables, assigns) = self.variables(variables_max)?;
        let mut commands = vec![self.command()?];
        while self.take(&Word::Pipe) {
            let at = self.at();
            let command = self.command()?;
            if !matches!(command.first.term, Term::Function(_)) && command.first.fields.is_empty() {
                return Err(Wrong::new(at, "only a function or a method can take what a pipe gives it"));
            }
            commands.push(command);
        }
        if !assigns {
            self.known.extend(variables.iter().cloned());
        }
        self.depth -= 1;
        Ok(Pipe { variables, assigns, commands })
    }

    /// `$x :=`, `$x =`, `$i, $x :=`, or nothing.
    fn variables(&mut self, most: usize) -> Result<(Vec<String>, bool), Wrong> {
        let word = |ahead: usize| self.tokens.get(self.next + ahead).map(|token| &token.word);
        let (names, used) = match (word(0), word(1), word(2), word(3)) {
            (Some(Word::Variable(name)), Some(Word::Declare | Word::Assign), ..) => (vec![name.clone()], 1),
            (
                Some(Word::Variable(first)),
                Some(Word::Comma),
                Some(Word::Variable(second)),
                Some(Word::Declare | Word::Assign),
            ) => (vec![first.clone(), second.clone()], 3),
            _ => return Ok((Vec::new(), false)),
        };
        if names.len() > most {
            return self.wrong("variables cannot be set here, or not so many");
        }
        let assigns = word(used) == Some(&Word::Assign);
        if let Some(unknown) = names.iter().find(|name| assigns && !self.knows(name)) {
            return self.wrong(format!("variable ${unknown} is not declared; `:=` declares one"));
        }
        self.next += used + 1;
        Ok((names, assigns))
    }

    fn knows(&self, variable: &str) -> bool {
        variable.is_empty() || self.known.iter().any(|known| known == variable)
    }

    fn command(&mut self) -> Result<Command, Wrong> {
        let first = self.operand()?;
        let mut args = Vec::new();
        while !matches!(self.word(), None | Some(Word::Pipe | Word::Close | Word::RightParen)) {
            if self.peek().is_some_and(|token| !token.spaced) {
                return self.wrong(format!("{} stands without room before it", told(self.word())));
            }
            args.push(self.operand()?);
        }
        let takes = matches!(first.term, Term::Function(_)) || !first.fields.is_empty();
        match args.first() {
            Some(arg) if !takes => Err(Wrong::new(arg.at, "an argument to what is no function or method")),
            _ if first.term == Term::Nil => Err(Wrong::new(first.at, "nil is not told")),
            _ => Ok(Command { first, args }),
        }
    }

    fn operand(&mut self) -> Result<Operand, Wrong> {
        let at = self.at();
        let Some(token) = self.peek() else { return self.wrong("an action that does not end: `}}` is missing") };
        self.next += 1;
        let mut fields = Vec::new();
        let term = match &token.word {
            Word::Dot => Term::Dot,
            Word::Field(name) => {
                fields.push(name.clone());
                Term::Dot
            }
            Word::Literal(text) => Term::Text(text.clone()),
            Word::Int(value) => Term::Int(*value),
            Word::Float(value) => Term::Float(*value),
            Word::Variable(name) if self.knows(name) => Term::Variable(name.clone()),
            Word::Variable(name) => return Err(Wrong::new(at, format!("there is no variable ${name}"))),
            Word::Name(name) => match name.as_str() {
                "nil" => Term::Nil,
                "true" => Term::Bool(true),
                "false" => Term::Bool(false),
                _ if builtins::has(name) || self.functions.has(name) => Term::Function(name.clone()),
                _ => return Err(Wrong::new(at, format!("there is no function {name:?}"))),
            },
            Word::LeftParen => {
                let pipe = self.pipe(0)?;
                self.expect(&Word::RightParen, "`)`")?;
                Term::Pipe(Box::new(pipe))
            }
            word => return Err(Wrong::new(at, format!("a value is expected, there is {}", told(Some(word))))),
        };
        while let Some(Token { word: Word::Field(name), spaced: false, .. }) = self.peek() {
            let is_bare_dot = term == Term::Dot && fields.is_empty();
            if is_bare_dot || matches!(term, Term::Bool(_) | Term::Int(_) | Term::Float(_) | Term::Text(_) | Term::Nil)
            {
                return self.wrong("a field of what has none");
            }
            fields.push(name.clone());
            self.next += 1;
        }
        Ok(Operand { at, term, fields })
    }
}

/// Whether `defined` has another template of that name that is told.
fn is_twice(defined: &[(String, Vec<Node>)], name: &str, nodes: &[Node]) -> bool {
    let is_told = |nodes: &[Node]| !nodes.iter().all(Node::is_blank);
    is_told(nodes) && defined.iter().any(|(known, nodes)| known == name && is_told(nodes))
}

/// How a complaint names a word.
fn told(word: Option<&Word>) -> String {
    match word {
        None => "nothing more".to_owned(),
        Some(Word::Text(_)) => "text".to_owned(),
        Some(Word::Open) => "`{{`".to_owned(),
        Some(Word::Close) => "`}}`".to_owned(),
        Some(Word::Name(name)) => format!("`{name}`"),
        Some(Word::Field(name)) => format!("`.{name}`"),
        Some(Word::Dot) => "`.`".to_owned(),
        Some(Word::Variable(name)) => format!("`${name}`"),
        Some(Word::Literal(text)) => format!("{text:?}"),
        Some(Word::Int(value)) => format!("`{value}`"),
        Some(Word::Float(value)) => format!("`{value}`"),
        Some(Word::Pipe) => "`|`".to_owned(),
        Some(Word::LeftParen) => "`(`".to_owned(),
        Some(Word::RightParen) => "`)`".to_owned(),
        Some(Word::Comma) => "`,`".to_owned(),
        Some(Word::Declare) => "`:=`".to_owned(),
        Some(Word::Assign) => "`=`".to_owned(),
    }
}
