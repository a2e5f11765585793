#![warn(clippy::indexing_slicing)]
//! The memory of a running process as `/proc/PID/mem` gives it: read, never attached to, never stopped.
//!
//! An open file of it belongs to one address space. When the process ends or executes another program, reads of it yield
//! nothing more, so that numbers of two programs never mix; that the file was opened for the process that was meant is
//! checked behind the opening, by its start and its executable. Reading needs the right to trace the process: the same
//! user, or `CAP_SYS_PTRACE`.

use std::fs::{self, File, Metadata};
use std::io::{self, BufRead, BufReader, ErrorKind, Read as _};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;

use procfs::process::Process;

use super::binary::GoBinary;
use super::memory::{Fault, Memory};
use crate::go::identity::Life;

/// Longest part of `/proc/PID/maps` that is looked at for the executable, which comes first.
const MAPS_BYTES_MAX: u64 = 1 << 20;
/// Device and inode of a file.
type FileId = (u64, u64);

/// The memory of one life of one program.
#[derive(Debug)]
pub struct ProcessMemory {
    mem: File,
    life: Life,
    exe: FileId,
    exe_metadata: Metadata,
    code_start: u64,
}

impl ProcessMemory {
    /// Opens the memory of the process of `life`.
    ///
    /// # Errors
    ///
    /// When it is gone or may not be read.
    pub fn open(life: &Life) -> Result<Self, Fault> {
        // The order counts: what is asked behind the opening holds for the address space that was opened, or reads fail.
        let mem = File::open(format!("/proc/{}/mem", life.pid)).map_err(|error| fault(&error))?;
        let exe_metadata = fs::metadata(exe_path(life)).map_err(|error| fault(&error))?;
        let code_start = code_start(life)?;
        Ok(Self { mem, life: life.clone(), exe: file_id(&exe_metadata), exe_metadata, code_start })
    }

    /// Device and inode of the executable.
    pub fn exe(&self) -> FileId {
        self.exe
    }

    /// Where the program's code begins, which differs from one start of a position-independent program to the next.
    pub fn code_start(&self) -> u64 {
        self.code_start
    }

    /// The executable, opened.
    ///
    /// # Errors
    ///
    /// When it may not be read or is another one meanwhile.
    pub fn open_executable(&self) -> Result<File, Fault> {
        let file = File::open(exe_path(&self.life)).map_err(|error| fault(&error))?;
        let metadata = file.metadata().map_err(|error| fault(&error))?;
        if file_id(&metadata) == self.exe { Ok(file) } else { Err(Fault::Gone) }
    }

    /// What the file system says of the executable.
    pub fn executable_metadata(&self) -> &Metadata {
        &self.exe_metadata
    }

    /// Whether the process still is what it was when its memory was opened.
    ///
    /// # Errors
    ///
    /// [`Fault::Gone`] when it is not.
    pub fn check_life(&self) -> Result<(), Fault> {
        let exe = fs::metadata(exe_path(&self.life)).map_err(|error| fault(&error))?;
        let same = file_id(&exe) == self.exe && code_start(&self.life)? == self.code_start;
        if same { Ok(()) } else { Err(Fault::Gone) }
    }

    /// What this process adds to addresses as `binary` has them.
    ///
    /// # Errors
    ///
    /// As [`load_address`](Self::load_address).
    pub fn bias_of(&self, binary: &GoBinary) -> Result<u64, Fault> {
        if !binary.position_independent() {
            return Ok(0);
        }
        Ok(self.load_address()?.wrapping_sub(binary.load_address()))
    }

    /// Where the beginning of the executable file is in memory. For a position-independent program this is the distance
    /// between addresses in the file and in memory.
    ///
    /// # Errors
    ///
    /// When the process is gone, or its executable is not among the first mappings.
    pub fn load_address(&self) -> Result<u64, Fault> {
        let maps = File::open(format!("/proc/{}/maps", self.life.pid)).map_err(|error| fault(&error))?;
        // Some filesystems give files another device number in mappings; the path tells there.
        let path = fs::read_link(exe_path(&self.life)).unwrap_or_default();
        let path = path.to_string_lossy();
        for line in BufReader::new(maps.take(MAPS_BYTES_MAX)).split(b'\n') {
            let line = line.map_err(|error| fault(&error))?;
            if let Some(start) = executable_start(&String::from_utf8_lossy(&line), self.exe, &path) {
                return Ok(start);
            }
        }
        Err(Fault::Implausible("the executable is not mapped"))
    }
}

impl Memory for ProcessMemory {
    fn read(&self, address: u64, into: &mut [u8]) -> Result<(), Fault> {
        self.mem.read_exact_at(into, address).map_err(|error| match error.kind() {
            // No byte: the address space is gone. Where a part can be read the next read says what is wrong with the rest.
            ErrorKind::UnexpectedEof | ErrorKind::NotFound => Fault::Gone,
            ErrorKind::PermissionDenied => Fault::NoRight,
            _ if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => Fault::Gone,
            _ => Fault::Unmapped,
        })
    }
}

