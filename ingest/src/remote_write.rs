//! Decodes remote write requests by walking their protobuf bytes into a [`WriteBatch`].
//!
//! Owns what version of the protocol a request speaks; `v1` and `v2` walk the versions, `parts`, `histogram` and `exemplar`
//! have what both share. Field numbers are those of [`model::remote_write`], whose messages are what the tests compare this
//! walk with. A request that is not the wire format is refused whole, with the place; a series or histogram that is none is
//! rejected alone. Series that the sink's cursor guessed are recognised by their bytes (`recognise`), and have no label
//! decoded; strings of others are copied once, into packed labels, or looked at one by one (`slow_labels`).

#![warn(clippy::indexing_slicing)]

mod exemplar;
mod histogram;
mod metadata;
mod neighbour;
mod parts;
mod recognise;
mod sizes;
mod slow_labels;
mod v1;
mod v2;

use model::remote_write::v2::PROTO as PROTO_2;
use model::{KnownSeries, LabelsBuilder, SeriesCursor, SortedPacker, WriteBatch};

use self::exemplar::ExemplarReader;
pub(crate) use self::metadata::push_metadata;
use self::neighbour::Neighbour;
use self::parts::Parts;
pub(crate) use self::sizes::{check, check_sizes};
pub(crate) use self::slow_labels::label_reason;
use crate::error::IngestError;
use crate::limits::IngestLimits;
use crate::rejected::Rejected;
use crate::wire::Reader;

/// The content types spoken.
pub(crate) const CONTENT_TYPES: &str = "application/x-protobuf;proto=io.prometheus.write.v2.Request (remote write 2.0) \
     or application/x-protobuf;proto=prometheus.WriteRequest (remote write 1.0)";

/// A version of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// 1.0, `prometheus.WriteRequest`.
    V1,
    /// 2.0, `io.prometheus.write.v2.Request`.
    V2,
}

/// The version that a `Content-Type` tells; none at all is taken for 1.0, as its first senders had it.
///
/// # Errors
///
/// [`IngestError::ContentType`] for anything but protobuf, and for messages of other names.
pub fn version_of(content_type: Option<&str>) -> Result<Version, IngestError> {
    let Some(found) = content_type else { return Ok(Version::V1) };
    let mut parts = found.split(';').map(str::trim);
    let is_protobuf = parts.next().is_some_and(|media| media.eq_ignore_ascii_case("application/x-protobuf"));
    let proto = parts.find_map(|part| {
        let (name, value) = part.split_once('=')?;
        name.trim().eq_ignore_ascii_case("proto").then(|| value.trim().trim_matches('"'))
    });
    match proto {
        None | Some("prometheus.WriteRequest") if is_protobuf => Ok(Version::V1),
        Some(PROTO_2) if is_protobuf => Ok(Version::V2),
        _ => Err(IngestError::ContentType { found: found.to_owned(), spoken: CONTENT_TYPES }),
    }
}

/// Decodes requests, keeping its memory from one to the next.
#[derive(Debug, Default)]
pub struct RemoteWriteDecoder {
    /// Takes the labels of most series: sorted, none empty.
    packer: SortedPacker,
    /// Takes those of the others.
    labels: LabelsBuilder,
    exemplar: ExemplarReader,
    parts: Parts,
    /// A series of the request, of version 1.0.
    neighbour: Neighbour,
    /// Where the symbols of a request of version 2.0 are in its body, as start and end.
    symbols: Vec<(usize, usize)>,
}

/// Where what is decoded goes, and what it goes by.
struct Target<'t> {
    limits: &'t IngestLimits,
    cursor: &'t mut (dyn SeriesCursor + 't),
    batch: &'t mut WriteBatch,
    rejected: &'t mut Rejected,
}

/// A series that was recognised.
#[derive(Debug, Clone, Copy)]
struct Recognised<'b> {
    series: KnownSeries,
    /// Length of its packed labels.
    label_bytes: usize,
    /// Behind its labels.
    rest: Reader<'b>,
    /// Time and value, if one plain sample is all that comes there.
    sample: Option<(i64, f64)>,
}

impl RemoteWriteDecoder {
    /// Adds the series and metadata of `body`, which is decompressed, to `batch`, and what can't be taken to
    /// `rejected`. Series that `cursor` knows, which is of the sink that `batch` is for, are added as known.
    ///
    /// # Errors
    ///
    /// When the bytes are no write request of `version` or pass a limit on requests; `batch` is then to be thrown
    /// away.
    pub fn decode(
        &mut self,
        version: Version,
        body: &[u8],
        limits: &IngestLimits,
        cursor: &mut dyn SeriesCursor,
        batch: &mut WriteBatch,
        rejected: &mut Rejected,
    ) -> Result<(), IngestError> {
        self.parts.begin_request();
        self.neighbour.clear();
        let mut target = Target { limits, cursor, batch, rejected };
        match version {
            Version::V1 => self.decode_v1(body, &mut target),
            Version::V2 => self.decode_v2(body, &mut target),
        }
    }

    /// Forgets what is gathered, and gives back memory that one large request took.
    pub fn clear(&mut self) {
        self.parts.clear();
    }

    /// How many histograms of the request decoded last are in its batch.
    pub fn histograms(&self) -> u64 {
        self.parts.histograms()
    }
}

/// Whether there are labels in what is left of a series, of either version; what is damaged may have some.
#[cold]
fn has_labels(mut rest: Reader<'_>) -> bool {
    loop {
        match rest.next_field("TimeSeries") {
            Ok(Some(field)) if field.number != 1 && rest.skip(field.coding, "TimeSeries").is_ok() => {}
            Ok(None) => return false,
            _ => return true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types() {
        for (spoken, version) in [
            (None, Version::V1),
            (Some("application/x-protobuf"), Version::V1),
            (Some("Application/X-Protobuf; charset=x"), Version::V1),
            (Some("application/x-protobuf;proto=prometheus.WriteRequest"), Version::V1),
            (Some("application/x-protobuf; proto=\"prometheus.WriteRequest\""), Version::V1),
            (Some("application/x-protobuf;proto=io.prometheus.write.v2.Request"), Version::V2),
            (Some("application/x-protobuf; Proto = io.prometheus.write.v2.Request"), Version::V2),
        ] {
            assert_eq!(version_of(spoken).ok(), Some(version), "{spoken:?}");
        }
        for other in [
            "application/x-protobuf;proto=io.prometheus.write.v3.Request",
            "application/json",
            "application/json;proto=prometheus.WriteRequest",
            "application/json;proto=io.prometheus.write.v2.Request",
            "",
            "text/plain",
        ] {
            let error = version_of(Some(other)).expect_err(other);
            assert_eq!(error.status(), 415);
            assert!(error.to_string().contains("prometheus.WriteRequest"), "{error}");
        }
    }
}
