//! Cases: a Dockerfile, its context and its options, from `xtask/differential/*.toml` and the grammar.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::context::{self, Archives};
use super::options::{Options, PeerKind};
use super::{generate, world};
use crate::command::repository;

/// Names under which every builder knows the common base.
pub(super) const BASES: &[&str] = &["base"];

/// Cases that others stand on.
pub(super) const BASE_GROUP: &str = "bases";

/// Cases that the grammar makes.
const GENERATED_GROUP: &str = "generated";

/// Files of the directory that hold no cases.
const OTHER_FILES: &[&str] = &["generated.toml", "known.toml"];

/// One comparison.
#[derive(Debug, Clone)]
pub(super) struct Case {
    /// `group/name`.
    pub(super) name: String,
    /// The Dockerfile.
    pub(super) text: String,
    /// Further arguments of `build`, which all builders understand.
    pub(super) arguments: Vec<String>,
    /// What castoff's error must say, if it must fail.
    pub(super) error: Option<String>,
    peers: Option<Vec<String>>,
    files: Vec<String>,
    archives: Archives,
    pub(super) group: String,
    own_context: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    #[serde(default = "prelude")]
    prelude: String,
    #[serde(default)]
    files: Vec<String>,
    #[serde(default)]
    archives: Archives,
    #[serde(default)]
    cases: BTreeMap<String, Written>,
}

fn prelude() -> String {
    "FROM base\n".to_owned()
}

/// A case as written: text that is put after the group's first lines, unless it has a FROM of its own.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Text(String),
    Table(Table),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    text: String,
    #[serde(default)]
    arguments: Vec<String>,
    /// Files of this case alone, such as its `.dockerignore`.
    #[serde(default)]
    files: Vec<String>,
    error: Option<String>,
    peers: Option<Vec<String>>,
}

/// Returns the cases that the options ask for, in order.
pub(super) fn all(options: &Options) -> Result<Vec<Case>> {
    let mut cases = written()?;
    let mut number = 0;
    cases.retain(|case| {
        number += 1;
        number % options.every == 0 || case.group == BASE_GROUP
    });
    let fixture = read("generated.toml")?;
    for number in 0..options.generated {
        let seed = options.seed.wrapping_add(number);
        cases.push(Case {
            name: format!("{GENERATED_GROUP}/{seed}"),
            text: generate::dockerfile(seed),
            arguments: Vec::new(),
            error: None,
            peers: None,
            files: fixture.files.clone(),
            archives: fixture.archives.clone(),
            group: GENERATED_GROUP.to_owned(),
            own_context: false,
        });
    }
    if !options.only.is_empty() {
        let mut number = 0;
        cases.retain(|case| {
            number += 1;
            options.only.iter().any(|only| {
                case.group == BASE_GROUP
                    || *only == case.group
                    || *only == case.name
                    || only.parse().is_ok_and(|wanted: u32| wanted == number)
            })
        });
    }
    if cases.is_empty() {
        bail!("no case is left");
    }
    Ok(cases)
}

fn directory() -> PathBuf {
    repository().join("xtask/differential")
}

fn read(file: &str) -> Result<Group> {
    let text = fs::read_to_string(directory().join(file)).with_context(|| format!("cannot read `{file}`"))?;
    toml::from_str(&text).with_context(|| format!("`{file}` is not understood"))
}

/// Reads every group.
fn written() -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    let mut paths: Vec<PathBuf> = fs::read_dir(directory())
        .context("cannot read `xtask/differential`")?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    paths.sort();
    for path in paths {
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if OTHER_FILES.contains(&file.as_str()) {
            continue;
        }
        let group = file.trim_end_matches(".toml").to_owned();
        let parsed = read(&file)?;
        for (name, written) in parsed.cases {
            let table = match written {
                Written::Text(text) => {
                    Table { text, arguments: Vec::new(), files: Vec::new(), error: None, peers: None }
                }
                Written::Table(table) => table,
            };
            let own_context = !table.files.is_empty();
            let mut files = parsed.files.clone();
            files.extend(table.files);
            cases.push(Case {
                name: format!("{group}/{name}"),
                text: with_prelude(&parsed.prelude, &table.text),
                arguments: table.arguments,
                error: table.error,
                peers: table.peers,
                files,
                archives: parsed.archives.clone(),
                group: group.clone(),
                own_context,
            });
        }
    }
    Ok(cases)
}

/// A text that has a FROM, or starts with a directive, is whole.
fn with_prelude(prelude: &str, text: &str) -> String {
    let text = text.trim_start_matches('\n');
    let has_from = text
        .trim_start_matches('\u{feff}')
        .lines()
        .any(|line| line.to_ascii_uppercase().trim_start().starts_with("FROM "));
    let end = if text.ends_with('\n') { "" } else { "\n" };
    if has_from || text.starts_with("# ") { format!("{text}{end}") } else { format!("{prelude}{text}{end}") }
}

/// Writes the Dockerfiles and the contexts.
pub(super) fn write(cases: &[Case]) -> Result<()> {
    let mut contexts = std::collections::BTreeSet::new();
    fs::create_dir_all(world::directory().join("dockerfiles"))?;
    for case in cases {
        fs::write(case.dockerfile(), &case.text)?;
        if contexts.insert(case.context()) {
            context::write(&case.context(), &case.files, &case.archives)
                .with_context(|| format!("context of {}", case.name))?;
        }
    }
    Ok(())
}

impl Case {
    /// Whether the grammar made it.
    pub(super) fn is_generated(&self) -> bool {
        self.group == GENERATED_GROUP
    }

    /// Where the Dockerfile is.
    pub(super) fn dockerfile(&self) -> PathBuf {
        world::directory().join("dockerfiles").join(format!("{}.Dockerfile", self.image()))
    }

    /// The directory of the context.
    pub(super) fn context(&self) -> PathBuf {
        let name = if self.own_context { self.image() } else { self.group.clone() };
        world::directory().join("contexts").join(name)
    }

    /// Everything that a result depends on.
    pub(super) fn description(&self) -> String {
        format!("{}\n{:?}\n{:?}\n{:?}", self.text, self.arguments, self.files, self.archives)
    }

    /// The name of the image.
    pub(super) fn image(&self) -> String {
        self.name.replace('/', "-").to_ascii_lowercase()
    }

    /// Whether it is compared with a peer.
    pub(super) fn is_for(&self, peer: PeerKind) -> bool {
        self.peers.as_ref().is_none_or(|peers| peers.iter().any(|name| name == peer.name()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_groups_are_understood_and_names_differ() {
        let cases = written().unwrap();
        let mut images: Vec<String> = cases.iter().map(Case::image).collect();
        images.sort();
        images.dedup();
        assert_eq!(images.len(), cases.len());
    }

    #[test]
    fn the_first_lines_are_for_cases_without_a_from() {
        assert_eq!(with_prelude("FROM base\n", "COPY a /"), "FROM base\nCOPY a /\n");
        assert_eq!(with_prelude("FROM base\n", "\nfrom scratch\nCOPY a /\n"), "from scratch\nCOPY a /\n");
        assert_eq!(with_prelude("FROM base\n", "# escape=`\nFROM base"), "# escape=`\nFROM base\n");
    }
}
