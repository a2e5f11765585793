//! Finds the Go processes of the host: every `/proc/PID/exe` that has Go build information.
//!
//! One scan costs one stat(2) a process; an executable is opened once and remembered by device, inode, size and time of
//! change, so that `exec`, upgrades in place and deleted executables are seen. Kernel threads have no executable.

use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;

use procfs::process::Process;

use super::buildinfo::{self, BuildInfo};
use super::identity::{Life, Slots};
use crate::filter::ProcessFilter;

/// A running Go process.
#[derive(Debug, Clone)]
pub struct GoProcess {
    /// Process id, start, and name of the executable.
    pub life: Life,
    /// Value of label `instance`: `HOST/SLOT`.
    pub instance: String,
    /// What its executable says.
    pub build: Arc<BuildInfo>,
    /// Whether the loopback addresses of the process are those of the agent.
    pub same_network: bool,
}

/// What one scan found.
#[derive(Debug, Default)]
pub struct Scan {
    /// Go processes, oldest first.
    pub processes: Vec<GoProcess>,
    /// Processes whose executable the agent may not see.
    pub hidden: u64,
    /// Go processes beyond the limit.
    pub beyond_limit: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct FileKey {
    device: u64,
    inode: u64,
    bytes: u64,
    changed_ns: (i64, i64),
}

impl FileKey {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.len(),
            changed_ns: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}

/// Finds Go processes, again and again.
#[derive(Debug)]
pub struct Discovery {
    host: String,
    only: ProcessFilter,
    ignore: ProcessFilter,
    processes_max: usize,
    known: HashMap<FileKey, Remembered>,
    scans: u64,
    slots: Slots,
    own_network: Option<PathBuf>,
}

#[derive(Debug)]
struct Remembered {
    build: Option<Arc<BuildInfo>>,
    seen_in: u64,
}

impl Discovery {
    /// Finds at most `processes_max` processes, none that a pattern of `ignore` names.
    pub fn new(host: &str, ignore: impl IntoIterator<Item = String>, processes_max: usize) -> Self {
        Self {
            host: host.to_owned(),
            only: ProcessFilter::default(),
            ignore: ProcessFilter::new(&ignore.into_iter().collect::<Vec<_>>()),
            processes_max,
            known: HashMap::new(),
            scans: 0,
            slots: Slots::default(),
            own_network: fs::read_link("/proc/self/ns/net").ok(),
        }
    }

    /// From now on finds what `only` names, or all if that is empty, and `ignore` does not; of these, at most `processes_max`.
    pub fn look_for(&mut self, only: ProcessFilter, ignore: ProcessFilter, processes_max: usize) {
        (self.only, self.ignore, self.processes_max) = (only, ignore, processes_max);
    }

    /// Looks at every process once.
    ///
    /// # Errors
    ///
    /// When `/proc` cannot be listed.
    pub fn scan(&mut self) -> std::io::Result<Scan> {
        self.scans += 1;
        let mut scan = Scan::default();
        let mut found: Vec<(Life, Arc<BuildInfo>)> = Vec::new();
        for entry in fs::read_dir("/proc")?.flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
            match self.look(pid) {
                Ok(Some((life, build))) => found.push((life, build)),
                Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => scan.hidden += 1,
                // Another language, a kernel thread, or a process that ended meanwhile.
                Ok(None) | Err(_) => {}
            }
        }
        let scans = self.scans;
        self.known.retain(|_, remembered| remembered.seen_in == scans);
        found.sort_by(|a, b| a.0.cmp(&b.0));
        scan.beyond_limit = found.len().saturating_sub(self.processes_max) as u64;
        found.truncate(self.processes_max);
        let lives: Vec<_> = found.iter().map(|(life, _)| life.clone()).collect();
        let slots = self.slots.assign(&lives);
        scan.processes =
            found.into_iter().zip(slots).map(|((life, build), slot)| self.describe(life, build, slot)).collect();
        Ok(scan)
    }

    fn look(&mut self, pid: i32) -> std::io::Result<Option<(Life, Arc<BuildInfo>)>> {
        let link = PathBuf::from(format!("/proc/{pid}/exe"));
        let key = FileKey::of(&fs::metadata(&link)?);
        let build = match self.known.get_mut(&key) {
            Some(remembered) => {
                remembered.seen_in = self.scans;
                remembered.build.clone()
            }
            None => self.remember(key, &link)?,
        };
        let Some(build) = build else { return Ok(None) };
        let name = executable_name(&fs::read_link(&link)?);
        let unwanted = !self.only.is_empty() && !self.only.has(&name, || command_line(pid));
        if unwanted || self.ignore.has(&name, || command_line(pid)) {
            return Ok(None);
        }
        let gone = |_| std::io::Error::from(std::io::ErrorKind::NotFound);
        let start_ticks = Process::new(pid).and_then(|process| process.stat()).map_err(gone)?.starttime;
        // The id may have passed to another program between the two readings; then the next scan tells.
        if FileKey::of(&fs::metadata(&link)?) != key {
            return Ok(None);
        }
        Ok(Some((Life { start_ticks, pid, name }, build)))
    }

    fn remember(&mut self, key: FileKey, link: &PathBuf) -> std::io::Result<Option<Arc<BuildInfo>>> {
        let file = File::open(link)?;
        let opened = FileKey::of(&file.metadata()?);
        // A file that cannot be read is tried again when it changes, not at each scan.
        let build = buildinfo::read(file).unwrap_or_default().map(Arc::new);
        if opened == key {
            self.known.insert(key, Remembered { build: build.clone(), seen_in: self.scans });
        }
        Ok(build)
    }

    fn describe(&self, life: Life, build: Arc<BuildInfo>, slot: u32) -> GoProcess {
        let network = fs::read_link(format!("/proc/{}/ns/net", life.pid)).ok();
        GoProcess {
            instance: format!("{}/{slot}", self.host),
            same_network: network.is_some() && network == self.own_network,
            build,
            life,
        }
    }
}

/// Longest command line that patterns see.
const COMMAND_LINE_BYTES_MAX: u64 = 16 << 10;

/// The words of the command line with blanks between them; empty where it cannot be read.
fn command_line(pid: i32) -> String {
    let mut bytes = Vec::new();
    let read = File::open(format!("/proc/{pid}/cmdline"))
        .and_then(|file| file.take(COMMAND_LINE_BYTES_MAX).read_to_end(&mut bytes));
    if read.is_err() {
        return String::new();
    }
    String::from_utf8_lossy(&bytes).trim_end_matches('\0').replace('\0', " ")
}

/// Longest executable name in labels.
const NAME_CHARS_MAX: usize = 128;

/// The last part of the path of an executable, without the mark that the kernel puts on deleted ones.
fn executable_name(path: &std::path::Path) -> String {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let name = name.strip_suffix(" (deleted)").unwrap_or(&name);
    name.chars().take(NAME_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executable_names() {
        for (path, want) in [("/usr/bin/api", "api"), ("/tmp/x/api (deleted)", "api"), ("/", "")] {
            assert_eq!(executable_name(path.as_ref()), want);
        }
    }

    #[test]
    fn this_test_is_no_go_process() {
        let mut discovery = Discovery::new("h", Vec::new(), 10);
        let scan = discovery.scan().expect("/proc is there");
        let own = i32::try_from(std::process::id()).expect("an id");
        assert!(scan.processes.iter().all(|process| process.life.pid != own));
        assert!(!discovery.known.is_empty(), "executables are remembered");
    }
}
