//! SIGTERM and SIGINT: the first asks to stop, the second ends the process at once. SIGHUP asks to read files anew.

use std::io;
use std::process;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Calls `on_stop` from a thread of its own at the first signal. A second one exits with 128 plus its number, as
/// shells report a process that a signal ended.
pub(crate) fn on_stop(on_stop: impl FnOnce(&'static str) + Send + 'static) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let mut on_stop = Some(on_stop);
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for signal in signals.forever() {
            match on_stop.take() {
                Some(on_stop) => on_stop(if signal == SIGTERM { "SIGTERM" } else { "SIGINT" }),
                None => process::exit(128 + signal),
            }
        }
    })?;
    Ok(())
}

/// Calls `on_reload` from a thread of its own at each SIGHUP.
pub(crate) fn on_reload(on_reload: impl Fn() + Send + 'static) -> io::Result<()> {
    let mut signals = Signals::new([SIGHUP])?;
    std::thread::Builder::new().name("reload".to_owned()).spawn(move || {
        for _ in signals.forever() {
            on_reload();
        }
    })?;
    Ok(())
}
