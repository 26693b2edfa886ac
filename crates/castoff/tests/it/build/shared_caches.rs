//! Caches that several machines share. A machine is a store of its own.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use super::kit::{Done, Kit, with_steps, with_steps_as_each_user};

const DOCKERFILE: &str = "FROM busybox AS build\n\
    ARG LEVEL=1\n\
    WORKDIR /work\n\
    COPY data .\n\
    RUN head -c 300000 /dev/urandom > /noise && cat data > /result\n\
    RUN echo $LEVEL >> /result\n\
    FROM scratch\n\
    COPY --from=build /result /\n";

const STEPS: [&str; 5] = [
    "COPY --from=build /result /",
    "COPY data .",
    "RUN echo 1 >> /result",
    "RUN head -c 300000 /dev/urandom > /noise && cat data > /result",
    "WORKDIR /work",
];

fn to(kit: &Kit, more: &str) -> String {
    format!("type=local,dest={}{more}", kit.path("cache").display())
}

fn from(kit: &Kit) -> String {
    format!("type=local,src={}", kit.path("cache").display())
}

/// Builds on a machine that fills the cache with everything.
fn filled(kit: &Kit) -> Done {
    kit.write("context/data", "one\n");
    let done = kit.build(DOCKERFILE, &["-t", "result", "--cache-to", &to(kit, ",mode=max")]).succeeds();
    assert_eq!(done.executed(), STEPS, "{}", done.stderr);
    done
}

/// Returns another machine with the same context.
fn machine(kit: &Kit) -> Kit {
    let other = kit.another();
    other.write("context/data", "one\n");
    other.own_all();
    other
}

fn keys(kit: &Kit) -> BTreeSet<String> {
    let names = fs::read_dir(kit.path("cache/castoff-keys/latest")).unwrap();
    names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Returns the blobs that are not JSON: the layers.
fn layers(kit: &Kit) -> Vec<PathBuf> {
    let blobs = fs::read_dir(kit.path("cache/blobs/sha256")).unwrap();
    let paths = blobs.map(|entry| entry.unwrap().path());
    paths.filter(|path| !fs::read(path).unwrap().starts_with(b"{")).collect()
}

/// Changes a byte in the middle of a file.
fn damage(path: &PathBuf) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    fs::write(path, bytes).unwrap();
}

// B-121, B-122, B-127
#[test]
fn a_second_machine_executes_nothing_and_gives_the_same_image() {
    with_steps_as_each_user(|kit| {
        filled(kit);
        let other = machine(kit);
        let done = other.build(DOCKERFILE, &["-t", "result", "--cache-from", &from(kit)]).succeeds();
        assert_eq!(done.executed(), Vec::<&str>::new(), "{}", done.stderr);
        assert_eq!(done.cached(), STEPS);
        assert_eq!(other.inspect("result")["Id"], kit.inspect("result")["Id"]);
        assert!(done.step(STEPS[2]).iter().any(|line| line.starts_with("found in the cache in ")));
        // What is known from there is known from here on: nothing is asked of the cache again.
        fs::remove_dir_all(kit.path("cache")).unwrap();
        let again = other.build(DOCKERFILE, &["-o", "type=tar,dest=out.tar"]).succeeds();
        assert_eq!(again.cached()[0], STEPS[0], "{}", again.stderr);
        assert!(!again.executed().contains(&STEPS[0]));
    });
}

// B-121: metadata first, and bytes only when they are needed.
#[test]
fn layers_that_nothing_needs_are_not_fetched() {
    with_steps(|kit| {
        filled(kit);
        // The layer with the noise is the only large one, and only a stage that is left behind has it.
        let large = layers(kit).into_iter().filter(|path| path.metadata().unwrap().len() > 200_000);
        let large: Vec<PathBuf> = large.collect();
        assert_eq!(large.len(), 1);
        damage(&large[0]);
        let other = machine(kit);
        let done = other.build(DOCKERFILE, &["-t", "result", "--cache-from", &from(kit)]).succeeds();
        assert_eq!(done.executed(), Vec::<&str>::new(), "{}", done.stderr);
        let done = done.never_says("goes on without");
        let said = done.step("importing cache");
        assert!(said[0].starts_with("5 steps found that took "), "{said:?}");
        assert!(!said[0].contains("kB fetched"), "{said:?}");
        // Now it is needed, and it is not what it should be: that step is executed.
        let changed = DOCKERFILE.replace("echo $LEVEL", "ls /noise");
        let done = other.build(&changed, &["-t", "result", "--cache-from", &from(kit)]).succeeds();
        assert_eq!(
            done.executed(),
            [
                "COPY --from=build /result /",
                "RUN head -c 300000 /dev/urandom > /noise && cat data > /result",
                "RUN ls /noise >> /result"
            ]
        );
        done.says("goes on without");
    });
}

