//! Paths whose last part is a pattern: `rules/*.yml`.

use std::io;
use std::path::{Path, PathBuf};

/// Most files of one pattern.
const FILES_MAX: usize = 10_000;

/// The files that `pattern` names, ascending; a pattern without wildcards names its file whether it is there or not.
///
/// # Errors
///
/// When the folder cannot be read, or has too many.
pub fn matching(pattern: &str) -> io::Result<Vec<PathBuf>> {
    let path = Path::new(pattern);
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if !name.contains(['*', '?', '[']) {
        return Ok(vec![path.to_owned()]);
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut found = Vec::new();
    let entries = match std::fs::read_dir(folder) {
        // A folder that is not there yet has no files.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(|found| matches(name, found)) && !entry.path().is_dir() {
            if found.len() >= FILES_MAX {
                return Err(io::Error::other(format!("more than {FILES_MAX} files")));
            }
            found.push(path.with_file_name(entry.file_name()));
        }
    }
    found.sort();
    Ok(found)
}

/// Whether `name` is of the form `pattern`: `*` any characters, `?` one, `[a-c]` or `[^a-c]` one of these or none of them. Names that begin
/// with a dot must be asked for with one.
pub fn matches(pattern: &str, name: &str) -> bool {
    if name.starts_with('.') && !pattern.starts_with('.') {
        return false;
    }
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    // Where the last `*` was, and how much of the name it took: tried again with one more where what follows does not fit.
    let (mut at, mut of, mut star) = (0, 0, None);
    while of < name.len() {
        let length = pattern.get(at..).zip(name.get(of)).and_then(|(rest, c)| one(rest, *c));
        match (pattern.get(at), length) {
            (Some('*'), _) => {
                star = Some((at, of));
                at += 1;
            }
            (_, Some(length)) => (at, of) = (at + length, of + 1),
            _ => match star {
                Some((star_at, taken)) => {
                    star = Some((star_at, taken + 1));
                    (at, of) = (star_at + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(at).all(|c| *c == '*')
}

/// How much of the pattern stands for `c`, if it does.
fn one(pattern: &[char], c: char) -> Option<usize> {
    match pattern.first()? {
        '?' => Some(1),
        '[' => {
            let end = pattern.iter().skip(2).position(|c| *c == ']').map(|at| at + 2);
            let Some(end) = end else { return (c == '[').then_some(1) };
            let class = pattern.get(1..end)?;
            let (negated, class) = match class.split_first() {
                Some(('^' | '!', rest)) => (true, rest),
                _ => (false, class),
            };
            (is_in(class, c) != negated).then_some(end + 1)
        }
        other => (*other == c).then_some(1),
    }
}

fn is_in(class: &[char], c: char) -> bool {
    let mut rest = class;
    while let Some((first, after)) = rest.split_first() {
        if let ['-', last, after @ ..] = after {
            if (*first..=*last).contains(&c) {
                return true;
            }
            rest = after;
        } else {
            if *first == c {
                return true;
            }
            rest = after;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_patterns() {
        for (pattern, name, want) in [
            ("*.yml", "a.yml", true),
            ("*.yml", "a.yaml", false),
            ("*.yml", ".a.yml", false),
            ("*", "", true),
            ("a*b*c", "axxbyybc", true),
            ("a*b*c", "axxbyyb", false),
            ("r?.yml", "r1.yml", true),
            ("r?.yml", "r.yml", false),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("[]x", "[]x", true),
            ("[", "[", true),
            ("**a", "ba", true),
        ] {
            assert_eq!(matches(pattern, name), want, "{pattern} {name}");
        }
    }

    #[test]
    fn files_are_found() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["b.yml", "a.yml", "a.txt"] {
            std::fs::write(folder.path().join(name), "").expect("written");
        }
        std::fs::create_dir(folder.path().join("folder.yml")).expect("made");
        let found = |name: &str| matching(folder.path().join(name).to_str().expect("UTF-8")).expect("readable");
        assert_eq!(found("*.yml"), [folder.path().join("a.yml"), folder.path().join("b.yml")]);
        assert_eq!(found("none.yml"), [folder.path().join("none.yml")]);
        assert_eq!(found("none/*.yml").len() + found("z*").len(), 0);
    }
}
