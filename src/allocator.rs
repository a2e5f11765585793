//! The allocator of the program, which is the system's.
//!
//! With 100,000 series and 20 samples of each glibc's held 78 MB, jemalloc 88 MB and mimalloc 114 MB, at the same processor
//! time. What glibc does not do by itself is give back what is free between what is in use: [`release`] asks it to.

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
            scope.spawn(|| (0..20_000).for_each(|at| drop(std::hint::black_box(vec![1_u8; at % 5000]))));
            (0..20).for_each(|_| super::release());
        });
        assert!(kept.iter().enumerate().all(|(at, bytes)| bytes.iter().all(|byte| usize::from(*byte) == at % 251)));
    }
}
