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
        if let Ok(cores) = std::thread::available_parallelism() {
            out.push(&CORES, &[], float(cores.get() as u64));
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
