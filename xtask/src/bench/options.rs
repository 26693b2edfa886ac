//! The command line of `cargo xtask bench`.

use anyhow::{Context, Result, bail, ensure};

/// What is measured, and how.
#[derive(Debug, Clone)]
pub(super) struct Options {
    pub(super) what: What,
    /// Factor of every size; 1 is what the table says.
    pub(super) scale: f64,
    /// How many timed builds each builder makes of each workload.
    pub(super) repeat: usize,
    /// Workloads or rows, by the start of their names; all when empty.
    pub(super) only: Vec<String>,
    /// Builders that are left out.
    pub(super) without: Vec<String>,
    /// Builders besides those of Debian.
    pub(super) custom: Vec<Custom>,
    /// The Debian release of the peers.
    pub(super) suite: String,
    /// The largest size of `growth`.
    pub(super) max: f64,
    /// The builder that castoff is compared with in `growth`.
    pub(super) peer: String,
    /// Whether the documents of the repository are written anew.
    pub(super) publish: bool,
    /// Whether the counted instructions become the ones to compare with.
    pub(super) bless: bool,
}

/// The parts of the benchmark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Table,
    Growth,
    Instructions,
}

/// A builder of somebody's choice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Custom {
    pub(super) name: String,
    /// A command line with `{dockerfile}`, `{directory}` (the Dockerfile's), `{context}` and `{tag}`.
    pub(super) build: String,
    /// A command line that empties the store.
    pub(super) reset: Option<String>,
    /// A command line with `{tag}` and `{file}` that writes an archive as `docker save` does.
    pub(super) save: Option<String>,
}

pub(super) const USAGE: &str = "\
usage: cargo xtask bench [growth|instructions] [OPTION..]

  --scale F              factor of every size (1)
  --repeat N             timed builds of each workload by each builder (5; growth: 1)
  --only NAME,..         only workloads or rows whose names start so, as W2 or W6-push; in growth files, steps,
                         layers, bytes
  --without NAME,..      leave out builders: buildah, docker-classic, docker-buildkit, castoff-rootless
  --builder NAME=COMMAND one more builder; {dockerfile}, {directory} (of the Dockerfile), {context}, {tag}
  --reset NAME=COMMAND   how its store is emptied; without, workloads that need it are not measured
  --save NAME=COMMAND    how it writes {tag} to {file} as `docker save` does; without, nothing is verified
  --suite RELEASE        Debian release of the peers (trixie)
  --max N                largest number of files in growth (200000); the other sizes follow
  --peer NAME            the peer of growth (docker-buildkit)
  --publish              write docs/benchmarks.svg and the table of docs/benchmarks.md anew
  --bless                instructions: write the numbers to compare with

CASTOFF names the castoff binary (default: that of `cargo xtask dist`, built first).";

impl Options {
    pub(super) fn parse(arguments: &[String]) -> Result<Options> {
        let what = match arguments.first().map(String::as_str) {
            Some("growth") => What::Growth,
            Some("instructions") => What::Instructions,
            _ => What::Table,
        };
        let mut options = Options {
            what,
            scale: 1.0,
            repeat: if what == What::Growth { 1 } else { 5 },
            only: Vec::new(),
            without: Vec::new(),
            custom: Vec::new(),
            suite: "trixie".to_owned(),
            max: 200_000.0,
            peer: "docker-buildkit".to_owned(),
            publish: false,
            bless: false,
        };
        let mut rest = arguments.iter().skip(usize::from(what != What::Table));
        while let Some(argument) = rest.next() {
            let (name, value) = match argument.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (argument.as_str(), None),
            };
            let mut value = || value.clone().or_else(|| rest.next().cloned()).context(USAGE);
            let list = |text: String| text.split(',').map(str::to_owned).collect::<Vec<_>>();
            match name {
                "--scale" => options.scale = value()?.parse().context(USAGE)?,
                "--repeat" => options.repeat = value()?.parse::<usize>().context(USAGE)?.max(1),
                "--only" => options.only.extend(list(value()?)),
                "--without" => options.without.extend(list(value()?)),
                "--builder" => {
                    let (name, build) = named(&value()?)?;
                    options.custom.push(Custom { name, build, reset: None, save: None });
                }
                "--reset" | "--save" => {
                    let (builder, command) = named(&value()?)?;
                    let custom = options.custom.iter_mut().find(|custom| custom.name == builder);
                    let custom = custom.with_context(|| format!("`--builder {builder}=..` comes first"))?;
                    let field = if name == "--reset" { &mut custom.reset } else { &mut custom.save };
                    *field = Some(command);
                }
                "--suite" => options.suite = value()?,
                "--max" => options.max = value()?.parse().context(USAGE)?,
                "--peer" => options.peer = value()?,
                "--publish" => options.publish = true,
                "--bless" => options.bless = true,
                "--help" | "-h" => bail!("{USAGE}"),
                _ => bail!("there is no option `{argument}`\n{USAGE}"),
            }
        }
        ensure!(options.scale > 0.0 && options.scale <= 10.0, "a scale is between 0 and 10");
        ensure!(options.max >= 1000.0, "growth needs 1000 files at least");
        Ok(options)
    }

    /// Whether a row is asked for.
    pub(super) fn wants(&self, row: &str) -> bool {
        self.only.is_empty()
            || self.only.iter().any(|only| {
                // `W1` is the workload of `W1` and `W1-x`, not of `W10`.
                row == only || row.strip_prefix(only.as_str()).is_some_and(|rest| !starts_as_digit(rest))
            })
    }

    /// Whether a builder takes part.
    pub(super) fn has(&self, builder: &str) -> bool {
        !self.without.iter().any(|name| name == builder)
    }

    /// Returns a number of the table by the scale, and at least so much.
    pub(super) fn scaled(&self, number: u64, least: u64) -> u64 {
        ((number as f64 * self.scale).round() as u64).max(least)
    }
}

fn starts_as_digit(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_digit())
}

fn named(text: &str) -> Result<(String, String)> {
    let (name, command) = text.split_once('=').with_context(|| format!("`{text}` is no NAME=COMMAND"))?;
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    ensure!(is_name, "`{name}` is no name of a builder: letters, digits, `-`, `_` and `.`");
    Ok((name.to_owned(), command.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Options> {
        Options::parse(&arguments.iter().map(|argument| (*argument).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn rows_are_chosen_by_the_workload_or_their_whole_name() {
        let options = parse(&["--only", "W1,W6-push"]).unwrap();
        assert!(options.wants("W1") && options.wants("W6-push"));
        assert!(!options.wants("W10") && !options.wants("W6-store"));
        assert!(parse(&["--only=W2"]).unwrap().wants("W2r-edit"));
    }

    #[test]
    fn a_builder_is_a_name_and_its_commands() {
        let options =
            parse(&["--builder", "mine=/bin/mine -f {dockerfile}", "--reset", "mine=true"]).unwrap();
        assert_eq!(options.custom[0].build, "/bin/mine -f {dockerfile}");
        assert_eq!(options.custom[0].reset.as_deref(), Some("true"));
        assert!(parse(&["--reset", "other=true"]).is_err());
        assert!(parse(&["--builder", "a b=c"]).is_err());
    }

    #[test]
    fn the_part_comes_first() {
        assert_eq!(parse(&["growth", "--max", "5000"]).unwrap().what, What::Growth);
        assert!(parse(&["--max", "10"]).is_err());
    }
}
