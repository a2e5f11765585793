//! What templates compute with.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use jiff::Zoned;

use super::layout::{format_duration, print_time};
use super::number::{Style, format_float};

/// A value.
#[derive(Debug, Clone, Default)]
pub enum Value {
    /// Nothing.
    #[default]
    Nil,
    /// A truth.
    Bool(bool),
    /// An integer, of whatever width.
    Int(i64),
    /// A number.
    Float(f64),
    /// A string.
    Text(Arc<str>),
    /// Values in an order.
    List(List),
    /// Values by name.
    Map(Arc<Map>),
    /// A moment with its zone.
    Time(Arc<Zoned>),
    /// Nanoseconds between two moments.
    Duration(i64),
    /// Something with fields and methods.
    Object(Arc<dyn Object>),
}

/// Something with fields and methods.
pub trait Object: fmt::Debug + Send + Sync {
    /// Its type, for complaints.
    fn kind(&self) -> &str;

    /// Field or method `name` with `args`; `None` where it has neither.
    ///
    /// # Errors
    ///
    /// When the arguments do not fit.
    fn get(&self, name: &str, args: &[Value]) -> Option<Result<Value, String>>;

    /// What it is in a condition and a loop: most are themselves, and true.
    fn plain(&self) -> Option<Value> {
        None
    }

    /// Whether `printf` takes it for the string that it is told as, not for what it is made of: in Go it has a method `String`.
    fn tells_itself(&self) -> bool {
        false
    }

    /// How it is told.
    fn print(&self) -> String;
}

/// What a map gives for a name that it does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// An empty string: a map of strings.
    Empty,
    /// Nothing: a map of anything.
    Nil,
}

/// Most lists and maps inside each other: what goes through a value goes as deep.
pub const VALUE_DEPTH_MAX: usize = 64;

/// Values in an order.
#[derive(Debug, Clone)]
pub struct List {
    items: Arc<[Value]>,
    depth: usize,
}

impl std::ops::Deref for List {
    type Target = [Value];

    fn deref(&self) -> &[Value] {
        &self.items
    }
}

/// Values by name.
#[derive(Debug, Clone)]
pub struct Map {
    /// The values.
    pub entries: BTreeMap<String, Value>,
    /// For other names.
    pub missing: Missing,
    depth: usize,
}

impl Map {
    /// Of `entries`.
    pub fn new(entries: BTreeMap<String, Value>, missing: Missing) -> Self {
        let depth = depth_of(entries.values());
        Self { entries, missing, depth }
    }
}

/// How deep a list or map of `values` is.
fn depth_of<'a>(values: impl Iterator<Item = &'a Value>) -> usize {
    1 + values.map(Value::depth).max().unwrap_or(0)
}

impl Value {
    /// A string.
    pub fn text(text: impl Into<Arc<str>>) -> Self {
        Self::Text(text.into())
    }

