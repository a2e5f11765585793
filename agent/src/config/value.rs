//! Values of options: reading them from text or TOML under their shape's bounds, and showing them again.

use std::fmt;

use model::time::{ShowDuration, parse_duration_ms};

use super::options::{OptionSpec, Shape};

/// Most entries of a list, table of pairs, or list of targets.
pub const ENTRIES_MAX: usize = 1_000;

/// `url` without user and password, which logs and tables must not show. Other texts stay as they are.
pub fn masked(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    match authority.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://(hidden)@{host}{path}"),
        None => url.to_owned(),
    }
}

/// One page to scrape.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct TargetSpec {
    /// The page: `http://host:port/path`; without a path, `/metrics`.
    pub url: String,
    /// Value of label `job`; empty: the URL's host name.
    pub job: String,
    /// Where its profiles are, such as `http://host:port/debug/pprof`; empty: they are not read.
    pub pprof: String,
    /// More labels of the target.
    pub labels: Vec<(String, String)>,
}

/// A checked value.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant is the shape of the same name")]
pub enum Value {
    Text(String),
    Switch(bool),
    DurationMs(i64),
    Bytes(u64),
    Count(u64),
    List(Vec<String>),
    Pairs(Vec<(String, String)>),
    Targets(Vec<TargetSpec>),
}

impl Value {
    /// Reads `text`, as written in the environment or after a flag.
    ///
    /// # Errors
    ///
    /// What is wrong with it and what is allowed, as a sentence without its subject.
    pub fn parse(spec: &OptionSpec, text: &str) -> Result<Self, String> {
        let text = text.trim();
        match spec.shape {
            Shape::Text | Shape::Secret => Ok(Self::Text(text.to_owned())),
            Shape::Switch => match text {
                "true" => Ok(Self::Switch(true)),
                "false" => Ok(Self::Switch(false)),
                _ => Err(format!("is {text:?}; write true or false")),
            },
            Shape::Duration(least, most) => {
                let ms = parse_duration_ms(text).map_err(|error| format!("is wrong: {error}"))?;
                bounded(ms, least, most, ShowDuration).map(Self::DurationMs)
            }
            Shape::Bytes(least, most) => bounded(parse_bytes(text)?, least, most, ShowBytes).map(Self::Bytes),
            Shape::Count(least, most) => {
                let count = text.parse().map_err(|_| format!("is {text:?}; write a whole number"))?;
                bounded(count, least, most, |n| n).map(Self::Count)
            }
            Shape::List => Ok(Self::List(entries(text)?)),
            Shape::Pairs | Shape::SecretPairs => {
                let secret = spec.shape == Shape::SecretPairs;
                let pairs = entries(text)?.iter().map(|entry| split_pair(entry, secret)).collect::<Result<_, _>>()?;
                Ok(Self::Pairs(pairs))
            }
            Shape::Targets => {
                let targets = entries(text)?.iter().map(|entry| TargetSpec::parse(entry)).collect::<Result<_, _>>()?;
                Ok(Self::Targets(targets))
            }
        }
    }

    /// Reads a value of the file.
    ///
    /// # Errors
    ///
    /// As for [`parse`](Self::parse).
    pub fn from_toml(spec: &OptionSpec, value: &toml::Value) -> Result<Self, String> {
        match (spec.shape, value) {
            (_, toml::Value::String(text)) => Self::parse(spec, text),
            (Shape::Switch, toml::Value::Boolean(on)) => Ok(Self::Switch(*on)),
            (Shape::Count(..) | Shape::Bytes(..), toml::Value::Integer(number)) => {
                Self::parse(spec, &number.to_string())
            }
            (Shape::List, toml::Value::Array(items)) => {
                let texts = capped(items)?.iter().map(scalar_text).collect::<Result<_, _>>()?;
                Ok(Self::List(texts))
            }
            (Shape::Pairs | Shape::SecretPairs, toml::Value::Table(table)) => table_pairs(table).map(Self::Pairs),
            (Shape::Targets, toml::Value::Array(items)) => {
                let targets = capped(items)?.iter().map(TargetSpec::from_toml).collect::<Result<_, _>>()?;
                Ok(Self::Targets(targets))
            }
            (shape, other) => Err(format!("is {} in the file; {}", kind_of(other), wanted(shape))),
        }
    }

