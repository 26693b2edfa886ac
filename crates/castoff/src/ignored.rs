//! The build check that needs the context's ignore file: sources that it hides (D-194, D-340).

use castoff_dockerfile::lint::{Level, Origin, Reach, Rule, is_skipped_above};
use castoff_dockerfile::{Diagnostic, Dockerfile, Severity};
use castoff_graph::{BuildGraph, CopyKind, CopyOp, CopySource, LocalName, Op, SourceOp};
use castoff_solver::IgnoreFile;

/// CopyIgnoredFile.
pub const RULE: Rule = Rule {
    name: "CopyIgnoredFile",
    description: "Attempting to Copy file that is excluded by .dockerignore",
    origin: Origin::buildkit("https://docs.docker.com/go/dockerfile/rule/copy-ignored-file/"),
    level: Level::Warning,
    reach: Reach::Stages,
    page: include_str!("../../../docs/lints/CopyIgnoredFile.md"),
};

/// Returns a finding for each source of a COPY or ADD of which the ignore file of the main context hides
/// everything.
pub fn ignored_sources(graph: &BuildGraph, syntax: &Dockerfile, ignore: &IgnoreFile) -> Vec<Diagnostic> {
    let mut findings = Vec::new();
    for (_, vertex) in graph.iter() {
        let (Op::Copy(copy), Some(origin)) = (&vertex.op, &vertex.origin) else { continue };
        let lines = (origin.first_line, origin.last_line);
        let instructions = syntax.stages.iter().flat_map(|stage| &stage.instructions);
        let instruction = instructions.into_iter().find(|instruction| instruction.lines == lines);
        if instruction.is_some_and(|instruction| is_skipped_above(&instruction.comments, RULE.name)) {
            continue;
        }
        for source in hidden(graph, copy, ignore) {
            let verb = if matches!(copy.kind, CopyKind::Copy) { "Copy" } else { "Add" };
            let finding = Diagnostic {
                severity: Severity::Warning,
                rule: Some(RULE.name),
                message: format!(
                    "Attempting to {verb} file \"{source}\" that is excluded by {}",
                    ignore.name
                ),
                span: instruction.map(|instruction| instruction.span).unwrap_or_default(),
                lines,
                hints: Vec::new(),
            };
            // Each platform has a vertex of its own for it.
            if !findings.contains(&finding) {
                findings.push(finding);
            }
        }
    }
    findings
}

fn hidden<'c>(graph: &BuildGraph, copy: &'c CopyOp, ignore: &IgnoreFile) -> Vec<&'c str> {
    // What is included again is hard to tell, and BuildKit says nothing then (D-340).
    if ignore.patterns.includes_again() {
        return Vec::new();
    }
    let sources = copy.sources.iter().filter_map(|source| match source {
        CopySource::Files { from, pattern } => Some((from, pattern.as_str())),
        CopySource::Inline { .. } => None,
    });
    let of_context = sources.filter(|(from, _)| {
        matches!(&graph.vertex(**from).op, Op::Source(SourceOp::Local(LocalName::Context)))
    });
    of_context
        .map(|(_, pattern)| pattern)
        .filter(|pattern| {
            let path: Vec<&str> =
                pattern.split('/').filter(|component| !matches!(*component, "" | ".")).collect();
            if path.is_empty() {
                return ignore.patterns.excludes_everything();
            }
            // A wildcard may match something else.
            let literal =
                path.iter().all(|component| *component != ".." && !component.contains(['*', '?', '[']));
            literal && ignore.patterns.matches(path.join("/").as_bytes())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use castoff_graph::pattern::IgnorePatterns;
    use castoff_oci::Platform;
    use castoff_plan::{PlanOptions, Planner, Step};

    use super::*;

    #[track_caller]
    fn check(ignore: &str, instruction: &str, expected: &[&str]) {
        let text = format!("FROM scratch\n{instruction}\n");
        let syntax = castoff_dockerfile::parse(text.as_bytes()).dockerfile;
        let Step::Done(plan) = Planner::new(&syntax, PlanOptions::new(Platform::host())).step() else {
            panic!("`{instruction}` is planned")
        };
        let patterns = IgnorePatterns::parse(ignore).expect("the patterns are fine");
        let ignore = IgnoreFile { name: ".dockerignore".to_owned(), patterns };
        let found: Vec<String> = ignored_sources(&plan.graph, &syntax, &ignore)
            .into_iter()
            .map(|finding| finding.message)
            .collect();
        assert_eq!(found, expected, "{instruction}");
    }

    // D-340
    #[test]
    fn sources_that_are_hidden_entirely_are_named() {
        let copy =
            |name: &str| format!("Attempting to Copy file \"{name}\" that is excluded by .dockerignore");
        check("*.md", "COPY a.md b.txt /x/", &[&copy("a.md")]);
        check("*.md", "COPY ./a.md /", &[&copy("./a.md")]);
        check("docs", "COPY /docs/guide/ /", &[&copy("/docs/guide/")]);
        check("docs", "ADD docs /", &["Attempting to Add file \"docs\" that is excluded by .dockerignore"]);
        check("docs\n!docs/README.md", "COPY docs /", &[]);
        check("*.md\n!b.md", "COPY b.md /", &[]);
        check("*.md", "COPY *.md /", &[]);
        check("*.md\n!b.md", "COPY a.md /", &[]);
        check("*", "COPY . /", &[&copy(".")]);
        check("**", "COPY / /x/", &[&copy("/")]);
        check("*/*", "COPY . /", &[]);
        check("*\n!a", "COPY . /", &[]);
        check("*", "COPY --from=scratch a /", &[]);
        check("a", "COPY <<a /\nx\na", &[]);
        check("a", "# check=skip=CopyIgnoredFile\nCOPY a /", &[]);
    }
}
