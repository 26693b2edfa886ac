use castoff_oci::{Reference, ReferenceError};
use proptest::prelude::*;

fn parse(text: &str) -> Reference {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// Compares the full and the familiar form.
#[track_caller]
fn check(text: &str, full: &str, familiar: &str) {
    let reference = parse(text);
    assert_eq!((reference.to_string().as_str(), reference.familiar().as_str()), (full, familiar), "{text}");
}

/// D-116: a missing tag means `latest`, a bare name means Docker Hub's library.
#[test]
fn short_names_are_those_of_docker_hub() {
    check("alpine", "docker.io/library/alpine:latest", "alpine:latest");
    check("alpine:3", "docker.io/library/alpine:3", "alpine:3");
    check("user/app", "docker.io/user/app:latest", "user/app:latest");
    check("index.docker.io/alpine", "docker.io/library/alpine:latest", "alpine:latest");
    check("localhost/app", "localhost/app:latest", "localhost/app:latest");
    check("localhost", "docker.io/library/localhost:latest", "localhost:latest");
    check("host:5000/app", "host:5000/app:latest", "host:5000/app:latest");
    check("ghcr.io/a/b:c", "ghcr.io/a/b:c", "ghcr.io/a/b:c");
    let digest = format!("sha256:{}", "0".repeat(64));
    check(
        &format!("alpine@{digest}"),
        &format!("docker.io/library/alpine@{digest}"),
        &format!("alpine@{digest}"),
    );
}

#[test]
fn a_familiar_name_is_no_other_name() {
    check("docker.io/a.b/c", "docker.io/a.b/c:latest", "docker.io/a.b/c:latest");
    check("docker.io/localhost/c", "docker.io/localhost/c:latest", "docker.io/localhost/c:latest");
    check("library/a/b", "docker.io/library/a/b:latest", "library/a/b:latest");
    check("docker.io/library/a.b/c", "docker.io/library/a.b/c:latest", "library/a.b/c:latest");
}

/// D-116.
#[test]
fn malformed_references_are_refused() {
    for text in [
        "",
        ":",
        "a:",
        "A",
        "a//b",
        "a/",
        "/a",
        "a b",
        "a:b c",
        "a@sha256:12",
        "a___b",
        "-a",
        "a.",
        "h_st!/a",
        "a\n",
    ] {
        assert!(text.parse::<Reference>().is_err(), "{text:?}");
    }
    assert_eq!("".parse::<Reference>(), Err(ReferenceError::Empty));
    assert_eq!("b/A".parse::<Reference>(), Err(ReferenceError::UpperCase("b/A".to_owned())));
    assert!(format!("a:{}", "b".repeat(129)).parse::<Reference>().is_err());
    assert!("a".repeat(255).parse::<Reference>().is_err());
}

proptest! {
    #[test]
    fn both_forms_parse_back(text in "(docker\\.io/|library/|localhost/)?([ab._:/-]|library|sha256){1,8}") {
        if let Ok(reference) = text.parse::<Reference>() {
            prop_assert_eq!(&parse(&reference.to_string()), &reference);
            prop_assert_eq!(&parse(&reference.familiar()), &reference);
        }
    }
}
