//! Files as receivers: a line of JSON each, bounded by putting a full file aside.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rules::receivers::{Line, Verdict};

/// Between two looks at a file that another one writes to.
const LOOK: Duration = Duration::from_millis(10);

/// Appends `line` within `timeout`.
pub(super) fn append(line: &Line, timeout: Duration) -> Verdict {
    match write(line, Instant::now() + timeout) {
        Ok(()) => Verdict::Taken(format!("{} bytes", line.line.len())),
        // A full disk or a missing folder may be put right.
        Err(error) => Verdict::Again { after_ms: None, why: format!("{}: {error}", line.path.display()) },
    }
}

fn write(line: &Line, until: Instant) -> io::Result<()> {
    loop {
        let mut file = OpenOptions::new().create(true).read(true).append(true).mode(0o640).open(&line.path)?;
        lock(&file, until)?;
        let known = file.metadata()?;
        // Whoever had it before may have put it aside.
        if fs::metadata(&line.path).map_or(true, |now| (now.dev(), now.ino()) != (known.dev(), known.ino())) {
            continue;
        }
        if known.len() > 0 && known.len().saturating_add(line.line.len() as u64) > line.bytes_max {
            let mut aside = line.path.clone().into_os_string();
            aside.push(".1");
            fs::rename(&line.path, PathBuf::from(aside))?;
            continue;
        }
        return write_to(&mut file, known.len(), line);
    }
}

/// Takes `file` for this one alone: several receivers, or processes, may have the same.
fn lock(file: &File, until: Instant) -> io::Result<()> {
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            // Not every file system knows how.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => return Ok(()),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) if Instant::now() >= until => {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "another one writes to it all the time"));
            }
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOOK),
        }
    }
}

/// Writes the line as one: behind a line that broke off it begins anew, and where there is no place for all of it nothing stays.
fn write_to(file: &mut File, length: u64, line: &Line) -> io::Result<()> {
    let mut last = [b'\n'];
    if length > 0 {
        file.read_exact_at(&mut last, length - 1)?;
    }
    let begin: &[u8] = if last == *b"\n" { b"" } else { b"\n" };
    let written = file.write_all(&[begin, &line.line].concat());
    let written = written.and_then(|()| if line.sync { file.sync_data() } else { Ok(()) });
    whole(file, length, written)
}

/// Of a line that was not written as a whole nothing stays.
fn whole(file: &File, length: u64, written: io::Result<()>) -> io::Result<()> {
    written.inspect_err(|_| {
        // Where this fails too the next line begins anew.
        let _ = file.set_len(length);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_mins(1);

    #[test]
    fn full_files_are_put_aside() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("alerts.jsonl");
        let line = |text: &str| Line { path: path.clone(), line: text.as_bytes().to_vec(), bytes_max: 10, sync: true };
        for text in ["12345\n", "678\n", "9\n", "a line longer than all\n", "b\n"] {
            assert!(matches!(append(&line(text), PATIENCE), Verdict::Taken(_)), "{text}");
        }
        assert_eq!(fs::read_to_string(&path).expect("the file"), "b\n");
        assert_eq!(
            fs::read_to_string(folder.path().join("alerts.jsonl.1")).expect("the old"),
            "a line longer than all\n"
        );
        let nowhere = Line { path: folder.path().join("no/where"), ..line("x") };
        assert!(matches!(append(&nowhere, PATIENCE), Verdict::Again { .. }));
    }

    #[test]
    fn lines_stay_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("alerts.jsonl");
        let line =
            |text: &str| Line { path: path.clone(), line: text.as_bytes().to_vec(), bytes_max: 1 << 20, sync: false };
        fs::write(&path, "{\"broken\":").expect("a write");
        assert!(matches!(append(&line("{}\n"), PATIENCE), Verdict::Taken(_)));
        assert_eq!(fs::read_to_string(&path).expect("the file"), "{\"broken\":\n{}\n");
        // While another one has it, and its time is over.
        let other = File::open(&path).expect("the file");
        other.lock().expect("a lock");
        let Verdict::Again { why, .. } = append(&line("{}\n"), Duration::ZERO) else { panic!("it has a lock") };
        assert!(why.contains("another one writes"), "{why}");
        drop(other);
        // Several receivers with one path, put aside meanwhile.
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let (line, text) = (&line, format!("{}\n", writer.to_string().repeat(50)));
                scope.spawn(move || {
                    for _ in 0..50 {
                        let line = Line { bytes_max: 6_000, ..line(&text) };
                        assert!(matches!(append(&line, PATIENCE), Verdict::Taken(_)));
                    }
                });
            }
        });
        let all = [fs::read(&path), fs::read(folder.path().join("alerts.jsonl.1"))].map(|file| file.expect("a file"));
        assert!(all.iter().all(|file| file.len() <= 6_000), "{}", all[0].len());
        let text = String::from_utf8(all.concat()).expect("a text");
        assert!(text.lines().filter(|line| line.len() != 50).count() <= 2, "{text}");
    }

    #[test]
    fn what_has_no_place_leaves_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("alerts.jsonl");
        fs::write(&path, "{}\n{\"lon").expect("a write");
        let file = OpenOptions::new().append(true).open(&path).expect("the file");
        assert!(whole(&file, 3, Err(io::ErrorKind::StorageFull.into())).is_err());
        assert_eq!(fs::read_to_string(&path).expect("the file"), "{}\n");
    }
}
