//! Deliveries by TLS: who is trusted, and who is not. The authority and its certificates are made here.

use std::io::{BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use rules::posted::Tell as _;
use server::alerting::forward::{Forwarder, read_targets};

use crate::fake::read;
use crate::forward::{metric, posted};
use crate::mail::talk;
use crate::stage::{Stage, failed, taken};

/// How long a delivery that must fail is tried.
const BRIEFLY: Duration = Duration::from_millis(900);
/// How long one that must succeed may take.
const LONG: Duration = Duration::from_mins(1);
/// Most clients that a server has.
const CLIENTS_MAX: usize = 16;

/// Who signs certificates.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("an authority"))
    }

    /// Writes its certificate into `folder`.
    fn file(&self, folder: &Path) -> PathBuf {
        let file = folder.join("ca.pem");
        std::fs::write(&file, self.0.pem()).expect("written");
        file
    }

    /// A certificate for `name`, and its key.
    fn sign(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        let key = KeyPair::generate().expect("a key");
        (params.signed_by(&key, &self.0).expect("signed"), key)
    }
}

/// What a server shows its clients, as `name`; with `wanted`, only clients that this authority signed are let in.
fn config(authority: &Authority, name: &str, wanted: Option<&Authority>) -> Arc<ServerConfig> {
    let (certificate, key) = authority.sign(name);
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_safe_default_protocol_versions().expect("versions");
    let builder = match wanted {
        None => builder.with_no_client_auth(),
        Some(wanted) => {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::clone(wanted.0.der())).expect("an authority");
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().expect("a verifier"))
        }
    };
    Arc::new(builder.with_single_cert(vec![certificate.der().clone()], key).expect("a certificate"))
}

fn encrypted(config: &Arc<ServerConfig>, stream: TcpStream) -> StreamOwned<ServerConnection, TcpStream> {
    StreamOwned::new(ServerConnection::new(Arc::clone(config)).expect("a connection"), stream)
}

/// A server that hands each client to `serve`, one after the other. Returns its port.
fn serve(serve: impl Fn(TcpStream) + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || listener.incoming().take(CLIENTS_MAX).flatten().for_each(serve));
    port
}

/// A server of HTTPS that takes what it can read.
fn https(config: Arc<ServerConfig>) -> u16 {
    serve(move |stream| {
        let mut reader = BufReader::new(encrypted(&config, stream));
        if read(&mut reader).is_some() {
            let stream = reader.get_mut();
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
            stream.conn.send_close_notify();
            let _ = stream.flush();
        }
    })
}

#[derive(Debug, Clone, Copy)]
enum Wanted {
    Taken,
    /// For a reason with this text.
    Refused(&'static str),
}

#[track_caller]
fn check(receivers: &str, wanted: Wanted) {
    let stage = Stage::new(receivers);
    match wanted {
        Wanted::Taken => {
            stage.send("a", "g", LONG);
            taken(&stage.only());
        }
        Wanted::Refused(text) => {
            stage.send("a", "g", BRIEFLY);
            let ended = stage.only();
            let (error, _) = failed(&ended);
            assert!(error.contains(text), "{receivers}: {error}");
        }
    }
}

#[test]
fn webhooks_trust_whom_they_are_told_to() {
    let folder = tempfile::tempdir().expect("a folder");
    let (ours, other) = (Authority::new(), Authority::new());
    let ca = ours.file(folder.path()).display().to_string();
    let trusted = &format!("ca_file: '{ca}'");
    let (good, foreign, misnamed) =
        (config(&ours, "127.0.0.1", None), config(&other, "127.0.0.1", None), config(&ours, "example.org", None));
    for (server, tls, wanted) in [
        (&good, trusted.as_str(), Wanted::Taken),
        (&good, "", Wanted::Refused("UnknownIssuer")),
        (&good, "insecure_skip_verify: true", Wanted::Taken),
        (&foreign, trusted, Wanted::Refused("certificate")),
        (&misnamed, trusted, Wanted::Refused("not valid for name")),
        (&misnamed, "insecure_skip_verify: true", Wanted::Taken),
        (&good, "ca_file: /nowhere/ca.pem", Wanted::Refused("/nowhere/ca.pem")),
    ] {
        let port = https(Arc::clone(server));
        let http = format!("http_config: {{tls_config: {{{tls}}}}}");
        check(&format!("- name: a\n  webhook_configs: [{{url: 'https://127.0.0.1:{port}/', {http}}}]\n"), wanted);
    }
}

#[test]
fn webhooks_show_who_they_are() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name).display().to_string();
    let ours = Authority::new();
    ours.file(folder.path());
    for (name, authority) in [("us", &ours), ("them", &Authority::new())] {
        let (certificate, key) = authority.sign("metrickit");
        std::fs::write(at(&format!("{name}.pem")), certificate.pem()).expect("written");
        std::fs::write(at(&format!("{name}.key")), key.serialize_pem()).expect("written");
    }
    let server = config(&ours, "127.0.0.1", Some(&ours));
    for (name, is_let_in) in [("us", true), ("them", false)] {
        let port = https(Arc::clone(&server));
        let files = [("ca", "ca.pem"), ("cert", &format!("{name}.pem")), ("key", &format!("{name}.key"))];
        let tls: Vec<String> = files.iter().map(|(key, file)| format!("{key}_file: '{}'", at(file))).collect();
        let http = format!("http_config: {{tls_config: {{{}}}}}", tls.join(", "));
        let wanted = if is_let_in { Wanted::Taken } else { Wanted::Refused("") };
        check(&format!("- name: a\n  webhook_configs: [{{url: 'https://127.0.0.1:{port}/', {http}}}]\n"), wanted);
    }
}

