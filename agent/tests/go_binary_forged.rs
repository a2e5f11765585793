//! Go executables made byte by byte: understood when they are whole, refused or bounded when they lie.

use std::fs::File;
use std::io::Write;

use agent::go::BuildInfo;
use agent::go::outside::binary::{Addresses, Arch, Field, GoBinary, GoVersion, Layout, Unreadable, Variable};
use proptest::prelude::*;

const RELEASE: &str = "go1.26.8";
const BASE: u64 = 0x40_0000;
const CODE_AT: usize = 0x200;
const DATA: u64 = 0x80_0000;
const SCHED: u64 = DATA + 0x1000;
const ALLGS: u64 = DATA + 0x8000;
const ALLM: u64 = DATA + 0x9000;

/// A function: its name, and the addresses that its code reads, 8 bytes each.
type Function = (&'static str, Vec<u64>);

fn layout() -> Layout {
    let version = GoVersion::parse(RELEASE).expect("a version");
    Layout::of(version, Arch::Amd64).expect("known")
}

/// Functions that touch the scheduler, the list of goroutines and the list of threads as Go's do.
fn functions() -> Vec<Function> {
    let sched = layout().sched;
    let at = |fields: &[Field]| -> Vec<u64> { fields.iter().map(|field| SCHED + u64::from(field.at)).collect() };
    let with = |mut touched: Vec<u64>, more: &[u64]| {
        touched.extend_from_slice(more);
        touched
    };
    let (lock, mnext, freed, idle) = (sched.lock, sched.mnext, sched.nmfreed, sched.nmidle);
    vec![
        ("internal/cpu.Initialize", vec![]),
        ("runtime.allgadd", vec![ALLGS, ALLGS + 8, ALLGS + 16]),
        ("runtime.forEachG", vec![ALLGS, ALLGS + 8]),
        ("runtime.gcPrepareMarkRoots", vec![ALLGS + 8, ALLGS]),
        ("runtime.schedtrace", with(at(&[lock, mnext, freed, idle, sched.npidle, sched.runqsize]), &[ALLM])),
        ("runtime.checkdead", at(&[lock, mnext, freed, idle, sched.nmsys])),
        ("runtime.mexit", with(at(&[lock, freed]), &[ALLM, DATA + 0x9100])),
        ("runtime.mcommoninit", with(at(&[lock]), &[ALLM, DATA + 0x9200])),
        ("main.main", vec![]),
    ]
}

fn padded(file: &mut Vec<u8>, multiple: usize) -> usize {
    file.resize(file.len().next_multiple_of(multiple), 0);
    file.len()
}

fn words(file: &mut Vec<u8>, words: &[u64]) {
    for word in words {
        file.extend_from_slice(&word.to_le_bytes());
    }
}

fn half(file: &mut [u8], at: usize, value: usize) {
    file[at..at + 4].copy_from_slice(&u32::try_from(value).expect("small").to_le_bytes());
}

/// The code of `functions`, one behind the other, and where each begins, from the first, and the last ends.
fn code(functions: &[Function]) -> (Vec<u8>, Vec<usize>) {
    let (mut code, mut starts) = (Vec::new(), Vec::new());
    for (_, touched) in functions {
        starts.push(code.len());
        for address in touched {
            // MOVQ address(IP), AX
            code.extend_from_slice(&[0x48, 0x8b, 0x05]);
            let next = BASE + CODE_AT as u64 + code.len() as u64 + 4;
            code.extend_from_slice(&u32::try_from(address - next).expect("near").to_le_bytes());
        }
        code.push(0xc3);
        padded(&mut code, 16);
    }
    starts.push(code.len());
    (code, starts)
}

/// The table of functions: line 10 and depth 8 throughout, all in `main.go`.
fn table(functions: &[Function], starts: &[usize]) -> Vec<u8> {
    let mut table = vec![0xf1, 0xff, 0xff, 0xff, 0, 0, 1, 8];
    words(&mut table, &[functions.len() as u64, 1, 0, 0, 0, 0, 0, 0]);
    let part = |table: &mut Vec<u8>, word: usize| {
        let at = padded(table, 8);
        table[8 + word * 8..16 + word * 8].copy_from_slice(&(at as u64).to_le_bytes());
        at
    };
    let names_at = part(&mut table, 3);
    let mut names = Vec::new();
    for (name, _) in functions {
        names.push(table.len() - names_at);
        table.extend_from_slice(name.as_bytes());
        table.push(0);
    }
    part(&mut table, 4);
    table.extend_from_slice(&[0; 4]);
    part(&mut table, 5);
    table.extend_from_slice(b"main.go\0");
    let differences_at = part(&mut table, 6);
    table.push(0);
    let mut values = |value: u8, bytes: usize| {
        let at = table.len() - differences_at;
        table.extend_from_slice(&[
            2 * (value + 1),
            u8::try_from(bytes % 128).expect("small") | 0x80,
            u8::try_from(bytes / 128).expect("small"),
            0,
        ]);
        at
    };
    let lengths = starts.windows(2).map(|pair| pair[1] - pair[0]);
    let tables: Vec<[usize; 3]> =
        lengths.map(|bytes| [values(8, bytes), values(0, bytes), values(10, bytes)]).collect();
    let records_at = part(&mut table, 7);
    table.resize(records_at + functions.len() * 8 + 8, 0);
    half(&mut table, records_at + functions.len() * 8, starts[functions.len()]);
    for (number, (name, tables)) in names.iter().zip(tables).enumerate() {
        let record = table.len();
        table.resize(record + 44, 0);
        for (offset, value) in [(0, starts[number]), (4, *name), (16, tables[0]), (20, tables[1]), (24, tables[2])] {
            half(&mut table, record + offset, value);
        }
        half(&mut table, records_at + number * 8, starts[number]);
        half(&mut table, records_at + number * 8 + 4, record - records_at);
    }
    table
}

/// An executable without sections: code and table in one segment, the linker's record in the other.
fn executable(functions: &[Function]) -> Vec<u8> {
    let (code, starts) = code(functions);
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    file.extend_from_slice(&[2, 0, 0x3e, 0, 1, 0, 0, 0]);
    words(&mut file, &[BASE + CODE_AT as u64, 64, 0]);
    file.extend_from_slice(&[0; 4]);
    for half in [64u16, 56, 2, 64, 0, 0] {
        file.extend_from_slice(&half.to_le_bytes());
    }
    file.resize(CODE_AT, 0);
    file.extend_from_slice(&code);
    let table_at = padded(&mut file, 32);
    file.extend_from_slice(&table(functions, &starts));
    let data_at = padded(&mut file, 4096);
    let names = u64::from_le_bytes(file[table_at + 32..table_at + 40].try_into().expect("eight"));
    let module = layout().module;
    let mut record = vec![0; 512];
    let table_address = BASE + table_at as u64;
    for (field, value) in
        [(module.header, table_address), (module.names, table_address + names), (module.text, BASE + CODE_AT as u64)]
    {
        record[field.at as usize..field.at as usize + 8].copy_from_slice(&value.to_le_bytes());
    }
    file.extend_from_slice(&record);
    let mut segments = Vec::new();
    for (flags, at, address, bytes, memory) in
        [(5, 0, BASE, data_at as u64, data_at as u64), (6, data_at as u64, DATA, 512, 0x1_0000)]
    {
        segments.extend_from_slice(&[1, 0, 0, 0, flags, 0, 0, 0]);
        words(&mut segments, &[at, address, address, bytes, memory, 4096]);
    }
    file[64..64 + 112].copy_from_slice(&segments);
    file
}

fn open_as(bytes: &[u8], release: &str) -> Result<GoBinary, Unreadable> {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(bytes).expect("written");
    let info = BuildInfo { go_version: release.to_owned(), ..BuildInfo::default() };
    GoBinary::open(File::open(file.path()).expect("opens"), &info)
}

fn open(bytes: &[u8]) -> Result<GoBinary, Unreadable> {
    open_as(bytes, RELEASE)
}

#[test]
fn a_whole_one_is_understood() {
    let functions = functions();
    let binary = open(&executable(&functions)).expect("whole");
    let addresses: &Addresses = binary.addresses();
    let found: Vec<_> = addresses.iter().collect();
    let want =
        [(Variable::Allgs, ALLGS), (Variable::Allm, ALLM), (Variable::Sched, SCHED), (Variable::FirstModuledata, DATA)];
    assert_eq!(found, want);
    assert!(!binary.position_independent());
    assert_eq!((binary.load_address(), binary.arch()), (BASE, Arch::Amd64));
    let table = binary.functions().expect("a table");
    let (_, starts) = code(&functions);
    for (number, (name, _)) in functions.iter().enumerate() {
        let first = BASE + (CODE_AT + starts[number]) as u64;
        let last = BASE + (CODE_AT + starts[number + 1]) as u64 - 1;
        for pc in [first, last] {
            let position = table.position(pc).expect("a function");
            assert_eq!((&*position.function.name, position.function.entry), (*name, first));
            let line = position.line.expect("a line");
            assert_eq!((line.file.as_str(), line.line), ("main.go", 10));
            assert_eq!(table.frame_bytes(pc), Some(8));
        }
    }
    let end = BASE + (CODE_AT + starts[functions.len()]) as u64;
    for pc in [0, BASE, BASE + CODE_AT as u64 - 1, end, u64::MAX] {
        assert_eq!(table.function(pc), None, "{pc:#x}");
    }
}

#[test]
fn witnesses_that_disagree_are_not_believed() {
    let mut functions = functions();
    // Two threads' lists: both are touched by all who should touch one.
    for (name, touched) in &mut functions {
        if ["runtime.schedtrace", "runtime.mexit", "runtime.mcommoninit"].contains(name) {
            touched.push(ALLM + 8);
        }
        // Half of those who know the list of goroutines know another.
        if ["runtime.forEachG", "runtime.gcPrepareMarkRoots"].contains(name) {
            for address in touched {
                *address += 0x800;
            }
        }
    }
    let binary = open(&executable(&functions)).expect("the scheduler is found");
    assert_eq!(binary.addresses().of(Variable::Allm), None);
    assert_eq!(binary.addresses().of(Variable::Allgs), None);
    assert_eq!(binary.addresses().of(Variable::Sched), Some(SCHED));
}

#[test]
fn others_are_refused_with_a_reason() {
    let whole = executable(&functions());
    let with = |at: usize, byte: u8| {
        let mut file = whole.clone();
        file[at] = byte;
        open(&file).err().map(|error| error.reason())
    };
    assert_eq!(with(4, 1), Some("format"), "32 bits");
    assert_eq!(with(5, 2), Some("format"), "big-endian");
    assert_eq!(with(18, 8), Some("format"), "MIPS");
    assert_eq!(open(b"#!/bin/sh\n").err().map(|error| error.reason()), Some("format"));
    for release in ["go1.18.10", "go1.99", "go1.27rc1", "devel go1.26-abc", "", "rust"] {
        assert_eq!(open_as(&whole, release).err().map(|error| error.reason()), Some("unknown_release"), "{release}");
    }
    let nobody: Vec<Function> = functions().into_iter().map(|(name, _)| (name, Vec::new())).collect();
    assert_eq!(open(&executable(&nobody)).err().map(|error| error.reason()), Some("no_addresses"));
}

/// Opens `bytes` and asks what there is to ask.
fn ask(bytes: &[u8]) {
    let Ok(binary) = open(bytes) else { return };
    let Some(table) = binary.functions() else { return };
    for pc in (BASE..BASE + 0x800).step_by(37).chain([0, u64::MAX]) {
        let _ = (table.position(pc), table.frame_bytes(pc));
    }
}

#[test]
fn cut_anywhere() {
    let whole = executable(&functions());
    for cut in (0..whole.len()).step_by(13) {
        ask(&whole[..cut]);
    }
}

#[test]
fn numbers_that_lie() {
    let whole = executable(&functions());
    let table = whole.windows(8).position(|bytes| bytes == [0xf1, 0xff, 0xff, 0xff, 0, 0, 1, 8]).expect("a table");
    let places = (0..8).map(|word| table + 8 + word * 8).chain([24, 32, 72, 80, 96, 104, 128, 136, 152, 160]);
    for at in places {
        for value in [0, 1, 0xffff, u64::from(u32::MAX), 1 << 40, u64::MAX - 7, u64::MAX] {
            let mut file = whole.clone();
            file[at..at + 8].copy_from_slice(&value.to_le_bytes());
            ask(&file);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn changed_bytes_never_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12)) {
        let mut file = executable(&functions());
        for (at, byte) in changes {
            let at = at.index(file.len());
            file[at] = byte;
        }
        ask(&file);
    }
}
