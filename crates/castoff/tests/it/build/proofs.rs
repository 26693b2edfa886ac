//! The secret proof: wherever a step leaves a secret, the build fails and gives nothing away.

use serde_json::Value;

use super::kit::{Done, Kit, below, with_steps, with_steps_as_each_user};

const VALUE: &str = "s3cr3t-0123456789-vAlUe/+x";
const MOUNT: &str = "--mount=type=secret,id=token";
const SECRET: [&str; 2] = ["--secret", "id=token,src=token"];

/// Nothing that castoff said has the value.
#[track_caller]
fn is_unsaid(done: &Done) {
    assert!(!done.stderr.contains(VALUE), "{}", done.stderr);
    assert!(!String::from_utf8_lossy(&done.stdout).contains(VALUE));
}

fn build(kit: &Kit, dockerfile: &str, more: &[&str]) -> Done {
    kit.write("token", format!("{VALUE}\n"));
    kit.own_all();
    let done = kit.build(dockerfile, &[&SECRET[..], more].concat());
    is_unsaid(&done);
    done
}

/// A RUN that has the secret in `$t`, and the form and path that are told of what it does.
const LEAKS: &[(&str, &str, &str)] = &[
    ("cp /run/secrets/token /leak", "plain", "/leak"),
    ("printf %s \"x$t\" > /leak", "plain", "/leak"),
    ("printf %s \"$t\" | base64 > /leak", "base64", "/leak"),
    ("printf %s \"a$t\" | base64 > /leak", "base64", "/leak"),
    ("printf %s \"ab$t\" | base64 > /leak", "base64", "/leak"),
    ("printf %s \"ab$t\" | base64 | tr /+ _- > /leak", "base64", "/leak"),
    ("printf %s \"$t\" | hexdump -v -e '1/1 \"%02x\"' > /leak", "hex", "/leak"),
    ("printf %s \"$t\" | hexdump -v -e '1/1 \"%02X\"' > /leak", "hex", "/leak"),
    ("printf %s \"$t\" | sed 's,/,%2F,g; s,+,%2B,g' > /leak", "url-escaped", "/leak"),
    ("printf %s \"$t\" | sed 's,/,\\\\/,g' > /leak", "json-escaped", "/leak"),
    ("printf %s \"$t\" | sed 's/./&\\n/g' | tr '\\n' '\\0' > /leak", "utf-16", "/leak"),
    ("printf %s \"$t\" | gzip > /leak.gz", "plain", "/leak.gz"),
    (
        "mkdir /d && cp /run/secrets/token /d/x && tar cf /d.tar /d && gzip < /d.tar > /leak.tar.gz && rm -r /d /d.tar",
        "plain",
        "/leak.tar.gz",
    ),
    ("ln -s \"$t\" /link", "plain", "/link"),
    ("mkdir -p \"/named/$t\"", "plain", "/named/*****"),
];

// D-170
#[test]
fn a_secret_that_a_step_leaves_is_found_in_every_form() {
    with_steps(|kit| {
        for (command, encoding, path) in LEAKS {
            let dockerfile = format!("FROM busybox\nRUN {MOUNT} t=$(cat /run/secrets/token) && {command}\n");
            let done = build(kit, &dockerfile, &["-t", "app"]).fails();
            done.says(&format!("secret `token` is in `{path}` ({encoding})"))
                .says("by [2/2] RUN")
                .says("(line 2)")
                .says("ERROR: failed to build: a secret is in what the build gives away");
            kit.castoff(&["inspect", "app"]).fails();
        }
    });
}

