//! The control groups of processes: what they limit, and how often processor time ran out.
//!
//! Version 2 has one tree, version 1 one for each controller; both are read, and the lowest limit on the way up counts. Files and their
//! meaning are those of the kernel's documentation of control groups.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use procfs::ProcessCGroup;
use procfs::process::Process;

use super::track::Track;
use crate::go::SharedProcesses;
use crate::mounts::{Mount, mounts};

/// Most groups on the way up from one that are looked at.
const DEPTH_MAX: usize = 32;
/// Limits above this are none: version 1 says so with the largest number of pages, Go with the largest integer.
pub(super) const NO_LIMIT_BYTES: f64 = 4_611_686_018_427_387_904.0;

/// What the control group of a process allows, and what it took so far.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Limits {
    /// The lowest limit on memory, if there is one.
    pub memory_max_bytes: Option<f64>,
    /// Processors that its quota comes to, if it has one.
    pub quota_processors: Option<f64>,
    /// Periods of the quota so far, and those of them in which it ran out.
    pub periods: Option<(f64, f64)>,
}

/// The limits of the process `pid` now; none where its groups cannot be read.
pub fn limits(pid: i32) -> Limits {
    let mounts = mounts().unwrap_or_default();
    let Ok(groups) = Process::new(pid).and_then(|process| process.cgroups()) else { return Limits::default() };
    let mut group = Group::default();
    let periods = group.read(&places(&groups.0, &mounts), 0, &mut Folders::default());
    Limits { memory_max_bytes: group.memory_max_bytes, quota_processors: group.quota_processors, periods }
}

/// What the control group of a process allows.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// The lowest limit on memory, if there is one.
    pub(super) memory_max_bytes: Option<f64>,
    /// Processors that its quota comes to, if it has one.
    pub(super) quota_processors: Option<f64>,
    /// Periods of the quota so far, and those in which it ran out.
    periods: Track<f64>,
    throttled: Track<f64>,
}

impl Group {
    /// Part of the periods of the last window in which processor time ran out. None without a quota.
    pub(super) fn throttled_ratio(&self, now_ms: i64) -> Option<f64> {
        let (periods, _) = self.periods.change(now_ms)?;
        let (throttled, _) = self.throttled.change(now_ms)?;
        (periods > 0.0).then(|| (throttled / periods).clamp(0.0, 1.0))
    }

    /// A group that limits memory alone.
    #[cfg(test)]
    pub(super) fn with_memory(max_bytes: f64) -> Self {
        Self { memory_max_bytes: Some(max_bytes), ..Self::default() }
    }

    /// A group with a quota and readings of it: when, periods so far, those in which it ran out.
    #[cfg(test)]
    pub(super) fn with_quota(processors: f64, readings: &[(i64, f64, f64)]) -> Self {
        let mut group = Self { quota_processors: Some(processors), ..Self::default() };
        for &(at_ms, periods, throttled) in readings {
            group.periods.push_counter(at_ms, periods);
            group.throttled.push_counter(at_ms, throttled);
        }
        group
    }

    /// Reads the limits; returns the periods of the quota so far and those in which it ran out.
    fn read(&mut self, places: &[Place], now_ms: i64, folders: &mut Folders) -> Option<(f64, f64)> {
        (self.memory_max_bytes, self.quota_processors) = (None, None);
        let mut counted = None;
        let lowest = |known: &mut Option<f64>, found: Option<f64>| {
            *known = known.take().into_iter().chain(found).reduce(f64::min);
        };
        for place in places {
            for folder in place.folder.ancestors().take(DEPTH_MAX).take_while(|folder| folder.starts_with(&place.top)) {
                if place.has_memory {
                    lowest(&mut self.memory_max_bytes, folders.memory_limit(folder));
                }
                if place.has_cpu {
                    lowest(&mut self.quota_processors, folders.quota(folder));
                }
            }
            if place.has_cpu
                && let Some((periods, throttled)) = folders.periods(&place.folder)
            {
                self.periods.push_counter(now_ms, periods);
                self.throttled.push_counter(now_ms, throttled);
                counted = Some((periods, throttled));
            }
        }
        counted
    }
}

/// What was read of the folders of groups in one round. Processes share groups, and all groups the way up.
#[derive(Debug, Default)]
struct Folders {
    memory_limits: HashMap<PathBuf, Option<f64>>,
    quotas: HashMap<PathBuf, Option<f64>>,
    periods: HashMap<PathBuf, Option<(f64, f64)>>,
}

impl Folders {
    fn memory_limit(&mut self, folder: &Path) -> Option<f64> {
        once(&mut self.memory_limits, folder, memory_limit)
    }

