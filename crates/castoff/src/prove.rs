//! That no secret got out: what steps, results and caches are asked for the secrets that castoff knows.
//!
//! A [`Prover`] has the needles of a build. It is the [`Guard`] of the solver, which asks it about each log and cache
//! mount before the step counts as done and about each layer before it gets into a shared cache; [`result`] asks about
//! all that the build gives away, before anything of it leaves. No layer is looked at twice in one build. Nothing is
//! remembered between builds: what was derived from a secret is stored nowhere.

mod mount;
mod result;
mod say;

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use castoff_inspect::secrets::{Find, Needles, Part, Scan, Scanner, TokenSearch};
use castoff_layer::{ReadOptions, read_tar};
use castoff_oci::ImageConfig;
use castoff_solver::{Bodies, BodyError, Guard, GuardError, Leak, Messenger, SecretValue};
use castoff_store::LayerId;
use serde_json::Value;

use crate::args::{BuildRequest, SecretSpec};
use crate::build::BuildError;

pub use result::{Found, Proof};
pub(crate) use result::{image, result};
pub use say::{text, to_json};

/// What logs are called.
const LOG: &str = "the log";

/// A private key is not longer.
const KEY_LIMIT: u64 = 64 << 10;

/// Looks for the secrets of a build, and for tokens.
pub struct Prover {
    needles: Needles,
    tokens: TokenSearch,
    layers: Mutex<BTreeMap<LayerId, Arc<Slot>>>,
    /// What was looked at beside layers.
    beside: Mutex<Beside>,
    /// What was said in the end.
    statement: Mutex<Option<Value>>,
}

/// What was found in a layer, once somebody looked.
type Slot = Mutex<Option<Arc<Scan>>>;

#[derive(Debug, Default)]
struct Beside {
    mounts: u64,
    mount_files: u64,
}

impl fmt::Debug for Prover {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Prover").field("needles", &self.needles).finish_non_exhaustive()
    }
}

/// Returns who looks for the secrets of a build: those of `--secret` and the private keys of `--ssh`. Without any
/// there is nobody, unless it was asked for.
///
/// # Errors
/// When a key cannot be read.
pub(crate) fn prover(
    request: &BuildRequest,
    secrets: &BTreeMap<String, SecretValue>,
) -> Result<Option<Arc<Prover>>, BuildError> {
    let keys = keys(request)?;
    let is_asked = request.prove == Some(true) || request.require_no_secrets;
    if request.prove == Some(false) && !request.require_no_secrets
        || !is_asked && secrets.is_empty() && keys.is_empty()
    {
        return Ok(None);
    }
    let spared = |id: &String| request.secrets.iter().any(|spec: &SecretSpec| spec.id == *id && !spec.prove);
    let values = secrets.iter().filter(|(id, _)| !spared(id)).map(|(id, value)| (id.as_str(), &value.0[..]));
    let keys = keys.iter().map(|(id, key)| (id.as_str(), &key[..]));
    let prover = if request.prove == Some(false) {
        Prover::new(std::iter::empty())
    } else {
        Prover::new(values.chain(keys))
    };
    Ok(Some(Arc::new(prover)))
}

/// Returns the private keys that castoff has of files.
fn keys(request: &BuildRequest) -> Result<Vec<(String, Vec<u8>)>, BuildError> {
    let mut keys = Vec::new();
    for spec in &request.ssh {
        for path in spec.paths.iter().filter(|path| path.is_file()) {
            let mut key = Vec::new();
            File::open(path)?.take(KEY_LIMIT).read_to_end(&mut key)?;
            keys.push((format!("ssh:{}", spec.id), key));
        }
    }
    Ok(keys)
}

impl Prover {
    /// Returns who looks for these secrets, by id.
    pub(crate) fn new<'a>(secrets: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Prover {
        Prover {
            needles: Needles::of(secrets),
            tokens: TokenSearch::default(),
            layers: Mutex::default(),
            beside: Mutex::default(),
            statement: Mutex::default(),
        }
    }

    /// Returns what was said of the last result.
    pub(crate) fn statement(&self) -> Option<Value> {
        lock(&self.statement).clone()
    }

    /// Returns a text with asterisks for what it has of the secrets.
    pub(crate) fn redact(&self, text: &[u8]) -> Vec<u8> {
        self.needles.redact(text)
    }

    fn scanner(&self) -> Scanner<'_> {
        Scanner::new(&self.needles, Some(&self.tokens))
    }

    /// Looks at a layer, once.
    fn scan_layer(&self, bodies: &Bodies<'_>, layer: &LayerId) -> Result<Arc<Scan>, BodyError> {
        let slot = Arc::clone(lock(&self.layers).entry(layer.clone()).or_default());
        let mut slot = lock(&slot);
        if let Some(scan) = &*slot {
            return Ok(Arc::clone(scan));
        }
        let mut scanner = self.scanner();
        let (messenger, _nobody) = Messenger::channel();
        bodies.entries(layer, &messenger, &mut |entry, data| scanner.entry(entry, data))?;
        Ok(Arc::clone(slot.insert(Arc::new(scanner.finish()))))
    }

    /// Looks at a config: at each variable by itself, so that it can be named, and at the whole.
    fn scan_config(&self, scanner: &mut Scanner<'_>, config: &ImageConfig) {
        for variable in config.config.env.iter().flatten() {
            let name = variable.split('=').next().unwrap_or_default();
            scanner.text(&format!("the variable `{name}` of the config"), variable.as_bytes());
        }
        let mut rest = config.clone();
        rest.config.env = None;
        scanner.text("the config", &serde_json::to_vec(&rest).unwrap_or_default());
    }
}

