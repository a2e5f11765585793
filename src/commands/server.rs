//! `metrickit server` and `metrickit up`: the server until a signal, with an agent beside it or without.

use std::net::TcpListener;
use std::path::PathBuf;

use super::{start_logging, up};
use crate::output::Output;
use crate::serving::Serving;
use crate::settings::typed::ServerSettings;
use crate::settings::{SettingFlags, resolve};
use crate::signals;

/// What runs beside the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Nothing.
    Server,
    /// An agent for this machine.
    Up,
}

/// Runs until a signal.
pub(crate) fn run(
    flags: &SettingFlags,
    log_level: Option<String>,
    role: Role,
    output: &mut Output,
) -> anyhow::Result<()> {
    let variable = |name: &str| std::env::var(name).ok();
    let file = flags.config.clone().or_else(|| variable("METRICKIT_CONFIG").map(PathBuf::from));
    let mut given = flags.values.clone();
    given.extend(log_level.map(|level| ("log_level", level)));
    let resolved = resolve(file.as_deref(), variable, &given)?;
    if flags.print_config {
        output.text(&resolved.show())?;
        return Ok(());
    }
    crate::allocator::share_arenas();
    start_logging(resolved.text("log_level"))?;
    let settings = ServerSettings::new(&resolved)?;
    tell_memory(&settings);
    let listener = bind(&settings, resolved.text("listen"))?;
    let serving = Serving::start(listener, settings.clone())?;
    // Scripts and tests read this line; it comes first.
    output.line(&format!("listening on {}", serving.url()))?;
    let reloader = serving.stopper();
    signals::on_reload(move || reloader.reload())?;
    let (stopper, agent_stop) = (serving.stopper(), agent::StopFlag::new());
    let asked = agent_stop.clone();
    signals::on_stop(move |name| {
        tracing::info!(signal = name, "stopping");
        asked.stop();
        // An agent sends what it has before its server goes.
        if role == Role::Server || stopper.is_opening() {
            stopper.stop();
        }
    })?;
    match role {
        Role::Server => {
            if serving.wait_ready() {
                tracing::info!(url = serving.url(), data = %settings.data.display(), "ready");
            }
            serving.wait()?;
        }
        Role::Up => up::run(serving, &settings, &agent_stop, output)?,
    }
    Ok(())
}

/// Logs what memory there is and who may take how much of it.
fn tell_memory(settings: &ServerSettings) {
    let memory = &settings.memory;
    let (max_bytes, origin) = (memory.budget.total_bytes(), &memory.origin);
    tracing::info!(max_bytes, origin, "memory: {}", memory.budget);
    if let Some(warning) = &memory.warning {
        tracing::warn!("{warning}");
    }
}

fn bind(settings: &ServerSettings, text: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(settings.listen).map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => anyhow::anyhow!(
            "{text} is taken by another process, perhaps a MetricKit that runs already\n\
             stop that one, or take another port: --listen 127.0.0.1:9596 (port 0 takes a free one)"
        ),
        std::io::ErrorKind::PermissionDenied => {
            anyhow::anyhow!("not allowed to listen on {text}; ports below 1024 need a privilege, take a higher one")
        }
        _ => anyhow::anyhow!("cannot listen on {text}: {error}"),
    })
}
