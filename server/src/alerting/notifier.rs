//! The thread that tells people: it gives the dispatcher of `rules` a clock, a shelf and ways out.
//!
//! Alerts and the outcomes of deliveries are left in an inbox, so that nobody waits for the dispatcher; people's changes go to it directly and are on
//! the shelf before they are answered. What is to be said is on the shelf before it is handed over.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use model::{Clock, ForwardWatch};
use rules::config::Config;
use rules::event::{Event, EventKind, EventLog as _};
use rules::notify::alerts::Incoming;
use rules::notify::decision::Fingerprint;
use rules::notify::delivery::{Deliver, Delivered, Notification};
use rules::notify::dispatch::{Dispatcher, Limits, Outgoing};
use rules::posted::{Posted, Tell};
use rules::shelf::{Shelf, ShelfError};

use super::events::EventFiles;

/// Longest sleep: a clock that is set is noticed, and events reach the disk.
const SLEEP_MAX: Duration = Duration::from_secs(1);
/// Most alerts in the inbox. Those beyond are told again by their senders.
const INBOX_MAX: usize = 100_000;

/// See the module.
pub struct Notifier {
    clock: Arc<dyn Clock>,
    forward: Mutex<ForwardWatch>,
    shelf: Box<dyn Shelf>,
    events: Arc<EventFiles>,
    dispatcher: Mutex<Dispatcher>,
    inbox: Mutex<Inbox>,
    wake: Condvar,
    deliver: OnceLock<Arc<dyn Deliver>>,
    stopping: AtomicBool,
    thread: Mutex<Option<JoinHandle<()>>>,
    counts: Counts,
}

#[derive(Default)]
struct Inbox {
    alerts: BTreeMap<Fingerprint, Vec<Incoming>>,
    outcomes: VecDeque<(u64, Delivered)>,
    woken: bool,
}

/// What happened since the start.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) received: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) shelf_failures: AtomicU64,
    /// As the dispatcher had it when it was asked last: who asks for counts does not wait for it.
    pub(crate) alerts: AtomicU64,
    pub(crate) groups: AtomicU64,
    pub(crate) in_flight: AtomicU64,
    pub(crate) homeless: AtomicU64,
}

impl Counts {
    fn look_at(&self, dispatcher: &Dispatcher) {
        let ((alerts, groups), refused) = (dispatcher.counts(), dispatcher.refused());
        let all = [
            (&self.alerts, alerts as u64),
            (&self.groups, groups as u64),
            (&self.in_flight, dispatcher.in_flight() as u64),
            (&self.homeless, refused.alerts + refused.groups),
        ];
        for (count, now) in all {
            count.store(now, Ordering::Relaxed);
        }
    }
}

