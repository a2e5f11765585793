//! What this process uses: processor time, memory, descriptors, threads, read from `/proc/self`.
//!
//! A number that cannot be read is left out, never invented.

use std::fs;

/// Clock ticks a second in `/proc/self/stat`: fixed at 100 on every Linux that user space sees.
const TICKS_PER_SECOND: f64 = 100.0;

/// One look at the process.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct ProcessUse {
    pub(crate) cpu_seconds: Option<f64>,
    pub(crate) resident_bytes: Option<u64>,
    pub(crate) virtual_bytes: Option<u64>,
    pub(crate) threads: Option<u64>,
    pub(crate) open_fds: Option<u64>,
    pub(crate) max_fds: Option<u64>,
}

impl ProcessUse {
    /// Reads the numbers now.
    pub(crate) fn read() -> Self {
        let text = |name: &str| fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
        let mut used = Self::parse(&text("stat"), &text("status"), &text("limits"));
        used.open_fds = fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count() as u64);
        used
    }

    fn parse(stat: &str, status: &str, limits: &str) -> Self {
        Self {
            cpu_seconds: cpu_seconds(stat),
            resident_bytes: status_number(status, "VmRSS:").map(|kib| kib.saturating_mul(1024)),
            virtual_bytes: status_number(status, "VmSize:").map(|kib| kib.saturating_mul(1024)),
            threads: status_number(status, "Threads:"),
            open_fds: None,
            max_fds: limits
                .lines()
                .find_map(|line| line.strip_prefix("Max open files"))
                .and_then(|rest| rest.split_whitespace().next()?.parse().ok()),
        }
    }
}

/// Memory of this process that no file backs, in bytes: field two of `/proc/self/statm` without field three, in pages.
pub(crate) fn anonymous_bytes() -> Option<u64> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let mut pages = statm.split_whitespace().skip(1).map_while(|field| field.parse::<u64>().ok());
    let (resident, shared) = (pages.next()?, pages.next()?);
    Some(resident.saturating_sub(shared).saturating_mul(rustix::param::page_size() as u64))
}

/// User and system time: fields 14 and 15. The command in field 2 may itself hold spaces and parentheses.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u32>().ok().map(f64::from);
    Some((ticks()? + ticks()?) / TICKS_PER_SECOND)
}

fn status_number(status: &str, name: &str) -> Option<u64> {
    let rest = status.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 9 0 1 2 3";
        let status = "Name:\tx\nVmSize:\t  2048 kB\nVmRSS:\t 1024 kB\nThreads:\t9\n";
        let limits =
            "Limit  Soft  Hard  Units\nMax open files            1024                 4096                 files\n";
        let want = ProcessUse {
            cpu_seconds: Some(3.0),
            resident_bytes: Some(1 << 20),
            virtual_bytes: Some(2 << 20),
            threads: Some(9),
            open_fds: None,
            max_fds: Some(1024),
        };
        assert_eq!(ProcessUse::parse(stat, status, limits), want);
        assert_eq!(ProcessUse::parse("", "VmRSS:", "Max open files unlimited"), ProcessUse::default());
    }

    #[test]
    fn this_process_uses_something() {
        let used = ProcessUse::read();
        assert!(used.resident_bytes.is_some_and(|bytes| bytes > 1 << 16), "{used:?}");
        assert!(used.open_fds.is_some_and(|fds| fds >= 3), "{used:?}");
        assert!(used.cpu_seconds.is_some() && used.max_fds.is_some() && used.threads.is_some(), "{used:?}");
    }
}
