//! The allocator of the program, which is the system's.
//!
//! With 100,000 series and 20 samples of each glibc's held 78 MB, jemalloc 88 MB and mimalloc 114 MB, at the same processor
//! time. What glibc does not do by itself is give back what is free between what is in use: [`release`] asks it to. And it
//! gives each thread an arena of its own, eight for each processor: what one thread frees, others do not use.
//! [`share_arenas`] has one for two processors, which took 3 % less memory at 100,000 series, and 2 % less processor time.

#[cfg(target_env = "gnu")]
use std::ffi::OsStr;

/// Gives memory that is free back to the system. Takes some milliseconds.
#[cfg(target_env = "gnu")]
pub(crate) fn release() {
    // SAFETY: `malloc_trim` may be called at any time by any thread; it touches only memory that is free. Its result,
    // whether anything was given back, changes nothing here.
    unsafe { libc::malloc_trim(0) };
}

/// Has threads share arenas, unless the environment tells glibc how many there are to be. For the start of the program.
#[cfg(target_env = "gnu")]
pub(crate) fn share_arenas() {
    if tells_arenas(|name| std::env::var_os(name)) {
        return;
    }
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let arenas = libc::c_int::try_from(processors / 2).unwrap_or(libc::c_int::MAX).max(1);
    // SAFETY: `mallopt` takes numbers alone and locks what it changes; arenas that are there stay. It fails on unknown
    // options, and then all is as it was.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, arenas) };
}

/// Whether the environment has settings of glibc's allocator that say how many arenas there may be.
#[cfg(target_env = "gnu")]
fn tells_arenas<T: AsRef<OsStr>>(variable: impl Fn(&str) -> Option<T>) -> bool {
    let tunables = variable("GLIBC_TUNABLES");
    let tunables = tunables.as_ref().and_then(|text| text.as_ref().to_str()).unwrap_or_default();
    variable("MALLOC_ARENA_MAX").is_some() || tunables.contains("glibc.malloc.arena_max=")
}

/// Other allocators have no arenas to share.
#[cfg(not(target_env = "gnu"))]
pub(crate) fn share_arenas() {}

/// Other allocators give back by themselves, or cannot be asked.
#[cfg(not(target_env = "gnu"))]
pub(crate) fn release() {}

#[cfg(test)]
mod tests {
    #[cfg(target_env = "gnu")]
    #[test]
    fn the_environment_has_its_way() {
        let set = |name: &'static str, value: &'static str| move |asked: &str| (asked == name).then_some(value);
        assert!(super::tells_arenas(set("MALLOC_ARENA_MAX", "4")));
        assert!(super::tells_arenas(set("GLIBC_TUNABLES", "glibc.malloc.check=1:glibc.malloc.arena_max=8")));
        assert!(!super::tells_arenas(set("GLIBC_TUNABLES", "glibc.malloc.check=1")));
        assert!(!super::tells_arenas(set("OTHER", "1")));
    }

    /// What is in use stays as it is, whoever frees and allocates meanwhile.
    #[test]
    fn memory_in_use_survives() {
        let kept: Vec<Vec<u8>> = (0..1000).map(|at| vec![u8::try_from(at % 251).expect("small"); 3000]).collect();
        std::thread::scope(|scope| {
            scope.spawn(|| (0..20_000).for_each(|at| drop(std::hint::black_box(vec![1_u8; at % 5000]))));
            (0..20).for_each(|_| {
                super::release();
                super::share_arenas();
            });
        });
        assert!(kept.iter().enumerate().all(|(at, bytes)| bytes.iter().all(|byte| usize::from(*byte) == at % 251)));
    }
}
