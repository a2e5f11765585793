//! The leak ladder against real programs: `tests/go` holds some that leak and some that only look like it. Time is virtual: a program
//! makes a step of half a minute when it is told to, then its goroutines are counted, by the profile it gives and in its memory, and the
//! ladder judges both with the windows of production. Nothing depends on how fast the machine is.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::print_stdout,
    reason = "a test that counts, and tells its figures"
)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use agent::collect::Collector;
use agent::config::Config;
use agent::go::census::Census;
use agent::go::discover::Scan;
use agent::go::identity::Life;
use agent::go::leaks::{Baseline, Grade, Ladder, LeakOptions, Vitals};
use agent::go::outside::{Outside, SharedCensuses};
use agent::go::profile::census::from_profile;
use agent::go::profile::{Limits, decode};
use agent::go::ways::Ways;
use agent::go::{Discovery, SharedProcesses};
use agent::readings::Readings;

/// What a step stands for.
const STEP_MS: i64 = 30_000;
/// When every program began, in virtual milliseconds.
const BEGAN_MS: i64 = 1_767_225_600_000;
/// Programs that run at the same time; they mostly wait.
const AT_ONCE: usize = 8;
/// Most frames that a profile of the programs' Go keeps of a stack.
const FRAMES_MAX: usize = 128;
/// What the runtime counts from Go 1.26 on.
const CREATED: &str = "go_sched_goroutines_created_goroutines_total";
/// Readings that are tried of one look.
const READINGS_MAX: usize = 20;
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
    /// Whether numbers alone do not tell it in that time: among those that come and go it shows by how long it is blocked.
    by_age: bool,
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
        by_age: false,
    };
    if fields[2] == "-" {
        return Expected { by_age: fields.get(3) == Some(&"ages"), ..expected };
    }
    let sites = fields[2].split(',').map(|site| (site.to_owned(), fields[3].to_owned())).collect();
    Expected {
        sites,
        grades: grade(4)..=grade(5),
        at_the_end: fields[6] == "told",
        by_age: fields.get(7) == Some(&"ages"),
        ..expected
    }
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

    /// Makes two steps, a minute, and counts by profile.
    fn look(&mut self) -> (Census, Vitals) {
        self.now += 2;
        self.orders.write_all(b"step\nlook\n").expect("the program takes orders");
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

/// Reads one program in its memory.
struct Memory {
    outside: Outside,
    config: Config,
    censuses: SharedCensuses,
    life: Life,
    /// When it was looked at.
    looks: Vec<Instant>,
    /// Whether there was a look without a reading.
    is_unreadable: bool,
}

impl Memory {
    fn new(pid: u32) -> Self {
        let found = Discovery::new("here", Vec::new(), 10_000).scan().expect("/proc can be listed").processes;
        let pid = i32::try_from(pid).expect("a process id");
        let process = found.into_iter().find(|process| process.life.pid == pid).expect("the program is a Go process");
        let life = process.life.clone();
        let processes = SharedProcesses::default();
        *processes.lock() = Arc::new(Scan { processes: vec![process], ..Scan::default() });
        let mut config = Config::default();
        (config.go.memory.goroutines_interval_ms, config.go.memory.profiles_interval_ms) = (0, u64::MAX);
        let outside = Outside::new(config.go.memory, processes, Ways::new());
        Self { censuses: outside.censuses(), outside, config, life, looks: Vec::new(), is_unreadable: false }
    }

    /// One reading; those count as blocked for long that are since `then`. There is none when its time runs out, as on a machine that
    /// stands still meanwhile.
    fn read(&mut self, at_ms: i64, then: Option<Instant>) -> Option<(Census, Readings)> {
        let blocked_ms = then.map(|then| u64::try_from(then.elapsed().as_millis()).expect("not that long"));
        self.config.go.memory.leak_blocked_ms = blocked_ms.unwrap_or(u64::MAX);
        // Makes the reading due, too.
        self.outside.configure(&self.config);
        let mut out = Readings::new(at_ms);
        self.outside.collect(&mut out).ok()?;
        let census = Census::clone(self.censuses.lock().get(&self.life)?);
        (census.at_ms == at_ms).then_some((census, out))
    }

    /// Counts at `at_ms`. How long goroutines have been blocked is put into virtual time.
    fn census(&mut self, at_ms: i64) -> Option<(Census, Option<u64>)> {
        // A step takes as much of real time as it does: what is blocked for long was so at the look of then.
        let looks = usize::try_from(LeakOptions::default().blocked_ms / (2 * STEP_MS.unsigned_abs())).expect("few");
        let then = self.looks.len().checked_sub(looks).and_then(|at| self.looks.get(at));
        let then = then.copied();
        self.looks.push(Instant::now());
        let tries = if self.is_unreadable { 0 } else { READINGS_MAX };
        let read = (0..tries).find_map(|_| self.read(at_ms, then));
        self.is_unreadable = read.is_none();
        let (mut census, out) = read?;
        for count in census.sites.values_mut() {
            let since = |ms| Instant::now().checked_sub(std::time::Duration::from_millis(ms));
            count.longest_blocked_ms = count.longest_blocked_ms.and_then(since).map(|since| {
                let looks = self.looks.iter().rev().take_while(|look| **look > since).count();
                u64::try_from(looks).expect("few") * 2 * STEP_MS.unsigned_abs()
            });
        }
        let created = |labels: &model::LabelsRef<'_>| labels.get(model::METRIC_NAME) == Some(CREATED);
        let created = out.iter().find(|(labels, _)| created(labels)).and_then(|(_, values)| values.value());
        Some((census, created.map(|created| created as u64)))
    }
}

/// What was told of one program: by site the highest grade, and its last one.
#[derive(Debug, Default)]
struct Told {
    highest: BTreeMap<(String, String), (Grade, i64)>,
    at_the_end: Vec<(String, String)>,
    /// The highest grade of the program.
    grade: Grade,
}

/// A ladder and what it told.
#[derive(Debug, Default)]
struct Judged {
    options: LeakOptions,
    ladder: Ladder,
    baseline: Baseline,
    told: Told,
}

impl Judged {
    fn observe(&mut self, census: &Census, vitals: &Vitals, step: i64) {
        self.ladder.observe(census, vitals, &mut self.baseline, &self.options);
        let verdict = self.ladder.verdict(&self.options);
        self.told.grade = self.told.grade.max(verdict.grade);
        let sites = verdict.sites;
        for site in &sites {
            let key = (site.site.function.clone(), site.site.wait.clone());
            let (grade, _) = self.told.highest.entry(key).or_insert((site.grade, step));
            *grade = site.grade.max(*grade);
        }
        self.told.at_the_end = sites.into_iter().map(|site| (site.site.function, site.site.wait)).collect();
    }
}

/// What is told of a program by its profiles, and by its memory if that could be read at every look.
fn run(executable: &Path, of: &Expected) -> (Told, Option<Told>) {
    let mut program = Program::start(executable, &of.program);
    let mut memory = Memory::new(program.child.id());
    let (mut by_profile, mut by_memory, mut read) = (Judged::default(), Judged::default(), 0);
    while program.now < of.steps {
        let (census, vitals) = program.look();
        let step = program.now;
        by_profile.observe(&census, &vitals, step);
        if let Some((census, created)) = memory.census(census.at_ms) {
            read += 2;
            by_memory.observe(&census, &Vitals { created, ..vitals }, step);
        }
    }
    (by_profile.told, (read == program.now).then_some(by_memory.told))
}

/// Right and wrong verdicts.
#[derive(Debug, Default)]
struct Score {
    found: u32,
    missed: u32,
    alarms: u32,
    /// Programs that could not be read in this way.
    unread: usize,
    faults: Vec<String>,
    /// Of each program whether it leaks, and the highest grade it had.
    programs: Vec<(bool, Grade)>,
}

impl Score {
    /// Precision and recall by grade, of programs.
    fn by_grade(&self) -> String {
        let leaks = self.programs.iter().filter(|(leaks, _)| *leaks).count();
        let lines = (0..=4i8).map(|grade| {
            let told = self.programs.iter().filter(|(_, told)| told.number() >= grade);
            let (all, right) = (told.clone().count(), told.filter(|(leaks, _)| *leaks).count());
            let percent = |of: usize| 100 * right / of.max(1);
            if all == 0 {
                return format!("  grade {grade} and above: nothing told");
            }
            format!(
                "  grade {grade} and above: precision {} %, recall {} %: {right} of {leaks} leaks, {} false",
                percent(all),
                percent(leaks),
                all - right
            )
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    fn note(&mut self, of: &Expected, told: &Told, ages: bool) {
        let must = ages || !of.by_age;
        if of.sites.is_empty() && !must {
            return;
        }
        self.programs.push((!of.sites.is_empty(), told.grade));
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
            self.missed += u32::from(!found && must);
            if !found && !must {
                continue;
            }
            if !found {
                self.faults.push(format!("{}: {site:?} is missed", of.program));
            } else if of.at_the_end != told.at_the_end.iter().any(|told| means(site, told)) {
                self.faults.push(format!("{}: {site:?} is told at the end: {}", of.program, !of.at_the_end));
            }
        }
    }
}

/// Says it whether or not the output of tests is captured: how well leaks are told is to be seen in every run.
fn tell(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

#[test]
fn leaks_of_real_programs_are_told_and_innocents_are_not() {
    let Some(go) = go() else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let executable = build(&go, folder.path());
    let all = expected();
    let next = AtomicUsize::new(0);
    let scores: Mutex<(Score, Score)> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(of) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let (by_profile, by_memory) = run(&executable, of);
                    let mut scores = scores.lock().expect("no thread panicked");
                    scores.0.note(of, &by_profile, false);
                    match by_memory {
                        Some(told) => scores.1.note(of, &told, true),
                        None => scores.1.unread += 1,
                    }
                }
            });
        }
    });
    let leaking = all.iter().filter(|of| !of.sites.is_empty()).count();
    println!("{leaking} programs that leak and {} that do not; grade 2 and above:", all.len() - leaking);
    let (by_profile, by_memory) = scores.into_inner().expect("no thread panicked");
    let mut wrong = Vec::new();
    for (way, score) in [("profile", by_profile), ("memory", by_memory)] {
        let table = score.by_grade();
        let Score { found, missed, alarms, unread, faults, .. } = score;
        tell(&format!(
            "by {way}: {found} sites found, {missed} missed, {alarms} false alarms, {unread} programs not read"
        ));
        tell(&table);
        wrong.extend(faults.into_iter().map(|fault| format!("by {way}: {fault}")));
        assert!(unread == 0 || unread == all.len(), "by {way}: some could be read, all can be");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
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
