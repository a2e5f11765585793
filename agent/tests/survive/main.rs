//! What an agent has to live through, most of it as the real program: its own `kill -9`, a server that is away for an hour, a full disk
//! (`delivery`), a clock that jumps (`clock`), hundreds of processes at once (`many`). Processes that end or execute another program while
//! they are read are in `outside_lives.rs`; executables that lie, running, in `forged`; any bytes in their place, in `elf_garbage.rs`, `go_binary_forged.rs` and `outside_forged.rs`.

mod clock;
mod delivery;
mod forged;
mod many;
mod process;
#[path = "../subject/mod.rs"]
mod subject;
#[path = "../support/mod.rs"]
mod support;
