//! Profiles of servers as configuration: read as a file would be, but for what may not come from afar.

use std::path::Path;

use model::control::PROFILE_BYTES_MAX;

use super::layers::read_file;
use super::{Config, ConfigError, Settings};

/// Reads a profile by itself; how many options it sets.
///
/// # Errors
///
/// What is wrong with it, and in which line.
pub fn check(text: &str) -> Result<usize, ConfigError> {
    let mut settings = Settings::defaults();
    let count = settings.merge_profile("", text)?;
    Config::from_settings(&settings).map(|_| count)
}

/// Reads the profile in the file at `path`, as [`check`] does.
///
/// # Errors
///
/// Also when it cannot be read, or is longer than a server takes.
pub fn check_file(path: &Path) -> Result<usize, ConfigError> {
    let text = read_file(path, false)?.unwrap_or_default();
    if text.len() > PROFILE_BYTES_MAX {
        let (bytes, limit_bytes) = (text.len() as u64, PROFILE_BYTES_MAX as u64);
        return Err(ConfigError::FileTooLong { path: path.to_owned(), bytes, limit_bytes });
    }
    check(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(text: &str, want: &str) {
        let error = check(text).expect_err(want).to_string();
        assert!(error.contains(want), "{want:?} in {error:?}");
    }

    #[test]
    fn profiles_set_what_may_come_from_afar() {
        assert_eq!(check("").ok(), Some(0));
        assert_eq!(check("poll.interval = \"30s\"\n[labels]\nteam = \"a\"\n[collect]\ncpu = false").ok(), Some(3));
        refused(
            "# head\n[push]\nurl = \"http://elsewhere/api/v1/write\"",
            "line 3: profile: push.url may be set on the agent",
        );
        refused("[queue]\nfolder = \"/etc\"", "queue.folder");
        refused("targets = [\"http://10.0.0.1/\"]", "targets");
        refused("host = \"a\"", "line 1: profile: host");
        refused("[control]\ntasks = true", "control.tasks");
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        refused(
            "\n\n[poll]\n\nintervall = \"1s\"",
            "line 5: profile: there is no option \"poll.intervall\"; did you mean",
        );
        refused("[collect]\ncpu = 3", "line 2");
        refused("poll.interval = \"1ms\"", "line 1: option poll.interval (profile) is 1ms; allowed are");
        refused("a = [", "line 1");
        refused("scrape.timeout = \"20s\"", "longer than scrape.interval");
    }
}
