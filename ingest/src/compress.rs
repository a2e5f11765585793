//! Bodies as they are sent: plain, gzip, zstd, or one snappy block.
//!
//! What comes out is bounded before it is there: snappy by the length it declares, gzip and zstd piece by piece,
//! so that a small body that grows without end stops at the limit. Every byte is also taken from the server's
//! budget of bytes under way.

#![warn(clippy::indexing_slicing)]

use std::io::Read;

use crate::admission::Reservation;
use crate::error::IngestError;
use crate::limits::IngestLimits;

/// Bytes that gzip and zstd give at a time.
const PIECE_BYTES: usize = 64 * 1024;
/// Largest zstd window: 8 MiB, the most that RFC 8878 asks every decoder to have.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
/// Most bytes that one byte of a snappy block stands for: an element of three bytes copies up to 64.
const SNAPPY_RATIO_MAX: usize = 22;

/// A body as it was before it was compressed. Its memory is kept from one body to the next, and is not cleared in
/// between: a decompressor writes every byte of it anyway.
#[derive(Debug, Default)]
pub(crate) struct Plain {
    bytes: Vec<u8>,
    /// How many of the bytes are the body's; behind them may be those of an earlier one.
    len: usize,
}

impl Plain {
    pub(crate) fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// Memory held.
    pub(crate) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    pub(crate) fn clear(&mut self) {
        self.len = 0;
    }

    /// Room for a body of `len` bytes, whatever is in it.
    fn room(&mut self, len: usize) -> &mut [u8] {
        if self.bytes.len() < len {
            self.bytes.reserve_exact(len - self.bytes.len());
            self.bytes.resize(len, 0);
        }
        self.len = len;
        self.bytes.get_mut(..len).unwrap_or_default()
    }

    /// Has `write` append the body to nothing.
    fn append_with(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Result<(), IngestError>) -> Result<(), IngestError> {
        self.bytes.clear();
        let written = write(&mut self.bytes);
        self.len = self.bytes.len();
        written
    }
}

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// Not at all.
    Identity,
    /// RFC 1952, one member or many.
    Gzip,
    /// RFC 8878, one frame or many.
    Zstd,
    /// One block of snappy without its frame format, as remote write has it.
    Snappy,
}

impl Encoding {
    const SPOKEN: &str = "identity, gzip, zstd, snappy";

    /// The encoding that a `Content-Encoding` names, or `default` without one.
    ///
    /// # Errors
    ///
    /// [`IngestError::ContentEncoding`] for any other.
    pub(crate) fn from_header(header: Option<&str>, default: Self) -> Result<Self, IngestError> {
        let Some(found) = header else { return Ok(default) };
        match found.trim().to_ascii_lowercase().as_str() {
            "" | "identity" => Ok(Self::Identity),
            "gzip" | "x-gzip" => Ok(Self::Gzip),
            "zstd" => Ok(Self::Zstd),
            "snappy" => Ok(Self::Snappy),
            _ => Err(IngestError::ContentEncoding { found: found.to_owned(), spoken: Self::SPOKEN }),
        }
    }

    /// Decompresses `body` into `plain`, whatever was in it, taking the bytes from `reservation`.
    ///
    /// # Errors
    ///
    /// When the bytes are damaged, or more than `decompressed_bytes_max` or the budget allows.
    pub(crate) fn decompress(
        self,
        body: &[u8],
        limits: &IngestLimits,
        reservation: &mut Reservation,
        plain: &mut Plain,
    ) -> Result<(), IngestError> {
        match self {
            Self::Identity => {
                check_size(body.len(), limits)?;
                reservation.grow(body.len())?;
                plain.room(body.len()).copy_from_slice(body);
                Ok(())
            }
            Self::Gzip => {
                let decoder = flate2::bufread::MultiGzDecoder::new(body);
                plain.append_with(|plain| read_pieces(decoder, "gzip", limits, reservation, plain))
            }
            Self::Zstd => {
                let damaged = |error: std::io::Error| compressed("zstd", &error);
                let mut decoder = zstd::stream::read::Decoder::with_buffer(body).map_err(damaged)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(damaged)?;
                plain.append_with(|plain| read_pieces(decoder, "zstd", limits, reservation, plain))
            }
            Self::Snappy => unsnap(body, limits, reservation, plain),
        }
    }
}

fn compressed(encoding: &'static str, error: &dyn std::fmt::Display) -> IngestError {
    IngestError::Compressed { encoding, detail: error.to_string() }
}

