//! The routing file on disk: read at the start and anew when asked, the one before kept where it is wrong.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::Clock;
use rules::config::{Config, FileFault};
use rules::event::EventLog;
use rules::notify::delivery::Deliver;
use rules::receivers::Templates;
use rules::shelf::MemoryShelf;
use storage::Engine;

use super::deliver::{Deliveries, load_templates};
use super::events::EventFiles;
use super::notifier::Notifier;
use super::shelf::RoomShelf;

/// Room of the catalog that has alerts, silences and what was told.
const ROOM: &str = "notify";
/// Where alerts go without a file: to nobody, so that they are listed and can be silenced.
const NOBODY: &str = "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n";

/// How people are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotifyOptions {
    /// Alertmanager's file; `None`: nobody is told.
    pub file: Option<PathBuf>,
    /// Folder of the event log; `None`: there is none.
    pub events_dir: Option<PathBuf>,
    /// Most bytes of the event log.
    pub events_bytes_max: u64,
}

impl Default for NotifyOptions {
    fn default() -> Self {
        Self { file: None, events_dir: None, events_bytes_max: 64 << 20 }
    }
}

/// Why a routing file is not taken.
#[derive(Debug, thiserror::Error)]
pub enum RoutingError {
    /// It cannot be read.
    #[error("{0}: {1}")]
    Read(PathBuf, std::io::Error),
    /// Something in it is wrong, each with its place.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Faults(Vec<FileFault>),
    /// Something in a file of templates is.
    #[error("{0}")]
    Templates(String),
}

/// Reads the routing file at `path`.
///
/// # Errors
///
/// When it cannot be read, or everything that is wrong with it.
pub fn read_routing(path: &Path) -> Result<Config, RoutingError> {
    let text = std::fs::read_to_string(path).map_err(|error| RoutingError::Read(path.to_owned(), error))?;
    rules::config::read(&path.display().to_string(), &text).map_err(RoutingError::Faults)
}

fn nobody() -> Config {
    rules::config::read("", NOBODY).expect("this text is a routing file")
}

impl NotifyOptions {
    /// What the file and its templates say; without a file, that nobody is told.
    ///
    /// # Errors
    ///
    /// As [`read_routing`], and where a file of templates is wrong.
    pub fn load(&self) -> Result<(Config, Templates), RoutingError> {
        let Some(file) = self.file.as_deref() else { return Ok((nobody(), ours())) };
        let config = read_routing(file)?;
        let templates = load_templates(file, &config.templates).map_err(RoutingError::Templates)?;
        Ok((config, templates))
    }

    /// Logs that people are told by `config` from now on.
    pub(crate) fn log_taken(&self, config: &Config) {
        if let Some(file) = &self.file {
            let count = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
            let receivers = count(config.receivers.len(), "receiver");
            tracing::info!("people are told of alerts as {} says: {receivers}", file.display());
        }
    }
}

/// The templates that are always there.
fn ours() -> Templates {
    load_templates(Path::new(""), &[]).expect("our own templates can be read")
}

/// A notifier over the engine's catalog, and what sends for it. The file was read before; where it became wrong since, nobody is told until it is
/// read anew.
pub(crate) fn open(
    options: &NotifyOptions,
    external_url: &str,
    engine: &Engine,
    clock: &Arc<dyn Clock>,
) -> (Arc<Notifier>, Arc<Deliveries>) {
    let (config, templates) = options.load().unwrap_or_else(|error| {
        tracing::error!("nobody is told of alerts, the routing file is wrong:\n{error}");
        (nobody(), ours())
    });
    options.log_taken(&config);
    let events = Arc::new(EventFiles::new(options.events_dir.clone(), options.events_bytes_max));
    let config = Arc::new(config);
    let shelf = Box::new(RoomShelf(engine.room(ROOM)));
    let deliveries =
        Deliveries::new(&config, templates, external_url, Arc::clone(clock), Arc::clone(&events) as Arc<dyn EventLog>);
    let opened = Notifier::open(Arc::clone(&config), shelf, Arc::clone(&events), Arc::clone(clock));
    let notifier = opened.unwrap_or_else(|error| {
        tracing::error!(
            "what was told of alerts cannot be read; silences are gone, and all may be told again: {error}"
        );
        let shelf = Box::new(MemoryShelf::default());
        Notifier::open(config, shelf, events, Arc::clone(clock)).expect("an empty shelf can be read")
    });
    notifier.connect(Arc::clone(&deliveries) as Arc<dyn Deliver>);
    (notifier, deliveries)
}
