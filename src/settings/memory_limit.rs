//! How much memory this process may have: what its control groups allow, version 2 or 1, else what the machine has.
//!
//! Reads `/proc/self/cgroup`, `/proc/self/mountinfo`, `/proc/meminfo` and the limits of every group from the process's own
//! up to the root, for the smallest of nested limits counts. What cannot be read allows everything.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// Most groups inside each other that are looked at.
const DEPTH_MAX: usize = 64;

/// What bounds the memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Bound {
    /// The limit in this file.
    Group(PathBuf),
    /// The memory that the machine has.
    Machine,
    /// Nothing says.
    Unknown,
}

/// How much memory there is for this process and others beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MemoryLimit {
    pub(crate) bytes: u64,
    pub(crate) bound: Bound,
}

impl fmt::Display for MemoryLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = self.bytes >> 20;
        match &self.bound {
            Bound::Group(file) => write!(f, "{mib} MiB by {}", file.display()),
            Bound::Machine => write!(f, "{mib} MiB of the machine"),
            Bound::Unknown => write!(f, "{mib} MiB, as the machine does not say what it has"),
        }
    }
}

/// What is taken for the machine's memory where it does not say.
const MACHINE_BYTES_UNKNOWN: u64 = 1 << 30;

impl MemoryLimit {
    /// Reads it below `root`, which is `/` but in tests.
    pub(crate) fn find(root: &Path) -> Self {
        let text = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_default();
        let machine = match machine_bytes(&text("proc/meminfo")) {
            Some(bytes) => Self { bytes, bound: Bound::Machine },
            None => Self { bytes: MACHINE_BYTES_UNKNOWN, bound: Bound::Unknown },
        };
        let (groups, mounts) = (text("proc/self/cgroup"), text("proc/self/mountinfo"));
        let group = Hierarchy::ALL.into_iter().filter_map(|hierarchy| hierarchy.limit(root, &groups, &mounts)).min();
        match group {
            Some((bytes, file)) if bytes < machine.bytes || machine.bound == Bound::Unknown => {
                Self { bytes, bound: Bound::Group(file) }
            }
            _ => machine,
        }
    }
}

/// The two versions of control groups.
#[derive(Debug, Clone, Copy)]
enum Hierarchy {
    V2,
    V1,
}

impl Hierarchy {
    const ALL: [Self; 2] = [Self::V2, Self::V1];

    /// The smallest limit on the process, and the file that has it.
    fn limit(self, root: &Path, groups: &str, mounts: &str) -> Option<(u64, PathBuf)> {
        let group = groups.lines().find_map(|line| self.group_of(line))?;
        let (top, mount) = mounts.lines().find_map(|line| self.mount_of(line))?;
        // Inside a container the mount may begin at the group itself, or the group's path be told from outside of it.
        let below = Path::new(group).strip_prefix(&top).unwrap_or(Path::new(""));
        let below: PathBuf = below.components().filter(|of| matches!(of, std::path::Component::Normal(_))).collect();
        let mount = mount.strip_prefix("/").unwrap_or(&mount);
        let limits = below.ancestors().take(DEPTH_MAX).filter_map(|group| {
            let file = mount.join(group).join(self.file());
            let bytes = fs::read_to_string(root.join(&file)).ok()?.trim().parse::<u64>().ok()?;
            Some((bytes, Path::new("/").join(file)))
        });
        limits.min()
    }

    fn file(self) -> &'static str {
        match self {
            Self::V2 => "memory.max",
            Self::V1 => "memory.limit_in_bytes",
        }
    }

    /// The path of the group, if this line of `/proc/self/cgroup`, `NUMBER:CONTROLLERS:PATH`, has it.
    fn group_of(self, line: &str) -> Option<&str> {
        let mut fields = line.splitn(3, ':');
        let (number, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        let is_it = match self {
            Self::V2 => number == "0" && controllers.is_empty(),
            Self::V1 => controllers.split(',').any(|of| of == "memory"),
        };
        is_it.then_some(path)
    }

    /// Which group is mounted where, if this line of `/proc/self/mountinfo` tells of the hierarchy. See proc(5): fields
    /// four and five, and after a lone `-` the type and, third, the options.
    fn mount_of(self, line: &str) -> Option<(PathBuf, PathBuf)> {
        let (before, after) = line.split_once(" - ")?;
        let mut after = after.split(' ');
        let (kind, options) = (after.next()?, after.nth(1)?);
        let is_it = match self {
            Self::V2 => kind == "cgroup2",
            Self::V1 => kind == "cgroup" && options.split(',').any(|of| of == "memory"),
        };
        let mut before = before.split(' ').skip(3);
        let (top, mount) = (unescaped(before.next()?), unescaped(before.next()?));
        is_it.then(|| (PathBuf::from(top), PathBuf::from(mount)))
    }
}

