#![warn(clippy::indexing_slicing)]
//! The build information in Go executables: which Go made them, from which module, version and revision.
//!
//! The layout is that of Go's `debug/buildinfo`: a 32-byte header that begins with a magic, at a multiple of 16 in
//! section `.go.buildinfo`, or in a writable segment when sections were removed. Since Go 1.18
//! the texts follow the header; before, it held pointers to string headers. Stripping (`-s -w`) keeps it.

use std::fs::File;
use std::io;

use super::elf::{Elf, READ_BYTES_MAX};

const MAGIC: &[u8; 14] = b"\xff Go buildinf:";
/// Header of the block, before the texts.
const HEADER_BYTES: usize = 32;
/// The block begins at a multiple of this.
const ALIGN_BYTES: usize = 16;
/// How far into a writable segment the magic is searched.
const SEARCH_BYTES_MAX: u64 = 8 << 20;
/// Most writable segments that are searched.
const WRITABLE_SEGMENTS_MAX: usize = 4;
/// Longest Go version.
const VERSION_BYTES_MAX: u64 = 256;
/// Length of each of the two sentinels around the module text.
const SENTINEL_BYTES: usize = 16;
/// Most settings that are told.
const SETTINGS_MAX: usize = 64;
/// Longest value that becomes a label.
const VALUE_CHARS_MAX: usize = 256;

const FLAG_BIG_ENDIAN: u8 = 1;
const FLAG_INLINE: u8 = 2;

/// What an executable says of its making. Texts are empty when it does not say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BuildInfo {
    /// The toolchain, such as `go1.26.1`.
    pub go_version: String,
    /// Import path of the main package.
    pub path: String,
    /// The main module.
    pub module: String,
    /// The main module's version; `(devel)` when built from a working copy.
    pub version: String,
    /// Revision of the version control system.
    pub revision: String,
    /// Whether the working copy had changes.
    pub modified: bool,
    /// Whether it was built without a way to call C.
    pub without_cgo: bool,
}

/// Reads the build information of `file`; nothing when it is no Go executable.
///
/// # Errors
///
/// When reading fails; a damaged file is no error but no Go executable.
pub fn read(file: File) -> io::Result<Option<BuildInfo>> {
    let Some((version, module)) = read_texts(file)? else { return Ok(None) };
    let version = String::from_utf8_lossy(&version).into_owned();
    if version.is_empty() {
        return Ok(None);
    }
    let mut info = parse_module(unwrapped(&module));
    info.go_version = shortened(&version);
    Ok(Some(info))
}

/// The settings that `file` was built with, such as `-tags` and `GOAMD64`, in the order in which the toolchain wrote them; none when it
/// is no Go executable. Not kept in [`BuildInfo`], since who asks for them asks once.
///
/// # Errors
///
/// As of [`read`].
pub fn settings(file: File) -> io::Result<Vec<(String, String)>> {
    let Some((_, module)) = read_texts(file)? else { return Ok(Vec::new()) };
    let text = String::from_utf8_lossy(unwrapped(&module)).into_owned();
    let lines = text.lines().filter_map(|line| line.strip_prefix("build\t")?.split_once('='));
    let pairs = lines.map(|(key, value)| (shortened(key), shortened(value.trim_matches('"'))));
    Ok(pairs.take(SETTINGS_MAX).collect())
}

/// Version and module text, as they lie in the file.
fn read_texts(file: File) -> io::Result<Option<(Vec<u8>, Vec<u8>)>> {
    let Some(elf) = Elf::open(file)? else { return Ok(None) };
    let Some(block_at) = find_block(&elf)? else { return Ok(None) };
    let Some(header) = elf.read(block_at, HEADER_BYTES as u64)? else { return Ok(None) };
    let (Some(&pointer_bytes), Some(&flags)) = (header.get(14), header.get(15)) else { return Ok(None) };
    if flags & FLAG_INLINE != 0 {
        read_inline(&elf, block_at)
    } else {
        read_pointers(&elf, &header, u64::from(pointer_bytes), flags & FLAG_BIG_ENDIAN != 0)
    }
}

/// Offset of the block's header in the file: in its section, else in a writable segment. Position-independent
/// executables have two of those, relocated tables first.
fn find_block(elf: &Elf) -> io::Result<Option<u64>> {
    if let Some((start, length)) = elf.section(b".go.buildinfo") {
        return search(elf, start, length);
    }
    // Every Go linker makes the section; a file that has sections and not this one is something else.
    if elf.has_sections() {
        return Ok(None);
    }
    for segment in elf.segments.iter().filter(|segment| segment.writable).take(WRITABLE_SEGMENTS_MAX) {
        if let Some(at) = search(elf, segment.offset, segment.file_bytes)? {
            return Ok(Some(at));
        }
    }
    Ok(None)
}

/// Where the magic stands at a multiple of its alignment behind `start`.
fn search(elf: &Elf, start: u64, length: u64) -> io::Result<Option<u64>> {
    let mut done = 0;
    while done < length.min(SEARCH_BYTES_MAX) {
        let at = start.saturating_add(done);
        let bytes = elf.read_up_to(at, (length - done).min(READ_BYTES_MAX))?;
        if let Some(chunk) = bytes.chunks(ALIGN_BYTES).position(|chunk| chunk.starts_with(MAGIC)) {
            return Ok(at.checked_add((chunk * ALIGN_BYTES) as u64));
        }
        if bytes.is_empty() {
            break;
        }
        done += bytes.len() as u64;
    }
    Ok(None)
}

