//! Finds the Go processes of the host: every `/proc/PID/exe` that has Go build information.
//!
//! A look at a process costs one stat(2); an executable is opened once and remembered by device, inode, size and time of
//! change, so that `exec`, upgrades in place and deleted executables are seen. A process that has been there for a while is
//! looked at more seldom than one that is new and may be about to `exec`. Kernel threads have no executable.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, Metadata};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::control::ProcessName;
use procfs::process::Process;

use super::buildinfo::{self, BuildInfo};
use super::identity::{Identities, Identity, Life};
use super::kept_names::KeptNames;
use super::ways::ProcessKey;
use crate::filter::ProcessFilter;
use crate::receive::SdkProcesses;

/// How long a process is looked at in every scan.
const YOUNG: Duration = Duration::from_mins(1);
/// How long an older one counts as what it was when it was looked at. A little less than ten seconds, so that scans every
/// two seconds look at each fifth time.
const LOOK_AGAIN: Duration = Duration::from_millis(9500);

/// A running Go process.
#[derive(Debug, Clone)]
pub struct GoProcess {
    /// Process id, start, and name of the executable.
    pub life: Life,
    /// Value of label `job`: what it calls itself where it pushes, else the name of its executable.
    pub job: String,
    /// Value of label `instance`: what it calls itself where it pushes, else `HOST/SLOT`.
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

impl Scan {
    /// Whether `other` found the same.
    pub fn is_like(&self, other: &Self) -> bool {
        let same = |(one, two): (&GoProcess, &GoProcess)| {
            one.life == two.life
                && (&one.job, &one.instance) == (&two.job, &two.instance)
                && one.same_network == two.same_network
                && (Arc::ptr_eq(&one.build, &two.build) || one.build == two.build)
        };
        (self.hidden, self.beyond_limit) == (other.hidden, other.beyond_limit)
            && self.processes.len() == other.processes.len()
            && self.processes.iter().zip(&other.processes).all(same)
    }

    /// The processes called `name`. Where there is none, the one whose id stands in place of the slot, as in `web1/pid-4711`: the host in
    /// `instance` leads to an agent, and what a program calls itself may have another one.
    pub fn named(&self, name: &ProcessName) -> Vec<&GoProcess> {
        let fits = |process: &&GoProcess| {
            (name.job.is_empty() || process.job == name.job) && (name.pid == 0 || process.life.pid == name.pid)
        };
        let found: Vec<_> = self.processes.iter().filter(|process| process.instance == name.instance).collect();
        if !found.is_empty() {
            return found.into_iter().filter(fits).collect();
        }
        let pid = name.instance.rsplit_once("/pid-").and_then(|(_, pid)| pid.parse::<i32>().ok());
        self.processes.iter().filter(fits).filter(|process| Some(process.life.pid) == pid).collect()
    }
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
    only: ProcessFilter,
    ignore: ProcessFilter,
    processes_max: usize,
    known: HashMap<FileKey, Remembered>,
    seen: HashMap<i32, Seen>,
    scans: u64,
    identities: Identities,
    sdk: SdkProcesses,
    kept: Option<KeptNames>,
    own_network: Option<PathBuf>,
}

#[derive(Debug)]
struct Remembered {
    build: Option<Arc<BuildInfo>>,
    seen_in: u64,
}

/// What is known of the process with one id.
#[derive(Debug)]
struct Seen {
    first: Instant,
    looked: Instant,
    /// Its executable, where it has one that may be seen.
    file: Option<FileKey>,
    is: Is,
}

impl Seen {
    fn counts_at(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.first) > YOUNG && now.saturating_duration_since(self.looked) < LOOK_AGAIN
    }
}

/// What a process is.
#[derive(Debug, Clone)]
enum Is {
    Go(Found),
    /// Its executable may not be seen.
    Hidden,
    /// Another language, a kernel thread, one that nobody asked for, or one that ended meanwhile.
    Other,
}

#[derive(Debug, Clone)]
struct Found {
    life: Life,
    build: Arc<BuildInfo>,
    same_network: bool,
}

impl Discovery {
    /// Finds at most `processes_max` processes, none that a pattern of `ignore` names.
    pub fn new(host: &str, ignore: impl IntoIterator<Item = String>, processes_max: usize) -> Self {
        Self {
            only: ProcessFilter::default(),
            ignore: ProcessFilter::new(&ignore.into_iter().collect::<Vec<_>>()),
            processes_max,
            known: HashMap::new(),
            seen: HashMap::new(),
            scans: 0,
            identities: Identities::new(host),
            sdk: SdkProcesses::default(),
            kept: None,
            own_network: fs::read_link("/proc/self/ns/net").ok(),
        }
    }

    /// The same, which calls processes in `sdk` what they call themselves, and makes it forget those that ended.
    #[must_use]
    pub fn adopting(self, sdk: SdkProcesses) -> Self {
        Self { sdk, ..self }
    }

