//! Who gets in: a bounded number of requests at once, a bounded waiting room, a bounded number of bytes.
//!
//! A request holds its [`Ticket`] from its first byte to its answer; the bytes of its body belong to a
//! [`Reservation`]. Both give everything back when dropped, so that a sender that goes away leaves nothing.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::IngestError;
use crate::limits::IngestLimits;

/// The unit in which bytes are reserved.
const UNIT_BYTES: usize = 1024;

/// Counts what is under way.
#[derive(Debug)]
pub(crate) struct Admission {
    /// One for each request that is received, waits or is worked on.
    admitted: Arc<Semaphore>,
    /// One for each request that is worked on.
    working: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    limits: IngestLimits,
}

/// The right of one request to be received, and to wait for its turn.
#[derive(Debug)]
pub(crate) struct Ticket {
    _admitted: OwnedSemaphorePermit,
}

/// The turn of one request: it may be decoded and written while this lives.
#[derive(Debug)]
pub(crate) struct Turn {
    _ticket: Ticket,
    _working: OwnedSemaphorePermit,
}

/// Bytes taken from the budget of bytes under way.
#[derive(Debug)]
pub(crate) struct Reservation {
    bytes: Arc<Semaphore>,
    held: Option<OwnedSemaphorePermit>,
    used_bytes: usize,
    limit: usize,
    retry_after_s: u64,
}

impl Admission {
    /// Nothing under way.
    pub(crate) fn new(limits: &IngestLimits) -> Self {
        let semaphore = |permits: usize| Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS)));
        let admitted_max = limits.requests_in_flight_max.saturating_add(limits.requests_waiting_max);
        Self {
            admitted: semaphore(admitted_max),
            working: semaphore(limits.requests_in_flight_max),
            bytes: semaphore(limits.bytes_in_flight_max.div_ceil(UNIT_BYTES)),
            limits: *limits,
        }
    }

    /// Lets a request in.
    ///
    /// # Errors
    ///
    /// [`IngestError::Overloaded`] when the waiting room is full.
    pub(crate) fn admit(&self) -> Result<Ticket, IngestError> {
        match Arc::clone(&self.admitted).try_acquire_owned() {
            Ok(admitted) => Ok(Ticket { _admitted: admitted }),
            Err(_) => Err(IngestError::Overloaded {
                what: "requests waiting",
                limit_name: "requests_waiting_max",
                limit: self.limits.requests_waiting_max,
                retry_after_s: self.limits.retry_after_s,
            }),
        }
    }

    /// Waits for the request's turn to be worked on.
    ///
    /// # Errors
    ///
    /// Never while the server runs.
    pub(crate) async fn turn(&self, ticket: Ticket) -> Result<Turn, IngestError> {
        match Arc::clone(&self.working).acquire_owned().await {
            Ok(working) => Ok(Turn { _ticket: ticket, _working: working }),
            Err(error) => Err(IngestError::Internal { detail: error.to_string() }),
        }
    }

    /// Bytes that requests hold.
    pub(crate) fn bytes(&self) -> usize {
        let units = self.limits.bytes_in_flight_max.div_ceil(UNIT_BYTES).min(Semaphore::MAX_PERMITS);
        units.saturating_sub(self.bytes.available_permits()).saturating_mul(UNIT_BYTES)
    }

    /// A reservation of no bytes yet.
    pub(crate) fn reservation(&self) -> Reservation {
        Reservation {
            bytes: Arc::clone(&self.bytes),
            held: None,
            used_bytes: 0,
            limit: self.limits.bytes_in_flight_max,
            retry_after_s: self.limits.retry_after_s,
        }
    }
}

impl Reservation {
    /// Takes `more` bytes, or as many of them as there are: for what a request that is received turns into, within its own
    /// limits. Others wait outside meanwhile.
    pub(crate) fn take(&mut self, more: usize) {
        let free = self.bytes.available_permits().saturating_mul(UNIT_BYTES);
        // Whatever others take meanwhile is missing here, and the request goes on all the same.
        drop(self.grow(more.min(free)));
    }

    /// Takes `more` bytes from the budget, without waiting.
    ///
    /// # Errors
    ///
    /// [`IngestError::Overloaded`] when they are not there; what was held stays held.
    pub(crate) fn grow(&mut self, more: usize) -> Result<(), IngestError> {
        let used_bytes = self.used_bytes.saturating_add(more);
        let held_units = self.held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let more_units = used_bytes.div_ceil(UNIT_BYTES).saturating_sub(held_units);
        let permit = u32::try_from(more_units).ok().and_then(|units| {
            let bytes = Arc::clone(&self.bytes);
            bytes.try_acquire_many_owned(units).ok()
        });
        let Some(permit) = permit else {
            return Err(IngestError::Overloaded {
                what: "bytes of bodies",
                limit_name: "bytes_in_flight_max",
                limit: self.limit,
                retry_after_s: self.retry_after_s,
            });
        };
        match &mut self.held {
            Some(held) => held.merge(permit),
            None => self.held = Some(permit),
        }
        self.used_bytes = used_bytes;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(requests_in_flight_max: usize, requests_waiting_max: usize, bytes_in_flight_max: usize) -> Admission {
        let limits = IngestLimits {
            requests_in_flight_max,
            requests_waiting_max,
            bytes_in_flight_max,
            ..IngestLimits::default()
        };
        Admission::new(&limits)
    }

    #[test]
    fn tickets_end_with_the_waiting_room_and_come_back() {
        let admission = admission(1, 2, 0);
        let tickets: Vec<_> = (0..3).map(|_| admission.admit().expect("room")).collect();
        let error = admission.admit().expect_err("full");
        assert_eq!((error.status(), error.retry_after_s()), (503, Some(5)));
        drop(tickets);
        assert!(admission.admit().is_ok());
    }

    #[test]
    fn what_a_request_turns_into_is_taken_as_far_as_there_is_room() {
        let admission = admission(2, 0, 8192);
        let mut first = admission.reservation();
        first.grow(2048).expect("room");
        first.take(1024);
        assert_eq!(admission.bytes(), 3072);
        first.take(1 << 30);
        assert_eq!(admission.bytes(), 8192);
        assert!(admission.reservation().grow(1).is_err(), "others are told to wait");
        drop(first);
        assert_eq!(admission.bytes(), 0);
    }

    #[test]
    fn bytes_are_taken_in_units_and_come_back() {
        let admission = admission(1, 0, 4096);
        let mut first = admission.reservation();
        first.grow(1000).expect("one unit");
        first.grow(24).expect("the rest of it");
        let mut second = admission.reservation();
        assert!(second.grow(3 * 1024 + 1).is_err());
        second.grow(3 * 1024).expect("what is left");
        assert!(first.grow(1).is_err());
        assert!(first.grow(usize::MAX).is_err());
        drop(second);
        first.grow(3 * 1024).expect("given back");
    }
}