    /// The value for people, secrets hidden.
    pub fn show(&self, shape: Shape) -> String {
        match self {
            Self::Text(text) if shape == Shape::Secret && !text.is_empty() => "(hidden)".to_owned(),
            Self::Text(text) => masked(text),
            Self::Switch(on) => on.to_string(),
            Self::DurationMs(ms) => ShowDuration(*ms).to_string(),
            Self::Bytes(bytes) => ShowBytes(*bytes).to_string(),
            Self::Count(count) => count.to_string(),
            Self::List(items) => items.join(","),
            Self::Pairs(pairs) => {
                let show = |(name, value): &(String, String)| match shape {
                    Shape::SecretPairs => format!("{name}=(hidden)"),
                    _ => format!("{name}={value}"),
                };
                pairs.iter().map(show).collect::<Vec<_>>().join(",")
            }
            Self::Targets(targets) => targets.iter().map(TargetSpec::show).collect::<Vec<_>>().join(","),
        }
    }
}

/// Without user and password.
impl fmt::Debug for TargetSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.show())
    }
}

impl TargetSpec {
    fn parse(text: &str) -> Result<Self, String> {
        let (job, url) = match text.split_once('=') {
            Some((job, url)) if !job.contains("://") => (job.trim(), url.trim()),
            _ => ("", text),
        };
        Self { url: url.to_owned(), job: job.to_owned(), ..Self::default() }.checked()
    }

    fn from_toml(value: &toml::Value) -> Result<Self, String> {
        let table = match value {
            toml::Value::String(text) => return Self::parse(text),
            toml::Value::Table(table) => table,
            other => return Err(format!("holds {}; write a URL or a table with `url`", kind_of(other))),
        };
        let mut target = Self::default();
        for (key, value) in table {
            match (key.as_str(), value) {
                ("url", toml::Value::String(url)) => target.url.clone_from(url),
                ("job", toml::Value::String(job)) => target.job.clone_from(job),
                ("pprof", toml::Value::String(pprof)) => target.pprof.clone_from(pprof),
                ("labels", toml::Value::Table(labels)) => target.labels = table_pairs(labels)?,
                ("url" | "job" | "pprof" | "labels", other) => {
                    return Err(format!("has `{key}` as {}", kind_of(other)));
                }
                _ => return Err(format!("has `{key}`, which no target knows; known are url, job, pprof, labels")),
            }
        }
        target.checked()
    }

    fn checked(self) -> Result<Self, String> {
        let wrong = |url: &str| {
            let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
            let fine = |rest: &str| !rest.is_empty() && !rest.starts_with('/') && !rest.contains(char::is_whitespace);
            !rest.is_some_and(fine)
        };
        if wrong(&self.url) {
            return Err(format!("holds {:?}; a target is http://host:port/path or https://…", masked(&self.url)));
        }
        if !self.pprof.is_empty() && wrong(&self.pprof) {
            let shown = masked(&self.pprof);
            return Err(format!("has `pprof` {shown:?}; write http://host:port/debug/pprof or https://…"));
        }
        Ok(self)
    }

    fn show(&self) -> String {
        let job = if self.job.is_empty() { String::new() } else { format!("{}=", self.job) };
        let labels = self.labels.iter().flat_map(|(name, value)| [" ", name, "=", value]).collect::<String>();
        let pprof = if self.pprof.is_empty() { String::new() } else { format!(" pprof={}", masked(&self.pprof)) };
        format!("{job}{}{pprof}{labels}", masked(&self.url))
    }
}

fn bounded<N: PartialOrd + Copy, S: fmt::Display>(n: N, least: N, most: N, show: impl Fn(N) -> S) -> Result<N, String> {
    if n < least || n > most {
        return Err(format!("is {}; allowed are {} to {}", show(n), show(least), show(most)));
    }
    Ok(n)
}

fn entries(text: &str) -> Result<Vec<String>, String> {
    let entries: Vec<_> = text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect();
    capped(&entries)?;
    Ok(entries)
}

fn capped<T>(items: &[T]) -> Result<&[T], String> {
    if items.len() > ENTRIES_MAX {
        return Err(format!("has {} entries, the limit is {ENTRIES_MAX}", items.len()));
    }
    Ok(items)
}

fn split_pair(entry: &str, secret: bool) -> Result<(String, String), String> {
    match entry.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => Ok((name.trim().to_owned(), value.trim().to_owned())),
        _ if secret => Err("holds an entry without name; write name=value".to_owned()),
        _ => Err(format!("holds {entry:?}; write name=value")),
    }
}

fn table_pairs(table: &toml::Table) -> Result<Vec<(String, String)>, String> {
    if table.len() > ENTRIES_MAX {
        return Err(format!("has {} entries, the limit is {ENTRIES_MAX}", table.len()));
    }
    table.iter().map(|(name, value)| Ok((name.clone(), scalar_text(value)?))).collect()
}

