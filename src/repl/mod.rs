//! The REPL: queries typed by people, or lines read from a pipe.
//!
//! Owns the loop. A session remembers and evaluates, the editor reads, `render` shows.

pub(crate) mod asking;
mod commands;
mod completion;
mod context;
mod editor;
mod lists;
mod names;
mod session;
mod tokens;
mod words;

use std::io::{self, BufRead, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use reedline::Signal;

use crate::client::Client;
use crate::output::Output;
use session::{Next, Session};

/// How long a list of names for completion may take; typing does not wait for it.
const COMPLETION_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest query read from a pipe, in bytes.
const QUERY_BYTES_MAX: usize = 1 << 20;

/// Runs until the end of input or `.quit`. Returns whether every line worked.
pub(crate) fn run(client: &Client, output: &mut Output) -> anyhow::Result<bool> {
    if io::stdin().is_terminal() && output.is_terminal {
        interactive(client, output)?;
        return Ok(true);
    }
    let mut session = Session::new(client.clone(), Arc::new(AtomicBool::new(false)));
    piped(&mut session, io::stdin().lock(), output)
}

fn interactive(client: &Client, output: &mut Output) -> anyhow::Result<()> {
    let history = editor::history_path();
    if let Some(folder) = history.as_ref().and_then(|path| path.parent()) {
        // Without the folder there is no history file, which the editor can do without.
        let _ = std::fs::create_dir_all(folder);
    }
    let columns = Arc::new(AtomicUsize::new(output.width()));
    let completions = client.with_timeout(COMPLETION_TIMEOUT);
    let mut editor = editor::editor(completions, history, output.color, Arc::clone(&columns));
    let interrupted = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGINT, Arc::clone(&interrupted))?;
    greet(client, output)?;
    let mut session = Session::new(client.clone(), interrupted);
    loop {
        columns.store(output.width(), Ordering::Relaxed);
        let prompt = editor::QueryPrompt { mode: session.describe() };
        match editor.read_line(&prompt) {
            Ok(Signal::Success(line)) => {
                if session.run(&line, output)? == Next::Quit {
                    return Ok(());
                }
            }
            Ok(Signal::CtrlD) => return Ok(()),
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn greet(client: &Client, output: &mut Output) -> io::Result<()> {
    match client.label_values("__name__", None, 0) {
        Ok(names) => {
            output.line(&format!("{} metrics at {}. Tab completes, .help tells more.", names.len(), client.url()))
        }
        Err(error) => output.note(&format!("{error}\nQueries will work once it answers.")),
    }
}

/// Runs the lines of `input`; a query with open brackets goes on in the next line, an empty line ends it.
fn piped(session: &mut Session, input: impl BufRead, output: &mut Output) -> anyhow::Result<bool> {
    let mut all_worked = true;
    let mut pending = String::new();
    for line in input.lines() {
        let line = line?;
        let ends = line.trim().is_empty();
        if !pending.is_empty() {
            pending.push('\n');
        }
        pending.push_str(&line);
        anyhow::ensure!(pending.len() <= QUERY_BYTES_MAX, "a query is longer than {QUERY_BYTES_MAX} bytes");
        if tokens::is_complete(&pending) || ends || pending.starts_with('.') {
            match session.run(&std::mem::take(&mut pending), output)? {
                Next::Line => {}
                Next::LineAfterError => all_worked = false,
                Next::Quit => return Ok(all_worked),
            }
        }
    }
    Ok(session.run(&pending, output)? != Next::LineAfterError && all_worked)
}
