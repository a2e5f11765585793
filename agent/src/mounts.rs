//! What is mounted, as the kernel tells this process in `/proc/self/mountinfo` (`proc_pid_mountinfo(5)`). The text is read as bytes and
//! line by line: anybody may mount at a folder whose name is no UTF-8, and that must hide no other mount.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

/// Longest list that is read.
const LIST_BYTES_MAX: u64 = 4 << 20;

/// A mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    /// What of the file system is mounted.
    pub(crate) root: String,
    /// Where.
    pub(crate) point: PathBuf,
    /// Its type, such as `ext4` or `fuse.sshfs`.
    pub(crate) kind: String,
    /// The device, or what stands for one.
    pub(crate) source: String,
    /// Options of the file system, separated by commas.
    options: String,
}

impl Mount {
    /// Whether `option` is one of the file system's.
    pub(crate) fn has_option(&self, option: &str) -> bool {
        self.options.split(',').any(|own| own == option)
    }
}

/// The mounts that this process sees, the uppermost of a place last.
///
/// # Errors
///
/// When the list cannot be read.
pub(crate) fn mounts() -> io::Result<Vec<Mount>> {
    let mut list = Vec::new();
    File::open("/proc/self/mountinfo")?.take(LIST_BYTES_MAX).read_to_end(&mut list)?;
    Ok(parse(&list))
}

/// The mounts of a list; lines that are none are left out.
pub(crate) fn parse(list: &[u8]) -> Vec<Mount> {
    list.split(|byte| *byte == b'\n').filter_map(mount).collect()
}

fn mount(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let (root, point) = (fields.nth(3)?, fields.next()?);
    // Behind the options of the mount stand any number of fields, and a dash.
    fields.find(|field| *field == b"-")?;
    let (kind, source, options) = (fields.next()?, fields.next()?, fields.next()?);
    let text = |field| String::from_utf8_lossy(&unescaped(field)).into_owned();
    Some(Mount {
        root: text(root),
        point: PathBuf::from(OsString::from_vec(unescaped(point))),
        kind: text(kind),
        source: text(source),
        options: text(options),
    })
}

/// What the kernel wrote with blanks, line ends and backslashes as three octal digits.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, behind)) = rest.split_first() {
        let digits = behind.first_chunk::<3>().filter(|_| byte == b'\\').and_then(|digits| str::from_utf8(digits).ok());
        let code = digits.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        plain.push(code.unwrap_or(byte));
        rest = if code.is_some() { behind.get(3..).unwrap_or_default() } else { behind };
    }
    plain
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt as _;

    use super::*;

    #[test]
    fn names_that_are_no_text_hide_no_other() {
        let list = b"22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n\
            30 22 0:40 /sub /home/\xff\xfe/m rw,nosuid - fuse.sshfs a\\040b rw,user_id=0\n\
            short line\n\
            31 22 0:26 / /sys/fs/cgroup ro master:3 propagate_from:2 - cgroup2 cgroup rw,nsdelegate\n";
        let found = parse(list);
        let kinds: Vec<&str> = found.iter().map(|mount| mount.kind.as_str()).collect();
        assert_eq!(kinds, ["ext4", "fuse.sshfs", "cgroup2"]);
        let second = &found[1];
        assert_eq!(second.point.as_os_str().as_bytes(), b"/home/\xff\xfe/m");
        assert_eq!((second.root.as_str(), second.source.as_str()), ("/sub", "a b"));
        assert!(found[2].has_option("nsdelegate") && !found[2].has_option("ns"));
    }

    #[test]
    fn places_are_unescaped_once() {
        for (field, want) in [
            ("/a", "/a"),
            ("/a\\040b\\134c", "/a b\\c"),
            ("/a\\134040", "/a\\040"),
            ("/a\\9", "/a\\9"),
            ("/x\\", "/x\\"),
        ] {
            assert_eq!(unescaped(field.as_bytes()), want.as_bytes(), "{field}");
        }
    }

    #[test]
    fn this_host_has_a_root() {
        assert!(mounts().expect("read").iter().any(|mount| mount.point.as_os_str() == "/"));
    }
}
