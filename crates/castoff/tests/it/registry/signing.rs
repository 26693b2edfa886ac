//! Signatures, which openssl verifies.

use std::fs;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use castoff_oci::Digest;
use serde_json::Value;

use super::THREE;
use super::kit::{Machine, Registry, run, text, with_registry};

/// A key in cosign's form, with the password `open sesame`, made for this test by another program.
const KEY: &str = "\
-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----
eyJrZGYiOnsibmFtZSI6InNjcnlwdCIsInBhcmFtcyI6eyJOIjoxMDI0LCJyIjo4
LCJwIjoxfSwic2FsdCI6InpEc0VjbUdETDErdnVmZ2VISG54bEI1Z0ZJcW9nWTVE
NUJCNnRLMnFMVmM9In0sImNpcGhlciI6eyJuYW1lIjoibmFjbC9zZWNyZXRib3gi
LCJub25jZSI6IkltQjgzNzNuZy84N280TXU3dVpUR21QcytnTlE2dGdyIn0sImNp
cGhlcnRleHQiOiJwUGZpOUk3V1FKaExibXVYOHV6NGtIL1JXV0dnT0ZaMjBGb3JF
TTVXRGtOTzkvNk5aTHJtVExoa3YvaVRvYk83WVBmM2xUVjFXZnUxNG5aZTh1cHpF
cmFNdHBVV2hFQmJnbU56dndFSUVreWxSWHVRR2FLQ0h6anIra2FzWmloanErZjlQ
V0c2ZUdrQ0hFdDRublo1bTJPNXoyVGQzaTN6U0s5dlRsQk84RDVCb1N5Q21OQlpH
dHhmZVRmbSsvNlkwa2hiUFIvYzE0cDVnUT09In0=
-----END ENCRYPTED SIGSTORE PRIVATE KEY-----
";

const PUBLIC: &str = "\
-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEhzhWcD9+fW343ejrIzHWER1L9KBy
J4JVDSJ/hQ6WDIVn33t8naUQtROh96qUZQ6bypG6T8Nr6DlLhn3y+YmxBA==
-----END PUBLIC KEY-----
";

const PASSWORD: &str = "open sesame";

/// A signature: what is signed, and the signature.
type Signed = (Value, Vec<u8>, Vec<u8>);

/// Returns the signatures of a digest in the repository `app`.
fn signatures(registry: &Registry, machine: &Machine, digest: &str) -> Vec<Signed> {
    let from = format!("{}/app:{}.sig", registry.host(), digest.replace(':', "-"));
    let _absent_at_first = fs::remove_dir_all(machine.path("signatures"));
    let words = ["--insecure-policy", "copy", "--quiet", "--src-tls-verify=false"];
    let to = format!("oci:{}:1", machine.path("signatures").display());
    run(Command::new("skopeo").args(words).args([format!("docker://{from}"), to]));
    let raw = machine.castoff(&["index", "inspect", "--raw", &from]);
    let manifest: Value = serde_json::from_str(&raw).unwrap();
    let layers = manifest["layers"].as_array().unwrap().iter().map(|layer| {
        assert_eq!(layer["mediaType"], "application/vnd.dev.cosign.simplesigning.v1+json");
        let blob = layer["digest"].as_str().unwrap().replace(':', "/");
        let payload = fs::read(machine.path("signatures/blobs").join(blob)).unwrap();
        let signature = layer["annotations"]["dev.cosignproject.cosign/signature"].as_str().unwrap();
        (serde_json::from_slice(&payload).unwrap(), payload, STANDARD.decode(signature).unwrap())
    });
    layers.collect()
}

/// Verifies a signature with a public key in a file.
fn is_valid(machine: &Machine, public: &str, (_, payload, signature): &Signed) -> bool {
    let signature = machine.write("signature", signature);
    let payload = machine.write("payload", payload);
    let mut command = Command::new("openssl");
    command.args(["dgst", "-sha256", "-verify"]).arg(machine.path(public)).arg("-signature");
    command.arg(signature).arg(payload).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().unwrap().success()
}

