//! The page `/debug/pprof/`: which profiles a program offers and how many entries each has now.
#![warn(clippy::indexing_slicing)]

use std::collections::BTreeMap;

/// Most profiles of one program that are taken note of; programs may add their own.
const PROFILES_MAX: usize = 64;
/// Longest name of a profile.
const NAME_BYTES_MAX: usize = 64;

/// The profiles of a program with their counts. Of goroutines that is how many there are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Index(BTreeMap<String, u64>);

impl Index {
    /// Reads the page; nothing when it is another one. Each row has a count and a link to the text form.
    pub fn parse(page: &str) -> Option<Self> {
        let mut profiles = BTreeMap::new();
        for row in page.split("<tr>").skip(1).take(PROFILES_MAX) {
            let Some((count, rest)) = row.split_once("</td>") else { continue };
            let count = count.rsplit('>').next().unwrap_or("").trim().parse().ok();
            let name = rest.split_once("href=").and_then(|(_, rest)| {
                let link = rest.trim_start_matches(['\'', '"']);
                Some(link.split_once("?debug=")?.0)
            });
            if let (Some(count), Some(name)) = (count, name.filter(|name| name.len() <= NAME_BYTES_MAX)) {
                profiles.insert(name.to_owned(), count);
            }
        }
        // These two have been there since the page has.
        (profiles.contains_key("goroutine") && profiles.contains_key("heap")).then_some(Self(profiles))
    }

    /// Whether the profile called `name` is offered.
    pub fn offers(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// How many entries the profile called `name` has.
    pub fn count(&self, name: &str) -> Option<u64> {
        self.0.get(name).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_several_releases() {
        let page = "<html><body>\n<table>\n<thead><td>Count</td><td>Profile</td></thead>\n\
                    <tr><td>17</td><td><a href='goroutine?debug=1'>goroutine</a></td></tr>\n\
                    <tr><td>0</td><td><a href=\"goroutineleak?debug=1\">goroutineleak</a></td></tr>\n\
                    <tr><td align=right>5</td><td><a href='heap?debug=1'>heap</a></td></tr>\n</table>\
                    <a href=\"goroutine?debug=2\">full goroutine stack dump</a>";
        let index = Index::parse(page).expect("an index");
        assert_eq!(index.count("goroutine"), Some(17));
        assert_eq!(index.count("heap"), Some(5));
        assert!(index.offers("goroutineleak") && !index.offers("mutex"));
        for other in ["", "<tr>", "<tr><td>1</td>", "<tr><td>x</td><td><a href='heap?debug=1'>", "goroutine heap"] {
            assert_eq!(Index::parse(other), None, "{other}");
        }
    }
}
