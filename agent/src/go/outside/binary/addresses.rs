//! The runtime's variables whose addresses are looked for, and the addresses found.

/// A package variable of the runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Variable {
    /// `allgs`: slice of every goroutine there ever was.
    Allgs,
    /// `allglen`: its length.
    Allglen,
    /// `allgptr`: its first element.
    Allgptr,
    /// `allp`: slice of processors.
    Allp,
    /// `allm`: the newest thread, first of a list.
    Allm,
    /// `sched`: the scheduler.
    Sched,
    /// `memstats`: memory statistics.
    Memstats,
    /// `gcController`: the collector's pacer.
    GcController,
    /// `work`: the collector's work, cycles and processor time.
    Work,
    /// `gcCPULimiter`: the limiter of the collector's processor time.
    GcCpuLimiter,
    /// `mheap_`: the heap.
    Mheap,
    /// `gomaxprocs`: 32 bits.
    Gomaxprocs,
    /// `ncpu`: 32 bits.
    Ncpu,
    /// `mbuckets`: the newest bucket of the heap profile.
    Mbuckets,
    /// `bbuckets`: of the block profile.
    Bbuckets,
    /// `xbuckets`: of the mutex profile.
    Xbuckets,
    /// `MemProfileRate`: bytes for each sample of the heap profile.
    MemProfileRate,
    /// `disableMemoryProfiling`: a byte.
    DisableMemoryProfiling,
    /// `mutexprofilerate`: one of how many contentions is sampled.
    MutexProfileRate,
    /// `blockprofilerate`: in ticks of the processor.
    BlockProfileRate,
    /// `ticks`: clocks at the start of the program.
    Ticks,
    /// `buildVersion`: string.
    BuildVersion,
    /// `runtimeInitTime`: monotonic nanoseconds of the start.
    RuntimeInitTime,
    /// `firstmoduledata`: what the linker tells the runtime.
    FirstModuledata,
    /// `startingStackSize`: 32 bits.
    StartingStackSize,
    /// `ncgocall`: calls into C by threads that have ended.
    Ncgocall,
    /// `finqueued`: finalizers queued.
    FinalizersQueued,
    /// `finexecuted`: finalizers run.
    FinalizersExecuted,
}

impl Variable {
    /// Every variable.
    pub const ALL: [Self; 28] = [
        Self::Allgs,
        Self::Allglen,
        Self::Allgptr,
        Self::Allp,
        Self::Allm,
        Self::Sched,
        Self::Memstats,
        Self::GcController,
        Self::Work,
        Self::GcCpuLimiter,
        Self::Mheap,
        Self::Gomaxprocs,
        Self::Ncpu,
        Self::Mbuckets,
        Self::Bbuckets,
        Self::Xbuckets,
        Self::MemProfileRate,
        Self::DisableMemoryProfiling,
        Self::MutexProfileRate,
        Self::BlockProfileRate,
        Self::Ticks,
        Self::BuildVersion,
        Self::RuntimeInitTime,
        Self::FirstModuledata,
        Self::StartingStackSize,
        Self::Ncgocall,
        Self::FinalizersQueued,
        Self::FinalizersExecuted,
    ];

    /// Its name in the table of symbols.
    pub const fn symbol(self) -> &'static str {
        match self {
            Self::Allgs => "runtime.allgs",
            Self::Allglen => "runtime.allglen",
            Self::Allgptr => "runtime.allgptr",
            Self::Allp => "runtime.allp",
            Self::Allm => "runtime.allm",
            Self::Sched => "runtime.sched",
            Self::Memstats => "runtime.memstats",
            Self::GcController => "runtime.gcController",
            Self::Work => "runtime.work",
            Self::GcCpuLimiter => "runtime.gcCPULimiter",
            Self::Mheap => "runtime.mheap_",
            Self::Gomaxprocs => "runtime.gomaxprocs",
            Self::Ncpu => "runtime.ncpu",
            Self::Mbuckets => "runtime.mbuckets",
            Self::Bbuckets => "runtime.bbuckets",
            Self::Xbuckets => "runtime.xbuckets",
            Self::MemProfileRate => "runtime.MemProfileRate",
            Self::DisableMemoryProfiling => "runtime.disableMemoryProfiling",
            Self::MutexProfileRate => "runtime.mutexprofilerate",
            Self::BlockProfileRate => "runtime.blockprofilerate",
            Self::Ticks => "runtime.ticks",
            Self::BuildVersion => "runtime.buildVersion",
            Self::RuntimeInitTime => "runtime.runtimeInitTime",
            Self::FirstModuledata => "runtime.firstmoduledata",
            Self::StartingStackSize => "runtime.startingStackSize",
            Self::Ncgocall => "runtime.ncgocall",
            Self::FinalizersQueued => "runtime.finqueued",
            Self::FinalizersExecuted => "runtime.finexecuted",
        }
    }
}

/// Link-time addresses of the runtime's variables. One that the linker dropped, or that was not found for certain, is
/// missing, and so is what would be read there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Addresses {
    found: [Option<u64>; Variable::ALL.len()],
}

impl Addresses {
    /// Where `variable` was linked; a process of a position-independent executable adds its bias.
    pub fn of(&self, variable: Variable) -> Option<u64> {
        self.found.get(variable as usize).copied().flatten()
    }

    /// Notes where `variable` lies.
    pub(super) fn set(&mut self, variable: Variable, address: u64) {
        if let Some(place) = self.found.get_mut(variable as usize) {
            *place = Some(address);
        }
    }

    /// The variables found, in the order of [`Variable::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = (Variable, u64)> + '_ {
        Variable::ALL.into_iter().filter_map(|variable| Some((variable, self.of(variable)?)))
    }
}

/// Addresses that are known otherwise.
impl FromIterator<(Variable, u64)> for Addresses {
    fn from_iter<I: IntoIterator<Item = (Variable, u64)>>(all: I) -> Self {
        let mut addresses = Self::default();
        for (variable, address) in all {
            addresses.set(variable, address);
        }
        addresses
    }
}
