//! The machine that figures are of, in one line.

use std::fs;

use serde::Serialize;

use crate::render::number::short;
use crate::render::unit::BYTES;

/// What the machine is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Machine {
    /// Processors that this process may use.
    pub(super) cores: usize,
    pub(super) processor: String,
    pub(super) memory_bytes: Option<u64>,
    pub(super) kernel: String,
}

impl Machine {
    /// The one this runs on.
    pub(super) fn this() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, key: &str| {
            let line = text.lines().find(|line| line.starts_with(key))?;
            line.split_once(':').map(|(_, value)| value.trim().to_owned())
        };
        let memory = field(&read("/proc/meminfo"), "MemTotal");
        let kib = memory.and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok());
        let unknown = || "unknown".to_owned();
        Self {
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            processor: field(&read("/proc/cpuinfo"), "model name").unwrap_or_else(unknown),
            memory_bytes: kib.map(|kib| kib * 1024),
            kernel: Some(read("/proc/sys/kernel/osrelease").trim().to_owned())
                .filter(|kernel| !kernel.is_empty())
                .unwrap_or_else(unknown),
        }
    }

    /// For people.
    pub(super) fn line(&self) -> String {
        let memory = self.memory_bytes.map_or_else(|| "unknown".to_owned(), |bytes| short(bytes as f64, BYTES));
        let cores = if self.cores == 1 { "1 core".to_owned() } else { format!("{} cores", self.cores) };
        format!("{cores} ({}), {memory} memory, Linux {}", self.processor, self.kernel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_is_one_line() {
        let machine = Machine {
            cores: 2,
            processor: "AMD EPYC".to_owned(),
            memory_bytes: Some(24 << 30),
            kernel: "6.18.44".to_owned(),
        };
        assert_eq!(machine.line(), "2 cores (AMD EPYC), 24GiB memory, Linux 6.18.44");
        let this = Machine::this();
        assert!(this.cores >= 1 && this.memory_bytes.is_some_and(|bytes| bytes > 1 << 20), "{this:?}");
        assert!(!this.line().contains('\n'));
    }
}
