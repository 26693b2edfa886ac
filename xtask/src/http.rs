//! One HTTP/1.0 request over loopback, enough to ask an example whether it lives.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// An answer, as text.
pub struct Answer {
    pub status: u16,
    pub body: String,
}

/// Asks `GET path` of a port on loopback.
pub fn get(port: u16, path: &str) -> Result<Answer> {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    // HTTP/1.0 so that the answer ends with the connection and is never chunked.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut bytes = Vec::new();
    stream.take(4 << 20).read_to_end(&mut bytes)?;
    parse(&String::from_utf8_lossy(&bytes))
}

/// Returns a port that is free now; the caller starts its server soon.
pub fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("cannot bind a loopback port")?;
    Ok(listener.local_addr()?.port())
}

fn parse(text: &str) -> Result<Answer> {
    let Some((head, body)) = text.split_once("\r\n\r\n") else { bail!("the answer is not HTTP") };
    let status = head.split_whitespace().nth(1).and_then(|word| word.parse().ok());
    Ok(Answer { status: status.context("the answer has no status")?, body: body.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_split_into_status_and_body() {
        let answer = parse("HTTP/1.1 404 Not Found\r\nA: b\r\n\r\nno\n").unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (404, "no\n"));
        assert!(parse("hello").is_err());
    }
}
