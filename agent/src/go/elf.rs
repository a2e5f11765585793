#![warn(clippy::indexing_slicing)]
//! A bounded walk over an ELF file: its loadable segments and where a named section lies.
//!
//! The file is any executable of any user, so nothing it says is believed: every read has a cap, tables have a cap, and
//! a range is checked against the file's size before it is read. Meaning of the bytes belongs to `buildinfo`.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use object::Endianness;
use object::elf::{
    ET_DYN, FileHeader32, FileHeader64, Machine, PF_W, PT_LOAD, ProgramHeader32, ProgramHeader64, SHT_NOBITS,
    SectionHeader32, SectionHeader64, SectionType,
};
use object::pod::{Pod, slice_from_bytes};
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader};

/// Most program headers that are looked at.
const SEGMENTS_MAX: usize = 256;
/// Most section headers that are looked at.
const SECTIONS_MAX: usize = 1024;
/// Longest table of section names.
const SECTION_NAMES_BYTES_MAX: u64 = 64 << 10;
/// Longest single read.
pub(super) const READ_BYTES_MAX: u64 = 1 << 20;
/// Length of the header of a 64-bit file, the longer of the two.
const HEADER_BYTES: usize = 64;

/// A loadable segment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Segment {
    pub(super) address: u64,
    pub(super) offset: u64,
    pub(super) file_bytes: u64,
    /// In memory; what the file lacks is zeros.
    pub(super) memory_bytes: u64,
    pub(super) writable: bool,
}

/// A section; `offset` and `bytes` are where it lies in the file.
#[derive(Debug, Clone)]
pub(super) struct Section {
    name: Vec<u8>,
    pub(super) kind: SectionType,
    pub(super) address: u64,
    pub(super) offset: u64,
    pub(super) bytes: u64,
    /// Index of the section that belongs to this one, such as the names of a table of symbols.
    pub(super) link: u32,
}

/// An ELF file, opened.
#[derive(Debug)]
pub(super) struct Elf {
    file: Arc<File>,
    file_bytes: u64,
    pub(super) big_endian: bool,
    pub(super) wide: bool,
    pub(super) machine: Machine,
    /// Whether the kernel chooses where to load it.
    pub(super) position_independent: bool,
    /// Where it starts.
    pub(super) entry: u64,
    pub(super) segments: Vec<Segment>,
    pub(super) sections: Vec<Section>,
}

impl Elf {
    /// Reads the tables of `file`; nothing when it is no ELF file.
    pub(super) fn open(file: File) -> io::Result<Option<Self>> {
        let file_bytes = file.metadata()?.len();
        let mut elf = Self {
            file: Arc::new(file),
            file_bytes,
            big_endian: false,
            wide: false,
            machine: Machine::default(),
            position_independent: false,
            entry: 0,
            segments: Vec::new(),
            sections: Vec::new(),
        };
        let Some(header) = elf.read(0, HEADER_BYTES as u64)? else { return Ok(None) };
        let known = if let Ok(header) = FileHeader64::<Endianness>::parse(header.as_slice()) {
            elf.read_tables::<_, ProgramHeader64<Endianness>, SectionHeader64<Endianness>>(header)?
        } else if let Ok(header) = FileHeader32::<Endianness>::parse(header.as_slice()) {
            elf.read_tables::<_, ProgramHeader32<Endianness>, SectionHeader32<Endianness>>(header)?
        } else {
            None
        };
        Ok(known.map(|()| elf))
    }

