//! What the templates of rule files and of notifications may call, besides what every template has.
//!
//! Names, arguments and results are those of Prometheus (<https://prometheus.io/docs/prometheus/latest/configuration/template_reference/>)
//! and Alertmanager (<https://prometheus.io/docs/alerting/latest/notifications/>).

mod humanize;
mod notification;
mod pairs;
mod rule;
mod text;

pub use notification::NotificationFunctions;
pub use pairs::Pairs;
pub use rule::{Ask, RuleFunctions, VectorSample};

use crate::template::Value;

/// The only argument.
fn one(args: &[Value]) -> Result<&Value, String> {
    match args {
        [only] => Ok(only),
        _ => Err(format!("one argument is wanted, there are {}", args.len())),
    }
}

/// The only argument, a string.
fn one_text(args: &[Value]) -> Result<&str, String> {
    text_of(one(args)?)
}

fn text_of(value: &Value) -> Result<&str, String> {
    value.as_text().ok_or_else(|| format!("a string is wanted, there is a {}", value.kind()))
}

fn list_of(value: &Value) -> Result<Vec<Value>, String> {
    match value {
        Value::List(items) => Ok(items.to_vec()),
        Value::Object(object) => match object.plain() {
            Some(Value::List(items)) => Ok(items.to_vec()),
            _ => Err(format!("a list is wanted, there is a {}", value.kind())),
        },
        _ => Err(format!("a list is wanted, there is a {}", value.kind())),
    }
}

/// The number that a value is or that a string says.
#[expect(clippy::cast_precision_loss, reason = "templates compute with floating-point numbers")]
fn number_of(value: &Value) -> Result<f64, String> {
    match value {
        Value::Float(value) => Ok(*value),
        Value::Int(value) => Ok(*value as f64),
        Value::Duration(ns) => Ok(*ns as f64 / 1e9),
        Value::Text(text) => text.parse().map_err(|_| format!("{text:?} is not a number")),
        _ => Err(format!("a number is wanted, there is a {}", value.kind())),
    }
}
