//! What checks found, as SARIF 2.1.0, which sites that host code show beside it.

use castoff_dockerfile::lint::{Finding, Level};
use castoff_dockerfile::{Diagnostic, Span};
use serde_json::{Value, json};

use super::Report;
use crate::rules;

/// Stands for what is no build check but keeps the file from being built.
const SYNTAX: &str = "DockerfileError";

/// Returns the log of one run over some files.
pub fn document(reports: &[Report]) -> Value {
    let rules = rules::rules();
    let mut descriptors: Vec<Value> = rules
        .iter()
        .map(|rule| {
            let mut descriptor = json!({
                "id": rule.name,
                "name": rule.name,
                "shortDescription": { "text": rule.description },
                "help": { "text": rule.page, "markdown": rule.page },
                "defaultConfiguration": { "level": level(rule.level) },
            });
            if let Some(url) = rule.url() {
                descriptor["helpUri"] = json!(url);
            }
            descriptor
        })
        .collect();
    descriptors.push(json!({
        "id": SYNTAX,
        "name": SYNTAX,
        "shortDescription": { "text": "The file cannot be built" },
        "defaultConfiguration": { "level": "error" },
    }));
    let mut results = Vec::new();
    for report in reports {
        let uri = uri(&report.dockerfile.name);
        for error in &report.errors {
            results.push(json!({
                "ruleId": SYNTAX,
                "ruleIndex": rules.len(),
                "level": "error",
                "message": { "text": message(error) },
                "locations": [location(&uri, error, &report.source)],
            }));
        }
        for finding in &report.findings {
            let index = rules.iter().position(|rule| rule.name == finding.rule.name);
            let mut result = json!({
                "ruleId": finding.rule.name,
                "ruleIndex": index,
                "level": level(finding.rule.level),
                "message": { "text": message(&finding.diagnostic) },
                "locations": [location(&uri, &finding.diagnostic, &report.source)],
            });
            if !finding.fix.is_empty() {
                result["fixes"] = json!([fix(&uri, finding, &report.source)]);
            }
            results.push(result);
        }
    }
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "castoff",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": descriptors,
            } },
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

fn level(level: Level) -> &'static str {
    match level {
        Level::Note => "note",
        Level::Warning => "warning",
        Level::Error => "error",
    }
}

fn message(diagnostic: &Diagnostic) -> String {
    diagnostic.hints.iter().fold(diagnostic.message.clone(), |text, hint| format!("{text}\nhint: {hint}"))
}

/// Returns a path as a relative reference, which sites resolve against the repository's root.
fn uri(path: &str) -> String {
    let mut uri = String::new();
    for byte in path.strip_prefix("./").unwrap_or(path).bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' | b'~' => {
                uri.push(char::from(byte));
            }
            byte => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri
}

fn location(uri: &str, diagnostic: &Diagnostic, source: &str) -> Value {
    let mut physical = json!({ "artifactLocation": { "uri": uri } });
    if diagnostic.lines.0 > 0 {
        physical["region"] = match diagnostic.span {
            Span { start: 0, end: 0 } => json!({ "startLine": diagnostic.lines.0 }),
            span => region(span, source),
        };
    }
    json!({ "physicalLocation": physical })
}

/// Returns a place: lines and columns from 1, the end behind the last character.
fn region(span: Span, source: &str) -> Value {
    let (start_line, start_column) = position(span.start, source);
    let (end_line, end_column) = position(span.end, source);
    json!({
        "startLine": start_line,
        "startColumn": start_column,
        "endLine": end_line,
        "endColumn": end_column,
    })
}

fn position(offset: u32, source: &str) -> (usize, usize) {
    let before = source.get(..offset as usize).unwrap_or(source);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    // The mark at the start of a file is no character of its first line.
    let column = before[line_start..].chars().filter(|c| *c != '\u{feff}').count();
    (before.matches('\n').count() + 1, column + 1)
}

fn fix(uri: &str, finding: &Finding, source: &str) -> Value {
    let replacements: Vec<Value> = finding
        .fix
        .iter()
        .map(|edit| {
            json!({
                "deletedRegion": region(edit.span, source),
                "insertedContent": { "text": edit.text },
            })
        })
        .collect();
    json!({
        "description": { "text": finding.rule.description },
        "artifactChanges": [{ "artifactLocation": { "uri": uri }, "replacements": replacements }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_characters() {
        let source = "\u{feff}a\nb\u{e9}c d\n";
        assert_eq!(position(3, source), (1, 1));
        assert_eq!(position(4, source), (1, 2));
        assert_eq!(position(5, source), (2, 1));
        let d = source.find('d').expect("a place") as u32;
        assert_eq!(position(d, source), (2, 5));
        assert_eq!(position(1000, source), (3, 1));
    }

    #[test]
    fn paths_become_references() {
        assert_eq!(uri("./a b/c%.Dockerfile"), "a%20b/c%25.Dockerfile");
    }
}
