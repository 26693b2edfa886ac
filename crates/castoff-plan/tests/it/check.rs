//! Checks without a build, outlines and targets.

use castoff_dockerfile::parse;
use castoff_plan::{CheckStep, Examined, PlanOptions, Planner, Reaching, outline, targets};

fn options(target: Option<&str>) -> PlanOptions {
    PlanOptions {
        target: target.map(str::to_owned),
        build_args: vec![("GIVEN".to_owned(), "yes".to_owned())],
        ..PlanOptions::new("linux/amd64".parse().unwrap())
    }
}

fn examine(source: &str, options: &PlanOptions, reaching: Reaching) -> Examined {
    let parsed = parse(source.as_bytes());
    assert!(!parsed.has_errors(), "{:?}", parsed.diagnostics);
    let mut planner = Planner::new(&parsed.dockerfile, options.clone());
    loop {
        match planner.check(reaching) {
            CheckStep::Done(examined) => return *examined,
            CheckStep::Resolve(questions) => {
                assert!(!questions.is_empty());
                questions.iter().for_each(|question| planner.leave_unknown(question));
            }
        }
    }
}

/// Compares what a check of all stages says, with unknown bases.
#[track_caller]
fn check(source: &str, expected: &[&str]) {
    let found = examine(source, &options(None), Reaching::AllStages).diagnostics;
    let found: Vec<String> = found
        .iter()
        .filter(|one| one.lines.0 > 0)
        .map(|one| format!("{} {}", one.lines.0, one.rule.unwrap_or(&one.message)))
        .collect();
    assert_eq!(found, expected, "{source}");
}

#[test]
fn every_stage_is_checked_and_bases_may_stay_unknown() {
    // D-322, B-159
    check(
        "FROM a AS x\nWORKDIR y\nFROM scratch\nLABEL a=$NOPE\n",
        &["2 WorkdirRelativePath", "4 UndefinedVar"],
    );
    // An unknown base may set any variable, and a stage on it inherits that.
    check("FROM a AS x\nLABEL a=$NOPE\nFROM x\nLABEL a=$NOPE\nCOPY --from=b /a /b\n", &[]);
    // D-335 needs the image.
    check("FROM --platform=linux/arm64 a\n", &[]);
    check("FROM $X\n", &["1 base name ($X) should not be blank"]);
    check("FROM scratch\nSTOPSIGNAL nonsense\n", &["2 invalid signal: nonsense"]);
}

#[test]
fn a_check_of_a_target_looks_at_what_it_needs() {
    let source = "FROM scratch AS a\nWORKDIR y\nFROM scratch AS b\nLABEL a=$NOPE\nFROM scratch\n";
    let found = examine(source, &options(Some("b")), Reaching::Target);
    assert_eq!(found.reached, [1].into());
    assert_eq!(found.diagnostics.iter().filter_map(|one| one.rule).collect::<Vec<_>>(), ["UndefinedVar"]);
}

#[test]
fn a_plan_asks_again_for_what_a_check_did_without() {
    let parsed = parse(b"FROM a\n");
    let mut planner = Planner::new(&parsed.dockerfile, options(None));
    let CheckStep::Resolve(questions) = planner.check(Reaching::Target) else { panic!("it asks") };
    planner.leave_unknown(&questions[0]);
    assert!(matches!(planner.check(Reaching::Target), CheckStep::Done(_)));
    assert!(matches!(planner.step(), castoff_plan::Step::Resolve(again) if again == questions));
}

/// Compares an outline, one line for each part.
#[track_caller]
fn outlined(source: &str, target: Option<&str>, expected: &str) {
    let options = options(target);
    let examined = examine(source, &options, Reaching::Target);
    assert!(examined.is_sound(), "{:?}", examined.diagnostics);
    let outline = outline(&parse(source.as_bytes()).dockerfile, &options, &examined);
    let mut lines = vec![format!("{:?} {:?}", outline.name, outline.description)];
    for one in outline.args {
        lines.push(format!("arg {} {:?} {:?} {}", one.name, one.value, one.description, one.lines.0));
    }
    for (kind, list) in [("secret", outline.secrets), ("ssh", outline.ssh)] {
        lines.extend(list.iter().map(|one| format!("{kind} {} {} {}", one.name, one.required, one.lines.0)));
    }
    assert_eq!(lines.join("\n"), expected, "{source}");
}

#[test]
fn an_outline_has_what_the_target_and_its_needs_take() {
    // B-162, D-016
    let source = "\
# VERSION Which base.
ARG VERSION=12
ARG SUFFIX=$VERSION-slim
ARG UNUSED=1
FROM debian:$SUFFIX AS base
# GIVEN Said outside.
ARG GIVEN=no
FROM base AS other
ARG OTHER
FROM base AS built
# Not described.
ARG MODE=fast
ENV MODE=slow
ARG TARGETARCH
ARG VERSION
RUN --mount=type=secret,id=a --mount=type=secret,id=b,required=true true
RUN --mount=type=secret,id=a,required=true --mount=type=ssh true
# app What ships.
FROM scratch AS app
COPY --from=built /a /b
";
    outlined(
        source,
        None,
        "Some(\"app\") Some(\"What ships.\")
arg VERSION Some(\"12\") Some(\"Which base.\") 2
arg SUFFIX Some(\"12-slim\") None 3
arg GIVEN Some(\"yes\") Some(\"Said outside.\") 7
arg MODE Some(\"fast\") None 12
secret a true 16
secret b true 16
ssh default false 17",
    );
    outlined(
        source,
        Some("OTHER"),
        "Some(\"other\") None
arg VERSION Some(\"12\") Some(\"Which base.\") 2
arg SUFFIX Some(\"12-slim\") None 3
arg GIVEN Some(\"yes\") Some(\"Said outside.\") 7
arg OTHER None None 9",
    );
    outlined("FROM scratch\n", None, "None None");
}

#[test]
fn targets_are_the_stages() {
    // B-163, D-016
    let source = "# Build Compiles.\nFROM --platform=$BUILDPLATFORM golang:1 AS Build\nFROM scratch\n";
    let found: Vec<String> = targets(&parse(source.as_bytes()).dockerfile)
        .into_iter()
        .map(|one| {
            let name = one.name.unwrap_or_default();
            let description = one.description.unwrap_or_default();
            let platform = one.platform.unwrap_or_default();
            format!("{name}|{description}|{}|{platform}|{}|{}", one.base, one.default, one.lines.0)
        })
        .collect();
    assert_eq!(found, ["build|Compiles.|golang:1|$BUILDPLATFORM|false|2", "||scratch||true|3"]);
}
