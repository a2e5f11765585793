//! Toolchains of Go that tests build programs with: the one of this machine, or those that `make test-go-matrix` gives as
//! `METRICKIT_GO_TOOLCHAINS=folder:folder`. Where there is none tests skip, with a notice; never when `CI=true`.

use std::path::PathBuf;
use std::process::Command;

/// A toolchain: its `go` command.
#[derive(Debug, Clone)]
pub(crate) struct Toolchain {
    go: PathBuf,
    /// Whether the one who runs the tests chose it.
    pub(crate) chosen: bool,
}

impl Toolchain {
    /// The toolchain of this machine.
    #[expect(clippy::print_stdout, reason = "a test that is skipped says so")]
    pub(crate) fn usual() -> Option<Self> {
        let go = Self { go: "go".into(), chosen: false };
        if go.command().arg("version").output().is_ok_and(|output| output.status.success()) {
            return Some(go);
        }
        assert!(std::env::var_os("CI").is_none(), "CI must have a Go toolchain");
        println!("SKIPPED: no Go toolchain on this machine");
        None
    }

    /// Those to test with; none where there are none.
    pub(crate) fn all() -> Vec<Self> {
        let Ok(folders) = std::env::var("METRICKIT_GO_TOOLCHAINS") else { return Self::usual().into_iter().collect() };
        let folders = folders.split(':').filter(|folder| !folder.is_empty()).map(PathBuf::from);
        folders.map(|folder| Self { go: folder.join("bin/go"), chosen: true }).collect()
    }

    /// Its `go`, which uses no other toolchain than itself.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.go);
        command.env("GOTOOLCHAIN", "local").env("GOFLAGS", "-mod=mod");
        if self.chosen {
            command.env_remove("GOROOT");
        }
        command
    }
}