fn exe_path(life: &Life) -> PathBuf {
    PathBuf::from(format!("/proc/{}/exe", life.pid))
}

fn file_id(metadata: &Metadata) -> FileId {
    (metadata.dev(), metadata.ino())
}

fn fault(error: &io::Error) -> Fault {
    if error.kind() == ErrorKind::PermissionDenied { Fault::NoRight } else { Fault::Gone }
}

/// Where the code of the process of `life` begins; an error when the id belongs to another process now.
fn code_start(life: &Life) -> Result<u64, Fault> {
    let stat = Process::new(life.pid).and_then(|process| process.stat()).map_err(|_| Fault::Gone)?;
    if stat.starttime == life.start_ticks { Ok(stat.startcode) } else { Err(Fault::Gone) }
}

/// The start of the mapping in a line of `/proc/PID/maps`, when it maps the executable from its beginning on.
fn executable_start(line: &str, exe: FileId, path: &str) -> Option<u64> {
    let mut fields = line.splitn(6, ' ');
    let (range, _rights, offset, device, inode) =
        (fields.next()?, fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let mapped_path = fields.next().unwrap_or("").trim_start();
    let start = u64::from_str_radix(range.split_once('-')?.0, 16).ok()?;
    let (major, minor) = device.split_once(':')?;
    let device = (u64::from_str_radix(major, 16).ok()?, u64::from_str_radix(minor, 16).ok()?);
    let inode: u64 = inode.parse().ok()?;
    let numbers = (u64::from(rustix::fs::major(exe.0)), u64::from(rustix::fs::minor(exe.0)));
    let same = (device == numbers && inode == exe.1) || (!path.is_empty() && mapped_path == path);
    (same && inode != 0 && offset.bytes().all(|digit| digit == b'0')).then_some(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own_life() -> Life {
        let stat = Process::myself().and_then(|own| own.stat()).expect("own stat");
        Life { start_ticks: stat.starttime, pid: stat.pid, name: "test".to_owned() }
    }

    #[test]
    fn own_memory_is_read() {
        let memory = ProcessMemory::open(&own_life()).expect("own memory");
        let secret = std::hint::black_box(*b"some bytes of this test");
        let mut read = [0; 23];
        memory.read(secret.as_ptr().addr() as u64, &mut read).expect("mapped");
        assert_eq!(read, secret);
        assert_eq!(memory.read(8, &mut read), Err(Fault::Unmapped));
        assert_eq!(memory.read(u64::MAX - 4, &mut read), Err(Fault::Unmapped));
        memory.check_life().expect("alive");
        let start = memory.load_address().expect("mapped");
        let mut magic = [0; 4];
        memory.read(start, &mut magic).expect("mapped");
        assert_eq!(&magic, b"\x7fELF");
        let file = memory.open_executable().expect("opens");
        assert_eq!(file_id(&file.metadata().expect("a file")), memory.exe());
    }

    #[test]
    fn another_life_is_gone() {
        let mut life = own_life();
        life.start_ticks += 1;
        assert_eq!(ProcessMemory::open(&life).expect_err("another start"), Fault::Gone);
        life.pid = i32::MAX;
        assert_eq!(ProcessMemory::open(&life).expect_err("no such process"), Fault::Gone);
    }

    #[test]
    fn a_process_that_ended_yields_nothing() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("starts");
        let pid = i32::try_from(child.id()).expect("an id");
        let start_ticks = Process::new(pid).and_then(|process| process.stat()).expect("runs").starttime;
        let life = Life { start_ticks, pid, name: "sleep".to_owned() };
        let memory = ProcessMemory::open(&life).expect("a child may be read");
        child.kill().expect("killed");
        child.wait().expect("ended");
        assert_eq!(memory.read(memory.code_start(), &mut [0; 8]), Err(Fault::Gone));
        assert_eq!(memory.check_life(), Err(Fault::Gone));
    }

    #[test]
    fn lines_of_maps() {
        let exe = (rustix::fs::makedev(0xfd, 1), 77);
        let check = |line: &str, want: Option<u64>| assert_eq!(executable_start(line, exe, "/opt/a b"), want, "{line}");
        check("55d0c000-55d0d000 r--p 00000000 fd:01 77                         /opt/a b", Some(0x55d0_c000));
        check("55d0c000-55d0d000 r--p 00000000 00:2e 78                         /opt/a b", Some(0x55d0_c000));
        check("55d0c000-55d0d000 r--p 00001000 fd:01 77                         /opt/a b", None);
        check("55d0c000-55d0d000 r--p 00000000 fd:02 77                         /opt/c", None);
        check("55d0c000-55d0d000 r--p 00000000 00:00 0 ", None);
        check("ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]", None);
        for line in ["", "x", "1-2 r 0", "zz-1 r 0 fd:01 77", "1-2 r 0 fd 77 /opt/a b"] {
            check(line, None);
        }
    }
}
