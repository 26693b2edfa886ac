//! ARG, ENV and the instructions that only change the config: who sees them, and what is in the image.

use serde_json::json;

use super::kit::{Kit, with_steps};

// D-085, D-087, D-088, D-090, D-091
#[test]
fn arguments_are_in_the_steps_of_their_stage_only() {
    with_steps(|kit| {
        let dockerfile = "ARG GLOBAL=global\nARG OTHER=other\n\
            FROM busybox AS first\n\
            RUN echo \"${GLOBAL-unset} ${LATE-unset}\" > /before\n\
            ARG GLOBAL\nARG LATE=late\nARG OTHER=own\nARG NOTHING\nARG EMPTY=\n\
            RUN echo \"$GLOBAL $LATE $OTHER ${NOTHING-unset} ${EMPTY-unset}\" > /after\n\
            FROM busybox\n\
            RUN echo \"${GLOBAL-unset} ${LATE-unset}\" > /unrelated\n\
            COPY --from=first /before /after /\n";
        let files = kit.files(dockerfile, &[]);
        assert_eq!(files.text("before"), "unset unset\n");
        assert_eq!(files.text("after"), "global late own unset \n");
        assert_eq!(files.text("unrelated"), "unset unset\n");
        let given = ["--build-arg", "GLOBAL=given", "--build-arg", "LATE=", "--build-arg", "OTHER=x=y"];
        assert_eq!(kit.files(dockerfile, &given).text("after"), "given  x=y unset \n");
        kit.build(dockerfile, &["-t", "args"]).succeeds();
        let env = &kit.inspect("args")["Config"]["Env"];
        assert_eq!(env.as_array().unwrap().len(), 1, "{env}");
    });
}

// D-063, D-092, D-109, D-110, D-136
#[test]
fn steps_have_exactly_the_environment_of_the_image_and_its_arguments() {
    with_steps(|kit| {
        let dockerfile = "FROM busybox\nENV A=1 B=$A PATH=/bin\nENV A=2 B=$A\nARG A=3\nARG C=4\n\
            RUN env | grep -v -e PWD= -e SHLVL= -e OLDPWD= | sort > /env\n";
        let files = kit.files(dockerfile, &["-t", "env"]);
        assert_eq!(files.text("env"), "A=3\nB=1\nC=4\nHOME=/root\nPATH=/bin\n");
        kit.build(dockerfile, &["-t", "env"]).succeeds();
        assert_eq!(kit.inspect("env")["Config"]["Env"], json!(["PATH=/bin", "A=2", "B=1"]));
        // PATH is added when it is absent, and HOME is not when it is there.
        let dockerfile = "FROM scratch\nCOPY --from=busybox /bin /bin\nENV HOME=/elsewhere\n\
            RUN env | grep -e HOME= -e PATH= | sort > /env\n";
        let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        assert_eq!(kit.files(dockerfile, &[]).text("env"), format!("HOME=/elsewhere\nPATH={path}\n"));
    });
}

// D-095, D-096
#[test]
fn proxies_are_in_steps_and_nowhere_else() {
    with_steps(|kit| {
        let proxy = ["--build-arg", "http_proxy=http://proxy.invalid:1", "-t", "proxied"];
        let dockerfile = "FROM busybox\nRUN echo $http_proxy $HTTP_PROXY > /proxy\n";
        kit.build(dockerfile, &proxy).succeeds();
        let done = kit.castoff(&["run", "proxied", "cat", "/proxy"]).succeeds();
        assert_eq!(done.text(), "http://proxy.invalid:1 http://proxy.invalid:1\n");
        assert_eq!(
            kit.history("proxied")[1..],
            ["RUN /bin/sh -c echo $http_proxy $HTTP_PROXY > /proxy # buildkit"]
        );
        assert!(!kit.inspect("proxied").to_string().contains("proxy.invalid"));
        let done = kit.build(dockerfile, &["--build-arg", "http_proxy=http://another.invalid:1"]).succeeds();
        assert_eq!(done.executed(), Vec::<&str>::new());
    });
}

// D-093
#[test]
fn a_build_argument_that_nobody_declares_is_said_once() {
    let done = Kit::new().build("FROM scratch\nLABEL a=b\n", &["--build-arg", "NOBODY=1"]).succeeds();
    assert!(done.stderr.contains("NOBODY"), "{}", done.stderr);
}

// D-097, D-098
#[test]
fn predefined_arguments_are_seen_after_their_declaration() {
    with_steps(|kit| {
        let dockerfile = "FROM busybox AS Final\nARG TARGETARCH TARGETOS TARGETPLATFORM TARGETSTAGE BUILDARCH\n\
            RUN echo $TARGETOS/$TARGETARCH $TARGETPLATFORM $TARGETSTAGE $BUILDARCH ${TARGETVARIANT-unset} > /args\n";
        let files = kit.files(dockerfile, &["--target", "final"]);
        let words: Vec<&str> = files.text("args").split_whitespace().collect();
        let [platform, same, "final", arch, "unset"] = words[..] else { panic!("{words:?}") };
        assert_eq!(platform, same);
        assert_eq!(platform, format!("linux/{arch}"));
    });
}

