//! Any bytes as the memory of a Go process: whatever its runtime seems to be, reading ends within its allowance, and what
//! is believed holds together.

use std::time::Duration;

use agent::go::outside::binary::{Addresses, Arch, GoVersion, Layout, Variable};
use agent::go::outside::counters::Counters;
use agent::go::outside::image::Image;
use agent::go::outside::memory::{Allowance, Fault, Memory, Reader};
use agent::go::outside::names::{Names, Remembered};
use agent::go::outside::profile::{Profile, ProfileKind, STACKS_MAX};
use agent::go::outside::sites::{self, Known};
use agent::go::outside::snapshot::Snapshot;
use agent::go::outside::time_histogram::Bounds;
use agent::go::outside::walk::{Walk, WalkLimits};

const START: u64 = 0x1000_0000;
const END: u64 = START + (4 << 20);
/// Distance between two variables.
const STEP: u64 = 16 << 10;
const ALLOWANCE: Allowance = Allowance { bytes: 96 << 10, time: Duration::from_secs(20) };
const LIMITS: WalkLimits = WalkLimits { goroutines_max: 500, blocked_before_ns: 1 << 40, known_id: 1 << 10 };
const RELEASES: [&str; 3] = ["go1.26.8", "go1.21.13", "go1.24.11"];

/// Memory of which each word is given by 3 bytes of the input: of which form it is, and a number.
struct Told<'a>(&'a [u8]);

impl Told<'_> {
    fn word(&self, at: u64) -> u64 {
        let entries = self.0.as_chunks::<3>().0;
        let slot = usize::try_from((at - START) / 8).unwrap_or(0);
        // The first words of each variable are told one by one; what is behind them repeats.
        let Some([form, low, high]) = entries.get(slot % entries.len().max(1)) else { return 0 };
        let number = u64::from(u16::from_le_bytes([*low, *high]));
        match form % 6 {
            0 => 0,
            1 => number,
            2 => START + number * 8,
            3 => START + number * 64,
            4 => u64::MAX - number,
            _ => number << 40,
        }
    }
}

impl Memory for Told<'_> {
    fn read(&self, address: u64, into: &mut [u8]) -> Result<(), Fault> {
        let end = address.checked_add(into.len() as u64).ok_or(Fault::Unmapped)?;
        if address < START || end > END {
            return Err(Fault::Unmapped);
        }
        let (mut at, mut rest) = (address, into);
        while !rest.is_empty() {
            let word = self.word(at & !7).to_le_bytes();
            let bytes = &word[usize::try_from(at & 7).unwrap_or(0)..];
            let length = bytes.len().min(rest.len());
            rest[..length].copy_from_slice(&bytes[..length]);
            (at, rest) = (at + length as u64, &mut rest[length..]);
        }
        Ok(())
    }
}

/// First the release, then the words.
pub fn run(data: &[u8]) {
    let Some((&release, words)) = data.split_first() else { return };
    let version = GoVersion::parse(RELEASES[usize::from(release) % RELEASES.len()]).expect("a version");
    let Some(layout) = Layout::of(version, Arch::Amd64) else { return };
    let addresses: Addresses = (START..)
        .step_by(usize::try_from(STEP).expect("small"))
        .zip(Variable::ALL)
        .map(|(at, variable)| (variable, at))
        .collect();
    let image = Image { layout: &layout, addresses: &addresses, bias: 0, minor: version.minor().unwrap_or(0) };
    let memory = Told(words);
    let reader = || Reader::new(&memory, ALLOWANCE);
    let _ = image.check_version(&mut reader(), "go1.26.8");
    if let Ok(snapshot) = Snapshot::read(&image, &mut reader()) {
        let counters = Counters::new(&layout, &snapshot, image.minor);
        assert!(counters.numbers().all(|(_, value)| value.is_finite()));
        for (_, histogram) in counters.histograms(Bounds::of(layout.time_histogram).as_ref()) {
            histogram.check().expect("a histogram whatever it is made of");
        }
        let _ = counters.pauses();
    }
    if let Ok(walk) = Walk::take(&image, &mut reader(), LIMITS) {
        assert!(walk.alive <= walk.looked_at && walk.looked_at <= walk.listed);
        let (mut remembered, known) =
            (Remembered::default(), Known { at_ms: 1, now_ns: 1 << 41, total: None, newcomers: true });
        let mut names = Names::new(None, &mut remembered);
        if let Ok(census) = sites::census(&walk, known, &image, &mut reader(), &mut names) {
            assert!(census.sites.len() <= sites::SITES_MAX + 1);
        }
    }
    for kind in ProfileKind::ALL {
        if let Ok(profile) = Profile::read(kind, &image, &mut reader()) {
            assert!(profile.stacks.len() <= STACKS_MAX);
        }
    }
}
