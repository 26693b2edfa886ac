//! `RUN --mount` (sections 8.1 to 8.6).

use crate::build::{build, check};

/// Returns the mounts of a RUN in /w with the given flags.
fn mounts(flags: &str) -> String {
    let build = build(&format!("FROM alpine AS tools\nFROM alpine\nWORKDIR /w\nENV V=val\nRUN {flags} x\n"));
    build.graph_lines(&["mount"])
}

fn errors(flags: &str) -> String {
    let errors = build(&format!("FROM alpine\nRUN {flags} x\n")).errors();
    errors.replace(&format!(" @2 `{}`", flags.trim_start_matches("--mount=")), "")
}

#[test]
fn bind_shows_the_context_by_default() {
    // D-154, D-155, D-147.
    check(&mounts("--mount=target=/src"), "mount: bind /src from v2:/");
    check(&mounts("--mount=type=bind,source=a/../b,dst=/src,rw"), "mount: bind /src from v2:/b rw");
}

#[test]
fn bind_shows_a_stage_a_number_or_an_image() {
    // D-151.
    check(&mounts("--mount=from=tools,target=/t"), "mount: bind /t from v0:/");
    check(&mounts("--mount=from=0,target=/t,src=/bin"), "mount: bind /t from v0:/bin");
    let build = build("FROM scratch\nRUN --mount=from=busybox,target=/t x\n");
    check(&build.questions(), "docker.io/library/busybox:latest linux/amd64");
}

#[test]
fn targets_are_taken_from_the_working_directory() {
    // D-150.
    check(&mounts("--mount=target=sub/../x"), "mount: bind /w/x from v2:/");
    check(&mounts("--mount=type=bind"), "mount: bind /w from v2:/");
    check(&mounts("--mount=type=cache"), "mount: cache /w id=/w shared mode=0755 owner=0:0");
    check(&errors("--mount=target=/"), "invalid mount target \"/\"");
    check(&errors("--mount=type=cache"), "invalid mount target \"/\"");
}

#[test]
fn values_are_expanded() {
    // D-060, D-146.
    check(
        &mounts("--mount=type=cache,id=$V,target=/c/$V"),
        "mount: cache /c/val id=val shared mode=0755 owner=0:0",
    );
    check(
        &errors("--mount=from=$X,target=/t"),
        "
        'from' doesn't support variable expansion
          hint: define a stage with `FROM image AS name`, where a global ARG may stand, and use its name
        ",
    );
}

#[test]
fn cache_settings() {
    // D-157 to D-161.
    check(
        &mounts("--mount=type=cache,target=/c/,sharing=Locked,mode=0700,uid=5,gid=6,ro"),
        "mount: cache /c id=/c locked mode=0700 owner=5:6 ro",
    );
    check(
        &mounts("--mount=type=cache,target=/c,from=tools,source=lib"),
        "mount: cache /c id=/c shared from v0:/lib mode=0755 owner=0:0",
    );
    check(
        &errors("--mount=type=cache,target=/c,sharing=locket"),
        "unsupported sharing value \"locket\"\n  hint: did you mean `locked`?",
    );
}

#[test]
fn cache_namespace_is_put_in_front() {
    // D-100, D-158.
    let build =
        build("FROM alpine\nRUN --mount=type=cache,target=/c x\n").arg("BUILDKIT_CACHE_MOUNT_NS", "ns");
    check(&build.graph_lines(&["mount"]), "mount: cache /c id=ns//c shared mode=0755 owner=0:0");
}

#[test]
fn tmpfs_sizes() {
    // D-165.
    check(&mounts("--mount=type=tmpfs,target=/t"), "mount: tmpfs /t");
    check(&mounts("--mount=type=tmpfs,target=/t,size=64m"), "mount: tmpfs /t size=67108864");
    check(&mounts("--mount=type=tmpfs,target=/t,size=1.5GiB"), "mount: tmpfs /t size=1610612736");
    check(&errors("--mount=type=tmpfs,target=/t,size=lots"), "invalid value for size: lots");
    check(&errors("--mount=type=tmpfs,target=/t,size=99999999999g"), "invalid value for size: 99999999999g");
}

