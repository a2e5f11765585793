//! The leak ladder against real programs: `tests/go` holds some that leak and some that only look like it. Time is virtual: a program
//! makes a step of half a minute when it is told to, then its goroutines are counted by the profile it gives, and the ladder judges
//! with the windows of production. Nothing depends on how fast the machine is.

#![expect(clippy::print_stdout, reason = "a test tells its figures")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use agent::go::census::Census;
use agent::go::leaks::{Baseline, Grade, Ladder, LeakOptions, Vitals};
use agent::go::profile::census::from_profile;
use agent::go::profile::{Limits, decode};

/// What a step stands for.
const STEP_MS: i64 = 30_000;
/// When every program began, in virtual milliseconds.
const BEGAN_MS: i64 = 1_767_225_600_000;
/// Programs that run at the same time; they mostly wait.
const AT_ONCE: usize = 6;
/// Most frames that a profile of the programs' Go keeps of a stack.
const FRAMES_MAX: usize = 128;
/// Longest profile.
const PROFILE_BYTES_MAX: usize = 4 << 20;

/// A line of `expected.tsv`.
#[derive(Debug)]
struct Expected {
    program: String,
    steps: i64,
    /// Sites and their wait; empty where nothing is to be told.
    sites: Vec<(String, String)>,
    grades: std::ops::RangeInclusive<i8>,
    /// Whether it is still told at the end.
    at_the_end: bool,
}

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/go")
}

fn expected() -> Vec<Expected> {
    let text = std::fs::read_to_string(corpus().join("expected.tsv")).expect("the table of the corpus");
    text.lines().filter(|line| !line.starts_with('#')).map(read_line).collect()
}

fn read_line(line: &str) -> Expected {
    let fields: Vec<&str> = line.split('\t').collect();
    let number = |at: usize| fields[at].parse::<i64>().unwrap_or_else(|error| panic!("{line}: {error}"));
    let grade = |at: usize| i8::try_from(number(at)).expect("a grade");
    let expected = Expected {
        program: fields[0].to_owned(),
        steps: number(1),
        sites: Vec::new(),
        grades: -1..=1,
        at_the_end: false,
    };
    if fields[2] == "-" {
        return expected;
    }
    let sites = fields[2].split(',').map(|site| (site.to_owned(), fields[3].to_owned())).collect();
    Expected { sites, grades: grade(4)..=grade(5), at_the_end: fields[6] == "told", ..expected }
}

/// Go on the PATH, or where its own installer puts it; in CI it must be there.
fn go() -> Option<PathBuf> {
    let usual = PathBuf::from("/usr/local/go/bin/go");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join("go")).find(|file| file.is_file());
    let found = found.or_else(|| usual.is_file().then_some(usual));
    assert!(found.is_some() || std::env::var_os("CI").is_none(), "Go must be installed in CI");
    if found.is_none() {
        println!("skipped: go is not installed");
    }
    found
}

fn build(go: &Path, folder: &Path) -> PathBuf {
    let program = folder.join("corpus");
    let mut command = Command::new(go);
    if std::env::var_os("HOME").is_none() && std::env::var_os("GOCACHE").is_none() {
        command.env("GOCACHE", folder.join("go-build"));
    }
    let built = command
        .args(["build", "-o"])
        .arg(&program)
        .arg(".")
        .current_dir(corpus())
        .env("GOTOOLCHAIN", "local")
        .env("GOPROXY", "off")
        .stdin(Stdio::null())
        .output()
        .expect("go runs");
    assert!(built.status.success(), "go build: {}", String::from_utf8_lossy(&built.stderr));
    program
}

/// A running program; killed when dropped.
#[derive(Debug)]
struct Program {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    now: i64,
}

impl Program {
    fn start(executable: &Path, name: &str) -> Self {
        let mut child = Command::new(executable)
            .arg(name)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("the program starts");
        let orders = child.stdin.take().expect("stdin is piped");
        let answers = BufReader::new(child.stdout.take().expect("stdout is piped"));
        Self { child, orders, answers, now: 0 }
    }

