//! Changes that put findings right: edits of the text, and what they must not change.

use std::collections::{BTreeMap, BTreeSet};

use crate::lint::{Finding, LintOptions, lint};
use crate::{Command, Dockerfile, Instruction, InstructionKind, KeyValues, Parsed, Span, Spanned, parse};

/// The label that took the place of MAINTAINER.
pub(crate) const AUTHORS: &str = "org.opencontainers.image.authors";

/// Most rounds of fixes. A round is needed for each fix that overlaps with another.
const ROUNDS: usize = 8;

/// Most sets of fixes that are tried in a round.
const TRIES: usize = 200;

/// A piece of the text and what to put in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// The piece; empty to insert before its start.
    pub span: Span,
    /// The text in its place.
    pub text: String,
}

impl Edit {
    /// Returns the edit that puts a text in the place of another.
    pub fn replace(span: Span, text: impl Into<String>) -> Edit {
        Edit { span, text: text.into() }
    }
}

/// A file after its fixes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fixed {
    /// The bytes; as they were where nothing was fixed.
    pub bytes: Vec<u8>,
    /// The findings that were fixed, in the order in which that was done.
    pub applied: Vec<Finding>,
}

/// Applies every certain fix of a file's findings that `wanted` lets through. A fix after which the file
/// would mean something else, or would not parse, is not applied; neither is one that overlaps with an
/// earlier one, except in a later round. A file with errors is left as it is.
pub fn fix(bytes: &[u8], options: &LintOptions, wanted: &dyn Fn(&Finding) -> bool) -> Fixed {
    let mut fixed = Fixed { bytes: bytes.to_vec(), applied: Vec::new() };
    for _ in 0..ROUNDS {
        let parsed = parse(&fixed.bytes);
        if parsed.has_errors() {
            break;
        }
        let findings = lint(&parsed.dockerfile, &parsed.source, options);
        let fixable = findings.into_iter().filter(|one| !one.fix.is_empty() && wanted(one)).collect();
        let chosen = disjoint(fixable);
        let (bytes, applied) = match apply(&fixed.bytes, &parsed, &chosen) {
            Some(bytes) => (bytes, chosen),
            None => sound_ones(&fixed.bytes, &parsed, chosen),
        };
        if applied.is_empty() {
            break;
        }
        fixed.bytes = bytes;
        fixed.applied.extend(applied);
    }
    fixed
}

/// Leaves out findings whose fixes overlap with those of earlier ones.
fn disjoint(findings: Vec<Finding>) -> Vec<Finding> {
    // What is taken does not overlap, so that only the last piece that starts in time can.
    let mut taken: BTreeMap<u32, u32> = BTreeMap::new();
    let touches = |taken: &BTreeMap<u32, u32>, span: Span| {
        taken.range(..=span.end).next_back().is_some_and(|(_, end)| span.start <= *end)
    };
    findings
        .into_iter()
        .filter(|finding| {
            let free = finding.fix.iter().all(|edit| !touches(&taken, edit.span));
            if free {
                taken.extend(finding.fix.iter().map(|edit| (edit.span.start, edit.span.end)));
            }
            free
        })
        .collect()
}

/// Applies fixes together; `None` when the file would not mean the same afterwards.
fn apply(bytes: &[u8], before: &Parsed, findings: &[Finding]) -> Option<Vec<u8>> {
    let mut edits: Vec<&Edit> = findings.iter().flat_map(|finding| &finding.fix).collect();
    edits.sort_by_key(|edit| edit.span.start);
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    for edit in edits {
        let range = edit.span.range();
        out.extend_from_slice(bytes.get(at..range.start)?);
        out.extend_from_slice(edit.text.as_bytes());
        at = range.end;
    }
    out.extend_from_slice(bytes.get(at..)?);
    let after = parse(&out);
    (!after.has_errors() && mean_the_same(&before.dockerfile, &after.dockerfile)).then_some(out)
}

