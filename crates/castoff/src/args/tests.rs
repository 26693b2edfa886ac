use super::*;
use castoff_graph::NetworkMode;
use castoff_solver::PullPolicy;
use std::path::Path;

fn words(line: &str) -> Vec<OsString> {
    line.split_whitespace().map(OsString::from).collect()
}

/// Returns the request of a command line, or the words of what is wrong with it.
fn request(line: &str, environment: &Environment) -> Result<BuildRequest, String> {
    let invocation = parse(words(line)).map_err(|stop| stop.text)?;
    let Command::Build(args) = &invocation.command else { panic!("`{line}` is a build") };
    args.request(&invocation.global, environment).map_err(|error| {
        let mut text = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        text
    })
}

fn accepted(line: &str) -> BuildRequest {
    request(line, &Environment::default()).unwrap_or_else(|error| panic!("`{line}`: {error}"))
}

fn familiar(tags: &[castoff_oci::Reference]) -> Vec<String> {
    tags.iter().map(castoff_oci::Reference::familiar).collect()
}

#[test]
fn the_description_of_the_command_line_is_consistent() {
    switches_take_values(command()).debug_assert();
    command().debug_assert();
}

// B-007, B-181
#[test]
fn a_policy_of_sources_is_not_passed_over() {
    let set = |value: &str| {
        let variable = ("EXPERIMENTAL_BUILDKIT_SOURCE_POLICY".into(), value.into());
        request("castoff build .", &Environment::new([variable]))
    };
    assert_eq!(
        set("policy.json").unwrap_err(),
        "EXPERIMENTAL_BUILDKIT_SOURCE_POLICY is not supported yet: unset it to build without"
    );
    assert!(set("").is_ok());
}

// B-001
#[test]
fn a_build_has_many_names() {
    let check = |line: &str, docker: bool| {
        let invocation = parse(words(line)).unwrap_or_else(|stop| panic!("`{line}`: {}", stop.text));
        assert!(matches!(invocation.command, Command::Build(_)), "{line}");
        assert_eq!(invocation.docker, docker, "{line}");
    };
    check("castoff build .", false);
    check("castoff bud .", false);
    check("castoff buildx build .", false);
    check("castoff --root /s build .", false);
    check("castoff --root /s buildx b .", false);
    check("/usr/bin/docker build .", true);
    check("docker image build .", true);
    check("docker builder build .", true);
    check("docker buildx build .", true);
    check("docker buildx b .", true);
    check("docker-buildx build .", true);
    check("docker-buildx b .", true);
    check("docker-buildx buildx build .", true);
    let images = parse(words("docker image ls")).expect("a list");
    assert!(matches!(images.command, Command::Images(_)));
}

// B-002
#[test]
fn flags_stand_anywhere_and_combine() {
    let check = |line: &str| {
        let request = accepted(line);
        assert_eq!(familiar(&request.tags), ["app:latest"], "{line}");
        assert_eq!(request.progress, ProgressMode::Quiet, "{line}");
        assert_eq!(request.plan.context, ContextSpec::Directory(".".into()), "{line}");
    };
    check("castoff build -q -t app .");
    check("castoff build -qt app .");
    check("castoff build -qtapp .");
    check("castoff build . -q --tag=app");
    check("castoff build --quiet --tag app -- .");
    check("castoff build --quiet=true . -t=app");
    check("castoff build -q=1 . -t app");
}

#[test]
fn switches_take_the_booleans_of_go() {
    let check = |line: &str, no_cache: bool| assert_eq!(accepted(line).plan.no_cache, no_cache, "{line}");
    check("castoff build .", false);
    check("castoff build --no-cache .", true);
    check("castoff build --no-cache=T .", true);
    check("castoff build --no-cache=false .", false);
    check("castoff build --no-cache --no-cache=false .", false);
    assert!(parse(words("castoff build --no-cache=yes .")).is_err());
}

