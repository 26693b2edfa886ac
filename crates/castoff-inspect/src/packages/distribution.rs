//! Which distribution an image is of (os-release(5)).

use castoff_layer::{View, ViewError};

/// What `os-release` says; a field that it lacks is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Distribution {
    /// `ID`, such as `debian`.
    pub id: String,
    /// `VERSION_ID`, such as `12`.
    pub version: String,
    /// `PRETTY_NAME`.
    pub name: String,
}

impl Distribution {
    /// Returns what the qualifier `distro` of a purl says, such as `debian-12`.
    pub(super) fn qualifier(&self) -> String {
        if self.version.is_empty() { self.id.clone() } else { format!("{}-{}", self.id, self.version) }
    }
}

const LIMIT: u64 = 64 << 10;

/// Reads the first of the files that is there.
pub(super) fn read(view: &View) -> Result<Option<Distribution>, ViewError> {
    for path in ["etc/os-release", "usr/lib/os-release"] {
        match view.read(path.as_bytes(), LIMIT) {
            Ok(Some(bytes)) => return Ok(Some(parse(&String::from_utf8_lossy(&bytes)))),
            Ok(None) | Err(ViewError::TooLarge { .. } | ViewError::NotAFile { .. }) => {}
            Err(ViewError::TooManyLinks { .. } | ViewError::NotADirectory { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

fn parse(text: &str) -> Distribution {
    let mut found = Distribution::default();
    for line in text.lines() {
        let Some((key, value)) = line.trim().split_once('=') else { continue };
        let value = value.trim_matches(['"', '\'']);
        let value: String = value.chars().filter(|letter| !letter.is_control()).take(256).collect();
        match key {
            "ID" => found.id = value,
            "VERSION_ID" => found.version = value,
            "PRETTY_NAME" => found.name = value,
            _ => {}
        }
    }
    found
}
