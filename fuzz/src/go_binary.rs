//! A Go executable that may be anything: opening it and asking for functions and lines never panics, and what it says of
//! a function holds together.

use std::fs::File;
use std::io::{Seek, Write};

use agent::go::BuildInfo;
use agent::go::outside::binary::GoBinary;

use crate::input::Input;

const RELEASES: [&str; 4] = ["go1.19.8", "go1.21.13", "go1.26.8", "go1.27.3"];

/// First which release it is to be, then the file.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let release = RELEASES[usize::from(input.byte()) % RELEASES.len()];
    let mut file: File = tempfile::tempfile().expect("a temporary file");
    file.write_all(input.rest()).expect("a file can be written");
    file.rewind().expect("a file has a start");
    let info = BuildInfo { go_version: release.to_owned(), ..BuildInfo::default() };
    let Ok(binary) = GoBinary::open(file, &info) else { return };
    let Some(functions) = binary.functions() else { return };
    let start = binary.load_address();
    for pc in (0..0x2000).step_by(61).map(|step| start.wrapping_add(step)) {
        if let Some(position) = functions.position(pc) {
            assert!(position.function.entry <= pc, "{pc:#x} lies in {position:?}");
            let again = functions.function(pc).expect("as before");
            assert_eq!(again, position.function);
            let _ = functions.frame_bytes(pc);
        }
    }
}
