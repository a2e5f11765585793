//! Writing at the pace of agents: a sample of each series every so many seconds, stamped with the time it is sent.
//!
//! What a server needs to live with its load, memory above all, shows there and not at full speed. Requests are spread
//! over the interval. A server that cannot be reached is tried again, so that it can be killed and started meanwhile.

use std::time::{Duration, Instant};

use anyhow::bail;
use indicatif::ProgressBar;
use model::time::{Clock, SystemClock};

use super::fleet::Fleet;
use super::ingest::{BUSY_PAUSE, Outcome, Sent, post, write_client};

/// How long a server may stay out of reach, or refuse for having too much under way.
const PATIENCE: Duration = Duration::from_mins(2);
/// Pause before a server that is out of reach is tried again.
const AWAY_PAUSE: Duration = Duration::from_millis(250);

/// How fast, how long, in what pieces.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    pub(super) every: Duration,
    pub(super) wanted: Duration,
    pub(super) samples_per_request: usize,
}

/// Writes to the server at `url` until the time is over.
///
/// # Errors
///
/// When the server refuses a request for good, or is out of reach for too long.
pub(super) fn send(url: &str, fleet: &mut Fleet, pace: Pace, bar: &ProgressBar) -> anyhow::Result<Sent> {
    let url = format!("{url}/api/v1/write");
    let http = write_client();
    let started = Instant::now();
    let mut sent = Sent::default();
    for round in 0.. {
        let due = started + pace.every * round;
        if due >= started + pace.wanted {
            break;
        }
        let bodies = fleet.round(SystemClock.now().0, pace.samples_per_request);
        let count = u32::try_from(bodies.len()).unwrap_or(u32::MAX);
        for (at, body) in (0..count).zip(bodies) {
            std::thread::sleep((due + pace.every * at / count).saturating_duration_since(Instant::now()));
            let begun = Instant::now();
            sent.busy += insist(begun, || post(&http, &url, &body.bytes))?;
            sent.latencies.push(begun.elapsed());
            sent.samples += body.samples as u64;
            sent.bytes += body.bytes.len() as u64;
        }
        bar.set_position(u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX));
        bar.set_message(format!("round {}", round + 1));
    }
    Ok(sent)
}

/// Sends until it is taken; how often it was not.
fn insist(begun: Instant, mut send: impl FnMut() -> anyhow::Result<Outcome>) -> anyhow::Result<u64> {
    for tries in 0.. {
        let (reason, pause) = match send() {
            Ok(Outcome::Taken) => return Ok(tries),
            Ok(Outcome::Refused(reason)) => bail!("the server answered {reason}"),
            Ok(Outcome::Busy) => ("it has too much under way".to_owned(), BUSY_PAUSE),
            Err(error) => (format!("{error:#}"), AWAY_PAUSE),
        };
        if begun.elapsed() > PATIENCE {
            bail!("the server took nothing for {PATIENCE:?}: {reason}");
        }
        std::thread::sleep(pause);
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_away_is_tried_again_and_one_that_refuses_is_not() {
        let mut answers = vec![Ok(Outcome::Taken), Ok(Outcome::Busy), Err(anyhow::anyhow!("connection refused"))];
        let tries = insist(Instant::now(), || answers.pop().expect("no more is asked")).expect("taken in the end");
        assert_eq!(tries, 2);
        let refused = insist(Instant::now(), || Ok(Outcome::Refused("400".to_owned()))).expect_err("for good");
        assert!(refused.to_string().contains("400"), "{refused}");
    }
}