/// What a step does with a secret is its own business, as long as it leaves nothing.
#[test]
fn a_secret_that_is_only_used_is_proved() {
    with_steps_as_each_user(|kit| {
        let dockerfile = format!(
            "FROM busybox\nRUN --mount=type=cache,target=/cache {MOUNT} \
             sha256sum /run/secrets/token > /sum && cp /sum /cache/sum && cat /run/secrets/token\n"
        );
        let flags = ["-t", "app", "--metadata-file", "about.json"];
        let done = build(kit, &dockerfile, &flags).succeeds();
        let done = done.says("the secret `token` is not in ").says("config, history and 1 logs");
        done.says(", nor in 1 cache mounts");
        let about: Value = serde_json::from_str(&kit.read("about.json")).unwrap();
        let said = &about["castoff.secrets"];
        assert_eq!(said["secrets"], serde_json::json!(["token"]));
        assert_eq!(said["found"], serde_json::json!([]));
        assert_eq!((said["cacheMounts"].as_u64(), said["limits"]["depth"].as_u64()), (Some(1), Some(6)));
        assert!(said["layers"].as_u64() >= Some(1) && said["bytes"].as_u64() > Some(64), "{said}");
        let told = &about["buildx.build.provenance"]["runDetails"]["metadata"]["castoff_secrets"];
        assert_eq!((&told["secrets"], &told["layers"]), (&said["secrets"], &said["layers"]));
        let done = kit.castoff(&["prove", "app", "--secret", "id=token,src=token"]).succeeds();
        assert!(done.text().starts_with("app:\n the secret `token` is not in "), "{}", done.text());
    });
}

/// Also in a file that a later step deletes, which a layer below still has.
#[test]
fn deleted_files_and_other_stages() {
    with_steps(|kit| {
        let dockerfile = format!(
            "FROM busybox\nRUN {MOUNT} cp /run/secrets/token /root/.npmrc\nRUN true > /installed && rm /root/.npmrc\n"
        );
        let done = build(kit, &dockerfile, &["-t", "app"]).fails();
        done.says("secret `token` is in `/root/.npmrc` (plain)").says("(line 2)");
        // A stage that is left behind may have it.
        let dockerfile = format!(
            "FROM busybox AS deps\nRUN {MOUNT} cp /run/secrets/token /root/.npmrc && true > /installed\n\
             FROM busybox\nCOPY --from=deps /installed /\n"
        );
        build(kit, &dockerfile, &["-t", "app"]).succeeds();
        let dockerfile = dockerfile.replace("/installed /\n", "/root/.npmrc /etc/\n");
        build(kit, &dockerfile, &["-t", "app"]).fails().says("`/etc/.npmrc` (plain)").says("(line 4)");
        // It came by the context.
        kit.write("context/config.txt", format!("token={VALUE}\n"));
        let done = build(kit, "FROM scratch\nCOPY config.txt /\n", &["-o", "out"]).fails();
        done.says("secret `token` is in `/config.txt` (plain)");
        assert!(!kit.path("out").exists());
    });
}

#[test]
fn archives_in_one_another_are_opened() {
    with_steps(|kit| {
        let gz = gzip(VALUE.as_bytes());
        let mut inner = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(gz.len() as u64);
        header.set_mode(0o644);
        inner.append_data(&mut header, "inner/secret.gz", &gz[..]).unwrap();
        let tar_gz = gzip(&inner.into_inner().unwrap());
        kit.write("context/bundle.zip", stored_zip("data.tar.gz", &tar_gz));
        let done = build(kit, "FROM scratch\nCOPY bundle.zip /opt/\n", &["-t", "app"]).fails();
        done.says("secret `token` is in `/opt/bundle.zip!/data.tar.gz!/inner/secret.gz` (plain)");
    });
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut zipped = Vec::new();
    let options = castoff_layer::CompressOptions {
        compression: castoff_layer::Compression::Gzip,
        level: None,
        threads: 1,
    };
    castoff_layer::compress(&mut &content[..], &mut zipped, options).unwrap();
    zipped
}

/// A zip of one stored member, without the directory at its end.
fn stored_zip(name: &str, content: &[u8]) -> Vec<u8> {
    let size = (content.len() as u32).to_le_bytes();
    let mut bytes = b"PK\x03\x04\x14\0".to_vec();
    bytes.extend([0; 12]);
    bytes.extend([size, size].concat());
    bytes.extend((name.len() as u16).to_le_bytes());
    bytes.extend([0, 0]);
    bytes.extend(name.bytes());
    bytes.extend(content);
    bytes
}

