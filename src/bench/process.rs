//! What a process takes of the machine, as the kernel counts it, and what its folder takes of the disk.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Deepest nesting of a data folder that is measured.
const DEPTH_MAX: usize = 16;
/// Bytes of the blocks that the kernel counts files in.
const DISK_BLOCK_BYTES: u64 = 512;

/// What a process used so far.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Usage {
    /// User and system time.
    pub(super) cpu_seconds: f64,
    pub(super) resident_bytes: u64,
    pub(super) resident_peak_bytes: u64,
}

impl Usage {
    /// Of process `id`; nothing when there is none.
    pub(super) fn of(id: u32) -> Option<Self> {
        let folder = PathBuf::from(format!("/proc/{id}"));
        let status = fs::read_to_string(folder.join("status")).ok()?;
        let bytes = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
            line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
        };
        Some(Self {
            cpu_seconds: cpu_seconds(id)?,
            resident_bytes: bytes("VmRSS")?,
            resident_peak_bytes: bytes("VmHWM")?,
        })
    }
}

/// User and system time of process `id`, also of one that ended and was not waited for: fields 14 and 15 of `stat`,
/// in clock ticks (proc(5)).
pub(super) fn cpu_seconds(id: u32) -> Option<f64> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((user + system) as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// Bytes that `folder` takes on disk, as the file system counts them.
pub(super) fn disk_bytes(folder: &Path) -> u64 {
    disk_bytes_where(folder, &|_| true)
}

/// Bytes on disk of the files whose path below `folder` is `wanted`.
pub(super) fn disk_bytes_where(folder: &Path, wanted: &dyn Fn(&Path) -> bool) -> u64 {
    walk(folder, Path::new(""), wanted, DEPTH_MAX)
}

fn walk(folder: &Path, below: &Path, wanted: &dyn Fn(&Path) -> bool, depth_left: usize) -> u64 {
    let Some(depth_left) = depth_left.checked_sub(1) else { return 0 };
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let of = |entry: fs::DirEntry| {
        let below = below.join(entry.file_name());
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => walk(&entry.path(), &below, wanted, depth_left),
            Ok(metadata) if metadata.is_file() && wanted(&below) => metadata.blocks() * DISK_BLOCK_BYTES,
            // Files come and go while a server runs.
            _ => 0,
        }
    };
    entries.flatten().map(of).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_can_be_read() {
        let usage = Usage::of(std::process::id()).expect("Linux");
        assert!(usage.cpu_seconds >= 0.0);
        assert!(usage.resident_bytes > 100_000 && usage.resident_peak_bytes >= usage.resident_bytes);
        assert!(Usage::of(0).is_none());
    }

    #[test]
    fn folders_are_measured_with_what_is_inside() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::create_dir(folder.path().join("a")).expect("made");
        fs::write(folder.path().join("a/b"), vec![1; 100_000]).expect("written");
        fs::write(folder.path().join("c"), vec![1; 10_000]).expect("written");
        assert!(disk_bytes(folder.path()) >= 110_000);
        let inside = disk_bytes_where(folder.path(), &|path| path.starts_with("a"));
        assert!((100_000..110_000).contains(&inside), "{inside}");
        assert_eq!(disk_bytes(&folder.path().join("none")), 0);
    }
}
