//! `http_config`: how receivers that are reached by HTTP are connected to.
//!
//! Keys are those of <https://prometheus.io/docs/alerting/latest/configuration/#http_config>. What cannot be kept is refused rather than ignored.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::value::{Secret, SecretSource, anchor, pick};
use super::yes;

/// How to connect.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields are the documented keys")]
pub struct HttpConfig {
    pub basic_auth: Option<BasicAuth>,
    pub authorization: Option<Authorization>,
    /// Short for `authorization` with its credentials.
    pub bearer_token: Option<Secret>,
    pub bearer_token_file: Option<PathBuf>,
    pub oauth2: Option<OAuth2>,
    #[serde(default)]
    pub tls_config: TlsConfig,
    /// Hidden: it may hold a password.
    pub proxy_url: Option<Secret>,
    pub no_proxy: Option<String>,
    #[serde(default)]
    pub proxy_from_environment: bool,
    pub proxy_connect_header: Option<BTreeMap<String, Vec<Secret>>>,
    #[serde(default = "yes")]
    pub follow_redirects: bool,
    /// Taken and not needed: requests are HTTP/1.1.
    #[serde(default = "yes")]
    pub enable_http2: bool,
    #[serde(default)]
    pub http_headers: BTreeMap<String, HeaderValues>,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            basic_auth: None,
            authorization: None,
            bearer_token: None,
            bearer_token_file: None,
            oauth2: None,
            tls_config: TlsConfig::default(),
            proxy_url: None,
            no_proxy: None,
            proxy_from_environment: false,
            proxy_connect_header: None,
            follow_redirects: true,
            enable_http2: true,
            http_headers: BTreeMap::new(),
        }
    }
}

/// A name and a password.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields are the documented keys")]
pub struct BasicAuth {
    #[serde(default)]
    pub username: String,
    pub username_file: Option<PathBuf>,
    pub password: Option<Secret>,
    pub password_file: Option<PathBuf>,
}

impl BasicAuth {
    /// Where the password is.
    ///
    /// # Errors
    ///
    /// When it is said twice.
    pub fn password(&self) -> Result<Option<SecretSource>, String> {
        pick("password", self.password.as_ref(), self.password_file.as_ref())
    }
}

/// An `Authorization` header.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields are the documented keys")]
pub struct Authorization {
    #[serde(rename = "type")]
    pub scheme: Option<String>,
    pub credentials: Option<Secret>,
    pub credentials_file: Option<PathBuf>,
}

impl Authorization {
    /// Where the credentials are.
    ///
    /// # Errors
    ///
    /// When they are said twice.
    pub fn credentials(&self) -> Result<Option<SecretSource>, String> {
        pick("credentials", self.credentials.as_ref(), self.credentials_file.as_ref())
    }
}

/// The client credentials grant: <https://datatracker.ietf.org/doc/html/rfc6749#section-4.4>.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields are the documented keys")]
pub struct OAuth2 {
    #[serde(default)]
    pub client_id: String,
    pub client_secret: Option<Secret>,
    pub client_secret_file: Option<PathBuf>,
    #[serde(default)]
    pub scopes: Vec<String>,
    #[serde(default)]
    pub token_url: String,
    #[serde(default)]
    pub endpoint_params: BTreeMap<String, String>,
    #[serde(default)]
    pub tls_config: TlsConfig,
    pub proxy_url: Option<Secret>,
    pub no_proxy: Option<String>,
    #[serde(default)]
    pub proxy_from_environment: bool,
}

impl OAuth2 {
    /// Where the client's secret is.
    ///
    /// # Errors
    ///
    /// When it is said twice.
    pub fn client_secret(&self) -> Result<Option<SecretSource>, String> {
        pick("client_secret", self.client_secret.as_ref(), self.client_secret_file.as_ref())
    }
}

/// Certificates.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields are the documented keys")]
pub struct TlsConfig {
    pub ca: Option<String>,
    pub ca_file: Option<PathBuf>,
    pub cert: Option<String>,
    pub cert_file: Option<PathBuf>,
    pub key: Option<Secret>,
    pub key_file: Option<PathBuf>,
    pub server_name: Option<String>,
    #[serde(default)]
    pub insecure_skip_verify: bool,
    pub min_version: Option<String>,
    pub max_version: Option<String>,
}

