//! Collection profiles: what the agents of each environment are to collect, as files in a folder that people edit.
//!
//! `ENVIRONMENT.toml` is for the agents of that environment, `default.toml` for all others. A file counts once it is found valid by the
//! agent's own parser, which the program hands in; until then the version before it does.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::control::{NAME_BYTES_MAX, PROFILE_BYTES_MAX, ProfileOrder, shortened};

/// Most profiles.
const PROFILES_MAX: usize = 256;
/// Most entries of the folder that are looked at.
const ENTRIES_MAX: usize = 4_096;
/// The profile of environments that have none of their own.
const DEFAULT: &str = "default";

/// What is wrong with a profile, by the agent's own parser.
pub type ProfileCheck = fn(&str) -> Result<(), String>;

/// Where profiles are, and who reads them.
#[derive(Debug, Clone)]
pub struct ProfileOptions {
    /// The folder; none: there are no profiles.
    pub dir: Option<PathBuf>,
    /// The agent's parser.
    pub check: ProfileCheck,
}

impl Default for ProfileOptions {
    fn default() -> Self {
        Self { dir: None, check: |_| Ok(()) }
    }
}

/// A valid profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Profile {
    pub(crate) text: Arc<str>,
    /// In quotes, as in the header.
    pub(crate) etag: String,
}

/// What tells versions of a file apart without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    bytes: u64,
    changed_ns: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        let changed_ns = (metadata.mtime(), metadata.mtime_nsec());
        Self { inode: metadata.ino(), bytes: metadata.len(), changed_ns }
    }
}

#[derive(Debug)]
struct Held {
    stamp: Stamp,
    /// The newest valid version, if there was one.
    profile: Option<Profile>,
    /// What is wrong with the newest version; empty: nothing.
    error: String,
}

/// One line of a list.
#[derive(Debug)]
pub(crate) struct ListedProfile {
    pub(crate) environment: String,
    pub(crate) profile: Option<Profile>,
    pub(crate) error: String,
}

/// A file of the folder.
#[derive(Debug)]
pub(super) struct File {
    path: PathBuf,
    stamp: Stamp,
    /// What it says, or what is wrong with it; none where that is known.
    text: Option<Result<String, String>>,
}

/// The files of a folder, by name.
type Found = BTreeMap<String, File>;

/// A look at the folder, which may take as long as its disk does: nothing is held meanwhile.
#[derive(Debug)]
pub(super) struct Look {
    dir: PathBuf,
    check: ProfileCheck,
    /// The versions that are known.
    stamps: BTreeMap<String, Stamp>,
}

impl Look {
    /// Reads what changed.
    ///
    /// # Errors
    ///
    /// When the folder cannot be listed.
    pub(super) fn read(self) -> io::Result<Found> {
        let mut found = list(&self.dir)?;
        for (name, file) in &mut found {
            if self.stamps.get(name) != Some(&file.stamp) {
                file.text = Some(read(&file.path).and_then(|text| (self.check)(&text).map(|()| text)));
            }
        }
        Ok(found)
    }
}

/// The profiles of a folder.
#[derive(Debug)]
pub(super) struct Profiles {
    options: ProfileOptions,
    held: BTreeMap<String, Held>,
    /// Whether the folder was ever read.
    known: bool,
    failing: bool,
}

impl Profiles {
    /// Reads the folder once.
    pub(super) fn new(options: ProfileOptions) -> Self {
        let mut profiles = Self { known: options.dir.is_none(), options, held: BTreeMap::new(), failing: false };
        if let Some(look) = profiles.look() {
            profiles.take_in(look.read());
        }
        profiles
    }

    /// What there is to read; none without a folder.
    pub(super) fn look(&self) -> Option<Look> {
        let dir = self.options.dir.clone()?;
        let stamps = self.held.iter().map(|(name, held)| (name.clone(), held.stamp)).collect();
        Some(Look { dir, check: self.options.check, stamps })
    }

    /// Takes note of what was read; whether any profile changed.
    pub(super) fn take_in(&mut self, found: io::Result<Found>) -> bool {
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                if !self.failing {
                    let dir = self.options.dir.as_deref().unwrap_or(Path::new(""));
                    tracing::warn!(dir = %dir.display(), %error, "profiles cannot be read; those that were go on");
                }
                self.failing = true;
                return false;
            }
        };
        self.failing = false;
        let mut changed = !self.known;
        self.known = true;
        let before = self.held.len();
        self.held.retain(|name, _| found.contains_key(name));
        changed |= self.held.len() != before;
        for (name, File { path, stamp, text }) in found {
            let Some(text) = text else { continue };
            let held = self.held.entry(name).or_insert(Held { stamp, profile: None, error: String::new() });
            held.stamp = stamp;
            match text {
                Ok(text) => {
                    let profile = Profile { etag: etag(&text), text: text.into() };
                    tracing::info!(file = %path.display(), etag = profile.etag, "profile read");
                    changed |= held.profile.as_ref() != Some(&profile);
                    *held = Held { stamp, profile: Some(profile), error: String::new() };
                }
                Err(error) => {
                    tracing::warn!(file = %path.display(), error, "profile is wrong; the version before it goes on");
                    shortened(&error).clone_into(&mut held.error);
                }
            }
        }
        changed
    }

    /// What agents of `environment` are to work by.
    pub(super) fn order(&self, environment: &str) -> ProfileOrder {
        match self.of(environment) {
            Some(Held { profile: Some(profile), .. }) => ProfileOrder::Etag(profile.etag.clone()),
            // Nothing is known of what it should be.
            Some(Held { profile: None, .. }) => ProfileOrder::Keep,
            None if !self.known => ProfileOrder::Keep,
            None => ProfileOrder::None,
        }
    }

    /// The profile for agents of `environment`.
    pub(super) fn profile(&self, environment: &str) -> Option<Profile> {
        self.of(environment)?.profile.clone()
    }

    fn of(&self, environment: &str) -> Option<&Held> {
        self.held.get(environment).or_else(|| self.held.get(DEFAULT))
    }

    /// Whose profile agents of `environment` work by.
    pub(super) fn name_for<'n>(&self, environment: &'n str) -> &'n str {
        if self.held.contains_key(environment) { environment } else { DEFAULT }
    }

    /// All of them, by name.
    pub(super) fn list(&self) -> Vec<ListedProfile> {
        let listed = |(name, held): (&String, &Held)| ListedProfile {
            environment: name.clone(),
            profile: held.profile.clone(),
            error: held.error.clone(),
        };
        self.held.iter().map(listed).collect()
    }
}

