//! The words of `agents` and `collection`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::ServerArgs;

pub(super) const AGENTS_EXAMPLES: &str = "\
Examples:
  metrickit agents                                    every agent that checks in, those in trouble first
  metrickit agents --environment prod
  metrickit agents --json | jq '.agents[] | select(.state != \"here\") | .agent'

An agent says how it is every 20 seconds at least; after a minute without a word it counts as away, after a day it is forgotten.
shed: how many times longer its intervals are to keep its processor budget, samples dropped, rounds left out.";

pub(super) const COLLECTION_EXAMPLES: &str = "\
Examples:
  metrickit collection check profiles/prod.toml       as the server and its agents would
  metrickit collection show                           the profiles of a server, and who works by them
  metrickit collection show prod

A server with `--profiles-dir DIR` holds DIR/ENVIRONMENT.toml for the agents of each environment, and DIR/default.toml for all others. The keys are
those of the agent's own file, which wins key by key. Changed files are taken up by themselves; one that is wrong changes nothing.";

/// Arguments of `agents`.
#[derive(Debug, Args)]
pub(crate) struct AgentsArgs {
    /// Only agents of this environment
    #[arg(long, value_name = "NAME")]
    pub(crate) environment: Option<String>,
    /// Where to ask
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// What is done with collection profiles.
#[derive(Debug, Subcommand)]
pub(crate) enum CollectionCommand {
    /// Read a profile as an agent would and tell what is wrong with it
    #[command(after_help = COLLECTION_EXAMPLES)]
    Check(CheckProfileArgs),
    /// Show the profiles of a server, or one of them
    #[command(after_help = COLLECTION_EXAMPLES)]
    Show(ShowProfileArgs),
}

/// Arguments of `collection check`.
#[derive(Debug, Args)]
pub(crate) struct CheckProfileArgs {
    /// Profiles to read
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
}

/// Arguments of `collection show`.
#[derive(Debug, Args)]
pub(crate) struct ShowProfileArgs {
    /// Environment whose profile is printed [default: a list of all]
    #[arg(value_name = "ENVIRONMENT")]
    pub(crate) environment: Option<String>,
    /// Where to ask
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}
