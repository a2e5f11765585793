//! `bench stall`: whether a Go program stalls longer while it is read in its memory.
//!
//! The program (`main.go`) has a ticker of a millisecond, goroutines that wait and a heap that is collected. It tells the gaps between its
//! ticks, window by window: alone, alone once more, and while a process beside it reads everything of it every second, all
//! goroutines and profiles included. The order changes from round to round, so that what else happens on the machine meets
//! all three alike; the two that are alone tell how much windows differ by themselves.

mod judge;
mod reader;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, ensure};
use clap::Args;
use serde::{Deserialize, Serialize};

pub(crate) use reader::{StallReaderArgs, run as read};

use super::guard::{Folder, Server};
use super::ingest::progress;
use super::machine::Machine;
use super::own::{OwnArgs, print};
use crate::output::Output;
use crate::render::table::aligned;
use judge::SignTest;

const PROGRAM: &str = include_str!("main.go");
/// Where Go's own installer puts it.
const GO_USUAL: &str = "/usr/local/go/bin/go";

/// Arguments of `bench stall`.
#[derive(Debug, Args)]
pub(crate) struct StallArgs {
    /// Goroutines that wait
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    goroutines: u32,
    /// Live heap, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    heap_mib: u32,
    /// How much of the heap is replaced, in MiB a second
    #[arg(long, value_name = "MIB", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    churn_mib: u32,
    /// Length of a window
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,
    /// Rounds of three windows
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    #[command(flatten)]
    own: OwnArgs,
}

/// A way to spend a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Arm {
    Alone,
    Again,
    Read,
}

/// Every order of the three, one after the other.
const ORDERS: [[Arm; 3]; 6] = [
    [Arm::Alone, Arm::Read, Arm::Again],
    [Arm::Again, Arm::Read, Arm::Alone],
    [Arm::Read, Arm::Alone, Arm::Again],
    [Arm::Read, Arm::Again, Arm::Alone],
    [Arm::Alone, Arm::Again, Arm::Read],
    [Arm::Again, Arm::Alone, Arm::Read],
];

/// What the program says of a window.
#[derive(Debug, Deserialize)]
struct Window {
    gaps_us: Vec<u64>,
    collections: u64,
    goroutines: u64,
    go: String,
}

/// All windows of one kind.
#[derive(Debug, Default)]
struct Windows {
    gaps_us: Vec<u64>,
    longest_us: Vec<u64>,
    collections: u64,
}

impl Windows {
    fn take(&mut self, window: Window) {
        self.longest_us.push(window.gaps_us.iter().max().copied().unwrap_or(0));
        self.gaps_us.extend(window.gaps_us);
        self.collections += window.collections;
    }

    fn figures(&mut self) -> Gaps {
        let quantile = |values: &mut Vec<u64>, part: f64| {
            values.sort_unstable();
            judge::quantile(values, part) as f64 / 1000.0
        };
        Gaps {
            ticks: self.gaps_us.len(),
            collections: self.collections,
            median_ms: quantile(&mut self.gaps_us, 0.5),
            p99_ms: quantile(&mut self.gaps_us, 0.99),
            p9999_ms: quantile(&mut self.gaps_us, 0.9999),
            longest_ms: quantile(&mut self.gaps_us, 1.0),
            longest_of_window_median_ms: quantile(&mut self.longest_us.clone(), 0.5),
        }
    }
}

/// Gaps between ticks of a millisecond.
#[derive(Debug, Serialize)]
struct Gaps {
    ticks: usize,
    collections: u64,
    median_ms: f64,
    p99_ms: f64,
    p9999_ms: f64,
    longest_ms: f64,
    longest_of_window_median_ms: f64,
}

/// All figures.
#[derive(Debug, Serialize)]
struct Figures {
    machine: Machine,
    go: String,
    goroutines: u64,
    heap_mib: u32,
    churn_mib: u32,
    window_seconds: u32,
    alone: Gaps,
    alone_again: Gaps,
    read: Gaps,
    /// Longest gaps while it was read, less those of the window alone of the same round.
    read_less_alone: SignTest,
    /// The same of the two that are alone: how much windows differ by themselves.
    again_less_alone: SignTest,
    /// Whether the program stalls longer while it is read, with 95 %.
    longer: bool,
    reader: reader::Cost,
}