fn check_size(found: usize, limits: &IngestLimits) -> Result<(), IngestError> {
    let limit = limits.decompressed_bytes_max;
    if found <= limit {
        return Ok(());
    }
    let found = format!("{found} or more");
    Err(IngestError::Limit { what: "decompressed bytes", found, limit_name: "decompressed_bytes_max", limit })
}

fn read_pieces(
    decoder: impl Read,
    encoding: &'static str,
    limits: &IngestLimits,
    reservation: &mut Reservation,
    plain: &mut Vec<u8>,
) -> Result<(), IngestError> {
    let mut decoder = decoder;
    loop {
        let room = limits.decompressed_bytes_max.saturating_add(1).saturating_sub(plain.len()).min(PIECE_BYTES);
        let read =
            decoder.by_ref().take(room as u64).read_to_end(plain).map_err(|error| compressed(encoding, &error))?;
        if read == 0 {
            return Ok(());
        }
        check_size(plain.len(), limits)?;
        reservation.grow(read)?;
    }
}

fn unsnap(
    body: &[u8],
    limits: &IngestLimits,
    reservation: &mut Reservation,
    plain: &mut Plain,
) -> Result<(), IngestError> {
    let declared = snap::raw::decompress_len(body).map_err(|error| compressed("snappy block", &error))?;
    check_size(declared, limits)?;
    let possible = body.len().saturating_mul(SNAPPY_RATIO_MAX);
    if declared > possible {
        let detail = format!("{declared} bytes are declared, {} can hold at most {possible}", body.len());
        return Err(compressed("snappy block", &detail));
    }
    reservation.grow(declared)?;
    let room = plain.room(declared);
    snap::raw::Decoder::new().decompress(body, room).map(drop).map_err(|error| compressed("snappy block", &error))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::admission::Admission;

    const ALL: [Encoding; 4] = [Encoding::Identity, Encoding::Gzip, Encoding::Zstd, Encoding::Snappy];

    fn compress(encoding: Encoding, plain: &[u8]) -> Vec<u8> {
        match encoding {
            Encoding::Identity => plain.to_vec(),
            Encoding::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
                encoder.write_all(plain).expect("memory takes it");
                encoder.finish().expect("memory takes it")
            }
            Encoding::Zstd => zstd::encode_all(plain, 1).expect("memory takes it"),
            Encoding::Snappy => snap::raw::Encoder::new().compress_vec(plain).expect("short enough"),
        }
    }

    fn decompress_within(encoding: Encoding, body: &[u8], limits: IngestLimits) -> Result<Vec<u8>, IngestError> {
        let mut reservation = Admission::new(&limits).reservation();
        let mut plain = Plain { bytes: b"left over".to_vec(), len: 9 };
        encoding.decompress(body, &limits, &mut reservation, &mut plain).map(|()| plain.as_slice().to_vec())
    }

    fn decompress(encoding: Encoding, body: &[u8], limit: usize) -> Result<Vec<u8>, IngestError> {
        let limits = IngestLimits { decompressed_bytes_max: limit, ..IngestLimits::default() };
        decompress_within(encoding, body, limits)
    }

    fn is_limit(result: &Result<Vec<u8>, IngestError>, want: &str) -> bool {
        matches!(result, Err(IngestError::Limit { limit_name, .. }) if *limit_name == want)
    }

    #[test]
    fn every_encoding_gives_back_what_was_sent_up_to_the_limit() {
        for encoding in ALL {
            for size in [0, 1, 1000, PIECE_BYTES, PIECE_BYTES + 1] {
                let plain: Vec<u8> = (0..size).map(|at| u8::try_from(at % 251).expect("below 251")).collect();
                let body = compress(encoding, &plain);
                assert_eq!(decompress(encoding, &body, size).expect("at the limit"), plain, "{encoding:?} {size}");
                if size > 0 {
                    let result = decompress(encoding, &body, size - 1);
                    assert!(is_limit(&result, "decompressed_bytes_max"), "{encoding:?} {size} {result:?}");
                }
            }
        }
    }

    #[test]
    fn a_shorter_body_follows_a_longer_one() {
        let limits = IngestLimits::default();
        let mut plain = Plain::default();
        for encoding in ALL {
            for text in [[b'x'; 500].as_slice(), b"short", &[b'y'; 200], b""] {
                let mut reservation = Admission::new(&limits).reservation();
                let body = compress(encoding, text);
                encoding.decompress(&body, &limits, &mut reservation, &mut plain).expect("whole");
                assert_eq!(plain.as_slice(), text, "{encoding:?}");
            }
        }
    }

    #[test]
    fn several_members_are_one_body() {
        for encoding in [Encoding::Gzip, Encoding::Zstd] {
            let body = [compress(encoding, b"one "), compress(encoding, b"two")].concat();
            assert_eq!(decompress(encoding, &body, 100).expect("two members"), b"one two", "{encoding:?}");
        }
    }

    #[test]
    fn a_bomb_stops_at_the_limit() {
        let limit = 1 << 20;
        for encoding in [Encoding::Gzip, Encoding::Zstd] {
            let body = compress(encoding, &vec![0; 64 << 20]);
            assert!(body.len() < 128 * 1024, "{} bytes are no bomb", body.len());
            let limits = IngestLimits { decompressed_bytes_max: limit, ..IngestLimits::default() };
            let mut reservation = Admission::new(&limits).reservation();
            let mut plain = Plain::default();
            let result = encoding.decompress(&body, &limits, &mut reservation, &mut plain).map(|()| Vec::new());
            assert!(is_limit(&result, "decompressed_bytes_max"), "{result:?}");
            assert!(plain.len <= limit + 1 && plain.capacity() <= 4 * limit, "{} bytes held", plain.capacity());
        }
    }

    #[test]
    fn damaged_bodies_are_told() {
        for encoding in [Encoding::Gzip, Encoding::Zstd, Encoding::Snappy] {
            let body = compress(encoding, &[7; 1000]);
            let cut = body.split_last().expect("not empty").1;
            let garbage = b"\x05nothing of the kind".as_slice();
            for bytes in [cut, garbage] {
                let result = decompress(encoding, bytes, 10_000);
                assert!(matches!(result, Err(IngestError::Compressed { .. })), "{encoding:?} {result:?}");
            }
        }
        assert!(decompress(Encoding::Identity, b"", 10).is_ok_and(|plain| plain.is_empty()));
        for encoding in [Encoding::Gzip, Encoding::Zstd, Encoding::Snappy] {
            let result = decompress(encoding, b"", 10);
            assert!(matches!(result, Err(IngestError::Compressed { .. })), "{encoding:?} {result:?}");
        }
    }

    #[test]
    fn a_snappy_block_cannot_declare_more_than_it_can_hold() {
        let declared_1_mib = [0x80, 0x80, 0x40, 0x00, b'x'];
        let result = decompress(Encoding::Snappy, &declared_1_mib, 2 << 20);
        let detail = "1048576 bytes are declared, 5 can hold at most 110";
        assert!(matches!(&result, Err(IngestError::Compressed { detail: found, .. }) if found == detail), "{result:?}");
        assert!(is_limit(&decompress(Encoding::Snappy, &declared_1_mib, 1 << 19), "decompressed_bytes_max"));
        // The densest block there is still fits the bound.
        let dense = compress(Encoding::Snappy, &vec![0; 1 << 20]);
        assert_eq!(decompress(Encoding::Snappy, &dense, 1 << 20).expect("dense").len(), 1 << 20);
    }

    #[test]
    fn a_zstd_window_is_bounded() {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).expect("level 1");
        encoder.window_log(ZSTD_WINDOW_LOG_MAX + 1).expect("a window of 16 MiB");
        encoder.include_contentsize(false).expect("streamed");
        encoder.write_all(&[1; 1000]).expect("memory takes it");
        let body = encoder.finish().expect("memory takes it");
        assert!(matches!(decompress(Encoding::Zstd, &body, 2000), Err(IngestError::Compressed { .. })));
    }

    #[test]
    fn the_budget_of_bytes_under_way_is_kept() {
        for encoding in ALL {
            let body = compress(encoding, &[7; 10_000]);
            let limits = IngestLimits { bytes_in_flight_max: 8192, ..IngestLimits::default() };
            let result = decompress_within(encoding, &body, limits);
            assert!(matches!(result, Err(IngestError::Overloaded { .. })), "{encoding:?} {result:?}");
        }
    }

    #[test]
    fn headers() {
        let from = |header| Encoding::from_header(header, Encoding::Snappy).map_err(|error| error.status());
        assert_eq!(from(None), Ok(Encoding::Snappy));
        assert_eq!(from(Some("GZIP")), Ok(Encoding::Gzip));
        assert_eq!(from(Some(" zstd ")), Ok(Encoding::Zstd));
        assert_eq!(from(Some("identity")), Ok(Encoding::Identity));
        assert_eq!(from(Some("br")), Err(415));
        assert_eq!(from(Some("gzip, gzip")), Err(415));
    }
}
