//! `/api/v1/go/leaks` over series as agents write them.

use serde_json::json;

use crate::support::{NOW_MS, Server, block_on};

const SITE: [(&str, &str); 5] = [
    ("job", "api"),
    ("instance", "web1/0"),
    ("site", "main.leak.func1"),
    ("created_by", "main.leak"),
    ("wait", "chan send"),
];

fn write(server: &Server, name: &str, labels: &[(&str, &str)], value: f64) {
    let mut all = vec![("__name__", name)];
    all.extend(labels);
    server.write(&all, &[(NOW_MS - 1_000, value)]);
}

/// One process that leaks at two sites, one with a hint, one without.
fn server() -> Server {
    let server = Server::new();
    for (job, grade) in [("api", 3.0), ("shop", 0.0), ("idle", -1.0)] {
        write(&server, "go_leak_grade", &[("job", job), ("instance", "web1/0")], grade);
    }
    let of = |name: &str, value: f64| write(&server, name, &SITE, value);
    of("go_leak_site_grade", 3.0);
    of("go_leak_site_goroutines", 1500.0);
    of("go_leak_site_floor", 1490.0);
    of("go_leak_site_growth_per_hour", 120.0);
    of("go_leak_site_since_seconds", 1_435_700_000.0);
    of("go_leak_site_longest_blocked_seconds", 7200.0);
    let place = [("file", "/src/main.go"), ("line", "41"), ("way", "memory"), ("revision", "8c5f")];
    write(&server, "go_leak_info", &[&SITE[..], &place].concat(), 3.0);
    let second = [&SITE[..2], &[("site", "main.tick")]].concat();
    write(&server, "go_leak_site_grade", &second, 2.0);
    server
}

#[test]
fn leaks_are_records_highest_grade_first() {
    let server = server();
    let data = block_on(server.get("/api/v1/go/leaks")).json()["data"].clone();
    assert_eq!(data["timeMs"], NOW_MS);
    let process = json!([{ "labels": { "job": "api", "instance": "web1/0" }, "grade": 3.0 }]);
    assert_eq!(data["processes"], process);
    let leak = json!({
        "labels": {
            "job": "api", "instance": "web1/0", "site": "main.leak.func1", "created_by": "main.leak", "wait": "chan send",
        },
        "grade": 3.0, "goroutines": 1500.0, "floor": 1490.0, "growthPerHour": 120.0, "sinceSeconds": 1_435_700_000.0,
        "longestBlockedSeconds": 7200.0, "file": "/src/main.go", "line": "41", "blockedIn": "", "blockedAt": "",
        "way": "memory", "goVersion": "", "version": "", "revision": "8c5f",
    });
    assert_eq!(data["leaks"][0], leak);
    assert_eq!(data["leaks"][1]["labels"]["site"], "main.tick");
    assert_eq!(data["leaks"].as_array().map(Vec::len), Some(2));
}

#[test]
fn parameters_choose_and_bound() {
    let server = server();
    for (parameters, processes, leaks) in [
        ("min_grade=3", 1, 1),
        ("min_grade=4", 0, 0),
        ("min_grade=0", 2, 2),
        ("min_grade=-1", 3, 2),
        ("job=shop&min_grade=0", 1, 0),
        ("job=api&instance=web1/0", 1, 2),
        ("job=a%22pi", 0, 0),
        ("limit=1&min_grade=0", 1, 1),
        ("time=1000", 0, 0),
    ] {
        let answer = block_on(server.get(&format!("/api/v1/go/leaks?{parameters}"))).json();
        let count = |list: &str| answer["data"][list].as_array().map(Vec::len);
        assert_eq!((count("processes"), count("leaks")), (Some(processes), Some(leaks)), "{parameters}: {answer}");
        assert_eq!(answer["warnings"].is_array(), parameters.starts_with("limit"), "{parameters}: {answer}");
    }
    let wrong = |parameters: &str, want: &str| {
        server.check_error(&format!("/api/v1/go/leaks?{parameters}"), 400, "bad_data", want);
    };
    wrong("min_grade=5", r#"invalid parameter "min_grade": "5" is no grade; write 0 to 4, or -1 for all"#);
    wrong("min_grade=high", r#"invalid parameter "min_grade": "high" is no grade; write 0 to 4, or -1 for all"#);
    wrong("limit=1000000", r#"invalid parameter "limit": it must not exceed 100000"#);
}
