//! Whether what an agent sent is what it says: a profile that `go tool pprof` opens, of the kind that is told, or the
//! stacks of goroutines as text.

use std::io::Read as _;

use flate2::read::MultiGzDecoder;

use super::pprof;
use model::CaptureKind;

/// Longest capture without compression.
pub(crate) const PLAIN_BYTES_MAX: usize = 32 << 20;

/// A capture that was checked.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Checked {
    /// Without compression.
    pub(crate) plain: Vec<u8>,
    /// How many stacks it has.
    pub(crate) samples: u64,
    /// Sum of what viewers show first, what it is and its unit.
    pub(crate) total: i64,
    pub(crate) total_of: String,
    pub(crate) unit: String,
}

/// Checks `body`, with compression or without.
///
/// # Errors
///
/// What is wrong with it, for people.
pub(crate) fn check(what: CaptureKind, body: &[u8], plain_bytes_max: usize) -> Result<Checked, String> {
    let plain = inflated(body, plain_bytes_max)?;
    if what.is_text() {
        return check_stacks(plain);
    }
    let contents = pprof::walk(&plain).map_err(|error| format!("it is no profile: {}", error.0))?;
    let wanted = what.value();
    if !contents.totals.iter().any(|total| total.name == wanted) {
        let has: Vec<&str> = contents.totals.iter().map(|total| total.name.as_str()).collect();
        return Err(format!("a profile of {} has values {wanted:?}, this one has {has:?}", what.text()));
    }
    let shown = contents.totals.into_iter().nth(contents.shown);
    let (total, total_of, unit) = shown.map_or_else(Default::default, |shown| (shown.sum, shown.name, shown.unit));
    Ok(Checked { plain, samples: contents.samples, total, total_of, unit })
}

fn inflated(body: &[u8], plain_bytes_max: usize) -> Result<Vec<u8>, String> {
    let mut plain = Vec::new();
    let bound = plain_bytes_max as u64 + 1;
    if body.starts_with(&[0x1f, 0x8b]) {
        let read = MultiGzDecoder::new(body).take(bound).read_to_end(&mut plain);
        read.map_err(|error| format!("its compression is broken: {error}"))?;
    } else {
        plain.extend_from_slice(body);
    }
    if plain.len() > plain_bytes_max {
        return Err(format!("it is longer than {plain_bytes_max} bytes without compression, the limit"));
    }
    Ok(plain)
}

/// Text with a block for each goroutine, which begins with a line `goroutine 7 [chan receive]:`.
fn check_stacks(plain: Vec<u8>) -> Result<Checked, String> {
    let text = std::str::from_utf8(&plain).map_err(|error| format!("it is no text: {error}"))?;
    if text.contains('\0') || !text.trim_start().starts_with("goroutine ") {
        return Err("it is no text with stacks of goroutines".to_owned());
    }
    let is_head = |line: &&str| line.starts_with("goroutine ") && line.trim_end().ends_with(':');
    let goroutines = text.lines().filter(is_head).count() as u64;
    if goroutines == 0 {
        return Err("it has the stack of no goroutine".to_owned());
    }
    let total = i64::try_from(goroutines).unwrap_or(i64::MAX);
    Ok(Checked { samples: goroutines, total, total_of: "goroutine".to_owned(), unit: "count".to_owned(), plain })
}

#[cfg(test)]
mod tests {
    use super::super::pprof::tests::small;
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write as _;

    fn zipped(plain: &[u8]) -> Vec<u8> {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(plain).unwrap();
        gzip.finish().unwrap()
    }

    #[test]
    fn profiles_are_what_they_say() {
        let profile = small("goroutine", 42);
        for body in [profile.clone(), zipped(&profile)] {
            let checked = check(CaptureKind::Goroutine, &body, 1 << 20).unwrap();
            assert_eq!((checked.samples, checked.total, checked.total_of.as_str()), (1, 42, "goroutine"));
            assert_eq!(checked.plain, profile);
        }
        let error = check(CaptureKind::Heap, &profile, 1 << 20).unwrap_err();
        assert!(error.contains("inuse_space") && error.contains("goroutine"), "{error}");
        assert!(check(CaptureKind::Goroutine, &zipped(&profile)[..40], 1 << 20).unwrap_err().contains("compression"));
        assert!(check(CaptureKind::Goroutine, b"hello", 1 << 20).unwrap_err().contains("no profile"));
        assert!(check(CaptureKind::Goroutine, &zipped(&[0; 4096]), 1000).unwrap_err().contains("1000 bytes"));
    }

    #[test]
    fn stacks_are_text() {
        let text = "goroutine 1 [running]:\nmain.main()\n\t/src/main.go:5 +0x1d\n\ngoroutine 7 [chan send, 5 minutes]:\nmain.f()\n";
        let checked = check(CaptureKind::Stacks, text.as_bytes(), 1 << 20).unwrap();
        assert_eq!((checked.samples, checked.total), (2, 2));
        for wrong in ["", "hello", "goroutine profile of nothing", "\0goroutine 1 [x]:"] {
            assert!(check(CaptureKind::Stacks, wrong.as_bytes(), 1 << 20).is_err(), "{wrong:?}");
        }
        assert!(check(CaptureKind::Stacks, b"goroutine \xff [x]:", 1 << 20).is_err());
    }
}
