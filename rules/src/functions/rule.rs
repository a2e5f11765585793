//! Functions in the labels and annotations of alerting rules.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use jiff::tz::TimeZone;
use model::time::parse_duration_ms;

use super::humanize::{
    duration, humanize, humanize_1024, humanize_duration, humanize_percentage, humanize_timestamp, timestamp,
};
use super::{list_of, number_of, one, one_text, text, text_of};
use crate::template::{Call, Functions, Map, Missing, Value};

const NAMES: [&str; 25] = [
    "title",
    "query",
    "first",
    "label",
    "value",
    "strvalue",
    "sortByLabel",
    "humanize",
    "humanize1024",
    "humanizeDuration",
    "humanizePercentage",
    "humanizeTimestamp",
    "toTime",
    "toDuration",
    "now",
    "stripPort",
    "stripDomain",
    "graphLink",
    "tableLink",
    "parseDuration",
    "urlQueryEscape",
    "args",
    "tmpl",
    "externalURL",
    "pathPrefix",
];

/// What a sample takes as a value, without its labels.
const SAMPLE_BYTES: usize = 256;

/// A sample of an instant vector.
#[derive(Debug, Clone, PartialEq)]
pub struct VectorSample {
    /// Its labels, the metric's name among them.
    pub labels: BTreeMap<String, String>,
    /// Its value.
    pub value: f64,
}

impl VectorSample {
    fn as_value(&self) -> Value {
        let entries = self.labels.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect();
        let labels = Value::Map(Arc::new(Map::new(entries, Missing::Empty)));
        Value::map([("Labels", labels), ("Value", Value::Float(self.value))])
    }

    /// About what it takes as a value.
    fn bytes(&self) -> usize {
        let text = |(name, value): (&String, &String)| name.len() + value.len() + size_of::<(String, Value)>();
        self.labels.iter().map(text).sum::<usize>() + SAMPLE_BYTES
    }
}

/// Answers the queries of templates at the moment of evaluation.
pub trait Ask {
    /// The vector that `expr` is, or what is wrong.
    ///
    /// # Errors
    ///
    /// When it is no expression, is no vector, or cannot be computed.
    fn ask(&self, expr: &str) -> Result<Vec<VectorSample>, String>;
}

/// What the templates of a rule may call.
#[derive(Clone, Copy)]
pub struct RuleFunctions<'a> {
    /// Answers `query`; without one that is an error.
    pub ask: Option<&'a dyn Ask>,
    /// The moment of evaluation, seconds since the Unix epoch.
    pub now_seconds: f64,
    /// Where this server is reached.
    pub external_url: &'a str,
}

impl fmt::Debug for RuleFunctions<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("RuleFunctions").field("external_url", &self.external_url).finish_non_exhaustive()
    }
}

impl Functions for RuleFunctions<'_> {
    fn has(&self, name: &str) -> bool {
        text::has(name) || NAMES.contains(&name)
    }

    fn call(&self, name: &str, args: &[Value], call: &mut Call<'_>) -> Result<Value, String> {
        if text::has(name) {
            return text::call(name, args, call.bytes_max());
        }
        let number = || one(args).and_then(number_of);
        Ok(match name {
            "title" => Value::from(text::title_rule(one_text(args)?)),
            "humanize" => Value::from(humanize(number()?)),
            "humanize1024" => Value::from(humanize_1024(number()?)),
            "humanizeDuration" => Value::from(humanize_duration(number()?)),
            "humanizePercentage" => Value::from(humanize_percentage(number()?)),
            "humanizeTimestamp" => Value::from(humanize_timestamp(number()?)?),
            "toTime" => Value::Time(Arc::new(timestamp(number()?)?.to_zoned(TimeZone::UTC))),
            "toDuration" => duration(number()?),
            "now" => Value::Float(self.now_seconds),
            "parseDuration" => Value::Float(seconds(one_text(args)?)?),
            "stripPort" => Value::from(strip_port(one_text(args)?)),
            "stripDomain" => Value::from(strip_domain(one_text(args)?)),
            "urlQueryEscape" => Value::from(crate::template::escape_query(one_text(args)?)),
            "graphLink" => Value::from(link(one_text(args)?, 0)),
            "tableLink" => Value::from(link(one_text(args)?, 1)),
            "externalURL" => Value::from(self.external_url),
            "pathPrefix" => Value::from(path_of(self.external_url)),
            "args" => {
                let names: Vec<String> = (0..args.len()).map(|at| format!("arg{at}")).collect();
                Value::map(names.iter().map(String::as_str).zip(args.iter().cloned())).flat_enough()?
            }
            "tmpl" => match args {
                [name, data] => {
                    Value::from(call.template(text_of(name)?, data, &[]).map_err(|fault| fault.to_string())?)
                }
                _ => return Err("a template's name and its data are wanted".to_owned()),
            },
            "query" => {
                let ask = self.ask.ok_or("queries are not answered here")?;
                let samples = ask.ask(one_text(args)?)?;
                call.make(samples.iter().map(VectorSample::bytes).sum())?;
                Value::from(samples.iter().map(VectorSample::as_value).collect::<Vec<_>>())
            }
            _ => return vector(name, args),
        })
    }
}

