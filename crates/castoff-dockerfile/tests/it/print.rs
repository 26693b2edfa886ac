//! A compact form of the tree for tables: one line for each instruction, without places.

use castoff_dockerfile::{
    Command, Copy, Dockerfile, Healthcheck, Heredoc, Instruction, InstructionKind, KeyValues, Run, Severity,
    Spanned, parse,
};

/// Parses a file that is in order and returns its instructions, one a line.
#[track_caller]
pub fn tree(source: &str) -> String {
    let parsed = parse(source.as_bytes());
    let errors: Vec<_> = parsed.diagnostics.iter().filter(|one| one.severity == Severity::Error).collect();
    assert!(errors.is_empty(), "{source:?}: {errors:#?}");
    dockerfile(&parsed.dockerfile)
}

/// Parses one instruction inside a stage and returns it.
#[track_caller]
pub fn one(source: &str) -> String {
    let printed = tree(&format!("FROM x\n{source}"));
    let printed = printed.strip_prefix("FROM x\n").unwrap_or_else(|| panic!("{printed}"));
    printed.trim_end().to_owned()
}

/// Compares one instruction with its printed form.
#[track_caller]
pub fn check(source: &str, expected: &str) {
    assert_eq!(one(source), expected, "{source:?}");
}

/// Compares the errors of a file with substrings, in order of their places.
#[track_caller]
pub fn fails(source: &str, expected: &[&str]) {
    let parsed = parse(source.as_bytes());
    let errors: Vec<_> = parsed
        .diagnostics
        .iter()
        .filter(|one| one.severity == Severity::Error)
        .map(|one| &one.message)
        .collect();
    assert_eq!(errors.len(), expected.len(), "{source:?}: {errors:#?}");
    for (error, expected) in errors.iter().zip(expected) {
        assert!(error.contains(expected), "{source:?}: {error} lacks {expected}");
    }
}

/// Compares the error of one instruction inside a stage with a substring.
#[track_caller]
pub fn refused(source: &str, expected: &str) {
    fails(&format!("FROM x\n{source}"), &[expected]);
}

pub fn dockerfile(dockerfile: &Dockerfile) -> String {
    let mut lines: Vec<String> = dockerfile.global_args.iter().map(instruction).collect();
    for stage in &dockerfile.stages {
        let from = &stage.from;
        let mut line = "FROM".to_owned();
        push_flag(&mut line, "platform", &from.platform);
        line.push_str(&format!(" {}", from.image.value));
        if let Some(name) = &from.name {
            line.push_str(&format!(" AS {}", name.value));
        }
        lines.push(line);
        lines.extend(stage.instructions.iter().map(instruction));
    }
    lines.join("\n") + "\n"
}

pub fn instruction(instruction: &Instruction) -> String {
    match &instruction.kind {
        InstructionKind::Add(add) => format!("ADD{}", copy(add)),
        InstructionKind::Arg(declarations) => {
            let mut line = "ARG".to_owned();
            for declaration in declarations {
                match &declaration.default {
                    Some(default) => line.push_str(&format!(" {}={}", declaration.name.value, default.value)),
                    None => line.push_str(&format!(" {}", declaration.name.value)),
                }
            }
            line
        }
        InstructionKind::Cmd(one) => format!("CMD {}", command(one)),
        InstructionKind::Copy(one) => format!("COPY{}", copy(one)),
        InstructionKind::Entrypoint(one) => format!("ENTRYPOINT {}", command(one)),
        InstructionKind::Env(one) => format!("ENV{}", pairs(one)),
        InstructionKind::Expose(one) => format!("EXPOSE{}", words(one)),
        InstructionKind::Healthcheck(Healthcheck::None) => "HEALTHCHECK NONE".to_owned(),
        InstructionKind::Healthcheck(Healthcheck::Command {
            command: one,
            interval,
            timeout,
            start_period,
            start_interval,
            retries,
        }) => {
            let numbers = [interval, timeout, start_period, start_interval, retries];
            let numbers = numbers.map(|number| number.to_string()).join(",");
            format!("HEALTHCHECK ({numbers}) {}", command(one))
        }
        InstructionKind::Label(one) => format!("LABEL{}", pairs(one)),
        InstructionKind::Maintainer(one) => format!("MAINTAINER {:?}", one.value),
        InstructionKind::OnBuild(inner) => {
            format!("ONBUILD {:?} = {}", instruction.text, self::instruction(inner))
        }
        InstructionKind::Run(one) => format!("RUN{}", run(one)),
        InstructionKind::Shell(one) => format!("SHELL {one:?}"),
        InstructionKind::StopSignal(one) => format!("STOPSIGNAL {:?}", one.value),
        InstructionKind::User(one) => format!("USER {:?}", one.value),
        InstructionKind::Volume(one) => format!("VOLUME{}", words(one)),
        InstructionKind::Workdir(one) => format!("WORKDIR {:?}", one.value),
    }
}

