//! Values of receivers' settings that need care: secrets, which are never shown, templates, which are read when the file is, and durations.

use std::fmt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::functions::NotificationFunctions;
use crate::template::Library;

/// What is shown in place of a secret.
pub const HIDDEN: &str = "<secret>";
/// Longest file that holds a secret.
pub const SECRET_FILE_BYTES_MAX: u64 = 64 << 10;

/// A text that must not be seen: only [`Secret::expose`] gives it, everything else says `<secret>`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Secret(String);

impl Secret {
    /// Hides `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for the request that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(HIDDEN)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self)
    }
}

/// Reads the files that secrets are in: whoever renders has files, this crate has none.
pub trait SecretFiles {
    /// The text of the file at `path`, without white space around it.
    ///
    /// # Errors
    ///
    /// Why it cannot be read; the message names the path and nothing of the content.
    fn read(&self, path: &Path) -> Result<Secret, String>;
}

/// Where a secret is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// In the file of settings.
    Given(Secret),
    /// In a file of its own, read for each notification so that it may change.
    File(PathBuf),
}

impl SecretSource {
    /// The secret.
    ///
    /// # Errors
    ///
    /// When its file cannot be read.
    pub fn read(&self, files: &dyn SecretFiles) -> Result<Secret, String> {
        match self {
            Self::Given(secret) => Ok(secret.clone()),
            Self::File(path) => files.read(path),
        }
    }
}

/// The one of `key` and `key_file` that is set.
pub(super) fn pick(key: &str, given: Option<&Secret>, file: Option<&PathBuf>) -> Result<Option<SecretSource>, String> {
    match (given, file) {
        (Some(_), Some(_)) => Err(format!("{key} and {key}_file exclude each other")),
        (Some(secret), None) if !secret.is_empty() => Ok(Some(SecretSource::Given(secret.clone()))),
        (None, Some(path)) => Ok(Some(SecretSource::File(path.clone()))),
        _ => Ok(None),
    }
}

/// As [`pick`], with what `global` has where neither is set.
pub(super) fn pick_or(
    key: &str,
    given: Option<&Secret>,
    file: Option<&PathBuf>,
    global: Option<&SecretSource>,
) -> Result<Option<SecretSource>, String> {
    Ok(pick(key, given, file)?.or_else(|| global.cloned()))
}

/// A template in a file of settings. It was read once, so that what is wrong with it is told where it stands.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct TemplateText(String);

impl TemplateText {
    /// A template of this program's own.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether all of it comes of templates, so that nothing in it is written out.
    pub fn is_template_alone(&self) -> bool {
        let text = self.0.trim();
        text.starts_with("{{") && text.ends_with("}}")
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Whether `text` can be read as a template of notifications.
pub(super) fn check_template(text: &str) -> Result<(), String> {
    let functions = NotificationFunctions { now: Timestamp::UNIX_EPOCH };
    Library::default().add("template", text, &[], &functions).map_err(|fault| fault.to_string())
}

impl<'de> Deserialize<'de> for TemplateText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        check_template(&text).map_err(D::Error::custom)?;
        Ok(Self(text))
    }
}

/// Durations such as `10s`, in milliseconds.
pub(super) mod ms {
    use model::time::{ShowDuration, parse_duration_ms};
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
    pub(in crate::config) fn serialize<S: Serializer>(ms: &i64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&ShowDuration(*ms))
    }

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
        parse_duration_ms(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// Paths of a file of settings begin at its folder.
pub(super) fn anchor(path: &mut Option<PathBuf>, folder: &Path) {
    if let Some(path) = path
        && path.is_relative()
    {
        *path = folder.join(&*path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret:?} {:?}", SecretSource::Given(secret.clone())), "<secret> Given(<secret>)");
        assert_eq!(serde_json::to_string(&secret).expect("a string"), "\"<secret>\"");
    }

    #[test]
    fn one_of_the_twins() {
        let (secret, path) = (Secret::new("a"), PathBuf::from("b"));
        assert_eq!(pick("k", Some(&secret), None), Ok(Some(SecretSource::Given(secret.clone()))));
        assert_eq!(pick("k", None, Some(&path)), Ok(Some(SecretSource::File(path.clone()))));
        assert_eq!(pick("k", Some(&Secret::default()), None), Ok(None));
        assert_eq!(pick("k", Some(&secret), Some(&path)), Err("k and k_file exclude each other".to_owned()));
    }
}
