//! A registry that has one saved image and asks, for each blob, how it is to be sent.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::kit::run;

/// A test that needs more than this many connections runs in circles.
const CONNECTIONS: usize = 100;

/// How a blob is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sending {
    Whole,
    /// Half of it, and then the registry is gone.
    HalfAndGone,
}

pub struct Scripted {
    port: u16,
    gone: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Scripted {
    /// Serves the image of an archive under any name and tag. `send` is told the length of each blob.
    pub fn start(
        archive: &Path,
        port: u16,
        send: impl Fn(usize) -> Sending + Send + Sync + 'static,
    ) -> Scripted {
        let directory = archive.with_extension("unpacked");
        fs::create_dir_all(&directory).unwrap();
        run(Command::new("tar").arg("-C").arg(&directory).arg("-xf").arg(archive));
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let gone = Arc::new(AtomicBool::new(false));
        let gone_for_all = Arc::clone(&gone);
        let thread = std::thread::spawn(move || {
            let serving = Serving { directory, send: Box::new(send), gone: gone_for_all, port };
            std::thread::scope(|scope| {
                for stream in listener.incoming().take(CONNECTIONS) {
                    if serving.gone.load(Ordering::SeqCst) {
                        break;
                    }
                    let serving = &serving;
                    // A client that goes away is none of the registry's business.
                    scope.spawn(move || stream.and_then(|stream| serving.serve(stream)).ok());
                }
                drop(listener);
            });
        });
        Scripted { port, gone, thread: Some(thread) }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the name of the image.
    pub fn name(&self) -> String {
        format!("127.0.0.1:{}/image:1", self.port)
    }

    /// Waits until the registry is gone.
    pub fn wait(mut self) {
        self.thread.take().unwrap().join().unwrap();
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.gone.store(true, Ordering::SeqCst);
        let _wakes_it = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(thread) = self.thread.take() {
            assert!(thread.join().is_ok() || std::thread::panicking(), "the registry panicked");
        }
    }
}

struct Serving {
    directory: PathBuf,
    send: Box<dyn Fn(usize) -> Sending + Send + Sync>,
    gone: Arc<AtomicBool>,
    port: u16,
}

impl Serving {
    fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        stream.set_write_timeout(Some(Duration::from_secs(30)))?;
        let mut reader = BufReader::new(stream);
        // The first byte of a TLS handshake.
        if reader.fill_buf()?.first() == Some(&0x16) {
            return Ok(());
        }
        let (mut request, mut line) = (String::new(), String::new());
        reader.read_line(&mut request)?;
        while reader.read_line(&mut line)? > 2 {
            line.clear();
        }
        let path = request.split(' ').nth(1).unwrap_or_default();
        let (body, sending) = if path.contains("/manifests/") {
            let index: serde_json::Value =
                serde_json::from_slice(&fs::read(self.directory.join("index.json")).unwrap()).unwrap();
            (self.blob(index["manifests"][0]["digest"].as_str().unwrap()), Sending::Whole)
        } else {
            let body = self.blob(path.rsplit('/').next().unwrap());
            let sending = (self.send)(body.len());
            (body, sending)
        };
        let mut stream = reader.into_inner();
        write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len())?;
        if sending == Sending::Whole {
            return stream.write_all(&body);
        }
        stream.write_all(&body[..body.len() / 2])?;
        self.gone.store(true, Ordering::SeqCst);
        let _wakes_it = TcpStream::connect(("127.0.0.1", self.port));
        Ok(())
    }

    fn blob(&self, digest: &str) -> Vec<u8> {
        fs::read(self.directory.join("blobs/sha256").join(digest.strip_prefix("sha256:").unwrap())).unwrap()
    }
}
