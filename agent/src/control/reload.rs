//! Changes of the configuration while the agent runs: of its file, told by a signal or found by looking, and of the server's profile.
//!
//! All layers are read anew and checked first; what is wrong changes nothing. Then the difference is published, and each thread takes up
//! what concerns it (`live`).

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use model::control::{CheckIn, shortened};
use parking_lot::Mutex;
use signal_hook::consts::SIGHUP;

use super::kept::Kept;
use super::live::Live;
use crate::args::AgentArgs;
use crate::config::{Config, ConfigError, Settings};
use crate::send::Outbox;
use crate::stats::Stats;
use crate::stop::StopFlag;
use crate::threads;

/// Time between two looks at the file.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What the program that runs the agent sets beyond all layers.
type Overriding = dyn Fn(&mut Settings) -> Result<(), ConfigError> + Send + Sync;

/// Where the configuration comes from, so that it can be read again.
#[derive(Clone)]
pub struct Source {
    args: AgentArgs,
    overriding: Arc<Overriding>,
    takes_signals: bool,
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source").field("config", &self.args.config).finish_non_exhaustive()
    }
}

/// A configuration with what it was made of.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The typed values.
    pub config: Config,
    /// Every value with its origin.
    pub settings: Settings,
    /// The profile among them.
    pub profile: Option<Kept>,
}

impl Source {
    /// What `args` say, over the environment, the file and the profile of the server.
    pub fn new(args: AgentArgs) -> Self {
        Self { args, overriding: Arc::new(|_| Ok(())), takes_signals: true }
    }

    /// The same, with what `overriding` sets beyond all of them.
    #[must_use]
    pub fn overriding(
        self,
        overriding: impl Fn(&mut Settings) -> Result<(), ConfigError> + Send + Sync + 'static,
    ) -> Self {
        Self { overriding: Arc::new(overriding), ..self }
    }

    /// The same, for a program that SIGHUP ends, as one in a terminal: only changes of the file are taken up.
    #[must_use]
    pub fn without_signals(self) -> Self {
        Self { takes_signals: false, ..self }
    }

    /// Reads every layer; of profiles, the last good one that was kept. One that is no longer valid is left out and told in the log.
    ///
    /// # Errors
    ///
    /// What is wrong with a layer of the agent's own.
    pub fn load(&self) -> Result<Loaded, ConfigError> {
        let own = self.with_profile(None)?;
        if own.config.control.server.is_none() || !own.config.control.profile {
            return Ok(own);
        }
        let kept = Kept::load(&own.config.queue.folder, &own.config.environment);
        match kept.map(|kept| self.with_profile(Some(kept))) {
            None => Ok(own),
            Some(Ok(loaded)) => Ok(loaded),
            Some(Err(error)) => {
                tracing::warn!(%error, "the profile kept of the server is wrong; it is left out");
                Ok(own)
            }
        }
    }

    fn with_profile(&self, profile: Option<Kept>) -> Result<Loaded, ConfigError> {
        let mut settings = Settings::defaults();
        if let Some(profile) = &profile {
            settings.merge_profile(&profile.environment, &profile.text)?;
        }
        let mut settings = self.args.settings_over(settings, |name| std::env::var(name).ok())?;
        (self.overriding)(&mut settings)?;
        let config = Config::from_settings(&settings)?;
        Ok(Loaded { config, settings, profile })
    }

    fn file(&self) -> PathBuf {
        self.args.file(|name| std::env::var(name).ok()).0
    }
}

/// Takes up changes. Clones share it.
#[derive(Debug, Clone)]
pub struct Reloader(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    source: Source,
    live: Live,
    /// Of those who have no rounds: they send by it at once.
    outbox: Outbox,
    stop: StopFlag,
    stats: Arc<Stats>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    settings: Settings,
    profile: Option<Kept>,
    /// `ETag` of a profile that is wrong, and why.
    refused: Option<(String, String)>,
    config_error: String,
    /// What was last told to need a restart.
    held: Vec<&'static str>,
}

impl Reloader {
    /// `loaded` of `source` runs as `live`.
    pub fn new(
        source: Source,
        loaded: Loaded,
        (live, stop): (&Live, &StopFlag),
        outbox: &Outbox,
        stats: &Arc<Stats>,
    ) -> Self {
        let Loaded { settings, profile, .. } = loaded;
        Self(Arc::new(Inner {
            source,
            live: live.clone(),
            outbox: outbox.clone(),
            stop: stop.clone(),
            stats: Arc::clone(stats),
            state: Mutex::new(State {
                settings,
                profile,
                refused: None,
                config_error: String::new(),
                held: Vec::new(),
            }),
        }))
    }

