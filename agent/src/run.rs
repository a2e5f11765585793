//! The agent at work: one thread looks for processes, one reads the host, one Go processes, one scrapes, one reads profiles, one sends, and some receive. Polling and pushing
//! have their own intervals; between them stands the queue. A stop marks every series stale and sends what is queued within a bound.

use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use model::Clock;
use parking_lot::Mutex;

use crate::budget::{CpuMeter, Part};
use crate::captures;
use crate::config::Config;
use crate::control::burst::Bursts;
use crate::control::{self, Errands, Follower, Lanes, Live, Loaded, Orderly, Reloader, Source, Teller};
use crate::go::leaks::{Judge, LeakOptions, Loads, SharedLeaks, census_sink};
use crate::go::outside::ticks::TickRate;
use crate::go::process::look;
use crate::go::profile::poll::Profiler;
use crate::go::profile::thread::start as start_profiling;
use crate::go::signals::Signals;
use crate::go::{Discovery, SharedProcesses};
use crate::poll::{self, GoRounds, HostRounds, Rounds as _, Ticks, stretch_of};
use crate::queue::{Queue, QueueError, SharedQueue};
use crate::readings::Readings;
use crate::receive::{Known, Receiver};
use crate::scrape::Scraper;
use crate::send::Outbox;
use crate::send::encode::External;
use crate::send::metadata::SharedMetadata;
use crate::send::sender::Sender;
use crate::stats::Stats;
use crate::stop::StopFlag;
use crate::threads;

/// Value of label `job` on what the agent says of the host.
pub const HOST_JOB: &str = "node";
/// Value of label `job` on what the agent says of itself.
pub const OWN_JOB: &str = "metrickit-agent";

/// Why the agent could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AgentError {
    /// The queue cannot be opened.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// A thread could not be started.
    #[error("thread could not be started: {0}")]
    Thread(#[from] std::io::Error),
    /// A thread panicked, and the agent ended in order.
    #[error("thread {0} panicked; the log says why")]
    Panicked(&'static str),
}

/// What a run came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RunSummary {
    /// Samples collected and scraped.
    pub samples_collected: u64,
    /// Samples the receiver took.
    pub samples_sent: u64,
    /// Samples dropped because the receiver refused them for good.
    pub samples_rejected: u64,
    /// Samples left in the queue for the next start.
    pub samples_waiting: u64,
}

/// The judge of goroutine leaks, whom everyone that takes a census tells of it.
fn judge(config: &Config, loads: Loads) -> SharedLeaks {
    let mut judge = Judge::new(LeakOptions::default()).counting(loads);
    judge.judge_by(leak_options(config));
    Arc::new(Mutex::new(judge))
}

/// What leaks are judged by; nothing where the collector of verdicts does not run.
pub(crate) fn leak_options(config: &Config) -> Option<LeakOptions> {
    config.go.leaks.clone().filter(|_| config.go.discover)
}

/// Collects and scrapes once, without queue and sending. Pages of Go processes are looked for too.
pub fn once(config: &Config, clock: &Arc<dyn Clock>) -> Readings {
    let (known, stats) = (Known::default(), Arc::new(Stats::default()));
    if config.go.discover {
        Watch::new(config, &known).look();
    }
    let leaks = judge(config, Loads::default());
    let mut host = HostRounds::new(config, &stats, None);
    let mut go = GoRounds::new(config, &known, (&leaks, None, None), &stats);
    let scraper = Scraper::new(config, Arc::clone(&known.processes), Arc::clone(clock), stats);
    let mut scraper = scraper.telling(known.ways.clone());
    let mut profiler = Profiler::new(config, known.processes, Arc::clone(clock), known.ways).at_once();
    let now_ms = clock.now().0;
    let mut all = host.round(now_ms);
    all.append(&go.round(now_ms));
    scraper.round(&mut |readings| all.append(&readings));
    profiler.round(Instant::now(), 1, &mut |readings| all.append(&readings));
    all
}

/// Runs the agent as `config` says until `stop`; see the module's notes.
///
/// # Errors
///
/// When the queue cannot be opened or a thread not be started. What fails later is counted, logged and tried again.
pub fn run(config: &Config, clock: &Arc<dyn Clock>, stop: &StopFlag) -> Result<RunSummary, AgentError> {
    run_as(config, None, clock, stop)
}

/// Runs the agent as `loaded` of `source` says until `stop`, and takes up changes of that meanwhile.
///
/// # Errors
///
/// As for [`run`].
pub fn run_from(
    source: Source,
    loaded: Loaded,
    clock: &Arc<dyn Clock>,
    stop: &StopFlag,
) -> Result<RunSummary, AgentError> {
    let config = loaded.config.clone();
    run_as(&config, Some((source, loaded)), clock, stop)
}

