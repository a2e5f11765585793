//! Size and free space of mounted filesystems.
//!
//! The list of mounts is the kernel's, read whole: sysinfo reads its first 16 KiB, which a host of containers fills with
//! overlays. Sizes come from statvfs(3), which tells free blocks and inodes too; it is not asked of filesystems of the
//! network, where it can hang.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::{CollectError, Collector, float};
use crate::config::Config;
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

/// Types that hold no files of users, or hang when their server is away.
const TYPES_IGNORED: [&str; 30] = [
    "autofs",
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
    "fuse.sshfs",
    "fusectl",
    "glusterfs",
    "hugetlbfs",
    "iso9660",
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

/// Reads mounted filesystems.
#[derive(Debug)]
pub(super) struct Filesystem {
    ignore: Vec<String>,
}

impl Filesystem {
    /// Leaves out mount points in and below those of `ignore`.
    pub(super) fn new(ignore: Vec<String>) -> Self {
        Self { ignore }
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
        let mounts = procfs::mounts().map_err(|error| CollectError::new("/proc/mounts", error))?;
        let mut told: HashSet<PathBuf> = HashSet::new();
        for mount in mounts.iter().filter(|mount| !TYPES_IGNORED.contains(&mount.fs_vfstype.as_str())) {
            let place = unescaped(&mount.fs_file);
            if ignored(&place, &self.ignore) || told.len() >= FILESYSTEMS_MAX {
                continue;
            }
            // Mounts can lie on top of each other; statvfs sees the uppermost alone.
            if told.insert(place.clone()) {
                let point = place.to_string_lossy();
                let labels =
                    [("device", mount.fs_spec.as_str()), ("fstype", &mount.fs_vfstype), ("mountpoint", &*point)];
                write(&place, &labels, out);
            }
        }
        Ok(())
    }
}

/// The path that `/proc/mounts` writes with blanks and backslashes as three octal digits.
fn unescaped(text: &str) -> PathBuf {
    let mut pieces = text.split('\\');
    let mut path = pieces.next().unwrap_or("").to_owned();
    for piece in pieces {
        let code = piece.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok()).filter(u8::is_ascii);
        if let (Some(code), Some(rest)) = (code, piece.get(3..)) {
            path.push(char::from(code));
            path.push_str(rest);
        } else {
            path.push('\\');
            path.push_str(piece);
        }
    }
    PathBuf::from(path)
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
    fn mount_points_are_unescaped() {
        for (text, want) in [("/a", "/a"), ("/a\\040b\\134c", "/a b\\c"), ("/a\\9", "/a\\9"), ("/x\\", "/x\\")] {
            assert_eq!(unescaped(text), PathBuf::from(want));
        }
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
