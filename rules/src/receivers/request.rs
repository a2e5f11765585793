//! Headers that receivers reached by HTTP have in common: authorization, and those of the settings.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::RenderError;
use super::outgoing::{Api, Hide, Request};
use crate::config::receivers::{HttpConfig, Secret, SecretFiles};

/// A request that is being made.
pub(super) struct Making<'a> {
    pub(super) http: &'a HttpConfig,
    pub(super) files: &'a dyn SecretFiles,
    pub(super) timeout_ms: i64,
    pub(super) api: Api,
}

impl Making<'_> {
    /// A POST of `body` to `url`. `extra` headers are set beside those of the settings; `hide` says what else is secret.
    pub(super) fn post(
        &self,
        url: Secret,
        extra: Vec<(&str, Secret)>,
        body: &serde_json::Value,
        hide: Hide,
    ) -> Result<Request, RenderError> {
        self.request("POST", url, extra, serde_json::to_vec(body).unwrap_or_default(), hide)
    }

    pub(super) fn request(
        &self,
        method: &'static str,
        url: Secret,
        extra: Vec<(&str, Secret)>,
        body: Vec<u8>,
        mut hide: Hide,
    ) -> Result<Request, RenderError> {
        let mut headers = vec![("Content-Type".to_owned(), Secret::new("application/json"))];
        headers.extend(extra.into_iter().map(|(name, value)| (name.to_owned(), value)));
        self.settings(&mut headers, &mut hide)?;
        for (name, value) in &headers {
            if name != "Content-Type" {
                hide.add(value);
            }
            if value.expose().contains(['\r', '\n', '\0']) {
                return Err(RenderError::Setting(format!("header {name} has more than one line")));
            }
        }
        hide.add_url(&url);
        let timeout_ms = (self.timeout_ms > 0).then_some(self.timeout_ms);
        Ok(Request { method, url, headers, body, http: Box::new(self.http.clone()), timeout_ms, api: self.api, hide })
    }

    /// Adds what the settings say.
    fn settings(&self, headers: &mut Vec<(String, Secret)>, hide: &mut Hide) -> Result<(), RenderError> {
        let read = |source: Option<crate::config::receivers::SecretSource>| {
            source.map(|source| source.read(self.files)).transpose().map_err(RenderError::Secret)
        };
        let set = |headers: &mut Vec<(String, Secret)>, value: String| {
            // An authorization that the kind itself has counts.
            if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("Authorization")) {
                headers.push(("Authorization".to_owned(), Secret::new(value)));
            }
        };
        if let Some(basic) = &self.http.basic_auth {
            let password = read(basic.password().map_err(RenderError::Setting)?)?.unwrap_or_default();
            let name = match &basic.username_file {
                Some(file) => self.files.read(file).map_err(RenderError::Secret)?.expose().to_owned(),
                None => basic.username.clone(),
            };
            hide.add(&password);
            set(headers, format!("Basic {}", BASE64.encode(format!("{name}:{}", password.expose()))));
        }
        if let Some(authorization) = &self.http.authorization {
            let credentials = read(authorization.credentials().map_err(RenderError::Setting)?)?.unwrap_or_default();
            let scheme = authorization.scheme.as_deref().filter(|scheme| !scheme.is_empty()).unwrap_or("Bearer");
            hide.add(&credentials);
            set(headers, format!("{scheme} {}", credentials.expose()));
        }
        let bearer = match (&self.http.bearer_token, &self.http.bearer_token_file) {
            (Some(token), _) => Some(token.clone()),
            (None, Some(file)) => Some(self.files.read(file).map_err(RenderError::Secret)?),
            (None, None) => None,
        };
        if let Some(token) = bearer {
            hide.add(&token);
            set(headers, format!("Bearer {}", token.expose()));
        }
        for (name, values) in &self.http.http_headers {
            for value in &values.values {
                headers.push((name.clone(), Secret::new(value.as_str())));
            }
            for secret in &values.secrets {
                headers.push((name.clone(), secret.clone()));
            }
            for file in &values.files {
                headers.push((name.clone(), self.files.read(file).map_err(RenderError::Secret)?));
            }
        }
        Ok(())
    }
}