// B-033
#[test]
fn pull_is_a_switch_or_a_policy() {
    let check = |flags: &str, pull: PullPolicy| {
        assert_eq!(accepted(&format!("castoff build {flags} .")).plan.pull, pull, "{flags}");
    };
    check("", PullPolicy::Missing);
    check("--pull", PullPolicy::Always);
    check("--pull=T", PullPolicy::Always);
    check("--pull=always", PullPolicy::Always);
    check("--pull=false", PullPolicy::Missing);
    check("--pull --pull=false", PullPolicy::Missing);
    check("--pull=missing", PullPolicy::Missing);
    check("--pull=if_not_present", PullPolicy::Missing);
    check("--pull=newer", PullPolicy::Newer);
    check("--pull=ifnewer", PullPolicy::Newer);
    check("--pull=never", PullPolicy::Never);
    let refused = request("castoff build --pull=yes .", &Environment::default()).unwrap_err();
    assert_eq!(refused, "invalid value `yes` for `--pull`: expected always, missing, newer or never");
}

#[test]
fn what_needs_a_network_is_refused_offline() {
    let offline = Environment::of(&[("CASTOFF_OFFLINE", "1")]);
    let check = |flags: &str, environment: &Environment, expected: Option<&str>| {
        let found = request(&format!("castoff build {flags} ."), environment).err();
        let found = found.as_deref().map(|text| text.split(',').next().unwrap_or_default());
        assert_eq!(found, expected, "{flags}");
    };
    let nothing = Environment::default();
    check("--offline", &nothing, None);
    check("--offline --pull=newer", &nothing, None);
    check("--offline --pull", &nothing, Some("`--pull` needs a network"));
    check("--offline --push -t a", &nothing, Some("a push needs a network"));
    check("-o type=registry,name=a", &offline, Some("a push needs a network"));
    check("--offline --push=false -t a", &nothing, None);
    check("--offline --cache-to a/b", &nothing, Some("filling a cache in a registry needs a network"));
    check("--offline --cache-to type=local,dest=a", &nothing, None);
    let set = |value: &str| Environment::of(&[("CASTOFF_OFFLINE", value)]);
    check("--pull", &set("false"), None);
    check("--pull", &set(""), None);
    check("", &set("perhaps"), Some("CASTOFF_OFFLINE is no boolean: expected true or false"));
}

#[test]
fn later_uses_of_a_flag_or_name_win() {
    let request = accepted(
        "castoff build -f one -f two --build-arg A=1 --build-arg B=2 --build-arg A=3 --label a=1 --label a \
         --secret id=s,src=one --secret id=s,src=two --build-context c=one --build-context c:latest=two .",
    );
    assert_eq!(request.plan.file, Some(FileSpec::Path("two".into())));
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(request.plan.build_args, [pair("A", "3"), pair("B", "2")]);
    assert_eq!(request.plan.labels, [pair("a", "")]);
    assert_eq!(
        request.secrets,
        [SecretSpec { id: "s".into(), source: SecretSource::File("two".into()), prove: true }]
    );
    let source = NamedContextSource::Directory("two".into());
    assert_eq!(request.plan.contexts, [NamedContextSpec { name: "c".into(), source }]);
}

// B-013
#[test]
fn a_build_arg_without_value_is_taken_from_the_environment() {
    let environment = Environment::of(&[("A", "1"), ("SOURCE_DATE_EPOCH", "7")]);
    let request =
        request("castoff build --build-arg A --build-arg B --build-arg C= .", &environment).expect("valid");
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(request.plan.build_args, [pair("A", "1"), pair("C", ""), pair("SOURCE_DATE_EPOCH", "7")]);
    assert_eq!(request.plan.epoch(), Some(7));
}

