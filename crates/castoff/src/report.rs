//! What is said when a build fails or has warnings (B-153, D-343).
//!
//! The shapes are docker's, because people and scripts know them: rules of dashes around the log of the
//! step, an excerpt of the Dockerfile with `>>>` at the lines that are meant, and one line that begins
//! with `ERROR:`. Beneath a marked line castoff also points at the narrowest place that is wrong.

use std::fmt::Write as _;
use std::io::Write;

use castoff_dockerfile::{Diagnostic, Severity, Span};
use castoff_graph::remote::redacted;

use crate::build::BuildError;
use crate::context::DockerfileText;
use crate::exit;
use crate::lock::LockError;
use crate::progress::Colors;
use crate::prove;
use crate::start;

/// Errors shown of one Dockerfile; the first are the ones that caused the others.
const MOST_ERRORS: usize = 10;

/// Writes why a build failed and returns the exit code. `tail` is the end of the log of the step that
/// failed, as lines.
pub fn failure(error: &BuildError, tail: &[Vec<u8>], to: &mut dyn Write) -> u8 {
    let (text, code) = match error {
        BuildError::Step { dockerfile, name, lines, warnings, error, hints } => {
            let source = String::from_utf8_lossy(&dockerfile.bytes);
            let warnings = warning_list(warnings, &dockerfile.name, &source, false);
            let place =
                lines.map(|lines| Excerpt { name: &dockerfile.name, source: &source, lines, span: None });
            let failure = step_failure(name, tail, place, &castoff_solver::chain(error));
            (warnings + &failure + &hint_lines(hints), exit::FAILURE)
        }
        BuildError::Diagnostics { dockerfile, diagnostics } => {
            (diagnostics_failure(dockerfile, diagnostics), exit::FAILURE)
        }
        BuildError::Lock(LockError::Malformed { text, what }) => {
            let source = String::from_utf8_lossy(&text.bytes);
            (render_diagnostics(&text.name, &source, 0, std::slice::from_ref(what)), exit::FAILURE)
        }
        BuildError::Lock(error) => {
            let hint = "`castoff update` writes a lock".to_owned();
            let text = format!("ERROR: failed to build: {}\n", castoff_solver::chain(error));
            (text + &hint_lines(&[hint]), exit::FAILURE)
        }
        BuildError::CannotStart(findings) => {
            let failure =
                "ERROR: failed to build: the image cannot start, and --require startable was given\n";
            (start::text(findings).trim_start_matches('\n').to_owned() + failure, exit::FAILURE)
        }
        BuildError::Leak(proof) => {
            let failure = "ERROR: failed to build: a secret is in what the build gives away, so nothing was made of it\n\
                           hint: let the step that needs the secret read it where it is mounted and write it nowhere; \
                           a secret that may be in the result gets `prove=false` in its --secret\n";
            (prove::text(proof).trim_start_matches('\n').to_owned() + failure, exit::FAILURE)
        }
        BuildError::LooksLikeSecrets(proof) => {
            let failure =
                "ERROR: failed to build: something looks like a secret, and --require no-secrets was given\n";
            (prove::text(proof).trim_start_matches('\n').to_owned() + failure, exit::FAILURE)
        }
        BuildError::Interrupted => ("ERROR: failed to build: interrupted\n".to_owned(), exit::INTERRUPTED),
        BuildError::Other(error) => {
            (format!("ERROR: failed to build: {}\n", castoff_solver::chain(error.as_ref())), exit::FAILURE)
        }
    };
    // There is nobody left to tell when the stream is closed.
    let _ = to.write_all(text.as_bytes());
    code
}

/// Writes the warnings of a build that succeeded (B-151); in full when asked for, the heading in colour
/// where there are colours.
pub fn warnings(
    warnings: &[Diagnostic],
    dockerfile: &DockerfileText,
    in_full: bool,
    colors: Option<&Colors>,
    to: &mut dyn Write,
) {
    let mut text = warning_list(warnings, &dockerfile.name, &source(dockerfile).0, in_full);
    if let (Some(colors), Some((heading, list))) = (colors, text.trim_start_matches('\n').split_once('\n')) {
        text = format!("\n{}\n{list}", colors.paint_warning(heading));
    }
    // There is nobody left to tell when the stream is closed.
    let _ = to.write_all(text.as_bytes());
}

/// A part of a Dockerfile.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Excerpt<'a> {
    /// Name of the Dockerfile.
    name: &'a str,
    /// Its whole text.
    source: &'a str,
    /// The lines that are meant, from 1.
    lines: (u32, u32),
    /// The narrowest place.
    span: Option<Span>,
}

fn step_failure(name: &str, tail: &[Vec<u8>], place: Option<Excerpt<'_>>, message: &str) -> String {
    let mut text = format!("------\n > {name}:\n");
    for line in tail {
        text.push_str(&String::from_utf8_lossy(line));
        text.push('\n');
    }
    text.push_str("------\n");
    text.extend(place.map(|place| place.render()));
    text + &error_line(message)
}

fn error_line(message: &str) -> String {
    format!("ERROR: failed to build: failed to solve: {message}\n")
}

/// Returns the text to which spans refer, and how many errors of syntax it has.
fn source(dockerfile: &DockerfileText) -> (String, usize) {
    let parsed = castoff_dockerfile::parse(&dockerfile.bytes);
    let broken = parsed.errors().count();
    (parsed.source, broken)
}

