//! ARG, ENV and the predefined arguments (section 6), and what expansion reports (section 5).

use crate::build::{build, check, image};

#[test]
fn argument_values_come_in_order_of_precedence() {
    // D-087, D-088: command line, own default, global value, unset.
    let source =
        "ARG A=global\nARG B=global\nARG C=global\nFROM alpine\nARG A=own\nARG B\nARG C=own\nARG D\nRUN x\n";
    check(
        &build(source).arg("C", "given").graph_lines(&["env"]),
        "
        env: A=own
        env: B=global
        env: C=given
        ",
    );
}

#[test]
fn empty_default_sets_the_empty_string() {
    // D-088.
    check(&build("ARG A=1\nFROM alpine\nARG A=\nRUN x\n").graph_lines(&["env"]), "env: A=");
}

#[test]
fn global_argument_is_unseen_until_redeclared() {
    // D-064, D-085.
    let build = build("ARG A=1\nFROM alpine\nENV B=$A\nARG A\nENV C=$A\n");
    check(&build.config(), r#"{"Env":["B=","C=1"]}"#);
    check(&build.warnings(), "UndefinedVar: Usage of undefined variable '$A' (line 3)");
}

#[test]
fn a_stage_sees_its_own_variables_and_those_of_its_base() {
    // D-064, D-090.
    let source = "FROM base AS a\nARG OWN=arg\nENV SET=env\nFROM a\nLABEL l=$OF_BASE-$OWN-$SET\n\
                  LABEL hidden=$TARGETARCH$BUILDPLATFORM$TARGETSTAGE$HTTP_PROXY$http_proxy$SOURCE_DATE_EPOCH\n\
                  ARG TARGETARCH HTTP_PROXY\nLABEL seen=$TARGETARCH$HTTP_PROXY\n";
    let build = build(source)
        .image("base", image(&["OF_BASE=image"]))
        .arg("HTTP_PROXY", "p")
        .arg("SOURCE_DATE_EPOCH", "1");
    check(
        &build.config(),
        r#"{"Env":["OF_BASE=image","SET=env"],"Labels":{"hidden":"","l":"image-arg-env","seen":"amd64p"}}"#,
    );
}

#[test]
fn names_differ_in_their_case() {
    // D-081.
    check(
        &build("FROM alpine\nENV a=1 A=2\nENV b=$a$A c=${a}\n").config(),
        r#"{"Env":["a=1","A=2","b=12","c=1"]}"#,
    );
    check(&build("FROM alpine\nENV a=1\nENV b=$A\n").config(), r#"{"Env":["a=1","b="]}"#);
}

#[test]
fn quotes_of_a_default_are_removed() {
    // D-084.
    let source = "ARG G='g h'\nFROM alpine\nARG A=\"x y\" B=x\\ y C='$A' D=\"$A\"z G\nRUN x\n";
    check(
        &build(source).graph_lines(&["env"]),
        "
        env: A=x y
        env: B=x y
        env: C=$A
        env: D=x yz
        env: G=g h
        ",
    );
}

#[test]
fn default_is_not_evaluated_when_a_value_is_given() {
    // D-089.
    let source = "FROM alpine\nARG A=${X:?needed}\nRUN x\n";
    check(&build(source).errors(), "X: needed @2 `${X:?needed}`");
    check(&build(source).arg("A", "1").graph_lines(&["env"]), "env: A=1");
}

#[test]
fn default_is_expanded_with_the_variables_of_the_stage() {
    // D-087.
    check(&build("FROM alpine\nENV V=1\nARG A=v$V\nRUN x\n").graph_lines(&["env"]), "env: V=1\nenv: A=v1");
}

#[test]
fn argument_takes_effect_from_its_line_on() {
    // D-090.
    check(
        &build("FROM alpine\nRUN one\nARG A=1\nRUN two\n").graph_lines(&["v", "env"]),
        r#"
        v0 image docker.io/library/alpine:latest@sha256:... linux/amd64
        v1 run on v0: "/bin/sh" "-c" "one"
        v2 run on v1: "/bin/sh" "-c" "two"
        env: A=1
        "#,
    );
}

#[test]
fn argument_is_not_in_the_config() {
    // D-091.
    check(&build("FROM alpine\nARG A=1\n").config(), r#"{"Env":[]}"#);
}

#[test]
fn unrelated_stage_does_not_inherit_arguments() {
    // D-090.
    check(
        &build("FROM alpine AS a\nARG A=1\nRUN x\nFROM alpine\nRUN y\nCOPY --from=a / /\n")
            .graph_lines(&["v2", "env"]),
        r#"
        env: A=1
        v2 run on v0: "/bin/sh" "-c" "y"
        "#,
    );
}

#[test]
fn later_line_wins_between_env_and_arg() {
    // D-092: the config keeps the ENV value either way.
    let after = build("FROM alpine\nARG A=arg\nENV A=env\nRUN x\n");
    check(&after.graph_lines(&["env"]), "env: A=env");
    check(&after.config(), r#"{"Env":["A=env"]}"#);
    let before = build("FROM alpine\nENV A=env\nARG A=arg\nRUN x\n");
    check(&before.graph_lines(&["env"]), "env: A=arg");
    check(&before.config(), r#"{"Env":["A=env"]}"#);
}

#[test]
fn unused_build_arguments_are_named_in_one_warning() {
    // D-093: those of stages that are not needed included; predefined ones are not.
    let build = build("ARG G\nFROM alpine AS a\nARG A\nFROM alpine\nARG B\n");
    let build =
        ["G", "A", "B", "C", "http_proxy", "TARGETARCH", "BUILDKIT_INLINE_CACHE", "SOURCE_DATE_EPOCH"]
            .into_iter()
            .fold(build, |build, name| build.arg(name, "1"));
    check(&build.warnings(), "one or more build-args [A C] were not consumed (line 0)");
}

#[test]
fn builder_arguments_without_effect_are_named() {
    // D-100: a name of the build, of which castoff keeps none, and what no builder knows.
    let build = build("FROM alpine\nARG BUILDKIT_OWN\n");
    let build = ["BUILDKIT_OWN", "BUILDKIT_BUILD_NAME", "BUILDKIT_MULTI_PLATFORM", "BUILDKIT_NONE", "A"]
        .into_iter()
        .fold(build, |build, name| build.arg(name, "1"));
    check(
        &build.warnings(),
        "
        one or more build-args [A] were not consumed (line 0)
        the build-args [BUILDKIT_BUILD_NAME BUILDKIT_NONE] have no effect in castoff (line 0)
        ",
    );
}

#[test]
fn proxies_reach_steps_in_both_cases_and_nothing_else() {
    // D-095, D-096.
    let build = build("FROM alpine\nRUN x\n").arg("http_proxy", "p").with(|options| {
        options.proxies = vec![("HTTP_PROXY".into(), "low".into()), ("no_proxy".into(), "n".into())];
    });
    check(
        &build.graph_lines(&["env", "proxy"]),
        "
        proxy: HTTP_PROXY=p
        proxy: http_proxy=p
        proxy: NO_PROXY=n
        proxy: no_proxy=n
        ",
    );
    check(&build.history(), "v1 RUN /bin/sh -c x # buildkit");
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"] {
        let lower = name.to_lowercase();
        for given in [name, &lower] {
            let build = crate::build::build("FROM alpine\nRUN x\n").arg(given, "p");
            check(&build.graph_lines(&["env", "proxy"]), &format!("proxy: {name}=p\nproxy: {lower}=p"));
            check(&build.config(), r#"{"Env":[]}"#);
            check(&build.warnings(), "");
        }
    }
}

#[test]
fn declared_proxy_is_an_ordinary_argument() {
    // D-096.
    let build = build("FROM alpine\nARG HTTP_PROXY\nRUN x\n").arg("HTTP_PROXY", "p");
    check(&build.graph_lines(&["env", "proxy"]), "env: HTTP_PROXY=p\nproxy: http_proxy=p");
    check(&build.history(), "-- ARG HTTP_PROXY=p\nv1 RUN |1 HTTP_PROXY=p /bin/sh -c x # buildkit");
}

#[test]
fn platform_arguments_have_empty_values_where_they_do_not_apply() {
    // D-097.
    let source = "FROM alpine\nARG TARGETPLATFORM\nARG TARGETVARIANT\nARG BUILDARCH\nRUN x\n";
    check(
        &build(source).graph_lines(&["env"]),
        "
        env: TARGETPLATFORM=linux/amd64
        env: TARGETVARIANT=
        env: BUILDARCH=amd64
        ",
    );
    let source = "FROM alpine\nARG TARGETPLATFORM TARGETOS TARGETARCH TARGETVARIANT TARGETOSVERSION\n\
                  ARG BUILDPLATFORM BUILDOS BUILDARCH BUILDVARIANT BUILDOSVERSION\nRUN x\n";
    check(
        &build(source).on("linux/arm64").platforms(&["linux/arm/v7"]).graph_lines(&["env"]),
        "
        env: TARGETPLATFORM=linux/arm/v7
        env: TARGETOS=linux
        env: TARGETARCH=arm
        env: TARGETVARIANT=v7
        env: TARGETOSVERSION=
        env: BUILDPLATFORM=linux/arm64
        env: BUILDOS=linux
        env: BUILDARCH=arm64
        env: BUILDVARIANT=
        env: BUILDOSVERSION=
        ",
    );
}

#[test]
fn scan_arguments_are_never_variables() {
    // D-101.
    let steering = "ARG BUILDKIT_SBOM_SCAN_STAGE=true BUILDKIT_SBOM_SCAN_CONTEXT=true\n";
    for source in [
        format!("FROM alpine\n{steering}RUN x\n"),
        format!("{steering}FROM alpine\nARG BUILDKIT_SBOM_SCAN_STAGE BUILDKIT_SBOM_SCAN_CONTEXT\nRUN x\n"),
        format!("{steering}FROM alpine\nRUN x\n"),
    ] {
        let build = build(&source).arg("BUILDKIT_SBOM_SCAN_STAGE", "a,b");
        check(&build.graph_lines(&["env"]), "");
        check(&build.config(), r#"{"Env":[]}"#);
    }
}

#[test]
fn words_see_the_variables_before_the_instruction() {
    // D-063.
    check(&build("FROM alpine\nENV a=1\nENV a=2 b=$a\n").config(), r#"{"Env":["a=2","b=1"]}"#);
    // D-108.
    check(
        &build("FROM alpine\nENV l=1\nENV A=\"x y\" B=x\\ y C='$l' D=\"a\"'b'c\\\"\n").config(),
        r#"{"Env":["l=1","A=x y","B=x y","C=$l","D=abc\""]}"#,
    );
    check(&build("FROM alpine\nENV a=1\nLABEL $a=$a\n").config(), r#"{"Env":["a=1"],"Labels":{"1":"1"}}"#);
}

#[test]
fn env_replaces_in_place_and_persists() {
    // D-109, D-110.
    let build = build("FROM base\nENV B=3\nENV A=2 C=4\n").image("base", image(&["A=1", "B=1"]));
    check(&build.config(), r#"{"Env":["A=2","B=3","C=4"]}"#);
}

#[test]
fn path_is_added_where_the_base_has_none() {
    // D-111.
    let mut base = image(&[]);
    base.config.env = Some(vec!["A=1".into()]);
    let build = build("FROM base\nRUN x\n").image("base", base);
    let env = build.plan().outputs.remove(0).config.config.env;
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    assert_eq!(env, Some(vec!["A=1".into(), path.into()]));
}

#[test]
fn undefined_variable_is_reported_with_a_suggestion() {
    // D-080, D-331: declared arguments without value and RUN do not count.
    check(
        &build("FROM alpine\nENV FOO=1\nARG BAR\nCOPY $FOOO$BAR /x\nRUN $NOWHERE\n").warnings(),
        "UndefinedVar: Usage of undefined variable '$FOOO' (did you mean $FOO?) (line 4)",
    );
}

#[test]
fn unneeded_stages_are_not_checked() {
    // D-322.
    check(&build("FROM alpine AS a\nCOPY $NOPE /x\nFROM alpine\n").warnings(), "");
}

#[test]
fn epoch_is_an_argument_a_default_or_the_callers() {
    // D-102.
    let epoch = |build: crate::build::Build| build.plan().outputs.remove(0).epoch;
    assert_eq!(epoch(build("FROM scratch\n")), None);
    assert_eq!(epoch(build("FROM scratch\n").arg("SOURCE_DATE_EPOCH", "7")), Some(7));
    assert_eq!(epoch(build("ARG SOURCE_DATE_EPOCH=8\nFROM scratch\n")), Some(8));
    assert_eq!(epoch(build("ARG SOURCE_DATE_EPOCH=8\nFROM scratch\n").arg("SOURCE_DATE_EPOCH", "")), None);
    assert_eq!(epoch(build("FROM scratch\n").arg("SOURCE_DATE_EPOCH", "context")), None);
    assert_eq!(epoch(build("FROM scratch\n").with(|options| options.epoch = Some(9))), Some(9));
}

#[test]
fn epoch_that_is_no_time_fails() {
    // D-103.
    check(
        &build("FROM scratch\n").arg("SOURCE_DATE_EPOCH", "soon").errors(),
        "invalid SOURCE_DATE_EPOCH: `soon` is not a number of seconds @0 ``",
    );
    for stage in [
        "FROM scratch AS src\n",
        "FROM alpine AS src\nADD https://example.invalid/x /\n",
        "FROM scratch AS src\nADD file /\n",
        "FROM scratch AS src\nADD https://example.invalid/x https://example.invalid/y /\n",
        "FROM scratch AS src\nADD https://example.invalid/x /\nADD https://example.invalid/y /\n",
        "FROM scratch AS src\nADD https://example.invalid/x /\nENV a=b\n",
    ] {
        let errors = build(&format!("{stage}FROM scratch\n")).arg("SOURCE_DATE_EPOCH", "src").errors();
        let expected = "invalid SOURCE_DATE_EPOCH: stage `src` is not the time of one remote source @1";
        assert!(errors.starts_with(expected), "{errors}");
    }
}

#[test]
fn epoch_is_the_time_of_a_context_or_a_stage() {
    // D-102, D-103. The time of every source is 77 here.
    let epoch = |build: crate::build::Build| build.plan().outputs.remove(0).epoch;
    let layer = castoff_oci::DiffId(castoff_oci::Digest::of(b"tree"));
    let at = |value: &str, time: Option<i64>| {
        build("FROM scratch\n").arg("SOURCE_DATE_EPOCH", value).with(|options| {
            options.context = castoff_plan::ContextSource::Tree { layer, time };
            options.contexts.insert("tree".to_owned(), castoff_plan::NamedContext::Tree { layer, time });
            options.contexts.insert("here".to_owned(), castoff_plan::NamedContext::Directory);
        })
    };
    assert_eq!(epoch(at("context", Some(5))), Some(5));
    assert_eq!(epoch(at("context", None)), None);
    assert_eq!(epoch(at("tree", Some(6))), Some(6));
    assert_eq!(epoch(at("here", Some(6))), None);
    for add in ["https://example.invalid/x", "git://example.invalid/x", "$URL"] {
        let stage = format!("FROM scratch AS Src\nARG URL=http://example.invalid/y\nADD {add} /\n");
        assert_eq!(epoch(build(&format!("{stage}FROM scratch\n")).arg("SOURCE_DATE_EPOCH", "src")), Some(77));
        let default = format!("ARG SOURCE_DATE_EPOCH=src\n{stage}FROM scratch\nWORKDIR /w\n");
        assert_eq!(epoch(build(&default)), Some(77));
    }
    // A stage sees the time, and not the word that stood for it.
    let seen = build("FROM alpine\nARG SOURCE_DATE_EPOCH\nRUN b\n").arg("SOURCE_DATE_EPOCH", "tree").with(
        |options| {
            options
                .contexts
                .insert("tree".to_owned(), castoff_plan::NamedContext::Tree { layer, time: Some(6) });
        },
    );
    assert!(seen.graph().contains("SOURCE_DATE_EPOCH=6"), "{}", seen.graph());
}

#[test]
fn epoch_is_a_variable_only_after_its_line() {
    // D-104.
    let build = build("FROM alpine\nRUN a\nARG SOURCE_DATE_EPOCH\nRUN b\n").arg("SOURCE_DATE_EPOCH", "5");
    check(&build.graph_lines(&["env"]), "env: SOURCE_DATE_EPOCH=5");
}

/// D-061: commands, SHELL, MAINTAINER, `--exclude` and names of arguments are taken as written.
#[test]
fn what_is_not_for_the_builder_is_not_expanded() {
    let plan = build(
        "FROM a\nENV v=value\nARG $v=1\nSHELL [\"/bin/$v\", \"-c\"]\nMAINTAINER $v\n\
         RUN echo $v\nRUN [\"echo\", \"$v\"]\nCMD echo $v\nENTRYPOINT [\"$v\"]\n\
         HEALTHCHECK CMD test $v\nCOPY --exclude=$v a /b\n",
    );
    check(
        &plan.config(),
        r#"{"Env":["v=value"],"Entrypoint":["$v"],"Cmd":["/bin/$v","-c","echo $v"],"Healthcheck":{"Test":["CMD-SHELL","test $v"]},"Shell":["/bin/$v","-c"],"ArgsEscaped":true}"#,
    );
    assert_eq!(plan.plan().outputs[0].config.author.as_deref(), Some("$v"));
    check(&plan.graph_lines(&["env: $v", "exclude:"]), "env: $v=1\nenv: $v=1\nexclude: $v");
    assert!(plan.history().contains("/bin/$v -c echo $v #") && plan.history().contains(" echo $v #"));
    // What a mode is called is not expanded either.
    for flag in ["--network=$v", "--security=$v"] {
        assert!(build(&format!("FROM a\nENV v=none\nRUN {flag} x\n")).errors().contains("\"$v\""));
    }
}

/// D-060: the places where the builder expands.
#[test]
fn what_is_for_the_builder_is_expanded() {
    let digest = format!("sha256:{}", "0".repeat(64));
    let source = format!(
        "ARG image=a\nARG platform=linux/amd64\nFROM --platform=$platform $image\n\
         ENV v=x n=7\nENV $v=$v\nLABEL l$v=$v\nEXPOSE $n\nSTOPSIGNAL $n\nUSER u$v\nVOLUME /$v\nWORKDIR /w$v\n\
         ARG d=$v\nRUN --mount=type=cache,target=/m$v,id=i$v true\n\
         COPY --chown=$n --chmod=70$n s$v <<h /d$v/\n$v\nh\nADD --checksum={digest} http://h/$v /d$v/\n"
    );
    let plan = build(&source);
    check(
        &plan.config(),
        r#"{"User":"ux","ExposedPorts":{"7/tcp":{}},"Env":["v=x","n=7","x=x"],"Volumes":{"/x":{}},"WorkingDir":"/wx","Labels":{"lx":"x"},"StopSignal":"7"}"#,
    );
    let graph = plan.graph();
    for part in ["a:latest", "/mx", "ix", "d=x", ":sx ", "/dx/", "http://h/x", "707"] {
        assert!(graph.contains(part), "{part} is not in\n{graph}");
    }
    let plan = plan.plan();
    let inline = plan.graph.iter().find_map(|(_, vertex)| match &vertex.op {
        castoff_graph::Op::Copy(copy) => copy.sources.iter().find_map(|source| match source {
            castoff_graph::CopySource::Inline { content, .. } => Some(content.clone()),
            _ => None,
        }),
        _ => None,
    });
    assert_eq!(inline.as_deref(), Some(&b"x\n"[..]));
}
