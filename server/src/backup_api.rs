//! `/api/v1/admin/backup`: a backup of the data folder into a folder of this machine, told line by line while it is taken.
//!
//! The answer is lines of JSON: how far it is, a few times a second at most, and at last the envelope of any other answer. What
//! fails before there is anything to tell is answered with its status. Where backups may go is decided here: below
//! [`ServerOptions::backup_dir`](crate::ServerOptions::backup_dir), and without one anywhere, but only for programs on this machine.

use std::convert::Infallible;
use std::path::{Component, Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use hyper::body::Frame;
use serde_json::{Value, json};
use storage::backup::{BackupReport, Moved};
use storage::{BackupError, BackupOptions};
use tokio::sync::{mpsc, watch};

use crate::admin_guard::is_from_here;
use crate::app::App;
use crate::params::Params;
use crate::reply::{ApiError, ErrorKind};

/// Lines of JSON; never compressed, so that each arrives when it is written.
pub(crate) const LINES_TYPE: &str = "application/x-ndjson";
/// Pause between two lines.
const PAUSE: Duration = Duration::from_millis(100);

/// What the thread that takes the backup says.
#[derive(Debug, Clone)]
enum Word {
    Nothing,
    Progress { file: String, done_bytes: u64, total_bytes: u64 },
    Ended(Result<Value, ApiError>),
}

/// Takes a backup into the folder `dir`; with `copy=true` without links. What it has begun it ends, also when its client leaves.
pub(crate) async fn backup(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let from_here = is_from_here(&request);
    let params = Params::read(request, app.options.form_body_bytes_max).await?;
    let dir = destination(app.options.backup_dir.as_deref(), params.required("dir")?, from_here)?;
    let options = BackupOptions { copy: params.flag("copy")? };
    let Ok(place) = Arc::clone(&app.backup_place).try_acquire_owned() else {
        return Err(ApiError::new(ErrorKind::Timeout, "another backup is being taken; try again when it is done"));
    };
    let (say, mut hear) = watch::channel(Word::Nothing);
    let engine = Arc::clone(&app.engine);
    let task = tokio::task::spawn_blocking(move || {
        let begun = Instant::now();
        let taken = engine.backup(&dir, options, &mut |at| {
            let file = at.file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            say.send_replace(Word::Progress { file, done_bytes: at.done_bytes, total_bytes: at.total_bytes });
        });
        let taken = taken.map(|report| told(&dir, &report, begun.elapsed())).map_err(ApiError::from);
        drop(place);
        say.send_replace(Word::Ended(taken));
    });
    // The task's end is its last word.
    drop(task);
    // What is wrong from the start is told by the status.
    next_word(&mut hear).await.map_or_else(Err, |word| match word {
        Word::Ended(Err(error)) => Err(error),
        first => Ok(lines(first, hear)),
    })
}

async fn next_word(hear: &mut watch::Receiver<Word>) -> Result<Word, ApiError> {
    if hear.changed().await.is_ok() {
        return Ok(hear.borrow_and_update().clone());
    }
    tracing::error!("a backup panicked");
    Err(ApiError::new(ErrorKind::Internal, "it failed unexpectedly; the server's log has the details"))
}

/// The answer that begins with `first` and goes on with what is heard.
fn lines(first: Word, mut hear: watch::Receiver<Word>) -> Response {
    let (write, lines) = mpsc::channel(1);
    tokio::spawn(async move {
        let mut word = first;
        while write.send(line(&word)).await.is_ok() && !matches!(word, Word::Ended(_)) {
            tokio::time::sleep(PAUSE).await;
            word = next_word(&mut hear).await.unwrap_or_else(|error| Word::Ended(Err(error)));
        }
    });
    ([(CONTENT_TYPE, LINES_TYPE)], Body::new(Lines(lines))).into_response()
}

fn line(word: &Word) -> Bytes {
    let document = match word {
        Word::Nothing => json!({ "status": "running" }),
        Word::Progress { file, done_bytes, total_bytes } => {
            json!({ "status": "running", "file": file, "doneBytes": done_bytes, "totalBytes": total_bytes })
        }
        Word::Ended(Ok(data)) => json!({ "status": "success", "data": data }),
        Word::Ended(Err(error)) => {
            json!({ "status": "error", "errorType": error.kind.as_str(), "error": error.message })
        }
    };
    let mut text = document.to_string().into_bytes();
    text.push(b'\n');
    text.into()
}

/// The body of an answer in lines.
struct Lines(mpsc::Receiver<Bytes>);

impl HttpBody for Lines {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|line| line.map(|line| Ok(Frame::data(line))))
    }
}

