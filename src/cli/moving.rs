//! The words of `export` and `import`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::TargetArgs;

const WRITE_URL: &str = "Server to write to; anything that takes remote write at /api/v1/write [env: METRICKIT_URL] [default: http://127.0.0.1:9595]";

pub(super) const EXPORT_EXAMPLES: &str = "\
Examples:
  metrickit export -o all.jsonl.gz                     everything
  metrickit export -m '{job=\"api\"}' -m up --start now-7d -o api.jsonl
  metrickit export -m http_requests_total -f openmetrics
  metrickit export --data ./metrickit-data -o all.jsonl     without a server
  metrickit export --url http://old:9595 | \\
    metrickit import --url http://new:9595 -

Lines of JSON hold everything: floats to the bit, stale markers, native
histograms, starts of counters, what is known of metrics. Others read them
too: VictoriaMetrics takes them at /api/v1/import. OpenMetrics text is for
everything else (promtool tsdb create-blocks-from openmetrics FILE); what it
cannot say is left out, and counted on standard error. Parquet is for DuckDB
and pandas: timestamp_ms, value, __name__, and labels as JSON; it is there in
programs built with `cargo build --release --features parquet`. Exemplars are
not exported. Where samples are kept as summaries only, the last of each window
is.
A file gets its name once it is whole; until then it is FILE.part.
Exit status: 0 all was exported, 1 something could not be read, asked for or
written, 2 wrong use.";

pub(super) const IMPORT_EXAMPLES: &str = "\
Examples:
  metrickit import all.jsonl.gz
  metrickit import --label env=old dump.jsonl more.jsonl
  curl -s http://host:9100/metrics | metrickit import -     a page, as of now
  metrickit import --skip-bad-lines metrics.txt
  curl -sG http://victoria:8428/api/v1/export -d 'match[]={__name__!=\"\"}' | \\
    metrickit import -

Reads lines of JSON as `metrickit export` and VictoriaMetrics write them,
OpenMetrics text and Prometheus text, each also as gzip, and sends them by
remote write. Files may be larger than memory. A server that is busy is waited
for, one that finds a request too large gets it in parts. Importing again
changes nothing. The server refuses samples older than its retention; they are
counted and the rest is taken.
Exit status: 0 everything was taken, 1 something was not, 2 wrong use.";

/// How exports are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportFormat {
    /// Lines of JSON, which hold everything
    Jsonl,
    /// OpenMetrics text
    Openmetrics,
    /// Parquet, one row a sample; programs built with --features parquet have it
    Parquet,
}

/// Arguments of `export`.
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// Series selector, in PromQL; again for more [default: all series]
    #[arg(short = 'm', long = "match", value_name = "SELECTOR")]
    pub(crate) selectors: Vec<String>,
    /// Export samples from this time on [default: from the first]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub(crate) start: Option<String>,
    /// Export samples up to this time [default: to the last]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub(crate) end: Option<String>,
    /// How to write them [default: by the file's name: .txt, .prom and .om are openmetrics, .parquet is parquet, all else jsonl]
    #[arg(short, long, value_name = "FORMAT", value_enum)]
    pub(crate) format: Option<ExportFormat>,
    /// File to write, compressed if its name ends in .gz; - is standard output
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    pub(crate) output: PathBuf,
    /// What to export
    #[command(flatten)]
    pub(crate) target: TargetArgs,
}

/// What files to import hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ImportFormat {
    /// Lines of JSON
    Jsonl,
    /// OpenMetrics text: times in seconds
    Openmetrics,
    /// Prometheus text: times in milliseconds
    Prometheus,
    /// Parquet as exports write it; programs built with --features parquet have it
    Parquet,
}

/// Arguments of `import`.
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// Files to read; - is standard input
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// What the files hold [default: told from their beginning]
    #[arg(short, long, value_name = "FORMAT", value_enum)]
    pub(crate) format: Option<ImportFormat>,
    /// Label that every series gets, in place of its own of that name; again for more
    #[arg(short = 'l', long = "label", value_name = "NAME=VALUE", value_parser = label)]
    pub(crate) labels: Vec<(String, String)>,
    /// Leave out lines that are not understood, and count them, instead of stopping at the first
    #[arg(long)]
    pub(crate) skip_bad_lines: bool,
    #[arg(long, value_name = "URL", env = "METRICKIT_URL", hide_env = true, help = WRITE_URL)]
    pub(crate) url: Option<String>,
}

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}
