//! `castoff diff` and `castoff explain`: what is told of images.

use serde_json::Value;

use super::kit::{Kit, with_steps, with_steps_as_each_user};

const DOCKERFILE: &str = "FROM busybox AS build\n\
    WORKDIR /work\n\
    COPY src/ .\n\
    RUN mkdir /out && cat a > /out/made && head -c 400000 /dev/zero > /out/big\n\
    FROM busybox AS mid\n\
    COPY --from=build /out /mid/\n\
    FROM scratch\n\
    COPY --from=mid /mid/ /app/\n\
    COPY --chmod=600 src/*.txt note /etc/\n\
    COPY <<hello /hello\n\
    hi\n\
    hello\n";

fn prepared(kit: &Kit) {
    kit.write("context/src/a", "one\n");
    kit.write("context/src/t.txt", "text\n");
    kit.write("context/note", "note\n");
    kit.build(DOCKERFILE, &["-t", "app"]).succeeds();
}

fn json(kit: &Kit, words: &[&str]) -> Value {
    let done = kit.castoff(&[words, &["--format", "json"]].concat()).succeeds();
    serde_json::from_slice(&done.stdout).unwrap()
}

/// Returns the instruction of a step of the last build.
fn instruction(kit: &Kit, step: &Value) -> String {
    let steps = json(kit, &["builds", "@last"]);
    steps["steps"][step.as_u64().unwrap() as usize]["name"].as_str().unwrap().to_owned()
}

