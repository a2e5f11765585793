//! Asking so that Ctrl-C ends it, and telling what came back: shared by the REPL and `metrickit query`.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use crate::client::{Answer, Client, ClientError, Moment};
use crate::output::Output;
use crate::render::caret::{self, Style};
use crate::render::unit::{Unit, of_observations};
use crate::render::{Axes, Layout};

/// How often a waiting request looks for Ctrl-C.
const INTERRUPT_POLL: Duration = Duration::from_millis(20);

/// Does `work` with a client on connections of its own; `None` if `interrupted` was set first. The connections are
/// closed then, by which the server knows to end a query.
pub(crate) fn interruptible<T: Send + 'static>(
    client: &Client,
    interrupted: &AtomicBool,
    work: impl FnOnce(&Client) -> T + Send + 'static,
) -> Option<T> {
    interrupted.store(false, Ordering::Relaxed);
    let client = client.on_own_connections();
    let worker_client = client.clone();
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        // Nobody waits any more after an interrupt.
        let _ = sender.send(work(&worker_client));
    });
    loop {
        match receiver.recv_timeout(INTERRUPT_POLL) {
            Ok(result) => return Some(result),
            Err(mpsc::RecvTimeoutError::Timeout) if interrupted.load(Ordering::Relaxed) => {
                client.hang_up();
                return None;
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => return None,
        }
    }
}

/// How answers to `query` are laid out: as wide and high as the terminal.
pub(crate) fn layout(query: &str, output: &Output, moment: Moment, rows_max: usize) -> Layout {
    let axes = match moment {
        Moment::Instant { .. } => None,
        Moment::Range { start_ms, end_ms, step_ms } => Some(Axes { start_ms, end_ms, step_ms }),
    };
    Layout {
        width: output.is_terminal.then(|| output.width()),
        height: output.is_terminal.then(|| output.height()).flatten(),
        color: output.color,
        rows_max,
        unit: Unit::of_query(query),
        observed: of_observations(query),
        axes,
    }
}

/// Tells warnings and infos on standard error, under the query where they name a place in it.
pub(crate) fn notes(query: &str, answer: &Answer, output: &mut Output) -> io::Result<()> {
    let text = caret::notes(query, &answer.warnings, &answer.infos, style(output));
    if text.is_empty() { Ok(()) } else { output.note(text.trim_end()) }
}

/// Tells an error on standard error: under the query if it is about the query.
pub(crate) fn fault(query: &str, error: &ClientError, output: &mut Output) -> io::Result<()> {
    let text = match error {
        ClientError::Refused { message, .. } => caret::error(query, message, style(output)),
        other => format!("error: {other}"),
    };
    output.note(text.trim_end())
}

fn style(output: &Output) -> Style {
    Style { columns: output.width(), wraps: output.note_is_terminal(), color: output.note_color() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::net::TcpListener;
    use std::sync::Arc;

    #[test]
    fn an_interrupt_closes_the_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let interrupted = Arc::new(AtomicBool::new(false));
        let from_server = Arc::clone(&interrupted);
        // Takes the request, answers nothing, and waits for the end of the connection.
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            let mut request = [0; 1024];
            let first = stream.read(&mut request).expect("a request");
            assert!(first > 0);
            from_server.store(true, Ordering::Relaxed);
            let mut rest = Vec::new();
            // An end or a reset: the client is gone either way.
            let _ = stream.read_to_end(&mut rest);
        });
        let client = Client::new(&format!("http://{address}")).expect("an address");
        let moment = Moment::Instant { time_ms: None };
        let result = interruptible(&client, &interrupted, move |client| client.query("up", moment));
        assert!(result.is_none());
        server.join().expect("the server saw the end");
    }
}
