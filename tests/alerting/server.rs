//! MetricKit's server through a scenario in real time, which is sent samples once a second as an agent does.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use query::script::read_labels;

use crate::scenario::{Scenario, Told};
use crate::stage::{self, Place, Programs, World};
use crate::support::{Server, now_ms, request, series};

/// Runs `scenario` through the server; what the receivers were told.
pub(crate) fn run(scenario: &Scenario) -> Vec<Told> {
    stage::run(scenario, start)
}

/// Writes the world to a server until it is dropped; then the server ends, too.
struct Writer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join)
            && !std::thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

fn start(place: &Place<'_>) -> Programs {
    let file = |name: &str| place.folder.join(name).to_str().expect("UTF-8").to_owned();
    let (rules, routes) = (file("rules.yml"), file("alertmanager.yml"));
    let args = ["--rule-files", &rules, "--alerting-config", &routes, "--evaluation-interval", "1s"];
    let server = Server::start(&place.folder.join("data"), &[&args[..], &["--shipped-rules", "off"]].concat());
    let url = server.url.clone();
    let (world, stop) = (Arc::clone(place.world), Arc::new(AtomicBool::new(false)));
    let ends = Arc::clone(&stop);
    let (begun, begins) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let mut known = BTreeSet::new();
        while !ends.load(Ordering::Relaxed) {
            write(&server, &world, &mut known);
            // Nobody waits for a second time.
            let _ = begun.send(());
            std::thread::sleep(Duration::from_secs(1));
        }
    });
    begins.recv().expect("the world is written");
    let running = Box::new(Writer { stop, thread: Some(thread) });
    Programs { rules_url: url.clone(), alertmanager_url: url, _running: running }
}

/// Sends what there is now, and the end of what was there before.
fn write(server: &Server, world: &World, known: &mut BTreeSet<&'static str>) {
    let (now_ms, values) = (now_ms(), world.look());
    let ended =
        known.iter().filter(|name| !values.contains_key(*name)).map(|name| (*name, model::sample::stale_marker()));
    let all: Vec<(&str, f64)> = values.iter().map(|(name, value)| (*name, *value)).chain(ended).collect();
    *known = values.keys().copied().collect();
    if all.is_empty() {
        return;
    }
    let all = all.into_iter().map(|(name, value)| {
        let labels = read_labels(name).expect("a series");
        let mut labels: Vec<(&str, &str)> =
            labels.as_ref().iter().chain([("job", "world"), ("instance", "w")]).collect();
        labels.sort_unstable();
        series(&labels, &[(now_ms, value)])
    });
    let answer = server.write(&request(all.collect()));
    assert!((200..300).contains(&answer.status), "{}", answer.body);
}
