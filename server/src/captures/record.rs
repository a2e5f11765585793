//! What is known of a capture, and the file it stands in.
//!
//! A capture is one gzip file, which `go tool pprof` opens as it is. What is known of it stands in the file's own header,
//! as a subfield `MK` of the extra field that gzip has for such things (RFC 1952, 2.3.1.1): JSON. So a folder of captures is
//! listed by reading the beginnings of its files, and nothing else has to be kept or can be lost.
#![warn(clippy::indexing_slicing)]

use std::io::{self, Read, Write};

use flate2::{Compression, GzBuilder};
use serde::{Deserialize, Serialize};

/// Name of the subfield.
const SUBFIELD: [u8; 2] = *b"MK";
/// Longest description; a field of gzip holds 64 KiB.
const ABOUT_BYTES_MAX: usize = 32 << 10;
/// Longest text of a description, in characters.
pub(crate) const TEXT_MAX: usize = 512;

/// Who wanted a capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// Somebody asked for it.
    #[default]
    Request,
    /// An alert that fired.
    Alert,
    /// An agent that found goroutines leaking.
    Leak,
}

impl By {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Request, Self::Alert, Self::Leak];

    /// As it is written.
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Alert => "alert",
            Self::Leak => "leak",
        }
    }
}

/// What is known of a capture.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct About {
    /// When it was taken, by the agent's clock.
    pub(crate) time_ms: i64,
    /// Labels of the program.
    pub(crate) instance: String,
    pub(crate) job: String,
    /// The agent that took it.
    pub(crate) agent: String,
    /// What it is: `goroutine`, `heap`.
    pub(crate) what: String,
    /// Over how many seconds; 0 for a state.
    pub(crate) seconds: u32,
    /// Why it was taken, for people.
    pub(crate) reason: String,
    /// Who wanted it.
    pub(crate) by: By,
    /// How it was taken: `pprof`, `sdk`, `memory`.
    pub(crate) way: String,
    /// Whether it is text, and not a profile.
    pub(crate) is_text: bool,
    /// The program, as far as it says.
    pub(crate) version: String,
    pub(crate) revision: String,
    pub(crate) go_version: String,
    /// How many stacks it has.
    pub(crate) samples: u64,
    /// Sum of what viewers show first, what that is and its unit.
    pub(crate) total: i64,
    pub(crate) total_of: String,
    pub(crate) unit: String,
    /// Length without compression.
    pub(crate) plain_bytes: u64,
    /// Its name at the agent, by which one that is sent twice is known.
    pub(crate) origin: String,
    /// The order it was taken for.
    pub(crate) order: Option<u64>,
    /// Whether it goes last when room is made.
    pub(crate) pinned: bool,
}

impl About {
    /// Ending of a file with it.
    pub(crate) const fn extension(&self) -> &'static str {
        if self.is_text { "txt.gz" } else { "pb.gz" }
    }
}

/// `text` without what is no text, cut to [`TEXT_MAX`].
pub(crate) fn told(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(TEXT_MAX).collect()
}

/// Writes the file with `about` and `plain` to `out`.
pub(crate) fn write(about: &About, plain: &[u8], out: impl Write) -> io::Result<()> {
    let text = serde_json::to_vec(about)?;
    let length = u16::try_from(text.len()).ok().filter(|_| text.len() <= ABOUT_BYTES_MAX);
    let length = length.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the description is too long"))?;
    let mut extra = SUBFIELD.to_vec();
    extra.extend(length.to_le_bytes());
    extra.extend(text);
    let mut gzip = GzBuilder::new().extra(extra).write(out, Compression::default());
    gzip.write_all(plain)?;
    gzip.finish()?.flush()
}

/// Reads the description of the file that `from` is at the beginning of.
pub(crate) fn read(mut from: impl Read) -> io::Result<About> {
    let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let mut head = [0; 12];
    from.read_exact(&mut head)?;
    let [0x1f, 0x8b, 8, flags, .., low, high] = head else { return Err(wrong("it is no gzip file")) };
    if flags & 4 == 0 {
        return Err(wrong("it has no description"));
    }
    let mut extra = vec![0; usize::from(u16::from_le_bytes([low, high]))];
    from.read_exact(&mut extra)?;
    let mut rest = extra.as_slice();
    while let [first, second, low, high, behind @ ..] = rest {
        let length = usize::from(u16::from_le_bytes([*low, *high]));
        let (field, after) = behind.split_at_checked(length).ok_or_else(|| wrong("its description is cut"))?;
        if [*first, *second] == SUBFIELD {
            return serde_json::from_slice(field).map_err(|error| wrong(&error.to_string()));
        }
        rest = after;
    }
    Err(wrong("it has no description"))
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "tests know what they made")]
mod tests {
    use super::*;
    use flate2::read::GzDecoder;

    #[test]
    fn a_file_describes_itself_and_is_gzip() {
        let about = About { time_ms: 5, instance: "web1/0".to_owned(), by: By::Leak, ..About::default() };
        let mut file = Vec::new();
        write(&about, b"what was captured", &mut file).unwrap();
        assert_eq!(read(file.as_slice()).unwrap(), about);
        let mut plain = String::new();
        GzDecoder::new(file.as_slice()).read_to_string(&mut plain).unwrap();
        assert_eq!(plain, "what was captured");
        for end in 0..40 {
            assert!(read(&file[..end]).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn files_of_others_have_no_description() {
        let mut file = Vec::new();
        let mut gzip = GzBuilder::new().extra(b"XY\x02\x00ab".to_vec()).write(&mut file, Compression::fast());
        gzip.write_all(b"x").unwrap();
        gzip.finish().unwrap();
        assert!(read(file.as_slice()).unwrap_err().to_string().contains("no description"));
        assert!(read(&b"hello, I am no gzip file"[..]).unwrap_err().to_string().contains("no gzip"));
        let long = About { reason: "x".repeat(ABOUT_BYTES_MAX), ..About::default() };
        assert!(write(&long, b"", Vec::new()).is_err());
    }

    #[test]
    fn descriptions_of_before_and_after_are_read() {
        let about: About = serde_json::from_str(r#"{"instance":"a","colour":"red"}"#).unwrap();
        assert_eq!(about, About { instance: "a".to_owned(), ..About::default() });
        assert_eq!(told("a\nb\u{7f}"), "a b ");
    }
}
