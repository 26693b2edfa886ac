//! Private keys in memory: reading them and signing with them.

use base64::Engine as _;
use rsa::pkcs1::DecodeRsaPrivateKey;
use rsa::pkcs1v15::SigningKey;
use rsa::pkcs8::DecodePrivateKey;
use rsa::rand_core::OsRng;
use rsa::sha2::{Sha256, Sha512};
use rsa::signature::{RandomizedSigner, SignatureEncoding, Signer};
use rsa::{BigUint, RsaPrivateKey};
use ssh_key::private::{EcdsaKeypair, Ed25519Keypair, KeypairData, RsaKeypair};
use ssh_key::{PrivateKey, PublicKey, Signature};

use crate::wire::{number, put_string, string};

/// Flags of a request to sign (draft-ietf-sshm-ssh-agent, section 3.6.1).
const RSA_SHA2_256: u32 = 2;
const RSA_SHA2_512: u32 = 4;

/// An unencrypted private key.
pub struct Key {
    /// The public key as ssh sends it.
    public: Vec<u8>,
    comment: String,
    secret: Secret,
}

enum Secret {
    Rsa(Box<RsaPrivateKey>),
    Other(KeypairData),
}

/// Why a private key cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It needs a passphrase.
    #[error("the key is encrypted: add it to an ssh agent with `ssh-add` and forward that agent")]
    Encrypted,
    /// The text is no private key.
    #[error("there is no private key in it")]
    NoPrivateKey,
    /// A key of a kind that cannot be used.
    #[error("keys of type `{0}` are not supported: Ed25519, ECDSA and RSA keys are")]
    Type(String),
    /// The key is not what its header says.
    #[error("the key is malformed")]
    Malformed,
}

impl Key {
    /// Reads a key in OpenSSH's format or PEM (PKCS#1, PKCS#8, SEC 1). `comment` is shown for keys that
    /// have none.
    ///
    /// # Errors
    /// When it is encrypted, malformed, or of a kind that cannot be used.
    pub fn parse(text: &[u8], comment: &str) -> Result<Key, KeyError> {
        let text = std::str::from_utf8(text).map_err(|_| KeyError::NoPrivateKey)?;
        let (label, block) = pem_block(text).ok_or(KeyError::NoPrivateKey)?;
        let key = match label {
            "OPENSSH PRIVATE KEY" => openssh(block)?,
            "ENCRYPTED PRIVATE KEY" => return Err(KeyError::Encrypted),
            // The old way to encrypt is said in a header inside the block (RFC 1421).
            _ if block.contains("ENCRYPTED") => return Err(KeyError::Encrypted),
            "RSA PRIVATE KEY" => {
                rsa(&RsaPrivateKey::from_pkcs1_pem(block).map_err(|_| KeyError::Malformed)?)?
            }
            "EC PRIVATE KEY" => PrivateKey::from(sec1(block)?),
            "PRIVATE KEY" => pkcs8(block)?,
            "DSA PRIVATE KEY" => return Err(KeyError::Type("ssh-dss".to_owned())),
            _ => return Err(KeyError::NoPrivateKey),
        };
        Key::of(key, comment)
    }

    fn of(key: PrivateKey, comment: &str) -> Result<Key, KeyError> {
        let unsupported = || KeyError::Type(key.algorithm().as_str().to_owned());
        let secret = match key.key_data() {
            KeypairData::Rsa(pair) => Secret::Rsa(Box::new(rsa_of(pair)?)),
            KeypairData::Ed25519(_) | KeypairData::Ecdsa(_) => Secret::Other(key.key_data().clone()),
            _ => return Err(unsupported()),
        };
        let public = PublicKey::from(&key).to_bytes().map_err(|_| KeyError::Malformed)?;
        let comment = if key.comment().is_empty() { comment } else { key.comment() };
        Ok(Key { public, comment: comment.to_owned(), secret })
    }

    /// Returns the public key as ssh sends it.
    pub fn public(&self) -> &[u8] {
        &self.public
    }

    /// Returns what the key is called.
    pub fn comment(&self) -> &str {
        &self.comment
    }

