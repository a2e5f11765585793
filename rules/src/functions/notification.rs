//! Functions in the templates of notifications.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use model::json;

use super::humanize::humanize_duration;
use super::{list_of, number_of, one, one_text, text, text_of};
use crate::template::{Call, Functions, Style, Value, format_float, format_time, parse_time, too_long, zero_time};

const NAMES: [&str; 19] = [
    "title",
    "append",
    "base64decode",
    "base64encode",
    "date",
    "dict",
    "humanizeDuration",
    "join",
    "list",
    "mustToDate",
    "now",
    "safeUrl",
    "since",
    "stringSlice",
    "toDate",
    "toJson",
    "trimSpace",
    "tz",
    "urlUnescape",
];

/// Deepest value that becomes JSON.
const JSON_DEPTH_MAX: usize = 32;

/// What the templates of notifications may call.
#[derive(Debug, Clone)]
pub struct NotificationFunctions {
    /// The moment of the notification.
    pub now: Timestamp,
}

impl Functions for NotificationFunctions {
    fn has(&self, name: &str) -> bool {
        text::has(name) || NAMES.contains(&name)
    }

    fn call(&self, name: &str, args: &[Value], call: &mut Call<'_>) -> Result<Value, String> {
        if text::has(name) {
            return text::call(name, args, call.bytes_max());
        }
        Ok(match (name, args) {
            ("title", _) => Value::from(text::title_notification(one_text(args)?)),
            ("trimSpace", _) => Value::from(one_text(args)?.trim()),
            ("safeUrl", _) => Value::from(one_text(args)?),
            ("humanizeDuration", _) => Value::from(humanize_duration(one(args).and_then(number_of)?)),
            ("now", []) => Value::Time(Arc::new(self.now.to_zoned(TimeZone::UTC))),
            ("since", [Value::Time(time)]) => {
                let ns = self.now.as_nanosecond() - time.timestamp().as_nanosecond();
                Value::Duration(i64::try_from(ns).unwrap_or(i64::MAX))
            }
            ("date", [layout, Value::Time(time)]) => Value::from(format_time(time, text_of(layout)?)),
            ("toDate", [layout, text]) => {
                let parsed = parse_time(text_of(layout)?, text_of(text)?, TimeZone::system());
                Value::Time(Arc::new(parsed.unwrap_or_else(|_| zero_time())))
            }
            ("mustToDate", [layout, text]) => {
                Value::Time(Arc::new(parse_time(text_of(layout)?, text_of(text)?, TimeZone::system())?))
            }
            ("tz", [zone, Value::Time(time)]) => in_zone(text_of(zone)?, time)?,
            ("join", [between, list]) => {
                let (items, between) = (list_of(list)?, text_of(between)?);
                let items = items.iter().map(text_of).collect::<Result<Vec<&str>, String>>()?;
                let bytes = items.iter().map(|item| item.len() + between.len()).sum::<usize>();
                // One between less than there are items.
                if bytes.saturating_sub(between.len()) > call.bytes_max() {
                    return Err(too_long(call.bytes_max()));
                }
                Value::from(items.join(between))
            }
            ("stringSlice", _) => {
                args.iter().try_for_each(|arg| text_of(arg).map(drop))?;
                Value::from(args.to_vec())
            }
            ("list", _) => Value::from(args.to_vec()).flat_enough()?,
            ("append", [list, more @ ..]) => {
                let mut items = list_of(list)?;
                items.extend_from_slice(more);
                Value::from(items).flat_enough()?
            }
            ("dict", _) => dict(args)?,
            ("toJson", _) => {
                let mut out = Vec::new();
                write_json(&mut out, one(args)?, 0, call.bytes_max())?;
                Value::from(String::from_utf8_lossy(&out).into_owned())
            }
            ("base64encode", _) => {
                let text = one_text(args)?;
                if text.len() > call.bytes_max() / 4 * 3 {
                    return Err(too_long(call.bytes_max()));
                }
                Value::from(BASE64.encode(text))
            }
            ("base64decode", _) => {
                let bytes = BASE64.decode(one_text(args)?).map_err(|error| error.to_string())?;
                Value::from(String::from_utf8_lossy(&bytes).into_owned())
            }
            ("urlUnescape", _) => Value::from(unescape(one_text(args)?)?),
            _ => return Err(format!("it does not take such arguments: {}", kinds(args))),
        })
    }
}

fn kinds(args: &[Value]) -> String {
    args.iter().map(Value::kind).collect::<Vec<_>>().join(", ")
}

fn in_zone(name: &str, time: &Zoned) -> Result<Value, String> {
    let zone = match name {
        "" | "UTC" => TimeZone::UTC,
        "Local" => TimeZone::system(),
        _ => TimeZone::get(name).map_err(|error| error.to_string())?,
    };
    Ok(Value::Time(Arc::new(time.with_time_zone(zone))))
}

fn dict(args: &[Value]) -> Result<Value, String> {
    let (pairs, rest) = args.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(format!("names and values alternate, there are {} arguments", args.len()));
    }
    let mut entries = Vec::new();
    for [name, value] in pairs {
        entries.push((text_of(name)?, value.clone()));
    }
    Value::map(entries).flat_enough()
}

fn write_json(out: &mut Vec<u8>, value: &Value, depth: usize, bytes_max: usize) -> Result<(), String> {
    if depth > JSON_DEPTH_MAX {
        return Err(format!("more than {JSON_DEPTH_MAX} lists and maps inside each other"));
    }
    if out.len() > bytes_max {
        return Err(too_long(bytes_max));
    }
    match value {
        Value::Nil => out.extend_from_slice(b"null"),
        Value::Bool(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
        Value::Int(value) | Value::Duration(value) => json::write_signed(out, *value),
        Value::Float(value) if value.is_finite() => out.extend_from_slice(json_float(*value).as_bytes()),
        Value::Float(value) => return Err(format!("JSON has no number for {value}")),
        Value::Text(text) => json::write_string(out, text),
        Value::List(items) => {
            out.push(b'[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                write_json(out, item, depth + 1, bytes_max)?;
            }
            out.push(b']');
        }
        Value::Map(map) => {
            out.push(b'{');
            for (at, (name, value)) in map.entries.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                json::write_string(out, name);
                out.push(b':');
                write_json(out, value, depth + 1, bytes_max)?;
            }
            out.push(b'}');
        }
        Value::Time(time) => json::write_string(out, &format_time(time, "2006-01-02T15:04:05.999999999Z07:00")),
        Value::Object(object) => match object.plain() {
            Some(plain) => write_json(out, &plain, depth + 1, bytes_max)?,
            None => return Err(format!("a {} is not for JSON", object.kind())),
        },
    }
    Ok(())
}

/// A number as Go's JSON has it: an exponent below 1e-6 and from 1e21 on.
fn json_float(value: f64) -> String {
    let size = value.abs();
    if size != 0.0 && !(1e-6..1e21).contains(&size) {
        return format_float(value, Style::Exponent, None).replace("e-0", "e-");
    }
    format_float(value, Style::Fixed, None)
}

/// Text out of the query of a URL.
fn unescape(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        match first {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digits = behind.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
                let byte = digits
                    .filter(|digits| !digits.starts_with('+'))
                    .and_then(|digits| u8::from_str_radix(digits, 16).ok());
                bytes.push(byte.ok_or("a % without two hexadecimal digits")?);
                rest = behind.get(2..).unwrap_or_default();
            }
            _ => bytes.push(*first),
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
