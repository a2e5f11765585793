//! The query API from a client's side: any server that speaks Prometheus's `/api/v1`, ours first of all.
//!
//! Owns requests and what can go wrong with them. `answer`, `histogram` and `explain` turn JSON into values,
//! `render` shows them.

pub(crate) mod answer;
pub(crate) mod explain;
pub(crate) mod histogram;
mod lines;

use std::io::Read;
use std::time::Duration;

use serde_json::Value as Json;

use crate::when::api_seconds;
pub(crate) use answer::{Answer, Value};
use explain::RunningQuery;

/// Where `metrickit up` and `metrickit server` listen unless told otherwise.
pub(crate) const URL_DEFAULT: &str = "http://127.0.0.1:9595";
/// Largest response read, in bytes after decompression.
const RESPONSE_BYTES_MAX: u64 = 256 << 20;
/// How long to wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long to wait for an answer; the server's own query timeout is shorter by default.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(150);

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum ClientError {
    /// The address given is none. Fix the command line.
    Address { url: String, reason: String },
    /// Nobody answers. Start a server or correct the address.
    Unreachable { url: String, reason: String },
    /// The server refused the request. Fix the query, or narrow it.
    Refused { kind: String, message: String, body: String },
    /// The answer broke off; what was asked for may go on. Ask again later.
    Broken { url: String, reason: String },
    /// What came back is no answer of the API: something else listens there.
    Foreign { url: String, status: u16, detail: String },
}

impl std::error::Error for ClientError {}

impl std::fmt::Display for ClientError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address { url, reason } => {
                write!(f, "{url:?} is no server address: {reason}; write it like {URL_DEFAULT}")
            }
            Self::Unreachable { url, reason } => write!(
                f,
                "no answer from {url}: {reason}\nstart a server with `metrickit up`, or name a running one with --url"
            ),
            Self::Broken { url, reason } => write!(
                f,
                "the answer of {url} broke off: {reason}\nwhat it was asked for may still be under way there; ask again later"
            ),
            Self::Refused { kind, message, .. } => write!(f, "{message} ({kind})"),
            Self::Foreign { url, status, detail } => {
                write!(f, "{url} answered with status {status}, but not as the query API does: {detail}")
            }
        }
    }
}

/// When a query is evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// Once; now by the server's clock if no time is given.
    Instant { time_ms: Option<i64> },
    /// At every step from start to end, both included.
    Range { start_ms: i64, end_ms: i64, step_ms: i64 },
}

/// What to tell beside the answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Extras {
    /// What each part of the query cost.
    pub(crate) plan: bool,
    /// What all of it cost.
    pub(crate) stats: bool,
}

/// A server to ask.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    base: String,
    timeout: Duration,
    agent: ureq::Agent,
}

