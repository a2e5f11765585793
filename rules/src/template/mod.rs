//! Text templates as Go's `text/template` reads and fills them, as far as rule and routing files use them.
//!
//! [`Library::add`] reads a text once, and complains with line and column; [`Library::fill`] fills it. What functions there are is said
//! by a [`Functions`]: those of rule files and those of notifications differ. Everything has a limit ([`Limits`]), since texts and data come from outside.
//!
//! Semantics: <https://pkg.go.dev/text/template>, with the option `missingkey=zero` that both Prometheus and Alertmanager set.

mod builtins;
mod compare;
mod fill;
mod layout;
mod layout_parse;
mod lex;
mod moments;
mod number;
mod parse;
mod printf;
mod tree;
mod value;

use std::collections::BTreeMap;
use std::fmt;

pub use builtins::escape_html;
pub(crate) use builtins::escape_query;
pub(crate) use fill::too_long;
pub use fill::{Call, Escape, Limits};
pub use layout::format_time;
pub use layout_parse::parse_time;
pub(crate) use layout_parse::zero_time;
pub use number::{Style, format_float};
pub(crate) use value::safe;
pub use value::{List, Map, Missing, Object, VALUE_DEPTH_MAX, Value};

use tree::Node;

/// Longest template.
pub const TEMPLATE_BYTES_MAX: usize = 64 << 10;

/// What a kind of template may call besides the functions that every template has.
pub trait Functions: fmt::Debug {
    /// Whether there is a function `name`.
    fn has(&self, name: &str) -> bool;

    /// Calls `name`, which there is. The message of an error says what is wrong with the arguments; where is added by the caller.
    ///
    /// # Errors
    ///
    /// When the arguments do not fit.
    fn call(&self, name: &str, args: &[Value], call: &mut Call<'_>) -> Result<Value, String>;
}

/// No functions but those that every template has.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoFunctions;

impl Functions for NoFunctions {
    fn has(&self, _: &str) -> bool {
        false
    }

    fn call(&self, name: &str, _: &[Value], _: &mut Call<'_>) -> Result<Value, String> {
        Err(format!("there is no function {name}"))
    }
}

/// What is wrong with a template, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}:{line}:{column}: {message}")]
pub struct Fault {
    /// Of the template.
    pub name: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// What is wrong.
    pub message: String,
}

/// A complaint about the byte `at` of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wrong {
    at: usize,
    message: String,
}

impl Wrong {
    fn new(at: usize, message: impl Into<String>) -> Self {
        Self { at, message: message.into() }
    }

    fn in_text(self, name: &str, text: &str) -> Fault {
        let before = text.get(..self.at).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Fault {
            name: name.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before.get(line_start..).map_or(0, |line| line.chars().count()) + 1,
            message: self.message,
        }
    }
}

/// A template that was read: its nodes, and the text that their places are in.
#[derive(Debug, Clone, PartialEq)]
struct Template {
    /// Of the text that it is in.
    source: std::sync::Arc<Source>,
    nodes: Vec<Node>,
}

#[derive(Debug, PartialEq)]
struct Source {
    name: String,
    text: String,
}

/// Templates that call each other by name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Library {
    templates: BTreeMap<String, Template>,
}

impl Library {
    /// Adds `text` as template `name`, and those that it defines. `variables` are those that are set when it is filled, such as `$labels`.
    /// A template of the same name is replaced, but not by an empty one.
    ///
    /// # Errors
    ///
    /// When it is no template; then nothing is added.
    pub fn add(&mut self, name: &str, text: &str, variables: &[&str], functions: &dyn Functions) -> Result<(), Fault> {
        let parsed = parse::parse(text, variables, functions).map_err(|wrong| wrong.in_text(name, text))?;
        let source = std::sync::Arc::new(Source { name: name.to_owned(), text: text.to_owned() });
        for (defined, nodes) in parsed.defined {
            self.put(defined, Template { source: source.clone(), nodes });
        }
        self.put(name.to_owned(), Template { source, nodes: parsed.nodes });
        Ok(())
    }

    fn put(&mut self, name: String, template: Template) {
        if self.templates.contains_key(&name) && template.nodes.iter().all(Node::is_blank) {
            return;
        }
        self.templates.insert(name, template);
    }

    /// Whether there is a template `name`.
    pub fn has(&self, name: &str) -> bool {
        self.templates.contains_key(name)
    }

    /// Fills template `name` with `dot` and `variables`, which are those that it was read with.
    ///
    /// # Errors
    ///
    /// When data does not fit the template, or a limit is met.
    pub fn fill(
        &self,
        name: &str,
        dot: &Value,
        variables: &[(&str, Value)],
        functions: &dyn Functions,
        limits: Limits,
    ) -> Result<String, Fault> {
        fill::fill(self, name, dot, variables, functions, limits)
    }

    /// Fills `text` with `dot`. What it defines is known to itself alone.
    ///
    /// # Errors
    ///
    /// When it is no template, data does not fit it, or a limit is met.
    pub fn fill_text(
        &self,
        name: &str,
        text: &str,
        dot: &Value,
        functions: &dyn Functions,
        limits: Limits,
        escape: Escape,
    ) -> Result<String, Fault> {
        let parsed = parse::parse(text, &[], functions).map_err(|wrong| wrong.in_text(name, text))?;
        let source = std::sync::Arc::new(Source { name: name.to_owned(), text: text.to_owned() });
        let template = Template { source: source.clone(), nodes: parsed.nodes };
        if parsed.defined.is_empty() {
            return fill::fill_alone(self, &template, dot, functions, limits, escape);
        }
        let mut library = self.clone();
        for (defined, nodes) in parsed.defined {
            library.put(defined, Template { source: source.clone(), nodes });
        }
        fill::fill_alone(&library, &template, dot, functions, limits, escape)
    }
}
