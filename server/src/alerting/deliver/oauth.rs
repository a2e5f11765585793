//! Tokens by the client credentials grant: <https://datatracker.ietf.org/doc/html/rfc6749#section-4.4>. One is kept until shortly before it ends.

use std::io::Read as _;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rules::config::receivers::{OAuth2, Secret};
use serde::Deserialize;

use super::http::{plain_agent, proxy};
use super::sender::DiskSecrets;

/// Longest answer with a token.
const ANSWER_BYTES_MAX: u64 = 64 << 10;
/// Most tokens that are kept.
const TOKENS_MAX: usize = 256;
/// A token is not used for so long before it ends.
const EARLY: Duration = Duration::from_secs(10);
/// How long a token lasts whose answer does not say.
const LASTS: Duration = Duration::from_mins(5);

/// Tokens by the settings that they were got with.
#[derive(Debug, Default)]
pub(super) struct Tokens(Mutex<Vec<Token>>);

#[derive(Debug)]
struct Token {
    oauth: OAuth2,
    secret: Secret,
    until: Instant,
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    expires_in: Option<u64>,
}

impl Tokens {
    /// A token by `oauth`, got before `until` if none is known.
    pub(super) fn get(&self, oauth: &OAuth2, until: Instant) -> Result<Secret, String> {
        let now = Instant::now();
        {
            let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            tokens.retain(|token| token.until > now);
            if let Some(known) = tokens.iter().find(|token| token.oauth == *oauth) {
                return Ok(known.secret.clone());
            }
        }
        // Without the lock: a server of tokens that hangs holds up nobody else.
        let granted = grant(oauth, until.saturating_duration_since(now).max(Duration::from_millis(1)))?;
        let lasts = granted.expires_in.map_or(LASTS, |seconds| Duration::from_secs(seconds.min(86_400)));
        let token = Secret::new(granted.access_token);
        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if tokens.len() >= TOKENS_MAX {
            tokens.remove(0);
        }
        tokens.push(Token { oauth: oauth.clone(), secret: token.clone(), until: now + lasts.saturating_sub(EARLY) });
        Ok(token)
    }

    /// Forgets the token of `oauth`.
    pub(super) fn forget(&self, oauth: &OAuth2) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|token| token.oauth != *oauth);
    }
}

fn grant(oauth: &OAuth2, timeout: Duration) -> Result<Granted, String> {
    let source = oauth.client_secret()?.ok_or("there is no client_secret")?;
    let secret = source.read(&DiskSecrets)?;
    let scope = oauth.scopes.join(" ");
    let mut form = vec![("grant_type", "client_credentials")];
    form.extend((!scope.is_empty()).then_some(("scope", scope.as_str())));
    form.extend(oauth.endpoint_params.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    let proxy = proxy(oauth.proxy_url.as_ref(), oauth.no_proxy.as_deref(), oauth.proxy_from_environment)?;
    let agent = plain_agent(&oauth.tls_config, proxy)?.new_agent();
    let basic = basic_header(&oauth.client_id, secret.expose());
    let mut response = agent
        .post(&oauth.token_url)
        .config()
        .timeout_global(Some(timeout))
        .build()
        .header("Authorization", basic)
        .send_form(form)
        .map_err(|error| error.to_string())?;
    let status = response.status().as_u16();
    let mut body = Vec::new();
    let read = response.body_mut().as_reader().take(ANSWER_BYTES_MAX).read_to_end(&mut body);
    read.map_err(|error| error.to_string())?;
    if !(200..300).contains(&status) {
        return Err(format!("{} answered status {status}", rules::receivers::shown_url(&oauth.token_url)));
    }
    serde_json::from_slice(&body).map_err(|_| "the answer has no access_token".to_owned())
}

/// Name and secret are written as in forms before they are joined, as section 2.3.1 has it.
fn basic_header(name: &str, secret: &str) -> String {
    let form = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let joined = format!("{}:{}", form(name), form(secret));
    format!("Basic {}", base64::Engine::encode(&base64::engine::general_purpose::STANDARD, joined))
}
