//! The last good collection profile, kept in a file beside the queue, so that an agent that starts without its server collects as before.
//! The file is the profile as the server sent it, behind one line with what it is; people may read it.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use model::control::PROFILE_BYTES_MAX;
use serde::{Deserialize, Serialize};

use crate::private;

/// Its name in the folder of the queue.
const FILE: &str = "collection-profile.toml";
/// Before the first line, which is a comment in TOML.
const MARK: &str = "#metrickit ";
/// Longest file: the profile and its first line.
const FILE_BYTES_MAX: u64 = PROFILE_BYTES_MAX as u64 + 4_096;

/// A profile of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The environment that it is for.
    pub environment: String,
    /// Its `ETag`.
    pub etag: String,
    /// Its text.
    pub text: String,
}

#[derive(Serialize, Deserialize)]
struct Head {
    environment: String,
    etag: String,
}

impl Kept {
    /// The one kept in `folder` for `environment`; none where there is none that can be read.
    pub fn load(folder: &Path, environment: &str) -> Option<Self> {
        let mut all = String::new();
        File::open(path(folder)).ok()?.take(FILE_BYTES_MAX).read_to_string(&mut all).ok()?;
        let (head, text) = all.strip_prefix(MARK)?.split_once('\n')?;
        let Head { environment: of, etag } = serde_json::from_str(head).ok()?;
        (of == environment).then(|| Self { environment: of, etag, text: text.to_owned() })
    }

    /// Keeps it in `folder`: after a crash there is the one before or this one, whole.
    ///
    /// # Errors
    ///
    /// When the folder cannot be written to.
    pub fn save(&self, folder: &Path) -> io::Result<()> {
        let head = Head { environment: self.environment.clone(), etag: self.etag.clone() };
        let head = serde_json::to_string(&head).map_err(io::Error::other)?;
        let part = folder.join(format!("{FILE}.part"));
        let mut file = private::create(&part)?;
        file.write_all(format!("{MARK}{head}\n{}", self.text).as_bytes())?;
        file.sync_all()?;
        fs::rename(&part, path(folder))?;
        File::open(folder)?.sync_all()
    }

    /// Keeps none in `folder`.
    pub fn forget(folder: &Path) {
        // One that stays is replaced or told to go at the next word of the server.
        let _ = fs::remove_file(path(folder));
    }
}

fn path(folder: &Path) -> PathBuf {
    folder.join(FILE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_comes_back_for_its_environment() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(Kept::load(folder.path(), "prod"), None);
        let text = "poll.interval = \"5s\"\n# \"é\"\n".to_owned();
        let kept = Kept { environment: "prod".to_owned(), etag: "\"0a-1\"".to_owned(), text };
        kept.save(folder.path()).expect("written");
        assert_eq!(Kept::load(folder.path(), "prod"), Some(kept));
        assert_eq!(Kept::load(folder.path(), "dev"), None);
        fs::write(path(folder.path()), "#metrickit {\n").expect("written");
        assert_eq!(Kept::load(folder.path(), "prod"), None, "damaged");
        Kept::forget(folder.path());
        assert!(!path(folder.path()).exists());
    }
}
