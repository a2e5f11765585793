//! Every class of answer, and that none holds up another receiver.

use std::net::TcpListener;
use std::time::Duration;

use crate::fake::{Fake, Play, answer};
use crate::stage::{Stage, failed, superseded, taken};

const LONG: Duration = Duration::from_mins(2);

fn webhook(name: &str, url: &str) -> String {
    format!("- name: {name}\n  webhook_configs: [{{url: '{url}/hunter2-hook', timeout: 300ms}}]\n")
}

#[test]
fn what_is_taken_is_sent_once() {
    let fake = Fake::start(|_| answer(200, "", "ok"));
    let stage = Stage::new(&webhook("a", &fake.url));
    stage.send("a", "g", LONG);
    assert_eq!(taken(&stage.only()), ("status 200: ok", 1));
    let got = fake.got();
    assert_eq!(got.len(), 1);
    assert_eq!(
        (got[0].line.as_str(), got[0].header("content-type")),
        ("POST /hunter2-hook HTTP/1.1", Some("application/json"))
    );
    assert_eq!((&got[0].json()["groupKey"], &got[0].json()["version"]), (&"g".into(), &"4".into()));
    assert_eq!(
        (stage.metric("metrickit_notifications_total"), stage.metric("metrickit_notifications_delivered_total")),
        (1, 1)
    );
}

#[test]
fn errors_of_servers_are_tried_again() {
    let fake = Fake::start(|number| match number {
        0 => answer(500, "", "broken"),
        1 => answer(429, "Retry-After: 1\r\n", "slow down"),
        2 => Play::Say("this is not HTTP\r\n\r\n".to_owned()),
        _ => answer(204, "", ""),
    });
    let stage = Stage::new(&webhook("a", &fake.url));
    stage.send("a", "g", LONG);
    assert_eq!(taken(&stage.only()), ("status 204", 4));
    let attempts = stage.attempts();
    assert_eq!(attempts.len(), 3, "{attempts:?}");
    assert_eq!(attempts[0], (1, "status 500: broken".to_owned()));
    assert_eq!(attempts[1], (2, "status 429: slow down".to_owned()));
    assert!(attempts.iter().all(|(_, told)| !told.contains("hunter2")), "{attempts:?}");
    assert_eq!(stage.metric("metrickit_notification_attempts_total"), 4);
}

#[test]
fn what_is_refused_is_sent_once() {
    for (play, wanted) in [
        (400, "status 400: no hunter2"),
        (404, "status 404: no hunter2"),
        (302, "status 302: no hunter2: set the address that this one leads to"),
    ] {
        let fake = Fake::start(move |_| answer(play, "Location: http://127.0.0.1:1/\r\n", "no hunter2-hook"));
        let stage = Stage::new(&webhook("a", &fake.url));
        stage.send("a", "g", LONG);
        let ended = stage.only();
        let wanted = wanted.replace("hunter2", "<secret>");
        assert_eq!(failed(&ended), (wanted.as_str(), 1));
        assert_eq!(fake.got().len(), 1);
        assert_eq!(stage.metric("metrickit_notifications_failed_total"), 1);
    }
}

#[test]
fn deadlines_end_it() {
    // A port that nobody listens on any more.
    let url =
        format!("http://{}", TcpListener::bind("127.0.0.1:0").and_then(|gone| gone.local_addr()).expect("a port"));
    let stage = Stage::new(&webhook("a", &url));
    stage.send("a", "g", Duration::from_millis(1200));
    let ended = stage.only();
    let (error, attempts) = failed(&ended);
    assert!(error.starts_with("not delivered in time: ") && !error.contains("hunter2"), "{error}");
    assert!(attempts >= 1);
    let asked = Fake::start(|_| answer(503, "Retry-After: 3600\r\n", ""));
    let stage = Stage::new(&webhook("a", &asked.url));
    stage.send("a", "g", Duration::from_secs(20));
    assert_eq!(failed(&stage.only()), ("not delivered in time: status 503", 1), "nobody waits for an hour");
}

