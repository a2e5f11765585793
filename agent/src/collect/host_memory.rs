//! Memory and swap: every line of `/proc/meminfo` under the name `node_exporter` gives it, and the paging counters.

use model::{MetricKind, MetricMetadata};

use super::{CollectError, Collector, float, read_proc};
use crate::readings::{Metric, Readings};

/// Counters of `/proc/vmstat` that are kept.
const PAGING: [(&str, Metric); 7] = [
    ("pgfault", Metric::counter("node_vmstat_pgfault", "Page faults.")),
    ("pgmajfault", Metric::counter("node_vmstat_pgmajfault", "Page faults that read from a device.")),
    ("pgpgin", Metric::counter("node_vmstat_pgpgin", "KiB read from devices.")),
    ("pgpgout", Metric::counter("node_vmstat_pgpgout", "KiB written to devices.")),
    ("pswpin", Metric::counter("node_vmstat_pswpin", "Pages read from swap.")),
    ("pswpout", Metric::counter("node_vmstat_pswpout", "Pages written to swap.")),
    ("oom_kill", Metric::counter("node_vmstat_oom_kill", "Processes killed for lack of memory.")),
];

/// Reads `/proc/meminfo` and `/proc/vmstat`.
#[derive(Debug)]
pub(super) struct Memory;

impl Collector for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn collect(&mut self, out: &mut Readings) -> Result<(), CollectError> {
        write_meminfo(&read_proc("/proc/meminfo")?, out);
        write_vmstat(&read_proc("/proc/vmstat")?, out);
        Ok(())
    }
}

/// Writes lines such as `Active(anon):  12 kB` as `node_memory_Active_anon_bytes`; numbers without a unit keep their name.
fn write_meminfo(text: &str, out: &mut Readings) {
    for line in text.lines() {
        let Some((field, rest)) = line.split_once(':') else { continue };
        let mut words = rest.split_ascii_whitespace();
        let Some(number) = words.next().and_then(|word| word.parse::<u64>().ok()) else { continue };
        let field = field.trim().replace('(', "_").replace(')', "");
        let (name, value) = match words.next() {
            Some("kB") => (format!("node_memory_{field}_bytes"), float(number) * 1024.0),
            _ => (format!("node_memory_{field}"), float(number)),
        };
        out.describe(&name, || MetricMetadata {
            kind: MetricKind::Gauge,
            unit: String::new(),
            help: format!("Field {field} of /proc/meminfo."),
        });
        out.push_named(&name, &[], value);
    }
}

fn write_vmstat(text: &str, out: &mut Readings) {
    for line in text.lines() {
        let Some((field, number)) = line.split_once(' ') else { continue };
        let Some((_, metric)) = PAGING.iter().find(|(name, _)| *name == field) else { continue };
        if let Ok(number) = number.trim().parse::<u64>() {
            out.push(metric, &[], float(number));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_node_exporter() {
        let mut out = Readings::new(1);
        write_meminfo("MemTotal:  4 kB\nActive(anon):   1 kB\nHugePages_Total:  3\nBroken\nBad: x kB\n", &mut out);
        write_vmstat("nr_free_pages 1\npgfault 9\npgmajfault x\n", &mut out);
        let check = |series, want| assert_eq!(out.value_of(series), Some(want), "{series}");
        check("node_memory_MemTotal_bytes", 4096.0);
        check("node_memory_Active_anon_bytes", 1024.0);
        check("node_memory_HugePages_Total", 3.0);
        check("node_vmstat_pgfault", 9.0);
        assert_eq!(out.len(), 4);
    }
}