    /// A map of strings.
    pub fn texts<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let entries = pairs.into_iter().map(|(name, value)| (name.to_owned(), Self::text(value))).collect();
        Self::Map(Arc::new(Map::new(entries, Missing::Empty)))
    }

    /// A map of anything.
    pub fn map<'a>(pairs: impl IntoIterator<Item = (&'a str, Value)>) -> Self {
        let entries = pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Self::Map(Arc::new(Map::new(entries, Missing::Nil)))
    }

    /// Whether conditions take it for true: not zero, not empty.
    pub fn is_true(&self) -> bool {
        match self {
            Self::Nil => false,
            Self::Bool(value) => *value,
            Self::Int(value) | Self::Duration(value) => *value != 0,
            Self::Float(value) => *value != 0.0,
            Self::Text(text) => !text.is_empty(),
            Self::List(items) => !items.is_empty(),
            Self::Map(map) => !map.entries.is_empty(),
            Self::Time(_) => true,
            Self::Object(object) => object.plain().is_none_or(|plain| plain.is_true()),
        }
    }

    /// Go's name of its type, for complaints and for `printf`.
    pub fn kind(&self) -> &str {
        match self {
            Self::Nil => "nil",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float64",
            Self::Text(_) => "string",
            Self::List(_) => "[]interface {}",
            Self::Map(map) if map.missing == Missing::Empty => "map[string]string",
            Self::Map(_) => "map[string]interface {}",
            Self::Time(_) => "time.Time",
            Self::Duration(_) => "time.Duration",
            Self::Object(object) => object.kind(),
        }
    }

    /// How many lists and maps are inside each other in it, itself among them.
    fn depth(&self) -> usize {
        match self {
            Self::List(list) => list.depth,
            Self::Map(map) => map.depth,
            _ => 0,
        }
    }

    /// What a function that made it took for it, without the values in it, which were there before.
    pub(super) fn own_bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::List(items) => size_of::<Self>() * items.len(),
            Self::Map(map) => map.entries.keys().map(|name| size_of::<(String, Self)>() + name.len()).sum(),
            _ => 0,
        }
    }

    /// Itself, unless it is too deep.
    ///
    /// # Errors
    ///
    /// When more than [`VALUE_DEPTH_MAX`] lists and maps are inside each other.
    pub(crate) fn flat_enough(self) -> Result<Self, String> {
        match self.depth() {
            depth if depth > VALUE_DEPTH_MAX => {
                Err(format!("{depth} lists and maps inside each other; {VALUE_DEPTH_MAX} are allowed"))
            }
            _ => Ok(self),
        }
    }

    /// Its string, if it is one.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Appends how it is told, up to about `bytes_max` of it.
    pub(super) fn print(&self, out: &mut String, bytes_max: usize) {
        if out.len() > bytes_max {
            return;
        }
        match self {
            Self::Nil => out.push_str("<no value>"),
            Self::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Self::Int(value) => out.push_str(&value.to_string()),
            Self::Float(value) => out.push_str(&format_float(*value, Style::General, None)),
            Self::Text(text) => out.push_str(text),
            Self::List(items) => {
                out.push('[');
                for (at, item) in items.iter().enumerate() {
                    if at > 0 {
                        out.push(' ');
                    }
                    item.print_inside(out, bytes_max);
                }
                out.push(']');
            }
            Self::Map(map) => {
                out.push_str("map[");
                for (at, (name, value)) in map.entries.iter().enumerate() {
                    if at > 0 {
                        out.push(' ');
                    }
                    out.push_str(name);
                    out.push(':');
                    value.print_inside(out, bytes_max);
                }
                out.push(']');
            }
            Self::Time(time) => out.push_str(&print_time(time)),
            Self::Duration(ns) => out.push_str(&format_duration(*ns)),
            Self::Object(object) => out.push_str(&object.print()),
        }
    }

    /// The same in a list or a map, where nothing is told otherwise.
    fn print_inside(&self, out: &mut String, bytes_max: usize) {
        match self {
            Self::Nil => out.push_str("<nil>"),
            _ => self.print(out, bytes_max),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        self.print(&mut text, usize::MAX);
        formatter.write_str(&text)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::text(text)
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::text(text)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<Vec<Value>> for Value {
    fn from(items: Vec<Value>) -> Self {
        let depth = depth_of(items.iter());
        Self::List(List { items: items.into(), depth })
    }
}

/// Text that is HTML already.
#[derive(Debug)]
struct Safe(Arc<str>);

/// The type of such text, as Go names it.
const SAFE: &str = "template.HTML";

impl Object for Safe {
    fn kind(&self) -> &'static str {
        SAFE
    }

    fn get(&self, _: &str, _: &[Value]) -> Option<Result<Value, String>> {
        None
    }

    fn plain(&self) -> Option<Value> {
        Some(Value::Text(Arc::clone(&self.0)))
    }

    fn print(&self) -> String {
        self.0.as_ref().to_owned()
    }
}

/// `text` as HTML that is told as it is.
pub(crate) fn safe(text: &str) -> Value {
    Value::Object(Arc::new(Safe(text.into())))
}

/// Whether it is such text.
pub(super) fn is_safe(value: &Value) -> bool {
    matches!(value, Value::Object(object) if object.kind() == SAFE)
}