// D-311
#[test]
fn an_edit_executes_what_it_must() {
    with_steps(|kit| {
        filled(kit);
        let other = machine(kit);
        let changed = DOCKERFILE.replace("echo $LEVEL", "echo 2");
        let done = other.build(&changed, &["-t", "result", "--cache-from", &from(kit)]).succeeds();
        assert_eq!(done.executed(), ["COPY --from=build /result /", "RUN echo 2 >> /result"]);
        other.write("context/data", "two\n");
        let done = other.build(DOCKERFILE, &["-t", "result", "--cache-from", &from(kit)]).succeeds();
        assert_eq!(done.cached(), ["WORKDIR /work"], "{}", done.stderr);
    });
}

// The steps that were done are worth keeping whatever comes after them.
#[test]
fn a_build_that_fails_has_exported_what_was_done() {
    with_steps(|kit| {
        kit.write("context/data", "one\n");
        let failing = format!("{}RUN false\n", DOCKERFILE.split("FROM scratch").next().unwrap());
        kit.build(&failing, &["--cache-to", &to(kit, ",mode=max")]).fails();
        let other = machine(kit);
        let done = other.build(DOCKERFILE, &["-t", "result", "--cache-from", &from(kit)]).succeeds();
        assert_eq!(done.executed(), ["COPY --from=build /result /"], "{}", done.stderr);
    });
}

// B-122
#[test]
fn the_least_mode_exports_the_layers_of_the_result() {
    with_steps(|kit| {
        kit.write("context/data", "one\n");
        kit.build(DOCKERFILE, &["--cache-to", &to(kit, "")]).succeeds();
        // One step under its two keys and its place.
        assert_eq!(keys(kit).len(), 3);
        assert_eq!(layers(kit).len(), 1);
        kit.build(DOCKERFILE, &["--cache-to", &to(kit, ",mode=max")]).succeeds();
        assert_eq!(keys(kit).len(), 11);
    });
}

// B-121: a cache that lies or is damaged is a miss.
#[test]
fn what_is_not_what_it_says_is_refused() {
    with_steps(|kit| {
        filled(kit);
        let build = |flags: &[&str]| {
            let other = machine(kit);
            other
                .build(DOCKERFILE, &[&["-t", "result", "--cache-from", &from(kit)], flags].concat())
                .succeeds()
        };
        let names: Vec<String> = keys(kit).into_iter().collect();
        let path = |name: &str| kit.path("cache/castoff-keys/latest").join(name);
        let contents: Vec<Vec<u8>> = names.iter().map(|name| fs::read(path(name)).unwrap()).collect();
        // Every key stands for the object of another.
        for (place, name) in names.iter().enumerate() {
            let other = (0..names.len()).map(|step| &contents[(place + 1 + step) % names.len()]);
            let other = other.into_iter().find(|content| **content != contents[place]).unwrap();
            fs::write(path(name), other).unwrap();
        }
        let done = build(&[]);
        assert_eq!(done.executed(), STEPS, "{}", done.stderr);
        done.says("is refused").says("it is of the key");
        // Keys that are no JSON, and that name what is not there.
        for (place, name) in names.iter().enumerate() {
            let text = String::from_utf8(contents[place].clone()).unwrap();
            let digest = text.split("sha256:").nth(1).unwrap()[..64].to_owned();
            let text = if place % 2 == 0 { "{".to_owned() } else { text.replace(&digest, &"0".repeat(64)) };
            fs::write(path(name), text).unwrap();
        }
        assert_eq!(build(&[]).executed(), STEPS);
        // Layers of which every one is damaged: what needs bytes is executed, and the rest is not.
        for (name, content) in names.iter().zip(&contents) {
            fs::write(path(name), content).unwrap();
        }
        layers(kit).iter().for_each(damage);
        let done = build(&[]).says("goes on without");
        assert!(done.executed().contains(&STEPS[0]), "{}", done.stderr);
        // Layers that are gone.
        layers(kit).iter().for_each(|path| fs::remove_file(path).unwrap());
        assert_eq!(build(&[]).executed(), STEPS);
        // An export mends what is missing.
        kit.build(DOCKERFILE, &["--cache-to", &to(kit, ",mode=max")]).succeeds();
        assert_eq!(build(&[]).executed(), Vec::<&str>::new());
    });
}

