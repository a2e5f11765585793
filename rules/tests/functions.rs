//! What templates of rules and of notifications may call, by what Prometheus's and Alertmanager's documents say of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use rules::functions::{Ask, NotificationFunctions, Pairs, RuleFunctions, VectorSample};
use rules::template::{Functions, Library, Limits, Value};

struct Two;

impl Ask for Two {
    fn ask(&self, expr: &str) -> Result<Vec<VectorSample>, String> {
        let sample = |instance: &str, value| VectorSample {
            labels: BTreeMap::from([
                ("instance".to_owned(), instance.to_owned()),
                ("__value__".to_owned(), "text".to_owned()),
            ]),
            value,
        };
        match expr {
            "two" => Ok(vec![sample("b", 21.0), sample("a", 11.0)]),
            "none" => Ok(Vec::new()),
            _ => Err(format!("{expr} is no query")),
        }
    }
}

fn fill(text: &str, dot: &Value, functions: &dyn Functions) -> Result<String, String> {
    let mut library = Library::default();
    library.add("t", text, &[], functions).map_err(|fault| fault.to_string())?;
    library.fill("t", dot, &[], functions, Limits::default()).map_err(|fault| fault.to_string())
}

fn rule(text: &str) -> Result<String, String> {
    let functions = RuleFunctions {
        ask: Some(&Two),
        now_seconds: 1_435_065_584.128,
        external_url: "https://mon.example:9595/metrics/",
    };
    fill(text, &Value::Nil, &functions)
}

#[track_caller]
fn same(cases: &[(&str, &str)], fill: impl Fn(&str) -> Result<String, String>) {
    for (text, want) in cases {
        let filled = fill(text).unwrap_or_else(|error| format!("error: {error}"));
        let fits = match want.strip_suffix('…') {
            Some(start) => filled.starts_with(start),
            None => filled == *want,
        };
        assert!(fits, "{text}: {filled:?}, wanted {want:?}");
    }
}

#[test]
fn numbers_for_people() {
    same(
        &[
            ("{{ humanize 0.0 }}:{{ humanize 1.0 }}:{{ humanize 1234567.0 }}:{{ humanize .12 }}", "0:1:1.235M:120m"),
            (
                "{{ humanize 1e-30 }}:{{ humanize 1e30 }}:{{ humanize -1500.0 }}:{{ humanize \"2048\" }}",
                "1e-06y:1e+06Y:-1.5k:2.048k",
            ),
            (
                "{{ humanize1024 0.0 }}:{{ humanize1024 1.0 }}:{{ humanize1024 1048576.0 }}:{{ humanize1024 .12 }}",
                "0:1:1Mi:0.12",
            ),
            ("{{ range $x := 3 }}{{ humanizeDuration $x }} {{ end }}", "0s 1s 2s "),
            (
                "{{ humanizeDuration 60.0 }}|{{ humanizeDuration 3600.0 }}|{{ humanizeDuration 86400.0 }}",
                "1m 0s|1h 0m 0s|1d 0h 0m 0s",
            ),
            (
                "{{ humanizeDuration 90061.5 }}|{{ humanizeDuration -42.5 }}|{{ humanizeDuration 899.99 }}",
                "1d 1h 1m 1s|-42.5s|14m 59s",
            ),
            (
                "{{ humanizeDuration .1 }}|{{ humanizeDuration .0001 }}|{{ humanizeDuration .12345 }}",
                "100ms|100us|123.5ms",
            ),
            (
                "{{ humanizePercentage 0.1234567 }} {{ humanizePercentage 1 }} {{ humanizePercentage \"-0.22222\" }}",
                "12.35% 100% -22.22%",
            ),
            (
                "{{ humanizeTimestamp 1435065584.128 }} {{ 1435065584 | humanizeTimestamp }}",
                "2015-06-23 13:19:44.128 +0000 UTC 2015-06-23 13:19:44 +0000 UTC",
            ),
            ("{{ humanize \"x\" }}", "error: t:1:4: humanize: \"x\" is not a number"),
            ("{{ humanize true }}", "error: t:1:4: humanize: a number is wanted, there is a bool"),
            (
                "{{ (toTime 1435065584.128).Format \"15:04:05\" }} {{ toDuration 90.5 }} {{ parseDuration \"1h30m\" }}",
                "13:19:44 1m30.5s 5400",
            ),
            ("{{ now }}", "1.435065584128e+09"),
            ("{{ humanizeTimestamp 1e30 }}", "error: …"),
            // As many milliseconds as are over, and nothing that 64 bits of nanoseconds do not hold.
            (
                "{{ humanizeTimestamp 1.9996 }} {{ (toTime -1.9996).Format \"05.000\" }}",
                "1970-01-01 00:00:01.999 +0000 UTC 58.001",
            ),
            ("{{ toTime 1e10 }}", "error: …"),
        ],
        rule,
    );
}

