//! Running programs whose executables lie: a release they are not of, one that nobody knows, a length without end, names that are none,
//! a program of another language that says it is Go's. The real agent tells each of them as what it is, beside an honest one that it reads as before.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::many::{Processes, build};
use crate::process::Agent;
use crate::subject::toolchain::Toolchain;
use crate::support::{Received, Receiver};

/// What build information begins with; the length of the version, a varint, and the version follow its header.
const MAGIC: &[u8] = b"\xff Go buildinf:";
const HEADER_BYTES: usize = 32;

/// Where the version's length stands in the executable.
fn version_at(program: &[u8]) -> usize {
    let magic = program.windows(MAGIC.len()).position(|bytes| bytes == MAGIC).expect("a Go executable");
    magic + HEADER_BYTES
}

/// The executable with another version, as long as its own.
fn with_minor(program: &[u8], minor: u32) -> Vec<u8> {
    let (at, mut forged) = (version_at(program) + 1, program.to_vec());
    let prefix = format!("go1.{minor}");
    assert!(program[at..].starts_with(b"go1."), "a release");
    assert_ne!(&program[at..at + prefix.len()], prefix.as_bytes(), "another release");
    forged[at..at + prefix.len()].copy_from_slice(prefix.as_bytes());
    forged
}

/// The executable with a version whose length has no end.
fn endless(program: &[u8]) -> Vec<u8> {
    let (at, mut forged) = (version_at(program), program.to_vec());
    forged[at..at + 9].fill(0xff);
    forged
}

/// The executable with other names of all functions of the runtime, by which its addresses are found.
fn nameless(program: &[u8]) -> Vec<u8> {
    let mut forged = program.to_vec();
    let names: Vec<usize> =
        program.windows(9).enumerate().filter(|(_, bytes)| *bytes == b"\0runtime.").map(|(at, _)| at).collect();
    assert!(names.len() > 100, "names of functions, there are {}", names.len());
    for at in names {
        forged[at + 1] = b'x';
    }
    forged
}

fn write(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).expect("written");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("executable");
}

/// A program of C with a section as Go's linker makes it.
fn of_another_language(folder: &Path, path: &Path) {
    let section = folder.join("section");
    let mut block = MAGIC.to_vec();
    block.extend([8, 2]);
    block.resize(HEADER_BYTES, 0);
    block.extend(b"\x08go1.26.8\x00");
    std::fs::write(&section, block).expect("written");
    let added = format!(".go.buildinfo={}", section.display());
    let made = Command::new("objcopy").arg("--add-section").arg(added).arg("/bin/sleep").arg(path).status();
    assert!(made.expect("binutils are installed").success(), "objcopy");
}

/// Whether `sample` is of the series `name` of the program called `job`.
fn is_of(sample: &Received, name: &str, job: &str) -> bool {
    let labels = sample.series.strip_prefix(name).and_then(|rest| rest.strip_prefix('{'));
    labels.is_some_and(|labels| labels.split([',', '}']).any(|label| label.strip_prefix("job=") == Some(job)))
}

#[test]
fn executables_that_lie_are_told_and_cost_others_nothing() {
    let Some(toolchain) = Toolchain::usual() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let program = std::fs::read(build(&toolchain, folder.path())).expect("built");
    let told = ["older", "unknown", "nameless", "foreign"];
    write(&folder.path().join("honest"), &program);
    write(&folder.path().join("older"), &with_minor(&program, 21));
    write(&folder.path().join("unknown"), &with_minor(&program, 99));
    write(&folder.path().join("endless"), &endless(&program));
    write(&folder.path().join("nameless"), &nameless(&program));
    of_another_language(folder.path(), &folder.path().join("foreign"));
    let run = |name| {
        let mut command = Command::new(folder.path().join(name));
        command.arg("600").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts")
    };
    let mut processes = Processes(["honest", "endless"].iter().chain(&told).map(run).collect());

    let receiver = Receiver::start(&[]);
    let arguments = ["--poll-interval=1s", "--go-goroutines-interval=1s"];
    let mut agent = Agent::start(folder.path(), &folder.path().join("queue"), &receiver.url, &arguments);
    let taken = receiver.wait("all of them, and the honest one again", |taken| {
        let of = |name: &str, job: &str| taken.iter().filter(|sample| is_of(sample, name, job)).count();
        of("go_gc_heap_live_bytes", "honest") > 3
            && of("go_goroutines_by_site", "honest") > 1
            && told.iter().all(|job| of("metrickit_go_reading_info", job) > 1)
    });

    let reasons = |job: &str| -> Vec<&str> {
        let infos = taken.iter().filter(|sample| is_of(sample, "metrickit_go_reading_info", job));
        let infos = infos.filter(|sample| sample.series.contains("part=runtime"));
        infos
            .filter_map(|sample| sample.series.split([',', '}']).find_map(|label| label.strip_prefix("reason=")))
            .collect()
    };
    for (job, reason) in told.into_iter().zip(["implausible", "unknown_release", "no_addresses", "no_addresses"]) {
        let reasons = reasons(job);
        assert!(reasons.contains(&reason), "{job}: {reasons:?}");
        let numbers = taken.iter().find(|sample| is_of(sample, "go_gc_heap_live_bytes", job));
        assert!(numbers.is_none(), "nothing is made up of {job}: {numbers:?}");
    }
    let unread = taken.iter().find(|sample| is_of(sample, "metrickit_go_reading_info", "endless"));
    assert!(unread.is_none(), "it says nothing of its making: {unread:?}");
    let running = processes.0.iter_mut().filter_map(|child| child.try_wait().expect("asked").is_none().then_some(()));
    assert_eq!(running.count(), 6, "none of them came to harm");
    assert!(agent.is_running());
}