impl Guard for Prover {
    fn log(&self, log: &mut dyn Read) -> Result<(), GuardError> {
        let mut scanner = Scanner::new(&self.needles, None);
        let failed = |source| GuardError::File { path: LOG.into(), source };
        scanner.long_text(LOG, log).map_err(failed)?;
        first(scanner.finish(), |find| find.path.clone())
    }

    fn text(&self, name: &str, text: &[u8]) -> Result<(), GuardError> {
        let mut scanner = Scanner::new(&self.needles, None);
        scanner.text(name, text);
        first(scanner.finish(), |find| find.path.clone())
    }

    fn layer(&self, bodies: &Bodies<'_>, layer: &LayerId) -> Result<(), GuardError> {
        let scan = self.scan_layer(bodies, layer)?;
        first(Scan::clone(&scan), |find| format!("`{}`", find.path))
    }

    fn cache_mount(&self, directory: &Path, target: &str, since_ms: i64) -> Result<(), GuardError> {
        let mut scanner = Scanner::new(&self.needles, None);
        mount::scan(&mut scanner, directory, target, since_ms)?;
        let scan = scanner.finish();
        let mut beside = lock(&self.beside);
        beside.mounts += 1;
        beside.mount_files += scan.checked.entries;
        drop(beside);
        first(scan, |find| format!("`{}` of a cache mount", find.path))
    }

    fn cache_mount_archive(&self, tar: &mut dyn Read, target: &str) -> Result<(), GuardError> {
        let mut scanner = Scanner::new(&self.needles, None);
        let options = ReadOptions { whiteouts: false, ..ReadOptions::default() };
        let failed = |source| GuardError::File { path: target.into(), source };
        read_tar(tar, options, &mut |mut entry, data, _| {
            let below = target.trim_matches('/');
            entry.path = [below.as_bytes(), b"/", &entry.path].concat();
            Ok(scanner.entry(&entry, data)?)
        })
        .map_err(|error| failed(io::Error::other(error)))?;
        first(scanner.finish(), |find| format!("`{}` of a cache mount that is to be shared", find.path))
    }
}

/// Returns the first find as an error.
fn first(scan: Scan, place: impl Fn(&Find) -> String) -> Result<(), GuardError> {
    match scan.finds.first() {
        Some(find) => Err(GuardError::Leak(leak(find, place(find)))),
        None => Ok(()),
    }
}

fn leak(find: &Find, place: String) -> Leak {
    let part = match find.part {
        Part::Whole => String::new(),
        Part::Line(line) => format!(", what is in line {line} of it"),
    };
    Leak { secret: find.secret.clone(), place, encoding: format!("{}{part}", find.encoding) }
}

/// Locks a mutex whose data stays valid whatever its holders did.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use castoff_layer::{Entry, EntryKind, TarOptions, TarWriter, Timestamp};

    use super::*;

    fn archive(content: &[u8]) -> Vec<u8> {
        let entry = Entry {
            path: b"a".to_vec(),
            kind: EntryKind::File { size: content.len() as u64 },
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: Timestamp { seconds: 1, nanos: 0 },
            xattrs: Default::default(),
        };
        let mut tar = TarWriter::new(Vec::new(), TarOptions::default());
        tar.append(&entry, &mut &*content).unwrap();
        tar.finish().unwrap()
    }

    // D-166: all that a cache mount has in it, whenever it got there.
    #[test]
    fn a_cache_mount_that_is_to_leave_is_looked_at_whole() {
        let prover = Prover::new([("token", &b"s3cr3t-of-a-mount"[..])]);
        let look =
            |tar: &[u8]| prover.cache_mount_archive(&mut &*tar, "/cache/").map_err(|error| error.to_string());
        let expected = "secret `token` is in `/cache/a` of a cache mount that is to be shared (plain)";
        assert_eq!(look(&archive(b"x s3cr3t-of-a-mount x")), Err(expected.to_owned()));
        assert_eq!(look(&archive(b"nothing")), Ok(()));
        // In what cannot be read nothing was looked for.
        assert!(look(b"no archive").is_err());
    }
}
