//! The configuration that runs now, and word of its changes for the threads that run by it. Each takes up a change between two rounds,
//! by itself: no round is lost, and none runs by half of a change.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::config::Config;
use crate::stop::StopFlag;

/// The configuration that runs now. Clones share it.
#[derive(Debug, Clone)]
pub struct Live(Arc<Mutex<Arc<Config>>>);

impl Live {
    /// `config` runs.
    pub fn new(config: Config) -> Self {
        Self(Arc::new(Mutex::new(Arc::new(config))))
    }

    /// What runs.
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.0.lock())
    }

    /// From now on `config` runs; those who wait at `stop` for news are woken.
    pub fn replace(&self, config: Config, stop: &StopFlag) {
        *self.0.lock() = Arc::new(config);
        stop.nudge();
    }

    /// Someone who runs by it.
    pub fn follower(&self) -> Follower {
        Follower { config: self.config(), live: self.clone(), nudges: 0 }
    }
}

/// Someone who runs by the configuration, and knows which one they know.
#[derive(Debug)]
pub struct Follower {
    live: Live,
    config: Arc<Config>,
    nudges: u64,
}

impl Follower {
    /// What was known last.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Sleeps for `pause`, until a stop, or until there may be news; tells whether to stop.
    pub fn wait(&mut self, stop: &StopFlag, pause: Duration) -> bool {
        stop.wait_for_news(pause, &mut self.nudges)
    }

    /// What was known and what runs now, if that is another; it is known from then on.
    pub fn news(&mut self) -> Option<(Arc<Config>, Arc<Config>)> {
        let now = self.live.config();
        if Arc::ptr_eq(&now, &self.config) {
            return None;
        }
        let before = std::mem::replace(&mut self.config, Arc::clone(&now));
        Some((before, now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_follower_hears_of_a_change_once() {
        let (live, stop) = (Live::new(Config::default()), StopFlag::new());
        let mut followers = [live.follower(), live.follower()];
        assert!(followers[0].news().is_none());
        live.replace(Config { host: "b".to_owned(), ..Config::default() }, &stop);
        for follower in &mut followers {
            assert!(!follower.wait(&stop, Duration::from_mins(10)), "it is woken");
            let (before, now) = follower.news().expect("news");
            assert_eq!((before.host != "b", now.host.as_str(), follower.config().host.as_str()), (true, "b", "b"));
            assert!(follower.news().is_none());
        }
    }
}