/// Measures and prints.
pub(super) fn run(args: &StallArgs, output: &mut Output) -> anyhow::Result<()> {
    let folder = Folder::make(args.own.data.as_deref())?;
    let program = build(folder.path())?;
    let arguments = [args.goroutines, args.heap_mib, args.churn_mib].map(|number| number.to_string());
    let mut program = Talker::start(Command::new(&program).args(arguments))?;
    let pid = program.process.id().to_string();
    let own = std::env::current_exe().context("this program's own file")?;
    let mut reader = Talker::start(Command::new(own).args(["bench", "stall-reader", "--pid", &pid]))?;
    let window_ms = u64::from(args.seconds) * 1000;
    // Once each, so that caches are warm and the executable is known.
    let first: Window = program.ask(&window_ms.to_string())?;
    ensure!(first.goroutines >= u64::from(args.goroutines), "only {} goroutines", first.goroutines);
    let _: reader::Cost = reader.ask("2")?;

    let bar = progress(u64::from(args.rounds), "{spinner} measuring {bar:40} {pos}/{len} {eta} left")?;
    let [mut alone, mut again, mut read] = <[Windows; 3]>::default();
    let mut cost = reader::Cost::default();
    for (_, order) in (0..args.rounds).zip(ORDERS.iter().cycle()) {
        for arm in order {
            if *arm == Arm::Read {
                reader.tell(&args.seconds.to_string())?;
            }
            let window: Window = program.ask(&window_ms.to_string())?;
            match arm {
                Arm::Alone => alone.take(window),
                Arm::Again => again.take(window),
                Arm::Read => {
                    read.take(window);
                    cost.add(&reader.answer()?);
                }
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    ensure!(
        cost.goroutines_least >= u64::from(args.goroutines),
        "only {} goroutines were read; is there the right to read the program's memory?",
        cost.goroutines_least
    );
    let read_less_alone = SignTest::of(&alone.longest_us, &read.longest_us);
    let figures = Figures {
        machine: Machine::this(),
        go: first.go,
        goroutines: first.goroutines,
        heap_mib: args.heap_mib,
        churn_mib: args.churn_mib,
        window_seconds: args.seconds,
        longer: read_less_alone.longer(),
        again_less_alone: SignTest::of(&alone.longest_us, &again.longest_us),
        read_less_alone,
        alone: alone.figures(),
        alone_again: again.figures(),
        read: read.figures(),
        reader: cost,
    };
    print(output, args.own.json, &figures, show)
}

/// Builds the program in `folder`.
fn build(folder: &Path) -> anyhow::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::env::split_paths(&path).map(|folder| folder.join("go")).chain([PathBuf::from(GO_USUAL)]);
    let go = places.find(|file| file.is_file()).context("Go is not installed; bench stall builds a Go program")?;
    let source = folder.join("stalls.go");
    std::fs::write(&source, PROGRAM).context("writing the program")?;
    let program = folder.join("stalls");
    let mut command = Command::new(go);
    command.args(["build", "-o"]).arg(&program).arg(&source).env("GOTOOLCHAIN", "local").env("GOFLAGS", "");
    if std::env::var_os("HOME").is_none() && std::env::var_os("GOCACHE").is_none() {
        command.env("GOCACHE", folder.join("go-build"));
    }
    let built = command.stdin(Stdio::null()).output().context("go build")?;
    ensure!(built.status.success(), "go build: {}", String::from_utf8_lossy(&built.stderr));
    Ok(program)
}

/// A process that takes a line and answers with one of JSON.
struct Talker {
    process: Server,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Talker {
    fn start(command: &mut Command) -> anyhow::Result<Self> {
        let mut process = Server::spawn(command.stdin(Stdio::piped()).stdout(Stdio::piped()))?;
        let child: &mut Child = process.child();
        let orders = child.stdin.take().context("stdin is piped")?;
        let answers = BufReader::new(child.stdout.take().context("stdout is piped")?);
        Ok(Self { process, orders, answers })
    }

    fn tell(&mut self, line: &str) -> anyhow::Result<()> {
        writeln!(self.orders, "{line}").context("a process of the benchmark ended")
    }

    fn answer<T: for<'a> Deserialize<'a>>(&mut self) -> anyhow::Result<T> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        serde_json::from_str(&line).with_context(|| format!("a process of the benchmark answered {line:?}"))
    }

    fn ask<T: for<'a> Deserialize<'a>>(&mut self, line: &str) -> anyhow::Result<T> {
        self.tell(line)?;
        self.answer()
    }
}

fn show(figures: &Figures, width: Option<usize>) -> String {
    let ms = |ms: f64| format!("{ms:.2}");
    let row = |name: &str, gaps: &Gaps| {
        let times =
            [gaps.median_ms, gaps.p99_ms, gaps.p9999_ms, gaps.longest_of_window_median_ms, gaps.longest_ms].map(ms);
        let counts = [gaps.ticks.to_string(), gaps.collections.to_string()];
        [name.to_owned()].into_iter().chain(counts).chain(times).collect::<Vec<_>>()
    };
    let header = ["", "ticks", "collections", "p50 ms", "p99", "p99.99", "longest of a window, median", "longest"];
    let rows = [row("alone", &figures.alone), row("alone again", &figures.alone_again), row("read", &figures.read)];
    let reader = &figures.reader;
    format!(
        "{}\n{}, {} goroutines, {} MiB live, {} MiB/s replaced, windows of {} s\n{}\nread less alone: {}\nalone again less alone: {}\n\
         stalls longer while it is read: {}\n{} readings of everything, {} to {} goroutines each: {:.2} ms of CPU each\n",
        figures.machine.line(),
        figures.go,
        figures.goroutines,
        figures.heap_mib,
        figures.churn_mib,
        figures.window_seconds,
        aligned(&header, &rows, 7, width).trim_end(),
        figures.read_less_alone,
        figures.again_less_alone,
        if figures.longer { "yes" } else { "no" },
        reader.readings,
        reader.goroutines_least,
        reader.goroutines_most,
        reader.cpu_ms_each(),
    )
}