    /// The same, which keeps what processes are called in a file in `folder`, and goes by what was kept there.
    #[must_use]
    pub fn remembering(mut self, folder: &Path) -> Self {
        let (kept, names) = KeptNames::open(folder);
        self.identities.restore(names);
        self.kept = Some(kept);
        self
    }

    /// From now on finds what `only` names, or all if that is empty, and `ignore` does not; of these, at most `processes_max`.
    pub fn look_for(&mut self, only: ProcessFilter, ignore: ProcessFilter, processes_max: usize) {
        (self.only, self.ignore, self.processes_max) = (only, ignore, processes_max);
        self.seen.clear();
    }

    /// Looks at every process.
    ///
    /// # Errors
    ///
    /// When `/proc` cannot be listed.
    pub fn scan(&mut self) -> std::io::Result<Scan> {
        self.seen.clear();
        self.follow(Instant::now())
    }

    /// As [`scan`](Self::scan), for one who looks again and again: what was looked at a moment before `now` counts as what it
    /// was, unless it is so young that it may become another.
    ///
    /// # Errors
    ///
    /// When `/proc` cannot be listed.
    pub fn follow(&mut self, now: Instant) -> std::io::Result<Scan> {
        self.scans += 1;
        let mut scan = Scan::default();
        let mut found: Vec<Found> = Vec::new();
        let mut before = std::mem::take(&mut self.seen);
        for entry in fs::read_dir("/proc")?.flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
            let known = before.remove(&pid);
            let seen = match known {
                Some(seen) if seen.counts_at(now) => {
                    if let Some(file) = seen.file.and_then(|file| self.known.get_mut(&file)) {
                        file.seen_in = self.scans;
                    }
                    seen
                }
                _ => {
                    let first = known.map_or(now, |seen| seen.first);
                    // What became another program just now is looked at in the next scan.
                    let Some((file, is)) = self.judge(pid) else { continue };
                    Seen { first, looked: now, file, is }
                }
            };
            match &seen.is {
                Is::Go(process) => found.push(process.clone()),
                Is::Hidden => scan.hidden += 1,
                Is::Other => {}
            }
            self.seen.insert(pid, seen);
        }
        let scans = self.scans;
        self.known.retain(|_, remembered| remembered.seen_in == scans);
        found.sort_by(|a, b| a.life.cmp(&b.life));
        scan.beyond_limit = found.len().saturating_sub(self.processes_max) as u64;
        found.truncate(self.processes_max);
        let lives: Vec<_> = found.iter().map(|process| process.life.clone()).collect();
        let keys: HashSet<ProcessKey> = lives.iter().map(ProcessKey::from).collect();
        self.sdk.keep(|key| keys.contains(&key) || is_running(key));
        let called = self.identities.assign(&lives, &self.sdk.identities());
        if let Some(kept) = &mut self.kept {
            kept.save(|| self.identities.names(), now);
        }
        scan.processes = found.into_iter().zip(called).map(|(found, called)| describe(found, called)).collect();
        Ok(scan)
    }

    /// What process `pid` is, with its executable; nothing when it became another program meanwhile.
    fn judge(&mut self, pid: i32) -> Option<(Option<FileKey>, Is)> {
        let link = PathBuf::from(format!("/proc/{pid}/exe"));
        let key = match fs::metadata(&link) {
            Ok(metadata) => FileKey::of(&metadata),
            Err(error) => return Some((None, without(&error))),
        };
        let is = match self.look(pid, &link, key) {
            Ok(Some(found)) => {
                // The id may have passed to another program between the two readings.
                fs::metadata(&link).ok().filter(|metadata| FileKey::of(metadata) == key)?;
                Is::Go(found)
            }
            Ok(None) => Is::Other,
            Err(error) => without(&error),
        };
        Some((Some(key), is))
    }

    fn look(&mut self, pid: i32, link: &Path, key: FileKey) -> std::io::Result<Option<Found>> {
        let build = match self.known.get_mut(&key) {
            Some(remembered) => {
                remembered.seen_in = self.scans;
                remembered.build.clone()
            }
            None => self.remember(key, link)?,
        };
        let Some(build) = build else { return Ok(None) };
        let name = executable_name(&fs::read_link(link)?);
        let unwanted = !self.only.is_empty() && !self.only.has(&name, || command_line(pid));
        if unwanted || self.ignore.has(&name, || command_line(pid)) {
            return Ok(None);
        }
        let gone = |_| std::io::Error::from(std::io::ErrorKind::NotFound);
        let start_ticks = Process::new(pid).and_then(|process| process.stat()).map_err(gone)?.starttime;
        let network = fs::read_link(format!("/proc/{pid}/ns/net")).ok();
        let same_network = network.is_some() && network == self.own_network;
        Ok(Some(Found { life: Life { start_ticks, pid, name }, build, same_network }))
    }

    fn remember(&mut self, key: FileKey, link: &Path) -> std::io::Result<Option<Arc<BuildInfo>>> {
        let file = File::open(link)?;
        let opened = FileKey::of(&file.metadata()?);
        // A file that cannot be read is tried again when it changes, not at each scan.
        let build = buildinfo::read(file).unwrap_or_default().map(Arc::new);
        if opened == key {
            self.known.insert(key, Remembered { build: build.clone(), seen_in: self.scans });
        }
        Ok(build)
    }
}

