//! The event log on disk: lines of JSON in files of a folder, the oldest file gone when all take too much.
//!
//! Who records waits for no disk: events lie in memory until [`EventFiles::flush`], which the notifying thread calls. What does not fit there is
//! counted and left out. A file is never written to again once the process ended, so a line that broke off is the last of its file.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rules::event::{Event, EventLog};
use serde_json::Value;

/// Most events in memory.
const WAITING_MAX: usize = 10_000;
/// Files that the bytes are spread over.
const FILES: u64 = 8;
const PREFIX: &str = "events-";
const SUFFIX: &str = ".jsonl";

/// Events in files.
#[derive(Debug)]
pub struct EventFiles {
    folder: Option<PathBuf>,
    bytes_max: u64,
    waiting: Mutex<VecDeque<Event>>,
    open: Mutex<Open>,
    left_out: AtomicU64,
}

/// The file that is written.
#[derive(Debug, Default)]
struct Open {
    file: Option<File>,
    number: u64,
    bytes: u64,
}

/// Which events are asked for. What is `None` is not asked about.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    /// From this time on, milliseconds since the Unix epoch.
    pub(crate) start_ms: Option<i64>,
    /// Up to this time.
    pub(crate) end_ms: Option<i64>,
    /// Fields with these values, or with lists of which one is it; what is no field is a label.
    pub(crate) fields: Vec<(String, String)>,
    /// A text that the line has somewhere.
    pub(crate) text: Option<String>,
    /// Most events.
    pub(crate) limit: usize,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl EventFiles {
    /// Keeps events in `folder`, which is made when the first is written, in no more than about `bytes_max` bytes; without a folder they are dropped.
    pub fn new(folder: Option<PathBuf>, bytes_max: u64) -> Self {
        Self { folder, bytes_max, waiting: Mutex::default(), open: Mutex::default(), left_out: AtomicU64::new(0) }
    }

    /// How many events found no place.
    pub fn left_out(&self) -> u64 {
        self.left_out.load(Ordering::Relaxed)
    }

    /// Writes what waits. What cannot be written is counted and left out.
    pub fn flush(&self) {
        let waiting = std::mem::take(&mut *lock(&self.waiting));
        if waiting.is_empty() {
            return;
        }
        let count = waiting.len() as u64;
        if let Err(error) = self.write(waiting) {
            self.left_out.fetch_add(count, Ordering::Relaxed);
            tracing::warn!(count, "events of alerting are lost, their log cannot be written: {error}");
        }
    }

    fn write(&self, events: VecDeque<Event>) -> io::Result<()> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let mut open = lock(&self.open);
        let mut lines = Vec::new();
        for event in events {
            serde_json::to_writer(&mut lines, &event)?;
            lines.push(b'\n');
        }
        if open.file.is_none() || open.bytes >= self.bytes_max / FILES {
            fs::create_dir_all(folder)?;
            let files = files_of(folder)?;
            let number = files.last().map_or(open.number, |(number, _)| (*number).max(open.number)) + 1;
            let file = OpenOptions::new().create_new(true).append(true).open(path_of(folder, number))?;
            *open = Open { file: Some(file), number, bytes: 0 };
            let mut bytes = 0;
            for (_, path) in files.iter().rev() {
                bytes += fs::metadata(path).map_or(0, |of| of.len());
                if bytes > self.bytes_max - self.bytes_max / FILES {
                    fs::remove_file(path)?;
                }
            }
        }
        let result = open.file.as_mut().map_or(Ok(()), |file| file.write_all(&lines));
        open.bytes += lines.len() as u64;
        if result.is_err() {
            open.file = None;
        }
        result
    }

    /// The newest events that are wanted, the newest first.
    pub(crate) fn find(&self, wanted: &Wanted) -> io::Result<Vec<Value>> {
        self.flush();
        let mut found = Vec::new();
        let Some(folder) = self.folder.as_deref().filter(|folder| folder.exists()) else { return Ok(found) };
        for (_, path) in files_of(folder)?.iter().rev() {
            let text = match fs::read(path) {
                Ok(text) => text,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            for line in text.split(|byte| *byte == b'\n').rev() {
                if found.len() >= wanted.limit {
                    return Ok(found);
                }
                found.extend(wanted.take(line));
            }
        }
        Ok(found)
    }
}

impl Wanted {
    fn take(&self, line: &[u8]) -> Option<Value> {
        let line = std::str::from_utf8(line).ok()?;
        if self.text.as_ref().is_some_and(|text| !line.contains(text.as_str())) {
            return None;
        }
        let event: Value = serde_json::from_str(line).ok()?;
        let at_ms = event.get("at_ms")?.as_i64()?;
        let in_time =
            self.start_ms.is_none_or(|start_ms| at_ms >= start_ms) && self.end_ms.is_none_or(|end_ms| at_ms <= end_ms);
        let (own, of_labels): (Vec<_>, Vec<_>) = self.fields.iter().partition(|(name, _)| event.get(name).is_some());
        let has = |labels: &Value| {
            of_labels.iter().all(|(name, value)| labels.get(name).is_some_and(|label| is(label, value)))
        };
        // Of several alerts one has all the labels.
        let mut labels =
            event.get("labels").into_iter().chain(event.get("alerts").and_then(Value::as_array).into_iter().flatten());
        let taken = in_time
            && own.iter().all(|(name, value)| event.get(name).is_some_and(|field| is(field, value)))
            && (of_labels.is_empty() || labels.any(has));
        taken.then_some(event)
    }
}

/// Whether a field is `value`, or a list of which one is.
fn is(field: &Value, value: &str) -> bool {
    match field {
        Value::String(text) => text == value,
        Value::Array(list) => list.iter().any(|one| is(one, value)),
        other => serde_json::from_str(value).is_ok_and(|value: Value| value == *other),
    }
}

