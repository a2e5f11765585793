//! Labels and annotations in notifications: a map with methods.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::list_of;
use crate::template::{Map, Missing, Object, Value};

/// The label that sorted pairs begin with.
const FIRST: &str = "alertname";

/// Pairs of names and values: `.Labels.severity`, `.Labels.SortedPairs`, `.Remove`, `.Names`, `.Values`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pairs(pub BTreeMap<String, String>);

impl Pairs {
    fn sorted(&self) -> Vec<(&String, &String)> {
        let mut pairs: Vec<_> = self.0.iter().collect();
        pairs.sort_by_key(|(name, _)| (name.as_str() != FIRST, name.as_str()));
        pairs
    }

    /// As a value of templates.
    pub fn value(self) -> Value {
        Value::Object(Arc::new(self))
    }
}

impl Object for Pairs {
    fn kind(&self) -> &'static str {
        "template.KV"
    }

    fn get(&self, name: &str, args: &[Value]) -> Option<Result<Value, String>> {
        let texts = |texts: Vec<&String>| {
            Value::from(texts.into_iter().map(|text| Value::from(text.as_str())).collect::<Vec<_>>())
        };
        Some(match (name, args) {
            ("SortedPairs", []) => Ok(Value::Object(Arc::new(Sorted(
                self.sorted().into_iter().map(|(a, b)| (a.clone(), b.clone())).collect(),
            )))),
            ("Names", []) => Ok(texts(self.sorted().into_iter().map(|(name, _)| name).collect())),
            ("Values", []) => Ok(texts(self.sorted().into_iter().map(|(_, value)| value).collect())),
            ("Remove", [names]) => list_of(names).map(|names| {
                let gone = |name: &str| names.iter().any(|gone| gone.as_text() == Some(name));
                Self(self.0.iter().filter(|(name, _)| !gone(name)).map(|(a, b)| (a.clone(), b.clone())).collect())
                    .value()
            }),
            (_, []) => Ok(Value::from(self.0.get(name).map_or("", String::as_str))),
            _ => return None,
        })
    }

    fn plain(&self) -> Option<Value> {
        let entries = self.0.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect();
        Some(Value::Map(Arc::new(Map::new(entries, Missing::Empty))))
    }

    fn tells_itself(&self) -> bool {
        true
    }

    fn print(&self) -> String {
        told(self.sorted().into_iter())
    }
}

/// Pairs in order.
#[derive(Debug)]
struct Sorted(Vec<(String, String)>);

impl Object for Sorted {
    fn kind(&self) -> &'static str {
        "template.Pairs"
    }

    fn get(&self, name: &str, args: &[Value]) -> Option<Result<Value, String>> {
        let take: fn(&(String, String)) -> &String = match (name, args) {
            ("Names", []) => |pair| &pair.0,
            ("Values", []) => |pair| &pair.1,
            _ => return None,
        };
        Some(Ok(Value::from(self.0.iter().map(|pair| Value::from(take(pair).as_str())).collect::<Vec<_>>())))
    }

    fn plain(&self) -> Option<Value> {
        let pair = |(name, value): &(String, String)| {
            Value::map([("Name", Value::from(name.as_str())), ("Value", Value::from(value.as_str()))])
        };
        Some(Value::from(self.0.iter().map(pair).collect::<Vec<_>>()))
    }

    fn tells_itself(&self) -> bool {
        true
    }

    fn print(&self) -> String {
        told(self.0.iter().map(|(name, value)| (name, value)))
    }
}

/// `alertname=Down, severity=page`
fn told<'a>(pairs: impl Iterator<Item = (&'a String, &'a String)>) -> String {
    pairs.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(", ")
}
