//! `metrickit captures get`: a capture as a file, and how to open it.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use anyhow::Context as _;

use super::list::total;
use super::{CAPTURES_PATH, Record, segment, server};
use crate::cli::{CaptureGetArgs, IntoArgs};
use crate::client::Client;
use crate::output::Output;
use crate::render::number::{count, short};
use crate::render::unit::BYTES;

/// Fetches it.
pub(super) fn run(args: &CaptureGetArgs, output: &mut Output) -> anyhow::Result<bool> {
    let client = server(args.server.url.as_deref())?;
    let path = format!("{CAPTURES_PATH}/{}", segment(&args.id));
    let about = client.get(&path, &[("about", "true")])?;
    fetch(&client, &about, &args.into, args.server.json, output)
}

/// Writes the capture that `about` tells of where `into` says.
pub(super) fn fetch(
    client: &Client,
    about: &serde_json::Value,
    into: &IntoArgs,
    json: bool,
    output: &mut Output,
) -> anyhow::Result<bool> {
    let record: Record = serde_json::from_value(about.clone())?;
    let mut body = client.file(&format!("{CAPTURES_PATH}/{}", segment(&record.id)))?;
    if into.output.as_deref() == Some("-") {
        let mut stdout = Output::stdout();
        io::copy(&mut body, &mut stdout)?;
        stdout.flush()?;
        return Ok(true);
    }
    // The name comes from the server; it stays in this folder.
    let own = Path::new(&record.file).file_name().unwrap_or(record.id.as_ref());
    let path = into.output.as_deref().map_or(Path::new(own), Path::new);
    let part = path.with_extension("part");
    let failed = || format!("{} cannot be written", path.display());
    let mut file = File::create(&part).with_context(failed)?;
    let written = io::copy(&mut body, &mut file).and_then(|_| std::fs::rename(&part, path));
    if written.is_err() {
        // Half a capture is none.
        let _ = std::fs::remove_file(&part);
    }
    written.with_context(failed)?;
    if json {
        let mut told = about.clone();
        told["path"] = path.display().to_string().into();
        output.line(&told.to_string())?;
    } else {
        output.text(&told(&record, path))?;
    }
    Ok(true)
}

fn told(record: &Record, path: &Path) -> String {
    let what = match record.what.as_str() {
        "goroutine" | "stacks" | "goroutineleak" => format!("{} goroutines", total(record)),
        "heap" => format!("{} in use", total(record)),
        "allocs" => format!("{} allocated", total(record)),
        _ => total(record),
    };
    let path = path.display();
    let open = if record.is_text { format!("less {path}") } else { format!("go tool pprof {path}") };
    let size = short(count(record.bytes), BYTES);
    format!("{} of {} {}: {what}, {size}\n{open}\n", record.what, record.job, record.instance)
}

#[cfg(test)]
mod tests {
    use super::super::list::tests::record;
    use super::*;

    #[test]
    fn it_is_told_how_to_open_it() {
        let heap = told(&record("heap", 64 << 20, "bytes"), Path::new("heap.pb.gz"));
        assert_eq!(heap, "heap of api web1/0: 64MiB in use, 4KiB\ngo tool pprof heap.pb.gz\n");
        let stacks = Record { is_text: true, ..record("stacks", 12, "count") };
        assert!(told(&stacks, Path::new("x.txt")).ends_with("12 goroutines, 4KiB\nless x.txt\n"));
    }
}
