//! Signatures of images with a key, made and found as cosign does (`docs/signatures.md`).
//!
//! What is signed is a small document that names the digest of a manifest or index. It is a layer of an image of
//! its own, in the same repository, whose tag says which digest it is about; the signature is an annotation of
//! that layer. Who signs again adds a layer.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use castoff_oci::{Descriptor, Digest, Manifest, MediaType, Raw, Reference};
use crypto_secretbox::aead::{Aead as _, KeyInit as _};
use crypto_secretbox::{Nonce, XSalsa20Poly1305};
use p256::SecretKey;
use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{Signature, SigningKey};
use p256::pkcs8::DecodePrivateKey as _;
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// The layer's type.
const PAYLOAD: &str = "application/vnd.dev.cosign.simplesigning.v1+json";

/// The annotation with the signature.
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";

/// Work and memory beyond this are no key of anybody's: 1 GiB.
const SCRYPT_LIMIT: u64 = 1 << 30;

/// A private key of ECDSA with the curve P-256.
pub struct Key(SigningKey);

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// It is no key, or of another kind.
    #[error("it is no private key that castoff signs with: expected ECDSA P-256 as PEM, or a key of cosign")]
    Kind,
    /// It is encrypted in a way that is not known.
    #[error("the key is encrypted in a way that castoff does not know: {0}")]
    Encryption(String),
    /// The password is another.
    #[error("the password does not open the key")]
    Password,
}

/// A key of cosign: JSON in PEM.
#[derive(Deserialize)]
struct Encrypted {
    kdf: Kdf,
    cipher: Cipher,
    ciphertext: String,
}

#[derive(Deserialize)]
struct Kdf {
    name: String,
    params: Scrypt,
    salt: String,
}

#[derive(Deserialize)]
struct Scrypt {
    #[serde(rename = "N")]
    n: u64,
    r: u32,
    p: u32,
}

#[derive(Deserialize)]
struct Cipher {
    name: String,
    nonce: String,
}

impl Key {
    /// Returns whether a key is encrypted, so that a password is needed.
    pub fn is_encrypted(pem: &str) -> bool {
        let label = label(pem).unwrap_or_default();
        matches!(label, "ENCRYPTED SIGSTORE PRIVATE KEY" | "ENCRYPTED COSIGN PRIVATE KEY")
    }

    /// Reads a key: PKCS#8 or SEC 1 in PEM, or a key of cosign, which has a password.
    ///
    /// # Errors
    /// When it is none, of another kind, or the password is wrong.
    pub fn read(pem: &str, password: &[u8]) -> Result<Key, KeyError> {
        let secret = match label(pem) {
            Some("PRIVATE KEY") => SecretKey::from_pkcs8_pem(pem).map_err(|_| KeyError::Kind)?,
            Some("EC PRIVATE KEY") => SecretKey::from_sec1_pem(pem).map_err(|_| KeyError::Kind)?,
            Some(_) if Key::is_encrypted(pem) => {
                SecretKey::from_pkcs8_der(&decrypted(pem, password)?).map_err(|_| KeyError::Kind)?
            }
            _ => return Err(KeyError::Kind),
        };
        Ok(Key(SigningKey::from(secret)))
    }

    /// Returns the signature of a document in ASN.1, which is the same for the same document.
    fn sign(&self, document: &[u8]) -> Vec<u8> {
        let signature: Signature = self.0.sign(document);
        signature.to_der().as_bytes().to_vec()
    }
}

fn label(pem: &str) -> Option<&str> {
    let line = pem.lines().map(str::trim).find(|line| !line.is_empty())?;
    line.strip_prefix("-----BEGIN ")?.strip_suffix("-----")
}

/// Returns the PKCS#8 that a key of cosign holds.
fn decrypted(pem: &str, password: &[u8]) -> Result<Vec<u8>, KeyError> {
    let body: String = pem.lines().map(str::trim).filter(|line| !line.starts_with("-----")).collect();
    let bytes = |text: &str| STANDARD.decode(text).map_err(|_| KeyError::Kind);
    let Encrypted { kdf, cipher, ciphertext } =
        serde_json::from_slice(&bytes(&body)?).map_err(|_| KeyError::Kind)?;
    if kdf.name != "scrypt" || cipher.name != "nacl/secretbox" {
        return Err(KeyError::Encryption(format!("{} and {}", kdf.name, cipher.name)));
    }
    let Scrypt { n, r, p } = kdf.params;
    let work = n.saturating_mul(128).saturating_mul(u64::from(r)).saturating_mul(u64::from(p.max(1)));
    if !n.is_power_of_two() || work > SCRYPT_LIMIT {
        return Err(KeyError::Encryption(format!("scrypt with N={n}, r={r}, p={p}")));
    }
    let log_n = u8::try_from(n.trailing_zeros()).expect("it is less than 64");
    let params =
        scrypt::Params::new(log_n, r, p, 32).map_err(|error| KeyError::Encryption(error.to_string()))?;
    let mut secret = [0; 32];
    scrypt::scrypt(password, &bytes(&kdf.salt)?, &params, &mut secret).map_err(|_| KeyError::Kind)?;
    let nonce: [u8; 24] = bytes(&cipher.nonce)?.try_into().map_err(|_| KeyError::Kind)?;
    let open = XSalsa20Poly1305::new(&secret.into());
    open.decrypt(&Nonce::from(nonce), bytes(&ciphertext)?.as_slice()).map_err(|_| KeyError::Password)
}

/// The image that holds signatures, as documents that are still to be stored.
#[derive(Debug)]
pub struct SignatureImage {
    /// What is signed.
    pub payload: Vec<u8>,
    /// The config.
    pub config: Vec<u8>,
    /// The manifest.
    pub manifest: Raw<Manifest>,
}

