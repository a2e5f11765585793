//! What an executable tells of the Go runtime inside it: which release, where its variables lie, how its types are
//! laid out, and which function an address belongs to. Enough to read a running process of it from outside.
//!
//! Reading a process is the neighbour's; here only the file is read, once for each executable, with bounded reads and
//! no table held. What a file says may be forged: a reader of processes checks what it finds against itself.

mod addresses;
mod experiments;
mod functions;
mod layout;
mod layout_table;
mod module;
mod operands;
mod pages;
mod symbols;
mod version;
mod witnesses;

use std::fs::File;

use object::elf::{EM_AARCH64, EM_X86_64};

pub use addresses::{Addresses, Variable};
pub use functions::{Function, FunctionTable, Position};
pub use layout::{
    BucketLayout, Field, GLayout, GcControllerLayout, HeapStatsLayout, Layout, LimiterLayout, MLayout, MemstatsLayout,
    MheapLayout, ModuleLayout, PLayout, SchedLayout, TicksLayout, TimeHistogramLayout, WorkLayout,
};
pub use version::GoVersion;

use self::symbols::Symbols;
use crate::go::BuildInfo;
use crate::go::elf::Elf;

/// The processor that an executable is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Arch {
    /// x86-64.
    Amd64,
    /// 64-bit ARM, little-endian.
    Arm64,
}

/// Why processes of an executable cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unreadable {
    /// Not a 64-bit little-endian ELF executable for a processor that is known; it never will be.
    #[error("not a 64-bit little-endian ELF file for amd64 or arm64")]
    Format,
    /// The release of Go, as the executable gives it, has no layout here, or not with its experiments; a newer agent may have it.
    #[error("no layout of the runtime of {0:?} is known")]
    UnknownRelease(String),
    /// Neither the list of goroutines nor the scheduler was found in the file.
    #[error("the runtime's variables were not found")]
    NoAddresses,
    /// The file could not be read; it may be later.
    #[error("reading failed: {0}")]
    Io(#[from] std::io::Error),
}

impl Unreadable {
    /// A short fixed word for the label `reason`.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Format => "format",
            Self::UnknownRelease(_) => "unknown_release",
            Self::NoAddresses => "no_addresses",
            Self::Io(_) => "io",
        }
    }
}

/// An executable, understood.
#[derive(Debug)]
pub struct GoBinary {
    version: GoVersion,
    arch: Arch,
    position_independent: bool,
    load_address: u64,
    layout: Layout,
    addresses: Addresses,
    functions: Option<FunctionTable>,
}

impl GoBinary {
    /// Reads the executable `file`, of which `info` tells the release. Costs some milliseconds; the answer is the same
    /// for every process of the file.
    ///
    /// # Errors
    ///
    /// See [`Unreadable`].
    pub fn open(file: File, info: &BuildInfo) -> Result<Self, Unreadable> {
        let elf = Elf::open(file)?.filter(|elf| elf.wide && !elf.big_endian).ok_or(Unreadable::Format)?;
        let arch = match elf.machine {
            EM_X86_64 => Arch::Amd64,
            EM_AARCH64 => Arch::Arm64,
            _ => return Err(Unreadable::Format),
        };
        let version = GoVersion::parse(&info.go_version);
        let known = version.and_then(|version| Some((version, Layout::of(version, arch)?)));
        let (version, layout) = known.ok_or_else(|| Unreadable::UnknownRelease(info.go_version.clone()))?;
        let Symbols { mut addresses, mut text } = symbols::read(&elf).unwrap_or_default();
        let stripped = addresses == Addresses::default();
        let table = module::find_table(&elf);
        if let Some(table) = table.as_ref().filter(|_| text.is_none()) {
            let module = module::find_module(&elf, table, &layout.module);
            if let Some(module) = module {
                addresses.set(Variable::FirstModuledata, module.address);
            }
            let told = Some(table.header.text).filter(|text| *text != 0);
            text = module.map(|module| module.text).or(told);
        }
        let functions = table
            .zip(text)
            .map(|(table, text)| FunctionTable::new(&elf, table.offset, table.bytes, table.header, text));
        if stripped && let Some(functions) = &functions {
            witnesses::find(&elf, (version, arch), &layout, functions, &mut addresses);
        }
        if addresses.of(Variable::Allgs).is_none() && addresses.of(Variable::Sched).is_none() {
            return Err(Unreadable::NoAddresses);
        }
        let load_address = elf.segments.iter().find(|segment| segment.offset == 0).map_or(0, |segment| segment.address);
        Ok(Self {
            version,
            arch,
            position_independent: elf.position_independent,
            load_address,
            layout,
            addresses,
            functions,
        })
    }

    /// The release of Go that made it.
    pub fn version(&self) -> &GoVersion {
        &self.version
    }

    /// The processor it is for.
    pub fn arch(&self) -> Arch {
        self.arch
    }

    /// Whether the kernel loads it somewhere else each time, so that a process adds the same bias to every address here.
    pub fn position_independent(&self) -> bool {
        self.position_independent
    }

    /// The address at which the first byte of the file was linked: the bias is the start of the process's mapping of
    /// offset 0 of the file, minus this.
    pub fn load_address(&self) -> u64 {
        self.load_address
    }

    /// Where fields lie in the types of its runtime.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Where the variables of its runtime lie, as linked.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Its functions, by address; nothing when the table of functions was not found.
    pub fn functions(&self) -> Option<&FunctionTable> {
        self.functions.as_ref()
    }
}