impl fmt::Debug for Notifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notifier").field("counts", &self.counts).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Notifier {
    /// A notifier by `config` that goes on with what is on `shelf`.
    ///
    /// # Errors
    ///
    /// When the shelf cannot be read.
    pub fn open(
        config: Arc<Config>,
        shelf: Box<dyn Shelf>,
        events: Arc<EventFiles>,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>, ShelfError> {
        let dispatcher = Dispatcher::open(config, Limits::default(), &*shelf, Arc::clone(&events) as _, clock.now().0)?;
        let counts = Counts::default();
        counts.look_at(&dispatcher);
        Ok(Arc::new(Self {
            forward: Mutex::new(ForwardWatch::new(&*clock)),
            clock,
            shelf,
            events,
            dispatcher: Mutex::new(dispatcher),
            inbox: Mutex::default(),
            wake: Condvar::new(),
            deliver: OnceLock::new(),
            stopping: AtomicBool::new(false),
            thread: Mutex::default(),
            counts,
        }))
    }

    /// Hands notifications to `deliver`, from now on and for good. Before that they fail, and are decided again.
    pub fn connect(&self, deliver: Arc<dyn Deliver>) {
        // A second caller is too late.
        let _ = self.deliver.set(deliver);
    }

    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// When the system has no thread left.
    pub fn start(self: &Arc<Self>) -> std::io::Result<()> {
        let this = Arc::clone(self);
        let thread = std::thread::Builder::new().name("alerting-notify".to_owned()).spawn(move || this.run())?;
        *lock(&self.thread) = Some(thread);
        Ok(())
    }

    /// Ends the thread. What is due then is handed over; what comes of it later is taken note of by [`Self::finish`].
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.wake();
        if let Some(thread) = lock(&self.thread).take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that tells of alerts panicked");
        }
    }

    /// Takes note of the last outcomes, after deliveries have ended.
    pub fn finish(&self) {
        self.take_inbox();
        self.events.flush();
    }

    fn run(self: &Arc<Self>) {
        while !self.stopping.load(Ordering::Acquire) {
            let next_ms = self.guarded_step();
            self.events.flush();
            self.sleep(next_ms);
        }
        self.guarded_step();
        self.events.flush();
    }

    /// As [`Self::step`]; where that panics, it is told, and others are told of alerts all the same.
    fn guarded_step(self: &Arc<Self>) -> i64 {
        catch_unwind(AssertUnwindSafe(|| self.step())).unwrap_or_else(|_| {
            let message = "telling of alerts panicked, and goes on; the log has the details".to_owned();
            tracing::error!("{message}");
            let at_ms = self.clock.now().0;
            self.events.record(Event { at_ms, kind: EventKind::Note { message } });
            at_ms.saturating_add(1000)
        })
    }

    fn sleep(&self, next_ms: i64) {
        let left_ms = next_ms.saturating_sub(self.clock.now().0).max(0).unsigned_abs();
        let mut inbox = lock(&self.inbox);
        if !inbox.woken && left_ms > 0 {
            let time = Duration::from_millis(left_ms).min(SLEEP_MAX);
            inbox = self.wake.wait_timeout(inbox, time).unwrap_or_else(PoisonError::into_inner).0;
        }
        inbox.woken = false;
    }

    fn wake(&self) {
        lock(&self.inbox).woken = true;
        self.wake.notify_all();
    }

    /// The dispatcher and the time, once it knows where the clock was set forward.
    fn enter(&self) -> (MutexGuard<'_, Dispatcher>, i64) {
        let mut dispatcher = lock(&self.dispatcher);
        let (now_ms, forward_ms) = lock(&self.forward).look(&*self.clock);
        if forward_ms > 0 {
            dispatcher.set_forward(forward_ms, now_ms);
        }
        (dispatcher, now_ms)
    }

    /// Does what is due, and returns when something is next, milliseconds since the Unix epoch.
    pub fn step(self: &Arc<Self>) -> i64 {
        self.take_inbox();
        let (mut dispatcher, now_ms) = self.enter();
        // All are reported on, also where something panics from here on.
        let report = |Outgoing { ticket, notification }: Outgoing| {
            (notification, Report { notifier: Arc::downgrade(self), ticket, is_told: false })
        };
        let due: Vec<(Notification, Report)> = dispatcher.due(now_ms).into_iter().map(report).collect();
        // Told what cannot be written is better than not told.
        let _ = self.write(&mut dispatcher, now_ms);
        let next_ms = dispatcher.next_due_ms();
        drop(dispatcher);
        for (notification, report) in due {
            self.send(notification, report);
        }
        next_ms
    }

    fn take_inbox(&self) {
        let (mut dispatcher, now_ms) = self.enter();
        // Nobody tells an outcome again, as senders do alerts: each is taken by itself, and before anything that others wrote.
        let next = || lock(&self.inbox).outcomes.pop_front();
        while let Some((ticket, delivered)) = next() {
            dispatcher.delivered(ticket, &delivered, now_ms);
        }
        let alerts = std::mem::take(&mut lock(&self.inbox).alerts);
        dispatcher.put(alerts.into_values().flatten(), now_ms);
        let _ = self.write(&mut dispatcher, now_ms);
    }

    fn send(&self, notification: Notification, report: Report) {
        let done = move |delivered: Delivered| report.tell(delivered);
        match self.deliver.get() {
            Some(deliver) => deliver.deliver(notification, Box::new(done)),
            None => done(Delivered::Failed { error: "nothing delivers yet".to_owned(), attempts: 0 }),
        }
    }

    fn write(&self, dispatcher: &mut Dispatcher, now_ms: i64) -> Result<(), ShelfError> {
        self.counts.look_at(dispatcher);
        let changes = dispatcher.take_changes(now_ms);
        if changes.is_empty() {
            return Ok(());
        }
        let panicked = |_| Err(ShelfError("writing it panicked; the log has the details".to_owned()));
        let written = catch_unwind(AssertUnwindSafe(|| self.shelf.change(&changes))).unwrap_or_else(panicked);
        written.inspect_err(|error| {
            dispatcher.give_back(changes);
            if self.counts.shelf_failures.fetch_add(1, Ordering::Relaxed).is_multiple_of(60) {
                tracing::error!(
                    "what was told of alerts cannot be written down; after a restart it may be told again: {error}"
                );
            }
        })
    }

    /// Looks at the dispatcher, with the time.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&Dispatcher, i64) -> T) -> T {
        look(&lock(&self.dispatcher), self.clock.now().0)
    }

    /// Changes something, and returns when that is on the shelf.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Dispatcher, i64) -> T) -> Result<T, ShelfError> {
        let (mut dispatcher, now_ms) = self.enter();
        let changed = change(&mut dispatcher, now_ms);
        let written = self.write(&mut dispatcher, now_ms);
        drop(dispatcher);
        self.wake();
        written.map(|()| changed)
    }

    /// Changes what people change, and returns when that is on the shelf. What cannot be written does not count.
    pub(crate) fn edit<T>(&self, change: impl FnOnce(&mut Dispatcher, i64) -> T) -> Result<T, ShelfError> {
        let (mut dispatcher, now_ms) = self.enter();
        let before = dispatcher.before();
        let changed = change(&mut dispatcher, now_ms);
        let written = self.write(&mut dispatcher, now_ms);
        if let Err(error) = &written {
            dispatcher.undo(before, error, now_ms);
        }
        drop(dispatcher);
        self.wake();
        written.map(|()| changed)
    }

    /// Works by `config` from now on.
    pub fn set_config(&self, config: Arc<Config>) {
        if let Err(error) = self.change(|dispatcher, now_ms| dispatcher.set_config(config, now_ms)) {
            tracing::warn!("the routing file is taken, but the state cannot be written: {error}");
        }
    }

    /// The event log.
    pub(crate) fn events(&self) -> &Arc<EventFiles> {
        &self.events
    }

    pub(crate) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Takes alerts, as [`Tell::tell`] does.
    pub(crate) fn take(&self, alerts: impl IntoIterator<Item = Incoming>) {
        let mut inbox = lock(&self.inbox);
        for incoming in alerts {
            self.counts.received.fetch_add(1, Ordering::Relaxed);
            let alert = incoming.posted.fingerprint();
            if inbox.alerts.len() >= INBOX_MAX && !inbox.alerts.contains_key(&alert) {
                self.counts.refused.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            let waiting = inbox.alerts.entry(alert).or_default();
            // What is between the first and the last word changes nothing.
            waiting.truncate(1);
            waiting.push(incoming);
        }
        drop(inbox);
        self.wake();
    }
}

