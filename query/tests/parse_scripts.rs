//! Every query of the public test scripts parses, and its canonical spelling parses to the same text.
//!
//! The scripts are not part of the project; without them beside it there is nothing to check.

use std::path::{Path, PathBuf};

/// Queries that have to fail already here, by a part of them.
const REFUSED: [&str; 2] = ["count_values(\"a\\xc5z\"", "label_replace(testmetric, \"\\xff\""];

fn scripts() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/promqltest");
    let mut found = Vec::new();
    for version in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let files = std::fs::read_dir(version.path()).into_iter().flatten().flatten().map(|file| file.path());
        found.extend(files.filter(|path| path.extension().is_some_and(|extension| extension == "test")));
    }
    found
}

/// The query of an `eval` line.
fn query_of(line: &str) -> Option<&str> {
    let words = line.split_whitespace().collect::<Vec<_>>();
    let [command, kind, ..] = words[..] else { return None };
    if !command.starts_with("eval") {
        return None;
    }
    // `eval instant at T QUERY` or `eval range from A to B step S QUERY`.
    let skipped = if kind == "instant" { 4 } else { 8 };
    let mut rest = line;
    for _ in 0..skipped {
        rest = rest.trim_start();
        rest = &rest[rest.find(char::is_whitespace)?..];
    }
    Some(rest.trim())
}

#[test]
fn all_queries_parse_and_print() {
    let mut count = 0;
    for path in scripts() {
        let text = std::fs::read_to_string(&path).expect("readable script");
        for (number, line) in text.lines().enumerate() {
            let Some(query) = query_of(line) else { continue };
            let place = format!("{}:{}", path.display(), number + 1);
            count += 1;
            if REFUSED.iter().any(|refused| query.starts_with(refused)) {
                assert!(query::parse(query).is_err(), "{place}: {query}");
                continue;
            }
            let printed = match query::parse(query) {
                Ok(expr) => expr.to_string(),
                Err(error) => panic!("{place}: {query}: {error}"),
            };
            match query::parse(&printed) {
                Ok(again) => assert_eq!(again.to_string(), printed, "{place}"),
                Err(error) => panic!("{place}: {printed}: {error}"),
            }
        }
    }
    assert!(count == 0 || count > 1000, "only {count} queries found in the scripts");
}
