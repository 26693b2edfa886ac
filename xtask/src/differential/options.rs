//! The command line of `cargo xtask differential`.

use anyhow::{Context, Result, bail};

/// What is compared with what.
pub(super) struct Options {
    /// The builders that castoff is compared with.
    pub(super) peers: Vec<PeerKind>,
    /// The Debian release that they are taken from.
    pub(super) suite: String,
    /// Which cases: names of groups or cases, or numbers.
    pub(super) only: Vec<String>,
    /// How many cases the grammar makes.
    pub(super) generated: u64,
    /// Where the grammar starts.
    pub(super) seed: u64,
    /// Every how many-th hand-written case is taken.
    pub(super) every: usize,
    /// Whether peers are asked again what they were asked before.
    pub(super) fresh: bool,
    /// Whether known differences are shown.
    pub(super) verbose: bool,
    /// Whether names are printed and nothing is built.
    pub(super) list: bool,
}

/// A builder from Debian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PeerKind {
    Docker,
    Buildah,
}

impl PeerKind {
    pub(super) fn name(self) -> &'static str {
        match self {
            PeerKind::Docker => "docker",
            PeerKind::Buildah => "buildah",
        }
    }
}

const USAGE: &str = "usage: cargo xtask differential [--peer docker|buildah|all] [--suite DEBIAN-RELEASE] \
[--only GROUP|GROUP/CASE|NUMBER].. [--generated N] [--seed S] [--every N] [--fresh] [--verbose] [--list]";

impl Options {
    pub(super) fn parse(arguments: &[String]) -> Result<Options> {
        let mut options = Options {
            peers: vec![PeerKind::Docker, PeerKind::Buildah],
            suite: "trixie".to_owned(),
            only: Vec::new(),
            generated: 100,
            seed: 1,
            every: 1,
            fresh: false,
            verbose: false,
            list: false,
        };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let (name, value) = match argument.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (argument.as_str(), None),
            };
            let mut value = || value.clone().or_else(|| rest.next().cloned()).context(USAGE);
            match name {
                "--peer" => {
                    options.peers = match value()?.as_str() {
                        "docker" => vec![PeerKind::Docker],
                        "buildah" => vec![PeerKind::Buildah],
                        "all" => vec![PeerKind::Docker, PeerKind::Buildah],
                        other => bail!("there is no peer `{other}`\n{USAGE}"),
                    }
                }
                "--suite" => options.suite = value()?,
                "--only" => options.only.push(value()?),
                "--generated" => options.generated = value()?.parse().context(USAGE)?,
                "--seed" => options.seed = value()?.parse().context(USAGE)?,
                "--every" => options.every = value()?.parse::<usize>().context(USAGE)?.max(1),
                "--fresh" => options.fresh = true,
                "--verbose" => options.verbose = true,
                "--list" => options.list = true,
                _ => bail!("there is no option `{argument}`\n{USAGE}"),
            }
        }
        Ok(options)
    }

    /// Whether some of the hand-written cases are left out, so that nothing can be said of known
    /// differences that did not occur.
    pub(super) fn is_partial(&self) -> bool {
        !self.only.is_empty() || self.every > 1
    }
}