/// Returns the name under which signatures of a digest are found.
pub fn place(image: &Reference, digest: &Digest) -> Result<Reference, castoff_oci::ReferenceError> {
    format!("{}:sha256-{}.sig", image.name(), digest.hex()).parse()
}

/// Signs a digest of a repository. `before` is the image with the signatures that it has, which stay: its manifest
/// and its config.
pub fn sign(
    key: &Key,
    image: &Reference,
    digest: &Digest,
    optional: &Map<String, Value>,
    before: Option<(&Manifest, &Value)>,
) -> SignatureImage {
    let optional = if optional.is_empty() { Value::Null } else { Value::Object(optional.clone()) };
    let payload = json!({
        "critical": {
            "identity": { "docker-reference": image.name() },
            "image": { "docker-manifest-digest": digest.to_string() },
            "type": "cosign container image signature",
        },
        "optional": optional,
    });
    let payload = payload.to_string().into_bytes();
    let mut layer =
        Descriptor::new(MediaType::Other(PAYLOAD.to_owned()), Digest::of(&payload), payload.len() as u64);
    layer.annotations.insert(SIGNATURE.to_owned(), STANDARD.encode(key.sign(&payload)));
    let (mut layers, mut diff_ids) = match before {
        Some((manifest, config)) => {
            let diff_ids = config.pointer("/rootfs/diff_ids").and_then(Value::as_array);
            (manifest.layers.clone(), diff_ids.cloned().unwrap_or_default())
        }
        None => Default::default(),
    };
    if !layers.contains(&layer) {
        diff_ids.push(json!(layer.digest.to_string()));
        layers.push(layer);
    }
    let config = json!({
        "architecture": "",
        "config": {},
        "created": "0001-01-01T00:00:00Z",
        "history": diff_ids.iter().map(|_| json!({ "created": "0001-01-01T00:00:00Z" })).collect::<Vec<_>>(),
        "os": "",
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    let config = config.to_string().into_bytes();
    let about = Descriptor::new(MediaType::OciConfig, Digest::of(&config), config.len() as u64);
    SignatureImage { payload, config, manifest: Raw::new(Manifest::oci(about, layers)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use p256::ecdsa::VerifyingKey;
    use p256::ecdsa::signature::Verifier as _;

    fn key() -> Key {
        Key(SigningKey::from_slice(&[7; 32]).unwrap())
    }

    #[test]
    fn a_signature_is_of_the_payload_and_stays_when_another_is_added() {
        let image: Reference = "localhost:5000/team/app:1".parse().unwrap();
        let digest = Digest::of(b"manifest");
        let first = sign(&key(), &image, &digest, &Map::new(), None);
        assert_eq!(
            String::from_utf8(first.payload.clone()).unwrap(),
            format!(
                "{{\"critical\":{{\"identity\":{{\"docker-reference\":\"localhost:5000/team/app\"}},\"image\":\
                 {{\"docker-manifest-digest\":\"{digest}\"}},\"type\":\"cosign container image signature\"}},\
                 \"optional\":null}}"
            )
        );
        let layers = &first.manifest.value().layers;
        assert_eq!((layers.len(), layers[0].digest), (1, Digest::of(&first.payload)));
        let signature = STANDARD.decode(&layers[0].annotations[SIGNATURE]).unwrap();
        let signature = Signature::from_der(&signature).unwrap();
        VerifyingKey::from(&key().0).verify(&first.payload, &signature).unwrap();
        let config: Value = serde_json::from_slice(&first.config).unwrap();
        let before = Some((first.manifest.value(), &config));
        // The same again is there already.
        assert_eq!(sign(&key(), &image, &digest, &Map::new(), before).manifest.value().layers.len(), 1);
        let optional = Map::from_iter([("a".to_owned(), json!("b"))]);
        let second = sign(&key(), &image, &digest, &optional, before);
        assert_eq!(second.manifest.value().layers[0], layers[0]);
        assert_eq!(second.manifest.value().layers.len(), 2);
        let config: Value = serde_json::from_slice(&second.config).unwrap();
        assert_eq!(config["rootfs"]["diff_ids"].as_array().unwrap().len(), 2);
        let tag = place(&image, &digest).unwrap();
        assert_eq!(tag.familiar(), format!("localhost:5000/team/app:sha256-{}.sig", digest.hex()));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let check = |pem: &str, expected: &str| {
            let error = Key::read(pem, b"").map(drop).unwrap_err().to_string();
            assert!(error.contains(expected), "{pem}: {error}");
        };
        check("", "it is no private key");
        check("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "it is no private key");
        check(
            "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n",
            "it is no private key",
        );
        let cosign = |json: Value| {
            let label = "ENCRYPTED SIGSTORE PRIVATE KEY";
            let body = STANDARD.encode(json.to_string());
            format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
        };
        let json = |n: u64, kdf: &str, nonce: &str| {
            json!({
                "kdf": { "name": kdf, "params": { "N": n, "r": 8, "p": 1 }, "salt": "AAAA" },
                "cipher": { "name": "nacl/secretbox", "nonce": nonce },
                "ciphertext": "AAAA",
            })
        };
        let nonce = STANDARD.encode([0; 24]);
        check(&cosign(json(2, "argon2", &nonce)), "does not know: argon2 and nacl/secretbox");
        check(&cosign(json(3, "scrypt", &nonce)), "scrypt with N=3");
        check(&cosign(json(1 << 40, "scrypt", &nonce)), "scrypt with N=1099511627776");
        check(&cosign(json(2, "scrypt", "AAAA")), "it is no private key");
        check(&cosign(json(2, "scrypt", &nonce)), "the password does not open the key");
        check(&cosign(json!([])), "it is no private key");
    }
}
