//! The socket's place: a path or an abstract name, made safely, taken over from an agent that died and not from one that
//! lives.
//!
//! A lock file beside the path is held for as long as the agent listens, so that two agents that start at once never both
//! take over. Any user of the host may connect; who connects is told by the kernel.

use std::fs::{self, DirBuilder, File, Permissions, TryLockError};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// What everybody may do with the folder that is made: look into it.
const FOLDER_MODE: u32 = 0o755;
/// What everybody may do with the socket: connect.
const SOCKET_MODE: u32 = 0o666;

/// Why there is no socket; the agent runs on without.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages name every field")]
pub enum SocketError {
    /// Somebody listens there.
    #[error("socket {name} is in use by another program; set receive.socket, or to nothing for none")]
    InUse { name: String },
    /// What is there is no socket, and is left alone.
    #[error("{} exists and is no socket; remove it, or set receive.socket", path.display())]
    NoSocket { path: PathBuf },
    /// The system refuses.
    #[error("socket {name}: {source}; set receive.socket, or to nothing for none")]
    Io { name: String, source: io::Error },
}

/// A listener, and what goes with it.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) listener: UnixListener,
    _place: Option<Place>,
}

/// A socket in the file system, removed when dropped if it is still the same.
#[derive(Debug)]
struct Place {
    path: PathBuf,
    inode: u64,
    /// Held for its lock.
    _lock: File,
}

impl Drop for Place {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|metadata| metadata.ino() == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Listens at `name`, a path or an abstract `@name`.
///
/// # Errors
///
/// When somebody else does, or the system refuses.
pub(super) fn bind(name: &str) -> Result<Bound, SocketError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::AddrInUse => SocketError::InUse { name: name.to_owned() },
        _ => SocketError::Io { name: name.to_owned(), source },
    };
    if let Some(abstract_name) = name.strip_prefix('@') {
        let address = SocketAddr::from_abstract_name(abstract_name).map_err(failed)?;
        let listener = UnixListener::bind_addr(&address).map_err(failed)?;
        return Ok(Bound { listener, _place: None });
    }
    let path = Path::new(name);
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder).map_err(failed)?;
    }
    let lock = File::create(with_suffix(path, ".lock")).map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(SocketError::InUse { name: name.to_owned() }),
        Err(TryLockError::Error(source)) => return Err(failed(source)),
    }
    remove_left_behind(path, name)?;
    let listener = UnixListener::bind(path).map_err(failed)?;
    fs::set_permissions(path, Permissions::from_mode(SOCKET_MODE)).map_err(failed)?;
    let inode = fs::symlink_metadata(path).map_err(failed)?.ino();
    Ok(Bound { listener, _place: Some(Place { path: path.to_owned(), inode, _lock: lock }) })
}

/// Removes the socket that a dead agent left; not one that somebody listens at, nor anything else.
fn remove_left_behind(path: &Path, name: &str) -> Result<(), SocketError> {
    let Ok(metadata) = fs::symlink_metadata(path) else { return Ok(()) };
    if !metadata.file_type().is_socket() {
        return Err(SocketError::NoSocket { path: path.to_owned() });
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(|source| SocketError::Io { name: name.to_owned(), source })
        }
        Err(source) if source.kind() == io::ErrorKind::PermissionDenied => {
            Err(SocketError::Io { name: name.to_owned(), source })
        }
        _ => Err(SocketError::InUse { name: name.to_owned() }),
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(path: &Path) -> &str {
        path.to_str().expect("a UTF-8 path")
    }

    #[test]
    fn a_dead_agents_socket_is_replaced_and_a_live_ones_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("deep/er/agent.sock");
        let first = bind(text(&path)).expect("binds");
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, SOCKET_MODE);
        assert!(matches!(bind(text(&path)), Err(SocketError::InUse { .. })), "locked");
        drop(first);
        assert!(!path.exists(), "an agent that ends leaves nothing");
        // As after a kill: the file stays, nobody listens.
        drop(UnixListener::bind(&path).expect("binds"));
        assert!(path.exists());
        let second = bind(text(&path)).expect("takes over");
        UnixStream::connect(&path).expect("somebody listens");
        drop(second);
        let foreign = UnixListener::bind(&path).expect("binds");
        assert!(matches!(bind(text(&path)), Err(SocketError::InUse { .. })), "another program's");
        drop(foreign);
    }

    #[test]
    fn what_is_no_socket_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("agent.sock");
        fs::write(&path, b"precious").expect("written");
        assert!(matches!(bind(text(&path)), Err(SocketError::NoSocket { .. })));
        assert_eq!(fs::read(&path).expect("read"), b"precious");
        let below = path.join("agent.sock");
        assert!(matches!(bind(text(&below)), Err(SocketError::Io { .. })), "a file is no folder");
    }

    #[test]
    fn abstract_names() {
        let name = format!("@metrickit/test/{}", std::process::id());
        let first = bind(&name).expect("binds");
        assert!(matches!(bind(&name), Err(SocketError::InUse { .. })));
        drop(first);
        bind(&name).expect("nothing is left behind");
    }
}
