//! Backups of a server that is killed meanwhile, and restores that are killed: whatever became of them, what can be restored is
//! sound, and holds everything that was acknowledged before that backup began.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::ledger::{self, Ledger};
use crate::support::{Running, Server, binary, escape, http, run, try_post, try_read};
use crate::work::Seen;

/// Restores that are killed before one ends.
const RESTORES_KILLED_MAX: u32 = 2;
/// A restore is killed after so long at most.
const RESTORE: Duration = Duration::from_millis(80);

/// The folder of the backups, and what is known of the one that is there.
#[derive(Debug)]
pub(super) struct Backups {
    place: PathBuf,
    last: Option<Backup>,
    begun: Option<Vec<i64>>,
}

#[derive(Debug)]
struct Backup {
    number: u64,
    /// The last request of each writer that was acknowledged when it began.
    certain: Vec<i64>,
}

impl Backups {
    /// Backups below `place`.
    pub(super) fn new(place: &Path) -> Self {
        Self { place: place.to_owned(), last: None, begun: None }
    }

    fn dir(&self) -> PathBuf {
        self.place.join("backup")
    }

    /// Asks the server at `url` for a backup; it may be killed in it.
    pub(super) fn take(&mut self, url: &str, newest: &[AtomicI64], copy: bool, seen: &mut Seen) {
        if !http().get(format!("{url}/-/healthy")).call().is_ok_and(|answer| answer.status() == 200) {
            return;
        }
        self.begun = Some(newest.iter().map(|newest| newest.load(Ordering::Acquire)).collect());
        let dir = escape(self.dir().to_str().expect("UTF-8"));
        let answer = try_read(try_post(&http(), &format!("{url}/api/v1/admin/backup?dir={dir}&copy={copy}"), &[], &[]));
        let last = answer.as_ref().and_then(|answer| serde_json::from_str::<Value>(answer.body.lines().last()?).ok());
        match last {
            Some(told) if told["status"] == "success" => seen.add("backups whole", 1),
            Some(told) => assert_eq!(told["status"], "running", "a backup failed: {told}"),
            None => {}
        }
        if last_is_cut(answer.map(|answer| answer.body).as_deref()) {
            seen.add("backups killed", 1);
        }
    }

    /// Checks, restores and compares what is there, if a backup was begun in the life that is over.
    pub(super) fn verify(&mut self, args: &[&str], ledgers: &[Ledger], random: &mut fastrand::Rng, seen: &mut Seen) {
        let Some(begun) = self.begun.take() else { return };
        let (dir, new) = (self.dir(), self.place.join("restored"));
        let Some(number) = number_in(&dir) else {
            assert!(self.last.is_none(), "the backup is gone");
            return;
        };
        if self.last.as_ref().is_none_or(|last| last.number != number) {
            self.last = Some(Backup { number, certain: begun });
        }
        let certain = &self.last.as_ref().expect("there is one").certain;
        let (code, out, err) = run(&["check", text(&dir)]);
        assert_eq!(code, 0, "backup {number} is not sound: {out}{err}");
        for _ in 0..random.u32(0..=RESTORES_KILLED_MAX) {
            restore_and_kill(&dir, &new, RESTORE.mul_f64(random.f64()));
            if new.join("RESTORING").exists() {
                seen.add("restores killed", 1);
                let (code, _, err) = run(&["query", "up", "--data", text(&new)]);
                assert!(code == 1 && err.contains("not restored yet"), "half a folder: {code} {err}");
            }
        }
        let (code, _, err) = run(&["restore", text(&dir), "--data", text(&new)]);
        assert!(code == 0 || err.contains("not empty"), "backup {number} cannot be restored: {err}");
        let (code, out, err) = run(&["check", text(&new)]);
        assert_eq!(code, 0, "backup {number} was not restored well: {out}{err}");
        let server = Server::start(&new, args);
        ledger::check_copy(&server, ledgers, certain);
        drop(server);
        std::fs::remove_dir_all(&new).expect("removed");
        seen.add("backups checked", 1);
    }
}

/// Whether an answer that had begun, or had not, ended before it told what became of the backup.
fn last_is_cut(body: Option<&str>) -> bool {
    body.and_then(|body| body.lines().last()).is_none_or(|last| !last.contains("\"success\""))
}

fn restore_and_kill(dir: &Path, new: &Path, after: Duration) {
    let child = binary()
        .args(["restore", text(dir), "--data", text(new)])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let running = Running(child.expect("the binary starts"));
    std::thread::sleep(after);
    drop(running);
}

/// The number of the backup in `dir`, if there is one.
fn number_in(dir: &Path) -> Option<u64> {
    let manifest = std::fs::read_to_string(dir.join("MANIFEST")).ok()?;
    let number = manifest.lines().find_map(|line| line.strip_prefix("number "));
    Some(number.and_then(|number| number.parse().ok()).expect("a manifest tells the number"))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a UTF-8 path")
}
