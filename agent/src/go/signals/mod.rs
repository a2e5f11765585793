//! Derived signals: what the numbers of a Go process mean together, computed once, where they pass by.
//!
//! Readings of every way (memory, pages, what programs push) are [observed](Signals::observe) as they go out; at each
//! poll [`SignalsCollector`] writes one series a signal and process, `go_signal_*`. A signal whose numbers a way does not give is left
//! out. Changes are over the last minute. What each signal means, and which sentence goes with it, is in `docs/agent.md`.

mod group;
mod numbers;
mod process;
mod quantile;
mod table;
mod track;

use std::collections::HashMap;
use std::sync::Arc;

use model::LabelsRef;
use parking_lot::Mutex;

use self::group::Groups;
pub use self::group::{Limits, limits};
use self::numbers::Number;
use self::process::Process;
pub use self::quantile::quantiles_between;
use super::SharedProcesses;
use crate::collect::{CollectError, Collector};
use crate::readings::{Readings, Values};

/// Most processes that are followed; of others nothing is derived.
const PROCESSES_MAX: usize = 1_000;
/// A process nothing was heard of for so long is forgotten, in milliseconds.
const FORGOTTEN_AFTER_MS: i64 = 300_000;

/// The processes of which signals are derived, by `job` and `instance`. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Signals {
    processes: Arc<Mutex<HashMap<(String, String), Process>>>,
}

impl Signals {
    /// Takes what matters of a round that goes out.
    pub fn observe<'r>(&self, rows: impl Iterator<Item = (LabelsRef<'r>, Values<'r>)>) {
        let mut processes = self.processes.lock();
        for (labels, values) in rows {
            let Some(number) = labels.get(model::METRIC_NAME).and_then(Number::named) else { continue };
            let (Some(job), Some(instance)) = (labels.get("job"), labels.get("instance")) else { continue };
            let key = (job.to_owned(), instance.to_owned());
            let known = processes.len() < PROCESSES_MAX || processes.contains_key(&key);
            if known {
                processes.entry(key).or_default().take(number, values);
            }
        }
    }

    fn derive(&self, groups: &mut Groups, out: &mut Readings) {
        let now_ms = out.timestamp_ms();
        let mut processes = self.processes.lock();
        processes.retain(|_, process| now_ms.saturating_sub(process.heard_ms()) <= FORGOTTEN_AFTER_MS);
        for ((job, instance), process) in &mut *processes {
            let group = groups.of(job, instance, now_ms);
            process.derive(now_ms, group, &mut |signal, quantile, value| {
                let labels = [("job", job.as_str()), ("instance", instance.as_str()), ("quantile", quantile)];
                let used = if quantile.is_empty() { &labels[..2] } else { &labels[..] };
                out.push(signal, used, value);
            });
        }
    }
}

/// Writes the signals of all processes.
#[derive(Debug)]
pub struct SignalsCollector {
    signals: Signals,
    groups: Groups,
}

impl SignalsCollector {
    /// Writes what `signals` heard; the control groups are those of `processes`.
    pub fn new(signals: Signals, processes: SharedProcesses) -> Self {
        Self { signals, groups: Groups::new(processes) }
    }
}

impl Collector for SignalsCollector {
    fn name(&self) -> &'static str {
        "signals"
    }

    fn collect(&mut self, out: &mut Readings) -> Result<(), CollectError> {
        self.signals.derive(&mut self.groups, out);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use model::{LabelsBuilder, METRIC_NAME};

    use super::*;

    /// Rounds as they go out, `rounds` of them, of two processes, one of which has a target's labels alone.
    fn collected(rounds: i32) -> Readings {
        let signals = Signals::default();
        let mut collector = SignalsCollector::new(signals.clone(), SharedProcesses::default());
        let mut told = Readings::new(0);
        for round in 0..rounds {
            let now_ms = i64::from(round) * 10_000;
            let mut out = Readings::new(now_ms);
            for instance in ["h/0", "h/1"] {
                out.set_target([("job", "api"), ("instance", instance)]);
                out.push_named("go_gc_cycles_total_gc_cycles_total", &[], f64::from(round));
                out.push_named("go_goroutines", &[], 5.0);
            }
            let mut builder = LabelsBuilder::new();
            builder.push(METRIC_NAME, "go_gc_cycles_total_gc_cycles_total");
            let lonely = builder.build().expect("labels");
            out.push_series(lonely.as_ref(), 1.0);
            signals.observe(out.iter());
            told = Readings::new(now_ms);
            collector.collect(&mut told).expect("collects");
        }
        told
    }

    #[test]
    fn each_process_is_told_of_under_its_own_labels() {
        let told = collected(4);
        let names: Vec<String> = told.iter().map(|(labels, _)| labels.to_string()).collect();
        assert_eq!(names.len(), 2, "{names:?}");
        for instance in ["h/0", "h/1"] {
            let series = format!(r#"go_signal_gc_cycles_per_minute{{instance="{instance}", job="api"}}"#);
            assert_eq!(told.value_of(&series), Some(6.0), "{names:?}");
        }
        assert!(collected(1).is_empty(), "one round says nothing of changes");
    }

    #[test]
    fn processes_are_bounded_and_forgotten() {
        let signals = Signals::default();
        let mut collector = SignalsCollector::new(signals.clone(), SharedProcesses::default());
        let mut out = Readings::new(0);
        for at in 0..PROCESSES_MAX + 10 {
            out.set_target([("job", "api"), ("instance", at.to_string().as_str())]);
            out.push_named("go_sched_gomaxprocs_threads", &[], 2.0);
        }
        signals.observe(out.iter());
        assert_eq!(signals.processes.lock().len(), PROCESSES_MAX);
        collector.collect(&mut Readings::new(FORGOTTEN_AFTER_MS + 1)).expect("collects");
        assert!(signals.processes.lock().is_empty());
    }
}
