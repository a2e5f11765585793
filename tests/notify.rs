//! `metrickit notify`: what people see of a notification before an alert sends it, and that no secret is among it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

/// Most bytes of a body.
const BODY_BYTES_MAX: usize = 1 << 20;

/// Runs it in `folder`; its exit status, standard output and standard error.
fn metrickit(folder: &Path, args: &[&str]) -> (i32, String, String) {
    let run = Command::new(env!("CARGO_BIN_EXE_metrickit"))
        .current_dir(folder)
        .env_remove("METRICKIT_CONFIG")
        .arg("notify")
        .args(args)
        .output()
        .expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let told = (run.status.code().unwrap_or(-1), text(&run.stdout), text(&run.stderr));
    assert!(!told.1.contains("hunter2") && !told.2.contains("hunter2"), "{told:?}");
    told
}

/// A server that takes one request and answers with `status`; what was sent.
fn takes_one(status: u16) -> (String, std::thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let mut reader = BufReader::new(stream.try_clone().expect("a socket"));
        let (mut head, mut length) = (String::new(), 0);
        while reader.read_line(&mut head).expect("a line") > 2 {
            let last = head.lines().last().unwrap_or_default().to_ascii_lowercase();
            if let Some(told) = last.strip_prefix("content-length:") {
                length = told.trim().parse().expect("a length");
            }
        }
        let mut body = vec![0; std::cmp::min(length, BODY_BYTES_MAX)];
        reader.read_exact(&mut body).expect("a body");
        let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: 16\r\nConnection: close\r\n\r\nsaw hunter2-hook");
        stream.write_all(answer.as_bytes()).expect("an answer");
        String::from_utf8(body).expect("UTF-8")
    });
    (url, thread)
}

fn folder(url: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let file = format!(
        "global: {{slack_api_url: 'https://hooks.example.org/services/hunter2'}}\n\
         route: {{receiver: ops}}\n\
         templates: ['*.tmpl']\n\
         receivers:\n\
         - name: nobody\n\
         - name: ops\n  \
           webhook_configs: [{{url: '{url}/hunter2-hook', http_config: {{basic_auth: {{username: me, password: hunter2}}}}}}]\n  \
           slack_configs: [{{channel: '#ops', text: '{{{{ template \"mine\" . }}}}'}}]\n"
    );
    std::fs::write(folder.path().join("am.yml"), file).expect("a file");
    let mine = "{{ define \"mine\" }}{{ .CommonLabels.team }}: {{ .CommonAnnotations.summary }}{{ end }}";
    std::fs::write(folder.path().join("mine.tmpl"), mine).expect("a file");
    folder
}

#[test]
fn previews_show_everything_but_secrets() {
    let folder = folder("http://127.0.0.1:1");
    let args = ["preview", "ops", "--file", "am.yml", "--label", "team=web", "--annotation", "summary=all of it"];
    let (status, told, _) = metrickit(folder.path(), &args);
    assert_eq!(status, 0, "{told}");
    for wanted in [
        "# webhook[0]\nPOST http://127.0.0.1:1/<secret>",
        "Authorization: <secret>",
        "\"version\": \"4\"",
        "# slack[0]\nPOST https://hooks.example.org/<secret>",
        "\"channel\": \"#ops\"",
        "\"text\": \"web: all of it\"",
        "[FIRING:1] MetricKitTest",
    ] {
        assert!(told.contains(wanted), "{wanted}: {told}");
    }
    let only = [&args[..], &["--integration", "slack", "--resolved"]].concat();
    let (_, told, _) = metrickit(folder.path(), &only);
    assert!(told.contains("[RESOLVED] MetricKitTest") && !told.contains("webhook"), "{told}");
    let filled = [&args[..], &["--template", "{{ .CommonLabels.team | toUpper }} {{ len .Alerts }}"]].concat();
    assert_eq!(metrickit(folder.path(), &filled), (0, "WEB 1\n".to_owned(), String::new()));
}

#[test]
fn tests_are_sent_and_answers_shown() {
    for (status, exit, wanted) in [
        (200, 0, "webhook[0] taken: status 200: saw <secret>"),
        (400, 1, "webhook[0] refused: status 400: saw <secret>"),
    ] {
        let (url, thread) = takes_one(status);
        let folder = folder(&url);
        let (code, told, _) =
            metrickit(folder.path(), &["test", "ops", "--file", "am.yml", "--integration", "webhook[0]"]);
        assert_eq!(code, exit, "{told}");
        assert!(told.contains(wanted), "{told}");
        let sent: serde_json::Value = serde_json::from_str(&thread.join().expect("a server")).expect("JSON");
        assert_eq!(
            (&sent["receiver"], &sent["alerts"][0]["labels"]["alertname"]),
            (&"ops".into(), &"MetricKitTest".into())
        );
    }
}

#[test]
fn wrong_use_tells_what_is_there() {
    let folder = folder("http://127.0.0.1:1");
    for (args, wanted) in [
        (vec!["preview", "oops", "--file", "am.yml"], "there is no receiver \"oops\"; there are: nobody, ops"),
        (vec!["preview", "nobody", "--file", "am.yml"], "none: nobody is told"),
        (vec!["test", "ops", "--file", "am.yml", "--integration", "email"], "it has webhook[0], slack[0]"),
        (vec!["preview", "ops", "--file", "am.yml", "--label", "x"], "write it like name=value"),
        (vec!["preview", "ops", "--file", "am.yml", "--template", "{{ .Nope }}"], "no field or method Nope"),
        (vec!["preview", "ops"], "alerting_config"),
    ] {
        let (status, _, told) = metrickit(folder.path(), &args);
        assert!(status == 2 && told.contains(wanted), "{args:?}: {status} {told}");
    }
    std::fs::write(folder.path().join("bad.yml"), "route: {receiver: a}\nreceivers:\n- name: a\n  sns_configs: [{}]\n")
        .expect("a file");
    let (status, _, told) = metrickit(folder.path(), &["preview", "a", "--file", "bad.yml"]);
    assert!(
        status == 2 && told.contains("bad.yml:4:17: receiver \"a\": sns_configs are not supported"),
        "{status} {told}"
    );
}