fn scalar_text(value: &toml::Value) -> Result<String, String> {
    match value {
        toml::Value::String(text) => Ok(text.clone()),
        toml::Value::Integer(number) => Ok(number.to_string()),
        toml::Value::Boolean(on) => Ok(on.to_string()),
        other => Err(format!("holds {}; write texts", kind_of(other))),
    }
}

fn kind_of(value: &toml::Value) -> &'static str {
    match value {
        toml::Value::String(_) => "a string",
        toml::Value::Integer(_) => "an integer",
        toml::Value::Float(_) => "a float",
        toml::Value::Boolean(_) => "a boolean",
        toml::Value::Datetime(_) => "a date",
        toml::Value::Array(_) => "an array",
        toml::Value::Table(_) => "a table",
    }
}

fn wanted(shape: Shape) -> &'static str {
    match shape {
        Shape::Text | Shape::Secret => "write a string",
        Shape::Switch => "write true or false",
        Shape::Duration(..) => "write a duration such as \"5s\"",
        Shape::Bytes(..) => "write bytes such as \"64MiB\"",
        Shape::Count(..) => "write a whole number",
        Shape::List => "write an array of strings",
        Shape::Pairs | Shape::SecretPairs => "write a table of strings",
        Shape::Targets => "write an array of URLs or tables",
    }
}

const BYTE_UNITS: [(&str, u64); 5] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1), ("", 1)];

fn parse_bytes(text: &str) -> Result<u64, String> {
    let malformed = || format!("is {text:?}; write bytes such as 65536, 64KiB, 8MiB or 1GiB");
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let unit = text[digits..].trim();
    let (_, scale) = BYTE_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(malformed)?;
    let count: u64 = text[..digits].parse().map_err(|_| malformed())?;
    count.checked_mul(*scale).ok_or_else(malformed)
}

/// Shows bytes in the largest unit that divides them.
#[derive(Debug, Clone, Copy)]
struct ShowBytes(u64);

impl fmt::Display for ShowBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = BYTE_UNITS.iter().find(|(_, scale)| self.0 != 0 && self.0.is_multiple_of(*scale));
        let (unit, scale) = whole.copied().unwrap_or(("B", 1));
        write!(f, "{}{unit}", self.0 / scale)
    }
}

#[cfg(test)]
mod tests {
    use super::super::options::find;
    use super::*;

    #[track_caller]
    fn check(key: &str, text: &str, want: Result<&str, &str>) {
        let spec = find(key).expect("a known key");
        match (Value::parse(spec, text), want) {
            (Ok(value), Ok(shown)) => assert_eq!(value.show(spec.shape), shown, "{key} = {text}"),
            (Err(message), Err(part)) => assert!(message.contains(part), "{key} = {text}: {message}"),
            (got, want) => panic!("{key} = {text}: {got:?}, wanted {want:?}"),
        }
    }

    #[test]
    fn values_are_read_and_bounded() {
        check("poll.interval", "1m30s", Ok("1m30s"));
        check("poll.interval", "5", Err("not a duration"));
        check("poll.interval", "1ms", Err("is 1ms; allowed are 100ms to 1d"));
        check("queue.bytes_max", "1GiB", Ok("1GiB"));
        check("queue.bytes_max", "1000000", Ok("1000000B"));
        check("queue.bytes_max", "1", Err("is 1B; allowed are 64KiB to 1024GiB"));
        check("queue.bytes_max", "99999999999GiB", Err("write bytes such as"));
        check("queue.bytes_max", "5MB", Err("write bytes such as"));
        check("scrape.workers", "0", Err("is 0; allowed are 1 to 64"));
        check("scrape.workers", "-1", Err("write a whole number"));
        check("collect.cpu", "yes", Err("write true or false"));
        check("labels", "a=b, c = d=e", Ok("a=b,c=d=e"));
        check("labels", "a", Err("write name=value"));
        check("go.ignore", " a,, b ", Ok("a,b"));
        check("push.token", "secret", Ok("(hidden)"));
        check("push.headers", "X-Scope=secret", Ok("X-Scope=(hidden)"));
        check("push.url", "https://u:p@w@h:1/x@y", Ok("https://(hidden)@h:1/x@y"));
        check("push.url", "https://h:1/x@y", Ok("https://h:1/x@y"));
        check("targets", "db=http://u:p@h:1/m", Ok("db=http://(hidden)@h:1/m"));
        check("targets", "api=http://h:1/metrics,http://h:2?a=b", Ok("api=http://h:1/metrics,http://h:2?a=b"));
        check("targets", "ftp://h", Err("a target is http://"));
        check("targets", "http:///x", Err("a target is http://"));
    }
}
