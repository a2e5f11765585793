//! `metrickit top`: a live screen of Go processes, of a server's or of this host's.
//!
//! `data` is what is shown, `fleet` and `local` are where it comes from, `worker` looks; `state` is the screen's state and what keys do to
//! it, `columns` and `history` belong to it; `view` and `view_process` draw it. Here the terminal is taken, and given back however it ends.

mod columns;
mod data;
mod fleet;
mod history;
mod local;
mod state;
mod view;
mod view_process;
mod worker;

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::TryRecvError;
use std::time::{Duration, Instant};

use model::{Clock, SystemClock};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use self::data::Source;
use self::fleet::Fleet;
use self::local::LocalSource;
use self::state::{Effect, State};
use self::view::Theme;
use self::worker::{Order, Worker};
use crate::UsageError;
use crate::cli::TopArgs;
use crate::client::{Client, URL_DEFAULT};
use crate::output::Output;

/// How long one question may take; then the server counts as away.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Longest wait for a key before news and signals are looked at.
const TICK: Duration = Duration::from_millis(100);
/// Ages on the screen are shown anew so often.
const REDRAW: Duration = Duration::from_secs(1);
/// Bounds of the interval.
const INTERVAL_MS: std::ops::RangeInclusive<i64> = 100..=3_600_000;

/// Shows the screen until it is quit.
pub(crate) fn run(args: &TopArgs, output: &Output) -> anyhow::Result<()> {
    let interval = interval(&args.interval)?;
    if !output.is_terminal || !std::io::stdin().is_terminal() {
        let instead = "`metrickit go ps` prints the processes once, `metrickit go inspect` one of this host";
        return Err(UsageError(format!("top needs a terminal for its screen and its keys; {instead}")).into());
    }
    let source = source(args, interval)?;
    let interval_ms = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX);
    let mut state = State::new(source.name(), interval_ms);
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGHUP, SIGINT] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    let worker = Worker::start(source, order(&state, false))?;
    // This also gives the terminal back before a panic is told.
    let mut terminal = ratatui::try_init()?;
    let shown = show(&mut terminal, &mut state, &worker, &stop, Theme { color: output.color });
    if !is_there(Duration::ZERO).unwrap_or(false) {
        // There is nothing to give back, and what would try complains where nobody hears it, by a panic.
        std::mem::forget(terminal);
        return Ok(());
    }
    ratatui::restore();
    shown
}

fn source(args: &TopArgs, interval: Duration) -> anyhow::Result<Box<dyn Source>> {
    if args.local {
        return Ok(Box::new(LocalSource::new(interval)?));
    }
    let said = std::env::var("METRICKIT_URL").ok().filter(|url| !url.is_empty());
    let client = Client::new(args.url.as_deref().or(said.as_deref()).unwrap_or(URL_DEFAULT));
    let client = client.map_err(|error| UsageError(error.to_string()))?.with_timeout(ANSWER_MAX);
    Ok(Box::new(Fleet::new(client, args.job.clone())))
}

fn interval(text: &str) -> Result<Duration, UsageError> {
    let ms =
        model::time::parse_duration_ms(text).map_err(|error| UsageError(format!("--interval {text:?}: {error}")))?;
    let fits = INTERVAL_MS.contains(&ms).then(|| Duration::from_millis(ms.unsigned_abs()));
    fits.ok_or_else(|| UsageError(format!("--interval {text:?} is out of bounds: it is 100ms to 1h")))
}

fn order(state: &State, now: bool) -> Order {
    Order {
        interval: Duration::from_millis(state.interval_ms),
        paused: state.paused,
        watched: state.watched().cloned(),
        now,
    }
}

/// Draws, waits, takes keys and news, until it is quit.
fn show(
    terminal: &mut DefaultTerminal,
    state: &mut State,
    worker: &Worker,
    stop: &AtomicBool,
    theme: Theme,
) -> anyhow::Result<()> {
    let mut drawn: Option<Instant> = None;
    let mut pressed = false;
    while !stop.load(Ordering::Relaxed) {
        let mut changed = drawn.is_none_or(|drawn| drawn.elapsed() >= REDRAW);
        loop {
            match worker.news.try_recv() {
                Ok(news) => state.take(news),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => anyhow::bail!("the thread that looks ended by a panic"),
            }
            changed = true;
        }
        if changed {
            state.page = view::page(terminal.size()?.height);
            terminal.draw(|frame| view::draw(frame, state, SystemClock.now().0, theme))?;
            drawn = Some(Instant::now());
        }
        // Several keys may have come at once.
        if !is_there(if pressed { Duration::ZERO } else { TICK })? {
            return Ok(());
        }
        pressed = event::poll(Duration::ZERO)?;
        if !pressed {
            continue;
        }
        let effect = match event::read()? {
            Event::Key(key) => state.press(key),
            _ => Effect::None,
        };
        drawn = None;
        match effect {
            Effect::None => {}
            Effect::Look => worker.order(order(state, false)),
            Effect::LookNow => worker.order(order(state, true)),
            Effect::Quit => return Ok(()),
        }
    }
    Ok(())
}

/// Waits for something from the terminal; false when it is gone, as when its window was closed. To read from it then would never end.
fn is_there(most: Duration) -> std::io::Result<bool> {
    let stdin = std::io::stdin();
    let mut fds = [PollFd::new(&stdin, PollFlags::IN)];
    let timeout = Timespec { tv_sec: 0, tv_nsec: most.subsec_nanos().into() };
    match poll(&mut fds, Some(&timeout)) {
        // Another size of the terminal comes as a signal.
        Ok(_) | Err(Errno::INTR) => {
            let gone = PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL;
            Ok(!fds.iter().any(|fd| fd.revents().intersects(gone)))
        }
        Err(error) => Err(error.into()),
    }
}
