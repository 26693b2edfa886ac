//! What package managers leave in an image for their next run, which never comes.

use std::collections::BTreeMap;

use super::Ledger;

/// Directories of caches, relative to the root, and what fills them. A name that begins with a slash is found in
/// every home directory.
const CACHES: &[(&str, &str)] = &[
    ("var/lib/apt/lists", "apt"),
    ("var/cache/apt", "apt"),
    ("var/cache/apk", "apk"),
    ("etc/apk/cache", "apk"),
    ("var/cache/dnf", "dnf"),
    ("var/cache/yum", "yum"),
    ("var/cache/zypp", "zypper"),
    ("var/cache/pacman/pkg", "pacman"),
    ("/.cache/pip", "pip"),
    ("/.cache/uv", "uv"),
    ("/.cache/pypoetry", "poetry"),
    ("/.npm/_cacache", "npm"),
    ("/.cache/yarn", "yarn"),
    ("usr/local/share/.cache/yarn", "yarn"),
    ("/.local/share/pnpm/store", "pnpm"),
    ("/.cache/go-build", "go"),
    ("go/pkg/mod/cache", "go"),
    ("/go/pkg/mod/cache", "go"),
    ("/.cargo/registry", "cargo"),
    ("usr/local/cargo/registry", "cargo"),
    ("/.m2/repository", "maven"),
    ("/.gradle/caches", "gradle"),
    ("/.bundle/cache", "bundler"),
    ("/.composer/cache", "composer"),
];

/// A cache of a package manager that is in an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageCache {
    /// Its directory, without a slash in front.
    pub directory: String,
    /// Whose it is.
    pub of: &'static str,
    /// The layer that brought it, from the bottom.
    pub layer: usize,
    /// Bytes of its files.
    pub bytes: u64,
    /// How many files.
    pub files: u64,
}

/// Returns the caches in an image, the largest first.
pub fn package_caches(ledger: &Ledger) -> Vec<PackageCache> {
    let mut found: BTreeMap<(String, usize), PackageCache> = BTreeMap::new();
    for (path, file) in &ledger.files {
        let Ok(path) = std::str::from_utf8(path) else { continue };
        let Some((directory, of)) = cache_of(path) else { continue };
        let cache = found.entry((directory.to_owned(), file.layer)).or_insert_with(|| PackageCache {
            directory: directory.to_owned(),
            of,
            layer: file.layer,
            bytes: 0,
            files: 0,
        });
        cache.bytes += file.size;
        cache.files += 1;
    }
    let mut caches: Vec<PackageCache> = found.into_values().filter(|cache| cache.bytes > 0).collect();
    caches.sort_by(|left, right| {
        right.bytes.cmp(&left.bytes).then_with(|| left.directory.cmp(&right.directory))
    });
    caches
}

/// Returns the directory of the cache that a file is in.
fn cache_of(path: &str) -> Option<(&str, &'static str)> {
    let is_below = |directory: &str| path.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'));
    for (directory, of) in CACHES {
        match directory.strip_prefix('/') {
            None if is_below(directory) => return Some((&path[..directory.len()], of)),
            None => {}
            Some(name) => {
                let Some(home) = home(path) else { continue };
                let at = home.len() + 1;
                let Some(rest) = path.get(at..) else { continue };
                if rest.strip_prefix(name).is_some_and(|rest| rest.starts_with('/')) {
                    return Some((&path[..at + name.len()], of));
                }
            }
        }
    }
    None
}

/// Returns the home directory that a path is in: `root`, `home/NAME`.
fn home(path: &str) -> Option<&str> {
    let mut parts = path.split('/');
    match (parts.next()?, parts.next()) {
        ("root", Some(_)) => Some("root"),
        ("home", Some(name)) => path.get(..5 + name.len()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::cache_of;

    #[test]
    fn caches_are_known_by_their_place() {
        let check =
            |path: &str, expected: Option<(&str, &str)>| assert_eq!(cache_of(path), expected, "{path}");
        check("var/lib/apt/lists/deb_x", Some(("var/lib/apt/lists", "apt")));
        check("root/.cache/pip/http/a", Some(("root/.cache/pip", "pip")));
        check("home/app/.npm/_cacache/x", Some(("home/app/.npm/_cacache", "npm")));
        check("go/pkg/mod/cache/x", Some(("go/pkg/mod/cache", "go")));
        check("usr/local/cargo/registry/x", Some(("usr/local/cargo/registry", "cargo")));
        check("var/lib/apt/listsx/y", None);
        check("srv/.cache/pip/x", None);
        check("home", None);
    }
}
