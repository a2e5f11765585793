//! Size and free space of mounted filesystems.
//!
//! The list of mounts is the kernel's, read whole: sysinfo reads its first 16 KiB, which a host of containers fills with
//! overlays. Sizes come from statvfs(3), which tells free blocks and inodes too; it is not asked of filesystems that are known to be of
//! the network, where it can hang, and of the others only as long as they answer (`statvfs`).

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use rustix::fs::StatVfs;

use super::statvfs::Statvfs;
use super::{CollectError, Collector, float};
use crate::config::Config;
use crate::mounts::mounts;
use crate::readings::{Metric, Readings};

const SIZE: Metric = Metric::gauge("node_filesystem_size_bytes", "Size of the filesystem.");
const FREE: Metric = Metric::gauge("node_filesystem_free_bytes", "Free bytes, those reserved for root included.");
const AVAILABLE: Metric = Metric::gauge("node_filesystem_avail_bytes", "Free bytes for users other than root.");
const FILES: Metric = Metric::gauge("node_filesystem_files", "Inodes.");
const FILES_FREE: Metric = Metric::gauge("node_filesystem_files_free", "Free inodes.");
const READ_ONLY: Metric = Metric::gauge("node_filesystem_readonly", "Whether the filesystem is mounted read-only.");
const ERROR: Metric =
    Metric::gauge("node_filesystem_device_error", "Whether the sizes could not be had, or not in time.");

/// Most filesystems that are reported.
const FILESYSTEMS_MAX: usize = 256;

/// Types that hold no files of users, or hang when their server is away.
const TYPES_IGNORED: [&str; 33] = [
    "afs",
    "autofs",
    "beegfs",
    "binfmt_misc",
    "bpf",
    "ceph",
    "cgroup",
    "cgroup2",
    "cifs",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "efivarfs",
    "fusectl",
    "glusterfs",
    "gpfs",
    "hugetlbfs",
    "iso9660",
    "lustre",
    "mqueue",
    "nfs",
    "nfs4",
    "nsfs",
    "proc",
    "pstore",
    "rootfs",
    "rpc_pipefs",
    "securityfs",
    "smb3",
    "squashfs",
    "sysfs",
    "tracefs",
];
/// What `fuse.` begins is mostly of the network; these are not.
const FUSE_LOCAL: [&str; 9] =
    ["bindfs", "encfs", "exfat", "fuse-overlayfs", "gocryptfs", "mergerfs", "ntfs-3g", "unionfs", "unionfs-fuse"];

/// Reads mounted filesystems.
#[derive(Debug)]
pub(super) struct Filesystem {
    ignore: Vec<String>,
    statvfs: Statvfs,
}

impl Filesystem {
    /// Leaves out mount points in and below those of `ignore`.
    pub(super) fn new(ignore: Vec<String>) -> Self {
        Self { ignore, statvfs: Statvfs::default() }
    }
}

impl Collector for Filesystem {
    fn name(&self) -> &'static str {
        "filesystem"
    }

    fn configure(&mut self, config: &Config) {
        self.ignore.clone_from(&config.collect.filesystem_ignore);
    }

    fn collect(&mut self, out: &mut Readings) -> Result<(), CollectError> {
        let mounts = mounts().map_err(|error| CollectError::new("/proc/self/mountinfo", error))?;
        let mut round = self.statvfs.round();
        let mut told: HashSet<PathBuf> = HashSet::new();
        for mount in mounts.iter().filter(|mount| is_told(&mount.kind)) {
            if ignored(&mount.point, &self.ignore) || told.len() >= FILESYSTEMS_MAX {
                continue;
            }
            // Mounts can lie on top of each other; statvfs sees the uppermost alone.
            if told.insert(mount.point.clone()) {
                let point = mount.point.to_string_lossy();
                let labels =
                    [("device", mount.source.as_str()), ("fstype", mount.kind.as_str()), ("mountpoint", &*point)];
                write(round.of(&mount.point), &labels, out);
            }
        }
        Ok(())
    }
}

/// Whether filesystems of the type `kind` are asked for their sizes.
fn is_told(kind: &str) -> bool {
    kind.strip_prefix("fuse.").map_or(!TYPES_IGNORED.contains(&kind), |name| FUSE_LOCAL.contains(&name))
}

fn ignored(mount: &Path, ignore: &[String]) -> bool {
    ignore.iter().any(|prefix| mount.starts_with(prefix))
}

fn write(stat: Option<StatVfs>, labels: &[(&str, &str)], out: &mut Readings) {
    out.push(&ERROR, labels, if stat.is_some() { 0.0 } else { 1.0 });
    let Some(stat) = stat else { return };
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
    fn what_may_hang_is_not_asked() {
        for (kind, want) in [
            ("ext4", true),
            ("fuseblk", true),
            ("fuse.mergerfs", true),
            ("fuse.glusterfs", false),
            ("fuse.ceph-fuse", false),
            ("fuse.sshfs", false),
            ("fuse.new-in-the-cloud", false),
            ("lustre", false),
            ("nfs4", false),
        ] {
            assert_eq!(is_told(kind), want, "{kind}");
        }
    }

    #[test]
    fn sizes_of_a_folder_and_of_none() {
        let (mut statvfs, mut out) = (Statvfs::default(), Readings::new(1));
        let mut round = statvfs.round();
        write(round.of(Path::new("/")), &[], &mut out);
        assert!(out.value_of("node_filesystem_size_bytes") >= out.value_of("node_filesystem_free_bytes"));
        assert!(out.value_of("node_filesystem_free_bytes") >= out.value_of("node_filesystem_avail_bytes"));
        let mut out = Readings::new(1);
        write(round.of(Path::new("/no/such/folder")), &[], &mut out);
        assert_eq!((out.len(), out.value_of("node_filesystem_device_error")), (1, Some(1.0)));
    }
}
