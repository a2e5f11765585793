//! As little of an HTTP server as a test needs: each request is answered by a function, and the connection closed.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Longest body.
const BODY_BYTES_MAX: usize = 16 << 20;

/// Answers a request: path and body to status and text.
pub(crate) type Answer = dyn Fn(&str, &[u8]) -> (u16, String) + Send + Sync;

/// A server; it ends when dropped.
pub(crate) struct Web {
    /// `127.0.0.1:PORT`.
    pub(crate) address: String,
    stop: Arc<AtomicBool>,
}

impl Web {
    pub(crate) fn start(answer: Arc<Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let stop = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&stop);
        std::thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                if ends.load(Ordering::Relaxed) {
                    return;
                }
                let answer = Arc::clone(&answer);
                // A client that goes away is its own affair.
                std::thread::spawn(move || drop(serve(&connection, &*answer)));
            }
        });
        Self { address, stop }
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes the thread that waits for connections.
        drop(TcpStream::connect(&self.address));
    }
}

fn serve(connection: &TcpStream, answer: &Answer) -> std::io::Result<()> {
    connection.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut reader = BufReader::new(connection.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let path = line.split_whitespace().nth(1).unwrap_or("/").to_owned();
    let mut length = 0;
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    let mut body = vec![0; length.min(BODY_BYTES_MAX)];
    reader.read_exact(&mut body)?;
    let (status, text) = answer(&path, &body);
    let head = format!(
        "HTTP/1.1 {status} Answer\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        text.len()
    );
    let mut connection = connection;
    connection.write_all(head.as_bytes())?;
    connection.write_all(text.as_bytes())
}