/// Version and module text of a block that holds them after its header.
fn read_inline(elf: &Elf, block_at: u64) -> io::Result<Option<(Vec<u8>, Vec<u8>)>> {
    let Some((version, next)) = read_counted(elf, block_at.saturating_add(HEADER_BYTES as u64), VERSION_BYTES_MAX)?
    else {
        return Ok(None);
    };
    // A program may have no module text; then the version is all there is.
    let module = read_counted(elf, next, READ_BYTES_MAX)?.map(|(module, _)| module).unwrap_or_default();
    Ok(Some((version, module)))
}

/// A length in base 128, low digits first, then that many bytes; and the offset behind them.
fn read_counted(elf: &Elf, at: u64, bytes_max: u64) -> io::Result<Option<(Vec<u8>, u64)>> {
    let head = elf.read_up_to(at, 10)?;
    let mut length = 0u64;
    for (digit, byte) in head.iter().enumerate() {
        if digit >= 9 {
            return Ok(None);
        }
        length |= u64::from(byte & 0x7f) << (7 * digit);
        if byte & 0x80 == 0 {
            let text_at = at.saturating_add(digit as u64 + 1);
            if length > bytes_max {
                return Ok(None);
            }
            return Ok(elf.read(text_at, length)?.map(|text| (text, text_at + length)));
        }
    }
    Ok(None)
}

/// Version and module text of a block that points at two string headers, as before Go 1.18.
fn read_pointers(
    elf: &Elf,
    header: &[u8],
    pointer_bytes: u64,
    big_endian: bool,
) -> io::Result<Option<(Vec<u8>, Vec<u8>)>> {
    if pointer_bytes != 4 && pointer_bytes != 8 {
        return Ok(None);
    }
    let width = if pointer_bytes == 4 { 4 } else { 8 };
    let word = |bytes: &[u8], at: usize| -> Option<u64> {
        let bytes = bytes.get(at..at + width)?;
        let fold = |value: u64, byte: &u8| (value << 8) | u64::from(*byte);
        Some(if big_endian { bytes.iter().fold(0, fold) } else { bytes.iter().rev().fold(0, fold) })
    };
    let string_at = |pointer: Option<u64>, bytes_max: u64| -> io::Result<Option<Vec<u8>>> {
        let Some(at) = pointer.and_then(|address| elf.offset_of(address)) else { return Ok(None) };
        let Some(string) = elf.read(at, 2 * pointer_bytes)? else { return Ok(None) };
        let (Some(address), Some(length)) = (word(&string, 0), word(&string, width)) else { return Ok(None) };
        match elf.offset_of(address) {
            Some(at) if length <= bytes_max => elf.read(at, length),
            _ => Ok(None),
        }
    };
    let Some(version) = string_at(word(header, 16), VERSION_BYTES_MAX)? else { return Ok(None) };
    let module = string_at(word(header, 16 + width), READ_BYTES_MAX)?.unwrap_or_default();
    Ok(Some((version, module)))
}

/// The module text without its sentinels; empty when they are not there.
fn unwrapped(module: &[u8]) -> &[u8] {
    match module.len().checked_sub(SENTINEL_BYTES) {
        Some(end) if end > SENTINEL_BYTES && module.get(end - 1) == Some(&b'\n') => {
            module.get(SENTINEL_BYTES..end).unwrap_or_default()
        }
        _ => &[],
    }
}

/// Reads the lines of a module text; see `go version -m`.
fn parse_module(text: &[u8]) -> BuildInfo {
    let text = String::from_utf8_lossy(text);
    let mut info = BuildInfo::default();
    for line in text.lines() {
        let mut fields = line.split('\t');
        match (fields.next(), fields.next()) {
            (Some("path"), Some(path)) => info.path = shortened(path),
            (Some("mod"), Some(module)) => {
                info.module = shortened(module);
                info.version = shortened(fields.next().unwrap_or(""));
            }
            (Some("build"), Some(setting)) => match setting.split_once('=') {
                Some(("vcs.revision", revision)) => info.revision = shortened(revision),
                Some(("vcs.modified", modified)) => info.modified = modified == "true",
                Some(("CGO_ENABLED", enabled)) => info.without_cgo = enabled == "0",
                _ => {}
            },
            _ => {}
        }
    }
    info
}

fn shortened(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(VALUE_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn module_texts() {
        let sentinel = "0123456789abcdef";
        let text = "path\texample.com/a/cmd/b\nmod\texample.com/a\tv1.2.3\th1:x=\ndep\texample.com/c\tv0.1.0\n\
                    build\tCGO_ENABLED=0\nbuild\tvcs.revision=abc\nbuild\tvcs.modified=true\n";
        let wrapped = format!("{sentinel}{text}{sentinel}");
        let want = BuildInfo {
            go_version: String::new(),
            path: "example.com/a/cmd/b".into(),
            module: "example.com/a".into(),
            version: "v1.2.3".into(),
            revision: "abc".into(),
            modified: true,
            without_cgo: true,
        };
        assert_eq!(parse_module(unwrapped(wrapped.as_bytes())), want);
        for cut in ["", sentinel, &wrapped[..wrapped.len() - 1]] {
            assert_eq!(parse_module(unwrapped(cut.as_bytes())), BuildInfo::default(), "{cut:?}");
        }
    }
}
