//! The functions that every template has. `and` and `or` are with the commands, since they leave arguments alone.

use std::cmp::Ordering;
use std::fmt::Write as _;

use super::compare::{equal, order};
use super::printf;
use super::value::{Map, Missing, Value, safe};

const NAMES: [&str; 18] = [
    "and", "or", "not", "len", "index", "slice", "print", "printf", "println", "eq", "ne", "lt", "le", "gt", "ge",
    "html", "js", "urlquery",
];

/// Whether there is such a function.
pub(super) fn has(name: &str) -> bool {
    NAMES.contains(&name)
}

/// Calls `name` with `args`.
pub(super) fn call(name: &str, args: &[Value], bytes_max: usize) -> Result<Value, String> {
    Ok(match name {
        "not" => Value::Bool(!one(args)?.is_true()),
        "len" => length(one(args)?)?,
        "index" => index(args)?,
        "slice" => slice(args)?,
        "print" => Value::from(printf::print(args, bytes_max)),
        "println" => Value::from(printf::println(args, bytes_max)),
        "printf" => match args {
            [Value::Text(format), rest @ ..] => Value::from(printf::printf(format, rest, bytes_max)),
            _ => return Err("the first argument is the format, a string".to_owned()),
        },
        "eq" => Value::Bool(equal_to_any(args)?),
        "ne" => two(args).and_then(|(a, b)| equal(a, b)).map(|equal| Value::Bool(!equal))?,
        "lt" => ordered(args, |order| order == Some(Ordering::Less))?,
        "le" => ordered(args, |order| matches!(order, Some(Ordering::Less | Ordering::Equal)))?,
        "gt" => ordered(args, |order| order == Some(Ordering::Greater))?,
        "ge" => ordered(args, |order| matches!(order, Some(Ordering::Greater | Ordering::Equal)))?,
        "html" => safe(&escape_html(&printf::joined(args, bytes_max))),
        "js" => Value::from(escape_js(&printf::joined(args, bytes_max))),
        "urlquery" => Value::from(escape_query(&printf::joined(args, bytes_max))),
        _ => return Err(format!("there is no function {name}")),
    })
}

/// The only argument.
pub(super) fn one(args: &[Value]) -> Result<&Value, String> {
    match args {
        [only] => Ok(only),
        _ => Err(format!("one argument is wanted, there are {}", args.len())),
    }
}

fn two(args: &[Value]) -> Result<(&Value, &Value), String> {
    match args {
        [a, b] => Ok((a, b)),
        _ => Err(format!("two arguments are wanted, there are {}", args.len())),
    }
}

fn ordered(args: &[Value], wanted: impl Fn(Option<Ordering>) -> bool) -> Result<Value, String> {
    let (a, b) = two(args)?;
    order(a, b).map(|order| Value::Bool(wanted(order)))
}

fn equal_to_any(args: &[Value]) -> Result<bool, String> {
    let (first, others) = args.split_first().ok_or("two arguments or more are wanted")?;
    if others.is_empty() {
        return Err("two arguments or more are wanted".to_owned());
    }
    for other in others {
        if equal(first, other)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn length(value: &Value) -> Result<Value, String> {
    let length = match value {
        Value::Text(text) => text.len(),
        Value::List(items) => items.len(),
        Value::Map(map) => map.entries.len(),
        Value::Object(object) if object.plain().is_some() => return length(&object.plain().unwrap_or_default()),
        _ => return Err(format!("{} has no length", value.kind())),
    };
    Ok(Value::Int(i64::try_from(length).unwrap_or(i64::MAX)))
}

fn index(args: &[Value]) -> Result<Value, String> {
    let (of, by) = args.split_first().ok_or("an argument to look into is wanted")?;
    if matches!(of, Value::Nil) {
        return Err("there is nothing to look into".to_owned());
    }
    let mut value = of.clone();
    for key in by {
        let inner = match &value {
            Value::Object(object) => object.plain(),
            _ => None,
        };
        value = match (inner.as_ref().unwrap_or(&value), key) {
            (Value::Map(map), Value::Text(name)) => entry(map, name),
            (Value::List(items), Value::Int(at)) => {
                let found = usize::try_from(*at).ok().and_then(|at| items.get(at));
                found.cloned().ok_or_else(|| format!("index {at} of a list of {}", items.len()))?
            }
            (Value::Text(text), Value::Int(at)) => {
                let found = usize::try_from(*at).ok().and_then(|at| text.as_bytes().get(at));
                found
                    .map(|byte| Value::Int(i64::from(*byte)))
                    .ok_or_else(|| format!("index {at} of {} bytes", text.len()))?
            }
            (of, key) => return Err(format!("{} has no index of type {}", of.kind(), key.kind())),
        };
    }
    Ok(value)
}

/// The value of `name`, or what the map gives for a name that it does not have.
pub(super) fn entry(map: &Map, name: &str) -> Value {
    map.entries.get(name).cloned().unwrap_or_else(|| match map.missing {
        Missing::Empty => Value::text(""),
        Missing::Nil => Value::Nil,
    })
}

fn slice(args: &[Value]) -> Result<Value, String> {
    let (of, by) = args.split_first().ok_or("an argument to cut is wanted")?;
    let length = match of {
        Value::Text(text) => text.len(),
        Value::List(items) => items.len(),
        _ => return Err(format!("{} cannot be cut", of.kind())),
    };
    let place = |at: usize, default: usize| match by.get(at) {
        None => Ok(default),
        Some(Value::Int(place)) => {
            let place = usize::try_from(*place).ok().filter(|place| *place <= length);
            place.ok_or_else(|| format!("a place beyond the end at {length}"))
        }
        Some(other) => Err(format!("{} is no place", other.kind())),
    };
    let (from, to) = (place(0, 0)?, place(1, length)?);
    if by.len() > 2 {
        return Err("three arguments at most are wanted".to_owned());
    }
    match of {
        Value::Text(text) => {
            let bytes = text.as_bytes().get(from..to).ok_or_else(|| format!("from {from} to {to}"))?;
            Ok(Value::from(String::from_utf8_lossy(bytes).into_owned()))
        }
        Value::List(items) => {
            Ok(Value::from(items.get(from..to).ok_or_else(|| format!("from {from} to {to}"))?.to_vec()))
        }
        _ => Ok(Value::Nil),
    }
}

/// Text for HTML, also between quotes; as `html/template` of Go writes it.
pub fn escape_html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            '\0' => out.push('\u{fffd}'),
            _ => out.push(c),
        }
    }
    out
}

fn escape_js(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\'' => out.push_str("\\'"),
            '"' => out.push_str("\\\""),
            '<' => out.push_str("\\u003C"),
            '>' => out.push_str("\\u003E"),
            '&' => out.push_str("\\u0026"),
            '=' => out.push_str("\\u003D"),
            _ if c.is_control() => push_hex(&mut out, "\\u", u32::from(c), 4),
            _ => out.push(c),
        }
    }
    out
}

/// Text for the query of a URL.
pub(crate) fn escape_query(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            _ => push_hex(&mut out, "%", u32::from(byte), 2),
        }
    }
    out
}

/// `prefix` and at least `digits` hexadecimal digits.
fn push_hex(out: &mut String, prefix: &str, value: u32, digits: usize) {
    out.push_str(prefix);
    let done = write!(out, "{value:0digits$X}");
    debug_assert!(done.is_ok(), "strings take everything");
}