    /// Returns the signature of some data as ssh sends it; `None` for what the key or castoff does not
    /// sign: RSA with SHA-1 above all, which is asked for by clients from before 2016.
    pub(crate) fn sign(&self, data: &[u8], flags: u32) -> Option<Vec<u8>> {
        let (algorithm, bytes) = match &self.secret {
            // With blinding: who asks may measure how long it takes.
            Secret::Rsa(key) if flags & RSA_SHA2_512 != 0 => {
                let signer = SigningKey::<Sha512>::new(RsaPrivateKey::clone(key));
                ("rsa-sha2-512".to_owned(), signer.try_sign_with_rng(&mut OsRng, data).ok()?.to_vec())
            }
            Secret::Rsa(key) if flags & RSA_SHA2_256 != 0 => {
                let signer = SigningKey::<Sha256>::new(RsaPrivateKey::clone(key));
                ("rsa-sha2-256".to_owned(), signer.try_sign_with_rng(&mut OsRng, data).ok()?.to_vec())
            }
            Secret::Rsa(_) => return None,
            Secret::Other(pair) => {
                let signature: Signature = pair.try_sign(data).ok()?;
                (signature.algorithm().as_str().to_owned(), signature.as_bytes().to_vec())
            }
        };
        let mut message = Vec::new();
        put_string(&mut message, algorithm.as_bytes());
        put_string(&mut message, &bytes);
        Some(message)
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Key").field("comment", &self.comment).finish_non_exhaustive()
    }
}

/// Returns the label and text of the first block that is a private key.
fn pem_block(text: &str) -> Option<(&str, &str)> {
    const BEGIN: &str = "-----BEGIN ";
    let starts = text.match_indices(BEGIN).map(|(at, _)| at);
    for start in starts {
        let rest = &text[start + BEGIN.len()..];
        let label = rest.lines().next()?.trim_end().strip_suffix("-----")?;
        let end = format!("-----END {label}-----");
        if label.ends_with("PRIVATE KEY") {
            let length = text[start..].find(&end)? + end.len();
            return Some((label, &text[start..start + length]));
        }
    }
    None
}

fn openssh(block: &str) -> Result<PrivateKey, KeyError> {
    let key = match PrivateKey::from_openssh(block) {
        Ok(key) => key,
        Err(ssh_key::Error::AlgorithmUnsupported { algorithm }) => {
            return Err(KeyError::Type(algorithm.as_str().to_owned()));
        }
        Err(ssh_key::Error::AlgorithmUnknown) => return Err(KeyError::Type("unknown".to_owned())),
        Err(_) => return ecdsa(block).map(PrivateKey::from).ok_or(KeyError::Malformed),
    };
    if key.is_encrypted() { Err(KeyError::Encrypted) } else { Ok(key) }
}

/// Reads an unencrypted ECDSA key of OpenSSH's format (PROTOCOL.key). One key in 256 has a number that begins with
/// zeros, which OpenSSH does not write, as RFC 4251 says of mpints, and ssh-key asks for.
fn ecdsa(block: &str) -> Option<EcdsaKeypair> {
    let lines = block.lines().filter(|line| !line.starts_with("-----"));
    let text: String = lines.flat_map(|line| line.chars().filter(|letter| !letter.is_whitespace())).collect();
    let bytes = base64::engine::general_purpose::STANDARD.decode(text).ok()?;
    let rest = &mut bytes.strip_prefix(b"openssh-key-v1\0")?;
    let (cipher, derivation, _options) = (string(rest)?, string(rest)?, string(rest)?);
    if (cipher, derivation, number(rest)?) != (b"none", b"none", 1) {
        return None;
    }
    let (_public, mut private) = (string(rest)?, string(rest)?);
    let private = &mut private;
    let (first, second) = (number(private)?, number(private)?);
    let kind = string(private)?;
    if first != second || !kind.starts_with(b"ecdsa-sha2-") {
        return None;
    }
    let (curve, point, scalar) = (string(private)?, string(private)?, string(private)?);
    let padded = |length: usize| {
        let digits = &scalar[scalar.iter().position(|byte| *byte != 0)?..];
        Some([vec![0; length.checked_sub(digits.len())?], digits.to_vec()].concat())
    };
    let pair = match curve {
        b"nistp256" => of_p256(p256::SecretKey::from_slice(&padded(32)?).ok()?),
        b"nistp384" => of_p384(p384::SecretKey::from_slice(&padded(48)?).ok()?),
        b"nistp521" => of_p521(p521::SecretKey::from_slice(&padded(66)?).ok()?),
        _ => return None,
    };
    (pair.public_key_bytes() == point).then_some(pair)
}

fn rsa(key: &RsaPrivateKey) -> Result<PrivateKey, KeyError> {
    let pair = RsaKeypair::try_from(key).map_err(|_| KeyError::Malformed)?;
    Ok(PrivateKey::from(pair))
}

/// ssh-key's own conversion takes one of the primes twice.
fn rsa_of(pair: &RsaKeypair) -> Result<RsaPrivateKey, KeyError> {
    let number = |number| BigUint::try_from(number).map_err(|_| KeyError::Malformed);
    let (public, private) = (&pair.public, &pair.private);
    let primes = vec![number(&private.p)?, number(&private.q)?];
    RsaPrivateKey::from_components(number(&public.n)?, number(&public.e)?, number(&private.d)?, primes)
        .map_err(|_| KeyError::Malformed)
}

