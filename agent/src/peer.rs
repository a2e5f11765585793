//! Which process is at the other end of a unix socket, as the kernel tells it.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

/// The id of the process that connected to `stream`, or that called `listen` where this process connected. Nothing for one that has no
/// id here, since its namespace of processes is not seen from this one: of such the kernel says 0.
///
/// # Errors
///
/// When the kernel does not tell.
pub(crate) fn pid_of(stream: &UnixStream) -> io::Result<Option<i32>> {
    // `rustix::net::sockopt::socket_peercred` has a type for the id that must not be 0.
    let mut told = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut bytes = libc::socklen_t::try_from(size_of::<libc::ucred>()).expect("twelve bytes");
    let (level, option) = (libc::SOL_SOCKET, libc::SO_PEERCRED);
    // SAFETY: the descriptor is open for as long as `stream` is borrowed; the kernel writes at most `bytes` bytes to `told`, which has as
    // many and is three integers, good whatever they become.
    let failed = unsafe { libc::getsockopt(stream.as_raw_fd(), level, option, (&raw mut told).cast(), &raw mut bytes) };
    if failed != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Some(told.pid).filter(|pid| *pid > 0))
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixListener};
    use std::process::Command;

    use super::*;

    /// Where the program of another namespace connects to; it is this test, started there.
    const NAME: &str = "METRICKIT_TEST_PEER";

    #[test]
    fn a_process_of_this_namespace_is_known() {
        let (stream, _other) = UnixStream::pair().expect("a pair");
        assert_eq!(pid_of(&stream).expect("told"), i32::try_from(std::process::id()).ok());
        let (not_unix, _) = std::io::pipe().expect("a pipe");
        let not_unix = UnixStream::from(std::os::fd::OwnedFd::from(not_unix));
        pid_of(&not_unix).expect_err("no socket");
    }

    #[test]
    fn a_process_of_a_namespace_that_is_not_seen_has_no_id() {
        let address = |name: &str| SocketAddr::from_abstract_name(name).expect("a short name");
        if let Ok(name) = std::env::var(NAME) {
            // In a namespace of its own, from which the one that listens is not seen.
            let stream = UnixStream::connect_addr(&address(&name)).expect("somebody listens");
            assert_eq!(pid_of(&stream).expect("told"), None);
            return;
        }
        let name = format!("metrickit-test/{}/{}", std::process::id(), fastrand::u64(..));
        let listener = UnixListener::bind_addr(&address(&name)).expect("a free name");
        let (_, module) = module_path!().split_once("::").expect("a module of the crate");
        let mut inside = Command::new("unshare");
        inside.args(["--user", "--map-root-user", "--pid", "--fork"]);
        if !inside.arg("true").output().is_ok_and(|output| output.status.success()) {
            println!("SKIPPED: no namespaces of processes may be made here");
            return;
        }
        let output = Command::new("unshare")
            .args(["--user", "--map-root-user", "--pid", "--fork"])
            .arg(std::env::current_exe().expect("a path"))
            .args(["--exact", &format!("{module}::a_process_of_a_namespace_that_is_not_seen_has_no_id")])
            .env(NAME, &name)
            .output()
            .expect("starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        // It has connected and gone, or it never will.
        listener.set_nonblocking(true).expect("set");
        let (mut stream, _) = listener.accept().expect("it connected");
        assert!(pid_of(&stream).expect("told").is_some(), "from here the one inside is seen");
        assert_eq!(stream.read(&mut [0]).expect("readable"), 0);
    }
}
