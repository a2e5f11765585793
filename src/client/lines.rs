//! Answers in lines of JSON, of work that takes long: how far it is, and at last what any other answer is.

use std::io::{BufRead as _, BufReader, Read as _};

use serde_json::Value as Json;

use super::{Client, ClientError, RESPONSE_BYTES_MAX};

/// Longest line read, in bytes.
const LINE_BYTES_MAX: u64 = 16 << 20;

impl Client {
    /// `data` of a POST of a form that is answered in lines. `told` gets those before the last.
    pub(crate) fn post_lines(
        &self,
        path: &str,
        pairs: &[(&str, &str)],
        told: &mut dyn FnMut(&Json),
    ) -> Result<Json, ClientError> {
        let response = self.agent.post(format!("{}{path}", self.base)).send_form(pairs.iter().copied());
        let mut response = match response {
            Ok(response) if response.status() == 200 => response,
            other => return self.data(other),
        };
        let broken = |reason: String| ClientError::Broken { url: self.base.clone(), reason };
        let mut reader = BufReader::new(response.body_mut().with_config().limit(RESPONSE_BYTES_MAX).reader());
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line);
            if read.map_err(|error| broken(error.to_string()))? == 0 {
                return Err(broken("the answer has no end".to_owned()));
            }
            let mut document: Json =
                serde_json::from_slice(&line).map_err(|error| self.foreign(200, error.to_string()))?;
            match document["status"].as_str() {
                Some("running") => told(&document),
                Some("success") => return Ok(document["data"].take()),
                _ => {
                    let text = |key: &str| document[key].as_str().unwrap_or_default().to_owned();
                    let (kind, message) = (text("errorType"), text("error"));
                    return Err(ClientError::Refused { kind, message, body: document.to_string() });
                }
            }
        }
    }
}
