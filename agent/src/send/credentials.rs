//! The headers by which a receiver knows the agent: a token, from the configuration or a file, and what else it is given.

use std::fs::File;
use std::io::Read;

use crate::config::PushConfig;

/// Longest token that is read from a file.
const TOKEN_BYTES_MAX: u64 = 16 << 10;

/// The headers. A token in a file is read anew each time, since such files are replaced.
///
/// # Errors
///
/// When the file cannot be read.
pub fn credentials(config: &PushConfig) -> Result<Vec<(String, String)>, String> {
    let token = match &config.token_file {
        Some(path) => {
            let mut text = String::new();
            File::open(path)
                .and_then(|file| file.take(TOKEN_BYTES_MAX).read_to_string(&mut text))
                .map_err(|error| format!("{}: {error}", path.display()))?;
            text.trim().to_owned()
        }
        None => config.token.clone(),
    };
    let bearer = (!token.is_empty()).then(|| ("Authorization".to_owned(), format!("Bearer {token}")));
    Ok(bearer.into_iter().chain(config.headers.iter().cloned()).collect())
}
