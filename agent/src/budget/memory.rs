//! How much memory the agent has, and how much its control group lets it have.

use std::fs;
use std::path::{Path, PathBuf};

use procfs::process::Process;

/// Of a control group's limit the agent takes so much, in percent: at the limit it would be killed.
const CGROUP_PERCENT: u64 = 90;
/// Limits above this are none: version 1 of control groups writes a huge number for no limit.
const LIMIT_MAX: u64 = 1 << 60;

/// What is known of memory at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Memory {
    /// That of the process, in RAM.
    pub resident_bytes: u64,
    /// The limit of the control group; nothing where there is none.
    pub cgroup_bytes: Option<u64>,
}

impl Memory {
    /// Looks at this process, and at the limit of its control group in the files of `group`.
    pub fn look(group: &Group) -> Self {
        let pages = Process::myself().and_then(|own| own.stat()).map_or(0, |stat| stat.rss);
        Self { resident_bytes: pages.saturating_mul(procfs::page_size()), cgroup_bytes: group.limit_bytes() }
    }

    /// The lower of the `configured` limit, 0 for none, and what the control group allows; 0 for none.
    pub fn limit(&self, configured: u64) -> u64 {
        let group = self.cgroup_bytes.map(|bytes| bytes / 100 * CGROUP_PERCENT);
        let configured = Some(configured).filter(|bytes| *bytes > 0);
        configured.into_iter().chain(group).min().unwrap_or(0)
    }
}

/// The control group of this process: the files with its limit.
#[derive(Debug, Clone, Default)]
pub struct Group(Vec<PathBuf>);

impl Group {
    /// Finds it.
    pub fn own() -> Self {
        let text = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        Self::of(&text, Path::new("/sys/fs/cgroup"))
    }

    /// The group that `text`, a file `/proc/PID/cgroup`, tells, below `root`. Limits of the groups around it hold too.
    fn of(text: &str, root: &Path) -> Self {
        let mut files = Vec::new();
        for line in text.lines() {
            let mut fields = line.splitn(3, ':');
            let (Some(_), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else {
                continue;
            };
            let (base, name) = if controllers.is_empty() {
                (root.to_owned(), "memory.max")
            } else if controllers.split(',').any(|name| name == "memory") {
                (root.join("memory"), "memory.limit_in_bytes")
            } else {
                continue;
            };
            let own = Path::new(path.trim_start_matches('/'));
            files.extend(own.ancestors().map(|part| base.join(part).join(name)));
        }
        files.retain(|file| file.exists());
        Self(files)
    }

    fn limit_bytes(&self) -> Option<u64> {
        let limit = |file: &PathBuf| fs::read_to_string(file).ok()?.trim().parse::<u64>().ok();
        self.0.iter().filter_map(limit).filter(|bytes| *bytes < LIMIT_MAX).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_limit_holds() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(path, text).expect("written");
        };
        write("a/memory.max", "200000000\n");
        write("a/b/memory.max", "max\n");
        let group = Group::of("0::/a/b\n", folder.path());
        assert_eq!(group.limit_bytes(), Some(200_000_000), "of the group around it");
        write("memory/c/memory.limit_in_bytes", "9223372036854771712\n");
        write("memory/memory.limit_in_bytes", "100000000\n");
        assert_eq!(Group::of("3:cpu,memory:/c\n1:name=systemd:/\n", folder.path()).limit_bytes(), Some(100_000_000));
        assert_eq!(Group::of("nonsense", folder.path()).limit_bytes(), None);
        let memory = |cgroup_bytes| Memory { resident_bytes: 1, cgroup_bytes };
        assert_eq!(memory(None).limit(0), 0);
        assert_eq!(memory(None).limit(7), 7);
        assert_eq!(memory(Some(1000)).limit(0), 900);
        assert_eq!(memory(Some(1000)).limit(50), 50);
        assert!(Memory::look(&Group::own()).resident_bytes > 1 << 16);
    }
}
