//! Backup and restore as a user runs them: of a running server, of a stopped folder, killed in the middle, onto a new machine.

mod support;

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use support::{Server, binary, now_ms, request, run, series};

/// Starts on a folder whose samples are of any time.
fn start(data: &Path, more: &[&str]) -> Server {
    Server::start(data, &[&["--retention", "off"], more].concat())
}

/// Writes samples `from..to` of two series.
fn fill(server: &Server, from: u32, to: u32) {
    let samples: Vec<(i64, f64)> = (from..to).map(|at| (i64::from(at) * 10_000, f64::from(at))).collect();
    let all = ["a", "b"].map(|host| series(&[("__name__", "load"), ("host", host)], &samples));
    assert_eq!(server.write(&request(all.to_vec())).status, 204);
}

/// Samples of each series.
fn count(server: &Server) -> Value {
    server.query("sum by (host) (count_over_time(load[10y]))", "300000000")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a UTF-8 path")
}

#[test]
fn a_running_server_is_backed_up_and_restored() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| folder.path().join(name);
    let (data, dir, new) = (at("data"), at("backup"), at("new"));
    let server = start(&data, &[]);
    fill(&server, 0, 500);
    let backup = |more: &[&str]| run(&[&["backup", text(&dir), "--url", &server.url], more].concat());
    let (code, out, err) = backup(&[]);
    assert_eq!(code, 0, "{err}");
    assert!(out.starts_with("backup 1 of ") && out.contains("holds     1k samples"), "{out}");
    assert!(out.contains("linked    1 block") || out.contains("copied    1 block"), "{out}");
    fill(&server, 500, 600);
    let whole = count(&server);
    let (code, out, err) = backup(&["--json"]);
    assert_eq!(code, 0, "{err}");
    let taken: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((&taken["number"], &taken["samples"]), (&json!(2), &json!(1200)));
    let files = |way: &str| taken[way]["files"].as_u64().expect("a number");
    assert_eq!(files("kept") + files("linked") + files("copied"), taken["blocks"].as_u64().expect("a number"));
    let (code, _, err) = backup(&["--copy"]);
    assert_eq!(code, 0, "{err}");
    fill(&server, 600, 700);
    let metrics = server.get("/metrics").body;
    assert!(metrics.lines().any(|line| line == "metrickit_backups_total 3"), "{metrics}");

    let (code, out, _) = run(&["check", text(&dir)]);
    assert!(code == 0 && out.contains("backup 3 of ") && out.contains("everything can be read"), "{out}");
    let (code, out, err) = run(&["restore", text(&dir), "--data", text(&new)]);
    assert_eq!(code, 0, "{err}");
    assert!(out.starts_with("backup 3 of ") && out.contains("copied   "), "{out}");
    let restored = start(&new, &[]);
    assert_eq!(count(&restored), whole);
    fill(&restored, 600, 700);
    assert_eq!(count(&restored), count(&server));
    assert!(restored.get("/metrics").body.lines().any(|line| line == "metrickit_damaged_places 0"));
    assert!(restored.stop().0.success());

    // Onto what is there, from what is none, of a folder that is in use.
    let (code, _, err) = run(&["restore", text(&dir), "--data", text(&new)]);
    assert!(code == 1 && err.contains("not empty"), "{err}");
    let (code, _, err) = run(&["restore", text(&new), "--data", text(&at("other"))]);
    assert!(code == 1 && err.contains("no backup"), "{err}");
    let (code, _, err) = run(&["backup", text(&new), "--url", &server.url]);
    assert!(code == 1 && err.contains("not empty and no backup"), "{err}");
    let (code, _, err) = run(&["backup", text(&dir), "--data", text(&data)]);
    assert!(code == 1 && err.contains("in use"), "{err}");

    // Without a server, with what only the log holds.
    server.kill();
    let (code, out, err) = run(&["backup", text(&dir), "--data", text(&data)]);
    assert!(code == 0 && out.starts_with("backup 4 of "), "{out} {err}");
    let (code, out, err) = run(&["restore", text(&dir), "--data", text(&at("last")), "--link", "--json"]);
    assert_eq!(code, 0, "{err}");
    let report: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((&report["number"], &report["series"], &report["damaged"]), (&json!(4), &json!(2), &json!([])));
    let restored = start(&at("last"), &[]);
    assert_eq!(restored.query("count_over_time(load{host=\"a\"}[10y])", "300000000")[0]["value"][1], "700");
}

#[test]
fn damage_is_told_of_and_what_is_whole_can_be_had() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| folder.path().join(name);
    let server = start(&at("data"), &[]);
    fill(&server, 0, 5000);
    let (code, _, err) = run(&["backup", text(&at("backup")), "--copy", "--url", &server.url]);
    assert_eq!(code, 0, "{err}");
    drop(server);
    let block =
        std::fs::read_dir(at("backup/blocks")).expect("listed").next().expect("a block").expect("an entry").path();
    let mut bytes = std::fs::read(&block).expect("read");
    bytes[64] ^= 1;
    std::fs::write(&block, bytes).expect("written");
    let (code, out, _) = run(&["check", text(&at("backup"))]);
    assert!(code == 1 && out.contains(text(&block)), "{out}");
    let (code, _, err) = run(&["restore", text(&at("backup")), "--data", text(&at("new"))]);
    assert!(code == 1 && err.contains(text(&block)) && err.contains("--keep-damaged"), "{err}");
    assert!(err.starts_with("damaged: "), "each file is named: {err}");
    let (code, _, err) = run(&["query", "load", "--data", text(&at("new"))]);
    assert!(code == 1 && err.contains("not restored yet"), "{err}");
    let (code, out, err) = run(&["restore", text(&at("backup")), "--data", text(&at("new")), "--keep-damaged"]);
    assert!(code == 1 && out.contains("damaged: "), "{out} {err}");
    assert_eq!(run(&["query", "load", "--data", text(&at("new"))]).0, 0);
}

