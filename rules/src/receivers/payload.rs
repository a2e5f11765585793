//! A webhook's body of the user's own: YAML with templates in its texts.
//!
//! As in Alertmanager, what a template makes is read as YAML again, so that `'{{ len .Alerts }}'` is a number and `'{{ toJson .CommonLabels }}'` a
//! map. Unlike there, what came of a template is no template: what a label says is never executed.

use serde_json::{Map, Value};

use super::RenderError;
use super::templates::Filler;

/// `payload` with its templates filled.
pub(super) fn filled(filler: &Filler<'_>, payload: &Value) -> Result<Value, RenderError> {
    Ok(match payload {
        Value::String(text) => read_again(filler.plain("payload", text)?),
        Value::Array(items) => items.iter().map(|item| filled(filler, item)).collect::<Result<_, _>>()?,
        Value::Object(entries) => {
            let entry = |(key, value): (&String, &Value)| Ok((filler.plain("payload", key)?, filled(filler, value)?));
            Value::Object(entries.iter().map(entry).collect::<Result<Map<_, _>, RenderError>>()?)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => payload.clone(),
    })
}

/// The value that `text` is in YAML; the text itself where it is none or a text.
fn read_again(text: String) -> Value {
    if text.trim().is_empty() {
        return Value::Null;
    }
    match crate::yaml::read::<Value>("payload", &text) {
        Ok(Value::String(_)) | Err(_) => Value::String(text),
        Ok(value) => value,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn texts_become_what_they_say() {
        for (text, want) in [
            ("", Value::Null),
            ("hello", json!("hello")),
            ("'quoted'", json!("'quoted'")),
            ("5", json!(5)),
            ("1.5", json!(1.5)),
            ("true", json!(true)),
            ("{\"a\": [1, \"b\"]}", json!({"a": [1, "b"]})),
            ("a: b", json!({"a": "b"})),
            ("disk: full: now", json!("disk: full: now")),
            ("[broken", json!("[broken")),
        ] {
            assert_eq!(read_again(text.to_owned()), want, "{text:?}");
        }
    }
}