/// The folder that a client means, if it may.
fn destination(backup_dir: Option<&Path>, asked: &str, from_here: bool) -> Result<PathBuf, ApiError> {
    let wrong = |reason: String| Err(ApiError::parameter("dir", reason));
    let asked = Path::new(asked);
    if asked.components().any(|part| part == Component::ParentDir) {
        return wrong("it must not contain ..".to_owned());
    }
    let Some(backup_dir) = backup_dir else {
        return match (from_here, asked.is_absolute()) {
            (true, true) => Ok(asked.to_owned()),
            (true, false) => wrong("it must be absolute, or the server be started with --backup-dir".to_owned()),
            (false, _) => {
                let message = "backups are taken for programs on the server's own machine only; start the server with \
                               --backup-dir to allow those below a folder";
                Err(ApiError::new(ErrorKind::Forbidden, message))
            }
        };
    };
    let base =
        std::path::absolute(backup_dir).map_err(|error| ApiError::new(ErrorKind::Internal, error.to_string()))?;
    let path = base.join(asked);
    // Of what is not there yet, the nearest folder above it tells where links lead.
    let real = |path: &Path| path.ancestors().find_map(|above| above.canonicalize().ok()).unwrap_or_default();
    let leads_out = base.exists() && !real(&path).starts_with(real(&base));
    if !path.starts_with(&base) || leads_out {
        return wrong(format!("it must lie below the server's backup_dir, {}", base.display()));
    }
    Ok(path)
}

fn told(dir: &Path, report: &BackupReport, took: Duration) -> Value {
    let moved = |of: &Moved| json!({ "files": of.files, "bytes": of.bytes });
    json!({
        "dir": dir.to_string_lossy(),
        "seconds": took.as_secs_f64(),
        "number": report.number,
        "takenMs": report.taken_ms,
        "bytes": report.bytes,
        "catalogBytes": report.catalog_bytes,
        "blocks": report.blocks,
        "samples": report.samples,
        "fromMs": report.span.map(|span| span.start.0),
        "toMs": report.span.map(|span| span.end.0),
        "kept": moved(&report.kept),
        "linked": moved(&report.linked),
        "copied": moved(&report.copied),
        "removed": report.removed,
        "fromBefore": report.from_before,
        "damaged": report.damaged,
        "lost": report.lost,
        "unread": report.unread,
    })
}

impl From<BackupError> for ApiError {
    fn from(error: BackupError) -> Self {
        let kind = match error {
            BackupError::Foreign { .. } | BackupError::Inside { .. } => ErrorKind::BadData,
            BackupError::InUse { .. }
            | BackupError::Manifest { .. }
            | BackupError::Version { .. }
            | BackupError::NoRoom { .. } => ErrorKind::Execution,
            _ => ErrorKind::Internal,
        };
        Self::new(kind, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(backup_dir: Option<&Path>, asked: &str, from_here: bool, want: Result<&Path, &str>) {
        let got = destination(backup_dir, asked, from_here).map_err(|error| error.message);
        match (&got, want) {
            (Err(got), Err(want)) => assert!(got.contains(want), "{want:?} in {got:?}"),
            (Ok(got), Ok(want)) => assert_eq!(got, want, "{asked:?}"),
            _ => panic!("{backup_dir:?} {asked:?}: {got:?}, not {want:?}"),
        }
    }

    #[test]
    fn backups_go_where_they_may() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().join("backups");
        check(None, "/b/x", true, Ok(Path::new("/b/x")));
        check(None, "x", true, Err("absolute"));
        check(None, "/b/../x", true, Err(".."));
        check(None, "/b/x", false, Err("--backup-dir"));
        for exists in [false, true] {
            for from_here in [false, true] {
                check(Some(&base), "x", from_here, Ok(&base.join("x")));
                check(Some(&base), base.join("x/y").to_str().unwrap(), from_here, Ok(&base.join("x/y")));
                check(Some(&base), base.to_str().unwrap(), from_here, Ok(&base));
                check(Some(&base), "/etc", from_here, Err("below"));
                check(Some(&base), "../x", from_here, Err(".."));
                check(Some(&base), folder.path().join("backups2").to_str().unwrap(), from_here, Err("below"));
            }
            if !exists {
                std::fs::create_dir(&base).unwrap();
            }
        }
        std::os::unix::fs::symlink("/", base.join("out")).unwrap();
        check(Some(&base), "out/tmp", true, Err("below"));
    }
}