fn command(command: &Command) -> String {
    match command {
        Command::Shell(text) => format!("sh {:?}", text.value),
        Command::Exec(arguments) => format!("exec {arguments:?}"),
    }
}

fn words(words: &[Spanned<String>]) -> String {
    words.iter().map(|word| format!(" {:?}", word.value)).collect()
}

fn pairs(pairs: &KeyValues) -> String {
    let legacy = if pairs.legacy { " legacy" } else { "" };
    let list: String =
        pairs.pairs.iter().map(|(name, value)| format!(" [{}][{}]", name.value, value.value)).collect();
    format!("{legacy}{list}")
}

fn push_flag(line: &mut String, name: &str, value: &Option<Spanned<String>>) {
    if let Some(value) = value {
        line.push_str(&format!(" {name}={:?}", value.value));
    }
}

fn copy(copy: &Copy) -> String {
    let mut line = String::new();
    push_flag(&mut line, "from", &copy.from);
    push_flag(&mut line, "chown", &copy.chown);
    push_flag(&mut line, "chmod", &copy.chmod);
    push_flag(&mut line, "checksum", &copy.checksum);
    for exclude in &copy.exclude {
        push_flag(&mut line, "exclude", &Some(exclude.clone()));
    }
    for (name, on) in [("link", copy.link), ("parents", copy.parents)] {
        if on {
            line.push_str(&format!(" {name}"));
        }
    }
    for (name, on) in [("keep-git-dir", copy.keep_git_dir), ("unpack", copy.unpack)] {
        if let Some(on) = on {
            line.push_str(&format!(" {name}={on}"));
        }
    }
    line.push_str(&words(&copy.sources));
    line.push_str(&copy.heredocs.iter().map(heredoc).collect::<String>());
    format!("{line} -> {:?}", copy.destination.value)
}

fn run(run: &Run) -> String {
    let mut line = String::new();
    for mount in &run.mounts {
        let fields = mount.fields.iter().map(|(key, value)| match value {
            Some(value) => format!("{key}={value}"),
            None => key.clone(),
        });
        line.push_str(&format!(" mount[{}]", fields.collect::<Vec<_>>().join("|")));
    }
    push_flag(&mut line, "network", &run.network);
    push_flag(&mut line, "security", &run.security);
    for device in &run.devices {
        push_flag(&mut line, "device", &Some(device.clone()));
    }
    line.push_str(&format!(" {}", command(&run.command)));
    if run.only_heredoc {
        line.push_str(" only");
    }
    line.push_str(&run.heredocs.iter().map(heredoc).collect::<String>());
    line
}

fn heredoc(heredoc: &Heredoc) -> String {
    let descriptor = heredoc.descriptor.map(|number| number.to_string()).unwrap_or_default();
    let tabs = if heredoc.strip_tabs { "-" } else { "" };
    let expand = if heredoc.expand { "" } else { "'" };
    format!(" {descriptor}<<{tabs}{expand}{}{expand} {:?}", heredoc.delimiter, heredoc.body)
}
