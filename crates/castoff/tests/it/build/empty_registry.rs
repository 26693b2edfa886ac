//! A registry on loopback that gives nothing, so that a test which asks for something is answered at once.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// A test that needs more than this many connections runs in circles.
const CONNECTIONS: usize = 200;

pub struct EmptyRegistry {
    port: u16,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl EmptyRegistry {
    pub fn start() -> EmptyRegistry {
        EmptyRegistry::answering("404 Not Found")
    }

    /// Starts one that answers everything with a status.
    pub fn answering(status: &'static str) -> EmptyRegistry {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let over = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&over);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().take(CONNECTIONS) {
                if told.load(Ordering::SeqCst) {
                    break;
                }
                // A client that goes away is none of the registry's business.
                let _gone = stream.and_then(|stream| answer(stream, status));
            }
        });
        EmptyRegistry { port, over, thread: Some(thread) }
    }

    /// Returns the name of an image that it does not have.
    pub fn name(&self, image: &str) -> String {
        format!("127.0.0.1:{}/{image}", self.port)
    }
}

impl Drop for EmptyRegistry {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        let _wakes_it = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(thread) = self.thread.take() {
            assert!(thread.join().is_ok() || std::thread::panicking(), "the registry panicked");
        }
    }
}

fn answer(stream: TcpStream, status: &str) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut reader = BufReader::new(stream);
    // The first byte of a TLS handshake.
    if reader.fill_buf()?.first() == Some(&0x16) {
        return Ok(());
    }
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    let text = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    reader.into_inner().write_all(text.as_bytes())
}
