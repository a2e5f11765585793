//! The words of `backup` and `restore`.

use std::path::PathBuf;

use clap::Args;

pub(super) const BACKUP_EXAMPLES: &str = "\
Examples:
  metrickit backup /mnt/backup/metrickit         of the server on this machine
  metrickit backup /mnt/backup/metrickit         again: only what is new
  metrickit backup /var/backups/mk --copy        no links, on the same disk
  metrickit backup ./backup --data ./metrickit-data         without a server
  metrickit check /mnt/backup/metrickit          whether all of it can be read

The server itself writes, while it runs, into a folder of its machine that is
empty or has a backup. Whenever it ends, that folder has the backup before or
the new one, whole. On the disk of the data folder blocks become links, which
take no space and are lost with the disk: copy the folder elsewhere, or use
another disk. Samples, labels, metadata and deletes are in a backup; exemplars
are not. An interrupted command does not end the server's work.
A server takes backups for programs on its own machine; others need its
settings admin_api and backup_dir.
Exit status: 0 taken, 1 not, 2 wrong use.";

pub(super) const RESTORE_EXAMPLES: &str = "\
Examples:
  metrickit restore /mnt/backup/metrickit --data /var/lib/metrickit
  metrickit restore ./backup --data ./new && metrickit server --data ./new

The data folder must be empty or missing; no server is needed. Every file of
the backup is verified. Until a restore has ended no server starts on its
folder; run it again if it was interrupted.
Exit status: 0 restored, 1 not, or damaged files were kept, 2 wrong use.";

const SERVER_URL: &str = "Server to ask; of one elsewhere DIR may be relative to its folder of backups [env: METRICKIT_URL] [default: http://127.0.0.1:9595]";

/// Arguments of `backup`.
#[derive(Debug, Args)]
pub(crate) struct BackupArgs {
    /// Folder of the backup: empty, missing, or with an earlier backup of the same data
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    #[arg(long, value_name = "URL", help = SERVER_URL)]
    pub(crate) url: Option<String>,
    /// Open this data folder instead; no server may be running on it
    #[arg(long, value_name = "FOLDER", conflicts_with = "url")]
    pub(crate) data: Option<PathBuf>,
    /// Copy blocks even where they could be links
    #[arg(long)]
    pub(crate) copy: bool,
    /// Print what was done as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `restore`.
#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// Folder of the backup
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// Data folder to make; empty or missing
    #[arg(long, value_name = "FOLDER", required = true)]
    pub(crate) data: PathBuf,
    /// Link blocks to those of the backup where both are on one disk, instead of copying them
    #[arg(long)]
    pub(crate) link: bool,
    /// Restore what is whole even if files of the backup are damaged or missing
    #[arg(long)]
    pub(crate) keep_damaged: bool,
    /// Print what was done as JSON
    #[arg(long)]
    pub(crate) json: bool,
}