/// Applies the fixes after which the file means the same, found by halving. Who has more bad ones than
/// there are tries keeps the rest as it is.
fn sound_ones(bytes: &[u8], parsed: &Parsed, findings: Vec<Finding>) -> (Vec<u8>, Vec<Finding>) {
    let mut sound: Vec<Finding> = Vec::new();
    let mut result = bytes.to_vec();
    let mut tries = TRIES;
    let mut open = vec![findings];
    while let Some(mut some) = open.pop() {
        let before = sound.len();
        sound.extend_from_slice(&some);
        let applied = if tries == 0 { None } else { apply(bytes, parsed, &sound) };
        tries = tries.saturating_sub(1);
        match applied {
            Some(bytes) => result = bytes,
            None => {
                sound.truncate(before);
                if some.len() > 1 && tries > 0 {
                    let rest = some.split_off(some.len() / 2);
                    open.extend([rest, some]);
                }
            }
        }
    }
    (result, sound)
}

/// Returns whether two files say the same in other words: other cases of keywords and stage names, the
/// other form of a pair, a label for MAINTAINER, plain words in JSON form.
pub fn mean_the_same(left: &Dockerfile, right: &Dockerfile) -> bool {
    let directives = |file: &Dockerfile| {
        let word = |word: &Option<Spanned<String>>| word.as_ref().map(|word| word.value.clone());
        (file.escape, word(&file.syntax), word(&file.check))
    };
    meaning(left) == meaning(right) && directives(left) == directives(right)
}

/// Returns a file without places, with what may be written in several ways written in one.
fn meaning(file: &Dockerfile) -> Vec<(Vec<String>, String)> {
    let names: BTreeSet<String> = file
        .stages
        .iter()
        .filter_map(|stage| stage.from.name.as_ref())
        .map(|name| name.value.to_lowercase())
        .collect();
    let redefined = file.global_args.iter().any(|one| declares(one, "TARGETPLATFORM"));
    let mut parts: Vec<(Vec<String>, String)> =
        file.global_args.iter().map(|one| (one.comments.clone(), words(one, &names))).collect();
    for stage in &file.stages {
        let from = &stage.from;
        let platform = from.platform.as_ref().map(|platform| platform.value.as_str());
        let platform =
            platform.filter(|value| redefined || !matches!(*value, "$TARGETPLATFORM" | "${TARGETPLATFORM}"));
        let name = from.name.as_ref().map(|name| name.value.to_lowercase());
        let described = from.description();
        let text = format!("FROM {platform:?} {:?} {name:?} {described:?}", from.image.value);
        parts.push((from.comments.clone(), text));
        parts.extend(stage.instructions.iter().map(|one| (one.comments.clone(), words(one, &names))));
    }
    parts
}

fn declares(instruction: &Instruction, name: &str) -> bool {
    match &instruction.kind {
        InstructionKind::Arg(declarations) => declarations.iter().any(|one| one.name.value == name),
        _ => false,
    }
}

/// Returns an instruction without its places.
fn words(instruction: &Instruction, stages: &BTreeSet<String>) -> String {
    let from = |word: &str| {
        let folded = word.to_lowercase();
        if stages.contains(&folded) { folded } else { word.to_owned() }
    };
    match &instruction.kind {
        InstructionKind::Env(pairs) => format!("ENV {:?}", pair_words(pairs)),
        InstructionKind::Label(pairs) => format!("LABEL {:?}", pair_words(pairs)),
        InstructionKind::Maintainer(name) => {
            format!("LABEL {:?}", [(AUTHORS.to_owned(), name.value.clone())])
        }
        InstructionKind::Cmd(command) => format!("CMD {:?}", command_words(command)),
        InstructionKind::Copy(copy) | InstructionKind::Add(copy) => {
            let mut copy = copy.clone();
            if let Some(word) = &mut copy.from {
                word.value = from(&word.value);
            }
            let keyword = instruction.keyword.value.to_uppercase();
            without_places(&format!("{keyword} {copy:?}"))
        }
        InstructionKind::Run(run) => {
            let mut run = run.clone();
            for (key, value) in run.mounts.iter_mut().flat_map(|mount| &mut mount.fields) {
                if key == "from" {
                    *value = value.as_deref().map(from);
                }
            }
            without_places(&format!("RUN {run:?}"))
        }
        InstructionKind::Expose(ports) => {
            let port = |port: &Spanned<String>| match port.value.contains(['$', '\\', '`', '"', '\'']) {
                true => port.value.clone(),
                false => port.value.to_lowercase(),
            };
            format!("EXPOSE {:?}", ports.iter().map(port).collect::<Vec<_>>())
        }
        // The text is what an image stores.
        InstructionKind::OnBuild(_) => format!("ONBUILD {:?}", instruction.text),
        kind => without_places(&format!("{kind:?}")),
    }
}

