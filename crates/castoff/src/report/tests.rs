use super::*;

const DOCKERFILE: &str = "\
FROM alpine AS base
RUN true

\tCOPY --from=bulder /a /b
RUN apt-get update && \\
    apt-get install x
";

fn lines(of: (u32, u32)) -> Option<Excerpt<'static>> {
    Some(Excerpt { name: "Dockerfile", source: DOCKERFILE, lines: of, span: None })
}

fn finding(severity: Severity, message: &str, lines: (u32, u32), meant: &str) -> Diagnostic {
    let start = DOCKERFILE.find(meant).expect("the place is in the text");
    Diagnostic {
        severity,
        rule: (severity == Severity::Warning).then_some("StageNameCasing"),
        message: message.to_owned(),
        span: Span { start: start as u32, end: (start + meant.len()) as u32 },
        lines,
        hints: vec!["stages may only copy from stages above them".to_owned()],
    }
}

#[track_caller]
fn check(text: &str, expected: &str) {
    assert_eq!(text, expected.trim_start_matches('\n'), "\n{text}");
}

// B-153, D-343
#[test]
fn a_failing_step_is_shown_with_its_log_and_its_lines() {
    let tail = [b"0.121 hello".to_vec(), b"0.130 \xff".to_vec()];
    let message = r#"process "/bin/sh -c true" did not complete successfully: exit code: 1"#;
    let text = step_failure("[base 2/2] RUN true", &tail, lines((2, 2)), message);
    check(
        &text,
        "
------
 > [base 2/2] RUN true:
0.121 hello
0.130 \u{fffd}
------
Dockerfile:2
--------------------
   1 |     FROM alpine AS base
   2 | >>> RUN true
   3 |     
   4 |     \tCOPY --from=bulder /a /b
--------------------
ERROR: failed to build: failed to solve: process \"/bin/sh -c true\" did not complete successfully: exit code: 1
",
    );
}

#[test]
fn several_lines_have_one_line_around_them() {
    check(
        &lines((5, 6)).expect("a place").render(),
        r"
Dockerfile:5
--------------------
   4 |     	COPY --from=bulder /a /b
   5 | >>> RUN apt-get update && \
   6 | >>>     apt-get install x
   7 |     
--------------------
",
    );
}

#[test]
fn lines_that_are_not_there_are_not_shown() {
    for of in [(0, 0), (8, 9), (u32::MAX, u32::MAX)] {
        assert_eq!(lines(of).expect("a place").render(), "");
    }
    assert!(lines((7, u32::MAX)).expect("a place").render().contains(" 7 | >>> "));
    assert!(lines((6, 1)).expect("a place").render().contains(" 6 | >>> "));
}

// D-344
#[test]
fn errors_point_at_the_place_and_give_their_hints() {
    let error = finding(Severity::Error, "stage `bulder` is not defined", (4, 4), "--from=bulder");
    let text = |broken| render_diagnostics("Dockerfile", DOCKERFILE, broken, std::slice::from_ref(&error));
    check(
        &text(0),
        r"
Dockerfile:4
--------------------
   2 |     RUN true
   3 |     
   4 | >>> 	COPY --from=bulder /a /b
     |     	     ^^^^^^^^^^^^^
   5 |     RUN apt-get update && \
   6 |         apt-get install x
--------------------
ERROR: failed to build: failed to solve: stage `bulder` is not defined
hint: stages may only copy from stages above them
",
    );
    let line = "failed to solve: dockerfile parse error on line 4: stage `bulder` is not defined\n";
    assert!(text(1).contains(line));
}

#[test]
fn a_place_outside_the_text_is_not_pointed_at() {
    for span in [(0, 0), (9_000, 9_001), (5, 2)] {
        assert_eq!(pointer(DOCKERFILE, Span { start: span.0, end: span.1 }), None);
    }
    // Offsets inside a character.
    assert_eq!(pointer("\u{20ac}\u{20ac}", Span { start: 1, end: 3 }), None);
}

#[test]
fn many_errors_are_counted() {
    let error = finding(Severity::Error, "wrong", (1, 1), "alpine");
    let text = render_diagnostics("Dockerfile", DOCKERFILE, 0, &vec![error; 12]);
    assert_eq!(text.matches("ERROR: ").count(), 10);
    assert!(text.ends_with("and 2 more errors\n"));
}

// B-151
#[test]
fn warnings_are_a_list_and_in_full_have_excerpts() {
    let warning = finding(Severity::Warning, "use lower case", (1, 1), "base");
    assert_eq!(
        warning_list(std::slice::from_ref(&warning), "Dockerfile", DOCKERFILE, false),
        "\n 1 warning found (use docker --debug to expand):\n - StageNameCasing: use lower case (line 1)\n"
    );
    let text = warning_list(&[warning.clone(), warning], "Dockerfile", DOCKERFILE, true);
    assert!(text.starts_with("\n 2 warnings found:\n - StageNameCasing: "), "{text}");
    assert_eq!(
        text.matches("   1 | >>> FROM alpine AS base\n     |                    ^^^^\n").count(),
        2,
        "{text}"
    );
    assert_eq!(warning_list(&[], "Dockerfile", DOCKERFILE, true), "");
}

#[test]
fn an_interruption_has_its_own_exit_code() {
    let mut text = Vec::new();
    assert_eq!(failure(&BuildError::Interrupted, &[], &mut text), exit::INTERRUPTED);
    let error = BuildError::Other(anyhow::anyhow!("disk full").context("writing the index"));
    assert_eq!(failure(&error, &[], &mut text), exit::FAILURE);
    assert!(text.ends_with(b"ERROR: failed to build: writing the index: disk full\n"));
}

// B-151
#[test]
fn the_warnings_come_before_the_step_that_failed() {
    let error = BuildError::Step {
        hints: Vec::new(),
        dockerfile: Box::new(DockerfileText {
            name: "Dockerfile".to_owned(),
            path: None,
            bytes: DOCKERFILE.into(),
        }),
        name: "[base 2/2] RUN true".to_owned(),
        lines: Some((2, 2)),
        warnings: vec![finding(Severity::Warning, "use lower case", (1, 1), "base")],
        error: Box::new(castoff_solver::StepError::Cancelled),
    };
    let mut text = Vec::new();
    assert_eq!(failure(&error, &[], &mut text), exit::FAILURE);
    let text = String::from_utf8(text).expect("a report is text");
    let first = "\n 1 warning found (use docker --debug to expand):\n";
    let second = " - StageNameCasing: use lower case (line 1)\n------\n > [base 2/2] RUN true:\n";
    assert!(text.starts_with(&(first.to_owned() + second)), "{text}");
}
