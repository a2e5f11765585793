//! `metrickit backup` and `metrickit restore`: a folder that holds all that a data folder holds, and back.

use std::io;
use std::net::IpAddr;
use std::path::{Component, Path, PathBuf};
use std::time::Instant;

use anyhow::Context as _;
use serde::Deserialize;
use serde_json::{Value as Json, json};
use storage::BackupError;
use storage::backup::{self, RestoreOptions, RestoreReport};
use storage::files::real_path;

use super::Target;
use super::admin::{PATIENCE, counted, figure};
use super::progress::ByteBar;
use crate::cli::{BackupArgs, RestoreArgs, TargetArgs};
use crate::output::Output;
use crate::render::append;
use crate::render::number::short;
use crate::render::unit::{BYTES, PLAIN, SECONDS};
use crate::when::show_instant;

/// How instants are shown.
const TIME_PATTERN: &str = "%Y-%m-%d %H:%M:%S";

/// Most damaged files of a backup that are named.
const DAMAGED_TOLD_MAX: usize = 20;

/// What `/api/v1/admin/backup` answers.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Backup {
    dir: String,
    seconds: f64,
    number: u64,
    taken_ms: i64,
    bytes: u64,
    catalog_bytes: u64,
    blocks: u64,
    samples: u64,
    from_ms: Option<i64>,
    to_ms: Option<i64>,
    kept: Moved,
    linked: Moved,
    copied: Moved,
    removed: u64,
    #[serde(default)]
    from_before: Vec<String>,
    damaged: Vec<String>,
    lost: Vec<String>,
    #[serde(default)]
    unread: Vec<String>,
}

/// Files and their bytes.
#[derive(Debug, Default, Deserialize)]
struct Moved {
    files: u64,
    bytes: u64,
}

/// Has a backup taken and tells what it is; whether every block is whole in it.
pub(crate) fn take(args: &BackupArgs, output: &mut Output) -> anyhow::Result<bool> {
    let target = Target::open(&TargetArgs { url: args.url.clone(), data: args.data.clone() })?;
    let client = target.client.with_timeout(PATIENCE);
    // A server on this machine may run in another folder.
    let dir = if is_here(client.url()) { absolute(&args.dir)? } else { args.dir.clone() };
    let dir = dir.to_str().context("the folder's name is not UTF-8")?;
    let bar = ByteBar::start()?;
    let form = [("dir", dir), ("copy", if args.copy { "true" } else { "false" })];
    let taken = client.post_lines("/api/v1/admin/backup", &form, &mut |at| {
        let number = |key: &str| at[key].as_u64().unwrap_or(0);
        bar.show(Path::new(at["file"].as_str().unwrap_or_default()), number("doneBytes"), number("totalBytes"));
    });
    bar.end();
    target.close()?;
    let taken = taken?;
    if args.json {
        output.line(&taken.to_string())?;
    }
    let taken: Backup = serde_json::from_value(taken)?;
    if !args.json {
        output.text(&told_taken(&taken))?;
    }
    Ok(taken.damaged.is_empty() && taken.lost.is_empty() && taken.unread.is_empty())
}

/// The folder as a server of this machine takes it, which has no current one in common with its clients, and takes no `..`.
fn absolute(dir: &Path) -> io::Result<PathBuf> {
    if dir.components().any(|part| part == Component::ParentDir) { real_path(dir) } else { std::path::absolute(dir) }
}

