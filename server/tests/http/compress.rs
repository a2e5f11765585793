//! Answers compressed for clients that take it.

use std::io::Read as _;

use axum::body::Body;
use axum::http::Request;

use crate::support::{Server, block_on};

/// The answer as it is sent to a client that takes `encodings`: what it is compressed with, and the body read back.
fn ask(server: &Server, path: &str, encodings: &str) -> (Option<String>, String) {
    let request = Request::get(path).header("accept-encoding", encodings).body(Body::empty()).unwrap();
    let (head, body) = block_on(server.call_raw(request));
    let (encoding, body) = (head.headers.get("content-encoding").cloned(), body.unwrap());
    let Some(encoding) = encoding else { return (None, String::from_utf8(body).unwrap()) };
    assert!(!head.headers.contains_key("content-length"), "it would be that of the text");
    assert_eq!(head.headers["vary"], "accept-encoding");
    let mut text = String::new();
    flate2::read::MultiGzDecoder::new(body.as_slice()).read_to_string(&mut text).unwrap();
    assert!(body.len() < text.len() / 4, "{} of {} bytes", body.len(), text.len());
    (Some(encoding.to_str().unwrap().to_owned()), text)
}

#[test]
fn long_answers_are_compressed_and_short_ones_are_not() {
    let server = Server::new();
    for at in 0..2_000 {
        server.write(&[("__name__", "x"), ("label_of_some_length", &at.to_string())], &[(0, 1.0)]);
    }
    for path in
        ["/api/v1/series?match[]=x", "/api/v1/query?query=x&time=1", "/api/v1/series?match[]=x&limit=40", "/metrics"]
    {
        let (none, plain) = ask(&server, path, "identity");
        assert_eq!(none, None, "{path}");
        for encodings in ["gzip", "deflate, gzip;q=1.0, *;q=0.5"] {
            let (encoding, text) = ask(&server, path, encodings);
            assert_eq!(encoding.as_deref(), Some("gzip"), "{path} for {encodings}");
            if path != "/metrics" {
                assert_eq!(text, plain, "{path}");
            }
        }
        assert_eq!(ask(&server, path, "gzip;q=0, br").0, None, "{path}");
    }
    assert_eq!(ask(&server, "/api/v1/query?query=1", "gzip").0, None, "a short answer");
    let request = Request::get("/api/v1/query?query=1").body(Body::empty()).unwrap();
    assert!(block_on(server.call_raw(request)).0.headers.get("content-encoding").is_none());
}
