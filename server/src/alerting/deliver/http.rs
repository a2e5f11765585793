//! Requests: connections by the settings of receivers, redirects that keep a POST one, and answers of which little is read.

use std::io::Read as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rules::config::receivers::{HttpConfig, Secret, TlsConfig};
use rules::receivers::{Answer, Request, Verdict, judge, shown_url};
use ureq::http::Uri;
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, parse_pem};

use super::oauth::Tokens;
use super::sender::read_bounded;

/// Longest beginning of an answer that is read.
const ANSWER_BYTES_MAX: u64 = 4096;
/// Longest header of an answer.
const HEADER_BYTES_MAX: usize = 64 << 10;
/// Most redirects of one request.
const REDIRECTS_MAX: usize = 5;
/// Most settings whose connections are kept.
const AGENTS_MAX: usize = 256;
/// After which certificates are read anew.
const AGENT_AGE_MAX: Duration = Duration::from_mins(5);

/// Sends requests; keeps connections by their settings.
#[derive(Debug, Default)]
pub(super) struct HttpSender {
    agents: Mutex<Vec<Known>>,
    tokens: Tokens,
}

#[derive(Debug)]
struct Known {
    http: HttpConfig,
    agent: ureq::Agent,
    since: Instant,
}

/// What came of one request.
enum Exchange {
    Answer(Answer),
    /// Status 307 or 308, and where it leads.
    Moved(String),
}

impl HttpSender {
    /// Sends `requests` one after the other, all within `timeout`; stops at the first that is not taken.
    pub(super) fn send_all(&self, requests: &[Request], timeout: Duration) -> Verdict {
        let until = Instant::now() + timeout;
        let mut last = Verdict::Refused("there is nothing to send".to_owned());
        for request in requests {
            last = self.send(request, until);
            if !matches!(last, Verdict::Taken(_)) {
                break;
            }
        }
        last
    }

    fn send(&self, request: &Request, until: Instant) -> Verdict {
        let agent = match self.agent(&request.http) {
            Ok(agent) => agent,
            Err(why) => return Verdict::Again { after_ms: None, why },
        };
        let token = match &request.http.oauth2 {
            Some(oauth) => match self.tokens.get(oauth, until) {
                Ok(token) => Some(token),
                Err(why) => return Verdict::Again { after_ms: None, why: format!("no token: {why}") },
            },
            None => None,
        };
        let verdict = follow(&agent, request, token.as_ref(), until);
        if let (Some(oauth), Verdict::Refused(why)) = (&request.http.oauth2, &verdict)
            && why.starts_with("status 401")
        {
            // The token may have ended before its time: the next attempt has a new one.
            self.tokens.forget(oauth);
            return Verdict::Again { after_ms: None, why: why.clone() };
        }
        verdict
    }

    fn agent(&self, http: &HttpConfig) -> Result<ureq::Agent, String> {
        let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        agents.retain(|known| known.since.elapsed() < AGENT_AGE_MAX);
        if let Some(known) = agents.iter().find(|known| known.http == *http) {
            return Ok(known.agent.clone());
        }
        let agent = agent(http)?;
        if agents.len() >= AGENTS_MAX {
            agents.remove(0);
        }
        agents.push(Known { http: http.clone(), agent: agent.clone(), since: Instant::now() });
        Ok(agent)
    }
}

/// Sends `request` to where it leads.
fn follow(agent: &ureq::Agent, request: &Request, token: Option<&Secret>, until: Instant) -> Verdict {
    let mut url = request.url.expose().to_owned();
    for _ in 0..=REDIRECTS_MAX {
        let same_server = authority(&url) == authority(request.url.expose());
        match exchange(agent, request, &url, same_server, token, until) {
            Ok(Exchange::Answer(answer)) => return judge(request.api, &answer),
            Ok(Exchange::Moved(_)) if !request.http.follow_redirects => {
                return Verdict::Refused("a redirect, and follow_redirects is off".to_owned());
            }
            Ok(Exchange::Moved(to)) => match joined(&url, &to) {
                Some(to) => url = to,
                None => return Verdict::Refused("a redirect to nowhere".to_owned()),
            },
            Err(verdict) => return verdict,
        }
    }
    Verdict::Refused(format!("more than {REDIRECTS_MAX} redirects"))
}