impl TlsConfig {
    /// Whether it says nothing.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    fn check(&self) -> Result<(), String> {
        let twice = |key: &str| Err(format!("{key} and {key}_file exclude each other"));
        if self.ca.is_some() && self.ca_file.is_some() {
            return twice("ca");
        }
        if self.cert.is_some() && self.cert_file.is_some() {
            return twice("cert");
        }
        if self.key.is_some() && self.key_file.is_some() {
            return twice("key");
        }
        let (cert, key) =
            (self.cert.is_some() || self.cert_file.is_some(), self.key.is_some() || self.key_file.is_some());
        if cert != key {
            return Err("a client certificate needs both cert and key, or their files".to_owned());
        }
        if self.server_name.as_ref().is_some_and(|name| !name.is_empty()) {
            return Err("server_name is not supported: name the server as its certificate does".to_owned());
        }
        match self.min_version.as_deref() {
            None | Some("" | "TLS10" | "TLS11" | "TLS12") => {}
            Some(other) => return Err(format!("min_version {other} is not supported: it is TLS12")),
        }
        match self.max_version.as_deref() {
            None | Some("" | "TLS13") => Ok(()),
            Some(other) => Err(format!("max_version {other} is not supported: it is TLS13")),
        }
    }

    pub(super) fn settle(&mut self, folder: &Path) -> Result<(), String> {
        anchor(&mut self.ca_file, folder);
        anchor(&mut self.cert_file, folder);
        anchor(&mut self.key_file, folder);
        self.check().map_err(|wrong| format!("tls_config: {wrong}"))
    }
}

/// The values of a header, all of which are sent.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields are the documented keys")]
pub struct HeaderValues {
    #[serde(default)]
    pub values: Vec<String>,
    #[serde(default)]
    pub secrets: Vec<Secret>,
    #[serde(default)]
    pub files: Vec<PathBuf>,
}

/// Headers that are this program's to set.
const RESERVED: [&str; 14] = [
    "authorization",
    "host",
    "content-encoding",
    "content-length",
    "content-type",
    "user-agent",
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "accept-encoding",
    "www-authenticate",
    "transfer-encoding",
    "upgrade",
];

impl HttpConfig {
    /// Checks it, and lets its paths begin at `folder`.
    pub(crate) fn settle(&mut self, folder: &Path) -> Result<(), String> {
        let bearer = pick("bearer_token", self.bearer_token.as_ref(), self.bearer_token_file.as_ref())?;
        let ways = [self.basic_auth.is_some(), self.authorization.is_some(), self.oauth2.is_some(), bearer.is_some()];
        if ways.into_iter().filter(|way| *way).count() > 1 {
            return Err("basic_auth, authorization, oauth2 and bearer_token exclude each other".to_owned());
        }
        if self.proxy_connect_header.is_some() {
            return Err("proxy_connect_header is not supported".to_owned());
        }
        if self.proxy_from_environment && (self.proxy_url.is_some() || self.no_proxy.is_some()) {
            return Err("proxy_from_environment excludes proxy_url and no_proxy".to_owned());
        }
        anchor(&mut self.bearer_token_file, folder);
        self.tls_config.settle(folder)?;
        if let Some(basic) = &mut self.basic_auth {
            basic.password()?;
            if !basic.username.is_empty() && basic.username_file.is_some() {
                return Err("username and username_file exclude each other".to_owned());
            }
            anchor(&mut basic.username_file, folder);
            anchor(&mut basic.password_file, folder);
        }
        if let Some(authorization) = &mut self.authorization {
            authorization.credentials()?;
            if authorization.scheme.as_deref().is_some_and(|scheme| scheme.eq_ignore_ascii_case("basic")) {
                return Err("authorization is not for the scheme Basic: use basic_auth".to_owned());
            }
            anchor(&mut authorization.credentials_file, folder);
        }
        if let Some(oauth) = &mut self.oauth2 {
            if oauth.client_id.is_empty() || oauth.token_url.is_empty() {
                return Err("oauth2 needs client_id and token_url".to_owned());
            }
            if oauth.client_secret()?.is_none() {
                return Err("oauth2 needs client_secret or client_secret_file".to_owned());
            }
            anchor(&mut oauth.client_secret_file, folder);
            oauth.tls_config.settle(folder)?;
        }
        for (name, values) in &mut self.http_headers {
            if RESERVED.contains(&name.to_ascii_lowercase().as_str()) {
                return Err(format!("http_headers must not set {name}"));
            }
            for file in &mut values.files {
                if file.is_relative() {
                    *file = folder.join(&*file);
                }
            }
        }
        Ok(())
    }
}