// D-179, D-184, D-186, D-252, D-256, D-258, D-260 to D-262, D-266, D-292, D-294 to D-299
#[test]
fn config_and_history_are_as_written() {
    with_steps(|kit| {
        kit.write("context/file", "text");
        let dockerfile = "FROM busybox\n\
            ARG WHO=world\n\
            LABEL a=1 b=\"two words\"\n\
            ENV GREETING=\"hello $WHO\"\n\
            RUN echo hi\n\
            COPY --chown=1:2 --chmod=600 file /data/\n\
            WORKDIR /data\n\
            WORKDIR deeper\n\
            WORKDIR /\n\
            USER app:extra\n\
            EXPOSE 80 53/udp\n\
            VOLUME /a /b\n\
            STOPSIGNAL SIGINT\n\
            SHELL [\"/bin/sh\", \"-e\", \"-c\"]\n\
            HEALTHCHECK --interval=5m --retries=2 CMD true\n\
            ONBUILD RUN true\n\
            ENTRYPOINT [\"echo\", \"entry\"]\n\
            CMD rest\n";
        kit.build(dockerfile, &["-t", "config", "--label", "b=3", "--label", "c"]).succeeds();
        let facts = kit.inspect("config");
        let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        let config = &facts["Config"];
        let expected = json!({
            "Env": [path, "GREETING=hello world"],
            "User": "app:extra",
            "ExposedPorts": {"53/udp": {}, "80/tcp": {}},
            "Volumes": {"/a": {}, "/b": {}},
            "WorkingDir": "/",
            "StopSignal": "SIGINT",
            "Shell": ["/bin/sh", "-e", "-c"],
            "Healthcheck": {"Test": ["CMD-SHELL", "true"], "Interval": 300_000_000_000_u64, "Retries": 2},
            "OnBuild": ["RUN true"],
            "Entrypoint": ["echo", "entry"],
            "Cmd": ["/bin/sh", "-e", "-c", "rest"],
            "Labels": {"a": "1", "b": "3", "c": ""},
        });
        for (key, value) in expected.as_object().unwrap() {
            assert_eq!(&config[key], value, "{key}");
        }
        let history = kit.history("config");
        let expected = [
            "ARG WHO=world",
            "LABEL a=1 b=two words",
            "ENV GREETING=hello world",
            "RUN |1 WHO=world /bin/sh -c echo hi # buildkit",
            "COPY --chown=1:2 --chmod=600 file /data/ # buildkit",
            "WORKDIR /data",
            "WORKDIR /data/deeper",
            "WORKDIR /",
            "USER app:extra",
            "EXPOSE [53/udp 80/tcp]",
            "VOLUME [/a /b]",
            "STOPSIGNAL SIGINT",
            "SHELL [/bin/sh -e -c]",
            r#"HEALTHCHECK &{["CMD-SHELL" "true"] "5m0s" "0s" "0s" "0s" '\x02'}"#,
            "ENTRYPOINT [\"echo\" \"entry\"]",
            "CMD [\"/bin/sh\" \"-e\" \"-c\" \"rest\"]",
        ];
        assert_eq!(history[history.len() - expected.len()..], expected);
        // D-300
        let layers = facts["RootFS"]["Layers"].as_array().unwrap().len();
        assert_eq!(layers, 1 + 4, "the base, RUN, COPY, two WORKDIRs");
    });
}

// D-124, D-181
#[test]
fn an_image_is_built_on_with_its_config() {
    with_steps(|kit| {
        let base = "FROM busybox\nENV A=base\nLABEL l=base\nUSER app\nWORKDIR /tmp\nENTRYPOINT [\"e\"]\nCMD [\"c\"]\n";
        kit.build(base, &["-t", "base"]).succeeds();
        kit.build("FROM base\nENV A=new\nLABEL m=new\nRUN touch mine\n", &["-t", "derived"]).succeeds();
        let facts = kit.inspect("derived");
        let config = &facts["Config"];
        assert!(config["Env"].to_string().contains("\"A=new\""), "{config}");
        assert_eq!(config["Labels"], json!({"l": "base", "m": "new"}));
        assert_eq!((&config["Entrypoint"], &config["Cmd"]), (&json!(["e"]), &json!(["c"])));
        let done =
            kit.castoff(&["run", "--entrypoint", "", "derived", "stat", "-c", "%U", "mine"]).succeeds();
        assert_eq!(done.text(), "app\n");
        assert_eq!(kit.history("derived").len(), kit.history("base").len() + 3);
        kit.build("FROM base\nENTRYPOINT [\"new\"]\n", &["-t", "entry"]).succeeds();
        assert_eq!(kit.inspect("entry")["Config"]["Cmd"], json!(null));
    });
}