fn authority(url: &str) -> Option<String> {
    url.parse::<Uri>().ok()?.authority().map(ToString::to_string)
}

/// Where `to` leads from `url`; from TLS never to where there is none.
fn joined(url: &str, to: &str) -> Option<String> {
    if to.starts_with("https://") || (to.starts_with("http://") && url.starts_with("http://")) {
        return Some(to.to_owned());
    }
    let from: Uri = url.parse().ok()?;
    let path = to.starts_with('/') && !to.starts_with("//");
    path.then(|| Some(format!("{}://{}{to}", from.scheme_str()?, from.authority()?)))?
}

/// One request and its answer.
fn exchange(
    agent: &ureq::Agent,
    request: &Request,
    url: &str,
    same_server: bool,
    token: Option<&Secret>,
    until: Instant,
) -> Result<Exchange, Verdict> {
    let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    let mut builder = match request.method {
        "PUT" => agent.put(url),
        _ => agent.post(url),
    }
    .config()
    .timeout_global(Some(left))
    .build();
    for (name, value) in &request.headers {
        // What is meant for one server is not told to another that it leads to.
        if same_server || name.eq_ignore_ascii_case("content-type") {
            builder = builder.header(name, value.expose());
        }
    }
    if let Some(token) = token.filter(|_| same_server) {
        builder = builder.header("Authorization", format!("Bearer {}", token.expose()));
    }
    let mut response = builder.send(&request.body[..]).map_err(|error| trouble(&error, url))?;
    let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
    let status = response.status().as_u16();
    if matches!(status, 307 | 308)
        && let Some(to) = header("location")
    {
        return Ok(Exchange::Moved(to.to_owned()));
    }
    let retry_after_ms = header("retry-after").and_then(retry_after_ms);
    let mut body = Vec::new();
    // The status has said it all already; a body that breaks off or does not end is no failure.
    let _ = response.body_mut().as_reader().take(ANSWER_BYTES_MAX).read_to_end(&mut body);
    Ok(Exchange::Answer(Answer { status, retry_after_ms, body }))
}

/// `Retry-After`: seconds, or a date.
fn retry_after_ms(text: &str) -> Option<i64> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<i64>() {
        return Some(seconds.max(0).saturating_mul(1000));
    }
    let date = jiff::fmt::rfc2822::parse(text).ok()?;
    let ms = date.timestamp().as_millisecond() - jiff::Timestamp::now().as_millisecond();
    Some(ms.max(0))
}

/// Whether trying again may help.
fn trouble(error: &ureq::Error, url: &str) -> Verdict {
    let what = match error {
        ureq::Error::Timeout(_) => "no answer in time".to_owned(),
        ureq::Error::Io(error) => error.to_string(),
        error => error.to_string(),
    };
    let why = format!("{}: {what}", shown_url(url)).replace(url, &shown_url(url));
    match error {
        ureq::Error::BadUri(_)
        | ureq::Error::Http(_)
        | ureq::Error::InvalidProxyUrl
        | ureq::Error::Pem(_)
        | ureq::Error::RequireHttpsOnly(_) => Verdict::Refused(why),
        _ => Verdict::Again { after_ms: None, why },
    }
}

/// An agent by `http`.
pub(super) fn agent(http: &HttpConfig) -> Result<ureq::Agent, String> {
    let proxy = proxy(http.proxy_url.as_ref(), http.no_proxy.as_deref(), http.proxy_from_environment)?;
    Ok(plain_agent(&http.tls_config, proxy)?.new_agent())
}

pub(super) fn plain_agent(tls: &TlsConfig, proxy: Option<ureq::Proxy>) -> Result<ureq::config::Config, String> {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .max_response_header_size(HEADER_BYTES_MAX)
        .user_agent(concat!("metrickit/", env!("CARGO_PKG_VERSION")))
        .proxy(proxy);
    Ok(if tls.is_default() { config.build() } else { config.tls_config(tls_config(tls)?).build() })
}