// B-221: the config, the history, annotations and what a step printed.
#[test]
fn config_history_annotations_and_logs() {
    with_steps(|kit| {
        let check = |dockerfile: &str, more: &[&str], expected: &str| {
            build(kit, dockerfile, more).fails().says(expected);
        };
        let argument = format!("T={VALUE}");
        let given = ["--build-arg", &argument];
        check(
            "FROM busybox\nARG T\nENV X=$T\n",
            &given,
            "secret `token` is in the variable `X` of the config (plain)",
        );
        check("FROM busybox\nARG T\nLABEL l=$T\n", &given, "secret `token` is in the config (plain)");
        let done = build(kit, "FROM busybox\nARG T\nRUN true\n", &given).fails();
        done.says("secret `token` is in the history (plain)");
        let annotation = format!("a={VALUE}");
        check(
            "FROM busybox\nRUN true\n",
            &["--annotation", &annotation, "-t", "a"],
            "in an annotation (plain)",
        );
        let log = format!("FROM busybox\nRUN {MOUNT} base64 < /run/secrets/token\n");
        check(&log, &[], "secret `token` is in the log (base64)");
        // What leaked is not used again: the step is executed, and fails again.
        check(&log, &[], "secret `token` is in the log (base64)");
    });
}

/// A cache mount is part of no layer, but of this machine. What is there stays there, and is found again.
#[test]
fn cache_mounts() {
    with_steps_as_each_user(|kit| {
        let step = |command: &str| {
            format!(
                "FROM busybox\nRUN --mount=type=cache,target=/cache {MOUNT} {command} # {}\n",
                command.len()
            )
        };
        let leak = step("mkdir -p /cache/a && gzip < /run/secrets/token > /cache/a/token.gz");
        let expected = "secret `token` is in `/cache/a/token.gz` of a cache mount (plain)";
        build(kit, &leak, &[]).fails().says(expected).says("castoff prune --filter type=exec.cachemount");
        build(kit, &leak, &[]).fails().says(expected);
        build(kit, &step("ls -R /cache"), &[]).fails().says(expected);
        kit.castoff(&["prune", "--force", "--filter", "type=exec.cachemount"]).succeeds();
        build(kit, &step("ls -R /cache"), &[]).succeeds();
        // A step that fails has written, too.
        let fails = step("cp /run/secrets/token /cache/token; exit 3");
        build(kit, &fails, &[]).fails().says("secret `token` is in `/cache/token` of a cache mount (plain)");
    });
}

/// A step whose layer has a secret is in no shared cache, though it would be uploaded before the build ends.
#[test]
fn nothing_of_a_leak_gets_into_a_shared_cache() {
    with_steps(|kit| {
        let dockerfile = format!(
            "FROM busybox AS build\nRUN {MOUNT} head -c 100000 /dev/urandom > /noise && base64 /run/secrets/token > /leak\n\
             RUN true > /result\nFROM scratch\nCOPY --from=build /result /\n"
        );
        let cache =
            format!("type=local,dest={},mode=max,compression=uncompressed", kit.path("cache").display());
        for ignore in ["", ",ignore-error=true"] {
            let done =
                build(kit, &dockerfile, &["--cache-to", &format!("{cache}{ignore}"), "-t", "app"]).fails();
            done.says("secret `token` is in `/leak` (base64)").says("(line 2)");
            kit.castoff(&["inspect", "app"]).fails();
            let encoded = "czNjcjN0LTAxMjM0NTY3ODktdkFsVWUv";
            assert_eq!(kit.containing("cache", encoded.as_bytes()), Vec::<std::path::PathBuf>::new());
            let large = |path: &std::path::PathBuf| path.metadata().unwrap().len() > 100_000;
            assert!(!below(&kit.path("cache")).iter().any(large));
        }
        // Only what is in the result: the stage is left behind.
        let cache = format!("type=local,dest={}", kit.path("min").display());
        build(kit, &dockerfile, &["--cache-to", &cache, "-t", "app"]).succeeds();
    });
}

/// Without the secret, what was made with it and leaked is not there any more.
#[test]
fn a_leak_is_not_found_in_the_cache_by_a_build_without_the_secret() {
    with_steps(|kit| {
        let dockerfile = format!("FROM busybox\nRUN {MOUNT} cat /run/secrets/token > /leak; true\n");
        build(kit, &dockerfile, &["-t", "app"]).fails();
        let done = kit.build(&dockerfile, &["-t", "app"]).succeeds();
        assert_eq!(done.executed().len(), 1, "{}", done.stderr);
        kit.castoff(&["prove", "app", "--secret", "id=token,src=token"]).succeeds();
    });
}

