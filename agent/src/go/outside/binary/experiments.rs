//! What a program was built with beside what its release is by default: experiments (`GOEXPERIMENT`), which the toolchain names behind
//! the release where they differ from the release's own. Some change how the runtime's types are laid out, most do not.

use super::Arch;

/// The experiments of a program, by what they mean for its types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Experiments {
    /// None, or such as leave the types as they are.
    Plain,
    /// The green tea collector where the release has the other by default.
    GreenTea,
    /// The other collector where the release has green tea by default.
    NoGreenTea,
    /// One that changes the types in ways that are not known, or that nobody looked at.
    Unknown,
}

/// Experiments that leave the fields that are read where they are, whether they are on or off: of those that the toolchains of Go 1.22 to
/// 1.27 know all but green tea, `staticlockranking` and `spinbitmutex`, as their debug information told; those that are of the compiler,
/// the linker or a library alone; and those of vendors, which are of cryptography.
const HARMLESS: [&str; 37] = [
    "aliastypeparams",
    "allocheaders",
    "allowcryptofallback",
    "arenas",
    "boringcrypto",
    "cacheprog",
    "cgocheck2",
    "cngcrypto",
    "coverageredesign",
    "darwincrypto",
    "dwarf5",
    "exectracer2",
    "fieldtrack",
    "goroutineleakprofile",
    "heapminimum512kib",
    "jsonv2",
    "loopvar",
    "mapsplitgroup",
    "ms_nosystemcrypto",
    "newinliner",
    "opensslcrypto",
    "pagetrace",
    "preemptibleloops",
    "randomizedheapbase64",
    "range",
    "rangefunc",
    "regabiargs",
    "regabiwrappers",
    "runtimefreegc",
    "runtimesecret",
    "simd",
    "sizespecializedmalloc",
    "strictfipsruntime",
    "swissmap",
    "synchashtriemap",
    "synctest",
    "systemcrypto",
];

impl Experiments {
    /// Those named in `mark`, what stands behind a release: ` X:nodwarf5,arenas`.
    pub(super) fn parse(mark: &str) -> Self {
        let names = mark.split_once("X:").map_or("", |(_, names)| names);
        let names = names.split_whitespace().next().unwrap_or("").split(',').filter(|name| !name.is_empty());
        let of = |name: &str| match name {
            "greenteagc" => Self::GreenTea,
            "nogreenteagc" => Self::NoGreenTea,
            _ if HARMLESS.contains(&name.strip_prefix("no").unwrap_or(name)) || HARMLESS.contains(&name) => Self::Plain,
            _ => Self::Unknown,
        };
        names.map(of).max().unwrap_or(Self::Plain)
    }
}

/// Fields of a type that lie elsewhere: those whose rows begin so, from this offset on, by so many bytes.
pub(super) type Moved = (&'static str, u32, i32);

/// What differs from the table of layouts in Go 1.`minor` for `arch` with `experiments`; nothing where that is not known. Told by executables
/// of 1.25.0, 1.25.5, 1.26.0, 1.26.8 and 1.27.3 with and without.
pub(super) fn moved(minor: u16, arch: Arch, experiments: Experiments) -> Option<&'static [Moved]> {
    match (experiments, minor, arch) {
        (Experiments::Plain, ..) => Some(&[]),
        (Experiments::GreenTea, 25, Arch::Amd64) => {
            Some(&[("memstats.", 8_256, 2_176), ("work.", 256, 96), ("p.", 9_464, 4_232)])
        }
        (Experiments::GreenTea, 25, Arch::Arm64) => {
            Some(&[("memstats.", 8_256, 2_176), ("work.", 448, 160), ("p.", 9_464, 4_232)])
        }
        (Experiments::NoGreenTea, 26..=27, _) => Some(&[("memstats.", 10_432, -2_176), ("p.", 13_744, -4_256)]),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (mark, want) in [
            ("", Experiments::Plain),
            (" X:nocoverageredesign", Experiments::Plain),
            ("-X:arenas,nodwarf5,nojsonv2", Experiments::Plain),
            (" (Red Hat 1.21.13-4.el9) X:strictfipsruntime", Experiments::Plain),
            ("-abcdef X:newinliner Mon Jan 2", Experiments::Plain),
            (" X:boringcrypto,greenteagc", Experiments::GreenTea),
            ("-X:nogreenteagc", Experiments::NoGreenTea),
            ("-X:staticlockranking", Experiments::Unknown),
            ("-X:nogreenteagc,staticlockranking", Experiments::Unknown),
            (" X:noexectracer2", Experiments::Plain),
            (" X:nospinbitmutex", Experiments::Unknown),
            (" X:no", Experiments::Unknown),
        ] {
            assert_eq!(Experiments::parse(mark), want, "{mark}");
        }
        assert!(HARMLESS.is_sorted());
    }
}
