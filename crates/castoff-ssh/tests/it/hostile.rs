//! Clients that break the rules, and agents that are gone.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use castoff_ssh::Agent;

use crate::kit::Kit;

const LIST: [u8; 5] = [0, 0, 0, 1, 11];

fn asks(stream: &mut UnixStream, bytes: &[u8]) -> Vec<u8> {
    stream.write_all(bytes).unwrap();
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut answer = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut answer).unwrap();
    answer
}

fn is_closed(stream: &mut UnixStream) -> bool {
    matches!(stream.read(&mut [0]), Ok(0) | Err(_))
}

#[test]
fn malformed_requests_fail_and_do_no_harm() {
    let kit = Kit::new();
    let text = kit.keygen("key", &["-t", "ed25519"]);
    let _served = kit.serve_key(&text);
    let mut client = UnixStream::connect(kit.path("socket")).unwrap();
    let requests: [&[u8]; 7] = [
        &[0, 0, 0, 1, 13],
        &[0, 0, 0, 5, 13, 255, 255, 255, 255],
        &[0, 0, 0, 13, 13, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &[0, 0, 0, 1, 27],
        &[0, 0, 0, 1, 0],
        &[0, 0, 0, 1, 17],
        &[0, 0, 0, 1, 255],
    ];
    for request in requests {
        assert_eq!(asks(&mut client, request), [5], "{request:?}");
    }
    assert_eq!(asks(&mut client, &LIST)[0], 12);
    // A request may come in pieces.
    client.write_all(&LIST[..3]).unwrap();
    assert_eq!(asks(&mut client, &LIST[3..])[0], 12);
}

#[test]
fn messages_without_end_are_cut_off() {
    let kit = Kit::new();
    let text = kit.keygen("key", &["-t", "ed25519"]);
    let _served = kit.serve_key(&text);
    for length in [0, (256_u32 << 10) + 1, u32::MAX] {
        let mut client = UnixStream::connect(kit.path("socket")).unwrap();
        client.write_all(&length.to_be_bytes()).unwrap();
        assert!(is_closed(&mut client), "{length}");
    }
}

#[test]
fn too_many_connections_are_refused_and_the_others_served() {
    let kit = Kit::new();
    let text = kit.keygen("key", &["-t", "ed25519"]);
    let _served = kit.serve_key(&text);
    let mut clients = Vec::new();
    for _ in 0..64 {
        let mut client = UnixStream::connect(kit.path("socket")).unwrap();
        assert_eq!(asks(&mut client, &LIST)[0], 12);
        clients.push(client);
    }
    let mut refused = UnixStream::connect(kit.path("socket")).unwrap();
    assert!(is_closed(&mut refused));
    assert_eq!(asks(&mut clients[0], &LIST)[0], 12);
}

#[test]
fn an_agent_that_is_gone_is_a_failure_and_no_hang() {
    let kit = Kit::new();
    let _served = kit.serve(Agent::Forwarded(PathBuf::from("/no/such/socket")));
    let mut client = UnixStream::connect(kit.path("socket")).unwrap();
    assert_eq!(asks(&mut client, &LIST), [5]);
    assert_eq!(asks(&mut client, &LIST), [5]);
}

#[test]
fn serving_ends_while_connections_are_open() {
    let kit = Kit::new();
    let text = kit.keygen("key", &["-t", "ed25519"]);
    let served = kit.serve_key(&text);
    let mut client = UnixStream::connect(kit.path("socket")).unwrap();
    assert_eq!(asks(&mut client, &LIST)[0], 12);
    drop(served);
    assert!(is_closed(&mut client));
    assert!(UnixStream::connect(kit.path("socket")).is_err());
}