fn sign(machine: &Machine, password: Option<&str>, words: &[&str]) -> (Option<i32>, String, String) {
    let mut command = machine.command(&[&["sign", "--progress=none"], words].concat());
    let output = command.envs(password.map(|password| ("COSIGN_PASSWORD", password))).output().unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// Makes a pair of keys with openssl, and returns the name of the file of the public one.
fn pair(machine: &Machine, name: &str, curve: &str) -> String {
    let (key, public) = (machine.path(name), format!("{name}.pub"));
    let option = format!("ec_paramgen_curve:{curve}");
    let words = ["genpkey", "-quiet", "-algorithm", "EC", "-pkeyopt", &option, "-out"];
    run(Command::new("openssl").args(words).arg(&key));
    run(Command::new("openssl")
        .args(["pkey", "-pubout", "-in"])
        .arg(&key)
        .arg("-out")
        .arg(machine.path(&public)));
    public
}

#[test]
fn what_is_signed_is_verified_by_others() {
    with_registry("", |registry, machine| {
        registry.push("app:1", THREE, &[], &[]);
        let name = format!("{}/app:1", registry.host());
        let raw = machine.castoff(&["index", "inspect", "--raw", &name]);
        let digest = Digest::of(raw.as_bytes()).to_string();
        let public = pair(machine, "plain", "P-256");
        let (code, said, error) = sign(machine, None, &["--key", "plain", &name]);
        assert_eq!(code, Some(0), "{error}");
        let place = format!("{}/app:{}.sig@sha256:", registry.host(), digest.replace(':', "-"));
        assert!(said.starts_with(&place), "{said}");
        let found = signatures(registry, machine, &digest);
        let critical = &found[0].0["critical"];
        assert_eq!(critical["image"]["docker-manifest-digest"], digest);
        assert_eq!(critical["identity"]["docker-reference"], format!("{}/app", registry.host()));
        assert_eq!((found.len(), is_valid(machine, &public, &found[0])), (1, true));
        // The same again changes nothing, another key or more words are another signature.
        assert_eq!(sign(machine, None, &["--key", "plain", &name]).1, said);
        machine.write("cosign.key", KEY);
        machine.write("cosign.pub", PUBLIC);
        let words = ["--key", "cosign.key", "-a", "commit=1", &name];
        assert_eq!(sign(machine, Some(PASSWORD), &words).0, Some(0));
        let found = signatures(registry, machine, &digest);
        assert_eq!(found.len(), 2);
        assert_eq!(found[1].0["optional"]["commit"], "1");
        assert!(is_valid(machine, &public, &found[0]) && is_valid(machine, "cosign.pub", &found[1]));
        assert!(!is_valid(machine, &public, &found[1]));
        // The image is what it was.
        assert_eq!(machine.castoff(&["index", "inspect", "--raw", &name]), raw);
    });
}

#[test]
fn an_index_is_signed_with_what_it_names() {
    with_registry("", |registry, machine| {
        let name = format!("{}/app:1", registry.host());
        machine.write("context/Dockerfile", "FROM scratch\nLABEL a=b\n");
        machine.castoff(&[
            "build",
            "--push",
            "-t",
            &name,
            "--platform",
            "linux/amd64,linux/arm64",
            "context",
        ]);
        let public = pair(machine, "key", "P-256");
        assert_eq!(sign(machine, None, &["--key", "key", &name]).1.lines().count(), 1);
        let (_, said, error) = sign(machine, None, &["--recursive", "--key", "key", &name]);
        assert_eq!(said.lines().count(), 3, "{error}");
        let index: Value =
            serde_json::from_str(&machine.castoff(&["index", "inspect", "--raw", &name])).unwrap();
        for entry in index["manifests"].as_array().unwrap() {
            let found = signatures(registry, machine, entry["digest"].as_str().unwrap());
            assert_eq!((found.len(), is_valid(machine, &public, &found[0])), (1, true));
        }
    });
}

#[test]
fn what_cannot_be_signed_is_told() {
    with_registry("", |registry, machine| {
        registry.push("app:1", THREE, &[], &[]);
        let name = format!("{}/app:1", registry.host());
        machine.write("cosign.key", KEY);
        machine.write("none", "nothing");
        pair(machine, "other", "P-384");
        for (password, words, reason) in [
            (Some("wrong"), vec!["--key", "cosign.key", &name], "the password does not open the key"),
            (None, vec!["--key", "cosign.key", &name], "COSIGN_PASSWORD has its password"),
            (None, vec!["--key", "none", &name], "it is no private key that castoff signs with"),
            (None, vec!["--key", "other", &name], "it is no private key that castoff signs with"),
            (None, vec!["--key", "absent", &name], "the key `absent`"),
            (Some(PASSWORD), vec!["--key", "cosign.key", "-a", "x", &name], "expected KEY=VALUE"),
            (Some(PASSWORD), vec!["--key", "cosign.key", "127.0.0.1:1/app:1"], "127.0.0.1:1"),
        ] {
            let (code, said, error) = sign(machine, password, &words);
            assert_eq!((code, said.as_str()), (Some(1), ""), "{words:?}");
            assert!(error.contains(reason) && !error.contains(PASSWORD), "{words:?}: {error}");
        }
    });
}
