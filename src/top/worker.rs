//! Looks in a thread of its own, so that keys are answered while a server is slow or away.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use model::{Clock, SystemClock};

use super::data::{Key, Source};
use super::state::News;

/// What is to be looked at.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Order {
    pub(super) interval: Duration,
    pub(super) paused: bool,
    /// The process to look at closely.
    pub(super) watched: Option<Key>,
    /// Whether to look at once, paused or not.
    pub(super) now: bool,
}

/// The thread, from the side of the screen.
#[derive(Debug)]
pub(super) struct Worker {
    orders: Sender<Order>,
    pub(super) news: Receiver<News>,
}

impl Worker {
    /// Starts to look at `source`.
    pub(super) fn start(source: Box<dyn Source>, order: Order) -> std::io::Result<Self> {
        let (orders, to_do) = channel();
        let (tell, news) = channel();
        // Not joined: at the end it may wait for a server that is away.
        std::thread::Builder::new().name("top-look".to_owned()).spawn(move || work(source, order, &to_do, &tell))?;
        Ok(Self { orders, news })
    }

    /// Changes what is looked at.
    pub(super) fn order(&self, order: Order) {
        // A thread that ended by a panic has been told of by its message.
        let _ = self.orders.send(order);
    }
}

fn work(mut source: Box<dyn Source>, mut order: Order, to_do: &Receiver<Order>, tell: &Sender<News>) {
    let past = source.past(SystemClock.now().0);
    if tell.send(News::Past(past)).is_err() {
        return;
    }
    loop {
        let started = Instant::now();
        // A process that was opened is looked at first: whoever opened it waits.
        let watched = order.watched.as_ref();
        if order.now && !watched.is_none_or(|key| look_at(source.as_mut(), key, tell)) {
            return;
        }
        if (!order.paused || order.now) && !look(source.as_mut(), watched, tell) {
            return;
        }
        order.now = false;
        // What was ordered meanwhile counts as a whole; the last is what is wanted.
        loop {
            let left = if order.paused { Duration::MAX } else { order.interval.saturating_sub(started.elapsed()) };
            match to_do.recv_timeout(left.min(Duration::from_hours(1))) {
                Ok(next) => {
                    order = next;
                    if order.now {
                        break;
                    }
                }
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }
}

/// Looks once and tells; whether anybody still listens.
fn look(source: &mut dyn Source, watched: Option<&Key>, tell: &Sender<News>) -> bool {
    let now_ms = SystemClock.now().0;
    let snapshot = match source.snapshot(now_ms) {
        Ok(snapshot) => snapshot,
        Err(error) => return tell.send(News::Failed(format!("{error:#}"))).is_ok(),
    };
    if tell.send(News::Snapshot(snapshot)).is_err() {
        return false;
    }
    watched.is_none_or(|key| look_at(source, key, tell))
}

/// Looks at one process and tells; whether anybody still listens.
fn look_at(source: &mut dyn Source, key: &Key, tell: &Sender<News>) -> bool {
    let news = match source.detail(key, SystemClock.now().0) {
        Ok(detail) => News::Detail(detail),
        Err(error) => News::Failed(format!("{error:#}")),
    };
    tell.send(news).is_ok()
}

#[cfg(test)]
mod tests {
    use super::super::data::{Detail, Past, Snapshot};
    use super::*;

    /// Fails every second look.
    struct Counting(i64);

    impl Source for Counting {
        fn name(&self) -> String {
            String::new()
        }
        fn past(&mut self, _: i64) -> Vec<Past> {
            Vec::new()
        }
        fn snapshot(&mut self, _: i64) -> anyhow::Result<Snapshot> {
            self.0 += 1;
            anyhow::ensure!(self.0 % 2 == 1, "look {}", self.0);
            Ok(Snapshot { at_ms: self.0, ..Snapshot::default() })
        }
        fn detail(&mut self, key: &Key, _: i64) -> anyhow::Result<Detail> {
            Ok(Detail { key: key.clone(), ..Detail::default() })
        }
    }

    const PATIENCE: Duration = Duration::from_secs(30);

    #[test]
    fn looks_are_ordered_and_failures_told() {
        let paused = Order { paused: true, interval: Duration::from_millis(1), ..Order::default() };
        let worker = Worker::start(Box::new(Counting(0)), paused.clone()).expect("a thread");
        let next = || worker.news.recv_timeout(PATIENCE).expect("news");
        assert_eq!(next(), News::Past(Vec::new()));
        worker.order(Order { now: true, watched: Some(Key::default()), ..paused.clone() });
        assert_eq!(next(), News::Detail(Detail::default()), "what was opened comes first");
        assert!(matches!(next(), News::Snapshot(snapshot) if snapshot.at_ms == 1), "paused, but asked");
        assert_eq!(next(), News::Detail(Detail::default()));
        worker.order(Order { now: true, ..paused.clone() });
        assert_eq!(next(), News::Failed("look 2".to_owned()));
        worker.order(Order { paused: false, ..paused });
        assert!(matches!(next(), News::Snapshot(snapshot) if snapshot.at_ms == 3));
        assert_eq!(next(), News::Failed("look 4".to_owned()), "it goes on by itself");
    }
}
