//! Load averages.

use super::{CollectError, Collector};
use crate::readings::{Metric, Readings};

const LOAD: [Metric; 3] = [
    Metric::gauge("node_load1", "Load average over one minute."),
    Metric::gauge("node_load5", "Load average over five minutes."),
    Metric::gauge("node_load15", "Load average over fifteen minutes."),
];

/// Reads the load averages.
#[derive(Debug)]
pub(super) struct Load;

impl Collector for Load {
    fn name(&self) -> &'static str {
        "load"
    }

    fn collect(&mut self, out: &mut Readings) -> Result<(), CollectError> {
        let load =
            sysinfo::System::load_average().map_err(|error| CollectError::new("load average", format!("{error:?}")))?;
        for (metric, value) in LOAD.iter().zip([load.one, load.five, load.fifteen]) {
            out.push(metric, &[], value);
        }
        Ok(())
    }
}
