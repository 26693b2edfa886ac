//! Which steps read a file of the build context.

use std::collections::BTreeMap;

use castoff_graph::FileList;
use castoff_graph::pattern::{Glob, clean};
use castoff_oci::Digest;
use castoff_store::{BuildRecord, StepAction, StepRead, Store};

use super::BuildNameError;

/// Lists of files are small; more than this is damage.
const LIST_LIMIT: u64 = 256 << 20;

/// A step that reads a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reader {
    /// Its place among the steps.
    pub step: usize,
    /// What it read; `None` when no list of its files is there, so that its sources alone say that it did.
    pub digest: Option<Digest>,
}

/// Returns the steps that read a file or directory of the build context; `path` is relative to that. Symbolic links
/// are in no list of files: for one (`is_link`), what the sources name decides alone.
///
/// # Errors
/// When the store cannot be read.
pub fn readers(
    store: &Store,
    build: &BuildRecord,
    path: &str,
    is_link: bool,
) -> Result<Vec<Reader>, BuildNameError> {
    let path = clean(path.as_bytes());
    let mut found = Vec::new();
    for (place, step) in build.steps.iter().enumerate() {
        let reads = match &step.action {
            StepAction::Copy { sources, .. } => sources,
            StepAction::Run { mounts } => mounts,
            _ => continue,
        };
        let is_context = |read: &&StepRead| {
            read.from.is_some_and(|from| build.steps[from].action == StepAction::Local { name: None })
        };
        let literal = matches!(step.action, StepAction::Run { .. });
        if !reads.iter().filter(is_context).any(|read| covers(read.path.as_bytes(), &path, literal)) {
            continue;
        }
        match files(store, step.key)?.filter(|_| !is_link) {
            None => found.push(Reader { step: place, digest: None }),
            // A step that reads other stages, too, has their files among its own: its sources were asked first.
            Some(files) => {
                let digest = files.get(&*String::from_utf8_lossy(&path)).copied();
                let below = || {
                    let prefix = format!("{}/", String::from_utf8_lossy(&path));
                    path.is_empty() || files.keys().any(|file| file.starts_with(&prefix))
                };
                if digest.is_some() || below() {
                    found.push(Reader { step: place, digest });
                }
            }
        }
    }
    Ok(found)
}

/// Returns the files that the step with this key read, when that was noted.
pub(crate) fn files(
    store: &Store,
    key: Option<Digest>,
) -> Result<Option<BTreeMap<String, Digest>>, BuildNameError> {
    let Some(record) = key.map(|key| store.record(key)).transpose()?.flatten() else { return Ok(None) };
    let Some(list) = record.files else { return Ok(None) };
    // One that is damaged is absent.
    let bytes = store.read_blob(&list, LIST_LIMIT).ok().flatten();
    Ok(bytes.and_then(|bytes| FileList::parse(&bytes)).map(|list| list.digests))
}

/// Whether a source names a path, something above it, or something below it.
fn covers(pattern: &[u8], path: &[u8], literal: bool) -> bool {
    let pattern = clean(pattern);
    let split = |path: &[u8]| -> Vec<Vec<u8>> {
        path.split(|byte| *byte == b'/').filter(|part| !part.is_empty()).map(<[u8]>::to_vec).collect()
    };
    let fits = |(pattern, name): (&Vec<u8>, &Vec<u8>)| match literal {
        true => pattern == name,
        // Deeper than one directory, which this leaves to the list of files.
        false if pattern == b"**" => true,
        false => Glob::parse(pattern).map_or(pattern == name, |glob| glob.matches(name)),
    };
    split(&pattern).iter().zip(&split(path)).all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    // D-193, D-201
    #[test]
    fn a_source_covers_what_it_names_and_what_is_in_it() {
        let check = |pattern: &str, path: &str| covers(pattern.as_bytes(), path.as_bytes(), false);
        assert!(check(".", "a/b") && check("/", "a") && check("src", "src/a.ts") && check("/src/", "src"));
        assert!(check("src/*.ts", "src/a.ts") && check("*/x", "src/x/y") && check("a*", "abc"));
        assert!(!check("src", "lib/a.ts") && !check("src/*.ts", "src/a.js") && !check("ab", "a"));
        assert!(check("src/a.ts", "src"));
        assert!(!covers(b"a*", b"abc", true));
    }
}
