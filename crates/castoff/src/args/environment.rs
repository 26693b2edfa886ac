//! The environment variables of the caller, captured once in `main` and passed down as a value.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// What the process was started with, apart from its arguments.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Environment {
    variables: BTreeMap<OsString, OsString>,
    /// Whether standard output is a terminal.
    pub stdout_is_terminal: bool,
    /// Whether standard error is a terminal.
    pub stderr_is_terminal: bool,
}

impl Environment {
    /// Captures variables, as `std::env::vars_os` gives them.
    pub fn new(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Environment {
        Environment { variables: variables.into_iter().collect(), ..Environment::default() }
    }

    /// Returns a variable that is set, even to nothing.
    pub fn raw(&self, name: &str) -> Option<&OsStr> {
        self.variables.get(OsStr::new(name)).map(OsString::as_os_str)
    }

    /// Returns a variable that is set, even to nothing, and is text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.raw(name)?.to_str()
    }

    /// Returns a variable that is set to something.
    pub fn filled(&self, name: &str) -> Option<&str> {
        self.text(name).filter(|value| !value.is_empty())
    }

    /// Returns all variables, sorted by name.
    pub fn variables(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.variables.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str()))
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        self.raw(name).filter(|value| !value.is_empty()).map(PathBuf::from)
    }

    /// Returns the caller's home directory.
    pub fn home(&self) -> Option<PathBuf> {
        self.path("HOME")
    }

    /// Returns where docker's `config.json` is looked for: `DOCKER_CONFIG`, or `.docker` at home.
    pub fn docker_config_dir(&self) -> Option<PathBuf> {
        self.path("DOCKER_CONFIG").or_else(|| Some(self.home()?.join(".docker")))
    }

    /// Returns the file of castoff's own credentials: `$XDG_CONFIG_HOME/castoff/auth.json`, or the same below
    /// `~/.config`.
    pub fn auth_file(&self) -> Option<PathBuf> {
        let config = self.path("XDG_CONFIG_HOME").filter(|path| path.is_absolute());
        Some(config.or_else(|| Some(self.home()?.join(".config")))?.join("castoff/auth.json"))
    }

    /// Returns the store's directory (B-118): the flag, `CASTOFF_ROOT`, `$XDG_DATA_HOME/castoff`, or
    /// `~/.local/share/castoff`. `None` when nothing says where that is.
    pub fn store_root(&self, flag: Option<&Path>) -> Option<PathBuf> {
        flag.map(Path::to_owned)
            .or_else(|| self.path("CASTOFF_ROOT"))
            // The base directory specification says that relative paths are to be ignored.
            .or_else(|| Some(self.path("XDG_DATA_HOME").filter(|path| path.is_absolute())?.join("castoff")))
            .or_else(|| Some(self.home()?.join(".local/share/castoff")))
    }

    /// Returns whether colours are unwanted, whatever the terminal can do.
    pub fn no_color(&self) -> bool {
        self.filled("NO_COLOR").is_some() || self.text("TERM") == Some("dumb")
    }

    /// Returns the proxy variables for castoff's own transfers, in the spelling in which they are set.
    pub fn proxies(&self) -> Vec<(&str, &str)> {
        let names = ["http_proxy", "https_proxy", "no_proxy", "all_proxy"];
        let spellings = names.iter().flat_map(|name| [(*name).to_owned(), name.to_ascii_uppercase()]);
        spellings
            .filter_map(|name| {
                let (name, value) = self.variables.get_key_value(OsStr::new(&name))?;
                Some((name.to_str()?, value.to_str()?))
            })
            .collect()
    }
}

#[cfg(test)]
impl Environment {
    /// Returns an environment of these variables.
    pub(crate) fn of(variables: &[(&str, &str)]) -> Environment {
        Environment::new(variables.iter().map(|(name, value)| (name.into(), value.into())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // B-118
    #[test]
    fn store_root_is_taken_from_the_first_that_is_set() {
        let check = |flag: Option<&str>, variables: &[(&str, &str)], expected: Option<&str>| {
            let root = Environment::of(variables).store_root(flag.map(Path::new));
            assert_eq!(root.as_deref(), expected.map(Path::new), "{variables:?}");
        };
        let all = [("CASTOFF_ROOT", "/c"), ("XDG_DATA_HOME", "/x"), ("HOME", "/h")];
        check(Some("f"), &all, Some("f"));
        check(None, &all, Some("/c"));
        check(None, &all[1..], Some("/x/castoff"));
        check(None, &all[2..], Some("/h/.local/share/castoff"));
        check(
            None,
            &[("CASTOFF_ROOT", ""), ("XDG_DATA_HOME", "rel"), ("HOME", "/h")],
            Some("/h/.local/share/castoff"),
        );
        check(None, &[], None);
    }
}
