//! Lists of alerts for who asks: what they take is counted among the memory of queries until all is sent, and they are written alert by alert as
//! the client reads. So neither many alerts nor many that ask for them, nor clients that read slowly, end the server.

use std::sync::Arc;

use query::Resources;

use crate::app::App;
use crate::reply::{ApiError, ErrorKind, WriteData};

/// Memory of a list, given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Listed {
    resources: Arc<Resources>,
    bytes: usize,
}

/// There is not enough memory for a list: the limit.
#[derive(Debug, thiserror::Error)]
#[error(
    "with what queries hold now this answer takes more than {0} bytes, the limit of all together (query_all_bytes_max); ask for less, or again later"
)]
pub(crate) struct TooMuch(usize);

impl Listed {
    pub(crate) fn new(app: &App) -> Self {
        Self::of(Arc::clone(&app.options.query.resources))
    }

    fn of(resources: Arc<Resources>) -> Self {
        Self { resources, bytes: 0 }
    }

    /// Counts `bytes` more.
    pub(crate) fn hold(&mut self, bytes: usize) -> Result<(), TooMuch> {
        self.resources.take_bytes(bytes).map_err(TooMuch)?;
        self.bytes += bytes;
        Ok(())
    }

    /// Whether something is listed, which counts it.
    pub(crate) fn takes(&mut self, is_wanted: bool, bytes: impl FnOnce() -> usize) -> Result<bool, TooMuch> {
        if is_wanted {
            self.hold(bytes())?;
        }
        Ok(is_wanted)
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.resources.give_bytes(self.bytes);
    }
}

impl From<TooMuch> for ApiError {
    fn from(error: TooMuch) -> Self {
        Self::new(ErrorKind::Unavailable, error.to_string())
    }
}

/// Writes `items` between `head` and `tail`.
pub(crate) struct Parts<T> {
    head: &'static str,
    items: std::vec::IntoIter<T>,
    /// Told whether an item is the first.
    write_item: fn(&mut Vec<u8>, &T, bool),
    tail: &'static str,
    is_begun: bool,
    _listed: Listed,
}

impl<T> Parts<T> {
    pub(crate) fn new(
        around: [&'static str; 2],
        items: Vec<T>,
        write_item: fn(&mut Vec<u8>, &T, bool),
        listed: Listed,
    ) -> Self {
        let [head, tail] = around;
        Self { head, items: items.into_iter(), write_item, tail, is_begun: false, _listed: listed }
    }
}

impl<T: Send + 'static> WriteData for Parts<T> {
    fn write(&mut self, out: &mut Vec<u8>, until_bytes: usize) -> bool {
        out.extend_from_slice(std::mem::take(&mut self.head).as_bytes());
        while out.len() < until_bytes {
            let Some(item) = self.items.next() else {
                out.extend_from_slice(self.tail.as_bytes());
                return true;
            };
            (self.write_item)(out, &item, !std::mem::replace(&mut self.is_begun, true));
        }
        false
    }
}

/// Writes `item` of a list: behind the one before.
pub(crate) fn write_in_list(out: &mut Vec<u8>, item: &serde_json::Value, is_first: bool) {
    if !is_first {
        out.push(b',');
    }
    out.extend_from_slice(item.to_string().as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_hold_their_memory_until_they_are_written() {
        let resources = Arc::new(Resources::new(1000, 0));
        let mut listed = Listed::of(Arc::clone(&resources));
        assert!(listed.takes(true, || 600).expect("room") && !listed.takes(false, || 9000).expect("nothing"));
        let mut other = Listed::of(Arc::clone(&resources));
        let refused = other.takes(true, || 600).expect_err("no room");
        assert!(refused.to_string().contains("more than 1000 bytes"), "{refused}");
        let items = vec!["x".repeat(40); 10];
        let mut parts =
            Parts::new(["[", "]"], items, |out, item, first| write_in_list(out, &item.as_str().into(), first), listed);
        let (mut whole, mut pieces) = (Vec::new(), 0);
        loop {
            let mut piece = Vec::new();
            let is_end = parts.write(&mut piece, 100);
            assert!(piece.len() < 150 && resources.all_bytes() == 600);
            whole.extend(piece);
            pieces += 1;
            if is_end {
                break;
            }
        }
        assert!(pieces > 3);
        let read: Vec<String> = serde_json::from_slice(&whole).expect("a list");
        assert_eq!(read.len(), 10);
        drop(parts);
        assert_eq!(resources.all_bytes(), 0);
        assert!(other.takes(true, || 600).is_ok());
    }
}
