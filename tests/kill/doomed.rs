//! Series that are deleted whole, and some of them brought back: what was deleted and acknowledged is never seen again, and
//! a delete or an undo that the server was killed in has happened or has not.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::{Answer, Server, escape, http, series, try_post, try_read};
use crate::work::Seen;
use crate::{FIRST_MS, STEP_MS, samples, write};

/// How long a delete can be undone: a few lives of the server. After that it is applied.
const UNDO: Duration = Duration::from_secs(8);
/// The setting for that.
pub(super) const UNDO_SETTING: &str = "8s";
/// So many of the newest lives are deleted, brought back, and looked at after each kill; the others now and then.
const RECENT_LIVES: usize = 40;
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
    /// By the delete of that number, which may be undone yet.
    Deleted(u64, Instant),
    /// For good, or by a delete whose answer never came.
    Gone,
    /// The server was killed while it deleted them, or brought them back from that delete.
    Either(Option<(u64, Instant)>),
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

    /// Deletes series of lives that are over, and undoes deletes, until the server at `url` is killed.
    pub(super) fn change_until_killed(
        &mut self,
        url: &str,
        random: &mut fastrand::Rng,
        stop: &AtomicBool,
        seen: &mut Seen,
    ) {
        while !stop.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(random.u64(0..80)));
            let recent = || self.lives.iter().rev().take(RECENT_LIVES);
            let deletable = recent().filter(|(_, of)| of.state == State::Alive && !of.acknowledged.is_empty());
            // Some come too late.
            let undoable = |since: &Instant| since.elapsed() < UNDO + Duration::from_secs(1);
            let pending = recent().filter(|(_, of)| matches!(&of.state, State::Deleted(_, since) if undoable(since)));
            let wanted =
                if random.bool() { deletable.map(|of| *of.0).collect() } else { pending.map(|of| *of.0).collect() };
            let wanted: Vec<u64> = wanted;
            let Some(&life) = random.choice(&wanted) else { continue };
            let Some(one) = self.lives.get_mut(&life) else { continue };
            let state = match one.state {
                State::Alive => delete(url, life, seen),
                State::Deleted(id, since) => undo(url, id, since, seen),
                State::Gone | State::Either(_) => continue,
            };
            match state {
                Ok(Some(state)) => one.state = state,
                Ok(None) => {}
                Err(Killed) => {
                    let made = if let State::Deleted(id, since) = one.state { Some((id, since)) } else { None };
                    one.state = State::Either(made);
                    return;
                }
            }
        }
    }

    /// Compares with what the server holds, and learns what happened to what it was killed in.
    pub(super) fn check(&mut self, server: &Server, whole: bool) {
        let older = self.lives.keys().rev().nth(RECENT_LIVES).filter(|_| !whole);
        let first = older.copied().unwrap_or(0);
        let matcher = if whole {
            String::new()
        } else {
            let lives: Vec<String> = self.lives.range(first..).map(|(life, _)| life.to_string()).collect();
            format!("{{life=~\"{}\"}}", lives.join("|"))
        };
        let result = server.query(&format!("doomed{matcher}[1h]"), &((*FIRST_MS + 3_500_000) / 1000).to_string());
        let mut found = BTreeMap::<u64, BTreeMap<i64, usize>>::new();
        for one in result.as_array().expect("a matrix") {
            let life: u64 = one["metric"]["life"].as_str().and_then(|life| life.parse().ok()).expect("a number");
            for (ms, shown) in samples(one) {
                assert_eq!(shown, life.to_string(), "{}", one["metric"]);
                *found.entry(life).or_default().entry(ms).or_default() += 1;
            }
        }
        for (life, one) in self.lives.range_mut(first..) {
            let times = found.remove(life).unwrap_or_default();
            if let State::Deleted(..) | State::Gone = one.state {
                assert!(times.is_empty(), "life {life} was deleted and is seen: {times:?}");
                continue;
            }
            if let State::Either(made) = one.state {
                if times.is_empty() {
                    one.state = made.map_or(State::Gone, |(id, since)| State::Deleted(id, since));
                    continue;
                }
                one.state = State::Alive;
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

/// The server was killed before it answered.
struct Killed;

/// Deletes the series of a life: what they are then, nothing if the server was busy.
fn delete(url: &str, life: u64, seen: &mut Seen) -> Result<Option<State>, Killed> {
    let selector = escape(&format!("doomed{{life=\"{life}\"}}"));
    let path = format!("/api/v1/admin/tsdb/delete_series?match[]={selector}&verbose=true");
    let answer = post(url, &path).ok_or(Killed)?;
    if answer.status == BUSY {
        return Ok(None);
    }
    assert_eq!(answer.status, 200, "deleting life {life}: {}", answer.body);
    let id = answer.json()["data"]["id"].as_u64().expect("a delete of samples that are there has a number");
    seen.add("deletes", 1);
    Ok(Some(State::Deleted(id, Instant::now())))
}

/// Undoes a delete that was made at `since`.
fn undo(url: &str, id: u64, since: Instant, seen: &mut Seen) -> Result<Option<State>, Killed> {
    let answer = post(url, &format!("/api/v1/admin/deletes/{id}/undo")).ok_or(Killed)?;
    match answer.status {
        200 => {
            seen.add("undos", 1);
            Ok(Some(State::Alive))
        }
        BUSY => Ok(None),
        422 => {
            seen.add("undos too late", 1);
            Ok(Some(State::Gone))
        }
        status => panic!("undoing delete {id} of {:?} ago: {status} {}", since.elapsed(), answer.body),
    }
}

/// The answer, or nothing if the connection died.
fn post(url: &str, path: &str) -> Option<Answer> {
    try_read(try_post(&http(), &format!("{url}{path}"), &[], &[]))
}