/// Tells what became of a delivery: whoever drops it without a word has failed, so that its group waits for nothing that does not come.
struct Report {
    notifier: Weak<Notifier>,
    ticket: u64,
    is_told: bool,
}

impl Report {
    fn tell(mut self, delivered: Delivered) {
        self.put(delivered);
    }

    fn put(&mut self, delivered: Delivered) {
        self.is_told = true;
        let Some(notifier) = self.notifier.upgrade() else { return };
        lock(&notifier.inbox).outcomes.push_back((self.ticket, delivered));
        notifier.wake();
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        if !self.is_told {
            self.put(Delivered::Failed { error: "sending it failed within this program".to_owned(), attempts: 0 });
        }
    }
}

impl Tell for Notifier {
    fn tell(&self, alerts: Vec<Posted>) {
        self.take(alerts.into_iter().map(Incoming::from));
    }
}

#[cfg(test)]
mod tests {
    use model::{Labels, ManualClock, TimestampMs};
    use rules::notify::delivery::Done;
    use rules::shelf::MemoryShelf;

    use super::*;

    /// Takes everything, or keeps what it was given.
    #[derive(Default)]
    struct Sink {
        told: Mutex<Vec<String>>,
        held: Mutex<Vec<Done>>,
        holds: AtomicBool,
        panics: AtomicBool,
    }

    impl fmt::Debug for Sink {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("Sink")
        }
    }

    impl Deliver for Sink {
        fn deliver(&self, notification: Notification, done: Done) {
            assert!(!self.panics.swap(false, Ordering::Relaxed), "as wanted");
            lock(&self.told).push(format!("{}: {}", notification.reason.as_str(), notification.alerts.len()));
            if self.holds.load(Ordering::Relaxed) {
                lock(&self.held).push(done);
            } else {
                done(Delivered::Taken { answer: "ok".to_owned(), attempts: 1 });
            }
        }
    }

    const CONFIG: &str = "
