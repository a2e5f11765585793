//! `metrickit captures get`: a capture as a file, and how to open it.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::super::part_file::PartFile;
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
    let own = own_name(&record);
    let path = into.output.as_deref().map_or(own.as_path(), Path::new);
    let file = PartFile::begin(path)?;
    io::copy(&mut body, &mut file.file()).with_context(|| format!("cannot write {}", path.display()))?;
    file.finish()?;
    if json {
        let mut told = about.clone();
        told["path"] = path.display().to_string().into();
        output.line(&told.to_string())?;
    } else {
        output.text(&told(&record, path))?;
    }
    Ok(true)
}

/// What it is called where nobody says. Names come from the server; they stay in this folder.
fn own_name(record: &Record) -> PathBuf {
    Path::new(&record.file).file_name().map_or_else(|| segment(&record.id).into(), PathBuf::from)
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
    fn names_of_servers_stay_in_this_folder() {
        let of = |file: &str| {
            let record =
                Record { file: file.to_owned(), id: "/home/u/.bashrc".to_owned(), ..record("heap", 1, "bytes") };
            own_name(&record)
        };
        assert_eq!(of("heap.pb.gz"), Path::new("heap.pb.gz"));
        assert_eq!(of("/etc/../etc/passwd"), Path::new("passwd"));
        assert_eq!(of(".."), Path::new("_home_u__bashrc"));
        assert_eq!(of(""), Path::new("_home_u__bashrc"));
    }

    #[test]
    fn it_is_told_how_to_open_it() {
        let heap = told(&record("heap", 64 << 20, "bytes"), Path::new("heap.pb.gz"));
        assert_eq!(heap, "heap of api web1/0: 64MiB in use, 4KiB\ngo tool pprof heap.pb.gz\n");
        let stacks = Record { is_text: true, ..record("stacks", 12, "count") };
        assert!(told(&stacks, Path::new("x.txt")).ends_with("12 goroutines, 4KiB\nless x.txt\n"));
    }
}