fn run_as(
    config: &Config,
    changing: Option<(Source, Loaded)>,
    clock: &Arc<dyn Clock>,
    stop: &StopFlag,
) -> Result<RunSummary, AgentError> {
    let live = Live::new(config.clone());
    // All of them know what everything below is made by; what changes meanwhile is news to them.
    let [discovering, scraping, profiling, polling, reading] = std::array::from_fn(|_| live.follower());
    let queue: SharedQueue = Arc::new(Mutex::new(Queue::open(&config.queue)?));
    let (stats, metadata) = (Arc::new(Stats::default()), SharedMetadata::default());
    let known = Known { ticks: Arc::new(Mutex::new(TickRate::new())), ..Known::default() };
    let samples_max = config.push.samples_max;
    let outbox =
        Outbox::new(Arc::clone(&queue), Arc::clone(&metadata), External::default(), samples_max, Arc::clone(&stats));
    outbox.reshape(config);
    let signals = config.go.signals.then(Signals::default);
    let loads = Loads::default();
    let outbox = outbox.telling(signals.clone()).counting(loads.clone());
    let sender = Sender::new(Arc::clone(&queue), metadata, &config.push, Arc::clone(clock), Arc::clone(&stats));
    let scraper = Scraper::new(config, Arc::clone(&known.processes), Arc::clone(clock), Arc::clone(&stats));
    let scraper = scraper.telling(known.ways.clone());
    let leaks = judge(config, loads);
    let profiler = Profiler::new(config, Arc::clone(&known.processes), Arc::clone(clock), known.ways.clone());
    let profiler = profiler.telling(census_sink(&leaks));
    let captures = captures::open(config, (&known.processes, &known.ticks), profiler.sources(), clock, &stats);
    let of_captures = captures.clone();
    let host = HostRounds::new(config, &stats, Some(Arc::clone(&queue)));
    let go = GoRounds::new(config, &known, (&leaks, signals, of_captures), &stats);

    start_discovery(Watch::new(config, &known).remembering(config), discovering, stop, &stats)?;
    let [to_scrape, to_profile, to_poll, to_read] = std::array::from_fn(|_| outbox.apart());
    let reloader = changing.map(|(source, loaded)| Reloader::new(source, loaded, (&live, stop), &outbox, &stats));
    if let Some(reloader) = &reloader {
        reloader.watch()?;
    }
    let teller = Teller::new((&config.host, &config.environment), clock, &stats, &queue, &known.processes);
    let bursts = Bursts::new((&live, stop), known.clone(), outbox.clone(), clock, &stats);
    if let Some(captures) = &captures {
        captures::start(captures, stop)?;
    }
    let capture = captures.map(|captures| captures as Arc<dyn Orderly>);
    let errands = Errands::new(&Lanes { capture, burst: Some(Arc::new(bursts)) });
    let control = control::start((&config.control, &config.push), teller, (errands, reloader), stop, &stats)?;
    let receiver = start_receiver(config, &outbox, known, clock, (&stats, stop));
    let stopped_sender = start_sender(sender, stop)?;
    let scraping = start_scraping(scraper, scraping, to_scrape, stop, &stats, clock)?;
    let profiling = start_profiling(profiler, profiling, to_profile, stop, &stats, clock)?;
    let polling = poll::start("agent-host", host, polling, to_poll, stop, (&stats, clock))?;
    let reading = poll::start("agent-go", go, reading, to_read, stop, (&stats, clock))?;
    while !stop.wait(Duration::from_hours(24)) {}
    if let Some(receiver) = receiver {
        receiver.end();
    }
    // What takes longer leaves its series to the lookback of queries.
    let all =
        [("agent-host", &polling), ("agent-go", &reading), ("agent-scrape", &scraping), ("agent-profile", &profiling)];
    threads::wait_for(&all, LAST_ROUND_MAX);
    // A sender that is still waiting for an answer is left behind: the queue keeps what it could not send.
    let flushing = Instant::now();
    if let Ok(mut sender) = stopped_sender.recv_timeout(config.push.flush_timeout) {
        sender.flush(config.push.flush_timeout.saturating_sub(flushing.elapsed()));
    }
    if let Some(control) = control {
        control.end();
    }
    if let Some(thread) = stop.failed() {
        return Err(AgentError::Panicked(thread));
    }
    let mut queue = queue.lock();
    if let Err(error) = queue.sync() {
        tracing::warn!(%error, "queue file not forced to the device");
    }
    Ok(RunSummary {
        samples_collected: stats.samples_collected.get(),
        samples_sent: stats.samples_sent.get(),
        samples_rejected: stats.samples_rejected.get(),
        samples_waiting: queue.state().samples_waiting,
    })
}

/// Starts listening for programs that push. Where that is not possible the agent does the rest of its work.
fn start_receiver(
    config: &Config,
    outbox: &Outbox,
    known: Known,
    clock: &Arc<dyn Clock>,
    (stats, stop): (&Arc<Stats>, &StopFlag),
) -> Option<Receiver> {
    let name = config.receive_socket.as_deref()?;
    let started = Receiver::start(name, outbox.clone(), known, Arc::clone(clock), Arc::clone(stats), stop);
    started.map_err(|error| tracing::warn!(%error, "programs cannot push to the agent; it goes on without")).ok()
}

