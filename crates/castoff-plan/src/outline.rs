//! What a target takes, and which targets there are: `--call=outline` and `--call=targets` (B-162, B-163).

use std::cell::RefCell;
use std::collections::BTreeSet;

use castoff_dockerfile::expand::{ExpandOptions, expand};
use castoff_dockerfile::{ArgDeclaration, Dockerfile, Instruction, InstructionKind, Spanned};
use castoff_graph::{Mount, Op};

use crate::globals::{BuildArgs, Globals};
use crate::{Examined, PlanOptions, PlannedStage};

/// What a target takes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outline {
    /// Name of the target, if it has one.
    pub name: Option<String>,
    /// What the comments above it say (D-016).
    pub description: Option<String>,
    /// Build arguments that are declared, and used by the target or what it needs.
    pub args: Vec<Argument>,
    /// Secrets that steps mount.
    pub secrets: Vec<Access>,
    /// Agents that steps mount.
    pub ssh: Vec<Access>,
}

/// A build argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argument {
    /// Its name.
    pub name: String,
    /// The value it has in this build, if any.
    pub value: Option<String>,
    /// What the comments above it say (D-016).
    pub description: Option<String>,
    /// Lines of the declaration, from 1.
    pub lines: (u32, u32),
}

/// A secret or an agent that a step mounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// Its id.
    pub name: String,
    /// Whether the step fails without it.
    pub required: bool,
    /// Lines of the first step that mounts it, from 1.
    pub lines: (u32, u32),
}

/// A stage that can be built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its name in lower case, if it has one.
    pub name: Option<String>,
    /// What the comments above it say (D-016).
    pub description: Option<String>,
    /// The image word of its FROM line, as written.
    pub base: String,
    /// Its `--platform`, as written.
    pub platform: Option<String>,
    /// Whether it is built when none is named.
    pub default: bool,
    /// Lines of its FROM line, from 1.
    pub lines: (u32, u32),
}

/// Returns the stages of a file in order.
pub fn targets(dockerfile: &Dockerfile) -> Vec<Target> {
    let last = dockerfile.stages.len().saturating_sub(1);
    let stages = dockerfile.stages.iter().enumerate();
    stages
        .map(|(index, stage)| {
            let from = &stage.from;
            Target {
                name: from.name.as_ref().map(|name| name.value.to_lowercase()),
                description: from.description().map(str::to_owned),
                base: from.image.value.clone(),
                platform: from.platform.as_ref().map(|platform| platform.value.clone()),
                default: index == last,
                lines: from.lines,
            }
        })
        .collect()
}

/// Returns what a target takes. `examined` is of the same file and options, and has no errors.
pub fn outline(dockerfile: &Dockerfile, options: &PlanOptions, examined: &Examined) -> Outline {
    let Some(platform) = options.targets().first() else { return Outline::default() };
    // The file was checked with these options, so that its arguments are sound.
    let globals = Globals::of(dockerfile, options, platform, BuildArgs::Used).unwrap_or_default();
    let target = target(dockerfile, options);
    let mut outline = Outline {
        name: target.and_then(|index| dockerfile.stages[index].from.name.as_ref()).map(lower),
        description: target.and_then(|index| dockerfile.stages[index].from.description()).map(str::to_owned),
        ..Outline::default()
    };
    let mut inherited = BTreeSet::new();
    // Of arguments of one name in several stages the one nearest to the target counts.
    for stage in examined.stages.iter().filter(|stage| stage.output == 0).rev() {
        let syntax = &dockerfile.stages[stage.index];
        for instruction in &syntax.instructions {
            for declaration in declarations(instruction) {
                let name = &declaration.name.value;
                if declaration.default.is_none()
                    && options.build_arg(name).is_none()
                    && globals.get(name).is_some()
                {
                    inherited.insert(name.clone());
                } else if !outline.args.iter().any(|known| known.name == *name) {
                    outline.args.push(argument(instruction, name, value(stage, name)));
                }
            }
        }
        inherited.extend(variables(&syntax.from.image, dockerfile.escape));
        inherited.extend(syntax.from.platform.iter().flat_map(|word| variables(word, dockerfile.escape)));
    }
    outline.args.extend(used_globals(dockerfile, &globals, inherited, &outline.args));
    outline.args.sort_by_key(|argument| argument.lines);
    accesses(examined, &mut outline);
    outline
}

