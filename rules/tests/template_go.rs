//! Templates filled here and by Go's own `text/template`: the same texts, or both complain.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use jiff::civil::date;
use jiff::tz::TimeZone;
use rules::template::{Library, Limits, NoFunctions, Value};

/// One of each kind of thing that templates hold, and what Go's documentation says of odd cases.
const TEXTS: &[&str] = &[
    "plain",
    "",
    "{{ $value }} {{ .Value }} {{.Count}} {{ .Yes }} {{ .Name }}",
    "{{ $labels.job }}/{{ $labels.nothing }}/{{ .Nothing }}",
    "{{ .Nothing.Deeper }}",
    "a  {{- 1 -}}  b {{- /* said to nobody */ -}} c {{/* nor this */}} d",
    "{{ -1 }} {{- 1 }} {{1 -}} x",
    "{{ if gt $value 1000.0 }}high{{ else if gt $value 10.0 }}middle{{ else }}low{{ end }}",
    "{{ if gt $value 1000 }}x{{ end }}",
    "{{ if and .Yes .Zero .Name }}a{{ else }}b{{ end }}{{ or .Zero \"\" .Name }}{{ and 1 2 }}",
    "{{ range .List }}<{{ . }}>{{ end }}{{ range .None }}x{{ else }}none{{ end }}",
    "{{ range $i, $e := .List }}{{ $i }}={{ $e }},{{ end }}{{ range $k, $v := .Labels }}{{ $k }}:{{ $v }};{{ end }}",
    "{{ range .List }}{{ if eq . \"b\" }}{{ continue }}{{ end }}{{ . }}{{ end }}{{ range .List }}{{ if eq . \"b\" }}{{ break }}{{ end }}{{ . }}{{ end }}",
    "{{ range 3 }}{{ . }}{{ end }}",
    "{{ range $i := 2 }}{{ $i }}{{ end }}",
    "{{ with .Labels }}{{ .job }}{{ end }}{{ with .Zero }}x{{ else }}y{{ end }}{{ with $x := .Count }}{{ $x }}{{ . }}{{ end }}",
    "{{ with .Zero }}x{{ else with .Name }}{{ . }}{{ end }}",
    "{{ $x := 1 }}{{ if true }}{{ $x = 2 }}{{ $y := 3 }}{{ $y }}{{ end }}{{ $x }}",
    "{{ $x = 1 }}",
    "{{ if true }}{{ $y := 3 }}{{ end }}{{ $y }}",
    "{{ define \"a\" }}[{{ . }}|{{ $ }}]{{ end }}{{ template \"a\" .Name }}{{ template \"a\" }}",
    "{{ block \"b\" .Count }}<{{ . }}>{{ end }}{{ template \"b\" 3 }}",
    "{{ template \"missing\" }}",
    "{{ define \"a\" }}{{ $labels }}{{ end }}",
    "{{ printf \"%d %5d|%-5d|%05d|%+d|%x|%X|%o|%b|%c|%q|%U\" 42 42 42 42 42 255 255 8 5 65 65 65 }}",
    "{{ printf \"%f %.2f %8.3f|%-8.1f|%08.2f|%+.1f|%e|%.3e|%g|%.3g|%G\" $value $value $value $value $value $value $value $value $value $value 1e-9 }}",
    "{{ printf \"%s|%10s|%-10s|%.3s|%q|%x|%v\" \"go\" \"go\" \"go\" \"gopher\" \"a\\\"b\\n\" \"hi\" \"v\" }}",
    "{{ printf \"%v %v %v %v %t\" 1 1.5 true nil true }}",
    "{{ printf \"%d %s %t %z\" 1.5 1 \"x\" 1 }}",
    "{{ printf \"%d\" }}{{ printf \"%d\" 1 2 }}{{ printf \"%%\" }}{{ printf \"%\" }}",
    "{{ printf \"%*d|%-*d|\" 5 1 5 1 }}",
    "{{ printf \"%[2]d %[1]d|%[1]x|%d %[1]d\" 1 2 }}",
    "{{ printf \"%[3]*.[2]*[1]f|%[5]d|%[x]d|%[2]|%[1\" 12.0 2 6 }}",
    "{{ printf \"%[3]2d %[1].2f %.[2]f %.[2]3d %[0]d %[]d %[1]\" 1.5 2 3 }}",
    "{{ if eq .Name \"x\" }}a{{ else if $x := len .Name }}{{ $x }}{{ else }}b{{ end }}{{ with .None }}a{{ else with .Name }}{{ . }}{{ else }}b{{ end }}",
    "{{ printf \"%v %s %v\" .List .List .Labels }}",
    "{{ print 1 2 \"a\" \"b\" 3 nil true }}|{{ println 1 \"a\" }}|{{ print }}",
    "{{ .List }} {{ .Labels }} {{ .None }}",
    "{{ len .List }} {{ len .Name }} {{ len .Labels }}",
    "{{ len 3 }}",
    "{{ index .List 1 }} {{ index .Labels \"job\" }} {{ index .Labels \"no\" }} {{ index . \"List\" 2 }}",
    "{{ index .List 9 }}",
    "{{ index .List \"a\" }}",
    "{{ slice .Name 0 6 }} {{ slice .Name 7 }} {{ slice .List 1 }}",
    "{{ slice .Name 100 }}",
    "{{ eq 1 1 }} {{ eq 1 2 1 }} {{ ne \"a\" \"b\" }} {{ lt 1 2 }} {{ le 2 2 }} {{ gt \"b\" \"a\" }} {{ ge 1.5 1.5 }}",
    "{{ eq 1 1.0 }}",
    "{{ eq 1 \"1\" }}",
    "{{ lt true false }}",
    "{{ not .Zero }} {{ not .Name }} {{ not nil }}",
    "{{ html .Name }} {{ .Name | html }} {{ js \"it's <b> = \\\"x\\\"\" }} {{ urlquery .Name \"&\" }}",
    "{{ .Name | printf \"%s:%s\" \"n\" }} {{ \"a\" | printf \"%s\" | len }}",
    "{{ (index .List 0) }} {{ (len .List) | printf \"%03d\" }} {{ (.Labels).job }}",
    "{{ 0x10 }} {{ 0b11 }} {{ 0o17 }} {{ 017 }} {{ 1_000 }} {{ 1e3 }} {{ .5 }} {{ 'a' }} {{ '\\n' }} {{ +3 }}",
    "{{ 9223372036854775807 }}",
    "{{ 9223372036854775808 }}",
    "{{ 12abc }}",
    "{{ `raw \\n` }} {{ \"\\u00e9\\x41\\101\\t\" }}",
    "{{ \"open }}",
    "{{ if }}x{{ end }}",
    "{{ if .Yes }}x",
    "{{ end }}",
    "{{ else }}",
    "{{ if .Yes }}{{ else }}{{ else }}{{ end }}",
    "{{ range .Name }}{{ end }}",
    "{{ range .Value }}x{{ end }}",
    "{{ break }}",
    "{{ nil }}",
    "{{ nosuch 1 }}",
    "{{ $nosuch }}",
    "{{ 1 2 }}",
    "{{ .Labels 1 }}",
    "{{ .Name.Field }}",
    "{{ .List.Field }}",
    "{{ 1 | 2 }}",
    "{{ .Name | $value }}",
    "{{ .At }} {{ .At.Format \"2006-01-02 15:04:05.000 Mon Jan _2 3:4:5PM Z07:00 MST -0700 002 06\" }} {{ .At.Unix }} {{ .At.Year }} {{ .At.Month }} {{ .At.Weekday }}",
    "{{ .At.Format \"January 1 Monday 02 __2 pm .999999 ,000000000 Janet _2006 20060102T150405Z\" }}",
    "{{ (.At.Add .For).Unix }} {{ .For }} {{ .For.Seconds }} {{ .For.Minutes }} {{ .For.Hours }} {{ gt .For 5 }}",
    "{{ (.For.Round 1000000000) }} {{ .For.Truncate 60000000000 }}",
    "{{ if eq .Labels.job \"api\" \"web\" }}yes{{ end }}{{ if ne .Labels.job \"api\" }}no{{ end }}",
    "{{ 1.0 }} {{ 100000.0 }} {{ 1000000.0 }} {{ 1e20 }} {{ 1e21 }} {{ 0.00001 }} {{ 123456789.0 }} {{ -0.0 }}",
    "{{/* a */}}{{/* b */ -}}   x",
    "{{ /* not at the start */ }}",
    "{{.Count}}{{ .Count}}{{.Count }}{{\n.Count\n}}",
    "{{ .Labels.job.more }}",
    "{{ true }} {{ false }} {{ and true false }} {{ or false 0 \"\" }}",
    "{{ and }}",
    "{{ .Yes | not | printf \"%v\" }}",
    "{{ with $x := index .List 0 }}{{ $x }}{{ else }}none{{ end }}",
    "{{ $a := 1 }}{{ range $a := .List }}{{ $a }}{{ end }}{{ $a }}",
    "{{ $a := \"\" }}{{ range .List }}{{ $a = . }}{{ end }}{{ $a }}",
    "{{ range $i, $x = .List }}{{ end }}",
    "{{ define \"x\" }}1{{ end }}{{ define \"x\" }}2{{ end }}{{ template \"x\" }}",
    "{{ define \"x\" }}{{ define \"y\" }}{{ end }}{{ end }}",
    "{{ .Count.X }}",
    "{{ .Labels.Count | len }}",
    "{{ \"a\\\nb\" }}",
    "{{ ''}}",
    "{{ .}}",
    "{{ ..Name }}",
    "{{ .Name..X }}",
    "{{ $ }}",
    "{{ $.Name }} {{ $labels.job | printf \"%q\" }}",
    "{{ printf \"%6.2f%%\" $value }} {{ printf \"%+v\" $value }} {{ printf \"% d\" 5 }} {{ printf \"%#x\" 255 }}",
    "{{ printf \"%T %T %T %T\" 1 1.5 \"a\" true }}",
    "{{ printf \"%s\" .Yes }} {{ printf \"%v\" .Zero }}",
    "{{ printf \"%5t|%-6v|%6v\" true true 1.5 }}",
    "}} {{ 1 }} }}",
    "{{",
    "{{ 1 }",
    "{{- 1 -}}{{- 2 -}}",
    "{{-1}}",
    "{{ 1-}}",
];

