//! `castoff verify`: steps done again, and what they do not leave as they did.

use std::fs;

use serde_json::Value;

use super::kit::{Done, Kit, below, with_steps, with_steps_as_each_user};

const CHANGING: &str = "FROM busybox AS made\n\
    RUN head -c 16 /dev/urandom > /r; echo same > /s\n\
    FROM busybox\n\
    COPY file /copied\n\
    RUN --mount=type=cache,target=/c echo x >> /c/n; cp /c/n /n\n\
    RUN echo 1 > /t; chmod 600 /t\n\
    COPY --from=made /r /s /\n\
    RUN date +%s > /f; rm /s; head -c 16 /dev/urandom > /n\n";

const STEADY: &str = "FROM busybox AS made\n\
    RUN mkdir /out; echo one > /out/a; ln -s a /out/b\n\
    FROM busybox\n\
    WORKDIR /w\n\
    COPY file .\n\
    COPY --from=made /out /w/out\n\
    RUN echo two > /two; rm out/b\n";

/// Replaces what is another each time.
fn plain(text: &str) -> String {
    let line = |line: &str| match line.split_once("from byte ") {
        Some((before, after)) => {
            format!("{before}from byte N{}", after.trim_start_matches(|digit: char| digit.is_ascii_digit()))
        }
        None => line.to_owned(),
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[track_caller]
fn ends(done: Done, code: i32) -> Done {
    assert_eq!(done.code, Some(code), "{}{}", done.text(), done.stderr);
    done
}

/// Everything that a later build could find, by name.
fn results(kit: &Kit) -> Vec<String> {
    let mut names: Vec<String> = ["records", "slots", "tags", "layers", "builds"]
        .iter()
        .flat_map(|part| below(&kit.path(&format!("store/{part}"))))
        .map(|path| {
            let content = if path.is_file() { fs::read(&path).unwrap_or_default().len() } else { 0 };
            format!("{} {content}", path.display())
        })
        .collect();
    names.sort();
    names
}

// B-172: what is not reproducible is told with the step that made it so, and by no step that only reads it.
#[test]
fn a_step_that_does_not_give_the_same_again_is_told_with_its_files() {
    with_steps_as_each_user(|kit| {
        kit.write("context/file", "x");
        kit.own_all();
        kit.build(CHANGING, &["-q", "-t", "app"]).succeeds();
        let before = results(kit);
        let done = ends(kit.castoff(&["verify", "--times=false", "app"]), 1);
        let expected = "\
[made 2/2] RUN head -c 16 /dev/urandom > /r; echo same > /s  (Dockerfile:2)
  ~ /r  content from byte N

[stage-1 3/6] RUN --mount=type=cache,target=/c echo x >> /c/n; cp /c/n /n  (Dockerfile:5)
  ~ /n  size 2 -> 4, content from byte N (the image has another one, or none)
  hint: the step has a cache mount at `/c`, and what is in it may be another thing each time

[stage-1 6/6] RUN date +%s > /f; rm /s; head -c 16 /dev/urandom > /n  (Dockerfile:8)
  ~ /n  content from byte N

3 of 6 steps did not give the same again, times aside
app is not reproducible";
        // Two seconds may be the same one.
        let text = plain(done.text()).replace("  ~ /f  content from byte N\n", "");
        assert_eq!(text, expected);
        // Nothing is replaced, and nothing is left of what was done again.
        assert_eq!(results(kit), before);
        let again = kit.build(CHANGING, &["--progress", "plain", "-t", "app"]).succeeds();
        assert_eq!(again.executed(), Vec::<&str>::new());
    });
}

// B-170, B-174
#[test]
fn what_gives_the_same_again_is_reproducible() {
    with_steps_as_each_user(|kit| {
        kit.write("context/file", "x");
        kit.own_all();
        kit.build(STEADY, &["-q", "--timestamp", "1000000000", "-t", "app"]).succeeds();
        let done = ends(kit.castoff(&["verify", "app"]), 0);
        assert_eq!(done.text(), "5 steps gave the same again\napp is reproducible\n");
        // The same by an id, as JSON.
        let id = kit.inspect("app")["Id"].as_str().unwrap().to_owned();
        let done = ends(kit.castoff(&["verify", "--format", "json", &id]), 0);
        let value: Value = serde_json::from_slice(&done.stdout).unwrap();
        assert_eq!(value["reproducible"], true);
        assert_eq!(value["imageSaysWhen"], false);
        assert_eq!(value["builds"][0]["steps"].as_array().unwrap().len(), 5);
        assert_eq!(value["builds"][0]["steps"][0]["outcome"], "same");
    });
}

// B-172, B-174: without an epoch, an image says when it was built.
#[test]
fn times_count_unless_they_are_left_aside() {
    with_steps(|kit| {
        let dockerfile = "FROM busybox\n\
            RUN --mount=type=cache,target=/c echo x >> /c/n; touch -d @7 /tmp/f; touch -d @$(wc -l < /c/n) /h\n";
        kit.build(dockerfile, &["-q", "-t", "app"]).succeeds();
        ends(kit.castoff(&["verify", "--times=false", "app"]), 0);
        let done = ends(kit.castoff(&["verify", "--format", "json", "app"]), 1);
        let value: Value = serde_json::from_slice(&done.stdout).unwrap();
        assert_eq!(value["imageSaysWhen"], true);
        let done = kit.castoff(&["verify", "app"]);
        assert!(
            done.text().contains("the image says when it was built: SOURCE_DATE_EPOCH"),
            "{}",
            done.text()
        );
    });
}

#[test]
fn a_build_that_cannot_be_repeated_says_why() {
    with_steps(|kit| {
        kit.write("context/file", "one");
        kit.write("token", "secret-value-1");
        let dockerfile =
            "FROM busybox\nCOPY file /f\nRUN --mount=type=secret,id=t wc -c < /run/secrets/t > /n\n";
        let secret = ["--secret", "id=t,src=token"];
        kit.build(dockerfile, &[&["-q", "-t", "app"], &secret[..]].concat()).succeeds();
        let verify = |more: &[&str]| kit.castoff(&[&["verify", "--times=false", "app"], more].concat());
        ends(verify(&[]), 2).says("was given the secret `t`: give it again with `--secret id=t,...`");
        ends(verify(&secret), 0);
        // No value is remembered.
        assert_eq!(kit.containing("store/builds", b"secret-value-1"), Vec::<std::path::PathBuf>::new());
        kit.write("context/file", "two");
        ends(verify(&secret), 2).says("`[2/3] COPY file /f` is not what it was: file file changed");
        kit.write("context/file", "one");
        kit.write("context/Dockerfile", "FROM busybox\nCOPY file /other\nRUN true\n");
        ends(verify(&secret), 2).says("it would be another build now: the step `[2/3] COPY file /f` is");
        kit.write("context/Dockerfile", dockerfile);
        ends(verify(&secret), 0);
        // Another image of the name of the base.
        kit.build("FROM scratch\nCOPY file /\n", &["-q", "-t", "busybox"]).succeeds();
        kit.write("context/Dockerfile", dockerfile);
        ends(verify(&secret), 2).says("the image `busybox").says("castoff.lock pins it");
        fs::remove_dir_all(kit.path("context")).unwrap();
        ends(verify(&secret), 2).says("context");
        ends(kit.castoff(&["verify", "nothing"]), 2).says("there is no image `nothing`");
    });
}

#[test]
fn what_came_from_standard_input_or_from_elsewhere_is_not_guessed() {
    let kit = Kit::new();
    kit.castoff_reading(&["build", "-q", "-t", "app", "-"], b"FROM busybox\nWORKDIR /x\n").succeeds();
    ends(kit.castoff(&["verify", "app"]), 2).says("its context came from standard input");
    ends(kit.castoff(&["verify", "busybox"]), 2).says("only what was built here can be built again");
    for (words, text) in [
        (&["verify", "--cache=0%"][..], "is not a part in percent"),
        (&["verify", "--cache=10%", "--times=perhaps"], "perhaps"),
        (&["verify", "--platform", "plan9/vax", "app"], "plan9"),
    ] {
        ends(kit.castoff(words), 2).says(text);
    }
}

#[test]
fn an_audit_finds_a_cached_result_that_its_step_does_not_give() {
    with_steps(|kit| {
        kit.write("context/file", "x");
        kit.build(STEADY, &["-q", "-t", "app"]).succeeds();
        kit.build("FROM busybox\nRUN echo other > /o\n", &["-q", "-t", "other"]).succeeds();
        // Its Dockerfile is not there any more.
        kit.write("context/Dockerfile", STEADY);
        let done = ends(kit.castoff(&["verify", "--cache=100%", "--seed", "7"]), 0);
        assert!(done.text().contains(" is left out: it would be another build now"), "{}", done.text());
        assert!(
            done.text()
                .ends_with("5 steps gave the same again, times aside\n--seed 7 chooses the same steps\n"),
            "{}",
            done.text()
        );
        let chosen = |seed: &str| {
            let words = ["verify", "--cache=30%", "--seed", seed, "--format", "json", "app"];
            let done = ends(kit.castoff(&words), 0);
            let value: Value = serde_json::from_slice(&done.stdout).unwrap();
            let steps = value["builds"][0]["steps"].as_array().unwrap().clone();
            steps.iter().map(|step| step["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(chosen("1").len(), 2);
        assert_eq!(chosen("1"), chosen("1"));
        let layers = below(&kit.path("store/layers"));
        let tampered = layers.iter().find(|path| path.ends_with("fs/two")).unwrap();
        fs::write(tampered, "2wo\n").unwrap();
        let done = ends(kit.castoff(&["verify", "--cache=100%", "app"]), 1);
        assert!(done.text().contains("RUN echo two > /two; rm out/b"), "{}", done.text());
        assert!(done.text().contains("~ /two  content from byte 0\n"), "{}", done.text());
        assert!(done.text().contains("1 of 5 steps did not give the same again"), "{}", done.text());
    });
}
