//! What the subcommands do. `bench` and `repl` are rooms of their own.

pub(crate) mod admin;
pub(crate) mod agent;
pub(crate) mod agents;
pub(crate) mod alerts;
pub(crate) mod backup;
pub(crate) mod captures;
pub(crate) mod cardinality;
pub(crate) mod check;
pub(crate) mod collection;
pub(crate) mod deletes;
pub(crate) mod export;
pub(crate) mod go;
pub(crate) mod import;
pub(crate) mod notify;
#[cfg(feature = "parquet")]
mod parquet_rows;
mod part_file;
mod progress;
pub(crate) mod query;
pub(crate) mod retention;
pub(crate) mod route;
pub(crate) mod rules;
pub(crate) mod server;
pub(crate) mod silences;
mod up;

use std::io::IsTerminal;
use std::net::TcpListener;

use anyhow::Context;
use tracing_subscriber::EnvFilter;

use crate::UsageError;
use crate::cli::TargetArgs;
use crate::client::{Client, URL_DEFAULT};
use crate::serving::Serving;
use crate::settings::typed::ServerSettings;

/// What is said where Parquet is asked for and not there.
#[cfg(not(feature = "parquet"))]
pub(crate) const WITHOUT_PARQUET: &str =
    "this program was built without Parquet; build one that has it with `cargo build --release --features parquet`";

/// Starts logging to standard error.
pub(crate) fn start_logging(filter: &str) -> anyhow::Result<()> {
    let parsed = EnvFilter::try_new(filter).map_err(|error| {
        UsageError(format!("{filter:?} is no log level ({error}); write info, debug, or storage=debug,info"))
    })?;
    let builder = tracing_subscriber::fmt().with_env_filter(parsed).with_writer(std::io::stderr);
    builder
        .with_ansi(std::io::stderr().is_terminal())
        .try_init()
        .map_err(|error| anyhow::anyhow!("logging cannot start: {error}"))
}

/// What queries are asked of: a server elsewhere, or one of our own over a folder.
pub(crate) struct Target {
    pub(crate) client: Client,
    own: Option<Serving>,
}

impl Target {
    /// The server that `args` names, started first if it is a folder.
    pub(crate) fn open(args: &TargetArgs) -> anyhow::Result<Self> {
        let Some(data) = &args.data else {
            // Asked for here and not by the argument, with which `--data` could not stand where the variable is set for good.
            let said = std::env::var("METRICKIT_URL").ok().filter(|url| !url.is_empty());
            let url = args.url.as_deref().or(said.as_deref());
            let client = Client::new(url.unwrap_or(URL_DEFAULT));
            return Ok(Self { client: client.map_err(|error| UsageError(error.to_string()))?, own: None });
        };
        anyhow::ensure!(data.is_dir(), "there is no folder {}", data.display());
        // Whoever only looks must not make one.
        anyhow::ensure!(
            storage::check::is_ours(data),
            "{} is no data folder; name the one that the server was given as --data",
            data.display()
        );
        let listener = TcpListener::bind("127.0.0.1:0").context("cannot listen on 127.0.0.1")?;
        let serving = Serving::start(listener, ServerSettings::for_reading(data))?;
        if !serving.wait_ready() {
            serving.wait()?;
            anyhow::bail!("{} could not be opened", data.display());
        }
        Ok(Self { client: Client::new(&serving.url())?, own: Some(serving) })
    }

    /// Lets go of the folder.
    pub(crate) fn close(self) -> anyhow::Result<()> {
        self.own.map_or(Ok(()), Serving::stop)
    }
}
