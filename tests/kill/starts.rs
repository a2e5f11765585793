//! Servers that are killed while they start: while the catalog is opened, the log replayed, and its end written anew.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use crate::support::{Running, binary};

/// Starts a server on `data` and kills it before it has done what takes `ready` otherwise.
pub(super) fn start_and_kill(data: &Path, args: &[&str], ready: Duration, random: &mut fastrand::Rng) {
    let child = binary()
        .args(["server", "--listen", "127.0.0.1:0", "--data"])
        // What it counts is what it was sent.
        .env("METRICKIT_SELF_METRICS_INTERVAL", "off")
        .arg(data)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary starts");
    let running = Running(child);
    std::thread::sleep(ready.mul_f64(random.f64()));
    drop(running);
}
