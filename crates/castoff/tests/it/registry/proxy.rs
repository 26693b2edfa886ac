//! A proxy that errs on purpose, before a registry that does not.
//!
//! Each request is read to the end of its head; then a closure decides what becomes of it. The host that the
//! client asked for is passed on, so that the locations which the registry names lead through here again.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// A test that needs more than this many connections runs in circles.
const CONNECTIONS: usize = 400;
const LINE_LIMIT: u64 = 16 << 10;

/// The head of a request.
#[derive(Debug, Clone)]
pub struct Asked {
    pub method: String,
    pub path: String,
    pub authorization: String,
}

impl Asked {
    /// Whether bytes of a blob are sent.
    pub fn sends(&self) -> bool {
        self.path.contains("/blobs/uploads/") && matches!(self.method.as_str(), "PATCH" | "PUT")
    }
}

/// What becomes of a request.
#[derive(Debug, Clone)]
pub enum Fault {
    /// It is passed on.
    Pass,
    /// This is answered, head and body, and the registry hears nothing. The body of the request is read.
    Answer(String),
    /// The connection ends after so many bytes of the request's body were passed on.
    CutRequest(u64),
    /// The registry does what is asked, and its answer ends after so many bytes.
    CutAnswer(u64),
    /// The answer comes in single bytes up to here, then as it is.
    Drip(u64),
    /// A byte of the answer's body is another one.
    Damage,
}

impl Fault {
    /// An answer without a body.
    pub fn status(status: u16, headers: &str) -> Fault {
        Fault::body(status, headers, "")
    }

    pub fn body(status: u16, headers: &str, body: &str) -> Fault {
        let length = body.len();
        Fault::Answer(format!(
            "HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
        ))
    }
}

type Decide = dyn Fn(&Asked) -> Fault + Send + Sync;

/// A running proxy.
pub struct Proxy {
    port: u16,
    log: Arc<Mutex<Vec<Asked>>>,
    stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    pub fn start(registry: String, decide: impl Fn(&Asked) -> Fault + Send + Sync + 'static) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (log, stopped) = (Arc::<Mutex<Vec<Asked>>>::default(), Arc::new(AtomicBool::new(false)));
        let (of_thread, stop) = (Arc::clone(&log), Arc::clone(&stopped));
        let decide: Box<Decide> = Box::new(decide);
        let thread = std::thread::spawn(move || {
            std::thread::scope(|scope| {
                for stream in listener.incoming().take(CONNECTIONS) {
                    if stop.load(Ordering::SeqCst) {
                        break;
                    }
                    let (log, decide, registry) = (&of_thread, &decide, &registry);
                    // Whoever goes away is none of the proxy's business.
                    scope.spawn(move || serve(stream?, registry, log, decide).or(std::io::Result::Ok(())));
                }
            });
        });
        Proxy { port, log, stopped, thread: Some(thread) }
    }

    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Returns the requests so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.log.lock().unwrap().clone()
    }

    /// Returns how many requests so far are of a kind.
    pub fn count(&self, kind: impl Fn(&Asked) -> bool) -> usize {
        self.asked().iter().filter(|asked| kind(asked)).count()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        let _wakes_it = TcpStream::connect(("127.0.0.1", self.port));
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || std::thread::panicking(), "the proxy panicked");
    }
}

fn serve(stream: TcpStream, registry: &str, log: &Mutex<Vec<Asked>>, decide: &Decide) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.set_write_timeout(Some(Duration::from_secs(20)))?;
    let mut reader = BufReader::new(stream);
    // The first byte of a TLS handshake.
    if reader.fill_buf()?.first() == Some(&0x16) {
        return Ok(());
    }
    let mut head = String::new();
    let (mut length, mut authorization) = (0, String::new());
    loop {
        let mut line = String::new();
        reader.by_ref().take(LINE_LIMIT).read_line(&mut line)?;
        let lower = line.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        if lower.starts_with("authorization:") {
            authorization =
                line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default();
        }
        if line.trim().is_empty() {
            break;
        }
        if !lower.starts_with("connection:") {
            head.push_str(&line);
        }
    }
    head.push_str("Connection: close\r\n\r\n");
    let mut words = head.split(' ');
    let (Some(method), Some(path)) = (words.next(), words.next()) else { return Ok(()) };
    let asked = {
        let asked = Asked { method: method.to_owned(), path: path.to_owned(), authorization };
        log.lock().unwrap().push(asked.clone());
        asked
    };
    let fault = decide(&asked);
    if let Fault::Answer(text) = fault {
        std::io::copy(&mut reader.by_ref().take(length), &mut std::io::sink())?;
        return reader.get_mut().write_all(text.as_bytes());
    }
    let mut upstream = TcpStream::connect(registry)?;
    upstream.set_read_timeout(Some(Duration::from_secs(20)))?;
    upstream.write_all(head.as_bytes())?;
    if let Fault::CutRequest(at) = fault {
        std::io::copy(&mut reader.by_ref().take(length.min(at)), &mut upstream)?;
        upstream.shutdown(Shutdown::Both)?;
        return reader.get_ref().shutdown(Shutdown::Both);
    }
    std::io::copy(&mut reader.by_ref().take(length), &mut upstream)?;
    answer(upstream, reader.into_inner(), &fault)
}

fn answer(mut upstream: TcpStream, mut client: TcpStream, fault: &Fault) -> std::io::Result<()> {
    match fault {
        Fault::CutAnswer(at) => {
            std::io::copy(&mut upstream.take(*at), &mut client)?;
            client.shutdown(Shutdown::Both)
        }
        Fault::Drip(until) => {
            client.set_nodelay(true)?;
            let mut byte = [0];
            let mut sent = 0;
            while sent < *until && upstream.read(&mut byte)? == 1 {
                client.write_all(&byte)?;
                sent += 1;
            }
            std::io::copy(&mut upstream, &mut client)?;
            Ok(())
        }
        Fault::Damage => {
            let mut bytes = Vec::new();
            upstream.read_to_end(&mut bytes)?;
            if let Some(last) = bytes.last_mut() {
                *last ^= 1;
            }
            client.write_all(&bytes)
        }
        Fault::Pass | Fault::Answer(_) | Fault::CutRequest(_) => {
            std::io::copy(&mut upstream, &mut client)?;
            Ok(())
        }
    }
}
