//! Windows of time: what is kept of a process and of each site, a few numbers a window, the last windows only.
//!
//! Floors are taken of windows of four lengths, each four times as long as the one before: a fast leak shows in short ones, a slow one
//! hidden in a population that comes and goes in long ones.

use std::collections::VecDeque;

use super::options::WINDOWS_KEPT;

/// How many lengths of windows there are.
pub(super) const SCALES: usize = 4;

/// Length of the windows of `scale` when those of scale 0 are `window_ms` long.
pub(super) fn length_ms(window_ms: i64, scale: usize) -> i64 {
    window_ms.saturating_mul(1 << (2 * scale.min(SCALES)))
}

/// The last windows, oldest first.
#[derive(Debug, Clone)]
pub(super) struct Ring<T>(VecDeque<T>);

impl<T> Default for Ring<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T> Ring<T> {
    pub(super) fn push(&mut self, window: T) {
        if self.0.len() >= WINDOWS_KEPT {
            self.0.pop_front();
        }
        self.0.push_back(window);
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn map(&self, with: impl Fn(&T) -> T) -> Self {
        Self(self.0.iter().map(with).collect())
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &T> + ExactSizeIterator + Clone {
        self.0.iter()
    }

    pub(super) fn last(&self) -> Option<&T> {
        self.0.back()
    }
}

/// What is kept of one site in one window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SiteWindow {
    /// Fewest goroutines.
    pub(super) floor: u32,
    /// Most goroutines.
    pub(super) ceiling: u32,
    /// Fewest that had been blocked for long.
    pub(super) blocked_floor: u32,
    /// For how long the one that has waited longest had been blocked at the end, in milliseconds; 0 where that is not known.
    pub(super) longest_ms: u32,
    /// How many came from one look to the next, all together; where that is not known, by how many the number rose.
    pub(super) rose: u32,
    /// How many went, or by how many it fell.
    pub(super) fell: u32,
    /// Standard deviation of the counts when not all goroutines were looked at, rounded up.
    pub(super) error: u32,
}

/// One look at one site.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Look {
    pub(super) count: u32,
    /// Those that were not there at the look before, where that is known.
    pub(super) came: Option<u32>,
    pub(super) blocked: u32,
    pub(super) longest_ms: u32,
    pub(super) error: u32,
}

impl Look {
    /// How many came and went since there were `before`, as far as is known.
    fn movement(&self, before: u32) -> (u32, u32) {
        let rose = self.count.saturating_sub(before).max(self.came.unwrap_or(0));
        (rose, before.saturating_add(rose).saturating_sub(self.count))
    }
}

impl SiteWindow {
    /// A window that begins with `look`, before which there were `before`.
    pub(super) fn begin(look: Look, before: u32) -> Self {
        let (rose, fell) = look.movement(before);
        Self {
            floor: look.count,
            ceiling: look.count,
            blocked_floor: look.blocked,
            longest_ms: look.longest_ms,
            rose,
            fell,
            error: look.error,
        }
    }

    pub(super) fn add(&mut self, look: Look, before: u32) {
        let (rose, fell) = look.movement(before);
        self.floor = self.floor.min(look.count);
        self.ceiling = self.ceiling.max(look.count);
        self.blocked_floor = self.blocked_floor.min(look.blocked);
        self.longest_ms = look.longest_ms;
        self.rose = self.rose.saturating_add(rose);
        self.fell = self.fell.saturating_add(fell);
        self.error = self.error.max(look.error);
    }
}

/// What is kept of the process in one window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct ProcessWindow {
    /// When the first look of the window was, in milliseconds since the Unix epoch.
    pub(super) begin_ms: i64,
    /// When the last one was.
    pub(super) end_ms: i64,
    /// Fewest goroutines of all sites.
    pub(super) total_floor: u32,
    /// By how many all goroutines became more, from the end of the window before to the end of this one.
    pub(super) net: i64,
    /// Fewest and most goroutines that waited for the network: those that read something do not at that moment.
    pub(super) connections: (u32, u32),
    /// Goroutines that ended, by second, where the runtime counts those created.
    pub(super) ended_rate: Option<f64>,
    /// The rate of the load counter, by second, where there is one.
    pub(super) load_rate: Option<f64>,
}