pub(super) fn proxy(
    url: Option<&Secret>,
    no_proxy: Option<&str>,
    from_environment: bool,
) -> Result<Option<ureq::Proxy>, String> {
    if from_environment {
        return Ok(ureq::Proxy::try_from_env());
    }
    let Some(url) = url.filter(|url| !url.is_empty()) else { return Ok(None) };
    let wrong = |_| "proxy_url is no address of a proxy".to_owned();
    let proxy = ureq::Proxy::new(url.expose()).map_err(wrong)?;
    let Some(no_proxy) = no_proxy else { return Ok(Some(proxy)) };
    let mut builder = ureq::Proxy::builder(proxy.protocol()).host(proxy.host()).port(proxy.port());
    if let (Some(name), Some(password)) = (proxy.username(), proxy.password()) {
        builder = builder.username(name).password(password);
    }
    for part in no_proxy.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        builder = builder.no_proxy(part);
    }
    builder.build().map(Some).map_err(wrong)
}

/// Certificates out of the settings and their files.
fn tls_config(tls: &TlsConfig) -> Result<ureq::tls::TlsConfig, String> {
    let mut config = ureq::tls::TlsConfig::builder().disable_verification(tls.insecure_skip_verify);
    if let Some(pem) = pem(tls.ca.as_deref(), tls.ca_file.as_deref())? {
        config = config.root_certs(RootCerts::Specific(Arc::new(certificates(&pem)?)));
    }
    if let (Some(cert), Some(key)) = (
        pem(tls.cert.as_deref(), tls.cert_file.as_deref())?,
        pem(tls.key.as_ref().map(Secret::expose), tls.key_file.as_deref())?,
    ) {
        let key = PrivateKey::from_pem(key.as_bytes()).map_err(|_| "key is no private key in PEM".to_owned())?;
        config = config.client_cert(Some(ClientCert::new_with_certs(&certificates(&cert)?, key)));
    }
    Ok(config.build())
}

/// What is given, or in the file.
pub(super) fn pem(given: Option<&str>, file: Option<&std::path::Path>) -> Result<Option<String>, String> {
    match (given, file) {
        (Some(given), _) => Ok(Some(given.to_owned())),
        (None, Some(file)) => read_bounded(file).map(Some),
        (None, None) => Ok(None),
    }
}

fn certificates(pem: &str) -> Result<Vec<Certificate<'static>>, String> {
    let mut all = Vec::new();
    for item in parse_pem(pem.as_bytes()) {
        if let PemItem::Certificate(certificate) = item.map_err(|error| error.to_string())? {
            all.push(certificate);
        }
    }
    if all.is_empty() { Err("there is no certificate in PEM".to_owned()) } else { Ok(all) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_redirects_lead() {
        for (from, to, want) in [
            ("http://a:1/x?y", "/z", Some("http://a:1/z")),
            ("http://a/x", "https://b/z", Some("https://b/z")),
            ("http://a/x", "http://b/z", Some("http://b/z")),
            ("https://a/x", "http://a/z", None),
            ("https://a/x", "//b/z", None),
            ("http://a/x", "file:///etc/passwd", None),
            ("http://a/x", "z", None),
        ] {
            assert_eq!(joined(from, to).as_deref(), want, "{from} {to}");
        }
    }

    #[test]
    fn what_went_wrong_is_said_in_words() {
        let refused = std::io::Error::new(std::io::ErrorKind::ConnectionRefused, "nobody is there");
        for (error, want) in [
            (ureq::Error::Timeout(ureq::Timeout::Global), "http://a/<secret>: no answer in time"),
            (ureq::Error::Io(refused), "http://a/<secret>: nobody is there"),
        ] {
            assert_eq!(trouble(&error, "http://a/b"), Verdict::Again { after_ms: None, why: want.to_owned() });
        }
    }

    #[test]
    fn times_to_wait() {
        assert_eq!(retry_after_ms(" 7 "), Some(7000));
        assert_eq!(retry_after_ms("-7"), Some(0));
        assert_eq!(retry_after_ms("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert!(retry_after_ms("Fri, 01 Jan 2100 00:00:00 GMT").is_some_and(|ms| ms > 0));
        assert_eq!(retry_after_ms("soon"), None);
    }
}
