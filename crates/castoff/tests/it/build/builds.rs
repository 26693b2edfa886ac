//! `castoff builds`, `log` and `why`: what is told of a build when it is over.

use serde_json::Value;

use super::kit::{Kit, with_steps, with_steps_as_each_user};

const DOCKERFILE: &str = "FROM busybox AS build\n\
    WORKDIR /work\n\
    COPY src/ .\n\
    RUN echo making; cat a > /made\n\
    FROM busybox AS other\n\
    RUN echo elsewhere\n\
    FROM scratch\n\
    COPY --from=build /made /\n";

fn prepared(kit: &Kit) {
    kit.write("context/src/a", "one\n");
    kit.write("context/src/b", "one\n");
    kit.write("context/unread", "one\n");
    kit.build(DOCKERFILE, &["-t", "app"]).succeeds();
}

/// Replaces what is another each time: times, keys, and blanks that align.
fn plain(text: &str) -> String {
    let word = |word: &str| {
        let bare = word.trim_end_matches([',', '.', ':', ')']);
        let rest = &word[bare.len()..];
        let is_hex = |text: &str| text.len() >= 12 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let is_time = bare
            .strip_suffix('s')
            .is_some_and(|number| number.contains('.') && number.parse::<f64>().is_ok());
        if is_hex(bare.strip_prefix("sha256:").unwrap_or(bare)) {
            format!("KEY{rest}")
        } else if is_time {
            format!("TIME{rest}")
        } else {
            word.to_owned()
        }
    };
    let line = |line: &str| {
        let indented = if line.starts_with("  ") { "  " } else { "" };
        let words: Vec<String> = line.split_whitespace().map(word).collect();
        format!("{indented}{}", words.join(" "))
    };
    let text: Vec<String> = text.lines().map(line).collect();
    let mut text = text.join("\n");
    for unit in ["second", "seconds", "minute"] {
        for number in 0..60 {
            text = text.replace(&format!(" {number} {unit} ago"), " AGO");
        }
    }
    text
}

#[track_caller]
fn check(kit: &Kit, words: &[&str], expected: &str) {
    let done = kit.castoff(words).succeeds();
    assert_eq!(plain(done.text()), expected.trim_end(), "{words:?}");
}

fn json(kit: &Kit, words: &[&str]) -> Value {
    let done = kit.castoff(&[words, &["--format", "json"]].concat()).succeeds();
    serde_json::from_slice(&done.stdout).unwrap()
}

/// Returns the number that progress showed for a step.
#[track_caller]
fn number(stderr: &str, name: &str) -> String {
    let line = stderr.lines().find(|line| line.starts_with('#') && line.ends_with(name));
    line.unwrap_or_else(|| panic!("no `{name}` in {stderr}")).split(' ').next().unwrap().to_owned()
}