/// A path of mountinfo, where blanks and backslashes are written as three octal digits.
fn unescaped(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let code = part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok()).filter(u8::is_ascii);
        if let Some(code) = code {
            plain.push(char::from(code));
            plain.push_str(part.get(3..).unwrap_or_default());
        } else {
            plain.push('\\');
            plain.push_str(part);
        }
    }
    plain
}

fn machine_bytes(meminfo: &str) -> Option<u64> {
    let rest = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    rest.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMINFO: &str = "MemTotal:        2097152 kB\nMemFree:  1 kB\n";
    const V2_MOUNT: &str = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
    const V1_MOUNT: &str = "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";

    /// A root of the file system with these files; the limit found, in MiB, and what is it that says so.
    #[track_caller]
    fn check(files: &[(&str, &str)], want_mib: u64, want: &str) {
        let root = tempfile::tempdir().expect("a temporary folder");
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("inside")).expect("a folder");
            fs::write(path, text).expect("written");
        }
        let found = MemoryLimit::find(root.path());
        assert_eq!(found.bytes, want_mib << 20, "{found}");
        assert!(found.to_string().contains(want), "{found}");
    }

    #[test]
    fn the_machine_counts_where_no_group_bounds() {
        check(&[("proc/meminfo", MEMINFO)], 2048, "of the machine");
        check(&[], 1024, "does not say");
        let unbounded = [
            ("proc/meminfo", MEMINFO),
            ("proc/self/cgroup", "0::/a\n"),
            ("proc/self/mountinfo", V2_MOUNT),
            ("sys/fs/cgroup/a/memory.max", "max\n"),
        ];
        check(&unbounded, 2048, "of the machine");
        let unbounded = [
            ("proc/meminfo", MEMINFO),
            ("proc/self/cgroup", "4:memory:/a\n"),
            ("proc/self/mountinfo", V1_MOUNT),
            ("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "9223372036854771712\n"),
        ];
        check(&unbounded, 2048, "of the machine");
    }

    #[test]
    fn the_smallest_of_nested_groups_counts() {
        let v2 = |inner: &'static str, outer: &'static str| {
            [
                ("proc/meminfo", MEMINFO),
                ("proc/self/cgroup", "0::/kube/pod/box\n"),
                ("proc/self/mountinfo", V2_MOUNT),
                ("sys/fs/cgroup/kube/pod/box/memory.max", inner),
                ("sys/fs/cgroup/kube/pod/memory.max", outer),
            ]
        };
        check(&v2("134217728\n", "max\n"), 128, "/sys/fs/cgroup/kube/pod/box/memory.max");
        check(&v2("max\n", "268435456\n"), 256, "/sys/fs/cgroup/kube/pod/memory.max");
        check(&v2("134217728\n", "67108864\n"), 64, "/sys/fs/cgroup/kube/pod/memory.max");
        check(&v2("nonsense\n", "-5\n"), 2048, "of the machine");
        let v1 = [
            ("proc/meminfo", MEMINFO),
            ("proc/self/cgroup", "5:cpu,cpuacct:/other\n4:memory:/a/b\n0::/\n"),
            (
                "proc/self/mountinfo",
                "34 31 0:31 / /cpu rw - cgroup cgroup rw,cpu\n35 31 0:32 / /my\\040groups rw - cgroup cgroup rw,memory\n",
            ),
            ("my groups/a/b/memory.limit_in_bytes", "268435456\n"),
            ("my groups/a/memory.limit_in_bytes", "134217728\n"),
        ];
        check(&v1, 128, "/my groups/a/memory.limit_in_bytes");
    }

    /// In a container the mount is the group itself, while the path may be told from outside.
    #[test]
    fn groups_of_containers() {
        let mounted = "30 23 0:26 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n";
        for path in ["0::/docker/abc\n", "0::/\n", "0::/../..\n", "0::/elsewhere\n"] {
            let files = [
                ("proc/meminfo", MEMINFO),
                ("proc/self/cgroup", path),
                ("proc/self/mountinfo", mounted),
                ("sys/fs/cgroup/memory.max", "134217728\n"),
            ];
            check(&files, 128, "/sys/fs/cgroup/memory.max");
        }
        let both = [
            ("proc/meminfo", MEMINFO),
            ("proc/self/cgroup", "4:memory:/a\n0::/\n"),
            ("proc/self/mountinfo", &*format!("{V2_MOUNT}{V1_MOUNT}")),
            ("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "134217728"),
        ];
        check(&both, 128, "/sys/fs/cgroup/memory/a/memory.limit_in_bytes");
    }

    #[test]
    fn this_process_has_a_limit() {
        let found = MemoryLimit::find(Path::new("/"));
        assert!(found.bytes > 16 << 20, "{found}");
    }
}
