//! Any text as a rule file: faults have places in it; rules that are taken can be evaluated, kept, and taken up again.

use std::sync::Mutex;

use model::{Labels, SampleValue};
use query::VectorElement;
use query::ast::Expr;
use rules::evaluate::kept::Kept;
use rules::evaluate::{RuleSample, Settings, World};
use rules::file::read;
use rules::shelf::{MemoryShelf, Shelf};

/// Longest file that is evaluated.
const FILE_BYTES_MAX: usize = 64 << 10;

/// Answers every query with two series.
#[derive(Debug, Default)]
struct Same(Mutex<usize>);

impl World for Same {
    fn vector(&self, _: &str, _: &Expr, at_ms: i64) -> Result<Vec<VectorElement>, String> {
        let element = |host: &str| {
            let labels = Labels::from_pairs([("__name__", "x"), ("host", host), ("job", "j")]).expect("labels");
            VectorElement { labels, timestamp_ms: at_ms, value: SampleValue::Float(7.5) }
        };
        Ok(vec![element("a"), element("b")])
    }

    fn write(&self, samples: Vec<RuleSample>) -> Result<(), String> {
        *self.0.lock().map_err(|error| error.to_string())? += samples.len();
        Ok(())
    }
}

/// The bytes are the file.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if text.len() > FILE_BYTES_MAX {
        return;
    }
    let file = match read("r.yml", text) {
        Ok(file) => file,
        Err(faults) => {
            assert!(!faults.is_empty(), "a file is refused without a reason");
            // A carriage return alone ends a line of YAML, too.
            let lines = text.matches(['\n', '\r']).count() as u64 + 1;
            assert!(faults.iter().all(|fault| (1..=lines).contains(&fault.line)), "{faults:?}");
            return;
        }
    };
    drop(rules::file::lint::hints(&file, 60_000));
    let files = vec![file];
    let (settings, shelf) = (Settings { interval_ms: 60_000, ..Settings::default() }, MemoryShelf::default());
    let (mut states, _) = Kept::default().into_groups(&files, 0);
    let world = Same::default();
    for at_ms in [60_000, 120_000, 10_000_000] {
        for (group, state) in files.iter().flat_map(|file| &file.groups).zip(&mut states) {
            let made = state.evaluate(group, &world, &settings, at_ms);
            shelf.change(&made.changes).expect("memory keeps");
        }
        let count = |states: &[rules::evaluate::GroupState]| -> Vec<usize> {
            states.iter().flat_map(|group| group.rules().iter().map(|rule| rule.alerts().count())).collect()
        };
        let before = count(&states);
        let (kept, damaged) = Kept::read(shelf.load().expect("memory keeps"));
        assert!(damaged.is_empty(), "{damaged:?}");
        states = kept.into_groups(&files, at_ms).0;
        assert_eq!(count(&states), before, "what was kept is taken up");
    }
}
