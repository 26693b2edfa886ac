//! Shell and exec form: RUN, CMD, ENTRYPOINT, SHELL.

use std::ops::Range;

use crate::flags::{FlagKind, Head};
use crate::instruction::{Keyword, at_least_one, flagged, mixed_array, whole};
use crate::scope::Scope;
use crate::words::{Json, json, split_commas};
use crate::{Command, MountFlag, Run, Spanned};

/// Parses the command of CMD and ENTRYPOINT.
pub(super) fn parse(scope: &mut Scope<'_>, head: &Head) -> Option<Command> {
    command(scope, head.arguments.clone())
}

/// Reads a command: a JSON array of strings, or text for a shell, verbatim (D-038, D-044).
pub(super) fn command(scope: &mut Scope<'_>, range: Range<usize>) -> Option<Command> {
    match json(&scope.joined.text, range.clone()) {
        Json::Strings(strings) => Some(Command::Exec(strings.into_iter().map(|(value, _)| value).collect())),
        Json::Mixed => {
            mixed_array(scope, range);
            None
        }
        Json::Other => Some(Command::Shell(scope.word(range))),
    }
}

/// Parses RUN.
pub(super) fn parse_run(scope: &mut Scope<'_>, head: &Head) -> Option<Run> {
    let allowed = [
        ("mount", FlagKind::List),
        ("network", FlagKind::Value),
        ("security", FlagKind::Value),
        ("device", FlagKind::List),
    ];
    flagged(scope, head, &allowed, |scope, flags| {
        let mut mounts = Vec::new();
        let mut sound = true;
        for mount in flags.list("mount") {
            match parse_mount(&mount) {
                Ok(mount) => mounts.push(mount),
                Err(why) => {
                    sound = false;
                    scope.error_at(mount.span, format!("invalid --mount: {why}"));
                }
            }
        }
        let command = command(scope, head.arguments.clone())?;
        let only_heredoc = matches!(&scope.heredocs[..], [found] if found.range == head.arguments);
        sound.then(|| Run {
            command,
            heredocs: scope.heredocs.iter().map(|found| found.heredoc.clone()).collect(),
            only_heredoc,
            mounts,
            network: flags.value("network"),
            security: flags.value("security"),
            devices: flags.list("device"),
        })
    })
}

fn parse_mount(value: &Spanned<String>) -> Result<MountFlag, &'static str> {
    if value.value.is_empty() {
        return Err("no fields");
    }
    let fields = split_commas(&value.value)?
        .into_iter()
        .map(|field| match field.split_once('=') {
            Some((key, value)) => (key.to_ascii_lowercase(), Some(value.to_owned())),
            None => (field.to_ascii_lowercase(), None),
        })
        .collect();
    Ok(MountFlag { span: value.span, fields })
}

/// Parses SHELL (D-184).
pub(super) fn parse_shell(scope: &mut Scope<'_>, head: &Head) -> Option<Vec<String>> {
    match json(&scope.joined.text, head.arguments.clone()) {
        Json::Strings(strings) => {
            let strings = at_least_one(scope, Keyword::Shell, head, strings)?;
            Some(strings.into_iter().map(|(value, _)| value).collect())
        }
        Json::Mixed => {
            mixed_array(scope, head.arguments.clone());
            None
        }
        Json::Other if head.arguments.is_empty() => {
            scope.error(whole(head), "SHELL requires at least one argument");
            None
        }
        Json::Other => {
            let message = "SHELL requires the arguments to be in JSON form";
            let hint = "write a list of strings, such as SHELL [\"/bin/bash\", \"-c\"]";
            scope.error_with_hint(head.arguments.clone(), message, hint);
            None
        }
    }
}
