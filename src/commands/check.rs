//! `metrickit check`: whether everything in a data folder can be read, and what to do where it cannot.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use serde_json::{Value as Json, json};
use storage::check::{self, BackupFound, Problem, Report};

use super::admin::{counted, figure};
use super::progress::ByteBar;
use crate::output::Output;
use crate::render::number::short;
use crate::render::table;
use crate::render::unit::{BYTES, PLAIN, SECONDS};
use crate::when::show_instant;

pub(crate) const EXAMPLES: &str = "\
Examples:
  metrickit check ./metrickit-data
  metrickit check /var/lib/metrickit --json | jq '.problems[].file'
  metrickit check /mnt/backup/metrickit

Every checksum is verified, every chunk decoded, and the catalog held against
blocks and log. Nothing is changed. No server may be running on the folder. Of a
backup every file is held against its manifest besides.
Exit status: 0 everything can be read, 1 something cannot or the folder could
not be checked, 2 wrong use.";

/// Arguments of `check`.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// The data folder, or the folder of a backup
    #[arg(value_name = "DIR")]
    pub(crate) folder: PathBuf,
    /// Print the report as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Checks the folder and tells what was found; whether nothing is wrong.
pub(crate) fn run(args: &CheckArgs, output: &mut Output) -> anyhow::Result<bool> {
    let begun = Instant::now();
    let bar = ByteBar::start()?;
    let report = check::check(&args.folder, &mut |at| bar.show(at.file, at.done_bytes, at.total_bytes));
    bar.end();
    let report = report?;
    if args.json {
        output.line(&as_json(&report).to_string())?;
    } else {
        let width = output.is_terminal.then(|| output.width());
        output.text(&told(&report, begun.elapsed().as_secs_f64(), width))?;
    }
    Ok(report.is_sound())
}

fn told(report: &Report, seconds: f64, width: Option<usize>) -> String {
    let mut text = table::aligned(&["part", "files", "bytes", "samples", "series"], &rows(report), 4, width);
    for Problem { damage, costs, remedy } in &report.problems {
        let _ = write!(text, "\nproblem: {damage}\n  costs:  {costs}\n  to do:  {remedy}\n");
    }
    let untold = report.problems_total.saturating_sub(report.problems.len() as u64);
    if untold > 0 {
        let _ = writeln!(text, "\nand {}", counted(untold, "problem"));
    }
    for (at, note) in report.notes.iter().enumerate() {
        let gap = if at == 0 { "\n" } else { "" };
        let _ = writeln!(text, "{gap}note: {}: {}", note.path.display(), note.detail);
    }
    let verdict = match report.problems_total {
        0 => "everything can be read".to_owned(),
        problems => counted(problems, "problem"),
    };
    if let Some(BackupFound { number, taken_ms, program }) = &report.backup {
        let at = show_instant(*taken_ms, "%Y-%m-%d %H:%M:%S");
        let _ = write!(text, "\nbackup {number} of {at} UTC, taken by version {program}");
    }
    let _ = writeln!(text, "\n{verdict}; checked in {}", short(seconds, SECONDS));
    text
}

fn rows(report: &Report) -> Vec<Vec<String>> {
    let row = |part: &str, files: Option<u64>, bytes: u64, samples: Option<u64>, series: Option<u64>| {
        let plain = |number: Option<u64>| number.map_or_else(String::new, |number| figure(number, PLAIN));
        vec![part.to_owned(), plain(files), figure(bytes, BYTES), plain(samples), plain(series)]
    };
    let mut rows = vec![
        row("blocks", Some(report.blocks), report.block_bytes, Some(report.block_samples), None),
        row("log", Some(report.log_segments), report.log_bytes, Some(report.log_samples), None),
        row("catalog", None, report.catalog_bytes, None, Some(report.series)),
        row("index", Some(report.index_files), report.index_bytes, None, None),
    ];
    if report.backup.is_some() {
        // It has neither.
        rows.retain(|row| !matches!(row.first().map(String::as_str), Some("log" | "index")));
    }
    rows
}

fn as_json(report: &Report) -> Json {
    let problems: Vec<Json> = report
        .problems
        .iter()
        .map(|Problem { damage, costs, remedy }| {
            json!({
                "file": damage.file.to_string_lossy(),
                "offset": damage.offset,
                "bytes": damage.bytes,
                "detail": damage.detail,
                "costs": costs,
                "remedy": remedy,
            })
        })
        .collect();
    let notes = report.notes.iter().map(|note| json!({"file": note.path.to_string_lossy(), "detail": note.detail}));
    json!({
        "sound": report.is_sound(),
        "backup": report.backup.as_ref().map(|of| json!({
            "number": of.number, "takenMs": of.taken_ms, "program": of.program,
        })),
        "blocks": {"files": report.blocks, "bytes": report.block_bytes, "samples": report.block_samples},
        "log": {
            "segments": report.log_segments,
            "bytes": report.log_bytes,
            "records": report.log_records,
            "samples": report.log_samples,
        },
        "catalog": {"bytes": report.catalog_bytes, "series": report.series, "metadata": report.metadata},
        "index": {"files": report.index_files, "bytes": report.index_bytes},
        "problems": problems,
        "problemsTotal": report.problems_total,
        "notes": notes.collect::<Vec<Json>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use storage::check::Note;
    use storage::damage::Damage;

    #[test]
    fn problems_are_told_with_what_they_cost_and_what_to_do() {
        let damage = Damage { file: "d/blocks/1.blk".into(), offset: 40, bytes: 7, detail: "chunk: broken".to_owned() };
        let problem = Problem { damage, costs: "7 of 9 samples".to_owned(), remedy: "put it back" };
        let note = Note { path: "d/LOST".into(), detail: "is no part".to_owned() };
        let report = Report { problems: vec![problem], problems_total: 3, notes: vec![note], ..Report::default() };
        let text = told(&report, 0.5, None);
        let want = "
problem: d/blocks/1.blk at byte 40, 7 bytes: chunk: broken
  costs:  7 of 9 samples
  to do:  put it back

and 2 problems

note: d/LOST: is no part

3 problems; checked in 500ms
";
        assert!(text.ends_with(want), "{text}");
        assert!(told(&Report::default(), 0.5, None).ends_with("\neverything can be read; checked in 500ms\n"));
        let backup = BackupFound { number: 1, taken_ms: 0, program: "1".to_owned() };
        let text = told(&Report { backup: Some(backup), ..Report::default() }, 0.5, None);
        assert!(text.contains("catalog") && !text.contains("│ log") && !text.contains("index"), "{text}");
        let json = as_json(&report);
        assert_eq!((&json["sound"], &json["problems"][0]["offset"]), (&json!(false), &json!(40)));
    }
}