// B-121, B-122
#[test]
fn a_missing_import_is_a_warning_and_a_failing_export_an_error() {
    with_steps(|kit| {
        kit.write("context/data", "one\n");
        kit.write("file", "");
        kit.own_all();
        kit.build(DOCKERFILE, &["--cache-from", "type=local,src=nowhere"]).succeeds().says("cannot be read");
        kit.build(DOCKERFILE, &["--cache-to", "type=local,dest=file"]).fails().says("exporting a cache");
        let ignored = "type=local,dest=file,ignore-error=true";
        kit.build(DOCKERFILE, &["--cache-to", ignored]).succeeds().says("exporting a cache");
    });
}

// Several machines write into one directory.
#[test]
fn writers_do_not_disturb_each_other() {
    with_steps(|kit| {
        let machines: Vec<Kit> = (0..3).map(|_| machine(kit)).collect();
        let dockerfile = |number: usize| format!("{DOCKERFILE}LABEL n={number}\nCOPY data /{number}\n");
        let builds: Vec<_> = machines
            .iter()
            .enumerate()
            .map(|(number, machine)| {
                machine.write("context/Dockerfile", dockerfile(number));
                machine.command(["build", "--cache-to", &to(kit, ",mode=max"), "context"]).spawn().unwrap()
            })
            .collect();
        for build in builds {
            Done::wait(build).succeeds();
        }
        let other = machine(kit);
        for number in 0..3 {
            let done = other.build(&dockerfile(number), &["-t", "r", "--cache-from", &from(kit)]).succeeds();
            assert_eq!(done.executed(), Vec::<&str>::new(), "{}", done.stderr);
        }
        // What other programs see of it: an image layout with an index over all steps.
        let index: serde_json::Value = serde_json::from_str(&kit.read("cache/index.json")).unwrap();
        let entry = &index["manifests"][0];
        assert_eq!(entry["annotations"]["org.opencontainers.image.ref.name"], "latest");
        let digest = entry["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
        let steps: serde_json::Value =
            serde_json::from_str(&kit.read(&format!("cache/blobs/sha256/{digest}"))).unwrap();
        let listed = steps["manifests"].as_array().unwrap().iter().flat_map(|step| {
            step["annotations"]["dev.castoff.cache.keys"].as_str().unwrap().split(',').map(str::to_owned)
        });
        assert_eq!(listed.collect::<BTreeSet<_>>(), keys(kit));
    });
}

// B-127
#[test]
fn a_tag_a_digest_and_a_reset_choose_what_there_is() {
    with_steps(|kit| {
        filled(kit);
        let index: serde_json::Value = serde_json::from_str(&kit.read("cache/index.json")).unwrap();
        let digest = index["manifests"][0]["digest"].as_str().unwrap().to_owned();
        let executed = |more: &str| {
            let other = machine(kit);
            let from = format!("{}{more}", from(kit));
            let done = other.build(DOCKERFILE, &["-t", "result", "--cache-from", &from]).succeeds();
            done.executed().len()
        };
        assert_eq!(executed(",tag=other"), 5);
        assert_eq!(executed(&format!(",digest={digest}")), 0);
        // Only this build's steps stay, and the index that was pinned goes.
        let small = "FROM busybox\nCOPY data /small\n";
        kit.build(small, &["--cache-to", &to(kit, ",mode=max,reset=true")]).succeeds();
        assert_eq!(keys(kit).len(), 2);
        assert_eq!(layers(kit).len(), 1);
        // What is there already stays.
        kit.build(small, &["--cache-to", &to(kit, ",mode=max,reset=true")]).succeeds();
        assert_eq!(keys(kit).len(), 2);
        assert_eq!(executed(""), 5);
        assert_eq!(executed(&format!(",digest={digest}")), 5);
        let other = machine(kit);
        assert_eq!(
            other.build(small, &["--cache-from", &from(kit)]).succeeds().cached(),
            ["COPY data /small"]
        );
    });
}

// B-139, B-221
#[test]
fn no_secret_and_no_value_of_a_variable_is_in_a_cache() {
    with_steps(|kit| {
        kit.write("secret", "opensesame-secret");
        kit.own_all();
        let dockerfile = "FROM busybox\nARG WORD\n\
            RUN --mount=type=secret,id=s cat /run/secrets/s; test -n \"$WORD\"; echo done > /out\n";
        let cache = to(kit, ",mode=max,compression=uncompressed");
        let flags =
            ["--secret", "id=s,src=secret", "--build-arg", "WORD=opensesame-word", "--cache-to", &cache];
        kit.build(dockerfile, &flags).succeeds();
        assert_eq!(kit.containing("cache", b"done").len(), 2, "the layer and the step");
        assert_eq!(kit.containing("cache", b"opensesame"), Vec::<PathBuf>::new());
        // It is found by who knows the word, and by nobody else.
        let other = machine(kit);
        other.write("secret", "another");
        other.own_all();
        let from = from(kit);
        let same =
            ["--secret", "id=s,src=secret", "--build-arg", "WORD=opensesame-word", "--cache-from", &from];
        assert_eq!(other.build(dockerfile, &same).succeeds().executed(), Vec::<&str>::new());
        let none = ["--secret", "id=s,src=secret", "--build-arg", "WORD=other", "--cache-from", &from];
        assert_eq!(other.build(dockerfile, &none).succeeds().executed().len(), 1);
    });
}

// What a cache lacks of a chain, such as what is made sooner than sent, is made, and what is above is found.
#[test]
fn a_step_that_was_left_out_is_executed_and_those_above_are_found() {
    with_steps(|kit| {
        filled(kit);
        let json = |path: PathBuf| -> serde_json::Value {
            serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
        };
        let blob = |digest: &serde_json::Value| {
            json(kit.path("cache/blobs/sha256").join(digest.as_str().unwrap().trim_start_matches("sha256:")))
        };
        let mut removed = 0;
        for key in keys(kit) {
            let path = kit.path("cache/castoff-keys/latest").join(&key);
            let step = blob(&blob(&json(path.clone())["digest"])["config"]["digest"]);
            if step["recipe"]["op"] == "workdir" && step["key"] == format!("sha256:{key}") {
                fs::remove_file(path).unwrap();
                removed += 1;
            }
        }
        assert_eq!(removed, 1);
        let other = machine(kit);
        let done = other.build(DOCKERFILE, &["-t", "result", "--cache-from", &from(kit)]).succeeds();
        assert_eq!(done.executed(), ["WORKDIR /work"], "{}", done.stderr);
        assert_eq!(done.cached().len(), 4, "{}", done.stderr);
        done.says("cache miss");
    });
}

// A miss is explained by what other machines did in the same place.
#[test]
fn a_fresh_machine_says_what_changed() {
    with_steps(|kit| {
        filled(kit);
        let said = |data: &str, dockerfile: &str, flags: &[&str]| {
            let other = machine(kit);
            other.write("context/data", data);
            let from = from(kit);
            let flags = [&["-o", "type=cacheonly", "--cache-from", &from], flags].concat();
            other.build(dockerfile, &flags).succeeds()
        };
        let done = said("two\n", DOCKERFILE, &[]);
        assert!(done.step("COPY data .").contains(&"cache miss: file data changed"), "{}", done.stderr);
        done.says("cache miss: parent step changed: ");
        let changed = DOCKERFILE.replace("echo $LEVEL", "echo level $LEVEL");
        said("one\n", &changed, &[])
            .says("changed from `echo $LEVEL >> /result` to `echo level $LEVEL >> /result`");
        let done = said("one\n", DOCKERFILE, &["--build-arg", "LEVEL=2"]);
        let done = done.says("cache miss: the value of a variable changed");
        // The value of the other machine is nowhere.
        done.never_says("from `1`");
    });
}
