//! The stacks of all goroutines one by one, `goroutine?debug=2` and what a crash prints, read as a stream: such a text is
//! tens of megabytes long where there are many.
//!
//! ```text
//! goroutine 35 [chan receive (leaked), 12 minutes, locked to thread] {job: x}:
//! main.(*pool).worker(0xc00009c000, {0x1, 0x2})
//!     /src/pool.go:41 +0x8c
//! created by main.start in goroutine 1
//!     /src/pool.go:22 +0x5a
//! ```
//!
//! Go prints at most 100 frames of a stack, the 50 innermost and the 50 outermost, and cuts the whole at 64 MB.
#![warn(clippy::indexing_slicing)]

use std::io::{self, BufRead};

use super::quoted;

/// Most frames of one goroutine that are kept; Go prints 100.
pub const FRAMES_MAX: usize = 128;
/// Longest line; what is beyond is left out.
const LINE_BYTES_MAX: usize = 16 << 10;

/// A function and a place in it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Place {
    /// Full name of the function, without its arguments.
    pub function: String,
    /// The file; empty where it is not told.
    pub file: String,
    /// The line; 0 where it is not told.
    pub line: u32,
}

/// The first line of a goroutine.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a mark of the line, and any may stand with any other")]
pub struct Header {
    /// Its number, unique in the life of the process.
    pub id: u64,
    /// What it waits for or its state, in the runtime's words: `chan receive`, `running`.
    pub status: String,
    /// Whether the runtime found that nothing can wake it.
    pub leaked: bool,
    /// Whether its stack was being scanned by the collector.
    pub scanned: bool,
    /// In a test bubble: whether only others in the bubble can wake it.
    pub durable: bool,
    /// Whole minutes for which it has been blocked, from one on; of leaked ones that is not told.
    pub minutes: Option<u64>,
    /// Whether it is bound to its thread.
    pub locked: bool,
    /// The test bubble it belongs to.
    pub bubble: Option<u64>,
    /// Its labels, where the program has them printed.
    pub labels: Vec<(String, String)>,
}

/// One goroutine.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Goroutine {
    /// Its first line.
    pub header: Header,
    /// Its frames, the innermost first.
    pub frames: Vec<Place>,
    /// Frames in the middle that were left out.
    pub elided: bool,
    /// The `go` statement that started it; nothing for the first.
    pub created_by: Option<Place>,
    /// The goroutine that ran the statement; Go tells it from 1.21 on.
    pub parent: Option<u64>,
}

/// Reads goroutines one after the other.
#[derive(Debug)]
pub struct Dump<R> {
    lines: Lines<R>,
    /// The header of the next goroutine, read already.
    next: Option<Header>,
}

impl<R: BufRead> Dump<R> {
    /// Reads from `source`.
    pub fn new(source: R) -> Self {
        Self { lines: Lines { source, line: Vec::new() }, next: None }
    }

    /// The next goroutine; nothing at the end. Text before the first header, such as a panic's message, is passed over.
    ///
    /// # Errors
    ///
    /// When the source fails.
    pub fn next_goroutine(&mut self) -> io::Result<Option<Goroutine>> {
        let mut header = self.next.take();
        while header.is_none() {
            let Some(line) = self.lines.next_line()? else { return Ok(None) };
            header = parse_header(&line);
        }
        let mut body = Body {
            goroutine: Goroutine { header: header.unwrap_or_default(), ..Goroutine::default() },
            open: Open::None,
        };
        while let Some(line) = self.lines.next_line()? {
            if let Some(next) = parse_header(&line) {
                self.next = Some(next);
                break;
            }
            if !body.line(&line) {
                break;
            }
        }
        body.close();
        Ok(Some(body.goroutine))
    }
}

/// The lines below a header.
struct Body {
    goroutine: Goroutine,
    open: Open,
}

/// The function whose place is told by the next line.
enum Open {
    None,
    Frame(Place),
    CreatedBy(Place),
    /// Ancestors, which are told where `GODEBUG=tracebackancestors` is set, are passed over.
    Ancestors,
}

