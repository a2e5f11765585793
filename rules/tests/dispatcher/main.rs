//! The dispatcher as a whole: scripted lives of alerts, a naive model of it, and its end at any moment.

mod clock;
mod killed;
mod lives;
mod model;
mod panics;
mod restarts;
mod stage;