    fn quota(&mut self, folder: &Path) -> Option<f64> {
        once(&mut self.quotas, folder, quota)
    }

    fn periods(&mut self, folder: &Path) -> Option<(f64, f64)> {
        once(&mut self.periods, folder, periods)
    }
}

/// What `read` says of `folder`, which is asked once.
fn once<T: Copy>(known: &mut HashMap<PathBuf, T>, folder: &Path, read: impl Fn(&Path) -> T) -> T {
    if let Some(value) = known.get(folder) {
        return *value;
    }
    let value = read(folder);
    known.insert(folder.to_owned(), value);
    value
}

/// Periods of the quota so far, and those in which it ran out.
fn periods(folder: &Path) -> Option<(f64, f64)> {
    let stat = fs::read_to_string(folder.join("cpu.stat")).ok()?;
    let number = |name: &str| {
        stat.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse::<f64>().ok())
    };
    number("nr_periods").zip(number("nr_throttled"))
}

fn memory_limit(folder: &Path) -> Option<f64> {
    let text =
        ["memory.max", "memory.limit_in_bytes"].iter().find_map(|file| fs::read_to_string(folder.join(file)).ok())?;
    text.trim().parse::<f64>().ok().filter(|bytes| *bytes < NO_LIMIT_BYTES)
}

fn quota(folder: &Path) -> Option<f64> {
    let number = |file: &str| fs::read_to_string(folder.join(file)).ok()?.trim().parse::<f64>().ok();
    let of = |quota: f64, period: f64| (quota > 0.0 && period > 0.0).then(|| quota / period);
    if let Ok(text) = fs::read_to_string(folder.join("cpu.max")) {
        let (quota, period) = text.trim().split_once(' ')?;
        return of(quota.parse().ok()?, period.parse().ok()?);
    }
    of(number("cpu.cfs_quota_us")?, number("cpu.cfs_period_us")?)
}

/// A folder of the control group file system that a process is in.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    /// Where the tree is mounted.
    top: PathBuf,
    folder: PathBuf,
    has_memory: bool,
    has_cpu: bool,
}

/// The places of a process in the trees that are mounted.
fn places(groups: &[ProcessCGroup], mounts: &[Mount]) -> Vec<Place> {
    let has = |group: &ProcessCGroup, controller: &str| group.controllers.iter().any(|one| one == controller);
    let place = |group: &ProcessCGroup| {
        let is_unified = group.hierarchy == 0;
        let (memory, cpu) = (is_unified || has(group, "memory"), is_unified || has(group, "cpu"));
        let mount = mounts.iter().find(|mount| {
            let fits = |controller: &str| mount.has_option(controller);
            if is_unified {
                mount.kind == "cgroup2"
            } else {
                mount.kind == "cgroup" && (memory && fits("memory") || cpu && fits("cpu"))
            }
        })?;
        // What is mounted may begin below the root of the tree, as in a container.
        let below = group.pathname.strip_prefix(mount.root.trim_end_matches('/')).unwrap_or(&group.pathname);
        let folder = mount.point.join(below.trim_start_matches('/'));
        let inside = Path::new(below).components().all(|part| part != std::path::Component::ParentDir);
        (inside && (memory || cpu)).then(|| Place {
            top: mount.point.clone(),
            folder,
            has_memory: memory,
            has_cpu: cpu,
        })
    };
    groups.iter().filter_map(place).collect()
}

/// The groups of the Go processes of this host, read anew at each round.
#[derive(Debug)]
pub(super) struct Groups {
    processes: SharedProcesses,
    known: HashMap<(String, String), Group>,
    read_ms: Option<i64>,
}

impl Groups {
    /// Those of `processes`.
    pub(super) fn new(processes: SharedProcesses) -> Self {
        Self { processes, known: HashMap::new(), read_ms: None }
    }

    /// The group of the process with these labels at `now_ms`, if it is one of this host.
    pub(super) fn of(&mut self, job: &str, instance: &str, now_ms: i64) -> Option<&Group> {
        if self.read_ms != Some(now_ms) {
            self.read(now_ms);
            self.read_ms = Some(now_ms);
        }
        self.known.get(&(job.to_owned(), instance.to_owned()))
    }

    fn read(&mut self, now_ms: i64) {
        let scan = std::sync::Arc::clone(&self.processes.lock());
        let mounts = mounts().unwrap_or_default();
        let (mut known, mut folders) = (std::mem::take(&mut self.known), Folders::default());
        for process in &scan.processes {
            let key = (process.job.clone(), process.instance.clone());
            let Ok(groups) = Process::new(process.life.pid).and_then(|process| process.cgroups()) else { continue };
            let mut group = known.remove(&key).unwrap_or_default();
            group.read(&places(&groups.0, &mounts), now_ms, &mut folders);
            self.known.insert(key, group);
        }
    }
}