#[test]
fn queries_and_their_samples() {
    same(
        &[
            ("{{ range query \"two\" }}{{ .Labels.instance }}={{ .Value }} {{ end }}", "b=21 a=11 "),
            (
                "{{ range query \"two\" | sortByLabel \"instance\" }}{{ . | label \"instance\" }}={{ . | value }} {{ end }}",
                "a=11 b=21 ",
            ),
            ("{{ query \"two\" | first | value | humanize }} {{ query \"two\" | first | strvalue }}", "21 text"),
            ("{{ if query \"none\" }}some{{ else }}none{{ end }}", "none"),
            (
                "{{ with query \"none\" }}x{{ end }}{{ query \"none\" | first }}",
                "error: t:1:52: first: the vector has no elements",
            ),
            ("{{ query \"bad\" }}", "error: t:1:4: query: bad is no query"),
            ("{{ label \"a\" 3 }}", "error: t:1:4: label: a sample is wanted, there is a int"),
        ],
        rule,
    );
}

#[test]
fn texts() {
    same(
        &[
            (
                "{{ title \"aa bb CC\" }} {{ toUpper \"a\" }} {{ toLower \"A\" }} {{ \"x\" | safeHtml }}",
                "Aa Bb CC A a x",
            ),
            (
                "{{ match \"a+\" \"xaab\" }} {{ match \"^b\" \"ab\" }} {{ reReplaceAll \"(a)b\" \"${1}c\" \"abab\" }}",
                "true false acac",
            ),
            ("{{ match \"(\" \"a\" }}", "error: t:1:4: match: …"),
            // As in RE2 a brace that counts nothing is one, and a digit is one of ten.
            ("{{ reReplaceAll \"{.*}\" \"\" \"a{b}c\" }}", "ac"),
            (
                "{{ match \"^\\\\d\" \"\u{663}\" }} {{ match \"\\\\bé\" \"é\" }} {{ match \"a.c\" \"a\\nc\" }}",
                "false false false",
            ),
            ("{{ reReplaceAll \"x*\" \"-\" \"axxb\" }}", "-a-b-"),
            // However long it might have become.
            ("{{ len (reReplaceAll \"a\" (printf \"%1000s\" \"b\") (printf \"%2000s%1000s\" \"\" \"a\")) }}", "2999"),
            ("{{ title \"it's x_y 1st a-b\" }}", "It'S X_y 1st A-B"),
            (
                "{{ stripPort \"a:80\" }} {{ stripPort \"[::1]:80\" }} {{ stripPort \"::1\" }} {{ stripPort \"a\" }}",
                "a ::1 ::1 a",
            ),
            (
                "{{ stripDomain \"a.b.c:80\" }} {{ stripDomain \"1.2.3.4:80\" }} {{ stripDomain \"a.b\" }}",
                "a:80 1.2.3.4:80 a",
            ),
            (
                "{{ graphLink \"up == 0\" }} {{ tableLink \"up\" }}",
                "/graph?g0.expr=up+%3D%3D+0&g0.tab=0 /graph?g0.expr=up&g0.tab=1",
            ),
            (
                "{{ externalURL }} {{ pathPrefix }} {{ urlQueryEscape \"a b&c\" }}",
                "https://mon.example:9595/metrics/ /metrics a+b%26c",
            ),
            (
                "{{ define \"x\" }}{{ .arg0 }}-{{ .arg1 }}{{ end }}{{ template \"x\" (args 1 \"b\") }} {{ tmpl \"x\" (args 2 3) }}",
                "1-b 2-3",
            ),
            ("{{ define \"x\" }}{{ tmpl \"x\" 1 }}{{ end }}{{ template \"x\" }}", "error: …"),
            ("{{ toJson 1 }}", "error: t:1:4: there is no function \"toJson\""),
        ],
        rule,
    );
}

