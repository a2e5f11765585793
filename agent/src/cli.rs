//! What the two binaries share: options to a running agent, `--once` and `--print-config`, signals to a stop.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use model::exposition::{Family, FamilySample, TextFormat, write_families};
use model::labels::BUCKET_LABEL;
use model::{Clock, Labels, LabelsBuilder, METRIC_NAME, MetricMetadata, SystemClock};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::args::AgentArgs;
use crate::config::value::masked;
use crate::control::{Loaded, Source};
use crate::readings::Readings;
use crate::run::{self, AgentError};
use crate::send::classic::{self, Part};
use crate::send::encode::External;
use crate::stop::StopFlag;

/// Runs the agent as `args` say until `stop`; tables and readings go to `out`. The caller has set up logging.
pub fn main_with(args: &AgentArgs, stop: &StopFlag, out: &mut dyn Write) -> ExitCode {
    let source = Source::new(args.clone());
    let loaded = match source.load() {
        Ok(loaded) => loaded,
        Err(error) => return refuse(&error),
    };
    let Loaded { config, settings, .. } = &loaded;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    if args.print_config {
        return print(out, &settings.table());
    }
    if args.once {
        let readings = run::once(config, &clock);
        return print(out, &page(&readings, &External::new(config.external_labels())));
    }
    tracing::info!(url = masked(&config.push.url), host = config.host, queue = %config.queue.folder.display(), "agent started");
    match run::run_from(source, loaded, &clock, stop) {
        Ok(summary) => {
            let (sent, waiting) = (summary.samples_sent, summary.samples_waiting);
            tracing::info!(sent, waiting, rejected = summary.samples_rejected, "agent stopped");
            ExitCode::SUCCESS
        }
        Err(error @ AgentError::Panicked(_)) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
        Err(error) => refuse(&error),
    }
}

/// Sets `stop` at SIGTERM or SIGINT; a second signal ends the process as usual.
///
/// # Errors
///
/// When signal handlers cannot be set.
pub fn stop_on_signals(stop: &StopFlag) -> std::io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let stop = stop.clone();
    std::thread::Builder::new().name("agent-signals".to_owned()).spawn(move || {
        for (count, signal) in signals.forever().enumerate() {
            stop.stop();
            if count > 0 {
                let _ = signal_hook::low_level::emulate_default_handler(signal);
            }
        }
    })?;
    Ok(())
}

fn refuse(error: &dyn std::error::Error) -> ExitCode {
    tracing::error!("{error}");
    ExitCode::from(2)
}

fn print(out: &mut dyn Write, text: &str) -> ExitCode {
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        // A reader such as `head` that has seen enough is no fault.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => refuse(&error),
    }
}

/// Readings as a page of exposition text, by metric name; native histograms as classic ones, which is all that text has.
pub fn page(readings: &Readings, external: &External) -> String {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    for (labels, values) in readings.iter() {
        if values.is_stale_marker() {
            continue;
        }
        let Ok(labels) = Labels::from_pairs(external.added_to(labels)) else { continue };
        let name = labels.metric_name().to_owned();
        let family = families.entry(name.clone()).or_insert_with(|| {
            let metadata = readings.metadata().get(&name).cloned().unwrap_or_else(MetricMetadata::default);
            Family { name, metadata, samples: Vec::new() }
        });
        if let Some(histogram) = values.histogram() {
            for (part, value) in classic::parts(histogram) {
                family.samples.push(FamilySample { labels: part_labels(&labels, part), value, timestamp_ms: None });
            }
        } else if let Some(value) = values.value() {
            family.samples.push(FamilySample { labels, value, timestamp_ms: None });
        }
    }
    let families: Vec<Family> = families.into_values().collect();
    let mut text = String::new();
    write_families(&families, TextFormat::Prometheus, &mut text);
    text
}

/// The labels of one series of a classic histogram.
fn part_labels(labels: &Labels, part: Part) -> Labels {
    let mut builder = LabelsBuilder::from_labels(labels.as_ref());
    builder.set(METRIC_NAME, &format!("{}{}", labels.metric_name(), part.suffix()));
    if let Some(le) = part.le() {
        builder.set(BUCKET_LABEL, &le);
    }
    builder.build().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use model::Histogram;
    use model::histogram::CUSTOM_SCHEMA;

    use super::*;
    use crate::readings::Metric;

    #[test]
    fn a_page_tells_histograms_the_classic_way() {
        let mut readings = Readings::new(5);
        readings.set_start(1);
        readings.push(&Metric::counter("n_total", "N."), &[], 3.0);
        let histogram = Histogram {
            schema: CUSTOM_SCHEMA,
            count: 2.0,
            sum: 0.5,
            positive: vec![model::Bucket { index: 0, count: 2.0 }],
            custom_bounds: vec![0.5],
            ..Histogram::default()
        };
        readings.push_histogram(&Metric::histogram("h", "H."), &[("a", "b")], histogram);
        let external = External::new(vec![("env".to_owned(), "prod".to_owned())]);
        let want = "# HELP h H.\n# TYPE h histogram\nh_bucket{a=\"b\",env=\"prod\",le=\"0.5\"} 2\n\
                    h_bucket{a=\"b\",env=\"prod\",le=\"+Inf\"} 2\nh_sum{a=\"b\",env=\"prod\"} 0.5\n\
                    h_count{a=\"b\",env=\"prod\"} 2\n# HELP n_total N.\n# TYPE n_total counter\nn_total{env=\"prod\"} 3\n";
        assert_eq!(page(&readings, &external), want);
    }
}