// D-193, D-199, D-200, D-201, D-203
#[test]
fn every_file_is_followed_to_what_made_it() {
    with_steps_as_each_user(|kit| {
        prepared(kit);
        let told = json(kit, &["explain", "--files", "app"]);
        let files = told["files"].as_array().unwrap();
        let shown: Vec<String> = files
            .iter()
            .map(|file| {
                let origin = &file["origin"];
                let through = origin["through"].as_array().unwrap().iter();
                let through: Vec<String> = through.map(|hop| instruction(kit, &hop["step"])).collect();
                let by = match origin["step"].is_null() {
                    true => String::new(),
                    false => instruction(kit, &origin["step"]),
                };
                let of = |value: &Value| value.as_str().unwrap().to_owned();
                format!(
                    "{} = {} {} {by} < {}",
                    of(&file["path"]),
                    of(&origin["kind"]),
                    of(&origin["path"]),
                    through.join(" < ")
                )
            })
            .collect();
        let run = "[build 4/4] RUN mkdir /out && cat a > /out/made && head -c 400000 /dev/zero > /out/big";
        let hops = "[stage-2 1/3] COPY --from=mid /mid/ /app/ < [mid 2/2] COPY --from=build /out /mid/";
        assert_eq!(
            shown,
            [
                format!("/app/big = step out/big {run} < {hops}"),
                format!("/app/made = step out/made {run} < {hops}"),
                "/etc/note = context note  < [stage-2 2/3] COPY --chmod=600 src/*.txt note /etc/".to_owned(),
                "/etc/t.txt = context src/t.txt  < [stage-2 2/3] COPY --chmod=600 src/*.txt note /etc/"
                    .to_owned(),
                "/hello = dockerfile hello  < [stage-2 3/3] COPY <<hello /hello".to_owned(),
            ]
        );
        let stages = told["stages"].as_array().unwrap();
        let names: Vec<&str> = stages.iter().map(|stage| stage["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["build", "mid", "stage-2"]);
        assert_eq!(stages[2]["shipped"], true);
        assert!(told["castOff"].as_u64().unwrap() > 800_000, "{told:#}");
        assert_eq!(told["fileCount"], 5);
        // The same of a build of which everything was cached.
        kit.build(DOCKERFILE, &["-t", "app"]).succeeds();
        let again = json(kit, &["explain", "--files", "app"]);
        assert_eq!(again["files"], told["files"]);
        let path = kit.castoff(&["explain", "app", "/app/made"]).succeeds();
        assert_eq!(
            path.text(),
            "/app/made\n\
             added by line 8 ([stage-2 1/3] COPY --from=mid /mid/ /app/): 4B, mode 644, owner 0:0\n\
             It comes from /out/made of [build 4/4] RUN mkdir /out && cat a > /out/made && head -c 4... (line 4).\n  \
             [mid 2/2] COPY --from=build /out /mid/ (line 6) put it to /mid/made.\n  \
             [stage-2 1/3] COPY --from=mid /mid/ /app/ (line 8) put it to /app/made.\n"
        );
        kit.castoff(&["explain", "app", "/nothing"]).fails().says("`/nothing` is in no layer");
    });
}

#[test]
fn what_is_there_in_vain_is_named_with_the_line_to_change() {
    with_steps(|kit| {
        kit.write("context/data", vec![b'x'; 300_000]);
        let dockerfile = "FROM busybox\n\
            COPY data /data\n\
            RUN head -c 200000 /dev/zero > /scrap\n\
            RUN rm /scrap && chown app /data\n\
            RUN mkdir -p /root/.cache/pip && head -c 150000 /dev/zero > /root/.cache/pip/x\n";
        kit.build(dockerfile, &["-t", "vain"]).succeeds();
        let told = json(kit, &["explain", "vain"]);
        let lost: Vec<(u64, bool, &str)> = told["lost"]
            .as_array()
            .unwrap()
            .iter()
            .map(|lost| {
                let advice = lost["advice"].as_str().unwrap();
                (lost["bytes"].as_u64().unwrap(), lost["removed"].as_bool().unwrap(), advice)
            })
            .collect();
        assert_eq!(
            lost,
            [
                (300_000, false, "If only owner or mode changes: use --chown or --chmod in line 2 instead."),
                (200_000, true, "Do both in one RUN: join line 4 to line 3."),
            ]
        );
        assert_eq!(told["inVain"], 500_000);
        assert_eq!(told["caches"][0]["directory"], "/root/.cache/pip");
        let sums: Vec<[u64; 4]> = told["instructions"]
            .as_array()
            .unwrap()
            .iter()
            .skip(1)
            .map(|row| ["added", "replaced", "removed", "inVain"].map(|name| row[name].as_u64().unwrap()))
            .collect();
        assert_eq!(
            sums,
            [
                [300_000, 0, 0, 300_000],
                [200_000, 0, 0, 200_000],
                [300_000, 300_000, 200_000, 0],
                [150_000, 0, 0, 0],
            ]
        );
        let text = kit.castoff(&["explain", "vain"]).succeeds();
        let vain = text.text().split("\nIn vain:\n").nth(1).unwrap();
        assert_eq!(
            vain,
            "- 300kB: line 4 ([4/5] RUN rm /scrap && chown app /data) replaces /data, which line 2 ([2/5] COPY data /data) added.\n  \
             If only owner or mode changes: use --chown or --chmod in line 2 instead.\n\
             - 200kB: line 4 ([4/5] RUN rm /scrap && chown app /data) removes /scrap, which line 3 ([3/5] RUN head -c 200000 /dev/zero > /scrap) added.\n  \
             Do both in one RUN: join line 4 to line 3.\n\
             - 150kB: cache of pip in /root/.cache/pip, left by line 5 ([5/5] RUN mkdir -p /root/.cache/pip && head -c 150000 /dev/z...).\n  \
             In line 5: --mount=type=cache,target=/root/.cache/pip keeps it out, and it stays for the next build.\n"
        );
        let story = kit.castoff(&["explain", "vain", "/scrap"]).succeeds();
        assert!(story.text().ends_with("It is not in the image.\nIt comes from [3/5] RUN head -c 200000 /dev/zero > /scrap (line 3).\n"), "{}", story.text());
    });
}

#[test]
fn an_image_of_which_no_build_is_remembered_is_told_by_its_history() {
    let kit = Kit::new();
    let text = kit.castoff(&["explain", "busybox"]).succeeds();
    assert!(text.text().contains("No build of this image is remembered here"), "{}", text.text());
    assert!(text.text().contains("Largest files:\n"), "{}", text.text());
    let told = json(&kit, &["explain", "--files", "busybox"]);
    assert_eq!((&told["build"], &told["castOff"]), (&Value::Null, &Value::Null));
    assert!(told["files"].as_array().unwrap().iter().all(|file| file["origin"].is_null()));
    kit.castoff(&["explain", "nothing"]).fails().says("there is no image `nothing`");
    let path = kit.castoff(&["explain", "busybox", "/etc/passwd"]).succeeds();
    assert!(path.text().contains("so no more is known"), "{}", path.text());
}

#[test]
fn a_diff_tells_files_config_and_history_and_has_the_codes_of_diff() {
    with_steps(|kit| {
        kit.write("context/file", "one\n");
        let dockerfile =
            "FROM busybox\nCOPY file /srv/\nRUN echo x > /made && ln -s made /link\nENV A=1\nCMD [\"sh\"]\n";
        kit.build(dockerfile, &["-t", "one"]).succeeds();
        let same = kit.castoff(&["diff", "one", "one"]).succeeds();
        assert_eq!(same.text(), "");
        // Built again, it is the same but for its times, however its layers are cut.
        kit.build(&dockerfile.replace("RUN echo x > /made &&", "RUN echo x > /made\nRUN"), &["-t", "cut"])
            .succeeds();
        let history = kit.castoff(&["diff", "one", "cut"]).fails();
        assert!(
            history.text().ends_with("0 added, 0 removed, 0 changed; 2 differences of config and history\n"),
            "{}",
            history.text()
        );
        kit.write("context/file", "three\n");
        let changed = dockerfile.replace("/made &&", "/more && chmod 711 /root &&").replace("A=1", "A=2");
        kit.build(&changed, &["-t", "two"]).succeeds();
        let done = kit.castoff(&["diff", "one", "two"]).fails();
        let expected = "~ /link  -> made -> made\n";
        assert!(!done.text().contains(expected), "{}", done.text());
        assert_eq!(
            done.text().lines().filter(|line| !line.contains("history")).collect::<Vec<_>>(),
            [
                "- /made  2B",
                "+ /more  2B",
                "~ /root  mode 700 -> 711",
                "~ /srv/file  size 4 -> 6",
                "~ config.Env A: 1 -> 2",
            ]
        );
        let told: Value =
            serde_json::from_slice(&kit.castoff(&["diff", "one", "two", "--format", "json"]).fails().stdout)
                .unwrap();
        assert_eq!(told["files"][2]["differs"], serde_json::json!(["mode"]));
        assert_eq!(kit.castoff(&["diff", "one", "nothing"]).code, Some(2));
        let times = kit.castoff(&["diff", "--times", "one", "cut"]).fails();
        assert!(times.text().contains("history"), "{}", times.text());
    });
}

// B-166, D-232: no steps run, so that the images may be for any machine.
#[test]
fn the_image_of_a_platform_is_explained_and_archives_are_named() {
    let kit = Kit::new();
    kit.write("context/x/two", "2\n");
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(3);
    header.set_mode(0o644);
    archive.append_data(&mut header, "in/side", &b"abc"[..]).unwrap();
    kit.write("context/files.tar", archive.into_inner().unwrap());
    let dockerfile = "FROM scratch AS a\nARG TARGETARCH\nCOPY x /a-$TARGETARCH\n\
        FROM scratch\nARG TARGETARCH\nCOPY --from=a /a-$TARGETARCH/two /from-$TARGETARCH\nADD files.tar /ar/\n";
    kit.build(dockerfile, &["-t", "two", "--platform", "linux/amd64,linux/arm64"]).succeeds();
    for architecture in ["amd64", "arm64"] {
        let platform = format!("linux/{architecture}");
        let told = json(&kit, &["explain", "--files", "--platform", &platform, "two"]);
        let files = told["files"].as_array().unwrap();
        let of = |value: &Value| value.as_str().unwrap().to_owned();
        let line = |file: &Value| {
            let origin = &file["origin"];
            format!("{} = {} {}", of(&file["path"]), of(&origin["kind"]), of(&origin["path"]))
        };
        let shown: Vec<String> = files.iter().map(line).collect();
        let from = format!("/from-{architecture} = context x/two");
        assert_eq!(shown, ["/ar/in/side = archive files.tar".to_owned(), from]);
        let stages = told["stages"].as_array().unwrap();
        assert_eq!(stages.len(), 2, "{stages:?}");
        assert_eq!((stages[0]["bytes"].as_u64(), stages[1]["bytes"].as_u64()), (Some(2), Some(5)));
        // The file of the stage is in the image under another layer.
        assert_eq!(told["castOff"], 2);
    }
}

// Layers that change nothing are left out of what steps see, and must not shift what made a file.
#[test]
fn steps_that_change_nothing_shift_nothing() {
    with_steps(|kit| {
        for (name, text) in [("a", "one"), ("b", "two")] {
            let dockerfile = format!("FROM busybox\nRUN true\nRUN true\nRUN true\nRUN echo {text} > /f\n");
            kit.build(&dockerfile, &["-q", "-t", name]).succeeds();
        }
        let done = kit.castoff(&["diff", "a", "b"]);
        assert!(done.code == Some(1) && done.text().contains("~ /f  content\n"), "{}", done.text());
        let told = json(kit, &["explain", "b", "/f"]);
        assert_eq!(instruction(kit, &told["origin"]["step"]), "[5/5] RUN echo two > /f", "{told}");
    });
}
