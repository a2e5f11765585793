//! A file that is imported again and again, by a program that outlives the servers that are killed under it and is killed itself
//! now and then: what it said is imported is there, each sample once, and no other.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::support::{Running, Server, binary, drain};
use crate::work::Seen;
use crate::{FIRST_MS, STEP_MS, samples};

/// What the file holds: a few requests.
const SERIES: i64 = 20;
const SAMPLES: i64 = 1_500;

/// The file, and who imports it.
#[derive(Debug)]
pub(super) struct Imports {
    file: PathBuf,
    url: String,
    running: Option<Running>,
    /// Whether the whole file was imported once.
    whole: bool,
}

fn value(at: i64, number: i64) -> f64 {
    (at * 10_000 + number) as f64 / 4.0
}

impl Imports {
    /// Writes the file into `folder`, to be sent to the server at `url`.
    pub(super) fn new(folder: &Path, url: &str) -> Self {
        let path = folder.join("import.jsonl");
        let mut file = std::fs::File::create(&path).expect("a file");
        let list = |of: &dyn Fn(i64) -> String| (0..SAMPLES).map(of).collect::<Vec<_>>().join(",");
        for at in 0..SERIES {
            let values = list(&|number| value(at, number).to_string());
            let times = list(&|number| (*FIRST_MS + number * STEP_MS).to_string());
            let metric = format!(r#"{{"__name__":"imported","at":"{at}"}}"#);
            writeln!(file, r#"{{"metric":{metric},"values":[{values}],"timestamps":[{times}]}}"#).expect("written");
        }
        Self { file: path, url: url.to_owned(), running: None, whole: false }
    }

    /// Looks after the program, of which one runs at a time.
    pub(super) fn tend(&mut self, random: &mut fastrand::Rng, seen: &mut Seen) {
        if let Some(mut running) = self.running.take() {
            match running.0.try_wait().expect("a child can be waited for") {
                None if random.u8(0..12) == 0 => seen.add("imports killed", 1),
                None => self.running = Some(running),
                Some(status) if status.success() => {
                    self.whole = true;
                    seen.add("imports whole", 1);
                }
                Some(_) => {
                    // Killed before it took anything, a server is told to be a wrong address.
                    let told = drain(running.0.stderr.take());
                    assert!(told.contains("cannot write to"), "an import failed: {told}");
                }
            }
        }
        if self.running.is_none() {
            let child = binary()
                .args(["import", "--url", &self.url])
                .arg(&self.file)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn();
            self.running = Some(Running(child.expect("the binary starts")));
        }
    }

    /// Compares with what the server holds.
    pub(super) fn check(&self, server: &Server) {
        let end_s = *FIRST_MS / 1000 + SAMPLES * STEP_MS / 1000;
        let result = server.query(&format!("imported[{}s]", SAMPLES * STEP_MS / 1000 + 1), &end_s.to_string());
        let mut count = 0;
        for one in result.as_array().expect("a matrix") {
            let at: i64 = one["metric"]["at"].as_str().and_then(|at| at.parse().ok()).expect("a number");
            let mut seen = BTreeSet::new();
            for (ms, found) in samples(one) {
                let number = (ms - *FIRST_MS) / STEP_MS;
                assert!((0..SAMPLES).contains(&number) && ms == *FIRST_MS + number * STEP_MS, "series {at} at {ms} ms");
                assert_eq!(found, value(at, number).to_string(), "series {at} at {ms} ms");
                assert!(seen.insert(number), "series {at}: two samples at {ms} ms");
            }
            count += i64::try_from(seen.len()).expect("few");
        }
        assert!(!self.whole || count == SERIES * SAMPLES, "{count} samples of {SERIES} series with {SAMPLES} each");
    }
}
