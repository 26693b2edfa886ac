//! Which packages are installed in an image: what package managers and compilers left in its files.
//!
//! [`scan`] walks a file system once and reads what it knows by its place or its first bytes: the databases of
//! dpkg and apk, what npm and pip installed, what Go and cargo-auditable put into programs, and what Maven put
//! into archives of Java. Nothing is guessed: a file that no package manager knows is in no list. What was found
//! and could not be read is said in [`Inventory::unread`].
//!
//! Documents for other programs are [`spdx`] and [`cyclonedx`].

mod apk;
pub mod cyclonedx;
mod distribution;
mod dpkg;
mod java;
mod npm;
mod program;
mod purl;
mod python;
pub mod spdx;
mod subject;
mod walk;

use std::collections::{BTreeMap, BTreeSet};

use castoff_layer::{View, ViewError};

pub use distribution::Distribution;
pub use subject::Subject;

/// What is installed in an image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inventory {
    /// What `os-release` says.
    pub distribution: Option<Distribution>,
    /// Each package once, by its purl.
    pub packages: Vec<Package>,
    /// What looks like a list of packages and could not be read.
    pub unread: Vec<Unread>,
}

/// A package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Whose package it is.
    pub kind: PackageKind,
    /// Its name, as the package manager has it.
    pub name: String,
    /// Its version; empty where none is said, as of a Go program that was built from a directory.
    pub version: String,
    /// The package URL (purl specification 1.0), which names it for all programs.
    pub purl: String,
    /// The licence as the package states it, in whatever words.
    pub licence: Option<String>,
    /// The files that say that it is there, absolute.
    pub found_in: BTreeSet<String>,
}

/// Who installs packages of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PackageKind {
    /// apk, of Alpine and Wolfi.
    Apk,
    /// cargo; only programs made with cargo-auditable tell.
    Cargo,
    /// dpkg, of Debian and Ubuntu.
    Deb,
    /// The Go command.
    Go,
    /// Maven and what follows it.
    Maven,
    /// npm and what follows it.
    Npm,
    /// pip and other installers of Python.
    Python,
}

impl PackageKind {
    /// Returns the name that the kind has in a purl.
    pub fn name(self) -> &'static str {
        match self {
            PackageKind::Apk => "apk",
            PackageKind::Cargo => "cargo",
            PackageKind::Deb => "deb",
            PackageKind::Go => "golang",
            PackageKind::Maven => "maven",
            PackageKind::Npm => "npm",
            PackageKind::Python => "pypi",
        }
    }
}

/// What looks like a list of packages and could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unread {
    /// The file, absolute.
    pub path: String,
    /// Why, a phrase.
    pub reason: String,
}

/// Returns the packages of a file system.
///
/// # Errors
/// When the file system itself cannot be read. A damaged or hostile file in it is no error; it is told of as
/// [`Unread`].
pub fn scan(view: &View) -> Result<Inventory, ViewError> {
    let mut found = Collection { distribution: distribution::read(view)?, ..Collection::default() };
    walk::walk(view, &mut found)?;
    Ok(Inventory {
        distribution: found.distribution,
        packages: found.packages.into_values().collect(),
        unread: found.unread,
    })
}

/// More packages are no image's; they would only fill the memory.
const PACKAGES_LIMIT: usize = 200_000;
/// Longer names and versions are none.
const NAME_LIMIT: usize = 512;
/// Longer licences are texts, which are left out.
const LICENCE_LIMIT: usize = 1024;

/// What was found so far.
#[derive(Debug, Default)]
struct Collection {
    distribution: Option<Distribution>,
    packages: BTreeMap<String, Package>,
    unread: Vec<Unread>,
}

/// A package as a file tells of it.
struct Finding<'a> {
    kind: PackageKind,
    /// Before the name in the purl: a distribution, a scope, a group; parts are separated by slashes.
    namespace: &'a str,
    /// Name in the purl.
    name: &'a str,
    /// Name for people.
    full_name: &'a str,
    version: &'a str,
    qualifiers: &'a [(&'a str, &'a str)],
    licence: Option<&'a str>,
}

impl Collection {
    /// Adds a package that `path` tells of; one that is known already is there at a further place.
    fn add(&mut self, path: &[u8], finding: &Finding<'_>) {
        let longest = [finding.namespace, finding.name, finding.full_name, finding.version];
        let mut longest = longest.into_iter().chain(finding.qualifiers.iter().map(|(_, value)| *value));
        if finding.name.is_empty() || longest.any(|text| text.len() > NAME_LIMIT) {
            return self.leave(path, "a name or version that is none");
        }
        if self.packages.len() >= PACKAGES_LIMIT {
            let reason = format!("more than {PACKAGES_LIMIT} packages");
            if self.unread.iter().all(|unread| unread.reason != reason) {
                self.leave(path, &reason);
            }
            return;
        }
        let purl = purl::purl(finding);
        let package = self.packages.entry(purl.clone()).or_insert_with(|| Package {
            kind: finding.kind,
            name: finding.full_name.to_owned(),
            version: finding.version.to_owned(),
            purl,
            licence: None,
            found_in: BTreeSet::new(),
        });
        let licence = finding.licence.map(str::trim);
        let licence = licence.filter(|text| !text.is_empty() && text.len() <= LICENCE_LIMIT);
        package.licence = package.licence.take().or_else(|| licence.map(str::to_owned));
        package.found_in.insert(shown(path));
    }

    /// Notes that a file could not be read; one that is damaged in many places is told of once.
    fn leave(&mut self, path: &[u8], reason: &str) {
        let path = shown(path);
        let known = self.unread.last().is_some_and(|last| last.path == path && last.reason == reason);
        if !known && self.unread.len() < PACKAGES_LIMIT {
            self.unread.push(Unread { path, reason: reason.to_owned() });
        }
    }
}

fn shown(path: &[u8]) -> String {
    format!("/{}", String::from_utf8_lossy(path))
}
