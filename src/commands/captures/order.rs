//! `metrickit captures order` and `metrickit go profile`: a capture that does not exist yet.

use std::time::{Duration, Instant};

use model::CaptureKind;
use serde::Deserialize;
use serde_json::Value as Json;

use super::fetch::fetch;
use super::{CAPTURES_PATH, segment, server};
use crate::UsageError;
use crate::cli::{CaptureOrderArgs, ProfileArgs, WhatArgs};
use crate::client::Client;
use crate::commands::progress::Spinner;
use crate::output::Output;

/// Where orders are, below the server's address.
const ORDERS_PATH: &str = "/api/v1/captures/orders";
/// How long one request for the state of an order may wait, shorter than people look for a sign of life.
const WAIT: &str = "2s";
/// How long is waited beyond the time that is measured.
const PATIENCE: Duration = Duration::from_mins(3);

/// An order as the server tells it.
#[derive(Debug, Deserialize)]
struct Order {
    id: u64,
    state: String,
    agent: String,
    #[serde(default)]
    seconds: u32,
    capture: Option<String>,
    error: Option<String>,
}

/// Orders, and tells where to look.
pub(super) fn run(args: &CaptureOrderArgs, output: &mut Output) -> anyhow::Result<bool> {
    let client = server(args.server.url.as_deref())?;
    let answer = place(&client, &args.what)?;
    if args.server.json {
        output.line(&answer.to_string())?;
        return Ok(true);
    }
    let order: Order = serde_json::from_value(answer)?;
    let instance = &args.what.instance;
    output.line(&format!(
        "order {} is with agent {}; when it is done, `metrickit captures list --instance {instance}` shows it",
        order.id, order.agent
    ))?;
    Ok(true)
}

/// Orders, waits and fetches.
pub(crate) fn profile(args: &ProfileArgs, output: &mut Output) -> anyhow::Result<bool> {
    let client = server(args.server.url.as_deref())?;
    let mut order: Order = serde_json::from_value(place(&client, &args.what)?)?;
    let until = Instant::now() + PATIENCE + Duration::from_secs(order.seconds.into());
    let spinner = Spinner::start()?;
    while order.capture.is_none() && order.error.is_none() {
        anyhow::ensure!(
            Instant::now() < until,
            "order {} is still {} at agent {}; `metrickit captures list` shows the capture when it has come",
            order.id,
            order.state,
            order.agent
        );
        spinner.show(&waiting(&order, &args.what));
        let path = format!("{ORDERS_PATH}/{}", order.id);
        order = serde_json::from_value(client.get(&path, &[("wait", WAIT)])?)?;
    }
    spinner.end();
    let Some(id) = order.capture else {
        anyhow::bail!("not captured: {}", order.error.unwrap_or_default());
    };
    let about: Json = client.get(&format!("{CAPTURES_PATH}/{}", segment(&id)), &[("about", "true")])?;
    fetch(&client, &about, &args.into, args.server.json, output)
}

fn waiting(order: &Order, what: &WhatArgs) -> String {
    match order.state.as_str() {
        "waiting" => format!("agent {} fetches the order", order.agent),
        "taking" if order.seconds > 0 => format!("{} of {} for {} s", what.kind, what.instance, order.seconds),
        "taking" => format!("{} of {}", what.kind, what.instance),
        _ => format!("agent {} sends it", order.agent),
    }
}

fn place(client: &Client, what: &WhatArgs) -> anyhow::Result<Json> {
    let kind = CaptureKind::named(&what.kind).ok_or_else(|| {
        let known = CaptureKind::ALL.map(CaptureKind::text).join(", ");
        UsageError(format!("--kind: {:?} is nothing to capture; known are {known}", what.kind))
    })?;
    let seconds = what.seconds.unwrap_or(kind.seconds_default());
    if let Some(problem) = kind.problem_with(seconds) {
        return Err(UsageError(format!("--seconds: {kind} {problem}")).into());
    }
    let seconds = seconds.to_string();
    let mut form = vec![("instance", what.instance.as_str()), ("what", kind.text()), ("seconds", &seconds)];
    form.extend(what.job.as_deref().map(|job| ("job", job)));
    form.extend(what.reason.as_deref().map(|reason| ("reason", reason)));
    Ok(client.post(&format!("{CAPTURES_PATH}/order"), &form)?)
}
