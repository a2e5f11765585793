//! Servers that others built and stripped, as a distribution ships them, with no configuration for monitoring: their
//! goroutines by site and their collector's numbers are there. Servers that are not installed are skipped with a notice.

mod subject;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use agent::go::ways::{Part, Reason, Told};
use model::METRIC_NAME;
use subject::{Reading, describe, value};

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Reads the server of `command`, started with `arguments`.
#[expect(clippy::print_stdout, reason = "a test that is skipped says so")]
fn check(command: &str, arguments: &[&str]) {
    let path = ["/usr/bin", "/usr/sbin", "/usr/local/bin"]
        .iter()
        .map(|folder| Path::new(folder).join(command))
        .find(|path| path.exists());
    let Some(path) = path else {
        println!("SKIPPED: {command} is not installed");
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("prometheus.yml"), "").expect("written");
    let child = Command::new(&path)
        .args(arguments)
        .current_dir(folder.path())
        .env("HOME", folder.path())
        .envs([("INFLUXDB_HTTP_BIND_ADDRESS", "127.0.0.1:0"), ("INFLUXDB_BIND_ADDRESS", "127.0.0.1:0")])
        .envs(
            ["META_DIR", "DATA_DIR", "DATA_WAL_DIR"].map(|part| (format!("INFLUXDB_{part}"), folder.path().join(part))),
        )
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("starts");
    let pid = i32::try_from(child.id()).expect("an id");
    let mut server = Server(child);
    std::thread::sleep(Duration::from_millis(1500));
    assert!(server.0.try_wait().expect("asked").is_none(), "{command} ended");
    let process = describe(pid, &path);
    let key = (&process.life).into();
    let mut reading = Reading::of(vec![process], |_| {});
    let readings = reading.round();
    let told = reading.ways.told(key, Part::Goroutines, 2_000_000);
    if told == Some(Told::Not(Reason::UnknownRelease)) {
        println!("SKIPPED: {command} is of a release of Go without a layout");
        return;
    }
    assert!(matches!(told, Some(Told::Read(_))), "{command}: {told:?}");
    let goroutines = value(&readings, "go_goroutines", "").unwrap_or_else(|| panic!("{command}: no goroutines"));
    assert!((2.0..10_000.0).contains(&goroutines), "{command}: {goroutines}");
    let sites: Vec<_> = readings
        .iter()
        .filter(|(labels, _)| labels.get(METRIC_NAME) == Some("go_goroutines_by_site"))
        .filter_map(|(labels, values)| Some((labels.get("site")?.to_owned(), values.value()?)))
        .collect();
    // One goroutine each: the main one may be among those that have no series of their own.
    assert!(sites.iter().any(|(site, _)| site == "runtime.main" || site == "other"), "{command}: {sites:?}");
    assert!(sites.iter().any(|(site, _)| site.contains('/')), "a function of a module: {command}: {sites:?}");
    let sum: f64 = sites.iter().map(|(_, count)| count).sum();
    assert!((sum - goroutines).abs() <= 5.0 + goroutines / 10.0, "{command}: {sum} at sites, {goroutines} in all");
    for name in ["go_gc_heap_live_bytes", "go_memory_classes_total_bytes", "go_gc_cycles_total_gc_cycles_total"] {
        assert!(value(&readings, name, "").is_some(), "{command}: no {name}");
    }
}

#[test]
fn installed_servers_are_read() {
    check("prometheus-node-exporter", &["--web.listen-address=127.0.0.1:0"]);
    check(
        "etcd",
        &[
            "--listen-client-urls=http://127.0.0.1:0",
            "--advertise-client-urls=http://127.0.0.1:0",
            "--listen-peer-urls=http://127.0.0.1:0",
        ],
    );
    check("victoria-metrics", &["-httpListenAddr=127.0.0.1:0", "-storageDataPath=data"]);
    check("caddy", &["file-server", "--listen", "127.0.0.1:0"]);
    check(
        "prometheus",
        &["--config.file=prometheus.yml", "--storage.tsdb.path=data", "--web.listen-address=127.0.0.1:0"],
    );
    check("influxd", &["run"]);
    check("nats-server", &["--addr", "127.0.0.1", "--port", "-1"]);
}