#[test]
fn redirects_that_keep_a_post_are_followed() {
    let end = Fake::start(|_| answer(200, "", "here"));
    let to = end.url.clone();
    let start = Fake::start(move |_| answer(307, &format!("Location: {to}/there\r\n"), ""));
    let settings = format!(
        "- name: a\n  webhook_configs:\n  - url: {}/x\n    http_config: {{authorization: {{credentials: hunter2}}, follow_redirects: FOLLOW}}\n",
        start.url
    );
    let stage = Stage::new(&settings.replace("FOLLOW", "true"));
    stage.send("a", "g", LONG);
    assert_eq!(taken(&stage.only()), ("status 200: here", 1));
    assert_eq!(start.got()[0].header("authorization"), Some("Bearer hunter2"));
    let got = end.got();
    assert_eq!(
        (got[0].line.as_str(), got[0].header("authorization")),
        ("POST /there HTTP/1.1", None),
        "not for others"
    );
    assert_eq!(got[0].json()["groupKey"], "g");
    let stage = Stage::new(&settings.replace("FOLLOW", "false"));
    stage.send("a", "g", LONG);
    assert!(failed(&stage.only()).0.contains("follow_redirects is off"));
    let round = Fake::start(|_| answer(308, "Location: /again\r\n", ""));
    let stage = Stage::new(&webhook("a", &round.url));
    stage.send("a", "g", LONG);
    assert!(failed(&stage.only()).0.contains("more than 5 redirects"));
}

#[test]
fn those_that_hang_hold_up_nobody() {
    let hangs = Fake::start(|_| Play::Hang);
    let drips = Fake::start(|_| Play::Drip("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n".to_owned()));
    let good = Fake::start(|_| answer(200, "", ""));
    let stage =
        Stage::new(&[webhook("hangs", &hangs.url), webhook("drips", &drips.url), webhook("good", &good.url)].concat());
    stage.send("hangs", "first", Duration::from_secs(4));
    for number in 0..20 {
        stage.send("good", &number.to_string(), LONG);
    }
    stage.send("drips", "g", LONG);
    let ends: Vec<_> = (0..22).map(|_| stage.next()).collect();
    let place = |name: &str| ends.iter().position(|(named, _)| named == name).expect("it ends");
    assert!((0..20).all(|number| place(&format!("good/{number}")) < place("hangs/first")), "{ends:?}");
    // The status of a slow answer has said it all.
    assert_eq!(taken(&ends[place("drips/g")].1).1, 1);
    let (error, attempts) = failed(&ends[place("hangs/first")].1);
    assert!(error.contains("no answer in time") && attempts >= 2, "{error} {attempts}");
}

#[test]
fn newer_notifications_replace_older_ones_and_full_queues_tell() {
    let hangs = Fake::start(|_| Play::Hang);
    let settings = format!("- name: a\n  webhook_configs: [{{url: '{}', timeout: 50s}}]\n", hangs.url);
    let stage = Stage::new(&settings);
    stage.send("a", "under way", LONG);
    while hangs.got().is_empty() {
        std::thread::sleep(Duration::from_millis(5));
    }
    stage.send("a", "0", LONG);
    stage.send("a", "0", LONG);
    let (name, ended) = stage.next();
    assert_eq!((name.as_str(), superseded(&ended)), ("a/0", ("a newer notification of its group took its place", 0)));
    assert_eq!(
        ["superseded", "failed"].map(|how| stage.metric(&format!("metrickit_notifications_{how}_total"))),
        [1, 0],
        "a receiver that nothing is wrong with"
    );
    for number in 1..1000 {
        stage.send("a", &number.to_string(), LONG);
    }
    assert_eq!(stage.metric("metrickit_notification_queue_length"), 1000);
    stage.send("a", "one more", LONG);
    let (name, ended) = stage.next();
    assert_eq!((name.as_str(), failed(&ended).0), ("a/one more", "1000 notifications wait for this receiver already"));
    assert_eq!(stage.metric("metrickit_notifications_dropped_total"), 1);
    stage.deliveries.stop(Duration::ZERO);
    let stopped = (0..1000).filter(|_| failed(&stage.only()).0.contains("the server stops")).count();
    assert_eq!(stopped, 1000);
    stage.send("a", "late", LONG);
    assert_eq!(failed(&stage.only()), ("the server stops", 0));
}

#[test]
fn what_waits_is_sent_before_the_end() {
    let fake = Fake::start(|number| if number == 0 { answer(500, "", "") } else { answer(200, "", "") });
    let stage = Stage::new(&webhook("a", &fake.url));
    for number in 0..5 {
        stage.send("a", &number.to_string(), LONG);
    }
    stage.deliveries.stop(Duration::from_mins(1));
    assert!((0..5).all(|_| taken(&stage.only()).1 >= 1));
    assert_eq!(fake.got().len(), 6);
}

