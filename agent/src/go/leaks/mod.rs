//! Verdicts on goroutine leaks: for every process and every site a grade from 0 to 4, by evidence of different strength.
//!
//! | Grade | Evidence |
//! | --- | --- |
//! | 0 hint | all goroutines together become more (slope of Theil and Sen above 0 at 95 %), which load does not explain |
//! | 1 suspect | window after window more are created than end |
//! | 2 probable | the floor of one site rises strictly, window after window, after the process has warmed up |
//! | 3 strong | at one site those blocked for long become more and more |
//! | 4 proved | the runtime found more of them leaked than programs of this revision begin with |
//!
//! [`ladder`] judges one process from its censuses, [`evidence`] one site; [`judge`] keeps the ladders of all processes, [`series`] makes
//! metrics of the verdicts. Nothing here reads a process or a clock: time is that of the censuses.

pub mod allow;
pub mod baseline;
mod evidence;
pub mod grade;
pub mod judge;
pub mod ladder;
pub mod load;
pub mod options;
pub mod series;
mod track;
pub mod trend;
mod windows;

pub use allow::{AllowList, Pattern};
pub use baseline::Baseline;
pub use grade::Grade;
pub use judge::{Judge, SharedLeaks, census_sink};
pub use ladder::{Ladder, SiteVerdict, Verdict, Vitals};
pub use load::Loads;
pub use options::LeakOptions;
pub use series::Leaks;