/// Returns the target: the last stage of the name, or the last stage (D-129).
fn target(dockerfile: &Dockerfile, options: &PlanOptions) -> Option<usize> {
    let stages = &dockerfile.stages;
    match &options.target {
        Some(wanted) => {
            let wanted = wanted.to_lowercase();
            stages.iter().rposition(|stage| stage.from.name.as_ref().map(lower).as_ref() == Some(&wanted))
        }
        None => stages.len().checked_sub(1),
    }
}

fn lower(word: &Spanned<String>) -> String {
    word.value.to_lowercase()
}

fn declarations(instruction: &Instruction) -> &[ArgDeclaration] {
    match &instruction.kind {
        InstructionKind::Arg(declarations) => declarations,
        _ => &[],
    }
}

fn argument(instruction: &Instruction, name: &str, value: Option<String>) -> Argument {
    Argument {
        name: name.to_owned(),
        value,
        description: instruction.description(name).map(str::to_owned),
        lines: instruction.lines,
    }
}

/// Returns the value of an argument at the end of its stage.
fn value(stage: &PlannedStage, name: &str) -> Option<String> {
    let found = stage.arguments.iter().find(|(known, _)| known == name);
    found.and_then(|(_, value)| value.clone())
}

/// Returns the global arguments of some names, and those that their defaults use.
fn used_globals(
    dockerfile: &Dockerfile,
    globals: &Globals,
    mut used: BTreeSet<String>,
    known: &[Argument],
) -> Vec<Argument> {
    let mut found: Vec<Argument> = Vec::new();
    // A default can only use what is declared above it.
    for instruction in dockerfile.global_args.iter().rev() {
        for declaration in declarations(instruction).iter().rev() {
            let name = &declaration.name.value;
            if !used.contains(name) {
                continue;
            }
            used.extend(declaration.default.iter().flat_map(|word| variables(word, dockerfile.escape)));
            if !found.iter().chain(known).any(|one| one.name == *name) {
                found.push(argument(instruction, name, globals.get(name).map(str::to_owned)));
            }
        }
    }
    found
}

/// Returns the names that the expansion of a word looks up.
fn variables(word: &Spanned<String>, escape: char) -> Vec<String> {
    let names = RefCell::new(Vec::new());
    let variable = |name: &str| {
        names.borrow_mut().push(name.to_owned());
        None
    };
    // A word that cannot be expanded is an error of the check, and says no more here.
    let _only_the_names = expand(&word.value, &ExpandOptions { escape, variable: &variable, quotes: true });
    names.into_inner()
}

/// Adds the secrets and agents of the steps.
fn accesses(examined: &Examined, outline: &mut Outline) {
    let mut add = |list: fn(&mut Outline) -> &mut Vec<Access>, name: &str, required: bool, lines| {
        let list = list(outline);
        match list.iter_mut().find(|known| known.name == name) {
            Some(known) => known.required |= required,
            None => list.push(Access { name: name.to_owned(), required, lines }),
        }
    };
    for (_, vertex) in examined.graph.iter() {
        let (Op::Run(run), Some(origin)) = (&vertex.op, &vertex.origin) else { continue };
        let lines = (origin.first_line, origin.last_line);
        for mount in &run.mounts {
            match mount {
                Mount::Secret { id, required, .. } => {
                    add(|outline| &mut outline.secrets, id, *required, lines);
                }
                Mount::Ssh { id, required, .. } => {
                    add(|outline| &mut outline.ssh, id, *required, lines);
                }
                Mount::Bind { .. } | Mount::Cache { .. } | Mount::Tmpfs { .. } => {}
            }
        }
    }
    outline.secrets.sort_by_key(|access| access.lines);
    outline.ssh.sort_by_key(|access| access.lines);
}
