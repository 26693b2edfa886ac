//! A server of HTTP/1.1 for tests: each request is given to a closure, whose answer may lie about its
//! length. It answers one request per connection and so many at all, and speaks no TLS. The tests of the
//! product use it too.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// A test that needs more than this many connections runs in circles.
const CONNECTIONS: usize = 100;
const LINE_LIMIT: u64 = 16 << 10;
const BODY_LIMIT: u64 = 64 << 10;

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    pub path: String,
    /// By lower-case name.
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
    /// How many requests for the same path came before.
    pub nth: usize,
}

impl Request {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// What the server says.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// The Content-Length, when it is a lie.
    pub length: Option<usize>,
}

impl Answer {
    pub fn ok(body: impl Into<Vec<u8>>) -> Answer {
        Answer { status: 200, headers: Vec::new(), body: body.into(), length: None }
    }

    pub fn status(status: u16) -> Answer {
        Answer { status, ..Answer::ok("") }
    }

    /// The connection ends without an answer.
    pub fn nothing() -> Answer {
        Answer::status(0)
    }

    pub fn at(mut self, status: u16) -> Answer {
        self.status = status;
        self
    }

    pub fn with(mut self, name: &str, value: &str) -> Answer {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Announces the whole body and sends the beginning.
    pub fn cut(mut self, at: usize) -> Answer {
        self.length = Some(self.body.len());
        self.body.truncate(at);
        self
    }
}

/// A running server.
pub struct Server {
    port: u16,
    log: Arc<Mutex<Vec<Request>>>,
    stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub fn start(answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (log, stopped) = (Arc::<Mutex<Vec<Request>>>::default(), Arc::new(AtomicBool::new(false)));
        let (log_of_thread, stopped_of_thread) = (Arc::clone(&log), Arc::clone(&stopped));
        let thread = std::thread::spawn(move || {
            std::thread::scope(|scope| {
                for stream in listener.incoming().take(CONNECTIONS) {
                    if stopped_of_thread.load(Ordering::SeqCst) {
                        break;
                    }
                    let (log, answer) = (&log_of_thread, &answer);
                    scope.spawn(move || {
                        // A client that goes away is none of the server's business.
                        let _gone = serve(stream?, log, answer);
                        std::io::Result::Ok(())
                    });
                }
            });
        });
        Server { port, log, stopped, thread: Some(thread) }
    }

    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Returns an address of this server.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.host())
    }

    /// Returns the requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.log.lock().unwrap().clone()
    }

    /// Returns `METHOD path` of the requests so far.
    pub fn asked(&self) -> Vec<String> {
        self.requests().iter().map(|request| format!("{} {}", request.method, request.path)).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        let _wakes_it = TcpStream::connect(("127.0.0.1", self.port));
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || std::thread::panicking(), "the server panicked");
    }
}

fn serve(
    stream: TcpStream,
    log: &Mutex<Vec<Request>>,
    answer: &dyn Fn(&Request) -> Answer,
) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.set_write_timeout(Some(Duration::from_secs(10)))?;
    let mut reader = BufReader::new(stream);
    // The first byte of a TLS handshake.
    if reader.fill_buf()?.first() == Some(&0x16) {
        return Ok(());
    }
    let mut line = || {
        let mut line = String::new();
        reader.by_ref().take(LINE_LIMIT).read_line(&mut line)?;
        std::io::Result::Ok(line.trim_end().to_owned())
    };
    let first = line()?;
    let mut words = first.split(' ');
    let (Some(method), Some(path)) = (words.next(), words.next()) else { return Ok(()) };
    let mut headers = BTreeMap::new();
    loop {
        let line = line()?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let mut body = Vec::new();
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    reader.by_ref().take(BODY_LIMIT.min(length)).read_to_end(&mut body)?;
    let request = {
        let mut log = log.lock().unwrap();
        let nth = log.iter().filter(|request| request.path == path).count();
        let request = Request { method: method.to_owned(), path: path.to_owned(), headers, body, nth };
        log.push(request.clone());
        request
    };
    let answer = answer(&request);
    if answer.status == 0 {
        return Ok(());
    }
    let mut head = format!("HTTP/1.1 {} X\r\nconnection: close\r\n", answer.status);
    head.push_str(&format!("content-length: {}\r\n", answer.length.unwrap_or(answer.body.len())));
    for (name, value) in &answer.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    let mut stream = reader.into_inner();
    stream.write_all(head.as_bytes())?;
    stream.write_all(&answer.body)
}
