//! Names of code: what an executable's table of functions says, remembered, since the same few addresses come again and
//! again; and whose code a function is.

use std::collections::HashMap;
use std::sync::Arc;

use super::binary::{FunctionTable, Position};
use crate::go::census::SourceLine;

/// Most addresses of one executable that are remembered.
const REMEMBERED_MAX: usize = 8192;

/// Code that has names: the functions of an executable, or what a test puts in their place. Addresses are as linked.
pub trait Code {
    /// The function of the instruction at `pc`, and the function's first address.
    fn function(&self, pc: u64) -> Option<(Arc<str>, u64)>;
    /// The function and line of the instruction at `pc`.
    fn position(&self, pc: u64) -> Option<(Arc<str>, Option<SourceLine>)>;
    /// Whether the function at `pc` is one that the compiler made and did not name as such.
    fn is_wrapper(&self, pc: u64) -> bool;
    /// Begins a look at many addresses.
    fn renew(&self) {}
    /// Whether that took so much that no more lines are looked for.
    fn is_spent(&self) -> bool {
        false
    }
}

impl Code for FunctionTable {
    fn function(&self, pc: u64) -> Option<(Arc<str>, u64)> {
        FunctionTable::function(self, pc).map(|function| (function.name, function.entry))
    }

    fn position(&self, pc: u64) -> Option<(Arc<str>, Option<SourceLine>)> {
        FunctionTable::position(self, pc).map(|Position { function, line }| (function.name, line))
    }

    fn is_wrapper(&self, pc: u64) -> bool {
        FunctionTable::is_wrapper(self, pc)
    }

    fn renew(&self) {
        FunctionTable::renew(self);
    }

    fn is_spent(&self) -> bool {
        FunctionTable::is_spent(self)
    }
}

/// A function and a line in it.
pub type Place = (Arc<str>, Option<SourceLine>);

/// What is remembered of one executable.
#[derive(Debug, Default)]
pub struct Remembered {
    functions: HashMap<u64, Option<Arc<str>>>,
    places: HashMap<u64, Option<Place>>,
    wrapped: HashMap<u64, Arc<str>>,
}

/// Names addresses of one executable.
pub struct Names<'a> {
    code: Option<&'a dyn Code>,
    remembered: &'a mut Remembered,
}

impl std::fmt::Debug for Names<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Names").field("code", &self.code.is_some()).finish_non_exhaustive()
    }
}

impl<'a> Names<'a> {
    /// Names by `code`, where there is a table, and by what `remembered` has of it.
    pub fn new(code: Option<&'a dyn Code>, remembered: &'a mut Remembered) -> Self {
        if let Some(code) = code {
            code.renew();
        }
        Self { code, remembered }
    }

    /// Name of the function of the instruction at `pc`.
    pub fn function(&mut self, pc: u64) -> Option<Arc<str>> {
        let code = self.code?;
        if self.remembered.functions.len() >= REMEMBERED_MAX {
            self.remembered.functions.clear();
        }
        let named = self.remembered.functions.entry(pc).or_insert_with(|| code.function(pc).map(|(name, _)| name));
        named.clone()
    }

    /// Name of the function that begins or runs at `pc`, or `pc` itself where nothing names it.
    pub fn function_or_address(&mut self, pc: u64) -> String {
        self.function(pc).map_or_else(|| format!("{pc:#x}"), |name| name.to_string())
    }

    /// Function and line of the instruction at `pc`.
    pub fn place(&mut self, pc: u64) -> Option<Place> {
        let code = self.code?;
        if self.remembered.places.len() >= REMEMBERED_MAX {
            self.remembered.places.clear();
        }
        if let Some(known) = self.remembered.places.get(&pc) {
            return known.clone();
        }
        let place = code.position(pc);
        // The next look goes on here.
        if !code.is_spent() {
            self.remembered.places.insert(pc, place.clone());
        }
        place
    }

    /// Whether the function called `name` that begins at `entry` was made by the compiler to call another: for `go f(x)`, and
    /// for a method as a value.
    pub fn is_wrapper(&self, name: &str, entry: u64) -> bool {
        named_as_wrapper(name) || numbered(name, ".func") && self.code.is_some_and(|code| code.is_wrapper(entry))
    }

    /// What the wrapper that begins at `entry` calls, as far as it was found.
    pub fn wrapped(&self, entry: u64) -> Option<Arc<str>> {
        self.remembered.wrapped.get(&entry).cloned()
    }

    /// Looks in `frames`, return addresses as linked, for what the wrapper that begins at `entry` calls, where it was made
    /// for the `go` statement before `created`. Code that was inlined into the wrapper has other lines than that; then what
    /// is called is not what was started.
    pub fn unwrap(&mut self, entry: u64, created: u64, frames: &[u64]) {
        let Some(wrapper) = self.function(entry) else { return };
        let at = frames.iter().rposition(|pc| self.caller(*pc).is_some_and(|(name, _)| name == wrapper));
        let Some((called, calls)) = at.and_then(|at| Some((*frames.get(at.checked_sub(1)?)?, *frames.get(at)?))) else {
            return;
        };
        let line = |place: Option<Place>| place.and_then(|(_, line)| line);
        let same = line(self.caller(calls)).is_some_and(|calls| Some(calls) == line(self.caller(created)));
        if let Some((name, _)) = self.caller(called).filter(|_| same && self.remembered.wrapped.len() < REMEMBERED_MAX)
        {
            self.remembered.wrapped.insert(entry, name);
        }
    }

