//! What benchmarks that start servers of their own are told alike, and how figures are printed.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;

use crate::output::Output;

/// Where servers have their folders, and what is printed.
#[derive(Debug, Args)]
pub(crate) struct OwnArgs {
    /// Folder in which the temporary ones are made
    #[arg(long, value_name = "DIR")]
    pub(super) data: Option<PathBuf>,
    /// Print the figures as JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// What generated values follow from.
#[derive(Debug, Args)]
pub(crate) struct SeedArgs {
    /// Values are the same for the same seed
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(super) seed: u64,
}

/// Prints `figures` as JSON, or as `show` tells them in so many columns of a terminal.
pub(super) fn print<F: Serialize>(
    output: &mut Output,
    json: bool,
    figures: &F,
    show: impl FnOnce(&F, Option<usize>) -> String,
) -> anyhow::Result<()> {
    if json {
        return Ok(output.line(&serde_json::to_string(figures).context("figures are JSON")?)?);
    }
    let width = output.is_terminal.then(|| output.width());
    Ok(output.text(&show(figures, width))?)
}
