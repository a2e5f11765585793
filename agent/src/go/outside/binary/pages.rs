#![warn(clippy::indexing_slicing)]
//! A part of a file read page by page, with the last pages kept: for tables that are too large to hold and are asked in
//! the same places again and again.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// Bytes read at once.
const PAGE_BYTES: u64 = 4096;

/// A window of a file. Reading behind its end, or an error of the disk, gives nothing.
#[derive(Debug)]
pub(super) struct Pages {
    file: Arc<File>,
    start: u64,
    bytes: u64,
    kept: Vec<Page>,
    kept_max: usize,
    reads: u64,
}

#[derive(Debug)]
struct Page {
    number: u64,
    used: u64,
    bytes: Vec<u8>,
}

impl Pages {
    /// The `bytes` bytes of `file` at `start`, of which the last `pages_max` pages of 4 KiB are kept.
    pub(super) fn new(file: Arc<File>, start: u64, bytes: u64, pages_max: usize) -> Self {
        Self { file, start, bytes, kept: Vec::new(), kept_max: pages_max, reads: 0 }
    }

    /// The bytes from `at` to the end of its page, or of the window; at least one.
    pub(super) fn rest(&mut self, at: u64) -> Option<&[u8]> {
        if at >= self.bytes {
            return None;
        }
        let number = at / PAGE_BYTES;
        self.reads += 1;
        let index = match self.kept.iter().position(|page| page.number == number) {
            Some(index) => index,
            None => self.load(number)?,
        };
        let page = self.kept.get_mut(index)?;
        page.used = self.reads;
        page.bytes.get(usize::try_from(at % PAGE_BYTES).ok()?..).filter(|rest| !rest.is_empty())
    }

    /// Fills `out` with the bytes at `at`.
    pub(super) fn fill(&mut self, mut at: u64, mut out: &mut [u8]) -> Option<()> {
        while !out.is_empty() {
            let rest = self.rest(at)?;
            let count = rest.len().min(out.len());
            let (now, later) = out.split_at_mut_checked(count)?;
            now.copy_from_slice(rest.get(..count)?);
            out = later;
            at = at.checked_add(count as u64)?;
        }
        Some(())
    }

    /// The little-endian number at `at`.
    pub(super) fn number(&mut self, at: u64) -> Option<u32> {
        let mut bytes = [0; 4];
        self.fill(at, &mut bytes)?;
        Some(u32::from_le_bytes(bytes))
    }

    /// The text at `at` up to its NUL, or its first `bytes_max` bytes.
    pub(super) fn text(&mut self, mut at: u64, bytes_max: usize) -> Option<Vec<u8>> {
        let mut text = Vec::new();
        while text.len() < bytes_max {
            let rest = self.rest(at)?;
            let end = rest.iter().position(|byte| *byte == 0);
            text.extend_from_slice(rest.get(..end.unwrap_or(rest.len()))?);
            if end.is_some() {
                break;
            }
            at = at.checked_add(rest.len() as u64)?;
        }
        text.truncate(bytes_max);
        Some(text)
    }

    /// Reads page `number` in place of the one used longest ago.
    fn load(&mut self, number: u64) -> Option<usize> {
        let index = if self.kept.len() < self.kept_max {
            self.kept.push(Page { number, used: 0, bytes: Vec::new() });
            self.kept.len() - 1
        } else {
            let (oldest, _) = self.kept.iter().enumerate().min_by_key(|(_, page)| page.used)?;
            oldest
        };
        let at = number * PAGE_BYTES;
        let length = PAGE_BYTES.min(self.bytes.checked_sub(at)?);
        let page = self.kept.get_mut(index)?;
        page.number = number;
        page.bytes.resize(usize::try_from(length).ok()?, 0);
        if self.file.read_exact_at(&mut page.bytes, self.start.checked_add(at)?).is_err() {
            self.kept.swap_remove(index);
            return None;
        }
        Some(index)
    }
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "bounds are the test's own")]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn what_is_read_is_what_is_there() {
        let content: Vec<u8> = (0..20_000u32).map(|at| u8::try_from(at % 251).expect("small") + 1).collect();
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(&content).expect("written");
        let mut pages = Pages::new(Arc::new(file), 100, 19_000, 2);
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..2_000 {
            let (at, count) = (random.usize(..19_500), random.usize(1..9_000));
            let mut out = vec![0; count];
            let got = pages.fill(at as u64, &mut out);
            assert_eq!(got.is_some(), at + count <= 19_000, "{count} at {at}");
            if got.is_some() {
                assert_eq!(out, content[100 + at..100 + at + count]);
            }
            assert!(pages.kept.len() <= 2);
        }
        assert_eq!(pages.text(18_000, 10).as_deref(), Some(&content[18_100..18_110]));
        assert_eq!(pages.text(18_990, 100), None, "no NUL before the end");
        assert_eq!(pages.number(0), Some(u32::from_le_bytes(content[100..104].try_into().expect("four"))));
    }
}