fn sec1(block: &str) -> Result<EcdsaKeypair, KeyError> {
    let p256 = || p256::SecretKey::from_sec1_pem(block).ok().map(of_p256);
    let p384 = || p384::SecretKey::from_sec1_pem(block).ok().map(of_p384);
    let p521 = || p521::SecretKey::from_sec1_pem(block).ok().map(of_p521);
    p256().or_else(p384).or_else(p521).ok_or(KeyError::Malformed)
}

fn pkcs8(block: &str) -> Result<PrivateKey, KeyError> {
    if let Ok(key) = ed25519_dalek::SigningKey::from_pkcs8_pem(block) {
        return Ok(PrivateKey::from(Ed25519Keypair::from(key)));
    }
    if let Ok(key) = RsaPrivateKey::from_pkcs8_pem(block) {
        return rsa(&key);
    }
    let p256 = || p256::SecretKey::from_pkcs8_pem(block).ok().map(of_p256);
    let p384 = || p384::SecretKey::from_pkcs8_pem(block).ok().map(of_p384);
    let p521 = || p521::SecretKey::from_pkcs8_pem(block).ok().map(of_p521);
    let pair = p256().or_else(p384).or_else(p521).ok_or(KeyError::Malformed)?;
    Ok(PrivateKey::from(pair))
}

fn of_p256(key: p256::SecretKey) -> EcdsaKeypair {
    EcdsaKeypair::NistP256 { public: key.public_key().into(), private: key.into() }
}

fn of_p384(key: p384::SecretKey) -> EcdsaKeypair {
    EcdsaKeypair::NistP384 { public: key.public_key().into(), private: key.into() }
}

fn of_p521(key: p521::SecretKey) -> EcdsaKeypair {
    EcdsaKeypair::NistP521 { public: key.public_key().into(), private: key.into() }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use ssh_key::private::EcdsaKeypair;

    use super::{Key, KeyError, of_p256, of_p384, of_p521};
    use crate::wire::{put_number, put_string};

    /// Writes a key as OpenSSH does: no zeros in front of the number.
    fn text(pair: &EcdsaKeypair, kind: &str, curve: &str, scalar: &[u8], check: usize) -> String {
        let mut private = Vec::new();
        put_number(&mut private, 7);
        put_number(&mut private, check);
        for part in [kind.as_bytes(), curve.as_bytes(), pair.public_key_bytes(), scalar, b"comment"] {
            put_string(&mut private, part);
        }
        let padding = private.len().next_multiple_of(8) - private.len();
        private.extend((1..=padding).map(|number| number as u8));
        let mut public = Vec::new();
        for part in [kind.as_bytes(), curve.as_bytes(), pair.public_key_bytes()] {
            put_string(&mut public, part);
        }
        let mut bytes = b"openssh-key-v1\0".to_vec();
        for part in [&b"none"[..], b"none", b""] {
            put_string(&mut bytes, part);
        }
        put_number(&mut bytes, 1);
        put_string(&mut bytes, &public);
        put_string(&mut bytes, &private);
        let body = base64::engine::general_purpose::STANDARD.encode(bytes);
        let lines: Vec<&str> =
            (0..body.len()).step_by(70).map(|at| &body[at..body.len().min(at + 70)]).collect();
        let lines = lines.join("\n");
        format!("-----BEGIN OPENSSH PRIVATE KEY-----\n{lines}\n-----END OPENSSH PRIVATE KEY-----\n")
    }

    // B-140
    #[test]
    fn a_number_that_begins_with_zeros_is_read() {
        let scalar = |length: usize| [vec![0; 2], vec![7; length - 2]].concat();
        let pairs = [
            (of_p256(p256::SecretKey::from_slice(&scalar(32)).unwrap()), "nistp256", 30),
            (of_p384(p384::SecretKey::from_slice(&scalar(48)).unwrap()), "nistp384", 46),
            (of_p521(p521::SecretKey::from_slice(&scalar(66)).unwrap()), "nistp521", 64),
        ];
        for (pair, curve, length) in pairs {
            let kind = format!("ecdsa-sha2-{curve}");
            let short = vec![7; length];
            let key = Key::parse(text(&pair, &kind, curve, &short, 7).as_bytes(), "").unwrap();
            assert!(key.public().ends_with(pair.public_key_bytes()), "{curve}");
            assert!(key.sign(b"data", 0).is_some(), "{curve}");
            // Another number than that of the public key, or a broken one.
            let other = text(&pair, &kind, curve, &short[1..], 7);
            assert_eq!(Key::parse(other.as_bytes(), "").unwrap_err(), KeyError::Malformed);
            let broken = text(&pair, &kind, curve, &short, 8);
            assert_eq!(Key::parse(broken.as_bytes(), "").unwrap_err(), KeyError::Malformed);
        }
    }
}
