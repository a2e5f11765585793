//! The table of what the cases cover leads to cases, and nothing of the language goes without one.

use std::path::{Path, PathBuf};

use query::functions::FUNCTIONS;

fn cases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn every_row_leads_to_its_case() {
    let table = read(&cases().join("COVERAGE.md"));
    let mut rows = 0;
    for line in table.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| **")).skip(2) {
        // A text may hold the sign between columns.
        let mut columns = line[2..].splitn(3, " | ");
        let (Some(rule), Some(file), Some(text)) = (columns.next(), columns.next(), columns.next()) else {
            panic!("{line} has no three columns");
        };
        let text = text.trim_end_matches(" |").trim();
        let text = match text.strip_prefix("`` ") {
            Some(text) => text.trim_end_matches(" ``"),
            None => text.trim_matches('`'),
        };
        assert!(!text.is_empty(), "{line}");
        assert!(read(&cases().join(file)).contains(text), "{file} has no {text:?}, which {rule:?} is to be found by");
        rows += 1;
    }
    assert!(rows > 150, "only {rows} rows");
}

#[test]
fn every_function_operator_and_aggregation_has_a_case() {
    let mut queries = String::new();
    for file in std::fs::read_dir(cases()).expect("the folder of the cases").flatten() {
        if file.path().extension().is_some_and(|extension| extension == "test") {
            for line in read(&file.path()).lines().filter(|line| line.starts_with("eval")) {
                queries.push_str(line);
                queries.push('\n');
            }
        }
    }
    let aggregations = [
        "sum",
        "avg",
        "count",
        "min",
        "max",
        "group",
        "stddev",
        "stdvar",
        "topk",
        "bottomk",
        "count_values",
        "quantile",
        "limitk",
        "limit_ratio",
    ];
    for name in FUNCTIONS.iter().map(|function| function.name).chain(aggregations) {
        let is_called = queries.match_indices(name).any(|(at, _)| {
            let before = queries[..at].chars().next_back().unwrap_or(' ');
            let after = &queries[at + name.len()..];
            !(before.is_alphanumeric() || before == '_')
                && [" by", " without", "(", " ("].iter().any(|next| after.starts_with(next))
        });
        assert!(is_called, "no case calls {name}");
    }
    for operator in [
        " + ",
        " - ",
        " * ",
        " / ",
        " % ",
        " ^ ",
        " atan2 ",
        " == ",
        " != ",
        " < ",
        " <= ",
        " > ",
        " >= ",
        " and ",
        " or ",
        " unless ",
        " </ ",
        " >/ ",
        " fill(",
        " fill_left(",
        " fill_right(",
        " group_left",
        " group_right",
        " bool ",
        " on(",
        " ignoring(",
        " offset ",
        " @ ",
        " anchored",
        " smoothed",
    ] {
        assert!(queries.contains(operator), "no case has{operator}");
    }
}