    /// Makes a step, and counts.
    fn step(&mut self) -> (Census, Vitals) {
        self.now += 1;
        self.orders.write_all(b"step\n").expect("the program takes orders");
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("the program answers");
        let (load, bytes) = line.trim().split_once(' ').unwrap_or_else(|| panic!("the answer is {line:?}"));
        let bytes: usize = bytes.parse().expect("a length");
        assert!(bytes <= PROFILE_BYTES_MAX, "a profile of {bytes} bytes");
        let mut page = vec![0; bytes];
        self.answers.read_exact(&mut page).expect("the whole profile");
        let profile = decode(&page, &Limits::default()).expect("a profile");
        let load: f64 = load.parse().expect("a number");
        let vitals = Vitals { began_ms: BEGAN_MS, created: None, load: (load > 0.0).then_some(load) };
        (from_profile(&profile, BEGAN_MS + self.now * STEP_MS, FRAMES_MAX), vitals)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// What was told of one program: by site the highest grade, and its last one.
#[derive(Debug, Default)]
struct Told {
    highest: BTreeMap<(String, String), (Grade, i64)>,
    at_the_end: Vec<(String, String)>,
}

fn run(executable: &Path, of: &Expected) -> Told {
    let options = LeakOptions::default();
    let mut program = Program::start(executable, &of.program);
    let (mut ladder, mut baseline, mut told) = (Ladder::default(), Baseline::default(), Told::default());
    for _ in 0..of.steps {
        let (census, vitals) = program.step();
        ladder.observe(&census, &vitals, &mut baseline, &options);
        let sites = ladder.verdict(&options).sites;
        for site in &sites {
            let key = (site.site.function.clone(), site.site.wait.clone());
            let (grade, _) = told.highest.entry(key).or_insert((site.grade, program.now));
            *grade = site.grade.max(*grade);
        }
        told.at_the_end = sites.into_iter().map(|site| (site.site.function, site.site.wait)).collect();
    }
    told
}

/// Right and wrong verdicts.
#[derive(Debug, Default)]
struct Score {
    found: u32,
    missed: u32,
    alarms: u32,
    faults: Vec<String>,
}

impl Score {
    fn note(&mut self, of: &Expected, told: &Told) {
        let means = |(site, wait): &(String, String), told: &(String, String)| {
            *site == told.0 && (wait == "*" || *wait == told.1 || told.1 == "any")
        };
        for (told, (grade, step)) in &told.highest {
            if !of.sites.iter().any(|site| means(site, told)) {
                self.alarms += 1;
                self.faults.push(format!("{}: {told:?} has grade {grade:?} from step {step} on", of.program));
            } else if !of.grades.contains(&grade.number()) {
                self.faults.push(format!("{}: {told:?} has grade {grade:?}", of.program));
            }
        }
        for site in &of.sites {
            let found = told.highest.keys().any(|told| means(site, told));
            self.found += u32::from(found);
            self.missed += u32::from(!found);
            if !found {
                self.faults.push(format!("{}: {site:?} is missed", of.program));
            } else if of.at_the_end != told.at_the_end.iter().any(|told| means(site, told)) {
                self.faults.push(format!("{}: {site:?} is told at the end: {}", of.program, !of.at_the_end));
            }
        }
    }
}

#[test]
fn leaks_of_real_programs_are_told_and_innocents_are_not() {
    let Some(go) = go() else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let executable = build(&go, folder.path());
    let all = expected();
    let (next, score) = (AtomicUsize::new(0), Mutex::new(Score::default()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(of) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let told = run(&executable, of);
                    score.lock().expect("no thread panicked").note(of, &told);
                }
            });
        }
    });
    let Score { found, missed, alarms, faults } = score.into_inner().expect("no thread panicked");
    let leaking = all.iter().filter(|of| !of.sites.is_empty()).count();
    println!("{leaking} programs that leak and {} that do not", all.len() - leaking);
    println!("grade 2 and above: {found} sites found, {missed} missed, {alarms} false alarms");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The table names every program of the corpus, and no other.
#[test]
fn the_table_is_complete() {
    let Some(go) = go() else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let listed = Command::new(build(&go, folder.path())).arg("-list").output().expect("the corpus runs");
    let mut named: Vec<String> = expected().into_iter().map(|of| of.program).collect();
    named.sort();
    let all = String::from_utf8(listed.stdout).expect("UTF-8");
    assert_eq!(all.lines().collect::<Vec<_>>(), named);
}