#[test]
fn secrets_as_files_and_variables() {
    // D-166 to D-169.
    check(
        &mounts("--mount=type=secret,id=a/tok"),
        "mount: secret /run/secrets/tok id=a/tok mode=0400 owner=0:0",
    );
    check(
        &mounts("--mount=type=secret,target=/etc/tok"),
        "mount: secret /etc/tok id=tok mode=0400 owner=0:0",
    );
    check(
        &mounts("--mount=type=secret,src=tok"),
        "mount: secret /run/secrets/tok id=tok mode=0400 owner=0:0",
    );
    check(&mounts("--mount=type=secret,id=tok,env=TOK"), "mount: secret id=tok env=TOK mode=0400 owner=0:0");
    check(
        &mounts("--mount=required,type=secret,id=tok,env=TOK,target=/t,mode=0440,uid=1,gid=2"),
        "mount: secret /t id=tok env=TOK required mode=0440 owner=1:2",
    );
    check(&errors("--mount=type=secret"), "invalid secret mount. one of source, target required");
    check(&errors("--mount=type=secret,id=a,source=b"), "both source and id can't be set");
    check(&errors("--mount=type=secret,id=a,from=b"), "secret mount should not have a from");
    check(&errors("--mount=type=secret,id=a,sharing=shared"), "secret mount should not define sharing");
}

#[test]
fn secrets_of_a_plan_are_known_and_masked_in_names() {
    // D-083, D-170.
    let build = build("FROM alpine\nENV TOK=old\nRUN --mount=type=secret,id=tok,env=TOK use $TOK\n");
    assert_eq!(build.plan().secrets.into_iter().collect::<Vec<_>>(), ["tok"]);
    check(
        build.names().lines().last().unwrap_or(""),
        "[2/2] RUN --mount=type=secret,id=tok,env=TOK use ****",
    );
}

#[test]
fn ssh_agents_are_sockets() {
    // D-172, D-173: the number in the name counts the ssh mounts of the step.
    check(
        &mounts("--mount=type=ssh --mount=type=cache,target=/c --mount=id=b,type=ssh,required"),
        "
        mount: ssh /run/buildkit/ssh_agent.0 id=default mode=0600 owner=0:0
        mount: cache /c id=/c shared mode=0755 owner=0:0
        mount: ssh /run/buildkit/ssh_agent.1 id=b required mode=0600 owner=0:0
        ",
    );
    check(
        &mounts("--mount=type=ssh,id=$V,target=s,mode=0660,uid=5,gid=6,required=false"),
        "mount: ssh /w/s id=val mode=0660 owner=5:6",
    );
    check(&errors("--mount=type=ssh,source=/a"), "ssh does not support source");
    check(&errors("--mount=type=ssh,from=a"), "ssh mount should not have a from");
    check(&errors("--mount=type=ssh,sharing=locked"), "invalid cache sharing set for ssh mount");
    check(&errors("--mount=type=ssh,target=/"), "invalid mount target \"/\"");
    check(&errors("--mount=type=ssh,env=A"), "unexpected key 'env' for mount type 'ssh'");
    let build = build("FROM alpine\nRUN --mount=type=ssh --mount=type=ssh,id=b x\n");
    assert_eq!(build.plan().agents.into_iter().collect::<Vec<_>>(), ["b", "default"]);
}

#[test]
fn misspelt_keys_and_types_are_suggested() {
    // D-147, D-148, D-346.
    check(
        &errors("--mount=type=cash,target=/c"),
        "unsupported mount type \"cash\"\n  hint: did you mean `cache`?",
    );
    check(
        &errors("--mount=tarket=/c"),
        "unexpected key 'tarket' in 'tarket=/c'\n  hint: did you mean `target`?",
    );
    check(&errors("--mount=target"), "invalid field 'target' must be a key=value pair");
    check(&errors("--mount=target=/c,ro=maybe"), "invalid value for ro: maybe");
}

#[test]
fn keys_of_other_types_are_refused() {
    // D-149, D-152: in any order of the fields.
    check(&errors("--mount=target=/c,mode=0700"), "mode not allowed for \"bind\" type mounts");
    check(&errors("--mount=uid=1,target=/c,type=tmpfs"), "uid not allowed for \"tmpfs\" type mounts");
    check(&errors("--mount=target=/c,required"), "unexpected key 'required' for mount type 'bind'");
    check(&errors("--mount=target=/c,size=1"), "unexpected key 'size' for mount type 'bind'");
    check(&errors("--mount=target=/c,sharing=locked"), "invalid cache sharing set for bind mount");
    check(&errors("--mount=target=/c,type=cache,mode=9"), "invalid value 9 for mode");
    check(&errors("--mount=target=/c,type=cache,uid=-1"), "invalid value -1 for uid");
}