// B-008
#[test]
fn proxies_of_the_config_are_build_args_unless_given() {
    let mut plan = accepted("castoff build --build-arg Http_Proxy=mine .").plan;
    plan.add_proxies(br#"{"proxies": {"default": {"httpProxy": "theirs", "noProxy": "local"}}}"#);
    let names: Vec<&str> = plan.build_args.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["Http_Proxy", "NO_PROXY", "no_proxy"]);
    plan.add_proxies(b"{not json");
    assert_eq!(plan.build_args.len(), 3);
}

// B-029
#[test]
fn a_platform_is_normalised() {
    let default = Environment::of(&[("DOCKER_DEFAULT_PLATFORM", "linux/arm64/v8")]);
    let check = |flags: &str, environment: &Environment, expected: &[&str]| {
        let request = request(&format!("castoff build {flags} ."), environment).expect("valid");
        let platforms: Vec<String> = request.plan.platforms.iter().map(ToString::to_string).collect();
        assert_eq!(platforms, expected, "{flags}");
    };
    check("", &Environment::default(), &[]);
    check("", &default, &["linux/arm64"]);
    check("--platform linux/x86_64", &default, &["linux/amd64"]);
    check("--platform linux/arm", &default, &["linux/arm/v7"]);
    check("--platform linux/amd64,linux/amd64", &default, &["linux/amd64"]);
    let both = ["linux/arm64", "linux/arm/v7", "linux/amd64"];
    check("--platform linux/aarch64,linux/arm --platform=amd64,linux/arm64/v8", &default, &both);
}

// B-063, B-068
#[test]
fn a_context_is_a_directory_a_stream_or_a_url() {
    let check = |text: &str, expected: ContextSpec| assert_eq!(ContextSpec::parse(text), expected, "{text}");
    let git = |text: &str| ContextSpec::Git(text.to_owned());
    check(".", ContextSpec::Directory(".".into()));
    check("dir/app.git", ContextSpec::Directory("dir/app.git".into()));
    check("-", ContextSpec::Stdin);
    check("https://h/r.git", git("https://h/r.git"));
    check("https://h/r.git#main:sub", git("https://h/r.git#main:sub"));
    check("https://h/r.git?ref=x", git("https://h/r.git?ref=x"));
    check("https://h/r.tar.gz", ContextSpec::Http("https://h/r.tar.gz".to_owned()));
    check("https://h/r#x.git", ContextSpec::Http("https://h/r#x.git".to_owned()));
    check("git@h:r", git("git@h:r"));
    check("ssh://h/r", git("ssh://h/r"));
    check("github.com/o/r", git("github.com/o/r"));
}

// B-072
#[test]
fn a_named_context_is_told_by_its_scheme() {
    let check = |text: &str, name: &str, expected: Option<NamedContextSource>| {
        let spec = NamedContextSpec::parse(text).ok();
        assert_eq!(spec, expected.map(|source| NamedContextSpec { name: name.to_owned(), source }), "{text}");
    };
    let image = |name: &str| Some(NamedContextSource::Image(name.parse().expect("a reference")));
    let layout = |path: &str, tag: Option<&str>| {
        let tag = tag.map(str::to_owned);
        Some(NamedContextSource::OciLayout { path: path.into(), tag, digest: None })
    };
    check("src=../src", "src", Some(NamedContextSource::Directory("../src".into())));
    check("docker.io/library/alpine:latest=docker-image://alpine:3", "alpine", image("alpine:3"));
    check("alpine:3=container-image://busybox", "alpine:3", image("busybox"));
    check("base=oci-layout://out", "base", layout("out", None));
    check("base=oci-layout:///abs/out:v1", "base", layout("/abs/out", Some("v1")));
    check("base=oci-layout://a:b/out", "base", layout("a:b/out", None));
    check("base=https://h/r.git", "base", Some(NamedContextSource::Git("https://h/r.git".to_owned())));
    check("base=https://h/f", "base", Some(NamedContextSource::Http("https://h/f".to_owned())));
    check("base=oci-layout://out@sha256:12", "base", None);
    check("base=target:x", "base", None);
    check("Bad Name=.", "", None);
    check("noequals", "", None);
    check("=x", "", None);
    check("x=", "", None);
}

