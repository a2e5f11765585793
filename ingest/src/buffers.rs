//! The memory of a request, kept from one to the next: bodies, the decoder, the batch.
//!
//! At most as many are kept as requests run at once, within a number of bytes, and none that one large request has blown up.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

use model::WriteBatch;

use crate::compress::Plain;
use crate::rejected::Rejected;
use crate::remote_write::RemoteWriteDecoder;

/// Buffers with more bytes than this in one body or in labels are given back to the system.
const KEPT_BODY_BYTES_MAX: usize = 4 << 20;
/// Buffers that held more samples or exemplars than this are given back to the system.
const KEPT_SAMPLES_MAX: usize = 20_000;

/// What one request is worked on in.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    /// The body as sent.
    pub(crate) body: Vec<u8>,
    /// The body decompressed.
    pub(crate) plain: Plain,
    pub(crate) decoder: RemoteWriteDecoder,
    pub(crate) batch: WriteBatch,
    pub(crate) rejected: Rejected,
}

impl Buffers {
    fn clear(&mut self) {
        self.body.clear();
        self.plain.clear();
        self.decoder.clear();
        self.batch.clear();
        self.rejected.clear();
    }

    /// Memory held, but for the decoder's.
    fn bytes(&self) -> usize {
        self.body.capacity() + self.plain.capacity() + self.batch.memory_bytes()
    }

    /// Whether these are small enough to keep. The decoder sees to itself.
    fn is_small(&self) -> bool {
        let bytes = self.body.capacity().max(self.plain.capacity()).max(self.batch.label_bytes());
        let samples = self.batch.samples_len().max(self.batch.exemplars_len());
        bytes <= KEPT_BODY_BYTES_MAX && samples <= KEPT_SAMPLES_MAX
    }
}

/// Buffers that wait for the next request.
#[derive(Debug)]
pub(crate) struct Pool {
    idle: Mutex<Vec<Buffers>>,
    kept_max: usize,
    bytes_max: usize,
}

/// Buffers on loan; they go back when dropped.
#[derive(Debug)]
pub(crate) struct Loan {
    buffers: Buffers,
    pool: Arc<Pool>,
}

impl Pool {
    /// Keeps up to `kept_max`, with `bytes_max` together.
    pub(crate) fn new(kept_max: usize, bytes_max: usize) -> Arc<Self> {
        Arc::new(Self { idle: Mutex::default(), kept_max, bytes_max })
    }

    /// Memory of the buffers that wait.
    pub(crate) fn idle_bytes(&self) -> usize {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).iter().map(Buffers::bytes).sum()
    }

    /// Empty buffers, used before or new.
    pub(crate) fn take(self: &Arc<Self>) -> Loan {
        let buffers = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Loan { buffers: buffers.unwrap_or_default(), pool: Arc::clone(self) }
    }
}

impl Deref for Loan {
    type Target = Buffers;

    fn deref(&self) -> &Buffers {
        &self.buffers
    }
}

impl DerefMut for Loan {
    fn deref_mut(&mut self) -> &mut Buffers {
        &mut self.buffers
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        if !self.buffers.is_small() {
            return;
        }
        let mut buffers = std::mem::take(&mut self.buffers);
        buffers.clear();
        let mut idle = self.pool.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = idle.iter().map(Buffers::bytes).sum::<usize>() + buffers.bytes();
        if idle.len() < self.pool.kept_max && bytes <= self.pool.bytes_max {
            idle.push(buffers);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_come_back_empty_and_only_so_many_and_so_large() {
        let pool = Pool::new(1, 1 << 30);
        let idle = || pool.idle.lock().expect("not poisoned").len();
        let mut first = pool.take();
        first.body.extend_from_slice(&[1; 100]);
        let second = pool.take();
        drop(first);
        drop(second);
        assert_eq!(idle(), 1);
        let mut again = pool.take();
        assert!(again.body.is_empty() && again.body.capacity() >= 100);
        again.body.reserve(KEPT_BODY_BYTES_MAX + 1);
        drop(again);
        assert_eq!(idle(), 0);
    }

    #[test]
    fn what_waits_has_so_many_bytes_together() {
        let pool = Pool::new(9, 2500);
        let mut loans = [(); 3].map(|()| pool.take());
        for loan in &mut loans {
            loan.body.reserve_exact(1000);
        }
        drop(loans);
        let waiting = pool.idle.lock().expect("not poisoned").len();
        assert_eq!((waiting, pool.idle_bytes()), (2, 2000));
    }
}