    /// The `length` bytes at `offset` in the file; nothing when they do not all exist or are more than
    /// [`READ_BYTES_MAX`].
    pub(super) fn read(&self, offset: u64, length: u64) -> io::Result<Option<Vec<u8>>> {
        let inside = offset.checked_add(length).is_some_and(|end| end <= self.file_bytes);
        if !inside || length > READ_BYTES_MAX {
            return Ok(None);
        }
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        match self.file.read_exact_at(&mut bytes, offset) {
            Ok(()) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Up to `most` bytes from `offset` on, fewer at the end of the file.
    pub(super) fn read_up_to(&self, offset: u64, most: u64) -> io::Result<Vec<u8>> {
        let length = self.file_bytes.saturating_sub(offset).min(most).min(READ_BYTES_MAX);
        Ok(self.read(offset, length)?.unwrap_or_default())
    }

    /// Where the byte at virtual `address` lies in the file.
    pub(super) fn offset_of(&self, address: u64) -> Option<u64> {
        self.segments.iter().find_map(|segment| {
            let within = address.checked_sub(segment.address).filter(|within| *within < segment.file_bytes)?;
            segment.offset.checked_add(within)
        })
    }

    /// Offset and length of the section called `name`.
    pub(super) fn section(&self, name: &[u8]) -> Option<(u64, u64)> {
        self.sections.iter().find(|section| section.name == name).map(|section| (section.offset, section.bytes))
    }

    /// The section called `name`, if it lies in the file.
    pub(super) fn section_called(&self, name: &[u8]) -> Option<&Section> {
        self.sections.iter().find(|section| section.name == name && section.kind != SHT_NOBITS)
    }

    /// The file, for those who keep reading it.
    pub(super) fn file(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }

    /// Length of the file.
    pub(super) fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// The bytes at virtual `address`, as many as asked for or none; see [`Self::read`].
    pub(super) fn read_at(&self, address: u64, length: u64) -> Option<Vec<u8>> {
        self.read(self.offset_of(address)?, length).ok()?
    }

    /// Whether a table of sections was found; it can be stripped.
    pub(super) fn has_sections(&self) -> bool {
        self.sections.iter().any(|section| !section.name.is_empty())
    }

    fn read_tables<H, P, S>(&mut self, header: &H) -> io::Result<Option<()>>
    where
        H: FileHeader<Endian = Endianness>,
        P: ProgramHeader<Endian = Endianness> + Pod,
        S: SectionHeader<Endian = Endianness> + Pod,
    {
        let Ok(endian) = header.endian() else { return Ok(None) };
        self.big_endian = header.is_big_endian();
        self.wide = header.is_type_64();
        self.machine = header.e_machine(endian);
        self.position_independent = header.e_type(endian) == ET_DYN;
        self.entry = header.e_entry(endian).into();
        let count = usize::from(header.e_phnum(endian)).min(SEGMENTS_MAX);
        let whole = usize::from(header.e_phentsize(endian)) == size_of::<P>();
        let table = self.table::<P>(header.e_phoff(endian).into(), if whole { count } else { 0 })?;
        for entry in table.as_deref().map_or(&[][..], |bytes| entries::<P>(bytes, count)) {
            if entry.p_type(endian) == PT_LOAD {
                self.segments.push(Segment {
                    address: entry.p_vaddr(endian).into(),
                    offset: entry.p_offset(endian).into(),
                    file_bytes: entry.p_filesz(endian).into(),
                    memory_bytes: entry.p_memsz(endian).into(),
                    writable: entry.p_flags(endian).contains(PF_W),
                });
            }
        }
        self.read_sections::<H, S>(header, endian)?;
        Ok(Some(()))
    }

    /// Sections are a help, not a need: a file without them, or with broken ones, is searched by its segments.
    fn read_sections<H, S>(&mut self, header: &H, endian: Endianness) -> io::Result<()>
    where
        H: FileHeader<Endian = Endianness>,
        S: SectionHeader<Endian = Endianness> + Pod,
    {
        let count = usize::from(header.e_shnum(endian));
        if count > SECTIONS_MAX || usize::from(header.e_shentsize(endian)) != size_of::<S>() {
            return Ok(());
        }
        let Some(bytes) = self.table::<S>(header.e_shoff(endian).into(), count)? else { return Ok(()) };
        let table = entries::<S>(&bytes, count);
        let names_at = usize::from(header.e_shstrndx(endian).0);
        let Some(names) = table.get(names_at) else { return Ok(()) };
        let names_bytes = names.sh_size(endian).into().min(SECTION_NAMES_BYTES_MAX);
        let names = self.read_up_to(names.sh_offset(endian).into(), names_bytes)?;
        for entry in table {
            let start = usize::try_from(entry.sh_name(endian)).unwrap_or(usize::MAX);
            let name = names.get(start..).and_then(|rest| rest.split(|byte| *byte == 0).next());
            // Sections without a name stay in the list, so that links to others find theirs.
            self.sections.push(Section {
                name: name.unwrap_or_default().to_vec(),
                kind: entry.sh_type(endian),
                address: entry.sh_addr(endian).into(),
                offset: entry.sh_offset(endian).into(),
                bytes: entry.sh_size(endian).into(),
                link: entry.sh_link(endian),
            });
        }
        Ok(())
    }

    fn table<T>(&self, offset: u64, count: usize) -> io::Result<Option<Vec<u8>>> {
        self.read(offset, (count * size_of::<T>()) as u64)
    }
}

fn entries<T: Pod>(bytes: &[u8], count: usize) -> &[T] {
    slice_from_bytes(bytes, count).map_or(&[], |(entries, _)| entries)
}
