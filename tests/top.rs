//! `metrickit top` on a terminal of its own: it draws, takes keys, and gives the terminal back however it ends.

mod support;

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use support::{PATIENCE, binary, free_address, installed};

/// Leaves and returns to the screen that was there before.
const ENTER: &str = "\u{1b}[?1049h";
const LEAVE: &str = "\u{1b}[?1049l";

/// Runs `command` in a shell on a terminal of `size`, rows and columns, and types each of `keys` once its word was seen. What was written to the
/// terminal, between its modes before and after; nothing where there is no program that makes terminals.
fn on_a_terminal(size: (u16, u16), command: &str, keys: &[(&str, &str)]) -> Option<String> {
    installed("script")?;
    let (rows, columns) = size;
    let line = format!("stty rows {rows} cols {columns}; stty -g; {command}; echo \"status $?\"; stty -g");
    let mut child = Command::new("script")
        .args(["-q", "-e", "-c", &line, "/dev/null"])
        .env("TERM", "xterm-256color")
        .env("SHELL", "/bin/sh")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("script runs");
    let (mut typed, mut screen) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
    let written = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&written);
    let reader = std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = screen.read(&mut bytes) {
            kept.lock().expect("no panic").extend_from_slice(&bytes[..count]);
        }
    });
    let text = || String::from_utf8_lossy(&written.lock().expect("no panic")).into_owned();
    for (word, key) in keys {
        let until = Instant::now() + PATIENCE;
        while !text().contains(word) {
            assert!(Instant::now() < until, "{word:?} does not come in {:?}", text());
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        typed.write_all(key.as_bytes()).expect("the terminal takes keys");
        typed.flush().expect("the terminal takes keys");
    }
    support::wait(&mut child);
    drop(typed);
    reader.join().expect("the screen is read");
    Some(text())
}

/// Whether the modes of the terminal are as before, the old screen is back, and the command ended with `status`.
#[track_caller]
fn check(written: &str, status: &str) {
    let is_modes = |line: &&str| {
        line.matches(':').count() > 10 && line.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b':')
    };
    let modes: Vec<&str> = written.lines().map(str::trim).filter(is_modes).collect();
    assert_eq!(modes.len(), 2, "{written:?}");
    assert_eq!(modes[0], modes[1], "the modes of the terminal in {written:?}");
    let (enter, leave) = (written.find(ENTER), written.rfind(LEAVE));
    assert!(enter.is_some() && enter < leave, "the screen in {written:?}");
    assert!(written.contains(&format!("status {status}\r\n")), "{written:?}");
}

fn top(more: &str) -> String {
    format!("'{}' top {more}", env!("CARGO_BIN_EXE_metrickit"))
}

#[test]
fn the_terminal_is_given_back_however_it_ends() {
    let away = format!("--url http://{} --interval 200ms", free_address());
    let quit = [("trying", "?"), ("Keys", "x"), ("Enter", "q")];
    let Some(written) = on_a_terminal((24, 80), &top(&away), &quit) else { return };
    check(&written, "0");
    assert!(written.contains("\u{1b}[31m") || written.contains("38;5;1;"), "an error is red in {written:?}");

    let small =
        on_a_terminal((5, 20), &format!("NO_COLOR=1 {}", top(&away)), &[("again", "\u{3}")]).expect("as before");
    check(&small, "0");
    let colored = (30..38).any(|code| small.contains(&format!("\u{1b}[{code}m"))) || small.contains("38;5;");
    assert!(!colored, "no colour is wanted in {small:?}");

    let ended = format!("timeout --foreground -s TERM 3 {}", top("--local"));
    check(&on_a_terminal((24, 80), &ended, &[]).expect("as before"), "124");
}

#[test]
fn it_ends_with_its_terminal() {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a terminal");
    grantpt(&master).expect("its rights");
    unlockpt(&master).expect("its lock");
    let name = ptsname(&master, Vec::new()).expect("its name").into_string().expect("a path");
    let open = || Stdio::from(File::options().read(true).write(true).open(&name).expect("its other end"));
    // Not its session's: no signal comes when the terminal goes.
    let mut child =
        binary().args(["top", "--local"]).stdin(open()).stdout(open()).stderr(open()).spawn().expect("top starts");
    let mut master = File::from(master);
    let mut seen = Vec::new();
    let mut bytes = [0; 4096];
    while !String::from_utf8_lossy(&seen).contains(ENTER) {
        let read = master.read(&mut bytes).expect("the screen is drawn");
        seen.extend_from_slice(&bytes[..read]);
    }
    drop(master);
    assert_eq!(support::wait(&mut child).code(), Some(0));
}
