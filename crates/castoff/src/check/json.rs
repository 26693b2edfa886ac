//! What checks found, as BuildKit's JSON (B-161).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use super::Report;

/// The findings of some files.
#[derive(Debug, Serialize)]
struct Results<'a> {
    warnings: Vec<Warning<'a>>,
    sources: Vec<Source<'a>>,
    #[serde(rename = "buildError", skip_serializing_if = "Option::is_none")]
    error: Option<BuildErrorMessage>,
    /// The errors of further files, which BuildKit's form has no place for.
    #[serde(rename = "buildErrors", skip_serializing_if = "Vec::is_empty")]
    more: Vec<BuildErrorMessage>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Warning<'a> {
    rule_name: &'a str,
    description: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<&'a str>,
    detail: &'a str,
    location: Location,
}

#[derive(Debug, Serialize)]
struct Source<'a> {
    filename: &'a str,
    language: &'static str,
    data: String,
}

#[derive(Debug, Serialize)]
struct BuildErrorMessage {
    message: String,
    location: Location,
}

/// A place in one of the sources.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Location {
    /// Which source.
    #[serde(skip_serializing_if = "is_zero")]
    pub source_index: usize,
    /// The lines, each on its own.
    pub ranges: Vec<Range>,
}

/// A line.
#[derive(Debug, Clone, Serialize)]
pub struct Range {
    start: Position,
    end: Position,
}

#[derive(Debug, Clone, Serialize)]
struct Position {
    line: u32,
}

impl Location {
    /// Returns the place of some lines, from 1; (0, 0) is no place.
    pub fn of(source_index: usize, lines: (u32, u32)) -> Location {
        let lines = (lines.0..=lines.1.max(lines.0)).filter(|line| *line > 0);
        let range = |line| Range { start: Position { line }, end: Position { line } };
        Location { source_index, ranges: lines.map(range).collect() }
    }
}

fn is_zero(index: &usize) -> bool {
    *index == 0
}

/// Returns the document.
pub fn document(reports: &[Report]) -> serde_json::Value {
    let mut results = Results { warnings: Vec::new(), sources: Vec::new(), error: None, more: Vec::new() };
    for (index, report) in reports.iter().enumerate() {
        results.sources.push(Source {
            filename: &report.dockerfile.name,
            language: "Dockerfile",
            data: STANDARD.encode(&report.dockerfile.bytes),
        });
        results.warnings.extend(report.findings.iter().map(|finding| Warning {
            rule_name: finding.rule.name,
            description: finding.rule.description,
            url: finding.rule.url(),
            detail: &finding.diagnostic.message,
            location: Location::of(index, finding.diagnostic.lines),
        }));
        let mut errors = report.errors.iter().enumerate().map(|(place, error)| BuildErrorMessage {
            message: crate::report::error_text(error, place < report.broken),
            location: Location::of(index, error.lines),
        });
        if results.error.is_none() {
            results.error = errors.next();
        }
        results.more.extend(errors);
    }
    serde_json::to_value(results).expect("the document holds only texts and numbers")
}