    /// Function and line of the call that returns to `pc`.
    pub fn caller(&mut self, pc: u64) -> Option<Place> {
        self.place(pc.checked_sub(1)?)
    }
}

/// Beginnings of names of functions that wait or allocate for others.
const HELPERS: [&str; 6] = ["runtime.", "runtime/", "sync.", "sync/", "internal/", "syscall."];

/// Whether the function called `name` is not of the runtime or of what stands next to it: what it does, it does for
/// itself.
pub fn is_own(name: &str) -> bool {
    !HELPERS.iter().any(|helper| name.starts_with(helper)) && name != "time.Sleep"
}

/// Whether the compiler says by its name that it made a function to call another; of the others the table tells.
fn named_as_wrapper(name: &str) -> bool {
    name.ends_with("-fm") || numbered(name, ".gowrap")
}

/// Whether `name` ends with `mark` and a number.
fn numbered(name: &str, mark: &str) -> bool {
    let number = name.rsplit_once(mark).map_or("", |(_, rest)| rest);
    !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit())
}

/// Functions of the runtime that run code of the program.
const RUNS_PROGRAM: [&str; 3] = ["runtime.main", "runtime.corostart", "runtime.handleAsyncEvent"];
/// Those that run it when they do not wait for work: by name, with the reason they wait for then.
const RUNS_PROGRAM_AT_TIMES: [(&str, &str); 3] = [
    ("runtime.runfinq", "finalizer wait"),
    ("runtime.runFinalizers", "finalizer wait"),
    ("runtime.runCleanups", "cleanup wait"),
];

/// Whether a goroutine that was started with the function called `name` and does `doing` is the runtime's own, as
/// `isSystemGoroutine` of `runtime/traceback.go` has it.
pub fn is_system(name: &str, doing: &str) -> bool {
    if !name.starts_with("runtime.") || RUNS_PROGRAM.contains(&name) {
        return false;
    }
    RUNS_PROGRAM_AT_TIMES.iter().find(|(own, _)| *own == name).is_none_or(|(_, idle)| *idle == doing)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Even;

    impl Code for Even {
        fn function(&self, pc: u64) -> Option<(Arc<str>, u64)> {
            pc.is_multiple_of(2).then(|| (format!("f{pc}").into(), pc))
        }

        fn position(&self, pc: u64) -> Option<(Arc<str>, Option<SourceLine>)> {
            Some((format!("f{pc}").into(), None))
        }

        fn is_wrapper(&self, pc: u64) -> bool {
            pc == 8
        }
    }

    #[test]
    fn names_are_remembered_within_a_bound() {
        let mut remembered = Remembered::default();
        let mut names = Names::new(Some(&Even), &mut remembered);
        assert_eq!(names.function_or_address(4), "f4");
        assert_eq!(names.function_or_address(5), "0x5");
        assert_eq!(names.caller(5).expect("named").0.as_ref(), "f4");
        assert_eq!(names.caller(0), None);
        for pc in 0..20_000 {
            names.function(pc);
            names.place(pc);
        }
        assert!(remembered.functions.len() <= REMEMBERED_MAX && remembered.places.len() <= REMEMBERED_MAX);
        assert_eq!(Names::new(None, &mut remembered).function_or_address(4), "0x4");
    }

    #[test]
    fn wrappers_are_told_by_name_or_table() {
        let mut remembered = Remembered::default();
        let names = Names::new(Some(&Even), &mut remembered);
        for (name, entry, want) in [
            ("main.run.gowrap2", 4, true),
            ("main.(*T).run-fm", 4, true),
            ("main.run.func1", 8, true),
            ("main.run.func1", 4, false),
            ("main.run", 8, false),
            ("main.run.gowrap", 4, false),
        ] {
            assert_eq!(names.is_wrapper(name, entry), want, "{name}");
        }
    }

    #[test]
    fn whose_code_it_is() {
        for (name, want) in [
            ("main.main", true),
            ("runtime.gopark", false),
            ("sync.(*Mutex).Lock", false),
            ("synced.Run", true),
            ("time.Sleep", false),
            ("time.After", true),
        ] {
            assert_eq!(is_own(name), want, "{name}");
        }
        for (name, doing, want) in [
            ("runtime.main", "chan receive", false),
            ("runtime.bgsweep", "GC sweep wait", true),
            ("runtime.runfinq", "finalizer wait", true),
            ("runtime.runfinq", "chan send", false),
            ("main.main.func1", "chan send", false),
        ] {
            assert_eq!(is_system(name, doing), want, "{name}");
        }
    }
}
