//! `eq`, `ne`, `lt` and their like.

use std::cmp::Ordering;

use super::value::Value;

const DIFFERENT: &str = "incompatible types for comparison";

/// Whether two values are equal.
pub(super) fn equal(a: &Value, b: &Value) -> Result<bool, String> {
    Ok(match (a, b) {
        (Value::Nil, Value::Nil) => true,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Int(a) | Value::Duration(a), Value::Int(b) | Value::Duration(b)) => a == b,
        #[expect(clippy::float_cmp, reason = "templates compare what is there")]
        (Value::Float(a), Value::Float(b)) => a == b,
        (Value::Text(a), Value::Text(b)) => a == b,
        (Value::Time(a), Value::Time(b)) => a == b,
        (Value::Nil, _) | (_, Value::Nil) => false,
        _ => return Err(different(a, b)),
    })
}

/// How two values are ordered; `None` where neither is before the other.
pub(super) fn order(a: &Value, b: &Value) -> Result<Option<Ordering>, String> {
    Ok(match (a, b) {
        (Value::Int(a) | Value::Duration(a), Value::Int(b) | Value::Duration(b)) => Some(a.cmp(b)),
        (Value::Float(a), Value::Float(b)) => a.partial_cmp(b),
        (Value::Text(a), Value::Text(b)) => Some(a.cmp(b)),
        _ => return Err(different(a, b)),
    })
}

fn different(a: &Value, b: &Value) -> String {
    let hint = match (a, b) {
        (Value::Int(_), Value::Float(_)) | (Value::Float(_), Value::Int(_)) => {
            "; write the number with a point, as 1.0"
        }
        _ => "",
    };
    format!("{DIFFERENT}: {} and {}{hint}", a.kind(), b.kind())
}
