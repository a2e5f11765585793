//! What a goroutine waits for, told by the functions at the leaf of its stack, in the words that the runtime has for it
//! (`waitReasonStrings`). Profiles do not tell it otherwise.

use crate::go::sites::is_runtime;

/// The state of one that does not wait: profiles do not tell running, about to run, and in a system call apart, but the
/// last by the function it is in.
pub const RUNNING: &str = "running";
/// The state of one in a system call or in C.
pub const SYSCALL: &str = "syscall";
/// One that waits for something that has no word here.
pub const WAITING: &str = "waiting";

/// Functions that mean a wait when they are met from the leaf on; the first that is found decides.
const WAITS: [(&str, &str); 32] = [
    ("runtime.chanrecv", "chan receive"),
    ("runtime.chanrecv1", "chan receive"),
    ("runtime.chanrecv2", "chan receive"),
    ("runtime.chansend", "chan send"),
    ("runtime.chansend1", "chan send"),
    ("runtime.selectgo", "select"),
    ("runtime.block", "select (no cases)"),
    ("runtime.netpollblock", "IO wait"),
    ("internal/poll.runtime_pollWait", "IO wait"),
    ("time.Sleep", "sleep"),
    ("sync.runtime_notifyListWait", "sync.Cond.Wait"),
    ("sync.runtime_SemacquireWaitGroup", "sync.WaitGroup.Wait"),
    ("sync.runtime_SemacquireRWMutexR", "sync.RWMutex.RLock"),
    ("sync.runtime_SemacquireRWMutex", "sync.RWMutex.Lock"),
    ("sync.runtime_SemacquireMutex", "sync.Mutex.Lock"),
    ("internal/sync.runtime_SemacquireMutex", "sync.Mutex.Lock"),
    // Up to Go 1.24 this is WaitGroup and others, which the runtime calls alike.
    ("sync.runtime_Semacquire", "semacquire"),
    ("internal/poll.runtime_Semacquire", "semacquire"),
    ("internal/sync.runtime_Semacquire", "semacquire"),
    ("runtime.semacquire", "semacquire"),
    ("runtime.semacquire1", "semacquire"),
    ("runtime.coroswitch_m", "coroutine"),
    ("runtime.coroswitch", "coroutine"),
    ("runtime.gcAssistAlloc", "GC assist wait"),
    ("runtime.gcParkAssist", "GC assist wait"),
    ("runtime.gcStart", "garbage collection"),
    ("runtime.runfinq", "finalizer wait"),
    ("runtime.runFinalizers", "finalizer wait"),
    ("runtime.runCleanups", "cleanup wait"),
    ("runtime.ReadTrace", "trace reader (blocked)"),
    ("runtime.gcBgMarkWorker", "GC worker (idle)"),
    ("runtime.forcegchelper", "force gc (idle)"),
];

/// Functions in which a goroutine parks; where the stack does not begin in one, it does not wait.
const PARKS: [&str; 5] =
    ["runtime.gopark", "runtime.goparkunlock", "runtime.park_m", "runtime.mcall", "runtime.coroswitch"];

/// Functions that lead into a system call or C.
const CALLS: [&str; 10] = [
    "runtime.cgocall",
    "runtime.notetsleepg",
    "runtime.futexsleep",
    "runtime.entersyscall",
    "syscall.Syscall",
    "syscall.Syscall6",
    "syscall.RawSyscall6",
    "syscall.syscall",
    "internal/runtime/syscall.Syscall6",
    "internal/runtime/syscall/linux.Syscall6",
];

/// Frames of the runtime and of packages it serves that are looked at from the leaf on.
const LEAF_FRAMES_MAX: usize = 8;

/// Whether a function is of a package through which the runtime is entered: what blocks there is the program's doing
/// one frame further out.
pub fn is_runtime_entry(function: &str) -> bool {
    is_runtime(function)
        || ["sync.runtime_", "internal/sync.runtime_", "internal/poll.runtime_"]
            .iter()
            .any(|prefix| function.starts_with(prefix))
}

/// What the goroutine with these functions, the leaf first, waits for, or its state.
pub fn wait_of<'a>(functions: impl Iterator<Item = &'a str>) -> &'static str {
    let mut parked = false;
    let mut found = None;
    for (at, function) in functions.take(LEAF_FRAMES_MAX).enumerate() {
        if CALLS.contains(&function) && !parked {
            return SYSCALL;
        }
        parked |= at == 0 && PARKS.contains(&function);
        if !parked {
            // Only the leaf can be a call into the system through a wrapper of the program's own.
            if is_runtime(function) {
                continue;
            }
            return RUNNING;
        }
        if let Some((_, wait)) = WAITS.iter().find(|(own, _)| *own == function) {
            // A semaphore is what the function that takes it says.
            if *wait != "semacquire" {
                return wait;
            }
            found = Some(*wait);
        } else if !is_runtime_entry(function) {
            break;
        }
    }
    match found {
        Some(wait) => wait,
        None if parked => WAITING,
        None => RUNNING,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(functions: &str, want: &str) {
        assert_eq!(wait_of(functions.split(' ')), want, "{functions}");
    }

    #[test]
    fn leaves_and_their_words() {
        check("runtime.gopark runtime.chanrecv runtime.chanrecv1 main.f", "chan receive");
        check("runtime.gopark runtime.chansend runtime.chansend1 main.f", "chan send");
        check("runtime.gopark runtime.selectgo main.f", "select");
        check("runtime.gopark runtime.block main.f", "select (no cases)");
        check("runtime.gopark runtime.netpollblock internal/poll.runtime_pollWait internal/poll.(*FD).Read", "IO wait");
        check("runtime.gopark time.Sleep main.f", "sleep");
        let lock = "runtime.gopark runtime.goparkunlock runtime.semacquire1";
        check(
            &format!("{lock} internal/sync.runtime_SemacquireMutex internal/sync.(*Mutex).lockSlow"),
            "sync.Mutex.Lock",
        );
        check(&format!("{lock} sync.runtime_SemacquireMutex sync.(*Mutex).lockSlow"), "sync.Mutex.Lock");
        check(&format!("{lock} sync.runtime_SemacquireRWMutexR sync.(*RWMutex).RLock"), "sync.RWMutex.RLock");
        check(&format!("{lock} sync.runtime_SemacquireRWMutex sync.(*RWMutex).Lock"), "sync.RWMutex.Lock");
        check(&format!("{lock} sync.runtime_SemacquireWaitGroup sync.(*WaitGroup).Wait"), "sync.WaitGroup.Wait");
        check(&format!("{lock} sync.runtime_Semacquire sync.(*WaitGroup).Wait"), "semacquire");
        check("runtime.gopark runtime.goparkunlock sync.runtime_notifyListWait sync.(*Cond).Wait", "sync.Cond.Wait");
        check("runtime.coroswitch iter.Pull main.f", "coroutine");
        check("runtime.gopark main.f", WAITING);
        check("internal/runtime/syscall.Syscall6 syscall.Syscall main.f", SYSCALL);
        check("runtime.notetsleepg os/signal.signal_recv os/signal.loop", SYSCALL);
        check("runtime.cgocall main._Cfunc_f main.f", SYSCALL);
        check("main.f runtime.chanrecv1", RUNNING);
        check("runtime.asyncPreempt main.f", RUNNING);
        check("runtime/pprof.runtime_goroutineProfileWithLabels runtime/pprof.writeGoroutine", RUNNING);
        check("", RUNNING);
    }
}