// B-092 to B-105
#[test]
fn outputs_are_read() {
    let local = |dest: &str| OutputSpec::Local {
        dest: dest.into(),
        delete: false,
        platform_split: None,
        epoch: None,
        attestation_prefix: String::new(),
    };
    let tar =
        |dest| OutputSpec::Tar { dest, platform_split: None, epoch: None, attestation_prefix: String::new() };
    let check =
        |text: &str, expected: OutputSpec| assert_eq!(OutputSpec::parse(text), Ok(expected), "{text}");
    let image = ImageAttributes::default;
    let path = |path: &str| OutputFile::Path(path.into());
    check("out", local("out"));
    check("-", tar(OutputFile::Stdout));
    check("type=local,dest=out", local("out"));
    check("TYPE=local,Dest=out", local("out"));
    check("type=tar", tar(OutputFile::Stdout));
    check("type=tar,dest=out.tar", tar(path("out.tar")));
    check("type=oci,dest=out.tar", OutputSpec::Oci { dest: path("out.tar"), image: image() });
    check("type=oci,dest=out,tar=false", OutputSpec::OciDirectory { dest: "out".into(), image: image() });
    let plain = ImageAttributes { compression: Some(LayerCompression::Uncompressed), ..image() };
    check("type=docker", OutputSpec::Engine { context: None, image: plain.clone() });
    check("type=docker,context=c", OutputSpec::Engine { context: Some("c".to_owned()), image: plain });
    check("type=docker,dest=-", OutputSpec::Docker { dest: OutputFile::Stdout, image: image() });
    check("type=registry", OutputSpec::Image { push: true, image: image() });
    check("type=cacheonly", OutputSpec::CacheOnly);
    let named = ImageAttributes {
        names: vec!["a".parse().expect("a name"), "b".parse().expect("a name")],
        compression: Some(LayerCompression::Zstd),
        compression_level: Some(19),
        oci_mediatypes: Some(true),
        epoch: Some(EpochOverride::Seconds(5)),
        ..image()
    };
    check(
        r#"type=image,"name=a,b",compression=zstd,compression-level=19,oci-mediatypes=true,source-date-epoch=5"#,
        OutputSpec::Image { push: false, image: named },
    );
}

#[test]
fn wrong_outputs_are_refused() {
    let check = |text: &str, expected: &str| {
        let error = OutputSpec::parse(text).expect_err(text);
        assert_eq!(error.to_string(), expected, "{text}");
    };
    check("", "type is required for output");
    check("dest=x", "type is required for output");
    check(
        "type=floppy",
        "unknown output type `floppy`: expected local, tar, oci, docker, image, registry or cacheonly",
    );
    check("type=local", "dest is required for local output");
    check("type=local,dest=-", "dest cannot be stdout for local output");
    check("type=local,dest=x,mode=move", "`move` is not a value of `mode`: expected copy or delete");
    check("type=image,dest=x", "dest is not allowed for image output");
    check("type=image,push=maybe", "`maybe` is not a boolean: expected true or false");
    check("type=image,pus=true", "unexpected key `pus`, did you mean `push`?");
    check(
        "type=image,compression=zip",
        "`zip` is not a value of `compression`: expected uncompressed, gzip, estargz or zstd",
    );
    check("type=oci,dest=x,context=c", "context is for type=docker without dest");
    check(
        "type=oci,dest=x,compression=zstd,oci-mediatypes=false",
        "compression=zstd needs OCI media types, and oci-mediatypes is false",
    );
    check("type=image,compression-level=10", "`10` is not a number that is allowed here");
    check("type=image,annotation-layer.a=b", "`annotation-layer.a`");
    check("type=image,name=UPPER", "name `UPPER`");
    check("type=oci,dest=a,b", "`b` must be a key=value pair");
    check("type=tar,compression=gzip", "unexpected key `compression`");
}

