//! Files as receivers: a line of JSON each, bounded by putting a full file aside.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use rules::receivers::{Line, Verdict};

/// Appends `line`.
pub(super) fn append(line: &Line) -> Verdict {
    match write(line) {
        Ok(()) => Verdict::Taken(format!("{} bytes", line.line.len())),
        // A full disk or a missing folder may be put right.
        Err(error) => Verdict::Again { after_ms: None, why: format!("{}: {error}", line.path.display()) },
    }
}

fn write(line: &Line) -> io::Result<()> {
    let length = fs::metadata(&line.path).map_or(0, |known| known.len());
    if length > 0 && length.saturating_add(line.line.len() as u64) > line.bytes_max {
        let mut aside = line.path.clone().into_os_string();
        aside.push(".1");
        fs::rename(&line.path, PathBuf::from(aside))?;
    }
    let mut file = OpenOptions::new().create(true).append(true).mode(0o640).open(&line.path)?;
    file.write_all(&line.line)?;
    if line.sync { file.sync_data() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_files_are_put_aside() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("alerts.jsonl");
        let line = |text: &str| Line { path: path.clone(), line: text.as_bytes().to_vec(), bytes_max: 10, sync: true };
        for text in ["12345\n", "678\n", "9\n", "a line longer than all\n", "b\n"] {
            assert!(matches!(append(&line(text)), Verdict::Taken(_)), "{text}");
        }
        assert_eq!(fs::read_to_string(&path).expect("the file"), "b\n");
        assert_eq!(
            fs::read_to_string(folder.path().join("alerts.jsonl.1")).expect("the old"),
            "a line longer than all\n"
        );
        let nowhere = Line { path: folder.path().join("no/where"), ..line("x") };
        assert!(matches!(append(&nowhere), Verdict::Again { .. }));
    }
}