    /// Reads all layers again: the file changed, or somebody asks for it. What is wrong is logged, and changes nothing.
    pub fn again(&self) {
        let mut state = self.0.state.lock();
        match self.0.source.with_profile(state.profile.clone()) {
            Ok(loaded) => {
                state.config_error.clear();
                // It may have been wrong together with what the file said.
                state.refused = None;
                self.publish(&mut state, loaded);
            }
            Err(error) => {
                self.0.stats.reloads_failed.add(1);
                tracing::error!(%error, "the configuration is wrong; what ran before goes on");
                shortened(&error.to_string()).clone_into(&mut state.config_error);
            }
        }
    }

    /// Works by `profile` of the server from now on, or by none. One that is wrong is not used, and told at each check-in. Whether it was
    /// decided: not while the agent's own file is wrong.
    pub fn adopt(&self, profile: Option<Kept>) -> bool {
        let mut state = self.0.state.lock();
        if self.0.source.with_profile(None).is_err() {
            return false;
        }
        let folder = self.0.live.config().queue.folder.clone();
        match self.0.source.with_profile(profile.clone()) {
            Ok(loaded) => {
                if profile != state.profile {
                    keep(profile.as_ref(), &folder);
                }
                state.refused = None;
                state.profile = profile;
                self.publish(&mut state, loaded);
            }
            Err(error) => {
                self.0.stats.reloads_failed.add(1);
                let etag = profile.map(|kept| kept.etag).unwrap_or_default();
                tracing::error!(%error, etag, "the server's profile is wrong; what ran before goes on");
                state.refused = Some((etag, shortened(&error.to_string()).to_owned()));
            }
        }
        true
    }

    /// `check_in` with what there is to say of configuration.
    #[must_use]
    pub fn told(&self, check_in: CheckIn) -> CheckIn {
        let state = self.0.state.lock();
        let (profile_refused, profile_error) = state.refused.clone().unwrap_or_default();
        CheckIn {
            profile_etag: state.profile.as_ref().map(|kept| kept.etag.clone()).unwrap_or_default(),
            profile_refused,
            profile_error,
            config_error: state.config_error.clone(),
            ..check_in
        }
    }

    fn publish(&self, state: &mut State, loaded: Loaded) {
        let Loaded { settings, .. } = loaded;
        let (settings, held) = settings.while_running(&state.settings);
        if !held.is_empty() && held != state.held {
            tracing::warn!(keys = held.join(", "), "these options take effect at the next start");
        }
        state.held = held;
        let changed = settings.differences(&state.settings);
        let config = match Config::from_settings(&settings) {
            Ok(config) => config,
            Err(error) => {
                tracing::error!(%error, "the configuration can be taken up at the next start only");
                shortened(&error.to_string()).clone_into(&mut state.config_error);
                return;
            }
        };
        state.settings = settings;
        if changed.is_empty() {
            return;
        }
        tracing::info!(keys = changed.join(", "), "configuration taken up");
        self.0.stats.reloads.add(1);
        self.0.outbox.reshape(&config);
        self.0.live.replace(config, &self.0.stop);
    }

    /// Starts looking at the file, and for the signal that asks to.
    ///
    /// # Errors
    ///
    /// When the thread or the signal's handler cannot be had.
    pub fn watch(&self) -> std::io::Result<()> {
        let asked = Arc::new(AtomicBool::new(false));
        if self.0.source.takes_signals {
            signal_hook::flag::register(SIGHUP, Arc::clone(&asked))?;
        }
        let reloader = self.clone();
        let mut known = stamp(&self.0.source.file());
        threads::start("agent-reload", &self.0.stop, move || {
            while !reloader.0.stop.wait(LOOK_EVERY) {
                let now = stamp(&reloader.0.source.file());
                if asked.swap(false, Ordering::Relaxed) || now != known {
                    known = now;
                    reloader.again();
                }
            }
        })
    }
}

/// Keeps what the server holds for the next start.
fn keep(profile: Option<&Kept>, folder: &Path) {
    let Some(kept) = profile else {
        tracing::info!("the server holds no profile any more");
        return Kept::forget(folder);
    };
    tracing::info!(environment = kept.environment, etag = kept.etag, "collecting by the server's profile");
    if let Err(error) = kept.save(folder) {
        tracing::warn!(%error, "the server's profile is not kept; the next start fetches it again");
    }
}

/// What tells versions of a file apart: inode, bytes, time of change.
type Stamp = (u64, u64, i64, i64);

/// None where there is no file.
fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec()))
}
