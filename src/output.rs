//! Standard output and error as one value: where text goes, whether it may carry colour, how wide it may be.
//!
//! Owns every write of the program to its user. A reader that went away (`metrickit query … | head`) is an
//! error of kind `BrokenPipe`, which `main` takes as a quiet end.

use std::io::{self, IsTerminal, Write};

/// Columns assumed when the terminal does not tell.
const WIDTH_FALLBACK: usize = 100;
/// Narrowest width that tables and charts are laid out for.
const WIDTH_MIN: usize = 40;

/// The program's user.
#[derive(Debug)]
pub(crate) struct Output {
    stdout: io::Stdout,
    stderr: io::Stderr,
    /// Whether standard output is a terminal.
    pub(crate) is_terminal: bool,
    /// Whether standard output takes colour: a terminal, and `NO_COLOR` is not set.
    pub(crate) color: bool,
}

impl Output {
    /// Looks at the streams of this process.
    pub(crate) fn new() -> Self {
        let is_terminal = io::stdout().is_terminal();
        let color = is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { stdout: io::stdout(), stderr: io::stderr(), is_terminal, color }
    }

    /// Columns of the terminal now; people resize windows.
    pub(crate) fn width(&self) -> usize {
        let told = std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
        let asked = || rustix::termios::tcgetwinsize(&self.stdout).ok().map(|size| usize::from(size.ws_col));
        told.or_else(asked).filter(|&width| width > 0).unwrap_or(WIDTH_FALLBACK).max(WIDTH_MIN)
    }

    /// Rows of the terminal now, if there is one.
    pub(crate) fn height(&self) -> Option<usize> {
        let told = std::env::var("LINES").ok().and_then(|text| text.parse().ok());
        let asked = || rustix::termios::tcgetwinsize(&self.stdout).ok().map(|size| usize::from(size.ws_row));
        told.filter(|_| self.is_terminal).or_else(asked).filter(|&height| height > 0)
    }

    /// Whether standard error is a terminal.
    pub(crate) fn note_is_terminal(&self) -> bool {
        self.stderr.is_terminal()
    }

    /// Whether notes on standard error take colour.
    pub(crate) fn note_color(&self) -> bool {
        self.color && self.note_is_terminal()
    }

    /// Writes `text` and a line end to standard output, and flushes it.
    pub(crate) fn line(&mut self, text: &str) -> io::Result<()> {
        let mut stdout = self.stdout.lock();
        stdout.write_all(text.as_bytes())?;
        stdout.write_all(b"\n")?;
        stdout.flush()
    }

    /// Writes `text`, which ends its own lines, to standard output, and flushes it.
    pub(crate) fn text(&mut self, text: &str) -> io::Result<()> {
        let mut stdout = self.stdout.lock();
        stdout.write_all(text.as_bytes())?;
        stdout.flush()
    }

    /// Standard output for what is written in many pieces; whoever takes it flushes it.
    pub(crate) fn stdout() -> io::Stdout {
        io::stdout()
    }

    /// Writes `text` and a line end to standard error.
    pub(crate) fn note(&mut self, text: &str) -> io::Result<()> {
        let mut stderr = self.stderr.lock();
        stderr.write_all(text.as_bytes())?;
        stderr.write_all(b"\n")
    }
}