fn diagnostics_failure(dockerfile: &DockerfileText, diagnostics: &[Diagnostic]) -> String {
    let (source, broken) = source(dockerfile);
    render_diagnostics(&dockerfile.name, &source, broken, diagnostics)
}

/// Renders findings of which at least one is an error. So many of the errors, the first, are about the file's syntax
/// (D-344).
pub(crate) fn render_diagnostics(
    name: &str,
    source: &str,
    broken: usize,
    diagnostics: &[Diagnostic],
) -> String {
    let (errors, warnings): (Vec<&Diagnostic>, Vec<&Diagnostic>) =
        diagnostics.iter().partition(|diagnostic| diagnostic.severity == Severity::Error);
    let warnings: Vec<Diagnostic> = warnings.into_iter().cloned().collect();
    let mut text = warning_list(&warnings, name, source, false);
    for (place, error) in errors.iter().take(MOST_ERRORS).enumerate() {
        let line = error.lines.0;
        if line > 0 {
            text.push_str(&Excerpt::of(error, name, source).render());
        }
        text.push_str(&error_line(&error_text(error, place < broken)));
        text.push_str(&hint_lines(&error.hints));
    }
    let more = errors.len().saturating_sub(MOST_ERRORS);
    if more > 0 {
        let _infallible = writeln!(text, "and {more} more errors");
    }
    text
}

/// Returns what an error says; `broken` when it is about the syntax (D-344).
pub(crate) fn error_text(error: &Diagnostic, broken: bool) -> String {
    match error.lines.0 {
        line if broken && line > 0 => format!("dockerfile parse error on line {line}: {}", error.message),
        _ => error.message.clone(),
    }
}

fn warning_list(warnings: &[Diagnostic], name: &str, source: &str, in_full: bool) -> String {
    let count = match warnings.len() {
        0 => return String::new(),
        1 => "1 warning".to_owned(),
        count => format!("{count} warnings"),
    };
    let hint = if in_full { "" } else { " (use docker --debug to expand)" };
    let mut text = format!("\n {count} found{hint}:\n");
    for warning in warnings {
        let rule = warning.rule.map(|rule| format!("{rule}: ")).unwrap_or_default();
        let line = match warning.lines.0 {
            0 => String::new(),
            line => format!(" (line {line})"),
        };
        let _infallible = writeln!(text, " - {rule}{}{line}", warning.message);
        if in_full && warning.lines.0 > 0 {
            text.push_str(&Excerpt::of(warning, name, source).render());
            text.push_str(&hint_lines(&warning.hints));
        }
    }
    text
}

pub(crate) fn hint_lines(hints: &[String]) -> String {
    hints.iter().map(|hint| format!("hint: {hint}\n")).collect()
}

impl<'a> Excerpt<'a> {
    pub(crate) fn of(diagnostic: &Diagnostic, name: &'a str, source: &'a str) -> Excerpt<'a> {
        Excerpt { name, source, lines: diagnostic.lines, span: Some(diagnostic.span) }
    }

    /// Returns the lines with those around them, as BuildKit does: two on each side of a single line, one
    /// on each side of several. Empty when the lines are not in the text.
    pub(crate) fn render(&self) -> String {
        let all: Vec<&str> = self.source.split('\n').map(|line| line.trim_end_matches('\r')).collect();
        let last = all.len();
        let (first_meant, last_meant) =
            (self.lines.0 as usize, (self.lines.1.max(self.lines.0) as usize).min(last));
        if first_meant == 0 || first_meant > last {
            return String::new();
        }
        let around = if first_meant == last_meant { 2 } else { 1 };
        let (start, end) = (first_meant.saturating_sub(around).max(1), (last_meant + around).min(last));
        const RULE: &str = "--------------------";
        let mut text = format!("{}:{first_meant}\n{RULE}\n", self.name);
        let pointer = self.span.and_then(|span| pointer(self.source, span));
        for number in start..=end {
            let mark = if (first_meant..=last_meant).contains(&number) { ">>>" } else { "   " };
            // Credentials of an address are shown to nobody (B-067), and carets would be off after them.
            let line = redacted(all[number - 1]);
            let _infallible = writeln!(text, " {number:3} | {mark} {line}");
            let same = line == all[number - 1];
            if let Some((_, pointer)) = pointer.as_ref().filter(|(line, _)| *line == number && same) {
                let _infallible = writeln!(text, "     |     {pointer}");
            }
        }
        text + RULE + "\n"
    }
}

/// Returns the line of a place, from 1, and carets for beneath it. A place that is empty, not in the text,
/// or a whole line says nothing that `>>>` does not.
fn pointer(source: &str, span: Span) -> Option<(usize, String)> {
    let before = source.get(..span.start as usize)?;
    let meant = source.get(span.range())?;
    let meant = meant.split('\n').next().unwrap_or(meant).trim_end();
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let line = source[line_start..].split('\n').next().unwrap_or_default().trim_end();
    if meant.is_empty() || meant == line.trim_start() {
        return None;
    }
    // A tab stays one, so that the carets move with the text above them.
    let blanks: String =
        before[line_start..].chars().map(|letter| if letter == '\t' { '\t' } else { ' ' }).collect();
    let number = before.matches('\n').count() + 1;
    Some((number, blanks + &"^".repeat(meant.chars().count())))
}

#[cfg(test)]
mod tests;
