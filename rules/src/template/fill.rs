//! Filling: nodes and data to text, within limits.

use super::tree::{Branch, Choice, Command, Node, Operand, Pipe, Term};
use super::value::{Value, is_safe};
use super::{Fault, Functions, Library, Source, Template, Wrong, builtins};

/// What filling may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Longest text.
    pub bytes_max: usize,
    /// Most nodes, commands and rounds of loops.
    pub steps_max: usize,
    /// Most templates inside each other.
    pub depth_max: usize,
}

/// Most bytes of all that functions make in one filling, since variables can keep it.
const MADE_BYTES_MAX: usize = 64 << 20;

impl Default for Limits {
    fn default() -> Self {
        Self { bytes_max: 1 << 20, steps_max: 200_000, depth_max: 32 }
    }
}

/// What is done to values on their way into the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Escape {
    /// They are told as they are.
    Nothing,
    /// They are told as text of HTML, in elements as in attributes in quotes, unless `safeHtml` says that they are HTML. Go's `html/template`
    /// also looks at where a value stands: in scripts and style sheets this is no substitute for it.
    Html,
}

/// Why filling stops before its end: a fault, whose place is known at the text it is in.
#[derive(Debug)]
enum Stop {
    Here(Wrong),
    /// In another template.
    There(Fault),
}

impl From<Wrong> for Stop {
    fn from(wrong: Wrong) -> Self {
        Self::Here(wrong)
    }
}

impl Stop {
    fn told(self, source: &Source) -> Fault {
        match self {
            Self::Here(wrong) => wrong.in_text(&source.name, &source.text),
            Self::There(fault) => fault,
        }
    }
}

/// Where a loop goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    On,
    Break,
    Continue,
}

pub(super) fn fill(
    library: &Library,
    name: &str,
    dot: &Value,
    variables: &[(&str, Value)],
    functions: &dyn Functions,
    limits: Limits,
) -> Result<String, Fault> {
    let mut call = Call { library, functions, limits, escape: Escape::Nothing, steps: 0, depth: 0, made_bytes: 0 };
    call.template(name, dot, variables)
}

/// Fills `template`, which is not in `library` itself.
pub(super) fn fill_alone(
    library: &Library,
    template: &Template,
    dot: &Value,
    functions: &dyn Functions,
    limits: Limits,
    escape: Escape,
) -> Result<String, Fault> {
    let mut call = Call { library, functions, limits, escape, steps: 0, depth: 0, made_bytes: 0 };
    call.run(template, dot, &[])
}

/// What a function of a template can ask for.
#[derive(Debug)]
pub struct Call<'a> {
    library: &'a Library,
    functions: &'a dyn Functions,
    limits: Limits,
    escape: Escape,
    steps: usize,
    depth: usize,
    /// What functions made, in bytes.
    made_bytes: usize,
}

impl Call<'_> {
    /// Longest text that is made.
    pub fn bytes_max(&self) -> usize {
        self.limits.bytes_max
    }

    /// Notes that a function made so many bytes.
    ///
    /// # Errors
    ///
    /// When all functions together made too many.
    pub fn make(&mut self, bytes: usize) -> Result<(), String> {
        self.made_bytes = self.made_bytes.saturating_add(bytes);
        if self.made_bytes > MADE_BYTES_MAX {
            return Err(format!("functions made {} bytes; {MADE_BYTES_MAX} are allowed", self.made_bytes));
        }
        Ok(())
    }

    /// Fills template `name` with `dot`.
    ///
    /// # Errors
    ///
    /// When there is none, or data does not fit it, or a limit is met.
    pub fn template(&mut self, name: &str, dot: &Value, variables: &[(&str, Value)]) -> Result<String, Fault> {
        match self.library.templates.get(name) {
            Some(template) => self.run(template, dot, variables),
            None => Err(Fault {
                name: name.to_owned(),
                line: 1,
                column: 1,
                message: format!("there is no template {name:?}"),
            }),
        }
    }

    fn run(&mut self, template: &Template, dot: &Value, variables: &[(&str, Value)]) -> Result<String, Fault> {
        let Template { source, nodes } = template;
        if self.depth >= self.limits.depth_max {
            let message = format!("more than {} templates inside each other", self.limits.depth_max);
            return Err(Fault { name: source.name.clone(), line: 1, column: 1, message });
        }
        self.depth += 1;
        let mut variables: Vec<(String, Value)> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        // `$` is what the template was given.
        variables.insert(0, (String::new(), dot.clone()));
        let mut filler = Filler { call: self, variables, out: String::new() };
        let done = filler.nodes(nodes, dot).map(|_| filler.out);
        self.depth -= 1;
        done.map_err(|stop| stop.told(source))
    }

    fn step(&mut self, at: usize) -> Result<(), Stop> {
        self.steps += 1;
        if self.steps > self.limits.steps_max {
            return Err(Wrong::new(at, format!("more than {} steps", self.limits.steps_max)).into());
        }
        Ok(())
    }
}

struct Filler<'c, 'a> {
    call: &'c mut Call<'a>,
    /// In scope, the newest last.
    variables: Vec<(String, Value)>,
    out: String,
}