/// The window of one length that is not over.
#[derive(Debug, Clone, Copy)]
pub(super) struct OpenWindow {
    /// When it began, on the grid of its length.
    pub(super) grid_ms: i64,
    begin_ms: i64,
    end_ms: i64,
    total_floor: u32,
    connections: (u32, u32),
}

/// Counters of a process at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counters {
    pub(super) at_ms: i64,
    pub(super) total: u32,
    pub(super) ended: Option<u64>,
    pub(super) load: Option<f64>,
}

impl OpenWindow {
    pub(super) fn begin(grid_ms: i64, at_ms: i64, total: u32, connections: u32) -> Self {
        Self { grid_ms, begin_ms: at_ms, end_ms: at_ms, total_floor: total, connections: (connections, connections) }
    }

    pub(super) fn add(&mut self, at_ms: i64, total: u32, connections: u32) {
        self.end_ms = at_ms;
        self.total_floor = self.total_floor.min(total);
        let (floor, ceiling) = self.connections;
        self.connections = (floor.min(connections), ceiling.max(connections));
    }

    /// The window, now that it is over: `before` and `last` are the counters at the last look before it and at its own last.
    pub(super) fn close(self, before: &Counters, last: &Counters) -> ProcessWindow {
        let seconds = seconds(last.at_ms.saturating_sub(before.at_ms));
        let ended = before.ended.zip(last.ended).and_then(|(from, to)| to.checked_sub(from));
        let ended = ended.map(|count| f64::from(u32::try_from(count).unwrap_or(u32::MAX)));
        let load = before.load.zip(last.load).map(|(from, to)| to - from).filter(|more| *more >= 0.0);
        let rate = |count: f64| (seconds > 0.0).then(|| count / seconds);
        ProcessWindow {
            begin_ms: self.begin_ms,
            end_ms: self.end_ms,
            total_floor: self.total_floor,
            net: i64::from(last.total) - i64::from(before.total),
            connections: self.connections,
            ended_rate: ended.and_then(rate),
            load_rate: load.and_then(rate),
        }
    }
}

/// Milliseconds as seconds.
pub(super) fn seconds(ms: i64) -> f64 {
    i32::try_from(ms)
        .map_or_else(|_| f64::from(i32::try_from(ms / 1000).unwrap_or(i32::MAX)), |ms| f64::from(ms) / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_seconds() {
        assert_eq!([0, 1, 2, 3].map(|scale| length_ms(300_000, scale)), [300_000, 1_200_000, 4_800_000, 19_200_000]);
        assert!((seconds(1_500) - 1.5).abs() < 1e-9 && (seconds(1 << 40) - 1_099_511_627.0).abs() < 1e-9);
    }

    #[test]
    fn a_window_keeps_floor_ceiling_and_movement() {
        let look = |count| Look { count, blocked: count / 2, longest_ms: count, ..Look::default() };
        let mut window = SiteWindow::begin(look(10), 12);
        window.add(look(14), 10);
        window.add(look(8), 14);
        assert_eq!((window.floor, window.ceiling, window.blocked_floor), (8, 14, 4));
        assert_eq!((window.rose, window.fell, window.longest_ms), (4, 8, 8));
        // Where it is known who came, those who took the place of others are seen.
        window.add(Look { came: Some(5), ..look(10) }, 8);
        assert_eq!((window.rose, window.fell), (9, 11));
    }

    #[test]
    fn rates_are_of_what_went_on_and_not_of_what_was_set_back() {
        let at = |at_ms, ended, load| Counters { at_ms, total: 5, ended, load };
        let open = OpenWindow::begin(0, 10_000, 5, 2);
        let window = open.close(&at(0, Some(100), Some(50.0)), &at(10_000, Some(150), Some(30.0)));
        assert_eq!((window.ended_rate, window.load_rate, window.net), (Some(5.0), None, 0));
        let window = open.close(&at(10_000, Some(100), None), &at(10_000, Some(150), None));
        assert_eq!(window.ended_rate, None, "no time went by");
    }

    #[test]
    fn rings_are_bounded() {
        let mut ring = Ring::default();
        (0..100).for_each(|number| ring.push(number));
        assert_eq!((ring.len(), ring.last(), ring.iter().next()), (WINDOWS_KEPT, Some(&99), Some(&80)));
    }
}