#[test]
fn a_source_without_a_beginning_is_a_path_in_the_cache() {
    // D-160, D-162.
    check(
        &mounts("--mount=type=cache,target=/c,source=a/../../b"),
        "mount: cache /c id=/c shared source=/b mode=0755 owner=0:0",
    );
    check(
        &mounts("--mount=type=cache,target=/c,source=b,from=scratch"),
        "mount: cache /c id=/c shared source=/b mode=0755 owner=0:0",
    );
}

#[test]
fn keys_stand_in_any_order_and_case() {
    // D-146, D-147, D-148, D-149.
    let cache = "mount: cache /c id=x locked mode=0700 owner=1:2 ro";
    check(&mounts("--mount=type=cache,id=x,target=/c,sharing=locked,mode=0700,uid=1,gid=2,ro"), cache);
    check(&mounts("--mount=readonly,gid=2,UID=1,Mode=0700,SHARING=locked,DST=/c,Id=x,TYPE=Cache"), cache);
    check(
        &mounts("--mount=rw=false,gid=2,uid=1,mode=700,sharing=locked,destination=/c,id=x,type=CACHE"),
        cache,
    );
    check(&mounts("--mount=size=1k,target=/t,type=tmpfs"), "mount: tmpfs /t size=1024");
    check(
        &mounts("--mount=required,gid=2,id=s,type=secret"),
        "mount: secret /run/secrets/s id=s required mode=0400 owner=0:2",
    );
    check(&mounts("--mount=src=a,dst=/t,readwrite"), "mount: bind /t from v2:/a rw");
    check(&mounts("--mount=source=a,target=/t,rw,ro"), "mount: bind /t from v2:/a");
    check(&mounts("--mount=source=a,target=/t,readonly=0"), "mount: bind /t from v2:/a rw");
}

#[test]
fn values_with_commas_are_quoted() {
    // D-146. Quotes without a backslash are those of the flag, which may have blanks in them.
    check(
        &mounts(r#"--mount=type=cache,\"target=/a,b\",id=x"#),
        "mount: cache /a,b id=x shared mode=0755 owner=0:0",
    );
    check(
        &mounts(r#"--mount="type=cache,target=/a b,id=x""#),
        "mount: cache /a b id=x shared mode=0755 owner=0:0",
    );
}

#[test]
fn words_alone_are_few() {
    // D-148.
    for word in ["source", "src", "from", "id", "sharing", "mode", "uid", "gid", "size", "env", "type", "dst"]
    {
        let expected = format!("invalid field '{word}' must be a key=value pair");
        check(&errors(&format!("--mount=target=/c,{word}")), &expected);
    }
}

#[test]
fn mounts_from_what_is_not_there_fail() {
    // D-151, D-150.
    let later = "FROM alpine AS a\nRUN --mount=from=b,target=/t x\nFROM alpine AS b\n";
    let errors_of_later = build(later).target("a").errors();
    let message = "cannot mount from stage \"b\", it needs to be defined before current stage \"a\" @2";
    assert!(errors_of_later.starts_with(message), "{errors_of_later}");
    for kind in ["bind", "cache", "tmpfs", "secret,id=s", "ssh"] {
        check(&errors(&format!("--mount=type={kind},target=/a/..")), "invalid mount target \"/\"");
    }
    check(&errors("--mount=type=tmpfs,target=/t,mode=0700"), "mode not allowed for \"tmpfs\" type mounts");
    check(&errors("--mount=type=bind,target=/t,gid=1"), "gid not allowed for \"bind\" type mounts");
    check(
        &errors("--mount=type=cache,target=/t,required"),
        "unexpected key 'required' for mount type 'cache'",
    );
    check(&errors("--mount=type=secret,id=s,size=1"), "unexpected key 'size' for mount type 'secret'");
    check(
        &errors("--mount=type=tmpfs,target=/t,sharing=shared"),
        "invalid cache sharing set for tmpfs mount",
    );
}

#[test]
fn mounts_keep_their_order() {
    // D-153.
    check(
        &mounts("--mount=type=tmpfs,target=/a --mount=type=cache,target=/a/b --mount=target=/a/b/c"),
        "
        mount: tmpfs /a
        mount: cache /a/b id=/a/b shared mode=0755 owner=0:0
        mount: bind /a/b/c from v2:/
        ",
    );
}
