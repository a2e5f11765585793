#![warn(clippy::indexing_slicing)]
//! Where the runtime is in the memory of one process: what its executable tells, moved to where the process has it.

use super::binary::{Addresses, Layout, Variable};
use super::memory::{Fault, Reader};

/// The runtime of one process.
#[derive(Debug, Clone, Copy)]
pub struct Image<'a> {
    /// How the types of its release are laid out.
    pub layout: &'a Layout,
    /// Where its variables were linked.
    pub addresses: &'a Addresses,
    /// What a process adds to addresses as linked; 0 unless its executable is position-independent.
    pub bias: u64,
    /// The minor release of Go: 26 of Go 1.26.
    pub minor: u16,
}

/// Longest release name that is compared.
const VERSION_BYTES_MAX: u64 = 256;

impl Image<'_> {
    /// Where `variable` is in memory.
    pub fn address(&self, variable: Variable) -> Option<u64> {
        self.addresses.of(variable).map(|linked| linked.wrapping_add(self.bias))
    }

    /// An address of code in memory as it was linked.
    pub fn linked(&self, pc: u64) -> u64 {
        pc.wrapping_sub(self.bias)
    }

    /// Whether the variable with the release of Go says what the executable's build information says. Where the variable was
    /// not found other checks have to do.
    ///
    /// # Errors
    ///
    /// When it says something else, or memory cannot be read.
    pub fn check_version(&self, reader: &mut Reader<'_>, go_version: &str) -> Result<(), Fault> {
        let Some(address) = self.address(Variable::BuildVersion) else { return Ok(()) };
        let (text_at, length) = (reader.word(address)?, reader.word(address.wrapping_add(8))?);
        if length > VERSION_BYTES_MAX {
            return Err(Fault::Implausible("the release in memory has no end"));
        }
        let text = reader.bytes(text_at, usize::try_from(length).unwrap_or(0))?;
        let text = String::from_utf8_lossy(&text);
        // Experiments are named behind the release in one of the two places.
        let core = |text: &str| text.split([' ', '-']).next().unwrap_or("").to_owned();
        if core(&text) == core(go_version) {
            Ok(())
        } else {
            Err(Fault::Implausible("the release in memory is another"))
        }
    }
}