/// Functions over instant vectors.
fn vector(name: &str, args: &[Value]) -> Result<Value, String> {
    match (name, args) {
        ("first", _) => {
            let items = list_of(one(args)?)?;
            items.into_iter().next().ok_or_else(|| "the vector has no elements".to_owned())
        }
        ("value", [sample]) => Ok(part(sample, "Value")?),
        ("strvalue", [sample]) => label(sample, "__value__"),
        ("label", [name, sample]) => label(sample, text_of(name)?),
        ("sortByLabel", [name, vector]) => {
            let name = text_of(name)?;
            let mut keyed = Vec::new();
            for sample in list_of(vector)? {
                keyed.push((label(&sample, name)?.to_string(), sample));
            }
            keyed.sort_by(|a, b| a.0.cmp(&b.0));
            Ok(Value::from(keyed.into_iter().map(|(_, sample)| sample).collect::<Vec<_>>()))
        }
        _ => Err(format!("it does not take {} arguments", args.len())),
    }
}

fn part(sample: &Value, name: &str) -> Result<Value, String> {
    match sample {
        Value::Map(map) if map.entries.contains_key(name) => Ok(map.entries.get(name).cloned().unwrap_or_default()),
        _ => Err(format!("a sample is wanted, there is a {}", sample.kind())),
    }
}

fn label(sample: &Value, name: &str) -> Result<Value, String> {
    match part(sample, "Labels")? {
        Value::Map(labels) => Ok(labels.entries.get(name).cloned().unwrap_or_else(|| Value::from(""))),
        other => Err(format!("labels are wanted, there is a {}", other.kind())),
    }
}

/// Seconds of a duration as PromQL writes it.
#[expect(clippy::cast_precision_loss, reason = "templates compute with floating-point numbers")]
fn seconds(text: &str) -> Result<f64, String> {
    parse_duration_ms(text).map(|ms| ms as f64 / 1000.0).map_err(|error| error.to_string())
}

/// `host` of `host:port`; anything else is left alone.
fn strip_port(text: &str) -> &str {
    split_port(text).map_or(text, |(host, _)| host)
}

/// Host and port of `host:port` and `[host]:port`.
fn split_port(text: &str) -> Option<(&str, &str)> {
    if let Some(inner) = text.strip_prefix('[') {
        let (host, rest) = inner.split_once(']')?;
        return rest.strip_prefix(':').map(|port| (host, port));
    }
    text.split_once(':').filter(|(_, port)| !port.contains(':'))
}

/// The name without its domain; ports stay, addresses too.
fn strip_domain(text: &str) -> String {
    let (host, port) = split_port(text).map_or((text, None), |(host, port)| (host, Some(port)));
    if host.parse::<IpAddr>().is_ok() {
        return text.to_owned();
    }
    let name = host.split('.').next().unwrap_or(host);
    match port {
        Some(port) => format!("{name}:{port}"),
        None => name.to_owned(),
    }
}

fn link(expr: &str, tab: u8) -> String {
    format!("/graph?g0.expr={}&g0.tab={tab}", crate::template::escape_query(expr))
}

/// The path of a URL, without a slash at its end.
fn path_of(url: &str) -> &str {
    let behind = url.split_once("://").map_or(url, |(_, rest)| rest);
    let path = behind.find('/').and_then(|at| behind.get(at..)).unwrap_or_default();
    let end = path.find(['?', '#']).unwrap_or(path.len());
    path.get(..end).unwrap_or_default().trim_end_matches('/')
}
