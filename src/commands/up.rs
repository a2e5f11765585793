//! `metrickit up`: beside the server, an agent for this machine that pushes to it, and what was found, told in words.
//!
//! The agent writes through the server's own port, as one on another host would.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use agent::config::Origin;
use agent::control::Source;
use agent::{AgentArgs, AgentError, RunSummary, StopFlag};
use anyhow::Context;
use model::{Clock, SystemClock};

use crate::client::answer::Series;
use crate::client::{Client, Moment, Value};
use crate::output::Output;
use crate::render::append;
use crate::serving::Serving;
use crate::settings::typed::ServerSettings;

/// How long to look for what the agent finds before telling.
const FIRST_FINDINGS: Duration = Duration::from_secs(10);
/// How long to look for Go processes once the host is there.
const AFTER_HOST: Duration = Duration::from_secs(3);
/// Time between two pushes of the agent, unless its options say otherwise: soon enough to watch.
const PUSH_INTERVAL: &str = "1s";
/// The agent's queue, inside the data folder.
const QUEUE_FOLDER: &str = "agent-queue";
/// Pause before an agent of which a thread panicked is started anew.
const AGENT_PAUSE: Duration = Duration::from_secs(10);
/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long one look may take.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);
/// Go processes told one by one.
const PROCESSES_TOLD_MAX: usize = 8;
/// The Go processes the agent reads, one series each.
const PROCESSES_QUERY: &str = "metrickit_go_process_info";

/// Runs until `stop` is set or the server ends by itself. The agent stops first and sends what it has.
pub(crate) fn run(
    serving: Serving,
    settings: &ServerSettings,
    stop: &StopFlag,
    output: &mut Output,
) -> anyhow::Result<()> {
    if !serving.wait_ready() {
        return serving.wait();
    }
    let url = serving.url();
    let agent = start_agent(&url, settings, stop)?;
    output.text(&format!("MetricKit is up at {url}, data in {}.\n", settings.data.display()))?;
    let client = Client::new(&url)?.with_timeout(LOOK_TIMEOUT);
    let told = match look(&client, || stop.is_stopped() || serving.has_ended()) {
        Some(findings) => output.text(&tell(&findings)).and_then(|()| output.text(&next_steps(&url))),
        None => Ok(()),
    };
    // Whoever started this may have closed its output; serving goes on.
    if let Err(error) = told {
        tracing::warn!(%error, "what was found cannot be told");
    }
    while !stop.wait(LOOK_EVERY) && !serving.has_ended() {}
    stop.stop();
    let stopped = agent.stop();
    serving.stop()?;
    stopped.map_err(|_| anyhow::anyhow!("the agent's thread panicked; the log has the details"))
}

/// The agent at work, on a thread of its own.
struct Beside {
    /// Ends the run of the agent that is under way.
    run: Arc<Mutex<StopFlag>>,
    thread: JoinHandle<()>,
}

impl Beside {
    /// Ends it; the flag it was started with is set already.
    fn stop(self) -> std::thread::Result<()> {
        set(&self.run, |run| run.stop());
        self.thread.join()
    }
}

/// Changes what is behind the lock.
fn set<T>(behind: &Mutex<T>, change: impl FnOnce(&mut T)) {
    change(&mut behind.lock().unwrap_or_else(PoisonError::into_inner));
}

/// Lets the agent `run` until `stop`, and anew where one of its threads panicked: the server is not to end for that.
fn keep_running(
    stop: &StopFlag,
    current: &Mutex<StopFlag>,
    pause: Duration,
    mut run: impl FnMut(&StopFlag) -> Result<RunSummary, AgentError>,
) {
    while !stop.is_stopped() {
        let own = StopFlag::new();
        set(current, |run| *run = own.clone());
        // Whoever stops sets `stop` first: either it is seen here, or the flag of this run is set.
        if stop.is_stopped() {
            return;
        }
        match run(&own) {
            Ok(summary) => return tracing::info!(samples_sent = summary.samples_sent, "agent stopped"),
            Err(error @ AgentError::Panicked(_)) => {
                tracing::error!(%error, again_s = pause.as_secs(), "the agent ended and is started anew");
                stop.wait(pause);
            }
            // The server has its uses without it.
            Err(error) => return tracing::error!(%error, "the agent ended; the server goes on without it"),
        }
    }
}

/// Starts the agent. Its options are its own, but for where it sends and keeps its queue.
fn start_agent(url: &str, settings: &ServerSettings, stop: &StopFlag) -> anyhow::Result<Beside> {
    let queue = settings.data.join(QUEUE_FOLDER);
    let queue = queue.to_str().context("the path of the data folder is not UTF-8")?.to_owned();
    let push_url = format!("{url}/api/v1/write");
    let source = move || {
        let (push_url, queue) = (push_url.clone(), queue.clone());
        Source::new(AgentArgs::default()).without_signals().overriding(move |options| {
            options.set("push.url", &push_url, Origin::Program)?;
            options.set("queue.folder", &queue, Origin::Program)?;
            if options.get("push.interval").origin == Origin::Default {
                options.set("push.interval", PUSH_INTERVAL, Origin::Program)?;
            }
            Ok(())
        })
    };
    let loaded = source().load()?;
    let (stop, run) = (stop.clone(), Arc::new(Mutex::new(StopFlag::new())));
    let current = Arc::clone(&run);
    let work = move || {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        keep_running(&stop, &current, AGENT_PAUSE, |own| agent::run_from(source(), loaded.clone(), &clock, own));
    };
    let thread = std::thread::Builder::new().name("agent".to_owned()).spawn(work);
    Ok(Beside { run, thread: thread.context("the agent's thread cannot be started")? })
}

