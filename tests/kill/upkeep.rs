//! What a server does by itself now and then, asked for again and again, so that it is killed in it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::{http, try_post, try_read};
use crate::work::Seen;

/// Asks for one thing after the other until `stop` or the server is killed.
pub(super) fn ask_until_killed(url: &str, random: &mut fastrand::Rng, stop: &AtomicBool, seen: &mut Seen) {
    let http = http();
    while !stop.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(random.u64(0..60)));
        let path = match random.u8(0..24) {
            0 => "tsdb/clean_tombstones",
            1..8 => "merge",
            _ => "flush",
        };
        let Some(answer) = try_read(try_post(&http, &format!("{url}/api/v1/admin/{path}"), &[], &[])) else { return };
        // Who deletes may be in the way.
        assert!(answer.status < 300 || answer.status == 503, "{path}: {} {}", answer.status, answer.body);
        if path == "tsdb/clean_tombstones" && answer.status < 300 {
            seen.add("cleanings asked for", 1);
        }
    }
}