#[test]
fn notifications() {
    let time = |seconds| Timestamp::from_second(seconds).expect("a moment");
    let functions = NotificationFunctions { now: time(1_700_000_060) };
    let pairs = [("severity", "page"), ("alertname", "Down"), ("zone", "a")].map(|(a, b)| (a.to_owned(), b.to_owned()));
    let at = Value::Time(Arc::new(time(1_700_000_000).to_zoned(TimeZone::UTC)));
    let dot = Value::map([("Labels", Pairs(pairs.into()).value()), ("At", at), ("N", Value::Float(1.5))]);
    same(
        &[
            ("{{ .Labels.severity }} {{ .Labels.none }}|{{ .Labels }}", "page |alertname=Down, severity=page, zone=a"),
            (
                "{{ range .Labels.SortedPairs }}{{ .Name }}={{ .Value }} {{ end }}",
                "alertname=Down severity=page zone=a ",
            ),
            (
                "{{ .Labels.Names | join \",\" }} {{ .Labels.SortedPairs.Values | join \",\" }}",
                "alertname,severity,zone Down,page,a",
            ),
            ("{{ (.Labels.Remove (stringSlice \"zone\")).Names }} {{ len .Labels }}", "[alertname severity] 3"),
            ("{{ range $k, $v := .Labels }}{{ $k }}:{{ $v }};{{ end }}", "alertname:Down;severity:page;zone:a;"),
            ("{{ index .Labels \"zone\" }}", "a"),
            (
                "{{ .Labels.SortedPairs }}|{{ printf \"%s %v %T\" .Labels .Labels .Labels }}|{{ print .Labels }}",
                "alertname=Down, severity=page, zone=a|alertname=Down, severity=page, zone=a \
                 alertname=Down, severity=page, zone=a template.KV|alertname=Down, severity=page, zone=a",
            ),
            ("{{ title \"aa bb CC it's 1st a_b x.y a-b ÄRGER\" }}", "Aa Bb Cc It's 1St A_b X.y A-B Ärger"),
            (
                "{{ toJson .Labels }} {{ toJson (dict \"a\" 1 \"b\" (list 1.5 true nil \"x\\\"\")) }}",
                "{\"alertname\":\"Down\",\"severity\":\"page\",\"zone\":\"a\"} {\"a\":1,\"b\":[1.5,true,null,\"x\\\"\"]}",
            ),
            (
                "{{ since .At }} {{ .At | date \"2006-01-02\" }} {{ (.At | tz \"Europe/Berlin\").Format \"15:04 MST\" }}",
                "1m0s 2023-11-14 23:13 CET",
            ),
            ("{{ .At | tz \"Nowhere/Land\" }}", "error: …"),
            (
                "{{ append (list 1) 2 3 }} {{ trimSpace \" a \" }} {{ base64encode \"hi\" }} {{ base64decode \"aGk=\" }}",
                "[1 2 3] a aGk= hi",
            ),
            ("{{ urlUnescape \"a+b%26\" }} {{ humanizeDuration .N }}", "a b& 1.5s"),
            ("{{ urlUnescape \"%zz\" }}", "error: …"),
            ("{{ base64decode \"!\" }}", "error: …"),
            (
                "{{ (toDate \"2006-01-02\" \"2024-02-29\").Format \"Jan 2, Mon\" }} {{ (toDate \"2006\" \"x\").Year }}",
                "Feb 29, Thu 1",
            ),
            ("{{ mustToDate \"2006-01-02\" \"2024-02-30\" }}", "error: …"),
            ("{{ dict \"a\" }}", "error: t:1:4: dict: names and values alternate, there are 1 arguments"),
            ("{{ query \"up\" }}", "error: t:1:4: there is no function \"query\""),
        ],
        |text| fill(text, &dot, &functions),
    );
}

