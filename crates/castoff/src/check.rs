//! Build checks of a file without building it: text, syntax, every stage. Nothing is executed (B-159).

pub mod json;
pub mod sarif;
pub mod text;

use castoff_dockerfile::lint::{self, CheckOptions, Finding, Level, LintOptions, Preset};
use castoff_dockerfile::{Diagnostic, Dockerfile, Parsed, Severity};
use castoff_plan::{CheckStep, PlanOptions, Planner, Question, Reaching, ResolvedImage};
use castoff_solver::IgnoreFile;

use crate::build::BuildError;
use crate::context::DockerfileText;
use crate::ignored::ignored_sources;
use crate::lock::Lock;
use crate::rules;

/// Most findings shown of a file.
const MOST: usize = 1000;

/// What was found in a file.
#[derive(Debug, Clone)]
pub struct Report {
    /// The file.
    pub dockerfile: DockerfileText,
    /// Its text, to which places refer.
    pub source: String,
    /// Why it cannot be built.
    pub errors: Vec<Diagnostic>,
    /// How many of these, the first, are about its syntax.
    pub broken: usize,
    /// What the checks found, by line.
    pub findings: Vec<Finding>,
}

/// A file to be checked, and how.
pub struct Subject<'a> {
    /// The file.
    pub dockerfile: &'a DockerfileText,
    /// The file, parsed.
    pub parsed: &'a Parsed,
    /// What is built of it.
    pub options: PlanOptions,
    /// Which checks run.
    pub preset: Preset,
    /// The build argument that replaces the `check` directive (D-028).
    pub argument: Option<&'a str>,
    /// The ignore file of the context, where the context is known.
    pub ignore: Option<&'a IgnoreFile>,
    /// What names are pinned to.
    pub lock: &'a Lock,
}

/// Answers what an image is; `None` leaves it unknown.
pub type Resolve<'a> = dyn FnMut(&Planner, &Question) -> Result<Option<ResolvedImage>, BuildError> + 'a;

/// Checks a file. `resolve` is asked for each image that would be good to know, and answers `None` when
/// it is to stay unknown.
///
/// # Errors
/// When an image cannot be resolved, or the file's check options are wrong.
pub fn check(subject: &Subject<'_>, resolve: &mut Resolve<'_>) -> Result<Report, BuildError> {
    let Subject { dockerfile, parsed, .. } = subject;
    let mut report = Report {
        dockerfile: (*dockerfile).clone(),
        source: parsed.source.clone(),
        errors: errors(&parsed.diagnostics),
        broken: parsed.errors().count(),
        findings: Vec::new(),
    };
    let reaching = if subject.options.target.is_some() { Reaching::Target } else { Reaching::AllStages };
    // What checks say of a broken file may be said of what is only missing.
    if report.broken > 0 {
        if !parsed.torn {
            let planner = Planner::new(&parsed.dockerfile, subject.options.clone());
            report.errors = planner.mistakes(report.errors, reaching);
        }
        return Ok(report);
    }
    let options = check_options(&parsed.dockerfile, subject.argument)?;
    let planner = Planner::new(&parsed.dockerfile, subject.options.clone());
    let examined = examine(planner, reaching, resolve)?;
    report.errors = errors(&examined.diagnostics);
    let target = subject.options.target.clone();
    let stages = target.is_some().then(|| examined.reached.clone());
    report.findings = lint::lint(&parsed.dockerfile, &parsed.source, &LintOptions { stages, target });
    report.findings.retain(|finding| !subject.lock.answers(finding, &parsed.source));
    let ignored = subject.ignore.map(|ignore| ignored_sources(&examined.graph, &parsed.dockerfile, ignore));
    let planned = examined.diagnostics.into_iter().chain(ignored.into_iter().flatten());
    report.findings.extend(planned.filter_map(finding));
    report.findings.retain(|finding| options.allows(finding.rule.name, subject.preset));
    report.findings.sort_by_key(|finding| (finding.diagnostic.lines, finding.diagnostic.span.start));
    report.findings.truncate(MOST);
    Ok(report)
}

/// Returns the options of the checks: the build argument's or the directive's (D-028).
///
/// # Errors
/// When they cannot be understood.
pub fn check_options(syntax: &Dockerfile, argument: Option<&str>) -> Result<CheckOptions, BuildError> {
    let directive = syntax.check.as_ref().map(|check| check.value.as_str());
    let options = CheckOptions::parse(argument.or(directive).unwrap_or_default());
    Ok(options.map_err(|error| anyhow::anyhow!("the `check` directive: {error}"))?)
}

/// Asks the planner and answers its questions until it is done.
///
/// # Errors
/// The first of `resolve`.
pub fn examine(
    mut planner: Planner,
    reaching: Reaching,
    resolve: &mut Resolve<'_>,
) -> Result<castoff_plan::Examined, BuildError> {
    loop {
        match planner.check(reaching) {
            CheckStep::Done(examined) => return Ok(*examined),
            CheckStep::Resolve(questions) => {
                for question in questions {
                    match resolve(&planner, &question)? {
                        Some(image) => planner.provide(&question, image),
                        None => planner.leave_unknown(&question),
                    }
                }
            }
        }
    }
}

impl Report {
    /// Drops what matters less than a level.
    pub fn at_least(&mut self, level: Level) {
        self.findings.retain(|finding| finding.rule.level >= level);
    }

    /// Whether anything is wrong.
    pub fn is_clean(&self) -> bool {
        self.errors.is_empty() && self.findings.is_empty()
    }
}

fn errors(diagnostics: &[Diagnostic]) -> Vec<Diagnostic> {
    diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error).cloned().collect()
}

/// Returns the finding of a check that needed planning; warnings that belong to no check are none.
fn finding(diagnostic: Diagnostic) -> Option<Finding> {
    let rule = rules::find(diagnostic.rule?)?;
    Some(Finding { rule, diagnostic, stage: None, fix: Vec::new() })
}
