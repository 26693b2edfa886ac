//! Secrets: where they are seen, and that they are nowhere else.

use super::kit::{Kit, with_steps, with_steps_as_each_user};

const VALUE: &str = "s3cr3t-0123456789-value";

/// Nothing that castoff wrote or said has the value.
#[track_caller]
fn is_nowhere(kit: &Kit, said: &[&super::kit::Done]) {
    assert_eq!(kit.containing("store", VALUE.as_bytes()), Vec::<std::path::PathBuf>::new());
    for done in said {
        assert!(!done.stderr.contains(VALUE), "{}", done.stderr);
        assert!(!String::from_utf8_lossy(&done.stdout).contains(VALUE));
    }
}

// D-167, D-168, D-170, B-137, B-139
#[test]
fn secrets_are_seen_by_the_step_that_mounts_them_and_nobody_else() {
    with_steps_as_each_user(|kit| {
        kit.write("token", VALUE);
        let dockerfile = "FROM busybox\n\
            RUN --mount=type=secret,id=token test \"$(cat /run/secrets/token)\" = \"$(cat /etc/expected 2>/dev/null; cat /run/secrets/token)\" \
                && stat -c '%a %u:%g' /run/secrets/token > /seen && wc -c < /run/secrets/token >> /seen\n\
            RUN --mount=type=secret,id=token,target=/tok,mode=0444 --mount=type=secret,id=token,env=TOKEN \
                test \"$TOKEN\" = \"$(cat /tok)\" && echo ${#TOKEN} >> /seen; stat -c %a /tok >> /seen\n\
            RUN ls /run/secrets /tok >> /seen 2>&1; echo ${TOKEN-unset} >> /seen\n";
        let flags = ["--secret", "id=token,src=token", "-t", "secretive"];
        let done = kit.build(dockerfile, &flags).succeeds();
        let seen = kit.castoff(&["run", "secretive", "cat", "/seen"]).succeeds();
        let text = seen.text();
        assert!(text.starts_with("400 0:0\n23\n23\n444\n"), "{text}");
        assert!(text.contains("unset") && text.matches("No such file").count() == 2, "{text}");
        let saved = kit.castoff(&["save", "--format", "oci", "secretive"]).succeeds();
        is_nowhere(kit, &[&done, &saved]);
        // D-309: another value is the same step.
        kit.write("token", "another");
        assert_eq!(kit.build(dockerfile, &flags).succeeds().executed(), Vec::<&str>::new());
    });
}

// D-083, B-221: a step that shows its secret is covered.
#[test]
fn a_secret_that_a_step_prints_is_hidden() {
    with_steps(|kit| {
        kit.write("token", VALUE);
        let dockerfile = "FROM busybox\nRUN --mount=type=secret,id=token cat /run/secrets/token; echo; \
            for part in 1 2; do cat /run/secrets/token >&2; done; false\n";
        let done = kit.build(dockerfile, &["--secret", "id=token,src=token"]).fails();
        is_nowhere(kit, &[&done]);
        let done =
            kit.build(dockerfile, &["--secret", "id=token,src=token", "--progress", "rawjson"]).fails();
        is_nowhere(kit, &[&done]);
    });
}

// B-137, D-169
#[test]
fn secrets_come_from_files_and_variables() {
    with_steps(|kit| {
        kit.write("by-name", "of the file");
        let dockerfile = |id: &str| {
            format!("FROM busybox\nRUN --mount=type=secret,id={id},required cp /run/secrets/{id} /seen\n")
        };
        let seen = |id: &str, spec: &str| {
            kit.write("context/Dockerfile", dockerfile(id));
            let mut command = kit.command([
                "build",
                "--no-cache",
                "--prove=false",
                "--secret",
                spec,
                "-o",
                "type=tar,dest=-",
                "context",
            ]);
            command.env("VARIABLE", "of the variable").env("by-variable", "by variable's name");
            let done = super::kit::Done::of(command).succeeds();
            super::kit::Files::read(&done.stdout).text("seen").to_owned()
        };
        assert_eq!(seen("s", "id=s,env=VARIABLE"), "of the variable");
        assert_eq!(seen("s", "type=env,id=s,src=VARIABLE"), "of the variable");
        assert_eq!(seen("s", "id=s,src=by-name"), "of the file");
        assert_eq!(seen("by-name", "id=by-name"), "of the file");
        assert_eq!(seen("by-variable", "id=by-variable"), "by variable's name");
        kit.build(&dockerfile("s"), &["--secret", "id=s,src=absent"]).fails().says("absent");
        kit.build(&dockerfile("t"), &[]).fails().says("secret t: not found").says(">>> RUN");
        let optional = "FROM busybox\nRUN --mount=type=secret,id=s --mount=type=secret,id=s,env=S \
            test ! -e /run/secrets/s && echo \"${S-unset}\" > /seen\n";
        assert_eq!(kit.files(optional, &[]).text("seen"), "\n");
    });
}