impl Body {
    /// Whether more lines may follow.
    fn line(&mut self, line: &str) -> bool {
        if line.is_empty() {
            return false;
        }
        if matches!(self.open, Open::Ancestors) {
            return true;
        }
        if let Some(place) = line.strip_prefix('\t') {
            match &mut self.open {
                Open::Frame(open) | Open::CreatedBy(open) => (open.file, open.line) = file_and_line(place),
                Open::None | Open::Ancestors => {}
            }
            self.close();
            return true;
        }
        self.close();
        if line.starts_with("...") {
            self.goroutine.elided = true;
        } else if line.starts_with("[originating from goroutine ") {
            self.open = Open::Ancestors;
        } else if let Some(rest) = line.strip_prefix("created by ") {
            let (function, parent) = match rest.rsplit_once(" in goroutine ") {
                Some((function, parent)) => (function, parent.trim().parse().ok()),
                None => (rest, None),
            };
            self.goroutine.parent = parent;
            self.open = Open::CreatedBy(Place { function: function.trim_end().to_owned(), ..Place::default() });
        } else if let Some((function, _)) = line.rsplit_once('(') {
            self.open = Open::Frame(Place { function: function.to_owned(), ..Place::default() });
        }
        true
    }

    fn close(&mut self) {
        match std::mem::replace(&mut self.open, Open::None) {
            Open::Frame(place) if self.goroutine.frames.len() < FRAMES_MAX => self.goroutine.frames.push(place),
            Open::Frame(_) => self.goroutine.elided = true,
            Open::CreatedBy(place) => self.goroutine.created_by = Some(place),
            Open::Ancestors => self.open = Open::Ancestors,
            Open::None => {}
        }
    }
}

/// `/src/pool.go:41 +0x8c`.
fn file_and_line(place: &str) -> (String, u32) {
    let place = place.rsplit_once(" +0x").map_or(place, |(place, _)| place);
    // With more told there are addresses of the frame as well.
    let place = place.split_once(" fp=0x").map_or(place, |(place, _)| place);
    match place.rsplit_once(':') {
        Some((file, line)) => (file.to_owned(), line.trim().parse().unwrap_or(0)),
        None => (place.to_owned(), 0),
    }
}

/// Reads the first line of a goroutine; nothing when it is none.
///
/// `goroutine ID [STATUS( (leaked))?( (scan))?( (durable))?(, N minutes)?(, locked to thread)?(, synctest bubble K)?]`,
/// then labels in braces, inside the brackets after `labels:` up to Go 1.26 and behind them from 1.27 on, and a colon.
pub fn parse_header(line: &str) -> Option<Header> {
    let rest = line.strip_prefix("goroutine ")?.trim_end().strip_suffix(':')?;
    let (numbers, rest) = rest.split_once(" [")?;
    // With more told, addresses of the goroutine and its thread follow the number.
    let id = numbers.split(' ').next()?.parse().ok()?;
    let (inside, labels) = match rest.split_once("] {") {
        Some((inside, _)) => (inside, rest.get(inside.len() + 2..)?),
        None => match rest.strip_suffix(']')? {
            inside if inside.ends_with('}') => match inside.split_once(" labels:{") {
                Some((head, _)) => (head, inside.get(head.len() + " labels:".len()..)?),
                None => (inside, ""),
            },
            inside => (inside, ""),
        },
    };
    let mut parts = inside.split(", ");
    let mut header = Header { id, labels: quoted::labels(labels).unwrap_or_default(), ..Header::default() };
    let mut status = parts.next()?;
    for (mark, flag) in
        [(" (durable)", &mut header.durable), (" (scan)", &mut header.scanned), (" (leaked)", &mut header.leaked)]
    {
        if let Some(before) = status.strip_suffix(mark) {
            (status, *flag) = (before, true);
        }
    }
    status.clone_into(&mut header.status);
    for part in parts {
        if let Some(minutes) = part.strip_suffix(" minutes") {
            header.minutes = minutes.parse().ok();
        } else if let Some(bubble) = part.strip_prefix("synctest bubble ") {
            header.bubble = bubble.parse().ok();
        } else if part == "locked to thread" {
            header.locked = true;
        }
    }
    Some(header)
}

/// Lines of bounded length.
#[derive(Debug)]
struct Lines<R> {
    source: R,
    line: Vec<u8>,
}

impl<R: BufRead> Lines<R> {
    fn next_line(&mut self) -> io::Result<Option<String>> {
        self.line.clear();
        let mut any = false;
        loop {
            let buffer = match self.source.fill_buf() {
                Ok(buffer) => buffer,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if buffer.is_empty() {
                break;
            }
            any = true;
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let part = buffer.get(..end.unwrap_or(buffer.len())).unwrap_or(buffer);
            let room = LINE_BYTES_MAX.saturating_sub(self.line.len());
            self.line.extend(part.iter().take(room));
            let used = part.len() + usize::from(end.is_some());
            self.source.consume(used);
            if end.is_some() {
                break;
            }
        }
        let line = self.line.strip_suffix(b"\r").unwrap_or(&self.line);
        Ok(any.then(|| String::from_utf8_lossy(line).into_owned()))
    }
}