#[test]
fn receivers_change_while_they_are_sent_to() {
    let (old, new) = (Fake::start(|_| answer(500, "", "")), Fake::start(|_| answer(200, "", "")));
    let stage = Stage::new(&webhook("a", &old.url));
    stage.send("a", "g", LONG);
    while stage.attempts().is_empty() {
        std::thread::sleep(Duration::from_millis(5));
    }
    let templates = rules::receivers::Templates::new([]).expect("our templates");
    stage.deliveries.configure(&crate::stage::config(&webhook("a", &new.url)), templates, "http://mon");
    assert_eq!(taken(&stage.only()).0, "status 200");
    stage.send("b", "g", LONG);
    assert_eq!(superseded(&stage.only()), ("there is no such receiver any more", 0));
    assert_eq!(
        ["superseded", "failed"].map(|how| stage.metric(&format!("metrickit_notifications_{how}_total"))),
        [1, 0],
        "a reload is no failure"
    );
}

#[test]
fn tokens_are_asked_for_and_renewed() {
    let tokens =
        Fake::start(|number| answer(200, "", &format!("{{\"access_token\":\"hunter2-{number}\",\"expires_in\":600}}")));
    let hook = Fake::start(|number| if number == 1 { answer(401, "", "old token") } else { answer(200, "", "") });
    let stage = Stage::new(&format!(
        "- name: a\n  webhook_configs:\n  - url: {}\n    http_config: {{oauth2: {{client_id: me, client_secret: hunter2-id, token_url: '{}', scopes: [x, y]}}}}\n",
        hook.url, tokens.url
    ));
    for group in ["1", "2"] {
        stage.send("a", group, LONG);
        stage.only();
    }
    let bearers: Vec<_> =
        hook.got().iter().map(|got| got.header("authorization").unwrap_or_default().to_owned()).collect();
    assert_eq!(bearers, ["Bearer hunter2-0", "Bearer hunter2-0", "Bearer hunter2-1"]);
    let asked = &tokens.got()[0];
    assert_eq!(asked.header("authorization"), Some("Basic bWU6aHVudGVyMi1pZA=="));
    let form = String::from_utf8(asked.body.clone()).expect("a form");
    assert_eq!(form, "grant_type=client_credentials&scope=x+y");
}

#[test]
fn receivers_that_are_tried_again_later_hold_up_no_other() {
    /// As many as there are workers.
    const BUSY: usize = 512;
    let fake = Fake::start(
        |number| {
            if number < BUSY { answer(503, "Retry-After: 3600\r\n", "") } else { answer(200, "", "") }
        },
    );
    let all: String = (0..=BUSY).map(|number| webhook(&format!("r{number}"), &fake.url)).collect();
    let all = all.replace(", timeout: 300ms", "");
    let stage = Stage::new(&all);
    for number in 0..BUSY {
        stage.send(&format!("r{number}"), "g", Duration::from_hours(2));
    }
    while fake.got().len() < BUSY || stage.attempts().len() < BUSY {
        std::thread::sleep(Duration::from_millis(20));
    }
    stage.send(&format!("r{BUSY}"), "g", Duration::from_hours(2));
    let (name, ended) = stage.next();
    assert_eq!((name.as_str(), taken(&ended)), ("r512/g", ("status 200", 1)));
    // What comes for one that rests is sent at once, and what waited is out of date.
    stage.send("r7", "g", Duration::from_hours(2));
    let ends = [stage.next(), stage.next()];
    assert!(ends.iter().all(|(name, _)| name == "r7/g"), "{ends:?}");
    assert!(superseded(&ends[0].1).0.contains("a newer notification"), "{ends:?}");
    assert_eq!(taken(&ends[1].1), ("status 200", 1));
    assert_eq!(stage.metric("metrickit_notification_queue_length"), BUSY as u64 - 1);
    stage.deliveries.stop(Duration::from_secs(1));
    assert!((1..BUSY).all(|_| failed(&stage.only()).0.starts_with("the server stops")));
}

#[test]
fn programs_tell_no_secret() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("token");
    let stage = Stage::new(&format!(
        "- name: a\n  exec_configs:\n  - command: [/bin/sh, -c, 'echo $ONE $TWO $WHO']\n    \
         env: {{ONE: hunter2-one, WHO: '{{{{ .Receiver }}}}'}}\n    env_file: {{TWO: '{}'}}\n",
        file.display()
    ));
    stage.send("a", "g", LONG);
    while stage.attempts().is_empty() {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(stage.attempts()[0].1.contains("token"), "the file is named: {:?}", stage.attempts());
    std::fs::write(&file, "hunter2-two\n").expect("a file");
    assert_eq!(taken(&stage.only()).0, "status 0: <secret> <secret> a");
}
