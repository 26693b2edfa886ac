//! `castoff check`: build checks of any number of files, and what puts findings right.

use std::fs::{self, File, Permissions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use castoff_dockerfile::fix::{Fixed, fix};
use castoff_dockerfile::lint::{LintOptions, Preset};
use castoff_oci::Platform;
use castoff_plan::PlanOptions;
use castoff_solver::IgnoreFile;

use super::Context;
use crate::args::{CheckArgs, CheckFormat, PlanRequest};
use crate::build::{Asking, BuildError};
use crate::check::text::Style;
use crate::check::{self, Report, Subject};
use crate::context::{self, DockerfileText};
use crate::diff;
use crate::exit;
use crate::lock;
use crate::rules;
use crate::session::Session;

/// A file to be checked.
struct Input {
    dockerfile: DockerfileText,
    ignore: Option<IgnoreFile>,
}

/// Checks without the store: bases stay unknown.
pub(super) fn check(args: &CheckArgs, environment: &crate::args::Environment) -> anyhow::Result<u8> {
    if args.list {
        return list();
    }
    if let Some(name) = &args.explain {
        return explain(name);
    }
    let request = args.request(environment)?;
    work(args, &request, None)
}

/// Checks with bases from the store and from registries.
pub(super) fn check_resolved(args: &CheckArgs, context: &Context<'_>) -> anyhow::Result<u8> {
    let request = args.request(context.environment)?;
    let session = context.session()?;
    work(args, &request, Some(&session))
}

fn work(args: &CheckArgs, request: &PlanRequest, session: Option<&Session>) -> anyhow::Result<u8> {
    if args.fix && args.diff {
        bail!("`--fix` writes the changes and `--diff` shows them: give one of the two");
    }
    let mut reports = Vec::new();
    for mut input in inputs(args)? {
        if args.fix || args.diff {
            let fixed = fixes(&input.dockerfile, request)?;
            if args.diff {
                super::print(&difference(&input.dockerfile, &fixed))?;
                continue;
            }
            write(&input.dockerfile, &fixed)?;
            input.dockerfile.bytes = fixed.bytes;
        }
        let mut report = examine(&input, request, session)?;
        report.at_least(args.severity.level());
        reports.push(report);
    }
    if args.diff {
        return Ok(exit::SUCCESS);
    }
    match args.format {
        CheckFormat::Text => {
            super::print(&check::text::findings(&reports, Style::Castoff))?;
            super::complain_in_full(&check::text::errors(&reports));
        }
        CheckFormat::Json => {
            super::print(&format!("{}\n", serde_json::to_string_pretty(&check::json::document(&reports))?))?;
        }
        CheckFormat::Sarif => {
            let document = check::sarif::document(&reports);
            super::print(&format!("{}\n", serde_json::to_string_pretty(&document)?))?;
        }
    }
    Ok(if reports.iter().all(Report::is_clean) { exit::SUCCESS } else { exit::FAILURE })
}

/// Returns the files that the command line names: `-f` files, directories with a Dockerfile, and files.
/// The directory is the context of the files that `-f` names.
fn inputs(args: &CheckArgs) -> anyhow::Result<Vec<Input>> {
    let mut stdin = io::stdin().lock();
    if args.file.is_empty() {
        let here = [PathBuf::from(".")];
        let paths = if args.paths.is_empty() { &here[..] } else { &args.paths };
        return paths
            .iter()
            .map(|path| match path.is_dir() {
                true => in_directory(path, args.paths.is_empty() || path == Path::new(".")),
                false => alone(path, &mut stdin),
            })
            .collect();
    }
    let directory = match &args.paths[..] {
        [] => None,
        [path] => Some(context::directory(&path.to_string_lossy())?),
        _ => bail!("with `--file` there can be one directory, the context of the files"),
    };
    args.file
        .iter()
        .map(|file| {
            let mut input = alone(file, &mut stdin)?;
            if let Some(directory) = &directory {
                input.ignore = context::main_context(directory, &input.dockerfile)?.ignore;
            }
            Ok(input)
        })
        .collect()
}

fn in_directory(path: &Path, here: bool) -> anyhow::Result<Input> {
    let directory = context::directory(&path.to_string_lossy())?;
    let mut dockerfile = context::dockerfile(None, Some(&directory))?;
    let ignore = context::main_context(&directory, &dockerfile)?.ignore;
    // Findings name the file as the caller can open it.
    if !here {
        dockerfile.name = path.join(&dockerfile.name).display().to_string();
    }
    Ok(Input { dockerfile, ignore })
}

/// A file whose context is not known; `-` is standard input.
fn alone(path: &Path, stdin: &mut dyn io::Read) -> anyhow::Result<Input> {
    let dockerfile = match path == Path::new("-") {
        true => context::dockerfile_from(stdin)?,
        false => context::dockerfile(Some(path), None)?,
    };
    Ok(Input { dockerfile, ignore: None })
}

fn examine(input: &Input, request: &PlanRequest, session: Option<&Session>) -> anyhow::Result<Report> {
    let parsed = castoff_dockerfile::parse(&input.dockerfile.bytes);
    let options = crate::call::entitled(PlanOptions {
        source_name: input.dockerfile.name.clone(),
        target: request.target.clone(),
        build_args: request.build_args.clone(),
        platforms: request.platforms.clone(),
        ..PlanOptions::new(Platform::host())
    });
    let lock = lock::load(&input.dockerfile, &request.lock).map_err(BuildError::from)?;
    let subject = Subject {
        lock: &lock,
        dockerfile: &input.dockerfile,
        parsed: &parsed,
        options,
        preset: Preset::All,
        argument: crate::build::argument(request, "BUILDKIT_DOCKERFILE_CHECK"),
        ignore: input.ignore.as_ref(),
    };
    Ok(check::check(&subject, &mut |planner, question| match session {
        None => Ok(None),
        Some(session) => {
            let mut steps = crate::build::Internal::default();
            let (world, dockerfile) = (&session.world, &input.dockerfile);
            let asking = Asking { world, dockerfile, lock: &lock, pull: request.pull };
            asking.ask(planner, question, &mut steps, &mut |_| {}).map(Some)
        }
    })?)
}

/// Returns a file with the fixes of the rules that its options let run.
fn fixes(dockerfile: &DockerfileText, request: &PlanRequest) -> anyhow::Result<Fixed> {
    let parsed = castoff_dockerfile::parse(&dockerfile.bytes);
    let argument = crate::build::argument(request, "BUILDKIT_DOCKERFILE_CHECK");
    let options = check::check_options(&parsed.dockerfile, argument)?;
    let lint = LintOptions { stages: None, target: request.target.clone() };
    Ok(fix(&dockerfile.bytes, &lint, &|finding| options.allows(finding.rule.name, Preset::All)))
}

/// Writes a fixed file in place of the file, with its mode, and says what was done. A symbolic link stays
/// one.
fn write(dockerfile: &DockerfileText, fixed: &Fixed) -> anyhow::Result<()> {
    let Some(path) = &dockerfile.path else { bail!("`--fix` needs a file, and this is standard input") };
    let name = &dockerfile.name;
    if fixed.applied.is_empty() {
        return Ok(());
    }
    let failed = || format!("writing `{name}`");
    let path = fs::canonicalize(path).with_context(failed)?;
    let mode = fs::metadata(&path).with_context(failed)?.permissions();
    replace(&path, &fixed.bytes, mode).with_context(failed)?;
    for finding in &fixed.applied {
        super::remark(&format!("fixed {}: {}", finding.rule.name, finding.diagnostic.message));
    }
    Ok(())
}

fn replace(path: &Path, bytes: &[u8], mode: Permissions) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(name);
    let written = File::create(&temporary).and_then(|mut file| {
        file.write_all(bytes)?;
        file.set_permissions(mode)?;
        file.sync_all()
    });
    match written.and_then(|()| fs::rename(&temporary, path)) {
        Ok(()) => Ok(()),
        Err(error) => {
            let _already_failing = fs::remove_file(&temporary);
            Err(error)
        }
    }
}

fn difference(dockerfile: &DockerfileText, fixed: &Fixed) -> String {
    let before = String::from_utf8_lossy(&dockerfile.bytes);
    diff::unified(&dockerfile.name, &before, &String::from_utf8_lossy(&fixed.bytes))
}

fn list() -> anyhow::Result<u8> {
    let mut table = crate::table::Table::new(&["RULE", "LEVEL", "IN BUILDS", "DESCRIPTION"]);
    for rule in rules::rules() {
        table.row([
            rule.name.to_owned(),
            format!("{:?}", rule.level).to_lowercase(),
            if rule.runs_in_builds() { "yes" } else { "when named" }.to_owned(),
            rule.description.to_owned(),
        ]);
    }
    super::print(&table.to_string())
}

fn explain(name: &str) -> anyhow::Result<u8> {
    let rules = rules::rules();
    if let Some(rule) = rules.iter().find(|rule| rule.name.eq_ignore_ascii_case(name)) {
        return super::print(rule.page);
    }
    let near = castoff_dockerfile::suggest(name, rules.iter().map(|rule| rule.name));
    let guess = near.map(|near| format!(" (did you mean {near}?)")).unwrap_or_default();
    bail!("there is no rule `{name}`{guess}; `castoff check --list` shows them")
}
