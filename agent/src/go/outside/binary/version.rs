//! Go's release names, in order.

use std::fmt;

use super::experiments::Experiments;

/// A release of Go, as an executable gives it: `go1.26.8`, `go1.27rc1`, `go1.26.1 X:nocoverageredesign`,
/// `devel go1.28-abcdef Mon Jan 2 …`, `go1.19.8-deb`.
///
/// Ordered as released: development, betas, candidates, the first release, patches; last by experiments. What else the vendor
/// appended does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GoVersion {
    major: u16,
    minor: u16,
    stage: Stage,
    pub(super) experiments: Experiments,
}

/// How far a minor release had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Stage {
    Development,
    Beta(u16),
    Candidate(u16),
    Patch(u16),
}

impl GoVersion {
    /// Reads what an executable gives as its release; nothing when it is not in a form that Go uses.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        // Since Go 1.26 the mark of development stands behind the release.
        let (development, text) = match text.strip_prefix("devel ") {
            Some(rest) => (true, rest.trim_start()),
            None => (false, text),
        };
        // Experiments, dates and vendors' marks follow a space, `-` or `+`.
        let text = text.strip_prefix("go")?;
        let (core, mark) = text.split_at_checked(text.find([' ', '-', '+', '_', '~']).unwrap_or(text.len()))?;
        let development = development || mark.starts_with("-devel");
        let (major, rest) = number(core)?;
        let (minor, rest) = number(rest.strip_prefix('.')?)?;
        let stage = if development {
            Stage::Development
        } else if let Some(rest) = rest.strip_prefix("beta") {
            Stage::Beta(all_number(rest)?)
        } else if let Some(rest) = rest.strip_prefix("rc") {
            Stage::Candidate(all_number(rest)?)
        } else if let Some(rest) = rest.strip_prefix('.') {
            // A vendor may append to the patch without a mark, as in `go1.20.5b4`.
            Stage::Patch(number(rest)?.0)
        } else if rest.is_empty() {
            Stage::Patch(0)
        } else {
            return None;
        };
        Some(Self { major, minor, stage, experiments: Experiments::parse(mark) })
    }

    /// The minor release, such as 26 in `go1.26.8`; nothing for another major release than 1.
    pub fn minor(self) -> Option<u16> {
        (self.major == 1).then_some(self.minor)
    }

    /// The patch, 0 in `go1.21`; nothing before the release.
    pub fn patch(self) -> Option<u16> {
        match self.stage {
            Stage::Patch(patch) => Some(patch),
            _ => None,
        }
    }
}

impl fmt::Display for GoVersion {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "go{}.{}", self.major, self.minor)?;
        match self.stage {
            Stage::Development => out.write_str("-devel"),
            Stage::Beta(number) => write!(out, "beta{number}"),
            Stage::Candidate(number) => write!(out, "rc{number}"),
            Stage::Patch(0) => Ok(()),
            Stage::Patch(patch) => write!(out, ".{patch}"),
        }
    }
}

/// The number that `text` begins with, and what follows.
fn number(text: &str) -> Option<(u16, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at_checked(digits)?;
    Some((digits.parse().ok()?, rest))
}

fn all_number(text: &str) -> Option<u16> {
    number(text).filter(|(_, rest)| rest.is_empty()).map(|(number, _)| number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, want: Option<&str>) {
        assert_eq!(GoVersion::parse(text).map(|version| version.to_string()).as_deref(), want, "{text:?}");
    }

    #[test]
    fn forms() {
        check("go1.26.8", Some("go1.26.8"));
        check("go1.21", Some("go1.21"));
        check("go1.21.0", Some("go1.21"));
        check("go1.27rc1", Some("go1.27rc1"));
        check("go1.18beta2", Some("go1.18beta2"));
        check("go1.26.1 X:nocoverageredesign", Some("go1.26.1"));
        check("go1.26.1-X:nodwarf5", Some("go1.26.1"));
        check("devel go1.28-abcdef0123 Mon Jan 2 15:04:05 2006 -0700", Some("go1.28-devel"));
        check("go1.28-devel_abcdef0123 Mon Jan 2", Some("go1.28-devel"));
        check("go1.19.8-deb", Some("go1.19.8"));
        check("go1.20.5b4", Some("go1.20.5"));
        check("go1.21.13+vendor", Some("go1.21.13"));
        check("go2.0.1", Some("go2.0.1"));
        for text in
            ["", "go", "go1", "1.26", "go1.", "go1.x", "gotip", "devel +abcdef", "go1.99999999", "go1.27rc", "go1.2x"]
        {
            check(text, None);
        }
    }

    #[test]
    fn order() {
        let names =
            ["devel go1.27-a", "go1.27beta1", "go1.27rc1", "go1.27rc2", "go1.27", "go1.27.1", "go1.27.10", "go1.28"];
        let versions: Vec<_> = names.iter().map(|name| GoVersion::parse(name).expect("a version")).collect();
        assert!(versions.is_sorted_by(|a, b| a < b));
        assert_eq!(versions[6].minor().zip(versions[6].patch()), Some((27, 10)));
        assert_eq!(versions[2].patch(), None);
    }
}