/// Pieces that random templates are made of.
const TERMS: &[&str] = &[
    "1",
    "0",
    "2.5",
    "\"a\"",
    "\"\"",
    "$value",
    "$labels.job",
    "$labels.no",
    ".Count",
    ".Zero",
    ".Yes",
    ".Name",
    ".List",
    ".None",
    ".Labels",
    ".Nothing",
    "nil",
    "true",
    "(len .List)",
    "(index .List 0)",
    "(print 1 2)",
    "(not .Yes)",
];
const CALLS: &[&str] = &[
    "len",
    "not",
    "print",
    "eq",
    "ne",
    "lt",
    "gt",
    "and",
    "or",
    "index",
    "html",
    "printf \"%v\"",
    "printf \"%s\"",
    "printf \"%5.1f|\"",
    "println",
];

#[test]
fn texts_are_those_of_go() {
    let mut texts: Vec<String> = TEXTS.iter().map(|text| (*text).to_owned()).collect();
    let seed =
        std::env::var("METRICKIT_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    println!("METRICKIT_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    texts.extend((0..2000).map(|_| random_text(&mut random)));
    let Some(wanted) = by_go(&texts) else { return };
    let mut different = 0;
    for (text, wanted) in texts.iter().zip(&wanted) {
        let ours = ours(text);
        if ours.as_ref().ok() != wanted.as_ref() {
            different += 1;
            println!("{text:?}\n  Go:   {wanted:?}\n  ours: {ours:?}");
        }
    }
    assert_eq!(different, 0, "of {} texts", texts.len());
}

fn random_text(random: &mut fastrand::Rng) -> String {
    let term = |random: &mut fastrand::Rng| TERMS[random.usize(..TERMS.len())];
    let mut command = CALLS[random.usize(..CALLS.len())].to_owned();
    for _ in 0..random.usize(..4) {
        command.push(' ');
        command.push_str(term(random));
    }
    if random.bool() {
        command = format!("{command} | {}", CALLS[random.usize(..CALLS.len())]);
    }
    match random.u8(..5) {
        0 => format!("{{{{ if {command} }}}}yes{{{{ else }}}}no{{{{ end }}}}"),
        1 => format!("{{{{ range $x := {} }}}}{{{{ $x }}}},{{{{ else }}}}none{{{{ end }}}}", term(random)),
        2 => format!("{{{{ with {} }}}}{{{{ {command} }}}}{{{{ end }}}}", term(random)),
        _ => format!("{{{{ {command} }}}}"),
    }
}

/// What ours makes of `text`.
fn ours(text: &str) -> Result<String, String> {
    let at = date(2026, 11, 3).at(4, 5, 6, 7_080_000).to_zoned(TimeZone::UTC).expect("a moment");
    let texts = |texts: &[&str]| Value::from(texts.iter().map(|text| Value::from(*text)).collect::<Vec<_>>());
    let data = [
        ("Labels", Value::texts([("job", "api"), ("instance", "web1:80"), ("empty", "")])),
        ("Value", Value::Float(1234.5)),
        ("Count", Value::Int(7)),
        ("Zero", Value::Int(0)),
        ("Name", Value::from("gopher <g@x>")),
        ("List", texts(&["a", "b", "c"])),
        ("None", texts(&[])),
        ("Yes", Value::Bool(true)),
        ("At", Value::Time(Arc::new(at))),
        ("For", Value::Duration(5_400_500_000_000)),
    ];
    let variables = [("labels", data[0].1.clone()), ("value", data[1].1.clone())];
    let mut library = Library::default();
    library.add("t", text, &["labels", "value"], &NoFunctions).map_err(|fault| fault.to_string())?;
    library.fill("t", &Value::map(data), &variables, &NoFunctions, Limits::default()).map_err(|fault| fault.to_string())
}

#[expect(clippy::print_stdout, reason = "a test that is skipped says so")]
/// What Go makes of them: texts, or `None` where it complains; `None` where there is no Go.
fn by_go(texts: &[String]) -> Option<Vec<Option<String>>> {
    let Some(go) = go() else {
        assert!(std::env::var("CI").is_err(), "Go is not installed");
        println!("skipped: Go is not installed");
        return None;
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let program = folder.path().join("fill");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/go_template/main.go");
    let built = Command::new(go).args(["build", "-o"]).arg(&program).arg(source).env("GOTOOLCHAIN", "local").status();
    assert!(built.expect("Go starts").success(), "the program is built");
    let mut child =
        Command::new(&program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the program starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    let body = serde_json::to_vec(texts).expect("texts are JSON");
    let writer = std::thread::spawn(move || stdin.write_all(&body));
    let output = child.wait_with_output().expect("the program ends");
    writer.join().expect("no panic").expect("the program reads");
    let results: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).expect("results");
    Some(
        results
            .iter()
            .map(|result| (result["bad"] == false).then(|| result["text"].as_str().expect("a text").to_owned()))
            .collect(),
    )
}

fn go() -> Option<PathBuf> {
    let known = ["go", "/usr/local/go/bin/go"].map(PathBuf::from);
    known.into_iter().find(|go| Command::new(go).arg("version").output().is_ok_and(|output| output.status.success()))
}