#[test]
fn tags_name_image_outputs() {
    // B-094
    let request = accepted("castoff build -t a -t b -o type=oci,dest=x -o type=image,name=c .");
    let names: Vec<Vec<String>> =
        request.outputs.clone().iter_mut().filter_map(|o| Some(familiar(&o.image_mut()?.names))).collect();
    assert_eq!(names, [vec!["a:latest", "b:latest"], vec!["c:latest"]]);
}

// B-141
#[test]
fn progress_is_chosen_by_flag_environment_and_terminal() {
    let check =
        |flags: &str, variable: Option<&str>, terminal: bool, expected: Result<ProgressMode, &str>| {
            let variables: Vec<_> = variable.map(|value| ("BUILDKIT_PROGRESS", value)).into_iter().collect();
            let mut environment = Environment::of(&variables);
            environment.stderr_is_terminal = terminal;
            let mode =
                request(&format!("castoff build {flags} ."), &environment).map(|request| request.progress);
            assert_eq!(mode, expected.map_err(str::to_owned), "{flags} {variable:?} {terminal}");
        };
    check("", None, true, Ok(ProgressMode::Tty));
    check("", None, false, Ok(ProgressMode::Plain));
    check("", Some("plain"), true, Ok(ProgressMode::Plain));
    check("--progress rawjson", Some("plain"), true, Ok(ProgressMode::RawJson));
    check("--progress auto", Some("rawjson"), true, Ok(ProgressMode::Tty));
    check("--progress tty", None, false, Err("progress mode `tty` needs a terminal on standard error"));
    check("-q", Some("plain"), true, Ok(ProgressMode::Quiet));
    check("-q --progress quiet", None, true, Ok(ProgressMode::Quiet));
    check("-q --progress plain", None, true, Err("`--quiet` and `--progress` cannot be used together"));
    check(
        "--progress fancy",
        None,
        true,
        Err("invalid value `fancy` for `--progress`: expected auto, tty, plain, quiet, none or rawjson"),
    );
}

#[test]
fn impossible_requests_are_refused() {
    let check = |flags: &str, expected: &str| {
        let line = format!("castoff build {flags}");
        let error = request(&line, &Environment::default()).expect_err(&line);
        assert_eq!(error, expected, "{line}");
    };
    // B-044, B-026, B-092, B-021, B-101, B-039, B-025, B-010
    check("-f - -", "the Dockerfile and the context cannot both come from standard input");
    check("--no-cache --no-cache-filter a .", "`--no-cache` and `--no-cache-filter` cannot be used together");
    check("-o - -o type=oci .", "only one output can be written to standard output");
    check("-o out --iidfile id .", "`--iidfile` needs an image, and this output is files");
    check("-o type=registry .", "tag is needed when pushing to registry");
    check("--push .", "tag is needed when pushing to registry");
    check(
        "-t a:b:c .",
        "invalid value `a:b:c` for `--tag`: invalid reference format: `a:b` is not a repository name",
    );
    check(
        "--network mine .",
        "invalid value `mine` for `--network`: network mode `mine` is not supported: expected default, none or host",
    );
    check(
        "--allow root .",
        "invalid value `root` for `--allow`: unknown entitlement `root`: expected network.host, security.insecure, \
         device[=name[,alias=name]] or buildx.local.delete",
    );
    let several = "--platform linux/amd64,linux/arm64";
    check(
        &format!("{several} --build-arg BUILDKIT_MULTI_PLATFORM=false ."),
        "BUILDKIT_MULTI_PLATFORM is false, and several platforms are to be built",
    );
    check(
        &format!("{several} -o type=docker,dest=x ."),
        "a docker archive holds one image, and this build makes an index: use type=oci, or name one platform",
    );
    check("--build-arg =x .", "invalid value `=...` for `--build-arg`: the name is empty");
    check("--isolation chroot .", "`--isolation` is not supported yet");
}

