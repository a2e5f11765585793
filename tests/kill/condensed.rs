//! Series of which only summaries are shown soon after they were written: their numbers over whole windows are those of what
//! was acknowledged, from whatever is there of samples and summaries.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::{Server, http, now_ms, series};
use crate::write;

/// How far back samples are written that their rule soon keeps no more. Their day is over then, and is none of those that
/// other samples are written to.
const RAW_MS: i64 = 72 * HOUR_MS;
/// How long samples are shown as such.
const LIFE_MS: i64 = 4_000;
const HOUR_MS: i64 = 3_600_000;
/// Series of which samples go once summaries are there, by the rule of [`rules`].
pub(super) const SQUEEZED: &str = "squeezed";
/// Series of which samples stay beside the summaries.
pub(super) const CONDENSED: &str = "condensed";

/// The rules. With `squeeze` the samples of the whole day that is written to otherwise are kept no more by the second.
pub(super) fn rules(squeeze: bool) -> String {
    format!("{CONDENSED} raw 72h, 1m for 90h; {SQUEEZED} raw {}, 1m for 90h", if squeeze { "40h" } else { "72h" })
}

/// Numbers of requests with one sample each, by life of the server.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Count {
    acknowledged: u64,
    unknown: u64,
}

/// What was written of the series of one name, and when the first of it.
#[derive(Debug)]
pub(super) struct Condensed {
    name: &'static str,
    lives: BTreeMap<u64, Count>,
    first_ms: Option<i64>,
}

impl Count {
    /// Writes one series called `name` until `stop` or a failure, in the life `life`.
    pub(super) fn write_until_killed(url: &str, name: &str, life: u64, stop: &AtomicBool) -> Self {
        let http = http();
        let mut written = Self::default();
        let mut last_ms = 0;
        while !stop.load(Ordering::Relaxed) {
            // The rule's border lies at the end of a minute: up to that much more is taken and shown.
            let ms = (now_ms() - RAW_MS + LIFE_MS).max(last_ms + 1);
            last_ms = ms;
            let labels = [("__name__", name), ("life", &*life.to_string())];
            match write(&http, url, vec![series(&labels, &[(ms, 1.0)])]) {
                Some(204) => written.acknowledged += 1,
                // On a busy machine it may have been too old when it came.
                Some(400) => {}
                Some(status) => panic!("the writer of what is summarised got status {status}"),
                None => {
                    written.unknown += 1;
                    break;
                }
            }
            std::thread::sleep(Duration::from_millis(3));
        }
        written
    }
}

impl Condensed {
    pub(super) fn of(name: &'static str) -> Self {
        Self { name, lives: BTreeMap::new(), first_ms: None }
    }

    pub(super) fn add(&mut self, life: u64, written: Count) {
        self.first_ms.get_or_insert_with(|| now_ms() - RAW_MS - HOUR_MS);
        self.lives.insert(life, written);
    }

    /// Compares with what the server holds, in windows of whole hours.
    pub(super) fn check(&self, server: &Server) {
        let Some(first_ms) = self.first_ms else { return };
        let end_ms = (now_ms() - RAW_MS).div_euclid(HOUR_MS) * HOUR_MS + 2 * HOUR_MS;
        let hours = (end_ms - first_ms).div_euclid(HOUR_MS) + 2;
        let name = self.name;
        let both = ["count", "sum"].map(|of| {
            let query = format!("{of}_over_time({name}[{hours}h])");
            let result = server.query(&query, &(end_ms / 1000).to_string());
            let mut found = BTreeMap::<u64, u64>::new();
            for one in result.as_array().expect("a vector") {
                let number = |text: Option<&str>| text.and_then(|text| text.parse().ok()).expect("a whole number");
                found.insert(number(one["metric"]["life"].as_str()), number(one["value"][1].as_str()));
            }
            found
        });
        assert_eq!(both[0], both[1], "samples are 1, so their number is their sum");
        for (life, Count { acknowledged, unknown }) in &self.lives {
            let found = both[0].get(life).copied().unwrap_or(0);
            assert!(
                (*acknowledged..=acknowledged + unknown).contains(&found),
                "life {life} of {name} has {found} samples of {acknowledged} acknowledged and {unknown} unknown"
            );
        }
        assert!(both[0].keys().all(|life| self.lives.contains_key(life)), "nobody wrote {:?}", both[0]);
    }
}