/// The profiles in a folder, not read yet.
fn list(dir: &Path) -> io::Result<Found> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir)?.take(ENTRIES_MAX) {
        let path = entry?.path();
        let name = path.file_stem().and_then(|stem| stem.to_str()).filter(|stem| is_environment(stem));
        let is_toml = path.extension().is_some_and(|extension| extension == "toml");
        let (Some(name), true) = (name, is_toml) else { continue };
        // One that is gone again, or a link to nowhere, is none.
        let Ok(metadata) = fs::metadata(&path) else { continue };
        if metadata.is_file() && found.len() < PROFILES_MAX {
            let file = File { path: path.clone(), stamp: Stamp::of(&metadata), text: None };
            found.insert(name.to_owned(), file);
        }
    }
    Ok(found)
}

fn is_environment(name: &str) -> bool {
    let allowed = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    !name.is_empty() && !name.starts_with('.') && name.len() <= NAME_BYTES_MAX && name.chars().all(allowed)
}

fn read(path: &Path) -> Result<String, String> {
    let mut text = String::new();
    let limit = PROFILE_BYTES_MAX as u64;
    let file = fs::File::open(path).map_err(|error| error.to_string())?;
    file.take(limit + 1).read_to_string(&mut text).map_err(|error| error.to_string())?;
    if text.len() > PROFILE_BYTES_MAX {
        return Err(format!("it is longer than {PROFILE_BYTES_MAX} bytes, the limit"));
    }
    Ok(text)
}

fn etag(text: &str) -> String {
    format!("\"{:08x}-{:x}\"", crc32c::crc32c(text.as_bytes()), text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profiles(dir: &Path) -> Profiles {
        let check = |text: &str| if text.contains("wrong") { Err("line 1: wrong".to_owned()) } else { Ok(()) };
        Profiles::new(ProfileOptions { dir: Some(dir.to_owned()), check })
    }

    fn look(profiles: &mut Profiles) -> bool {
        let found = profiles.look().expect("there is a folder").read();
        profiles.take_in(found)
    }

    #[test]
    fn files_are_profiles_and_the_last_valid_version_counts() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        write("prod.toml", "a = 1");
        write("prod.toml~", "b = 1");
        write(".prod.toml", "b = 1");
        let mut profiles = profiles(dir.path());
        let first = profiles.profile("prod").unwrap();
        assert_eq!((&*first.text, profiles.order("prod")), ("a = 1", ProfileOrder::Etag(first.etag.clone())));
        assert_eq!((profiles.order("dev"), profiles.list().len()), (ProfileOrder::None, 1));
        assert!(!look(&mut profiles), "nothing changed");

        write("prod.toml", "wrong = 22");
        assert!(!look(&mut profiles));
        assert_eq!(profiles.profile("prod"), Some(first.clone()));
        assert_eq!(profiles.list()[0].error, "line 1: wrong");
        write("prod.toml", "a = 333");
        assert!(look(&mut profiles));
        assert_ne!(profiles.profile("prod").unwrap().etag, first.etag);
        assert_eq!(profiles.list()[0].error, "");

        write("default.toml", "c = 1");
        assert!(look(&mut profiles));
        assert_eq!((profiles.name_for("dev"), profiles.name_for("prod")), ("default", "prod"));
        assert_eq!(&*profiles.profile("dev").unwrap().text, "c = 1");
        write("dev.toml", "wrong");
        look(&mut profiles);
        assert_eq!(profiles.order("dev"), ProfileOrder::Keep, "there is one, and nobody knows what it says");
        fs::remove_file(dir.path().join("prod.toml")).unwrap();
        assert!(look(&mut profiles));
        assert_eq!(&*profiles.profile("prod").unwrap().text, "c = 1");
        fs::remove_dir_all(dir.path()).unwrap();
        assert!(!look(&mut profiles), "what was read goes on");
        assert!(profiles.profile("prod").is_some());
    }

    #[test]
    fn nothing_is_ordered_while_nothing_is_known() {
        let none = Profiles::new(ProfileOptions::default());
        assert_eq!(none.order("prod"), ProfileOrder::None);
        let missing = profiles(Path::new("/no/such/folder"));
        assert_eq!(missing.order("prod"), ProfileOrder::Keep);
    }

    #[test]
    fn long_profiles_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("prod.toml"), "#".repeat(PROFILE_BYTES_MAX + 1)).unwrap();
        assert!(profiles(dir.path()).list()[0].error.contains("longer than"));
    }
}