// B-152
#[test]
fn a_step_that_ran_says_what_was_different() {
    with_steps(|kit| {
        prepared(kit);
        kit.write("context/src/a", "two\n");
        let done = kit.build(DOCKERFILE, &["-t", "app"]).succeeds();
        let copy = number(&done.stderr, "COPY src/ .");
        let run = number(&done.stderr, "RUN echo making; cat a > /made");
        let last = number(&done.stderr, "COPY --from=build /made /");
        check(
            kit,
            &["why", &copy],
            &format!(
                "{copy} [build 3/4] COPY src/ . (line 3)\n\
                 It ran in TIME, because file src/a changed.\n  \
                 file src/a: KEY -> KEY\n\
                 Compared with the result KEY, made AGO in TIME on this machine.\n\
                 When it runs again, so do:\n  \
                 {run} [build 4/4] RUN echo making; cat a > /made (line 4)\n\
                 And if what those make becomes different:\n  \
                 {last} [stage-2 1/1] COPY --from=build /made / (line 8)\n"
            ),
        );
        check(
            kit,
            &["why", "build 4/4"],
            &format!(
                "{run} [build 4/4] RUN echo making; cat a > /made (line 4)\n\
                 It ran in TIME, because parent step changed: [build 3/4] COPY src/ .\n  \
                 parent step: [build 3/4] COPY src/ .\n\
                 Compared with the result KEY, made AGO in TIME on this machine.\n\
                 It began with {copy} [build 3/4] COPY src/ . (line 3): file src/a changed.\n\
                 When it runs again, so do:\n"
            )
            .replace("When it runs again, so do:\n", &format!(
                "And if what those make becomes different:\n  {last} [stage-2 1/1] COPY --from=build /made / (line 8)\n"
            )),
        );
        let told = json(kit, &["why", &copy]);
        assert_eq!(told["step"]["verdict"], "executed");
        let change = &told["step"]["reason"]["changes"][0];
        assert_eq!((change["kind"].as_str(), change["name"].as_str()), (Some("file"), Some("src/a")));
        assert_ne!(change["before"], change["after"]);
        // A step is also known by its key.
        let key = told["step"]["key"].as_str().unwrap().to_owned();
        assert_eq!(json(kit, &["why", &key[..16]]), told);
        // The mode of a file counts, and is told.
        let tool = kit.path("context/src/b");
        std::fs::set_permissions(&tool, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        kit.build(DOCKERFILE, &[]).succeeds();
        let mode = json(kit, &["why", "build 3/4"]);
        let change = &mode["step"]["reason"]["changes"][0];
        assert_eq!(mode["step"]["reason"]["text"], "the mode 644 of file src/b became 755");
        assert_eq!(
            (change["before"].as_str(), change["after"].as_str()),
            (Some("mode 644"), Some("mode 755"))
        );
    });
}

// B-152, D-303
#[test]
fn a_cached_step_says_when_it_was_made_and_its_log_is_replayed() {
    with_steps_as_each_user(|kit| {
        prepared(kit);
        check(kit, &["log", "cat a"], "making\n");
        let done = kit.build(DOCKERFILE, &["-t", "app"]).succeeds();
        let run = number(&done.stderr, "RUN echo making; cat a > /made");
        let why = plain(kit.castoff(&["why", &run]).succeeds().text());
        assert!(
            why.contains("It did not run: its result was in the store, made AGO in TIME on this machine."),
            "{why}"
        );
        check(kit, &["log", &run], "making\n");
        let told = json(kit, &["log", &run]);
        assert_eq!((told["log"].as_str(), told["bytes"].as_u64()), (Some("making\n"), Some(7)));
        kit.castoff(&["log", "WORKDIR"]).succeeds().says("it printed nothing");
        kit.castoff(&["log", "#99"]).fails().says("no step `#99` in that build");
        kit.castoff(&["log", "COPY"]).fails().says("`COPY` means several steps:\n  #");
    });
}

#[test]
fn a_failure_leaves_its_log_and_a_record() {
    with_steps(|kit| {
        let lines = "for i in $(cat /etc/passwd /etc/group); do echo line $i; done; echo at the end";
        let done = kit.build(&format!("FROM busybox\nRUN {lines}; exit 7\nRUN true\n"), &[]).fails();
        let run = number(&done.stderr, "exit 7");
        let log = kit.castoff(&["log", &run]).succeeds();
        assert!(log.text().starts_with("line root:x:0:0:root:/root:/bin/sh\n"), "{}", log.text());
        assert!(log.text().ends_with("at the end\n"));
        let why = plain(kit.castoff(&["why", &run]).succeeds().text());
        assert!(why.contains("It ran and failed after TIME"), "{why}");
        assert!(why.contains("exit code: 7") && why.contains(&format!("castoff log '{run}'")), "{why}");
        let told = json(kit, &["builds", "@last"]);
        assert_eq!((told["outcome"].as_str(), told["images"].as_array().unwrap().len()), (Some("failed"), 0));
        let verdicts: Vec<&str> = told["steps"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|step| step["action"]["kind"] == "run")
            .map(|step| step["verdict"].as_str().unwrap())
            .collect();
        assert_eq!(verdicts, ["failed", "not reached"]);
        let never = kit.castoff(&["why", "RUN true"]).succeeds();
        assert!(never.text().contains("It never began"), "{}", never.text());
        // A mistake in the Dockerfile is no build.
        let before = json(kit, &["builds"]).as_array().unwrap().len();
        kit.build("FROM busybox\nRUM x\n", &[]).fails();
        assert_eq!(json(kit, &["builds"]).as_array().unwrap().len(), before);
    });
}

#[test]
fn a_file_says_which_steps_read_it() {
    with_steps(|kit| {
        prepared(kit);
        let copy = "[build 3/4] COPY src/ . (line 3)";
        let text = |words: &[&str]| plain(kit.castoff(words).succeeds().text());
        let told = text(&["why", "src/a"]);
        assert!(told.starts_with("src/a is read by:\n  #"), "{told}");
        assert!(
            told.contains(copy)
                && told.contains("A change of it also runs:\n")
                && told.contains("RUN echo making"),
            "{told}"
        );
        assert!(!told.contains("elsewhere") && !told.contains("WORKDIR"), "{told}");
        assert!(told.ends_with("It is as it was in that build."), "{told}");
        // From where the user is.
        assert_eq!(text(&["why", "context/src/a"]), told);
        kit.write("context/src/a", "two\n");
        assert!(text(&["why", "src/a"]).ends_with("It has changed since: the next build runs these steps."));
        let unread = text(&["why", "unread"]);
        assert!(unread.starts_with("No step of that build reads unread.\n"), "{unread}");
        // A link is in no list of files; what the sources name decides.
        std::os::unix::fs::symlink("a", kit.path("context/src/link")).unwrap();
        let link = text(&["why", "src/link"]);
        assert!(link.starts_with("src/link is read by:\n  #") && link.contains(copy), "{link}");
        let told = json(kit, &["why", "--file", "src/b"]);
        assert_eq!((told["changed"].as_bool(), told["readers"].as_array().unwrap().len()), (Some(false), 1));
        kit.castoff(&["why", "nothing of this name"]).fails().says("no step `nothing of this name`");
    });
}

#[test]
fn builds_are_listed_the_newest_first() {
    with_steps(|kit| {
        kit.castoff(&["log", "x"]).fails().says("no build is remembered");
        prepared(kit);
        kit.build("FROM busybox\nRUN echo second\n", &["-t", "second"]).succeeds();
        let list = json(kit, &["builds"]);
        let names: Vec<&str> =
            list.as_array().unwrap().iter().map(|build| build["names"][0].as_str().unwrap()).collect();
        assert_eq!(names, ["second:latest", "app:latest"]);
        let table = kit.castoff(&["builds"]).succeeds();
        let lines: Vec<&str> = table.text().lines().collect();
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(
            lines[0].starts_with("BUILD")
                && lines[1].ends_with("second:latest")
                && lines[2].ends_with("app:latest")
        );
        let first = list[1]["build"].as_str().unwrap();
        check(kit, &["log", "--build", first, "cat a"], "making\n");
        kit.castoff(&["log", "--build", "ffffff", "x"]).fails().says("no build `ffffff` is remembered");
        // What progress counted is what the record has.
        let steps = json(kit, &["builds", "@last"]);
        let run = steps["steps"]
            .as_array()
            .unwrap()
            .iter()
            .find(|step| step["name"].as_str().unwrap().contains("second"));
        assert_eq!(run.unwrap()["lines"], serde_json::json!([2, 2]));
        assert_eq!(steps["images"][0]["config"].as_str(), kit.inspect("second")["Id"].as_str());
        // Pruning keeps the record of what a name keeps.
        kit.castoff(&["prune", "--force"]).succeeds();
        assert_eq!(json(kit, &["builds"]).as_array().unwrap().len(), 2);
        kit.castoff(&["rmi", "app"]).succeeds();
        kit.castoff(&["prune", "--force"]).succeeds();
        assert_eq!(json(kit, &["builds"]).as_array().unwrap().len(), 1);
    });
}

// B-121
#[test]
fn a_step_from_a_shared_cache_says_so() {
    with_steps(|kit| {
        kit.write("context/src/a", "one\n");
        kit.write("context/src/b", "one\n");
        let to = format!("type=local,dest={},mode=max", kit.path("cache").display());
        kit.build(DOCKERFILE, &["--cache-to", &to]).succeeds();
        let fresh = kit.another();
        fresh.write("context/src/a", "one\n");
        fresh.write("context/src/b", "one\n");
        let from = format!("type=local,src={}", kit.path("cache").display());
        fresh.build(DOCKERFILE, &["--cache-from", &from]).succeeds();
        let why = plain(fresh.castoff(&["why", "build 4/4"]).succeeds().text());
        assert!(why.contains("It did not run: its result was in "), "{why}");
        assert!(why.contains("made AGO in TIME by the machine that put it into "), "{why}");
        fresh.castoff(&["log", "build 4/4"]).fails().says("was executed elsewhere");
        // The next build has it from its own store, and still knows where it came from.
        fresh.build(DOCKERFILE, &[]).succeeds();
        let why = plain(fresh.castoff(&["why", "build 4/4"]).succeeds().text());
        assert!(why.contains("in the store, made AGO in TIME by the machine that put it into "), "{why}");
    });
}
