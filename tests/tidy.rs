//! Keeps the map true: arrows between packages, the `//!` line of every file, file lengths, local links of documents.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// A package, and the siblings its library may depend on. `ARCHITECTURE.md` draws the same.
const ARROWS: [(&str, &[&str]); 9] = [
    ("model", &[]),
    ("storage", &["model"]),
    ("query", &["model"]),
    ("rules", &["model", "query"]),
    ("ingest", &["model", "storage"]),
    ("server", &["model", "storage", "query", "rules", "ingest"]),
    ("agent", &["model", "ingest"]),
    ("metrickit", &["model", "storage", "query", "rules", "ingest", "server", "agent"]),
    ("fuzz", &["model", "storage", "query", "rules", "ingest", "agent"]),
];

/// Arrows that only tests may have: the language's scripts run over the real engine, rules over its store in memory.
const TEST_ARROWS: [(&str, &str); 2] = [("query", "storage"), ("rules", "storage")];

/// Longest source file, tests included, in lines.
const FILE_LINES_MAX: usize = 700;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn manifest(path: &Path) -> toml::Table {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.parse().unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The workspace's packages: name and manifest.
fn packages() -> BTreeMap<String, toml::Table> {
    let top = manifest(&root().join("Cargo.toml"));
    let members = top["workspace"]["members"].as_array().expect("the workspace has members");
    let folders = members.iter().map(|member| member.as_str().expect("a member is a folder"));
    let mut packages: BTreeMap<_, _> = folders
        .map(|folder| manifest(&root().join(folder).join("Cargo.toml")))
        .map(|package| (package["package"]["name"].as_str().expect("a package has a name").to_owned(), package))
        .collect();
    packages.insert("metrickit".to_owned(), top);
    packages
}

fn siblings(package: &toml::Table, section: &str, all: &[String]) -> Vec<String> {
    let Some(section) = package.get(section).and_then(toml::Value::as_table) else { return Vec::new() };
    section.keys().filter(|name| all.contains(name)).cloned().collect()
}

/// Every `.rs` file of the workspace that is ours.
fn sources() -> Vec<PathBuf> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.expect("a folder can be listed").path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if path.is_dir() && !name.starts_with('.') && name != "target" && name != "metrickit-data" {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&root(), &mut found);
    assert!(found.len() > 20, "the walk finds the sources");
    found
}

#[test]
fn arrows_point_as_drawn() {
    let packages = packages();
    let names: Vec<String> = packages.keys().cloned().collect();
    for (name, package) in &packages {
        let (_, allowed) = ARROWS.iter().find(|(from, _)| from == name).unwrap_or_else(|| {
            panic!("package {name} has no row in ARROWS; draw it in ARCHITECTURE.md and add it here")
        });
        for to in siblings(package, "dependencies", &names) {
            assert!(allowed.contains(&to.as_str()), "{name} must not depend on {to}; allowed: {allowed:?}");
        }
        for to in siblings(package, "dev-dependencies", &names) {
            let expected = allowed.contains(&to.as_str()) || TEST_ARROWS.contains(&(name.as_str(), to.as_str()));
            assert!(expected, "tests of {name} must not depend on {to}");
        }
    }
}

#[test]
fn packages_share_lints_and_edition() {
    for (name, package) in packages() {
        let inherits = |table: &str, key: &str| {
            package
                .get(table)
                .and_then(|t| t.get(key))
                .and_then(toml::Value::as_table)
                .is_some_and(|t| t.contains_key("workspace"))
                || package.get(table).and_then(|t| t.get(key)).and_then(toml::Value::as_bool) == Some(true)
        };
        assert!(inherits("lints", "workspace"), "{name} must take the workspace's lints");
        assert!(inherits("package", "edition"), "{name} must take the workspace's edition");
        assert!(inherits("package", "license"), "{name} must take the workspace's licence");
    }
}

#[test]
fn files_say_what_they_are_for() {
    for path in sources() {
        let text = fs::read_to_string(&path).expect("a source file can be read");
        let first = text.lines().find(|line| !line.starts_with("#!")).unwrap_or_default();
        assert!(first.starts_with("//! "), "{}: the first line must be a `//!` sentence", path.display());
        let lines = text.lines().count();
        assert!(lines <= FILE_LINES_MAX, "{}: {lines} lines, the limit is {FILE_LINES_MAX}", path.display());
    }
}

#[test]
fn documents_link_to_files_that_exist() {
    let mut documents: Vec<PathBuf> =
        ["README.md", "ARCHITECTURE.md", "STYLE.md", "CHANGELOG.md"].iter().map(|name| root().join(name)).collect();
    for entry in fs::read_dir(root().join("docs")).expect("docs exists") {
        let path = entry.expect("docs can be listed").path();
        if path.extension().is_some_and(|extension| extension == "md") {
            documents.push(path);
        }
    }
    for document in documents {
        let text = fs::read_to_string(&document).unwrap_or_else(|error| panic!("{}: {error}", document.display()));
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = link.split('#').next().unwrap_or_default();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            let path = document.parent().expect("a document lies in a folder").join(target);
            assert!(path.exists(), "{}: link to {link}, which does not exist", document.display());
        }
    }
}
