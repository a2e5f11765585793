//! `metrickit captures` and `metrickit go profile`: what was captured of Go processes, and having more captured.

mod fetch;
mod list;
mod order;

use serde::Deserialize;

use super::admin::server;
use crate::cli::{CaptureDeleteArgs, CapturesCommand};
use crate::output::Output;

pub(crate) use order::profile;

/// Where captures are, below the server's address.
const CAPTURES_PATH: &str = "/api/v1/captures";

/// A capture as the server tells it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    id: String,
    time_ms: i64,
    instance: String,
    job: String,
    what: String,
    seconds: u32,
    reason: String,
    way: String,
    revision: String,
    bytes: u64,
    total: i64,
    unit: String,
    file: String,
    is_text: bool,
}

/// Does what is asked for; whether it worked.
pub(crate) fn run(command: &CapturesCommand, output: &mut Output) -> anyhow::Result<bool> {
    match command {
        CapturesCommand::List(args) => list::run(args, output),
        CapturesCommand::Get(args) => fetch::run(args, output),
        CapturesCommand::Order(args) => order::run(args, output),
        CapturesCommand::Delete(args) => delete(args, output),
    }
}

fn delete(args: &CaptureDeleteArgs, output: &mut Output) -> anyhow::Result<bool> {
    let client = server(args.server.url.as_deref())?;
    for id in &args.ids {
        client.delete(&format!("{CAPTURES_PATH}/{}", segment(id)))?;
        if !args.server.json {
            output.line(&format!("deleted {id}"))?;
        }
    }
    if args.server.json {
        output.line(&serde_json::json!({ "deleted": args.ids }).to_string())?;
    }
    Ok(true)
}

/// An id as a part of a path: what cannot be in an id is nothing that a server knows.
fn segment(id: &str) -> String {
    id.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_stay_in_their_part_of_a_path() {
        assert_eq!(segment("019b7a3c5e10-0000"), "019b7a3c5e10-0000");
        assert_eq!(segment("../admin?x"), "___admin_x");
    }
}