#[cfg(test)]
mod tests {
    use procfs::{FromBufRead as _, ProcessCGroups};

    use super::*;

    fn parsed(groups: &str, mounts: &str) -> Vec<Place> {
        let groups = ProcessCGroups::from_buf_read(groups.as_bytes()).expect("groups");
        places(&groups.0, &crate::mounts::parse(mounts.as_bytes()))
    }

    fn write(folder: &Path, files: &[(&str, &str)]) {
        fs::create_dir_all(folder).expect("a folder");
        for (name, text) in files {
            fs::write(folder.join(name), text).expect("a file");
        }
    }

    #[test]
    fn the_lowest_limit_on_the_way_up_counts() {
        let folder = tempfile::tempdir().expect("a folder");
        let (top, inner) = (folder.path().to_owned(), folder.path().join("pod/box"));
        write(
            &inner,
            &[
                ("memory.max", "max\n"),
                ("cpu.max", "max 100000\n"),
                ("cpu.stat", "usage_usec 5\nnr_periods 10\nnr_throttled 1\n"),
            ],
        );
        write(&folder.path().join("pod"), &[("memory.max", "1048576\n"), ("cpu.max", "150000 100000\n")]);
        let place = Place { top: top.clone(), folder: inner.clone(), has_memory: true, has_cpu: true };
        let mut group = Group::default();
        assert_eq!(group.read(std::slice::from_ref(&place), 0, &mut Folders::default()), Some((10.0, 1.0)));
        assert_eq!((group.memory_max_bytes, group.quota_processors), (Some(1_048_576.0), Some(1.5)));
        assert_eq!(group.throttled_ratio(0), None, "one reading says nothing");
        write(&inner, &[("cpu.stat", "nr_periods 110\nnr_throttled 26\n"), ("memory.max", "4096\n")]);
        group.read(&[place], 10_000, &mut Folders::default());
        assert_eq!((group.memory_max_bytes, group.throttled_ratio(10_000)), (Some(4096.0), Some(0.25)));
    }

    #[test]
    fn a_folder_that_processes_share_is_read_once_a_round() {
        let folder = tempfile::tempdir().expect("a folder");
        let files =
            |max| [("memory.max", max), ("cpu.max", "50000 100000"), ("cpu.stat", "nr_periods 5\nnr_throttled 1\n")];
        write(folder.path(), &files("4096"));
        let place = || {
            [Place { top: folder.path().to_owned(), folder: folder.path().to_owned(), has_memory: true, has_cpu: true }]
        };
        let (mut round, mut next) = (Folders::default(), Folders::default());
        let read = |folders: &mut Folders| {
            let mut group = Group::default();
            let periods = group.read(&place(), 0, folders);
            (group.memory_max_bytes, group.quota_processors, periods)
        };
        let first = read(&mut round);
        assert_eq!(first, (Some(4096.0), Some(0.5), Some((5.0, 1.0))));
        write(folder.path(), &files("8192"));
        assert_eq!(read(&mut round), first);
        assert_eq!(read(&mut next).0, Some(8192.0));
    }

    #[test]
    fn version_one_has_a_folder_a_controller() {
        let folder = tempfile::tempdir().expect("a folder");
        write(&folder.path().join("memory/a"), &[("memory.limit_in_bytes", "9223372036854771712\n")]);
        write(
            &folder.path().join("cpu/b"),
            &[("cpu.cfs_quota_us", "50000\n"), ("cpu.cfs_period_us", "100000\n"), ("cpu.stat", "")],
        );
        let top = folder.path().display();
        let found = parsed(
            "8:pids:/x\n5:cpu,cpuacct:/b\n4:memory:/a\n0::/\n",
            &format!(
                "34 31 0:31 / {top}/cpu rw - cgroup cgroup rw,cpu,cpuacct\n35 31 0:32 / {top}/memory rw - cgroup cgroup rw,memory\n"
            ),
        );
        let mut group = Group::default();
        group.read(&found, 0, &mut Folders::default());
        assert_eq!((group.memory_max_bytes, group.quota_processors), (None, Some(0.5)), "{found:?}");
    }

    #[test]
    fn a_mount_that_begins_below_the_root_and_paths_that_lead_out() {
        let mount = "30 23 0:26 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n";
        let found = parsed("0::/docker/abc/inner\n", mount);
        assert_eq!(found.first().map(|place| place.folder.clone()), Some(PathBuf::from("/sys/fs/cgroup/inner")));
        assert!(parsed("0::/../../etc\n", mount).is_empty());
    }
}
