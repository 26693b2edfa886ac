use crate::build::build;

/// The error of a plan that ends because it becomes too large.
#[track_caller]
fn too_large(source: &str) {
    let errors = build(source).errors();
    assert!(errors.starts_with("the plan becomes too large here @"), "{}", &errors[..errors.len().min(200)]);
}

/// Twenty lines that make a variable of one MiB.
fn doubling(keyword: &str) -> String {
    let mut lines = format!("{keyword} a=x\n");
    for _ in 0..19 {
        lines.push_str(&format!("{keyword} a=$a$a\n"));
    }
    lines
}

#[test]
fn variables_are_not_repeated_without_limit() {
    let env = doubling("ENV");
    too_large(&format!("FROM a\n{env}{}", "RUN x\n".repeat(300)));
    too_large(&format!("FROM a\n{env}COPY {} /\n", "$a ".repeat(600)));
    too_large(&format!("FROM a\n{env}{}", "LABEL b=$a\n".repeat(600)));
    too_large(&format!("FROM a\n{}ENV {}\n", doubling("ARG"), "b=$a ".repeat(600)));
    let stages: String = (0..300).map(|number| format!("FROM s{number} AS s{}\n", number + 1)).collect();
    too_large(&format!("FROM a AS s0\n{env}{stages}"));
    let globals: String = (0..600).map(|number| format!("ARG b{number}=$a\n")).collect();
    too_large(&format!("{}{globals}FROM x\n", doubling("ARG")));
}

#[test]
fn ports_and_triggers_are_not_repeated_without_limit() {
    too_large(&format!("FROM a\n{}", "EXPOSE 0-65535\n".repeat(100)));
    let stages = "FROM base\n".repeat(400);
    let copies: String = (0..400).map(|number| format!("COPY --from={number} /a /b\n")).collect();
    let triggers = "ONBUILD RUN x\n".repeat(400);
    let errors = build(&format!("FROM a AS base\n{triggers}{stages}FROM x\n{copies}")).errors();
    assert!(errors.starts_with("more than 100000 triggers would run @"), "{errors}");
}

#[test]
fn names_and_messages_stay_short() {
    let env = doubling("ENV");
    let plan = build(&format!("FROM a\n{env}RUN echo $a$a$a\n")).plan();
    assert!(plan.graph.iter().all(|(_, vertex)| vertex.name.len() < 40_000));
    let errors = build(&format!("{}FROM $a!\n", doubling("ARG"))).errors();
    assert!(errors.starts_with("failed to parse stage name \"xxx") && errors.len() < 2000);
}

/// A path that the kernel would not take is refused where it becomes too long.
#[test]
fn a_working_directory_has_a_longest_path() {
    let errors = build(&format!("FROM a\n{}", "WORKDIR directory\n".repeat(500))).errors();
    assert_eq!(errors, "the working directory has more than 4095 bytes @411 `directory`\n");
}

#[test]
fn errors_of_one_file_are_not_reported_without_limit() {
    let errors = build(&"FROM A\n".repeat(3000)).run().0.expect_err("no stage is sound");
    assert_eq!(errors.len(), 1000);
}