/// Starts the sending thread, which gives the sender back when stopped.
fn start_sender(mut sender: Sender, stop: &StopFlag) -> std::io::Result<mpsc::Receiver<Sender>> {
    let (give_back, receiver) = mpsc::sync_channel(1);
    let stop = stop.clone();
    threads::start("agent-send", &stop.clone(), move || {
        sender.run(&stop);
        let _ = give_back.send(sender);
    })?;
    Ok(receiver)
}

/// Finds Go processes for the collector and the scraper.
#[derive(Debug)]
struct Watch {
    discovery: Discovery,
    processes: SharedProcesses,
    failing: bool,
}

impl Watch {
    fn new(config: &Config, known: &Known) -> Self {
        let go = &config.go;
        let mut discovery = Discovery::new(&config.host, Vec::new(), go.processes_max).adopting(known.sdk.clone());
        discovery.look_for(go.only.clone(), go.ignore.clone(), go.processes_max);
        Self { discovery, processes: Arc::clone(&known.processes), failing: false }
    }

    /// The same, which calls processes as the agent before this one did.
    fn remembering(self, config: &Config) -> Self {
        Self { discovery: self.discovery.remembering(&config.queue.folder), ..self }
    }

    fn configure(&mut self, config: &Config) {
        let go = &config.go;
        self.discovery.look_for(go.only.clone(), go.ignore.clone(), go.processes_max);
        if !go.discover {
            *self.processes.lock() = Arc::default();
        }
    }

    fn look(&mut self) {
        let looked = look(&mut self.discovery, &self.processes);
        match &looked {
            Err(error) if !self.failing => tracing::warn!(%error, "/proc cannot be listed; it is tried again"),
            _ => {}
        }
        self.failing = looked.is_err();
    }
}

/// Starts looking for Go processes. The first look is over when this returns, so that the first round has them.
fn start_discovery(
    mut watch: Watch,
    mut follower: Follower,
    stop: &StopFlag,
    stats: &Arc<Stats>,
) -> std::io::Result<()> {
    let (stop, stats) = (stop.clone(), Arc::clone(stats));
    if follower.config().go.discover {
        watch.look();
    }
    threads::start("agent-discover", &stop.clone(), move || {
        while !follower.wait(&stop, follower.config().go.discover_interval * stretch_of(&stats)) {
            let meter = CpuMeter::start();
            if let Some((_, now)) = follower.news() {
                watch.configure(&now);
            }
            if follower.config().go.discover {
                watch.look();
            }
            stats.cpu_us.add(meter.elapsed_us());
        }
    })?;
    Ok(())
}

/// Starts the scraping thread, which tells when it has marked everything stale after a stop.
fn start_scraping(
    scraper: Scraper,
    mut follower: Follower,
    outbox: Outbox,
    stop: &StopFlag,
    stats: &Arc<Stats>,
    clock: &Arc<dyn Clock>,
) -> std::io::Result<mpsc::Receiver<()>> {
    let mut scraper = scraper.stopped_by(stop.clone());
    let (stop, stats, clock) = (stop.clone(), Arc::clone(stats), Arc::clone(clock));
    let (tell, ended) = mpsc::sync_channel(1);
    threads::start("agent-scrape", &stop.clone(), move || {
        stop.wait(FIRST_SCRAPE_DELAY.min(follower.config().scrape.interval));
        let mut ticks = Ticks::new(follower.config().scrape.interval);
        let mut pause = Duration::ZERO;
        while !follower.wait(&stop, pause.min(follower.config().go.discover_interval)) {
            let meter = CpuMeter::start();
            let news = follower.news();
            if let Some((before, now)) = &news {
                if now.is_shaped_otherwise_than(before) {
                    let mut last = Readings::new(clock.now().0);
                    scraper.end(&mut last);
                    outbox.submit(&last);
                    outbox.reshape(now);
                }
                scraper.configure(before, now);
                ticks.pace(now.scrape.interval);
                pause = ticks.pause_left();
            }
            if pause > follower.config().go.discover_interval || (news.is_some() && !pause.is_zero()) {
                scraper.news(&mut |readings| outbox.submit(&readings));
                pause = ticks.pause_left();
            } else {
                scraper.round(&mut |readings| outbox.submit(&readings));
                let (pages_stretch, _) = stats.level(Part::Pages);
                pause = ticks.next_pause(stretch_of(&stats).saturating_mul(pages_stretch), &stats);
            }
            stats.cpu_us.add(meter.elapsed_us());
        }
        let mut last = Readings::new(clock.now().0);
        scraper.end(&mut last);
        outbox.submit(&last);
        let _ = tell.send(());
    })?;
    Ok(ended)
}

/// Longest wait for rounds that are under way at a stop.
const LAST_ROUND_MAX: Duration = Duration::from_secs(5);

/// Scrapes come this much after polls and looks for processes, so that what these find is not left for the next time.
const FIRST_SCRAPE_DELAY: Duration = Duration::from_millis(500);
