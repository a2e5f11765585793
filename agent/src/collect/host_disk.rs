//! Reads, writes and busy time of block devices, from `/proc/diskstats`.

use std::path::Path;

use procfs::DiskStat;

use super::{CollectError, Collector, float};
use crate::readings::{Metric, Readings};

/// `/proc/diskstats` counts sectors of this size whatever the device's own is.
const SECTOR_BYTES: u64 = 512;

const READS: Metric = Metric::counter("node_disk_reads_completed_total", "Reads completed.");
const READS_MERGED: Metric = Metric::counter("node_disk_reads_merged_total", "Reads merged with others.");
const READ_BYTES: Metric = Metric::counter("node_disk_read_bytes_total", "Bytes read.");
const READ_SECONDS: Metric = Metric::counter("node_disk_read_time_seconds_total", "Seconds spent by all reads.");
const WRITES: Metric = Metric::counter("node_disk_writes_completed_total", "Writes completed.");
const WRITES_MERGED: Metric = Metric::counter("node_disk_writes_merged_total", "Writes merged with others.");
const WRITTEN_BYTES: Metric = Metric::counter("node_disk_written_bytes_total", "Bytes written.");
const WRITE_SECONDS: Metric = Metric::counter("node_disk_write_time_seconds_total", "Seconds spent by all writes.");
const IO_NOW: Metric = Metric::gauge("node_disk_io_now", "Reads and writes under way.");
const IO_SECONDS: Metric = Metric::counter("node_disk_io_time_seconds_total", "Seconds the device was busy.");
const IO_WEIGHTED: Metric = Metric::counter(
    "node_disk_io_time_weighted_seconds_total",
    "Seconds the device was busy times requests under way.",
);

/// Beginnings of the names of devices that hold no disk.
const NO_DISKS: [&str; 4] = ["fd", "loop", "ram", "zram"];

/// Reads `/proc/diskstats`.
#[derive(Debug)]
pub(super) struct Disk;

impl Collector for Disk {
    fn name(&self) -> &'static str {
        "disk"
    }

    fn collect(&mut self, out: &mut Readings) -> Result<(), CollectError> {
        let stats = procfs::diskstats().map_err(|error| CollectError::new("/proc/diskstats", error))?;
        // Partitions have no folder of their own in /sys/block.
        for stat in stats
            .iter()
            .filter(|stat| is_disk(&stat.name) && Path::new("/sys/block").join(sys_name(&stat.name)).exists())
        {
            write(stat, out);
        }
        Ok(())
    }
}

/// Whether a device of this name can be a disk.
fn is_disk(name: &str) -> bool {
    !NO_DISKS.iter().any(|prefix| {
        name.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|c| c.is_ascii_digit()))
    })
}

/// The name of a device in `/sys`, where `/` in a name is `!`.
fn sys_name(name: &str) -> String {
    name.replace('/', "!")
}

fn write(stat: &DiskStat, out: &mut Readings) {
    let labels = [("device", stat.name.as_str())];
    let seconds = |ms: u64| float(ms) / 1000.0;
    let bytes = |sectors: u64| float(sectors) * float(SECTOR_BYTES);
    for (metric, value) in [
        (&READS, float(stat.reads)),
        (&READS_MERGED, float(stat.merged)),
        (&READ_BYTES, bytes(stat.sectors_read)),
        (&READ_SECONDS, seconds(stat.time_reading)),
        (&WRITES, float(stat.writes)),
        (&WRITES_MERGED, float(stat.writes_merged)),
        (&WRITTEN_BYTES, bytes(stat.sectors_written)),
        (&WRITE_SECONDS, seconds(stat.time_writing)),
        (&IO_NOW, float(stat.in_progress)),
        (&IO_SECONDS, seconds(stat.time_in_progress)),
        (&IO_WEIGHTED, seconds(stat.weighted_time_in_progress)),
    ] {
        out.push(metric, &labels, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn diskstats_become_seconds_and_bytes() {
        let stat = DiskStat::from_line("   8       0 sda 10 20 30 4000 50 60 70 8000 9 1000 11000").expect("a line");
        let mut out = Readings::new(1);
        write(&stat, &mut out);
        let check =
            |name: &str, want| assert_eq!(out.value_of(&format!("{name}{{device=\"sda\"}}")), Some(want), "{name}");
        check("node_disk_reads_completed_total", 10.0);
        check("node_disk_read_bytes_total", 30.0 * 512.0);
        check("node_disk_read_time_seconds_total", 4.0);
        check("node_disk_writes_merged_total", 60.0);
        check("node_disk_written_bytes_total", 70.0 * 512.0);
        check("node_disk_write_time_seconds_total", 8.0);
        check("node_disk_io_now", 9.0);
        check("node_disk_io_time_seconds_total", 1.0);
        check("node_disk_io_time_weighted_seconds_total", 11.0);
    }

    #[test]
    fn which_devices_are_disks() {
        for (name, want) in [("sda", true), ("nvme0n1", true), ("fd0", false), ("loop12", false), ("ramdisk", true)] {
            assert_eq!(is_disk(name), want, "{name}");
        }
    }
}
