//! Files that hold what programs said, such as stacks with their arguments: for the agent's user alone, whatever its umask.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Mode of folders.
const FOLDER_MODE: u32 = 0o700;
/// Mode of files.
const FILE_MODE: u32 = 0o600;

/// Makes the folder at `path`, and those above it, where there is none. One that is there is left as it is: somebody may share it.
///
/// # Errors
///
/// When the system refuses.
pub(crate) fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(path)
}

/// Options to open a file, which make it private where they make it.
pub(crate) fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(FILE_MODE);
    options
}

/// Makes the file at `path`, or empties it.
///
/// # Errors
///
/// When the system refuses.
pub(crate) fn create(path: &Path) -> io::Result<File> {
    let file = options().write(true).create(true).truncate(true).open(path)?;
    tighten(&file);
    Ok(file)
}

/// Makes a file private that was made otherwise. Where that is refused it stays as it is.
pub(crate) fn tighten(file: &File) {
    let open = file.metadata().is_ok_and(|metadata| metadata.permissions().mode() & 0o777 & !FILE_MODE != 0);
    if open && let Err(error) = file.set_permissions(Permissions::from_mode(FILE_MODE)) {
        tracing::debug!(%error, "mode of a file not changed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_folders_are_for_one_user() {
        let top = tempfile::tempdir().expect("a folder");
        let mode = |path: &Path| path.metadata().expect("there").permissions().mode() & 0o777;
        let folder = top.path().join("a/b");
        make_folder(&folder).expect("made");
        make_folder(&folder).expect("there already");
        assert_eq!((mode(&folder), mode(&top.path().join("a"))), (0o700, 0o700));
        let path = folder.join("c");
        std::fs::write(&path, b"old").expect("written");
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("its owner");
        create(&path).expect("made anew");
        assert_eq!((mode(&path), std::fs::read(&path).expect("read")), (0o600, Vec::new()));
        create(&folder.join("d")).expect("made");
        assert_eq!(mode(&folder.join("d")), 0o600);
    }
}