#[test]
fn a_server_writes_below_its_backup_dir_only() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| folder.path().join(name);
    let server = start(&at("data"), &["--backup-dir", text(&at("backups"))]);
    fill(&server, 0, 5);
    let backup = |dir: &Path| run(&["backup", text(dir), "--url", &server.url]);
    let (code, _, err) = backup(&at("elsewhere"));
    assert!(code == 1 && err.contains(text(&at("backups"))), "{err}");
    let (code, _, err) = backup(&at("backups/../elsewhere"));
    assert!(code == 1 && err.contains(text(&at("backups"))), "{err}");
    let answer = server.post("/api/v1/admin/backup?dir=monday/../../elsewhere", &[], b"");
    assert!(answer.status == 400 && answer.body.contains("must not contain .."), "{}", answer.body);
    assert!(!at("elsewhere").exists());
    assert_eq!(backup(&at("backups/monday")).0, 0);
    let answer = server.post("/api/v1/admin/backup?dir=monday", &[], b"");
    let last: Value = serde_json::from_str(answer.body.lines().last().expect("a line")).expect("JSON");
    assert_eq!((answer.status, &last["data"]["number"]), (200, &json!(2)), "{}", answer.body);
    assert_eq!(server.post("/api/v1/admin/backup", &[], b"").status, 400);
}

/// Folders as people name them: beside the one they are in, and never a folder that is somebody else's.
#[test]
fn folders_are_named_from_where_one_is() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| folder.path().join(name);
    std::fs::create_dir(at("here")).expect("made");
    let server = start(&at("data"), &[]);
    fill(&server, 0, 5);
    let backup = binary().current_dir(at("here")).args(["backup", "../backup", "--url", &server.url]).output();
    let backup = backup.expect("the binary runs");
    assert!(backup.status.success(), "{backup:?}");
    assert_eq!(run(&["check", text(&at("backup"))]).0, 0);
    // A slip in the name of a folder makes no data folder of it.
    for command in [&["export"][..], &["backup", text(&at("new"))], &["query", "up"]] {
        let (code, _, err) = run(&[command, &["--data", text(&at("here"))]].concat());
        assert!(code == 1 && err.contains("is no data folder"), "{err}");
    }
    assert_eq!(std::fs::read_dir(at("here")).expect("listed").count(), 0);
    // A variable that is set for good does not keep one from naming a folder.
    let url = server.url.clone();
    let check = |args: &[&str], want: i32| {
        let output = binary().env("METRICKIT_URL", &url).args(args).output().expect("the binary runs");
        assert_eq!(output.status.code(), Some(want), "{args:?}: {output:?}");
    };
    check(&["query", "up"], 0);
    check(&["query", "up", "--data", text(&at("data")), "--url", &url], 2);
    drop(server);
    check(&["query", "up", "--data", text(&at("data"))], 0);
    check(&["query", "up"], 1);
}

/// `kill -9` while a backup is taken: there is the one before or the new one, and the next one is taken.
#[test]
fn a_server_that_is_killed_leaves_a_whole_backup() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| folder.path().join(name);
    let seed = std::env::var("METRICKIT_SEED").ok().and_then(|text| text.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| now_ms().unsigned_abs());
    println!("METRICKIT_SEED={seed}");
    let random = &mut fastrand::Rng::with_seed(seed);
    let mut least = 0;
    for round in 0..6u32 {
        let server = start(&at("data"), &[]);
        fill(&server, round * 1000, round * 1000 + 1000);
        let dir = at("backup");
        let args = ["backup", text(&dir), "--url", &server.url];
        let copy = if round % 2 == 0 { &["--copy"][..] } else { &[] };
        let mut client = binary()
            .args(args)
            .args(copy)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary starts");
        std::thread::sleep(Duration::from_millis(random.u64(0..120)));
        server.kill();
        let is_taken = client.wait().expect("it ends").success();
        let new = at(&format!("new-{round}"));
        let (code, _, err) = run(&["restore", text(&at("backup")), "--data", text(&new)]);
        if code != 0 {
            assert!(least == 0 && !is_taken, "round {round}: {err}");
            assert!(err.contains("no backup") || err.contains("did not end"), "round {round}: {err}");
            continue;
        }
        assert_eq!(run(&["check", text(&at("backup"))]).0, 0, "round {round}");
        let restored = start(&new, &[]);
        let held = count(&restored)[0]["value"][1].as_str().map_or(0, |held| held.parse::<u32>().expect("a count"));
        assert!(
            held.is_multiple_of(1000) && held >= least && held <= (round + 1) * 1000,
            "round {round}: {held}, {least}"
        );
        assert!(!is_taken || held == (round + 1) * 1000, "round {round}: {held}");
        least = held;
        drop(restored);
        std::fs::remove_dir_all(new).expect("removed");
    }
    let (code, _, err) = run(&["backup", text(&at("backup")), "--data", text(&at("data"))]);
    assert_eq!(code, 0, "{err}");
    let (code, _, err) = run(&["restore", text(&at("backup")), "--data", text(&at("new"))]);
    assert_eq!(code, 0, "{err}");
    assert_eq!(count(&start(&at("new"), &[]))[0]["value"][1], "6000");
}
