//! What is told of the repository that a context is in.

use std::fs;

use serde_json::{Value, json};

use super::kit::{Done, Kit};
use super::repository::Repositories;

const REMOTE: &str = "https://me:passw0rd@a.example/team/app.git";

/// A repository with a context below its top.
fn project() -> (Repositories, String) {
    let repositories = Repositories::new();
    repositories.init("x", &[]);
    repositories.git("x", &["remote", "add", "origin", REMOTE]);
    let dockerfile = "FROM scratch\nCOPY file /\nLABEL org.opencontainers.image.revision=mine\n";
    let commit = repositories.commit("x", &[("app/build/Dockerfile", dockerfile), ("app/file", "content")]);
    (repositories, commit)
}

/// Builds in the repository and returns what provenance says of it, and the labels of the image.
fn told(
    kit: &Kit,
    repositories: &Repositories,
    variables: &[(&str, &str)],
    flags: &[&str],
) -> (Value, Value) {
    let (app, file) = (repositories.path("x/app"), repositories.path("x/app/build/Dockerfile"));
    let words = ["build", "-t", "it", "--metadata-file", "facts.json", "-f"];
    let mut command = kit.command(words);
    command.arg(file).args(flags).arg(app).envs(variables.iter().copied()).env("HOME", kit.path("home"));
    Done::of(command).succeeds().never_says("passw0rd");
    let facts: Value = serde_json::from_str(&kit.read("facts.json")).unwrap();
    let vcs = &facts["buildx.build.provenance"]["runDetails"]["metadata"]["buildkit_metadata"]["vcs"];
    (vcs.clone(), kit.inspect("it")["Config"]["Labels"].clone())
}

// B-180, B-221
#[test]
fn provenance_names_the_commit() {
    let (kit, (repositories, commit)) = (Kit::new(), project());
    let mut expected = json!({
        "revision": commit,
        "source": "https://a.example/team/app.git",
        "localdir:context": "app",
        "localdir:dockerfile": "app/build",
    });
    let (vcs, labels) = told(&kit, &repositories, &[], &[]);
    assert_eq!(vcs, expected);
    assert_eq!(labels, json!({ "org.opencontainers.image.revision": "mine" }));

    fs::write(repositories.path("x/app/new"), "").unwrap();
    assert_eq!(told(&kit, &repositories, &[("BUILDX_GIT_CHECK_DIRTY", "0")], &[]).0, expected);
    expected["revision"] = format!("{commit}-dirty").into();
    assert_eq!(told(&kit, &repositories, &[], &[]).0, expected);
    assert_eq!(told(&kit, &repositories, &[("BUILDX_GIT_INFO", "false")], &[]).0, Value::Null);
}

// B-180
#[test]
fn labels_name_the_commit_when_asked_for() {
    let (kit, (repositories, commit)) = (Kit::new(), project());
    let mut expected = json!({
        "org.opencontainers.image.revision": commit,
        "org.opencontainers.image.source": "https://a.example/team/app.git",
    });
    let labels =
        |value: &str, flags: &[&str]| told(&kit, &repositories, &[("BUILDX_GIT_LABELS", value)], flags).1;
    assert_eq!(labels("1", &[]), expected);
    expected["com.docker.image.source.entrypoint"] = "app/build/Dockerfile".into();
    assert_eq!(labels("full", &[]), expected);
    expected["org.opencontainers.image.source"] = "elsewhere".into();
    assert_eq!(labels("full", &["--label", "org.opencontainers.image.source=elsewhere"]), expected);
}

// B-180
#[test]
fn a_directory_of_no_repository_tells_nothing_and_one_that_git_refuses_is_named() {
    let kit = Kit::new();
    kit.write("context/Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
    let build = |variables: &[(&str, &str)]| {
        let mut command = kit.command(["build", "--metadata-file", "facts.json", "context"]);
        command.envs(variables.iter().copied());
        Done::of(command).succeeds()
    };
    build(&[]).never_says("[internal] repository");
    assert!(!kit.read("facts.json").contains("vcs"));
    // Something that is named like a repository.
    kit.write("context/.git", "gitdir: nowhere\n");
    build(&[]).says("nothing is told of the repository of the context: the repository of the context: git");
    // Nobody asked, and git is not started.
    build(&[("BUILDX_GIT_INFO", "0"), ("PATH", "/nonexistent")]).never_says("repository");
}
