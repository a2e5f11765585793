//! The allocator of the agent's programs, which is the system's, told to keep little.
//!
//! glibc gives each thread an arena of its own and keeps what they free for later. The agent has a dozen threads that allocate a
//! little at a time, each for a moment; beside ten Go processes it took 22 MiB so, 18 with one arena, and 15 when what is free at
//! an end of it, and every piece of 64 KiB and more, is given back at once. Processor time was the same.

/// Has the allocator keep little, unless the environment tells it what to do. For the start of a program whose threads are all
/// the agent's.
#[cfg(target_env = "gnu")]
pub fn keep_little() {
    /// Free bytes at the end of an arena above which they are given back, and least bytes of a piece of its own.
    const KEPT_BYTES: libc::c_int = 64 << 10;
    let told = |name: &str| std::env::var_os(name).is_some();
    if told("GLIBC_TUNABLES") || told("MALLOC_ARENA_MAX") {
        return;
    }
    let wanted = [(libc::M_ARENA_MAX, 1), (libc::M_TRIM_THRESHOLD, KEPT_BYTES), (libc::M_MMAP_THRESHOLD, KEPT_BYTES)];
    for (option, value) in wanted {
        // SAFETY: `mallopt` takes numbers alone and locks what it changes; arenas that are there stay. It fails on unknown
        // options, and then all is as it was.
        unsafe { libc::mallopt(option, value) };
    }
}

/// Other allocators have no such options.
#[cfg(not(target_env = "gnu"))]
pub fn keep_little() {}

/// Gives memory that is free back to the system. Takes some milliseconds.
#[cfg(target_env = "gnu")]
pub(crate) fn release() {
    // SAFETY: `malloc_trim` may be called at any time by any thread; it touches only memory that is free. Its result,
    // whether anything was given back, changes nothing here.
    unsafe { libc::malloc_trim(0) };
}

/// Other allocators give back by themselves, or cannot be asked.
#[cfg(not(target_env = "gnu"))]
pub(crate) fn release() {}

#[cfg(test)]
mod tests {
    /// What is in use stays as it is, whoever frees and allocates meanwhile.
    #[test]
    fn memory_in_use_survives() {
        let kept: Vec<Vec<u8>> = (0..1000).map(|at| vec![u8::try_from(at % 251).expect("small"); 3000]).collect();
        std::thread::scope(|scope| {
            scope.spawn(|| (0..20_000).for_each(|at| drop(std::hint::black_box(vec![1_u8; at * 31 % 100_000]))));
            (0..20).for_each(|_| {
                super::release();
                super::keep_little();
            });
        });
        assert!(kept.iter().enumerate().all(|(at, bytes)| bytes.iter().all(|byte| usize::from(*byte) == at % 251)));
    }
}