impl EventLog for EventFiles {
    fn record(&self, event: Event) {
        let mut waiting = lock(&self.waiting);
        if waiting.len() >= WAITING_MAX {
            waiting.pop_front();
            self.left_out.fetch_add(1, Ordering::Relaxed);
        }
        waiting.push_back(event);
    }
}

fn path_of(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{PREFIX}{number}{SUFFIX}"))
}

/// The files of a folder, the oldest first.
fn files_of(folder: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.parse().ok());
        files.extend(number.map(|number| (number, entry.path())));
    }
    files.sort_unstable();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use model::Labels;
    use rules::event::{EventKind, alerts_told, fingerprint_text};
    use rules::notify::delivery::NotifiedAlert;

    use super::*;

    fn note(at_ms: i64, message: &str) -> Event {
        Event { at_ms, kind: EventKind::Note { message: message.to_owned() } }
    }

    fn found(files: &EventFiles, wanted: &Wanted) -> Vec<String> {
        let all = files.find(wanted).expect("events");
        all.iter().map(|event| event["message"].as_str().unwrap_or_default().to_owned()).collect()
    }

    #[test]
    fn events_are_found_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let all = Wanted { limit: 100, ..Wanted::default() };
        let files = EventFiles::new(Some(folder.path().join("alerting")), 1 << 20);
        assert_eq!(found(&files, &all), [""; 0]);
        for at in 0..5 {
            files.record(note(at, &format!("m{at}")));
        }
        assert_eq!(found(&files, &all), ["m4", "m3", "m2", "m1", "m0"]);
        assert_eq!(
            found(&files, &Wanted { limit: 2, start_ms: Some(1), end_ms: Some(3), ..Wanted::default() }),
            ["m3", "m2"]
        );
        let fields = vec![("event".to_owned(), "note".to_owned()), ("at_ms".to_owned(), "1".to_owned())];
        assert_eq!(found(&files, &Wanted { fields, ..all.clone() }), ["m1"]);
        assert_eq!(found(&files, &Wanted { text: Some("m2".to_owned()), ..all.clone() }), ["m2"]);
        // Another process; the last line of this one broke off.
        let path = path_of(&folder.path().join("alerting"), 1);
        OpenOptions::new().append(true).open(&path).expect("the file").write_all(b"{\"at_ms\":9").expect("a write");
        let files = EventFiles::new(Some(folder.path().join("alerting")), 1 << 20);
        files.record(note(7, "m7"));
        assert_eq!(found(&files, &Wanted { limit: 2, ..all }), ["m7", "m4"]);
    }

    #[test]
    fn alerts_are_found_in_deliveries() {
        let alert = |instance: &str| {
            let labels = Labels::from_pairs([("alertname", "Down"), ("instance", instance)]).expect("labels");
            NotifiedAlert {
                fingerprint: rules::posted::fingerprint(labels.as_ref()),
                labels,
                annotations: std::collections::BTreeMap::new(),
                starts_ms: 0,
                ends_ms: None,
                generator_url: String::new(),
            }
        };
        let alerts: Vec<NotifiedAlert> = (0..1000).map(|number| alert(&format!("{number:032}"))).collect();
        let firing: Vec<String> = alerts.iter().map(|alert| fingerprint_text(alert.fingerprint)).collect();
        let told = alerts_told(&alerts);
        let bytes: usize = alerts.iter().take(told.len()).map(|alert| alert.labels.packed().len()).sum();
        assert!((15_000..=16_384).contains(&bytes), "{bytes}");
        let kind = EventKind::Delivery {
            group_key: "{}:{}".to_owned(),
            receiver: "ops".to_owned(),
            integration: 0,
            reason: "first notification".to_owned(),
            firing: firing.clone(),
            resolved: Vec::new(),
            alerts: told,
            ok: true,
            superseded: false,
            answer: "status 200".to_owned(),
            attempts: 1,
        };
        let folder = tempfile::tempdir().expect("a folder");
        let files = EventFiles::new(Some(folder.path().to_owned()), 1 << 20);
        files.record(Event { at_ms: 1, kind });
        let count = |fields: &[(&str, &str)]| {
            let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            files.find(&Wanted { fields, limit: 9, ..Wanted::default() }).expect("events").len()
        };
        let third = format!("{:032}", 3);
        assert_eq!(count(&[("event", "delivery"), ("alertname", "Down"), ("instance", &third)]), 1);
        assert_eq!(count(&[("alertname", "Down"), ("instance", "web1")]), 0);
        assert_eq!(count(&[("alertname", "Up")]), 0);
        assert_eq!(count(&[("firing", &firing[999])]), 1, "fingerprints are there of all");
        assert_eq!((count(&[("firing", "0")]), count(&[("resolved", &firing[3])])), (0, 0));
    }

    #[test]
    fn events_are_bounded() {
        let folder = tempfile::tempdir().expect("a folder");
        let files = EventFiles::new(Some(folder.path().to_owned()), 16_000);
        for at in 0..3_000 {
            files.record(note(at, "a message of some length"));
            files.flush();
        }
        let bytes: u64 = files_of(folder.path())
            .expect("files")
            .iter()
            .map(|(_, path)| fs::metadata(path).expect("a file").len())
            .sum();
        assert!((8_000..=17_000).contains(&bytes), "{bytes}");
        let last = i64::try_from(WAITING_MAX).expect("a count") + 2;
        for at in 0..=last {
            files.record(note(at, ""));
        }
        assert_eq!(files.left_out(), 3);
        let newest = files.find(&Wanted { limit: 1, ..Wanted::default() }).expect("events");
        assert_eq!(newest[0]["at_ms"], last);
    }
}
