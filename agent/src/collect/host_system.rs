//! What the host is: kernel, operating system, boot time, clock, open files, limits of its control group.

use sysinfo::System as Info;

use super::{CollectError, Collector, float, read_proc};
use crate::readings::{Metric, Readings};

const BOOT: Metric = Metric::gauge("node_boot_time_seconds", "When the host booted, in seconds since the Unix epoch.");
const TIME: Metric = Metric::gauge("node_time_seconds", "The host's time, in seconds since the Unix epoch.");
const UNAME: Metric = Metric::gauge("node_uname_info", "Kernel and host name; always 1.");
const OS: Metric = Metric::gauge("node_os_info", "Operating system; always 1.");
const CORES: Metric = Metric::gauge("metrickit_host_cores", "Processors that are online.");
const FILES: Metric = Metric::gauge("node_filefd_allocated", "File handles in use.");
const FILES_MAX: Metric = Metric::gauge("node_filefd_maximum", "Most file handles.");

/// Reads what hardly changes.
#[derive(Debug)]
pub(super) struct System;

impl Collector for System {
    fn name(&self) -> &'static str {
        "system"
    }

    fn collect(&mut self, out: &mut Readings) -> Result<(), CollectError> {
        let seconds = Info::boot_time().map_err(|error| CollectError::new("boot time", format!("{error:?}")))?;
        out.push(&BOOT, &[], float(seconds));
        out.push(&TIME, &[], float(out.timestamp_ms().unsigned_abs()) / 1000.0);
        let uname = rustix::system::uname();
        let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
        out.push(
            &UNAME,
            &[
                ("sysname", &text(uname.sysname())),
                ("nodename", &text(uname.nodename())),
                ("release", &text(uname.release())),
                ("version", &text(uname.version())),
                ("machine", &text(uname.machine())),
                ("domainname", &text(uname.domainname())),
            ],
            1.0,
        );
        let version = Info::os_version().unwrap_or_default();
        let pretty = Info::long_os_version().unwrap_or_default();
        let labels = [
            ("id", Info::distribution_id()),
            ("name", Info::name().unwrap_or_default()),
            ("version_id", version),
            ("pretty_name", pretty),
        ];
        out.push(&OS, &labels.each_ref().map(|(name, value)| (*name, value.as_str())), 1.0);
        // Not what this process may use, which its affinity and the quota of its control group say.
        let cores = read_proc("/sys/devices/system/cpu/online").ok().and_then(|text| online(&text));
        if let Some(cores) = cores.or_else(|| read_proc("/proc/stat").ok().map(|text| listed(&text))) {
            out.push(&CORES, &[], float(cores));
        }
        let files = read_proc("/proc/sys/fs/file-nr")?;
        let mut numbers = files.split_ascii_whitespace().map(str::parse::<u64>);
        if let (Some(Ok(used)), _, Some(Ok(most))) = (numbers.next(), numbers.next(), numbers.next()) {
            out.push(&FILES, &[], float(used));
            out.push(&FILES_MAX, &[], float(most));
        }
        Ok(())
    }
}

/// How many processors `/proc/stat` has a line of.
fn listed(stat: &str) -> u64 {
    let is_one =
        |line: &&str| line.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    stat.lines().filter(is_one).count() as u64
}

/// How many processors a list such as `0-3,6` has; none where it is no list.
fn online(text: &str) -> Option<u64> {
    let count = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (first.parse::<u32>().ok()?, last.parse::<u32>().ok()?);
        Some(u64::from(last.checked_sub(first)?) + 1)
    };
    text.trim().split(',').map(count).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_of_a_list() {
        let cases = [("0\n", 1), ("0-63\n", 64), ("0-3,6,8-9", 7), ("1-1", 1)];
        for (list, want) in cases {
            assert_eq!(online(list), Some(want), "{list}");
        }
        for list in ["", "\n", "3-1", "a", "0-"] {
            assert_eq!(online(list), None, "{list}");
        }
    }

    #[test]
    fn processors_are_those_of_the_host() {
        let mut out = Readings::new(1);
        System.collect(&mut out).expect("collects");
        let stat = read_proc("/proc/stat").expect("read");
        let lines = stat.lines().filter(|line| line.starts_with("cpu") && !line.starts_with("cpu ")).count();
        assert_eq!(out.value_of("metrickit_host_cores"), Some(float(lines as u64)));
    }
}
