//! What ssh's own programs get of a served agent.

use std::process::Command;

use castoff_ssh::{Agent, Key, KeyError};

use crate::kit::{Kit, succeeds};

// B-140
#[test]
fn keys_of_every_kind_and_format_sign() {
    let kit = Kit::new();
    let kinds: [(&str, &[&str]); 12] = [
        ("ed25519", &["-t", "ed25519"]),
        ("ecdsa256", &["-t", "ecdsa", "-b", "256"]),
        ("ecdsa384", &["-t", "ecdsa", "-b", "384"]),
        ("ecdsa521", &["-t", "ecdsa", "-b", "521"]),
        ("rsa", &["-t", "rsa", "-b", "2048"]),
        ("rsa3072", &["-t", "rsa", "-b", "3072"]),
        ("rsa-pem", &["-t", "rsa", "-b", "2048", "-m", "PEM"]),
        ("rsa-pkcs8", &["-t", "rsa", "-b", "2048", "-m", "PKCS8"]),
        ("ecdsa-pem", &["-t", "ecdsa", "-b", "256", "-m", "PEM"]),
        ("ecdsa-pem384", &["-t", "ecdsa", "-b", "384", "-m", "PEM"]),
        ("ecdsa-pem521", &["-t", "ecdsa", "-b", "521", "-m", "PEM"]),
        ("ecdsa-pkcs8", &["-t", "ecdsa", "-b", "384", "-m", "PKCS8"]),
    ];
    for (name, flags) in kinds {
        let text = kit.keygen(name, flags);
        let served = kit.serve_key(&text);
        let listed = kit.ssh("ssh-add", &["-L"]);
        let public = std::fs::read_to_string(kit.path(&format!("{name}.pub"))).unwrap();
        let public = public.split(' ').nth(1).unwrap();
        assert!(String::from_utf8_lossy(&listed.stdout).contains(public), "{name}: {listed:?}");
        assert_eq!(kit.signs(name), Ok(()), "{name}");
        drop(served);
        std::fs::remove_file(kit.path("socket")).unwrap();
    }
}

// B-140: as openssl writes it.
#[test]
fn an_ed25519_key_in_pkcs8_signs() {
    let kit = Kit::new();
    let path = kit.path("key");
    succeeds(Command::new("openssl").args(["genpkey", "-algorithm", "ed25519", "-out"]).arg(&path));
    let _served = kit.serve_key(&std::fs::read(&path).unwrap());
    let listed = kit.ssh("ssh-add", &["-L"]);
    std::fs::write(kit.path("key.pub"), &listed.stdout).unwrap();
    assert!(String::from_utf8_lossy(&listed.stdout).starts_with("ssh-ed25519 "), "{listed:?}");
    assert_eq!(kit.signs("key"), Ok(()));
}

// B-140
#[test]
fn encrypted_keys_are_refused_with_a_hint() {
    let kit = Kit::new();
    for (name, format) in [("openssh", "RFC4716"), ("pem", "PEM"), ("pkcs8", "PKCS8")] {
        let path = kit.path(name);
        let words = ["-q", "-t", "rsa", "-b", "2048", "-m", format, "-N", "passphrase", "-f"];
        succeeds(Command::new("ssh-keygen").args(words).arg(&path));
        let error = Key::parse(&std::fs::read(&path).unwrap(), "x").unwrap_err();
        assert_eq!(error, KeyError::Encrypted, "{name}");
        assert!(error.to_string().contains("ssh-add"));
    }
}

#[test]
fn what_is_no_usable_key_is_named() {
    let check = |text: &[u8], expected: KeyError| {
        assert_eq!(Key::parse(text, "x").unwrap_err(), expected, "{}", String::from_utf8_lossy(text));
    };
    check(b"", KeyError::NoPrivateKey);
    check(b"ssh-ed25519 AAAAC3 me", KeyError::NoPrivateKey);
    check(b"\xff\xfe", KeyError::NoPrivateKey);
    check(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", KeyError::NoPrivateKey);
    check(b"-----BEGIN RSA PRIVATE KEY-----", KeyError::NoPrivateKey);
    for label in ["RSA PRIVATE KEY", "EC PRIVATE KEY", "PRIVATE KEY", "OPENSSH PRIVATE KEY"] {
        let text = format!("-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n");
        check(text.as_bytes(), KeyError::Malformed);
    }
    let dsa = b"-----BEGIN DSA PRIVATE KEY-----\nAAAA\n-----END DSA PRIVATE KEY-----\n";
    check(dsa, KeyError::Type("ssh-dss".to_owned()));
}

// D-174
#[test]
fn a_forwarded_agent_lists_and_signs_and_changes_nothing() {
    let kit = Kit::new();
    kit.keygen("key", &["-t", "ed25519"]);
    kit.keygen("other", &["-t", "ed25519"]);
    let real = kit.real_agent("key");
    let _served = kit.serve(Agent::Forwarded(real.socket.clone()));
    let listed = || String::from_utf8(kit.ssh("ssh-add", &["-L"]).stdout).unwrap();
    let public = std::fs::read_to_string(kit.path("key.pub")).unwrap();
    assert_eq!(listed(), public);
    assert_eq!(kit.signs("key"), Ok(()));
    for words in [&["-D"][..], &["-d", "key"], &["-q", "other"]] {
        let refused = kit.ssh("ssh-add", words);
        assert!(!refused.status.success(), "{words:?}: {refused:?}");
    }
    assert_eq!(listed(), public);
}

// D-174
#[test]
fn keys_in_memory_cannot_be_changed_either() {
    let kit = Kit::new();
    let text = kit.keygen("key", &["-t", "ed25519"]);
    kit.keygen("other", &["-t", "ed25519"]);
    let _served = kit.serve_key(&text);
    for words in [&["-D"][..], &["-d", "key"], &["-q", "other"]] {
        assert!(!kit.ssh("ssh-add", words).status.success(), "{words:?}");
    }
    assert_eq!(kit.signs("key"), Ok(()));
    // A key that the agent does not have is not signed with.
    std::fs::remove_file(kit.path("other")).unwrap();
    assert!(kit.signs("other").is_err());
}
