//! `/api/v1/admin/flush` and `/api/v1/admin/merge`: what the engine does by itself, done now. For tests, measurements,
//! and before a folder is copied.
//!
//! Both answer when they are done, with what is in blocks before and after. One request at a time works; what it has
//! begun it ends, also when its client leaves.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::State;
use axum::response::Response;
use serde_json::json;
use storage::{Engine, EngineStats, StorageError};

use crate::app::App;
use crate::reply::{ApiError, ErrorKind, success_json};

/// Writes what is in memory into blocks.
pub(crate) async fn flush(State(app): State<Arc<App>>) -> Result<Response, ApiError> {
    measured(app, Engine::flush).await
}

/// Writes what is in memory into blocks, and merges those of every partition into one.
pub(crate) async fn merge(State(app): State<Arc<App>>) -> Result<Response, ApiError> {
    measured(app, |engine| engine.flush().and_then(|()| engine.merge_to_end())).await
}

async fn measured(
    app: Arc<App>,
    work: impl FnOnce(&Engine) -> Result<(), StorageError> + Send + 'static,
) -> Result<Response, ApiError> {
    run(&app, move |engine| {
        let (before, begun) = (engine.stats(), Instant::now());
        work(engine)?;
        let after = engine.stats();
        Ok::<_, StorageError>(success_json(&json!({
            "seconds": begun.elapsed().as_secs_f64(),
            "flushes": after.flushes.saturating_sub(before.flushes),
            "merges": after.merges.saturating_sub(before.merges),
            "before": blocks_of(&before),
            "after": blocks_of(&after),
        })))
    })
    .await
}

fn blocks_of(stats: &EngineStats) -> serde_json::Value {
    json!({
        "blocks": stats.blocks,
        "bytes": stats.block_bytes,
        "samples": stats.block_samples,
        "series": stats.series,
        "headBytes": stats.head_bytes,
        "logBytes": stats.log_bytes,
    })
}

/// Runs `work` to its end on a thread that may block for long. Others that come meanwhile are told to try again.
pub(crate) async fn run<T: Send + 'static, E: Into<ApiError> + Send + 'static>(
    app: &Arc<App>,
    work: impl FnOnce(&Engine) -> Result<T, E> + Send + 'static,
) -> Result<T, ApiError> {
    let Ok(place) = Arc::clone(&app.admin_place).try_acquire_owned() else {
        let message = "another admin request is under way; try again when it is done";
        return Err(ApiError::new(ErrorKind::Timeout, message));
    };
    let engine = Arc::clone(&app.engine);
    let task = tokio::task::spawn_blocking(move || {
        let result = work(&engine);
        drop(place);
        result
    });
    match task.await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(error.into()),
        Err(failure) => {
            tracing::error!(%failure, "an admin request panicked");
            Err(ApiError::new(ErrorKind::Internal, "it failed unexpectedly; the server's log has the details"))
        }
    }
}

impl From<StorageError> for ApiError {
    fn from(error: StorageError) -> Self {
        let kind =
            if matches!(error, StorageError::Short { .. }) { ErrorKind::Unavailable } else { ErrorKind::Internal };
        Self::new(kind, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lacked_memory_may_be_tried_again() {
        let error = ApiError::from(StorageError::Short { detail: "9 bytes of 8".to_owned() });
        assert_eq!((error.kind, error.message.contains("9 bytes of 8")), (ErrorKind::Unavailable, true));
        assert_eq!(ApiError::from(StorageError::Closed).kind, ErrorKind::Internal);
    }
}