fn describe(found: Found, called: Identity) -> GoProcess {
    let (Found { life, build, same_network }, Identity { job, instance }) = (found, called);
    GoProcess { life, job, instance, build, same_network }
}

/// What a process is whose executable cannot be looked at.
fn without(error: &std::io::Error) -> Is {
    if error.kind() == std::io::ErrorKind::PermissionDenied { Is::Hidden } else { Is::Other }
}

/// State of a process that ended and whose parent has not asked for it.
const ZOMBIE: char = 'Z';

/// Whether the process still runs.
fn is_running(key: ProcessKey) -> bool {
    let stat = Process::new(key.pid).and_then(|process| process.stat());
    stat.is_ok_and(|stat| stat.starttime == key.start_ticks && stat.state != ZOMBIE)
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
    fn processes_are_found_by_name_or_id() {
        let process = |pid: i32, job: &str, instance: &str| GoProcess {
            life: Life { start_ticks: 1, pid, name: "api".to_owned() },
            job: job.to_owned(),
            instance: instance.to_owned(),
            build: Arc::default(),
            same_network: true,
        };
        let processes = vec![process(7, "shop", "box/0"), process(8, "cart", "box/0"), process(9, "api", "web1/0")];
        let scan = Scan { processes, ..Scan::default() };
        for (job, instance, want) in [
            ("", "box/0", &[7, 8][..]),
            ("cart", "box/0", &[8]),
            ("api", "box/0", &[]),
            ("", "web1/pid-7", &[7]),
            ("shop", "web1/pid-7", &[7]),
            ("cart", "web1/pid-7", &[]),
            ("", "web1/7", &[]),
        ] {
            let found = scan.named(&ProcessName::new(job, instance));
            let found: Vec<i32> = found.iter().map(|process| process.life.pid).collect();
            assert_eq!(found, want, "{job} {instance}");
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

    /// When process `pid` was looked at by a look for processes at `at`; nothing when it is not known then.
    fn looked(discovery: &mut Discovery, pid: i32, at: Instant) -> Option<Instant> {
        discovery.follow(at).expect("/proc is there");
        discovery.seen.get(&pid).map(|seen| seen.looked)
    }

    #[test]
    fn an_old_process_is_looked_at_seldom_and_gone_at_once() {
        let mut child = std::process::Command::new("sleep").arg("600").spawn().expect("started");
        let pid = i32::try_from(child.id()).expect("an id");
        let mut discovery = Discovery::new("h", Vec::new(), 10);
        let begin = Instant::now();
        let at = |seconds: u64| begin + Duration::from_secs(seconds);
        for second in (0..=60).step_by(2) {
            assert_eq!(looked(&mut discovery, pid, at(second)), Some(at(second)), "it may become another program");
        }
        let known = discovery.known.len();
        for (second, want) in [(62, 60), (68, 60), (70, 70), (72, 70), (80, 80), (3_600, 3_600)] {
            assert_eq!(looked(&mut discovery, pid, at(second)), Some(at(want)), "second {second}");
        }
        assert!(discovery.known.len() >= known.min(2), "executables are remembered though nobody looked at them");
        discovery.look_for(ProcessFilter::default(), ProcessFilter::default(), 10);
        assert_eq!(looked(&mut discovery, pid, at(3_602)), Some(at(3_602)), "others are looked for");
        child.kill().expect("it runs");
        child.wait().expect("it ends");
        assert_eq!(looked(&mut discovery, pid, at(3_603)), None);
    }

    #[test]
    fn scans_that_found_the_same() {
        let called = |start_ticks, job: &str| GoProcess {
            life: Life { start_ticks, pid: 7, name: "api".into() },
            job: job.into(),
            instance: "h/0".into(),
            build: Arc::default(),
            same_network: true,
        };
        let process = |start_ticks| called(start_ticks, "api");
        let scan = |processes| Scan { processes, ..Scan::default() };
        assert!(!scan(vec![process(1)]).is_like(&scan(vec![called(1, "shop")])), "it is called otherwise");
        assert!(scan(vec![process(1)]).is_like(&scan(vec![process(1)])));
        assert!(!scan(vec![process(1)]).is_like(&scan(vec![process(2)])));
        assert!(!scan(vec![process(1)]).is_like(&scan(Vec::new())));
        assert!(!scan(Vec::new()).is_like(&Scan { hidden: 1, ..Scan::default() }));
    }
}