#[test]
fn an_archive_is_not_written_to_a_terminal() {
    let mut environment = Environment::default();
    environment.stdout_is_terminal = true;
    let error = request("castoff build -o type=tar .", &environment).expect_err("a terminal");
    assert!(error.starts_with("refusing to write an archive to a terminal"), "{error}");
}

#[test]
fn flags_of_later_are_refused_by_name() {
    let check = |flags: &str, expected: Option<&str>| {
        let result = request(&format!("castoff build {flags} ."), &Environment::default());
        let expected = expected.map(|flag| format!("`--{flag}` is not supported yet"));
        assert_eq!(result.err(), expected, "{flags}");
    };
    check("-m 1g", Some("memory"));
    check("--memory-swap -1", Some("memory-swap"));
    check("-v /a:/b", Some("volume"));
    check("--squash", Some("squash"));
    check("--policy x", Some("policy"));
    // Switching off what castoff does not do is no use of it.
    check("--push=false --squash=false", None);
    check("--provenance=false --sbom=0", None);
    check("--attest type=provenance,disabled=true", None);
}

// B-017
#[test]
fn questions_have_three_spellings() {
    let check = |flags: &str, expected: Result<Option<Call>, &str>| {
        let result = request(&format!("castoff build {flags} ."), &Environment::default());
        let call = result.as_ref().map(|request| request.call.map(|spec| spec.call));
        assert_eq!(call.map_err(String::as_str), expected, "{flags}");
    };
    check("", Ok(None));
    check("--check", Ok(Some(Call::Check)));
    check("--check=false", Ok(None));
    check("--call=check --check", Ok(Some(Call::Check)));
    check("--call=outline,format=json", Ok(Some(Call::Outline)));
    check("--print targets", Ok(Some(Call::Targets)));
    check("--call build", Ok(None));
    check("--check --call=outline", Err("`--check` and `--call` cannot be used together"));
    check("--print=outline --call=outline", Err("`--call` and `--print` cannot be used together"));
    let many = "invalid value `a,b` for `--call`: more than one call";
    check("--call=a,b", Err(many));
}

// B-015, B-042
#[test]
fn flags_without_meaning_are_accepted_aloud() {
    let check = |flags: &str, expected: &[&str]| {
        let notices = accepted(&format!("castoff build {flags} .")).notices;
        let flags: Vec<&str> = notices.iter().filter_map(|notice| notice.split('`').nth(1)).collect();
        assert_eq!(flags, expected);
    };
    check("--compress --rm --layers --rm=false", &[]);
    check("--builder default", &["--builder"]);
    check(
        "--isolation default --security-opt a=b --force-rm --disable-content-trust",
        &["--isolation", "--security-opt", "--disable-content-trust", "--force-rm"],
    );
    let environment = Environment::of(&[("DOCKER_BUILDKIT", "0")]);
    let notices = request("castoff build .", &environment).expect("valid").notices;
    assert_eq!(notices, ["`DOCKER_BUILDKIT=0` is ignored: only the modern semantics exist"]);
}

#[test]
fn settings_of_steps_are_read() {
    let plan = accepted(
        "castoff build --network host --shm-size 128m --ulimit nofile=1:2 --add-host a:1.1.1.1,b:2.2.2.2 \
         --allow security.insecure --no-cache-filter one,two --no-cache-filter three --jobs 0 .",
    )
    .plan;
    assert_eq!(plan.network, NetworkMode::Host);
    assert!(plan.entitlements.network_host, "B-025");
    assert!(plan.entitlements.security_insecure);
    assert_eq!(plan.shm_size, Some(128 << 20));
    assert_eq!(plan.extra_hosts.len(), 2);
    assert_eq!(plan.no_cache_stages, ["one", "two", "three"]);
}

