//! Replays every seed of every fuzz target, and some bytes of chance.

use std::fs;
use std::path::Path;

#[test]
fn seeds_hold() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds");
    for (name, run) in fuzz::TARGETS {
        let mut replayed = 0;
        for entry in fs::read_dir(seeds.join(name)).unwrap_or_else(|error| panic!("seeds of {name}: {error}")) {
            let path = entry.expect("a folder can be listed").path();
            println!("{}", path.display());
            run(&fs::read(&path).expect("a seed can be read"));
            replayed += 1;
        }
        assert!(replayed > 0, "{name} has no seeds");
    }
}

#[test]
fn chance_holds() {
    let mut random = fastrand::Rng::with_seed(1);
    for (name, run) in fuzz::TARGETS {
        println!("{name}");
        for _ in 0..if name == "engine_model" { 5 } else { 500 } {
            let length = random.usize(..400);
            let bytes: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(length).collect();
            run(&bytes);
        }
    }
}