/// What the agent has found so far.
#[derive(Debug, Default, PartialEq)]
struct Findings {
    /// `node_uname_info` of this machine.
    host: Option<Series>,
    processes: Vec<Series>,
}

/// Waits for the first findings: the host, and Go processes if any come with it or soon after. `None` if `has_ended`.
fn look(client: &Client, has_ended: impl Fn() -> bool) -> Option<Findings> {
    let until = Instant::now() + FIRST_FINDINGS;
    let mut host_since: Option<Instant> = None;
    loop {
        let findings = Findings {
            host: ask(client, "node_uname_info").into_iter().next(),
            processes: ask(client, PROCESSES_QUERY),
        };
        if findings.host.is_some() && host_since.is_none() {
            host_since = Some(Instant::now());
        }
        // Processes come in the same round as the host, or there are none.
        let is_settled = host_since.is_some_and(|since| since.elapsed() > AFTER_HOST) || !findings.processes.is_empty();
        if has_ended() {
            return None;
        }
        if (findings.host.is_some() && is_settled) || Instant::now() >= until {
            return Some(findings);
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

fn ask(client: &Client, query: &str) -> Vec<Series> {
    match client.query(query, Moment::Instant { time_ms: None }).map(|answer| answer.value) {
        Ok(Value::Vector(series)) => series,
        // Not there yet; the next look may find it.
        _ => Vec::new(),
    }
}

fn tell(findings: &Findings) -> String {
    let label = |series: &Series, name: &str| series.labels.get(name).cloned().filter(|value| !value.is_empty());
    let mut text = String::new();
    match &findings.host {
        Some(host) => {
            let name = label(host, "nodename").or_else(|| label(host, "instance")).unwrap_or_default();
            let system = [label(host, "sysname"), label(host, "release"), label(host, "machine")];
            let system: Vec<String> = system.into_iter().flatten().collect();
            append(&mut text, format_args!("Host {name} ({})\n", system.join(" ")));
        }
        None => text.push_str("No readings of this host yet; the log above may say why.\n"),
    }
    let count = findings.processes.len();
    match count {
        0 => text.push_str("No Go process found yet; start one, and it shows up within seconds.\n"),
        1 => text.push_str("1 Go process:\n"),
        _ => append(&mut text, format_args!("{count} Go processes:\n")),
    }
    let mut processes: Vec<&Series> = findings.processes.iter().collect();
    processes.sort_by_key(|process| label(process, "job"));
    for process in processes.into_iter().take(PROCESSES_TOLD_MAX) {
        let or = |name: &str| label(process, name).unwrap_or_else(|| "?".to_owned());
        append(&mut text, format_args!("  {} (pid {}, {})\n", or("job"), or("pid"), or("go_version")));
    }
    if count > PROCESSES_TOLD_MAX {
        append(
            &mut text,
            format_args!("  … and {} more: metrickit query {PROCESSES_QUERY}\n", count - PROCESSES_TOLD_MAX),
        );
    }
    text
}

fn next_steps(url: &str) -> String {
    // The default address needs no flag.
    let flag = if url == crate::client::URL_DEFAULT { String::new() } else { format!(" --url {url}") };
    format!(
        "Try, in another terminal:\n  \
           metrickit top{flag}\n  \
           metrickit go leaks{flag}\n  \
           metrickit query 'topk(5, go_goroutines_by_site)'{flag}\n  \
           metrickit query 'rate(node_cpu_seconds_total{{mode!=\"idle\"}}[1m])' --start now-5m{flag}\n  \
           metrickit repl{flag}\n\
         Ctrl-C stops; what was collected stays.\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::answer::series;

    #[test]
    fn an_agent_of_which_a_thread_panicked_is_started_anew_and_the_stop_ends_it() {
        let (stop, current, mut runs) = (StopFlag::new(), Mutex::new(StopFlag::new()), 0);
        keep_running(&stop, &current, Duration::ZERO, |own| {
            runs += 1;
            if runs < 3 {
                own.fail("agent-test");
                return Err(AgentError::Panicked("agent-test"));
            }
            // As when the program ends while the agent runs.
            stop.stop();
            set(&current, |run| run.stop());
            assert!(own.wait(Duration::from_mins(1)), "the stop reaches the run that is under way");
            Ok(RunSummary::default())
        });
        assert_eq!(runs, 3);
        keep_running(&stop, &current, Duration::ZERO, |_| panic!("nothing runs after a stop"));
    }

    #[test]
    fn findings_in_words() {
        let process = |name: &str, pid: &str| series(&[("job", name), ("pid", pid), ("go_version", "go1.19.8")], &[]);
        let host = series(&[("nodename", "box"), ("sysname", "Linux"), ("release", "6.1"), ("machine", "x86_64")], &[]);
        let findings =
            Findings { host: Some(host), processes: vec![process("prometheus", "12"), process("api", "13")] };
        let want =
            "Host box (Linux 6.1 x86_64)\n2 Go processes:\n  api (pid 13, go1.19.8)\n  prometheus (pid 12, go1.19.8)\n";
        assert_eq!(tell(&findings), want);
        assert!(tell(&Findings::default()).contains("No Go process found yet"));
        let many = Findings { host: None, processes: vec![process("a", "1"); 20] };
        assert!(tell(&many).contains("… and 12 more"), "{}", tell(&many));
    }

    #[test]
    fn the_default_address_needs_no_flag() {
        assert!(!next_steps("http://127.0.0.1:9595").contains("--url"));
        assert!(next_steps("http://127.0.0.1:1").contains("metrickit top --url http://127.0.0.1:1\n"));
    }
}