route: {receiver: ops, group_wait: 0s, group_interval: 10s}
receivers: [{name: ops, webhook_configs: [{url: 'http://x/'}]}]";

    fn notifier(clock: &Arc<ManualClock>, deliver: &Arc<Sink>) -> Arc<Notifier> {
        let config = Arc::new(rules::config::read("am.yml", CONFIG).expect("a file"));
        let events = Arc::new(EventFiles::new(None, 0));
        let notifier =
            Notifier::open(config, Box::new(MemoryShelf::default()), events, Arc::clone(clock) as _).expect("a shelf");
        notifier.connect(Arc::clone(deliver) as _);
        notifier
    }

    fn posted(name: &str, ends_ms: i64) -> Posted {
        let labels = Labels::from_pairs([("alertname", name)]).expect("labels");
        Posted { labels, annotations: BTreeMap::new(), starts_ms: 0, ends_ms, generator_url: String::new() }
    }

    #[test]
    fn what_is_told_reaches_receivers() {
        let (clock, sink) = (Arc::new(ManualClock::new(TimestampMs(1000))), Arc::new(Sink::default()));
        let notifier = notifier(&clock, &sink);
        notifier.tell(vec![posted("a", 500_000), posted("b", 500_000)]);
        assert_eq!(notifier.step(), 11_000);
        assert_eq!(*lock(&sink.told), ["first notification: 2"]);
        // A message between two others is not lost if it ended something.
        notifier.tell(vec![posted("a", 900)]);
        clock.advance_ms(10_000);
        sink.holds.store(true, Ordering::Relaxed);
        notifier.step();
        assert_eq!(lock(&sink.told).len(), 2);
        // While nobody knows what became of it, nothing more is said; afterwards it is.
        notifier.tell(vec![posted("c", 500_000)]);
        clock.advance_ms(10_000);
        notifier.step();
        assert_eq!(lock(&sink.told).len(), 2);
        for done in lock(&sink.held).drain(..) {
            done(Delivered::Failed { error: "no".to_owned(), attempts: 3 });
        }
        notifier.step();
        assert_eq!(lock(&sink.told)[2], "new alerts added: 3");
    }

    #[test]
    fn a_clock_set_forward_ends_nothing() {
        let (clock, sink) = (Arc::new(ManualClock::new(TimestampMs(1000))), Arc::new(Sink::default()));
        let notifier = notifier(&clock, &sink);
        notifier.tell(vec![posted("a", 241_000)]);
        notifier.step();
        clock.step_ms(3_600_000);
        notifier.step();
        assert_eq!(*lock(&sink.told), ["first notification: 1"]);
        assert!(notifier.look(|dispatcher, now_ms| dispatcher.alerts(now_ms)[0].kept.posted.ends_ms > now_ms));
        // Time that passes does.
        clock.advance_ms(310_000);
        notifier.step();
        assert_eq!(lock(&sink.told).len(), 2);
    }

    /// A shelf that takes nothing while it is full.
    struct Full {
        shelf: MemoryShelf,
        is_full: Arc<AtomicBool>,
    }

    impl Shelf for Full {
        fn load(&self) -> Result<Vec<rules::shelf::Entry>, ShelfError> {
            self.shelf.load()
        }

        fn change(&self, changes: &[rules::shelf::Change]) -> Result<(), ShelfError> {
            if self.is_full.load(Ordering::Relaxed) {
                return Err(ShelfError("the disk is full".to_owned()));
            }
            self.shelf.change(changes)
        }
    }

    #[test]
    fn a_change_that_is_not_written_does_not_count() {
        let (clock, is_full) = (Arc::new(ManualClock::new(TimestampMs(1000))), Arc::new(AtomicBool::new(false)));
        let shelf = Full { shelf: MemoryShelf::default(), is_full: Arc::clone(&is_full) };
        let config = Arc::new(rules::config::read("am.yml", CONFIG).expect("a file"));
        let events = Arc::new(EventFiles::new(None, 0));
        let notifier = Notifier::open(config, Box::new(shelf), events, clock as _).expect("a shelf");
        notifier.tell(vec![posted("a", 500_000)]);
        notifier.step();
        let acknowledge = || {
            let matchers = rules::matchers::parse_matchers("alertname=a").expect("matchers");
            let ack = rules::notify::acks::Ack {
                owner: "ann".to_owned(),
                note: String::new(),
                at_ms: 1000,
                expires_ms: 100_000,
            };
            notifier.edit(|dispatcher, now_ms| dispatcher.acknowledge(&matchers, &ack, now_ms).expect("it fires"))
        };
        let is_taken_on = || notifier.look(|dispatcher, now_ms| dispatcher.alerts(now_ms)[0].ack.is_some());
        is_full.store(true, Ordering::Relaxed);
        assert!(acknowledge().is_err() && !is_taken_on());
        is_full.store(false, Ordering::Relaxed);
        notifier.step();
        assert!(!is_taken_on());
        assert!(acknowledge().is_ok() && is_taken_on());
    }

    #[test]
    fn counts_wait_for_nobody() {
        let (clock, sink) = (Arc::new(ManualClock::new(TimestampMs(1000))), Arc::new(Sink::default()));
        let notifier = notifier(&clock, &sink);
        notifier.tell(vec![posted("a", 500_000), posted("b", 500_000)]);
        notifier.step();
        // A disk that stalls holds the dispatcher.
        let dispatcher = lock(&notifier.dispatcher);
        let (tell, told) = std::sync::mpsc::channel();
        let asked = Arc::clone(&notifier);
        let thread = std::thread::spawn(move || tell.send(asked.families().len()));
        assert!(told.recv_timeout(Duration::from_mins(1)).is_ok_and(|families| families > 0));
        drop(dispatcher);
        thread.join().expect("it ended").expect("it was heard");
        assert_eq!(notifier.counts().alerts.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_panic_ends_no_telling() {
        let (clock, sink) = (Arc::new(ManualClock::new(TimestampMs(1000))), Arc::new(Sink::default()));
        let notifier = notifier(&clock, &sink);
        let config =
            rules::config::read("am.yml", &CONFIG.replace("ops, group_wait", "ops, group_by: [alertname], group_wait"));
        notifier.set_config(Arc::new(config.expect("a file")));
        sink.panics.store(true, Ordering::Relaxed);
        notifier.start().expect("a thread");
        // Of two groups, of which the second is not even tried.
        notifier.tell(vec![posted("a", 500_000), posted("b", 500_000)]);
        while sink.panics.load(Ordering::Relaxed) {
            std::thread::yield_now();
        }
        // What failed is decided anew at the next look.
        clock.advance_ms(10_000);
        while lock(&sink.told).len() < 2 {
            std::thread::yield_now();
        }
        assert_eq!(*lock(&sink.told), ["first notification: 1"; 2]);
        notifier.stop();
        notifier.finish();
        assert_eq!(notifier.look(|dispatcher, _| dispatcher.in_flight()), 0);
    }

    /// A shelf that panics at one of its changes.
    struct Panics {
        shelf: MemoryShelf,
        changes_left: AtomicU64,
    }

    impl Shelf for Panics {
        fn load(&self) -> Result<Vec<rules::shelf::Entry>, ShelfError> {
            self.shelf.load()
        }

        fn change(&self, changes: &[rules::shelf::Change]) -> Result<(), ShelfError> {
            assert!(self.changes_left.fetch_sub(1, Ordering::Relaxed) > 0, "as wanted");
            self.shelf.change(changes)
        }
    }

    #[test]
    fn a_shelf_that_panics_keeps_nothing_from_anybody() {
        let (clock, sink) = (Arc::new(ManualClock::new(TimestampMs(1000))), Arc::new(Sink::default()));
        let config = CONFIG.replace("ops, group_wait", "ops, group_by: [alertname], group_wait");
        let config = Arc::new(rules::config::read("am.yml", &config).expect("a file"));
        // The first change is what is known of the alerts, the second what is sent of them.
        let shelf = Panics { shelf: MemoryShelf::default(), changes_left: AtomicU64::new(1) };
        let events = Arc::new(EventFiles::new(None, 0));
        let notifier = Notifier::open(config, Box::new(shelf), events, clock as _).expect("a shelf");
        notifier.connect(Arc::clone(&sink) as _);
        notifier.tell(vec![posted("a", 500_000), posted("b", 500_000)]);
        notifier.guarded_step();
        assert_eq!(*lock(&sink.told), ["first notification: 1"; 2]);
        assert_eq!(notifier.counts.shelf_failures.load(Ordering::Relaxed), 1);
        notifier.finish();
        assert_eq!(notifier.look(|dispatcher, _| dispatcher.in_flight()), 0);
    }

    #[test]
    fn the_thread_tells_at_once_and_ends() {
        let (clock, sink) = (Arc::new(ManualClock::new(TimestampMs(1000))), Arc::new(Sink::default()));
        let notifier = notifier(&clock, &sink);
        notifier.start().expect("a thread");
        notifier.tell(vec![posted("a", 500_000)]);
        while lock(&sink.told).is_empty() {
            std::thread::yield_now();
        }
        notifier.stop();
        notifier.finish();
        assert_eq!(notifier.look(|dispatcher, _| dispatcher.in_flight()), 0);
    }
}
