//! `metrickit admin`: what a server's engine does by itself, done now and told.

use std::time::Duration;

use serde::Deserialize;

use crate::UsageError;
use crate::cli::{AdminArgs, AdminCommand};
use crate::client::{Client, URL_DEFAULT};
use crate::output::Output;
use crate::render::number::short;
use crate::render::unit::{BYTES, PLAIN, SECONDS, Unit};

/// How long to wait for work that a server does on all of its data.
pub(super) const PATIENCE: Duration = Duration::from_hours(24);

/// What `/api/v1/admin/flush` and `/merge` answer.
#[derive(Debug, Deserialize)]
struct Done {
    seconds: f64,
    flushes: u64,
    merges: u64,
    before: Held,
    after: Held,
}

/// What a server's blocks hold.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Held {
    blocks: u64,
    bytes: u64,
    samples: u64,
    head_bytes: u64,
    log_bytes: u64,
}

/// The server that is asked for work or told to change what it has.
pub(super) fn server(url: Option<&str>) -> anyhow::Result<Client> {
    let client = Client::new(url.unwrap_or(URL_DEFAULT)).map_err(|error| UsageError(error.to_string()))?;
    Ok(client.with_timeout(PATIENCE))
}

/// Asks, waits, and tells what changed.
pub(crate) fn run(command: &AdminCommand, output: &mut Output) -> anyhow::Result<()> {
    let (AdminArgs { url, json }, path) = match command {
        AdminCommand::Flush(args) => (args, "/api/v1/admin/flush"),
        AdminCommand::Merge(args) => (args, "/api/v1/admin/merge"),
    };
    let answer = server(url.as_deref())?.post(path, &[])?;
    if *json {
        output.line(&answer.to_string())?;
        return Ok(());
    }
    let done: Done = serde_json::from_value(answer)?;
    output.text(&told(command, &done))?;
    Ok(())
}

fn told(command: &AdminCommand, done: &Done) -> String {
    let (before, after) = (&done.before, &done.after);
    let took = short(done.seconds, SECONDS);
    let headline = match command {
        AdminCommand::Flush(_) if done.flushes == 0 => "nothing to flush: everything is in blocks".to_owned(),
        AdminCommand::Flush(_) => {
            let written = after.samples.saturating_sub(before.samples);
            format!("flushed {} in {took}", counted(written, "sample"))
        }
        AdminCommand::Merge(_) if done.merges == 0 => "nothing to merge: every partition is one block".to_owned(),
        AdminCommand::Merge(_) => format!("{} in {took}", counted(done.merges, "merge")),
    };
    let rows = [
        ("blocks", PLAIN, before.blocks, after.blocks),
        ("in blocks", BYTES, before.bytes, after.bytes),
        ("in memory", BYTES, before.head_bytes, after.head_bytes),
        ("in the log", BYTES, before.log_bytes, after.log_bytes),
    ];
    let lines: String = rows
        .map(|(name, unit, before, after)| format!("  {name:<11}{} → {}\n", figure(before, unit), figure(after, unit)))
        .concat();
    let each = if after.samples > 0 {
        format!("  a sample   {:.3} bytes\n", float(after.bytes) / float(after.samples))
    } else {
        String::new()
    };
    format!("{headline}\n{lines}{each}")
}

/// `1 sample`, `1.5M samples`.
pub(super) fn counted(count: u64, what: &str) -> String {
    format!("{} {what}{}", figure(count, PLAIN), if count == 1 { "" } else { "s" })
}

pub(super) fn figure(number: u64, unit: Unit) -> String {
    short(float(number), unit)
}

#[expect(clippy::cast_precision_loss, reason = "shown with four digits")]
fn float(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_told_with_what_changed() {
        let held = |blocks, bytes, samples, head_bytes| Held { blocks, bytes, samples, head_bytes, log_bytes: 2048 };
        let args = AdminArgs { url: None, json: false };
        let done = Done {
            seconds: 0.25,
            flushes: 1,
            merges: 0,
            before: held(1, 1024, 2000, 4096),
            after: held(2, 1536, 3500, 0),
        };
        let want = "\
flushed 1.5k samples in 250ms
  blocks     1 → 2
  in blocks  1KiB → 1.5KiB
  in memory  4KiB → 0B
  in the log 2KiB → 2KiB
  a sample   0.439 bytes
";
        assert_eq!(told(&AdminCommand::Flush(args), &done), want);
        let args = AdminArgs { url: None, json: false };
        assert!(told(&AdminCommand::Merge(args), &done).starts_with("nothing to merge"), "no merge was needed");
    }
}
