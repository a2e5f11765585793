//! Series that are deleted whole, and some of them brought back: what was deleted and acknowledged is never seen again, and
//! a delete or an undo that the server was killed in has happened or has not.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::{Answer, Server, escape, http, series, try_post, try_read};
use crate::{FIRST_MS, STEP_MS, samples, write};

/// How long a delete can be undone.
pub(super) const UNDO: &str = "1s";
/// Series of each life of the server.
const SERIES: usize = 3;
/// The answer while the server does something else for an administrator.
const BUSY: u16 = 503;
/// Pause between two requests.
const PAUSE: Duration = Duration::from_millis(5);

/// What the series of one life of the server are known to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Alive,
    /// By the delete of that number, as far as its answer came.
    Deleted(Option<u64>),
    /// The server was killed while it deleted them, or brought them back.
    Either,
}

/// The series of one life of the server.
#[derive(Debug)]
pub(super) struct Life {
    acknowledged: BTreeSet<i64>,
    /// Sent in a request on which the connection died.
    unknown: Option<i64>,
    state: State,
}

/// All of them, by the number of the life.
#[derive(Debug, Default)]
pub(super) struct Doomed {
    lives: BTreeMap<u64, Life>,
    pub(super) deletes: u64,
    pub(super) undos: u64,
}

impl Life {
    /// Writes the series of the life `life` until `stop` or a failure.
    pub(super) fn write_until_killed(url: &str, life: u64, stop: &AtomicBool) -> Self {
        let http = http();
        let mut written = Self { acknowledged: BTreeSet::new(), unknown: None, state: State::Alive };
        for number in 0.. {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let ms = *FIRST_MS + number * STEP_MS;
            let one = |at: usize| {
                let (at, life_text) = (at.to_string(), life.to_string());
                series(&[("__name__", "doomed"), ("at", &at), ("life", &life_text)], &[(ms, life as f64)])
            };
            match write(&http, url, (0..SERIES).map(one).collect()) {
                Some(204) => drop(written.acknowledged.insert(ms)),
                Some(status) => panic!("the writer of what is deleted got status {status}"),
                None => {
                    written.unknown = Some(ms);
                    break;
                }
            }
            std::thread::sleep(PAUSE);
        }
        written
    }
}

impl Doomed {
    pub(super) fn add(&mut self, life: u64, written: Life) {
        self.lives.insert(life, written);
    }

    /// Deletes the series of a life that is over, or undoes a delete, while the server at `url` may be killed.
    pub(super) fn change_one(&mut self, url: &str, random: &mut fastrand::Rng) {
        let Some(&life) = random.choice(self.lives.keys().collect::<Vec<_>>()) else { return };
        let Some(one) = self.lives.get_mut(&life) else { return };
        match one.state {
            State::Alive if !one.acknowledged.is_empty() => {
                let selector = escape(&format!("doomed{{life=\"{life}\"}}"));
                let path = format!("/api/v1/admin/tsdb/delete_series?match[]={selector}&verbose=true");
                let Some(answer) = post(url, &path) else {
                    one.state = State::Either;
                    return;
                };
                if answer.status == BUSY {
                    return;
                }
                assert_eq!(answer.status, 200, "deleting life {life}: {}", answer.body);
                let id = answer.json()["data"]["id"].as_u64();
                one.state = State::Deleted(Some(id.expect("a delete of samples that are there has a number")));
                self.deletes += 1;
            }
            State::Deleted(Some(id)) => {
                let Some(answer) = post(url, &format!("/api/v1/admin/deletes/{id}/undo")) else {
                    one.state = State::Either;
                    return;
                };
                match answer.status {
                    200 => {
                        one.state = State::Alive;
                        self.undos += 1;
                    }
                    BUSY => {}
                    422 => one.state = State::Deleted(None),
                    status => panic!("undoing delete {id}: {status} {}", answer.body),
                }
            }
            State::Alive | State::Deleted(None) | State::Either => {}
        }
    }

    /// Compares with what the server holds, and learns what happened to what it was killed in.
    pub(super) fn check(&mut self, server: &Server) {
        let result = server.query("doomed[1h]", &((*FIRST_MS + 3_500_000) / 1000).to_string());
        let mut found = BTreeMap::<u64, BTreeMap<i64, usize>>::new();
        for one in result.as_array().expect("a matrix") {
            let life: u64 = one["metric"]["life"].as_str().and_then(|life| life.parse().ok()).expect("a number");
            for (ms, shown) in samples(one) {
                assert_eq!(shown, life.to_string(), "{}", one["metric"]);
                *found.entry(life).or_default().entry(ms).or_default() += 1;
            }
        }
        for (life, one) in &mut self.lives {
            let times = found.remove(life).unwrap_or_default();
            if let State::Deleted(_) = one.state {
                assert!(times.is_empty(), "life {life} was deleted and is seen: {times:?}");
                continue;
            }
            if one.state == State::Either {
                one.state = if times.is_empty() { State::Deleted(None) } else { State::Alive };
                if times.is_empty() {
                    continue;
                }
            }
            for (ms, count) in &times {
                assert_eq!(*count, SERIES, "life {life}: a request in part at {ms} ms");
            }
            let times: BTreeSet<i64> = times.into_keys().collect();
            assert!(one.acknowledged.is_subset(&times), "life {life}: {:?} are lost", &one.acknowledged - &times);
            let others = &times - &one.acknowledged;
            assert!(others.iter().all(|ms| one.unknown == Some(*ms)), "life {life}: nobody wrote {others:?}");
        }
        assert!(found.is_empty(), "nobody wrote {found:?}");
    }

    /// Once deletes are applied, series without samples have no names.
    pub(super) fn check_names(&self, server: &Server) {
        let answer = server.post("/api/v1/admin/tsdb/clean_tombstones", &[], &[]);
        assert!(answer.status < 300, "{} {}", answer.status, answer.body);
        let start = *FIRST_MS / 1000;
        let answer = server.get(&format!("/api/v1/series?match[]=doomed&start={start}&end={}", start + 3600));
        let data = answer.json()["data"].take();
        for one in data.as_array().expect("a list") {
            let life = one["life"].as_str().and_then(|life| life.parse::<u64>().ok()).expect("a number");
            let state = self.lives.get(&life).map(|life| life.state);
            assert_eq!(state, Some(State::Alive), "{one} has a name");
        }
    }
}

/// The answer, or nothing if the connection died.
fn post(url: &str, path: &str) -> Option<Answer> {
    try_read(try_post(&http(), &format!("{url}{path}"), &[], &[]))
}