#[test]
fn the_proof_can_be_left_out() {
    with_steps(|kit| {
        let dockerfile = format!("FROM busybox\nRUN {MOUNT} cp /run/secrets/token /leak\n");
        build(kit, &dockerfile, &["--prove=false", "-t", "app"]).succeeds().never_says("secret `token`");
        let done = kit.castoff(&["prove", "app", "--secret", "id=token,src=token"]).fails();
        assert!(done.text().contains(" - secret `token` is in `/leak` (plain)\n"), "{}", done.text());
        assert!(!done.text().contains(VALUE));
        let words = ["prove", "app", "--secret", "id=token,src=token", "--format", "json"];
        let said: Value = serde_json::from_str(kit.castoff(&words).fails().text()).unwrap();
        assert_eq!(said["found"][0]["place"], "`/leak`");
        assert_eq!(said["baseLayersNotRead"], 0);
        let spared = ["--secret", "id=token,src=token,prove=false"];
        kit.build(&dockerfile, &spared).succeeds();
        build(kit, &dockerfile, &["--prove=maybe"]).fails().says("maybe");
    });
}

#[test]
fn short_secrets_are_told_and_do_not_fail() {
    with_steps(|kit| {
        kit.write("pin", "1234\n");
        let dockerfile = "FROM busybox\nRUN --mount=type=secret,id=pin cp /run/secrets/pin /leak\n";
        let flags = ["--secret", "id=pin,src=pin", "--metadata-file", "about.json"];
        let done = kit.build(dockerfile, &flags).succeeds();
        done.says("the secret `pin` is too short or too plain to be looked for");
        let about: Value = serde_json::from_str(&kit.read("about.json")).unwrap();
        assert_eq!(about["castoff.secrets"]["tooShort"], serde_json::json!(["pin"]));
    });
}

/// The rule for files with more than a token in them (docs/secrets.md).
#[test]
fn the_token_of_a_file_is_a_secret_and_its_address_is_none() {
    with_steps(|kit| {
        let npmrc = "registry=https://npm.example.com/api/v4/projects/1234/packages/npm/\n\
                     //npm.example.com/:_authToken=x9Kq2pLm4Zt7Wv1RbN8sQ3Yd\n";
        kit.write("npmrc", npmrc);
        let flags = ["--secret", "id=npmrc,src=npmrc"];
        let line = |number: u32| {
            format!(
                "FROM busybox\nRUN --mount=type=secret,id=npmrc sed -n {number}p /run/secrets/npmrc > /root/.npmrc\n"
            )
        };
        kit.build(&line(1), &flags).succeeds();
        kit.build(&line(2), &flags)
            .fails()
            .says("secret `npmrc` is in `/root/.npmrc` (plain, what is in line 2 of it)");
    });
}

/// Private keys of `--ssh` are secrets, too.
#[test]
fn keys_of_ssh_agents_are_secrets() {
    with_steps(|kit| {
        let made =
            super::kit::tool("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", "key"], &kit.path(""));
        assert!(made.is_some(), "ssh-keygen is needed");
        kit.write("context/id", kit.read("key"));
        kit.own_all();
        let done = kit.build("FROM busybox\nCOPY id /root/.ssh/id\n", &["--ssh", "default=key"]).fails();
        done.says("secret `ssh:default` is in `/root/.ssh/id` (plain)");
    });
}

#[test]
fn tokens_are_warned_about_and_can_be_refused() {
    with_steps(|kit| {
        // Put together here, so that no scanner takes this file for a leak.
        let token = ["gh", "p_zQWBuTSOoRi4A9spHcVY5ncnsDkxkJ0mLq17"].concat();
        kit.write("context/settings", format!("token = {token}\n"));
        let dockerfile = "FROM busybox\nCOPY settings /etc/settings\n";
        let expected = "`/etc/settings` has a token of GitHub (github-token)";
        let done = kit.build(dockerfile, &["--prove", "-t", "app"]).succeeds();
        let done = done.says(expected).says("by [2/2] COPY settings /etc/settings (line 2)");
        assert!(!done.stderr.contains(&token));
        let done = kit.build(dockerfile, &["--require", "no-secrets", "-o", "out"]).fails();
        done.says(expected).says("--require no-secrets was given");
        assert!(!kit.path("out").exists());
        kit.build("FROM busybox\nRUN true\n", &["--require", "no-secrets"]).succeeds();
        let done = kit.castoff(&["prove", "app"]).succeeds();
        assert!(done.text().contains(expected), "{}", done.text());
    });
}
