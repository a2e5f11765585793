//! Prometheus and Alertmanager, as they are installed, through a scenario in real time.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::scenario::{Scenario, Told};
use crate::stage::{self, Place, Programs};
use crate::support::{PATIENCE, Running, free_address, http};

/// How often the programs are started before it is given up.
const TRIES_MAX: usize = 3;

/// Runs `scenario` through both programs; what the receivers were told.
pub(crate) fn run(scenario: &Scenario, (prometheus, alertmanager): (&Path, &Path)) -> Vec<Told> {
    // Somebody else may have taken an address meanwhile.
    let start = |place: &Place<'_>| (0..TRIES_MAX).find_map(|_| start(place, (prometheus, alertmanager)));
    stage::run(scenario, |place| start(place).expect("the programs start"))
}

/// Starts both; nothing if one of them ends.
fn start(place: &Place<'_>, programs: (&Path, &Path)) -> Option<Programs> {
    let (at_prometheus, at_alertmanager) = (free_address(), free_address());
    let exporter = place.exporter;
    let config = format!(
        "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: [rules.yml]\n\
         alerting: {{alertmanagers: [{{static_configs: [{{targets: ['{at_alertmanager}']}}]}}]}}\n\
         scrape_configs:\n- job_name: world\n  honor_labels: true\n  static_configs: [{{targets: ['{exporter}'], labels: {{instance: w}}}}]\n"
    );
    std::fs::write(place.folder.join("prometheus.yml"), config).expect("written");
    let spawn = |program: &Path, args: &[String]| {
        let mut command = Command::new(program);
        command.args(args).current_dir(place.folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Running(command.spawn().expect("the program starts"))
    };
    let mut running = [
        spawn(
            programs.0,
            &[
                "--config.file=prometheus.yml".to_owned(),
                "--storage.tsdb.path=data".to_owned(),
                "--web.enable-lifecycle".to_owned(),
                format!("--web.listen-address={at_prometheus}"),
            ],
        ),
        spawn(
            programs.1,
            &[
                "--config.file=alertmanager.yml".to_owned(),
                "--storage.path=kept".to_owned(),
                "--cluster.listen-address=".to_owned(),
                format!("--web.listen-address={at_alertmanager}"),
            ],
        ),
    ];
    let (rules_url, alertmanager_url) = (format!("http://{at_prometheus}"), format!("http://{at_alertmanager}"));
    // Both answer, and the world has been looked at.
    let (until, http, looks) = (Instant::now() + PATIENCE, http(), place.world.looks());
    let is_ready = |url: &str| http.get(format!("{url}/-/ready")).call().is_ok_and(|answer| answer.status() == 200);
    while !(is_ready(&rules_url) && is_ready(&alertmanager_url) && place.world.looks() > looks + 1) {
        if running.iter_mut().any(|one| one.0.try_wait().is_ok_and(|ended| ended.is_some())) {
            return None;
        }
        assert!(Instant::now() < until, "the programs are not ready in {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
    Some(Programs { rules_url, alertmanager_url, _running: Box::new(running) })
}