impl Client {
    /// A client of the server at `url`; nothing is sent yet.
    pub(crate) fn new(url: &str) -> Result<Self, ClientError> {
        let with_scheme = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
        let base = with_scheme.trim_end_matches('/').to_owned();
        let address = |reason: String| ClientError::Address { url: url.to_owned(), reason };
        let uri: ureq::http::Uri = base.parse().map_err(|error| address(format!("{error}")))?;
        if uri.host().is_none_or(str::is_empty) || !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(address("it needs http:// or https:// and a host".to_owned()));
        }
        Ok(Self { base, timeout: ANSWER_TIMEOUT, agent: http_agent(ANSWER_TIMEOUT) })
    }

    /// A client of the same server that waits for `timeout` at most.
    pub(crate) fn with_timeout(&self, timeout: Duration) -> Self {
        Self { base: self.base.clone(), timeout, agent: http_agent(timeout) }
    }

    /// A client of the same server with connections of its own, which [`Client::hang_up`] closes.
    pub(crate) fn on_own_connections(&self) -> Self {
        self.with_timeout(self.timeout)
    }

    /// Closes every connection of this client and its clones at once. A request under way fails; the server sees that
    /// its client went away and ends the query. Nothing can be asked afterwards.
    pub(crate) fn hang_up(&self) {
        self.agent.clone().shutdown();
    }

    /// The address without a slash at its end.
    pub(crate) fn url(&self) -> &str {
        &self.base
    }

    /// Evaluates `query`.
    pub(crate) fn query(&self, query: &str, moment: Moment) -> Result<Answer, ClientError> {
        self.query_with(query, moment, Extras::default())
    }

    /// Evaluates `query` and asks for `extras`, which servers that do not know them leave out.
    pub(crate) fn query_with(&self, query: &str, moment: Moment, extras: Extras) -> Result<Answer, ClientError> {
        let mut form = vec![("query", query.to_owned())];
        if extras.plan {
            form.push(("explain", "true".to_owned()));
        }
        if extras.stats {
            form.push(("stats", "all".to_owned()));
        }
        let path = match moment {
            Moment::Instant { time_ms } => {
                form.extend(time_ms.map(|time_ms| ("time", api_seconds(time_ms))));
                "/api/v1/query"
            }
            Moment::Range { start_ms, end_ms, step_ms } => {
                form.push(("start", api_seconds(start_ms)));
                form.push(("end", api_seconds(end_ms)));
                form.push(("step", api_seconds(step_ms)));
                "/api/v1/query_range"
            }
        };
        let response = self.agent.post(format!("{}{path}", self.base)).send_form(form);
        let (status, body) = self.read(response)?;
        self.check(status, &body)?;
        Answer::parse(body).map_err(|detail| self.foreign(status, detail))
    }

    /// The names of labels, of the series that fulfil `selector` if one is given.
    pub(crate) fn label_names(&self, selector: Option<&str>, limit: usize) -> Result<Vec<String>, ClientError> {
        self.strings("/api/v1/labels", selector, limit)
    }

    /// The values of label `name`, of the series that fulfil `selector` if one is given.
    pub(crate) fn label_values(
        &self,
        name: &str,
        selector: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, ClientError> {
        self.strings(&format!("/api/v1/label/{name}/values"), selector, limit)
    }

    /// The label sets of the series that fulfil `selector`.
    pub(crate) fn series(&self, selector: &str, limit: usize) -> Result<Vec<answer::LabelMap>, ClientError> {
        let data = self.get("/api/v1/series", &[("match[]", selector), ("limit", &limit.to_string())])?;
        serde_json::from_value(data).map_err(|error| self.foreign(200, error.to_string()))
    }

    /// The queries under way, oldest first.
    pub(crate) fn queries(&self) -> Result<Vec<RunningQuery>, ClientError> {
        let data = self.get("/api/v1/queries", &[])?;
        serde_json::from_value(data).map_err(|error| self.foreign(200, error.to_string()))
    }

    /// Ends the query `id`.
    pub(crate) fn kill(&self, id: u64) -> Result<(), ClientError> {
        self.delete(&format!("/api/v1/queries/{id}"))
    }

    /// `data` of a GET.
    pub(crate) fn get(&self, path: &str, pairs: &[(&str, &str)]) -> Result<Json, ClientError> {
        let request = self.agent.get(format!("{}{path}", self.base)).query_pairs(pairs.iter().copied());
        self.data(request.call())
    }

    /// `data` of a POST of a form.
    pub(crate) fn post(&self, path: &str, pairs: &[(&str, &str)]) -> Result<Json, ClientError> {
        let request = self.agent.post(format!("{}{path}", self.base));
        self.data(request.send_form(pairs.iter().copied()))
    }

    /// The head and the body, as it comes, of a POST of a form. Compressed on its way unless the server is this machine.
    pub(crate) fn stream(
        &self,
        path: &str,
        pairs: &[(&str, String)],
    ) -> Result<(ureq::http::HeaderMap, impl Read + use<>), ClientError> {
        let mut request = self.agent.post(format!("{}{path}", self.base));
        if self.is_local() {
            request = request.header("Accept-Encoding", "identity");
        }
        let response = request.send_form(pairs.iter().map(|(name, value)| (*name, value.as_str())));
        match response {
            Ok(response) if response.status() == 200 => {
                let (head, body) = response.into_parts();
                Ok((head.headers, body.into_with_config().limit(u64::MAX).reader()))
            }
            other => {
                let (status, body) = self.read(other)?;
                self.check(status, &body)?;
                Err(self.foreign(status, "it has no such answer".to_owned()))
            }
        }
    }

    /// The body of a GET, as it comes.
    pub(crate) fn file(&self, path: &str) -> Result<impl Read + use<>, ClientError> {
        let request = self.agent.get(format!("{}{path}", self.base)).header("Accept-Encoding", "identity");
        match request.call() {
            Ok(response) if response.status() == 200 => {
                Ok(response.into_body().into_with_config().limit(RESPONSE_BYTES_MAX).reader())
            }
            other => {
                let (status, body) = self.read(other)?;
                self.check(status, &body)?;
                Err(self.foreign(status, "it has no such file".to_owned()))
            }
        }
    }

    /// Deletes what is at `path`.
    pub(crate) fn delete(&self, path: &str) -> Result<(), ClientError> {
        let response = self.agent.delete(format!("{}{path}", self.base)).call();
        let (status, body) = self.read(response)?;
        self.check(status, &body)
    }

    /// Whether the server is on this machine, as far as its address tells.
    fn is_local(&self) -> bool {
        let uri: Option<ureq::http::Uri> = self.base.parse().ok();
        let host = uri.as_ref().and_then(|uri| uri.host()).unwrap_or_default().trim_matches(['[', ']']);
        host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }

    fn data(&self, response: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<Json, ClientError> {
        let (status, body) = self.read(response)?;
        self.check(status, &body)?;
        if status == 204 {
            return Ok(Json::Null);
        }
        let mut parsed: Json = serde_json::from_str(&body).map_err(|error| self.foreign(status, error.to_string()))?;
        Ok(parsed["data"].take())
    }

    /// The status of a GET, such as of `/-/ready`.
    pub(crate) fn status(&self, path: &str) -> Result<u16, ClientError> {
        let response = self.agent.get(format!("{}{path}", self.base)).call();
        self.read(response).map(|(status, _)| status)
    }

    fn strings(&self, path: &str, selector: Option<&str>, limit: usize) -> Result<Vec<String>, ClientError> {
        let limit = limit.to_string();
        let mut pairs = vec![("limit", limit.as_str())];
        pairs.extend(selector.map(|selector| ("match[]", selector)));
        let data = self.get(path, &pairs)?;
        serde_json::from_value(data).map_err(|error| self.foreign(200, error.to_string()))
    }

    fn read(
        &self,
        response: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<(u16, String), ClientError> {
        let unreachable = |error: ureq::Error| ClientError::Unreachable {
            url: self.base.clone(),
            reason: match error {
                ureq::Error::Io(error) => error.to_string(),
                other => other.to_string(),
            },
        };
        let mut response = response.map_err(unreachable)?;
        let status = response.status().as_u16();
        // The library's own limit counts what arrives; this one counts what comes out of decompression.
        let reader = response.body_mut().with_config().limit(RESPONSE_BYTES_MAX).reader();
        let mut body = String::new();
        let result = reader.take(RESPONSE_BYTES_MAX + 1).read_to_string(&mut body);
        result.map_err(|error| unreachable(ureq::Error::Io(error)))?;
        if body.len() as u64 > RESPONSE_BYTES_MAX {
            return Err(self.foreign(status, format!("the response has more than {RESPONSE_BYTES_MAX} bytes")));
        }
        Ok((status, body))
    }

    /// An error unless the envelope says success.
    fn check(&self, status: u16, body: &str) -> Result<(), ClientError> {
        if matches!(status, 200 | 204) {
            return Ok(());
        }
        let envelope: Option<Json> = serde_json::from_str(body).ok();
        let text = |key: &str| envelope.as_ref().and_then(|json| json[key].as_str()).map(str::to_owned);
        match (text("errorType"), text("error")) {
            (Some(kind), Some(message)) => Err(ClientError::Refused { kind, message, body: body.to_owned() }),
            _ => Err(self.foreign(status, body.lines().next().unwrap_or_default().chars().take(200).collect())),
        }
    }

    fn foreign(&self, status: u16, detail: String) -> ClientError {
        ClientError::Foreign { url: self.base.clone(), status, detail }
    }
}

fn http_agent(timeout: Duration) -> ureq::Agent {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_connect(Some(CONNECT_TIMEOUT.min(timeout)))
        .timeout_global(Some(timeout))
        .user_agent(concat!("metrickit/", env!("CARGO_PKG_VERSION")))
        .build();
    config.new_agent()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_url(url: &str, want: Option<&str>) {
        assert_eq!(Client::new(url).ok().map(|client| client.url().to_owned()).as_deref(), want, "for {url:?}");
    }

    #[test]
    fn addresses() {
        check_url("http://a:1/", Some("http://a:1"));
        check_url("a:1", Some("http://a:1"));
        check_url("https://metrics.example.com/prefix/", Some("https://metrics.example.com/prefix"));
        check_url("ftp://a", None);
        check_url("http://", None);
        check_url("", None);
        check_url("http://a b", None);
    }

    #[test]
    fn a_server_that_is_not_there_is_told_with_what_to_do() {
        let port = std::net::TcpListener::bind("127.0.0.1:0").expect("binds").local_addr().expect("bound").port();
        let client = Client::new(&format!("127.0.0.1:{port}")).expect("valid");
        let error = client.query("up", Moment::Instant { time_ms: None }).expect_err("nobody listens");
        assert!(matches!(error, ClientError::Unreachable { .. }), "{error:?}");
        assert!(error.to_string().contains("metrickit up"), "{error}");
    }
}