/// Alertmanagers elsewhere are reached as receivers are: by whom their own section trusts, showing who we are.
#[test]
fn alertmanagers_trust_and_are_trusted_as_their_section_says() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let (ours, other) = (Authority::new(), Authority::new());
    ours.file(folder.path());
    let (certificate, key) = ours.sign("metrickit");
    std::fs::write(at("us.pem"), certificate.pem()).expect("written");
    std::fs::write(at("us.key"), key.serialize_pem()).expect("written");
    let (good, foreign, strict) =
        (config(&ours, "127.0.0.1", None), config(&other, "127.0.0.1", None), config(&ours, "127.0.0.1", Some(&ours)));
    let us = "ca_file: ca.pem, cert_file: us.pem, key_file: us.key";
    let cases: [(_, _, Result<(), &str>); 6] = [
        (&good, "ca_file: ca.pem", Ok(())),
        (&strict, us, Ok(())),
        (&foreign, "insecure_skip_verify: true", Ok(())),
        (&foreign, "ca_file: ca.pem", Err("certificate")),
        (&good, "", Err("UnknownIssuer")),
        (&strict, "ca_file: ca.pem", Err("")),
    ];
    let ways: Vec<String> = cases
        .iter()
        .map(|(server, tls, _)| {
            let port = https(Arc::clone(server));
            let targets = format!("[{{targets: ['127.0.0.1:{port}']}}]");
            format!("  - {{scheme: https, static_configs: {targets}, tls_config: {{{tls}}}}}\n")
        })
        .collect();
    let section = format!("alerting:\n  alertmanagers:\n{}", ways.concat());
    let file = at("prometheus.yml");
    std::fs::write(&file, section).expect("written");
    let forwarder = Forwarder::new(read_targets(&[], Some(&file)).expect("a section")).expect("a thread each");
    forwarder.tell(vec![posted(1)]);
    forwarder.stop(LONG);
    let wanted = |is_taken: bool| cases.map(|(_, _, end)| f64::from(u8::from(end.is_ok() == is_taken)));
    assert_eq!(metric(&forwarder, "metrickit_forwarded_alerts_total"), wanted(true));
    assert_eq!(metric(&forwarder, "metrickit_forward_errors_total"), wanted(false));
    let troubles = forwarder.troubles();
    assert_eq!(troubles.len(), cases.len(), "{troubles:?}");
    for (trouble, (_, tls, end)) in troubles.iter().zip(&cases) {
        let told = end.err().unwrap_or_default();
        assert!(trouble.is_empty() == end.is_ok() && trouble.contains(told), "{tls}: {trouble}");
    }
}

/// What clients of a server of mail said before and after the connection was encrypted.
type Said = Arc<Mutex<Vec<String>>>;

/// A server of mail that encrypts at once, or when it is asked to.
fn smtp(config: Arc<ServerConfig>, at_once: bool) -> (u16, [Said; 2]) {
    let said: [Said; 2] = Default::default();
    let [plainly, secretly] = said.clone();
    let port = serve(move |stream| {
        let stream = if at_once {
            Some(stream)
        } else {
            let _ = (&stream).write_all(b"220 here\r\n");
            talk(stream, &plainly, None, true).ok().flatten()
        };
        let Some(stream) = stream else { return };
        let mut stream = encrypted(&config, stream);
        if at_once {
            let _ = stream.write_all(b"220 here\r\n");
        }
        let _ = talk(stream, &secretly, None, false);
    });
    (port, said)
}

#[test]
fn mails_are_encrypted_for_whom_is_trusted() {
    let folder = tempfile::tempdir().expect("a folder");
    let ours = Authority::new();
    let ca = ours.file(folder.path()).display().to_string();
    let trusted = &format!("ca_file: '{ca}'");
    let server = config(&ours, "127.0.0.1", None);
    for at_once in [false, true] {
        for (tls, wanted) in [
            (trusted.as_str(), Wanted::Taken),
            ("", Wanted::Refused("certificate")),
            ("insecure_skip_verify: true", Wanted::Taken),
        ] {
            let (port, [plainly, secretly]) = smtp(Arc::clone(&server), at_once);
            let more = format!("force_implicit_tls: {at_once}, tls_config: {{{tls}}}");
            check(
                &format!(
                    "- name: a\n  email_configs: [{{to: b@example.org, from: a@example.org, smarthost: '127.0.0.1:{port}', auth_username: a, auth_password: hunter2, {more}}}]\n"
                ),
                wanted,
            );
            let has =
                |said: &Said, start: &str| said.lock().expect("no panic").iter().any(|line| line.starts_with(start));
            assert_eq!(has(&secretly, "RCPT TO:<b@example.org>"), matches!(wanted, Wanted::Taken), "{at_once} {tls}");
            assert!(!has(&plainly, "AUTH") && !has(&plainly, "MAIL"), "nothing before it is encrypted");
        }
    }
}
