//! What checks found, for people (B-160).

use std::fmt::Write as _;

use castoff_dockerfile::lint::Level;

use super::Report;
use crate::report::{Excerpt, hint_lines};

/// Returns the line that sums up, with its end; `None` when there are errors and nothing else.
fn summary(reports: &[Report]) -> Option<String> {
    let count: usize = reports.iter().map(|report| report.findings.len()).sum();
    match count {
        0 if reports.iter().any(|report| !report.errors.is_empty()) => None,
        0 => Some("Check complete, no warnings found.\n".to_owned()),
        1 => Some("Check complete, 1 warning has been found!\n".to_owned()),
        count => Some(format!("Check complete, {count} warnings have been found!\n")),
    }
}

/// How findings are introduced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// As BuildKit does: each is a warning.
    BuildKit,
    /// With its level, and what `castoff check --fix` would do.
    Castoff,
}

/// Returns what was found in some files: the sum, then each finding with its place.
pub fn findings(reports: &[Report], style: Style) -> String {
    let mut text = summary(reports).unwrap_or_default();
    for report in reports {
        let name = &report.dockerfile.name;
        for finding in &report.findings {
            let url = finding.rule.url().map(|url| format!(" - {url}")).unwrap_or_default();
            let message = &finding.diagnostic.message;
            let level = match (style, finding.rule.level) {
                (Style::BuildKit, _) | (_, Level::Warning) => "WARNING",
                (Style::Castoff, Level::Note) => "NOTE",
                (Style::Castoff, Level::Error) => "ERROR",
            };
            let _infallible = writeln!(text, "\n{level}: {}{url}\n{message}", finding.rule.name);
            text.push_str(&Excerpt::of(&finding.diagnostic, name, &report.source).render());
            text.push_str(&hint_lines(&finding.diagnostic.hints));
            if style == Style::Castoff && !finding.fix.is_empty() {
                text.push_str("hint: `castoff check --fix` puts it right\n");
            }
        }
    }
    text
}

/// Returns why some files cannot be built.
pub fn errors(reports: &[Report]) -> String {
    let render = |report: &Report| {
        crate::report::render_diagnostics(
            &report.dockerfile.name,
            &report.source,
            report.broken,
            &report.errors,
        )
    };
    reports.iter().filter(|report| !report.errors.is_empty()).map(render).collect()
}
