//! Size and free space of mounted filesystems.
//!
//! The list of mounts is sysinfo's, which leaves out pseudo filesystems and those of the network, where asking can hang;
//! sizes come from statvfs(3), which tells free blocks and inodes too.

use std::path::Path;

use sysinfo::{DiskRefreshKind, Disks};

use super::{CollectError, Collector, float};
use crate::readings::{Metric, Readings};

const SIZE: Metric = Metric::gauge("node_filesystem_size_bytes", "Size of the filesystem.");
const FREE: Metric = Metric::gauge("node_filesystem_free_bytes", "Free bytes, those reserved for root included.");
const AVAILABLE: Metric = Metric::gauge("node_filesystem_avail_bytes", "Free bytes for users other than root.");
const FILES: Metric = Metric::gauge("node_filesystem_files", "Inodes.");
const FILES_FREE: Metric = Metric::gauge("node_filesystem_files_free", "Free inodes.");
const READ_ONLY: Metric = Metric::gauge("node_filesystem_readonly", "Whether the filesystem is mounted read-only.");
const ERROR: Metric = Metric::gauge("node_filesystem_device_error", "Whether asking for the sizes failed.");

/// Most filesystems that are reported.
const FILESYSTEMS_MAX: usize = 256;

/// Reads mounted filesystems.
#[derive(Debug)]
pub(super) struct Filesystem {
    disks: Option<Disks>,
    ignore: Vec<String>,
}

impl Filesystem {
    /// Leaves out mount points in and below those of `ignore`.
    pub(super) fn new(ignore: Vec<String>) -> Self {
        Self { disks: None, ignore }
    }
}

impl Collector for Filesystem {
    fn name(&self) -> &'static str {
        "filesystem"
    }

    fn collect(&mut self, out: &mut Readings) -> Result<(), CollectError> {
        let failed = |error| CollectError::new("mounted filesystems", format!("{error:?}"));
        let disks = match &mut self.disks {
            Some(disks) => disks,
            none => none.insert(Disks::new().map_err(failed)?),
        };
        disks.refresh_specifics(true, DiskRefreshKind::nothing());
        let mut told: Vec<&Path> = Vec::new();
        for disk in disks.iter() {
            let mount = disk.mount_point();
            // Mounts can lie on top of each other; statvfs sees the uppermost alone.
            if ignored(mount, &self.ignore) || told.contains(&mount) || told.len() >= FILESYSTEMS_MAX {
                continue;
            }
            told.push(mount);
            let (device, kind) = (disk.name().to_string_lossy(), disk.file_system().to_string_lossy());
            let labels = [("device", &*device), ("fstype", &*kind), ("mountpoint", &*mount.to_string_lossy())];
            write(mount, &labels, out);
        }
        Ok(())
    }
}

fn ignored(mount: &Path, ignore: &[String]) -> bool {
    ignore.iter().any(|prefix| mount.starts_with(prefix))
}

fn write(mount: &Path, labels: &[(&str, &str)], out: &mut Readings) {
    let stat = rustix::fs::statvfs(mount);
    out.push(&ERROR, labels, if stat.is_ok() { 0.0 } else { 1.0 });
    let Ok(stat) = stat else { return };
    let bytes = |blocks: u64| float(blocks) * float(stat.f_frsize);
    out.push(&SIZE, labels, bytes(stat.f_blocks));
    out.push(&FREE, labels, bytes(stat.f_bfree));
    out.push(&AVAILABLE, labels, bytes(stat.f_bavail));
    out.push(&FILES, labels, float(stat.f_files));
    out.push(&FILES_FREE, labels, float(stat.f_ffree));
    let read_only = stat.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY);
    out.push(&READ_ONLY, labels, if read_only { 1.0 } else { 0.0 });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignoring_goes_by_whole_folders() {
        let ignore = ["/run".to_owned()];
        assert!(ignored(Path::new("/run"), &ignore) && ignored(Path::new("/run/x"), &ignore));
        assert!(!ignored(Path::new("/runner"), &ignore));
    }

    #[test]
    fn sizes_of_a_folder_and_of_none() {
        let mut out = Readings::new(1);
        write(Path::new("/"), &[], &mut out);
        assert!(out.value_of("node_filesystem_size_bytes") >= out.value_of("node_filesystem_free_bytes"));
        assert!(out.value_of("node_filesystem_free_bytes") >= out.value_of("node_filesystem_avail_bytes"));
        let mut out = Readings::new(1);
        write(Path::new("/no/such/folder"), &[], &mut out);
        assert_eq!((out.len(), out.value_of("node_filesystem_device_error")), (1, Some(1.0)));
    }
}