impl Filler<'_, '_> {
    fn nodes(&mut self, nodes: &[Node], dot: &Value) -> Result<Flow, Stop> {
        let scope = self.variables.len();
        let mut flow = Flow::On;
        for node in nodes {
            flow = self.node(node, dot)?;
            if flow != Flow::On {
                break;
            }
        }
        self.variables.truncate(scope);
        Ok(flow)
    }

    fn node(&mut self, node: &Node, dot: &Value) -> Result<Flow, Stop> {
        match node {
            Node::Text(text) => self.tell(0, text)?,
            Node::Action(pipe) => {
                let value = self.pipe(pipe, dot)?;
                if pipe.variables.is_empty() {
                    let mut text = String::new();
                    value.print(&mut text, self.call.limits.bytes_max);
                    if self.call.escape == Escape::Html && !is_safe(&value) {
                        text = builtins::escape_html(&text);
                    }
                    self.tell(place(pipe), &text)?;
                } else {
                    self.set(pipe, vec![value]);
                }
            }
            Node::Choice(choice) => return self.choice(choice, dot),
            Node::Range(branch) => return self.range(branch, dot),
            Node::Template { at, name, pipe } => {
                self.call.step(*at)?;
                let given = pipe.as_ref().map_or(Ok(Value::Nil), |pipe| self.pipe(pipe, dot))?;
                if !self.call.library.has(name) {
                    return Err(Wrong::new(*at, format!("there is no template {name:?}")).into());
                }
                let text = self.call.template(name, &given, &[]).map_err(Stop::There)?;
                self.tell(*at, &text)?;
            }
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::On)
    }

    fn tell(&mut self, at: usize, text: &str) -> Result<(), Stop> {
        self.call.step(at)?;
        if self.out.len() + text.len() > self.call.limits.bytes_max {
            return Err(Wrong::new(at, too_long(self.call.limits.bytes_max)).into());
        }
        self.out.push_str(text);
        Ok(())
    }

    /// Declares or assigns the variables of `pipe`.
    fn set(&mut self, pipe: &Pipe, values: Vec<Value>) {
        for (name, value) in pipe.variables.iter().zip(values) {
            let known = self.variables.iter_mut().rev().find(|(known, _)| pipe.assigns && known == name);
            match known {
                Some((_, old)) => *old = value,
                None => self.variables.push((name.clone(), value)),
            }
        }
    }

    fn choice(&mut self, choice: &Choice, dot: &Value) -> Result<Flow, Stop> {
        let scope = self.variables.len();
        let mut chosen = None;
        for arm in &choice.arms {
            let value = self.pipe(&arm.pipe, dot)?;
            self.set(&arm.pipe, vec![value.clone()]);
            if value.is_true() {
                chosen = Some((arm, value));
                break;
            }
        }
        let flow = match chosen {
            Some((arm, value)) if arm.changes_dot => self.nodes(&arm.then, &value),
            Some((arm, _)) => self.nodes(&arm.then, dot),
            None => self.nodes(&choice.other, dot),
        };
        self.variables.truncate(scope);
        flow
    }

    fn range(&mut self, branch: &Branch, dot: &Value) -> Result<Flow, Stop> {
        let at = place(&branch.pipe);
        let value = self.pipe(&branch.pipe, dot)?;
        let plain = match &value {
            Value::Object(object) => object.plain(),
            _ => None,
        };
        let mut rounds: Box<dyn Iterator<Item = (Value, Value)>> = match plain.unwrap_or(value) {
            Value::List(items) => {
                let numbered = (0..items.len()).map(move |at| (number(at), items.get(at).cloned().unwrap_or_default()));
                Box::new(numbered)
            }
            Value::Map(map) => {
                let entries: Vec<_> =
                    map.entries.iter().map(|(name, value)| (Value::text(name.as_str()), value.clone())).collect();
                Box::new(entries.into_iter())
            }
            Value::Int(count) => Box::new((0..count).map(|at| (Value::Int(at), Value::Int(at)))),
            Value::Nil => Box::new(std::iter::empty()),
            other => return Err(Wrong::new(at, format!("`range` cannot go through {}", other.kind())).into()),
        };
        let Some(mut round) = rounds.next() else { return self.nodes(&branch.other, dot) };
        let scope = self.variables.len();
        loop {
            self.call.step(at)?;
            let (key, item) = round;
            let values = if branch.pipe.variables.len() == 1 { vec![item.clone()] } else { vec![key, item.clone()] };
            self.set(&branch.pipe, values);
            let flow = self.nodes(&branch.then, &item)?;
            self.variables.truncate(scope);
            match (flow, rounds.next()) {
                (Flow::On | Flow::Continue, Some(next)) => round = next,
                _ => return Ok(Flow::On),
            }
        }
    }

    fn pipe(&mut self, pipe: &Pipe, dot: &Value) -> Result<Value, Stop> {
        let mut value = None;
        for command in &pipe.commands {
            value = Some(self.command(command, dot, value)?);
        }
        Ok(value.unwrap_or_default())
    }