#[test]
fn the_words_after_an_image_belong_to_its_command() {
    let invocation = parse(words("castoff run --rm -it --entrypoint sh img --rm -c x -- y")).expect("valid");
    let Command::Run(run) = invocation.command else { panic!("a run") };
    assert!(run.rm && run.interactive && run.tty);
    assert_eq!(run.words, words("img --rm -c x -- y"));
}

#[test]
fn the_store_may_be_named_before_and_after_the_command() {
    for line in ["castoff --root /s images", "castoff images --root /s", "castoff images --root=/s"] {
        let invocation = parse(words(line)).expect(line);
        assert_eq!(invocation.global.root.as_deref(), Some(Path::new("/s")), "{line}");
    }
}

// B-004
#[test]
fn unknown_flags_end_with_a_suggestion() {
    let check = |line: &str, code: u8, suggestion: Option<&str>| {
        let stop = parse(words(line)).expect_err(line);
        assert_eq!((stop.asked, stop.code), (false, code), "{line}");
        let tip =
            stop.text.lines().find_map(|line| line.trim().strip_prefix("tip: a similar argument exists: "));
        assert_eq!(tip, suggestion, "{line}: {}", stop.text);
    };
    check("castoff build --taget x .", exit::USAGE, Some("'--target'"));
    check("docker build --taget x .", exit::DOCKER_USAGE, Some("'--target'"));
    check("castoff build --nope .", exit::USAGE, None);
    check("castoff build", exit::USAGE, None);
    check("castoff build a b", exit::USAGE, None);
    check("castoff", exit::USAGE, None);
    let help = parse(words("castoff build --help")).expect_err("help");
    assert_eq!((help.asked, help.code), (true, exit::SUCCESS));
    assert!(help.text.contains("--no-cache  ") && !help.text.contains("--squash"), "{}", help.text);
}

#[test]
fn what_is_recorded_of_a_request_plans_the_same_and_has_no_credentials() {
    let recorded = |line: &str| RecordedRequest::of(&accepted(line), Path::new("/here"));
    let line = "castoff build -f d/F --target t --build-arg A=1 --build-arg B=x=y --build-context n=../n \
        --build-context i=docker-image://alpine:3 --build-context l=oci-layout://lay:tag --filter-context \
        --platform linux/amd64,linux/arm64 --label k=v --network none --add-host h:1.2.3.4 --shm-size 1m \
        --ulimit nofile=1:2 --allow network.host --locked --lockfile x.lock --timestamp 5 context";
    let record = recorded(line);
    let mut expected = accepted(line).plan;
    expected.context = ContextSpec::Directory("/here/context".into());
    expected.file = Some(FileSpec::Path("/here/d/F".into()));
    expected.lock.file = Some("/here/x.lock".into());
    for context in &mut expected.contexts {
        match &mut context.source {
            NamedContextSource::Directory(path) | NamedContextSource::OciLayout { path, .. } => {
                *path = Path::new("/here").join(&path);
            }
            _ => {}
        }
    }
    assert_eq!(record.plan(), Ok(expected));
    assert_eq!((record.rewritten_to, record.has_epoch(), record.consumed()), (Some(5), true, None));
    let json = serde_json::to_value(&record).unwrap();
    assert_eq!(serde_json::from_value::<RecordedRequest>(json).unwrap(), record);
    let record = recorded(
        "castoff build --build-arg HTTPS_PROXY=http://u:pass@p --build-arg no_proxy=pass --secret id=s,src=pass \
         --build-context n=https://u:pass@host/x.git https://u:pass@host/y.git",
    );
    let text = serde_json::to_string(&record).unwrap();
    assert!(!text.contains("pass") && text.contains("host/y.git") && record.secrets == ["s"], "{text}");
    assert_eq!(recorded("castoff build -").consumed(), Some("context"));
    assert_eq!(recorded("castoff build -f - .").consumed(), Some("Dockerfile"));
}
