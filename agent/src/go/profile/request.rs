//! What can be asked of `/debug/pprof`: kinds of profiles and their forms.

/// A kind of profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Stacks of all goroutines.
    Goroutine,
    /// Those that nothing can wake. Taking it costs a collection; Go has it from 1.27 on, and 1.26 as an experiment.
    GoroutineLeak,
    /// Live objects and all that was allocated, viewers showing the first.
    Heap,
    /// The same, viewers showing the second.
    Allocs,
    /// Who holds contended mutexes, where the program keeps that.
    Mutex,
    /// What blocks, where the program keeps that.
    Block,
    /// What made threads.
    ThreadCreate,
    /// What runs, sampled for some seconds.
    Cpu,
    /// Everything that happens for some seconds, as `go tool trace` reads it.
    Trace,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 9] = [
        Self::Goroutine,
        Self::GoroutineLeak,
        Self::Heap,
        Self::Allocs,
        Self::Mutex,
        Self::Block,
        Self::ThreadCreate,
        Self::Cpu,
        Self::Trace,
    ];

    /// Its name in the path.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Goroutine => "goroutine",
            Self::GoroutineLeak => "goroutineleak",
            Self::Heap => "heap",
            Self::Allocs => "allocs",
            Self::Mutex => "mutex",
            Self::Block => "block",
            Self::ThreadCreate => "threadcreate",
            Self::Cpu => "profile",
            Self::Trace => "trace",
        }
    }

    /// The kind called `name` in the path.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.path() == name)
    }

    /// Whether it is measured over seconds always. Of the others, but [`GoroutineLeak`](Self::GoroutineLeak), seconds ask
    /// for the difference between two readings.
    pub const fn takes_time(self) -> bool {
        matches!(self, Self::Cpu | Self::Trace)
    }
}

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Form {
    /// Gzipped protobuf; a trace has its own.
    Protobuf,
    /// Text with counts, `debug=1`.
    Text,
    /// Each goroutine by itself, `debug=2`, which stops the program meanwhile.
    Stacks,
}

/// One question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Request {
    /// What is asked for.
    pub kind: Kind,
    /// In which form.
    pub form: Form,
    /// Over how long; 0 for a state.
    pub seconds: u32,
}

impl Request {
    /// The state of `kind` in protobuf.
    pub const fn now(kind: Kind) -> Self {
        Self { kind, form: Form::Protobuf, seconds: 0 }
    }

    /// Path and query below `/debug/pprof/`.
    pub fn path(&self) -> String {
        let mut path = self.kind.path().to_owned();
        match self.form {
            Form::Protobuf => {}
            Form::Text => path.push_str("?debug=1"),
            Form::Stacks => path.push_str("?debug=2"),
        }
        if self.seconds > 0 {
            path.push(if path.contains('?') { '&' } else { '?' });
            path.push_str("seconds=");
            path.push_str(&self.seconds.to_string());
        }
        path
    }

    /// Why no program answers it, where that is so.
    pub fn problem(&self) -> Option<&'static str> {
        let text = self.form != Form::Protobuf;
        match self.kind {
            Kind::Cpu | Kind::Trace if text => Some("is there in its own form alone"),
            Kind::Cpu | Kind::Trace if self.seconds == 0 => Some("is measured over seconds; say how many"),
            Kind::GoroutineLeak if self.seconds > 0 => Some("is a state; it has no difference over seconds"),
            Kind::Goroutine | Kind::GoroutineLeak => {
                (text && self.seconds > 0).then_some("has no difference over seconds as text")
            }
            _ if self.form == Form::Stacks => Some("has no stacks one by one; goroutines alone do"),
            _ if text && self.seconds > 0 => Some("has no difference over seconds as text"),
            _ => None,
        }
    }

    /// Ending of a file with the answer.
    pub const fn extension(&self) -> &'static str {
        match (self.kind, self.form) {
            (Kind::Trace, _) => "trace",
            (_, Form::Protobuf) => "pb.gz",
            (_, Form::Text | Form::Stacks) => "txt",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(kind: Kind, form: Form, seconds: u32, path: &str, possible: bool) {
        let request = Request { kind, form, seconds };
        assert_eq!((request.path().as_str(), request.problem().is_none()), (path, possible), "{request:?}");
    }

    #[test]
    fn paths_and_what_is_possible() {
        check(Kind::Goroutine, Form::Protobuf, 0, "goroutine", true);
        check(Kind::Goroutine, Form::Protobuf, 5, "goroutine?seconds=5", true);
        check(Kind::Goroutine, Form::Text, 0, "goroutine?debug=1", true);
        check(Kind::Goroutine, Form::Stacks, 0, "goroutine?debug=2", true);
        check(Kind::Goroutine, Form::Stacks, 5, "goroutine?debug=2&seconds=5", false);
        check(Kind::GoroutineLeak, Form::Protobuf, 0, "goroutineleak", true);
        check(Kind::GoroutineLeak, Form::Protobuf, 1, "goroutineleak?seconds=1", false);
        check(Kind::Heap, Form::Text, 0, "heap?debug=1", true);
        check(Kind::Heap, Form::Stacks, 0, "heap?debug=2", false);
        check(Kind::Mutex, Form::Text, 5, "mutex?debug=1&seconds=5", false);
        check(Kind::Cpu, Form::Protobuf, 30, "profile?seconds=30", true);
        check(Kind::Cpu, Form::Protobuf, 0, "profile", false);
        check(Kind::Trace, Form::Text, 1, "trace?debug=1&seconds=1", false);
        for kind in Kind::ALL {
            assert_eq!(Kind::named(kind.path()), Some(kind));
        }
        assert_eq!(Kind::named("cmdline"), None);
    }
}