    /// A command, with what the one before it gave.
    fn command(&mut self, command: &Command, dot: &Value, given: Option<Value>) -> Result<Value, Stop> {
        let Operand { at, term, fields } = &command.first;
        self.call.step(*at)?;
        if let (Term::Function(name), [..]) = (term, fields.as_slice()) {
            if matches!(name.as_str(), "and" | "or") {
                let value = self.and_or(name == "and", *at, &command.args, dot, given)?;
                return fields_of(*at, value, fields, &[]);
            }
            let args = self.args(&command.args, dot, given)?;
            let value = self.function(*at, name, &args)?;
            return fields_of(*at, value, fields, &[]);
        }
        let root = self.term(*at, term, dot)?;
        let args = self.args(&command.args, dot, given)?;
        fields_of(*at, root, fields, &args)
    }

    fn args(&mut self, args: &[Operand], dot: &Value, given: Option<Value>) -> Result<Vec<Value>, Stop> {
        let mut values = Vec::with_capacity(args.len() + 1);
        for arg in args {
            values.push(self.operand(arg, dot)?);
        }
        values.extend(given);
        Ok(values)
    }

    /// The first value that decides, or the last; those behind it are not computed.
    fn and_or(
        &mut self,
        and: bool,
        at: usize,
        args: &[Operand],
        dot: &Value,
        given: Option<Value>,
    ) -> Result<Value, Stop> {
        let mut last = None;
        for arg in args {
            let value = self.operand(arg, dot)?;
            if value.is_true() != and {
                return Ok(value);
            }
            last = Some(value);
        }
        given.or(last).ok_or_else(|| Wrong::new(at, "one argument or more is wanted").into())
    }

    fn operand(&mut self, operand: &Operand, dot: &Value) -> Result<Value, Stop> {
        self.call.step(operand.at)?;
        let root = match &operand.term {
            Term::Function(name) => self.function(operand.at, name, &[])?,
            term => self.term(operand.at, term, dot)?,
        };
        fields_of(operand.at, root, &operand.fields, &[])
    }

    fn term(&mut self, at: usize, term: &Term, dot: &Value) -> Result<Value, Stop> {
        Ok(match term {
            Term::Dot => dot.clone(),
            Term::Nil => Value::Nil,
            Term::Bool(value) => Value::Bool(*value),
            Term::Int(value) => Value::Int(*value),
            Term::Float(value) => Value::Float(*value),
            Term::Text(text) => Value::text(text.as_str()),
            Term::Variable(name) => {
                let known = self.variables.iter().rev().find(|(known, _)| known == name);
                known.map(|(_, value)| value.clone()).ok_or_else(|| Wrong::new(at, format!("${name} is not set")))?
            }
            Term::Function(name) => self.function(at, name, &[])?,
            Term::Pipe(pipe) => self.pipe(pipe, dot)?,
        })
    }

    fn function(&mut self, at: usize, name: &str, args: &[Value]) -> Result<Value, Stop> {
        let functions = self.call.functions;
        let called = if functions.has(name) {
            functions.call(name, args, self.call)
        } else {
            builtins::call(name, args, self.call.limits.bytes_max)
        };
        let checked = called.and_then(|value| {
            let bytes = value.own_bytes();
            if matches!(value, Value::Text(_)) && bytes > self.call.limits.bytes_max {
                return Err(too_long(self.call.limits.bytes_max));
            }
            self.call.make(bytes).map(|()| value)
        });
        checked.map_err(|message| Wrong::new(at, format!("{name}: {message}")).into())
    }
}

/// Field by field from `root` on; the last one may be a method with `args`.
fn fields_of(at: usize, root: Value, fields: &[String], args: &[Value]) -> Result<Value, Stop> {
    let mut value = root;
    for (number, name) in fields.iter().enumerate() {
        let args = if number + 1 == fields.len() { args } else { &[] };
        value = field(&value, name, args).map_err(|message| Wrong::new(at, message))?;
    }
    Ok(value)
}

fn field(value: &Value, name: &str, args: &[Value]) -> Result<Value, String> {
    match value {
        Value::Map(_) if !args.is_empty() => Err(format!("{name} is no method, but has arguments")),
        Value::Map(map) => Ok(builtins::entry(map, name)),
        Value::Nil => Err(format!("there is nothing to take .{name} of")),
        Value::Object(object) => {
            let found = object.get(name, args);
            found.unwrap_or_else(|| Err(format!("{} has no field or method {name}", object.kind())))
        }
        Value::Time(time) => super::moments::of_time(time, name, args),
        Value::Duration(ns) => super::moments::of_duration(*ns, name, args),
        other => Err(format!("{} has no field or method {name}", other.kind())),
    }
}

/// That a text is longer than texts may be.
pub(crate) fn too_long(bytes_max: usize) -> String {
    format!("more than {bytes_max} bytes of text")
}

/// Where a pipe is.
fn place(pipe: &Pipe) -> usize {
    pipe.commands.first().map_or(0, |command| command.first.at)
}

fn number(at: usize) -> Value {
    Value::Int(i64::try_from(at).unwrap_or(i64::MAX))
}
