//! `metrickit go burst`: has an agent read one Go process up to ten times a second for a while.

use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::UsageError;
use crate::cli::BurstArgs;
use crate::client::{Client, URL_DEFAULT};
use crate::output::Output;

/// How long the server may hold back an answer about the task.
const WAIT: &str = "10s";
/// Time that an agent may take beyond the burst itself.
const LATE_MAX: Duration = Duration::from_mins(3);

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Ordered {
    task: u64,
    agent: String,
    seconds: u64,
    interval_ms: u64,
}

#[derive(Debug, Deserialize)]
struct Became {
    state: String,
    error: Option<String>,
}

/// Orders it and waits for its end; whether it was done.
pub(crate) fn run(args: &BurstArgs, output: &mut Output) -> anyhow::Result<bool> {
    let client = Client::new(args.server.url.as_deref().unwrap_or(URL_DEFAULT));
    let client = client.map_err(|error| UsageError(error.to_string()))?;
    let mut form = vec![("instance", args.instance.as_str()), ("for", &args.length), ("every", &args.every)];
    form.extend(args.job.iter().map(|job| ("job", job.as_str())));
    let answer = client.post("/api/v1/go/burst", &form)?;
    if args.no_wait {
        output.line(&answer.to_string())?;
        return Ok(true);
    }
    let ordered: Ordered = serde_json::from_value(answer)?;
    let Ordered { task, agent, seconds, interval_ms } = &ordered;
    output
        .note(&format!("agent {agent} reads {} every {interval_ms}ms for {seconds}s (task {task})", args.instance))?;
    let until = Instant::now() + Duration::from_secs(*seconds) + LATE_MAX;
    loop {
        let state = client.get(&format!("/api/v1/agents/tasks/{task}"), &[("wait", WAIT)])?;
        let became: Became = serde_json::from_value(state.clone())?;
        match became.state.as_str() {
            "done" if args.server.json => output.line(&state.to_string())?,
            "done" => output.line("done; its series have a sample each time it was read")?,
            "failed" => anyhow::bail!("agent {agent}: {}", became.error.unwrap_or_default()),
            _ if Instant::now() > until => anyhow::bail!("agent {agent} has not told how it went"),
            _ => continue,
        }
        return Ok(true);
    }
}
