//! How far long work on files is: a bar on standard error, and nothing where that is no terminal.

use std::path::Path;

use indicatif::{ProgressBar, ProgressStyle};

const TEMPLATE: &str = "{msg:28!} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}";

/// A bar of bytes.
#[derive(Debug)]
pub(super) struct ByteBar(ProgressBar);

impl ByteBar {
    /// A bar at its start, which draws itself at most a few times a second.
    pub(super) fn start() -> anyhow::Result<Self> {
        Ok(Self(ProgressBar::new(0).with_style(ProgressStyle::with_template(TEMPLATE)?)))
    }

    /// So many of so many bytes are done, and `file` is next.
    pub(super) fn show(&self, file: &Path, done_bytes: u64, total_bytes: u64) {
        self.0.set_length(total_bytes);
        self.0.set_position(done_bytes);
        if let Some(name) = file.file_name() {
            self.0.set_message(name.to_string_lossy().into_owned());
        }
    }

    /// Takes the bar from the screen.
    pub(super) fn end(&self) {
        self.0.finish_and_clear();
    }
}

/// With a known end, and without one.
const FLOW_TEMPLATES: [&str; 2] =
    ["{wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta} {msg}", "{spinner} {bytes} {bytes_per_sec} {msg}"];

/// A bar of bytes that flow by.
#[derive(Debug)]
pub(super) struct FlowBar(ProgressBar);

impl FlowBar {
    /// A bar at its start; the end may not be known.
    pub(super) fn start(total_bytes: Option<u64>) -> anyhow::Result<Self> {
        let [with_end, without] = FLOW_TEMPLATES;
        let (bar, template) = match total_bytes {
            Some(total_bytes) => (ProgressBar::new(total_bytes), with_end),
            None => (ProgressBar::new_spinner(), without),
        };
        Ok(Self(bar.with_style(ProgressStyle::with_template(template)?)))
    }

    /// So many bytes are done, and this is to be said of them.
    pub(super) fn show(&self, done_bytes: u64, message: String) {
        self.0.set_position(done_bytes);
        self.0.set_message(message);
    }

    /// Takes the bar from the screen.
    pub(super) fn end(&self) {
        self.0.finish_and_clear();
    }
}

/// A sign of life while something is waited for that has no measure.
#[derive(Debug)]
pub(super) struct Spinner(ProgressBar);

impl Spinner {
    /// One that turns by itself.
    pub(super) fn start() -> anyhow::Result<Self> {
        let bar = ProgressBar::new_spinner().with_style(ProgressStyle::with_template("{spinner} {msg} {elapsed}")?);
        bar.enable_steady_tick(std::time::Duration::from_millis(200));
        Ok(Self(bar))
    }

    /// What is waited for.
    pub(super) fn show(&self, what: &str) {
        self.0.set_message(what.to_owned());
    }

    /// Takes it from the screen.
    pub(super) fn end(&self) {
        self.0.finish_and_clear();
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        self.end();
    }
}