/// Whether the server's address is one of this machine alone.
fn is_here(url: &str) -> bool {
    let host = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = host.split('/').next().unwrap_or_default();
    let bare = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    bare.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn told_taken(of: &Backup) -> String {
    let mut text = format!(
        "backup {} of {} UTC is in {}, in {}\n",
        of.number,
        show_instant(of.taken_ms, TIME_PATTERN),
        of.dir,
        short(of.seconds, SECONDS)
    );
    let files = |of: &Moved| format!("{}, {}", counted(of.files, "block"), figure(of.bytes, BYTES));
    let span = match (of.from_ms, of.to_ms) {
        (Some(from_ms), Some(to_ms)) => {
            format!(", {} to {} UTC", show_instant(from_ms, TIME_PATTERN), show_instant(to_ms, TIME_PATTERN))
        }
        _ => String::new(),
    };
    append(&mut text, format_args!("  holds     {}{span}\n", counted(of.samples, "sample")));
    let (blocks, bytes, catalog) =
        (counted(of.blocks, "block"), figure(of.bytes, BYTES), figure(of.catalog_bytes, BYTES));
    append(&mut text, format_args!("  takes     {bytes}: {blocks}, {catalog} of catalog\n"));
    for (name, moved) in [("linked", &of.linked), ("copied", &of.copied), ("was there", &of.kept)] {
        if moved.files > 0 {
            append(&mut text, format_args!("  {name:<10}{}\n", files(moved)));
        }
    }
    if of.removed > 0 {
        append(&mut text, format_args!("  removed   {} of earlier backups\n", counted(of.removed, "file")));
    }
    for (files, what) in [
        (&of.from_before, "is damaged in the data folder; it is whole here, from an earlier backup"),
        (&of.damaged, "is damaged in the data folder; it is taken as it is"),
        (&of.lost, "is missing in the data folder"),
        (&of.unread, "cannot be read from the disk of the data folder; it is not in the backup"),
    ] {
        for file in files {
            append(&mut text, format_args!("warning: block {file} {what}\n"));
        }
    }
    text
}

/// Makes a data folder of a backup, and tells what it is; whether all of it is whole.
pub(crate) fn restore(args: &RestoreArgs, output: &mut Output) -> anyhow::Result<bool> {
    let begun = Instant::now();
    let options = RestoreOptions { link: args.link, keep_damaged: args.keep_damaged };
    let bar = ByteBar::start()?;
    let watch = &mut |at: backup::Progress<'_>| bar.show(at.file, at.done_bytes, at.total_bytes);
    let restored = backup::restore(&args.dir, &args.data, options, watch);
    bar.end();
    if let Err(BackupError::Damaged { damage }) = &restored {
        for found in damage.iter().take(DAMAGED_TOLD_MAX) {
            output.note(&format!("damaged: {found}"))?;
        }
    }
    let report = restored?;
    if args.json {
        output.line(&as_json(&report, begun.elapsed().as_secs_f64()).to_string())?;
    } else {
        output.text(&told_restored(&report, &args.data, begun.elapsed().as_secs_f64()))?;
    }
    Ok(report.damaged.is_empty())
}

fn told_restored(of: &RestoreReport, data: &Path, seconds: f64) -> String {
    let mut text = format!(
        "backup {} of {} UTC is restored to {}, in {}\n",
        of.number,
        show_instant(of.taken_ms, TIME_PATTERN),
        data.display(),
        short(seconds, SECONDS)
    );
    append(&mut text, format_args!("  series   {}\n", figure(of.series, PLAIN)));
    for (name, moved) in [("linked", of.linked), ("copied", of.copied)] {
        if moved.files > 0 {
            let (files, bytes) = (counted(moved.files, "block"), figure(moved.bytes, BYTES));
            append(&mut text, format_args!("  {name:<9}{files}, {bytes}\n"));
        }
    }
    for damage in &of.damaged {
        append(&mut text, format_args!("damaged: {damage}\n"));
    }
    for file in &of.lost {
        append(&mut text, format_args!("warning: block {file} was missing when the backup was taken\n"));
    }
    text
}

fn as_json(of: &RestoreReport, seconds: f64) -> Json {
    let moved = |of: backup::Moved| json!({ "files": of.files, "bytes": of.bytes });
    let damaged = of.damaged.iter().map(|of| json!({ "file": of.file.to_string_lossy(), "detail": of.detail }));
    json!({
        "seconds": seconds,
        "number": of.number,
        "takenMs": of.taken_ms,
        "bytes": of.bytes,
        "series": of.series,
        "linked": moved(of.linked),
        "copied": moved(of.copied),
        "damaged": damaged.collect::<Vec<Json>>(),
        "lost": of.lost,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_is_told_with_what_is_new_in_it() {
        let taken = Backup {
            dir: "/b".to_owned(),
            seconds: 0.25,
            number: 3,
            taken_ms: 86_400_000,
            bytes: 4096,
            catalog_bytes: 1024,
            blocks: 3,
            samples: 1500,
            from_ms: Some(0),
            to_ms: Some(1000),
            kept: Moved { files: 2, bytes: 2048 },
            linked: Moved { files: 1, bytes: 1024 },
            copied: Moved::default(),
            removed: 1,
            from_before: Vec::new(),
            damaged: vec!["1.blk".to_owned()],
            lost: Vec::new(),
            unread: vec!["2.blk".to_owned()],
        };
        let want = "\
backup 3 of 1970-01-02 00:00:00 UTC is in /b, in 250ms
  holds     1.5k samples, 1970-01-01 00:00:00 to 1970-01-01 00:00:01 UTC
  takes     4KiB: 3 blocks, 1KiB of catalog
  linked    1 block, 1KiB
  was there 2 blocks, 2KiB
  removed   1 file of earlier backups
warning: block 1.blk is damaged in the data folder; it is taken as it is
warning: block 2.blk cannot be read from the disk of the data folder; it is not in the backup
";
        assert_eq!(told_taken(&taken), want);
    }

    #[test]
    fn relative_folders_are_those_of_this_machine_for_its_own_server_only() {
        for here in ["http://127.0.0.1:9595", "http://localhost:1/x", "https://[::1]:9", "http://[::1]"] {
            assert!(is_here(here), "{here}");
        }
        for elsewhere in
            ["http://10.0.0.1:9595", "http://metrics.example.com", "http://[fe80::1]:9", "http://localhost.example"]
        {
            assert!(!is_here(elsewhere), "{elsewhere}");
        }
    }
}