/// Returns pairs with the quotes around a whole value removed. Both forms are read by the same rules
/// otherwise, and a value with quotes inside is never changed by a fix.
fn pair_words(pairs: &KeyValues) -> Vec<(String, String)> {
    let bare = |value: &str| {
        let inner = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        inner.filter(|inner| !inner.contains(['"', '\'', '\\', '`'])).unwrap_or(value).to_owned()
    };
    pairs.pairs.iter().map(|(name, value)| (name.value.clone(), bare(&value.value))).collect()
}

fn command_words(command: &Command) -> Result<Vec<String>, String> {
    match command {
        Command::Exec(words) => Ok(words.clone()),
        Command::Shell(text) => match plain_words(&text.value) {
            Some(words) => Ok(words.into_iter().map(str::to_owned).collect()),
            None => Err(text.value.clone()),
        },
    }
}

/// Returns the words of a command that a shell would run as they are; `None` when it needs the shell.
pub(crate) fn plain_words(text: &str) -> Option<Vec<&str>> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    let words: Vec<&str> = text.split([' ', '\t']).filter(|word| !word.is_empty()).collect();
    let first = words.first()?;
    let sound = words.iter().all(|word| word.chars().all(plain));
    (sound && !first.contains('=') && !BUILTINS.contains(first)).then_some(words)
}

/// Words that mean something to the shell itself. Of some there are programs too, but not everywhere.
const BUILTINS: &[&str] = &[
    ".",
    ":",
    "alias",
    "bg",
    "bind",
    "break",
    "builtin",
    "caller",
    "case",
    "cd",
    "command",
    "compgen",
    "complete",
    "continue",
    "coproc",
    "declare",
    "dirs",
    "do",
    "done",
    "echo",
    "elif",
    "else",
    "enable",
    "esac",
    "eval",
    "exec",
    "exit",
    "export",
    "false",
    "fc",
    "fg",
    "fi",
    "for",
    "function",
    "getopts",
    "hash",
    "help",
    "history",
    "if",
    "jobs",
    "kill",
    "let",
    "local",
    "logout",
    "mapfile",
    "popd",
    "printf",
    "pushd",
    "pwd",
    "read",
    "readarray",
    "readonly",
    "return",
    "select",
    "set",
    "shift",
    "shopt",
    "source",
    "suspend",
    "test",
    "then",
    "time",
    "times",
    "trap",
    "true",
    "type",
    "typeset",
    "ulimit",
    "umask",
    "unalias",
    "unset",
    "until",
    "wait",
    "while",
];

/// Removes the spans from a debug form. Text inside quotes is left alone.
fn without_places(text: &str) -> String {
    const SPAN: &str = "Span { start: ";
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut quoted = false;
    while let Some(c) = rest.chars().next() {
        if !quoted && let Some(after) = rest.strip_prefix(SPAN) {
            rest = after.split_once('}').map_or("", |(_, rest)| rest);
            continue;
        }
        let mut taken = c.len_utf8();
        match c {
            '"' => quoted = !quoted,
            '\\' if quoted => taken += rest[taken..].chars().next().map_or(0, char::len_utf8),
            _ => {}
        }
        out.push_str(&rest[..taken]);
        rest = &rest[taken..];
    }
    out
}
