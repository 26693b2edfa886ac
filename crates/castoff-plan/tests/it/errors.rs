//! Mistakes in general: several are reported together, and the asker of an image is known.

use castoff_plan::{PlanOptions, Planner, Step};

use crate::build::{build, check};

#[test]
fn all_mistakes_of_the_survey_are_reported_together() {
    // D-128.
    check(
        &build("FROM $NONE AS a\nCOPY --from=8 x /\nFROM UPPER\n")
            .target("nope")
            .errors()
            .lines()
            .filter(|line| !line.contains("hint: "))
            .count()
            .to_string(),
        "4",
    );
}

#[test]
fn all_mistakes_of_instructions_are_reported_together() {
    let source = "FROM scratch AS a\nSTOPSIGNAL none\nENV A=${} B=1\nLABEL a=$A b=$B c=${X?gone}\n\
                  FROM a AS b\nEXPOSE x\nVOLUME $V\nFROM scratch\nRUN []\nCOPY --from=b --chmod=9 a /\n";
    let errors = |build: crate::build::Build| {
        build
            .errors()
            .lines()
            .filter(|line| !line.contains("hint: "))
            .map(|line| format!("{line}\n"))
            .collect::<String>()
    };
    let expected = "
        invalid signal: none @2 `none`
        syntax error: bad substitution @3 `${}`
        X: gone @4 `${X?gone}`
        invalid containerPort: x @6 `x`
        VOLUME specified can not be an empty string @7 `$V`
        RUN has no command: the list is empty @9 `RUN []`
        invalid chmod parameter: '9'. it should be octal string and between 0 and 07777 @10 `9`
        ";
    check(&errors(build(source)), expected);
    // What is wrong for several platforms is said once.
    check(&errors(build(source).platforms(&["linux/amd64", "linux/arm64"])), expected);
    // Stages that the target does not need are as they are.
    check(&errors(build(source).target("a")).lines().count().to_string(), "3");
    // What a broken instruction would have set is not missed.
    let found = build("FROM scratch\nENV A=${}\nLABEL a=$A\n").run().0.expect_err("it is broken");
    assert_eq!(found.len(), 1, "{found:?}");
    // A base that cannot be used says nothing of its stage.
    let mut windows = crate::build::image(&[]);
    windows.os = "windows".to_owned();
    let build = build("FROM win AS w\nSTOPSIGNAL none\nFROM w\nEXPOSE x\nFROM scratch\nCOPY --from=1 a /\n")
        .image("win", windows);
    check(&errors(build), "images for Windows cannot be built @1 `win`\ninvalid containerPort: x @4 `x`");
}

// D-128: what is wrong with a FROM line does not hide what is wrong below.
#[test]
fn mistakes_of_from_lines_do_not_hide_those_of_instructions() {
    let errors = |source: &str| {
        let errors = build(source).errors();
        let lines = errors.lines().filter(|line| !line.contains("hint: "));
        lines.map(|line| format!("{line}\n")).collect::<String>()
    };
    let source = "FROM UPPER AS a\nSTOPSIGNAL none\nENV P=x\nEXPOSE $P\nFROM base\nCOPY --from=9 x /\n\
                  VOLUME \"\"\nFROM a\nCOPY --from=1 a /\nEXPOSE y\n";
    check(
        &errors(source),
        "
        failed to parse stage name \"UPPER\": invalid reference format: repository name `library/UPPER` must be lowercase @1 `UPPER`
        invalid stage index 9 @6 `9`
        invalid signal: none @2 `none`
        invalid containerPort: x @4 `$P`
        VOLUME specified can not be an empty string @7 `\"\"`
        invalid containerPort: y @10 `y`
        ",
    );
    // What the unknown base may have set is no mistake.
    let source = "FROM UPPER\nEXPOSE $P\nLABEL a=${X?gone} $Y=b\nEXPOSE ${Q:-none}\nUSER $U\nEXPOSE z\n";
    check(
        &errors(source),
        "
        failed to parse stage name \"UPPER\": invalid reference format: repository name `library/UPPER` must be lowercase @1 `UPPER`
        invalid containerPort: z @6 `z`
        ",
    );
    // Nor is what hangs on stages that need each other, or of which none is wanted.
    let cyclic = "FROM scratch AS a\nCOPY --from=b x /\nSTOPSIGNAL none\nFROM a AS b\n";
    assert!(!errors(cyclic).contains("signal"));
}

#[test]
fn expansion_errors_are_at_the_word() {
    // D-066, D-069.
    check(&build("FROM scratch\nENV A=${}\n").errors().lines().count().to_string(), "1");
    check(&build("FROM scratch\nLABEL a=1 b=${X:?gone}\n").errors(), "X: gone @2 `${X:?gone}`");
}

#[test]
fn blank_key_after_expansion_fails() {
    // D-107.
    check(&build("FROM scratch\nENV $X=1\n").errors(), "ENV names can not be blank @2 `$X`");
    check(&build("FROM scratch\nENV \"\"=1\n").errors(), "ENV names can not be blank @2 `\"\"`");
}

#[test]
fn asker_of_an_image_and_the_stage_it_may_mean_are_known() {
    // D-346.
    let source = "FROM scratch AS builder\nFROM bilder\nCOPY --from=other /x /\n";
    let parsed = castoff_dockerfile::parse(source.as_bytes());
    let mut planner =
        Planner::new(&parsed.dockerfile, PlanOptions::new("linux/amd64".parse().expect("a platform")));
    let Step::Resolve(questions) = planner.step() else { panic!("two images are needed") };
    let askers: Vec<String> = questions
        .iter()
        .map(|question| {
            let (span, lines, hint) = planner.asker(question).expect("the file names it");
            format!("{} {} {}", &source[span.range()], lines.0, hint.unwrap_or_default())
        })
        .collect();
    assert_eq!(askers, ["bilder 2 did you mean `builder`?", "other 3 the stages are `builder`"]);
}

#[test]
fn same_question_gives_the_same_step_again() {
    let parsed = castoff_dockerfile::parse(b"FROM alpine\n");
    let mut planner =
        Planner::new(&parsed.dockerfile, PlanOptions::new("linux/amd64".parse().expect("a platform")));
    let ask = |planner: &mut Planner| match planner.step() {
        Step::Resolve(questions) => questions,
        Step::Date(_) | Step::Done(_) | Step::Failed(_) => Vec::new(),
    };
    let first = ask(&mut planner);
    assert_eq!(first.len(), 1);
    assert_eq!(first, ask(&mut planner));
}

#[test]
fn file_without_stages_fails() {
    // D-004.
    let parsed = castoff_dockerfile::parse(b"ARG A=1\n");
    let mut planner =
        Planner::new(&parsed.dockerfile, PlanOptions::new("linux/amd64".parse().expect("a platform")));
    let Step::Failed(errors) = planner.step() else { panic!("there is nothing to build") };
    assert_eq!(errors[0].message, "no stages to build");
}

#[test]
fn planning_is_deterministic() {
    // D-130.
    let source = "FROM alpine AS a\nRUN a\nFROM busybox AS b\nRUN b\nFROM scratch\nCOPY --from=b /b /\nCOPY --from=a /a /\n";
    assert_eq!(build(source).plan(), build(source).plan());
}