#[test]
fn limits_are_kept() {
    let limits = Limits { bytes_max: 1000, steps_max: 5000, depth_max: 8 };
    let functions = NotificationFunctions { now: Timestamp::UNIX_EPOCH };
    for (text, want) in [
        ("{{ range 100 }}0123456789{{ end }}{{ printf \"%1000d\" 1 }}", "1000 bytes"),
        ("{{ range 1000000000 }}{{ end }}", "5000 steps"),
        ("{{ define \"x\" }}{{ template \"x\" }}{{ end }}{{ template \"x\" }}", "8 templates"),
        ("{{ reReplaceAll \"a\" \"bbbbbbbbbbbbbbbbbbbb\" (printf \"%1000s\" \"a\") }}", "1000 bytes"),
    ] {
        let mut library = Library::default();
        library.add("t", text, &[], &functions).expect("a template");
        let fault = library.fill("t", &Value::Nil, &[], &functions, limits).expect_err("beyond a limit");
        assert!(fault.message.contains(want), "{text}: {fault}");
    }
    for (text, want) in [
        ("{{ $x := list }}{{ range 60000 }}{{ $x = list $x }}{{ end }}", "65 lists and maps"),
        ("{{ $x := list }}{{ range 60000 }}{{ $x = append (list) $x }}{{ end }}", "65 lists and maps"),
        ("{{ $x := list }}{{ range 60000 }}{{ $x = dict \"a\" $x }}{{ end }}", "65 lists and maps"),
        ("{{ $s := \"x\" }}{{ range 40 }}{{ $s = join $s (list $s $s) }}{{ end }}", "1048576 bytes"),
        ("{{ $s := \"x\" }}{{ range 60 }}{{ $s = base64encode $s }}{{ end }}", "1048576 bytes"),
        ("{{ $l := list 1 }}{{ range 31 }}{{ $l = list $l $l }}{{ end }}{{ toJson $l }}", "1048576 bytes"),
        ("{{ $l := list 1 }}{{ range 60 }}{{ $l = list $l $l }}{{ end }}{{ print $l }}", "1048576 bytes"),
        (
            "{{ $s := printf \"%1000d\" 1 }}{{ range 10 }}{{ $s = print $s $s }}{{ end }}\
             {{ $l := list }}{{ range 1000 }}{{ $l = append $l (print $s \"x\") }}{{ end }}",
            "67108864 are allowed",
        ),
        ("{{ $l := list }}{{ range 9999 }}{{ $l = append $l 1 }}{{ end }}", "67108864 are allowed"),
    ] {
        let fault = fill(text, &Value::Nil, &functions).expect_err("beyond a limit");
        assert!(fault.contains(want), "{text}: {fault}");
    }
    let nested = rule("{{ $x := args 1 }}{{ range 60000 }}{{ $x = args $x }}{{ end }}").expect_err("too deep");
    assert!(nested.contains("65 lists and maps"), "{nested}");
    // However many choices there are, they are not inside each other.
    let many: Vec<String> = (0..2000).map(|at| format!("{{{{ else if eq $.N {at} }}}}{at}")).collect();
    let many = many.concat();
    let text = format!("{{{{ if eq $.N -1 }}}}{many}{{{{ else }}}}none{{{{ end }}}}");
    let of = |number| fill(&text, &Value::map([("N", Value::Int(number))]), &functions);
    assert_eq!((of(1999).as_deref(), of(2000).as_deref()), (Ok("1999"), Ok("none")));
    let deep = format!("{}1{}", "(".repeat(100), ")".repeat(100));
    let fault = Library::default().add("t", &format!("{{{{ {deep} }}}}"), &[], &functions).expect_err("too deep");
    assert!(fault.message.contains("inside each other"), "{fault}");
}
